"""Radiographs as they come, and the sentences for files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints import inputs
from SpineMotionToolsLib.keypoints.radiograph import in_source

from Testing.keypoint_samples import picture


def write_dicom(path: Path, pixels: np.ndarray, **tags) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def gray() -> np.ndarray:
    return picture((400, 170))


def test_dicom_with_rescale_and_window(tmp_path, gray):
    stored = gray.astype(np.uint16) * 10
    path = write_dicom(
        tmp_path / "a.dcm", stored, RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=537.5, WindowWidth=1276,
        PixelSpacing=[0.3, 0.3],
    )  # fmt: skip
    radiograph = inputs.read_radiograph(path)
    # The window runs from -100 to 1175, which is gray level 0 to 255.
    assert np.abs(radiograph.image.astype(int) - gray).max() <= 1
    assert (radiograph.scale.row, radiograph.scale.unit) == (0.3, "mm")
    assert any("detector" in note for note in radiograph.notes)


def test_monochrome1_is_turned_bone_bright(tmp_path, gray):
    path = write_dicom(tmp_path / "a.dcm", 255 - gray, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(inputs.read_radiograph(path).image, gray)


def test_sixteen_bits_without_window_are_stretched_and_said_so(tmp_path, gray):
    stored = gray.astype(np.uint16) * 13 + 2000
    stored[0, 0] = 65535
    radiograph = inputs.read_radiograph(write_dicom(tmp_path / "a.dcm", stored))
    assert np.ptp(radiograph.image[1:]) > 200
    assert any("percentile" in note for note in radiograph.notes)


@pytest.mark.parametrize("window", [(30000, 1), (-5000, 10)])
def test_a_window_that_shows_nothing_is_not_used(tmp_path, gray, window):
    center, width = window
    path = write_dicom(tmp_path / "a.dcm", gray.astype(np.uint16) * 10, WindowCenter=center, WindowWidth=width)
    assert np.ptp(inputs.read_radiograph(path).image) > 200


@pytest.mark.parametrize(
    ("tags", "spacing", "words"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.25]}, (0.2, 0.25), "at the detector"),
        ({"PixelSpacing": [0.18, 0.18], "ImagerPixelSpacing": [0.2, 0.2]}, (0.18, 0.18), "calibrated"),
        (
            {"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.2, 0.2),
            "object of known size",
        ),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "at the detector"),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.15},
            (0.2, 0.2),
            "magnification of 1.15",
        ),
        ({"NominalScannedPixelSpacing": [0.2, 0.4]}, (0.2, 0.4), "detector"),
        ({}, (1.0, 1.0), "no pixel size"),
    ],
)
def test_spacing_and_what_it_means(tmp_path, gray, tags, spacing, words):
    radiograph = inputs.read_radiograph(write_dicom(tmp_path / "a.dcm", gray, **tags))
    assert (radiograph.scale.row, radiograph.scale.column) == spacing
    assert any(words in note for note in radiograph.notes)


def test_sides_follow_the_orientation_and_mirroring(tmp_path, gray):
    path = write_dicom(tmp_path / "a.dcm", gray, PatientOrientation=["L", "F"])
    assert inputs.read_radiograph(path).patient_right_on == "left"
    mirrored = inputs.read_radiograph(path, mirrored=True)
    assert mirrored.patient_right_on == "right"
    assert np.array_equal(mirrored.image, gray[:, ::-1])
    turned = inputs.read_radiograph(path, mirrored=True, upside_down=True)
    assert turned.patient_right_on == "left"
    assert np.array_equal(turned.image, gray[::-1])
    point = np.array([[10.0, 20.0]])
    r, c = in_source(point, turned.size, turned.turned)[0].astype(int)
    assert turned.image[10, 20] == gray[r, c]


def test_inverted_gray_levels(tmp_path, gray):
    Image.fromarray(255 - gray).save(tmp_path / "a.png")
    assert np.array_equal(inputs.read_radiograph(tmp_path / "a.png", inverted=True).image, gray)


def test_no_patient_name_leaves_the_file(tmp_path, gray):
    radiograph = inputs.read_radiograph(write_dicom(tmp_path / "scan.dcm", gray))
    assert radiograph.name == "scan"
    assert not any("Doe" in note for note in radiograph.notes)


def test_a_frame_of_several(tmp_path, gray):
    frames = np.stack((gray, gray[::-1]))
    path = write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=2, Modality="RF")
    assert np.array_equal(inputs.read_radiograph(path, frame=1).image, gray[::-1])
    with pytest.raises(InputError, match="no frame 5"):
        inputs.read_radiograph(path, frame=5)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.bmp"])
def test_picture_files(tmp_path, gray, name):
    Image.fromarray(gray).save(tmp_path / name)
    radiograph = inputs.read_radiograph(tmp_path / name)
    assert np.abs(radiograph.image.astype(int) - gray).mean() < 3
    assert radiograph.scale.unit == "px"


def test_sixteen_bit_png_and_float_tiff(tmp_path, gray):
    Image.fromarray(gray.astype(np.uint16) * 200).save(tmp_path / "a.png")
    Image.fromarray(gray.astype(np.float32) / 300 - 0.3).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        assert np.corrcoef(inputs.read_radiograph(tmp_path / name).image.ravel(), gray.ravel())[0, 1] > 0.99


def test_gray_stored_as_color_is_read(tmp_path, gray):
    Image.fromarray(np.stack([gray] * 3, -1)).save(tmp_path / "a.jpg", quality=90)
    Image.fromarray(np.stack([gray] * 3, -1)).save(tmp_path / "a.png")
    assert np.array_equal(inputs.read_radiograph(tmp_path / "a.png").image, gray)
    assert np.abs(inputs.read_radiograph(tmp_path / "a.jpg").image.astype(int) - gray).mean() < 3


def test_nrrd_with_one_slice(tmp_path, gray):
    from SpineMotionToolsLib.common.volumes import Volume, write_volume

    matrix = np.diag([-0.2, -0.3, 1.0, 1.0])
    write_volume(tmp_path / "a.nrrd", Volume(gray[None], matrix))
    radiograph = inputs.read_radiograph(tmp_path / "a.nrrd")
    assert np.allclose((radiograph.scale.row, radiograph.scale.column), (0.3, 0.2))
    write_volume(tmp_path / "b.nrrd", Volume(np.stack([gray] * 4), matrix))
    with pytest.raises(InputError, match="volume of 4 slices"):
        inputs.read_radiograph(tmp_path / "b.nrrd")


# IJK-to-RAS axes in columns: i to the left, j down, k to the back
FRONTAL = np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]])


@pytest.mark.parametrize("flips", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("across", [2, 1])
def test_a_volume_file_is_read_as_slicer_shows_it(tmp_path, gray, flips, across):
    """Also one whose slice lies across another axis than the last; markups lie on the file's own pixels."""
    import SimpleITK as sitk
    from SpineMotionToolsLib.common.volumes import Volume, write_volume

    matrix = np.eye(4)
    matrix[:3, :3] = FRONTAL * (0.2 * flips[0], 0.3 * flips[1], 1.0)
    matrix[:3, 3] = (50, -20, 300)
    array = gray[None, :: flips[1], :: flips[0]]
    if across == 1:
        matrix[:3, [1, 2]] = matrix[:3, [2, 1]]
        array = np.moveaxis(array, 0, 1)
    write_volume(tmp_path / "a.nrrd", Volume(np.ascontiguousarray(array), matrix))
    radiograph = inputs.read_radiograph(tmp_path / "a.nrrd")
    assert np.array_equal(radiograph.image, gray)
    assert radiograph.patient_right_on == "left"
    assert np.allclose((radiograph.scale.row, radiograph.scale.column), (0.3, 0.2))
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    place = radiograph.place @ (20, 10, 0, 1)
    assert image[image.TransformPhysicalPointToIndex(place[:3].tolist())] == gray[10, 20]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_turned_by_its_exif_orientation(tmp_path, gray, orientation):
    import SimpleITK as sitk

    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL.Image.Transpose that makes the stored picture
    stored = Image.fromarray(gray)
    stored = stored if orientation == 1 else stored.transpose(Image.Transpose(turn[orientation]))
    exif = stored.getexif()
    exif[inputs.EXIF_ORIENTATION] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=100, dpi=(254, 254))
    radiograph = inputs.read_radiograph(tmp_path / "a.jpg")
    assert np.abs(radiograph.image.astype(int) - gray).max() < 8
    image = sitk.ReadImage(str(tmp_path / "a.jpg"))
    assert image.GetSpacing() == pytest.approx((0.1, 0.1))
    index = image.TransformPhysicalPointToIndex((radiograph.place @ (20, 10, 0, 1))[:2].tolist())
    assert image[index] == pytest.approx(gray[10, 20], abs=8)


def test_a_tiff_whose_zero_is_white(tmp_path, gray):
    Image.fromarray(60000 - gray.astype(np.uint16) * 200).save(tmp_path / "a.tif", tiffinfo={262: 0})
    assert np.corrcoef(inputs.read_radiograph(tmp_path / "a.tif").image.ravel(), gray.ravel())[0, 1] > 0.99


def test_a_tiff_of_several_pages_says_so(tmp_path, gray):
    page = Image.fromarray(gray)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    assert "The first of 2 pages of the file." in inputs.read_radiograph(tmp_path / "a.tif").notes


def test_a_color_photograph_is_refused(tmp_path):
    color = np.random.default_rng(0).integers(0, 255, (200, 100, 3), dtype=np.uint8)
    Image.fromarray(color).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="color picture"):
        inputs.read_radiograph(tmp_path / "a.png")


@pytest.mark.parametrize("value", [0, 77])
def test_constant_pictures_are_refused(value):
    with pytest.raises(InputError, match="empty"):
        inputs.from_array(np.full((300, 120), value, np.uint8))


def test_nearly_constant_and_not_numbers_are_refused():
    with pytest.raises(InputError, match="hardly differ"):
        inputs.from_array(np.random.default_rng(0).integers(100, 103, (300, 120)).astype(np.uint8))
    with pytest.raises(InputError, match="not numbers"):
        inputs.from_array(np.full((300, 120), np.nan))
    some = picture((300, 120)).astype(float)
    some[:10] = np.nan
    assert inputs.from_array(some).image[:10].max() == 0


def test_twenty_pixels_are_refused(tmp_path):
    Image.fromarray(picture((20, 20))).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="20 x 20 pixels"):
        inputs.read_radiograph(tmp_path / "a.png")
    with pytest.raises(InputError, match="20 x 30 pixels"):
        inputs.from_array(picture((30, 20)))


def test_twenty_thousand_pixels_are_read(tmp_path):
    tall = np.tile(picture((500, 400)), (40, 1))
    Image.fromarray(tall).save(tmp_path / "a.png", compress_level=1)
    radiograph = inputs.read_radiograph(tmp_path / "a.png")
    assert radiograph.size == (20000, 400)
    assert radiograph.grid_image.shape == (512, 256)
    assert not radiograph.is_typical


def test_a_picture_above_the_limit_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    Image.fromarray(picture((400, 170))).save(tmp_path / "a.png")
    assert inputs.read_radiograph(tmp_path / "a.png").size == (400, 170)
    assert Image.MAX_IMAGE_PIXELS == 10_000
    monkeypatch.setattr(inputs, "LARGEST_PIXELS", 1000)
    with pytest.raises(InputError, match="Reduce it"):
        inputs.read_radiograph(tmp_path / "a.png")


def test_ct_and_other_modalities_are_refused(tmp_path, gray):
    with pytest.raises(InputError, match="a CT image"):
        inputs.read_radiograph(write_dicom(tmp_path / "a.dcm", gray, Modality="CT"))


def test_a_lateral_view_is_said_to_be_one(tmp_path, gray):
    radiograph = inputs.read_radiograph(write_dicom(tmp_path / "a.dcm", gray, ViewPosition="LL"))
    assert any("lateral" in note for note in radiograph.notes)


def test_what_the_orientation_says_of_the_view(tmp_path, gray):
    lateral = write_dicom(tmp_path / "a.dcm", gray, PatientOrientation=["A", "F"])
    assert inputs.LATERAL_FILE in inputs.read_radiograph(lateral).notes
    down = write_dicom(tmp_path / "b.dcm", gray, PatientOrientation=["R", "H"])
    assert inputs.HEAD_DOWN in inputs.read_radiograph(down).notes
    assert inputs.HEAD_DOWN not in inputs.read_radiograph(down, upside_down=True).notes


def test_pixels_that_are_not_square_need_a_size(tmp_path, gray):
    with pytest.raises(InputError, match="not square"):
        inputs.read_radiograph(write_dicom(tmp_path / "a.dcm", gray, PixelAspectRatio=[2, 1]))


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"broken")
    for name in ("a.png", "a.dcm", "missing.png"):
        with pytest.raises(InputError):
            inputs.read_radiograph(tmp_path / name)
    dataset = pydicom.Dataset()
    dataset.Modality = "DX"
    dataset.save_as(tmp_path / "b.dcm", implicit_vr=False, little_endian=True)
    with pytest.raises(InputError):
        inputs.read_radiograph(tmp_path / "b.dcm")
    with pytest.raises(InputError, match="folder"):
        inputs.read_radiograph(tmp_path)


@pytest.mark.parametrize("kind", [object, str, complex])
def test_arrays_without_gray_values_are_refused(gray, kind):
    with pytest.raises(InputError, match="no gray values"):
        inputs.from_array(gray.astype(kind))


def test_bad_spacing_window_and_masks(gray):
    with pytest.raises(InputError, match="pixel size"):
        inputs.from_array(gray, (0.0, 1.0))
    with pytest.raises(InputError, match="shows nothing"):
        inputs.from_array(gray, window=(5, 5))
    with pytest.raises(InputError, match="mask"):
        inputs.from_array(gray > 100)
    for two in (np.uint8(255), np.uint16(7), 0.5):
        with pytest.raises(InputError, match="mask of two values"):
            inputs.from_array((gray > 100) * two)
    with pytest.raises(InputError, match="one slice"):
        inputs.from_array(np.stack([gray] * 7))

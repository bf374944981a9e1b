"""Scans from files: geometry kept in any orientation, and a sentence or a warning for every kind of bad input."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.volumes import Volume, read_volume, write_volume
from SpineMotionToolsLib.spinenet.inputs import read_scan
from SpineMotionToolsLib.spinenet.published_dicom import load_published
from SpineMotionToolsLib.spinenet.scans import CANONICAL, Scan, from_volume

SAGITTAL = (0, 1, 0, 0, 0, -1)
AXIAL, CORONAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1)


def ramp(shape=(6, 150, 140)) -> np.ndarray:
    """Voxels (k, j, i) that are all different."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def sagittal(array: np.ndarray, spacing=(1.0, 1.0, 4.0)) -> Volume:
    matrix = np.eye(4)
    matrix[:3, :3] = CANONICAL.T * spacing
    return Volume(array, matrix, "made")


def write_series(folder: Path, slices=8, orientation=SAGITTAL, spacing=4.0, shift=0.0, start=0.0, **tags) -> list[Path]:
    """A series of single-frame files whose pixels tell their slice; `tags` overwrite DICOM attributes."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    axes = np.array(orientation, dtype=float).reshape(2, 3)
    normal = np.cross(*axes)
    uid = tags.pop("SeriesInstanceUID", generate_uid())
    paths = []
    for i in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID, one.Modality = "1.2.3", uid, "MR"
        one.SeriesDescription, one.SeriesNumber, one.InstanceNumber = "t2_sag", 3, i + 1
        one.Rows, one.Columns, one.PixelSpacing, one.SliceThickness = 120, 110, [1.0, 1.0], spacing
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 0
        position = (start + i * spacing) * normal + i * shift * axes[0]
        one.ImageOrientationPatient, one.ImagePositionPatient = (
            list(orientation),
            [round(float(p), 4) for p in position],
        )
        for tag, value in tags.items():
            setattr(one, tag, value)
        pixels = np.full((120, 110), 100 * (i + 1), dtype="<u2")
        pixels[:10] = 7
        one.PixelData = pixels.tobytes()
        path = folder / f"{uid[-6:]}-{i:03d}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def slice_values(scan: Scan) -> list[int]:
    return [round(float(v)) for v in scan.array[60, 60]]


# ----- geometry


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_axis_order_and_direction_gives_the_same_scan(order):
    want = from_volume(sagittal(ramp()))
    for signs in product((1, -1), repeat=3):
        array = want.array.transpose(2, 0, 1)  # (k, j, i) of the canonical scan
        matrix = np.array(want.geometry.index_to_ras)
        columns = []
        for old, sign in zip(order, signs):
            columns.append(matrix[:3, old] * sign)
            if sign < 0:
                matrix[:3, 3] += matrix[:3, old] * (array.shape[2 - old] - 1)
        turned = array.transpose([2 - order[2 - axis] for axis in range(3)])
        turned = turned[:: signs[2], :: signs[1], :: signs[0]]
        placed = np.eye(4)
        placed[:3, :3], placed[:3, 3] = np.stack(columns, axis=1), matrix[:3, 3]
        got = from_volume(Volume(np.ascontiguousarray(turned), placed))
        assert np.array_equal(got.array, want.array)
        assert got.geometry.index_to_ras == pytest.approx(want.geometry.index_to_ras)


def test_unequal_pixels_become_squares_in_the_same_place():
    scan = from_volume(sagittal(ramp(), (0.8, 1.6, 4.0)))
    assert scan.pixel_spacing_mm == pytest.approx(0.8, rel=0.01)
    assert scan.array.shape == (300, 140, 6)
    before = sagittal(ramp(), (0.8, 1.6, 4.0)).ijk_to_ras
    edge = lambda matrix, rows: matrix @ [-0.5, rows - 0.5, 0, 1]
    assert edge(scan.geometry.index_to_ras, 300) == pytest.approx(edge(before, 150))
    assert "resampled" in " ".join(scan.notes)


def test_thin_slices_are_averaged_around_the_same_middle():
    volume = sagittal(ramp((41, 150, 140)), (1.0, 1.0, 1.0))
    scan = from_volume(volume)
    assert scan.array.shape == (150, 140, 10)
    assert scan.geometry.slice_spacing_mm == pytest.approx(4)
    assert scan.array[..., 0] == pytest.approx(ramp((41, 150, 140))[:4].mean(axis=0))
    assert scan.geometry.index_to_ras[:3, 3] == pytest.approx([1.5, 0, 0])


def test_oblique_slices_are_kept_with_their_geometry():
    a = np.radians(25)
    matrix = np.eye(4)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    matrix[:3, :3] = turn @ CANONICAL.T * [1, 1, 4]
    scan = from_volume(Volume(ramp(), matrix))
    assert scan.geometry.index_to_ras == pytest.approx(matrix)
    assert "turned 25 degrees" in " ".join(scan.warnings)


# ----- bad volumes


@pytest.mark.parametrize(
    ("spacing", "order", "word"),
    [((1, 1, 4), (2, 1, 0), "coronal|axial"), ((1, 1, 4), (0, 2, 1), "coronal|axial")],
)
def test_axial_and_coronal_series_are_named(spacing, order, word):
    matrix = np.eye(4)
    matrix[:3, :3] = CANONICAL.T[:, order] * spacing
    with pytest.raises(InputError, match=word):
        from_volume(Volume(ramp(), matrix))


@pytest.mark.parametrize("spacing", [(8, 8, 8), (0.01, 0.01, 4), (0.1, 0.1, 4)])
def test_implausible_spacing_is_refused(spacing):
    with pytest.raises(InputError, match="implausible"):
        from_volume(sagittal(ramp(), spacing))


def test_one_slice_is_read_with_a_warning():
    assert "one slice" in " ".join(from_volume(sagittal(ramp((1, 150, 140)))).warnings)


def test_three_slices_look_like_a_localizer():
    assert "localizer" in " ".join(from_volume(sagittal(ramp((3, 150, 140)))).warnings)


def test_nan_becomes_zero_with_a_warning():
    array = ramp()
    array[2, 3, 4] = np.nan
    scan = from_volume(sagittal(array))
    assert np.isfinite(scan.array).all()
    assert "1 voxels were not numbers" in " ".join(scan.warnings)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "uint32", "float64"])
def test_every_number_type_is_read(dtype):
    array = (ramp() % 100).astype(dtype)
    scan = from_volume(sagittal(array))
    assert scan.array.dtype.name in ("uint8", "uint16", "int16", "float32", "float64")
    assert scan.array[3, 5, 2] == array[2, 3, 5]


def test_signed_data_are_shifted_and_ct_is_suspected():
    signed = from_volume(sagittal((ramp() % 100 - 50).astype(np.int16)))
    assert signed.array.min() == 0
    assert not any("CT" in w for w in signed.warnings)
    hounsfield = from_volume(sagittal((ramp() % 2000 - 1000).astype(np.int16)))
    assert any("look like CT" in w for w in hounsfield.warnings)


def test_bare_arrays_tell_what_was_changed():
    array = (ramp() % 100 - 50).transpose(1, 2, 0)
    array[3, 4, 2] = np.nan
    assert [warning.split()[1] for warning in Scan.from_array(array, 1.0).warnings] == ["voxels", "scan"]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_little_ringing_below_zero_shifts_nothing(dtype):
    array = (ramp() % 1000 + 10).astype(dtype)
    array[0, 0, :20] = -40
    scan = from_volume(sagittal(array))
    assert scan.array.min() == 0
    assert scan.array.max() == 1009
    assert any(w.startswith("20 voxels were a little below 0") for w in scan.warnings)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_mask_is_not_read_as_a_scan(tmp_path, dtype):
    write_volume(tmp_path / "mask.nrrd", sagittal((ramp() // 20000).astype(dtype)))
    with pytest.raises(InputError, match="mask.nrrd is a mask"):
        read_scan(tmp_path / "mask.nrrd")
    write_volume(tmp_path / "faint.nrrd", sagittal((ramp() % 60).astype(dtype)))  # few of eight bits are used
    assert read_scan(tmp_path / "faint.nrrd").array.max() == 59


def test_an_empty_scan_is_refused():
    with pytest.raises(InputError, match="all voxels are equal"):
        from_volume(sagittal(np.zeros((6, 150, 140))))


@pytest.mark.parametrize("bad", [{"pixel_spacing_mm": v} for v in (0, np.nan, 0.001, 30)] + [{"slice_spacing_mm": -1}])
def test_bare_arrays_need_a_spacing(bad):
    with pytest.raises(InputError):
        Scan.from_array(ramp(), **{"pixel_spacing_mm": 1.0, **bad})


# ----- files


def test_nifti_with_time_is_refused_and_with_one_volume_read(tmp_path):
    def write(name, count):
        made = [sitk.GetImageFromArray(ramp()) for _ in range(count)]
        for image in made:
            image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
            image.SetSpacing((1, 1, 4))
        sitk.WriteImage(sitk.JoinSeries(made), str(tmp_path / name))
        return tmp_path / name

    with pytest.raises(InputError, match="4-D"):
        read_scan(write("four.nii.gz", 3))
    assert read_scan(write("one.nii.gz", 1)).array.shape == (150, 140, 6)


def test_a_picture_has_no_place_in_the_patient(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(ramp()[0]), str(tmp_path / "one.nrrd"))
    with pytest.raises(InputError, match="one.nrrd is one picture without a place"):
        read_scan(tmp_path / "one.nrrd")


def test_nifti_spacing_is_that_of_other_formats(tmp_path):
    for name in ("a.nii", "a.nrrd"):
        write_volume(tmp_path / name, sagittal(ramp(), (0.8, 0.8, 4.4)))
        scan = read_scan(tmp_path / name)
        assert (scan.pixel_spacing_mm, scan.geometry.slice_spacing_mm) == (0.8, 4.4)


def test_a_cut_off_image_is_not_filled_up(tmp_path):
    write_volume(tmp_path / "whole.nii.gz", sagittal(np.random.default_rng(0).random((6, 150, 140))))
    whole = (tmp_path / "whole.nii.gz").read_bytes()
    (tmp_path / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"half.nii.gz is cut off: it holds \d+ of 1008352 bytes"):
        read_scan(tmp_path / "half.nii.gz")


def test_missing_and_damaged_files_say_so(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_scan(tmp_path / "none.nii")
    (tmp_path / "bad.nrrd").write_text("nothing", encoding="utf-8")
    with pytest.raises(InputError, match="could not be read"):
        read_scan(tmp_path / "bad.nrrd")


# ----- DICOM


def test_slices_follow_their_position_not_their_number(tmp_path):
    for i, path in enumerate(write_series(tmp_path)):
        import pydicom

        one = pydicom.dcmread(path)
        one.InstanceNumber = 100 - i
        one.save_as(path)
    scan = read_scan(tmp_path)
    # The normal of these slices points to the patient's right (LPS -x), as the canonical slices do.
    assert slice_values(scan) == [100 * (i + 1) for i in range(8)]
    assert scan.geometry.slice_spacing_mm == pytest.approx(4)


def test_slices_with_different_rescaling_keep_their_values(tmp_path):
    import pydicom

    for i, path in enumerate(write_series(tmp_path / "series")):
        one = pydicom.dcmread(path)
        one.RescaleIntercept, one.RescaleSlope = (0, 1) if i == 0 else (0, 123.5)
        one.save_as(path)
    scan = read_scan(tmp_path / "series")
    assert sorted(float(v) for v in scan.array[60, 60]) == [100, *(100 * (i + 1) * 123.5 for i in range(1, 8))]


def test_the_sagittal_t2_is_chosen_among_mixed_series(tmp_path):
    write_series(tmp_path / "a", orientation=AXIAL, SeriesDescription="t2_tra", SeriesNumber=5, slices=20)
    write_series(tmp_path / "b", SeriesDescription="localizer", SeriesNumber=1, slices=12)
    write_series(tmp_path / "c", SeriesDescription="t1_sag", SeriesNumber=2, slices=9)
    write_series(tmp_path / "d", SeriesDescription="t2_sag", SeriesNumber=3, slices=9)
    (tmp_path / "notes.txt").write_text("not an image", encoding="utf-8")
    scan = read_scan(tmp_path)
    assert "t2_sag" in scan.name
    assert "t1_sag" in " ".join(scan.notes)
    assert "t1_sag" in read_scan(tmp_path, "t1").name
    with pytest.raises(InputError, match="no series 'flair'"):
        read_scan(tmp_path, "flair")


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL])
def test_a_folder_without_sagittal_slices_is_refused(tmp_path, orientation):
    write_series(tmp_path, orientation=orientation)
    with pytest.raises(InputError, match="no sagittal series"):
        read_scan(tmp_path)


def test_ct_is_refused(tmp_path):
    write_series(tmp_path, Modality="CT")
    with pytest.raises(InputError, match="not MRI"):
        read_scan(tmp_path)


def test_a_localizer_alone_is_read_with_a_warning(tmp_path):
    write_series(tmp_path, slices=3, SeriesDescription="3-plane loc")
    assert any("localizer" in w for w in read_scan(tmp_path).warnings)


def test_missing_slices_are_filled_and_told(tmp_path):
    write_series(tmp_path)[3].unlink()
    scan = read_scan(tmp_path)
    assert slice_values(scan) == [100 * (i + 1) for i in range(8)]
    assert any("1 slices are missing" in w for w in scan.warnings)


def test_duplicates_are_read_once_and_told(tmp_path):
    write_series(tmp_path, SeriesInstanceUID="1.2.3.111111")
    for path in write_series(tmp_path / "more", slices=2, SeriesInstanceUID="1.2.3.111111"):
        path.rename(tmp_path / f"again-{path.name}")
    scan = read_scan(tmp_path)
    assert scan.array.shape[2] == 8
    assert any("lie where another one lies" in w for w in scan.warnings)


def test_uneven_slices_are_told(tmp_path):
    import pydicom

    path = write_series(tmp_path)[4]
    one = pydicom.dcmread(path)
    one.ImagePositionPatient[0] = float(one.ImagePositionPatient[0]) - 1.2
    one.save_as(path)
    assert any("not evenly spaced" in w for w in read_scan(tmp_path).warnings)


def test_tilted_slices_keep_their_geometry(tmp_path):
    write_series(tmp_path, shift=1.0)
    scan = read_scan(tmp_path)
    assert any("shifted against each other" in w for w in scan.warnings)
    assert scan.geometry.slice_spacing_mm == pytest.approx(4)
    assert np.linalg.norm(scan.geometry.index_to_ras[:3, 2]) == pytest.approx(np.hypot(4, 1))


def test_compressed_slices_are_decoded(tmp_path):
    import pydicom
    from pydicom.uid import RLELossless

    want = read_scan(*[tmp_path] if write_series(tmp_path) else [])
    for path in tmp_path.glob("*.dcm"):
        one = pydicom.dcmread(path)
        one.compress(RLELossless)
        one.save_as(path)
    assert np.array_equal(read_scan(tmp_path).array, want.array)


def test_a_cut_off_file_gives_a_sentence(tmp_path):
    path = write_series(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=rf"{path.name} is cut off: it holds \d+ of 26400 bytes"):
        read_scan(tmp_path)


def test_pixels_shorter_than_stated_are_not_filled_up(tmp_path):
    import pydicom

    path = write_series(tmp_path)[2]
    one = pydicom.dcmread(path)
    one.PixelData = one.PixelData[:20000]
    one.save_as(path)
    with pytest.raises(InputError, match=f"{path.name} is cut off: it holds 20000 of 26400 bytes"):
        read_scan(tmp_path)


def test_a_cut_off_multi_frame_file_gives_a_sentence(tmp_path):
    import pydicom

    path = write_series(tmp_path, slices=1)[0]
    one = pydicom.dcmread(path)
    one.PixelData, one.NumberOfFrames = one.PixelData * 2, 3
    one.save_as(path)
    with pytest.raises(InputError, match="holds 52800 of 79200 bytes"):
        read_volume(path)


def test_a_file_with_damaged_values_is_left_out(tmp_path):
    path = write_series(tmp_path)[2]
    place = path.read_bytes().index(b"\x28\x00\x10\x00US\x02\x00")  # the number of rows
    data = bytearray(path.read_bytes())
    data[place + 6] = 1
    path.write_bytes(data)
    scan = read_scan(tmp_path)
    assert slice_values(scan) == [100, 200, 300, 400, 500, 600, 700, 800]  # the third one between its neighbours
    assert any("1 slices are missing" in w for w in scan.warnings)


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: data.replace(b"IS\x02\x003", b"IS\x02\x00x")])
def test_the_published_loader_names_a_damaged_file(tmp_path, damage):
    path = write_series(tmp_path)[2]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path.name} is damaged"):
        load_published(tmp_path)


def write_raw(paths: list[Path], tag: str, value: bytes) -> None:
    """Write a value as it is, past pydicom's checks."""
    import pydicom
    from pydicom.dataelem import RawDataElement

    for path in paths:
        one = pydicom.dcmread(path)
        old = one[tag]
        one._dict[old.tag] = RawDataElement(old.tag, old.VR, len(value), value, 0, False, True)
        one.save_as(path)


def test_undecodable_values_are_told(tmp_path):
    paths = write_series(tmp_path)
    write_raw(paths[:1], "PixelSpacing", rb"0,8\0,8 ")
    scan = read_scan(tmp_path)
    assert scan.array.shape[2] == 7
    assert "1 of the folder's files hold damaged values and were left out." in scan.warnings
    write_raw(paths[1:], "ImagePositionPatient", rb"0\x\0 ")
    for given in (tmp_path, paths[0]):
        with pytest.raises(InputError, match=f"{given.name} holds damaged values .*Export the series again"):
            read_scan(given)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_undecodable_texts_and_numbers_that_are_not_needed_do_not_stop_reading(tmp_path):
    paths = write_series(tmp_path, EchoTime=90)
    bad = {"EchoTime": b"9,5 ", "SeriesNumber": b"x ", "InstanceNumber": b"1,", "SliceThickness": b"4,0 "}
    for tag, value in {**bad, "SeriesDescription": b"t2 \xff\xfe "}.items():
        write_raw(paths, tag, value)
    scan = read_scan(tmp_path)
    assert scan.array.shape[2] == 8
    assert not any("left out" in w for w in scan.warnings)


def test_a_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(InputError, match="holds no DICOM slices"):
        read_scan(tmp_path)


def test_a_text_file_does_not_stand_for_its_neighbours(tmp_path):
    write_series(tmp_path)
    (tmp_path / "readme.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(InputError, match="readme.txt holds no DICOM slices"):
        read_scan(tmp_path / "readme.txt")


def test_slices_without_a_place_are_told(tmp_path):
    import pydicom

    paths = write_series(tmp_path)
    for path in paths:
        one = pydicom.dcmread(path)
        del one.ImageOrientationPatient
        one.save_as(path)
    for given in (tmp_path, paths[0]):
        with pytest.raises(InputError, match="do not state their position and orientation.*original series"):
            read_scan(given)


def test_what_may_not_be_read_is_told(tmp_path, monkeypatch):
    import os

    import pydicom

    def forbid(owner, name, forbidden):
        before = getattr(owner, name)

        def asked(path, *args, **kwargs):
            if Path(path) in forbidden:
                raise PermissionError(13, "Permission denied", str(path))
            return before(path, *args, **kwargs)

        monkeypatch.setattr(owner, name, asked)

    paths = write_series(tmp_path / "series")
    forbid(pydicom, "dcmread", paths[:1])
    assert "1 of the folder's files may not be read and were left out." in read_scan(tmp_path / "series").warnings
    forbid(pydicom, "dcmread", paths)
    with pytest.raises(InputError, match="No permission to read files in series"):
        read_scan(tmp_path / "series")
    (tmp_path / "none").mkdir()
    forbidden = [tmp_path / "a.nrrd", tmp_path / "none" / "b.dcm"]
    for path in forbidden:
        path.write_bytes(b"nothing")
    forbid(Path, "open", forbidden)
    with pytest.raises(InputError, match="No permission to read .*b.dcm"):
        read_volume(tmp_path / "none")
    forbid(os, "scandir", [tmp_path / "series"])
    for path in (tmp_path / "a.nrrd", tmp_path / "series"):
        for read in (read_scan, read_volume):
            with pytest.raises(InputError, match=f"No permission to read .*{path.name}"):
                read(path)


def test_a_number_chooses_the_series_of_that_number(tmp_path):
    write_series(tmp_path / "a", SeriesNumber=2, SeriesDescription="t1_sag", slices=6)
    write_series(tmp_path / "b", SeriesNumber=3, SeriesDescription="t2_sag", SeriesInstanceUID="1.2.3.111111")
    assert "t1_sag" in read_scan(tmp_path, "2").name
    assert "t2_sag" in read_scan(tmp_path, "T2").name
    assert "t2_sag" in read_scan(tmp_path, "1.2.3.111111").name


def test_rounding_of_orientations_splits_no_series(tmp_path):
    a = 0.005  # np.round(..., 2) has a border here
    for i, path in enumerate(write_series(tmp_path, orientation=(a, (1 - a * a) ** 0.5, 0, 0, 0, -1))):
        import pydicom

        one = pydicom.dcmread(path)
        one.ImageOrientationPatient = [a + (-1) ** i * 2e-6, (1 - a * a) ** 0.5, 0, 0, 0, -1]
        one.save_as(path)
    assert read_scan(tmp_path).array.shape[2] == 8


def test_several_people_in_a_folder_are_told_without_their_names(tmp_path):
    write_series(tmp_path / "a", PatientID="Anna", StudyInstanceUID="1.2.3")
    assert not any("several patients" in w for w in read_scan(tmp_path).warnings)
    write_series(tmp_path / "b", PatientID="Bert", StudyInstanceUID="1.2.4")
    scan = read_scan(tmp_path)
    assert any("several patients or studies; only series 3 t2_sag (8 images) was read" in w for w in scan.warnings)
    assert "Other series in the folder: series 3 t2_sag." in scan.notes
    assert not any(name in " ".join([scan.name, *scan.notes, *scan.warnings]) for name in ("Anna", "Bert"))
    assert not any("several patients" in w for w in read_scan(next((tmp_path / "a").iterdir())).warnings)


def test_a_file_stands_for_its_series(tmp_path):
    path = write_series(tmp_path)[5]
    write_series(tmp_path, SeriesDescription="t2_sag_other", slices=12)
    assert read_scan(path).array.shape[2] == 8


def test_no_patient_name_reaches_the_scan(tmp_path):
    write_series(tmp_path, PatientName="Secret^Person", PatientID="4711")
    scan = read_scan(tmp_path)
    assert "Secret" not in " ".join([scan.name, *scan.notes, *scan.warnings])

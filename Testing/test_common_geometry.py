"""Voxel indices, RAS and LPS; volumes through files and back."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation
from SpineMotionToolsLib.common import geometry
from SpineMotionToolsLib.common.errors import InputError, OutputError
from SpineMotionToolsLib.common.image_files import check_whole
from SpineMotionToolsLib.common.volumes import Volume, from_image, read_volume, to_image, write_volume

number = st.floats(-500, 500, width=32)
points = arrays(np.float64, st.tuples(st.integers(0, 4), st.just(3)), elements=number)


@st.composite
def matrices(draw):
    """IJK-to-RAS matrices as scanners make them: any rotation, mirrored or not, any voxel size."""
    matrix = np.eye(4)
    spacing = [draw(st.floats(0.05, 20)) for _ in range(3)]
    mirror = np.diag([draw(st.sampled_from([-1.0, 1.0])), 1.0, 1.0])
    rotation = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True).as_matrix()
    matrix[:3, :3] = rotation @ mirror @ np.diag(spacing)
    matrix[:3, 3] = [draw(number) for _ in range(3)]
    return matrix


@given(matrices(), points)
def test_ijk_and_ras_are_inverse(matrix, ijk):
    assert np.allclose(geometry.ras_to_ijk(matrix, geometry.ijk_to_ras(matrix, ijk)), ijk, atol=1e-6)


@given(points)
def test_lps_twice_is_ras(ras):
    assert np.array_equal(geometry.lps_to_ras(geometry.lps_to_ras(ras)), ras)


@given(matrices())
def test_spacing_and_direction_rebuild_the_matrix(matrix):
    spacing, direction = geometry.spacing_of(matrix), geometry.direction_of(matrix)
    assert np.allclose(direction * spacing, matrix[:3, :3])
    assert np.allclose(np.linalg.norm(direction, axis=0), 1)


def test_a_point_that_can_be_checked_by_hand():
    matrix = np.array([[0, 0, -2, 10], [0.5, 0, 0, 20], [0, -1, 0, 30], [0, 0, 0, 1]])
    assert np.array_equal(geometry.ijk_to_ras(matrix, [2, 3, 4]), [2, 21, 27])
    assert np.array_equal(geometry.lps_to_ras([1, 2, 3]), [-1, -2, 3])
    assert np.array_equal(geometry.spacing_of(matrix), [0.5, 1, 2])


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros(4), 3.0])
def test_bad_points(bad):
    with pytest.raises(InputError, match="three coordinates"):
        geometry.ijk_to_ras(np.eye(4), bad)


def test_bad_matrices():
    with pytest.raises(InputError, match="4x4"):
        geometry.ijk_to_ras(np.eye(3), [0, 0, 0])
    with pytest.raises(InputError, match="singular"):
        geometry.ras_to_ijk(np.diag([1.0, 0, 1, 1]), [0, 0, 0])


@given(matrices())
@settings(max_examples=30)
def test_every_voxel_keeps_its_place_in_itk(matrix):
    volume = Volume(np.zeros((2, 3, 4), np.int16), matrix)
    image = to_image(volume)
    for ijk in [(0, 0, 0), (3, 2, 1), (1, 0, 1)]:
        lps = image.TransformIndexToPhysicalPoint(ijk)
        assert np.allclose(geometry.lps_to_ras(lps), geometry.ijk_to_ras(matrix, ijk), atol=1e-3)
    assert np.allclose(from_image(image).ijk_to_ras, matrix, atol=1e-4)


@pytest.mark.parametrize("extension", [".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, bool, np.float16])
def test_volume_through_a_file(tmp_path, extension, dtype):
    matrix = np.diag([0.0607, 0.0607, 0.1, 1])
    matrix[:3, 3] = [-12.5, 30, 7]
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    path = tmp_path / f"Größe 骨 1{extension}"
    write_volume(path, Volume(array, matrix, unit="HU"))
    volume = read_volume(path)
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.ijk_to_ras, matrix, atol=1e-5)
    assert volume.spacing_mm == pytest.approx((0.0607, 0.0607, 0.1))
    assert volume.name == "Größe 骨 1"
    if extension in (".nrrd", ".mha"):
        assert volume.unit == "HU"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_picture_is_a_volume_with_one_slice(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(6, dtype=np.uint8).reshape(2, 3)), str(tmp_path / "xray.png"))
    volume = read_volume(tmp_path / "xray.png")
    assert volume.array.shape == (1, 2, 3)
    assert np.allclose(volume.ijk_to_ras, np.diag([-1, -1, 1, 1]))


def test_files_that_are_no_volume(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_volume(tmp_path / "a.nrrd")
    (tmp_path / "a.nrrd").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged or of a format"):
        read_volume(tmp_path / "a.nrrd")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="damaged or of a format"):
        read_volume(tmp_path / "empty.nii.gz")
    write_volume(tmp_path / "whole.nrrd", Volume(np.random.default_rng(0).random((8, 8, 8))))
    (tmp_path / "cut.nrrd").write_bytes((tmp_path / "whole.nrrd").read_bytes()[:700])
    with pytest.raises(InputError, match="damaged or of a format"):
        read_volume(tmp_path / "cut.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 3), np.uint8), isVector=True), str(tmp_path / "color.png"))
    with pytest.raises(InputError, match="3 values per voxel"):
        read_volume(tmp_path / "color.png")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 2, 2, 2), np.int16), isVector=False), str(tmp_path / "4d.nii"))
    with pytest.raises(InputError, match="4 dimensions"):
        read_volume(tmp_path / "4d.nii")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="no DICOM series"):
        read_volume(tmp_path / "folder")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_cut_off_files_are_not_filled_up(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    write_volume(path, Volume(np.random.default_rng(0).random((8, 8, 8))))
    whole = path.read_bytes()
    assert read_volume(path).array.shape == (8, 8, 8)
    for kept in (len(whole) // 2, len(whole) - 60):
        path.write_bytes(whole[:kept])
        with pytest.raises(InputError, match=f"a{extension} is cut off: it holds [0-9]+ of 4448 bytes"):
            read_volume(path)
    if extension == ".nii.gz":
        path.write_bytes(whole[:-4])
        with pytest.raises(InputError, match="is cut off: its end is missing"):
            read_volume(path)
        path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
        with pytest.raises(InputError, match="damaged"):
            read_volume(path)


@pytest.mark.parametrize("order", "<>")
def test_the_size_that_a_nifti_2_header_states(tmp_path, order):
    header = bytearray(544)
    struct.pack_into(f"{order}i4s", header, 0, 540, b"n+2\0")
    struct.pack_into(f"{order}hh8qd", header, 12, 4, 16, 3, 4, 5, 6, 1, 1, 1, 1, 0)
    struct.pack_into(f"{order}q", header, 168, 544)
    (tmp_path / "a.nii").write_bytes(header + bytes(100))
    with pytest.raises(InputError, match="it holds 644 of 784 bytes"):
        check_whole(tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes(header + bytes(240))
    check_whole(tmp_path / "a.nii")


def write_slices(folder, positions_mm):
    """A DICOM series of 2 x 3 pixels, one slice per position."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, position in enumerate(positions_mm):
        image = sitk.GetImageFromArray(np.full((1, 2, 3), number, np.int16))
        image.SetSpacing((0.5, 0.5, 2.0))
        tags = {
            "0008|0060": "MR",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{number + 1}",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|0013": str(number + 1),
            "0020|0032": f"10\\20\\{position}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number}.dcm"))
        writer.Execute(image)


def test_dicom_folder(tmp_path):
    write_slices(tmp_path / "even", [0, 2, 4, 6])
    volume = read_volume(tmp_path / "even")
    assert volume.array[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert volume.spacing_mm == pytest.approx((0.5, 0.5, 2.0))
    assert np.allclose(geometry.ijk_to_ras(volume.ijk_to_ras, [0, 0, 3]), [-10, -20, 6])
    write_slices(tmp_path / "gap", [0, 2, 4, 10])
    with pytest.raises(InputError, match="2.0 to 6.0 mm apart"):
        read_volume(tmp_path / "gap")
    write_slices(tmp_path / "rounded", [0, 2.01, 3.99, 6])
    assert read_volume(tmp_path / "rounded").array.shape == (4, 2, 3)


def test_outputs_that_cannot_be_written(tmp_path):
    volume = Volume(np.zeros((2, 3, 4), np.int16))
    for name in ("a.mhd", "a.hdr"):
        with pytest.raises(OutputError, match="two files"):
            write_volume(tmp_path / name, volume)
    with pytest.raises(OutputError, match="format is not supported"):
        write_volume(tmp_path / "a.xyz", volume)
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    with pytest.raises(OutputError, match="right angles"):
        write_volume(tmp_path / "a.nrrd", Volume(volume.array, sheared))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("matrix", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)])
def test_bad_geometry(matrix):
    with pytest.raises(InputError, match="invertible 4x4"):
        Volume(np.zeros((2, 2, 2)), matrix)


def test_bad_array_and_frozen_geometry():
    with pytest.raises(InputError, match="three axes"):
        Volume(np.zeros((2, 2)))
    matrix = np.eye(4)
    volume = Volume(np.zeros((2, 2, 2)), matrix)
    matrix[0, 0] = 5
    assert volume.spacing_mm == (1, 1, 1)
    with pytest.raises(ValueError, match="read-only"):
        volume.ijk_to_ras[0, 0] = 2

"""Bad scans: each ends in one sentence that names the next step, or in a result that says what was odd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.volumes import Volume
from SpineMotionToolsLib.motion.inputs import open_scan, read_scan
from SpineMotionToolsLib.motion.pipeline import grade
from SpineMotionToolsLib.motion.scanco import read_header

from Testing import motion_header_fuzz
from Testing.motion_scans import INT8, LOG, UINT8, aim_bytes, isq_bytes, phantom, seeded_ensemble, write

CPU = Engine(device="cpu", precision="float32", threads=1)


@pytest.fixture(scope="module")
def voxels() -> np.ndarray:
    return np.ascontiguousarray(phantom((40, 36, 4)).transpose(2, 1, 0))


def refused(path: Path, words: str, **options) -> None:
    with pytest.raises(InputError, match=words) as caught:
        open_scan(path, **options)
    message = str(caught.value)
    assert message.endswith(".")
    assert message.count("\n") == 0


# ----- files


@pytest.mark.parametrize("kind", ["v020", "v030", "isq"])
@pytest.mark.parametrize("share", [0.999, 0.5, 0.05, 0.01])
def test_truncated(tmp_path, voxels, kind, share):
    data = isq_bytes(voxels) if kind == "isq" else aim_bytes(voxels, int(kind[1:]))
    path = write(tmp_path / "scan.aim", data[: int(len(data) * share)])
    refused(path, "truncated|not an AIM")


def test_empty_missing_and_foreign(tmp_path):
    refused(write(tmp_path / "a.aim", b""), "is empty")
    refused(tmp_path / "b.aim", "does not exist")
    refused(write(tmp_path / "c.aim", b"PK\x03\x04" + bytes(2000)), "not an AIM or ISQ file")
    refused(write(tmp_path / "d.nrrd", b"no image" * 10), "could not be read as an image")
    refused(write(tmp_path / "e.txt", b"no image"), "could not be read as an image")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "no DICOM series")


@pytest.mark.parametrize("code", [INT8, UINT8, 0x00080002])
def test_a_mask_is_no_scan(tmp_path, code):
    mask = np.zeros((3, 8, 9), np.int8)
    mask[1] = 127
    path = write(tmp_path / "scan.aim", aim_bytes(mask, code=code))
    refused(path, "is a mask, not a scan with gray values")
    with pytest.raises(InputError, match="mask"):
        open_scan((mask > 0).transpose(2, 1, 0))


def test_a_mask_in_disguise_is_named(voxels):
    scan = open_scan(np.where(phantom((40, 36, 4)) > 1000, 127, 0).astype(np.int16))
    assert any("few different values only" in warning for warning in scan.warnings)
    labels = open_scan((np.arange(40 * 36 * 4).reshape(40, 36, 4) % 5).astype(np.uint8))
    assert any("few different values only" in warning for warning in labels.warnings)


@pytest.mark.parametrize(("spacing", "warned"), [(0.0607, False), (0.082, False), (0.0, True), (0.7, True)])
def test_voxels_of_another_kind_of_scan_are_told(tmp_path, voxels, spacing, warned):
    """A clinical CT, or a file without a voxel size, is graded, but not silently."""
    scan = open_scan(write(tmp_path / "scan.AIM", aim_bytes(voxels, spacing=spacing)))
    assert any("not those of an HR-pQCT scan" in warning for warning in scan.warnings) == warned
    assert not open_scan(voxels.transpose(2, 1, 0)).warnings, "a bare array has no voxel size"


def test_unknown_voxel_type(tmp_path, voxels):
    refused(write(tmp_path / "a.aim", aim_bytes(voxels, code=0x00990009)), "0x00990009")


def test_radiographs_are_no_scans(tmp_path, voxels):
    data = bytearray(isq_bytes(voxels))
    data[16:20] = (9).to_bytes(4, "little")
    refused(write(tmp_path / "a.isq", bytes(data)), "scout view or radiograph")


@pytest.mark.parametrize("missing", ["Mu_Scaling", "HU: mu water", "Density: slope", "Density: intercept"])
def test_missing_calibration(tmp_path, voxels, missing):
    """Native units need none; every other unit is refused, never silently replaced."""
    log = "\n".join(line for line in LOG.splitlines() if not line.startswith(missing))
    path = write(tmp_path / "a.aim", aim_bytes(voxels, log=log))
    assert open_scan(path).info.unit == "native"
    for unit in ("mu", "hu", "density", "density-from-hu"):
        refused(path, f"{missing} missing.*unit 'native'", unit=unit)
    refused(path, missing, legacy=True)
    with pytest.raises(InputError, match=missing):
        read_scan(path, "density")
    result = grade(path, seeded_ensemble(), engine=CPU)
    assert "none in the file" in result.scan.describe_unit()
    assert any(f"{missing} missing), so the stored numbers were scored" in warning for warning in result.warnings)


def test_missing_calibration_of_an_isq(tmp_path, voxels):
    path = write(tmp_path / "a.isq", isq_bytes(voxels, calibrated=False))
    refused(path, "no calibration block.*'native'", unit="hu")
    opened = open_scan(path, crop="none")
    assert opened.info.unit == "native"
    assert any("no calibration block, so the stored numbers were scored" in warning for warning in opened.warnings)


def test_impossible_calibration(tmp_path, voxels):
    path = write(tmp_path / "a.aim", aim_bytes(voxels, log=LOG.replace("0.24090", "0.00000")))
    refused(path, "mu water 0", unit="hu")


# ----- voxels


def test_not_a_number():
    volume = phantom((30, 30, 3), "density32")
    volume[3, 4, 1] = np.nan
    with pytest.raises(InputError, match=r"In slice 1, 1 of .*smallest value"):
        grade(volume, seeded_ensemble(), engine=CPU)
    result = grade(volume, seeded_ensemble(), engine=CPU, replace_nan=True)
    assert any("1 voxels that were not numbers" in warning for warning in result.warnings)
    volume[3, 4, 1] = volume[:, :, 1][np.isfinite(volume[:, :, 1])].min()
    np.testing.assert_array_equal(result.votes, grade(volume, seeded_ensemble(), engine=CPU).votes)


def test_values_beyond_any_unit():
    volume = np.full((8, 8, 2), 1e300)
    with pytest.raises(InputError, match="beyond any unit"):
        grade(volume, seeded_ensemble(), engine=CPU)


def test_single_slice():
    result = grade(phantom((30, 30, 1)), seeded_ensemble(), engine=CPU)
    assert result.stack_ranges.tolist() == [[0, 1]]
    assert any("single slice" in warning for warning in result.warnings)


def test_constant_slices_are_named():
    """Also where padding, or what a neighbor lends in smoothing, puts other values into the image."""
    for shape in ((30, 30, 5), (30, 20, 5)):
        volume = phantom(shape)
        volume[:, :, 3:] = 700
        result = grade(volume, seeded_ensemble(), engine=CPU)
        assert any("2 of 5 slices hold one value only (3, 4)" in warning for warning in result.warnings)


def test_wrong_shapes():
    for array in (np.zeros((8, 8)), np.zeros((8, 8, 0), np.int16), np.zeros((8, 8, 2), complex)):
        with pytest.raises(InputError):
            open_scan(array)
    with pytest.raises(InputError):
        open_scan(Volume(np.zeros((0, 8, 8), np.int16)))


# ----- damaged headers


@pytest.mark.parametrize("number", [1, 2])
def test_mutated_headers_never_hang_or_crash(tmp_path, voxels, number):
    """600 damaged AIM and ISQ files in a child process: every one is read, or refused by an InputError."""
    mask = np.zeros((4, 20, 20), np.int8)
    runs = bytes(8) + bytes([200, 0, 200, 127] * 5)
    seeds = [
        aim_bytes(voxels, 20),
        aim_bytes(voxels, 30),
        isq_bytes(voxels),
        isq_bytes(voxels, multi=True),
        aim_bytes(mask, code=0x00080002, data=runs),
        aim_bytes(mask, code=0x00150001, data=runs),
        aim_bytes(mask, code=0x00060001, data=bytes(201)),
    ]
    paths = [str(write(tmp_path / f"seed{n}", data)) for n, data in enumerate(seeds)]
    done = subprocess.run(
        [sys.executable, str(Path(motion_header_fuzz.__file__)), str(tmp_path), str(number), *paths],
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "SpineMotionTools")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    read, refused_ = map(int, done.stdout.split())
    assert read > 50
    assert refused_ > 50


def test_headers_do_not_allocate_by_their_word(tmp_path):
    """A mask of 65536^3 voxels in a file of two kilobytes is refused before any memory is taken."""
    small = np.zeros((1, 1, 1), np.int8)
    for code in (0x00080002, 0x00150001, 0x00060001, INT8):
        data = bytearray(aim_bytes(small, 20, code=code, data=bytes(500)))
        for axis in range(3):
            at = 20 + 24 + 12 + 4 * axis
            data[at : at + 4] = (65536).to_bytes(4, "little")
        path = write(tmp_path / "a.aim", bytes(data))
        with pytest.raises(InputError, match="truncated"):
            read_scan(path)


def test_the_patient_name_stays_in_the_file(tmp_path, voxels):
    header = read_header(write(tmp_path / "a.aim", aim_bytes(voxels)))
    assert "DOE JANE" in header.log
    scan = open_scan(header.path)
    assert "DOE" not in repr(scan.info) + repr(scan)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are always characters there")
def test_a_name_that_is_no_text_is_a_sentence_where_itk_reads(tmp_path, voxels):
    """ITK would end the whole program. Scanco files are read without it."""
    from SpineMotionToolsLib.common.volumes import write_volume
    from SpineMotionToolsLib.motion.dicom import find_source

    from Testing.dicom_samples import write_classic

    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/by\xe9"))
    write_volume(tmp_path / "scan.mha", Volume(voxels))
    write_classic(folder, Volume(voxels), "CT")
    (tmp_path / "scan.mha").rename(folder / "scan.mha")
    for path, read in ((folder, open_scan), (folder, find_source), (folder / "scan.mha", open_scan)):
        with pytest.raises(InputError, match="Rename the file or its folder"):
            read(path)
    with pytest.raises(InputError, match="Rename the file or its folder"):
        write_volume(folder / "scan.nrrd", Volume(voxels))
    assert open_scan(write(folder / "scan.AIM", aim_bytes(voxels))).depth == len(voxels)


def test_a_folder_with_one_enhanced_dicom_file_is_a_scan(tmp_path, voxels, capfd):
    from Testing.dicom_samples import write_enhanced

    write_enhanced(tmp_path / "series" / "scan.dcm", Volume(voxels))
    assert open_scan(tmp_path / "series").info.shape_xyz == voxels.shape[::-1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM series"):
        open_scan(tmp_path / "empty")
    assert capfd.readouterr() == ("", "")

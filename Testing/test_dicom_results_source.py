"""What DICOM results refer to: headers read, places found, and what cannot be referred to told in a sentence."""

from __future__ import annotations

import warnings

import numpy as np
import pydicom
import pytest
from SpineMotionToolsLib.common.dicom_objects import own_code
from SpineMotionToolsLib.common.dicom_source import read_source, series_files
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.spine_codes import (
    DISC_PLANE_VALUES,
    DISC_VALUES,
    VERTEBRA_VALUES,
    disc_code,
    disc_plane_code,
    vertebra_code,
)
from SpineMotionToolsLib.common.volumes import Volume

from Testing.dicom_samples import PATIENT_NAME, write_classic, write_enhanced, write_radiograph
from Testing.spinenet_samples import made_volume


def small_volume() -> Volume:
    return Volume(np.zeros((5, 20, 16), np.uint16), np.diag([-0.5, -0.8, 3.0, 1.0]))


def edit(path, **tags) -> None:
    """Change a file's header; None removes a tag."""
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)


@pytest.mark.parametrize("enhanced", [None, True, False])
def test_every_frame_knows_its_place(tmp_path, enhanced):
    volume = made_volume((4, 1, 1.5), signs=(1, -1, -1))
    order = np.random.default_rng(0).permutation(len(volume.array)).tolist()
    if enhanced is None:
        files = write_classic(tmp_path, volume, order=order)
    else:
        files = [write_enhanced(tmp_path / "a.dcm", volume, enhanced, order)]
    source = read_source(files)
    places = range(len(volume.array)) if enhanced is None else order
    for frame, k in zip(source.frames, places, strict=True):
        for column, row in ((0, 0), (7, 3)):
            want = (volume.ijk_to_ras @ [column, row, k, 1.0])[:3]
            assert (frame.pixel_to_ras @ [column, row, 0, 1.0])[:3] == pytest.approx(want, abs=1e-6)
        assert source.frame_at(want) is frame
    assert source.is_multi_frame == (enhanced is not None)


def test_text_is_decoded_and_empty_tags_are_there(tmp_path):
    files = write_classic(tmp_path, small_volume())
    for file in files:
        edit(file, StudyID=None, AccessionNumber=None, PatientBirthDate=None)
    header = read_source(files).first
    assert str(header.PatientName) == PATIENT_NAME
    assert header.SpecificCharacterSet == "ISO_IR 192"
    assert header.StudyID == header.AccessionNumber == ""


def test_series_files_are_sorted_and_only_of_one_series(tmp_path):
    files = write_classic(tmp_path / "one", small_volume(), order=[3, 1, 4, 0, 2])
    assert series_files(tmp_path / "one") in (files, files[::-1])
    write_classic(tmp_path / "both", small_volume())
    write_radiograph(tmp_path / "both" / "other.dcm", np.zeros((30, 20)))
    with pytest.raises(InputError, match="2 DICOM series"):
        series_files(tmp_path / "both")


@pytest.mark.parametrize("content", [b"", b"CTDATA-HEADER_V1", b"\0" * 200])
def test_what_is_not_dicom_is_refused_with_the_next_step(tmp_path, content):
    (tmp_path / "C0001234.ISQ").write_bytes(content)
    with pytest.raises(InputError, match=r"C0001234\.ISQ is not DICOM.*Give the scan's DICOM files"):
        read_source([tmp_path / "C0001234.ISQ"])
    with pytest.raises(InputError, match="is not DICOM"):
        series_files(tmp_path)


def test_missing_files_and_identifiers_and_mixed_series_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not there anymore"):
        read_source([tmp_path / "gone.dcm"])
    with pytest.raises(InputError, match="is not DICOM"):
        read_source([])
    first = write_classic(tmp_path / "a", small_volume())
    second = write_classic(tmp_path / "b", small_volume())
    with pytest.raises(InputError, match="several series"):
        read_source([first[0], second[0]])
    edit(first[0], StudyInstanceUID=None)
    with pytest.raises(InputError, match="lacks StudyInstanceUID"):
        read_source(first)


def test_a_projection_has_no_place_in_the_patient(tmp_path):
    source = read_source([write_radiograph(tmp_path / "a.dcm", np.zeros((30, 20)))])
    assert source.frames[0].pixel_to_ras is None
    with pytest.raises(InputError, match="do not state where they lie"):
        source.frame_at([0, 0, 0])


def test_file_tag_holds_digits_of_the_series_only(tmp_path):
    source = read_source(write_classic(tmp_path, small_volume()))
    assert source.file_tag.isdigit()
    assert str(source.first.SeriesInstanceUID).replace(".", "").endswith(source.file_tag)


# ----- codes


def test_codes_are_those_of_the_standard():
    from pydicom.sr._concepts_dict import concepts

    known = {code: meaning for items in concepts["SCT"].values() for code, (meaning, _) in items.items()}
    for level in VERTEBRA_VALUES:
        code = vertebra_code(level)
        assert level == "S1" or known[code.value] == code.meaning  # the standard's list ends at L5
    for level in DISC_VALUES:
        in_cid_7604 = [code for code, (name, cids) in _named(concepts, disc_code(level).meaning) if 7604 in cids]
        assert in_cid_7604 == [DISC_VALUES[level]]
    for level in DISC_PLANE_VALUES:
        assert known[disc_plane_code(level).value] == disc_plane_code(level).meaning


def _named(concepts, meaning):
    return [(c, v) for items in concepts["SCT"].values() for c, v in items.items() if v[0] == meaning]


@pytest.mark.parametrize("level", ["L6", "T13", "S2"])
def test_levels_without_a_code_are_vertebrae(level):
    assert vertebra_code(level).meaning == "Vertebra"
    assert disc_code(f"{level}-S1").meaning == disc_plane_code(f"{level}-S1").meaning == "Intervertebral disc"


def test_own_codes_fit_the_standard():
    code = own_code("AVeryLongCodeValueIndeed", "m" * 100)
    assert (len(code.value), len(code.meaning), code.scheme) == (16, 64, "99SMT")


@pytest.mark.filterwarnings("error")
def test_values_that_dicom_forbids_are_left_empty_and_never_logged(tmp_path):
    files = write_classic(tmp_path, small_volume())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            edit(file, PatientSex="W", PatientBirthDate="1970-01-01", StudyTime="10:15:00", PatientAge="56")
    header = read_source(files).first
    assert (header.PatientSex, header.PatientBirthDate, header.StudyTime) == ("", "", "")
    assert (header.PatientID, header.StudyDate) == ("4711", "20260301")

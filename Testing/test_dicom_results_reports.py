"""Reports of Cobb angles and motion grades read back: numbers, places on the images, review, marks, refusals."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from SpineMotionToolsLib import cli
from SpineMotionToolsLib.common.dicom_source import read_source
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.provenance import current
from SpineMotionToolsLib.common.volumes import Volume
from SpineMotionToolsLib.keypoints import batch as keypoint_batch
from SpineMotionToolsLib.keypoints import dicom as keypoint_dicom
from SpineMotionToolsLib.keypoints.radiograph import Scale
from SpineMotionToolsLib.motion import dicom as motion_dicom

from Testing import keypoint_samples, motion_samples
from Testing.dicom_checks import content_faults, dciodvfy_errors, missing_attributes
from Testing.dicom_samples import write_classic, write_radiograph

SIZE = (600, 250)


def groups_of(path) -> dict:
    report = hd.sr.MeasurementReport.from_sequence([hd.sr.srread(path)])
    return {group.tracking_identifier: group for group in report.get_image_measurement_groups()}


def choices_of(group) -> dict[str, str]:
    return {e.name.meaning: e.value.meaning for e in group.get_qualitative_evaluations()}


def observers(path, kind) -> list:
    report = hd.sr.MeasurementReport.from_sequence([hd.sr.srread(path)])
    return report.get_observer_contexts(observer_type=kind)


def is_valid(path) -> bool:
    assert missing_attributes(path) == []
    assert content_faults(pydicom.dcmread(path)) == []
    assert not dciodvfy_errors(path)
    return True


# ----- Cobb angles


@pytest.fixture
def session():
    made = keypoint_samples.session(SIZE, Scale(0.5, 0.5, "mm"))
    made.provenance = current("keypoints", "keypoints-starter", "cd" * 32, starter=True)
    return made


@pytest.fixture
def radiograph(tmp_path):
    return write_radiograph(tmp_path / "cr.dcm", keypoint_samples.picture(SIZE))


def test_every_curve_comes_back_with_its_ends_and_lines(session, radiograph, tmp_path):
    reading, source = session.reading, keypoint_dicom.find_source(radiograph)
    path = keypoint_dicom.write_dicom(reading, source, tmp_path / "report.dcm")
    groups = list(groups_of(path).values())
    assert is_valid(path)
    assert len(groups) == len(reading.curves) >= 1
    for group, curve in zip(groups, reading.curves, strict=True):
        (cobb,) = group.get_measurements()
        assert (cobb.name.value, cobb.name.meaning) == ("285285000", "Cobb angle")
        assert (cobb.value, cobb.unit.value) == (pytest.approx(curve.cobb_deg, abs=1e-4), "deg")
        uncertain = [item for item in cobb[0].ContentSequence if "uncertainty" in item.name.meaning]
        assert [float(u.value) for u in uncertain] == pytest.approx([curve.uncertainty_deg] * 2, abs=1e-4)
        assert {u.unit.value for u in uncertain} == {"deg"}
        sites = {s.topographical_modifier.meaning: s.value.meaning for s in group.finding_sites}
        assert sites["Upper end vertebra"] == f"{curve.upper_name} vertebra"
        assert sites["Lower end vertebra"] == f"{curve.lower_name} vertebra"
        assert sites["Apex of the curve"].startswith(curve.apex.replace("-", "/"))
        assert choices_of(group)["Region of the curve, by its apex"] == curve.region
        upper, lower = cobb.referenced_coordinates
        ends = reading.points_px[[4 * curve.upper, 4 * curve.upper + 1, 4 * curve.lower + 2, 4 * curve.lower + 3]]
        drawn = np.concatenate([upper.value, lower.value])
        assert drawn == pytest.approx(ends[:, ::-1] + 0.5, abs=1e-3)
        image = upper.ContentSequence[0].ReferencedSOPSequence[0]
        assert image.ReferencedSOPInstanceUID == source.first.SOPInstanceUID
    texts = [item.TextValue for item in pydicom.dcmread(path).ContentSequence if item.ValueType == "TEXT"]
    assert any("Starter model" in text for text in texts)
    assert observers(path, codes.DCM.Person) == []


@pytest.mark.parametrize(("side", "shown"), [("left", "Right"), ("right", "Left"), ("unknown", "picture's right")])
def test_convexity_is_the_patients_side(session, radiograph, tmp_path, side, shown):
    reading = replace(session.reading, patient_right_on=side)
    curve = reading.curves[0]
    want = {"Right": "Left", "Left": "Right"}.get(shown, shown) if curve.convex_to == "right" else shown
    path = keypoint_dicom.write_dicom(reading, keypoint_dicom.find_source(radiograph), tmp_path / "report.dcm")
    found = choices_of(next(iter(groups_of(path).values())))["Convexity"]
    assert found.startswith(want if side != "unknown" else f"picture's {curve.convex_to}")


def test_lines_of_a_turned_picture_lie_on_the_file(session, radiograph, tmp_path):
    reading = replace(session.reading, turned=(True, False))
    path = keypoint_dicom.write_dicom(reading, keypoint_dicom.find_source(radiograph), tmp_path / "report.dcm")
    (cobb,) = next(iter(groups_of(path).values())).get_measurements()
    row, column = reading.points_px[4 * reading.curves[0].upper]
    assert cobb.referenced_coordinates[0].value[0] == pytest.approx((SIZE[1] - 1 - column + 0.5, row + 0.5), abs=1e-3)


def test_a_straight_spine_reports_its_largest_curve(session, radiograph, tmp_path):
    straight = replace(session.reading, points_px=keypoint_samples.spine(SIZE, bend=0.004))
    assert not straight.curves
    path = keypoint_dicom.write_dicom(straight, keypoint_dicom.find_source(radiograph), tmp_path / "report.dcm")
    (group,) = groups_of(path).values()
    assert group.get_measurements()[0].value == pytest.approx(straight.main_curve.cobb_deg, abs=1e-4)
    texts = [item.TextValue for item in pydicom.dcmread(path).ContentSequence if item.ValueType == "TEXT"]
    assert "No curve of 10 degrees or more; the largest is given." in texts


def test_corrected_corners_name_a_person(session, radiograph, tmp_path):
    session.correct(10, tuple(session.reading.points_px[10] + 2))
    source = keypoint_dicom.find_source(radiograph)
    path = keypoint_dicom.write_dicom(session.reading, source, tmp_path / "report.dcm", reviewer="Doe^Jane")
    (person,) = observers(path, codes.DCM.Person)
    assert str(person.observer_identifying_attributes.name) == "Doe^Jane"
    assert len(observers(path, codes.DCM.Device)) == 1


def test_other_pictures_and_formats_are_refused(session, tmp_path):
    other = write_radiograph(tmp_path / "other.dcm", keypoint_samples.picture((700, 250)))
    with pytest.raises(InputError, match="250 x 700 pixels and the reading 250 x 600"):
        keypoint_dicom.write_dicom(session.reading, keypoint_dicom.find_source(other), tmp_path / "report.dcm")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" + bytes(200))
    with pytest.raises(InputError, match=r"picture\.png is not DICOM"):
        keypoint_dicom.find_source(tmp_path / "picture.png")
    with pytest.raises(InputError, match="does not exist"):
        keypoint_dicom.find_source(tmp_path / "gone.dcm")
    few = replace(session.reading, absent=tuple(range(2, 17)))
    with pytest.raises(InputError, match="nothing to report"):
        keypoint_dicom.write_dicom(few, read_source([other]), tmp_path / "report.dcm", pixels=few.points_px[:, ::-1])


def test_detect_writes_a_report_beside_the_tables(radiograph, session, tmp_path, monkeypatch):
    class Made:
        def __init__(self, picture):
            self.radiograph, self.to_json = picture, session.to_json

        def detect(self):
            return session.reading

    monkeypatch.setattr(keypoint_batch, "start_session", lambda picture, **options: Made(picture))
    monkeypatch.setattr(keypoint_batch, "load_predictor", lambda *arguments: None)
    from PIL import Image

    Image.fromarray(keypoint_samples.picture(SIZE)).save(tmp_path / "picture.png")
    status = cli.main(
        [
            "keypoints",
            "detect",
            str(radiograph),
            str(tmp_path / "picture.png"),
            "--out",
            str(tmp_path / "out"),
            "--dicom",
        ]
    )
    assert status == 3  # the picture that is no DICOM
    assert groups_of(tmp_path / "out" / "cr-report.dcm")
    summary = (tmp_path / "out" / "keypoints-summary.csv").read_text(encoding="utf-8")
    assert "picture.png is not DICOM" in summary


# ----- motion grades


@pytest.fixture
def scan(tmp_path):
    """A result, and the CT-like DICOM series of its scan in shuffled files."""
    result = motion_samples.random_result(warnings=["A warning."])
    volume = Volume(np.zeros((24, 80, 96), np.uint16), result.scan.ijk_to_ras)
    order = np.random.default_rng(3).permutation(24).tolist()
    return result, write_classic(tmp_path / "scan", volume, "CT", order), tmp_path / "scan"


def test_grades_of_scan_and_stacks_come_back_with_their_slices(scan, tmp_path):
    result, files, folder = scan
    path = motion_dicom.write_dicom(result, motion_dicom.find_source(folder), tmp_path / "report.dcm")
    assert is_valid(path)
    groups = groups_of(path)
    whole = groups["Scan"]
    grade = "Motion grade, 1 (none visible) to 5 (severe)"
    assert choices_of(whole)[grade].startswith(f"Grade {result.grade}:")
    assert choices_of(whole)["Highest motion grade of a stack"].startswith(f"Grade {result.worst_stack_grade}:")
    assert choices_of(whole)["Validity of these grades"] == "demonstration, no clinical meaning"
    assert choices_of(whole)["Review of the automatic grade"] == "not reviewed"
    agreement, severe = whole.get_measurements()
    assert (agreement.value, agreement.unit.value) == (result.confidence_percent, "%")
    assert severe.value == pytest.approx(100 * result.fraction_slices_ge4, abs=1e-4)
    instance = [str(pydicom.dcmread(file).SOPInstanceUID) for file in files]
    for number, (first, end) in enumerate(result.stack_ranges.tolist()):
        group = groups[f"Stack {number + 1}, slices {first} to {end - 1} (counted from 0)"]
        assert choices_of(group)[grade].startswith(f"Grade {int(result.stack_grades[number])}:")
        assert [str(i.referenced_sop_instance_uid) for i in group.source_images] == instance[first:end]
    assert observers(path, codes.DCM.Person) == []
    texts = [item.TextValue for item in pydicom.dcmread(path).ContentSequence if item.ValueType == "TEXT"]
    assert "A warning." in texts


def test_a_review_is_told_with_its_person(scan, tmp_path):
    result, _, folder = scan
    stack = int(result.stack_grades[0])
    review = motion_dicom.Review("jm", min(5, result.grade + 1), {1: stack}, "ring artifact")
    path = motion_dicom.write_dicom(result, motion_dicom.find_source(folder), tmp_path / "report.dcm", review)
    groups = groups_of(path)
    choices = choices_of(groups["Scan"])
    assert choices["Review of the automatic grade"] == "changed by the reviewer"
    assert choices["Motion grade given by the reviewer"].startswith(f"Grade {review.grade}:")
    states = [choices_of(g)["Review of the automatic grade"] for name, g in groups.items() if name.startswith("Stack")]
    assert states == ["confirmed by the reviewer", *["not reviewed"] * (len(states) - 1)]
    (person,) = observers(path, codes.DCM.Person)
    assert str(person.observer_identifying_attributes.name) == "jm^"


def test_grades_of_trained_models_carry_no_mark(scan, tmp_path):
    _, _, folder = scan
    result = motion_samples.random_result(starter=False)
    path = motion_dicom.write_dicom(result, motion_dicom.find_source(folder), tmp_path / "report.dcm")
    assert "Validity of these grades" not in choices_of(groups_of(path)["Scan"])
    assert "starter" not in str(pydicom.dcmread(path).SeriesDescription)


def test_another_series_or_format_is_refused(scan, tmp_path):
    result, _, _ = scan
    matrix = np.array(result.scan.ijk_to_ras)
    matrix[2, 3] += 50
    moved = Volume(np.zeros((24, 80, 96), np.uint16), matrix)
    write_classic(tmp_path / "moved", moved, "CT")
    with pytest.raises(InputError, match="do not lie where the graded slices lie"):
        motion_dicom.write_dicom(result, motion_dicom.find_source(tmp_path / "moved"), tmp_path / "report.dcm")
    (tmp_path / "C0001.AIM").write_bytes(b"AIMDATA_V030   " + bytes(300))
    with pytest.raises(InputError, match=r"C0001\.AIM is not DICOM"):
        motion_dicom.find_source(tmp_path / "C0001.AIM")
    with pytest.raises(InputError, match="does not exist"):
        motion_dicom.find_source(tmp_path / "gone")


def test_grade_writes_a_report_and_skips_what_is_not_dicom(tmp_path, capsys):
    weights = motion_samples.write_weights(tmp_path / "seeded", (19,))
    array = np.stack([motion_samples.phantom_slice(z).T for z in range(3)]).clip(0).astype(np.uint16)
    write_classic(tmp_path / "in" / "scan", Volume(array, np.diag([-0.06, -0.06, 0.06, 1.0])), "CT")
    other = motion_samples.write_scan(tmp_path / "in" / "other.AIM")
    arguments = [
        tmp_path / "in" / "scan",
        other,
        "--out",
        tmp_path / "out",
        "--weights",
        weights,
        "--dicom",
        "--no-report",
    ]
    assert cli.main(["motion", "grade", *map(str, arguments)]) == 3
    assert "other.AIM is not DICOM" in capsys.readouterr().err
    report = tmp_path / "out" / "scan_report.dcm"
    assert "Scan" in groups_of(report)
    report.unlink()
    assert cli.main(["motion", "grade", *map(str, arguments)]) == 3  # graded before: only the report is written anew
    assert report.is_file()

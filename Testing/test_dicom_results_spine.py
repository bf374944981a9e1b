"""A spine's segmentation and report, read back: the same voxels in the same place, the same numbers, coded, valid."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from SpineMotionToolsLib.common.dicom_source import read_source
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.geometry import LPS_TO_RAS
from SpineMotionToolsLib.common.provenance import current
from SpineMotionToolsLib.spinenet import batch, dicom, editing, pipeline
from SpineMotionToolsLib.spinenet.inputs import read_scan
from SpineMotionToolsLib.spinenet.models import Models
from SpineMotionToolsLib.spinenet.pipeline import measure
from SpineMotionToolsLib.spinenet.results import Spine

from Testing.dicom_checks import content_faults, dciodvfy_errors, missing_attributes
from Testing.dicom_samples import PATIENT_NAME, write_classic, write_enhanced
from Testing.spinenet_samples import (
    DEPTH_MM,
    HEIGHT_MM,
    LEVELS,
    PITCH_MM,
    WIDTH_MM,
    made_spine,
    made_volume,
)

ANGLE = np.radians(15)
OBLIQUE = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
COARSE = (4.0, 2.0, 2.0)  # quick, and enough to tell places


class Written:
    """A made spine, its DICOM images and the results written for them."""

    def __init__(self, folder, spine: Spine, files, **options) -> None:
        self.spine, self.source = spine, read_source(files)
        self.paths = dicom.write_dicom(spine, self.source, folder, **options)
        self.segmentation = hd.seg.segread(self.paths[0])
        self.report = hd.sr.srread(self.paths[1])

    @cached_property
    def content(self):
        return hd.sr.MeasurementReport.from_sequence([self.report])

    @cached_property
    def groups(self) -> dict:
        found = self.content
        every = found.get_volumetric_roi_measurement_groups() + found.get_image_measurement_groups()
        return {group.tracking_identifier: group for group in every}

    def texts(self) -> list[str]:
        return [item.TextValue for item in self.report.ContentSequence if item.ValueType == "TEXT"]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Written:
    folder = tmp_path_factory.mktemp("spine")
    volume = made_volume(COARSE)
    sha256 = ",".join(["ab" * 32] * 4)
    made = current("spinenet", "spinenet-starter", sha256, starter=True, parameters={"penalise_skips": True})
    spine = replace(made_spine(volume), provenance=made, warnings=("A warning.",))
    return Written(folder / "out", spine, write_classic(folder / "in", volume))


@pytest.fixture(scope="module")
def short(written) -> Spine:
    """The lowest three vertebrae, L4 to S1: quick to write."""
    vertebrae = written.spine.vertebrae[-3:]
    discs = tuple(replace(d, upper=d.upper - 4, lower=d.lower - 4) for d in written.spine.discs[-2:])
    return measure(replace(written.spine, vertebrae=vertebrae, discs=discs))


# ----- place


def inside_bodies(ras: np.ndarray, rotation: np.ndarray, margin_mm: float, depth_mm: float) -> np.ndarray:
    """Number of the made vertebra (from 1, S1 left out) that holds each RAS point (..., 3) grown by a margin, or 0."""
    r, a, s = np.moveaxis(ras @ rotation, -1, 0)
    found = np.zeros(r.shape, int)
    for index in range(len(LEVELS) - 1):
        center = 0.5 * PITCH_MM * (len(LEVELS) - 1) - PITCH_MM * index
        across = abs(a) <= DEPTH_MM / 2 + margin_mm
        found[across & (abs(s - center) <= HEIGHT_MM / 2 + margin_mm) & (abs(r) <= depth_mm)] = index + 1
    return found


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("classic", {}),
        ("classic", {"signs": (-1, -1, -1)}),
        ("classic", {"signs": (1, -1, -1)}),
        ("classic", {"signs": (-1, -1, 1), "rotation": OBLIQUE}),
        ("classic", {"signs": (-1, -1, 1), "order": (0, 1, 2), "spacing_mm": (2.0, 2.0, 2.0)}),
        ("classic", {"spacing_mm": (4.0, 1.5, 2.0)}),
        ("enhanced", {"signs": (-1, -1, -1)}),
        ("enhanced, own orientation", {"rotation": OBLIQUE}),
    ],
    ids=[
        "left to right",
        "mirrored",
        "right to left",
        "oblique",
        "axial",
        "not square",
        "enhanced",
        "enhanced oblique",
    ],
)
def test_bodies_come_back_where_they_are(tmp_path, kind, options):
    options = {"spacing_mm": COARSE, **options}
    rotation = options.get("rotation", np.eye(3))
    volume = made_volume(**options)
    order = np.random.default_rng(1).permutation(len(volume.array)).tolist()
    if kind == "classic":
        files = write_classic(tmp_path / "in", volume, order=order)
    else:
        files = [write_enhanced(tmp_path / "in" / "a.dcm", volume, kind == "enhanced", order)]
    assert dicom.find_source(tmp_path / "in").first.SeriesInstanceUID == pydicom.dcmread(files[0]).SeriesInstanceUID
    found = read_scan(tmp_path / "in").geometry
    spine = made_spine(volume, rotation, graded=False)
    assert found.index_to_ras == pytest.approx(spine.geometry.index_to_ras, abs=1e-4)  # terminal and scene read alike
    result = Written(tmp_path / "out", spine, files)

    read = result.segmentation.get_volume(combine_segments=True)
    to_ras = LPS_TO_RAS @ read.affine
    index = np.stack(np.meshgrid(*map(np.arange, read.spatial_shape), indexing="ij"), axis=-1)
    ras = index @ to_ras[:3, :3].T + to_ras[:3, 3]
    on_grid = (np.linalg.inv(volume.ijk_to_ras) @ to_ras)[:3]
    assert abs(on_grid - np.rint(on_grid)).max() < 1e-4  # the source's own voxels
    label_of = {s.SegmentLabel: s.SegmentNumber for s in result.segmentation.SegmentSequence}
    half_slice = options["spacing_mm"][0] / 2
    surely = inside_bodies(ras, rotation, -1.1, WIDTH_MM / 2 - half_slice)
    maybe = inside_bodies(ras, rotation, 1.1, WIDTH_MM / 2 + 2 * half_slice)
    assert (surely > 0).sum() > 1000
    for number, level in enumerate(LEVELS[:-1], start=1):
        voxels = read.array == label_of[level]
        assert voxels[surely == number].all()
        assert not voxels[maybe != number].any()


def test_segments_are_coded_and_name_their_sources(written):
    segments = written.segmentation.SegmentSequence
    assert [s.SegmentLabel for s in segments][:4] == ["T12", "T12-L1 disc", "L1", "L1-L2 disc"]
    assert len(segments) == 2 * len(LEVELS) - 1
    types = {s.SegmentLabel: s.SegmentedPropertyTypeCodeSequence[0] for s in segments}
    assert (types["L4"].CodeValue, types["L4"].CodingSchemeDesignator) == ("11994002", "SCT")
    assert (types["L4-L5 disc"].CodeValue, types["L4-L5 disc"].CodeMeaning) == ("84020006", "L4/L5 disc")
    category = segments[0].SegmentedPropertyCategoryCodeSequence[0]
    assert hd.sr.CodedConcept.from_dataset(category) == codes.cid7150.AnatomicalStructure
    assert {s.SegmentAlgorithmType for s in segments} == {"AUTOMATIC"}
    algorithm = segments[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "SpineMotionTools spinenet"
    assert "ab" * 32 in algorithm.AlgorithmParameters
    sources = {str(header.SOPInstanceUID) for header in written.source.headers}
    named = {
        str(r.ReferencedSOPInstanceUID)
        for r in written.segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert named == sources
    for group in written.segmentation.PerFrameFunctionalGroupsSequence:
        image = group.DerivationImageSequence[0].SourceImageSequence[0]
        header = next(h for h in written.source.headers if h.SOPInstanceUID == image.ReferencedSOPInstanceUID)
        assert group.PlanePositionSequence[0].ImagePositionPatient == header.ImagePositionPatient


def test_results_join_the_study_and_keep_the_patient(written):
    first = written.source.first
    for path in written.paths:
        dataset = pydicom.dcmread(path)
        assert dataset.StudyInstanceUID == first.StudyInstanceUID
        assert dataset.SeriesInstanceUID != first.SeriesInstanceUID
        assert (str(dataset.PatientName), dataset.PatientID) == (PATIENT_NAME, "4711")
        assert "(starter model)" in dataset.SeriesDescription
        assert "Müller" not in path.name
        assert dataset.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99SMT"
    assert written.segmentation.FrameOfReferenceUID == first.FrameOfReferenceUID


# ----- report


def values_of(group, scheme: str | None = None) -> dict[str, tuple[float, str]]:
    return {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}


def choices_of(group) -> dict[str, str]:
    return {e.name.meaning: e.value.meaning for e in group.get_qualitative_evaluations()}


def test_measurements_come_back_with_units_and_sites(written):
    groups, measured = written.groups, written.spine.measurements
    for body in measured.vertebrae:
        group = groups[body.label]
        values = values_of(group)
        assert values["Anterior height of vertebral body"] == (pytest.approx(body.anterior_height_mm, abs=1e-4), "mm")
        if body.label == "S1":
            assert "Largest loss of vertebral height" not in values
        else:
            loss = pytest.approx(body.height_loss_percent, abs=1e-4)
            assert values["Largest loss of vertebral height"] == (loss, "%")
        assert values["Anterior / posterior height"][1] == "1"
        graded = None if body.genant_grade is None else f"Genant grade {body.genant_grade}"
        assert choices_of(group).get("Genant grade") == graded
        assert group.finding_sites[0].value.meaning == f"{body.label} vertebra"
    for disc in measured.discs:
        group = groups[f"{disc.level} disc"]
        values = values_of(group)
        assert values["Middle disc height"] == (pytest.approx(disc.middle_height_mm, abs=1e-4), "mm")
        assert values["Disc angle, open to the front positive"] == (pytest.approx(disc.disc_angle_deg, abs=1e-4), "deg")
        assert "Disc signal / cerebrospinal fluid signal" not in values  # not known here
    lordosis = groups["Lumbar lordosis L1-S1"]
    assert values_of(lordosis) == {
        "Lumbar lordosis L1-S1": (pytest.approx(measured.angles[0].angle_deg, abs=1e-4), "deg")
    }
    assert [s.value.meaning for s in lordosis.finding_sites] == ["L1 vertebra", "S1 vertebra"]
    assert [s.topographical_modifier.meaning for s in lordosis.finding_sites] == ["Upper endplate"] * 2


def test_grades_come_back_and_say_that_they_mean_nothing(written):
    groups = written.groups
    for disc in written.spine.discs:
        choices = choices_of(groups[f"{disc.level} grades"])
        assert choices["Validity of these grades"] == "demonstration, no clinical meaning"
        assert choices["Pfirrmann grade"] == f"Pfirrmann grade: {disc.grade('Pfirrmann').meaning}"
        assert choices["Disc narrowing"].lower() == disc.grade("Narrowing").meaning
        assert choices["Herniation"] == {"yes": "Present", "no": "Absent"}[disc.grade("Herniation").meaning]
        for side in ("left", "right"):
            group = groups[f"{disc.level} {side} foramen"]
            grade = disc.grade(f"ForaminalStenosis{side.capitalize()}")
            assert choices_of(group)["Foraminal stenosis"] == {"yes": "Present", "no": "Absent"}[grade.meaning]
            assert group.finding_sites[0].laterality == getattr(codes.SCT, side.capitalize())
            assert (
                group.finding_sites[0].value.meaning == f"Level of {disc.level.replace('-', '/')} intervertebral disc"
            )
            (probability,) = values_of(group).values()
            assert probability == (pytest.approx(grade.probability, abs=1e-4), "1")
    assert "Validity of these grades" not in choices_of(groups["L4-L5 disc"])  # measurements are real
    assert any("Starter model" in text for text in written.texts())
    assert "A warning." in written.texts()


def test_real_grades_do_not_carry_the_mark(tmp_path, written):
    spine = replace(written.spine, grades_are_demonstration=False, provenance=current("spinenet", "spinenet-v2"))
    groups = dicom.report_groups(spine, written.source)
    assert not any(group.demonstration for group in groups)


def test_groups_refer_to_their_segments_and_images(written):
    numbers = {s.SegmentLabel: s.SegmentNumber for s in written.segmentation.SegmentSequence}
    uids = {s.SegmentLabel: s.TrackingUID for s in written.segmentation.SegmentSequence}
    for title, group in written.groups.items():
        if title in numbers:
            segment = group.referenced_segment
            assert segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber == numbers[title]
            assert group.tracking_uid == uids[title]
        else:
            (image,) = {str(i.referenced_sop_instance_uid) for i in group.source_images[:1]}
            assert image in {str(header.SOPInstanceUID) for header in written.source.headers}
    evidence = written.report.CurrentRequestedProcedureEvidenceSequence
    named = {
        str(i.ReferencedSOPInstanceUID)
        for study in evidence
        for s in study.ReferencedSeriesSequence
        for i in s.ReferencedSOPSequence
    }
    assert named == {str(h.SOPInstanceUID) for h in (*written.source.headers, written.segmentation)}


def test_a_grade_refers_to_the_image_through_its_disc(written):
    group = written.groups["L3-L4 grades"]
    header = next(
        h for h in written.source.headers if h.SOPInstanceUID == group.source_images[0].referenced_sop_instance_uid
    )
    assert abs(float(header.ImagePositionPatient[0])) < 2.1  # the spine's middle lies at R = 0


def test_the_device_observed_and_nobody_reviewed(written):
    (observer,) = written.content.get_observer_contexts()
    assert observer.observer_type == codes.DCM.Device
    parameters = [str(item.TextValue) for item in written.groups["L1"][0].ContentSequence if item.ValueType == "TEXT"]
    assert "model_sha256: " + ",".join(["ab" * 32] * 4) in parameters  # of all four networks, whole
    assert any(text.startswith("starter_model: yes") for text in parameters)
    assert (written.report.VerificationFlag, written.report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


@pytest.mark.parametrize(("reviewer", "name"), [(None, "Reviewer not named^"), ("Doe^Jane", "Doe^Jane")])
def test_a_corrected_spine_names_a_person(tmp_path, short, reviewer, name):
    spine = editing.move_corner(short, 1, 8, "rt", short.vertebrae[1].corners_ras[3, 0] + [0, 0, 1])
    result = Written(tmp_path, measure(spine), write_classic(tmp_path / "in", made_volume(COARSE)), reviewer=reviewer)
    kinds = {s.SegmentLabel: s.SegmentAlgorithmType for s in result.segmentation.SegmentSequence}
    semi = {label for label, kind in kinds.items() if kind == "SEMIAUTOMATIC"}
    assert semi == {"L5", "L4-L5 disc", "L5-S1 disc"}
    (person,) = result.content.get_observer_contexts(observer_type=codes.DCM.Person)
    assert str(person.observer_identifying_attributes.name) == name
    assert any("moved a corner of L5" in text for text in result.texts())


def test_levels_without_a_code_are_told_in_words(tmp_path, short):
    spine = editing.rename(editing.rename(short, 1, "L6"), 0, "L5")
    result = Written(tmp_path, measure(spine), write_classic(tmp_path / "in", made_volume(COARSE)))
    site = result.groups["L6"].finding_sites[0]
    assert (site.value.meaning, site.topographical_modifier.meaning) == ("Vertebra", "Level L6")


# ----- validity


def test_files_have_what_the_standard_requires(written):
    for path in written.paths:
        assert missing_attributes(path) == []
        assert not dciodvfy_errors(path)
    assert content_faults(written.report) == []


def test_headers_as_scanners_and_deidentifiers_leave_them(tmp_path, short):
    files = write_classic(tmp_path / "in", made_volume(COARSE))
    for number, file in enumerate(files):
        one = pydicom.dcmread(file)
        one.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        one.PatientName = "Yamada^Tarou=山田^太郎"
        axes = [float(v) for v in one.ImageOrientationPatient]
        one.ImageOrientationPatient = [f"{v + 1e-6 * number:.8f}" for v in axes]
        for name in ("SliceThickness", "StudyID", "ReferringPhysicianName", "PatientBirthDate", "SeriesNumber"):
            delattr(one, name)
        one.save_as(file)
    result = Written(tmp_path / "out", short, files)
    for path in result.paths:
        assert missing_attributes(path) == []
        assert str(pydicom.dcmread(path).PatientName).startswith("Yamada^Tarou=山田^太郎")
    assert result.segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 4.0


def test_series_with_gaps_and_repeats_are_filled_where_images_are(tmp_path, short):
    files = write_classic(tmp_path / "in", made_volume(COARSE))
    kept = [*files[:8], *files[9:]]
    again = pydicom.dcmread(files[7])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    again.save_as(tmp_path / "in" / "z_again.dcm")
    files[8].unlink()
    found = dicom.find_source(tmp_path / "in")
    assert [str(h.SOPInstanceUID) for h in found.headers] == [str(pydicom.dcmread(f).SOPInstanceUID) for f in kept]
    result = Written(tmp_path / "out", short, [*kept, tmp_path / "in" / "z_again.dcm"])
    places = [
        f.PlanePositionSequence[0].ImagePositionPatient[0] for f in result.segmentation.PerFrameFunctionalGroupsSequence
    ]
    assert len(set(places)) == 6  # of the seven that show bodies
    sources = [
        f.DerivationImageSequence[0].SourceImageSequence[0]
        for f in result.segmentation.PerFrameFunctionalGroupsSequence
    ]
    assert str(again.SOPInstanceUID) not in {str(s.ReferencedSOPInstanceUID) for s in sources}


# ----- refusals


def test_a_moved_volume_is_not_written(tmp_path, short):
    volume = made_volume(COARSE)
    matrix = np.array(volume.ijk_to_ras)
    matrix[:3, 3] += 500
    moved = replace(volume, ijk_to_ras=matrix)
    with pytest.raises(InputError, match="No segment lies on these DICOM images"):
        Written(tmp_path, short, write_classic(tmp_path / "in", moved))
    assert not list(tmp_path.glob("*.dcm"))


def test_images_without_a_frame_of_reference_or_not_parallel_are_refused(tmp_path, short):
    files = write_classic(tmp_path / "in", made_volume(COARSE))
    one = pydicom.dcmread(files[0])
    one.ImageOrientationPatient = [0.8, 0.6, 0, 0, 0, -1]
    one.save_as(files[0])
    with pytest.raises(InputError, match="not parallel"):
        Written(tmp_path, short, files)
    for file in files:
        one = pydicom.dcmread(file)
        del one.FrameOfReferenceUID
        one.save_as(file)
    with pytest.raises(InputError, match="do not state where they lie"):
        Written(tmp_path, short, files[1:])


def test_headers_that_break_the_standard_are_told_in_a_sentence(tmp_path, short):
    files = write_classic(tmp_path / "in", made_volume(COARSE))
    one = pydicom.dcmread(files[0])
    one.Rows = 7
    one.save_as(files[0])
    with pytest.raises(InputError, match="break the DICOM standard"):
        Written(tmp_path, short, files[::-1])


def test_an_empty_spine_is_refused(tmp_path, written):
    empty = replace(written.spine, vertebrae=(), discs=(), measurements=None)
    with pytest.raises(InputError, match="No vertebra was found"):
        dicom.write_dicom(empty, written.source, tmp_path)


def test_a_scan_that_is_not_dicom_is_refused(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"scan\.nii\.gz is not DICOM"):
        dicom.find_source(tmp_path / "scan.nii.gz")


# ----- the terminal's batch


def test_batch_writes_dicom_and_lists_what_is_not(tmp_path, short, monkeypatch):
    write_classic(tmp_path / "in" / "Knee", made_volume(COARSE))
    (tmp_path / "in" / "other").mkdir()
    (tmp_path / "in" / "other" / "notes.txt").write_text("no images", encoding="utf-8")
    models = Models({}, "spinenet-starter", starter=True)
    made_by = current(
        "spinenet", models.id, models.sha256, parameters=pipeline.parameters_of(pipeline.DEFAULTS, models)
    )
    read = replace(short, provenance=made_by)
    calls = []

    def made(*arguments):
        calls.append(arguments)
        return read

    monkeypatch.setattr(pipeline, "read", made)
    cases = batch.find_cases(tmp_path / "in")
    rows = batch.read_cases(cases, tmp_path / "out", models, dicom=True)
    assert [row["status"] for row in rows] == ["read", "failed"]
    assert "no DICOM slices" in rows[1]["remarks"]
    names = {path.name for path in (tmp_path / "out" / "Knee").iterdir()}
    assert {"spine-segmentation.dcm", "spine-report.dcm", "spine.json"} <= names
    (tmp_path / "out" / "Knee" / "spine-report.dcm").unlink()
    rows = batch.read_cases(cases[:1], tmp_path / "out", models, dicom=True)  # finished before: only DICOM is written
    assert (len(calls), rows[0]["status"]) == (1, "kept")
    assert (tmp_path / "out" / "Knee" / "spine-report.dcm").is_file()
    assert json.loads((tmp_path / "out" / "Knee" / "spine.json").read_text(encoding="utf-8"))["system"] == "spinenet"

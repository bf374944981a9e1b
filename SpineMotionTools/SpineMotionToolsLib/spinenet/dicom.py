"""A read spine as DICOM: a segmentation of bodies and discs, and a report of measurements and grades that refers to it.

The segmentation lies on the source images themselves: every image is filled at its own place in the patient, so that
oblique, reversed, tilted and incomplete series come out where they went in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common import spine_codes
from SpineMotionToolsLib.common.dicom_objects import own_code
from SpineMotionToolsLib.common.dicom_report import LEFT, RIGHT, Choice, Group, Number, Site, write_report
from SpineMotionToolsLib.common.dicom_segmentation import (
    Segment,
    segmentation_frames,
    write_segmentation,
)
from SpineMotionToolsLib.common.dicom_source import NOT_DICOM, DicomSource, Frame, read_source
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.spine_codes import Code, disc_code, disc_plane_code, vertebra_code

from .dicom_input import files_read
from .editing import edits_of
from .grades import SEVERITY, Head
from .inputs import IMAGE_SUFFIXES
from .measured import AngleMeasurement, DiscMeasurement, VertebraMeasurement
from .results import Disc, Grade, Spine, Vertebra
from .segments import Part, label_image, parts_of

SEGMENTATION_TITLE, REPORT_TITLE = "Vertebrae and discs", "Spine measurements and grades"
PRESENT, ABSENT = Code("52101004", "Present"), Code("272519000", "Absent")
SEVERITIES = (
    Code("260413007", "None"),
    Code("255604002", "Mild"),
    Code("6736007", "Moderate"),
    Code("24484000", "Severe"),
)
FORAMEN = own_code("Foramen", "Intervertebral foramen")
SIDES = {"ForaminalStenosisLeft": LEFT, "ForaminalStenosisRight": RIGHT}
GRADE_CODES = {
    "Pfirrmann": own_code("Pfirrmann", "Pfirrmann grade"),
    "Narrowing": own_code("DiscNarrowing", "Disc narrowing"),
    "CentralCanalStenosis": own_code("CanalStenosis", "Central canal stenosis"),
    "Spondylolisthesis": own_code("Listhesis", "Spondylolisthesis"),
    "UpperEndplateDefect": own_code("UpperEndplate", "Upper endplate defect"),
    "LowerEndplateDefect": own_code("LowerEndplate", "Lower endplate defect"),
    "UpperMarrow": own_code("UpperMarrow", "Upper marrow change"),
    "LowerMarrow": own_code("LowerMarrow", "Lower marrow change"),
    "ForaminalStenosisLeft": own_code("ForamenStenosis", "Foraminal stenosis"),
    "ForaminalStenosisRight": own_code("ForamenStenosis", "Foraminal stenosis"),
    "Herniation": own_code("Herniation", "Herniation"),
}
BODY_NUMBERS = {
    "anterior_height_mm": (own_code("AnteriorHeight", "Anterior height of vertebral body"), "mm"),
    "middle_height_mm": (own_code("MiddleHeight", "Middle height of vertebral body"), "mm"),
    "posterior_height_mm": (own_code("PosteriorHeight", "Posterior height of vertebral body"), "mm"),
    "upper_depth_mm": (own_code("UpperDepth", "Length of upper endplate, front to back"), "mm"),
    "lower_depth_mm": (own_code("LowerDepth", "Length of lower endplate, front to back"), "mm"),
    "wedge_ratio": (own_code("WedgeRatio", "Anterior / posterior height"), "1"),
    "biconcavity_ratio": (own_code("BiconcavityRatio", "Middle / posterior height"), "1"),
    "crush_ratio": (own_code("CrushRatio", "Posterior height / that of the neighbors"), "1"),
    "height_loss_percent": (own_code("HeightLoss", "Largest loss of vertebral height"), "%"),
}
DISC_NUMBERS = {
    "anterior_height_mm": (own_code("DiscAnterior", "Anterior disc height"), "mm"),
    "middle_height_mm": (own_code("DiscMiddle", "Middle disc height"), "mm"),
    "posterior_height_mm": (own_code("DiscPosterior", "Posterior disc height"), "mm"),
    "height_index": (own_code("DiscHeightIndex", "Mean disc height / mean height of adjacent bodies"), "1"),
    "disc_angle_deg": (own_code("DiscAngle", "Disc angle, open to the front positive"), "deg"),
    "segmental_angle_deg": (own_code("SegmentalAngle", "Segmental angle, lordosis positive"), "deg"),
    "slip_mm": (own_code("Slip", "Slip of the upper body, forward positive"), "mm"),
    "slip_percent": (own_code("SlipPercent", "Slip / length of the lower body's upper endplate"), "%"),
    "signal_ratio_csf": (own_code("SignalRatioCSF", "Disc signal / cerebrospinal fluid signal"), "1"),
}


def find_source(path: Path | str, series: str = "") -> DicomSource:
    """The DICOM images that `inputs.read_scan` reads; raises InputError when the scan is not DICOM."""
    path = Path(path)
    if path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(NOT_DICOM.format(name=path.name))
    return read_source(files_read(path, series))


def write_dicom(
    spine: Spine, source: DicomSource, folder: Path | str, stem: str = "spine", reviewer: str | None = None
) -> list[Path]:
    """Write `<stem>-segmentation.dcm` and `<stem>-report.dcm` into a folder and return their paths.

    `reviewer`: name of the person who reviewed the result; a corrected one names a person even when nobody is given.
    Raises InputError when nothing was found or the images are not those of the result, OutputError.
    """
    if not spine.vertebrae:
        raise InputError("No vertebra was found, so there is nothing to write. Read another series, or add vertebrae.")
    if reviewer is None and edits_of(spine):
        reviewer = ""
    parts = parts_of(spine)
    labels = _labels(spine, parts, source)
    shown = [part for part in range(len(parts)) if (labels == part + 1).any()]
    renumbered = np.zeros(len(parts) + 1, dtype=np.uint8)
    renumbered[np.array(shown, dtype=int) + 1] = range(1, len(shown) + 1)
    segments = [_segment(parts[part], spine) for part in shown]
    folder = Path(folder)
    paths = [folder / f"{stem}-segmentation.dcm", folder / f"{stem}-report.dcm"]
    segmentation = write_segmentation(
        paths[0], source, renumbered[labels], segments, spine.provenance, SEGMENTATION_TITLE
    )
    groups = _with_segments(report_groups(spine, source), segments)
    edits = edits_of(spine)
    comments = [*spine.warnings, *spine.notices, f"Corrections: {'; '.join(edits)}." if edits else ""]
    write_report(paths[1], source, groups, spine.provenance, REPORT_TITLE, comments, reviewer, segmentation)
    return paths


def report_groups(spine: Spine, source: DicomSource) -> list[Group]:
    """Everything measured and graded: per vertebra, per disc, per foramen, per angle, from top to bottom."""
    groups = []
    measured = spine.measurements
    heights = iter(measured.discs if measured else ())  # one for each disc between neighbors, in order
    discs = {disc.upper: disc for disc in spine.discs}
    for index, vertebra in enumerate(spine.vertebrae):
        groups.append(_vertebra_group(vertebra, measured.vertebrae[index] if measured else None, source))
        disc = discs.get(index)
        if disc is not None:
            frame = _frame_of_disc(spine, disc, source)
            if measured and disc.neighbours:
                groups.append(_disc_group(next(heights), frame))
            groups += _grade_groups(disc, frame, spine.grades_are_demonstration)
    groups += [_angle_group(angle, spine, source) for angle in (measured.angles if measured else ())]
    return groups


def _labels(spine: Spine, parts: Sequence[Part], source: DicomSource) -> np.ndarray:
    """(images, rows, columns): part n as n + 1 on the images of `segmentation_frames`."""
    frames = segmentation_frames(source)
    rows, columns = int(source.first.Rows), int(source.first.Columns)
    labels = np.zeros((len(frames), rows, columns), dtype=np.uint8)
    for number, frame in enumerate(frames):
        box, (i, j, _) = label_image(parts, spine.geometry.index_to_ras, frame.pixel_to_ras, (1, rows, columns))
        labels[number, j : j + box.shape[1], i : i + box.shape[2]] = box[0]
    return labels


def _segment(part: Part, spine: Spine) -> Segment:
    ends = part.level.split("-")
    corrected = any(vertebra.source != "detected" for vertebra in spine.vertebrae if vertebra.label in ends)
    if part.is_disc:
        return Segment(part.name, disc_code(part.level), spine_codes.DISC_COLOR, corrected)
    return Segment(part.name, vertebra_code(part.level), spine_codes.vertebra_color(part.level), corrected)


def _with_segments(groups: Sequence[Group], segments: Sequence[Segment]) -> list[Group]:
    """The groups with the segments that they measure; a level given twice keeps its order from the top."""
    waiting = list(enumerate(segments, start=1))
    found = []
    for group in groups:
        match = next((each for each in waiting if each[1].label == group.title), None)
        if match is not None:
            waiting.remove(match)
            group = replace(group, segment=match[0], tracking_uid=match[1].tracking_uid)
        found.append(group)
    return found


def _vertebra_group(vertebra: Vertebra, body: VertebraMeasurement | None, source: DicomSource) -> Group:
    code = vertebra_code(vertebra.label)
    numbers, choices = [], []
    if vertebra.label_probability is not None:
        name = own_code("LabelProbability", "Probability of the level")
        numbers.append(Number(name, vertebra.label_probability, "1"))
    if body is not None:
        numbers += _numbers(body, BODY_NUMBERS)
        if body.genant_grade is not None:
            choices.append(_graded("Genant", "Genant grade", body.genant_grade))
        if body.genant_type:
            kind = own_code(f"Genant{body.genant_type}", body.genant_type)
            choices.append(Choice(own_code("GenantType", "Genant type"), kind))
    frames = (source.frame_at(vertebra.middle_polygon_ras.mean(axis=0)),)
    return Group(vertebra.label, code, (_site(code, vertebra.label),), tuple(numbers), tuple(choices), frames)


def _disc_group(disc: DiscMeasurement, frame: Frame) -> Group:
    code = disc_code(disc.level)
    choices = [_graded("Meyerding", "Meyerding grade", disc.meyerding_grade)]
    if disc.slip_direction:
        direction = own_code(disc.slip_direction, disc.slip_direction)
        choices.append(Choice(own_code("SlipDirection", "Slip direction"), direction))
    numbers = _numbers(disc, DISC_NUMBERS)
    return Group(f"{disc.level} disc", code, (_site(code, disc.level),), tuple(numbers), tuple(choices), (frame,))


def _grade_groups(disc: Disc, frame: Frame, demonstration: bool) -> list[Group]:
    """The grades of a disc; those of its foramina are groups of their own, with their side."""
    groups = []
    for side, name in ((None, "grades"), (LEFT, "left foramen"), (RIGHT, "right foramen")):
        grades = [grade for grade in disc.grades or () if SIDES.get(grade.head.column) is side]
        if grades:
            code, finding = disc_code(disc.level), disc_code(disc.level)
            if side is not None:
                code, finding = disc_plane_code(disc.level), FORAMEN
            choices = tuple(Choice(GRADE_CODES[g.head.column], grade_code(g)) for g in grades)
            numbers = tuple(Number(_probability_code(g.head), g.probability, "1") for g in grades)
            sites = (_site(code, disc.level, side),)
            title = f"{disc.level} {name}"
            groups.append(Group(title, finding, sites, numbers, choices, (frame,), demonstration=demonstration))
    return groups


def grade_code(grade: Grade) -> Code:
    """The code of a grade's value: SNOMED CT where it has one."""
    head = grade.head
    if head.meanings == SEVERITY:
        return SEVERITIES[grade.index]
    if head.classes == 2:
        return (ABSENT, PRESENT)[grade.index]
    question = GRADE_CODES[head.column]
    return own_code(f"{question.value}{grade.value}", f"{question.meaning}: {grade.meaning}")


def _probability_code(head: Head) -> Code:
    question = GRADE_CODES[head.column]
    return own_code(f"P{question.value}", f"Probability of this value: {question.meaning}")


def _angle_group(angle: AngleMeasurement, spine: Spine, source: DicomSource) -> Group:
    ends = [end.split() for end in (angle.first_endplate, angle.second_endplate)]
    kind, between = angle.name.split()[-2:]
    code = own_code(f"{kind.capitalize()}{between.replace('-', '')}", angle.name)
    sites = tuple(Site(vertebra_code(label), role=_endplate_code(which)) for label, which in ends)
    centers = [spine.find(label).middle_polygon_ras.mean(axis=0) for label, _ in ends]
    frames = {id(frame): frame for frame in (source.frame_at(center) for center in centers)}
    finding = own_code("SagittalAlign", "Sagittal alignment of the spine")
    return Group(angle.name, finding, sites, (Number(code, angle.angle_deg, "deg"),), frames=tuple(frames.values()))


def _endplate_code(which: str) -> Code:
    return own_code(f"{which.capitalize()}End", f"{which.capitalize()} endplate")


def _frame_of_disc(spine: Spine, disc: Disc, source: DicomSource) -> Frame:
    ends = (spine.vertebrae[disc.upper], spine.vertebrae[disc.lower])
    return source.frame_at(np.mean([end.middle_polygon_ras.mean(axis=0) for end in ends], axis=0))


def _site(code: Code, level: str, side: Code | None = None) -> Site:
    """A level; one that SNOMED CT has no code for is told in the modifier."""
    known = code not in (spine_codes.VERTEBRA, spine_codes.DISC)
    return Site(code, side, None if known else own_code(level, f"Level {level}"))


def _graded(value: str, meaning: str, grade: int) -> Choice:
    return Choice(own_code(value, meaning), own_code(f"{value}{grade}", f"{meaning} {grade}"))


def _numbers(measured: object, names: dict[str, tuple[Code, str]]) -> list[Number]:
    values = ((code, getattr(measured, name), unit) for name, (code, unit) in names.items())
    return [Number(code, value, unit) for code, value, unit in values if value is not None and np.isfinite(value)]

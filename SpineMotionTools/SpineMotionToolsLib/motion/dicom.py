"""A motion grade as a DICOM report: the scan's, every stack's and the review's, referring to the slices they grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from SpineMotionToolsLib.common.dicom_objects import own_code
from SpineMotionToolsLib.common.dicom_report import Choice, Group, Number, write_report
from SpineMotionToolsLib.common.dicom_source import DicomSource, Frame, read_source, series_files
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.common.spine_codes import Code
from SpineMotionToolsLib.motion.results import GRADE_MEANINGS, MotionResult

TITLE = "Motion grades"
MOTION_ARTIFACT = Code("RID11423", "Motion related artifact", "RADLEX")
GRADE = own_code("MotionGrade", "Motion grade, 1 (none visible) to 5 (severe)")
WORST = own_code("WorstStackGrade", "Highest motion grade of a stack")
REVIEWED = own_code("ReviewedGrade", "Motion grade given by the reviewer")
STATE = own_code("ReviewState", "Review of the automatic grade")
AGREEMENT = own_code("MemberAgreement", "Networks that voted for the grade; not a probability")
SEVERE_SLICES = own_code("SlicesGrade4or5", "Scored slices with motion grade 4 or 5")
NOT_REVIEWED = own_code("NotReviewed", "not reviewed")
CONFIRMED, CHANGED = own_code("Confirmed", "confirmed by the reviewer"), own_code("Changed", "changed by the reviewer")
GRADES = {grade: own_code(f"Grade{grade}", f"Grade {grade}: {text}") for grade, text in GRADE_MEANINGS.items()}
APART = 0.75  # of a slice's thickness: images further from a slice are not that slice


@dataclass(frozen=True)
class Review:
    """What a person decided: `grade` of the scan or None, `stack_grades` by stack number (from 1), a note."""

    reviewer: str
    grade: int | None = None
    stack_grades: Mapping[int, int] = field(default_factory=dict)
    note: str = ""


def find_source(path: Path | str) -> DicomSource:
    """The DICOM images that `inputs.open_scan` reads: one file, or a folder with one series.

    Raises InputError when the scan is not DICOM, as Scanco's AIM and ISQ files are not.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist. Check the name.")
    return read_source(series_files(path) if path.is_dir() else [path])


def write_dicom(result: MotionResult, source: DicomSource, path: Path | str, review: Review | None = None) -> Path:
    """Write the report to a file and return its path; raises InputError when the images are not the result's."""
    path = Path(path)
    made = Provenance.from_json({"system": "motion", **result.provenance})
    groups = report_groups(result, source, review)
    note = f"Reviewer's note: {review.note}" if review and review.note else ""
    reviewer = review.reviewer if review else None
    write_report(path, source, groups, made, TITLE, [*result.warnings, note], reviewer)
    return path


def report_groups(result: MotionResult, source: DicomSource, review: Review | None = None) -> list[Group]:
    """The scan's group and one for each stack with a scored slice; raises InputError for images of another scan."""
    frames = _frames_of_slices(result, source)
    given = dict(review.stack_grades) if review else {}
    numbers = (
        Number(AGREEMENT, result.confidence_percent, "%"),
        Number(SEVERE_SLICES, 100 * result.fraction_slices_ge4, "%"),
    )
    choices = [Choice(GRADE, GRADES[result.grade]), Choice(WORST, GRADES[result.worst_stack_grade])]
    choices += _review_choices(result.grade, review.grade if review else None)
    groups = [Group("Scan", MOTION_ARTIFACT, numbers=numbers, choices=tuple(choices), demonstration=result.starter)]
    for index, (first, end) in enumerate(result.stack_ranges.tolist()):
        if result.stack_confidences[index] < 0:  # nothing was scored
            continue
        grade = int(result.stack_grades[index])
        agreement = Number(AGREEMENT, 100 * float(result.stack_confidences[index]), "%")
        choices = [Choice(GRADE, GRADES[grade]), *_review_choices(grade, given.get(index + 1))]
        title = f"Stack {index + 1}, slices {first} to {end - 1} (counted from 0)"
        groups.append(
            Group(
                title,
                MOTION_ARTIFACT,
                numbers=(agreement,),
                choices=tuple(choices),
                frames=frames[first:end],
                demonstration=result.starter,
            )
        )
    return groups


def _review_choices(automatic: int, given: int | None) -> list[Choice]:
    if given is None:
        return [Choice(STATE, NOT_REVIEWED)]
    return [Choice(STATE, CONFIRMED if given == automatic else CHANGED), Choice(REVIEWED, GRADES[given])]


def _frames_of_slices(result: MotionResult, source: DicomSource) -> tuple[Frame, ...]:
    """The image of each slice of the result."""
    thickness = result.scan.spacing_mm[2]
    frames = []
    for number in range(result.slice_count):
        position = result.slice_position_ras(number)
        frame = source.frame_at(position)
        if abs(frame.distance_mm(position)) > APART * thickness:
            raise InputError(
                "The DICOM images do not lie where the graded slices lie. Give the series that was graded, and make "
                "sure that the volume was not moved or cropped."
            )
        frames.append(frame)
    return tuple(frames)

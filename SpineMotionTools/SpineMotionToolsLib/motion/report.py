"""Reports of motion grades for people: one scan, a batch of scans, a data set under review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.common.report import STARTER_WARNING, Report
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.motion.charts import grade_bars, grade_scale, slice_chart
from SpineMotionToolsLib.motion.drawing import GRADE_COLORS, slice_image
from SpineMotionToolsLib.motion.members import STARTER_ID
from SpineMotionToolsLib.motion.pictures import Slices, key_slices, slice_label, slice_of
from SpineMotionToolsLib.motion.results import GRADES, MotionResult

if TYPE_CHECKING:
    from SpineMotionToolsLib.motion.agreement import Comparison
    from SpineMotionToolsLib.motion.batch import Outcome
    from SpineMotionToolsLib.motion.review import ReviewSession

AGREEMENT_NOTE = (
    "Member agreement is the share of the ensemble's networks that chose the winning grade, averaged over the slices. "
    "It tells how unanimous the networks were, not how likely the grade is right: networks can agree on a wrong grade."
)
_KEY_SLICE_PX = 300


def scan_report(result: MotionResult, slices: Slices | None = None) -> Report:
    """The report of one scan; `slices` gives the scored image for the key slices."""
    scan = result.scan
    size = " x ".join(str(length) for length in scan.shape_xyz)
    spacing = " x ".join(f"{1000 * step:.1f}" for step in scan.spacing_mm)
    report = Report(f"Motion grade of {scan.name}", f"{scan.format or 'Image'}, {size} voxels of {spacing} µm")
    report.provenance(Provenance.from_json(result.provenance))
    for warning in result.warnings:
        report.warning(warning)
    report.svg(grade_scale(result.grade))
    report.text(
        f"Member agreement {result.confidence_percent} %. {AGREEMENT_NOTE}",
        f"Worst stack: grade {result.worst_stack_grade} (stack {result.worst_stack + 1} of "
        f"{len(result.stack_grades)}). "
        f"Slices of grade 4 or 5: {result.fraction_slices_ge4:.0%} of the {int(result.scored.sum())} scored.",
        *_close_calls(result),
    )
    report.heading("Along the scan")
    report.svg(
        slice_chart(result),
        "Colors: share of the networks' votes for grade 1 (dark blue), 2 (blue), 3 (yellow), 4 (light red) and 5 (dark "
        "red). Black line: member agreement. Dashed lines: stack borders. Slices without color were not scored.",
    )
    if slices is not None:
        report.heading("Key slices")
        report.image(
            _key_slices_picture(slices, result),
            "Slices by rising grade from left to right, among them one of the lowest, middle and highest grade that "
            "occur; each with its own brightness. Orientation as in the scanner: x to the right, y down.",
        )
    report.heading("Stacks").table(result.stack_table())
    report.heading("How this was made").table(_facts(result))
    return report


def _close_calls(result: MotionResult) -> list[str]:
    notes = []
    if ties := int(result.slice_ties.sum()):
        notes.append(
            f"On {ties} slices several grades had the most votes; the lower (better) one was taken, as published."
        )
    if result.half_grade:
        notes.append(
            "The mean slice grade lies exactly between two grades; it was rounded to the even one, as published."
        )
    return notes


def _key_slices_picture(slices: Slices, result: MotionResult) -> np.ndarray:
    from PIL import Image, ImageDraw

    from SpineMotionToolsLib.motion.drawing import text

    indices = key_slices(result)
    picture = Image.new("RGB", (len(indices) * (_KEY_SLICE_PX + 8) - 8, _KEY_SLICE_PX + 26), "black")
    draw = ImageDraw.Draw(picture)
    for place, z in enumerate(indices):
        left = place * (_KEY_SLICE_PX + 8)
        picture.paste(slice_image(slice_of(slices, z), (_KEY_SLICE_PX, _KEY_SLICE_PX)), (left, 0))
        draw.rectangle(
            [left, _KEY_SLICE_PX, left + 7, _KEY_SLICE_PX + 26], fill=GRADE_COLORS[int(result.slice_grades[z])]
        )
        text(draw, (left + 14, _KEY_SLICE_PX + 13), slice_label(result, z), 15, fill="white", anchor="lm")
    return np.asarray(picture)


def _facts(result: MotionResult) -> Table:
    made = result.provenance
    scan = result.scan
    rows = [
        ["Voxel unit and calibration", scan.describe_unit()],
        ["Model", f"{made.get('model_id', 'unknown')} ({len(result.members)} networks)"],
        ["License of the model", license_of(str(made.get("model_id", "")), result.starter)],
        ["Rules", f"{result.rules}: as the published program of that name counts and rounds"],
        ["Stack height", f"{result.stack_height} slices; short last stack: {result.incomplete.replace('_', ' ')}"],
        ["Slices scored", f"{int(result.scored.sum())} of {result.slice_count}"],
    ]
    if scan.crop_box:
        x0, x1, y0, y1 = scan.crop_box
        rows.append(["Part scored", f"columns {x0} to {x1 - 1}, rows {y0} to {y1 - 1} of the file's slices"])
    rows.append(
        [
            "Method",
            "Walle M, Eggemann D, Atkins PR, et al. Bone 166 (2023) 116607, doi 10.1016/j.bone.2022.116607; "
            "independent implementation",
        ]
    )
    return Table("", [Column(""), Column("")], rows)


def license_of(model_id: str, starter: bool) -> str:
    """The license of a model in one line."""
    from SpineMotionToolsLib.common.catalogue import catalogue

    entry = catalogue().get(STARTER_ID if starter else model_id)
    if entry:
        return entry.license
    return "as given by whoever supplied the weights; the published ones are CC BY-NC-ND 4.0 (no commercial use)"


def batch_report(outcomes: Sequence[Outcome], title: str, linked: Callable[[str], str] | None = None) -> Report:
    """The report of a run over several scans; those that could not be graded come first among the tables."""
    graded = [outcome for outcome in outcomes if outcome.result is not None]
    skipped = [outcome for outcome in outcomes if outcome.status == "skipped"]
    report = Report(title, f"{len(graded)} of {len(outcomes)} scans graded")
    for outcome in graded[:1]:
        report.provenance(Provenance.from_json(outcome.result.provenance))
    if skipped:
        report.warning(f"Not graded: {len(skipped)} of {len(outcomes)} scans; the reasons stand below.")
    report.heading("Grades")
    report.svg(_bars([outcome.result.grade for outcome in graded]), "Scans of each grade")
    report.text(AGREEMENT_NOTE)
    columns = [
        Column("Scan"),
        Column("Grade", description="1 no visible motion ... 5 severe"),
        Column("Member agreement", "%", "share of networks that agree; not a probability of being right", digits=0),
        Column("Worst stack", description="highest grade of any stack"),
        Column("Slices of grade 4 or 5", "%", digits=0),
        Column("Report", description="file beside this one"),
        Column("Warnings"),
    ]
    rows = []
    for outcome in sorted(graded, key=lambda outcome: outcome.name):
        result = outcome.result
        rows.append(
            [
                outcome.name,
                result.grade,
                result.confidence_percent,
                result.worst_stack_grade,
                100 * result.fraction_slices_ge4,
                linked(outcome.name) if linked else "",
                " ".join(result.warnings),
            ]
        )
    report.table(Table("", columns, rows))
    others = [outcome for outcome in outcomes if outcome.result is None]
    if others:
        report.heading("Not graded")
        lines = [[outcome.name, outcome.path.name, outcome.status, outcome.reason] for outcome in others]
        report.table(Table("", [Column("Scan"), Column("File"), Column("Status"), Column("Reason")], lines))
    return report


def review_report(session: ReviewSession) -> Report:
    """The report of a data set under review: grades, agreement, queue. Hidden scans stay hidden."""
    items = session.items()
    open_items = session.items("pending")
    who = session.reviewer or "no reviewer named"
    report = Report("Motion grades under review", f"{len(items)} scans, model {session.model_id}, {who}")
    if session.model_id == STARTER_ID:
        report.warning(STARTER_WARNING)
    if session.blind:
        report.warning("Blind mode: scans without a grade of this reviewer show no automatic grade.")
    report.text(
        f"{len(open_items)} scans wait for a grade. The threshold of {session.threshold} % member agreement is a "
        "working rule, not a calibrated probability.",
        AGREEMENT_NOTE,
    )
    report.heading("Final grades").svg(
        _bars([item.final_grade for item in items if item.final_grade]), "Scans of each grade"
    )
    comparison = session.agreement() if session.reviewer else None
    if comparison:
        report.heading(f"Networks and {session.reviewer}").text(comparison.text()).table(confusion_table(comparison))
        report.svg(
            grade_bars(
                [(f"{step:+d}", count, "#6B7C93") for step, count in comparison.difference_counts.items()],
                "differences",
            ),
            "Scans by difference of the grades, reviewer minus automatic",
        )
    matrix = session.agreement_matrix()
    if len(matrix) > 1 or (matrix and not comparison):
        report.heading("All raters").table(rater_table(matrix))
    report.heading("Scans").table(session.table())
    return report


def confusion_table(comparison: Comparison) -> Table:
    """Counts of scans by automatic (rows) and manual (columns) grade."""
    columns = [Column("Automatic grade"), *(Column(f"Reviewer: {grade}") for grade in GRADES)]
    rows = [[grade, *comparison.confusion[grade - 1].tolist()] for grade in GRADES]
    return Table("Number of scans", columns, rows)


def rater_table(matrix: dict) -> Table:
    """Agreement of every two raters."""
    columns = [
        Column("Rater"),
        Column("and rater"),
        Column("Scans"),
        Column("Equal grades", "%", digits=0),
        Column("Kappa", digits=2),
        Column("Quadratic weighted kappa", digits=2),
    ]
    rows = [
        [first, second, each.n_scored, 100 * each.agreement_exact, each.kappa, each.kappa_weighted_quadratic]
        for (first, second), each in matrix.items()
        if each.n_scored
    ]
    return Table("", columns, rows)


def _bars(grades: Sequence[int]) -> str:
    counts = Counter(grades)
    return grade_bars(
        [(f"grade {grade}", counts[grade], GRADE_COLORS[grade]) for grade in GRADES], "scans of each grade"
    )

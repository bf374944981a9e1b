"""Grades of a whole data set in one table, every reviewer's beside the automatic one; and grades read back in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.tables import Column, Table, read_sheet
from SpineMotionToolsLib.motion.agreement import Comparison, compare
from SpineMotionToolsLib.motion.derivatives import Row, inside, numbers, read_index, read_rows, write_rows
from SpineMotionToolsLib.motion.members import STARTER_ID
from SpineMotionToolsLib.motion.review_store import (
    IMPORTED,
    TRAINING_PENDING,
    Clock,
    ReviewFiles,
    apply_grade,
    as_grade,
    replay,
    utc_now,
)

EXPORT_COLUMNS = (
    "scan_id", "subject_id", "automatic_grade", "automatic_confidence", "manual_mode", "manual_grade", "final_grade",
    "review_status", "reviewer", "reviewed_at", "raw_image_path", "attention_map_path", "reviewer_count", "reviewers",
    "consensus_method", "consensus_mean_manual_grade", "consensus_grade_rounded",
)  # fmt: skip
EXTRA_COLUMNS = (
    "model_id", "model_version", "starter_model", "worst_stack_grade", "share_slices_grade_4_or_5", "slices_scored",
    "stack_grades", "reviewed_stack_grades", "notes",
)  # fmt: skip
# All that a row shows of a scan that waits for a blind grade: what it is, nothing that anybody or any network thinks of
# it.
HIDDEN_KEEPS = ("scan_id", "subject_id", "manual_mode", "raw_image_path", "model_id", "model_version", "starter_model")


@dataclass(frozen=True)
class ReviewedScan:
    """One scan and model with its rows of the three tables.

    `reviewers` maps each reviewer to the grade given, `stack_grades` to the grades of single stacks (numbered from 1).
    """

    index: Row
    review: Row
    prediction: Row
    reviewers: Mapping[str, int]
    note: str
    stack_grades: Mapping[str, Mapping[int, int]]


def review_files(root: Path, index_row: Row) -> ReviewFiles:
    return ReviewFiles(inside(root, index_row["review_tsv"]).parent)


def collect(root: Path, model_id: str | None = None) -> list[ReviewedScan]:
    """Every scan and model of the index with its review, in the index's order; `model_id` picks one model.

    Raises InputError when the folder has no index.
    """
    index = read_index(root)
    if not index:
        raise InputError(f"{root} has no index.tsv with results; run `spinemotion motion predict` first.")
    read = cache(read_rows)  # scans of one source folder share their tables
    return [read_scan(root, row, read) for row in index if model_id is None or row["model_id"] == model_id]


def read_scan(root: Path, index_row: Row, read: Callable[[Path], list[Row]] = read_rows) -> ReviewedScan:
    """One row of the index with its prediction and review."""
    scan_id, files = index_row["scan_id"], review_files(root, index_row)

    def own(path: Path) -> list[Row]:
        return [row for row in read(path) if row["scan_id"] == scan_id]

    review = next(iter(own(files.table)), {})
    predictions = index_row.get("predictions_tsv", "")
    prediction = next(iter(own(inside(root, predictions))), {}) if predictions else {}
    state = replay(own(files.audit), scan_id)[-1][0]
    grades = {name: decision.grade for name, decision in state.by_reviewer.items() if name}
    current = as_grade(review.get("manual_grade", ""))
    if current is not None and review.get("reviewer"):
        grades[review["reviewer"]] = current
    stacks: dict[str, dict[int, int]] = {}
    for row in own(files.stacks):
        if grade := as_grade(row["grade"]):
            stacks.setdefault(row["reviewer"], {})[int(row["stack"])] = grade
    return ReviewedScan(index_row, review, prediction, grades, state.current.note if state.current else "", stacks)


def review_mode(reviews: Iterable[Row]) -> tuple[int | None, bool | None]:
    """Threshold and blind mode that a study's reviews were last set to; None, None before its first review."""
    reviewed = next((row for row in reviews if row), None)
    if reviewed is None:
        return None, None
    return int(float(reviewed.get("confidence_threshold") or 75)), reviewed.get("training_mode") == "1"


def consensus(grades: Sequence[int]) -> tuple[float, int]:
    """Mean of the reviewers' grades, and that mean rounded half up."""
    mean = sum(grades) / len(grades)
    return mean, min(5, max(1, int(mean + 0.5)))


def waits_for_blind_grade(scan: ReviewedScan) -> bool:
    """True while a scan under blind review has no grade yet."""
    return scan.review.get("review_status") == TRAINING_PENDING


def show_all(scan: ReviewedScan) -> bool:
    """Hide nothing, as the published export does."""
    return False


def export_rows(
    scans: Sequence[ReviewedScan], hidden: Callable[[ReviewedScan], bool] = waits_for_blind_grade
) -> tuple[list[str], list[dict[str, object]]]:
    """Columns and rows of `motion_grades.tsv`; of a `hidden` scan only its names are shown.

    A column `model_id` is added when several models' results are there, because nothing else would tell them apart.
    """
    names = {name for scan in scans if not hidden(scan) for name in scan.reviewers}
    reviewers = sorted(names, key=_name_order)
    slots = [f"reviewer_{number}_{what}" for number in range(1, len(reviewers) + 1) for what in ("id", "grade")]
    several = len({scan.index.get("model_id", "") for scan in scans}) > 1
    rows = []
    for scan in scans:
        row: dict[str, object] = {name: scan.index.get(name, "") for name in EXPORT_COLUMNS} | scan.review
        row |= _reviewer_cells(scan.reviewers) | _extras(scan)
        if hidden(scan):
            row = {name: row[name] for name in HIDDEN_KEEPS} | {"review_status": TRAINING_PENDING}
        for number, name in enumerate(reviewers, start=1):
            grade = None if hidden(scan) else scan.reviewers.get(name)
            row |= {f"reviewer_{number}_id": name, f"reviewer_{number}_grade": grade}
        rows.append(row)
    return [*EXPORT_COLUMNS, *slots, *(["model_id"] if several else [])], rows


def _name_order(name: str) -> tuple[str, str]:
    return name.casefold(), name


def _reviewer_cells(grades: Mapping[str, int]) -> dict[str, object]:
    cells: dict[str, object] = {"reviewer_count": len(grades), "reviewers": "|".join(sorted(grades, key=_name_order))}
    if grades:
        mean, rounded = consensus(list(grades.values()))
        cells |= {"consensus_method": "mean_manual_grade", "consensus_mean_manual_grade": f"{mean:.3f}"}
        cells["consensus_grade_rounded"] = rounded
    return cells


def _extras(scan: ReviewedScan) -> dict[str, object]:
    slices = [grade for grade in numbers(scan.prediction.get("slice_grades", "")) if grade > 0]
    stacks = [grade for grade in numbers(scan.prediction.get("stack_grades", "")) if grade > 0]
    return {
        "model_id": scan.index.get("model_id", ""),
        "model_version": scan.index.get("model_version", ""),
        "starter_model": "yes" if scan.index.get("model_id") == STARTER_ID else "no",
        "worst_stack_grade": int(max(stacks)) if stacks else "",
        "share_slices_grade_4_or_5": f"{sum(g >= 4 for g in slices) / len(slices):.3f}" if slices else "",
        "slices_scored": len(slices) or "",
        "stack_grades": "|".join(str(int(grade)) for grade in stacks),
        "reviewed_stack_grades": "|".join(
            f"{name}: " + ", ".join(f"stack {stack} grade {grade}" for stack, grade in sorted(given.items()))
            for name, given in sorted(scan.stack_grades.items())
        ),
        "notes": scan.note,
    }


def export_grades(
    root: Path,
    model_id: str | None = None,
    hidden: Callable[[ReviewedScan], bool] = waits_for_blind_grade,
    folder: Path | None = None,
) -> tuple[Path, Path]:
    """Write `motion_grades.tsv` (published columns) and `motion_grades.csv` (more columns); their paths come back.

    They go to the results folder, or to `folder`.
    """
    columns, rows = export_rows(collect(root, model_id), hidden)
    folder = folder or root
    tsv, table = folder / "motion_grades.tsv", folder / "motion_grades.csv"
    write_rows(tsv, columns, rows)
    more = [*(name for name in columns if name != "model_id"), *EXTRA_COLUMNS]
    cells = [[row.get(name) for name in more] for row in rows]
    Table("motion grades", [Column(name) for name in more], cells).to_csv(table)
    return tsv, table


def agreement_by_reviewer(root: Path, model_id: str | None = None) -> dict[str, Comparison]:
    """Automatic against each reviewer's own grades, which blind mode has revealed to that reviewer."""
    pairs: dict[str, list[tuple[int, int]]] = {}
    for scan in collect(root, model_id):
        automatic = as_grade(scan.index.get("automatic_grade", ""))
        for name, grade in scan.reviewers.items():
            if automatic is not None:
                pairs.setdefault(name, []).append((automatic, grade))
    return {name: compare(pairs[name]) for name in sorted(pairs, key=_name_order)}


@dataclass(frozen=True)
class ImportCounts:
    """What became of the rows of an imported table; `invalid` names the lines without a grade 1..5."""

    imported: int
    skipped_existing: int
    missing_scan: int
    invalid: tuple[str, ...] = ()

    def to_json(self) -> dict[str, int]:
        """The three published counts."""
        return {name: getattr(self, name) for name in ("imported", "missing_scan", "skipped_existing")}


def import_final_grades(root: Path, table: Path, model_id: str | None = None, clock: Clock = utc_now) -> ImportCounts:
    """Fill in grades from a table with `scan_id` and `final_grade` or `manual_grade` (comma, semicolon or tab).

    Only scans with neither a manual nor a final grade are filled; the others keep what they have.
    """
    imported = existing = missing = 0
    invalid = []
    by_scan: dict[str, list[Row]] = {}
    for row in read_index(root):
        if model_id is None or row["model_id"] == model_id:
            by_scan.setdefault(row["scan_id"], []).append(row)
    for line, (scan_id, text, reviewer) in enumerate(_grades_in(table), start=2):
        open_reviews = []
        for index_row in by_scan.get(scan_id, []):
            files = review_files(root, index_row)
            review = next((row for row in read_rows(files.table) if row["scan_id"] == scan_id), None)
            if review is not None:
                open_reviews.append((files, review))
        if not open_reviews:
            missing += 1
            continue
        open_reviews = [item for item in open_reviews if not item[1]["manual_grade"] and not item[1]["final_grade"]]
        if not open_reviews:
            existing += 1
            continue
        grade = as_grade(text)
        if grade is None:
            invalid.append(f"line {line}: {text!r} is not a grade 1 to 5")
            continue
        reviewer = reviewer or "import"
        note = f"source={table.name};source_reviewer={reviewer}"
        for files, _ in open_reviews:
            apply_grade(files, scan_id, grade, reviewer, note=note, event=IMPORTED, clock=clock)
        imported += 1
    return ImportCounts(imported, existing, missing, tuple(invalid))


def _grades_in(table: Path) -> list[tuple[str, str, str]]:
    """(scan_id, grade text, reviewer) of every row."""
    try:
        names, rows = read_sheet(table)
    except FileNotFoundError as error:
        raise InputError(f"{table} does not exist. Check the name.") from error
    column = next((name for name in ("final_grade", "manual_grade") if name in names), None)
    if "scan_id" not in names or column is None:
        raise InputError(f"{table} needs the columns scan_id and final_grade (or manual_grade).")
    return [(row["scan_id"].strip(), row[column].strip(), row.get("reviewer", "").strip()) for row in rows]

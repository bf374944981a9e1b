"""Grading and explaining a whole data set into the derivatives folder, resumable at any scan.

The folder layout, tables and columns are those of the published pipeline; the full result of each scan lies beside its
table as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import SpineMotionToolsLib
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import folder_lock
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.motion import review_store
from SpineMotionToolsLib.motion.batch import Choices, Grader, Outcome, each, file_stamp, read_record
from SpineMotionToolsLib.motion.derivatives import (
    Row,
    ScanFiles,
    inside,
    read_index,
    read_rows,
    update_index,
    update_predictions,
    utc_now,
    write_dataset_description,
)
from SpineMotionToolsLib.motion.discovery import Discovery, Scan
from SpineMotionToolsLib.motion.grade_exports import review_mode
from SpineMotionToolsLib.motion.inputs import ScanSource, open_scan
from SpineMotionToolsLib.motion.registry import version_text
from SpineMotionToolsLib.motion.results import MotionResult

if TYPE_CHECKING:
    import numpy as np

SUMMARY_NAME = "predict_summary.csv"


@dataclass(frozen=True)
class PredictOptions:
    """How a data set is graded and what is written.

    `threshold` (percent) and `blind` start the review (None: as the study was reviewed so far, else 75 and not blind);
    `manual_only` enters scans for grading by people without any
    network; `force` grades again what is there; `panels` are the preview's slices (1 to 9).
    """

    choices: Choices = field(default_factory=Choices)
    threshold: int | None = None
    blind: bool | None = None
    manual_only: bool = False
    force: bool = False
    panels: int = 3
    pictures: bool = True
    clock: Callable[[], str] = utc_now


def predict(
    found: Discovery,
    root: Path,
    options: PredictOptions,
    scan_ids: Iterable[str] = (),
    progress: Progress = no_progress,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Grade the scans of a data set (or those of `scan_ids`) into the results folder `root`.

    After each scan its tables, its review entry and the index are whole; a scan that was graded from the same file with
    the same choices is kept. Unreadable scans are skipped and listed in `predict_summary.csv`. Raises InputError for an
    unknown scan id, WeightsError or OutputError for what concerns the whole run.
    """
    scans = {scan.scan_id: scan for scan in found.scans}
    if unknown := [name for name in scan_ids if name not in scans]:
        raise InputError(f"No scan {unknown[0]!r} is in {found.root}; see `spinemotion motion discover`.")
    wanted = {name: scans[name] for name in scan_ids} or scans
    options = _with_review_mode(options, root)
    grader = None if options.manual_only else Grader(options.choices)
    write_dataset_description(root, SpineMotionToolsLib.__version__)

    def work(name: str, path: Path, part: Progress) -> Outcome:
        files = ScanFiles(root, wanted[name].folder, options.choices.weights.model_id, name)
        row = _kept_row(files, path, grader, options)
        status = "kept" if row else "graded"
        if row is None:
            row = _manual_row(files, wanted[name], options) if grader is None else None
            row = row or _grade_scan(files, wanted[name], grader, options, part)
        _enter(files, row, options)
        return Outcome(name, path, status)

    outcomes = [
        Outcome(item.scan.scan_id, item.scan.path, "skipped" if item.conflict else "left out", item.reason)
        for item in found.left_out
    ]
    for outcome in outcomes:
        on_outcome(outcome)
    outcomes += each([(name, scan.path) for name, scan in wanted.items()], work, progress, on_outcome)
    _write_summary(root, outcomes, found.root)
    return outcomes


def _with_review_mode(options: PredictOptions, root: Path) -> PredictOptions:
    """What is not said is taken from the study's reviews: going on with a blind study unblinds nothing."""
    model_id = options.choices.weights.model_id
    index = sorted(read_index(root), key=lambda row: row["model_id"] != model_id)
    tables = (inside(root, row["review_tsv"]) for row in index if row["review_tsv"])
    threshold, blind = review_mode(review for table in tables for review in read_rows(table))
    return replace(
        options,
        threshold=next(value for value in (options.threshold, threshold, 75) if value is not None),
        blind=bool(blind if options.blind is None else options.blind),
    )


def _kept_row(files: ScanFiles, source: Path, grader: Grader | None, options: PredictOptions) -> Row | None:
    """The scan's row of `predictions.tsv` if it is complete and nothing it was made from has changed."""
    row = next((row for row in read_rows(files.predictions) if row["scan_id"] == files.scan_id), None)
    if row is None or options.force:
        return None
    complete = row["predicted_at"] and row["model_id"] in ("", files.model_id)
    if grader is None:
        return row if complete and row["manual_mode"] == "1" else None
    if not (complete and row["automatic_grade"] and row["automatic_confidence"]):
        return None
    # A table of the published program has no record beside it: its row counts as it stands.
    return row if not files.result_json.exists() or grader.kept(files.result_json, source) else None


def _grade_scan(files: ScanFiles, scan: Scan, grader: Grader, options: PredictOptions, progress: Progress) -> Row:
    """Grade a scan and write its result, pictures and prediction row, which comes last and says that all is there."""
    opened, result = grader.grade(scan.path, files.scan_id, progress)
    grader.save(files.result_json, scan.path, result)
    row = _row(files, scan, options) | {
        "automatic_grade": result.grade,
        "automatic_confidence": result.confidence_percent,
        "mean_confidence": float(result.mean_confidence),
        "stack_ranges": result.stack_ranges.tolist(),
        "stack_grades": result.stack_grades.tolist(),
        "stack_confidences": result.stack_confidences.tolist(),
        "slice_grades": result.slice_grades.tolist(),
        "slice_confidences": result.slice_confidences.tolist(),
    }
    row |= _save_pictures(files, opened, result, options)
    update_predictions(files.predictions, row)
    return _written(files)


def _manual_row(files: ScanFiles, scan: Scan, options: PredictOptions) -> Row:
    """Enter a scan for grading by people; what a network said of it earlier stays in the table."""
    open_scan(scan.path, options.choices.unit, crop=options.choices.crop)  # an unreadable scan is not entered
    update_predictions(files.predictions, _row(files, scan, options) | {"manual_mode": 1})
    return _written(files)


def _row(files: ScanFiles, scan: Scan, options: PredictOptions) -> dict[str, Any]:
    return {
        "scan_id": files.scan_id,
        "subject_id": scan.parts.subject,
        "raw_image_path": str(scan.path),
        "manual_mode": 0,
        "model_id": files.model_id,
        "model_version": version_text(options.choices.weights, SpineMotionToolsLib.__version__),
        "predicted_at": options.clock(),
    }


def _written(files: ScanFiles) -> Row:
    return next(row for row in read_rows(files.predictions) if row["scan_id"] == files.scan_id)


def _save_pictures(
    files: ScanFiles, opened: ScanSource, result: MotionResult, options: PredictOptions
) -> dict[str, str]:
    """Write preview and profile; under blind review the preview shows no grades and there is no profile."""
    if not options.pictures:
        return {}
    from SpineMotionToolsLib.motion.drawing import save_png
    from SpineMotionToolsLib.motion.pictures import preview_picture, slice_profile_picture

    save_png(files.preview, preview_picture(opened.slice_xy, result, options.panels, hide_grades=options.blind))
    paths = {"preview_png_path": files.relative(files.preview)}
    if not options.blind:
        save_png(files.profile, slice_profile_picture(result))
        paths["slice_profile_png_path"] = files.relative(files.profile)
    return paths


def _enter(files: ScanFiles, row: Row, options: PredictOptions) -> None:
    """Put the scan into the review and the index."""
    review = review_store.ReviewFiles(files.review_folder)
    review_store.initialise(review, row, options.threshold, options.blind, options.clock)
    paths = {
        "predictions_tsv": files.predictions,
        "review_tsv": review.table,
        "review_json": review.json,
        "review_audit": review.audit,
    }
    update_index(files.root, row | {name: files.relative(path) for name, path in paths.items()})


def _write_summary(root: Path, outcomes: Sequence[Outcome], dataset: Path) -> None:
    """What became of every file; without grades, so that a blind reviewer may read it."""
    columns = [Column("scan_id"), Column("file"), Column("status"), Column("reason")]
    rows = []
    for outcome in outcomes:
        below = outcome.path.is_relative_to(dataset)
        name = outcome.path.relative_to(dataset).as_posix() if below else str(outcome.path)
        rows.append([outcome.name, name, outcome.status, outcome.reason])
    with folder_lock(root):
        Table("scans", columns, rows).to_csv(root / SUMMARY_NAME)


def predict_task(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """`predict` for a child process: parameters and result as JSON.

    Parameters: root, model, unit, stack_height, incomplete, rules, slice_step, device, threshold, blind, force (all but
    root optional), table (an edited table of scans). Result: results (folder), graded, kept, skipped [{scan, reason}].
    """
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.motion.derivatives import results_root
    from SpineMotionToolsLib.motion.discovery import discover_first_format, read_scan_table
    from SpineMotionToolsLib.motion.registry import STARTER, choose

    folder = Path(parameters["root"])
    table = parameters.get("table")
    root = results_root(folder)
    found = read_scan_table(Path(table), folder) if table else discover_first_format(folder, exclude=root)
    names = ("rules", "stack_height", "incomplete", "slice_step", "unit")
    choices = Choices(
        weights=choose(parameters.get("model", STARTER)),
        engine=Engine(device=parameters.get("device", "auto")),
        **{name: parameters[name] for name in names if name in parameters},
    )
    options = PredictOptions(
        choices,
        threshold=int(parameters["threshold"]) if "threshold" in parameters else None,
        blind=parameters.get("blind"),
        force=bool(parameters.get("force", False)),
    )
    outcomes = predict(found, root, options, progress=progress)
    skipped = [{"scan": each.path.name, "reason": each.reason} for each in outcomes if each.status == "skipped"]
    counts = {status: sum(each.status == status for each in outcomes) for status in ("graded", "kept")}
    return {"results": str(root), **counts, "skipped": skipped}


def explain_dataset(
    root: Path,
    choices: Choices,
    mode: str = "published",
    target_grade: int | None = None,
    scan_ids: Iterable[str] = (),
    progress: Progress = no_progress,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Write the attention volume of every graded scan beside its other results and name it in the index.

    Scans that wait for a blind grade are left out: the map would show what the networks decided. Raises InputError for
    an unknown scan id.
    """
    from SpineMotionToolsLib.motion.pipeline import explain

    model_id = choices.weights.model_id
    index = read_index(root)
    rows = {row["scan_id"]: row for row in index if row["model_id"] == model_id}
    if unknown := [name for name in scan_ids or ["any scan"] if name not in rows and (scan_ids or not rows)]:
        models = ", ".join(sorted({row["model_id"] for row in index})) or "none"
        raise InputError(
            f"{root} has no results of {unknown[0]} by the model {model_id} (there are results of: {models}). Predict "
            "first, or name the model with --weights."
        )
    wanted = [(name, Path(rows[name]["raw_image_path"])) for name in (scan_ids or rows)]
    grader = Grader(choices)

    def work(name: str, path: Path, part: Progress) -> Outcome:
        predictions = inside(root, rows[name]["predictions_tsv"])
        folder = predictions.parents[3].relative_to(root).as_posix()
        files = ScanFiles(root, folder, model_id, name)
        review = next((row for row in read_rows(inside(root, rows[name]["review_tsv"])) if row["scan_id"] == name), {})
        if review.get("review_status") == review_store.TRAINING_PENDING:
            return Outcome(name, path, "left out", "the scan waits for its blind grade")
        if not path.exists():
            raise InputError(f"{path} is not there any more; put the scan back or predict again.")
        record = read_record(files.result_json)
        if record.get("source") != file_stamp(path):
            raise InputError("The scan has no saved result, or changed since; run predict again.")
        result = MotionResult.from_json(record)
        scan = open_scan(path, like=result.scan)
        attention = explain(scan, grader.ensemble, result, mode, target_grade, choices.engine, part)
        taken = files.relative(files.attention) in (
            row["attention_map_path"] for row in read_index(root) if row["model_id"] != model_id
        )
        target = files.further_attention if taken else files.attention
        save_attention(target, attention, scan)
        update_index(root, rows[name] | {"attention_map_path": files.relative(target)})
        return Outcome(name, path, "explained")

    return each(wanted, work, progress, on_outcome)


def save_attention(path: Path, attention_xyz: np.ndarray, scan: ScanSource) -> None:
    """Write an attention volume (X, Y, Z) in the geometry of the whole scan; raises OutputError."""
    from SpineMotionToolsLib.common.volumes import Volume, write_volume

    write_volume(path, Volume(attention_xyz.transpose(2, 1, 0), scan.whole.ijk_to_ras, f"{scan.info.name} attention"))

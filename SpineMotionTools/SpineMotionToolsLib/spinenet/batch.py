"""Reads many scans into one folder: a sub-folder of files for each, tables over all, and a restart where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.dicom_source import is_dicom
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import CONCERNS_ALL, InputError, OutputError, reason_of
from SpineMotionToolsLib.common.files import (
    atomic_path,
    folder_lock,
    make_folder,
    output_error,
    source_stamp,
    unique_names,
    write_json,
)
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.provenance import DEMONSTRATION
from SpineMotionToolsLib.common.tables import FORMULA, Column, Table, read_sheet

from . import pipeline
from .dicom import find_source, write_dicom
from .export import write_markups, write_segmentation
from .inputs import IMAGE_SUFFIXES, read_scan
from .models import Models, choose_models
from .pictures import key_picture
from .report import spine_report
from .results import Spine
from .scans import Scan

RESULT_NAME, PICTURE_NAME, REPORT_NAME = "spine.json", "key-picture.png", "report.html"
SEGMENTATION_NAME, MARKUPS_NAME = "vertebrae.seg.nrrd", "vertebrae.mrk.json"
DICOM_NAMES = ("spine-segmentation.dcm", "spine-report.dcm")
SUMMARY_NAME = "summary.csv"
READ, KEPT, FAILED = "read", "kept", "failed"


def find_cases(source: Path, out: Path | None = None) -> list[tuple[str, Path]]:
    """(name, path) of every case: the file itself, a folder of DICOM slices, or a folder of files and such folders.

    In a folder, segmentations (`.seg.nrrd`), folders of results and what lies in `out`, the folder for results, are no
    cases. Names differ from each other and from the images in `out`, so that each names a folder of results there.
    Raises InputError when there is none.
    """
    source = Path(os.path.abspath(source))  # "." has no name; links keep theirs
    if source.is_file():
        cases = [(_stem(source), source)]
    elif source.is_dir():
        cases = _cases_in(source, out.resolve() if out else None)
    else:
        raise InputError(f"{source} does not exist. Check the name.")
    if not cases:
        raise InputError(f"{source} holds no images. Choose an image file, a DICOM folder or a folder of those.")
    return unique_names(cases, [path.name for _, path in cases if out and path.parent.resolve() == out.resolve()])


def read_cases(
    cases: Sequence[tuple[str, Path]],
    out: Path,
    models: Models | str = "",
    engine: Engine = pipeline.AUTO,
    options: pipeline.Options = pipeline.DEFAULTS,
    series: str = "",
    again: bool = False,
    progress: Progress = no_progress,
    dicom: bool = False,
) -> list[dict[str, Any]]:
    """Read every case into `out/<name>`; what was read from the same files in the same way is kept unless `again`.

    With `dicom` also a DICOM segmentation and report; a case that is not DICOM then counts as one that cannot be read.
    A case that cannot be read becomes a row with its reason; the others go on. Returns one row a case, with the status
    "read", "kept" or "failed"; each goes into `summary.csv` as soon as it is known, beside the rows of other cases
    there. Raises InputError for an engine that this computer has not, and WeightsError, DependencyError, OutputError.
    """
    engine.resolve()
    models = choose_models(models)
    models.keep_loaded = len(cases) > 1
    make_folder(out)
    _summary_rows(out / SUMMARY_NAME)  # one that cannot be used is told before the long work
    rows = []
    for number, (name, path) in enumerate(unique_names(cases)):
        progress(number, len(cases), name)
        folder = out / name
        spine, status, reason = None, KEPT, ""
        try:
            source = find_source(path, series) if dicom else None
            stamp = source_stamp(path.resolve(), [folder.resolve(), out.resolve() / SUMMARY_NAME])
            made_from = {**stamp, "series": series, "precision": engine.precision}
            spine = None if again else _finished(folder, models, options, made_from)
            if spine is None:
                status = READ
                scan = read_scan(path, series)
                within = lambda done, of, text, n=number: progress(n + done / of, len(cases), text)
                spine = pipeline.read(scan, models, engine, options, within)
                spine = write_case(folder, spine, scan, made_from)
            if source is not None:
                write_dicom(spine, source, folder)
        except CONCERNS_ALL:
            raise
        except Exception as error:  # one case's fault must not cost the others their turn
            reason = reason_of(error, path)
            if spine is None and (folder / RESULT_NAME).exists():
                reason += " The files in its folder are those of an earlier run."
            spine, status = None, FAILED
        rows.append(_summary_row(name, status, spine, reason))
        _add_to_summary(out / SUMMARY_NAME, rows[-1])
    progress(len(cases), len(cases), "Done")
    return rows


def write_case(folder: Path, spine: Spine, scan: Scan, made_from: Mapping[str, Any] | None = None) -> Spine:
    """Write all files of one case, in place of those of an earlier run; the JSON comes last: with it all are there.

    `made_from`, what decides about the result beside networks and options, goes into the JSON. Returns the spine as it
    was written: with a warning where no segmentation can hold it. Raises OutputError.
    """
    make_folder(folder)
    _remove_results(folder)
    try:
        write_segmentation(folder / SEGMENTATION_NAME, spine)
    except OutputError as error:  # shifted slices: image files cannot hold their geometry
        spine = replace(spine, warnings=(*spine.warnings, f"No segmentation was written. {error}"))
    tables = {
        "vertebrae": spine.vertebra_table(),
        "grades": spine.grade_table(),
        "grade-probabilities": spine.probability_table(),
        "corners": spine.corner_table(),
    }
    if spine.measurements is not None:
        tables["body-measurements"] = spine.measurements.vertebra_table()
        tables["disc-measurements"] = spine.measurements.disc_table()
        tables["angles"] = spine.measurements.angle_table()
    if spine.grades_are_demonstration:  # said where the numbers stand, since a file may travel alone
        for name in ("grades", "grade-probabilities"):
            tables[name] = tables[name].with_note(DEMONSTRATION)
    for name, table in tables.items():
        with_units(table).to_csv(folder / f"{name}.csv")
    with atomic_path(folder / PICTURE_NAME) as temporary:
        key_picture(scan, spine).save(temporary)
    spine_report(spine, scan).write(folder / REPORT_NAME)
    write_markups(folder / MARKUPS_NAME, spine)
    write_json(folder / RESULT_NAME, {**spine.to_json(), **({"made_from": made_from} if made_from else {})})
    return spine


def with_units(table: Table) -> Table:
    """The table with its units in the columns' names, for CSV files."""
    return Table(table.name, [Column(column.title, digits=column.digits) for column in table.columns], table.rows)


def _cases_in(folder: Path, out: Path | None) -> list[tuple[str, Path]]:
    """(wanted name, path) of the cases in a folder; none when it is empty. `out` is resolved."""
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and not _is_result(p, out))
    images = [p for p in entries if _is_image(p)]
    folders = [p for p in entries if p.is_dir()]
    lone_files = bool(entries) and not folders  # DICOM of old kinds may not look like it
    if not images and (lone_files or any(_is_slice(p) for p in entries)):
        return [(folder.name, folder)]  # slices of one study lie here
    return [(_stem(p), p) for p in images] + [(p.name, p) for p in folders]


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(IMAGE_SUFFIXES) and not name.endswith(".seg.nrrd") and path.is_file()


def _is_slice(path: Path) -> bool:
    """Whether a file is a DICOM image, not the directory of a disc."""
    try:
        named = path.name.upper() != "DICOMDIR" and path.is_file()
        return named and (path.suffix.lower() == ".ima" or is_dicom(path))
    except OSError:
        return False


def _is_result(path: Path, out: Path | None) -> bool:
    """Whether a run into `out`, or an earlier one into another folder, made this file or folder."""
    if not path.is_dir():
        return out is not None and path.resolve() == out / SUMMARY_NAME
    if out is not None and out.is_relative_to(path.resolve()):
        return all(file.resolve().is_relative_to(out) for file in path.rglob("*") if file.is_file())
    return _holds_results_only(path)


def _holds_results_only(folder: Path) -> bool:
    """Whether a folder holds the result of a case and no images, or only folders that do."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return False
    folders = [p for p in entries if p.is_dir()]
    if not folders and not (folder / RESULT_NAME).is_file():
        return False
    others = (p for p in entries if p.name not in DICOM_NAMES)
    return all(map(_holds_results_only, folders)) and not any(_is_image(p) or _is_slice(p) for p in others)


def _finished(folder: Path, models: Models, options: pipeline.Options, made_from: Mapping[str, Any]) -> Spine | None:
    """The spine of an earlier, complete run with the same weights and options on the same files, or None."""
    try:
        record = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
        spine = Spine.from_json(record)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    made_by = spine.provenance
    same_model = (made_by.model_id, made_by.model_sha256) == (models.id, models.sha256)
    wanted = pipeline.parameters_of(options, models)
    same_options = all(made_by.parameters.get(name) == wanted[name] for name in wanted)
    return spine if same_model and same_options and record.get("made_from") == made_from else None


def _remove_results(folder: Path) -> None:
    """Remove what would pass for the result of a run that breaks off; raises OutputError."""
    for name in (RESULT_NAME, SEGMENTATION_NAME, *DICOM_NAMES):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise output_error(folder / name, error) from error


def _summary_row(name: str, status: str, spine: Spine | None, reason: str) -> dict[str, Any]:
    row: dict[str, Any] = {"case": name, "status": status, "remarks": reason}
    if spine is not None:
        labels = spine.labels
        row |= {
            "vertebrae": len(labels),
            "levels": f"{labels[0]} to {labels[-1]}" if labels else "",
            "remarks": " ".join(spine.warnings),
        }
        for angle in spine.measurements.angles if spine.measurements else ():
            row[angle.name] = angle.angle_deg
    return row


def _add_to_summary(path: Path, row: dict[str, Any]) -> None:
    """Put the row of a case into the table, in place of its earlier one; other processes may do the same.

    Raises OutputError.
    """
    with folder_lock(path.parent):
        rows = {**_summary_rows(path), row["case"]: row}
        _summary_table(list(rows.values())).to_csv(path)


def _summary_rows(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a table that `_add_to_summary` wrote and a spreadsheet program may have saved, by case.

    Raises InputError for another table.
    """
    try:
        names, rows = read_sheet(path)
    except FileNotFoundError:
        return {}
    if rows and "case" not in names:
        raise InputError(f"{path} has no column case; rename or remove it, then try again.")
    rows = [{name.removesuffix(" (deg)"): _cell(text or "") for name, text in row.items() if name} for row in rows]
    return {row["case"]: row for row in rows if row.get("case")}


def _cell(text: str) -> str:
    """A cell's text without the apostrophe that keeps spreadsheets from running it."""
    return text[1:] if text.startswith("'") and FORMULA.match(text[1:]) else text


def _summary_table(rows: Sequence[dict[str, Any]]) -> Table:
    names = ["case", "status", "vertebrae", "levels"]
    names += sorted({name for row in rows for name in row} - {*names, "remarks"}) + ["remarks"]
    columns = [Column(name + (" (deg)" if name[0].isupper() else "")) for name in names]
    return Table("Summary", columns, [[row.get(name) for name in names] for row in rows])


def _stem(path: Path) -> str:
    name = path.name
    suffix = next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), path.suffix)
    return name[: len(name) - len(suffix)] if suffix else name

"""Reads many scans into one folder: a sub-folder of files for each, tables over all, and a restart where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError, SpineMotionError
from SpineMotionToolsLib.common.files import atomic_path, make_folder, safe_name, write_json
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.tables import Column, Table

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
SUMMARY_NAME = "summary.csv"


def find_cases(source: Path) -> list[tuple[str, Path]]:
    """(name, path) of every case: the file itself, a folder of DICOM slices, or a folder of files and such folders.

    Raises InputError when there is none.
    """
    if source.is_file():
        return [(_stem(source), source)]
    if not source.is_dir():
        raise InputError(f"{source} does not exist. Check the name.")
    entries = sorted(p for p in source.iterdir() if not p.name.startswith("."))
    images = [p for p in entries if p.is_file() and p.name.lower().endswith(IMAGE_SUFFIXES)]
    if not images and any(p.is_file() for p in entries):
        return [(source.name, source)]  # slices of one study lie here
    cases = [(_stem(p), p) for p in images] + [(p.name, p) for p in entries if p.is_dir()]
    if not cases:
        raise InputError(f"{source} holds no images. Choose an image file, a DICOM folder or a folder of those.")
    return _unique(cases)


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
    """Read every case into `out/<name>`; what was finished with the same model and options is skipped unless `again`.

    With `dicom` also a DICOM segmentation and report; a case that is not DICOM then counts as one that cannot be read.
    A case that cannot be read becomes a row with its reason; the others go on. Returns one row a case and writes them
    as `summary.csv`.
    """
    models = choose_models(models)
    models.keep_loaded = len(cases) > 1
    make_folder(out)
    rows = []
    for number, (name, path) in enumerate(cases):
        progress(number, len(cases), name)
        folder = out / safe_name(name)
        spine, error = None if again else _finished(folder, models, options), ""
        try:
            source = find_source(path, series) if dicom else None
            if spine is None:
                scan = read_scan(path, series)
                within = lambda done, of, text, n=number: progress(n + done / of, len(cases), text)
                spine = pipeline.read(scan, models, engine, options, within)
                write_case(folder, spine, scan)
            if source is not None:
                write_dicom(spine, source, folder)
        except SpineMotionError as problem:
            if not isinstance(problem, InputError):
                raise  # weights, disk and cancel concern all cases
            spine, error = None, str(problem)
        rows.append(_summary_row(name, spine, error))
    _summary_table(rows).to_csv(out / SUMMARY_NAME)
    progress(len(cases), len(cases), "Done")
    return rows


def write_case(folder: Path, spine: Spine, scan: Scan) -> list[Path]:
    """All files of one case; the JSON comes last, so that a folder with it is complete. Raises OutputError."""
    from SpineMotionToolsLib.common.errors import OutputError

    make_folder(folder)
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
    for name, table in tables.items():
        with_units(table).to_csv(folder / f"{name}.csv")
    with atomic_path(folder / PICTURE_NAME) as temporary:
        key_picture(scan, spine).save(temporary)
    spine_report(spine, scan).write(folder / REPORT_NAME)
    write_markups(folder / MARKUPS_NAME, spine)
    try:
        write_segmentation(folder / SEGMENTATION_NAME, spine)
    except OutputError as error:  # shifted slices: image files cannot hold their geometry
        spine = replace(spine, warnings=(*spine.warnings, f"No segmentation was written. {error}"))
    write_json(folder / RESULT_NAME, spine.to_json())
    return sorted(folder.iterdir())


def with_units(table: Table) -> Table:
    """The table with its units in the columns' names, for CSV files."""
    return Table(table.name, [Column(column.title, digits=column.digits) for column in table.columns], table.rows)


def _finished(folder: Path, models: Models, options: pipeline.Options) -> Spine | None:
    """The spine of an earlier, complete run with the same weights and options, or None."""
    try:
        spine = Spine.from_json(json.loads((folder / RESULT_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    made_by = spine.provenance
    same_model = (made_by.model_id, made_by.model_sha256) == (models.id, models.sha256)
    wanted = pipeline.parameters_of(options, models)
    return spine if same_model and all(made_by.parameters.get(name) == wanted[name] for name in wanted) else None


def _summary_row(name: str, spine: Spine | None, error: str) -> dict[str, Any]:
    row: dict[str, Any] = {"case": name, "status": "failed" if spine is None else "read", "remarks": error}
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


def _summary_table(rows: Sequence[dict[str, Any]]) -> Table:
    names = ["case", "status", "vertebrae", "levels"]
    names += sorted({name for row in rows for name in row} - {*names, "remarks"}) + ["remarks"]
    columns = [Column(name + (" (deg)" if name[0].isupper() else "")) for name in names]
    return Table("Summary", columns, [[row.get(name) for name in names] for row in rows])


def _stem(path: Path) -> str:
    name = path.name
    suffix = next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), path.suffix)
    return name[: len(name) - len(suffix)] if suffix else name


def _unique(cases: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Cases with names that differ even where files differ by extension only."""
    names = [safe_name(name).lower() for name, _ in cases]
    return [(path.name if names.count(key) > 1 else name, path) for key, (name, path) in zip(names, cases)]

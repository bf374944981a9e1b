"""The record of a batch, `batch.json` in its output folder: one row a case, so that a stopped run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from SpineMotionToolsLib import __version__ as VERSION
from SpineMotionToolsLib.common.errors import OutputError
from SpineMotionToolsLib.common.files import output_error, write_json
from SpineMotionToolsLib.common.report import Report
from SpineMotionToolsLib.common.tables import Column, Table

JOURNAL_NAME, TABLE_NAME, REPORT_NAME = "batch.json", "cases.csv", "report.html"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Row:
    """What became of one case.

    `result` is one line for people, `values` named numbers with units in their names, `scene` and `dicom` paths below
    the results folder, `made_from` the file's size and time and all that decides about the numbers: an equal one on the
    next run keeps the row.
    """

    case: str
    file: str
    status: str
    result: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str = ""
    scene: str = ""
    dicom: tuple[str, ...] = ()
    seconds: float = 0.0
    made_from: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, **{name: tuple(known.get(name, ())) for name in ("warnings", "dicom")}})


class Journal:
    """The rows of a batch on disk, by case; every change is written at once and whole. Raises OutputError."""

    def __init__(self, out: Path, task: str, source: Path | None = None) -> None:
        self.out, self.task = Path(out), task
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.out, error) from error
        record = read_journal(self.out)
        if record and record["task"] != task:
            raise OutputError(
                f"{self.out} holds the results of another task ({record['task']}). Choose another folder for the "
                "results."
            )
        self.source = str(source or record.get("source", ""))
        if not _same_place(self.source, str(record.get("source", ""))):
            raise OutputError(
                f"{self.out} holds the results of the cases in {record['source']}. Choose another folder for the "
                "results, or the same cases."
            )
        self.rows: dict[str, Row] = {row.case: row for row in rows_of(record)}

    def begin(self, case: str) -> None:
        """Note which case is under way: after a crash it is known which one it was."""
        self._write(case)

    def add(self, row: Row) -> None:
        self.rows[row.case] = row
        self._write("")

    def finish(self, cases: Sequence[str]) -> list[Row]:
        """Write table and report of these cases and return their rows; rows of files that are gone are dropped."""
        self.rows = {case: self.rows[case] for case in cases if case in self.rows}
        self._write("")
        rows = list(self.rows.values())
        table_of(rows).to_csv(self.out / TABLE_NAME)
        _report(self.task, rows).write(self.out / REPORT_NAME)
        return rows

    def _write(self, running: str) -> None:
        rows = [asdict(row) for row in self.rows.values()]
        record = {"task": self.task, "source": self.source, "running": running, "rows": rows}
        write_json(self.out / JOURNAL_NAME, record)


def _same_place(source: str, earlier: str) -> bool:
    """Whether both are one folder or file; one that is gone was moved or renamed."""
    return source == earlier or not earlier or not os.path.exists(earlier) or os.path.samefile(source, earlier)


def read_journal(out: Path) -> dict[str, Any]:
    """The record in an output folder; empty when there is none or it is not ours."""
    try:
        record = json.loads((Path(out) / JOURNAL_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(record, dict) and isinstance(record.get("rows"), list) and "task" in record
    return record if whole else {}


def rows_of(record: Mapping[str, Any]) -> list[Row]:
    """The rows of a record; damaged ones are left out, and their cases are done again."""
    rows = []
    for values in record.get("rows", []):
        try:
            rows.append(Row.from_json(values))
        except (AttributeError, TypeError):
            continue
    return rows


def table_of(rows: Sequence[Row]) -> Table:
    """One row a case: status, result, the system's numbers, warnings and errors."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    columns = ["case", "file", "status", "result", *names, "warnings", "error", "scene", "dicom", "seconds"]
    cells = [
        [
            row.case,
            row.file,
            row.status,
            row.result,
            *(row.values.get(name) for name in names),
            " ".join(row.warnings),
            row.error,
            row.scene,
            " ".join(row.dicom),
            row.seconds,
        ]
        for row in rows
    ]
    return Table("Cases", [Column(name) for name in columns], cells)


def summary(rows: Sequence[Row]) -> str:
    """How many cases were done and how many failed, as a sentence."""
    failed = sum(row.status == FAILED for row in rows)
    warned = sum(row.status == DONE and bool(row.warnings) for row in rows)
    text = f"{len(rows) - failed} of {len(rows)} cases done"
    if failed:
        text += f", {failed} failed"
    return text + (f", {warned} with warnings." if warned else ".")


def _report(task: str, rows: Sequence[Row]) -> Report:
    """What a page has room for: failures first, numbers in one table, each warning once with its cases."""
    now = datetime.now(timezone.utc)
    report = Report(f"Batch: {task}", f"{summary(rows)} SpineMotionTools {VERSION}, {now:%Y-%m-%d %H:%M} UTC.")
    done = [row for row in rows if row.status == DONE]
    if any(row.made_from.get("starter") for row in rows):
        report.warning("Starter models: not validated on patients.")
    if failed := [[row.case, row.file, row.error] for row in rows if row.status == FAILED]:
        report.table(Table("Failed", [Column("case"), Column("file"), Column("reason")], failed))
    if done:
        names = list(dict.fromkeys(name for row in done for name in row.values))
        columns = [Column(name) for name in ("case", "file", "result", *names)]
        cells = [[row.case, row.file, row.result, *(row.values.get(name) for name in names)] for row in done]
        report.table(Table("Done", columns, cells))
    warnings: dict[str, list[str]] = {}
    for row in done:
        for text in row.warnings:
            warnings.setdefault(text, []).append(row.case)
    if warnings:
        cells = [[text, "all" if len(names) == len(done) else ", ".join(names)] for text, names in warnings.items()]
        report.table(Table("Warnings", [Column("warning"), Column("cases")], cells))
    return report.text("Files and scenes of each case lie in the folder of its name.")

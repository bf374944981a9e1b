"""Tables of results: named columns with units, as CSV for programs and HTML for people."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import write_text


@dataclass(frozen=True)
class Column:
    """A column: its name, unit ("" for none), one sentence about it, and decimals to show (None: four digits)."""

    name: str
    unit: str = ""
    description: str = ""
    digits: int | None = None

    @property
    def title(self) -> str:
        """Name and unit as shown to people, e.g. "Height (mm)"."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Table:
    """A named table; a row holds a value per column: text, number, bool or None (unknown).

    Raises InputError for rows of another length.
    """

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]] = field(repr=False)

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise InputError(
                    f"Row {number} of the table {self.name!r} has {len(row)} values for {len(self.columns)} columns."
                )

    def to_csv(self, path: Path | str) -> None:
        """Write as UTF-8 CSV, atomically: the header holds the columns' names only, None is an empty cell.

        Text that a spreadsheet would run as a formula gets a leading apostrophe. Raises OutputError.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows([_csv_cell(value) for value in row] for row in self.rows)
        write_text(path, text.getvalue())

    def to_html(self) -> str:
        """A `<table>` element, everything escaped: units in the header, descriptions as tooltips, unknown as a dash."""
        head = "".join(
            f'<th scope="col" title="{html.escape(column.description, quote=True)}">{html.escape(column.title)}</th>'
            if column.description
            else f'<th scope="col">{html.escape(column.title)}</th>'
            for column in self.columns
        )
        body = "\n".join(
            "<tr>" + "".join(_html_cell(value, column) for value, column in zip(row, self.columns)) + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{html.escape(self.name)}</caption>" if self.name else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def shown(value: Any, digits: int | None = None) -> str:
    """A value as a person reads it: a dash for None and NaN, yes or no, `digits` decimals or four digits."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if digits is None and math.isfinite(value):
            digits = 0 if abs(value) >= 1000 else None
        text = f"{value:.4g}" if digits is None or not math.isfinite(value) else f"{value:.{digits}f}"
        return text.replace("-", "−") if "e" not in text else text
    return str(value)


def _html_cell(value: Any, column: Column) -> str:
    kind = value.item() if hasattr(value, "item") else value
    numeric = isinstance(kind, (int, float)) and not isinstance(kind, bool)
    return f"<td{' class=number' if numeric else ''}>{html.escape(shown(value, column.digits))}</td>"


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str) and (
        value.startswith(("=", "+", "@", "\t", "\r")) or (value[:1] == "-" and _is_formula(value))
    ):
        return f"'{value}"
    return value


def _is_formula(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return len(text) > 1
    return False

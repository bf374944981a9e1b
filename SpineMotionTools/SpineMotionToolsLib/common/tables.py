"""Tables of results: named columns with units, as CSV for programs and HTML for people."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import write_text

FORMULA = re.compile(r"[=+@\t\r]|-.*[^\d.eE+-]")
"""Text that a spreadsheet would run: negative numbers and a lone dash are none."""


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
        numeric = [_is_numeric([row[index] for row in self.rows]) for index in range(len(self.columns))]
        head = "".join(_header(column, is_number) for column, is_number in zip(self.columns, numeric))
        body = "\n".join("<tr>" + "".join(map(_cell, row, self.columns, numeric)) + "</tr>" for row in self.rows)
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
        return f"{value:.4g}" if digits is None or not math.isfinite(value) else f"{value:.{digits}f}"
    return str(value)


def _is_numeric(values: Sequence[Any]) -> bool:
    values = [value.item() if hasattr(value, "item") else value for value in values if value is not None]
    return bool(values) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _header(column: Column, is_number: bool) -> str:
    tooltip = f' title="{html.escape(column.description, quote=True)}"' if column.description else ""
    return f'<th scope="col"{_right(is_number)}{tooltip}>{html.escape(column.title)}</th>'


def _cell(value: Any, column: Column, is_number: bool) -> str:
    return f"<td{_right(is_number)}>{html.escape(shown(value, column.digits))}</td>"


def _right(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value

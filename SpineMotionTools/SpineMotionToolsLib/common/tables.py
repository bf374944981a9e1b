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

    @property
    def heading(self) -> str:
        """The title in words: "member_agreement" is "Member agreement"."""
        words = self.title.replace("_", " ")
        return words[:1].upper() + words[1:]


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

    def with_note(self, note: str) -> Table:
        """The same with a note in every row, since a file may travel alone; without one the table as it is."""
        if not note:
            return self
        return Table(self.name, [*self.columns, Column("note")], [[*row, note] for row in self.rows])

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
        columns = [_Shown(column, [row[index] for row in self.rows]) for index, column in enumerate(self.columns)]
        head = "".join(column.header() for column in columns)
        body = "\n".join(
            "<tr>" + "".join(column.cell(value) for column, value in zip(columns, row)) + "</tr>" for row in self.rows
        )
        caption = f"<caption>{html.escape(self.name)}</caption>" if self.name else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def read_sheet(path: Path | str) -> tuple[list[str], list[dict[str, str]]]:
    """Column names and rows of a table that a spreadsheet program may have saved, with commas, semicolons or tabs.

    Raises InputError when the file is not a table in UTF-8, FileNotFoundError when it is absent.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        delimiter = max("\t;,", key=text.partition("\n")[0].count)
        # newline="" keeps line breaks inside quoted cells.
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
        names, rows = [name.strip() for name in reader.fieldnames or ()], list(reader)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as a table ({error}); save it as CSV in UTF-8 or restore it from a backup."
        ) from error
    return names, [{str(name).strip(): value for name, value in row.items() if name is not None} for row in rows]


def as_number(value: Any) -> float:
    """A cell as a number, also with a decimal comma; raises ValueError for text."""
    return float(str(value).replace(",", "."))


def shown(value: Any, digits: int | None = None) -> str:
    """A value as a person reads it: a dash for None and NaN, yes or no, `digits` decimals or four digits."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or value == "" or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)) or (isinstance(value, int) and digits is None):
        return str(value)
    if digits is None and 1000 <= abs(value) < math.inf:
        digits = 0
    return f"{value:.4g}" if digits is None else f"{value:.{digits}f}"


class _Shown:
    """A column on a page: numbers to the right, with as many decimals in every row."""

    def __init__(self, column: Column, values: Sequence[Any]) -> None:
        values = [value.item() if hasattr(value, "item") else value for value in values if value is not None]
        self._column = column
        is_number = bool(values) and all(type(value) in (int, float) for value in values)
        self._class = ' class="number"' if is_number else ""
        self._digits = column.digits
        if is_number and column.digits is None and any(type(value) is float for value in values):
            self._digits = _common_digits([float(value) for value in values])

    def header(self) -> str:
        description = html.escape(self._column.description, quote=True)
        tooltip = f' title="{description}"' if description else ""
        return f'<th scope="col"{self._class}{tooltip}>{html.escape(self._column.heading)}</th>'

    def cell(self, value: Any) -> str:
        return f"<td{self._class}>{html.escape(shown(value, self._digits))}</td>"


def _common_digits(values: Sequence[float]) -> int | None:
    """The decimals that give the largest value four digits, less where none needs them; None where one would vanish."""
    finite = [abs(value) for value in values if math.isfinite(value)]
    if not any(finite):
        return 0
    most = max(0, 3 - math.floor(math.log10(max(finite))))
    if most > 6 or any(value and not round(value, most) for value in finite):
        return None
    return next(digits for digits in range(most + 1) if all(round(v, digits) == round(v, most) for v in finite))


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value

"""Tables of marks on video frames, as saved here or by a spreadsheet in which they were corrected."""

from __future__ import annotations

import csv
import io
from pathlib import Path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column name; raises OSError or ValueError.

    Spreadsheets of many countries separate columns by semicolons or tabs and write 1,5 for 1.5.
    """
    text = path.read_text(encoding="utf-8-sig")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    if delimiter != ",":
        text = text.replace(",", ".")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))

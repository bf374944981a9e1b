"""Published text formats, kept for comparison with existing studies."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = ("polys", "average_polygon", "slice_nos", "predicted_label")


def published_vertebra_csv(vertebrae: Sequence[Mapping[str, Any]]) -> str:
    """The published CSV of vertebra dictionaries: Python text in quoted cells, CRLF line ends.

    Not reliably machine-readable; `Spine.corner_table()` is. Raises KeyError for a missing key, ValueError for another.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for vertebra in vertebrae:
        if other := set(vertebra) - set(_COLUMNS):
            raise ValueError(f"Unknown keys {sorted(other)}: a vertebra holds {', '.join(_COLUMNS)}.")
        writer.writerow([vertebra[name] for name in _COLUMNS])
    return text.getvalue()

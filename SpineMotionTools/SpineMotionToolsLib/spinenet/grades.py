"""The eleven radiological grades of a disc: names, classes, and the published table.

"Upper" and "lower" are the endplate and marrow above and below the disc. Left and right are the patient's, if slice 0
is the patient's leftmost: the published work states no slice order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Head:
    """One grade: its network head, table column, number of classes, and the value of class 0."""

    key: str
    column: str
    title: str
    classes: int
    first: int
    meanings: tuple[str, ...]

    def value(self, index: int) -> int:
        return index + self.first


_PRESENT = ("no", "yes")
SEVERITY = ("none", "mild", "moderate", "severe")

HEADS = (
    Head("fc_pf", "Pfirrmann", "Pfirrmann grade", 5, 1, ("I", "II", "III", "IV", "V")),
    Head("fc_nar", "Narrowing", "Disc narrowing", 4, 1, SEVERITY),
    Head("fc_ccs", "CentralCanalStenosis", "Central canal stenosis", 4, 1, SEVERITY),
    Head("fc_spn", "Spondylolisthesis", "Spondylolisthesis", 3, 0, ("none", "grade 1", "grade 2 or more")),
    Head("fc_ued", "UpperEndplateDefect", "Upper endplate defect", 2, 0, _PRESENT),
    Head("fc_led", "LowerEndplateDefect", "Lower endplate defect", 2, 0, _PRESENT),
    Head("fc_umc", "UpperMarrow", "Upper marrow change", 2, 0, _PRESENT),
    Head("fc_lmc", "LowerMarrow", "Lower marrow change", 2, 0, _PRESENT),
    Head("fc_fsl", "ForaminalStenosisLeft", "Foraminal stenosis, left", 2, 0, _PRESENT),
    Head("fc_fsr", "ForaminalStenosisRight", "Foraminal stenosis, right", 2, 0, _PRESENT),
    Head("fc_hrn", "Herniation", "Herniation", 2, 0, _PRESENT),
)
HEAD_OF_COLUMN = {head.column: head for head in HEADS}
TOTAL_CLASSES = sum(head.classes for head in HEADS)


def grade_table(classes: Mapping[str, Sequence[int]], levels: Sequence[str]) -> tuple[list[str], list[str], np.ndarray]:
    """The published table from arg-max classes per column, discs bottom first: (levels, columns, values), top first."""
    columns = [head.column for head in HEADS]
    values = np.array([[head.value(int(c)) for c in classes[head.column]] for head in HEADS], dtype=np.int64)
    return list(levels)[::-1], columns, values.reshape(len(HEADS), -1).T[::-1]


def grade_csv(levels: Sequence[str], columns: Sequence[str], values: np.ndarray) -> str:
    """The published CSV text of a grade table: the header begins with an empty cell."""
    lines = [",".join(["", *columns])]
    lines += [",".join([level, *map(str, row)]) for level, row in zip(levels, values.tolist())]
    return "\n".join(lines) + "\n"

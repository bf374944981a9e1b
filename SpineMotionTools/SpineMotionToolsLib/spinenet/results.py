"""What comes out: a `Spine` of vertebrae and discs, with grades, measurements, warnings and provenance.

Everything is frozen; edits (`editing.py`), grading and measuring return a new `Spine`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.provenance import DEMONSTRATION, Provenance
from SpineMotionToolsLib.common.tables import Column, Table

from .detection_targets import CORNER_NAMES
from .discs import level_name
from .grades import HEAD_OF_COLUMN, HEADS, Head
from .grouping import VertebraOutline
from .measured import Measurements
from .numbering import Numbering
from .scans import ScanGeometry

BORDER_MM = 2.0


@dataclass(frozen=True, eq=False)
class Vertebra:
    """One vertebral body: its level and its four corners in every slice that shows it.

    `slices`: ascending slice numbers; `corners_px`: (slices, 4, 2) as (column, row) in the order right-top,
    right-bottom, left-bottom, left-top of the picture (right is posterior). `label_probability`: probability of the
    label given all vertebrae, None when a person set it.
    """

    label: str
    slices: tuple[int, ...]
    corners_px: np.ndarray = field(repr=False)
    geometry: ScanGeometry = field(repr=False)
    label_probability: float | None = None
    source: str = "detected"
    found: VertebraOutline | None = field(default=None, repr=False)
    """All outlines as they were found, where a slice holds several: the published program averages over all."""

    @cached_property
    def corners_ras(self) -> np.ndarray:
        """(slices, 4, 3) in RAS mm."""
        return self.geometry.to_ras(self.corners_px, np.array(self.slices)[:, None])

    @property
    def middle_slice(self) -> int:
        """The slice in the middle of those that show the body; the mid-sagittal outline lies there.

        Of two middle ones the even one, as the published program rounds when it cuts out discs.
        """
        return self.slices[self._middle]

    @property
    def middle_polygon_px(self) -> np.ndarray:
        """(4, 2) outline in the middle slice, (column, row)."""
        return self.corners_px[self._middle]

    @property
    def middle_polygon_ras(self) -> np.ndarray:
        """(4, 3) outline in the middle slice, RAS mm."""
        return self.corners_ras[self._middle]

    @property
    def is_cut(self) -> bool:
        """Whether the edge of the picture cuts the outline in the middle slice (it comes within 2 mm of it)."""
        margin = BORDER_MM / self.geometry.pixel_spacing_mm
        rows, columns = self.geometry.shape[:2]
        outline, last = self.middle_polygon_px, np.array([columns, rows]) - 1
        return bool((outline < margin).any() or (outline > last - margin).any())

    @property
    def center_ras(self) -> np.ndarray:
        """(3,) mean of all corners, RAS mm."""
        return self.corners_ras.mean(axis=(0, 1))

    @property
    def average_polygon_px(self) -> np.ndarray:
        return self.outline.average

    @property
    def outline(self) -> VertebraOutline:
        return self.found or VertebraOutline(list(self.corners_px), list(self.slices))

    @cached_property
    def _middle(self) -> int:
        return int(np.argmin(np.abs(np.array(self.slices) - np.rint(np.median(self.outline.slices)))))

    def same_outline(self, other: Vertebra) -> bool:
        return self.slices == other.slices and np.array_equal(self.corners_px, other.corners_px)

    def to_json(self) -> dict[str, Any]:
        found = self.found and {
            "slices": list(self.found.slices),
            "corners_column_row_px": np.array(self.found.polygons).tolist(),
        }
        return {
            "label": self.label,
            "label_probability": self.label_probability,
            "source": self.source,
            "middle_slice": self.middle_slice,
            "center_ras_mm": self.center_ras.tolist(),
            "corner_order": list(CORNER_NAMES),
            "slices": list(self.slices),
            "corners_column_row_px": self.corners_px.tolist(),
            "corners_ras_mm": self.corners_ras.tolist(),
            **({"all_outlines": found} if found else {}),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any], geometry: ScanGeometry) -> Vertebra:
        corners_of = lambda part: np.array(part["corners_column_row_px"], dtype=float).reshape(-1, 4, 2)
        found = values.get("all_outlines")
        return cls(
            values["label"],
            tuple(values["slices"]),
            corners_of(values),
            geometry,
            values["label_probability"],
            values["source"],
            VertebraOutline(list(corners_of(found)), list(found["slices"])) if found else None,
        )


@dataclass(frozen=True)
class Grade:
    """One grade of one disc: the class with the highest probability and the probabilities of all classes."""

    head: Head
    probabilities: tuple[float, ...]

    @property
    def index(self) -> int:
        return int(np.argmax(self.probabilities))

    @property
    def value(self) -> int:
        """The published number (1-5 for Pfirrmann, 1-4 for narrowing and stenosis, from 0 for the others)."""
        return self.head.value(self.index)

    @property
    def meaning(self) -> str:
        return self.head.meanings[self.index]

    @property
    def probability(self) -> float:
        return self.probabilities[self.index]


@dataclass(frozen=True)
class Disc:
    """A disc between vertebrae `upper` and `lower` (indices into `Spine.vertebrae`); `grades` is None until graded, and
    empty where the bodies show no signal."""

    level: str
    upper: int
    lower: int
    neighbours: bool = True
    grades: tuple[Grade, ...] | None = None

    def grade(self, column: str) -> Grade | None:
        """The grade of a table column, e.g. "Pfirrmann"; None when the disc has none."""
        return next((g for g in self.grades or () if g.head.column == column), None)

    def to_json(self) -> dict[str, Any]:
        grades = None
        if self.grades is not None:
            grades = {
                g.head.column: {
                    "value": g.value,
                    "meaning": g.meaning,
                    "probabilities": {str(g.head.value(i)): p for i, p in enumerate(g.probabilities)},
                }
                for g in self.grades
            }
        return {
            "level": self.level,
            "upper": self.upper,
            "lower": self.lower,
            "neighbours": self.neighbours,
            "grades": grades,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Disc:
        grades = None
        if values["grades"] is not None:
            grades = tuple(
                Grade(HEAD_OF_COLUMN[column], tuple(grade["probabilities"].values()))
                for column, grade in values["grades"].items()
            )
        return cls(values["level"], values["upper"], values["lower"], values["neighbours"], grades)


@dataclass(frozen=True, eq=False)
class Spine:
    """Everything read from one scan, vertebrae and discs from top to bottom.

    `warnings` are about this scan; `notices` belong to the models (license, starter) and are to be shown with results.
    """

    vertebrae: tuple[Vertebra, ...]
    discs: tuple[Disc, ...]
    geometry: ScanGeometry
    provenance: Provenance
    measurements: Measurements | None = None
    warnings: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    grades_are_demonstration: bool = False
    numbering: Numbering = field(default_factory=Numbering)

    @property
    def labels(self) -> list[str]:
        return [v.label for v in self.vertebrae]

    @property
    def is_graded(self) -> bool:
        return all(disc.grades is not None for disc in self.discs)

    def find(self, label: str) -> Vertebra | None:
        """The vertebra of a level, or None."""
        return next((v for v in self.vertebrae if v.label == label), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`; all positions in RAS mm and in scan pixels."""
        return {
            "system": "spinenet",
            "notices": list(self.notices),
            "grades_are_demonstration": self.grades_are_demonstration,
            "warnings": list(self.warnings),
            "numbering": {"thoracic": self.numbering.thoracic, "lumbar": self.numbering.lumbar},
            "geometry": self.geometry.to_json(),
            "vertebrae": [v.to_json() for v in self.vertebrae],
            "discs": [d.to_json() for d in self.discs],
            "measurements": None if self.measurements is None else self.measurements.to_json(),
            "provenance": self.provenance.to_json(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Spine:
        """The spine that `to_json` gave."""
        geometry = ScanGeometry.from_json(values["geometry"])
        measured = values["measurements"]
        return cls(
            vertebrae=tuple(Vertebra.from_json(v, geometry) for v in values["vertebrae"]),
            discs=tuple(Disc.from_json(d) for d in values["discs"]),
            geometry=geometry,
            provenance=Provenance.from_json(values["provenance"]),
            measurements=None if measured is None else Measurements.from_json(measured),
            warnings=tuple(values["warnings"]),
            notices=tuple(values["notices"]),
            grades_are_demonstration=values["grades_are_demonstration"],
            numbering=Numbering(**values["numbering"]),
        )

    def vertebra_table(self) -> Table:
        """One row a vertebra, top to bottom."""
        columns = [
            Column("Level"),
            Column("Label probability", description="Probability of the label given all vertebrae", digits=2),
            Column("Source", description="Detected, corrected or added by a person"),
            Column("Slices", description="Number of slices that show the body"),
            Column("Center R", "mm", "RAS position of the body's center", 1),
            Column("Center A", "mm", "RAS position of the body's center", 1),
            Column("Center S", "mm", "RAS position of the body's center", 1),
        ]
        rows = [
            [v.label, v.label_probability, v.source, len(v.slices), *map(float, v.center_ras)] for v in self.vertebrae
        ]
        return Table("Vertebrae", columns, rows)

    def grade_table(self) -> Table:
        """One row a disc, top to bottom, with the published numbers."""
        columns = [Column("Level"), *(Column(h.column, description=h.title) for h in HEADS)]
        of_heads = lambda disc: [disc.grade(head.column) for head in HEADS]
        rows = [[d.level, *(None if grade is None else grade.value for grade in of_heads(d))] for d in self.discs]
        name = f"Grades ({DEMONSTRATION})" if self.grades_are_demonstration else "Grades"
        return Table(name, columns, rows)

    def probability_table(self) -> Table:
        """One row a disc, grade and class."""
        columns = [Column(n) for n in ("Level", "Grade", "Value", "Meaning")]
        columns += [Column("Probability", digits=3), Column("Chosen")]
        rows = [
            [d.level, g.head.column, g.head.value(i), g.head.meanings[i], p, i == g.index]
            for d in self.discs
            for g in d.grades or ()
            for i, p in enumerate(g.probabilities)
        ]
        return Table("Class probabilities", columns, rows)

    def corner_table(self) -> Table:
        """One row a corner: level, slice, corner, pixels and RAS mm."""
        columns = [Column("Level"), Column("Slice (from 0)", description="Of the slices read"), Column("Corner")]
        columns += [Column("Column", "px", digits=2), Column("Row", "px", digits=2)]
        columns += [Column(n, "mm", digits=2) for n in "RAS"]
        names = ("posterior superior", "posterior inferior", "anterior inferior", "anterior superior")
        rows = [
            [v.label, number, names[k], *map(float, px[k]), *map(float, ras[k])]
            for v in self.vertebrae
            for number, px, ras in zip(v.slices, v.corners_px, v.corners_ras)
            for k in range(4)
        ]
        return Table("Corners", columns, rows)


def discs_between(
    vertebrae: tuple[Vertebra, ...],
    numbering: Numbering,
    graded: tuple[tuple[Vertebra, Vertebra, Disc], ...] = (),
) -> tuple[Disc, ...]:
    """The discs of a row of vertebrae; each keeps the grades of a `graded` disc whose two outlines it shares."""
    discs = []
    for upper in range(len(vertebrae) - 1):
        above, below = vertebrae[upper], vertebrae[upper + 1]
        known = next((d for u, v, d in graded if u.same_outline(above) and v.same_outline(below)), None)
        discs.append(
            Disc(
                level_name(above.label, below.label),
                upper,
                upper + 1,
                numbering.are_neighbours(above.label, below.label),
                known.grades if known else None,
            )
        )
    return tuple(discs)

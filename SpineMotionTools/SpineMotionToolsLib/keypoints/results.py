"""What comes out: the keypoints of one radiograph and everything measured from them, as tables and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.common.report import STARTER_WARNING
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.keypoints import anatomy, cobb, curves
from SpineMotionToolsLib.keypoints.radiograph import Scale

UNSURE = 0.4  # mean confidence below which the picture as a whole is doubtful
UNCHECKED_SHARE = 4  # more implausible vertebrae than this make the picture doubtful


@dataclass(frozen=True)
class Reading:
    """Keypoints of one radiograph. Points are (row, column) in pixels of the picture, whole numbers at pixel centers.

    `confidence` (68,) in 0..1; `spread_px` (68, 2) standard deviation of the place (row, column); `given`: keypoints
    the user placed; `locked`, `absent`: vertebrae 0..16; `levels`: their 17 names; `region`: the part of the picture
    looked at; `place`: that of the `Radiograph`.
    """

    points_px: np.ndarray = field(repr=False)
    confidence: np.ndarray = field(repr=False)
    spread_px: np.ndarray = field(repr=False)
    given: tuple[int, ...]
    locked: tuple[int, ...]
    absent: tuple[int, ...]
    levels: tuple[str, ...]
    accepted: bool
    size: tuple[int, int]
    region: tuple[int, int, int, int]
    scale: Scale
    name: str
    patient_right_on: str
    turned: tuple[bool, bool]
    notes: tuple[str, ...]
    provenance: Provenance
    place: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def present(self) -> np.ndarray:
        """(17,) bool"""
        return ~np.isin(np.arange(17), self.absent)

    @cached_property
    def points(self) -> np.ndarray:
        """(68, 2) in true geometry: `scale.unit`."""
        return self.points_px * self.scale.factors

    @cached_property
    def spread(self) -> np.ndarray:
        """(68, 2) standard deviations in `scale.unit`."""
        return self.spread_px * self.scale.factors

    @cached_property
    def curves(self) -> list[curves.Curve]:
        """Every curve of at least 10 degrees, from the top."""
        return curves.find_curves(self.points, self.present, self.levels, self.spread)

    @cached_property
    def main_curve(self) -> curves.Curve | None:
        """The largest curve, however small."""
        if self.curves:
            return max(self.curves, key=lambda curve: curve.cobb_deg)
        return curves.main_curve(self.points, self.present, self.levels, self.spread)

    @cached_property
    def vertebrae(self) -> list[curves.Vertebra]:
        return curves.measure_vertebrae(self.points, self.scale.unit, self.present, self.levels)

    @cached_property
    def aasce(self) -> cobb.AasceAngles | None:
        """The AASCE challenge's angles; None when a vertebra is absent, because their rule needs all 17."""
        return None if self.absent else cobb.aasce_angles(self.points, self.size[0] * self.scale.row)

    @cached_property
    def to_check(self) -> list[int]:
        """Vertebrae in the order in which checking pays most: the least certain first; fixed and absent ones left
        out.
        """
        doubt = self._doubt.reshape(17, 4).max(1)
        open_levels = [int(v) for v in np.flatnonzero(self.present & (doubt > 0)) if v not in self.locked]
        return sorted(open_levels, key=lambda level: -doubt[level])

    @property
    def next_keypoint(self) -> int | None:
        """The keypoint to check next: the least certain corner of the least certain vertebra."""
        if not (order := self.to_check):
            return None
        return int(4 * order[0] + self._doubt[4 * order[0] : 4 * order[0] + 4].argmax())

    @cached_property
    def _doubt(self) -> np.ndarray:
        """(68,) how uncertain each keypoint is, nothing where it was given."""
        doubt = np.maximum(np.hypot(*self.spread.T), 1e-9) / np.maximum(self.confidence, 0.05)
        doubt[list(self.given)] = 0
        return doubt

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Sentences the reader of this result must see."""
        found = [STARTER_WARNING] if self.provenance.starter else []
        crossed = [self.levels[v] for v in np.flatnonzero(self.present & _crossed(self.points.reshape(17, 4, 2)))]
        free = [k for k in range(68) if self.present[k // 4] and k not in self.given]
        mean = float(self.confidence[free].mean()) if free else 1.0
        if mean < UNSURE or len(crossed) > UNCHECKED_SHARE:
            found.append(
                f"The network is unsure about this picture (mean confidence {mean:.2f}). It reads frontal radiographs "
                "with the whole spine from T1 to L5, head up: check the view and the region, or correct the points."
            )
        elif crossed:
            found.append(f"Corners of {', '.join(crossed)} cross. Correct them before using the angles.")
        return (*found, *self.notes)

    # --- tables and files ---

    def keypoint_table(self) -> Table:
        unit = "px"
        columns = [
            Column("index", description="0 to 67, four a vertebra from the top"),
            Column("level"),
            Column("corner", description="left and right as seen in the picture"),
            Column("row", unit, "from the picture's top; whole numbers at pixel centers", 1),
            Column("column", unit, "from the picture's left", 1),
            Column("confidence", "", "height of the network's peak, 0 to 1; 1 for points placed by hand", 2),
            Column("uncertainty", unit, "standard deviation of the place", 1),
            Column("placed by hand"),
            Column("present"),
        ]
        rows = [
            [
                k, self.levels[k // 4], anatomy.CORNERS[k % 4], float(self.points_px[k, 0]),
                float(self.points_px[k, 1]), float(self.confidence[k]), float(np.hypot(*self.spread_px[k])),
                k in self.given, bool(self.present[k // 4]),
            ]
            for k in range(68)
        ]  # fmt: skip
        return Table("Keypoints", columns, rows)

    def vertebra_table(self) -> Table:
        unit = self.scale.unit
        degrees = "positive: the end on the picture's right is lower"
        columns = [
            Column("level"),
            Column("tilt", "°", f"of the vertebra; {degrees}", 1),
            Column("upper endplate", "°", degrees, 1),
            Column("lower endplate", "°", degrees, 1),
            Column("wedging", "°", "lower less upper endplate; positive: the picture's right side is taller", 1),
            Column("left height", unit, "on the picture's left", 1),
            Column("right height", unit, "on the picture's right", 1),
            Column("width", unit, "", 1),
            Column("disc below", "°", "wedging of the disc below", 1),
            Column("confidence", "", "least certain corner, 0 to 1", 2),
        ]
        rows = [
            [
                v.name, v.tilt_deg, v.upper_tilt_deg, v.lower_tilt_deg, v.wedging_deg, v.left_height, v.right_height,
                v.width, v.disc_below_deg, float(self.confidence[4 * v.level : 4 * v.level + 4].min()),
            ]
            for v in self.vertebrae
        ]  # fmt: skip
        return Table("Vertebrae", columns, rows)

    def curve_table(self) -> Table:
        columns = [
            Column("Cobb angle", "°", "between the end vertebrae's outer endplates", 1),
            Column("±", "°", "one standard deviation, from the uncertainty of the corners alone", 1),
            Column("upper end vertebra"),
            Column("lower end vertebra"),
            Column("apex", description="vertebra or disc farthest from the line between the end vertebrae"),
            Column("convex to", description="side of the picture"),
            Column("patient side", description="from the stated display; unknown when that is not known"),
            Column("region", description="by the apex"),
        ]
        rows = [
            [
                c.cobb_deg, c.uncertainty_deg, c.upper_name, c.lower_name, c.apex, f"picture's {c.convex_to}",
                self.patient_side(c.convex_to), c.region,
            ]
            for c in self.curves
        ]  # fmt: skip
        return Table("Curves of 10° or more", columns, rows)

    def aasce_table(self) -> Table:
        columns = [
            Column("angle"),
            Column("degrees", "°", "between mid-lines of vertebrae", 1),
            Column("between"),
        ]
        rows = []
        if (a := self.aasce) is not None:
            i, j, k2, k3 = (self.levels[v] for v in a.end_vertebrae)
            third = (k2, k3) if a.s_shaped and not a.upper_half else (j, k3)
            rows = [
                ["main", a.main, f"{i} and {j}"],
                ["upper", a.upper, f"{k2} and {i}"],
                ["lower, or second upper", a.lower_or_upper2, f"{third[0]} and {third[1]}"],
            ]
        return Table("Angles by the AASCE challenge's rule", columns, rows)

    def patient_side(self, picture_side: str) -> str:
        """The patient's side for a side of the picture: "left", "right" or "unknown"."""
        if self.patient_right_on not in ("left", "right"):
            return "unknown"
        return "right" if picture_side == self.patient_right_on else "left"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, with units in the names."""
        return {
            "radiograph": {
                "name": self.name,
                "rows": self.size[0],
                "columns": self.size[1],
                "region_row_column_rows_columns": list(self.region),
                "row_spacing": self.scale.row,
                "column_spacing": self.scale.column,
                "unit": self.scale.unit,
                "patient_right_on_picture_side": self.patient_right_on,
                "mirrored": self.turned[0],
                "upside_down": self.turned[1],
            },
            "keypoints": [
                {
                    "index": k,
                    "level": self.levels[k // 4],
                    "corner": anatomy.CORNERS[k % 4],
                    "row_px": float(self.points_px[k, 0]),
                    "column_px": float(self.points_px[k, 1]),
                    "confidence": float(self.confidence[k]),
                    "uncertainty_px": float(np.hypot(*self.spread_px[k])),
                    "placed_by_hand": k in self.given,
                    "present": bool(self.present[k // 4]),
                }
                for k in range(68)
            ],
            "curves": [asdict(curve) for curve in self.curves],
            "main_curve": asdict(self.main_curve) if self.main_curve else None,
            "vertebrae": [asdict(vertebra) for vertebra in self.vertebrae],
            "aasce_angles_deg": None if self.aasce is None else self.aasce.angles.tolist(),
            "check_next": [self.levels[level] for level in self.to_check],
            "locked": [self.levels[level] for level in self.locked],
            "absent": [self.levels[level] for level in self.absent],
            "accepted": self.accepted,
            "warnings": list(self.warnings),
            "provenance": self.provenance.to_json(),
        }


def _crossed(quads: np.ndarray) -> np.ndarray:
    """(N,) whether the corners of (N, 4, 2) do not form a convex outline in their order."""
    edges = quads[:, [1, 3, 2, 0]] - quads[:, [0, 1, 3, 2]]
    following = edges[:, [1, 2, 3, 0]]
    turns = edges[..., 1] * following[..., 0] - edges[..., 0] * following[..., 1]
    return ~(turns > 0).all(1)

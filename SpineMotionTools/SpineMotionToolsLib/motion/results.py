"""What motion scoring yields: one frozen record per scan, with its tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineMotionToolsLib.motion.calibration import UNIT_LABELS, Calibration

if TYPE_CHECKING:
    from SpineMotionToolsLib.common.tables import Table

GRADES = (1, 2, 3, 4, 5)
GRADE_MEANINGS = {
    1: "no visible motion",
    2: "slight streaks",
    3: "some streaks, cortex intact",
    4: "pronounced streaks, cortex interrupted",
    5: "severe streaks, structures torn apart",
}
"""What a grade looks like, in words that follow the visual scale of Sode et al., Bone 48 (2011) 1291."""
NOT_SCORED = 0
"""Grade of a slice that was skipped (slice step > 1) and of a stack without any scored slice; its confidence is -1."""


@dataclass(frozen=True)
class ScanInfo:
    """The scan as it was scored: name, size in voxels, geometry, unit and calibration.

    `shape_xyz` is the scored box; `crop_box` its (x0, x1, y0, y1) in the file's own voxels, or None when the whole
    slice was scored. `ijk_to_ras` (4x4, mm) belongs to the scored box. `stored_unit` is the file's own unit and
    `unit` the one that was scored.
    """

    name: str
    shape_xyz: tuple[int, int, int]
    ijk_to_ras: np.ndarray
    unit: str = "native"
    stored_unit: str = "native"
    calibration: Calibration | None = None
    crop_box: tuple[int, int, int, int] | None = None
    format: str = ""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        return tuple(float(v) for v in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))

    def describe_unit(self) -> str:
        """The unit and its calibration in one line, for tables and reports."""
        return f"{UNIT_LABELS[self.unit]}; calibration: {self.calibration or 'none in the file'}"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "format": self.format,
            "shape_xyz": list(self.shape_xyz),
            "spacing_mm": list(self.spacing_mm),
            "ijk_to_ras": np.asarray(self.ijk_to_ras).tolist(),
            "unit": self.unit,
            "stored_unit": self.stored_unit,
            "calibration": self.calibration.to_json() if self.calibration else None,
            "crop_box_xxyy": list(self.crop_box) if self.crop_box else None,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ScanInfo:
        calibration, crop = record["calibration"], record["crop_box_xxyy"]
        return cls(
            name=record["name"],
            shape_xyz=tuple(record["shape_xyz"]),
            ijk_to_ras=np.array(record["ijk_to_ras"], dtype=np.float64),
            unit=record["unit"],
            stored_unit=record["stored_unit"],
            calibration=Calibration.from_json(calibration) if calibration else None,
            crop_box=tuple(crop) if crop else None,
            format=record["format"],
        )


@dataclass(frozen=True, eq=False)
class MotionResult:
    """Motion grades 1-5 of one scan (1 no visible motion, 5 severe), per slice, stack and scan.

    Confidence is *member agreement*: the share of ensemble members that voted for the winning grade, averaged over
    slices. It is not a probability of being right. Z slices, S stacks, M members:

    - `grade` 1-5 and `mean_confidence` 0-1 of the scan, `confidence_percent` as the rules round it
    - `slice_grades` (Z,) int, 0 where not scored; `slice_confidences` (Z,), -1 where not scored
    - `votes` (Z, 5) share of members per grade; `probabilities` (Z, 5) mean of the members' softmax outputs, 0 where
      not scored, good to about two decimals where bfloat16 computed them; `member_grades` (M, Z) uint8, 0 where not
      scored
    - `stack_ranges` (S, 2) first and one past the last slice; `stack_grades` (S,), `stack_confidences` (S,)
    - `rules` "newer" or "legacy"; `incomplete` the policy for a short last stack
    """

    grade: int
    mean_confidence: float
    confidence_percent: int
    slice_grades: np.ndarray
    slice_confidences: np.ndarray
    votes: np.ndarray
    probabilities: np.ndarray
    member_grades: np.ndarray
    stack_ranges: np.ndarray
    stack_grades: np.ndarray
    stack_confidences: np.ndarray
    rules: str
    stack_height: int
    incomplete: str
    slice_step: int
    members: tuple[str, ...]
    scan: ScanInfo
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    # ----- what readers ask for besides the published numbers

    @property
    def slice_count(self) -> int:
        return len(self.slice_grades)

    @property
    def scored(self) -> np.ndarray:
        """(Z,) bool: slices that went through the networks."""
        return self.slice_grades != NOT_SCORED

    @property
    def starter(self) -> bool:
        """True when phantom-trained starter weights made the grades: say so wherever they are shown."""
        return bool(self.provenance.get("starter", False))

    @property
    def worst_stack(self) -> int:
        """Number of the stack with the highest grade (the first of equals)."""
        return int(np.argmax(self.stack_grades))

    @property
    def worst_stack_grade(self) -> int:
        return int(self.stack_grades[self.worst_stack])

    @property
    def fraction_slices_ge4(self) -> float:
        """Share of the scored slices with grade 4 or 5."""
        return float(np.mean(self.slice_grades[self.scored] >= 4))

    @cached_property
    def slice_ties(self) -> np.ndarray:
        """(Z,) bool: two or more grades share the most votes; the lower (better) one was taken."""
        top = self.votes.max(axis=1, keepdims=True)
        return self.scored & ((self.votes == top).sum(axis=1) > 1)

    @property
    def half_grade(self) -> bool:
        """True when the mean slice grade lies exactly between two grades, so that rounding decided the scan's grade."""
        return float(np.mean(self.slice_grades[self.scored])) % 1 == 0.5

    def stack_of(self, slice_index: int) -> int:
        """Number of the stack that holds the slice, -1 when it was dropped with an incomplete stack."""
        inside = (self.stack_ranges[:, 0] <= slice_index) & (slice_index < self.stack_ranges[:, 1])
        return int(np.argmax(inside)) if inside.any() else -1

    def slice_position_ras(self, slice_index: int) -> np.ndarray:
        """RAS position (mm) of the centre of a slice of the scored box."""
        x, y, _ = self.scan.shape_xyz
        return (self.scan.ijk_to_ras @ [(x - 1) / 2, (y - 1) / 2, slice_index, 1.0])[:3]

    # ----- tables

    def to_table(self) -> Table:
        """One row a slice: grade, member agreement, stack, votes and mean probability of each grade, ties."""
        from SpineMotionToolsLib.common.tables import Column, Table

        columns = [
            Column("slice", description="index along the third axis of the image, from 0"),
            Column("z", "mm", "RAS position of the slice's centre"),
            Column("stack", description="number of the stack, from 1; empty when dropped as incomplete"),
            Column("grade", description="1 no visible motion ... 5 severe; empty when not scored"),
            Column("member_agreement", description="share of members that voted for the grade"),
            *(Column(f"votes_{grade}", description=f"share of members for grade {grade}") for grade in GRADES),
            *(Column(f"probability_{grade}", description=f"mean softmax output for grade {grade}") for grade in GRADES),
            Column("tie", description="yes: several grades had the most votes; the lowest was taken"),
        ]
        digits = 2 if "bfloat16" in str(self.provenance.get("precision", "")) else 4
        rows = []
        for z in range(self.slice_count):
            stack, scored = self.stack_of(z), bool(self.scored[z])
            row = [z, round(float(self.slice_position_ras(z)[2]), 4), stack + 1 if stack >= 0 else None]
            if scored:
                row += [int(self.slice_grades[z]), round(float(self.slice_confidences[z]), 4)]
                row += [round(float(v), 4) for v in self.votes[z]]
                row += [round(float(v), digits) for v in self.probabilities[z]]
                row += ["yes" if self.slice_ties[z] else None]
            else:
                row += [None] * (len(columns) - len(row))
            rows.append(row)
        return Table("motion grade per slice", columns, rows)

    def stack_table(self) -> Table:
        """One row a stack: its slices, grade and member agreement."""
        from SpineMotionToolsLib.common.tables import Column, Table

        columns = [
            Column("stack", description="number of the stack, from 1"),
            Column("first_slice", description="index of its first slice"),
            Column("last_slice", description="index of its last slice"),
            Column("grade", description="rounded mean of its slice grades; empty when no slice was scored"),
            Column("member_agreement", description="mean share of members that voted for the slice grades"),
            Column("slices_of_grade_4_or_5", description="number of scored slices with grade 4 or 5"),
        ]
        rows = []
        for number, (first, end) in enumerate(self.stack_ranges.tolist()):
            scored = self.stack_confidences[number] >= 0
            grade = int(self.stack_grades[number]) if scored else None
            agreement = round(float(self.stack_confidences[number]), 2) if scored else None
            severe = int(np.count_nonzero(self.slice_grades[first:end] >= 4))
            rows.append([number + 1, first, end - 1, grade, agreement, severe])
        return Table("motion grade per stack", columns, rows)

    def summary_table(self) -> Table:
        """One row for the scan."""
        from SpineMotionToolsLib.common.tables import Column, Table

        columns = [
            Column("scan"),
            Column("grade", description="rounded mean of the slice grades"),
            Column("member_agreement", "%", "mean share of members that voted for the slice grades"),
            Column("worst_stack_grade", description="highest grade of any stack"),
            Column("share_of_grade_4_or_5", "%", "share of scored slices with grade 4 or 5"),
            Column("slices_scored"),
            Column("tied_slices", description="slices where several grades had the most votes"),
            Column("rules", description="published rules the numbers follow"),
            Column("unit", description="voxel unit that was scored, and its calibration"),
            Column("starter_model", description="yes: phantom-trained starter weights, not validated on patients"),
        ]
        row = [
            self.scan.name,
            self.grade,
            self.confidence_percent,
            self.worst_stack_grade,
            round(100 * self.fraction_slices_ge4, 1),
            int(self.scored.sum()),
            int(self.slice_ties.sum()),
            self.rules,
            self.scan.describe_unit(),
            "yes" if self.starter else "no",
        ]
        return Table("motion grade", columns, [row])

    # ----- JSON

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain numbers, texts and lists that `from_json` turns back into an equal result."""
        record: dict[str, Any] = {"schema": "spinemotiontools/motion-result/1"}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            elif isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, ScanInfo):
                value = value.to_json()
            record[item.name] = value
        record["worst_stack_grade"] = self.worst_stack_grade
        record["fraction_slices_ge4"] = self.fraction_slices_ge4
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> MotionResult:
        """The result that `to_json` wrote; raises KeyError, TypeError or ValueError for a damaged record."""
        values = {item.name: record[item.name] for item in fields(cls)}
        real = np.float64 if record["rules"] == "legacy" else np.float32
        slices, stacks = len(record["slice_grades"]), len(record["stack_ranges"])
        arrays = {
            "slice_grades": (np.int64, (slices,)),
            "slice_confidences": (real, (slices,)),
            "votes": (real, (slices, len(GRADES))),
            "probabilities": (np.float32, (slices, len(GRADES))),
            "member_grades": (np.uint8, (len(record["members"]), slices)),
            "stack_ranges": (np.int64, (stacks, 2)),
            "stack_grades": (np.float64, (stacks,)),
            "stack_confidences": (np.float64, (stacks,)),
        }
        for name, (dtype, shape) in arrays.items():
            values[name] = np.asarray(values[name], dtype=dtype).reshape(shape)
        if values["grade"] not in GRADES or not np.isfinite(values["stack_grades"]).all():
            raise ValueError("The record holds no motion grade.")
        values["provenance"] = dict(values["provenance"])
        values["members"] = tuple(values["members"])
        values["warnings"] = tuple(values["warnings"])
        values["scan"] = ScanInfo.from_json(values["scan"])
        return cls(**values)

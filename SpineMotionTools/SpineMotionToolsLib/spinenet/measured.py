"""Measurements as results: plain numbers with units in their names; `measurements.py` computes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from SpineMotionToolsLib.common.tables import Column, Table


@dataclass(frozen=True)
class VertebraMeasurement:
    """One body, in its middle slice. None where it cannot be known."""

    label: str
    anterior_height_mm: float
    middle_height_mm: float
    posterior_height_mm: float
    upper_depth_mm: float
    lower_depth_mm: float
    wedge_ratio: float
    biconcavity_ratio: float
    crush_ratio: float | None
    height_loss_percent: float | None
    genant_grade: int | None
    genant_type: str


@dataclass(frozen=True)
class DiscMeasurement:
    """One disc between neighbours, and the slip of the upper body on the lower one. None where it cannot be known."""

    level: str
    anterior_height_mm: float
    middle_height_mm: float
    posterior_height_mm: float
    height_index: float | None
    disc_angle_deg: float
    segmental_angle_deg: float
    slip_mm: float
    slip_percent: float
    meyerding_grade: int
    slip_direction: str
    signal_ratio_csf: float | None = None


@dataclass(frozen=True)
class AngleMeasurement:
    """An angle between two endplates, e.g. "Lumbar lordosis L1-S1"; lordosis is positive."""

    name: str
    angle_deg: float
    first_endplate: str
    second_endplate: str


@dataclass(frozen=True)
class Measurements:
    """All measurements of a spine, top to bottom."""

    vertebrae: tuple[VertebraMeasurement, ...] = ()
    discs: tuple[DiscMeasurement, ...] = ()
    angles: tuple[AngleMeasurement, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {name: [asdict(each) for each in getattr(self, name)] for name in ("vertebrae", "discs", "angles")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Measurements:
        return cls(
            tuple(VertebraMeasurement(**v) for v in values["vertebrae"]),
            tuple(DiscMeasurement(**d) for d in values["discs"]),
            tuple(AngleMeasurement(**a) for a in values["angles"]),
        )

    def vertebra_table(self) -> Table:
        columns = [
            Column("Level"),
            Column("Anterior height", "mm", "Distance of the two anterior corners", 1),
            Column("Middle height", "mm", "Distance of the endplates' centers, endplates taken as straight", 1),
            Column("Posterior height", "mm", "Distance of the two posterior corners", 1),
            Column("Upper depth", "mm", "Length of the upper endplate, front to back", 1),
            Column("Lower depth", "mm", "Length of the lower endplate, front to back", 1),
            Column("Wedge ratio", "", "Anterior height / posterior height", 2),
            Column("Biconcavity ratio", "", "Middle height / posterior height", 2),
            Column("Crush ratio", "", "Posterior height / mean posterior height of the neighbors", 2),
            Column("Height loss", "%", "Largest of the three reductions", 0),
            Column("Genant grade", "", "0 below 20 %, 1 to 25 %, 2 to 40 %, 3 above"),
            Column("Genant type", "", "Wedge, biconcave or crush"),
        ]
        return Table("Vertebral bodies", columns, [list(asdict(v).values()) for v in self.vertebrae])

    def disc_table(self) -> Table:
        columns = [
            Column("Level"),
            Column("Anterior height", "mm", "Distance of the anterior corners above and below the disc", 1),
            Column("Middle height", "mm", "Distance of the endplates' centers", 1),
            Column("Posterior height", "mm", "Distance of the posterior corners above and below the disc", 1),
            Column("Height index", "", "Mean disc height / mean height of the adjacent bodies", 2),
            Column("Disc angle", "deg", "Between the endplates that bound the disc; open to the front is positive", 1),
            Column("Segmental angle", "deg", "Between the upper endplates of both bodies; lordosis is positive", 1),
            Column("Slip", "mm", "Of the upper body; forward is positive", 1),
            Column("Slip percent", "%", "Of the lower body's upper endplate", 0),
            Column("Meyerding grade", "", "0 below 3 mm, 1 to 25 %, 2 to 50 %, 3 to 75 %, 4 to 100 %, 5 above"),
            Column("Slip direction", "", "Anterolisthesis or retrolisthesis, from 3 mm"),
            Column("Signal / CSF", "", "Median disc signal / cerebrospinal fluid signal, T2-weighted scans", 2),
        ]
        return Table("Discs and slips", columns, [list(asdict(d).values()) for d in self.discs])

    def angle_table(self) -> Table:
        columns = [
            Column("Angle"),
            Column("Value", "deg", "Lordosis is positive", 1),
            Column("First endplate"),
            Column("Second endplate"),
        ]
        return Table("Sagittal angles", columns, [list(asdict(a).values()) for a in self.angles])

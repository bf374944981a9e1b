"""Measurements from the corners: body and disc heights, wedging, lordosis, slip, and disc signal.

All lengths are millimetres and all angles degrees on the scan's true geometry: corners are taken to RAS and projected
on the plane of the slices, so anisotropic, oblique and shifted slices measure alike. In that plane x points from front
to back and y from head to foot. Bodies are measured in their middle slice, discs between the middle slices of both
bodies. MRI is taken lying down: angles are smaller than on standing radiographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .measured import AngleMeasurement, DiscMeasurement, Measurements, VertebraMeasurement
from .polygons import mask_of
from .results import Spine, Vertebra
from .scans import Scan

GENANT_LIMITS = (20.0, 25.0, 40.0)
SLIP_FROM_MM = 3.0
MEYERDING_LIMITS = (25.0, 50.0, 75.0, 100.0)
CANAL_MM = (3.0, 16.0)
CSF_OVER_BODY = 1.2
ANGLES = (
    ("Lumbar lordosis L1-S1", ("L1", "upper"), ("S1", "upper")),
    ("Lumbar lordosis L1-L5", ("L1", "upper"), ("L5", "lower")),
    ("Thoracic kyphosis T4-T12", ("T4", "upper"), ("T12", "lower")),
    ("Cervical lordosis C2-C7", ("C2", "lower"), ("C7", "lower")),
)


@dataclass(frozen=True)
class Body:
    """A body's four corners in plane millimetres (x to the back, y to the foot)."""

    upper_back: np.ndarray
    lower_back: np.ndarray
    lower_front: np.ndarray
    upper_front: np.ndarray

    @classmethod
    def of(cls, vertebra: Vertebra) -> Body:
        return cls(*vertebra.geometry.to_plane_mm(vertebra.middle_polygon_ras))

    @property
    def anterior_height(self) -> float:
        return _length(self.lower_front - self.upper_front)

    @property
    def posterior_height(self) -> float:
        return _length(self.lower_back - self.upper_back)

    @property
    def middle_height(self) -> float:
        return _length((self.lower_front + self.lower_back) / 2 - (self.upper_front + self.upper_back) / 2)

    @property
    def mean_height(self) -> float:
        return (self.anterior_height + self.middle_height + self.posterior_height) / 3

    @property
    def upper_depth(self) -> float:
        return _length(self.upper_front - self.upper_back)

    @property
    def lower_depth(self) -> float:
        return _length(self.lower_front - self.lower_back)

    def endplate(self, which: str) -> np.ndarray:
        """The vector of the "upper" or "lower" endplate from back to front."""
        return self.upper_front - self.upper_back if which == "upper" else self.lower_front - self.lower_back


def measure_spine(spine: Spine, scan: Scan | None = None) -> Measurements:
    """All measurements that the spine allows; disc signal needs the scan."""
    bodies = [Body.of(v) for v in spine.vertebrae]
    csf = csf_signal(scan, spine.vertebrae) if scan is not None else None
    # The tapered sacrum is no measure of what the last lumbar body has lost, nor is a body that the picture cuts.
    peers = [None if v.label.startswith("S") or v.is_cut else body for v, body in zip(spine.vertebrae, bodies)]
    vertebrae = tuple(
        body_measurement(v.label, bodies[i], above, below, v.is_cut)
        for i, (v, above, below) in enumerate(zip(spine.vertebrae, [None, *peers], [*peers[1:], None]))
    )
    discs = []
    for disc in spine.discs:
        if disc.neighbours:
            upper, lower = spine.vertebrae[disc.upper], spine.vertebrae[disc.lower]
            measured = disc_measurement(disc.level, bodies[disc.upper], bodies[disc.lower], lower.label in ("S1", "S2"))
            if csf:
                measured = replace(measured, signal_ratio_csf=disc_signal(scan, upper, lower) / csf)
            discs.append(measured)
    return Measurements(vertebrae, tuple(discs), sagittal_angles(spine.labels, bodies))


def body_measurement(
    label: str, body: Body, above: Body | None = None, below: Body | None = None, is_cut: bool = False
) -> VertebraMeasurement:
    """Heights, ratios and Genant grade of one body.

    Wedge = 1 - Ha/Hp, biconcave = 1 - Hm/Hp, crush = 1 - Hp / mean Hp of the neighbours; the largest is the height
    loss. Grade 0 below 20 %, 1 (mild) to 25 %, 2 (moderate) to 40 %, 3 (severe) above: Genant et al., J Bone Miner Res
    1993; 8:1137. A grade is a measurement, not a diagnosis: short bodies, Scheuermann's disease and endplates seen
    obliquely look alike. Four corners do not show how deep an endplate is; Hm is the distance of the endplates' chord
    centres, so biconcavity is underestimated. S1 and below, and bodies that the picture's edge cuts (`is_cut`), get
    ratios but no loss and no grade.
    """
    ha, hm, hp = body.anterior_height, body.middle_height, body.posterior_height
    near = [other.posterior_height for other in (above, below) if other is not None]
    crush = hp / float(np.mean(near)) if near else None
    losses = {"wedge": 1 - ha / hp, "biconcave": 1 - hm / hp, "crush": 1 - crush if crush is not None else 0.0}
    kind = max(losses, key=losses.__getitem__)
    loss = None if is_cut or label.startswith("S") else 100 * max(losses[kind], 0.0)
    grade = None if loss is None else int(np.searchsorted(GENANT_LIMITS, loss, side="right"))
    return VertebraMeasurement(
        label,
        ha,
        hm,
        hp,
        body.upper_depth,
        body.lower_depth,
        ha / hp,
        hm / hp,
        crush,
        loss,
        grade,
        kind if grade else "",
    )


def disc_measurement(level: str, upper: Body, lower: Body, lower_is_sacrum: bool = False) -> DiscMeasurement:
    """Heights, height index, angles and slip at one disc.

    Heights: distances between the facing anterior corners, endplate centres and posterior corners (the middle one along
    the chords' centres). Height index: mean disc height / mean height of the bodies above and below (Masuda et al.,
    Spine 2005; 30:5; over the sacrum the body above alone). Disc angle: between the facing endplates; segmental angle:
    between the upper endplates of both bodies; both positive when open to the front (lordosis).
    """
    anterior = _length(lower.upper_front - upper.lower_front)
    posterior = _length(lower.upper_back - upper.lower_back)
    middle = _length((lower.upper_front + lower.upper_back - upper.lower_front - upper.lower_back) / 2)
    bodies = [upper.mean_height] if lower_is_sacrum else [upper.mean_height, lower.mean_height]
    slip_mm, percent, meyerding, direction = slip(upper, lower)
    return DiscMeasurement(
        level,
        anterior,
        middle,
        posterior,
        (anterior + middle + posterior) / 3 / float(np.mean(bodies)),
        angle_between(upper.endplate("lower"), lower.endplate("upper")),
        angle_between(upper.endplate("upper"), lower.endplate("upper")),
        slip_mm,
        percent,
        meyerding,
        direction,
    )


def slip(upper: Body, lower: Body) -> tuple[float, float, int, str]:
    """Slip of the upper body on the lower one: mm (forward positive), percent, Meyerding grade, direction.

    The offset of the upper body's posterior-inferior corner from the lower body's posterior-superior corner along the
    lower body's upper endplate; percent of that endplate's length (Meyerding, Surg Gynecol Obstet 1932; 54:371: I to
    25 %, II to 50 %, III to 75 %, IV to 100 %, V above). Below 3 mm the grade is 0. Grades of backward slips follow the
    same percentages.
    """
    forward = lower.endplate("upper")
    depth = _length(forward)
    slip_mm = float((upper.lower_back - lower.upper_back) @ forward / depth)
    percent = 100 * slip_mm / depth
    if abs(slip_mm) < SLIP_FROM_MM:
        return slip_mm, percent, 0, ""
    grade = 1 + int(np.searchsorted(MEYERDING_LIMITS, abs(percent), side="left"))
    return slip_mm, percent, grade, "anterolisthesis" if slip_mm > 0 else "retrolisthesis"


def sagittal_angles(labels: Sequence[str], bodies: Sequence[Body]) -> tuple[AngleMeasurement, ...]:
    """Lordosis and kyphosis between the endplates in `ANGLES`, for those in view.

    The signed angle between both endplates in the plane of the slices (Cobb's method on the corners' chords).
    """
    place = {label: i for i, label in enumerate(labels)}
    return tuple(
        AngleMeasurement(
            name,
            angle_between(bodies[place[first]].endplate(a), bodies[place[second]].endplate(b)),
            f"{first} {a}",
            f"{second} {b}",
        )
        for name, (first, a), (second, b) in ANGLES
        if first in place and second in place
    )


def angle_between(above: np.ndarray, below: np.ndarray) -> float:
    """Signed angle in degrees between two endplates given from back to front; positive when they open to the front."""
    cross = above[0] * below[1] - above[1] * below[0]
    return float(-np.degrees(np.arctan2(cross, above @ below)))


def csf_signal(scan: Scan, vertebrae: Sequence[Vertebra]) -> float | None:
    """The signal of cerebrospinal fluid: the 90th percentile in the canal, or None where no bright fluid is seen.

    The canal is searched 3 to 16 mm behind the posterior walls, in each body's middle slice and its neighbours. It must
    be at least 1.2 times as bright as the bodies: otherwise the scan is not T2-weighted or does not show the canal.
    """
    canal, bodies = [], []
    for vertebra in vertebrae:
        outline = vertebra.middle_polygon_px
        back = (outline[0] - outline[3] + outline[1] - outline[2]) / 2
        step = back / _length(back) / scan.pixel_spacing_mm
        region = np.array(
            [outline[0] + CANAL_MM[1] * step, outline[1] + CANAL_MM[1] * step, outline[1] + CANAL_MM[0] * step,
             outline[0] + CANAL_MM[0] * step]
        )  # fmt: skip
        canal.append(_values(scan, region, vertebra.middle_slice))
        bodies.append(_values(scan, _shrunk(outline, 0.7), vertebra.middle_slice))
    levels = [np.percentile(values, 90) for values in canal if values.size > 20]
    marrow = [np.median(values) for values in bodies if values.size]
    if not levels or not marrow:
        return None
    csf = float(np.median(levels))
    return csf if csf >= CSF_OVER_BODY * float(np.median(marrow)) and csf > 0 else None


def disc_signal(scan: Scan, upper: Vertebra, lower: Vertebra) -> float:
    """Median signal in the inner 60 % of the disc between two bodies, in the slice between their middle slices."""
    above, below = upper.middle_polygon_px, lower.middle_polygon_px
    disc = np.array([above[1], below[0], below[3], above[2]])
    middle = round((upper.middle_slice + lower.middle_slice) / 2)
    values = _values(scan, _shrunk(disc, 0.6), middle)
    return float(np.median(values)) if values.size else float("nan")


def _values(scan: Scan, polygon: np.ndarray, middle: int) -> np.ndarray:
    """The scan's values inside a polygon, in a slice and its neighbours."""
    first, last = max(middle - 1, 0), min(middle + 2, scan.array.shape[2])
    return scan.array[mask_of(polygon, scan.array.shape[:2]), first:last].ravel()


def _shrunk(polygon: np.ndarray, factor: float) -> np.ndarray:
    centre = polygon.mean(axis=0)
    return centre + factor * (polygon - centre)


def _length(vector: np.ndarray) -> float:
    return float(np.hypot(*vector))

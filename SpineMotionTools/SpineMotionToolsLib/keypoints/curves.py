"""Clinical measurements: every curve with its Cobb angle, end vertebrae and apex, and every vertebra's tilt, size and
wedging.

Corners are (68, 2) = (row, column) in true geometry (mm, or pixels of a picture with square pixels), rows downwards.
Terms and regions follow the Scoliosis Research Society. Sides are sides of the PICTURE: which side of the patient
they are depends on how the radiograph was displayed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.keypoints.anatomy import LEVELS
from SpineMotionToolsLib.keypoints.cobb import endplate_tilts

SMALLEST_CURVE_DEG = 10.0  # the definition of scoliosis
SMALLEST_SPAN = 2  # vertebrae from the upper to the lower end vertebra: a curve has one between them
# To how many degrees the other vertebrae of a spine tell the tilt of an endplate that does not show: 3 with one
# vertebra hidden, 4 with six (168 landmark sets of the AASCE data set, from their mean and covariance).
HIDDEN_TILT_DEG = 4.0


@dataclass(frozen=True)
class Curve:
    """One curve: `cobb_deg` between the upper endplate of `upper` and the lower endplate of `lower` (vertebrae 0..16).

    `apex` is a vertebra ("T8") or disc ("T8-T9"); `convex_to` "left" or "right" of the picture; `region` by the apex;
    `uncertainty_deg` one standard deviation, from the corners' (None when those are unknown).
    """

    cobb_deg: float
    upper: int
    lower: int
    upper_name: str
    lower_name: str
    apex: str
    convex_to: str
    region: str
    uncertainty_deg: float | None = None


@dataclass(frozen=True)
class Vertebra:
    """One vertebra: tilts and wedging in degrees (positive: right end lower; wedging: right side taller), sizes in
    `unit`.
    """

    name: str
    level: int
    tilt_deg: float
    upper_tilt_deg: float
    lower_tilt_deg: float
    wedging_deg: float
    left_height: float
    right_height: float
    width: float
    unit: str
    disc_below_deg: float | None = None


def find_curves(
    corners: np.ndarray,
    present: Sequence[bool] | None = None,
    levels: Sequence[str] = LEVELS,
    spread: np.ndarray | None = None,
    smallest_deg: float = SMALLEST_CURVE_DEG,
) -> list[Curve]:
    """Every curve of at least `smallest_deg`, the topmost first.

    The two most tilted endplates give the largest curve; then the spine above and below it is searched in the same
    way. `spread` (68, 2): standard deviation of each corner (row, column), in the unit of the corners; `present`
    (17,): vertebrae that exist.
    """
    corners = np.asarray(corners, float)
    kept = _kept(present)
    angles = _angles(corners)

    def search(part: np.ndarray) -> list[Curve]:
        if (pair := _most_tilted(angles, part)) is None or angles[pair] < smallest_deg:
            return []
        curve = _curve(corners, angles, kept, *pair, levels, spread)
        return [*search(part[part <= pair[0]]), curve, *search(part[part >= pair[1]])]

    return search(kept)


def main_curve(
    corners: np.ndarray,
    present: Sequence[bool] | None = None,
    levels: Sequence[str] = LEVELS,
    spread: np.ndarray | None = None,
) -> Curve | None:
    """The largest curve, however small; None with fewer than three vertebrae."""
    corners = np.asarray(corners, float)
    kept, angles = _kept(present), _angles(corners)
    pair = _most_tilted(angles, kept)
    return None if pair is None else _curve(corners, angles, kept, *pair, levels, spread)


def _kept(present: Sequence[bool] | None) -> np.ndarray:
    return np.flatnonzero(np.ones(17, bool) if present is None else np.asarray(present, bool))


def _angles(corners: np.ndarray) -> np.ndarray:
    """[i, j]: angle between the upper endplate of i and the lower endplate of j in degrees."""
    upper, lower = endplate_tilts(corners)
    return 180 - np.abs(180 - np.abs(upper[:, None] - lower[None, :]))


def _most_tilted(angles: np.ndarray, part: np.ndarray) -> tuple[int, int] | None:
    """The pair i, j of `part` with the largest angle and a vertebra between them."""
    if len(part) < SMALLEST_SPAN + 1:
        return None
    first, second = np.triu_indices(len(part), SMALLEST_SPAN)
    best = int(np.argmax(angles[part[first], part[second]]))
    return int(part[first[best]]), int(part[second[best]])


def _curve(corners, angles, kept, i: int, j: int, levels: Sequence[str], spread: np.ndarray | None) -> Curve:
    apex, side, region = _apex(corners, kept, i, j, levels)
    sigma = None if spread is None else cobb_uncertainty(corners, spread, i, j)
    return Curve(float(angles[i, j]), i, j, levels[i], levels[j], apex, side, region, sigma)


def cobb_uncertainty(corners: np.ndarray, spread: np.ndarray, i: int, j: int) -> float:
    """One standard deviation in degrees of the angle between the upper endplate of i and the lower endplate of j.

    `spread` (68, 2): standard deviation of each corner (row, column); errors of different corners count as
    independent. However far off its corners may be, an endplate's tilt is known to `HIDDEN_TILT_DEG`.
    """
    quads, spread = np.asarray(corners, float).reshape(17, 4, 2), np.asarray(spread, float).reshape(17, 4, 2)
    variance = 0.0
    for level, (a, b) in ((i, (0, 1)), (j, (2, 3))):
        along = quads[level, b] - quads[level, a]
        length = max(float(np.linalg.norm(along)), 1e-9)
        across = along[::-1] / length  # squared components of the normal
        tilt = float((across**2 * (spread[level, a] ** 2 + spread[level, b] ** 2)).sum()) / length**2
        variance += min(tilt, np.radians(HIDDEN_TILT_DEG) ** 2)
    return float(np.degrees(np.sqrt(variance)))


def measure_vertebrae(
    corners: np.ndarray, unit: str = "px", present: Sequence[bool] | None = None, levels: Sequence[str] = LEVELS
) -> list[Vertebra]:
    """Tilt, wedging, heights and width of every present vertebra, and the wedging of the disc below it."""
    quads = np.asarray(corners, float).reshape(17, 4, 2)
    upper, lower = endplate_tilts(corners)
    kept = [v for v in range(17) if present is None or present[v]]
    found = []
    for v in kept:
        ul, ur, ll, lr = quads[v]
        disc = float(upper[v + 1] - lower[v]) if v + 1 in kept else None
        found.append(
            Vertebra(
                levels[v],
                v,
                float((upper[v] + lower[v]) / 2),
                float(upper[v]),
                float(lower[v]),
                float(lower[v] - upper[v]),
                float(np.linalg.norm(ll - ul)),
                float(np.linalg.norm(lr - ur)),
                float(np.linalg.norm((ur + lr - ul - ll) / 2)),
                unit,
                disc,
            )  # fmt: skip
        )
    return found


def _apex(corners: np.ndarray, kept: np.ndarray, i: int, j: int, levels: Sequence[str]) -> tuple[str, str, str]:
    """(vertebra or disc farthest from the line between the end vertebrae's centers on the convex side, that side,
    region).

    The side is that of the angle itself: away from where the lines along its endplates meet. A short curve on the
    flank of a larger one may lie on the other side of its line.
    """
    upper, lower = endplate_tilts(corners)
    side = "right" if (lower[j] - upper[i] + 180) % 360 > 180 else "left"
    quads = corners.reshape(17, 4, 2)
    start, end = quads[i].mean(0), quads[j].mean(0)
    places: list[tuple[str, np.ndarray]] = []
    inner = [int(v) for v in kept if i <= v <= j]
    for v, below in zip(inner, [*inner[1:], None]):
        places.append((levels[v], quads[v].mean(0)))
        if below is not None:
            disc = (quads[v, 2:].mean(0) + quads[below, :2].mean(0)) / 2
            places.append((f"{levels[v]}-{levels[below]}", disc))
    along = (end - start) / max(np.linalg.norm(end - start), 1e-9)
    offsets = [float((point - start)[1] * along[0] - (point - start)[0] * along[1]) for _, point in places]
    bulge = np.array(offsets[1:-1]) * (1 if side == "right" else -1)
    apex = places[1 + int(np.argmax(bulge))][0]
    return apex, side, region_of(apex)


def region_of(apex: str) -> str:
    """The curve's region by its apex, e.g. "T8" or "T11-T12"."""
    letter, number = re.match(r"([A-Z])(\d+)", apex).groups()
    place = int(number) + (0.5 if "-" in apex else 0.0)
    if letter in "LS":
        return "thoracolumbar" if letter == "L" and place <= 1 else "lumbar"
    if letter == "C":
        return "cervical"
    if place < 6:
        return "proximal thoracic"
    return "main thoracic" if place < 12 else "thoracolumbar"

"""The grading network's input: every disc between neighbouring vertebrae, levelled and cut out, 9 x 112 x 224.

Vertebrae are in order from bottom to top in this file, as the published program grades them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .grouping import VertebraOutline
from .polygons import mask_of
from .resampling import resize_cubic, rotation_about, warp_cubic

WIDTH_FACTOR = 2.0
MARGIN_X, MARGIN_Y = 46.5 / 227, 39.25 / 113.5
RESIZED = (192, 320)
MEDIAN_TO = 0.5
CEILING = 2.0
DEPTH = 9
ROWS, COLUMNS = slice(40, 152), slice(48, 272)


@dataclass(frozen=True)
class StackedOutlines:
    """All vertebrae on the scan's slices, bottom first: x, y (4, n, slices), present (n, slices), middle slices (n,).

    Slices without an outline hold the average one.
    """

    names: list[str]
    x: np.ndarray
    y: np.ndarray
    present: np.ndarray
    middle: np.ndarray


@dataclass(frozen=True)
class DiscVolume:
    """One disc: double (9 slices, 112 rows, 224 columns), the body median maps to 0.25."""

    level: str
    upper: int
    lower: int
    volume: np.ndarray
    middle_slice: int
    body_median: float

    @property
    def is_usable(self) -> bool:
        return self.body_median > 0 and bool(np.isfinite(self.volume).all())


def stack_outlines(vertebrae: Sequence[VertebraOutline], labels: Sequence[str], slices: int) -> StackedOutlines:
    """Vertebrae (any order) as arrays over slices, sorted by the average outline's mean row, bottom first."""
    heights = np.array([v.average[:, 1].mean() for v in vertebrae])
    order = np.argsort(heights, kind="stable")[::-1]
    x, y = np.empty((2, 4, len(vertebrae), slices))
    present = np.zeros((len(vertebrae), slices))
    for i, v in enumerate(vertebrae[k] for k in order):
        x[:, i], y[:, i] = v.average.T[:, :, None]
        for number, polygon in zip(v.slices, v.polygons):
            x[:, i, number], y[:, i, number] = np.asarray(polygon).T
            present[i, number] = 1
    middle = np.array([np.rint(np.median(vertebrae[k].slices)) for k in order])
    return StackedOutlines([labels[k] for k in order], x, y, present, middle)


def body_intensities(scan: np.ndarray, stacked: StackedOutlines, i: int) -> np.ndarray:
    """The scan's values inside the middle outline of vertebra i, over all slices that show it."""
    middle = int(stacked.middle[i])
    outline = np.stack([stacked.x[:, i, middle], stacked.y[:, i, middle]], axis=1)
    return scan[mask_of(outline, scan.shape[:2])][:, stacked.present[i] == 1].ravel()


def level_name(upper: str, lower: str) -> str:
    return f"{upper}-{lower}"


def disc_volumes(
    scan: np.ndarray, stacked: StackedOutlines, lower_bodies: Sequence[int] | None = None
) -> list[DiscVolume]:
    """The discs above the given bodies (None: all), bottom first; none for fewer than two vertebrae.

    Indices count vertebrae from the bottom.
    """
    if lower_bodies is None:
        lower_bodies = range(len(stacked.names) - 1)
    intensities = {i: body_intensities(scan, stacked, i) for k in lower_bodies for i in (k, k + 1)}
    discs = []
    for lower in lower_bodies:
        upper = lower + 1
        middle = int(np.rint((stacked.middle[lower] + stacked.middle[upper]) / 2))
        both = np.concatenate([intensities[lower], intensities[upper]])
        median = float(np.median(both)) if both.size else float("nan")
        corner = lambda i, k, s=middle: (stacked.x[k, i, s], stacked.y[k, i, s])
        quad = np.array([corner(upper, 1), corner(lower, 0), corner(lower, 3), corner(upper, 2)])
        volume = disc_volume(scan, quad, middle, median)
        name = level_name(stacked.names[upper], stacked.names[lower])
        discs.append(DiscVolume(name, upper, lower, volume, middle, median))
    return discs


def disc_volume(scan: np.ndarray, quad: np.ndarray, middle: int, body_median: float) -> np.ndarray:
    """One disc's volume from its quadrilateral (upper rb, lower rt, lower lt, upper lb), in (x, y).

    The slices are taken as they are: depth in mm follows the slice spacing. Not finite where the median is 0 or NaN or
    the quadrilateral has no width.
    """
    h, w = scan.shape[:2]
    angle = np.arctan2(quad[0, 1] - quad[3, 1], quad[0, 0] - quad[3, 0])
    matrix = rotation_about(angle, (w / 2, h / 2))
    a, b = abs(matrix[0, 0]), abs(matrix[0, 1])
    canvas_w, canvas_h = int(h * b + w * a), int(h * a + w * b)
    matrix[:, 2] += (canvas_w - w) / 2, (canvas_h - h) / 2
    x0, x1, y0, y1 = disc_bounds(quad @ matrix[:, :2].T + matrix[:, 2])
    if x1 <= x0 or y1 <= y0:
        return np.full((DEPTH, ROWS.stop - ROWS.start, COLUMNS.stop - COLUMNS.start), np.nan)
    taken = range(middle - DEPTH // 2, middle + DEPTH // 2 + 1)
    inside = [s for s in taken if 0 <= s < scan.shape[2]]
    crop = _warp_with_zeros(scan[..., inside], matrix, (x0, x1), (y0, y1), (canvas_w, canvas_h))
    resized = resize_cubic(crop, *RESIZED)[ROWS, COLUMNS]
    volume = np.zeros((DEPTH, *resized.shape[:2]))
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.clip(resized / np.float64(body_median) * MEDIAN_TO, 0, CEILING) / CEILING
    volume[[s - taken[0] for s in inside]] = np.moveaxis(scaled, -1, 0)
    return volume


def disc_bounds(corners: np.ndarray) -> tuple[int, int, int, int]:
    """The region around a levelled disc: twice its width, half as high, and the network's margin (x0, x1, y0, y1)."""
    (x_min, y_min), (x_max, y_max) = corners.min(axis=0), corners.max(axis=0)
    widen = (WIDTH_FACTOR - 1) / 2 * (x_max - x_min)
    x_min, x_max = x_min - widen, x_max + widen
    width = x_max - x_min
    heighten = (width / 2 - (y_max - y_min)) / 2
    y_min, y_max = y_min - heighten, y_max + heighten
    margin_x, margin_y = MARGIN_X * width, MARGIN_Y * (y_max - y_min)
    return tuple(int(np.rint(v)) for v in (x_min - margin_x, x_max + margin_x, y_min - margin_y, y_max + margin_y))


def _warp_with_zeros(scan, matrix, x_range, y_range, canvas) -> np.ndarray:
    """The range of the rotated canvas, in double; zeros outside the canvas."""
    (x0, x1), (y0, y1) = x_range, y_range
    part = np.zeros((y1 - y0, x1 - x0, scan.shape[2]))
    left, right, top, bottom = max(x0, 0), min(x1, canvas[0]), max(y0, 0), min(y1, canvas[1])
    if right > left and bottom > top and scan.shape[2]:
        warped = warp_cubic(scan, matrix, (left, right), (top, bottom))
        part[top - y0 : bottom - y0, left - x0 : right - x0] = warped
    return part

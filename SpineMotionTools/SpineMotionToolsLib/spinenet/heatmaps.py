"""Reads the detection network's maps: peaks, the slice's centroid map, and corners with their vectors.

Points are (row, column) in this file, as the published program counts them; polygons elsewhere are (x, y).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .departures import FAITHFUL, Departures
from .detection_targets import CENTROID_CHANNEL
from .patches import Window
from .resampling import resize_bilinear

CORNER_THRESHOLD = 0.6
CENTROID_THRESHOLD = 0.6
MERGE_RADIUS_PATCH_PX = 3.0
FADE_FRACTION = 0.15


@dataclass(frozen=True)
class Corners:
    """Corners of one type in one slice, in scan pixels: points, vectors to their centroid, and heat-map heights."""

    points: np.ndarray
    vectors: np.ndarray
    heights: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Corners]) -> Corners:
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("points", "vectors", "heights")))


def peaks(heat_map: np.ndarray, threshold: float) -> np.ndarray:
    """The highest pixel of every 4-connected component above `threshold` (strictly), in raster order of components.

    Returns int64 (n, 2) as (row, column); the first in raster order where several are equally high.
    """
    owner, values, places = components(heat_map, threshold)
    first = highest(owner, values)
    winners = places[first]
    for component in np.flatnonzero(values[first] <= 0):  # only below a negative threshold: zeros outside win
        inside = np.zeros(heat_map.size, dtype=bool)
        inside[places[owner == component]] = True
        winners[component] = np.argmax(np.where(inside, heat_map.ravel(), 0))
    return np.stack(np.unravel_index(winners, heat_map.shape), axis=1).astype(np.int64)


def components(heat_map: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel above the threshold: its 4-connected component (from 0), value and flat index, in raster order."""
    above = heat_map > threshold
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    if not len(rows):
        return np.zeros(0, np.int32), np.zeros(0, heat_map.dtype), np.zeros(0, np.int64)
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # a spine is a narrow part of its picture
    labels, _ = ndimage.label(above[box])
    row, column = np.nonzero(labels)
    inside = (row + rows[0]) * heat_map.shape[1] + column + columns[0]
    return labels[row, column] - 1, heat_map[box][row, column], inside


def highest(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where in `values` the highest of every component stands; the first where several are equally high."""
    tops = np.flatnonzero(values == _maxima(owner, values)[owner])
    return tops[np.unique(owner[tops], return_index=True)[1]]


def runners_up(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The second highest value of every component, -inf where there is one pixel only."""
    rest = values.copy()
    rest[highest(owner, values)] = -np.inf
    return _maxima(owner, rest)


def _maxima(owner: np.ndarray, values: np.ndarray) -> np.ndarray:
    maxima = np.full(owner.max(initial=-1) + 1, -np.inf, dtype=values.dtype)
    np.maximum.at(maxima, owner, values)
    return maxima


def centroid_map(
    maps: np.ndarray,
    windows: Sequence[Window],
    shape: tuple[int, int],
    departures: Departures = FAITHFUL,
    repeats: Sequence[int] | None = None,
) -> np.ndarray:
    """The mean over patches of the centroid channel, resized to the scan: double (rows, columns), 0 where no patch
    is."""
    total, count = np.zeros(shape), np.zeros(shape)
    for patch, window, times in zip(maps, windows, repeats or [1] * len(windows)):
        x1, x2, y1, y2 = window.bounds(*shape)
        area = np.s_[y1:y2, x1:x2]
        weight = _fade(window, shape) if departures.blend_patches else float(times)
        total[area] += weight * resize_bilinear(patch[CENTROID_CHANNEL], y2 - y1, x2 - x1).astype(np.float64)
        count[area] += weight
    return np.divide(total, count, out=np.zeros(shape), where=count > 0)


def _fade(window: Window, shape: tuple[int, int]) -> np.ndarray:
    """Weights of a window's pixels: 1, falling linearly to 0.05 at borders that lie inside the scan."""
    x1, x2, y1, y2 = window.bounds(*shape)
    return np.outer(_ramp(y1, y2, shape[0]), _ramp(x1, x2, shape[1]))


def _ramp(start: int, stop: int, size: int) -> np.ndarray:
    length = stop - start
    position = np.arange(length)
    weight, fade = np.ones(length), max(1.0, FADE_FRACTION * length)
    if start > 1:
        weight = np.minimum(weight, (position + 1) / fade)
    if stop < size - 1:
        weight = np.minimum(weight, (length - position) / fade)
    return np.maximum(weight, 0.05)


def corners(
    maps: np.ndarray,
    windows: Sequence[Window],
    shape: tuple[int, int],
    threshold: float = CORNER_THRESHOLD,
    departures: Departures = FAITHFUL,
) -> tuple[Corners, Corners, Corners, Corners]:
    """Corners of the four types over all patches of a slice, patch by patch, in scan pixels."""
    first_edge = abs(windows[0].x2 - windows[0].x1)
    found = []
    for k in range(4):
        parts = [
            _patch_corners(patch, k, window, shape, first_edge, threshold, departures)
            for patch, window in zip(maps, windows)
        ]
        joined = Corners.join(parts)
        if departures.merge_corners:
            joined = merge_duplicates(joined, MERGE_RADIUS_PATCH_PX * first_edge / maps[0].shape[-1])
        found.append(joined)
    return tuple(found)


def _patch_corners(
    patch: np.ndarray,
    k: int,
    window: Window,
    shape: tuple[int, int],
    first_edge: int,
    threshold: float,
    how: Departures,
) -> Corners:
    at = peaks(patch[k], threshold)
    rows, columns = at.T
    vectors = np.stack([patch[9 + k, rows, columns], patch[5 + k, rows, columns]], axis=1).astype(np.float64)
    if not how.fractional_vectors:
        vectors = np.trunc(vectors)
    heights = patch[k, rows, columns].astype(np.float64)
    points = refine(patch[k], at) if how.subpixel_peaks else at.astype(np.float64)
    x1, x2, y1, y2 = window.bounds(*shape)
    if how.true_patch_scale:
        scale = np.array([y2 - y1, x2 - x1]) / patch.shape[-2:]
        points = (points + 0.5) * scale - 0.5
    else:
        scale = np.array([first_edge / patch.shape[-2], first_edge / patch.shape[-1]])
        points = points * scale
    return Corners(points + (y1, x1), vectors * scale, heights)


def refine(heat_map: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Peaks (n, 2) moved to the top of a parabola through the logarithms of both neighbours; at most half a pixel.

    Exact for a Gaussian. Peaks on the border, and those with neighbours that are not positive, stay on that axis.
    """
    points = at.astype(np.float64)
    for axis in (0, 1):
        step = np.array([axis == 0, axis == 1], dtype=np.int64)
        movable = (at[:, axis] > 0) & (at[:, axis] < heat_map.shape[axis] - 1)
        before, here, after = (heat_map[tuple((at[movable] + sign * step).T)] for sign in (-1, 0, 1))
        good = (before > 0) & (here > 0) & (after > 0)
        logs = np.log(np.where(good, [before, here, after], 1.0).astype(np.float64))
        curvature = logs[0] - 2 * logs[1] + logs[2]
        shift = np.divide(logs[0] - logs[2], 2 * curvature, out=np.zeros_like(curvature), where=curvature < 0)
        points[movable, axis] += np.clip(shift, -0.5, 0.5)
    return points


def merge_duplicates(found: Corners, radius: float) -> Corners:
    """Corners of one type closer than `radius` pixels become one, weighted by height; the highest leads."""
    left = list(np.argsort(-found.heights, kind="stable"))
    merged = []
    while left:
        leader = left[0]
        gap = np.linalg.norm(found.points[left] - found.points[leader], axis=1)
        group = [i for i, distance in zip(left, gap) if distance <= radius]
        weight = np.maximum(found.heights[group], 1e-6)
        merged.append(
            (
                np.average(found.points[group], axis=0, weights=weight),
                np.average(found.vectors[group], axis=0, weights=weight),
                found.heights[leader],
            )
        )
        left = [i for i in left if i not in set(group)]
    if not merged:
        return found
    points, vectors, heights = zip(*merged)
    return Corners(np.array(points), np.array(vectors), np.array(heights))

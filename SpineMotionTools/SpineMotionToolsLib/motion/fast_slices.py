"""The bytes of `slices.py`, several times faster and in little memory.

Smoothing and stretching run in float32 over strips that stay in the processor's cache. An 8-bit level computed so can
differ from the exact one only where the value lies within a known error of a rounding border, x.5; those few pixels
are computed again exactly, and so are the slice's extremes, which set the stretch. The error bound is proven below,
so the result is identical by construction, not by luck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion.slices import (
    CENTER,
    FLAT,
    INPUT_PX,
    SIDE,
    as_real,
    integer_unit,
    square_pads,
    stretch,
    stretch_terms,
    taps,
)

ROUNDING = 2.0**-24
"""Largest relative error of one float32 operation, u."""

# Float32 smoothing, per axis: b*r, + a, + c with r = CENTER/SIDE = 2.184, where values grow by 2 + r = 4.184. The three
# roundings cost at most (2.184 + 3.184 + 4.184) u = 9.55 u of the largest value before, 2.28 u after; rounding r itself
# 0.52 u. Three axes: 8.4 u. Float64 input rounded to float32: 1 u. The exact path's own float32 (float32 scans): 3 u.
SMOOTHING_ERROR = 16 * ROUNDING
"""Bound on the error of the fast smoothing, relative to the largest absolute voxel."""

STRIP_VALUES = 1 << 16
CHUNK = 1 << 16
CANDIDATES = 64
THREADS = 4
"""Slices prepared at a time, so that the networks of a machine with many cores need not wait."""

ReadSlice = Callable[[int], np.ndarray]
"""Gives the stored values (y, x) of one slice."""


@dataclass(frozen=True)
class _Plane:
    values: np.ndarray
    fast: np.ndarray
    low: float
    high: float


class SlicePreparer:
    """Prepares the slices of one scan, best in rising order: the slice and its two neighbours stay in memory.

    `read_slice(z)` gives values (y, x); all slices have one size and type. Raises InputError for NaN and infinity,
    unless `replace_nan`, which puts the slice's smallest number in their place.
    """

    def __init__(self, read_slice: ReadSlice, depth: int, replace_nan: bool = False) -> None:
        self._read = read_slice
        self._depth = depth
        self._replace_nan = replace_nan
        self._planes: dict[int, _Plane] = {}
        self.replaced = 0
        """Voxels that were NaN or infinite."""
        self.constant: set[int] = set()
        """Slices read so far that hold one value only."""

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """Network inputs (n, 512, 512) uint8, rows along X. Voxels are read in order, slices computed in threads."""
        images: list[np.ndarray] = []
        with ThreadPoolExecutor(THREADS, thread_name_prefix="motion-slice") as pool:
            for start in range(0, len(indices), THREADS):  # no more voxels in memory than are worked on
                images += pool.map(_image, [self._neighbourhood(z) for z in indices[start : start + THREADS]])
        return np.stack(images)

    def image(self, z: int) -> np.ndarray:
        """Network input (512, 512) uint8 of slice z, rows along X."""
        return _image(self._neighbourhood(z))

    def gray8(self, z: int) -> np.ndarray:
        """The padded 8-bit square of slice z, rows along X."""
        return _gray8(self._neighbourhood(z)).T

    def _neighbourhood(self, z: int) -> list[_Plane]:
        wanted = [max(z - 1, 0), z, min(z + 1, self._depth - 1)]
        self._planes = {key: plane for key, plane in self._planes.items() if key in wanted}
        for key in wanted:
            if key not in self._planes:
                self._planes[key] = self._plane(key)
        return [self._planes[key] for key in wanted]

    def _plane(self, z: int) -> _Plane:
        values = self._read(z)
        if values.dtype.kind == "f":
            bad = int(values.size - np.count_nonzero(np.isfinite(values)))
            if bad:
                values = self._repaired(values, z, bad)
            if values.dtype.itemsize < 4:
                values = values.astype(np.float32)
        low, high = values.min(), values.max()
        if max(abs(float(low)), abs(float(high))) > 1e30:
            raise InputError(f"Slice {z} has values beyond any unit ({low:g} to {high:g}). Check the scan's file.")
        if low == high:
            self.constant.add(z)
        fast = values.astype(np.float32, copy=False)
        if values.dtype.kind == "i" and low < -np.iinfo(values.dtype).max:
            fast = np.maximum(fast, -np.float32(np.iinfo(values.dtype).max))  # as the exact path clamps it to -1
        return _Plane(values, fast, float(low), float(high))

    def _repaired(self, values: np.ndarray, z: int, bad: int) -> np.ndarray:
        if not self._replace_nan:
            raise InputError(
                f"In slice {z}, {bad} of {values.size} voxels are not numbers (NaN or infinite). "
                "Correct the scan, or choose to replace them by the slice's smallest value."
            )
        self.replaced += bad
        finite = np.isfinite(values)
        return np.where(finite, values, values[finite].min() if finite.any() else 0).astype(values.dtype)


def _image(planes: list[_Plane]) -> np.ndarray:
    """`slices.resize` of a slice and its neighbours. As its memory lies along Y, rows are shrunk before columns."""
    from PIL import Image

    square = Image.fromarray(_gray8(planes))
    for size in ((square.width, INPUT_PX), (INPUT_PX, INPUT_PX)):
        square = square.resize(size, Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square).T)


def _gray8(planes: list[_Plane]) -> np.ndarray:
    """The padded 8-bit square (y, x) of the middle one of three neighbouring planes."""
    below, center, above = planes
    height, width = center.values.shape
    size, left, _, top, _ = square_pads(width, height)
    square = np.zeros((size, size), dtype=np.uint8)
    inner = square[top : top + height, left : left + width]

    exact = _ExactSlice([plane.values for plane in planes])
    largest = max(max(abs(plane.low), abs(plane.high)) for plane in planes)
    smoothed, lows, highs = _smooth_fast(below.fast, center.fast, above.fast)
    # The fast sums are not normalised: `unit` turns them into what the exact path has.
    unit = SIDE**3 * exact.unit
    error = SMOOTHING_ERROR * largest * exact.unit
    low = exact.extreme(smoothed, lows, 2 * error / unit, min(p.low for p in planes), lowest=True)
    high = exact.extreme(smoothed, highs, 2 * error / unit, max(p.high for p in planes), lowest=False)
    if size > min(height, width):
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= FLAT:
        return square
    scale, shift = stretch_terms(low, high)
    if size > min(height, width):
        square[:] = stretch(np.zeros(1), scale, shift)
    # Error of a level: of smoothing, of the exact path's rounding to float32, and of this arithmetic.
    tolerance = 1.1 * (
        float(scale) * (error + ROUNDING * largest * exact.unit) + ROUNDING * (4 * 256 + 2 * abs(float(shift)))
    )
    close = _stretch_fast(smoothed, np.float32(float(scale) * unit), shift, tolerance, inner)
    for start in range(0, len(close), CHUNK):
        rows, columns = np.divmod(close[start : start + CHUNK], width)
        inner[rows, columns] = stretch(exact.at(rows, columns), scale, shift)
    return square


class _ExactSlice:
    """Single pixels of a smoothed slice, by the arithmetic of `slices.smooth`."""

    def __init__(self, planes: list[np.ndarray]) -> None:
        self._planes = planes
        dtype = planes[1].dtype
        self.unit = 1.0 if dtype.kind == "f" else integer_unit(dtype)
        self._real = dtype if dtype.kind == "f" else np.dtype(np.float64)

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        height, width = self._planes[1].shape
        near_rows = [np.clip(rows + step, 0, height - 1) for step in (-1, 0, 1)]
        near_columns = [np.clip(columns + step, 0, width - 1) for step in (-1, 0, 1)]
        along_z = [
            self._taps([self._taps([as_real(plane[r, c]) for c in near_columns]) for r in near_rows])
            for plane in self._planes
        ]
        return self._taps(along_z)

    def constant(self, value: float) -> float:
        """What a neighbourhood of one value becomes."""
        dtype = self._planes[1].dtype
        if dtype.kind in "iu":
            value = min(int(value), np.iinfo(dtype).max)  # as a float, 2**63 - 1 is 2**63
        result = as_real(np.array([value], dtype=dtype))
        for _ in range(3):
            result = self._taps([result] * 3)
        return float(result[0])

    def extreme(
        self, smoothed: np.ndarray, strips: dict[int, float], margin: float, voxel: float, lowest: bool
    ) -> float:
        """The exact minimum (or maximum) of the slice: only pixels within `margin` of the fast one can hold it.

        `strips` holds the fast extreme of each strip of rows by its first row; `voxel` is the extreme before smoothing.
        """
        pick, within = (np.min, np.less_equal) if lowest else (np.max, np.greater_equal)
        border = float(pick(list(strips.values()))) + (margin if lowest else -margin)
        # All steps are monotone, so nothing passes what a neighbourhood full of the extreme voxel becomes.
        limit = self.constant(voxel)
        found: list[float] = []
        for start, end in zip(strips, [*strips, len(smoothed)][1:]):
            if not within(strips[start], border):
                continue
            rows, columns = np.nonzero(within(smoothed[start:end], border))
            for some in (slice(CANDIDATES), slice(CANDIDATES, None)):
                if rows[some].size:
                    found.append(float(pick(self.at(rows[some] + start, columns[some]))))
                if limit in found:
                    return limit
        return pick(found)

    def _taps(self, values: list[np.ndarray]) -> np.ndarray:
        before, center, after = (value.astype(np.float64, copy=False) for value in values)
        return taps(before, center, after).astype(self._real, copy=False)


def _smooth_fast(
    below: np.ndarray, center: np.ndarray, above: np.ndarray
) -> tuple[np.ndarray, dict[int, float], dict[int, float]]:
    """Smoothed slice / SIDE^3 in float32, and the minimum and maximum of each strip by its first row.

    Axes in another order than the exact path.
    """
    height, width = center.shape
    ratio = np.float32(CENTER / SIDE)
    smoothed = np.empty((height, width), dtype=np.float32)
    strip = max(8, STRIP_VALUES // width)
    along_z = np.empty((strip + 2, width), dtype=np.float32)
    along_y = np.empty((strip, width), dtype=np.float32)
    lows, highs = {}, {}
    for start in range(0, height, strip):
        end = min(start + strip, height)
        first, last = max(start - 1, 0), min(end + 1, height)
        z = along_z[: end - start + 2]
        body = z[1 if start == 0 else 0 :][: last - first]
        np.multiply(center[first:last], ratio, out=body)
        body += below[first:last]
        body += above[first:last]
        if start == 0:
            z[0] = z[1]
        if end == height:
            z[-1] = z[-2]
        y = along_y[: end - start]
        np.multiply(z[1:-1], ratio, out=y)
        y += z[:-2]
        y += z[2:]
        x = smoothed[start:end]
        np.multiply(y, ratio, out=x)
        x[:, 1:] += y[:, :-1]
        x[:, 0] += y[:, 0]
        x[:, :-1] += y[:, 1:]
        x[:, -1] += y[:, -1]
        lows[start], highs[start] = float(x.min()), float(x.max())
    return smoothed, lows, highs


def _stretch_fast(
    smoothed: np.ndarray, scale: np.float32, shift: np.float32, tolerance: float, out: np.ndarray
) -> np.ndarray:
    """Write the levels to `out`; returns the flat positions of values within `tolerance` of a rounding border."""
    height, width = smoothed.shape
    strip = max(8, STRIP_VALUES // width)
    border = np.float32(0.5 - tolerance)
    close = []
    for start in range(0, height, strip):
        levels = smoothed[start : start + strip]
        levels *= scale
        levels += shift
        rounded = np.rint(levels)
        levels -= rounded
        np.abs(levels, out=levels)
        near = np.flatnonzero(levels >= border)
        if near.size:
            close.append(near + start * width)
        if tolerance >= 0.5:  # else the levels lie within 0..255, or are close
            np.clip(rounded, 0, 255, out=rounded)
        out[start : start + strip] = rounded
    return np.concatenate(close) if close else np.zeros(0, dtype=np.int64)

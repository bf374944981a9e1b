"""Cubic resizing and warping with the arithmetic SpineNet's weights were trained behind.

Both follow OpenCV 4 (cubic convolution, a = -0.75, no anti-aliasing; warps quantise coordinates to 1/32 pixel),
whatever version of OpenCV a user has, and need none. Sampling is written as a sparse matrix: rows of the matrix are
output pixels, columns are input pixels, so that all slices of a scan are sampled in one product.

Arrays are (rows, columns) or (rows, columns, slices). The dtype is kept; integers round half to even and saturate.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import sparse

CUBIC_A = -0.75
SUPPORTED = ("uint8", "uint16", "int16", "float32", "float64")


def cubic_weights(fraction: np.ndarray) -> np.ndarray:
    """The four tap weights for fractions in [0, 1), in their precision: (...,) -> (..., 4), taps at -1, 0, +1, +2."""
    f, a, one = fraction, fraction.dtype.type(CUBIC_A), fraction.dtype.type(1)
    c0 = ((a * (f + one) - 5 * a) * (f + one) + 8 * a) * (f + one) - 4 * a
    c1 = ((a + 2) * f - (a + 3)) * f * f + one
    g = one - f
    c2 = ((a + 2) * g - (a + 3)) * g * g + one
    return np.stack([c0, c1, c2, one - c0 - c1 - c2], axis=-1)


@lru_cache(maxsize=64)
def _resize_matrix(n: int, m: int, weights_in: str) -> sparse.csr_array:
    """A resize from n to m samples, clamped at the border: double (m, n) of weights computed in `weights_in`."""
    source = ((np.arange(m) + 0.5) * (n / m) - 0.5).astype(weights_in)
    first = np.floor(source)
    taps = np.clip(first.astype(np.int64)[:, None] + np.arange(-1, 3), 0, n - 1)
    weights = cubic_weights(source - first).astype(np.float64)
    return sparse.csr_array((weights.ravel(), taps.ravel(), np.arange(0, 4 * m + 1, 4)), shape=(m, n))


def resize_cubic(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resize the first two axes to (rows, columns), columns first; half-pixel centres, border clamped.

    Sums are double. The published program's weights are float32 for double images and exact for all others.
    """
    weights_in = "float32" if image.dtype == np.float64 else "float64"
    h, w = image.shape[:2]
    extra = image.shape[2:]
    across = _resize_matrix(w, columns, weights_in) @ np.moveaxis(image, 1, 0).reshape(w, -1).astype(np.float64)
    down = np.moveaxis(across.reshape(columns, h, *extra), 1, 0).reshape(h, -1)
    resized = _resize_matrix(h, rows, weights_in) @ np.ascontiguousarray(down)
    return _as_dtype(resized.reshape(rows, columns, *extra), image.dtype)


def resize_bilinear(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Bilinear resize of a float32 map, half-pixel centres, border clamped, no anti-aliasing (as PyTorch does)."""
    left, right, part = _bilinear_taps(image.shape[1], columns)
    across = image[:, left] * (1 - part) + image[:, right] * part
    upper, lower, part = _bilinear_taps(image.shape[0], rows)
    part = part[:, None]
    return across[upper] * (1 - part) + across[lower] * part


@lru_cache(maxsize=64)
def _bilinear_taps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a resize from n to m samples: both neighbours of every new sample and the second one's share (float32)."""
    scale = float(np.float32(n / m))  # PyTorch's positions are single precision, from a fused multiply-add
    source = np.maximum(((np.arange(m) + 0.5) * scale - 0.5).astype(np.float32), 0)
    low = np.minimum(source.astype(np.int64), n - 1)
    return low, np.minimum(low + 1, n - 1), source - low.astype(np.float32)


def rotation_about(angle_rad: float, centre: tuple[float, float]) -> np.ndarray:
    """The 2 x 3 matrix that turns the picture by `angle_rad` about `centre` (x, y), mapping source to destination."""
    a, b = np.cos(angle_rad), np.sin(angle_rad)
    x, y = centre
    return np.array([[a, b, (1 - a) * x - b * y], [-b, a, b * x + (1 - a) * y]])


def invert_affine(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a 2 x 3 affine matrix, as 2 x 3."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.hstack([linear, -(linear @ matrix[:, 2:])])


def warp_cubic(image: np.ndarray, matrix: np.ndarray, x_range: tuple[int, int], y_range: tuple[int, int]) -> np.ndarray:
    """The part [y0:y1, x0:x1] of the image warped by `matrix` (2 x 3, source to destination); zero outside the image.

    The ranges may lie anywhere: (y1 - y0, x1 - x0[, slices]) comes back, in the image's dtype. Coordinates are
    quantised to 1/32 pixel and taps outside the image count as zero without renormalisation (OpenCV 4).
    """
    (x0, x1), (y0, y1) = x_range, y_range
    h, w = image.shape[:2]
    taps, weights = _warp_taps(invert_affine(matrix), np.arange(x0, x1), np.arange(y0, y1), h, w)
    work = np.float64 if image.dtype == np.float64 else np.float32
    pointers = np.arange(0, taps.size + 1, 16)
    sampler = sparse.csr_array((weights.astype(work).ravel(), taps.ravel(), pointers), shape=(len(taps), h * w))
    flat = np.ascontiguousarray(image).reshape(h * w, -1).astype(work, copy=False)
    return _as_dtype((sampler @ flat).reshape(y1 - y0, x1 - x0, *image.shape[2:]), image.dtype)


def _warp_taps(inverse: np.ndarray, x: np.ndarray, y: np.ndarray, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat source indices (int32) and weights (float32) of the 16 taps of every output pixel: (len(y) * len(x), 16)."""
    (a11, a12, b1), (a21, a22, b2) = inverse
    fixed_x = _round_to_int((a12 * y + b1) * 1024)[:, None] + 16 + _round_to_int(a11 * x * 1024)[None, :]
    fixed_y = _round_to_int((a22 * y + b2) * 1024)[:, None] + 16 + _round_to_int(a21 * x * 1024)[None, :]
    fixed_x, fixed_y = (fixed_x >> 5).ravel(), (fixed_y >> 5).ravel()
    columns = (fixed_x >> 5)[:, None] + np.arange(-1, 3)
    rows = (fixed_y >> 5)[:, None] + np.arange(-1, 3)
    table = cubic_weights(np.arange(32, dtype=np.float32) / 32)
    weights = (table[fixed_y & 31])[:, :, None] * (table[fixed_x & 31])[:, None, :]
    outside = ((rows < 0) | (rows >= h))[:, :, None] | ((columns < 0) | (columns >= w))[:, None, :]
    weights[outside] = 0
    taps = np.clip(rows, 0, h - 1)[:, :, None] * w + np.clip(columns, 0, w - 1)[:, None, :]
    return taps.reshape(-1, 16).astype(np.int32), weights.reshape(-1, 16)


def _round_to_int(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.int64)


def _as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)

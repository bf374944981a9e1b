"""Picture resampling with fixed arithmetic, the same whatever libraries are installed.

The published video systems resample with OpenCV 4, whose results differ from OpenCV 5 (shifts) and from other libraries
(rounding). These functions follow OpenCV 4's float32 arithmetic, half-pixel centers and edge replication, in NumPy.
"""

from __future__ import annotations

import numpy as np

_CUBIC_A = -0.75  # OpenCV's cubic; Pillow and torch with a = -0.5 sharpen less


def cubic_taps(n_in: int, n_out: int, scale: float, start: int = 0, stop: int | None = None):
    """Source indices (n,4) and float32 weights (n,4) of output positions start..stop-1 along one axis.

    `scale` is input pixels per output pixel; indices are clamped to the picture.
    """
    stop = n_out if stop is None else stop
    position = ((np.arange(start, stop) + 0.5) * scale - 0.5).astype(np.float32)
    whole = np.floor(position).astype(np.int64)
    weights = _cubic_weights(position - whole.astype(np.float32))
    return np.clip(whole[:, None] + np.arange(-1, 3), 0, n_in - 1), weights


def _cubic_weights(x: np.ndarray) -> np.ndarray:
    a, one = np.float32(_CUBIC_A), np.float32(1)
    left = ((a * (x + one) - 5 * a) * (x + one) + 8 * a) * (x + one) - 4 * a
    near = ((a + 2) * x - (a + 3)) * x * x + one
    y = one - x
    far = ((a + 2) * y - (a + 3)) * y * y + one
    return np.stack([left, near, far, one - left - near - far], axis=1).astype(np.float32)


def cubic_along(picture: np.ndarray, indices: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    """Weighted sum of four taps along axis 0 or 1 of a float32 (H,W,...) array, in OpenCV's order of additions.

    OpenCV adds from the first tap along a row and from the last tap along a column. The order decides which of two
    equal pixels is the larger one, and with that where a symmetric peak is found.
    """
    order = (0, 1, 2, 3) if axis == 1 else (3, 2, 1, 0)
    shape = [1] * picture.ndim
    shape[axis] = len(indices)
    total = None
    for tap in order:
        part = np.take(picture, indices[:, tap], axis=axis) * weights[:, tap].reshape(shape)
        total = part if total is None else total + part
    return total


def resize_cubic(picture: np.ndarray, size: tuple[int, int] | None = None, factor: float | None = None) -> np.ndarray:
    """Resize (H,W[,C]) uint8 or float32 by bicubic interpolation to `size` (width, height) or by `factor`.

    With `factor` the new size is round(size * factor), and positions are computed from `factor` itself. float32 equals
    OpenCV's result; uint8 stays within one grey level of it.
    """
    height, width = picture.shape[:2]
    if factor is not None:
        new_width, new_height = int(np.rint(width * factor)), int(np.rint(height * factor))
        scale_x = scale_y = 1.0 / factor
    else:
        new_width, new_height = size
        scale_x, scale_y = width / new_width, height / new_height
    rows = cubic_taps(height, new_height, scale_y)
    columns = cubic_taps(width, new_width, scale_x)
    result = cubic_along(cubic_along(picture.astype(np.float32), *columns, axis=1), *rows, axis=0)
    return np.clip(np.rint(result), 0, 255).astype(np.uint8) if picture.dtype == np.uint8 else result


def resize_linear(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H,W[,C]) uint8 or float32 to `size` (width, height) by bilinear interpolation without antialiasing.

    uint8 uses OpenCV's fixed-point arithmetic (11-bit weights) and equals its result to the last bit.
    """
    top, bottom, fy = _linear_taps(picture.shape[0], size[1])
    left, right, fx = _linear_taps(picture.shape[1], size[0])
    # OpenCV gives the border column all the weight, but adds the border row to itself, which rounds otherwise.
    fx[left == right] = 0
    needed, places = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    source = picture[needed]  # a tall picture is read at these rows only
    top, bottom = places[: len(top)], places[len(top) :]
    extra = (1,) * (picture.ndim - 2)
    fx, fy = fx.reshape(1, -1, *extra), fy.reshape(-1, 1, *extra)
    if picture.dtype != np.uint8:
        rows = source[:, left] * (1 - fx) + source[:, right] * fx
        return (rows[top] * (1 - fy) + rows[bottom] * fy).astype(picture.dtype)
    ax0, ax1, ay0, ay1 = (np.rint(w * np.float32(2048)).astype(np.int32) for w in (1 - fx, fx, 1 - fy, fy))
    rows = source[:, left] * ax0 + source[:, right] * ax1
    rows >>= 4
    return ((((ay0 * rows[top]) >> 16) + ((ay1 * rows[bottom]) >> 16) + 2) >> 2).astype(np.uint8)


def _linear_taps(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two source positions of every target position and the float32 weight of the second."""
    position = ((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5).astype(np.float32)
    low = np.floor(position).astype(np.int64)
    return np.clip(low, 0, n_in - 1), np.clip(low + 1, 0, n_in - 1), position - low.astype(np.float32)


def translate_linear(picture: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Shift (H,W,C) uint8 by (dx, dy) pixels right and down, black outside, bilinear on 1/32 pixel as OpenCV 4 does."""
    height, width = picture.shape[:2]
    x, y = (((int(np.rint(-float(np.float32(shift)) * 1024)) + 16) >> 5) for shift in (dx, dy))
    left, fx, top, fy = x >> 5, x & 31, y >> 5, y & 31
    total = np.zeros(picture.shape, np.int32)
    for row, weight_y in ((top, 32 - fy), (top + 1, fy)):
        for column, weight_x in ((left, 32 - fx), (left + 1, fx)):
            if weight := weight_x * weight_y:
                target_y, source_y = _overlap(row, height)
                target_x, source_x = _overlap(column, width)
                total[target_y, target_x] += picture[source_y, source_x] * np.int32(weight)
    return ((total + 512) >> 10).astype(np.uint8)


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Target and source slices of `target[i] = source[i + shift]` where both lie inside the picture."""
    start, stop = max(0, -shift), min(size, size - shift)
    stop = max(start, stop)
    return slice(start, stop), slice(start + shift, stop + shift)

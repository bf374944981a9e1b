"""From voxels to network input: smooth, pad to a square, stretch to 8 bit, resize to 512 x 512.

The definition, bit for bit as the published pipelines compute it. `fast_slices.py` gives the same bytes sooner.
"""

from __future__ import annotations

import numpy as np

INPUT_PX = 512

SIGMA_VOXELS = 0.8
_BELL = np.exp(-0.5 / SIGMA_VOXELS**2 * np.array([-1, 0, 1]) ** 2)
SIDE, CENTER, _ = _BELL / _BELL.sum()
"""Weights of the smoothing's three taps (a Gaussian of 0.8 voxels cut off after one voxel)."""

FLAT = 2.220446049250313e-16
"""A slice whose values differ by no more becomes all zeros."""


def as_real(values: np.ndarray) -> np.ndarray:
    """Voxels as floating point: float32 and float64 unchanged, integers as float64 fractions of their largest value."""
    if values.dtype.kind == "f":
        return values if values.dtype.itemsize >= 4 else values.astype(np.float32)
    return np.maximum(values * integer_unit(values.dtype), -1.0)


def integer_unit(dtype: np.dtype) -> float:
    """What one step of an integer type becomes. A factor, not a divisor: the last bit differs."""
    return 1.0 / np.iinfo(dtype).max


def smooth(volume: np.ndarray) -> np.ndarray:
    """Three-tap Gaussian along the axes 0, 1, 2 of a volume (X, Y, Z), edges repeated; float32 or float64.

    Sums are made in float64 and kept in the volume's own type after each axis, as `scipy.ndimage.gaussian_filter` does.
    """
    volume = as_real(volume)
    for axis in range(3):
        volume = smooth_axis(volume, axis).astype(volume.dtype, copy=False)
    return volume


def smooth_axis(values: np.ndarray, axis: int) -> np.ndarray:
    lines = np.moveaxis(values, axis, -1).astype(np.float64, copy=False)
    before = np.concatenate([lines[..., :1], lines[..., :-1]], axis=-1)
    after = np.concatenate([lines[..., 1:], lines[..., -1:]], axis=-1)
    return np.moveaxis(taps(before, lines, after), -1, axis)


def taps(before: np.ndarray, center: np.ndarray, after: np.ndarray) -> np.ndarray:
    """One smoothed value per position, in float64; the order of the sum matters in the last bit."""
    return center * CENTER + (before + after) * SIDE


def square_pads(x: int, y: int) -> tuple[int, int, int, int, int]:
    """(size, top, bottom, left, right) that centre a slice of X rows and Y columns in a square."""
    size = max(x, y)
    top, left = (size - x) // 2, (size - y) // 2
    return size, top, size - x - top, left, size - y - left


def stretch_terms(low: float, high: float) -> tuple[np.float32, np.float32]:
    """Factor and summand that map low..high to 0..255, rounded to float32 as OpenCV does."""
    scale = 255.0 / (high - low) if high - low > FLAT else 0.0
    return np.float32(scale), np.float32(-low * scale)


def stretch(values: np.ndarray, scale: np.float32, shift: np.float32) -> np.ndarray:
    """uint8 of `values * scale + shift` in float32 with a fused multiply-add, rounded half to even.

    The product of two float32 numbers is exact in float64, so one rounding remains, as in the fused step.
    """
    levels = values.astype(np.float32).astype(np.float64) * np.float64(scale) + np.float64(shift)
    return np.clip(np.rint(levels.astype(np.float32)), 0, 255).astype(np.uint8)


def to_gray8(smoothed: np.ndarray) -> np.ndarray:
    """A smoothed slice (X, Y) as an 8-bit square, padded with what zero becomes."""
    _, top, bottom, left, right = square_pads(*smoothed.shape)
    square = np.pad(smoothed, [(top, bottom), (left, right)])
    low, high = float(square.min()), float(square.max())
    if high - low <= FLAT:
        return np.zeros(square.shape, dtype=np.uint8)
    return stretch(square, *stretch_terms(low, high))


def resize(gray8: np.ndarray) -> np.ndarray:
    """An 8-bit square at 512 x 512: bicubic, antialiased when it shrinks, columns first, each pass rounded to 8 bit."""
    from PIL import Image

    size = (INPUT_PX, INPUT_PX)
    return np.array(Image.fromarray(np.ascontiguousarray(gray8)).resize(size, Image.Resampling.BICUBIC))


def prepare(volume: np.ndarray) -> np.ndarray:
    """Network input (Z, 512, 512) uint8 of a volume (X, Y, Z) held in memory."""
    smoothed = smooth(volume)
    return np.stack([resize(to_gray8(smoothed[:, :, z])) for z in range(volume.shape[2])])

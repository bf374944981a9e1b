"""From an attenuation map to an 8-bit picture: scatter, blur, quantum noise, exposure, tone, collimation, marker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from SpineMotionToolsLib.phantoms.radiograph_anatomy import Canvas
from SpineMotionToolsLib.phantoms.radiograph_hardships import slow_noise

MARKER_SHARE, COLLIMATION_SHARE = 0.35, 0.15


def expose(
    canvas: Canvas,
    rng: np.random.Generator,
    hardness: float = 0.0,
    hard: np.random.Generator | None = None,
    cover: Callable[[np.ndarray], None] | None = None,
) -> np.ndarray:
    """The picture of `canvas`, (rows, columns) uint8.

    `hardness` 0..1: how much scatter, grain, motion and lost tone a thick patient and a poor exposure add, by the
    random numbers `hard`. `cover` may blank parts of the gray picture (0..1).
    """
    dy, dx = canvas.spacing_mm
    blur_mm = rng.uniform(0.25, 1.1)
    att = ndimage.gaussian_filter(canvas.attenuation, (blur_mm / dy, blur_mm / dx))
    if hardness:
        att = _moved(_scattered(att, canvas, hardness, hard), canvas, hardness, hard)
    att += slow_noise(rng, att.shape, 8) * rng.uniform(0, 0.35) + slow_noise(rng, att.shape, 30) * rng.uniform(0, 0.1)
    if rng.random() < 0.5:  # equalized display: slow changes reduced, as most viewers and slot scanners do
        att = att - rng.uniform(0.3, 0.8) * _slow_part(att)
    middle = np.median(att[:, att.shape[1] // 4 : -att.shape[1] // 4])
    # Fewer quanta behind more tissue: the noise grows with the square root of what is absorbed.
    grain = rng.uniform(0.01, 0.09) * np.exp(np.clip((att - middle) / 2, -1.5, 1.5))
    if hardness:
        grain = grain * hard.uniform(0.5, 1 + 0.5 * hardness)
    noise = rng.standard_normal(att.shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, 0.7) * 2.0
    att = att + grain * noise

    low, high = np.percentile(att, (rng.uniform(0, 6), rng.uniform(97.5, 99.9)))
    if hardness and hard.random() < 0.5:  # a film's narrow latitude: parts are burnt out, others hardly exposed
        center = hard.uniform(0.25, 0.75) * (high - low) + low
        latitude = hard.uniform(0.9, 2.2) * max(high - low, 1e-3) / (1 + hardness)
        gray = 1 / (1 + np.exp(np.clip(-4 * (att - center) / latitude, -30, 30)))
    else:
        gray = np.clip((att - low) / max(high - low, 1e-3), 0, 1) ** rng.uniform(0.6, 1.6)
    gray = rng.uniform(0, 0.15) + gray * rng.uniform(0.65, 0.85)
    if cover is not None:
        cover(gray)
    if rng.random() < COLLIMATION_SHARE:
        _collimate(gray, rng)
    if rng.random() < MARKER_SHARE:
        _mark_side(gray, rng)
    return np.rint(np.clip(gray, 0, 1) * 255).astype(np.uint8)


def _scattered(att: np.ndarray, canvas: Canvas, hardness: float, rng: np.random.Generator) -> np.ndarray:
    """Scattered quanta veil what little comes through thick parts."""
    primary = np.exp(np.median(att) - att)
    small = primary[::8, ::8]
    dy, dx = canvas.spacing_mm
    broad = ndimage.gaussian_filter(small, (50 / (8 * dy), 50 / (8 * dx)))
    scatter = ndimage.zoom(broad, 8, order=1, mode="nearest", grid_mode=True)[: att.shape[0], : att.shape[1]]
    scatter = np.pad(scatter, [(0, n - m) for n, m in zip(att.shape, scatter.shape)], mode="edge")
    return -np.log(primary + hardness * rng.uniform(0.1, 0.9) * scatter)


def _moved(att: np.ndarray, canvas: Canvas, hardness: float, rng: np.random.Generator) -> np.ndarray:
    """In one picture of four, a patient who breathes or sways."""
    if rng.random() >= 0.25:
        return att
    axis, reach_mm = int(rng.integers(2)), rng.uniform(1, 1 + 4 * hardness)
    return ndimage.uniform_filter1d(att, max(1, round(reach_mm / canvas.spacing_mm[axis])), axis)


def _slow_part(att: np.ndarray) -> np.ndarray:
    rows, columns = att.shape
    slow = ndimage.zoom(ndimage.gaussian_filter(att[::8, ::8], (rows / 80, columns / 40)), 8, order=1)
    slow = np.pad(slow, ((0, max(0, rows - slow.shape[0])), (0, max(0, columns - slow.shape[1]))), mode="edge")
    return slow[:rows, :columns]


def _collimate(gray: np.ndarray, rng: np.random.Generator) -> None:
    """Blank strips at the left and right edge, black or white, up to 8 % of the width."""
    columns = gray.shape[1]
    value = rng.choice([0.0, 1.0])
    gray[:, : int(columns * rng.uniform(0, 0.08))] = value
    gray[:, columns - int(columns * rng.uniform(0, 0.08)) :] = value


def _mark_side(gray: np.ndarray, rng: np.random.Generator) -> None:
    """A lead letter L or R, one to two per cent of the height, in an upper or lower corner."""
    letter = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]], float)
    if rng.random() < 0.5:
        letter = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 1], [1, 0, 1]], float)
    rows, columns = gray.shape
    height = max(5, int(rows * rng.uniform(0.012, 0.03)))
    stamp = ndimage.zoom(letter, (height / 5, height * 0.7 / 3), order=0)
    r = int(rng.choice([rng.uniform(0.02, 0.12), rng.uniform(0.8, 0.95)]) * rows)
    c = int(rng.choice([rng.uniform(0.02, 0.15), rng.uniform(0.75, 0.9)]) * columns)
    part = gray[r : r + stamp.shape[0], c : c + stamp.shape[1]]
    np.maximum(part, stamp[: part.shape[0], : part.shape[1]], out=part)

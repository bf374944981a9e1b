"""Phantom frontal spine radiographs with known corners, for training, tests and sample data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from SpineMotionToolsLib.phantoms import radiograph_anatomy as anatomy
from SpineMotionToolsLib.phantoms.spine_shape import SpineShape

# The part of the body between the picture's top and bottom edge, in the AASCE radiographs about C6 to S2.
PICTURE_HEIGHT_MM = (430.0, 560.0)
METAL_SHARE, MARKER_SHARE, COLLIMATION_SHARE = 0.15, 0.35, 0.15


@dataclass(frozen=True)
class RadiographPhantom:
    """A made radiograph and its truth.

    `image` (rows, columns) uint8, bone bright. `corners_px` (68, 2): (row, column) of every corner, whole numbers at
    pixel centers.
    `pixel_spacing_mm`: (row, column); the two differ when the picture was made on a grid that does not keep its
    aspect.
    """

    image: np.ndarray
    corners_px: np.ndarray
    pixel_spacing_mm: tuple[float, float]


def radiograph_phantom(
    shape: SpineShape, seed: int, size: tuple[int, int] = (512, 256), implants: bool | None = None
) -> RadiographPhantom:
    """A radiograph of `shape` on a grid of `size` (rows, columns); everything but the corners follows from `seed`.

    A grid whose aspect is not the shape's squeezes the picture, as the networks' input does. `implants`: with screws
    and rods (None: in 15 % of the seeds).
    """
    rng = np.random.default_rng([seed, 17])
    height_mm = rng.uniform(*PICTURE_HEIGHT_MM)
    spacing_mm = (height_mm / size[0], height_mm * shape.aspect / size[1])
    canvas = anatomy.Canvas.empty(size, spacing_mm)
    spine = _spine(shape, height_mm, rng)
    bone = rng.uniform(0.5, 1.5)  # osteopenic to dense, thick to thin patient

    anatomy.add_trunk(canvas, spine, rng)
    anatomy.add_shoulders(canvas, spine, rng)
    anatomy.add_ribs(canvas, spine, rng)
    anatomy.add_neighbours(canvas, spine, bone, rng)
    visible = _visibility(rng)
    for level in range(17):
        strength = bone * visible[level] * rng.uniform(0.85, 1.15)
        anatomy.add_vertebra(canvas, spine, spine.corners[level], spine.rotation[level], level, strength, rng)
    if rng.random() < METAL_SHARE if implants is None else implants:
        anatomy.add_implants(canvas, spine, rng)
    return RadiographPhantom(_expose(canvas, rng), shape.corners_px(size), spacing_mm)


def _spine(shape: SpineShape, height_mm: float, rng: np.random.Generator) -> anatomy.Spine:
    """The shape in mm, with vertebrae turned towards the convex side, most where the spine is farthest from the
    midline.
    """
    corners = shape.corners.reshape(17, 4, 2) * height_mm
    centers = corners.mean(1)
    line = np.interp(centers[:, 0], centers[[0, -1], 0], centers[[0, -1], 1])
    bulge = ndimage.gaussian_filter1d(centers[:, 1] - line, 1.0)
    rotation = bulge / 60.0 * rng.uniform(0.3, 0.9) + rng.normal(0, 0.04, 17)
    return anatomy.Spine(corners, np.clip(rotation, -0.7, 0.7))


def _visibility(rng: np.random.Generator) -> np.ndarray:
    """(17,) how clearly each vertebra shows; in half of the pictures a stretch of the spine is hard to see."""
    visible = np.ones(17)
    if rng.random() < 0.5:
        middle, width = rng.choice([rng.uniform(-1, 4), rng.uniform(0, 17), rng.uniform(12, 17)]), rng.uniform(1.0, 3.0)
        visible -= rng.uniform(0.3, 0.75) * np.exp(-0.5 * ((np.arange(17) - middle) / width) ** 2)
    return visible


def _expose(canvas: anatomy.Canvas, rng: np.random.Generator) -> np.ndarray:
    """Attenuation -> 8-bit picture: scatter, blur, quantum noise, exposure, tone, collimation, marker."""
    rows, columns = canvas.attenuation.shape
    dy, dx = canvas.spacing_mm
    blur_mm = rng.uniform(0.25, 1.1)
    att = ndimage.gaussian_filter(canvas.attenuation, (blur_mm / dy, blur_mm / dx))
    coarse = _slow_noise(rng, att.shape, 8) * rng.uniform(0, 0.35) + _slow_noise(rng, att.shape, 30) * rng.uniform(
        0, 0.1
    )
    att += coarse
    if rng.random() < 0.5:  # equalized display: slow changes reduced, as most viewers and slot scanners do
        slow = ndimage.zoom(ndimage.gaussian_filter(att[::8, ::8], (rows / 80, columns / 40)), 8, order=1)
        slow = np.pad(slow, ((0, max(0, rows - slow.shape[0])), (0, max(0, columns - slow.shape[1]))), mode="edge")
        att = att - rng.uniform(0.3, 0.8) * slow[:rows, :columns]
    middle = np.median(att[:, columns // 4 : -columns // 4])
    # Fewer quanta behind more tissue: the noise grows with the square root of what is absorbed.
    grain = rng.uniform(0.01, 0.09) * np.exp(np.clip((att - middle) / 2, -1.5, 1.5))
    noise = rng.standard_normal(att.shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, 0.7) * 2.0
    att = att + grain * noise

    low, high = np.percentile(att, (rng.uniform(0, 6), rng.uniform(97.5, 99.9)))
    gray = np.clip((att - low) / max(high - low, 1e-3), 0, 1) ** rng.uniform(0.6, 1.6)
    gray = rng.uniform(0, 0.15) + gray * rng.uniform(0.65, 0.85)
    if rng.random() < COLLIMATION_SHARE:
        _collimate(gray, canvas, rng)
    if rng.random() < MARKER_SHARE:
        _mark_side(gray, rng)
    return np.rint(np.clip(gray, 0, 1) * 255).astype(np.uint8)


def _slow_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise of standard deviation about 1, `cells` bumps high."""
    small = rng.standard_normal((cells, max(2, cells // 2))).astype(np.float32)
    zoom = (shape[0] / small.shape[0], shape[1] / small.shape[1])
    return ndimage.zoom(small, zoom, order=1, grid_mode=True, mode="nearest")[: shape[0], : shape[1]]


def _collimate(gray: np.ndarray, canvas: anatomy.Canvas, rng: np.random.Generator) -> None:
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

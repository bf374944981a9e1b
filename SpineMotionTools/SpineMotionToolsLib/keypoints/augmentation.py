"""Random changes of a training picture and its corners, as in the published recipes but with left and right kept
true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.keypoints.anatomy import MIRRORED
from SpineMotionToolsLib.keypoints.preprocessing import resize_gray, to_network


@dataclass(frozen=True)
class Augmentation:
    """Each change happens with probability one half. `swap_on_flip` False repeats the published recipes' error."""

    rotation_deg: float = 15.0
    scale: tuple[float, float] = (0.9, 1.2)
    brightness: float = 0.2
    contrast: float = 0.2
    swap_on_flip: bool = True


def augmented(
    image: np.ndarray, corners: np.ndarray, grid: tuple[int, int], how: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, bool]:
    """(picture of size `grid`, corners on it, whether the geometry is untouched) from (rows, columns) uint8 and
    pixels.
    """
    untouched = True
    if rng.random() < 0.5:
        image, corners = rotated(image, corners, rng.uniform(-how.rotation_deg, how.rotation_deg))
        untouched = False
    if rng.random() < 0.5:
        image, corners = flipped(image, corners, how.swap_on_flip)
        untouched = False
    if rng.random() < 0.5:  # undone by the last resize: it only blurs
        factor = rng.uniform(*how.scale)
        smaller = tuple(max(1, round(n * factor)) for n in image.shape)
        corners = to_network(corners, image.shape, smaller)
        image = resize_gray(image, smaller)
    if rng.random() < 0.5:
        gain, offset = 1 + rng.uniform(-how.contrast, how.contrast), rng.uniform(-how.brightness, how.brightness)
        image = np.clip(image.astype(np.float32) * gain + 255 * offset, 0, 255).astype(np.uint8)
    return resize_gray(image, grid), to_network(corners, image.shape, grid), untouched


def flipped(image: np.ndarray, corners: np.ndarray, swap: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Mirrored left to right; with `swap`, left corners stay the picture's left ones."""
    corners = corners.copy()
    corners[:, 1] = image.shape[1] - 1 - corners[:, 1]
    return np.ascontiguousarray(image[:, ::-1]), corners[MIRRORED] if swap else corners


def rotated(image: np.ndarray, corners: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turned about its center and shrunk so that all of it stays in the picture; edges are repeated outside."""
    from scipy import ndimage

    rows, columns = image.shape
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    reach = np.abs(turn) @ (rows, columns)
    shrink = np.diag(np.divide((rows, columns), reach))
    forward = shrink @ turn
    inverse = np.linalg.inv(forward)
    middle = np.array([(rows - 1) / 2, (columns - 1) / 2])
    moved = ndimage.affine_transform(image, inverse, middle - inverse @ middle, order=1, mode="nearest")
    return moved, (corners - middle) @ forward.T + middle

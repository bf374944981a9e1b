"""From a gray picture to the networks' input, and points between the picture and the networks' grid.

Points are (row, column), zero based, whole numbers at pixel centers. The grid is 512 rows x 256 columns whatever the
picture's aspect. Points are scaled without the half-pixel term that the picture's resizing has: the published weights
were trained so.
"""

from __future__ import annotations

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.resampling import resize_linear

GRID = (512, 256)


def network_image(image: np.ndarray, grid: tuple[int, int] = GRID, reference: np.ndarray | None = None) -> np.ndarray:
    """(1, *grid) float32 in -1..1 from a gray picture (H, W) uint8.

    With `reference` (uint8, any size) the resized picture's histogram is matched to that picture's first.
    """
    resized = resize_gray(image, grid)
    if reference is not None:
        resized = match_histogram(resized, resize_gray(reference, grid))
    return (resized.astype(np.float32) / np.float32(255) * np.float32(2) - np.float32(1))[None]


def resize_gray(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A uint8 picture (H, W) resized to `size` as OpenCV does: bilinear, half-pixel centers, no antialiasing."""
    image = np.asarray(image)
    if image.ndim != 2 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(
            f"The picture has shape {image.shape} and type {image.dtype}; 8-bit gray (rows, columns) is needed. "
            "Read it with keypoints.inputs.read_radiograph."
        )
    return resize_linear(image, (size[1], size[0]))


def match_histogram(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`image` with its gray levels moved so that their cumulative histogram is that of `reference` (both uint8)."""
    levels, where, counts = np.unique(image.ravel(), return_inverse=True, return_counts=True)
    wanted, wanted_counts = np.unique(reference.ravel(), return_counts=True)
    quantiles, wanted_quantiles = np.cumsum(counts) / image.size, np.cumsum(wanted_counts) / reference.size
    moved = np.interp(quantiles, wanted_quantiles, wanted)
    return moved[where].reshape(image.shape).astype(np.uint8)


def to_network(points: np.ndarray, size: tuple[int, int], grid: tuple[int, int] = GRID) -> np.ndarray:
    """Picture points (..., 2) on the networks' grid, for a picture of `size` (rows, columns)."""
    return np.asarray(points) * np.divide(grid, size)


def to_picture(points: np.ndarray, size: tuple[int, int], grid: tuple[int, int] = GRID) -> np.ndarray:
    """Grid points (..., 2) in the picture of `size` (rows, columns)."""
    return np.asarray(points) * np.divide(size, grid)


def truncated_labels(normalized: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Label points (..., 2) given as shares of the picture's size, in whole pixels cut towards zero (int32).

    The published evaluation reads its labels so and loses up to one pixel.
    """
    return np.trunc(np.asarray(normalized, float) * np.asarray(size, float)).astype(np.int32)

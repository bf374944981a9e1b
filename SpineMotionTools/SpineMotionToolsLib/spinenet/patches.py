"""Slices cut into overlapping square patches of 26 cm, the detection network's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

from .resampling import resize_cubic

PATCH_EDGE_CM = 26.0
PATCH_OVERLAP = 0.4
PATCH_SIZE = (224, 224)
UPPER_PERCENTILE, LOWER_PERCENTILE = 99.5, 0.5


@dataclass(frozen=True)
class Window:
    """A patch's place in its slice, in the published notation: negative bounds count from the end of the axis.

    A window at the right or lower edge is written (-edge, -1): it lacks the scan's last column or row.
    """

    x1: int
    x2: int
    y1: int
    y2: int

    def bounds(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        """(x1, x2, y1, y2) counted from the start, for a slice of this size."""
        x1, x2 = (v + columns if v < 0 else v for v in (self.x1, self.x2))
        y1, y2 = (v + rows if v < 0 else v for v in (self.y1, self.y2))
        return x1, x2, y1, y2

    def cut(self, image: np.ndarray) -> np.ndarray:
        return image[self.y1 : self.y2, self.x1 : self.x2]


def split(
    shape: tuple[int, ...],
    pixel_spacing_mm: float,
    patch_edge_len: float = PATCH_EDGE_CM,
    overlap_param: float = PATCH_OVERLAP,
) -> list[Window]:
    """The windows of one slice of `shape` (rows, columns, ...), columns outermost; edge windows may repeat.

    `patch_edge_len` is in cm; with a spacing of -1 it is in pixels. Raises InputError when the pixels are so coarse
    that windows cannot be laid out.
    """
    rows, columns = shape[:2]
    edge = int(patch_edge_len) if pixel_spacing_mm == -1 else int(patch_edge_len * 10 / pixel_spacing_mm)
    if edge > min(rows, columns):
        edge = min(rows, columns) - 1
    step = int(edge * (1 - overlap_param))
    if step < 1:
        raise InputError(
            f"A slice of {rows} x {columns} pixels of {pixel_spacing_mm:g} mm is too coarse to look for vertebrae. "
            "Check the pixel spacing, or resample the scan to about 1 mm."
        )
    along_x = [_interval(i * step, edge, columns) for i in range(columns // step + 1)]
    along_y = [_interval(j * step, edge, rows) for j in range(rows // step + 1)]
    return [Window(*x, *y) for x in along_x for y in along_y]


def _interval(start: int, edge: int, size: int) -> tuple[int, int]:
    return (-edge, -1) if start + edge >= size else (start, start + edge)


def cut_patches(image: np.ndarray, windows: list[Window], patch_size: tuple[int, int] = PATCH_SIZE) -> np.ndarray:
    """The normalised patches of one slice (rows, columns): float32 (windows, *patch_size)."""
    return np.stack([cut_patch(image, window, patch_size) for window in windows])


def cut_patch(image: np.ndarray, window: Window, patch_size: tuple[int, int] = PATCH_SIZE) -> np.ndarray:
    """One window of a slice, resized and normalised: float32 of `patch_size`."""
    part = window.cut(image)
    resized = np.clip(resize_cubic(part, *patch_size), part.min(), part.max())
    return normalise_patch(resized).astype(np.float32)


def normalise_patch(
    patch: np.ndarray, upper_percentile: float = UPPER_PERCENTILE, lower_percentile: float = LOWER_PERCENTILE
) -> np.ndarray:
    """(patch - minimum) / (upper percentile - lower percentile); by the full range where the percentiles are equal.

    It is the minimum that is subtracted, not the lower percentile, and nothing is clipped: values may exceed 1.
    """
    upper, lower = np.percentile(patch, (upper_percentile, lower_percentile))
    shifted = patch - patch.min()
    if upper != lower:
        return shifted / (abs(upper - lower) + 1e-9)
    return shifted / (float(patch.max() - patch.min()) + 1e-9)

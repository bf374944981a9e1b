"""Vertebral bodies and discs as parts of a scan: outlines of slices filled into the voxels of any image of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from .results import Spine, Vertebra

UPPER_BACK, LOWER_BACK, LOWER_FRONT, UPPER_FRONT = range(4)


@dataclass(frozen=True)
class Part:
    """A body or a disc: its outlines (slices, 4, 2) in (column, row) of the scan that was read, in ascending slices."""

    name: str
    level: str
    is_disc: bool
    slices: np.ndarray
    outlines: np.ndarray


def parts_of(spine: Spine) -> list[Part]:
    """Bodies and the discs between neighbors, top to bottom."""
    disc_below = {disc.upper: disc for disc in spine.discs}
    parts = []
    for index, vertebra in enumerate(spine.vertebrae):
        slices, outlines = np.array(vertebra.slices), np.asarray(vertebra.corners_px)
        parts.append(Part(vertebra.label, vertebra.label, False, slices, outlines))
        disc = disc_below.get(index)
        if disc is not None and disc.neighbours:
            slices, outlines = _disc_outlines(vertebra, spine.vertebrae[disc.lower])
            if len(slices):
                parts.append(Part(f"{disc.level} disc", disc.level, True, slices, outlines))
    return parts


def _disc_outlines(upper: Vertebra, lower: Vertebra) -> tuple[np.ndarray, np.ndarray]:
    """A disc in the slices that show both of its bodies: the quadrilateral between their endplates."""
    shared = sorted(set(upper.slices) & set(lower.slices))
    above = upper.corners_px[[upper.slices.index(s) for s in shared]]
    below = lower.corners_px[[lower.slices.index(s) for s in shared]]
    corners = [above[:, LOWER_BACK], below[:, UPPER_BACK], below[:, UPPER_FRONT], above[:, LOWER_FRONT]]
    return np.array(shared), np.stack(corners, axis=1)


def label_image(
    parts: Sequence[Part], index_to_ras: np.ndarray, ijk_to_ras: np.ndarray, shape_kji: Sequence[int]
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Voxels of each part: uint8 (k, j, i) labels, part n as n + 1, in a box of the volume, and the box's first voxel.

    `index_to_ras` maps (column, row, slice) of the outlines to RAS mm, `ijk_to_ras` the volume's voxels. Between two
    slices an outline is interpolated, beyond the outer ones it reaches half a slice. Bodies lie over discs.
    """
    to_index = np.linalg.inv(index_to_ras) @ ijk_to_ras
    to_ijk = np.linalg.inv(to_index)
    boxes = [_box(part, to_ijk, shape_kji) for part in parts]
    boxes = [box for box in boxes if (box[1] > box[0]).all()] or [(np.zeros(3, int), np.ones(3, int))]
    first, end = np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)
    labels = np.zeros((end - first)[::-1], dtype=np.uint8)
    for number, part in enumerate(parts, start=1):
        low, high = _box(part, to_ijk, shape_kji)
        if (high <= low).any():
            continue
        k, j, i = np.meshgrid(*(np.arange(low[a], high[a]) for a in (2, 1, 0)), indexing="ij")
        column, row, depth = (line[0] * i + line[1] * j + line[2] * k + line[3] for line in to_index[:3])
        low, high = low - first, high - first
        box = labels[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
        inside = _inside(part, column, row, depth)
        box[inside & (box == 0) if part.is_disc else inside] = number
    return labels, tuple(int(n) for n in first)


def _box(part: Part, to_ijk: np.ndarray, shape_kji: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and end (i, j, k) of the box that holds a part, cut to the volume."""
    x, y = part.outlines.reshape(-1, 2).T
    ends = product((x.min(), x.max()), (y.min(), y.max()), (part.slices[0] - 0.5, part.slices[-1] + 0.5))
    corners = np.array([(*end, 1.0) for end in ends]) @ to_ijk[:3].T
    size = np.array(shape_kji)[::-1]
    low = np.clip(np.floor(corners.min(axis=0) + 1e-6), 0, size).astype(int)
    return low, np.clip(np.ceil(corners.max(axis=0) - 1e-6) + 1, 0, size).astype(int)


def _inside(part: Part, column: np.ndarray, row: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Whether points lie in a part: even-odd rule on the outline interpolated at each point's depth."""
    slices = part.slices.astype(float)
    reached = (depth >= slices[0] - 0.5) & (depth <= slices[-1] + 0.5)
    inside = np.zeros(column.shape, dtype=bool)
    x, y = (
        [np.interp(depth, slices, part.outlines[:, corner, axis]) for corner in range(4)] for axis in (0, 1)
    )  # constant beyond the outer slices
    for corner in range(4):
        ax, ay, bx, by = x[corner - 1], y[corner - 1], x[corner], y[corner]
        crosses = (ay > row) != (by > row)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (column < (bx - ax) * (row - ay) / (by - ay) + ax)
    return inside & reached

"""Where the limb lies in an uncropped scan. The published grades were made on scans cropped to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

Box: TypeAlias = "tuple[int, int, int, int]"
"""(x0, x1, y0, y1): first and one past the last column and row."""

_SAMPLED_SLICES = 9
_SAMPLED_PX = 384
_MARGIN = 0.03
_LEAST_SHARE = 0.005


def limb_box(read: Callable[[int, int], np.ndarray], shape_xyz: tuple[int, int, int]) -> Box:
    """Box around the limb in all slices, with a margin of 3 %; the whole slice when no limb stands out from air.

    Looks at nine slices at reduced resolution: air and tissue are parted by Otsu's threshold, thin structures such as
    the wall of the cast removed, and the largest connected piece taken.
    """
    from scipy import ndimage

    width, height, depth = shape_xyz
    step = max(1, -(-max(width, height) // _SAMPLED_PX))
    found: list[tuple[slice, slice]] = []
    for z in np.unique(np.linspace(0, depth - 1, _SAMPLED_SLICES).astype(int)).tolist():
        sample = np.nan_to_num(read(z, z + 1)[0, ::step, ::step].astype(np.float32))
        sample = ndimage.median_filter(sample, 3)
        tissue = sample > otsu_threshold(np.minimum(sample, np.percentile(sample, 99)))
        pieces, count = ndimage.label(ndimage.binary_opening(tissue, iterations=2))
        if count == 0:
            continue
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.max() >= _LEAST_SHARE * sample.size:
            found.append(ndimage.find_objects(pieces)[int(sizes.argmax())])
    if not found:
        return 0, width, 0, height
    y0, x0 = (min(piece[axis].start for piece in found) * step for axis in (0, 1))
    y1, x1 = (max(piece[axis].stop for piece in found) * step for axis in (0, 1))
    margin = int(np.ceil(_MARGIN * max(x1 - x0, y1 - y0))) + step
    return max(0, x0 - margin), min(width, x1 + margin), max(0, y0 - margin), min(height, y1 + margin)


def otsu_threshold(values: np.ndarray) -> float:
    """The value that parts the values into two groups with the least spread within (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centers[int(np.nanargmax(np.nan_to_num(between, nan=-1.0)))])

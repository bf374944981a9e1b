"""Other shapes of a spine for training: narrow discs, slips, and bodies that a fracture has flattened."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

KNOT_PX = 5
NARROW_SHARE, SLIP_SHARE, FRACTURE_SHARE = 0.3, 0.08, 0.1


def deformed(corners: np.ndarray, rng: np.random.Generator, slender: bool = False) -> np.ndarray:
    """Corners (n, 4, 2) of neighboring bodies, top to bottom, after made changes of shape; same order and frame.

    What lies above a change moves along. `slender`: all discs narrow, as in the thoracic spine.
    """
    corners = corners.copy()
    for lower in range(1, len(corners)):
        gap = (corners[lower, [0, 3]] - corners[lower - 1, [1, 2]]).mean(axis=0)
        across = corners[lower, 0] - corners[lower, 3]
        if slender:
            corners[:lower] += rng.uniform(0.3, 0.6) * gap
        elif rng.random() < NARROW_SHARE:
            corners[:lower] += rng.uniform(0.1, 0.85) * gap
        if rng.random() < SLIP_SHARE:
            corners[:lower] += rng.uniform(-0.3, 0.15) * across
    for body in range(len(corners)):
        if rng.random() < FRACTURE_SHARE:
            front = rng.uniform(0.1, 0.55)
            back = front * rng.uniform(0.0, 0.9)
            fall = np.stack(
                [
                    back * (corners[body, 1] - corners[body, 0]),
                    front * (corners[body, 2] - corners[body, 3]),
                ]
            )
            corners[body, [0, 3]] += fall
            corners[:body] += fall.mean(axis=0)
    return corners


def displacement(before: np.ndarray, after: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where a deformed picture takes its pixels from, relative to themselves: (2, rows, columns), (row, column).

    Exact to about half a pixel at the corners and edge middles of all bodies, a mean weighted by distance between.
    """
    start, end = (np.concatenate([c, (c + np.roll(c, -1, axis=1)) / 2], axis=1).reshape(-1, 2) for c in (before, after))
    size = [length // KNOT_PX + 2 for length in shape]
    rows, columns = (np.arange(n) * KNOT_PX for n in size)
    squared = (rows[:, None, None] - end[:, 1]) ** 2 + (columns[None, :, None] - end[:, 0]) ** 2
    weight = 1.0 / (squared + 1.0) ** 1.5
    shift = (weight @ (start - end)) / weight.sum(axis=-1, keepdims=True)
    down, across = (_linear(knots, length) for knots, length in zip(size, shape))
    return np.stack([down @ shift[..., axis] @ across.T for axis in (1, 0)])


@lru_cache(maxsize=16)
def _linear(knots: int, length: int) -> np.ndarray:
    """Linear interpolation between knots `KNOT_PX` apart, (length, knots)."""
    at = np.arange(length)[:, None] / KNOT_PX
    return np.maximum(0.0, 1.0 - np.abs(at - np.arange(knots)))

"""Decisions that rounding could tip: found here, so that they are made again in plain float32 (`inference.py`).

Faster arithmetic changes the networks' outputs by a small amount. Corners are whole pixels, vectors whole numbers and
grades classes, so as long as it changes them by no more than the bounds below, results are either exactly those of the
plain network or, where two values are that close, in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .heatmaps import components, highest, peaks, runners_up

HEAT_ROUNDING, VECTOR_ROUNDING = 1e-5, 2e-5
"""Largest difference between the fast and the plain detector, as a part of a map's largest value (1.3 and
1.2 times the largest seen in 60 patches with seeded weights)."""

LOGIT_ROUNDING = {"float32": 2e-5, "bfloat16": 4e-3}
"""Difference of two logits between fast and plain grading that is expected at most, as a part of the range of a disc's
logits. It depends on the weights, so discs that are decided again tell whether more must be expected."""

LOGIT_SAFETY = 4.0
"""Rounding to expect, as a multiple of the largest seen."""


def peaks_in_doubt(heat_map: np.ndarray, threshold: float) -> bool:
    """Whether rounding could move, add or remove a peak of this map."""
    rounding = HEAT_ROUNDING * float(np.abs(heat_map).max())
    if (np.abs(heat_map - threshold) <= rounding).any():
        low, high = peaks(heat_map, threshold - rounding), peaks(heat_map, threshold + rounding)
        if low.shape != high.shape or (low != high).any():
            return True
    owner, values, _ = components(heat_map, threshold)
    return bool((values[highest(owner, values)] - runners_up(owner, values) <= 2 * rounding).any())


def patches_in_doubt(maps: np.ndarray, threshold: float, truncated: bool) -> np.ndarray:
    """Patches (n,) of maps (n, 13, h, w) with a corner in doubt, or (where vectors are truncated) a vector."""
    return np.array([_patch_in_doubt(patch, threshold, truncated) for patch in maps], dtype=bool)


def _patch_in_doubt(patch: np.ndarray, threshold: float, truncated: bool) -> bool:
    for k in range(4):
        if patch[k].max() <= threshold * (1 - HEAT_ROUNDING):
            continue
        if peaks_in_doubt(patch[k], threshold):
            return True
        rows, columns = peaks(patch[k], threshold).T
        for channel in (5 + k, 9 + k) if truncated else ():
            values = patch[channel, rows, columns]
            whole = np.rint(values)
            rounding = VECTOR_ROUNDING * float(np.abs(patch[channel]).max())
            if ((np.abs(values - whole) <= rounding) & (whole != 0)).any():
                return True
    return False


def grades_in_doubt(logits: Sequence[np.ndarray], rounding: float) -> np.ndarray:
    """Discs (n,) for which the class of some head could change; `logits`: (n, classes) of each head."""
    ordered = [np.sort(of_head, axis=1) for of_head in logits]
    margins = np.min([o[:, -1] - o[:, -2] for o in ordered], axis=0)
    return margins <= rounding * _ranges(logits)


def rounding_to_expect(fast: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """From the logits of the same discs computed in two ways: what `grades_in_doubt` should allow for."""
    changes = np.max([np.ptp(e - f, axis=1) for f, e in zip(fast, exact)], axis=0)
    return LOGIT_SAFETY * float((changes / np.maximum(_ranges(exact), np.finfo(np.float32).tiny)).max())


def _ranges(logits: Sequence[np.ndarray]) -> np.ndarray:
    """The range of all logits of each disc (n,)."""
    return np.ptp(np.concatenate(logits, axis=1), axis=1)

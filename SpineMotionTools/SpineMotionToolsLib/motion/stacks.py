"""Stacks: the runs of consecutive slices that the scanner acquired in one sweep."""

from __future__ import annotations

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

DEFAULT_HEIGHT = 168  # slices an XtremeCT II acquires in one sweep; an XtremeCT I acquires 110
POLICIES = ("keep_last", "drop_last", "error")


def fit_height(height: int, depth: int) -> int:
    """The stack height used for a scan of `depth` slices: at least 1, at most the depth."""
    return max(1, min(int(height), depth))


def stack_ranges(depth: int, height: int = DEFAULT_HEIGHT, incomplete: str = "keep_last") -> np.ndarray:
    """First and one past the last slice of every stack, (S, 2) int64.

    A short last stack is kept (`keep_last`), left out (`drop_last`) or an InputError (`error`); when nothing remains
    there is one stack over the whole depth.
    """
    if incomplete not in POLICIES:
        raise InputError(f"The policy {incomplete!r} for an incomplete stack is not known. Use {', '.join(POLICIES)}.")
    if height < 1:
        raise InputError(f"A stack of {height} slices is not possible. Give the number of slices of one sweep (168).")
    if incomplete == "error" and depth % height:
        raise InputError(
            f"{depth} slices do not divide into stacks of {height}. "
            "Give the scan's true stack height, or choose to keep or drop the incomplete stack."
        )
    starts = np.arange(0, depth, height, dtype=np.int64)
    ranges = np.stack([starts, np.minimum(starts + height, depth)], axis=1)
    if incomplete == "drop_last":
        ranges = ranges[ranges[:, 1] - ranges[:, 0] == height]
    return ranges if len(ranges) else np.array([[0, depth]], dtype=np.int64)

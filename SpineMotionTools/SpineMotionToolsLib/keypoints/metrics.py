"""Errors of keypoints against labels, as both published systems report them. Points are (..., 68, 2) = (row,
column).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def radial_errors(predicted: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Euclidean distance (..., 68) of every keypoint, in the points' unit."""
    return np.linalg.norm(np.asarray(predicted) - np.asarray(label), axis=-1)


def mean_radial_error(predicted: np.ndarray, label: np.ndarray) -> float:
    """MRE: mean distance over the keypoints, then over images."""
    return float(radial_errors(predicted, label).mean(-1).mean())


def worst(predicted: np.ndarray, label: np.ndarray, count: int = 1) -> np.ndarray:
    """Indices of the `count` keypoints that are farthest off, the worst first (int64)."""
    return np.argsort(-radial_errors(predicted, label), kind="stable")[:count]


@dataclass(frozen=True)
class Errors:
    """Mean absolute coordinate error, root mean squared coordinate error, MRE, and share of keypoints nearer than
    t.
    """

    mae: float
    rmse: float
    mre: float
    sdr: dict[float, float]


def errors(predicted: np.ndarray, label: np.ndarray, thresholds: Sequence[float] = ()) -> Errors:
    """All errors at once; SDR(t) counts errors strictly below t."""
    gap = np.asarray(predicted) - np.asarray(label)
    radial = np.linalg.norm(gap, axis=-1)
    return Errors(
        float(np.abs(gap).mean()),
        float(np.sqrt((gap**2).mean())),
        float(radial.mean(-1).mean()),
        {threshold: float((radial < threshold).mean()) for threshold in thresholds},
    )


@dataclass(frozen=True)
class Clicks:
    """How many clicks images need to reach a target (NoC) and the percentage that never do (FR)."""

    noc_reached_only: float
    noc_failures_as_max: float
    failure_rate_percent: float


def number_of_clicks(reached_counts: Sequence[int], images: int) -> Clicks:
    """From reached_counts[k] = images that reached the target after at most k clicks.

    `noc_reached_only` leaves failures out, as the Project's published table does, which flatters methods that fail
    more; the usual definition counts a failure as the largest number of clicks.
    """
    counts = np.asarray(reached_counts, float)
    largest, final = len(counts) - 1, counts[-1]
    spent = float((final - counts[:-1]).sum())
    return Clicks(
        spent / final if final else float("nan"),
        (spent + largest * (images - final)) / images,
        100.0 * (images - final) / images,
    )


def correction_percent(before: float, after: float) -> float:
    """Relative correction by one hint: (MRE before - MRE after) / MRE before, in percent."""
    return (before - after) / before * 100.0 if before else 0.0

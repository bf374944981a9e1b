"""Points from the starter's maps and what is known of spines: the most probable spine given all maps and all hints.

Each map says where its corner is and how surely; the training spines say how corners lie together (mean and
covariance). Both are taken as normal distributions, so that the most probable spine is one linear solve. A given
corner counts as exactly known, and so pulls along every corner that the picture shows less surely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.keypoints.starter_network import MAP, STRIDE, TARGET_STD, WINDOW

ROUNDS = 3  # maps are read again around what the whole spine says
FLOOR_PX2 = 0.3  # no map is surer than this
TRUST = 0.5  # the maps' own variances are larger than their errors by about this factor
ASTRAY_PX = 30.0  # how far off a corner may be whose map has its weight elsewhere
GIVEN_PX2 = 0.05
REACH = 9  # cells around a place that its window looks at
_WINDOW_SHARE = 1 / (1 + TARGET_STD**2 / WINDOW**2)  # of a certain peak's weight inside the soft window


@dataclass(frozen=True)
class ShapePrior:
    """Mean (136,) and covariance (136, 136) of the 68 corners (row, column) in pixels of the grid."""

    mean: np.ndarray
    covariance: np.ndarray

    def most_probable(self, points: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(points (68, 2), their variance (68, 2)) of the most probable spine given measured ones of known
        variance.
        """
        gain = np.linalg.solve(self.covariance + np.diag(variance.ravel()), self.covariance).T
        found = self.mean + gain @ (points.ravel() - self.mean)
        left = np.diag(self.covariance) - (gain * self.covariance).sum(1)
        return found.reshape(68, 2), np.maximum(left, 1e-4).reshape(68, 2)


def decode_shape(
    probability: np.ndarray, prior: ShapePrior, given: Mapping[int, tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """(points (68, 2), standard deviations (68, 2)) in pixels of the grid from softmax maps (68, 128, 64) and given
    points.
    """
    peak = probability.reshape(68, -1).argmax(1)
    center = np.stack((peak // MAP[1], peak % MAP[1]), 1).astype(float)
    points, variance = _read(probability, center)
    for _ in range(ROUNDS):
        for keypoint, place in given.items():
            points[keypoint], variance[keypoint] = place, GIVEN_PX2
        found, left = prior.most_probable(points, variance)
        points, variance = _read(probability, found / STRIDE)
    return found, np.sqrt(left)


def _read(probability: np.ndarray, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(points, variances) in pixels of the grid of what the maps hold near `center` (68, 2) in cells."""
    steps = np.arange(-REACH, REACH + 1)
    for _ in range(2):
        first = np.rint(center).astype(int)
        rows, columns = first[:, :1] + steps, first[:, 1:] + steps
        near_r = np.exp(-0.5 * ((rows - center[:, :1]) / WINDOW) ** 2) * ((rows >= 0) & (rows < MAP[0]))
        near_c = np.exp(-0.5 * ((columns - center[:, 1:]) / WINDOW) ** 2) * ((columns >= 0) & (columns < MAP[1]))
        patch = probability[
            np.arange(len(center))[:, None, None],
            np.clip(rows, 0, MAP[0] - 1)[:, :, None],
            np.clip(columns, 0, MAP[1] - 1)[:, None, :],
        ]
        patch = patch * near_r[:, :, None] * near_c[:, None, :]
        by_row, by_column = patch.sum(2), patch.sum(1)
        mass = np.maximum(by_row.sum(1), 1e-12)
        center = np.stack(((by_row * rows).sum(1), (by_column * columns).sum(1)), 1) / mass[:, None]
    spread_r = (by_row * (rows - center[:, :1]) ** 2).sum(1) / mass
    spread_c = (by_column * (columns - center[:, 1:]) ** 2).sum(1) / mass
    windowed = np.stack((spread_r, spread_c), 1)
    # The window narrows a peak; a certain peak has the width it was taught.
    own = 1 / np.maximum(1 / np.maximum(windowed, 1e-6) - 1 / WINDOW**2, 1e-2) - TARGET_STD**2
    astray = np.clip(1 - mass / _WINDOW_SHARE, 0, 1)[:, None] * ASTRAY_PX
    return center * STRIDE, TRUST * (np.maximum(own * STRIDE**2, FLOOR_PX2) + astray**2)

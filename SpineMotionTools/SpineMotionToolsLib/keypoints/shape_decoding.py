"""Points from what the starter's networks see and what is known of spines: the most probable spine given everything.

A measurement says where each corner is, how surely, and which corners err together; the training spines say how
corners lie together (mean and covariance). Both are taken as normal distributions, so that the most probable spine is
one linear solve. A given corner then counts as exactly known and pulls along every corner whose remaining error goes
with its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.keypoints.starter_locator import MAP, STRIDE, TARGET_STD, WINDOW

Given = Mapping[int, tuple[float, float]]
ROUNDS = 3  # maps are read again around what the whole spine says
FLOOR_PX2 = 1.0  # no map of the locator is surer than this
ASTRAY_PX = 30.0  # how far off a corner may be whose map has its weight elsewhere
GIVEN_PX2 = 0.05
REACH = 5  # cells around a place that its window looks at
_WINDOW_SHARE = 1 / (1 + TARGET_STD**2 / WINDOW**2)  # of a certain peak's weight inside the soft window


@dataclass(frozen=True)
class Spine:
    """Points (68, 2) in pixels of the grid and the covariance (136, 136) of their errors."""

    points: np.ndarray
    covariance: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """(68, 2) standard deviations."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 1e-4)).reshape(68, 2)

    def with_given(self, given: Given) -> Spine:
        """The most probable spine that goes through the given points."""
        if not given:
            return self
        known = np.array([[2 * k, 2 * k + 1] for k in given]).ravel()
        step = np.array(list(given.values()), float).ravel() - self.points.ravel()[known]
        between = self.covariance[known]
        gain = np.linalg.solve(between[:, known] + GIVEN_PX2 * np.eye(len(known)), between).T
        moved = self.points + (gain @ step).reshape(68, 2)
        return Spine(moved, self.covariance - gain @ between)


@dataclass(frozen=True)
class ShapePrior:
    """Mean (136,) and covariance (136, 136) of the 68 corners (row, column) in pixels of the grid."""

    mean: np.ndarray
    covariance: np.ndarray

    def most_probable(self, measured: Spine) -> Spine:
        """The most probable spine given a measured one."""
        gain = np.linalg.solve(self.covariance + measured.covariance, self.covariance).T
        points = self.mean + gain @ (measured.points.ravel() - self.mean)
        left = self.covariance - gain @ self.covariance
        return Spine(points.reshape(68, 2), (left + left.T) / 2)


def decode_shape(probability: np.ndarray, prior: ShapePrior, given: Given) -> Spine:
    """The most probable spine from the locator's softmax maps (68, 64, 32) and given points."""
    peak = probability.reshape(68, -1).argmax(1)
    center = np.stack((peak // MAP[1], peak % MAP[1]), 1).astype(float)
    points, variance = read_maps(probability, center)
    for _ in range(ROUNDS):
        spine = prior.most_probable(Spine(points, np.diag(variance.ravel()))).with_given(given)
        points, variance = read_maps(probability, spine.points / STRIDE)
    return spine


def read_maps(probability: np.ndarray, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    return center * STRIDE, np.maximum(own * STRIDE**2, FLOOR_PX2) + astray**2


def share_near(probability: np.ndarray, points: np.ndarray, window: float = WINDOW) -> np.ndarray:
    """(..., 68) how much of each of the locator's maps lies near its point (..., 68, 2), 1 for a map that is certain of
    it.
    """
    rows, columns = (
        np.exp(-0.5 * ((np.arange(MAP[axis]) - points[..., axis, None] / STRIDE) / window) ** 2) for axis in (0, 1)
    )
    near = ((rows[..., None, :] @ probability)[..., 0, :] * columns).sum(-1)
    return np.clip(near * (1 + TARGET_STD**2 / window**2), 0, 1)


def error_covariance(axes: np.ndarray, deviation: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """(136, 136) covariance in pixels of the grid of corners with local standard deviations (17, 4, 2) in vertebrae
    with `axes` (17, 2, 2), whose standardized errors have these `moments` (136, 136).
    """
    scale = (axes[:, None] * deviation[:, :, None, :]).reshape(68, 2, 2)
    whole = np.einsum("kia,kalb,ljb->kilj", scale, moments.reshape(68, 2, 68, 2), scale, optimize=True)
    return whole.reshape(136, 136)

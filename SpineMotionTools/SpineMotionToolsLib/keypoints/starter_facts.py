"""What the starter knows besides its weights: where corners lie together, and how the refiner errs on phantoms."""

from __future__ import annotations

import numpy as np
import torch

from SpineMotionToolsLib.keypoints.anatomy import MIRRORED
from SpineMotionToolsLib.keypoints.preprocessing import GRID, network_image
from SpineMotionToolsLib.keypoints.starter_network import COORDINATES, StarterNetwork

LARGEST_ERROR = 4.0  # in stated standard deviations; a few corners that are astray do not make all others doubtful
SHARE, DEVIATIONS = 0.8, 1.2816  # of the errors within so many stated deviations: as of normal ones
OWN_SHARE = 0.05  # of what is seen of common errors that is taken for chance
SLIPPED = 0.5  # of the way to the next vertebra: farther off, a vertebra counts as taken for its neighbor


def learn_shape(network: StarterNetwork, corners: np.ndarray) -> None:
    """Keep the mean and covariance of the training corners (n, 68, 2), and of their mirror images, in the network."""
    mirrored = corners[:, MIRRORED].copy()
    mirrored[..., 1] = GRID[1] - 1 - mirrored[..., 1]
    points = np.concatenate((corners, mirrored)).reshape(-1, COORDINATES).astype(np.float64)
    network.shape_mean.copy_(torch.from_numpy(points.mean(0)))
    network.shape_covariance.copy_(torch.from_numpy(np.cov(points.T)))


def learn_errors(network: StarterNetwork, images: np.ndarray, corners: np.ndarray) -> None:
    """Keep in the network how the refiner errs: the mean products of its standardized errors, and of their mirror
    images, and by how much the spread of the most probable spines falls short.

    Phantoms with vertebrae taken for their neighbors do not count among the errors: the locator's maps tell how likely
    that is. The phantoms (n, 512, 256) with corners (n, 68, 2) must be others than those it was trained on.
    """
    from SpineMotionToolsLib.keypoints.starter_prediction import StarterPredictor
    from SpineMotionToolsLib.keypoints.weights import STARTER, LoadedNetwork

    predictor = StarterPredictor(LoadedNetwork(network, STARTER, "", "", True))
    looks, other_levels, counted = [], [], []
    for image, truth in zip(images, corners):
        predictor.set_image(network_image(image))
        first = predictor.first
        looks.append(first.looks)
        other_levels.append(first.levels.variance)
        counted.append(not slipped(first.spine.points, truth).any())
    errors = np.array([seen.standardized_errors(truth.reshape(17, 4, 2)) for seen, truth in zip(looks, corners)])
    errors = np.clip(errors[counted], -LARGEST_ERROR, LARGEST_ERROR).reshape(-1, 68, 2)
    both = np.concatenate((errors, errors[:, MIRRORED] * (1, -1))).reshape(-1, COORDINATES)
    moments = both.T @ both / len(both) if len(both) else np.eye(COORDINATES)
    moments = (1 - OWN_SHARE) * moments + OWN_SHARE * np.diag(np.diag(moments))
    spines = [seen.most_probable(predictor.prior, moments) for seen in looks]
    network.error_moments.copy_(torch.from_numpy(moments))
    network.spread_scale.fill_(_spread_scale(spines, other_levels, corners))


def slipped(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(17,) which vertebrae of (68, 2) points are nearer to a neighbor's true place than to their own."""
    found, true = (corners.reshape(17, 4, 2).mean(1) for corners in (points, truth))
    step = np.linalg.norm(np.diff(true, axis=0), axis=1)
    return np.linalg.norm(found - true, axis=1) > SLIPPED * np.minimum(np.append(step, np.inf), np.append(np.inf, step))


def _spread_scale(spines: list, other_levels: list[np.ndarray], corners: np.ndarray) -> float:
    """What the spines' deviations must be multiplied with so that the errors keep to `SHARE`."""
    error = np.abs([spine.points - truth for spine, truth in zip(spines, corners)])
    own, other = np.array([spine.spread**2 for spine in spines]), np.array(other_levels)
    scales = np.geomspace(0.3, 10, 200)
    within = [np.mean(error <= DEVIATIONS * np.sqrt(scale**2 * own + other)) for scale in scales]
    return float(scales[np.searchsorted(within, SHARE).clip(max=len(scales) - 1)])

"""What the starter knows besides its weights: where corners lie together, and how the refiner errs on phantoms."""

from __future__ import annotations

import numpy as np
import torch

from SpineMotionToolsLib.keypoints.anatomy import MIRRORED
from SpineMotionToolsLib.keypoints.preprocessing import GRID, network_image
from SpineMotionToolsLib.keypoints.starter_network import COORDINATES, StarterNetwork

LARGEST_ERROR = 4.0  # in stated standard deviations; a few corners that are astray do not make all others doubtful
WITHIN_ONE_DEVIATION = 0.6827  # share of errors
OWN_SHARE = 0.05  # of what is seen of common errors that is taken for chance


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

    The phantoms (n, 512, 256) with corners (n, 68, 2) must be others than those it was trained on.
    """
    from SpineMotionToolsLib.keypoints.starter_prediction import StarterPredictor
    from SpineMotionToolsLib.keypoints.weights import STARTER, LoadedNetwork

    predictor = StarterPredictor(LoadedNetwork(network, STARTER, "", "", True))
    looks = []
    for image in images:
        predictor.set_image(network_image(image))
        looks.append(predictor.looks)
    errors = np.array([seen.standardized_errors(truth.reshape(17, 4, 2)) for seen, truth in zip(looks, corners)])
    errors = np.clip(errors, -LARGEST_ERROR, LARGEST_ERROR).reshape(-1, 68, 2)
    both = np.concatenate((errors, errors[:, MIRRORED] * (1, -1))).reshape(-1, COORDINATES)
    moments = both.T @ both / len(both)
    moments = (1 - OWN_SHARE) * moments + OWN_SHARE * np.diag(np.diag(moments))
    spines = [seen.most_probable(predictor.prior, moments) for seen in looks]
    ratios = [np.abs(spine.points - truth) / spine.spread for spine, truth in zip(spines, corners)]
    network.error_moments.copy_(torch.from_numpy(moments))
    network.spread_scale.fill_(float(np.quantile(ratios, WITHIN_ONE_DEVIATION)))

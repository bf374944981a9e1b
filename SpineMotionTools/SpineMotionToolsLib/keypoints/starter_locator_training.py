"""Training of the starter's locator by the published "v2" recipe of interaction.

Random corners are given before the first prediction, then up to two rounds predict, feed the maps back and give the
worst corner, then one step is learned. Three things differ. Left-right flips exchange the labels. A channel is learned
as a probability over places (softmax), not as thousands of yes-or-no questions, which needs far fewer steps. And one
step in five learns the first prediction, without any hint, instead of one in fifteen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from SpineMotionToolsLib.keypoints import starter_course
from SpineMotionToolsLib.keypoints.hint_sampling import PROJECT_HINT_PROBABILITIES
from SpineMotionToolsLib.keypoints.starter_locator import (
    GRID,
    HINT_STD,
    MAP,
    STRIDE,
    TARGET_STD,
    Locator,
    decode_points,
    feedback,
    windowed_mean,
)

# The published shares of 1 to 10 hints, with more pictures without any; and of 0, 1 or 2 rounds before the learning
# step.
HINT_PROBABILITIES = np.append(0.4, 0.6 * PROJECT_HINT_PROBABILITIES[1:] / PROJECT_HINT_PROBABILITIES[1:].sum())
ROUND_PROBABILITIES = (0.5, 0.25, 0.25)
GUIDE_STD, GUIDE_SHARE = 0.8, 0.3  # of the map at a sixteenth that guides the training

Batches = Callable[[np.random.Generator], tuple[Tensor, Tensor]]


def train_locator(batches: Batches, work: Path, steps: int, peak_rate: float = 2.5e-3, seed: int = 0) -> Locator:
    """Train in the folder `work` on `batches` of pictures (B, 1, 512, 256) in -1..1 with corners (B, 68, 2)."""
    torch.manual_seed(seed)
    network = Locator().to(memory_format=torch.channels_last)
    both = nn.ModuleDict({"locator": network, "guide": nn.Conv2d(96, 68, 1)})

    def losses(rng: np.random.Generator) -> tuple[Tensor, list[Tensor]]:
        picture, truth = batches(rng)
        hints = Simulation(truth, rng)
        with torch.autocast("cpu", torch.bfloat16):
            network.train()
            features = network.encode(picture.to(memory_format=torch.channels_last))
            previous = simulate(network, features.detach(), hints)
            network.train()
            logits, coarse = network.decode(features, hints.maps, previous)
            guide = both["guide"](coarse)
        parts = [
            location_loss(logits, truth, TARGET_STD),
            offset_loss(logits, truth),
            location_loss(guide, truth, GUIDE_STD),
        ]
        return parts[0] + parts[1] + GUIDE_SHARE * parts[2], parts

    trained = starter_course.run("locator", both, losses, work, steps, peak_rate, warm_up=200, seed=(seed, 1))
    return trained["locator"]


def simulate(network: Locator, features: Tensor, hints: Simulation) -> Tensor:
    """Give hints before and between up to two rounds, and return the maps (B, 68, *MAP) of the last round."""
    hints.give_random(hints.rng.choice(11, len(features), p=HINT_PROBABILITIES))
    previous = torch.zeros_like(hints.maps)
    network.eval()
    with torch.no_grad():
        for _ in range(hints.rng.choice(3, p=ROUND_PROBABILITIES)):
            logits = network.decode(features, hints.maps, previous)[0].float()
            previous = feedback(logits)
            hints.give_worst(decode_points(logits))
    return previous


def gaussians(points: Tensor, std: float) -> Tensor:
    """Unit-height Gaussians (B, K, *MAP) at points (B, K, 2) given in pixels of the grid."""
    profiles = []
    for axis in (0, 1):
        places = torch.arange(MAP[axis], dtype=points.dtype)
        profiles.append(torch.exp(-0.5 * ((places - points[..., axis, None] / STRIDE) / std) ** 2))
    return profiles[0][..., :, None] * profiles[1][..., None, :]


def location_loss(logits: Tensor, points: Tensor, std: float) -> Tensor:
    """Cross-entropy between the softmax over places and a Gaussian at the truth; corners outside the picture do not
    count.
    """
    rows, columns = logits.shape[2:]
    cell = GRID[0] / rows
    profiles = []
    for axis, n in ((0, rows), (1, columns)):
        profile = torch.exp(-0.5 * ((torch.arange(n, dtype=torch.float32) - points[..., axis, None] / cell) / std) ** 2)
        profiles.append(profile / profile.sum(-1, keepdim=True).clamp(min=1e-6))
    inside = ((points > 0) & (points < torch.tensor(GRID))).all(-1).float()
    logits = logits.float()
    agreement = ((logits @ profiles[1][..., None])[..., 0] * profiles[0]).sum(-1)
    return ((torch.logsumexp(logits.flatten(2), -1) - agreement) * inside).sum() / inside.sum()


def offset_loss(logits: Tensor, points: Tensor) -> Tensor:
    """Mean distance (cells) between the truth and the mean of the softmax within a soft window around the truth."""
    flat = logits.flatten(2).float()
    weight = torch.exp(flat - flat.detach().amax(-1, keepdim=True)).view(logits.shape)
    truth = points / STRIDE
    mean, _ = windowed_mean(weight, truth)
    inside = ((points > 0) & (points < torch.tensor(GRID))).all(-1).float()
    return ((mean - truth).abs().sum(-1) * inside).sum() / inside.sum()


class Simulation:
    """Hints of one batch: which corners were given, and the maps the network sees."""

    def __init__(self, corners: Tensor, rng: np.random.Generator):
        self.corners, self.rng = corners, rng
        self.given = torch.zeros(corners.shape[:2], dtype=torch.bool)
        self.maps = torch.zeros(*corners.shape[:2], *MAP)

    def give(self, sample: int, keypoint: int) -> None:
        place = self.corners[sample, keypoint] + torch.from_numpy(self.rng.normal(0, 0.4, 2)).float()
        self.given[sample, keypoint] = True
        self.maps[sample, keypoint] = gaussians(place[None, None], HINT_STD)[0, 0]

    def give_random(self, counts: np.ndarray) -> None:
        for sample, count in enumerate(counts):
            for keypoint in self.rng.choice(68, int(count), replace=False):
                self.give(sample, int(keypoint))

    def give_worst(self, points: Tensor) -> None:
        """One hint a sample at the corner whose prediction is farthest off and that was not given yet."""
        error = (points - self.corners).norm(dim=-1).masked_fill(self.given, -1)
        for sample, keypoint in enumerate(error.argmax(1).tolist()):
            self.give(sample, keypoint)

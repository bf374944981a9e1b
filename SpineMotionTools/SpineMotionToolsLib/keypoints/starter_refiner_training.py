"""Training of the starter's refiner: patches around the true vertebrae, misplaced as the locator misplaces them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from SpineMotionToolsLib.keypoints import starter_course
from SpineMotionToolsLib.keypoints import starter_refiner as refiner
from SpineMotionToolsLib.keypoints.starter_locator import GRID
from SpineMotionToolsLib.keypoints.starter_locator_training import Batches

# How far off a vertebra is looked for, in half heights and half widths: its place, and its corners' places.
PLACE_ERROR = (0.4, 0.14)
TILT_ERROR, SIZE_ERROR, CORNER_ERROR = 0.25, (0.10, 0.06), (0.10, 0.05)
WEIGHTS = (3.0, 0.5, 0.3)  # of distance, surprise and place in the loss
PEAK_STD = (0.16, 0.08)  # of the maps that guide the corners


def misplaced(vertebrae: Tensor, rng: np.random.Generator) -> Tensor:
    """Vertebrae (B, 17, 4, 2) as they might be known before refining; a picture's errors are alike in size."""
    batch = len(vertebrae)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((batch, 17, *shape))).float()

    scale = torch.from_numpy(np.exp(rng.normal(-0.6, 0.6, (batch, 1, 1, 1)))).float()
    centers, axes = refiner.frames(vertebrae)
    local = refiner.to_local(vertebrae, centers, axes)
    local = local * (1 + normal(1, 2) * torch.tensor(SIZE_ERROR) * scale)
    tilt = normal(1) * TILT_ERROR
    local = local + scale * normal(4, 2) * torch.tensor(CORNER_ERROR)
    local = local + scale * normal(1, 2) * torch.tensor(PLACE_ERROR)
    local[..., 0] += scale[..., 0] * tilt * torch.tensor([-1.0, 1.0, -1.0, 1.0])
    return refiner.to_grid(local, centers, axes)


def parts_of_loss(found: tuple[Tensor, Tensor, Tensor], truth: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(mean distance, surprise at the error given the stated deviation, cross-entropy of the maps) of corners that are
    inside the picture.
    """
    corners, doubt, logits = found
    weight = inside[..., None] / inside.sum().clamp(min=1)
    error = corners - truth
    distance = (error.abs() * weight).sum()
    surprise = ((0.5 * (error * torch.exp(-doubt)).clamp(-8, 8) ** 2 + doubt) * weight).sum()
    profiles = []
    for axis in (0, 1):
        cells = refiner.cells(refiner.MAP[axis], refiner.REACH[axis])
        profile = torch.exp(-0.5 * ((cells - truth[..., axis, None]) / PEAK_STD[axis]) ** 2) + 1e-9
        profiles.append(profile / profile.sum(-1, keepdim=True))
    agreement = ((logits @ profiles[1][..., None])[..., 0] * profiles[0]).sum(-1)
    place = ((torch.logsumexp(logits.flatten(2), -1) - agreement) * weight[..., 0]).sum()
    return distance, surprise, place


def train_refiner(batches: Batches, work: Path, steps: int, peak_rate: float = 3e-3, seed: int = 0) -> refiner.Refiner:
    """Train in the folder `work` on `batches` of pictures (B, 1, 512, 256) in -1..1 with corners (B, 68, 2)."""
    torch.manual_seed(seed)
    network = refiner.Refiner().to(memory_format=torch.channels_last)

    def losses(rng: np.random.Generator) -> tuple[Tensor, list[Tensor]]:
        picture, points = batches(rng)
        truth = points.unflatten(1, (refiner.LEVELS, refiner.CORNERS))
        centers, axes = refiner.frames(misplaced(truth, rng))
        patches = refiner.cut(picture, centers, axes).to(memory_format=torch.channels_last)
        target = refiner.to_local(truth, centers, axes)
        inside = ((truth > 0) & (truth < torch.tensor(GRID))).all(-1)
        inside &= (target.abs() < torch.tensor(refiner.REACH)).all(-1)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(patches, torch.arange(refiner.LEVELS).repeat(len(picture)))
        parts = parts_of_loss(found, target.flatten(0, 1), inside.flatten(0, 1).float())
        return sum(weight * part for weight, part in zip(WEIGHTS, parts)), list(parts)

    return starter_course.run("refiner", network, losses, work, steps, peak_rate, warm_up=100, seed=(seed, 2))

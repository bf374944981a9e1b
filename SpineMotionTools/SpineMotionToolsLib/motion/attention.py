"""Grad-CAM of an ensemble: which parts of a slice raise the score of a grade (Selvaraju et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from SpineMotionToolsLib.common.engine import ResolvedEngine
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.motion.ensemble import to_input
from SpineMotionToolsLib.motion.members import Ensemble
from SpineMotionToolsLib.motion.networks import CLASSES, INPUT_PX, MotionNet
from SpineMotionToolsLib.motion.results import MotionResult
from SpineMotionToolsLib.motion.slices import square_pads

MODES = ("published", "per-slice")
_LITTLE = 1e-8


def attention_volume(
    volume: np.ndarray,
    images: Iterable[np.ndarray],
    indices: np.ndarray,
    ensemble: Ensemble,
    engine: ResolvedEngine,
    result: MotionResult | None = None,
    mode: str = "published",
    target_grade: int | None = None,
    progress: Progress = no_progress,
) -> None:
    """Fill `volume` (X, Y, Z), zeros, with the attention 0..1 of the prepared slices (1, 512, 512) `indices`.

    For the other arguments see `pipeline.explain`.
    """
    nets = [MotionNet.from_tensors(member.tensors).to(engine.device) for member in ensemble.members]
    width, height, _ = volume.shape
    size, top, _, left, _ = square_pads(width, height)
    with torch.inference_mode():
        for done, (z, image) in enumerate(zip(indices.tolist(), images)):
            x = to_input(image).to(engine.device)
            target = (target_grade or result.grade if mode == "published" else int(result.slice_grades[z])) - 1
            target = min(max(target, 0), CLASSES - 1)
            if mode == "published":
                maps = [scaled(upsampled(grad_cam(net, x, target))) for net in nets]
            else:
                voted = result.member_grades[:, z] == result.slice_grades[z]
                maps = [upsampled(grad_cam(net, x, target, of="logit")) for net, vote in zip(nets, voted) if vote]
            square = upsampled(torch.stack(maps).mean(dim=0), size)
            volume[:, :, z] = square[0, 0, top : top + width, left : left + height].cpu().numpy()
            progress(done + 1, len(indices), f"slice {z + 1}")
    highest = volume.max()
    if highest > 0:
        volume /= highest


def grad_cam(net: MotionNet, x: Tensor, target: int, of: str = "probability") -> Tensor:
    """Map (N, 1, 28, 28) of one member for one class, from the gradient of its probability or its logit.

    The features reach the head only through their spatial mean, so the gradient has a closed form: no backward pass.
    """
    features = net.features(x)
    hidden = net.fc1(features.mean(dim=(2, 3)))
    logits = net.fc2(F.relu(hidden))
    direction = torch.zeros_like(logits)
    direction[:, target] = 1
    if of == "probability":
        probabilities = logits.softmax(dim=1)
        direction = probabilities[:, target, None] * (direction - probabilities)
    gradient = ((direction @ net.fc2.weight) * (hidden > 0)) @ net.fc1.weight
    weights = gradient / features[0, 0].numel()
    return F.relu((weights[:, :, None, None] * features).sum(dim=1, keepdim=True))


def upsampled(maps: Tensor, size: int = INPUT_PX) -> Tensor:
    """Maps (N, 1, h, w) at size x size, bilinear between pixel centres."""
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def scaled(maps: Tensor) -> Tensor:
    """Each map divided by its own maximum; an empty one stays zero."""
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(highest > 0, maps / (highest + _LITTLE), torch.zeros_like(maps))

"""Grad-CAM of an ensemble: which parts of a slice raise the score of a grade (Selvaraju et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from SpineMotionToolsLib.common.engine import ResolvedEngine
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.motion.members import Ensemble
from SpineMotionToolsLib.motion.networks import CLASSES, INPUT_PX, FastMember, fold
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
    members = [FastMember(member.tensors, engine.device, torch.float32) for member in ensemble.members]
    width, height, _ = volume.shape
    size, top, _, left, _ = square_pads(width, height)
    with torch.inference_mode():
        for done, (z, image) in enumerate(zip(indices.tolist(), images)):
            folded = fold(torch.from_numpy(image).to(engine.device).float())
            if mode == "published":
                target = min(max(target_grade or result.grade, 1), CLASSES) - 1
                maps = [scaled(upsampled(grad_cam(member, folded, target))) for member in members]
                mean = torch.stack(maps).mean(dim=0)
            else:
                target = int(result.slice_grades[z]) - 1
                voted = result.member_grades[:, z] == result.slice_grades[z]
                maps = [grad_cam(member, folded, target, "logit") for member, vote in zip(members, voted) if vote]
                mean = upsampled(torch.stack(maps).mean(dim=0))
            square = upsampled(mean, size)[0, 0]
            volume[:, :, z] = square[top : top + width, left : left + height].cpu().numpy()
            progress(done + 1, len(indices), f"slice {z + 1}")
    highest = volume.max()
    if highest > 0:
        volume /= highest


def grad_cam(member: FastMember, folded: Tensor, target: int, of: str = "probability") -> Tensor:
    """Map (N, 1, 28, 28) of one member for one class, from the gradient of its probability or its logit.

    The features reach the head only through their spatial mean, so the gradient has a closed form: no backward pass.
    """
    features = member.features(folded)
    hidden, logits = member.head(features.mean(dim=(2, 3)))
    direction = torch.zeros_like(logits)
    direction[:, target] = 1
    if of == "probability":
        probabilities = logits.softmax(dim=1)
        direction = probabilities[:, target, None] * (direction - probabilities)
    weight1, _, weight2, _ = member.dense
    weights = ((direction @ weight2) * (hidden > 0)) @ weight1 / features[0, 0].numel()
    return F.relu((weights[:, :, None, None] * features).sum(dim=1, keepdim=True))


def upsampled(maps: Tensor, size: int = INPUT_PX) -> Tensor:
    """Maps (N, 1, h, w) at size x size, bilinear between pixel centres."""
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def scaled(maps: Tensor) -> Tensor:
    """Each map divided by its own maximum; an empty one stays zero."""
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(highest > 0, maps / (highest + _LITTLE), torch.zeros_like(maps))

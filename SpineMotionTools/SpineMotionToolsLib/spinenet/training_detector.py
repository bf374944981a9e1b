"""Training of the starter vertebra detector on real lumbar scans; run through `starter_training.py`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch

from SpineMotionToolsLib.spinenet.small_networks import VECTOR_SCALE, SmallDetector
from SpineMotionToolsLib.spinenet.training_patches import PatchSampler
from SpineMotionToolsLib.spinenet.training_scans import Subject

FOLDS = 4
BATCH = 8
PEAK_LEARNING_RATE = 4e-3
CHECKPOINT_EVERY = 50
THRESHOLDS = {"corner": 0.3, "centroid": 0.3}
"""The starter's own: its peaks are lower than the published network's, because the L1 loss shrinks unsure ones."""
HEAT_FLOOR = 0.01  # targets above this count as "near a landmark"


def fold_of(number: int) -> int:
    """The cross-validation fold in which the n-th subject is tested."""
    return number % FOLDS


def split(subjects: list[Subject], fold: int | None) -> tuple[list[Subject], list[Subject]]:
    """(training, test) subjects of a fold; with None all are for training."""
    if fold is None:
        return subjects, []
    training = [subject for number, subject in enumerate(subjects) if fold_of(number) != fold]
    return training, [subject for number, subject in enumerate(subjects) if fold_of(number) == fold]


def heat_loss(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted L1 on the five heat maps: pixels near a landmark and the background count alike, map by map.

    `output`, `target` (n, 5, h, w), `weight` (n, h, w) zero where nobody labelled.
    """
    weight = weight[:, None]
    near = (target > HEAT_FLOOR).float() * weight
    far = weight - near
    error = (output - target).abs()
    count = near.sum(dim=(0, 2, 3)).clamp(min=1)
    share = near.sum(dim=(0, 2, 3)) / weight.sum(dim=(0, 2, 3)).clamp(min=1)
    per_map = (error * near).sum(dim=(0, 2, 3)) * (1 - share) + (error * far).sum(dim=(0, 2, 3)) * share
    return (per_map / count).sum()


def vector_loss(output: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the vectors near corners, in tens of pixels. `output` (n, 8, h, w), `mask` (n, 4, h, w)."""
    mask = mask.float().repeat(1, 2, 1, 1)
    return (((output - target) / VECTOR_SCALE) ** 2 * mask).sum() / mask.sum().clamp(min=1)


def train_detector(
    subjects: list[Subject], fold: int | None, folder: Path, steps: int = 700, seed: int = 7, log=print
) -> Path:
    """Train one detector (all subjects but the fold's, or all) and write its weights; resumes from its checkpoint.

    Returns the path of the `.safetensors` file. The loss curve lies beside it as JSON lines.
    """
    from SpineMotionToolsLib.common.weights import write_safetensors

    name = "detector" if fold is None else f"detector-fold{fold}"
    weights, checkpoint = folder / f"{name}.safetensors", folder / f"{name}.checkpoint.pt"
    if weights.exists():
        return weights
    folder.mkdir(parents=True, exist_ok=True)
    training, _ = split(subjects, fold)
    torch.manual_seed(seed)
    network = SmallDetector().to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps, pct_start=0.15)
    parts = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        first = state["step"]
    sampler = PatchSampler(training, seed * 1000 + (FOLDS if fold is None else fold) + 100_000 * first)
    started = time.monotonic()
    losses = []
    for step in range(first, steps):
        images, targets, weight, vectors = (torch.from_numpy(part) for part in sampler.batch(BATCH))
        with torch.autocast("cpu", torch.bfloat16):
            output = network(images.to(memory_format=torch.channels_last))
        output = output.float()
        loss = heat_loss(output[:, :5], targets[:, :5], weight) + vector_loss(output[:, 5:], targets[:, 5:], vectors)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        losses.append(float(loss.detach()))
        if (step + 1) % CHECKPOINT_EVERY == 0:
            record = {"step": step + 1, "loss": round(float(np.mean(losses)), 4)}
            record["seconds"] = round(time.monotonic() - started)
            losses.clear()
            with open(folder / f"{name}.log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            log(f"{name}: step {step + 1} of {steps}, loss {record['loss']}")
            state = {key: part.state_dict() for key, part in parts.items()} | {"step": step + 1}
            partial = checkpoint.with_suffix(".part")
            torch.save(state, partial)
            partial.replace(checkpoint)
    tensors = {key: value.numpy() for key, value in average.module.state_dict().items()}
    metadata = {
        "architecture": json.dumps({"class": "SmallDetector", "widths": list(network.widths)}),
        "thresholds": json.dumps(THRESHOLDS),
        "trained_on": ", ".join(subject.name for subject in training),
        "steps": str(steps),
    }
    write_safetensors(weights, tensors, metadata)
    return weights

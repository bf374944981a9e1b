"""Training of the starter vertebra detector on real lumbar scans; run through `starter_training.py`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from SpineMotionToolsLib.common.engine import has_fast_bf16
from SpineMotionToolsLib.spinenet.detection_targets import PATCH_SIZE
from SpineMotionToolsLib.spinenet.labelling import LEVELS
from SpineMotionToolsLib.spinenet.models import load_network
from SpineMotionToolsLib.spinenet.small_networks import VECTOR_SCALE, SmallDetector, save_small
from SpineMotionToolsLib.spinenet.training_patches import MADE
from SpineMotionToolsLib.spinenet.training_scans import Subject
from SpineMotionToolsLib.spinenet.training_store import PatchStore

FOLDS = 4
BATCH = 8
STEPS, FOLD_STEPS = 2400, 1000
PEAK_LEARNING_RATE = 4e-3
STRIP_COLUMNS = 128  # two of three steps see a strip along the spine only
SACRUM_EMPHASIS = 3.0  # S1 has corners in fewer slices than the bodies above, and no two are shaped alike
CHECKPOINT_EVERY = 50
THRESHOLDS = {"corner": 0.25, "centroid": 0.25}
HEAT_FLOOR = 0.01  # targets above this count as "near a landmark"
FAR_WEIGHT = 0.3


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
    """Cross-entropy of the five heat maps per pixel near a landmark; a pixel of the background counts less.

    `output` (logits), `target` (n, 5, h, w), `weight` (n, h, w) zero where nobody labelled.
    """
    near = (target > HEAT_FLOOR).float()
    weight = weight[:, None] * (near + FAR_WEIGHT * (1 - near))
    error = F.binary_cross_entropy_with_logits(output, target, reduction="none") * weight
    return (error.sum(dim=(0, 2, 3)) / (near * weight).sum(dim=(0, 2, 3)).clamp(min=100)).sum()


def vector_loss(output: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the vectors near corners, in tens of pixels; `target` (n, 8, h, w) in pixels."""
    mask = mask.float().repeat(1, 2, 1, 1)
    return ((output - target / VECTOR_SCALE) ** 2 * mask).sum() / mask.sum().clamp(min=1)


def train_detector(
    subjects: list[Subject],
    store: PatchStore,
    fold: int | None,
    folder: Path,
    steps: int | None = None,
    seed: int = 7,
    log: Callable[[str], None] = print,
    start: Path | None = None,
    rate: float = PEAK_LEARNING_RATE,
) -> Path:
    """Train one detector (all subjects but the fold's, or all) and write its weights; resumes from its checkpoint.

    `start`: weights of the same subjects to go on from. Returns the path of the `.safetensors` file. The loss curve
    lies beside it as JSON lines.
    """
    name = "detection" if fold is None else f"detection-fold{fold}"
    weights, checkpoint = folder / f"{name}.safetensors", folder / f"{name}.checkpoint.pt"
    if weights.exists():
        return weights
    folder.mkdir(parents=True, exist_ok=True)
    steps = steps or (STEPS if fold is None else FOLD_STEPS)
    training, tested = split(subjects, fold)
    forbidden = [number for number, subject in enumerate(subjects) if subject in tested]
    usable = np.flatnonzero(~np.isin(store.subjects, forbidden))
    sacrum = np.isfinite(store.corners[usable, LEVELS.index("S1"), 0, 0]) & (store.subjects[usable] != MADE)
    shares = 1.0 + SACRUM_EMPHASIS * sacrum
    shares /= shares.sum()
    torch.manual_seed(seed)
    network = SmallDetector() if start is None else load_network(start, "detection").train()
    network = network.to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.98), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    parts = {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        first = state["step"]
    started = time.monotonic()
    losses = []
    for step in range(first, steps):
        rng = np.random.default_rng([seed, FOLDS if fold is None else fold, step])
        chosen = rng.choice(usable, BATCH, p=shares)
        columns = PATCH_SIZE if step % 3 == 2 else STRIP_COLUMNS
        images, targets, weight, vectors = (torch.from_numpy(part) for part in store.batch(chosen, rng, columns))
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16()):
            output = network.raw(images.to(memory_format=torch.channels_last))
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
            log(f"{name}: step {step + 1} of {steps}, loss {record['loss']}, {record['seconds']} s")
            state = {key: part.state_dict() for key, part in parts.items()} | {"step": step + 1}
            partial = checkpoint.with_suffix(".part")
            torch.save(state, partial)
            partial.replace(checkpoint)
    trained_on = ", ".join(subject.name for subject in training)
    save_small(weights, average.module, trained_on, thresholds=json.dumps(THRESHOLDS), steps=str(steps))
    return weights

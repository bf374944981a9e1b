"""Training of the starter grading network on drawn discs; run through `starter_training.py`.

No scan of a patient with graded discs is behind it: its grades are a demonstration and have no clinical meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from SpineMotionToolsLib.common.engine import has_fast_bf16
from SpineMotionToolsLib.phantoms.disc_mri import draw_disc, random_grades
from SpineMotionToolsLib.spinenet.grades import HEADS
from SpineMotionToolsLib.spinenet.small_networks import SmallGrading, save_small
from SpineMotionToolsLib.spinenet.training import balanced_accuracy

BATCH = 8


def drawn_discs(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Volumes (n, 1, 9, 112, 224) float32 and classes (n, 11)."""
    grades = [random_grades(rng) for _ in range(count)]
    volumes = np.stack([draw_disc(g, rng) for g in grades])[:, None]
    volumes *= np.exp(rng.uniform(-0.15, 0.15, (count, 1, 1, 1, 1))).astype(np.float32)
    return volumes, np.array([g.classes() for g in grades])


def train_grading(folder: Path, steps: int = 300, seed: int = 17, log: Callable[[str], None] = print) -> Path:
    """Train the grading network on drawn discs, print its figures on discs drawn anew, write and return its weights."""
    path = folder / "grading.safetensors"
    if path.exists():
        return path
    torch.manual_seed(seed)
    network = SmallGrading()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.15)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        volumes, classes = map(torch.from_numpy, drawn_discs(BATCH, rng))
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16()):
            outputs = network(volumes)
        loss = sum(F.cross_entropy(output.float(), classes[:, h]) for h, output in enumerate(outputs)) / len(HEADS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            log(f"grading: step {step + 1} of {steps}, loss {float(loss.detach()):.3f}")
    for column, accuracy in figures(network.eval()).items():
        log(f"grading: {column}, balanced accuracy on 100 drawn discs {accuracy:.2f}")
    save_small(path, network, "drawn discs", steps=str(steps))
    return path


def figures(network: SmallGrading, count: int = 100, seed: int = 1_000_003) -> dict[str, float]:
    """Balanced accuracy of each head on discs drawn with a seed that training never uses."""
    volumes, classes = drawn_discs(count, np.random.default_rng(seed))
    with torch.inference_mode():
        parts = [network(part) for part in torch.from_numpy(volumes).split(BATCH)]
    predicted = [torch.cat(outputs).argmax(dim=1).numpy() for outputs in zip(*parts)]
    return {head.column: balanced_accuracy(predicted[h], classes[:, h]) for h, head in enumerate(HEADS)}

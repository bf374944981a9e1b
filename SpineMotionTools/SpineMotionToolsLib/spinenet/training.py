"""Fine-tuning of the grading heads on a user's own graded discs (extra `train`: Lightning).

Everything but the heads is frozen, as the published helper does. The trunk then gives the same 512 numbers for a disc
in every epoch, so they are computed once and only eleven linear layers are trained: minutes, not days. Loss:
cross-entropy of each head, weighted by inverse class frequency, grades left empty ignored (Windsor et al., arXiv
2205.01683).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import DependencyError, InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.tables import read_sheet
from SpineMotionToolsLib.common.weights import read_metadata, write_safetensors

from .discs import disc_volumes, stack_outlines
from .grades import HEADS
from .models import Models
from .results import Spine
from .scans import Scan

if TYPE_CHECKING:
    from torch import nn

IGNORED = -100
LEARNING_RATE, WEIGHT_DECAY, EPOCHS = 1e-2, 1e-2, 200


@dataclass(frozen=True)
class GradedDiscs:
    """Features (n, channels) of discs and their classes (n, 11), -100 where nobody graded."""

    features: np.ndarray
    classes: np.ndarray


def read_truth(path: Path) -> dict[tuple[str, str], list[int]]:
    """Grades by (case, level) from a CSV with columns `case`, `level` and any of the published grade columns.

    Values are the published numbers (Pfirrmann 1-5, ...); an empty cell means not graded. Raises InputError for other
    values.
    """
    truth = {}
    names, rows = read_sheet(path)
    if not {"case", "level"} <= set(names):
        raise InputError(f"{path.name} needs the columns case and level, and grade columns such as Pfirrmann.")
    for number, row in enumerate(rows, start=2):
        truth[row["case"], row["level"]] = [_class_of(row, head, path, number) for head in HEADS]
    return truth


def _class_of(row: Mapping[str, str], head, path: Path, number: int) -> int:
    text = (row.get(head.column) or "").strip()
    if not text:
        return IGNORED
    try:
        index = int(float(text)) - head.first
    except ValueError:
        index = -1
    if not 0 <= index < head.classes:
        last = head.first + head.classes - 1
        raise InputError(
            f"{path.name}, line {number}: {head.column} is {text!r}; it must be {head.first} to {last}, or empty."
        )
    return index


def graded_discs(
    cases: Sequence[tuple[str, Scan, Spine]],
    truth: Mapping[tuple[str, str], Sequence[int]],
    models: Models,
    engine: Engine,
    progress: Progress = no_progress,
) -> GradedDiscs:
    """The trunk's features of all graded discs. Raises InputError when no disc of the cases was graded."""
    import torch

    on = engine.resolve()
    network = models.network("grading").to(on.device)
    features, classes = [], []
    for number, (name, scan, spine) in enumerate(cases):
        progress(number, len(cases), name)
        stacked = stack_outlines([v.outline for v in spine.vertebrae], spine.labels, scan.array.shape[2])
        for disc in disc_volumes(scan.array, stacked):
            if (name, disc.level) in truth and disc.is_usable:
                volume = torch.from_numpy(disc.volume.astype(np.float32))[None, None].to(on.device)
                with torch.inference_mode():
                    features.append(network.features(volume)[0].cpu().numpy())
                classes.append(truth[name, disc.level])
    if not features:
        raise InputError(
            "None of the graded discs was found in the scans. Check the case names and levels in the table."
        )
    return GradedDiscs(np.array(features), np.array(classes))


def balanced_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes that occur of the share found; NaN when nothing was graded."""
    graded = truth != IGNORED
    shares = [float((predicted[graded] == c)[truth[graded] == c].mean()) for c in np.unique(truth[graded])]
    return float(np.mean(shares)) if shares else float("nan")


def train_heads(network: nn.Module, train: GradedDiscs, epochs: int = EPOCHS, seed: int = 0) -> None:
    """Train the eleven heads of a grading network in place, everything else frozen.

    Features are standardized for training, which the trained weights take back: the heads learn at the same pace
    whatever the features' size. Raises DependencyError without Lightning.
    """
    try:
        import lightning
    except ImportError as error:
        raise DependencyError("Training needs Lightning. Run: pip install 'spinemotiontools[train]'.") from error
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    lightning.seed_everything(seed, verbose=False)
    weights = [_class_weights(train.classes[:, h], head.classes) for h, head in enumerate(HEADS)]
    trained = [h for h, w in enumerate(weights) if w is not None]

    class Heads(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.heads = torch.nn.ModuleList(getattr(network, head.key).requires_grad_(True) for head in HEADS)

        def training_step(self, batch, index):
            features, classes = batch
            losses = [
                torch.nn.functional.cross_entropy(
                    self.heads[h](features), classes[:, h], weights[h].to(features), ignore_index=IGNORED
                )
                for h in trained
                if (classes[:, h] != IGNORED).any()
            ]
            return torch.stack(losses).mean() if losses else None

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    mean = torch.from_numpy(train.features.mean(axis=0))
    scale = torch.from_numpy(train.features.std(axis=0)).clamp(min=1e-6)
    heads = [getattr(network, head.key) for head in HEADS]
    with torch.no_grad():
        for head in heads:
            head.bias += head.weight @ mean
            head.weight *= scale
    features = (torch.from_numpy(train.features) - mean) / scale
    data = TensorDataset(features, torch.from_numpy(train.classes.astype(np.int64)))
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Heads(), DataLoader(data, batch_size=64, shuffle=True))
    network.eval().requires_grad_(False)
    for head in heads:
        head.weight /= scale
        head.bias -= head.weight @ mean


def _class_weights(classes: np.ndarray, count: int):
    """Inverse frequencies with mean 1 over the graded discs; None when the head was never graded."""
    import torch

    graded = classes[classes != IGNORED]
    if not len(graded):
        return None
    frequency = np.bincount(graded, minlength=count).astype(np.float64)
    inverse = np.divide(1.0, frequency, out=np.zeros(count), where=frequency > 0)
    return torch.from_numpy(inverse * len(graded) / (frequency > 0).sum()).float()


def evaluate_heads(network: nn.Module, discs: GradedDiscs) -> dict[str, float]:
    """Balanced accuracy of each head; NaN where nothing was graded."""
    import torch

    features = torch.from_numpy(discs.features)
    with torch.no_grad():
        predicted = [getattr(network, head.key)(features).argmax(dim=1).numpy() for head in HEADS]
    return {head.column: balanced_accuracy(predicted[h], discs.classes[:, h]) for h, head in enumerate(HEADS)}


def save_network(path: Path, network: nn.Module, source: Path | str | None, note: str) -> None:
    """Write a fine-tuned grading network as safetensors, with the architecture its source describes."""
    metadata = read_metadata(source) if source and str(source).endswith(".safetensors") else {}
    kept = {"architecture": metadata["architecture"]} if "architecture" in metadata else {}
    tensors = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    write_safetensors(path, tensors, {**kept, "fine_tuned": json.dumps({"heads": note})})

"""Training and cross-validation of the two-stream network on Lightning, with the published recipe as the default.

MICCAI 2022 (arXiv 2207.03344): AdamW 1e-5 with AMSGrad, weight decay 1e-4, cross entropy, batches of 64; training stops
when the training loss was not at its best for 10 epochs, and the weights of the best loss are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from SpineMotionToolsLib.common.classification import Interval, bootstrap
from SpineMotionToolsLib.common.errors import DependencyError
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.movements import scores
from SpineMotionToolsLib.movements.chunks import mirror
from SpineMotionToolsLib.movements.folds import PATIENCE, EarlyStop, stratified_folds
from SpineMotionToolsLib.movements.networks import TwoStream

try:
    import lightning
except ImportError as error:
    raise DependencyError("Training needs Lightning. Install it with: pip install lightning") from error


@dataclass(frozen=True)
class Recipe:
    """Choices of a training run; the defaults are the published ones."""

    epochs: int = 499
    batch_size: int = 64
    learning_rate: float = 1e-5
    weight_decay: float = 1e-4
    patience: int = PATIENCE
    seed: int = 2021


class Chunks(Dataset):
    """Chunks held in memory: pictures (n,3,H,W), flows (n,2F,H,W), labels (n,); `mirrored` mirrors every other time."""

    def __init__(self, pictures: np.ndarray, flows: np.ndarray, labels: np.ndarray, mirrored: bool = False, seed=0):
        self.pictures, self.flows, self.labels = pictures, flows, labels
        self.mirrored, self._random = mirrored, np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        picture, flow = (part[index].astype(np.float32) for part in (self.pictures, self.flows))
        if self.mirrored and self._random.integers(2):
            picture, flow = mirror(picture, flow)
        return torch.from_numpy(picture), torch.from_numpy(flow), int(self.labels[index])


class MovementsTraining(lightning.LightningModule):
    """A two-stream network in training; `best` holds the weights of the lowest training loss so far."""

    def __init__(self, network: TwoStream, recipe: Recipe, path: Path, say: Callable[[str], None] | None):
        super().__init__()
        self.network, self.recipe, self.path, self.say = network, recipe, Path(path), say
        self.rule = EarlyStop(recipe.patience)
        self.best = copy.deepcopy(network.state_dict())
        self._losses: list[float] = []
        self._right: list[bool] = []

    def training_step(self, batch, _):
        picture, flow, label = batch
        loss = torch.nn.functional.cross_entropy(self.network(picture, flow), label)
        self._losses += [float(loss.detach())] * len(label)
        return loss

    def validation_step(self, batch, _):
        picture, flow, label = batch
        self._right += (self.network(picture, flow).argmax(dim=1) == label).tolist()

    def on_train_epoch_end(self):
        loss = float(np.mean(self._losses))
        self._losses = []
        if self.rule.better(loss):
            self.best = copy.deepcopy(self.network.state_dict())
            self.path.mkdir(parents=True, exist_ok=True)
            torch.save(self.best, self.path / "best_weights.pth")
        if self.say:
            seen = f", validation accuracy {np.mean(self._right):.4f}" if self._right else ""
            self.say(f"epoch {self.current_epoch}: training loss {loss:.4f}{seen}")
        self._right = []
        if self.rule.stop:
            self.trainer.should_stop = True

    def configure_optimizers(self):
        return torch.optim.AdamW(
            self.network.parameters(),
            lr=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            amsgrad=True,
        )


def fit(
    network: TwoStream,
    training: Dataset,
    recipe: Recipe,
    folder: Path | str,
    validation: Dataset | None = None,
    say: Callable[[str], None] | None = None,
) -> TwoStream:
    """Train a network; the weights of the best training loss are written to `folder`/best_weights.pth and returned.

    `validation` is only looked at, as in the published study.
    """
    lightning.seed_everything(recipe.seed, verbose=False)
    order = torch.Generator().manual_seed(recipe.seed)
    module = MovementsTraining(network, recipe, Path(folder), say)
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic="warn",
        precision="16-mixed" if torch.cuda.is_available() else "32-true",
        default_root_dir=folder,
    )
    trainer.fit(
        module,
        DataLoader(training, recipe.batch_size, shuffle=True, generator=order),
        DataLoader(validation, recipe.batch_size) if validation is not None else None,
    )
    network.load_state_dict(module.best)
    return network.eval()


def predict(network: TwoStream, chunks: Dataset, batch_size: int = 16) -> np.ndarray:
    """Logits (n,3) of all chunks, in float32."""
    network.eval()
    with torch.inference_mode():
        parts = [network(picture, flow).numpy() for picture, flow, _ in DataLoader(chunks, batch_size)]
    return np.concatenate(parts)


@dataclass(frozen=True)
class CrossValidation:
    """Predicted and true class of every infant, and the fold each was tested in."""

    predicted: np.ndarray
    truth: np.ndarray
    folds: np.ndarray

    def table(self) -> Table:
        """The published figures per fold and pooled over infants, with 95 % limits by infant."""
        parts = [(f"fold {k}", self.folds == k) for k in np.unique(self.folds)]
        parts.append(("pooled", np.ones(len(self.truth), bool)))
        figures = [(name, scores.figures(self.truth[part], self.predicted[part])) for name, part in parts]
        names = list(figures[0][1])
        rows = [[name, *(round(values[n], 4) for n in names)] for name, values in figures]
        limits = [self.interval(name) for name in names]
        rows.append(["95 % limits", *(f"{i.low:.3f} to {i.high:.3f}" for i in limits)])
        return Table("Cross-validation (infants)", [Column("part"), *(Column(name) for name in names)], rows)

    def interval(self, name: str) -> Interval:
        return bootstrap(
            lambda i: scores.figures(self.truth[i], self.predicted[i])[name], np.arange(len(self.truth)), repeats=500
        )


def cross_validate(
    make_network: Callable[[], TwoStream],
    chunks: Chunks,
    infants: Sequence,
    recipe: Recipe,
    folder: Path | str,
    say: Callable[[str], None] | None = None,
) -> CrossValidation:
    """Train and test on the published five folds of infants; `infants` (n,) names the infant of each chunk."""
    infants = np.asarray(infants)
    names = list(dict.fromkeys(infants.tolist()))
    labels = np.array([chunks.labels[infants == name][0] for name in names])
    predicted, truth, numbers = [], [], []
    for k, held_out in enumerate(stratified_folds(labels), start=1):
        test = np.isin(infants, [names[i] for i in held_out])
        parts = [
            Chunks(chunks.pictures[p], chunks.flows[p], chunks.labels[p], mirrored=m)
            for p, m in ((~test, True), (test, False))
        ]
        network = fit(make_network(), parts[0], recipe, Path(folder) / f"fold{k}", say=say)
        found, known = scores.subject_classes(infants[test], chunks.labels[test], predict(network, parts[1]))
        predicted.append(found)
        truth.append(known)
        numbers.append(np.full(len(found), k))
    return CrossValidation(*(np.concatenate(part) for part in (predicted, truth, numbers)))

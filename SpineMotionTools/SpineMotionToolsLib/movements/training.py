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

from SpineMotionToolsLib.common.classification import Interval, bootstrap, confusion_matrix, confusion_table
from SpineMotionToolsLib.common.errors import DependencyError, InputError
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.movements import scores
from SpineMotionToolsLib.movements.chunks import mirror
from SpineMotionToolsLib.movements.folds import FOLDS, PATIENCE, EarlyStop, stratified_folds
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

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise InputError("Nothing would be learned. Choose 1 epoch or more, batches of 1 or more, a rate above 0.")


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
    """Predicted and true class of every infant and the fold each was tested in; logits (n,3) of all their chunks.

    `infants` name the infants in the order of `predicted`; `chunk_infants` (n,) number the infant of each chunk.
    """

    predicted: np.ndarray
    truth: np.ndarray
    folds: np.ndarray
    infants: tuple[str, ...]
    logits: np.ndarray
    chunk_infants: np.ndarray

    def parts(self) -> dict[str, np.ndarray]:
        """Indices of the infants of each fold, and of all ("pooled")."""
        folds = {f"fold {k}": np.flatnonzero(self.folds == k) for k in np.unique(self.folds)}
        return folds | {"pooled": np.arange(len(self.folds))}

    def table(self) -> Table:
        """The published figures per fold, their mean and standard deviation, and pooled over infants with 95 % limits
        by infant.
        """
        figures = {part: scores.figures(self.truth[i], self.predicted[i]) for part, i in self.parts().items()}
        names = list(figures["pooled"])
        rows = [[part, *(round(values[n], 4) for n in names)] for part, values in figures.items()]
        by_fold = np.array([[values[n] for n in names] for part, values in figures.items() if part != "pooled"])
        if len(by_fold) > 1:
            spread = by_fold.std(axis=0, ddof=1)
            rows.insert(-1, ["mean (SD)", *(f"{m:.3f} ({s:.3f})" for m, s in zip(by_fold.mean(axis=0), spread))])
        limits = [self.interval(name) for name in names]
        rows.append(["95 % limits", *(f"{i.low:.3f} to {i.high:.3f}" for i in limits)])
        return Table("Cross-validation (infants)", [Column("part"), *(Column(name) for name in names)], rows)

    def confusion(self) -> Table:
        """Counts of infants by truth and prediction, per fold and pooled."""
        count = len(scores.CLASS_NAMES)
        matrices = {p: confusion_matrix(self.truth[i], self.predicted[i], count) for p, i in self.parts().items()}
        return confusion_table(matrices, scores.CLASS_NAMES)

    def subject_table(self) -> Table:
        """One row per infant, as the published program writes them, and the fold."""
        rows = [
            [int(truth), name, int(predicted), int(fold)]
            for truth, name, predicted, fold in zip(self.truth, self.infants, self.predicted, self.folds)
        ]
        return Table("Infants", [Column("label"), Column("sub_path"), Column("pred"), Column("fold")], rows)

    def chunk_table(self) -> Table:
        """One row per chunk with its logits: what every figure can be computed from again."""
        rows = [
            [*(float(v) for v in logits), int(np.argmax(logits)), self.infants[infant]]
            for logits, infant in zip(self.logits, self.chunk_infants)
        ]
        columns = [*(Column(name, "", "logit", 4) for name in scores.CLASS_NAMES), Column("pred"), Column("sub_path")]
        return Table("Chunks", columns, rows)

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
    """Train and test on the published five folds of infants; `infants` (n,) names the infant of each chunk.

    Raises InputError when there are fewer infants than folds.
    """
    infants = np.asarray(infants)
    names = list(dict.fromkeys(infants.tolist()))
    if len(names) < FOLDS:
        raise InputError(f"There are fewer infants than {FOLDS} folds. Prepare more infants.")
    labels = np.array([chunks.labels[infants == name][0] for name in names])
    logits = np.zeros((len(infants), len(scores.CLASS_NAMES)), np.float32)
    folds = np.zeros(len(names), np.int64)
    for k, held_out in enumerate(stratified_folds(labels), start=1):
        folds[held_out] = k
        test = np.isin(infants, [names[i] for i in held_out])
        training, testing = (
            Chunks(chunks.pictures[part], chunks.flows[part], chunks.labels[part], mirrored)
            for part, mirrored in ((~test, True), (test, False))
        )
        network = fit(make_network(), training, recipe, Path(folder) / f"fold{k}", say=say)
        logits[test] = predict(network, testing)
    predicted, truth = scores.subject_classes(infants, chunks.labels, logits)
    numbers = {name: number for number, name in enumerate(names)}
    owners = np.array([numbers[name] for name in infants.tolist()])
    return CrossValidation(predicted, truth, folds, tuple(str(name) for name in names), logits, owners)

"""Training and cross-validation of gait networks on Lightning, with the published recipe as the default.

Front. Neurosci. 2023;17:1278584: Adam 1e-4, learning rate / 10 after 10 epochs without a lower validation loss, stop
after 5 epochs without a higher validation accuracy, at most 50 epochs, batches of 8.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from SpineMotionToolsLib.common.classification import Interval, auroc, bootstrap, confusion_matrix, confusion_table
from SpineMotionToolsLib.common.errors import DependencyError, InputError
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.gait import scores
from SpineMotionToolsLib.gait.dataset import AllClips, LabeledVideo, RandomClips
from SpineMotionToolsLib.gait.folds import stratified_group_folds
from SpineMotionToolsLib.gait.models import ClipSettings
from SpineMotionToolsLib.gait.networks import VideoNet

try:
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
except ImportError as error:
    raise DependencyError("Training needs Lightning. Install it with: pip install lightning") from error

TRANSFER = ("all", "head", "stem_head", "stage_head")
"""Which parts train: everything; the head; stem and head; stages and head."""


@dataclass(frozen=True)
class Recipe:
    """Choices of a training run; the defaults are the published ones."""

    epochs: int = 50
    batch_size: int = 8
    learning_rate: float = 1e-4
    patience: int = 5
    rate_patience: int = 10
    transfer: str = "all"
    seed: int = 42
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise InputError("Nothing would be learned. Choose 1 epoch or more, batches of 1 or more, a rate above 0.")


class GaitTraining(lightning.LightningModule):
    """A network in training. Its checkpoint's tensors are named `model.*`, as published."""

    def __init__(self, model: nn.Module, recipe: Recipe, settings: ClipSettings):
        super().__init__()
        self.model, self.recipe = model, recipe
        self.save_hyperparameters({"hparams": _published_options(settings, recipe)})
        self.frozen = freeze(model, recipe.transfer)
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def train(self, mode: bool = True):
        super().train(mode)
        for part in self.frozen:  # frozen normalization keeps its statistics (the published program lets them drift)
            part.eval()
        return self

    def _loss(self, batch) -> tuple[torch.Tensor, torch.Tensor]:
        clips, labels = batch
        logits = self.model(clips)
        if len(logits) != len(labels):  # single frames: every frame is a sample of its clip's label
            labels = labels.repeat_interleave(len(logits) // len(labels))
        logits = logits.reshape(len(labels))
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.float()), logits

    def training_step(self, batch, _):
        loss, _ = self._loss(batch)
        self.log("train_loss", loss, on_epoch=True, on_step=False, batch_size=len(batch[1]))
        return loss

    def validation_step(self, batch, _):
        loss, logits = self._loss(batch)
        right = scores.predicted_class(logits.detach().float().cpu().numpy().reshape(len(batch[1]), -1).mean(axis=1))
        self.log("val_loss", loss, batch_size=len(batch[1]))
        self.log("val_acc", float(np.mean(right == batch[1].cpu().numpy())), batch_size=len(batch[1]))

    def configure_optimizers(self):
        trainable = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trainable, lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=self.recipe.rate_patience)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


def freeze(network: nn.Module, transfer: str) -> list[nn.Module]:
    """Stop the gradients of the parts that `transfer` leaves as they are, and return these parts. Raises InputError."""
    if transfer not in TRANSFER:
        raise InputError(f"The transfer mode {transfer!r} is unknown. Choose one of {', '.join(TRANSFER)}.")
    if transfer == "all":
        return []
    if not isinstance(network, VideoNet):
        raise InputError("Transfer modes other than 'all' need a three-dimensional network.")
    stem, *stages, _ = network.blocks
    frozen = {"head": [stem, *stages], "stem_head": stages, "stage_head": [stem]}[transfer]
    for part in frozen:
        part.requires_grad_(False)
    return frozen


def _published_options(settings: ClipSettings, recipe: Recipe) -> dict:
    """The names under which published checkpoints keep their options."""
    return {
        "uniform_temporal_subsample_num": settings.frames,
        "clip_duration": settings.clip_s,
        "img_size": settings.size_px,
        "pre_process_flag": settings.cropped,
        **asdict(recipe),
    }


def fit(
    network: nn.Module,
    training: Dataset,
    validation: Dataset,
    settings: ClipSettings,
    recipe: Recipe,
    folder: Path | str,
    log_every_epoch: Callable[[str], None] | None = None,
) -> Path:
    """Train a network and return the checkpoint of the epoch with the best validation accuracy, kept in `folder`."""
    lightning.seed_everything(recipe.seed, verbose=False)
    order = torch.Generator().manual_seed(recipe.seed)
    module = GaitTraining(network, recipe, settings)
    best = ModelCheckpoint(
        folder, "{epoch}-{val_loss:.2f}-{val_acc:.4f}", monitor="val_acc", mode="max", save_top_k=3, save_last=True
    )
    callbacks = [best, EarlyStopping("val_acc", mode="max", patience=recipe.patience)]
    if log_every_epoch:
        callbacks.append(_EpochLines(log_every_epoch))
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        callbacks=callbacks,
        logger=False,
        deterministic="warn",
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(
        module,
        DataLoader(training, recipe.batch_size, shuffle=True, generator=order),
        DataLoader(validation, recipe.batch_size),
    )
    return Path(best.best_model_path)


class _EpochLines(lightning.Callback):
    """One line of text per epoch."""

    def __init__(self, say: Callable[[str], None]):
        self.say = say

    def on_validation_epoch_end(self, trainer, _):
        if not trainer.sanity_checking:
            seen = ", ".join(f"{name} {float(value):.4f}" for name, value in trainer.callback_metrics.items())
            self.say(f"epoch {trainer.current_epoch}: {seen}")


@dataclass(frozen=True)
class CrossValidation:
    """Logits of all validation clips of all folds, and the videos they come from."""

    logits: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    patients: tuple[str, ...]
    videos: tuple[str, ...]

    def parts(self) -> dict[str, np.ndarray]:
        """Indices of the clips of each fold, and of all ("pooled")."""
        folds = {f"fold {fold}": np.flatnonzero(self.folds == fold) for fold in np.unique(self.folds)}
        return folds | {"pooled": np.arange(len(self.folds))}

    def table(self) -> Table:
        """The published figures per fold, their mean and standard deviation, and pooled over clips (what the paper
        calls mean) with 95 % limits by patient.
        """
        rows = [[part, *_values(scores.figures(self.logits[i], self.labels[i]))] for part, i in self.parts().items()]
        by_fold = np.array([row[1:] for row in rows[:-1]])
        if len(by_fold) > 1:
            spread = by_fold.std(axis=0, ddof=1)
            rows.insert(-1, ["mean (SD)", *(f"{m:.3f} ({s:.3f})" for m, s in zip(by_fold.mean(axis=0), spread))])
        limits = [self.interval(name) for name in FIGURES]
        rows.append(["95 % limits", *(f"{i.low:.3f} to {i.high:.3f}" for i in limits)])
        columns = [Column("part"), *(Column(name, description=TITLES[name]) for name in FIGURES)]
        return Table("Cross-validation (clips)", columns, rows)

    def confusion(self) -> Table:
        """Counts of clips by truth and prediction, per fold and pooled."""
        predicted = scores.predicted_class(self.logits)
        matrices = {
            part: confusion_matrix(self.labels[i], predicted[i], len(scores.CLASS_NAMES))
            for part, i in self.parts().items()
        }
        return confusion_table(matrices, scores.CLASS_NAMES)

    def patients_table(self) -> Table:
        """Figures over patients, each with the mean probability of its clips (the published study has clips only)."""
        keys = np.array(self.patients)
        means, labels = [], []
        for key, label in dict.fromkeys(zip(self.patients, self.labels.tolist())):
            clips = (keys == key) & (self.labels == label)  # one who was operated on can be in both classes
            means.append(float(scores.probability_asd(self.logits[clips]).mean()))
            labels.append(label)
        means, truth = np.array(means), np.array(labels) == scores.ASD
        score = {
            "accuracy": lambda i: float(np.mean((means[i] > 0.5) == truth[i])),
            "AUROC": lambda i: auroc(truth[i], means[i]),
        }
        rows = [[name, *_three(bootstrap(of, np.arange(len(means)), repeats=500))] for name, of in score.items()]
        columns = [Column("figure"), Column("value", "", "", 3), Column("low", "", "95 % limits", 3)]
        return Table(f"Cross-validation ({len(means)} patients)", [*columns, Column("high", "", "", 3)], rows)

    def clip_table(self) -> Table:
        """One row per clip: what every figure can be computed from again."""
        rows = [
            [int(fold), video, patient, int(label), float(logit), float(scores.probability_asd(np.array([logit]))[0])]
            for fold, video, patient, label, logit in zip(
                self.folds, self.videos, self.patients, self.labels, self.logits
            )
        ]
        columns = [Column("fold"), Column("video"), Column("patient"), Column("label", "", "0 ASD, 1 non-ASD")]
        return Table("Clips", [*columns, Column("logit", "", "", 4), Column("P(ASD)", "", "", 4)], rows)

    def interval(self, name: str) -> Interval:
        """One pooled figure with limits from drawing patients with replacement."""
        return bootstrap(
            lambda i: getattr(scores.figures(self.logits[i], self.labels[i]), name), self.patients, repeats=500
        )


FIGURES = ("loss", "accuracy", "precision", "recall", "f1", "auroc")
TITLES = {name: f"{name} of class non-ASD" if name not in ("loss", "accuracy") else name for name in FIGURES}


def _three(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _values(figures: scores.Figures) -> list[float]:
    return [round(getattr(figures, name), 4) for name in FIGURES]


def cross_validate(
    make_network: Callable[[], nn.Module],
    videos: Sequence[LabeledVideo],
    settings: ClipSettings,
    recipe: Recipe,
    folder: Path | str,
    folds: int = 5,
    say: Callable[[str], None] | None = None,
    parts: Sequence[np.ndarray] | None = None,
) -> CrossValidation:
    """Train and validate on every fold of patients; checkpoints go to `folder`/fold0 ... . Raises InputError.

    `parts` are the validation indices of given folds (`dataset.labeled_folds`); else they are made by patient.

    As published, the reported epoch is the best one on the fold it is reported on, which is optimistic.
    """
    videos = list(videos)
    if parts is None:
        if folds < 2:
            raise InputError(f"{folds} folds leave nothing to train or to test on. Choose 2 or more.")
        if len({video.patient for video in videos}) < folds:
            raise InputError(f"There are fewer patients than {folds} folds. Choose fewer folds or add videos.")
        parts = stratified_group_folds([v.label for v in videos], [v.patient for v in videos], folds)
    logits, labels, numbers, owners = [], [], [], []
    for number, held_out in enumerate(parts):
        chosen = set(held_out.tolist())
        train = [video for i, video in enumerate(videos) if i not in chosen]
        test = [videos[i] for i in held_out]
        validation = AllClips(test, settings)
        network = make_network()
        name = Path(folder) / f"fold{number}"
        best = fit(network, RandomClips(train, settings, recipe.seed), validation, settings, recipe, name, say)
        network = with_weights(network, best)
        logits.append(predict(network, validation, recipe.batch_size))
        labels += [test[owner].label for owner in validation.owners]
        numbers += [number] * len(validation)
        owners += [test[owner] for owner in validation.owners]
    return CrossValidation(
        np.concatenate(logits),
        np.array(labels),
        np.array(numbers),
        tuple(owner.patient for owner in owners),
        tuple(owner.path.name for owner in owners),
    )


def with_weights(network: nn.Module, checkpoint: Path) -> nn.Module:
    from SpineMotionToolsLib.common.weights import read_tensors

    network = copy.deepcopy(network)
    tensors = read_tensors(checkpoint, strip_prefixes=("model.",))
    network.load_state_dict({name: torch.as_tensor(value) for name, value in tensors.items()})
    return network.eval()


def predict(network: nn.Module, clips: Dataset, batch_size: int = 8) -> np.ndarray:
    """Logits (n,) of all clips of a dataset."""
    network.eval()
    logits = []
    with torch.inference_mode():
        for batch, _ in DataLoader(clips, batch_size):
            logits.append(network(batch).reshape(len(batch), -1).mean(dim=1).numpy())
    return np.concatenate(logits)

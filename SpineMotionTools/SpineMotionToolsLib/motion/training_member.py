"""Fitting one member on Lightning: the last layers first, then all, keeping the epoch of the best validation kappa."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import DependencyError
from SpineMotionToolsLib.common.files import atomic_path
from SpineMotionToolsLib.motion.agreement import confusion
from SpineMotionToolsLib.motion.networks import MotionNet
from SpineMotionToolsLib.motion.training_data import validation_kappa, weighted_loss

if TYPE_CHECKING:
    from SpineMotionToolsLib.motion.training import Recipe, Slices

try:
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping
except ImportError as error:
    raise DependencyError("Training needs Lightning. Install it with: pip install lightning") from error

CLASSIFIER, FULL_MODEL = "classifier", "full-model"
SMALLEST_CROP = 0.85


@dataclass
class Fitted:
    """The network of the best epoch, and how it was reached."""

    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    kappa: float = float("-inf")
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(
    tensors: Mapping[str, np.ndarray],
    training: Slices,
    validation: Slices,
    recipe: Recipe,
    member: int,
    engine: Engine,
    on_epoch: Callable[[list[dict[str, Any]]], None],
) -> Fitted:
    """Fine-tune a member from its weights; `on_epoch` gets the history so far and may raise to stop the work."""
    device = engine.resolve().device
    torch.manual_seed(recipe.seed + member)
    net = MotionNet.from_tensors(tensors).to(memory_format=torch.channels_last)
    learned = _Batches(training, recipe, np.random.default_rng([recipe.seed, member]))
    order = torch.Generator().manual_seed(recipe.seed + member)
    loaders = (
        DataLoader(learned, recipe.batch_size, shuffle=True, generator=order),
        DataLoader(_Batches(validation), recipe.batch_size),
    )
    fitted = Fitted()
    for stage, epochs, rate in (
        (CLASSIFIER, recipe.classifier_epochs, recipe.classifier_rate),
        (FULL_MODEL, recipe.full_epochs, recipe.full_rate),
    ):
        if epochs < 1:
            continue
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(stage == FULL_MODEL or name.startswith("fc"))
        stop = EarlyStopping("val_loss", patience=recipe.patience, min_delta=recipe.least_improvement)
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=1,
            callbacks=[stop],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")  # advice on worker processes for the data
            trainer.fit(_Stage(net, stage, rate, fitted, on_epoch), *loaders)
    return fitted


class _Stage(lightning.LightningModule):
    """One of the two stages; the epochs of both end in the same history."""

    def __init__(self, net: MotionNet, stage: str, rate: float, fitted: Fitted, on_epoch: Callable) -> None:
        super().__init__()
        self.net, self.stage, self.rate = net, stage, rate
        self.fitted, self.on_epoch = fitted, on_epoch
        self._trained: list[tuple[float, float]] = []
        self._seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.net.parameters() if p.requires_grad], lr=self.rate)

    def training_step(self, batch, _):
        images, targets, weights = batch
        loss = weighted_loss(self.net(images), targets, weights)
        self._trained.append((loss.item(), weights.sum().item()))
        return loss

    def validation_step(self, batch, _):
        images, targets, weights = batch
        self._seen.append((self.net(images).cpu(), targets.cpu(), weights.cpu()))

    def on_validation_epoch_end(self) -> None:
        probabilities, targets, weights = (torch.cat(parts) for parts in zip(*self._seen))
        self._seen.clear()
        loss = float(weighted_loss(probabilities, targets, weights))
        self.log("val_loss", loss)
        grades = probabilities.argmax(dim=1) + 1
        kappa = validation_kappa(confusion(list(zip((targets + 1).tolist(), grades.tolist()))))
        losses, shares = zip(*self._trained)
        self._trained.clear()
        fitted = self.fitted
        fitted.history.append(
            {
                "stage": self.stage,
                "epoch": self.current_epoch + 1,
                "train_loss": float(np.average(losses, weights=shares)),
                "val_loss": loss,
                "val_weighted_kappa": kappa,
                "lr": self.rate,
            }
        )
        if kappa > fitted.kappa:
            fitted.kappa, fitted.epoch = kappa, len(fitted.history)
            # Copies: the live weights go on changing in place.
            fitted.tensors = {name: t.detach().cpu().numpy().copy() for name, t in self.net.state_dict().items()}
        self.on_epoch(fitted.history)


class _Batches(Dataset):
    """Slices as (image (1, 512, 512) in 0..1, class index, weight), changed at random when there is a recipe."""

    def __init__(self, slices: Slices, recipe: Recipe | None = None, random: np.random.Generator | None = None) -> None:
        self.slices, self.recipe, self.random = slices, recipe, random
        self.targets, self.weights = slices.targets, slices.weights

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int):
        image = torch.from_numpy(self.slices.image(index).astype(np.float32) / np.float32(255))[None]
        if self.recipe is not None:
            image = augment(image, self.recipe, self.random)
        return image, self.targets[index], self.weights[index]


def augment(image: torch.Tensor, recipe: Recipe, random: np.random.Generator) -> torch.Tensor:
    """Each change the recipe allows, with probability one half: flips, quarter turns, a crop stretched to full size."""
    if recipe.flip_horizontal and random.random() < 0.5:
        image = image.flip(2)
    if recipe.flip_vertical and random.random() < 0.5:
        image = image.flip(1)
    if recipe.rotate and random.random() < 0.5:
        image = image.rot90(int(random.integers(1, 4)), (1, 2))
    if recipe.crop and random.random() < 0.5:
        size = image.shape[-1]
        side = int(round(size * random.uniform(SMALLEST_CROP, 1)))
        top, left = random.integers(0, size - side + 1, 2)
        part = image[None, :, top : top + side, left : left + side]
        image = torch.nn.functional.interpolate(part, (size, size), mode="bilinear", align_corners=False)[0]
    return image.contiguous()


def predict_grades(tensors: Mapping[str, np.ndarray], slices: Slices, batch_size: int, engine: Engine) -> np.ndarray:
    """Grades 1..5 (n,) one network gives."""
    device = engine.resolve().device
    net = MotionNet.from_tensors(tensors).to(device, memory_format=torch.channels_last)
    with torch.inference_mode():
        batches = [
            net(images.to(device)).argmax(dim=1).cpu() for images, *_ in DataLoader(_Batches(slices), batch_size)
        ]
    return torch.cat(batches).numpy() + 1


def save_member(path: Path, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write a member as the published program does: a dict with `state_dict` and `meta`."""
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        torch.save({"state_dict": state, "meta": dict(meta)}, temporary)

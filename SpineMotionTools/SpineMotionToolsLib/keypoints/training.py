"""The published training recipes, on Lightning: Project v1 and v2, MICCAI 2022.

Differences from the published programs, all on purpose: left-right flips exchange the labels
(`Augmentation.swap_on_flip`), validation uses validation images in evaluation mode, and every random draw follows
from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.weights import read_tensors, write_safetensors
from SpineMotionToolsLib.keypoints import heatmaps, losses
from SpineMotionToolsLib.keypoints.aasce import LabeledImage, normalized_labels
from SpineMotionToolsLib.keypoints.augmentation import Augmentation, augmented
from SpineMotionToolsLib.keypoints.hint_sampling import MICCAI_HINT_PROBABILITIES, PROJECT_HINT_PROBABILITIES
from SpineMotionToolsLib.keypoints.networks import ARCHITECTURES
from SpineMotionToolsLib.keypoints.preprocessing import GRID, resize_gray, to_network


@dataclass(frozen=True)
class Recipe:
    """A published recipe. `hints_from_epoch`: no hints before; `patience`: epochs without a better validation
    error.
    """

    name: str
    batch: int
    epochs: int
    patience: int | None
    augmentation: Augmentation
    rate: float = 1e-3
    hints_from_epoch: int = 0
    morphology: bool = False
    decoding: str = "expectation"
    validate_after: int = 1  # hints before the validation error that counts


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("project-v1", 8, 249, None, Augmentation(10.0, (0.9, 1.0)), hints_from_epoch=21),
        Recipe("project-v2", 8, 199, 36, Augmentation(15.0, (0.9, 1.2)), hints_from_epoch=21),
        Recipe(
            "miccai", 4, 5000, 50, Augmentation(15.0, (1.9, 2.2)), morphology=True, decoding="hard", validate_after=0
        ),
    )
}


class Radiographs(Dataset):
    """Items: picture (3, 512, 256) float32 in -1..1, corners (68, 2) on the grid, original size, whether untouched."""

    def __init__(self, images: list[LabeledImage], how: Augmentation | None = None, seed: int = 42):
        self.images, self.how, self.seed = images, how, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, bool]:
        item = self.images[index]
        image, untouched = item.read(), True
        if self.how is None:
            gray, corners = resize_gray(image, GRID), to_network(item.pixels, image.shape)
        else:
            rng = np.random.default_rng([self.seed, self.epoch, index])
            gray, corners, untouched = augmented(image, item.pixels, GRID, self.how, rng)
        tensor = torch.from_numpy(gray).float()[None].expand(3, -1, -1) / 127.5 - 1
        return tensor, torch.from_numpy(np.asarray(corners, np.float32)), torch.tensor(image.shape), untouched


@dataclass
class Hints:
    """What a batch's network sees besides the picture: hint maps and previous maps (B, 68, rows, columns)."""

    corners: Tensor
    grid: tuple[int, int] = GRID
    given: Tensor = field(init=False)
    maps: Tensor = field(init=False)
    previous: Tensor = field(init=False)

    def __post_init__(self) -> None:
        shape = (*self.corners.shape[:2], *self.grid)
        self.given = torch.zeros(shape[:2], dtype=torch.bool, device=self.corners.device)
        self.maps = torch.zeros(shape, device=self.corners.device)
        self.previous = torch.zeros_like(self.maps)

    def give(self, sample: int, keypoints: list[int]) -> None:
        self.given[sample, keypoints] = True
        self.maps[sample, keypoints] = heatmaps.gaussian(self.corners[sample, keypoints].cpu(), self.grid).to(self.maps)


class InteractiveTraining(lightning.LightningModule):
    """One network learning with simulated users; `pairs` and `triples` are for the morphology loss."""

    def __init__(
        self, network: nn.Module, recipe: Recipe, pairs: losses.Pairs = (), triples: losses.Triples = (), seed: int = 42
    ):
        super().__init__()
        self.network, self.recipe, self.pairs, self.triples = network, recipe, pairs, triples
        self.rng = np.random.default_rng(seed)
        self._errors: list[Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.recipe.rate)

    def training_step(self, batch: Any, _index: int) -> Tensor:
        image, corners, _, untouched = batch
        hints = Hints(corners, tuple(image.shape[-2:]))
        self.network.eval()
        with torch.no_grad():
            self.simulate(hints, image)
        self.network.train()
        logits, auxiliary = self.network(hints.maps, hints.previous, image)
        target = heatmaps.gaussian(corners.cpu(), hints.grid).to(logits)
        loss = losses.heatmap_loss(logits, target)
        if auxiliary is not None:
            loss = loss + losses.heatmap_loss(auxiliary, target)
        if self.recipe.morphology:
            points = heatmaps.patch_expectation(torch.sigmoid(logits))
            loss = loss + losses.miccai_morphology(points, corners, hints.grid, self.pairs, self.triples, untouched)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def simulate(self, hints: Hints, image: Tensor) -> None:
        """Give hints and run the rounds that come before the learning step, by the recipe."""
        batch = len(image)
        if self.recipe.name == "miccai":
            counts = self.rng.choice(68, batch, p=MICCAI_HINT_PROBABILITIES)
        else:
            allowed = self.current_epoch >= self.recipe.hints_from_epoch
            counts = np.full(batch, self.rng.choice(11, p=PROJECT_HINT_PROBABILITIES) if allowed else 0)
        if self.recipe.name == "project-v1":
            for _ in range(int(counts[0])):
                self._round(hints, image, among=10)
            return
        for sample, count in enumerate(counts):
            hints.give(sample, self.rng.choice(68, int(count), replace=False).tolist())
        for _ in range(int(self.rng.integers(0, 3))):
            self._round(hints, image, among=1)

    def _round(self, hints: Hints, image: Tensor, among: int) -> None:
        """Predict, feed back, and give each sample one of its `among` worst corners."""
        probability = torch.sigmoid(self.network(hints.maps, hints.previous, image)[0])
        points = heatmaps.decode(probability, self.recipe.decoding).to(hints.corners)
        error = (points - hints.corners).norm(dim=-1)
        if self.recipe.name == "miccai":
            error = error.masked_fill(hints.given, -1)
        worst = error.topk(among, dim=1).indices.cpu().numpy()
        for sample in range(len(image)):
            hints.give(sample, [int(self.rng.choice(worst[sample]))])
        hints.previous = probability

    def validation_step(self, batch: Any, _index: int) -> None:
        """Error in original pixels without hints, or after one hint at the worst corner, by the recipe."""
        image, corners, sizes, _ = batch
        hints = Hints(corners, tuple(image.shape[-2:]))
        for _ in range(self.recipe.validate_after):
            self._round(hints, image, among=1)
        probability = torch.sigmoid(self.network(hints.maps, hints.previous, image)[0])
        points = heatmaps.decode(probability, self.recipe.decoding).to(corners)
        points = torch.where(hints.given[..., None], corners, points)
        scale = sizes.to(corners) / torch.tensor(hints.grid).to(corners)
        self._errors.append(((points - corners) * scale[:, None]).norm(dim=-1).mean(1))

    def on_validation_epoch_end(self) -> None:
        self.log("val_mre_px", torch.cat(self._errors).mean(), prog_bar=True)
        self._errors.clear()

    def on_train_epoch_start(self) -> None:
        dataset = getattr(self.trainer.train_dataloader, "dataset", None)
        if isinstance(dataset, Radiographs):
            dataset.epoch = self.current_epoch


def train(
    network_name: str,
    recipe_name: str,
    images: list[LabeledImage],
    out: Path,
    imagenet: Path | None = None,
    epochs: int | None = None,
    workers: int = 0,
    seed: int = 42,
    accelerator: str = "auto",
) -> Path:
    """Train a published network on labeled images (sets "train" and "val") and write its best weights to `out`.

    `imagenet`: HRNetV2-W32 classification weights to start the trunk from. Returns the path of the .safetensors file.
    """
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    if network_name not in ARCHITECTURES or recipe_name not in RECIPES:
        raise InputError(f"Choose a network of {', '.join(ARCHITECTURES)} and a recipe of {', '.join(RECIPES)}.")
    recipe = RECIPES[recipe_name]
    parts = {name: [image for image in images if image.set == name] for name in ("train", "val")}
    if not all(parts.values()):
        raise InputError("Training needs images of the sets train and val. Draw a validation set first.")
    lightning.seed_everything(seed)
    network = ARCHITECTURES[network_name].build()
    if imagenet is not None:
        start_from_imagenet(network, imagenet)
    pairs: losses.Pairs = ()
    triples: losses.Triples = ()
    if recipe.morphology:
        labels = normalized_labels(parts["train"])
        pairs, triples = losses.steadiest_pairs(labels), losses.steadiest_triples(labels)
    module = InteractiveTraining(network, recipe, pairs, triples, seed)
    best = ModelCheckpoint(out / "checkpoints", monitor="val_mre_px", save_last=True)
    callbacks: list[Any] = [best]
    if recipe.patience is not None:
        callbacks.append(EarlyStopping("val_mre_px", patience=recipe.patience))
    trainer = lightning.Trainer(
        max_epochs=epochs or recipe.epochs, callbacks=callbacks, default_root_dir=out, accelerator=accelerator,
        logger=False, enable_model_summary=False,
    )  # fmt: skip
    loaders = [
        DataLoader(
            Radiographs(part, recipe.augmentation if name == "train" else None, seed), recipe.batch,
            shuffle=name == "train", drop_last=name == "train" and recipe.name == "miccai", num_workers=workers,
        )
        for name, part in parts.items()
    ]  # fmt: skip
    trainer.fit(module, *loaders)
    tensors = read_tensors(best.best_model_path, strip_prefixes=("network.",))
    path = out / f"keypoints-{network_name}-{recipe_name}.safetensors"
    score = float(best.best_model_score)
    write_safetensors(path, tensors, {"network": network_name, "recipe": recipe_name, "val_mre_px": f"{score:.3f}"})
    return path


def start_from_imagenet(network: nn.Module, path: Path) -> int:
    """Copy HRNetV2-W32 classification weights into the trunk and the first convolutions; returns how many fitted."""
    stems = {"conv1": "image_encoder.0", "bn1": "image_encoder.1", "conv2": "last_encoder.0", "bn2": "last_encoder.1"}
    state, fitted = network.state_dict(), 0
    prefix = "hint_fusion_layer." if "hint_fusion_layer.scale" in state else ""
    for key, value in read_tensors(path).items():
        first, _, rest = key.partition(".")
        name = f"{prefix}{stems[first]}.{rest}" if first in stems else f"hrnet.{key}"
        if name in state and tuple(state[name].shape) == value.shape:
            state[name].copy_(torch.from_numpy(np.array(value)))
            fitted += 1
    if not fitted:
        raise InputError(f"{path.name} holds no HRNetV2-W32 weights. Choose the ImageNet classification file.")
    return fitted

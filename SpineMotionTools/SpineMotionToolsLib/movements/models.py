"""Weight files of the general-movements system: the classifier, background removal, body points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.body_models import BodyModel, fill, load_body_model
from SpineMotionToolsLib.common.errors import WeightsError
from SpineMotionToolsLib.common.weights import (
    read_metadata,
    read_tensors,
    sha256_of,
    starter_path,
    write_safetensors,
)

if TYPE_CHECKING:
    from torch import nn

    from SpineMotionToolsLib.common.engine import ResolvedEngine
    from SpineMotionToolsLib.movements.networks import TwoStream, Variant

STARTER_FILES = {
    "classifier": "movements-classifier.safetensors",
    "background": "movements-background.safetensors",
    "points": "movements-body-points.safetensors",
}
STARTER_NOTE = "Starter model, trained on drawn infants, not validated on patients."


@dataclass(frozen=True)
class Classifier:
    """A two-stream network (or one of its streams) with its weights."""

    network: TwoStream
    sha256: str
    starter: bool

    @property
    def variant(self) -> Variant:
        return self.network.variant

    @property
    def title(self) -> str:
        streams = {"spatial": self.variant.spatial_depth, "temporal": self.variant.temporal_depth}
        parts = [f"{name} ResNet-{depth}" for name, depth in streams.items() if depth]
        return ("starter: " if self.starter else "") + " + ".join(parts)


@dataclass(frozen=True)
class BackgroundModel:
    """A U2-Net; call it with (N,3,h,w) to get the fused maps (N,h,w)."""

    network: nn.Module
    sha256: str
    starter: bool
    engine: ResolvedEngine

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode(), self.engine.autocast():
            fused = self.network(torch.from_numpy(tensor).to(self.engine.device))[0]
        return fused[:, 0].float().cpu().numpy()


def load_classifier(path: Path | str | None, engine: ResolvedEngine) -> Classifier:
    """The classifier of a published state dict (any variant), or the starter one. Raises WeightsError."""
    from SpineMotionToolsLib.movements.networks import TwoStream, variant_of

    path = _chosen(path, "classifier")
    tensors = read_tensors(path, strip_prefixes=("module.", "model."))
    variant = variant_of(tensors)
    if variant is None:
        raise WeightsError(
            f"{path.name} fits no classifier of general movements. Choose best_weights.pth of a training run."
        )
    network = TwoStream(variant)
    fill(network, tensors, f"the general-movements classifier ({path.name})")
    return Classifier(network.to(engine.device), sha256_of(path), is_starter(path))


def load_background_model(path: Path | str | None, engine: ResolvedEngine) -> BackgroundModel:
    """The background network of u2net.pth or of a file of the same layers, or the starter one without `path`."""
    from SpineMotionToolsLib.movements.background_network import U2Net

    path = _chosen(path, "background")
    tensors = read_tensors(path)
    if "stage1d.rebnconvin.conv_s1.weight" not in tensors:
        raise WeightsError(f"{path.name} fits no background network. Choose u2net.pth of U2-Net.")
    network = U2Net(int(tensors["stage1.rebnconvin.conv_s1.weight"].shape[0]))
    fill(network, tensors, f"the background network ({path.name})")
    return BackgroundModel(network.to(engine.device), sha256_of(path), is_starter(path), engine)


def load_points_model(path: Path | str | None, engine: ResolvedEngine) -> BodyModel:
    """The body-point network of body_pose_model.pth or of a file of the same layers, or the starter one."""
    return load_body_model(_chosen(path, "points"), engine)


def save_network(path: Path | str, network: nn.Module, trained_on: str) -> None:
    """Write a starter network as safetensors."""
    tensors: Mapping[str, np.ndarray] = {k: v.detach().cpu().numpy() for k, v in network.state_dict().items()}
    write_safetensors(path, tensors, {"starter": "true", "trained_on": trained_on})


def is_starter(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors" and read_metadata(path).get("starter") == "true"


def _chosen(path: Path | str | None, kind: str) -> Path:
    return starter_path(STARTER_FILES[kind]) if path is None else Path(path)

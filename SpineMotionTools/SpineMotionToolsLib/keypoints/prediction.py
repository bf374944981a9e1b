"""One prediction after the other on one picture, keeping between corrections what does not change.

The published programs rebuild 68 full-size hint maps, join them with 68 previous maps and run the whole network each
time. Here the picture's first features are kept, only hinted channels are made and convolved, and the previous maps
are kept as logits at a quarter of the size, from which the full-size maps follow exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.keypoints import heatmaps
from SpineMotionToolsLib.keypoints.hrnet import resize
from SpineMotionToolsLib.keypoints.networks import ARCHITECTURES, KEYPOINTS

if TYPE_CHECKING:
    from SpineMotionToolsLib.keypoints.starter_prediction import Looks
    from SpineMotionToolsLib.keypoints.weights import LoadedNetwork

Hints = Mapping[int, tuple[float, float]]
"""Keypoint -> given point (row, column) on the networks' grid."""
LARGEST_ROUNDING_PX = 0.05  # by bfloat16, on the grid
REACH = 8  # standard deviations beyond which a hint's Gaussian is below float32's resolution


@dataclass(frozen=True)
class Prediction:
    """What the network says, on the 512 x 256 grid, before any pinning.

    `points` (68, 2) = (row, column); `confidence` (68,) in 0..1: height of the heatmap's peak; `spread` (68, 2):
    standard deviation of the place in pixels of the grid (row, column); handed to the next round are `maps`
    (68, 128, 64), the logits, and with the starter what was seen of every vertebra.
    """

    points: np.ndarray
    confidence: np.ndarray
    spread: np.ndarray
    maps: np.ndarray = field(repr=False)
    looks: Looks | None = field(default=None, repr=False)


class Predictor:
    """A network with one picture. `decoding` defaults to what the network was published with.

    Computes in float32 unless the engine asks for bfloat16, which is given up for a picture whose points it moves.
    """

    def __init__(self, loaded: LoadedNetwork, engine: Engine | None = None, decoding: str | None = None):
        engine = engine or Engine()
        self.loaded = loaded
        self.engine = (replace(engine, precision="float32") if engine.precision == "auto" else engine).resolve()
        self._wanted = self.engine
        self.device = self.engine.device
        self.decoding = decoding or self.default_decoding

    @cached_property
    def network(self) -> nn.Module:
        """The network as it runs here."""
        return fold_batch_norm(copy.deepcopy(self.loaded.network).eval()).to(self.device)

    @property
    def default_decoding(self) -> str:
        raise NotImplementedError

    def set_image(self, image: np.ndarray) -> None:
        """Take a picture as `preprocessing.network_image` gives it, (1, rows, columns) float32 in -1..1."""
        self.engine = self._wanted
        self._take(image)
        if self.engine.bf16:
            rounded = self.predict().points
            self.engine = replace(self._wanted, bf16=False)
            self._take(image)
            moved = float(np.abs(self.predict().points - rounded).max())
            if moved <= LARGEST_ROUNDING_PX:
                self.engine = self._wanted
                self._take(image)
            else:
                note = f"bfloat16 moved points by {moved:.2f} pixels, so float32 was used."
                self.engine = replace(self.engine, notes=(*self.engine.notes, note))

    def predict(self, hints: Hints | None = None, previous: Prediction | None = None) -> Prediction:
        """The keypoints with these hints, going on from the last round (None: from scratch)."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Have PyTorch prepare what it otherwise prepares during the first corrections."""

    def _take(self, image: np.ndarray) -> None:
        """Compute and keep what depends on the picture alone."""
        raise NotImplementedError


class PublishedPredictor(Predictor):
    """The published networks. `previous`: "all" maps are fed back, or only those of "hinted" keypoints (MICCAI 2022's
    test).
    """

    def __init__(
        self,
        loaded: LoadedNetwork,
        engine: Engine | None = None,
        decoding: str | None = None,
        previous: str | None = None,
    ):
        self.architecture = ARCHITECTURES[loaded.name]
        super().__init__(loaded, engine, decoding)
        self.previous = previous or self.architecture.previous
        self._features: Tensor | None = None
        self._full: Tensor | None = None  # full-size probabilities, one piece of memory for all predictions
        self._held: np.ndarray | None = None  # the maps they belong to

    @property
    def default_decoding(self) -> str:
        return self.architecture.decoding

    @cached_property
    def _fast_network(self) -> nn.Module:
        from SpineMotionToolsLib.keypoints.fast_networks import accelerated

        return accelerated(self.loaded.network)

    @property
    def _running(self) -> nn.Module:
        fast = self.device.type == "cpu" and not self.engine.bf16
        return self._fast_network if fast else self.network

    def _take(self, image: np.ndarray) -> None:
        with torch.inference_mode(), self.engine.autocast():
            self.size = image.shape[-2:]
            tensor = torch.from_numpy(image).to(self.device)[None].expand(1, 3, *self.size)
            self._features = self._running.encode_image(tensor)
        self._held = None

    def predict(self, hints: Hints | None = None, previous: Prediction | None = None) -> Prediction:
        hints = dict(sorted((hints or {}).items()))
        with torch.inference_mode():
            with self.engine.autocast():
                maps = self._maps(hints, None if previous is None else previous.maps)
            maps = maps[0].float().contiguous()
            points = self._enlarge(maps, self.decoding)
            small = torch.sigmoid(maps)
            confidence = small.amax((1, 2))
            spread = spread_of(small, self.size, heatmaps.STD)
        self._held = maps.cpu().numpy()
        return Prediction(points.double().cpu().numpy(), confidence.cpu().numpy(), spread.cpu().numpy(), self._held)

    def full_logits(self, prediction: Prediction) -> np.ndarray:
        """(68, rows, columns) logits at the input's size."""
        return resize(torch.from_numpy(prediction.maps)[None], self.size)[0].numpy()

    def probability(self, maps: np.ndarray) -> Tensor:
        """Full-size probabilities (68, rows, columns) of a prediction's `maps`, overwritten by the next prediction."""
        if self._held is not maps:
            with torch.inference_mode():
                self._enlarge(torch.from_numpy(maps).to(self.device))
            self._held = maps
        return self._full

    def _enlarge(self, maps: Tensor, decoding: str | None = None) -> Tensor | None:
        """Write the full-size probabilities of logits (68, rows, columns); their points when there is a `decoding`.

        Map by map, so that each is decoded while it is in the processor's cache.
        """
        if self._full is None or self._full.shape[1:] != self.size:
            self._full = torch.empty(len(maps), *self.size, device=self.device)
        points = []
        for logits, full in zip(maps.split(1), self._full.split(1)):
            torch.sigmoid(resize(logits[None], self.size)[0], out=full)
            if decoding is not None:
                points.append(heatmaps.decode(full, decoding))
        return torch.cat(points) if points else None

    def _maps(self, hints: Hints, previous: np.ndarray | None) -> Tensor:
        network, small = self._running, None
        if self.architecture.interactive:
            mixed = self._mix(hints, previous)
            fused = network.fuse(mixed, self._features)
            small = self._small_hints(hints, fused.shape[-2:])
        else:
            fused = network.fuse(None, self._features)
        return network.maps(fused, small, list(hints))[0]

    def _mix(self, hints: Hints, previous: np.ndarray | None) -> Tensor:
        """The first convolution of hints and previous maps, (1, 16, rows, columns), of channels that are not zero."""
        first = self.loaded.network.hint_fusion_layer.hintmap_encoder[0]
        weight, bias = first.weight.detach()[:, :, 0, 0].T.to(self.device), first.bias.detach().to(self.device)
        if previous is None:
            total = bias.repeat(self.size[0] * self.size[1], 1)
        else:
            chosen = list(hints) if self.previous == "hinted" else slice(None)
            probability = self.probability(previous)[chosen].flatten(1)
            total = torch.addmm(bias, probability.T, weight[KEYPOINTS:][chosen])
        total = total.view(1, *self.size, -1)
        for keypoint, point in hints.items():
            (r, in_rows), (c, in_columns) = (_profile(place, n) for place, n in zip(point, self.size))
            patch = (in_rows[:, None] * in_columns[None, :]).to(self.device)
            total[0, r, c] += patch[..., None] * weight[keypoint]
        return total.movedim(-1, 1)

    def _small_hints(self, hints: Hints, size: tuple[int, int]) -> Tensor:
        """(1, n, *size) hint maps as the gate sees them, resized from the full size row by row and column by
        column.
        """
        maps = []
        for point in hints.values():
            profiles = []
            for place, n, m in zip(point, self.size, size):
                full = torch.exp(-0.5 * ((torch.arange(n, dtype=torch.float64) - place) / heatmaps.STD) ** 2).float()
                profiles.append(
                    functional.interpolate(full[None, None], size=m, mode="linear", align_corners=True)[0, 0]
                )
            maps.append(profiles[0][:, None] * profiles[1][None, :])
        return torch.stack(maps)[None].to(self.device) if maps else torch.zeros(1, 0, *size, device=self.device)


def make_predictor(loaded: LoadedNetwork, engine: Engine | None = None, decoding: str | None = None) -> Predictor:
    """The predictor for a loaded network; `decoding`: one of `heatmaps.DECODERS`, for the starter "shape" or
    "windowed".
    """
    from SpineMotionToolsLib.keypoints.starter_prediction import StarterPredictor
    from SpineMotionToolsLib.keypoints.weights import STARTER

    return (StarterPredictor if loaded.name == STARTER else PublishedPredictor)(loaded, engine, decoding)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Batch norms merged into the convolutions before them, in place; the network must be in evaluation mode."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in network.modules():
        children = list(module.named_children())
        for (name, layer), (next_name, following) in zip(children, children[1:]):
            if isinstance(layer, nn.Conv2d):
                inner = following[0] if isinstance(following, nn.Sequential) and len(following) else following
                if isinstance(inner, nn.BatchNorm2d):
                    setattr(module, name, fuse_conv_bn_eval(layer, inner))
                    if inner is following:
                        setattr(module, next_name, nn.Identity())
                    else:
                        following[0] = nn.Identity()
    return network


def _profile(place: float, size: int) -> tuple[slice, Tensor]:
    """The part of 0..size-1 a hint at `place` reaches, and its Gaussian there."""
    reach = REACH * heatmaps.STD
    first, last = max(0, int(np.ceil(place - reach))), min(size, int(np.floor(place + reach)) + 1)
    places = torch.arange(first, max(first, last), dtype=torch.float64)
    return slice(first, max(first, last)), torch.exp(-0.5 * ((places - place) / heatmaps.STD) ** 2).float()


def spread_of(probability: Tensor, grid: tuple[int, int], sharpest: float) -> Tensor:
    """(68, 2) standard deviation of the place in grid pixels, less the width `sharpest` that a certain map has."""
    rows, columns = probability.shape[-2:]
    total = probability.sum((1, 2)).clamp(min=1e-12)
    result = []
    for axis, n, m in ((2, rows, grid[0]), (1, columns, grid[1])):
        places = torch.arange(n, dtype=probability.dtype, device=probability.device) * (m / n)
        mass = probability.sum(axis) / total[:, None]
        mean = (mass * places).sum(1)
        variance = (mass * (places - mean[:, None]) ** 2).sum(1)
        result.append((variance - sharpest**2).clamp(min=0.25**2).sqrt())
    return torch.stack(result, 1)

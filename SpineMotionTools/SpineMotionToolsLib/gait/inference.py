"""Clips through a network: batch normalization folded away, bfloat16 where the computer gains from it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from SpineMotionToolsLib.common.engine import Engine, ResolvedEngine, free_memory, is_out_of_memory
from SpineMotionToolsLib.gait.models import GaitModel
from SpineMotionToolsLib.gait.networks import Branch, ResBlock, Stem, TimeThenSpace, VideoNet


class ClipScorer:
    """Scores batches of clips with one model on one engine; falls back to the CPU when the GPU's memory runs out."""

    def __init__(self, model: GaitModel, engine: Engine | None = None):
        self.model = model
        self.engine: ResolvedEngine = (engine or Engine()).resolve()
        self._network = faster(model.network, self.engine)

    def logits(self, clips: np.ndarray) -> np.ndarray:
        """Logits (N,) of clips (N,3,T,H,W) float32; a network that scores single frames gives the mean over a clip."""
        try:
            return self._run(clips)
        except RuntimeError as error:
            if self.engine.device.type == "cpu" or not is_out_of_memory(error):
                raise
        free_memory(self.engine.device)
        self.engine = Engine(device="cpu").resolve()
        self._network = faster(self.model.network, self.engine)
        return self._run(clips)

    def _run(self, clips: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(clips)).to(self.engine.device)
            logits = self._network(batch).float().cpu().numpy()
        return logits.reshape(len(clips), -1).mean(axis=1)

    def each(self, clips: Iterable[np.ndarray], mirror: bool = False) -> Iterator[float]:
        """The logit of each clip (3,T,H,W) in turn, a batch at a time; `mirror` averages with the mirrored clip's."""
        batch: list[np.ndarray] = []
        size = self.engine.batch_size or (8 if self.engine.device.type != "cpu" else 1)
        for clip in clips:
            batch.append(clip)
            if len(batch) == size:
                yield from self._both_ways(np.stack(batch), mirror)
                batch = []
        if batch:
            yield from self._both_ways(np.stack(batch), mirror)

    def _both_ways(self, clips: np.ndarray, mirror: bool) -> Iterator[float]:
        logits = self.logits(clips)
        if mirror:
            logits = (logits + self.logits(clips[..., ::-1])) / 2
        yield from (float(value) for value in logits)


def faster(network: nn.Module, engine: ResolvedEngine) -> nn.Module:
    """A copy of a network for inference on an engine, with equal results up to rounding."""
    network = copy.deepcopy(network).eval()
    if isinstance(network, VideoNet):
        fold_normalization(network)
    network = network.to(engine.device)
    if engine.bf16 and isinstance(network, VideoNet):
        return HalfPrecisionTrunk(network)
    return network


def fold_normalization(network: nn.Module) -> None:
    """Put every batch normalization that follows a convolution into the convolution, in place."""
    for module in network.modules():
        if isinstance(module, Branch):
            for letter in "abc":
                _fold(module, f"conv_{letter}", f"norm_{letter}")
        elif isinstance(module, Stem):
            _fold(module, "conv", "norm")
        elif isinstance(module, ResBlock) and module.branch1_norm is not None:
            _fold(module, "branch1_conv", "branch1_norm")
        elif isinstance(module, TimeThenSpace):
            module.conv_t = fuse_conv_bn_eval(module.conv_t, module.norm)
            module.norm = nn.Identity()


def _fold(module: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = getattr(module, conv_name), getattr(module, norm_name)
    owner = module
    if isinstance(norm, nn.Sequential):  # x3d: the normalization is followed by a gate
        owner, norm_name, norm = norm, "0", norm[0]
    if hasattr(conv, "conv_xy"):  # a pair of convolutions: the normalization follows the second
        conv.conv_xy = fuse_conv_bn_eval(conv.conv_xy, norm)
    else:
        setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
    setattr(owner, norm_name, nn.Identity())


class HalfPrecisionTrunk(nn.Module):
    """Runs everything but the head in bfloat16, channels last (what CPUs and GPUs compute fastest)."""

    def __init__(self, network: VideoNet):
        super().__init__()
        for block in network.blocks[:-1]:
            block.to(torch.bfloat16)
        self.network = network.to(memory_format=torch.channels_last_3d)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        clips = clips.to(torch.bfloat16).contiguous(memory_format=torch.channels_last_3d)
        return self.network.head(self.network.features(clips).float())

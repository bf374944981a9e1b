"""The published detection and grading networks, rearranged to run more than twice as fast on a CPU in float32.

The same weights and the same mathematics, other order: batch norms folded into convolutions, maps with channels last,
1x1 convolutions as matrix products and before upsampling instead of after, 3x3 convolutions by `winograd`. Results
differ from the plain networks by rounding (about 1e-6 of the range); decisions that rounding could tip are made again
by the plain network (`inference.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from SpineMotionToolsLib.common.fast_layers import FastBasicBlock, FastBottleneck, Maker, Pointwise

from .grades import HEADS
from .networks import DetectionNetwork, GradingNetwork, UpBlock

DECODED_AT_ONCE = 2


class FastUpBlock(nn.Module):
    def __init__(self, block: UpBlock, make: Maker) -> None:
        super().__init__()
        self.narrow = Pointwise(block.upsample[1])
        self.first, self.second = (make.three(b.conv, b.bn) for b in (block.conv_block_1, block.conv_block_2))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        narrow = self.narrow(x).movedim(-1, 1)
        larger = F.interpolate(narrow, scale_factor=2, mode="bilinear", align_corners=False).movedim(1, -1)
        return self.second(self.first(larger, skip))


class FastDetection(nn.Module):
    """`DetectionNetwork` for inference on a CPU: (n, 1, h, w) -> (n, 13, h, w)."""

    def __init__(self, network: DetectionNetwork) -> None:
        super().__init__()
        make = Maker()
        self.entry = make.direct(network.input_block[0], network.input_block[1])
        self.pool = network.input_pool
        self.stages = nn.ModuleList(
            nn.Sequential(*(FastBottleneck(block, make) for block in stage)) for stage in network.down_blocks
        )
        # The bridge's maps are 7 x 7: tiles of 4 would save 3 % of a patch's time, for filters 0.7 GB larger.
        self.bridge = nn.Sequential(*(make.three(block.conv, block.bn, tile=2) for block in network.bridge.bridge))
        self.up = nn.ModuleList(FastUpBlock(block, make) for block in network.up_blocks)
        self.out = Pointwise(network.out)

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)
        skips = [x, self.entry(x)]
        x = self.pool(skips[-1].movedim(-1, 1)).movedim(1, -1)
        for stage in self.stages[:3]:
            x = stage(x)
            skips.append(x)
        x = self.bridge(self.stages[3](x))
        for block in self.up[:2]:
            x = block(x, skips.pop())
        # Small maps gain from large batches (filters are read once), large maps from small ones (they stay in cache).
        parts = [
            self._decode(*part) for part in zip(*(t.split(DECODED_AT_ONCE) for t in (x.clone(), *reversed(skips))))
        ]
        return torch.cat(parts).movedim(-1, 1)

    def _decode(self, x: Tensor, *skips: Tensor) -> Tensor:
        for block, skip in zip(self.up[2:], skips):
            x = block(x, skip)
        return self.out(x)


class FastGrading(nn.Module):
    """`GradingNetwork` for inference on a CPU: (n, 1, slices, rows, columns) -> class logits of the eleven heads."""

    def __init__(self, network: GradingNetwork, bf16: bool = False) -> None:
        super().__init__()
        make = Maker(bf16)
        self.entry = make.direct(network.conv1, network.bn1)
        self.pool = network.maxpool
        layers = (network.layer1, network.layer2, network.layer3, network.layer4)
        self.layers = nn.Sequential(*(FastBasicBlock(block, make) for layer in layers for block in layer))
        self.heads = nn.ModuleList(getattr(network, head.key) for head in HEADS)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.pool(self.entry(x.movedim(1, -1)).movedim(-1, 1)).movedim(1, -1)
        features = self.layers(x).mean(dim=(1, 2, 3))
        return tuple(head(features) for head in self.heads)


def accelerated(network: nn.Module, bf16: bool = False) -> nn.Module | None:
    """The fast form of a published detection or grading network (`bf16` for grading only); None for others."""
    if isinstance(network, DetectionNetwork):
        return FastDetection(network).eval()
    if isinstance(network, GradingNetwork):
        return FastGrading(network, bf16).eval()
    return None

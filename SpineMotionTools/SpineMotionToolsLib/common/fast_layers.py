"""Layers of published networks rearranged for a CPU: batch norms folded into convolutions, maps with channels last
(n, [depth,] rows, columns, channels), each convolution computed in the way that is fastest for its size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from SpineMotionToolsLib.common.packed import Convolution, Product
from SpineMotionToolsLib.common.winograd import WinogradConv

WINOGRAD_FROM_CHANNELS = 64


def fold(conv: nn.Module, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution followed by a batch norm in evaluation mode."""
    weight = conv.weight.detach()
    bias = conv.bias.detach() if conv.bias is not None else torch.zeros(len(weight))
    if norm is None:
        return weight, bias
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), (bias - norm.running_mean) * scale + norm.bias.detach()


class Pointwise(nn.Module):
    """A 1x1 convolution as a matrix product over (..., channels); `stride` over the last two map axes."""

    def __init__(self, conv: nn.Module, norm: nn.Module | None = None, slope: float | None = None) -> None:
        super().__init__()
        weight, bias = fold(conv, norm)
        self.product = Product(weight.flatten(1).T, bias.contiguous(), slope)
        self.stride = conv.stride[-1]

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[..., :: self.stride, :: self.stride, :].contiguous()
        return self.product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


@dataclass
class Maker:
    """Makes 3x3(x3) convolutions, each in the way that is faster; all share one workspace."""

    bf16: bool = False
    winograd_from: int = WINOGRAD_FROM_CHANNELS
    workspace: dict[str, Tensor] = field(default_factory=dict)

    def three(self, conv: nn.Module, norm: nn.Module, slope: float | None = 0.0, tile: int = 4) -> nn.Module:
        if max(conv.stride) == 1 and max(conv.in_channels, conv.out_channels) >= self.winograd_from:
            return WinogradConv(*fold(conv, norm), slope, tile, self.bf16, self.workspace)
        return self.direct(conv, norm, slope)

    def direct(self, conv: nn.Module, norm: nn.Module | None, slope: float | None = 0.0) -> Convolution:
        return Convolution(*fold(conv, norm), conv.stride, conv.padding, slope, self.bf16)


class FastBasicBlock(nn.Module):
    """A residual block of two 3x3(x3) convolutions; may write over what it is given."""

    def __init__(self, block: nn.Module, make: Maker) -> None:
        super().__init__()
        self.first = make.three(block.conv1, block.bn1)
        self.second = make.three(block.conv2, block.bn2, slope=None)
        downsample = getattr(block, "downsample", None)
        self.downsample = Pointwise(*downsample) if downsample else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.second.add_to_(identity, self.first(x))


class FastBottleneck(nn.Module):
    """A residual block of a 3x3(x3) convolution between two of 1x1; may write over what it is given."""

    def __init__(self, block: nn.Module, make: Maker) -> None:
        super().__init__()
        self.first = Pointwise(block.conv1, block.bn1, slope=0.0)
        self.second = make.three(block.conv2, block.bn2)
        self.third = make.direct(block.conv3, block.bn3, slope=None)
        downsample = getattr(block, "downsample", None)
        self.downsample = Pointwise(*downsample) if downsample else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.third.add_to_(identity, self.second(self.first(x)))

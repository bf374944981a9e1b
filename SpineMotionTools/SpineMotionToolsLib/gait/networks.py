"""The video networks: one builder for the five three-dimensional families, and the published presets.

State-dict names equal the published checkpoints' without their leading `model.`. Input (N,3,T,H,W) float32, output
logits (N,1). Families: Feichtenhofer et al. 2019 (slow), Carreira & Zisserman 2017 (I3D), Tran et al. 2018 (R(2+1)D),
Tran et al. 2019 (CSN), Feichtenhofer 2020 (X3D).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from SpineMotionToolsLib.gait.networks_2d import EarlyFusion, LateFusion, SingleFrame

MOVING_MEAN = dict(eps=1e-5, momentum=0.1)


@dataclass(frozen=True)
class Architecture:
    """What the builder needs to know of one three-dimensional network.

    Per stage: number of blocks, inner and outer widths, temporal kernel of the first convolution by block (repeated in
    turn), temporal stride of the first block, spatial stride of the first block.
    """

    family: str  # "resnet", "csn", "r2plus1d" or "x3d": how the 3x3 part of a block is made
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    inner: tuple[int, ...] = (64, 128, 256, 512)
    outer: tuple[int, ...] = (256, 512, 1024, 2048)
    stem_width: int = 64
    stem_kernel: tuple[int, int, int] = (1, 7, 7)
    stem_pool: bool = True
    first_kernels: tuple[tuple[int, ...], ...] = ((1,), (1,), (1,), (1,))
    time_strides: tuple[int, ...] = (1, 1, 1, 1)
    space_strides: tuple[int, ...] = (1, 2, 2, 2)
    halve_time_after_first: bool = False  # c2d and i3d: a temporal max pool takes the place of blocks.2
    head_kernel: tuple[int, int, int] = (8, 7, 7)
    head_width: int = 0  # x3d: channels of the head's last convolution
    squeeze: tuple[int, ...] = (8, 8, 16, 32)  # x3d: inner width of the squeeze-excitation, per stage
    dropout: float = 0.5
    classes: int = 1

    @property
    def least_frames(self) -> int:
        """The fewest frames that leave the head its temporal extent."""
        frames = self.head_kernel[0]
        for stride in self.time_strides:
            frames = (frames - 1) * stride + 1
        return 2 * frames if self.halve_time_after_first else frames

    @property
    def least_side_px(self) -> int:
        """The smallest picture that leaves the head its spatial extent."""
        side = max(self.head_kernel[1:])
        for stride in (2, 2 if self.stem_pool else 1, *self.space_strides):
            side = (side - 1) * stride + 1
        return side

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Architecture:
        def as_tuples(value):
            return tuple(as_tuples(v) for v in value) if isinstance(value, list | tuple) else value

        return cls(**{name: as_tuples(value) for name, value in values.items()})


SLOW_R50 = Architecture("resnet", first_kernels=((1,), (1,), (3,), (3,)))
RESNET_SCRATCH = replace(SLOW_R50, stem_kernel=(3, 7, 7), head_kernel=(4, 7, 7))
CSN_R101 = Architecture(
    "csn", blocks=(3, 4, 23, 3), stem_kernel=(3, 7, 7), time_strides=(1, 2, 2, 2), head_kernel=(4, 7, 7), dropout=0.0
)
C2D_R50 = Architecture("resnet", halve_time_after_first=True, head_kernel=(4, 7, 7))
PRESETS: dict[str, Architecture] = {
    "slow_r50": SLOW_R50,
    "resnet50_scratch": RESNET_SCRATCH,
    "resnet101_scratch": replace(RESNET_SCRATCH, blocks=(3, 4, 23, 3)),
    "resnet152_scratch": replace(RESNET_SCRATCH, blocks=(3, 8, 36, 3)),
    "csn_r101": CSN_R101,
    "csn_r101_scratch": replace(CSN_R101, stem_pool=False, head_kernel=(1, 7, 7)),
    "csn_r50_scratch": replace(CSN_R101, blocks=(3, 4, 6, 3), stem_pool=False, head_kernel=(1, 7, 7)),
    "r2plus1d_r50": Architecture(
        "r2plus1d", stem_pool=False, time_strides=(1, 1, 2, 2), space_strides=(2, 2, 2, 2), head_kernel=(4, 7, 7)
    ),
    "x3d_m": Architecture(
        "x3d",
        blocks=(3, 5, 11, 7),
        inner=(54, 108, 216, 432),
        outer=(24, 48, 96, 192),
        stem_width=24,
        stem_kernel=(5, 3, 3),
        stem_pool=False,
        space_strides=(2, 2, 2, 2),
        head_kernel=(16, 7, 7),
        head_width=2048,
    ),
    "c2d_r50": C2D_R50,
    "i3d_r50": replace(C2D_R50, stem_kernel=(5, 7, 7), first_kernels=((3,), (3, 1), (3, 1), (1, 3))),
}


def _conv(inputs: int, outputs: int, kernel, stride=(1, 1, 1), groups: int = 1) -> nn.Conv3d:
    padding = tuple(k // 2 for k in kernel)
    return nn.Conv3d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(channels, **MOVING_MEAN)


class Stem(nn.Module):
    """The first convolution, halving the picture, and where the family has one a spatial max pool."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.conv = StemX3D(a) if a.family == "x3d" else _conv(3, a.stem_width, a.stem_kernel, (1, 2, 2))
        self.norm = _norm(a.stem_width)
        self.activation = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if a.stem_pool else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.activation(self.norm(self.conv(x))))


class StemX3D(nn.Module):
    """A spatial, then a depthwise temporal convolution; the published names have the two the wrong way round."""

    def __init__(self, a: Architecture):
        super().__init__()
        time, height, width = a.stem_kernel
        self.conv_t = _conv(3, a.stem_width, (1, height, width), (1, 2, 2))
        self.conv_xy = _conv(a.stem_width, a.stem_width, (time, 1, 1), groups=a.stem_width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_xy(self.conv_t(x))


class SqueezeExcitation(nn.Module):
    """Scales every channel by a gate computed from the mean of all channels."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv3d(channels, squeezed, 1), nn.ReLU(inplace=True), nn.Conv3d(squeezed, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.block(x.mean(dim=(2, 3, 4), keepdim=True))


class TimeThenSpace(nn.Module):
    """R(2+1)D: a temporal and a spatial convolution in the place of one 3x3x3."""

    def __init__(self, channels: int, time_stride: int, space_stride: int):
        super().__init__()
        self.conv_t = _conv(channels, channels, (3, 1, 1), (time_stride, 1, 1))
        self.norm = _norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv_xy = _conv(channels, channels, (1, 3, 3), (1, space_stride, space_stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_xy(self.relu(self.norm(self.conv_t(x))))


class Branch(nn.Module):
    """The residual branch: conv_a, conv_b, conv_c, each with its batch normalization."""

    def __init__(self, a: Architecture, stage: int, number: int, inputs: int, strides: tuple[int, int]):
        super().__init__()
        inner, kernels = a.inner[stage], a.first_kernels[stage]
        time_stride, space_stride = strides
        stride = (time_stride, space_stride, space_stride)
        self.conv_a = _conv(inputs, inner, (kernels[number % len(kernels)], 1, 1))
        self.norm_a = _norm(inner)
        self.relu = nn.ReLU(inplace=True)
        if a.family == "r2plus1d":
            self.conv_b = TimeThenSpace(inner, time_stride, space_stride)
        elif a.family == "resnet":
            self.conv_b = _conv(inner, inner, (1, 3, 3), stride)
        else:
            self.conv_b = _conv(inner, inner, (3, 3, 3), stride, groups=inner)
        self.norm_b = _norm(inner)
        self.activation_b = self.relu
        if a.family == "x3d":
            gate = nn.Identity() if number % 2 else SqueezeExcitation(inner, a.squeeze[stage])
            self.norm_b, self.activation_b = nn.Sequential(self.norm_b, gate), nn.SiLU(inplace=True)
        self.conv_c = _conv(inner, a.outer[stage], (1, 1, 1))
        self.norm_c = _norm(a.outer[stage])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm_a(self.conv_a(x)))
        x = self.activation_b(self.norm_b(self.conv_b(x)))
        return self.norm_c(self.conv_c(x))


class ResBlock(nn.Module):
    """Branch plus shortcut; a shortcut that keeps the channel number has no normalization (X3D's first stage)."""

    def __init__(self, a: Architecture, stage: int, number: int, inputs: int):
        super().__init__()
        strides = (a.time_strides[stage], a.space_strides[stage]) if number == 0 else (1, 1)
        outputs = a.outer[stage]
        self.branch1_conv = self.branch1_norm = None
        if inputs != outputs or strides != (1, 1):
            self.branch1_conv = _conv(inputs, outputs, (1, 1, 1), (strides[0], strides[1], strides[1]))
        if inputs != outputs:
            self.branch1_norm = _norm(outputs)
        self.branch2 = Branch(a, stage, number, inputs, strides)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = x if self.branch1_conv is None else self.branch1_conv(x)
        skip = skip if self.branch1_norm is None else self.branch1_norm(skip)
        return self.activation(skip + self.branch2(x))


class Stage(nn.Module):
    def __init__(self, a: Architecture, stage: int):
        super().__init__()
        inputs = a.outer[stage - 1] if stage else a.stem_width
        blocks = [ResBlock(a, stage, n, a.outer[stage] if n else inputs) for n in range(a.blocks[stage])]
        self.res_blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.res_blocks(x)


class PoolX3D(nn.Module):
    """X3D's head before the projection: widen, average, widen."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.pre_conv = _conv(a.outer[-1], a.inner[-1], (1, 1, 1))
        self.pre_norm = _norm(a.inner[-1])
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool3d(a.head_kernel, 1)
        self.post_conv = _conv(a.inner[-1], a.head_width, (1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.post_conv(self.pool(self.relu(self.pre_norm(self.pre_conv(x))))))


class Head(nn.Module):
    """Average over the kernel, project every remaining position, average these."""

    def __init__(self, a: Architecture):
        super().__init__()
        self.pool = PoolX3D(a) if a.family == "x3d" else nn.AvgPool3d(a.head_kernel, 1)
        self.dropout = nn.Dropout(a.dropout)
        self.proj = nn.Linear(a.head_width or a.outer[-1], a.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.pool(x)).permute(0, 2, 3, 4, 1)
        return self.proj(x).mean(dim=(1, 2, 3))


class VideoNet(nn.Module):
    """Stem, four stages and head under `blocks`, numbered as published."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        blocks = [Stem(architecture), *(Stage(architecture, i) for i in range(4))]
        if architecture.halve_time_after_first:
            blocks.insert(2, nn.MaxPool3d((2, 1, 1), (2, 1, 1)))
        self.blocks = nn.ModuleList([*blocks, Head(architecture)])

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The last stage's output, which the head averages and the activation maps explain."""
        for block in self.blocks[:-1]:
            x = block(x)
        return x

    def head(self, features: torch.Tensor) -> torch.Tensor:
        return self.blocks[-1](features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def build(name: str, frames: int = 8) -> nn.Module:
    """A network by its published name (`PRESETS`, "single_frame", "early_fusion", "late_fusion"), with random weights.

    `frames` is used by "early_fusion" only, whose first convolution has 3 * frames input channels. Raises KeyError.
    """
    if name == "single_frame":
        return SingleFrame()
    if name == "early_fusion":
        return EarlyFusion(frames)
    if name == "late_fusion":
        return LateFusion()
    return VideoNet(PRESETS[name])


def least_frames(name: str, frames: int = 8) -> int:
    """The fewest frames per clip the published network `name` accepts."""
    two_dimensional = {"single_frame": 1, "early_fusion": frames, "late_fusion": 11}
    return two_dimensional[name] if name in two_dimensional else PRESETS[name].least_frames


def initialise_from_scratch(network: VideoNet) -> None:
    """The published start of training without pre-trained weights: the last normalization of every branch begins at
    zero.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv3d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Branch):
            nn.init.zeros_(module.norm_c.weight)

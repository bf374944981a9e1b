"""HRNet-W32: four resolutions side by side (Sun et al., CVPR 2019), as both published keypoint networks use it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (32, 64, 128, 256)
FEATURES = sum(WIDTHS)


def conv_bn(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    return [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)]


def conv_bn_relu(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv_bn(inputs, outputs, size, stride), nn.ReLU(inplace=True))


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with the corners of both grids aligned, as everywhere in the published networks."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int):
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = conv_bn(inputs, width, 1)
        self.conv2, self.bn2 = conv_bn(width, width)
        self.conv3, self.bn3 = conv_bn(width, outputs, 1)
        self.downsample = nn.Sequential(*conv_bn(inputs, outputs, 1)) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class BasicBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, channels)
        self.conv2, self.bn2 = conv_bn(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(y)) + x)


class Exchange(nn.Module):
    """Four blocks on every branch, then every branch receives every other one."""

    def __init__(self, branches: int):
        super().__init__()
        widths = WIDTHS[:branches]
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(4))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_path(source, target) for source in range(branches)) for target in range(branches)
        )

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, xs)]
        fused = []
        for target, paths in enumerate(self.fuse_layers):
            total = None
            for source, path in enumerate(paths):
                part = resize(path(xs[source]), xs[target].shape[-2:])
                total = part if total is None else total + part
            fused.append(functional.relu(total))
        return fused


def _path(source: int, target: int) -> nn.Module:
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(*conv_bn(WIDTHS[source], WIDTHS[target], 1))
    steps: list[nn.Module] = [
        conv_bn_relu(WIDTHS[source], WIDTHS[source], stride=2) for _ in range(target - source - 1)
    ]
    return nn.Sequential(*steps, nn.Sequential(*conv_bn(WIDTHS[source], WIDTHS[target], stride=2)))


class HRNet(nn.Module):
    """(B, 64, h, w) -> (first features (B, 256, h, w), all resolutions at the finest one (B, 480, h, w))."""

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(Bottleneck(64, 64), *(Bottleneck(256, 64) for _ in range(3)))
        self.transition1 = nn.ModuleList(
            [conv_bn_relu(256, WIDTHS[0]), nn.Sequential(conv_bn_relu(256, WIDTHS[1], stride=2))]
        )
        self.stage2 = nn.Sequential(Exchange(2))
        self.transition2 = nn.ModuleDict({"2": nn.Sequential(conv_bn_relu(WIDTHS[1], WIDTHS[2], stride=2))})
        self.stage3 = nn.Sequential(*(Exchange(3) for _ in range(4)))
        self.transition3 = nn.ModuleDict({"3": nn.Sequential(conv_bn_relu(WIDTHS[2], WIDTHS[3], stride=2))})
        self.stage4 = nn.Sequential(*(Exchange(4) for _ in range(3)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.layer1(x)
        xs = self.stage2([branch(first) for branch in self.transition1])
        xs = self.stage3([*xs, self.transition2["2"](xs[-1])])
        xs = self.stage4([*xs, self.transition3["3"](xs[-1])])
        return first, torch.cat([resize(x, xs[0].shape[-2:]) for x in xs], 1)

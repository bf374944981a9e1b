"""The two-dimensional residual networks of torchvision (names, order and shapes of their tensors), without torchvision.

He et al. 2016; the stride of a bottleneck sits on its 3x3 convolution, as in torchvision.
"""

from __future__ import annotations

import torch
from torch import nn

LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (depths 18 and 34)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + _skip(self.downsample, x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions (depth 50 and more)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, width * self.expansion, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + _skip(self.downsample, x))


def _shortcut(channels: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels == outputs:
        return None
    return nn.Sequential(nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _skip(downsample: nn.Module | None, x: torch.Tensor) -> torch.Tensor:
    return x if downsample is None else downsample(x)


class ResNet(nn.Module):
    """(N,C,H,W) -> (N,classes), or the last feature map (N,features,H/32,W/32) when `classes` is None.

    `width` (64 in the published networks) scales all channel numbers.
    """

    def __init__(self, depth: int, in_channels: int = 3, classes: int | None = 1000, width: int = 64):
        super().__init__()
        block = BasicBlock if depth < 50 else Bottleneck
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for index, blocks in enumerate(LAYERS[depth]):
            inner, layer = width * 2**index, []
            for number in range(blocks):
                layer.append(block(channels, inner, 2 if index and not number else 1))
                channels = inner * block.expansion
            setattr(self, f"layer{index + 1}", nn.Sequential(*layer))
        self.features = channels
        if classes is not None:
            self.fc = nn.Linear(channels, classes)
        self.classes = classes

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.trunk(x)
        return x if self.classes is None else self.fc(x.mean(dim=(2, 3)))


def depth_of(tensors, prefix: str) -> int | None:
    """The depth whose blocks a state dict holds under `prefix` ("spatial."), or None for a layout of no known depth."""
    counts = tuple(
        len({name.split(".")[1] for name in (k[len(prefix) :] for k in tensors if k.startswith(prefix + f"layer{i}."))})
        for i in (1, 2, 3, 4)
    )
    bottleneck = f"{prefix}layer1.0.conv3.weight" in tensors
    for depth, layers in LAYERS.items():
        if layers == counts and (depth >= 50) == bottleneck:
            return depth
    return None

"""The four published networks; state-dict names and shapes equal the contracts (`contracts/spinenet-*.json`).

Windsor et al., arXiv 2205.01683: a ResNet-50 U-Net finds corners and centroids, a small 3-D network and a U-Net over
the label axis name the vertebrae, a 3-D ResNet-34 with eleven heads grades the discs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .grades import HEADS

# --------------------------------------------------------------------------------------------- detection


class Bottleneck(nn.Module):
    """ResNet-50 block: 1x1, 3x3 (carries the stride), 1x1 with fourfold width, plus the identity."""

    def __init__(self, channels: int, width: int, stride: int = 1, first: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        if first:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = self.downsample(x) if hasattr(self, "downsample") else x
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + identity)


def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, width, stride, first=True)
    return nn.Sequential(first, *(Bottleneck(4 * width, width) for _ in range(blocks - 1)))


class ConvBlock(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Bridge(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bridge = nn.Sequential(ConvBlock(channels, channels), ConvBlock(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.bridge(x)


class UpBlock(nn.Module):
    """Twice the size, half the channels, joined with the encoder's map of that size."""

    def __init__(self, channels: int, out: int, skip: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Conv2d(channels, out, 1)
        )
        self.conv_block_1, self.conv_block_2 = ConvBlock(out + skip, out), ConvBlock(out, out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv_block_2(self.conv_block_1(torch.cat([self.upsample(x), skip], dim=1)))


class DetectionNetwork(nn.Module):
    """Patches (n, 1, h, w) -> raw maps (n, 13, h, w); h and w multiples of 32. See `detection_targets` for the maps."""

    def __init__(self) -> None:
        super().__init__()
        self.input_block = nn.Sequential(
            nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        )
        self.input_pool = nn.MaxPool2d(3, 2, 1)
        self.down_blocks = nn.ModuleList(
            [_stage(64, 64, 3, 1), _stage(256, 128, 4, 2), _stage(512, 256, 6, 2), _stage(1024, 512, 3, 2)]
        )
        self.bridge = Bridge(2048)
        self.up_blocks = nn.ModuleList(
            [
                UpBlock(2048, 1024, 1024),
                UpBlock(1024, 512, 512),
                UpBlock(512, 256, 256),
                UpBlock(256, 128, 64),
                UpBlock(128, 64, 1),
            ]
        )
        self.out = nn.Conv2d(64, 13, 1)

    def features(self, x: Tensor) -> Tensor:
        """The 64-channel map before the last 1x1 convolution."""
        skips = [x]
        x = self.input_block(x)
        skips.append(x)
        x = self.input_pool(x)
        for block in self.down_blocks[:3]:
            x = block(x)
            skips.append(x)
        x = self.bridge(self.down_blocks[3](x))
        for block in self.up_blocks:
            x = block(x, skips.pop())
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


# --------------------------------------------------------------------------------------------- labelling


class AppearanceNetwork(nn.Module):
    """Vertebra volumes (n, 1, 224 rows, 224 columns, 16 slices) -> 24 level logits; convolution, ReLU, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 8, (3, 3, 1), (2, 2, 1), (3, 3, 0))
        self.conv2 = nn.Conv3d(8, 16, (3, 3, 1), padding=(3, 3, 0))
        self.conv3 = nn.Conv3d(16, 32, 3)
        self.conv4 = nn.Conv3d(32, 64, 3)
        self.conv5 = nn.Conv3d(64, 128, 3)
        for i, channels in enumerate((8, 16, 32, 64, 128), start=1):
            setattr(self, f"bnrm{i}", nn.BatchNorm3d(channels))
        self.fc1, self.fc2 = nn.Linear(6400, 256), nn.Linear(256, 24)

    def features(self, x: Tensor) -> Tensor:
        """The 256 values after the first fully connected layer."""
        x = self.bnrm1(F.relu(self.conv1(x)))
        x = F.max_pool3d(self.bnrm2(F.relu(self.conv2(x))), (2, 2, 1))
        x = F.max_pool3d(self.bnrm3(F.relu(self.conv3(x))), (2, 2, 1))
        x = F.max_pool3d(self.bnrm4(F.relu(self.conv4(x))), 2)
        x = F.max_pool3d(self.bnrm5(F.relu(self.conv5(x))), 2)
        x = F.dropout(x.flatten(1), training=self.training)
        return F.relu(self.fc1(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.dropout(self.features(x), training=self.training))


class ContextNetwork(nn.Module):
    """Context images (n, 1, rows, 24) -> logits of the same shape; rows a multiple of 16."""

    def __init__(self) -> None:
        super().__init__()
        channels = {1: (1, 16), 2: (16, 32), 3: (32, 64), 4: (64, 128), 5: (128, 64), 6: (128, 32), 7: (64, 16)}
        for i, (before, after) in channels.items():
            setattr(self, f"conv{i}", nn.Conv2d(before, after, (5, 3), padding=(4, 1), dilation=(2, 1)))
            setattr(self, f"bnrm{i}", nn.BatchNorm2d(after))
        self.conv_mid, self.bnrm_mid = nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128)
        self.conv8 = nn.Conv2d(16, 1, (5, 3), padding=(4, 1), dilation=(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self._down(x, 1)
        skip2 = x = self._down(x, 2)
        skip3 = x = self._down(x, 3)
        x = self._down(x, 4)
        x = self.bnrm_mid(F.relu(self.conv_mid(x)))
        x = torch.cat([self._up(x, 5), skip3], dim=1)
        x = torch.cat([self._up(x, 6), skip2], dim=1)
        return self.conv8(_double_rows(self._up(x, 7)))

    def _down(self, x: Tensor, i: int) -> Tensor:
        return F.max_pool2d(self._block(x, i), (2, 1))

    def _up(self, x: Tensor, i: int) -> Tensor:
        return self._block(_double_rows(x), i)

    def _block(self, x: Tensor, i: int) -> Tensor:
        return getattr(self, f"bnrm{i}")(F.relu(getattr(self, f"conv{i}")(x)))


def _double_rows(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=(2, 1), mode="bilinear", align_corners=False)


# --------------------------------------------------------------------------------------------- grading


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions plus the identity."""

    def __init__(self, channels: int, out: int, stride: tuple[int, int, int] = (1, 1, 1), first: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm3d(out)
        self.conv2, self.bn2 = nn.Conv3d(out, out, 3, padding=1, bias=False), nn.BatchNorm3d(out)
        if first:
            self.downsample = nn.Sequential(nn.Conv3d(channels, out, 1, stride, bias=False), nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        identity = self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + identity)


def _layer(channels: int, out: int, blocks: int, stride: tuple[int, int, int] = (1, 1, 1)) -> nn.Sequential:
    first = BasicBlock(channels, out, stride, first=channels != out)
    return nn.Sequential(first, *(BasicBlock(out, out) for _ in range(blocks - 1)))


class GradingNetwork(nn.Module):
    """Disc volumes (n, 1, 9 slices, 112 rows, 224 columns) -> eleven tuples of class logits, in the order of
    `HEADS`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3))
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.layer1 = _layer(64, 64, 3)
        self.layer2 = _layer(64, 128, 4)
        self.layer3 = _layer(128, 256, 6, (1, 2, 2))
        self.layer4 = _layer(256, 512, 3, (1, 2, 2))
        for head in HEADS:
            setattr(self, head.key, nn.Linear(512, head.classes))

    def features(self, x: Tensor) -> Tensor:
        """The 512 values after global average pooling."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.features(x)
        return tuple(getattr(self, head.key)(features) for head in HEADS)

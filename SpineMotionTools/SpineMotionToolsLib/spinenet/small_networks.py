"""The starter networks: small enough to ship, with the output maps of the published ones.

They are described by a few numbers in the weight file's metadata (`architecture`), so that a retrained network of
another width loads without a change here.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from SpineMotionToolsLib.spinenet.detection_targets import CHANNELS

VECTOR_SCALE = 10.0  # the network predicts vectors in tens of pixels, so that all maps are of order one
LEVEL_COUNT = 24
HALF_EDGE = 112


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class SmallDetector(nn.Module):
    """A plain U-Net with the thirteen output maps of the published vertebra detector.

    Input (n, 1, h, w) with h and w multiples of 16 (224 used), normalized patches; output (n, 13, h, w), raw, vectors
    in patch pixels. `widths`: channels at 1/1, 1/2, 1/4, 1/8 and 1/16 of the resolution.
    """

    def __init__(self, widths: tuple[int, ...] = (12, 24, 48, 96, 128)):
        super().__init__()
        self.widths = tuple(widths)
        self.down = nn.ModuleList()
        previous = 1
        for width in widths:
            self.down.append(nn.Sequential(_block(previous, width), _block(width, width)))
            previous = width
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            outputs = max(width, 16)
            self.up.append(_block(previous + width, outputs))
            previous = outputs
        self.out = nn.Conv2d(previous, CHANNELS, 1)
        self.register_buffer(
            "output_scale", torch.tensor([1.0] * 5 + [VECTOR_SCALE] * 8).reshape(1, -1, 1, 1), persistent=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for index, level in enumerate(self.down):
            x = level(F.max_pool2d(x, 2) if index else x)
            skips.append(x)
        for level, skip in zip(self.up, reversed(skips[:-1])):
            x = level(torch.cat([F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), skip], 1))
        return self.out(x) * self.output_scale


class SmallAppearance(nn.Module):
    """Level of a vertebra from its volume, with the input and output of the published appearance network.

    Input (n, 1, 224, 224, 16), axes row, column, slice; output (n, 24) logits. Works on 2 x 2 averages: the level shows
    in the shape of the body and its neighbors, not in the texture.
    """

    def __init__(self, widths: tuple[int, ...] = (12, 24, 40, 64, 96)):
        super().__init__()
        self.widths = tuple(widths)
        kernels = ((3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3))
        strides = ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
        layers = []
        previous = 1
        for width, kernel, stride in zip(widths, kernels, strides):
            padding = tuple(size // 2 for size in kernel)
            layers += [
                nn.Conv3d(previous, width, kernel, stride, padding, bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(),
            ]
            previous = width
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(previous * 4 * 2, LEVEL_COUNT)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-2] > HALF_EDGE:
            x = F.avg_pool3d(x, (2, 2, 1))
        x = self.features(x)
        return self.fc(self.dropout(F.adaptive_avg_pool3d(x, (2, 2, 2)).flatten(1)))


class SmallContext(nn.Module):
    """Levels from the whole spine's appearance image, with the input and output of the published context network.

    Input and output (n, 1, rows, 24), rows of 1 mm, a multiple of 16.
    """

    def __init__(self, widths: tuple[int, ...] = (8, 16, 24, 32)):
        super().__init__()
        self.widths = tuple(widths)

        def block(inputs, outputs):
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, (5, 3), padding=(4, 1), dilation=(2, 1)), nn.BatchNorm2d(outputs), nn.ReLU()
            )

        self.down = nn.ModuleList(block(i, o) for i, o in zip((1, *widths), widths))
        self.middle = block(widths[-1], widths[-1])
        self.up = nn.ModuleList(block(i + o, o) for i, o in zip((widths[-1], *widths[:0:-1]), widths[::-1]))
        self.out = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
            x = F.max_pool2d(x, (2, 1))
        x = self.middle(x)
        for level, skip in zip(self.up, reversed(skips)):
            x = F.interpolate(x, scale_factor=(2.0, 1.0), mode="bilinear", align_corners=False)
            x = level(torch.cat([x, skip], 1))
        return self.out(x)

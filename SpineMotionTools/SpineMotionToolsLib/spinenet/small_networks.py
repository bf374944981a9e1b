"""The starter networks: small enough to ship, with the output maps of the published ones.

They are described by a few numbers in the weight file's metadata (`architecture`), so that a retrained network of another
width loads without a change here.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from SpineMotionToolsLib.spinenet.detection_targets import CHANNELS

VECTOR_SCALE = 10.0  # the network predicts vectors in tens of pixels, so that all maps are of order one


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

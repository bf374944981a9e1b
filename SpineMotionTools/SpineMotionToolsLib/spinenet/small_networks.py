"""The starter networks: small enough to ship, with the output maps of the published ones.

They are described by a few numbers in the weight file's metadata (`architecture`), so that a retrained network of
another width loads without a change here.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from SpineMotionToolsLib.common.weights import write_safetensors
from SpineMotionToolsLib.spinenet.detection_targets import CHANNELS
from SpineMotionToolsLib.spinenet.grades import HEADS

HEAT_MAPS = 5
RARE = -4.0  # logit that heat maps start training with: most pixels are no landmark
VECTOR_SCALE = 10.0  # the network predicts vectors in tens of pixels, so that all maps are of order one
LEVEL_COUNT = 24
HALF_EDGE = 112
CONTEXT_SHARPNESS = 50.0  # of which the published temperature takes back 10


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class SmallDetector(nn.Module):
    """A plain U-Net with the thirteen output maps of the published vertebra detector.

    Input (n, 1, h, w) with h and w multiples of 32 (224 used), normalized patches; output (n, 13, h, w), heat maps
    between 0 and 1, vectors in patch pixels. `widths`: channels at 1/2, 1/4, ... of the resolution. The full resolution
    is only rearranged (pixels to channels and back), which costs corners nothing and halves the time.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 128, 128)):
        super().__init__()
        self.widths = tuple(widths)
        self.down = nn.ModuleList()
        previous = 4
        for width in widths:
            self.down.append(nn.Sequential(_block(previous, width), _block(width, width)))
            previous = width
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(_block(previous + width, width))
            previous = width
        self.out = nn.Conv2d(previous, 4 * CHANNELS, 1)
        nn.init.constant_(self.out.bias[: 4 * HEAT_MAPS], RARE)

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 13, h, w) before the heat maps' sigmoid, vectors in tens of pixels: what training works on."""
        x = F.pixel_unshuffle(x, 2)
        skips = []
        for index, level in enumerate(self.down):
            x = level(F.max_pool2d(x, 2) if index else x)
            skips.append(x)
        for level, skip in zip(self.up, reversed(skips[:-1])):
            x = level(torch.cat([_twice(x), skip], 1))
        return F.pixel_shuffle(self.out(x), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.raw(x)
        return torch.cat([raw[:, :HEAT_MAPS].sigmoid(), raw[:, HEAT_MAPS:] * VECTOR_SCALE], 1)


class SmallAppearance(nn.Module):
    """Level of a vertebra from its volume, with the input and output of the published appearance network.

    Input (n, 1, 224, 224, 16), axes row, column, slice; output (n, 24) logits. Looks at 2 x 2 averages of every second
    slice (what `reduced` gives), slice by slice at first, then at all slices together: the level shows in the shape of
    the body and its neighbors, not in the texture. `widths`: channels at 1/2, 1/4, ... of 112 pixels.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96)):
        super().__init__()
        self.widths = tuple(widths)
        layers, previous = [], 4
        for index, width in enumerate(widths):
            layers += [nn.MaxPool2d(2)] if index else []
            layers += [_block(previous, width)] + ([_block(width, width)] if index > 1 else [])
            previous = width
        self.slicewise = nn.Sequential(*layers)
        self.together = nn.Sequential(
            nn.Conv3d(previous, previous, 3, (2, 2, 2), 1, bias=False), nn.BatchNorm3d(previous), nn.ReLU()
        )
        self.fc = nn.Linear(previous * 2 * 7 * 7, LEVEL_COUNT)
        self.dropout = nn.Dropout(0.5)

    @staticmethod
    def reduced(x: torch.Tensor) -> torch.Tensor:
        """(n, 1, 224, 224, 16) -> (n, 1, 112, 112, 8)."""
        return F.avg_pool3d(x[..., 1::2], (2, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-2] > HALF_EDGE:
            x = self.reduced(x)
        count, _, rows, columns, slices = x.shape
        flat = x.permute(0, 4, 1, 2, 3).reshape(count * slices, 1, rows, columns)
        flat = F.pixel_unshuffle(flat, 2).contiguous(memory_format=torch.channels_last)
        seen = self.slicewise(flat)
        seen = seen.reshape(count, slices, *seen.shape[1:]).permute(0, 2, 1, 3, 4)
        seen = F.adaptive_avg_pool3d(self.together(seen), (2, 7, 7))
        return self.fc(self.dropout(seen.flatten(1)))


class SmallContext(nn.Module):
    """Levels from the whole spine's appearance image, with the input and output of the published context network.

    Input and output (n, 1, rows, 24), rows of 1 mm, a multiple of 64. The output is `CONTEXT_SHARPNESS` times the
    logits of the levels' probabilities, so that what is sure outweighs the penalties of the published search.
    """

    def __init__(self, widths: tuple[int, ...] = (12, 24, 32, 48, 48)):
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
        x = F.avg_pool2d(x, (2, 1))
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
            x = F.max_pool2d(x, (2, 1))
        x = self.middle(x)
        for level, skip in zip(self.up, reversed(skips)):
            x = level(torch.cat([_twice(x, (2, 1)), skip], 1))
        return _twice(self.out(x), (2, 1)) * CONTEXT_SHARPNESS


class SmallGrading(nn.Module):
    """The eleven grades of a disc, with the input and output of the published grading network.

    Input (n, 1, 9, 112, 224), axes slice, row, column; output eleven tensors of class logits in the order of `HEADS`.
    Looks slice by slice at first, then at all slices together. `widths`: channels at 1/2, 1/4, ... of the resolution.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 64)):
        super().__init__()
        self.widths = tuple(widths)
        layers, previous = [], 4
        for index, width in enumerate(widths):
            layers += [nn.MaxPool2d(2)] if index else []
            layers += [_block(previous, width)]
            previous = width
        self.slicewise = nn.Sequential(*layers)
        self.together = nn.Sequential(
            nn.Conv3d(previous, previous, 3, padding=1, bias=False), nn.BatchNorm3d(previous), nn.ReLU()
        )
        for head in HEADS:
            setattr(self, head.key, nn.Linear(previous * 3 * 2 * 2, head.classes))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the heads see: means over thirds of the slices and quarters of the picture."""
        count, _, slices, rows, columns = x.shape
        flat = F.pixel_unshuffle(x.permute(0, 2, 1, 3, 4).reshape(count * slices, 1, rows, columns), 2)
        seen = self.slicewise(flat.contiguous(memory_format=torch.channels_last))
        seen = seen.reshape(count, slices, *seen.shape[1:]).permute(0, 2, 1, 3, 4)
        return F.adaptive_avg_pool3d(self.together(seen), (3, 2, 2)).flatten(1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.features(x)
        return tuple(getattr(self, head.key)(features) for head in HEADS)


def _twice(x: torch.Tensor, scale: tuple[int, int] = (2, 2)) -> torch.Tensor:
    """Bilinear enlargement, half-pixel centers."""
    size = [length * factor for length, factor in zip(x.shape[2:], scale)]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def save_small(path: Path, network: nn.Module, trained_on: str, **metadata: str) -> None:
    """Write a small network's weights with the architecture that rebuilds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().numpy() for key, value in network.state_dict().items()}
    architecture = {"class": type(network).__name__, "widths": list(network.widths)}
    write_safetensors(path, tensors, {"architecture": json.dumps(architecture), "trained_on": trained_on} | metadata)

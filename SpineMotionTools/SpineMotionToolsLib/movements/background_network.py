"""U2-Net (Qin et al. 2020), which separates the infant from the background, with the names of its published weight
file.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import interpolate, max_pool2d

# (depth L, inputs, inner width, outputs) in units of the published width; depth 0 is the dilated block without pooling.
ENCODER = ((7, None, 32, 64), (6, 64, 32, 128), (5, 128, 64, 256), (4, 256, 128, 512), (0, 512, 256, 512))
DEEPEST = (0, 512, 256, 512)
DECODER = ((0, 1024, 256, 512), (4, 1024, 128, 256), (5, 512, 64, 128), (6, 256, 32, 64), (7, 128, 16, 64))  # 5 to 1


class ConvNormRelu(nn.Module):
    """3x3 convolution with dilation, batch normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1):
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn_s1(self.conv_s1(x)))


class PooledBlock(nn.Module):
    """A U-Net of L levels inside one block, added to its own input (RSU-L)."""

    def __init__(self, levels: int, inputs: int, inner: int, outputs: int):
        super().__init__()
        self.levels = levels
        self.rebnconvin = ConvNormRelu(inputs, outputs)
        self.rebnconv1 = ConvNormRelu(outputs, inner)
        for level in range(2, levels):
            setattr(self, f"rebnconv{level}", ConvNormRelu(inner, inner))
        setattr(self, f"rebnconv{levels}", ConvNormRelu(inner, inner, dilation=2))
        for level in range(levels - 1, 0, -1):
            setattr(self, f"rebnconv{level}d", ConvNormRelu(2 * inner, inner if level > 1 else outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = self.rebnconvin(x)
        encoded = [self.rebnconv1(start)]
        for level in range(2, self.levels):
            encoded.append(getattr(self, f"rebnconv{level}")(pool(encoded[-1])))
        x = getattr(self, f"rebnconv{self.levels}")(encoded[-1])
        for level in range(self.levels - 1, 0, -1):
            partner = encoded[level - 1]
            x = getattr(self, f"rebnconv{level}d")(torch.cat([enlarge(x, partner), partner], dim=1))
        return x + start


class DilatedBlock(nn.Module):
    """The deepest blocks: growing dilation in the place of pooling (RSU-4F)."""

    def __init__(self, inputs: int, inner: int, outputs: int):
        super().__init__()
        self.rebnconvin = ConvNormRelu(inputs, outputs)
        self.rebnconv1 = ConvNormRelu(outputs, inner)
        self.rebnconv2 = ConvNormRelu(inner, inner, 2)
        self.rebnconv3 = ConvNormRelu(inner, inner, 4)
        self.rebnconv4 = ConvNormRelu(inner, inner, 8)
        self.rebnconv3d = ConvNormRelu(2 * inner, inner, 4)
        self.rebnconv2d = ConvNormRelu(2 * inner, inner, 2)
        self.rebnconv1d = ConvNormRelu(2 * inner, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = self.rebnconvin(x)
        one = self.rebnconv1(start)
        two = self.rebnconv2(one)
        three = self.rebnconv3(two)
        x = self.rebnconv3d(torch.cat([self.rebnconv4(three), three], dim=1))
        x = self.rebnconv2d(torch.cat([x, two], dim=1))
        return self.rebnconv1d(torch.cat([x, one], dim=1)) + start


class U2Net(nn.Module):
    """(N,3,H,W) -> seven maps (N,1,H,W) of values 0-1: fused, then the six side outputs. `width` 64 is the published
    one.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        self.width = width

        def block(levels, inputs, inner, outputs):
            inputs = 3 if inputs is None else inputs * width // 64
            sizes = (inputs, max(inner * width // 64, 1), outputs * width // 64)
            return PooledBlock(levels, *sizes) if levels else DilatedBlock(*sizes)

        for number, plan in enumerate((*ENCODER, DEEPEST), start=1):
            setattr(self, f"stage{number}", block(*plan))
        for number, plan in zip((5, 4, 3, 2, 1), DECODER):
            setattr(self, f"stage{number}d", block(*plan))
        for number, plan in zip((1, 2, 3, 4, 5, 6), (*DECODER[::-1], DEEPEST)):
            setattr(self, f"side{number}", nn.Conv2d(plan[3] * width // 64, 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.sigmoid(m) for m in self.logits(x))

    def logits(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The seven maps before the sigmoid."""
        encoded = [self.stage1(x)]
        for number in range(2, 7):
            encoded.append(getattr(self, f"stage{number}")(pool(encoded[-1])))
        decoded = [encoded[-1]]  # the deepest first
        for number in range(5, 0, -1):
            partner = encoded[number - 1]
            decoded.append(getattr(self, f"stage{number}d")(torch.cat([enlarge(decoded[-1], partner), partner], dim=1)))
        sides = [getattr(self, f"side{number}")(m) for number, m in enumerate(reversed(decoded), start=1)]
        sides = [sides[0], *(enlarge(m, sides[0]) for m in sides[1:])]
        return [self.outconv(torch.cat(sides, dim=1)), *sides]


def pool(x: torch.Tensor) -> torch.Tensor:
    return max_pool2d(x, 2, 2, ceil_mode=True)


def enlarge(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)

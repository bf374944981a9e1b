"""The starter's interactive network: 68 corner maps at an eighth of the 512 x 256 grid.

It keeps what the published networks share (hints and the previous maps fused with the image's features, corrected in
rounds) and drops what makes them slow: hints and previous maps enter at an eighth of the resolution, and everything
before the fusion depends on the image alone, so that a correction reuses it. It says which vertebra is where;
`starter_refiner` then looks at every vertebra closely.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from SpineMotionToolsLib.keypoints.starter_layers import Residual, convolution, enlarge

STRIDE = 8
CORNERS = 4  # a vertebra
GRID = (512, 256)
MAP = (GRID[0] // STRIDE, GRID[1] // STRIDE)
TARGET_STD = 0.75  # width of a learned peak in cells of the map, 6 pixels of the grid
HINT_STD = 7.5 / STRIDE  # the published hint width, in cells
WINDOW = 2.0  # standard deviation of the soft window in which a place is decoded, in cells


class GlobalContext(nn.Module):
    """Self-attention over all places of the coarsest map, so that every vertebra knows of every other one and of
    every hint.
    """

    def __init__(self, channels: int, grid: tuple[int, int], heads: int = 4):
        super().__init__()
        self.heads = heads
        self.place = nn.Parameter(torch.zeros(1, channels, *grid))
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.narrow = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, rows, columns = x.shape
        tokens = (x + self.place).flatten(2).transpose(1, 2)
        parts = (
            self.mix(self.norm(tokens)).view(batch, -1, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        )
        mixed = functional.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(tokens.shape)
        tokens = tokens + self.out(mixed)
        tokens = tokens + self.narrow(functional.gelu(self.widen(self.norm2(tokens))))
        return tokens.transpose(1, 2).reshape(batch, channels, rows, columns)


class Locator(nn.Module):
    """Image (B, 1, 512, 256) in -1..1, hints and previous maps (B, 68, 64, 32) -> logits (B, 68, 64, 32).

    The softmax of a channel over its map is the probability that the corner lies there.
    """

    def __init__(self, keypoints: int = 68, grid: tuple[int, int] = GRID):
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), convolution(16, 32), convolution(32, 32))
        self.eighth = nn.Sequential(convolution(32, 64, stride=2), convolution(64, 64))
        self.hint_encoder = nn.Sequential(
            nn.Conv2d(2 * keypoints, 32, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 3, 1, 1, bias=True)
        )
        self.fuse = convolution(64, 64)
        self.sixteenth = nn.Sequential(convolution(64, 96, stride=2), Residual(96))
        coarse = (grid[0] // 32, grid[1] // 32)
        # Twice, because counting takes more than one exchange: what a vertebra is follows from what its neighbors are.
        self.coarse = nn.Sequential(
            convolution(96, 160, stride=2),
            GlobalContext(160, coarse), Residual(160),
            GlobalContext(160, coarse), Residual(160),
        )  # fmt: skip
        self.to_sixteenth = nn.Conv2d(160, 96, 1)
        self.merge_sixteenth = Residual(96)
        self.to_eighth = nn.Conv2d(96, 64, 1)
        self.merge_eighth = nn.Sequential(Residual(64), convolution(64, 80))
        # A corner's place is a sum of two opinions: where this kind of corner is (shared by all vertebrae), and which
        # one it is. Sharing lets few pictures teach what a corner looks like.
        self.corner = nn.Conv2d(80, CORNERS, 1)
        self.own = nn.Conv2d(80, keypoints, 1)

    def encode(self, image: Tensor) -> Tensor:
        """What depends on the image alone: features at an eighth of its size."""
        return self.eighth(self.stem(image))

    def decode(self, features: Tensor, hint: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, features at a sixteenth) from the image's features, the hints and the previous maps."""
        x8 = self.fuse(features + self.hint_encoder(torch.cat((hint, previous), 1)))
        x16 = self.sixteenth(x8)
        x32 = self.coarse(x16)
        x16 = self.merge_sixteenth(x16 + enlarge(self.to_sixteenth(x32)))
        x8 = self.merge_eighth(x8 + enlarge(self.to_eighth(x16)))
        return self.own(x8) + self.corner(x8).repeat(1, self.own.out_channels // CORNERS, 1, 1), x16

    def forward(self, hint: Tensor, previous: Tensor, image: Tensor) -> Tensor:
        return self.decode(self.encode(image), hint, previous)[0]


def feedback(logits: Tensor) -> Tensor:
    """Probability maps scaled so that a certain corner's peak is about 1: what a round hands to the next one."""
    probability = torch.softmax(logits.flatten(2).float(), -1).view(logits.shape)
    return (probability * (2 * math.pi * TARGET_STD**2)).clamp(max=1)


def decode_points(logits: Tensor) -> Tensor:
    """Sub-pixel points (B, K, 2) in pixels of the grid: mean of the softmax near its peak, re-centered twice."""
    probability = torch.softmax(logits.flatten(2).float(), -1).view(logits.shape)
    index = logits.flatten(2).argmax(-1)
    point = torch.stack((index // MAP[1], index % MAP[1]), -1).float()
    for _ in range(2):
        point, _ = windowed_mean(probability, point)
    return point * STRIDE


def windowed_mean(weights: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """(mean place (B, K, 2) in cells, mass (B, K)) of maps (B, K, *MAP) within a soft window around `center`."""
    rows, columns = (torch.arange(n, dtype=torch.float32, device=weights.device) for n in MAP)
    near_r = torch.exp(-0.5 * ((rows - center[..., 0, None]) / WINDOW) ** 2)
    near_c = torch.exp(-0.5 * ((columns - center[..., 1, None]) / WINDOW) ** 2)
    by_row = (weights @ near_c[..., None])[..., 0] * near_r
    by_column = (near_r[..., None, :] @ weights)[..., 0, :] * near_c
    mass = by_row.sum(-1).clamp(min=1e-12)
    mean = torch.stack(((by_row * rows).sum(-1), (by_column * columns).sum(-1)), -1) / mass[..., None]
    return mean, mass

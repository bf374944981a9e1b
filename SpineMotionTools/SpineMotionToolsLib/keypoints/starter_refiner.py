"""A close look at every vertebra: its four corners, and how sure each is, from a patch of the picture.

The patch is cut along the vertebra as it is known so far, so that every vertebra comes in the same place, direction
and size. One network serves all levels, which lets a few thousand pictures teach it what a corner looks like.

Vertebrae are (..., 4, 2) corners; "local" coordinates are half heights and half widths of the vertebra from its center.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from SpineMotionToolsLib.keypoints.starter_layers import Residual, convolution, enlarge

LEVELS, CORNERS = 17, 4
PATCH = (48, 64)  # samples of a patch (rows, columns)
REACH = (2.6, 1.75)  # half a patch in local coordinates
MAP = (PATCH[0] // 2, PATCH[1] // 2)
SMALLEST_HALF_PX = 2.0  # of a vertebra, so that crossed corners still give a patch
LOG_DEVIATION = (-5.0, 1.0)  # of a corner, local


def frames(vertebrae: Tensor) -> tuple[Tensor, Tensor]:
    """(centers (..., 2), axes (..., 2, 2)) of vertebrae in pixels of the grid.

    The columns of `axes` are half of the vertebra's height, along it, and half of its width, as (row, column).
    """
    upper_left, upper_right, lower_left, lower_right = vertebrae.unbind(-2)
    down = (lower_left + lower_right - upper_left - upper_right) / 4
    right = (upper_right + lower_right - upper_left - lower_left) / 4
    return vertebrae.mean(-2), torch.stack((_at_least(down, (1.0, 0.0)), _at_least(right, (0.0, 1.0))), -1)


def _at_least(axis: Tensor, direction: tuple[float, float]) -> Tensor:
    """Axes (..., 2) that point in about this direction and are not too short."""
    direction = axis.new_tensor(direction)
    along = (axis * direction).sum(-1, keepdim=True)
    return axis + direction * (SMALLEST_HALF_PX - along).clamp(min=0)


def cut(images: Tensor, centers: Tensor, axes: Tensor) -> Tensor:
    """Patches (B * n, 1, *PATCH) around n vertebrae in each of images (B, 1, rows, columns), all of equal brightness
    and contrast.
    """
    batch, count = centers.shape[:2]
    v, u = (torch.linspace(-1, 1, n, device=images.device) * reach for n, reach in zip(PATCH, REACH))
    down, right = axes[:, :, None, None, :, 0], axes[:, :, None, None, :, 1]
    places = centers[:, :, None, None] + v[:, None, None] * down + u[:, None] * right
    unit = (places + 0.5) / images.new_tensor(images.shape[-2:]) * 2 - 1
    unit = unit.flip(-1).reshape(batch, count * PATCH[0], PATCH[1], 2)  # grid_sample wants (x, y)
    patches = functional.grid_sample(images, unit, padding_mode="border", align_corners=False)
    patches = patches.view(batch * count, 1, *PATCH)
    deviation, mean = torch.std_mean(patches, (2, 3), keepdim=True)
    return (patches - mean) / (deviation + 0.02)


class Refiner(nn.Module):
    """Patches (N, 1, 48, 64) of vertebrae of known levels -> corners and how sure they are."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), convolution(4, 32), convolution(32, 32))
        self.middle = nn.Sequential(convolution(32, 64, stride=2), Residual(64))
        self.level = nn.Parameter(torch.zeros(LEVELS, 96, 1, 1))
        self.deep_from = convolution(64, 96, stride=2)
        self.deep = nn.Sequential(Residual(96), Residual(96))
        self.to_middle = nn.Conv2d(96, 64, 1)
        self.merge_middle = Residual(64)
        self.to_fine = nn.Conv2d(64, 32, 1)
        self.merge_fine = nn.Sequential(Residual(32), convolution(32, 48))
        self.place = nn.Conv2d(48, CORNERS, 1)
        self.doubt = nn.Sequential(nn.Linear(48 + 96, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, patches: Tensor, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(corners (N, 4, 2), logarithms of their standard deviations (N, 4, 2), both local, logits (N, 4, *MAP)) of
        vertebrae with the numbers `levels` (N,), 0..16.
        """
        fine = self.stem(patches)
        middle = self.middle(fine)
        deep = self.deep(self.deep_from(middle) + self.level[levels])
        middle = self.merge_middle(middle + enlarge(self.to_middle(deep)))
        fine = self.merge_fine(fine + enlarge(self.to_fine(middle)))
        logits = self.place(fine).float()
        probability = torch.softmax(logits.flatten(2), -1)
        seen = torch.einsum("ncp,nfp->ncf", probability.to(fine.dtype), fine.flatten(2))
        around = deep.mean((2, 3))[:, None].expand(-1, CORNERS, -1)
        doubt = self.doubt(torch.cat((seen, around), -1)).float().clamp(*LOG_DEVIATION)
        return expected(probability.view(logits.shape)), doubt, logits


def expected(probability: Tensor) -> Tensor:
    """Mean local place (..., 2) of maps (..., *MAP)."""
    rows, columns = (cells(n, reach).to(probability) for n, reach in zip(MAP, REACH))
    return torch.stack(((probability.sum(-1) * rows).sum(-1), (probability.sum(-2) * columns).sum(-1)), -1)


def cells(count: int, reach: float) -> Tensor:
    """Where the `count` cells of a map lie, each covering two samples of the patch."""
    return (torch.linspace(-1, 1, 2 * count) * reach).view(count, 2).mean(1)


def to_grid(local: Tensor, centers: Tensor, axes: Tensor) -> Tensor:
    """Local corners (..., 4, 2) -> pixels of the grid."""
    return centers[..., None, :] + torch.einsum("...ij,...cj->...ci", axes, local)


def to_local(vertebrae: Tensor, centers: Tensor, axes: Tensor) -> Tensor:
    """The inverse of `to_grid`."""
    return torch.einsum("...ij,...cj->...ci", torch.linalg.inv(axes), vertebrae - centers[..., None, :])

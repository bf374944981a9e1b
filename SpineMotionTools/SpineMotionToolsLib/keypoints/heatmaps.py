"""Heatmaps: Gaussians at points, and points from probability maps by the decoders of both published systems."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from SpineMotionToolsLib.common.errors import InputError

STD = 7.5
"""Standard deviation of hint and label heatmaps in pixels of the 512 x 256 grid, in both published systems."""
PATCH = 15
SHARPNESS = 10.0  # factor before the patch decoder's softmax


def gaussian(points: np.ndarray | Tensor, grid: tuple[int, int], std: float = STD) -> Tensor:
    """Gaussians (..., rows, columns) float32 of height 1 at points (..., 2) = (row, column); outside the grid only
    tails.

    Made of two one-dimensional profiles, which is equal to float32 rounding and hundreds of times faster.
    """
    points = torch.as_tensor(
        np.asarray(points, dtype=np.float64) if not isinstance(points, Tensor) else points.double()
    )
    rows, columns = (
        torch.exp(-0.5 * ((torch.arange(n, dtype=torch.float64) - points[..., axis, None]) / std) ** 2)
        for axis, n in enumerate(grid)
    )
    return rows.float()[..., :, None] * columns.float()[..., None, :]


def _places(maps: Tensor) -> tuple[Tensor, Tensor]:
    """0, 1, 2 ... along the rows and columns of maps (..., rows, columns)."""
    rows, columns = (torch.arange(n, dtype=maps.dtype, device=maps.device) for n in maps.shape[-2:])
    return rows, columns


def expectation(probability: Tensor) -> Tensor:
    """Center of mass (..., 2) of maps (..., rows, columns), over the whole map; not a number for an all-zero map."""
    rows, columns = _places(probability)
    by_row, by_column = probability.sum(-1), probability.sum(-2)
    total = by_row.sum(-1)
    return torch.stack(((by_row * rows).sum(-1) / total, (by_column * columns).sum(-1) / total), -1)


def hard_argmax(probability: Tensor) -> Tensor:
    """Place (..., 2) of the first maximum in row-major order, float32."""
    index = probability.flatten(-2).argmax(-1)
    columns = probability.shape[-1]
    return torch.stack((torch.div(index, columns, rounding_mode="floor"), index % columns), -1).float()


def patch_expectation(probability: Tensor, patch: int = PATCH) -> Tensor:
    """Sub-pixel place (..., 2): softmax of 10 p over the patch around the maximum (Kim et al., MICCAI 2022).

    Outside the map the patch holds zeros that take part, which draws points near the border by up to 0.6 pixels; this
    is kept.
    """
    if patch % 2 == 0:
        raise InputError(f"The decoder's patch is {patch} pixels wide; it needs an odd width, e.g. {PATCH}.")
    half = patch // 2
    maps = probability.reshape(-1, *probability.shape[-2:])
    peak = hard_argmax(maps)
    steps = torch.arange(patch, device=maps.device) - half
    r, c = peak[:, 0, None].long() + steps, peak[:, 1, None].long() + steps
    inside = ((r >= 0) & (r < maps.shape[1]))[:, :, None] & ((c >= 0) & (c < maps.shape[2]))[:, None, :]
    channel = torch.arange(len(maps), device=maps.device)[:, None, None]
    values = maps[channel, r.clamp(0, maps.shape[1] - 1)[:, :, None], c.clamp(0, maps.shape[2] - 1)[:, None, :]]
    weights = torch.softmax((values * inside * SHARPNESS).flatten(1), 1).view(-1, patch, patch)
    offset = torch.stack(((weights.sum(2) * steps).sum(1), (weights.sum(1) * steps).sum(1)), 1)
    return (peak + offset).view(*probability.shape[:-2], 2)


def windowed(probability: Tensor, radius: float = 1.5 * STD) -> Tensor:
    """Center of mass (..., 2) within a soft window around the maximum: for display, free of the pull of far
    background.
    """
    point = hard_argmax(probability)
    rows, columns = _places(probability)
    for _ in range(2):
        near_r = torch.exp(-0.5 * ((rows - point[..., 0, None]) / radius) ** 2)
        near_c = torch.exp(-0.5 * ((columns - point[..., 1, None]) / radius) ** 2)
        by_row = (probability @ near_c[..., None])[..., 0] * near_r
        by_column = (near_r[..., None, :] @ probability)[..., 0, :] * near_c
        total = by_row.sum(-1).clamp(min=1e-12)
        point = torch.stack(((by_row * rows).sum(-1), (by_column * columns).sum(-1)), -1) / total[..., None]
    return point


DECODERS = {"expectation": expectation, "patch": patch_expectation, "windowed": windowed, "hard": hard_argmax}


def decode(probability: Tensor, decoding: str) -> Tensor:
    """Points (..., 2) by one of DECODERS; raises InputError for another name."""
    if decoding not in DECODERS:
        raise InputError(f"The decoding {decoding!r} is unknown. Choose one of {', '.join(DECODERS)}.")
    return DECODERS[decoding](probability)

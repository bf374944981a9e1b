"""HRNet-W32 and convolutions of all its resolutions, rearranged for one picture on a CPU; see `fast_networks`.

Maps are (1, rows, columns, channels).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from SpineMotionToolsLib.common.fast_layers import FastBasicBlock, FastBottleneck, Maker, Pointwise, fold
from SpineMotionToolsLib.common.packed import Product
from SpineMotionToolsLib.common.winograd import WinogradConv
from SpineMotionToolsLib.keypoints.hrnet import WIDTHS, Exchange, HRNet, resize

FINE = 2  # of the four resolutions, those that are convolved at the finest size
COLUMNS_AT_ONCE = 8  # of those, so that they stay in the processor's cache


def enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    return resize(x.movedim(-1, 1), size).movedim(1, -1)


class FastExchange(nn.Module):
    """`Exchange`: four blocks on every branch, then every branch receives every other one."""

    def __init__(self, exchange: Exchange, make: Maker) -> None:
        super().__init__()
        # The fourth branch's maps are so small that Winograd's larger filters would cost more than they save.
        makers = (make, make, make, replace(make, winograd_from=WIDTHS[3] + 1))
        self.branches = nn.ModuleList(
            nn.Sequential(*(FastBasicBlock(block, its) for block in branch))
            for branch, its in zip(exchange.branches, makers)
        )
        self.paths = nn.ModuleList(
            nn.ModuleList(self._path(path, source - target, make) for source, path in enumerate(paths))
            for target, paths in enumerate(exchange.fuse_layers)
        )

    @staticmethod
    def _path(path: nn.Module, coarser: int, make: Maker) -> nn.Module:
        if coarser == 0:
            return nn.Identity()
        if coarser > 0:
            return Pointwise(*path)
        return nn.Sequential(*(make.direct(*step[:2], slope=0.0 if len(step) > 2 else None) for step in path))

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        xs = [branch(x) for branch, x in zip(self.branches, xs)]
        return [self._received(paths, xs, target) for target, paths in enumerate(self.paths)]

    @staticmethod
    def _received(paths: nn.ModuleList, xs: list[Tensor], target: int) -> Tensor:
        total = xs[target].clone()
        for source, path in enumerate(paths):
            if source != target:
                total += enlarged(path(xs[source]), total.shape[1:3])
        return total.relu_()


class FastHRNet(nn.Module):
    """`HRNet` -> first features and the four resolutions, each at its own size."""

    def __init__(self, network: HRNet, make: Maker) -> None:
        super().__init__()
        self.first = nn.Sequential(*(FastBottleneck(block, make) for block in network.layer1))
        (same, ((half, *half_rest),)) = network.transition1
        self.starts = nn.ModuleList([make.direct(*same[:2]), make.direct(half, half_rest[0])])
        self.stages = nn.ModuleList(
            nn.Sequential(*(FastExchange(exchange, make) for exchange in stage))
            for stage in (network.stage2, network.stage3, network.stage4)
        )
        coarser = (network.transition2["2"][0], network.transition3["3"][0])
        self.coarser = nn.ModuleList(make.direct(*step[:2]) for step in coarser)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = self.first(x)
        xs = self.stages[0]([start(first) for start in self.starts])
        for stage, coarser in zip(self.stages[1:], self.coarser):
            xs = stage([*xs, coarser(xs[-1])])
        return first, xs


class OverResolutions(nn.Module):
    """A convolution of all resolutions joined at the finest size, which the coarse ones never reach by themselves.

    Enlarging a map and convolving it are both linear and act on rows, columns and channels one after the other. So the
    channels of coarse maps are summed at their own size, for each tap of the filter, and one matrix for the columns
    and one for the rows shift, enlarge and sum the results: an eighth of the arithmetic.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, make: Maker) -> None:
        super().__init__()
        weight, bias = fold(conv, norm)
        self.taps, self.out = conv.kernel_size[0], len(weight)
        fine, *coarse = weight.split([sum(WIDTHS[:FINE]), *WIDTHS[FINE:]], 1)
        self.fine = (
            Product(fine.flatten(1).T, bias.contiguous()) if self.taps == 1
            else WinogradConv(fine, bias, None, workspace=make.workspace)
        )  # fmt: skip
        # For each coarse resolution and row of the filter: channels -> (filter column, output).
        self.coarse = [[Product(row.permute(1, 2, 0).flatten(1)) for row in part.unbind(2)] for part in coarse]
        self._matrices: dict[tuple, Tensor] = {}

    def forward(self, fine: Tensor, coarse: list[Tensor], then: Product | None = None) -> Tensor:
        """(1, rows, columns, sum of fine channels), [(1, r, c, channels)] -> (rows * columns, out), ReLU done; `then`
        goes on with it, a few columns at a time.
        """
        rows, columns = fine.shape[1:3]
        by_row = []
        for x, products in zip(coarse, self.coarse):
            r, c = x.shape[1:3]
            across = self._matrix(columns, c).transpose(1, 2).flatten(1)  # (columns, c * tap)
            for product in products:
                summed = product(x.view(r * c, -1)).view(r, c * self.taps, self.out)
                by_row.append(torch.matmul(across, summed))
        down = torch.cat([self._matrix(rows, x.shape[1]).flatten(1) for x in coarse], 1)  # (rows, all taps and r)
        stacked = torch.cat(by_row).view(down.shape[1], -1)
        started = self.fine(fine)[0] if self.taps == 3 else None
        results = []
        for i in range(0, columns, COLUMNS_AT_ONCE):
            band = slice(i, i + COLUMNS_AT_ONCE)
            start = self.fine(fine[0, :, band].flatten(0, 1)) if started is None else started[:, band]
            added = stacked[:, self.out * i : self.out * (i + COLUMNS_AT_ONCE)]
            result = torch.addmm(start.reshape(rows, -1), down, added).relu_().view(-1, self.out)
            result = result if then is None else then(result)
            results.append(result.view(rows, -1, result.shape[1]))
        return torch.cat(results, 1).flatten(0, 1)

    def _matrix(self, full: int, small: int) -> Tensor:
        """(full, tap, small): what a place takes through each tap of the filter from the coarse map's places."""
        if (full, small) not in self._matrices:
            enlarge = functional.interpolate(torch.eye(small)[None], size=full, mode="linear", align_corners=True)[0].T
            half = self.taps // 2
            padded = functional.pad(enlarge, (0, 0, half, half))
            self._matrices[full, small] = torch.stack([padded[tap : tap + full] for tap in range(self.taps)], 1)
        return self._matrices[full, small]

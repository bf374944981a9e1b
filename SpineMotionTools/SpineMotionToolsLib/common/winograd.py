"""3x3 and 3x3x3 convolutions by Winograd's minimal filtering: a quarter of the multiplications, in float32.

F(4x4, 3x3) makes a tile of 4 x 4 outputs with 36 products a channel pair instead of 144; F(2x2, 3x3) makes 2 x 2
outputs with 16 instead of 36 and suits small maps (Lavin and Gray, CVPR 2016). Input and output transforms are matrix
products; the channel sums, one matrix for each place in a tile, are one convolution with as many groups, which oneDNN
runs near the processor's limit and which sums over depth on the way. All goes in chunks that fit the processor's cache.
With `bf16` the channel sums read bfloat16 numbers and everything else stays float32: twice as fast where the processor
has such instructions. The interpolation points 0, +-0.65, +-1.5 keep the rounding of F(4x4) five times nearer to direct
convolution than the usual 0, +-1, +-2.

Maps are "channels last": (n, rows, columns, channels), with depth before rows in three dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from SpineMotionToolsLib.common.packed import Convolution, activate_

POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.65, -0.65, 1.5, -1.5)}
CHUNK_BYTES = 5 << 18
FEWEST_TILES = 56
LARGE_FILTERS_BYTES, TILES_FOR_LARGE_FILTERS = 8 << 20, 256


@dataclass(frozen=True)
class Transforms:
    """The matrices of both axes for output tiles of `tile` x `tile`: input, filter and output, float32."""

    tile: int
    inputs: Tensor
    filters: Tensor
    outputs: Tensor

    @property
    def reach(self) -> int:
        """Edge of an input tile."""
        return self.tile + 2


@lru_cache(maxsize=2)
def transforms(tile: int) -> Transforms:
    """Toom and Cook's construction from the interpolation points and infinity."""
    reach = tile + 2

    def evaluate(terms: int) -> np.ndarray:
        return np.vstack([np.vander(POINTS[tile], terms, increasing=True), np.eye(1, terms, terms - 1)])

    one_axis = np.linalg.inv(evaluate(reach).T), evaluate(3), evaluate(tile).T
    return Transforms(tile, *(torch.from_numpy(np.kron(m, m)).float() for m in one_axis))


def transform_filters(weight: Tensor, tile: int) -> Tensor:
    """Filters (out, in, [depth,] 3, 3) -> float32 (reach^2 * out, in, depth or 1, 1) for a grouped convolution."""
    by = transforms(tile)
    planes = weight.detach().float().unsqueeze(2) if weight.ndim == 4 else weight.detach().float()
    out, channels, depth = planes.shape[:3]
    taps = planes.permute(3, 4, 0, 1, 2).reshape(9, -1)
    return torch.mm(by.filters, taps).view(by.reach**2 * out, channels, depth, 1)


class WinogradConv(nn.Module):
    """A convolution with 3x3 or 3x3x3 filters, stride 1 and zero padding 1, plus bias, activated.

    Convolutions that run one after the other may share a `workspace`. The returned tensor lies in it and is overwritten
    by the next call: copy what must last longer. Inference on the CPU only.

    In two dimensions all channel sums run for the same number of tiles, that of the first call, with unused places
    where a picture or a batch has fewer: oneDNN orders filters by that number and would reorder large ones, for
    seconds, at every change.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        slope: float | None = 0.0,
        tile: int = 4,
        bf16: bool = False,
        workspace: dict[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {} if workspace is None else workspace
        self.by, self.slope, self.flat = transforms(tile), slope, weight.ndim == 4
        self.bias = bias.detach().float().clone()
        self.out, self.channels = weight.shape[:2]
        filters = transform_filters(weight, tile)
        self.large = filters.numel() * 4 > LARGE_FILTERS_BYTES
        padding = (filters.shape[2] // 2, 0)
        self.products = Convolution(filters, None, padding=padding, slope=None, bf16=bf16, groups=self.by.reach**2)
        self.places = 0  # tiles at once in two dimensions; known from the first call

    def forward(self, *parts: Tensor) -> Tensor:
        """One or more maps (n, [d,] h, w, c_i), joined along the channels -> (n, [d,] h, w, out)."""
        tile = self.by.tile
        n, (h, w) = parts[0].shape[0], parts[0].shape[-3:-1]
        depth = 1 if self.flat else parts[0].shape[1]
        rows, columns = -(-h // tile), -(-w // tile)
        channels, out = self.channels, self.out
        padded = self._padded(parts, (n, depth, tile * rows + 2, tile * columns + 2, channels))
        s, reach = padded.stride(), self.by.reach
        tiles = padded.as_strided(
            (n, depth, rows, columns, reach, reach, channels), (s[0], s[1], tile * s[2], tile * s[3], s[2], s[3], 1)
        )
        result = self._keep("result", (n, depth, rows, tile, columns, tile, out))
        for images, strip in self._chunks(n, depth, rows, columns):
            self._convolve(tiles[images, :, strip], result[images, :, strip])
        result = result.view(n, depth, tile * rows, tile * columns, out)[:, :, :h, :w]
        return result[:, 0] if self.flat else result

    def add_to_(self, total: Tensor, x: Tensor) -> Tensor:
        """`total` plus the convolution, ReLU done, written over `total`: the end of a residual block."""
        return total.add_(self(x)).relu_()

    def _padded(self, parts: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        """All parts side by side in a frame of zeros; the frame is made once for a shape."""
        name = f"padded {shape} {parts[0].shape[-3:-1]}"
        held = self.kept.get(name)
        if held is None:
            held = self.kept[name] = torch.zeros(shape)
        start = 0
        for part in parts:
            h, w, channels = part.shape[-3:]
            inside = held[:, :, 1 : h + 1, 1 : w + 1, start : start + channels]
            inside.copy_(part if part.ndim == 5 else part.unsqueeze(1))
            start += channels
        return held

    def _chunks(self, n: int, depth: int, rows: int, columns: int) -> list[tuple[slice, slice]]:
        """Slices over images and rows of tiles whose work fits the cache, but that use large filters often enough."""
        wanted = self.places
        if not wanted:
            fitting = CHUNK_BYTES // (4 * self.by.reach**2 * max(self.channels, self.out))
            wanted = max(fitting, TILES_FOR_LARGE_FILTERS if self.large else FEWEST_TILES)
        an_image = depth * rows * columns
        images = _equal_parts(n, wanted // an_image) if wanted >= an_image else 1
        strip = rows if wanted >= an_image else _equal_parts(rows, max(1, wanted // (depth * columns)))
        return [(slice(i, i + images), slice(r, r + strip)) for i in range(0, n, images) for r in range(0, rows, strip)]

    def _convolve(self, tiles: Tensor, result: Tensor) -> None:
        """Tiles (n, d, rows, columns, reach, reach, channels) -> result (n, d, rows, tile, columns, tile, out)."""
        n, depth, rows, columns, reach, _, channels = tiles.shape
        tile, count = self.by.tile, n * depth * rows * columns
        gathered = self._keep("gathered", tuple(tiles.shape)).copy_(tiles)
        if self.flat:
            self.places = max(self.places, count)
        places = (1, self.places, 1) if self.flat else (n, depth, rows * columns)
        inputs = self._keep("inputs", (*places, reach**2 * channels))
        given = inputs.view(-1, reach**2, channels)[:count]
        torch.bmm(self.by.inputs.expand(count, -1, -1), gathered.view(given.shape), out=given)
        inputs = self._as("rounded", inputs, self.products.dtype)
        products = self._keep("products", (*places, reach**2 * self.out), self.products.dtype).zero_()
        products = self._as("widened", self.products.add_to_(products, inputs, relu=False), torch.float32)
        products = products.view(-1, reach**2, self.out)[:count]
        outputs = self._keep("outputs", (count, tile**2, self.out))
        torch.bmm(self.by.outputs.expand(count, -1, -1), products, out=outputs)
        outputs = outputs.view(n, depth, rows, columns, tile, tile, -1).transpose(3, 4)
        torch.add(outputs, self.bias, out=result)
        activate_(result, self.slope)

    def _as(self, name: str, values: Tensor, dtype: torch.dtype) -> Tensor:
        return values if values.dtype == dtype else self._keep(name, tuple(values.shape), dtype).copy_(values)

    def _keep(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Working memory of this shape, kept for the next call: fresh memory costs more than the arithmetic saves."""
        held = self.kept.get(name)
        if held is None or held.numel() < prod(shape):
            held = self.kept[name] = torch.empty(prod(shape), dtype=dtype)
        return held[: prod(shape)].view(shape)


def _equal_parts(total: int, most: int) -> int:
    """The size of the fewest parts of nearly equal size with at most `most` each."""
    return -(-total // -(-total // most))

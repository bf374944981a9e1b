"""Matrix products and convolutions with weights packed once for oneDNN, the activation done on the way.

PyTorch has these operations for its compiler; where they are missing, ordinary ones compute the same. Inference on the
CPU only. `slope`: what negative outputs are multiplied with; 0 is a ReLU, None leaves them.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

TYPICAL_ROWS = 256


def activate_(x: Tensor, slope: float | None) -> Tensor:
    """The activation, in place."""
    if slope is None:
        return x
    return functional.leaky_relu_(x, slope) if slope else x.relu_()


class Product:
    """Rows times a fixed float32 matrix, plus bias, activated: (m, in) -> (m, out)."""

    def __init__(self, matrix: Tensor, bias: Tensor | None = None, slope: float | None = None) -> None:
        self.matrix, self.bias, self.slope = matrix.detach(), bias, slope
        self.packed = can_pack()
        if self.packed:
            self.matrix = torch.ops.mkldnn._reorder_linear_weight(self.matrix.T.contiguous(), TYPICAL_ROWS)

    def __call__(self, rows: Tensor) -> Tensor:
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(rows, self.matrix, self.bias, *_activation(self.slope))
        result = torch.mm(rows, self.matrix) if self.bias is None else torch.addmm(self.bias, rows, self.matrix)
        return activate_(result, self.slope)


class Convolution(nn.Module):
    """A convolution of maps (n, [depth,] rows, columns, channels), plus bias, activated; several maps are joined along
    the channels. Packed in two dimensions.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...] = (1, 1),
        padding: tuple[int, ...] = (0, 0),
        slope: float | None = 0.0,
        bf16: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.flat, self.dtype = weight.ndim == 4, torch.bfloat16 if bf16 else torch.float32
        layout = torch.channels_last if self.flat else torch.channels_last_3d
        self.weight = weight.detach().to(self.dtype).contiguous(memory_format=layout)
        self.bias = None if bias is None else bias.detach().to(self.dtype)
        self.stride, self.padding, self.groups, self.slope = stride, padding, groups, slope
        self.can_pack, self.packed = self.flat and can_pack(), False

    def forward(self, *parts: Tensor) -> Tensor:
        x = self._ready(*parts)
        if not self.can_pack:
            return activate_(self._plain(x), self.slope)
        x, after = x.to(self.dtype), _activation(self.slope)
        return torch.ops.mkldnn._convolution_pointwise(x, *self._packed(x), *after).float().movedim(1, -1)

    def add_to_(self, total: Tensor, x: Tensor, relu: bool = True) -> Tensor:
        """`total` plus the convolution, written over `total`; with ReLU the end of a residual block."""
        x = self._ready(x).to(self.dtype)
        if not (self.can_pack and total.dtype == self.dtype and total.is_contiguous()):
            total.add_(self._plain(x))
            return total.relu_() if relu else total
        add = torch.ops.mkldnn._convolution_pointwise_.binary
        add(total.movedim(-1, 1), x, *self._packed(x), "add", 1.0, "relu" if relu else None, [], "")
        return total

    def _ready(self, *parts: Tensor) -> Tensor:
        return (parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, -1)).movedim(-1, 1)

    def _plain(self, x: Tensor) -> Tensor:
        convolve = functional.conv2d if self.flat else functional.conv3d
        result = convolve(x.to(self.dtype), self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        return result.float().movedim(1, -1)

    def _packed(self, x: Tensor) -> tuple:
        """Weight, bias and shape, packed for the size met first, which for a picture's network is the only one."""
        shape = self.padding, self.stride, (1, 1), self.groups
        if not self.packed:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *shape, list(x.shape))
            self.packed = True
        return self.weight, self.bias, *shape


@lru_cache(maxsize=1)
def can_pack() -> bool:
    """Whether this PyTorch has oneDNN's operations with packed weights, which save a third of the time."""
    ones = torch.ones(1, 2, 2, 16)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(torch.eye(16), 1)
        product = torch.ops.mkldnn._linear_pointwise(ones[0, 0], packed, None, "none", [], "")
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(product, ones[0, 0])


def _activation(slope: float | None) -> tuple[str, list[float], str]:
    """The activation as oneDNN's operations take it."""
    if slope is None:
        return "none", [], ""
    return ("leaky_relu", [slope], "") if slope else ("relu", [], "")

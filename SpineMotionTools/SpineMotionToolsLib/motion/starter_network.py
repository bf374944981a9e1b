"""The member network while it is learned from scratch: normalized, which trains many times faster, then folded back.

Normalization without a scale of its own multiplies by positive numbers only, so it commutes with pooling and is
absorbed by the convolution before it: what is shipped is the published network, nothing else.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SpineMotionToolsLib.motion.networks import CHANNELS, CONVOLUTIONS, NEGATIVE_SLOPE, MotionNet

STATISTICS_MOMENTUM = 0.05


class PoolFirstNet(MotionNet):
    """`MotionNet` with pooling before LeakyReLU, which is equal and cheaper to learn."""

    def features(self, x: Tensor) -> Tensor:
        for number in range(1, CONVOLUTIONS + 1):
            x = getattr(self, f"conv{number}")(x)
            if number < CONVOLUTIONS:
                x = F.max_pool2d(x, 2)
            x = F.leaky_relu(self.adjusted(x, number), NEGATIVE_SLOPE)
        return x

    def adjusted(self, x: Tensor, number: int) -> Tensor:
        return x


class NormalizedNet(PoolFirstNet):
    """The same with batch normalization after each pooling and before the dense layers."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(1, CONVOLUTIONS + 1):
            conv = getattr(self, f"conv{number}")
            nn.init.kaiming_normal_(conv.weight, NEGATIVE_SLOPE)
            nn.init.zeros_(conv.bias)
        self.norms = nn.ModuleList(_norm(nn.BatchNorm2d) for _ in range(CONVOLUTIONS))
        self.shifts = nn.ParameterList(torch.zeros(CHANNELS, 1, 1) for _ in range(CONVOLUTIONS))
        self.pooled_norm = _norm(nn.BatchNorm1d)

    def adjusted(self, x: Tensor, number: int) -> Tensor:
        return self.norms[number - 1](x) + self.shifts[number - 1]

    def head(self, features: Tensor) -> Tensor:
        pooled = self.pooled_norm(features.float().mean(dim=(2, 3)))
        return self.fc2(F.relu(self.fc1(pooled)))

    @torch.no_grad()
    def folded(self) -> dict[str, np.ndarray]:
        """The weights of the equal `MotionNet`, by contract name."""
        net = MotionNet()
        for number, (norm, shift) in enumerate(zip(self.norms, self.shifts), start=1):
            source, target = getattr(self, f"conv{number}"), getattr(net, f"conv{number}")
            scale = 1 / torch.sqrt(norm.running_var + norm.eps)
            target.weight.copy_(source.weight * scale[:, None, None, None])
            target.bias.copy_((source.bias - norm.running_mean) * scale + shift.flatten())
        scale = 1 / torch.sqrt(self.pooled_norm.running_var + self.pooled_norm.eps)
        net.fc1.weight.copy_(self.fc1.weight * scale)
        net.fc1.bias.copy_(self.fc1.bias - self.fc1.weight @ (self.pooled_norm.running_mean * scale))
        net.fc2.load_state_dict(self.fc2.state_dict())
        return {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}


def _norm(kind: type[nn.Module]) -> nn.Module:
    return kind(CHANNELS, affine=False, momentum=STATISTICS_MOMENTUM)

"""The network of one ensemble member (Walle et al., Bone 2023): 10 149 parameters, 512 x 512 slice to five grades."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_PX = 512
CHANNELS = 16
CLASSES = 5
NEGATIVE_SLOPE = 0.3
CONVOLUTIONS = 5


class MotionNet(nn.Module):
    """One member. State-dict names: `conv1` ... `conv5`, `fc1`, `fc2`, each `.weight` and `.bias`.

    Input (N, 1, 512, 512) float, 0..1, rows along the image's X axis; output (N, 5) probabilities of grades 1..5.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, CHANNELS, 3)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.conv3 = nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.conv4 = nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.conv5 = nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.fc1 = nn.Linear(CHANNELS, 32)
        self.fc2 = nn.Linear(32, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """(N, 16, 28, 28): the last convolution's output, which Grad-CAM looks at."""
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.max_pool2d(F.leaky_relu(conv(x), NEGATIVE_SLOPE), 2)
        return F.leaky_relu(self.conv5(x), NEGATIVE_SLOPE)

    def head(self, features: Tensor) -> Tensor:
        """(N, 5) logits from the features."""
        return self.fc2(F.relu(self.fc1(features.mean(dim=(2, 3)))))

    def logits(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).softmax(dim=1)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> MotionNet:
        """The network with these weights, in evaluation mode; the tensors are copied."""
        net = cls()
        net.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()})
        return net.eval()


class FastMember:
    """One member rearranged for speed; the same sums in another order (logits differ by about 1e-6 in float32).

    - Everything is channels-last, which the CPU's convolutions want, and nothing is wider than 16 channels.
    - Pooling comes before LeakyReLU: both are monotone, so the result is equal and a quarter of the work remains.
    - The first layer never makes its 510 x 510 x 16 output. Its four pooling phases are four small convolutions of
      the image folded to half size and four channels, and their maximum is the pooled output.
    - It reads the 8-bit grey levels, which bfloat16 holds exactly; the division by 255 sits in the first weights.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], device: torch.device, dtype: torch.dtype) -> None:
        def weight(name: str) -> Tensor:
            return torch.from_numpy(np.array(tensors[name], dtype=np.float64))

        def placed(value: Tensor) -> Tensor:
            value = value.to(dtype).to(device)  # in this order: Apple GPUs have no float64
            return channels_last(value) if value.ndim == 4 else value

        first = weight("conv1.weight") / 255
        # The 3x3 kernel at row r, column c of a 4x4 window, folded like the image.
        shifts = [(r, c) for r in (0, 1) for c in (0, 1)]
        self.phases = [placed(F.pixel_unshuffle(F.pad(first, (c, 1 - c, r, 1 - r)), 2)) for r, c in shifts]
        self.kernels = [placed(weight(f"conv{i}.weight")) for i in range(2, CONVOLUTIONS + 1)]
        self.biases = [placed(weight(f"conv{i}.bias")) for i in range(1, CONVOLUTIONS + 1)]
        self.dense = [weight(f"fc{i}.{part}").float().to(device) for i in (1, 2) for part in ("weight", "bias")]

    def features(self, folded: Tensor) -> Tensor:
        """(N, 16, 28, 28), the last convolution's output, from `fold`ed images of the member's device and dtype."""
        x = F.conv2d(folded, self.phases[0], self.biases[0])
        for phase in self.phases[1:]:
            torch.maximum(x, F.conv2d(folded, phase, self.biases[0]), out=x)
        for kernel, bias in zip(self.kernels, self.biases[1:]):
            x = F.conv2d(F.leaky_relu_(x, NEGATIVE_SLOPE), kernel, bias)
            if kernel is not self.kernels[-1]:
                x = halve(x)
        return F.leaky_relu_(x, NEGATIVE_SLOPE)

    def head(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden values before their ReLU (N, 32), and logits (N, 5), from the features' spatial means (N, 16)."""
        weight1, bias1, weight2, bias2 = self.dense
        hidden = F.linear(pooled, weight1, bias1)
        return hidden, F.linear(F.relu(hidden), weight2, bias2)

    def logits(self, folded: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 5) float32 logits, and (N,) the size of the features they come from."""
        pooled = self.features(folded).mean(dim=(2, 3), dtype=torch.float32)
        return self.head(pooled)[1], pooled.abs().sum(dim=1)


def fold(levels: Tensor) -> Tensor:
    """(N, 512, 512) grey levels as (N, 4, 256, 256): the four pixels of each 2 x 2 block side by side."""
    return channels_last(F.pixel_unshuffle(levels[:, None], 2))


def halve(x: Tensor) -> Tensor:
    """Max-pooling 2 x 2, as two maxima over slices: several times faster on CPUs than the pooling operator."""
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)

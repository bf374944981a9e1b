"""The published two-dimensional baselines: one frame, all frames as channels, and two frames fused late."""

from __future__ import annotations

import copy

import torch
from torch import nn

from SpineMotionToolsLib.common.resnet import ResNet


class SingleFrame(nn.Module):
    """(N,3,T,H,W) -> (N*T,1): every frame is scored by itself, clip by clip, in time order."""

    def __init__(self):
        super().__init__()
        self.resnet_model = ResNet(50, classes=1)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.resnet_model(clip.transpose(1, 2).flatten(0, 1))


class EarlyFusion(nn.Module):
    """(N,3,T,H,W) -> (N,1) with the frames stacked as 3T channels, the colors of frame 0 first; T is fixed."""

    def __init__(self, frames: int):
        super().__init__()
        self.resnet_model = ResNet(50, in_channels=3 * frames, classes=1)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.resnet_model(clip.transpose(1, 2).flatten(1, 2))


class LateFusion(nn.Module):
    """(N,3,T,H,W) -> (N,1) from the frames 10 and T-10, one trunk each; T >= 11.

    Published files hold the first trunk twice, as `resnet_model` (with an unused classifier) and as `first_model`: the
    two share their tensors, and the copy loaded later (`first_model`) wins.
    """

    def __init__(self):
        super().__init__()
        self.resnet_model = ResNet(50)
        self.first_model = _trunk(self.resnet_model)
        self.last_model = copy.deepcopy(self.first_model)
        self.last_layer = nn.Linear(2 * self.resnet_model.features, 1)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        frames = clip.shape[2]
        both = torch.cat([self.first_model(clip[:, :, 10]), self.last_model(clip[:, :, frames - 10])], dim=1)
        return self.last_layer(both.mean(dim=(2, 3)))


def _trunk(net: ResNet) -> nn.Sequential:
    """All of a ResNet before its pooling, numbered as its children are."""
    return nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)

"""The two-stream classifier and its variants (MICCAI 2022, arXiv 2207.03344), with the published names of their
tensors.

Input: one picture (N,3,H,W) and a stack of flow fields (N,2F,H,W); output: logits (N,3) of writhing movements, fidgety
movements and poor repertoire.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import nn

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.resnet import LAYERS, ResNet, depth_of

FLOW_CHANNELS = 12  # six fields a second, x and y
CLASSES = 3
SIDE_RANGE_PX = (193, 224)  # sizes that leave 7 x 7 cells, which the published fusion assumes


@dataclass(frozen=True)
class Variant:
    """`fusion` "conv1x1", or "sum" of the streams' logits; a depth of None leaves a stream out ("sum" only).

    Raises InputError for streams that make no network.
    """

    spatial_depth: int | None = 50
    temporal_depth: int | None = 50
    fusion: str = "conv1x1"
    flow_channels: int = FLOW_CHANNELS
    width: int = 64  # 64 in the published networks

    def __post_init__(self) -> None:
        depths = [depth for depth in (self.spatial_depth, self.temporal_depth) if depth is not None]
        if unknown := set(depths) - set(LAYERS):
            raise InputError(f"There is no ResNet-{min(unknown)}. Choose one of {', '.join(map(str, LAYERS))}.")
        if len(depths) < (2 if self.fusion == "conv1x1" else 1):
            raise InputError("A stream is missing. Choose a depth for it, or the fusion 'sum' for a single stream.")

    def to_dict(self) -> dict:
        return asdict(self)


class TwoStream(nn.Module):
    """Pictures (N,3,H,W) and flow (N,2F,H,W) -> logits (N,3)."""

    def __init__(self, variant: Variant):
        super().__init__()
        self.variant = variant
        fused = variant.fusion == "conv1x1"
        classes = None if fused else CLASSES
        if variant.spatial_depth:
            self.spatial = ResNet(variant.spatial_depth, 3, classes, variant.width)
        if variant.temporal_depth:
            self.temporal = ResNet(variant.temporal_depth, variant.flow_channels, classes, variant.width)
        if fused:
            both = self.spatial.features + self.temporal.features
            self.conv1x1 = nn.Conv2d(both, both // 2, 1)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(both // 2, CLASSES))

    def fused_features(self, picture: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        """The map the classifier averages, spatial stream first (fusion "conv1x1")."""
        return self.conv1x1(torch.cat([self.spatial(picture), self.temporal(flow)], dim=1))

    def classify(self, fused: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.avgpool(fused))

    def forward(self, picture: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        if self.variant.fusion == "conv1x1":
            return self.classify(self.fused_features(picture, flow))
        if not self.variant.temporal_depth:
            return self.spatial(picture)
        if not self.variant.spatial_depth:
            return self.temporal(flow)
        return self.spatial(picture) + self.temporal(flow)


def variant_of(tensors) -> Variant | None:
    """The variant a state dict (names to arrays) belongs to, or None for another network."""
    spatial, temporal = depth_of(tensors, "spatial."), depth_of(tensors, "temporal.")
    fused = "conv1x1.weight" in tensors
    if (spatial is None and temporal is None) or (fused and (spatial is None or temporal is None)):
        return None
    first = tensors["spatial.conv1.weight" if spatial else "temporal.conv1.weight"]
    flow = tensors["temporal.conv1.weight"].shape[1] if temporal else FLOW_CHANNELS
    return Variant(spatial, temporal, "conv1x1" if fused else "sum", int(flow), int(first.shape[0]))

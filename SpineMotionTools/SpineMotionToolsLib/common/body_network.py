"""The body-point network of Cao et al. 2017 (OpenPose, 18 COCO points), with the names of its published weight file."""

from __future__ import annotations

import torch
from torch import nn

JOINT_MAPS, LIMB_FIELDS = 19, 38  # 18 joints and the background; x and y of 19 limbs
# The published list of layers without ReLU forgets the last joint map, so that map is never negative. Kept.
PUBLISHED_STAGES = 6


class BodyNetwork(nn.Module):
    """(N,3,h,w) -> limb fields (N,38,h/8,w/8) and joint maps (N,19,h/8,w/8).

    The published network has 6 stages and `width` 128; smaller ones are made of the same layers.
    """

    def __init__(self, stages: int = PUBLISHED_STAGES, width: int = 128):
        super().__init__()
        self.stages, self.width = stages, width
        w = width // 2
        self.stem_plan = [
            *(("conv1_1", 3, w), ("conv1_2", w, w), None),
            *(("conv2_1", w, 2 * w), ("conv2_2", 2 * w, 2 * w), None),
            *(("conv3_1", 2 * w, 4 * w), *((f"conv3_{i}", 4 * w, 4 * w) for i in (2, 3, 4)), None),
            *(("conv4_1", 4 * w, 8 * w), ("conv4_2", 8 * w, 8 * w), ("conv4_3_CPM", 8 * w, 4 * w)),
            ("conv4_4_CPM", 4 * w, width),
        ]
        for layer in self.stem_plan:
            if layer is not None:
                self._add(*layer, kernel=3)
        for branch, outputs in ((1, LIMB_FIELDS), (2, JOINT_MAPS)):
            for i in (1, 2, 3):
                self._add(f"conv5_{i}_CPM_L{branch}", width, width, 3)
            self._add(f"conv5_4_CPM_L{branch}", width, 4 * width, 1)
            self._add(f"conv5_5_CPM_L{branch}", 4 * width, outputs, 1)
            for stage in range(2, stages + 1):
                end = f"_stage{stage}_L{branch}"
                self._add("Mconv1" + end, width + LIMB_FIELDS + JOINT_MAPS, width, 7)
                for i in (2, 3, 4, 5):
                    self._add(f"Mconv{i}{end}", width, width, 7)
                self._add("Mconv6" + end, width, width, 1)
                self._add("Mconv7" + end, width, outputs, 1)

    def _add(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        setattr(self, name, nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Features (N,width,h/8,w/8)."""
        for layer in self.stem_plan:
            x = nn.functional.max_pool2d(x, 2, 2) if layer is None else torch.relu(getattr(self, layer[0])(x))
        return x

    def branch(self, stage: int, number: int, x: torch.Tensor) -> torch.Tensor:
        """One branch of one stage: 1 the limb fields, 2 the joint maps."""
        if stage == 1:
            names = [f"conv5_{i}_CPM_L{number}" for i in (1, 2, 3, 4, 5)]
        else:
            names = [f"Mconv{i}_stage{stage}_L{number}" for i in (1, 2, 3, 4, 5, 6, 7)]
        for name in names[:-1]:
            x = torch.relu(getattr(self, name)(x))
        x = getattr(self, names[-1])(x)
        return torch.relu(x) if (stage, number) == (PUBLISHED_STAGES, 2) else x

    def all_stages(self, x: torch.Tensor) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """The stem's features, and (limb fields, joint maps) of every stage."""
        features = self.stem(x)
        outputs, given = [], features
        for stage in range(1, self.stages + 1):
            outputs.append((self.branch(stage, 1, given), self.branch(stage, 2, given)))
            given = torch.cat([*outputs[-1], features], dim=1)
        return features, outputs

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.all_stages(x)[1][-1]

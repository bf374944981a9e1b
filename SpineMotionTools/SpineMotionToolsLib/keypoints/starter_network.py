"""The small network that ships with the extension: a locator that finds every vertebra and takes hints, a refiner that
looks at each one closely, and what both were seen to do on phantoms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SpineMotionToolsLib.keypoints.starter_locator import Locator
from SpineMotionToolsLib.keypoints.starter_refiner import Refiner

COORDINATES = 136


class StarterNetwork(nn.Module):
    """Locator, refiner, and four facts for `shape_decoding`.

    `shape_mean` (136,) and `shape_covariance` (136, 136): where corners lie together, (row, column) of all corners in
    pixels of the grid. `error_moments` (136, 136): mean products of the refiner's errors, each divided by the standard
    deviation the refiner stated for it: how far to trust these, and which corners err together. `spread_scale` (1,): by
    how much errors are larger than the most probable spine's deviations say.
    """

    def __init__(self):
        super().__init__()
        self.locator = Locator()
        self.refiner = Refiner()
        self.register_buffer("shape_mean", torch.zeros(COORDINATES))
        self.register_buffer("shape_covariance", torch.eye(COORDINATES))
        self.register_buffer("error_moments", torch.eye(COORDINATES))
        self.register_buffer("spread_scale", torch.ones(1))

    def forward(self, hint: Tensor, previous: Tensor, image: Tensor) -> Tensor:
        """The locator's maps."""
        return self.locator(hint, previous, image)

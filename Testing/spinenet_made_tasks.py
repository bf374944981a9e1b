"""Stand-ins for `spinenet.tasks` in tests of the panel: known vertebrae, real grading steps, a tiny seeded network.

They run in a real child process and answer as the real tasks do; parameters: `scan`, `model`, `device`, `spine`, ...
"""

from __future__ import annotations

from typing import Any

import numpy as np
from SpineMotionToolsLib.common.volumes import Volume
from SpineMotionToolsLib.spinenet import pipeline
from SpineMotionToolsLib.spinenet.grades import HEADS
from SpineMotionToolsLib.spinenet.inputs import read_scan
from SpineMotionToolsLib.spinenet.models import Models
from SpineMotionToolsLib.spinenet.results import Spine

from Testing.spinenet_samples import made_spine


def read(parameters: dict[str, Any], progress) -> dict[str, Any]:
    """The made spine in the scan that was sent, graded and measured."""
    volume = _volume(parameters)
    scan = read_scan(volume)
    progress(1, 2, "Looking")
    spine = pipeline.grade(scan, made_spine(volume, graded=False), _models())
    return {"result": pipeline.measure(spine, scan).to_json(), "model": parameters["model"]}


def grade(parameters: dict[str, Any], progress) -> dict[str, Any]:
    """The spine that was sent, with the grades it lacks, measured."""
    scan = read_scan(_volume(parameters))
    spine = pipeline.grade(scan, Spine.from_json(parameters["spine"]), _models(), progress=progress)
    return {"result": pipeline.measure(spine, scan).to_json(), "model": parameters["model"]}


def _volume(parameters: dict[str, Any]) -> Volume:
    scan = parameters["scan"]
    return Volume(np.load(scan["voxels_kji"], allow_pickle=False), np.array(scan["ijk_to_ras"]), scan["name"])


def _models() -> Models:
    import torch
    from torch import nn

    class Tiny(nn.Module):
        """Eleven heads on the disc's 8 x 8 averages."""

        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(64, head.classes) for head in HEADS)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            seen = nn.functional.adaptive_avg_pool3d(x, (1, 8, 8)).flatten(1)
            return tuple(head(10 * seen) for head in self.heads)

    torch.manual_seed(0)
    return Models({"grading": Tiny()}, "spinenet-starter", starter=True)

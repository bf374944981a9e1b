"""From a source and the user's choices to a video and a way of finding the patient in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.video import Video
from SpineMotionToolsLib.gait.detectors import (
    BoxList,
    Detector,
    MotionDetector,
    RegionDetector,
    TorchvisionDetector,
    read_boxes,
)
from SpineMotionToolsLib.gait.folds import patient_key
from SpineMotionToolsLib.gait.patients import PublishedChoice
from SpineMotionToolsLib.gait.tracking import Following

WAYS = ("motion", "region", "boxes", "network")


@dataclass(frozen=True)
class Person:
    """How the patient is found.

    `way`: "motion" (still camera), "region" (drawn: `regions` frame number -> [x1, y1, x2, y2]), "boxes" (a CSV or JSON
    `file`, or rows per frame), "network" (a torchvision detector with the weights in `file`). `click` (time in s, x, y)
    points at the patient among several persons. `follow` False interpolates between drawn regions. `published` keeps to
    the published choice of the patient, frame by frame.
    """

    way: str = "motion"
    file: str | None = None
    regions: Mapping[int, Any] = field(default_factory=dict)
    boxes: Mapping[int, Any] | None = None
    click: tuple[float, float, float] | None = None
    follow: bool = True
    published: bool = False
    detector_model: str = "fasterrcnn_resnet50_fpn"

    def detector(self, video: Video, device: str = "cpu") -> Detector:
        """The detector for a video; raises InputError for a choice that lacks something."""
        if self.way == "motion":
            return MotionDetector(video)
        if self.way == "region":
            return RegionDetector({int(k): np.asarray(v, float) for k, v in self.regions.items()}, self.follow)
        if self.way == "boxes":
            if self.boxes is not None:
                return BoxList(self.boxes)
            return read_boxes(self._file("boxes (columns frame, x1, y1, x2, y2)"))
        if self.way == "network":
            return TorchvisionDetector(self._file("weights of a torchvision detector"), self.detector_model, device)
        raise InputError(f"The way {self.way!r} of finding the patient is unknown. Choose one of {', '.join(WAYS)}.")

    def chooser(self) -> Following | PublishedChoice:
        return PublishedChoice() if self.published else Following(tuple(self.click) if self.click else None)

    def _file(self, what: str) -> str:
        if not self.file:
            raise InputError(f"No file was given. Give the file with the {what}.")
        return self.file

    def to_json(self) -> dict[str, Any]:
        """The choice for provenance: without the folders of the user's files."""
        return {
            "way": self.way,
            "file": Path(self.file).name if self.file else None,
            "regions": {int(k): [float(x) for x in v] for k, v in self.regions.items()},
            "click": list(self.click) if self.click else None,
            "follow": self.follow,
            "published": self.published,
        }


def patient_of(path: Path, root: Path | None = None) -> str:
    """A video's patient: the folder it lies in below `root`, else the first 15 characters of its name."""
    if root is not None and root in path.parents and path.parent != root:
        return path.parent.name
    return patient_key(path.name)

"""From a source and the user's choices to a video and a way of finding the patient in it."""

from __future__ import annotations

import re
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

STUDY_FOLDER = re.compile(r"ASD|ASD_not|train|val|raw|fold\d+")
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
        """The detector for a video; raises InputError for a choice that lacks something or does not fit the video."""
        if self.click is not None:
            if len(self.click) != 3:
                raise InputError("A click needs three numbers: the second, x and y. Click on the patient again.")
            second, x, y = self.click
            if not (0 <= second <= video.duration_s and 0 <= x <= video.width_px and 0 <= y <= video.height_px):
                raise InputError(
                    f"The click at {second:g} s on ({x:g}, {y:g}) lies outside the video. Click on the patient again."
                )
        if self.way == "motion":
            return MotionDetector(video)
        if self.way == "region":
            return _drawn(RegionDetector(self.regions, self.follow), video)
        if self.way == "boxes":
            if self.boxes is not None:
                return _in_view(BoxList(self.boxes), video)
            return _in_view(read_boxes(self._file("boxes (columns frame, x1, y1, x2, y2)")), video)
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


def _drawn(regions: RegionDetector, video: Video) -> RegionDetector:
    """The regions, when all of them lie on frames and in the picture of the video; raises InputError."""
    for number, box in regions.regions.items():
        if not 0 <= number < len(video):
            raise InputError(f"A region was drawn on frame {number}, which the video has not. Draw it again.")
        if not _touches(box, video):
            raise InputError(
                f"The region on frame {number} does not lie in the picture of {video.width_px} x {video.height_px} "
                "pixels. Draw it around the patient."
            )
    return regions


def _in_view(boxes: BoxList, video: Video) -> BoxList:
    """The boxes that lie in the picture of the video; raises InputError when none does."""
    rows = {number: np.array([row for row in found if _touches(row, video)]) for number, found in boxes.rows.items()}
    if not any(len(found) for found in rows.values()):
        raise InputError(
            f"No box lies in the picture of {video.width_px} x {video.height_px} pixels. Give boxes of this video."
        )
    return BoxList(rows, boxes.name)


def _touches(box: np.ndarray, video: Video) -> bool:
    """Whether a box lies at least partly in the picture and is not far larger than it."""
    size, low, high = np.array([video.width_px, video.height_px]), box[:2], box[2:4]
    return bool((high > 0).all() and (low < size).all() and (0 < high - low).all() and (high - low <= 3 * size).all())


def patient_of(path: Path, root: Path | None = None) -> str:
    """A video's patient: the folders it lies in below `root`, but for those of the study, else the first 15 characters
    of its name.
    """
    folders = path.parent.relative_to(root).parts if root is not None and root in path.parents else ()
    return "/".join(name for name in folders if not STUDY_FOLDER.fullmatch(name)) or patient_key(path.name)

"""Which of the persons in view is the patient, and the square picture of the patient.

The published rule knows at most two persons and keeps no track over gaps; `gait.tracking` has the rule used by default.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from SpineMotionToolsLib.common.crops import crop, pad_columns, resize_picture

PERSON_CLASS = 0
LEAST_SCORE = 0.80  # published second filter (strict)
LARGEST_STEP_PX = 100.0  # published gate between two frames with one person, whatever the resolution
MARGIN_PX = 10  # real pixels kept left and right of the person
PUBLISHED_SIZE_PX = 512


def persons(rows: np.ndarray) -> np.ndarray:
    """Boxes (n,4) float32 of the detector rows [x1,y1,x2,y2,score,class] that are persons scored above 0.80."""
    rows = np.asarray(rows, dtype=np.float32).reshape(-1, 6)
    return rows[(rows[:, 5] == PERSON_CLASS) & (rows[:, 4] > np.float32(LEAST_SCORE)), :4]


def center_of(box: np.ndarray) -> np.ndarray:
    """Center (x,y) of a box [x1,y1,x2,y2] in float32, in the published order of operations."""
    box = np.asarray(box, dtype=np.float32)
    return (box[2:] - box[:2]) / np.float32(2) + box[:2]


@dataclass
class PublishedChoice:
    """The published choice of the patient, frame by frame; `center` is the last chosen center or None."""

    center: np.ndarray | None = None

    def choose(self, rows: np.ndarray) -> np.ndarray | None:
        """The patient's box in this frame's detector rows, or None where the rule drops the frame."""
        boxes = persons(rows)
        box = None
        if len(boxes) == 2:
            box = self._of_two(boxes)
        elif len(boxes) == 1 and (self.center is None or self._step(boxes[0]) < LARGEST_STEP_PX):
            box = boxes[0]
        if box is not None:
            self.center = center_of(box)
        return box

    def _of_two(self, boxes: np.ndarray) -> np.ndarray:
        if self.center is None:  # the shorter person is the patient, walking beside an examiner
            first_taller = boxes[0, 3] - boxes[0, 1] > boxes[1, 3] - boxes[1, 1]
            return boxes[1] if first_taller else boxes[0]
        return boxes[0] if self._step(boxes[0]) < self._step(boxes[1]) else boxes[1]

    def _step(self, box: np.ndarray) -> float:
        return abs(center_of(box)[0] - self.center[0])


@dataclass(frozen=True)
class Selection:
    """Frames kept by a choice: `kept` (n,) frame numbers, `boxes` (n,4), `center` the last center (2,) or empty."""

    kept: np.ndarray
    boxes: np.ndarray
    center: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


def select_published(frames: Iterable[np.ndarray]) -> Selection:
    """Run the published choice over the detector rows of all frames of a video."""
    choice, kept, boxes = PublishedChoice(), [], []
    for number, rows in enumerate(frames):
        box = choice.choose(rows)
        if box is not None:
            kept.append(number)
            boxes.append(box)
    center = np.zeros(0, np.float32) if choice.center is None else choice.center
    return Selection(np.array(kept, np.int64), np.array(boxes, np.float32).reshape(-1, 4), center)


def person_window(frame: np.ndarray, box: np.ndarray, background: bool = False) -> np.ndarray:
    """The part of a frame (H,W,3) that the square picture is made of, black outside the frame.

    With `background` the window is as wide as the box is tall; otherwise it is the box and ten pixels either side, to
    be padded with black by `square_picture`.
    """
    x1, y1, x2, y2 = (int(v) for v in np.trunc(np.asarray(box, dtype=np.float32)))
    width, height = x2 - x1, y2 - y1
    gap = int((height - width) / 2)
    if background:
        return crop(frame, y1, x1 - gap, height, height)
    return crop(frame, y1, x1 - MARGIN_PX, height, width + 2 * MARGIN_PX)


def square_picture(window: np.ndarray, size: int = PUBLISHED_SIZE_PX, background: bool = False) -> np.ndarray:
    """The patient as a (size,size,3) uint8 picture with black bars beside the person (`person_window` of the same
    mode).
    """
    if not background:
        height, width = window.shape[0], window.shape[1] - 2 * MARGIN_PX
        window = pad_columns(window, int((height - width) / 2) - MARGIN_PX)
    return resize_picture(window, (size, size))

"""Where persons are in a frame: by motion against a still background, by a detection network, from a file, by hand.

Every detector answers `detect(frame)` with rows (n,6): x1, y1, x2, y2 in pixels, score, class (0: person).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from SpineMotionToolsLib.common.errors import DependencyError, InputError
from SpineMotionToolsLib.common.tables import as_number, read_sheet
from SpineMotionToolsLib.common.video import Frame, Video

NO_ROWS = np.zeros((0, 6), np.float32)
GOLDEN_RATIO = (1 + 5**0.5) / 2


class Detector(Protocol):
    """`name` for people and provenance; `interval_s` how often it is worth asking (0: every frame)."""

    name: str
    interval_s: float

    def detect(self, frame: Frame) -> np.ndarray:
        """Rows (n,6) of the persons in a frame."""
        ...


class MotionDetector:
    """Persons as what differs from the video's median picture: needs a still camera and a person who walks, no
    download.

    The sensitivity follows the video's own noise.
    """

    name = "motion against a still background"
    interval_s = 0.0
    SIDE_PX = 240
    SAMPLES = 25
    LEAST_HEIGHT = 0.18  # of the picture's height
    LEAST_AREA = 0.003
    LARGEST_AREA = 0.5  # more than this is a moving camera or changing light

    def __init__(self, video: Video):
        # Spread evenly but in no rhythm: frames at equal steps could all show the same moment of a walk to and fro.
        numbers = np.unique((len(video) * (np.arange(self.SAMPLES) * GOLDEN_RATIO % 1)).astype(int))
        pictures = np.stack([f.reduced(self.SIDE_PX).astype(np.int16) for f in video.frames(numbers)])
        self._background = np.median(pictures, axis=0).astype(np.int16)
        spread = np.abs(pictures - self._background).max(axis=-1)
        noise = float(np.median(spread))
        self._threshold = max(16.0, 4.0 * noise)
        self._scale = max(video.width_px, video.height_px) / max(self._background.shape[:2])

    def detect(self, frame: Frame) -> np.ndarray:
        from scipy.ndimage import binary_closing, binary_opening, find_objects, label

        different = np.abs(frame.reduced(self.SIDE_PX).astype(np.int16) - self._background).max(axis=2)
        mask = binary_opening(different > self._threshold, np.ones((2, 2)))
        mask = binary_closing(mask, np.ones((7, 3)), iterations=1)
        if mask.mean() > self.LARGEST_AREA:
            return NO_ROWS
        parts, count = label(mask, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        boxes = [
            (s[1].start, s[0].start, s[1].stop, s[0].stop, area)
            for s, area in zip(find_objects(parts), sizes)
            if area > 6
        ]
        boxes = [b for b in _stacked(boxes) if self._is_person(b)]
        if not boxes:
            return NO_ROWS
        rows = np.array([[*b[:4], 1.0, 0.0] for b in boxes], np.float32)
        rows[:, :4] *= self._scale
        return rows[np.argsort(rows[:, 0])]

    def _is_person(self, box: tuple) -> bool:
        x1, y1, x2, y2, area = box
        height, width = self._background.shape[:2]
        tall = y2 - y1 >= self.LEAST_HEIGHT * height and (y2 - y1) > 0.9 * (x2 - x1)
        return tall and area >= self.LEAST_AREA * height * width


def _stacked(boxes: list[tuple]) -> list[tuple]:
    """Join parts that stand above one another: a person whose clothes look like the wall falls into pieces."""
    boxes = sorted(boxes, key=lambda b: -b[4])
    joined: list[tuple] = []
    for box in boxes:
        for i, other in enumerate(joined):
            overlap = min(box[2], other[2]) - max(box[0], other[0])
            apart = max(box[1], other[1]) - min(box[3], other[3])
            if overlap >= 0.5 * min(box[2] - box[0], other[2] - other[0]) and apart <= 0.3 * (other[3] - other[1]):
                lows, highs = (
                    (min(a, b) for a, b in zip(box[:2], other[:2])),
                    (max(a, b) for a, b in zip(box[2:4], other[2:4])),
                )
                joined[i] = (*lows, *highs, box[4] + other[4])
                break
        else:
            joined.append(box)
    return joined


class TorchvisionDetector:
    """A COCO detector of torchvision with the user's weight file: the nearest to the published Detectron2 detector.

    Raises DependencyError without torchvision, WeightsError for weights of another network.
    """

    name = "torchvision Faster R-CNN"
    interval_s = 0.2
    THRESHOLD = 0.90
    PERSON_LABEL = 1  # torchvision counts the background as class 0

    def __init__(self, weights: Path | str, model: str = "fasterrcnn_resnet50_fpn", device: str = "cpu"):
        try:
            from torchvision.models import detection
        except ImportError as error:
            raise DependencyError(
                "Person detection by a network needs torchvision. Install it with: pip install torchvision, "
                "or draw the region by hand."
            ) from error
        from SpineMotionToolsLib.common.body_models import fill
        from SpineMotionToolsLib.common.weights import read_tensors

        if not hasattr(detection, model):
            raise InputError(f"torchvision has no detector {model!r}. Choose fasterrcnn_resnet50_fpn or ssdlite320_...")
        self._network = getattr(detection, model)(weights=None, weights_backbone=None)
        fill(self._network, read_tensors(weights), f"the detector {model} ({Path(weights).name})")
        self._network.to(device)
        self._device = device

    def detect(self, frame: Frame) -> np.ndarray:
        import torch

        picture = torch.from_numpy(frame.picture.transpose(2, 0, 1).copy()).to(self._device).float() / 255
        with torch.inference_mode():
            found = self._network([picture])[0]
        keep = (found["scores"] > self.THRESHOLD) & (found["labels"] == self.PERSON_LABEL)
        boxes, scores = found["boxes"][keep].cpu().numpy(), found["scores"][keep].cpu().numpy()
        return np.column_stack([boxes, scores, np.zeros(len(boxes))]).astype(np.float32)


class BoxList:
    """Boxes known beforehand, by frame number: from a file, or drawn."""

    interval_s = 0.0

    def __init__(self, rows: Mapping[int, np.ndarray], name: str = "given boxes"):
        self.rows = {int(k): np.asarray(v, np.float32) for k, v in rows.items()}
        for number, found in self.rows.items():
            if found.size and (found.ndim != 2 or found.shape[1] != 6):
                raise InputError(f"The boxes of frame {number} need six numbers each: x1, y1, x2, y2, score, class.")
        self.name = name

    def detect(self, frame: Frame) -> np.ndarray:
        return self.rows.get(frame.number, NO_ROWS).reshape(-1, 6)


def read_boxes(path: Path | str) -> BoxList:
    """Boxes of a CSV file (columns frame, x1, y1, x2, y2, and if known score, class) or of a JSON list of such objects.

    Raises InputError.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".json":
            entries = json.loads(path.read_text(encoding="utf-8"))
        else:
            _, entries = read_sheet(path)
        rows: dict[int, list] = {}
        for entry in entries:
            box = [as_number(entry[name]) for name in ("x1", "y1", "x2", "y2")]
            extra = [as_number(entry.get(name) or default) for name, default in (("score", 1.0), ("class", 0.0))]
            if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
                raise ValueError(f"the box of frame {entry['frame']} has no area")
            rows.setdefault(int(as_number(entry["frame"])), []).append([*box, *extra])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path.name} holds no list of boxes ({error}). Give the columns frame, x1, y1, x2, y2 in pixels."
        ) from error
    if not rows:
        raise InputError(f"{path.name} holds no boxes. Give the columns frame, x1, y1, x2, y2 in pixels.")
    return BoxList({frame: np.array(boxes) for frame, boxes in rows.items()}, f"boxes of {path.name}")


class RegionDetector:
    """A region drawn on one or more frames: followed by its look from each drawn frame on, or interpolated between
    them.

    `regions`: frame number -> box [x1, y1, x2, y2] in pixels.
    """

    interval_s = 0.0
    TEMPLATE_PX = 40  # height at which the person is followed
    LEAST_LIKENESS = 0.35

    def __init__(self, regions: Mapping[int, np.ndarray], follow: bool = True):
        if not regions:
            raise InputError("No region was drawn. Draw a rectangle around the patient on one frame.")
        self.regions = {int(k): np.asarray(v, np.float64) for k, v in sorted(regions.items())}
        for number, box in self.regions.items():
            if box.shape != (4,) or box[2] - box[0] < 8 or box[3] - box[1] < 8:
                raise InputError(f"The region on frame {number} is too small. Draw it around the whole patient.")
        self.name = "drawn region, followed" if follow else "drawn regions, interpolated"
        self._follow = follow
        self._box: np.ndarray | None = None
        self._template: np.ndarray | None = None
        self._step = np.zeros(2)

    def detect(self, frame: Frame) -> np.ndarray:
        if frame.number < min(self.regions):
            return NO_ROWS
        box = self._followed(frame) if self._follow else self._interpolated(frame.number)
        return NO_ROWS if box is None else np.array([[*box, 1.0, 0.0]], np.float32)

    def _interpolated(self, number: int) -> np.ndarray:
        numbers = list(self.regions)
        return np.array([np.interp(number, numbers, [self.regions[n][i] for n in numbers]) for i in range(4)])

    def _followed(self, frame: Frame) -> np.ndarray | None:
        if frame.number in self.regions:
            self._box, self._step = self.regions[frame.number].copy(), np.zeros(2)
            self._template = None
        if self._box is None:
            return None
        height = self._box[3] - self._box[1]
        factor = self.TEMPLATE_PX / height
        side = max(frame.picture.shape[:2])
        small = frame.reduced(max(int(side * factor), 16)).astype(np.float32)
        factor = max(small.shape[:2]) / side
        if self._template is None:
            self._template = _patch(small, _core(self._box) * factor)
            return self._box
        place = (_core(self._box) + np.tile(self._step, 2)) * factor
        center, likeness, patch = _match(small, self._template, place)
        if likeness < 0.6:  # the patient may have turned round
            turned = _match(small, self._template[:, ::-1], place)
            if turned[1] > likeness + 0.05:
                (center, likeness, patch), self._template = turned, self._template[:, ::-1]
                self._step = np.zeros(2)
        if likeness < self.LEAST_LIKENESS:
            self._box = None  # lost until the next drawn region
            return None
        was = (self._box[:2] + self._box[2:]) / 2
        core = _core(self._box)
        now = was + center / factor - (core[:2] + core[2:]) / 2
        self._step = 0.7 * self._step + 0.3 * (now - was)
        self._box = self._box + np.tile(now - was, 2)
        if likeness > 0.6:
            self._template = 0.9 * self._template + 0.1 * patch
        return self._box


def _core(box: np.ndarray) -> np.ndarray:
    """Head and trunk of a box around a person: the part whose look changes least while walking."""
    width, height = box[2] - box[0], box[3] - box[1]
    return np.array([box[0] + 0.2 * width, box[1] + 0.02 * height, box[2] - 0.2 * width, box[1] + 0.55 * height])


def _patch(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    from SpineMotionToolsLib.common.crops import crop

    x1, y1, x2, y2 = np.rint(box).astype(int)
    return crop(picture, y1, x1, max(y2 - y1, 3), max(x2 - x1, 3))


def _match(picture: np.ndarray, template: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Center (x,y) of the place around `box` that looks most like the template, its correlation, and its patch."""
    from SpineMotionToolsLib.common.crops import crop

    height, width = template.shape[:2]
    reach_x, reach_y = max(4, int(0.6 * width)), max(2, int(0.12 * height))
    left, top = np.rint(box[:2]).astype(int) - [reach_x, reach_y]
    area = crop(picture, top, left, height + 2 * reach_y, width + 2 * reach_x)
    windows = np.lib.stride_tricks.sliding_window_view(area, (height, width), axis=(0, 1))
    windows = windows.reshape(*windows.shape[:2], -1)
    pattern = template.transpose(2, 0, 1).ravel()
    pattern = pattern - pattern.mean()
    values = windows - windows.mean(axis=2, keepdims=True)
    likeness = values @ pattern / (np.linalg.norm(values, axis=2) * np.linalg.norm(pattern) + 1e-6)
    row, column = np.unravel_index(np.argmax(likeness), likeness.shape)
    center = np.array([left + column + width / 2, top + row + height / 2])
    return center, float(likeness[row, column]), area[row : row + height, column : column + width]

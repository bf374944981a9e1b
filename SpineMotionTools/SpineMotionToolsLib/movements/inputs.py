"""From a source and the user's choices to 30 frames a second, the background, and the infant's trunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.tables import as_number, read_sheet
from SpineMotionToolsLib.common.video import Video
from SpineMotionToolsLib.movements.chunks import FRAME_RATE_HZ

BACKGROUNDS = ("network", "outline", "keep")
POINTS = ("network", "manual")


@dataclass(frozen=True)
class Infant:
    """How the infant is found, and its age.

    `background`: "network" (U2-Net; `background_file`, the starter without it), "outline" (everything outside the
    polygon `outline` (n,2) in pixels becomes black), "keep". `points`: "network" (`points_file`, the starter without
    it) or "manual" (`torso`: frame number of the video -> right and left shoulder, right and left hip in pixels). `rgb`
    feeds colors in the order U2-Net was trained on, `clean` keeps only the largest part of the mask: not as published.
    `age_weeks` is the age after term (corrected for prematurity).
    """

    background: str = "network"
    background_file: str | None = None
    outline: Any = None
    points: str = "network"
    points_file: str | None = None
    torso: Mapping[int, Any] = field(default_factory=dict)
    rgb: bool = False
    clean: bool = False
    age_weeks: float | None = None

    def __post_init__(self) -> None:
        for name, value, known in (("background", self.background, BACKGROUNDS), ("points", self.points, POINTS)):
            if value not in known:
                raise InputError(f"The choice {value!r} for {name} is unknown. Choose one of {', '.join(known)}.")
        if self.points == "manual" and not self.torso:
            raise InputError("No torso points were placed. Place both shoulders and both hips on one frame.")
        if self.background == "outline" and np.shape(self.outline)[1:] != (2,):
            raise InputError("No outline was drawn. Draw a closed curve around where the infant moves.")

    def to_json(self) -> dict[str, Any]:
        """The choice for provenance: without the folders of the user's files."""
        return {
            "background": self.background,
            "background_file": Path(self.background_file).name if self.background_file else None,
            "points": self.points,
            "points_file": Path(self.points_file).name if self.points_file else None,
            "torso": {int(k): np.asarray(v, float).round(1).tolist() for k, v in self.torso.items()},
            "rgb": self.rgb,
            "clean": self.clean,
            "age_weeks": self.age_weeks,
        }


class EvenFrames:
    """A video at 30 frames a second: number k is the frame shown nearest to k/30 s. Pictures are BGR."""

    def __init__(self, video: Video):
        self.video = video
        count = max(int(round(float(video.duration_s) * FRAME_RATE_HZ)), 1)
        self._numbers = video.nearest_frames(np.arange(count) / FRAME_RATE_HZ)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.video.width_px, self.video.height_px

    def pictures(self, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, BGR uint8 picture) in rising order; frames that cannot be decoded are left out."""
        wanted: dict[int, list[int]] = {}
        for number in sorted(set(numbers)):
            wanted.setdefault(int(self._numbers[number]), []).append(number)
        for frame in self.video.frames(wanted):
            picture = np.ascontiguousarray(frame.picture[..., ::-1])
            for number in wanted[frame.number]:
                yield number, picture

    def frame_of(self, number: int) -> int:
        """The frame of the video that is shown at a number."""
        return int(self._numbers[number])


def read_torso(path: Path | str) -> dict[int, np.ndarray]:
    """Torso points of a CSV file with the columns frame, point, x, y (point: right shoulder, left shoulder, right hip,
    left hip), in pixels of the video. Raises InputError.
    """
    from SpineMotionToolsLib.movements.torso import POINT_NAMES

    path = Path(path)
    try:
        points: dict[int, dict[str, list[float]]] = {}
        for row in read_sheet(path)[1]:
            frame, name = int(as_number(row["frame"])), row["point"].strip().lower()
            points.setdefault(frame, {})[name] = [as_number(row["x"]), as_number(row["y"])]
        if not points:
            raise ValueError("it has no rows")
        return {frame: np.array([named[name] for name in POINT_NAMES[:4]]) for frame, named in points.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path.name} holds no torso points ({error}). Give the columns frame, point, x, y with the points "
            f"{', '.join(POINT_NAMES[:4])}."
        ) from error

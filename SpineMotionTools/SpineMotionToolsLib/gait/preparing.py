"""The published first stage as files: the cropped patient of each labeled video, for training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.video import Video, open_video
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.gait.clip_making import PUBLISHED_RATE_HZ
from SpineMotionToolsLib.gait.inputs import Person
from SpineMotionToolsLib.gait.patients import PUBLISHED_SIZE_PX, person_window, square_picture
from SpineMotionToolsLib.gait.tracking import follow

ANYBODY = Person()


def write_cropped(
    path: Path | str,
    source: Path | str | Video,
    person: Person = ANYBODY,
    square_px: int = PUBLISHED_SIZE_PX,
    progress: Progress = no_progress,
) -> tuple[int, int]:
    """Write the patient's squares of a video as MP4; returns how many frames were kept, and of how many.

    Frames without the patient are dropped. The rate is the source's; 30 frames/s with `person.published`, whatever the
    source's rate, as published. Raises InputError when the patient is in no frame, OutputError.
    """
    video = open_video(source)
    rate = PUBLISHED_RATE_HZ if person.published else video.frame_rate_hz or PUBLISHED_RATE_HZ
    squares = _squares(video, person, square_px, progress)
    first = next(squares, None)
    if first is None:
        raise InputError(f"No person was found in {video.name}. Draw the region around the patient by hand.")

    def pictures() -> Iterator[np.ndarray]:
        yield first
        yield from squares

    return write_video(path, pictures(), rate), len(video)


def _squares(video: Video, person: Person, square_px: int, progress: Progress) -> Iterator[np.ndarray]:
    for sighting in follow(video, person.detector(video), person.chooser()):
        progress(sighting.frame.number, len(video), f"{sighting.frame.time_s:.0f} s")
        if sighting.box is not None:
            yield square_picture(person_window(sighting.frame.picture, sighting.box), square_px)

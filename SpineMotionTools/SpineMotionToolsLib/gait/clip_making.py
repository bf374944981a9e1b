"""Clips of the patient, made while the video runs by: once decoded, only the frames of a clip are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from SpineMotionToolsLib.common.video import Video
from SpineMotionToolsLib.gait.clips import clip_times, network_input, pick_frames
from SpineMotionToolsLib.gait.models import ClipSettings
from SpineMotionToolsLib.gait.patients import person_window, square_picture
from SpineMotionToolsLib.gait.tracking import Sighting

PUBLISHED_RATE_HZ = 30  # the published first stage writes its frames at this rate, whatever the rate of the source
LEAST_IN_VIEW = 0.8
UNCROPPED_SHORT_SIDE = 256


@dataclass(frozen=True)
class Clip:
    """A clip of the video from `start_s` to `end_s`: input (3,T,S,S), or None with the reason why it was skipped."""

    start_s: float
    end_s: float
    in_view: float
    frames: tuple[int, ...]
    tensor: np.ndarray | None
    reason: str = ""


def clips_in_time(video: Video, sightings: Iterable[Sighting], settings: ClipSettings) -> Iterator[Clip]:
    """Clips of equal real time: frames picked evenly over each second, whatever the frame rate.

    A clip in which the patient is found in fewer than 80 % of the frames is skipped. For a 30 frames/s video without
    gaps the clips are the published ones.
    """
    sightings = iter(sightings)
    for start, end in clip_times(video.duration_s, Fraction(str(settings.clip_s))):
        numbers = video.frames_between(start, end)
        picked = numbers[pick_frames(len(numbers), settings.frames)] if len(numbers) else numbers
        wanted = set(picked.tolist())
        seen, windows = 0, {}
        for sighting in _until(sightings, numbers[-1] if len(numbers) else -1):
            found = sighting.box is not None and not sighting.bridged
            seen += found
            if sighting.box is not None and sighting.frame.number in wanted:
                windows[sighting.frame.number] = _window(sighting, settings)
        in_view = seen / max(len(numbers), 1)
        times = (float(start), min(float(end), float(video.duration_s)))
        if in_view < LEAST_IN_VIEW or not windows:
            yield Clip(*times, in_view, (), None, f"the patient is seen in {100 * in_view:.0f} % of the frames")
            continue
        frames = [number if number in windows else _nearest(number, windows) for number in picked.tolist()]
        yield Clip(*times, in_view, tuple(frames), _tensor([windows[n] for n in frames], settings))
    for _ in sightings:  # the last incomplete piece is still looked at, for the measures
        pass


def _until(sightings: Iterator[Sighting], last: int) -> Iterator[Sighting]:
    """Sightings up to and with frame `last`, which exists, or ends early where the video is damaged."""
    if last < 0:
        return
    for sighting in sightings:
        yield sighting
        if sighting.frame.number >= last:
            return


def clips_as_published(sightings: Iterable[Sighting], settings: ClipSettings) -> Iterator[Clip]:
    """The published clips: frames without the patient are dropped, the rest is taken as 30 frames/s and cut into clips.

    Dropped frames and other frame rates change the apparent speed of the walk, as they do in the published program.
    """
    length = Fraction(str(settings.clip_s)) * PUBLISHED_RATE_HZ
    kept: list[tuple[int, float, np.ndarray]] = []
    number, made = 0, 0
    for sighting in sightings:
        if sighting.box is None:
            continue
        kept.append((sighting.frame.number, sighting.frame.time_s, _window(sighting, settings)))
        number += 1
        if number >= -(-(made + 1) * length // 1):
            yield _published_clip(kept, settings)
            kept, made = [], made + 1
    if kept and not made:  # a shorter video gives one clip with the frames there are
        yield _published_clip(kept, settings)


def _published_clip(kept: list[tuple[int, float, np.ndarray]], settings: ClipSettings) -> Clip:
    picked = [kept[index] for index in pick_frames(len(kept), settings.frames)]
    first, last = kept[0][1], kept[-1][1]
    step = (last - first) / (len(kept) - 1) if len(kept) > 1 else 1 / PUBLISHED_RATE_HZ
    tensor = _tensor([window for _, _, window in picked], settings)
    in_view = len(kept) / (kept[-1][0] - kept[0][0] + 1)
    return Clip(first, last + step, in_view, tuple(n for n, _, _ in picked), tensor)


def clip_of(video: Video, frames: tuple[int, ...], boxes: dict[int, np.ndarray], settings: ClipSettings) -> np.ndarray:
    """The network input of a clip made again from its frames and the patient's boxes (for explanations)."""
    windows = {
        frame.number: _window(Sighting(frame, boxes.get(frame.number), 1), settings) for frame in video.frames(frames)
    }
    return _tensor([windows[number] for number in frames], settings)


def _window(sighting: Sighting, settings: ClipSettings) -> np.ndarray:
    if not settings.cropped:
        return sighting.frame.picture
    return person_window(sighting.frame.picture, sighting.box)


def _tensor(windows: list[np.ndarray], settings: ClipSettings) -> np.ndarray:
    if not settings.cropped:
        return network_input(np.stack(windows).transpose(3, 0, 1, 2), settings.size_px, UNCROPPED_SHORT_SIDE)
    squares = [square_picture(window, settings.square_px) for window in windows]
    return network_input(np.stack(squares).transpose(3, 0, 1, 2), settings.size_px)


def _nearest(number: int, windows: dict[int, np.ndarray]) -> int:
    return min(windows, key=lambda other: abs(other - number))

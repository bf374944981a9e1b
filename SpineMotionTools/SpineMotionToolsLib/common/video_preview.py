"""Videos reduced for display: few and small enough frames to keep all of them in memory, whatever the length.

Decoding a long video takes a while: a child process can do it (`tasks.preview_video`) and leave the frames in a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.video import Video

BUDGET_BYTES = 128 * 2**20  # of all reduced frames of one video
SIDES_PX = (480, 400, 320)  # longest side of a reduced frame; smaller for long videos
FASTEST_HZ, SLOWEST_HZ = 15.0, 5.0  # reduced frames a second; fewer than 5 only in very long videos


@dataclass(frozen=True)
class ReducedFrame:
    """A frame of a preview: its number in the original, its time, its picture RGB uint8 (h,w,3)."""

    number: int
    time_s: float
    picture: np.ndarray


def display_plan(count: int, frame_rate_hz: float, size_px: tuple[int, int]) -> tuple[int, int]:
    """(step, longest side) of the shown frames: every step-th frame, so that all of them stay within the budget."""
    step = max(1, round(frame_rate_hz / FASTEST_HZ))
    largest_step = max(1.0, frame_rate_hz / SLOWEST_HZ)
    for side in SIDES_PX:
        scale = min(1.0, side / max(size_px))
        frame_bytes = 3 * (size_px[0] * scale) * (size_px[1] * scale)
        needed = math.ceil(count * frame_bytes / BUDGET_BYTES)
        if needed <= largest_step:
            break
    return max(step, needed), side


def reduced_frames(video: Video, progress: Progress = no_progress) -> Iterator[ReducedFrame]:
    """The frames to show of a video, decoded one after the other. Raises InputError when there is none."""
    step, side = display_plan(len(video), video.frame_rate_hz, (video.width_px, video.height_px))
    numbers = range(0, len(video), step)
    done = 0
    for done, frame in enumerate(video.frames(numbers), start=1):
        yield ReducedFrame(frame.number, frame.time_s, frame.reduced(side))
        progress(done, len(numbers), f"{frame.time_s:.0f} s")
    if not done:
        raise InputError(f"{video.name} holds no frame that can be decoded. Copy or export the video again.")


def record_of(video: Video, path: Path | str, shown_frames: list[int]) -> dict[str, Any]:
    """What is kept of the original: where and what it is, and nothing that its file says about people."""
    return {
        "path": str(Path(path).absolute()),
        "width_px": video.width_px,
        "height_px": video.height_px,
        "frame_count": len(video),
        "frame_rate_hz": video.frame_rate_hz,
        "duration_s": float(video.duration_s),
        "notes": list(video.notes),
        "shown_frames": shown_frames,
    }


def write_preview(video: Video, path: Path | str, file: Path, progress: Progress = no_progress) -> dict[str, Any]:
    """Write the frames to show into an array file (.npy); returns what `read_preview` needs, as JSON."""
    step, _side = display_plan(len(video), video.frame_rate_hz, (video.width_px, video.height_px))
    room, numbers, times = None, [], []
    for frame in reduced_frames(video, progress):
        if room is None:
            shape = (-(-len(video) // step), *frame.picture.shape)
            room = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
        room[len(numbers)] = frame.picture
        numbers.append(frame.number)
        times.append(frame.time_s)
    room.flush()
    return {"record": record_of(video, path, numbers), "times_s": times, "pictures": str(file)}


def read_preview(made: dict[str, Any]) -> Iterator[ReducedFrame]:
    """The frames that `write_preview` wrote."""
    pictures = np.load(made["pictures"], mmap_mode="r", allow_pickle=False)
    for values in zip(made["record"]["shown_frames"], made["times_s"], pictures):
        yield ReducedFrame(*values)

"""What is checked before a video is scored: frame rate, length, light, and whether the camera stood still."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.common.video import Frame, Video

SAMPLES = 40
SAMPLE_SIDE_PX = 160
BLACK_LEVEL = 10.0
REACH_PX = 6  # shifts looked for in the reduced pictures
LEAST_SHIFT_PX = 1.5
BLOCKS = (4, 6)


@dataclass(frozen=True)
class Check:
    """One check: what was measured, what is asked, and whether it stops the scoring or is only a warning."""

    name: str
    value: str
    asked: str
    passed: bool
    stops: bool = True
    advice: str = ""

    @property
    def sentence(self) -> str:
        """For people: what is wrong, then the next step."""
        return f"{self.name}: {self.value} (asked: {self.asked}). {self.advice}".strip()

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def stopping(checks: Iterable[Check]) -> list[Check]:
    """The failed checks below which nothing is scored."""
    return [check for check in checks if check.stops and not check.passed]


def warnings(checks: Iterable[Check]) -> list[Check]:
    """The failed checks that are told but stop nothing."""
    return [check for check in checks if not check.stops and not check.passed]


def check_table(checks: Sequence[Check]) -> Table:
    """All checks as a table."""
    rows = [[c.name, c.value, c.asked, "ok" if c.passed else "stops" if c.stops else "warning"] for c in checks]
    columns = [Column("Check"), Column("Found"), Column("Asked"), Column("Outcome")]
    return Table("Quality of the video", columns, rows)


def frame_checks(video: Video, least_rate_hz: float, least_s: float, least_side_px: int) -> list[Check]:
    """Frame rate, evenness of time, length and resolution: nothing is decoded."""
    rate, duration = video.frame_rate_hz, float(video.duration_s)
    gap = video.largest_gap_s * rate if rate else 0.0
    return [
        Check(
            "Frame rate",
            f"{rate:.4g} frames/s",
            f"at least {least_rate_hz:g}",
            rate >= least_rate_hz,
            advice="Film with 25 to 60 frames a second.",
        ),
        Check(
            "Even time",
            f"largest gap {gap:.3g} frames",
            "at most 3",
            gap <= 3,
            stops=False,
            advice="Frames are missing; movements across the gap are not seen.",
        ),
        Check(
            "Length",
            f"{duration:.2f} s",
            f"at least {least_s:g} s",
            duration >= least_s - 1e-6,
            advice="Choose a longer video.",
        ),
        Check(
            "Resolution",
            f"{video.width_px} x {video.height_px} pixels",
            f"short side at least {least_side_px}",
            min(video.width_px, video.height_px) >= least_side_px,
            advice="Use the original video, not a preview.",
        ),
    ]


def file_checks(video: Video) -> list[Check]:
    """What was found while reading: to be asked for once the video has been decoded. Nothing of a sound file."""
    advice = "Copy or export the video again."
    checks = [Check("Whole file", n.rstrip("."), "readable to its end", False, False, advice) for n in video.notes]
    if video.pixel_aspect != 1:
        advice = "Export it with square pixels: as stored, people are too narrow or too wide, and angles are wrong."
        shape = f"{float(video.pixel_aspect):.3g} times as wide as tall"
        checks.append(Check("Square pixels", shape, "square", False, False, advice))
    return checks


@dataclass(frozen=True)
class Look:
    """Reduced gray pictures (n,h,w) of pairs of frames a fifth of a second apart, spread over a video."""

    first: np.ndarray
    second: np.ndarray

    def checks(self) -> list[Check]:
        """Black frames, and camera motion."""
        level = self.first.reshape(len(self.first), -1).mean(axis=1)
        black = float(np.mean(level < BLACK_LEVEL))
        lit = level >= BLACK_LEVEL
        moved = [camera_moved(a, b) for a, b in zip(self.first[lit], self.second[lit])]
        moving = float(np.mean(moved)) if moved else 0.0
        return [
            Check(
                "Black frames",
                f"{100 * black:.0f} %",
                "at most 50 %",
                black <= 0.5,
                advice="Cut the dark part off, or film with more light.",
            ),
            Check(
                "Camera still",
                f"moving in {100 * moving:.0f} % of the looks",
                "at most 20 %",
                moving <= 0.2,
                stops=False,
                advice="Put the camera on a stand; a moving camera adds motion that is not the person's.",
            ),
        ]


def look_at(video: Video, samples: int = SAMPLES) -> Look:
    """Decode a few pairs of frames of a video, spread over its length."""
    step = max(1, round(0.2 * video.frame_rate_hz))
    first = np.unique(np.linspace(0, max(len(video) - 1 - step, 0), min(samples, len(video))).astype(int))
    second = np.minimum(first + step, len(video) - 1)
    pictures = {f.number: _gray(f) for f in video.frames(np.union1d(first, second))}
    pairs = [(pictures[a], pictures[b]) for a, b in zip(first, second) if a in pictures and b in pictures]
    return Look(np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs]))


def _gray(frame: Frame) -> np.ndarray:
    return frame.reduced(SAMPLE_SIDE_PX).mean(axis=2, dtype=np.float32)


def camera_moved(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether most parts of a gray picture (h,w) fit the later one clearly better when shifted: the background moved.

    Parts without structure, and those where a person walks, do not vote for a moving camera by themselves.
    """
    if min(first.shape) < 2 * REACH_PX + 4 * max(BLOCKS):
        return False  # too narrow a strip to tell
    inner = first[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]
    shifts = [(dy, dx) for dy in range(-REACH_PX, REACH_PX + 1) for dx in range(-REACH_PX, REACH_PX + 1)]
    costs = np.array([_block_means(np.abs(inner - _shifted(second, dy, dx))) for dy, dx in shifts])
    unmoved = costs[shifts.index((0, 0))]
    best = costs.argmin(axis=0)
    far = np.hypot(*np.array(shifts).T)[best] >= LEAST_SHIFT_PX
    better = costs.min(axis=0) < 0.75 * unmoved
    return bool(np.mean(far & better) > 0.5)


def _shifted(picture: np.ndarray, dy: int, dx: int) -> np.ndarray:
    height, width = picture.shape
    return picture[REACH_PX + dy : height - REACH_PX + dy, REACH_PX + dx : width - REACH_PX + dx]


def _block_means(picture: np.ndarray) -> np.ndarray:
    rows, columns = (side // parts for side, parts in zip(picture.shape, BLOCKS))
    cut = picture[: rows * BLOCKS[0], : columns * BLOCKS[1]]
    return cut.reshape(BLOCKS[0], rows, BLOCKS[1], columns).mean(axis=(1, 3)).ravel()

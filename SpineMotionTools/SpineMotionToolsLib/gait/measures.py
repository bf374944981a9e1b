"""Measures of a walk that a clinician can check by eye: cadence, and the lean of the trunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SLOWEST_STEPS_HZ, FASTEST_STEPS_HZ = 0.7, 3.2
LEAST_TIME_S = 2.0
CLEAR = 16  # of the median power: one noise in a hundred reaches it
LEAST_SPREAD = 0.005  # of the body's height: smaller changes are noise of the boxes
SLOW_SHARE, TURN_MARGIN_S = 0.5, 0.5
LEAST_SPEED = 0.1  # body heights a second across the picture; people walk at 0.5 and more
LEAST_FRAMES = 5
NOSE, NECK, HIPS, ANKLES, EARS = 0, 1, (8, 11), (10, 13), (16, 17)
FROM_BOX, FROM_ANKLES = "width of the box", "distance of the ankles"


@dataclass(frozen=True)
class GaitMeasures:
    """Cadence, and the trunk's lean against the vertical: positive forward, in the picture's plane.

    `cadence_from` says what the cadence was read from. A camera that is not level adds its tilt to the lean. `frames`
    counts those that the lean was read from: turns, starts and stops are left out.
    """

    cadence_per_min: float | None
    cadence_from: str
    trunk_inclination_deg: float | None = None
    trunk_inclination_sd_deg: float | None = None
    frames: int = 0

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def cadence_per_min(times_s: np.ndarray, spread: np.ndarray) -> float | None:
    """Steps a minute from a signal that opens and closes once a step: distance of the ankles, width of the box.

    `spread` is a share of the body's height. The strongest frequency between 0.7 and 3.2 steps a second of the signal
    without its trend; None when the time is shorter than 2 s or nothing stands out.
    """
    known = np.isfinite(spread)
    times_s, spread = np.asarray(times_s)[known], np.asarray(spread, float)[known]
    if len(times_s) < 16 or times_s[-1] - times_s[0] < LEAST_TIME_S:
        return None
    step = float(np.median(np.diff(times_s)))
    even = np.arange(times_s[0], times_s[-1], step)
    signal = np.interp(even, times_s, spread)
    signal = signal - np.polyval(np.polyfit(even, signal, 1), even)
    if signal.std() < LEAST_SPREAD:
        return None
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), 16 * len(signal))) ** 2
    frequency = np.fft.rfftfreq(16 * len(signal), step)
    allowed = (frequency >= SLOWEST_STEPS_HZ) & (frequency <= FASTEST_STEPS_HZ)
    if not allowed.any() or spectrum[allowed].max() < CLEAR * np.median(spectrum[allowed]):
        return None
    best = np.flatnonzero(allowed)[np.argmax(spectrum[allowed])]
    # Right and left steps are not quite equal: a stride (two steps) can be stronger than the step itself.
    double = 2 * frequency[best]
    if double <= FASTEST_STEPS_HZ and frequency[best] < 1.1:
        near = np.flatnonzero(np.abs(frequency - double) < 0.15)
        peak = near[np.argmax(spectrum[near])]
        if spectrum[peak] > 0.35 * spectrum[best]:
            best = peak
    return float(60 * frequency[best])


def trunk_inclination_deg(joints: np.ndarray, forward: np.ndarray | float) -> np.ndarray:
    """(n,) lean of the line from the hips to the neck against the vertical, positive toward `forward` (+1 right, -1
    left).

    `joints` (n,18,2 or 3) in pixels; NaN where a point is missing.
    """
    points = np.asarray(joints, float)[..., :2]
    hips = points[:, list(HIPS)]
    known = np.isfinite(hips).all(axis=2)
    with np.errstate(invalid="ignore"):
        middle = np.where(known[..., None], hips, 0).sum(axis=1) / known.sum(axis=1)[:, None]
    trunk = points[:, NECK] - middle
    return np.degrees(np.arctan2(forward * trunk[:, 0], -trunk[:, 1]))


def walking_direction(times_s: np.ndarray, x: np.ndarray, height: float) -> np.ndarray:
    """(n,) +1 while walking right, -1 left, 0 in a turn, a start or a stop, where the trunk is not seen from the side.

    `x`: the walker's place across the picture, `height` the body's, both in pixels. A turn is where the speed across
    the picture, over about one second, is less than half of its median over the video, and half a second before
    and after. All 0 for who hardly moves across the picture: on a treadmill, or before a camera that follows.
    """
    times_s, x = np.asarray(times_s, float), np.asarray(x, float)
    if len(times_s) < 2:
        return np.zeros(len(times_s))
    before, after = np.maximum(times_s - 0.5, times_s[0]), np.minimum(times_s + 0.5, times_s[-1])
    speed = (np.interp(after, times_s, x) - np.interp(before, times_s, x)) / (after - before)
    usual = float(np.median(np.abs(speed)))
    if usual < LEAST_SPEED * height:
        return np.zeros(len(times_s))
    slow = times_s[np.abs(speed) < SLOW_SHARE * usual]
    in_turn = (np.abs(times_s[:, None] - slow[None]) <= TURN_MARGIN_S).any(axis=1)
    return np.where(in_turn, 0.0, np.sign(speed))


def facing(joints: np.ndarray) -> float:
    """+1 for a person who looks to the right in most frames, -1 left: the side of the ears that the nose is on.

    `joints` (n,18,2 or 3) in pixels; NaN (the answer too) where nose or ears are missing.
    """
    points = np.asarray(joints, float)[..., 0]
    ears = points[:, list(EARS)]
    known = np.isfinite(ears)
    with np.errstate(invalid="ignore"):
        ahead = points[:, NOSE] - np.where(known, ears, 0).sum(axis=1) / known.sum(axis=1)
    ahead = ahead[np.isfinite(ahead)]
    return float(np.sign(np.median(ahead))) if len(ahead) else float("nan")


def measure(
    times_s: np.ndarray, boxes: np.ndarray, joints: np.ndarray | None = None, joint_times_s: np.ndarray | None = None
) -> GaitMeasures:
    """Measures of a walk from boxes (n,4) at `times_s`, and joints (m,18,3) at `joint_times_s` where body points are
    known.

    Without body points the cadence is read from the width of the box, and the lean stays unknown. The lean leaves out
    turns, starts and stops (`walking_direction`).
    """
    boxes = np.asarray(boxes, float)
    height = float(np.median(boxes[:, 3] - boxes[:, 1])) if len(boxes) else 1.0
    width = (boxes[:, 2] - boxes[:, 0]) / height
    if joints is None or len(joints) == 0:
        return GaitMeasures(cadence_per_min(times_s, width), FROM_BOX)
    ankles = np.abs(joints[:, ANKLES[0], 0] - joints[:, ANKLES[1], 0]) / height
    cadence, source = cadence_per_min(joint_times_s, ankles), FROM_ANKLES
    if cadence is None:
        cadence, source = cadence_per_min(times_s, width), FROM_BOX
    lean = _lean_deg(times_s, (boxes[:, 0] + boxes[:, 2]) / 2, height, joints, joint_times_s)
    if len(lean) < LEAST_FRAMES:
        return GaitMeasures(cadence, source)
    return GaitMeasures(cadence, source, float(np.median(lean)), float(np.std(lean, ddof=1)), len(lean))


def _lean_deg(times_s, x, height: float, joints: np.ndarray, joint_times_s: np.ndarray) -> np.ndarray:
    """The trunk's lean of the frames that show it from the side."""
    direction = walking_direction(times_s, x, height)
    if direction.any():
        nearest = np.abs(np.asarray(joint_times_s)[:, None] - np.asarray(times_s)[None]).argmin(axis=1)
        forward = direction[nearest]
    else:
        forward = np.full(len(joints), facing(joints))
    lean = trunk_inclination_deg(joints, forward)
    return lean[np.isfinite(lean) & (forward != 0)]

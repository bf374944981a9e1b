"""Phantom infant videos: a supine infant filmed from above, with the movement statistics of three movement patterns.

writhing: all limbs, large, slow to moderate, fluent and variable. fidgety: all limbs, neck and trunk, small, moderate
speed, changing direction all the time. poor repertoire: the same small sequence again and again in few limbs. Looks
(size, posture, clothes) do not tell the class, so that only movement can. It is a drawing: it shows that the software
works, not how well it finds disease.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.video import FrameVideo
from SpineMotionToolsLib.phantoms.stage import SKINS, Canvas, Stage, any_color, shade

PATTERNS = ("writhing", "fidgety", "poor repertoire")
# Angles of the body that move, resting pose in degrees: shoulder, elbow, hip, knee of each side; head turn; trunk bend.
MOVING = ("right shoulder", "right elbow", "left shoulder", "left elbow")
MOVING += ("right hip", "right knee", "left hip", "left knee", "head", "trunk")
REST_DEG = np.array([85.0, 70.0, 85.0, 70.0, 48.0, 85.0, 48.0, 85.0, 0.0, 0.0])
LIMB_OF = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 5])


@dataclass(frozen=True)
class Infant:
    """How one infant looks and lies. Lengths in trunk lengths (shoulders to hips), angles in degrees."""

    pattern: str
    trunk_px: float
    turn_deg: float  # 0: head up in the picture
    build: float
    head: float
    rest_deg: np.ndarray
    suit: tuple[int, int, int]
    diaper: tuple[int, int, int]
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]


class Movement:
    """Angles over time of one pattern: sums of sine waves, so that any time can be asked for by itself."""

    def __init__(self, pattern: str, random: np.random.Generator):
        count, waves = len(MOVING), 12
        if pattern == "writhing":
            rate = random.uniform(0.08, 0.75, (count, waves))
            size = random.uniform(0.6, 1.4, (count, 1)) * random.uniform(15, 24)
        elif pattern == "fidgety":
            rate = random.uniform(0.9, 2.6, (count, waves))
            size = random.uniform(0.6, 1.4, (count, 1)) * random.uniform(5, 8.5)
        elif pattern == "poor repertoire":
            base = random.uniform(0.35, 0.6)  # one sequence, repeated
            rate = base * np.tile(np.repeat([1, 2], waves // 2), (count, 1))
            moving = random.permutation(4)[: random.integers(1, 3)]
            size = np.where(np.isin(LIMB_OF, moving), 1.0, 0.06)[:, None] * random.uniform(8, 14)
        else:
            raise InputError(f"The movement pattern {pattern!r} is unknown. Choose one of {', '.join(PATTERNS)}.")
        size = size * np.array([1, 1.2, 1, 1.2, 0.8, 1.2, 0.8, 1.2, 0.6, 0.25])[:, None]
        weight = random.standard_normal((count, waves))
        weight /= np.linalg.norm(weight, axis=1, keepdims=True)
        # Waves of one limb share their times, as its joints move together; the sum has about unit spread.
        shared = random.uniform(0, 2 * np.pi, (6, waves))[LIMB_OF]
        self._rate, self._size = rate, size * weight * np.sqrt(2)
        self._start = shared + random.normal(0, 0.5, (count, waves))
        # General movements wax and wane.
        self._swell = random.uniform(0.03, 0.09), random.uniform(0, 2 * np.pi), 0.0 if pattern == "fidgety" else 0.25

    def angles_deg(self, time_s: float) -> np.ndarray:
        """Deviation (10,) from the resting pose in the order of `MOVING`."""
        rate, start, depth = self._swell
        swell = 1 + depth * np.sin(2 * np.pi * rate * time_s + start)
        return swell * (self._size * np.sin(2 * np.pi * self._rate * time_s + self._start)).sum(axis=1)


def random_infant(random: np.random.Generator, pattern: str, height_px: int) -> Infant:
    rest = REST_DEG + random.normal(0, 12, len(REST_DEG)) * (LIMB_OF < 4)
    return Infant(
        pattern=pattern,
        trunk_px=random.uniform(0.19, 0.25) * height_px,
        turn_deg=random.uniform(-60, 60),
        build=random.uniform(0.85, 1.15),
        head=random.uniform(0.36, 0.44),
        rest_deg=rest,
        suit=any_color(random),
        diaper=shade((235, 235, 235), random.uniform(0.85, 1.0)),
        skin=SKINS[random.integers(len(SKINS))],
        hair=shade(any_color(random), 0.5),
    )


def pose(infant: Infant, moved_deg: np.ndarray) -> np.ndarray:
    """(18,2) joints in trunk lengths around the trunk's center, x to the viewer's right, y down (head up in the
    picture).

    The infant faces the camera, so its right side is on the viewer's left.
    """
    angles = np.radians(infant.rest_deg + moved_deg)
    joints = np.zeros((18, 2))
    bend = angles[9]
    up = np.array([np.sin(bend), -np.cos(bend)])
    out = np.array([-np.cos(bend), -np.sin(bend)])  # toward the infant's right
    joints[1] = 0.5 * up
    for sign, (s, e, w, h, k, a), first in ((1, (2, 3, 4, 8, 9, 10), 0), (-1, (5, 6, 7, 11, 12, 13), 2)):
        outward = sign * out
        joints[s] = joints[1] + 0.30 * infant.build * outward
        joints[h] = -0.5 * up + 0.19 * infant.build * outward
        joints[e] = joints[s] + 0.42 * _turned(outward, up, angles[first])
        joints[w] = joints[e] + 0.36 * _turned(outward, up, angles[first] - angles[first + 1])
        joints[k] = joints[h] + 0.46 * _turned(outward, -up, angles[first + 4])
        joints[a] = joints[k] + 0.44 * _turned(outward, -up, angles[first + 4] - angles[first + 5])
    turn = angles[8] + bend
    ahead = np.array([np.sin(turn), -np.cos(turn)])
    aside = np.array([np.cos(turn), np.sin(turn)])
    middle = joints[1] + (0.10 + infant.head) * ahead
    joints[0] = middle - 0.03 * ahead
    joints[14], joints[15] = (middle + 0.08 * ahead - sign * 0.13 * aside for sign in (1, -1))
    joints[16], joints[17] = (middle - sign * 0.36 * aside for sign in (1, -1))
    return joints


def _turned(outward: np.ndarray, along: np.ndarray, angle: float) -> np.ndarray:
    """The direction at `angle` (radians) from `along`, turning outward."""
    return np.cos(angle) * along + np.sin(angle) * outward


@dataclass
class InfantPhantom:
    """A phantom video and its truth: `joints(frame)` (18,2) pixels and `mask(frame)` (H,W) bool."""

    infant: Infant
    video: FrameVideo
    _place: object
    _outline: object

    def joints(self, frame: int) -> np.ndarray:
        return self._place(frame)

    def mask(self, frame: int) -> np.ndarray:
        return self._outline(frame)

    def torso(self, frame: int) -> np.ndarray:
        """(4,2) right and left shoulder, right and left hip."""
        return self.joints(frame)[[2, 5, 8, 11]]


def infant_video(
    seed: int,
    pattern: str,
    seconds: float = 60.0,
    size_px: tuple[int, int] = (320, 240),
    frame_rate_hz: float = 30.0,
    shake_px: float = 0.0,
    contrast: float = 1.0,
    **changes,
) -> InfantPhantom:
    """An infant moving in one of `PATTERNS`; `changes` override fields of `Infant`.

    `contrast` below 1 fades the infant into the background (0: nothing to see). Raises InputError for an unknown
    pattern.
    """
    if pattern not in PATTERNS:
        raise InputError(f"The movement pattern {pattern!r} is unknown. Choose one of {', '.join(PATTERNS)}.")
    random = np.random.default_rng([seed, PATTERNS.index(pattern)])
    infant = replace(random_infant(random, pattern, size_px[1]), **changes)
    stage = Stage(size_px, random, shake_px=shake_px, noise_levels=2.0)
    movement = Movement(pattern, random)
    times = np.arange(int(round(seconds * frame_rate_hz))) / frame_rate_hz
    middle = np.array(size_px) * (0.5 + random.uniform(-0.06, 0.06, 2))
    turn = np.radians(infant.turn_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def place(frame: int) -> np.ndarray:
        body = pose(infant, movement.angles_deg(times[frame])) @ rotation.T
        return middle + stage.camera_shift(times[frame]) + infant.trunk_px * body

    def picture(frame: int) -> np.ndarray:
        canvas = stage.canvas(times[frame])
        if contrast < 1:
            background = canvas.image.copy()
        _draw(canvas, infant, place(frame))
        if contrast < 1:
            from PIL import Image

            canvas = Canvas(Image.blend(background, canvas.image, contrast))
        return stage.photograph(canvas, frame)

    def outline(frame: int) -> np.ndarray:
        from PIL import Image

        canvas = Canvas(Image.new("RGB", size_px), oversampling=1)
        white = replace(infant, **dict.fromkeys(("suit", "diaper", "skin", "hair"), (255, 255, 255)))
        _draw(canvas, white, place(frame))
        return np.asarray(canvas.image).any(axis=2)

    return InfantPhantom(infant, FrameVideo(picture, times, f"infant-{seed}", size_px), place, outline)


def _draw(canvas: Canvas, infant: Infant, joints: np.ndarray) -> None:
    size = infant.trunk_px
    thick = infant.build * size
    for h, k, a in ((8, 9, 10), (11, 12, 13)):
        canvas.limb(joints[h], joints[k], 0.15 * thick, 0.11 * thick, infant.skin)
        canvas.limb(joints[k], joints[a], 0.11 * thick, 0.075 * thick, shade(infant.skin, 0.96))
        foot = joints[a] + (joints[a] - joints[k]) / np.linalg.norm(joints[a] - joints[k]) * 0.10 * size
        canvas.limb(joints[a], foot, 0.075 * size, 0.055 * size, shade(infant.skin, 1.04))
    neck, hip = joints[1], (joints[8] + joints[11]) / 2
    canvas.limb(neck - 0.12 * (neck - hip), hip, 0.30 * thick, 0.27 * thick, infant.suit)
    canvas.limb(hip, hip + 0.12 * (neck - hip), 0.26 * thick, 0.27 * thick, infant.diaper)
    for s, e, w in ((2, 3, 4), (5, 6, 7)):
        canvas.limb(joints[s], joints[e], 0.105 * thick, 0.085 * thick, shade(infant.suit, 0.88))
        canvas.limb(joints[e], joints[w], 0.080 * thick, 0.060 * thick, infant.skin)
        canvas.ball(joints[w], 0.085 * size, shade(infant.skin, 1.04))
    middle = (joints[16] + joints[17]) / 2
    crown = middle + (middle - neck) * 0.25
    canvas.ball(crown, infant.head * 0.98 * size * 0.92, infant.hair)
    canvas.ball(middle, infant.head * size * 0.92, infant.skin)
    for eye in (14, 15):
        canvas.ball(joints[eye], 0.035 * size, (40, 35, 30))
    canvas.ball(joints[0], 0.03 * size, shade(infant.skin, 0.85))

"""Phantom gait videos: a jointed walker seen from the side, upright or stooped, with known boxes, joints and cadence.

The stooped walker leans forward without the compensations of hips and knees, as in decompensated adult spinal
deformity. It is a drawing: it shows that the software works, not how well it finds disease.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from SpineMotionToolsLib.common.video import FrameVideo
from SpineMotionToolsLib.phantoms.stage import SKINS, Canvas, Stage, any_color, shade

# Hip and knee flexion (degrees) over one stride from heel strike to heel strike, after Winter 1991.
STRIDE_TIMES = (0.0, 0.15, 0.40, 0.60, 0.73, 0.90, 1.0)
HIP_DEG = (29.0, 23.0, -4.0, -9.0, 14.0, 31.0, 29.0)
KNEE_DEG = (5.0, 18.0, 5.0, 36.0, 61.0, 16.0, 5.0)


@dataclass(frozen=True)
class Walk:
    """How one person walks and looks. Lengths in meters, angles in degrees, colors RGB."""

    stooped: bool
    height_m: float
    cadence_per_min: float  # steps a minute
    stride_m: float
    trunk_deg: float  # forward lean of the trunk against the vertical
    head_deg: float  # forward lean of the head against the vertical
    knee_bias_deg: float
    swing_scale: float  # size of the joint angles compared with the textbook's
    arm_swing_deg: float
    shirt: tuple[int, int, int]
    trousers: tuple[int, int, int]
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    build: float
    phase: float


def random_walk(random: np.random.Generator, stooped: bool) -> Walk:
    """A walker whose lean tells the class and whose other features overlap between the classes."""
    lean = random.uniform(18, 42) if stooped else random.uniform(-3, 9)
    return Walk(
        stooped=stooped,
        height_m=random.uniform(1.45, 1.85),
        cadence_per_min=random.uniform(75, 112) if stooped else random.uniform(85, 122),
        stride_m=random.uniform(0.7, 1.15) if stooped else random.uniform(0.9, 1.4),
        trunk_deg=lean,
        head_deg=lean * random.uniform(0.3, 0.9) + random.uniform(-5, 10),
        knee_bias_deg=random.uniform(0, 14),
        swing_scale=random.uniform(0.65, 0.95) if stooped else random.uniform(0.75, 1.05),
        arm_swing_deg=random.uniform(5, 24),
        shirt=any_color(random),
        trousers=any_color(random),
        skin=SKINS[random.integers(len(SKINS))],
        hair=shade(any_color(random), 0.5),
        build=random.uniform(0.85, 1.25),
        phase=random.uniform(0, 1),
    )


def pose(walk: Walk, time_s: float) -> np.ndarray:
    """(18,2) joints in meters, x forward, y up from the floor, pelvis at x 0 (order of `common.body_points.JOINTS`)."""
    height = walk.height_m
    thigh, shank, trunk, upper_arm, forearm = (share * height for share in (0.245, 0.246, 0.288, 0.186, 0.16))
    stride_phase = time_s * walk.cadence_per_min / 120 + walk.phase
    joints = np.zeros((18, 2))
    legs = {}
    for side, shift in (("right", 0.0), ("left", 0.5)):
        legs[side] = _leg(walk, (stride_phase + shift) % 1, thigh, shank)
    lowest = min(points[1][1] for points in legs.values())
    hip = np.array([0.0, -lowest + 0.039 * height])  # the ankle of the standing leg is this high
    lean = np.radians(walk.trunk_deg + 1.5 * np.sin(4 * np.pi * stride_phase))
    neck = hip + trunk * np.array([np.sin(lean), np.cos(lean)])
    head = np.radians(walk.head_deg)
    up, ahead = np.array([np.sin(head), np.cos(head)]), np.array([np.cos(head), -np.sin(head)])
    joints[1] = neck
    joints[0] = neck + 0.10 * height * up + 0.055 * height * ahead
    joints[14] = joints[15] = neck + 0.115 * height * up + 0.040 * height * ahead
    joints[16] = joints[17] = neck + 0.105 * height * up
    shoulder = hip + 0.95 * (neck - hip)
    for side, (s, e, w, h, k, a), shift in (("right", (2, 3, 4, 8, 9, 10), 0.5), ("left", (5, 6, 7, 11, 12, 13), 0.0)):
        swing = np.radians(walk.arm_swing_deg * np.sin(2 * np.pi * (stride_phase + shift + 0.25)))
        bend = swing + np.radians(18)
        joints[s] = shoulder
        joints[e] = shoulder + upper_arm * np.array([np.sin(swing), -np.cos(swing)])
        joints[w] = joints[e] + forearm * np.array([np.sin(bend), -np.cos(bend)])
        joints[h] = hip
        joints[k], joints[a] = hip + legs[side][0], hip + legs[side][1]
    return joints


def _leg(walk: Walk, phase: float, thigh: float, shank: float) -> tuple[np.ndarray, np.ndarray]:
    """Knee and ankle relative to the hip."""
    hip_deg, knee_deg = (float(_curve(angles)(phase)) * walk.swing_scale for angles in (HIP_DEG, KNEE_DEG))
    flexion = np.radians(hip_deg + walk.knee_bias_deg / 2)
    bend = flexion - np.radians(knee_deg + walk.knee_bias_deg)
    knee = thigh * np.array([np.sin(flexion), -np.cos(flexion)])
    return knee, knee + shank * np.array([np.sin(bend), -np.cos(bend)])


@lru_cache(maxsize=2)
def _curve(angles_deg: tuple[float, ...]):
    from scipy.interpolate import CubicSpline

    return CubicSpline(STRIDE_TIMES, angles_deg, bc_type="periodic")


@dataclass
class WalkerPhantom:
    """A phantom video and its truth.

    `boxes` (T,4) and `joints` (T,18,2) are pixels of the patient; `other_boxes` those of a second person, if any.
    Frames are drawn when they are read.
    """

    walk: Walk
    video: FrameVideo
    boxes: np.ndarray
    joints: np.ndarray
    other_boxes: np.ndarray | None


def walker_video(
    seed: int,
    stooped: bool,
    seconds: float = 4.0,
    size_px: tuple[int, int] = (320, 240),
    frame_rate_hz: float = 30.0,
    companion: bool = False,
    shake_px: float = 0.0,
    enter_s: float = 0.0,
    **changes,
) -> WalkerPhantom:
    """A walker going to and fro across the picture; `changes` override fields of `Walk`.

    `companion` adds an examiner, taller, who walks the other way; for the first `enter_s` seconds nobody is in view.
    """
    random = np.random.default_rng([seed, int(stooped)])
    walk = replace(random_walk(random, stooped), **changes)
    stage = Stage(size_px, random, floor_y=random.uniform(0.72, 0.8), shake_px=shake_px)
    times = np.arange(int(round(seconds * frame_rate_hz))) / frame_rate_hz
    scale = random.uniform(0.52, 0.66) * size_px[1] / walk.height_m  # pixels per meter
    ground = (stage.floor_y + random.uniform(0.08, 0.16)) * size_px[1]
    people = [_Track(walk, scale, ground, size_px[0], random.choice([-1, 1]), random.uniform(0, 1), enter_s)]
    if companion:
        other = replace(random_walk(random, False), height_m=walk.height_m * 1.12)
        people.append(_Track(other, scale, ground - 0.04 * size_px[1], size_px[0], -people[0].start, 0.3, 0.0))

    def picture(number: int) -> np.ndarray:
        canvas = stage.canvas(times[number])
        shift = stage.camera_shift(times[number])
        for person in reversed(people):  # the patient is nearer to the camera
            if times[number] >= person.enter_s:
                _draw(canvas, person, person.joints(times[number]) + shift, person.direction(times[number]))
        return stage.photograph(canvas, number)

    shifts = np.array([stage.camera_shift(t) for t in times])
    tracks = [np.array([person.joints(t) for t in times]) + shifts[:, None] for person in people]
    boxes = [_boxes(track, person) for track, person in zip(tracks, people)]
    video = FrameVideo(picture, times, f"walker-{seed}", size_px)
    return WalkerPhantom(walk, video, boxes[0], tracks[0], boxes[1] if companion else None)


@dataclass(frozen=True)
class _Track:
    """One person's way through the picture."""

    walk: Walk
    scale: float
    ground_px: float
    width_px: int
    start: int
    offset: float
    enter_s: float

    def _path(self, time_s: float) -> tuple[float, int]:
        """x in pixels and direction: to and fro between the picture's sides."""
        speed = self.walk.stride_m * self.walk.cadence_per_min / 120 * self.scale
        margin = 0.3 * self.walk.height_m * self.scale
        span = max(self.width_px - 2 * margin, 1.0)
        way = (speed * time_s + self.offset * 0.3 * span) / span
        turned = int(way) % 2
        along = way % 1 if not turned else 1 - way % 1
        direction = self.start * (1 if not turned else -1)
        return margin + span * (along if self.start > 0 else 1 - along), direction

    def direction(self, time_s: float) -> int:
        return self._path(time_s)[1]

    def joints(self, time_s: float) -> np.ndarray:
        """(18,2) pixels."""
        x, direction = self._path(time_s)
        body = pose(self.walk, time_s)
        return np.column_stack([x + direction * body[:, 0] * self.scale, self.ground_px - body[:, 1] * self.scale])


def _boxes(joints: np.ndarray, person: _Track) -> np.ndarray:
    """(T,4) boxes around the drawn body."""
    size = person.walk.height_m * person.scale
    low, high = joints.min(axis=1), joints.max(axis=1)
    return np.column_stack(
        [low[:, 0] - 0.055 * size, low[:, 1] - 0.065 * size, high[:, 0] + 0.07 * size, high[:, 1] + 0.04 * size]
    ).astype(np.float32)


def _draw(canvas: Canvas, person: _Track, joints: np.ndarray, direction: int) -> None:
    walk, size = person.walk, person.walk.height_m * person.scale
    thick = walk.build * size
    forward = np.array([direction, 0.0])
    near, far = ((2, 3, 4, 8, 9, 10), (5, 6, 7, 11, 12, 13))
    if direction < 0:
        near, far = far, near

    def leg(h: int, k: int, a: int, light: float) -> None:
        canvas.limb(joints[h], joints[k], 0.052 * thick, 0.036 * thick, shade(walk.trousers, light))
        canvas.limb(joints[k], joints[a], 0.036 * thick, 0.024 * thick, shade(walk.trousers, light))
        toe = joints[a] + forward * 0.09 * size + [0, 0.02 * size]
        canvas.limb(joints[a] + [0, 0.018 * size], toe, 0.021 * size, 0.016 * size, shade((60, 55, 50), light))

    def arm(s: int, e: int, w: int, light: float) -> None:
        canvas.limb(joints[s], joints[e], 0.030 * thick, 0.024 * thick, shade(walk.shirt, light))
        canvas.limb(joints[e], joints[w], 0.022 * thick, 0.018 * thick, shade(walk.skin, light))
        canvas.ball(joints[w], 0.022 * size, shade(walk.skin, light))

    arm(*far[:3], 0.7)
    leg(*far[3:], 0.7)
    leg(*near[3:], 1.0)
    hip, neck = joints[8], joints[1]
    canvas.limb(hip, hip + 0.45 * (neck - hip), 0.062 * thick, 0.060 * thick, walk.shirt)
    canvas.limb(hip + 0.45 * (neck - hip), hip + 0.93 * (neck - hip), 0.060 * thick, 0.056 * thick, walk.shirt)
    head = joints[16]
    canvas.limb(neck, head, 0.030 * size, 0.030 * size, walk.skin)
    canvas.ball(head, 0.056 * size, walk.skin, height=1.18)
    canvas.ball(head - forward * 0.018 * size - [0, 0.018 * size], 0.052 * size, walk.hair)
    canvas.ball(joints[0], 0.012 * size, walk.skin)
    canvas.ball(joints[14], 0.008 * size, (30, 30, 30))
    arm(*near[:3], 1.08)

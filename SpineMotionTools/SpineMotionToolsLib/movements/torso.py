"""The infant's trunk: four torso points of a frame, and the turn, shift and scale of the whole video they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.body_points import BodyPoints
from SpineMotionToolsLib.common.errors import InputError

TORSO_JOINTS = (2, 5, 8, 11)  # right and left shoulder, right and left hip
POINT_NAMES = ("right shoulder", "left shoulder", "right hip", "left hip", "neck", "crotch", "center")
SAMPLE_STEP = 30  # frames between two looked at, one a second


def torso_points(bodies: BodyPoints) -> np.ndarray:
    """The seven int32 points (7,2) of `POINT_NAMES`, or (0,2) unless exactly four torso joints were found in the frame.

    The joints are taken in the order right shoulder, left shoulder, right hip, left hip from all persons; a second
    person with one torso joint voids the frame, and two half persons are accepted, as published.
    """
    points = []
    for joint in TORSO_JOINTS:
        numbers = bodies.persons[:, joint].astype(int)
        points += [bodies.candidates[number, :2] for number in numbers if number >= 0]
    return with_midpoints(np.array(points)) if len(points) == 4 else np.zeros((0, 2), np.int32)


def with_midpoints(corners: np.ndarray) -> np.ndarray:
    """Seven int32 points from the four torso points (4,2): neck, crotch and center are means; all truncated to whole
    pixels.
    """
    corners = np.asarray(corners, np.float64)
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise InputError("Four torso points are needed: right shoulder, left shoulder, right hip, left hip.")
    middle = [corners[:2].mean(axis=0), corners[2:].mean(axis=0), corners.mean(axis=0)]
    return np.trunc(np.vstack([corners, middle])).astype(np.int32)


@dataclass(frozen=True)
class Trunk:
    """Position of the trunk in a picture: center (x,y) and length in pixels; degree 0 when the crotch lies below the
    neck.
    """

    center_px: tuple[float, float]
    length_px: float
    degree: float


def trunk_of(points: np.ndarray) -> Trunk:
    """Trunk of the seven points of `torso_points`."""
    neck, crotch, center = (points[i].astype(np.float64) for i in (4, 5, 6))
    along = crotch - neck
    degree = -np.degrees(np.arctan2(along[0], along[1]))
    return Trunk((float(center[0]), float(center[1])), float(np.hypot(*along)), float(degree))


@dataclass(frozen=True)
class Adjustment:
    """How every frame of a video is adjusted: a first turn, then the trunk's position in the turned frame."""

    rough_degree: float
    trunk: Trunk


def rough_degree(samples: Sequence[np.ndarray]) -> float:
    """Turn of the first frame with torso points; raises InputError when no frame has any."""
    for points in samples:
        if len(points):
            return trunk_of(points).degree
    raise InputError(
        "No infant was found: no sampled frame shows both shoulders and both hips of one person. "
        "Place the four torso points by hand, or choose another body-point model."
    )


def average_trunk(samples: Sequence[np.ndarray]) -> Trunk:
    """Mean trunk over the middle half, by length, of the frames with torso points (all of them when fewer than four).

    Raises InputError when no frame has any.
    """
    trunks = [trunk_of(points) for points in samples if len(points)]
    if not trunks:
        rough_degree(samples)
    rows = np.array([[*t.center_px, t.length_px, t.degree] for t in trunks])
    rows = rows[np.argsort(rows[:, 2], kind="stable")]
    half, quarter = len(rows) // 2, len(rows) // 4
    # The published program averages an empty slice for fewer than four frames; the median is the same idea.
    x, y, length, degree = rows[half - quarter : half + quarter].mean(axis=0) if quarter else np.median(rows, axis=0)
    return Trunk((float(x), float(y)), float(length), float(degree))

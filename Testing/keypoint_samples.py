"""What the keypoint tests share: a spine, a picture of it, and a predictor that needs no network."""

from __future__ import annotations

import numpy as np
from SpineMotionToolsLib.keypoints.history import Answer, Request
from SpineMotionToolsLib.keypoints.radiograph import Radiograph, Scale
from SpineMotionToolsLib.keypoints.session import Session


def spine(size: tuple[int, int] = (1200, 500), bend: float = 0.05, turns: float = 0.8) -> np.ndarray:
    """(68, 2) corners of a smooth made spine in pixels."""
    rows, columns = size
    t = (np.arange(17) + 0.5) / 17
    center = np.stack((rows * (0.05 + 0.85 * t), columns * (0.5 + bend * np.sin(2 * np.pi * turns * t))), 1)
    slope = columns * bend * 2 * np.pi * turns * np.cos(2 * np.pi * turns * t) / (0.85 * rows)
    down = np.stack((np.cos(np.arctan(slope)), np.sin(np.arctan(slope))), 1)
    right = np.stack((-down[:, 1], down[:, 0]), 1)
    half_width, half_height = 0.07 * columns * (1 + 0.4 * t), 0.34 * 0.85 * rows / 17
    quads = [
        center + a * half_width[:, None] * right + b * half_height * down
        for a, b in ((-1, -1), (1, -1), (-1, 1), (1, 1))
    ]
    return np.stack(quads, 1).reshape(68, 2)


def picture(size: tuple[int, int] = (1200, 500), seed: int = 0) -> np.ndarray:
    """(rows, columns) uint8 smooth noise."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).random(size), 3)
    return np.rint(255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)


class Follower:
    """Answers requests like a network that has found `points` (picture pixels) and follows hints with its neighbors."""

    def __init__(self, radiograph: Radiograph, points: np.ndarray):
        self.base = radiograph.to_grid(points)
        self.calls: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        self.calls.append(request)
        points = self.base.copy()
        for keypoint, place in request.chain[-1]:
            near = np.exp(-0.5 * ((np.arange(68) - keypoint) / 6.0) ** 2)[:, None]
            points = points + 0.8 * near * (np.array(place) - points[keypoint])
        confidence = 0.5 + 0.5 * np.cos(np.arange(68)) ** 2
        return Answer(points, confidence, np.full((68, 2), 2.0) / confidence[:, None], 0.01)


def session(size: tuple[int, int] = (1200, 500), scale: Scale | None = None) -> Session:
    """A session on a made picture that has detected a made spine."""
    radiograph = Radiograph(picture(size), scale or Scale(), "made")
    made = Session(radiograph, Follower(radiograph, spine(size)))
    made.detect()
    return made

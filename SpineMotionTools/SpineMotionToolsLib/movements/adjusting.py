"""Pose adjusting: every frame turned, shifted and scaled alike, so that the infant lies upright, centered, at a fixed
size.
"""

from __future__ import annotations

import numpy as np

from SpineMotionToolsLib.common.crops import crop
from SpineMotionToolsLib.common.resampling import resize_linear, translate_linear
from SpineMotionToolsLib.movements.torso import Adjustment, Trunk

SIDE_PX = 224
TRUNK_RATIO = 0.8  # the square's side is 3 / 0.8 = 3.75 trunk lengths


def turn(picture: np.ndarray, degree: float, enlarge: bool) -> np.ndarray:
    """Turn a uint8 picture counterclockwise, nearest neighbor, black outside, on the same or an enlarged canvas."""
    from PIL import Image

    turned = Image.fromarray(picture).rotate(degree, resample=Image.Resampling.NEAREST, expand=enlarge)
    return np.asarray(turned)


def place_trunk(turned: np.ndarray, trunk: Trunk) -> tuple[np.ndarray, np.ndarray]:
    """The turned frame with the trunk's center in the middle, and the same with the trunk straight up."""
    height, width = turned.shape[:2]
    shifted = translate_linear(turned, width / 2 - trunk.center_px[0], height / 2 - trunk.center_px[1])
    return shifted, turn(shifted, trunk.degree, enlarge=False)


def crop_trunk(
    straight: np.ndarray, length_px: float, ratio: float = TRUNK_RATIO, size: tuple[int, int] = (SIDE_PX, SIDE_PX)
) -> np.ndarray:
    """The square of 3 / ratio trunk lengths around the middle, resized to `size` (width, height)."""
    height, width = straight.shape[:2]
    side = 3 * length_px / ratio
    left, top, right, bottom = (
        int(np.rint(edge // 2)) for edge in (width - side, height - side, width + side, height + side)
    )
    return resize_linear(crop(straight, top, left, bottom - top, right - left), size)


def adjust(picture: np.ndarray, adjustment: Adjustment) -> np.ndarray:
    """The 224 x 224 picture of one frame (H,W,3) uint8."""
    turned = turn(picture, adjustment.rough_degree, enlarge=True)
    _, straight = place_trunk(turned, adjustment.trunk)
    return crop_trunk(straight, adjustment.trunk.length_px)


def turned_points(points: np.ndarray, degree: float, size: tuple[int, int]) -> np.ndarray:
    """Where points (n,2) of a picture of `size` (width, height) lie after `turn` with an enlarged canvas."""
    from PIL import Image

    canvas = np.array(Image.new("1", size).rotate(degree, expand=True).size) / 2
    angle = np.radians(degree)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (np.asarray(points, np.float64) + 0.5 - np.array(size) / 2) @ rotation.T + canvas - 0.5


def unturned_points(points: np.ndarray, degree: float, size: tuple[int, int]) -> np.ndarray:
    """The inverse of `turned_points`: points (n,2) of the turned picture in the picture of `size` (width, height)."""
    origin = turned_points(np.zeros((1, 2)), degree, size)
    rotation = turned_points(np.eye(2), degree, size) - origin  # rows: images of the unit vectors
    return (np.asarray(points, np.float64) - origin) @ np.linalg.inv(rotation)


def to_adjusted(points: np.ndarray, adjustment: Adjustment, size: tuple[int, int]) -> np.ndarray:
    """Where points (n,2) of a frame of `size` (width, height) lie in the adjusted 224 x 224 picture."""
    from PIL import Image

    trunk = adjustment.trunk
    turned = turned_points(points, adjustment.rough_degree, size)
    width, height = Image.new("1", size).rotate(adjustment.rough_degree, expand=True).size
    shifted = turned + [width / 2 - trunk.center_px[0], height / 2 - trunk.center_px[1]]
    angle = np.radians(trunk.degree)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.array([width, height]) / 2
    straight = (shifted + 0.5 - middle) @ rotation.T + middle - 0.5
    side = 3 * trunk.length_px / TRUNK_RATIO
    corner = (np.array([width, height]) - side) // 2
    return (straight - corner + 0.5) * (SIDE_PX / side) - 0.5

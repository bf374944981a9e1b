"""A radiograph as the keypoint system works on it, and the place of its points on the networks' grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints.preprocessing import GRID, resize_gray, to_network, to_picture

SMALLEST_SIDE_PX = 64
TRAINING_ASPECT = (0.23, 0.62)  # width / height of the AASCE radiographs
TYPICAL_ASPECT = 0.4


@dataclass(frozen=True)
class Scale:
    """True length of one row and one column step, in `unit` ("mm", or "px" where no spacing is known)."""

    row: float = 1.0
    column: float = 1.0
    unit: str = "px"

    @property
    def factors(self) -> np.ndarray:
        return np.array([self.row, self.column])


@dataclass(frozen=True)
class Radiograph:
    """A frontal spine radiograph: `image` (rows, columns) uint8, head up, bone bright.

    `region` (row, column, rows, columns): the part the network looks at, all of it by default. `scale`: true lengths.
    `patient_right_on` "left" (usual display), "right" or "unknown": the side of the picture the patient's right is on.
    `turned` (mirrored, upside down): how `image` was turned from the file. `notes`: sentences for the reader of a
    result. `place` (4, 4): from (column, row, 0, 1) before turning to LPS mm where Slicer loads the file, if known.
    """

    image: np.ndarray = field(repr=False)
    scale: Scale = Scale()
    name: str = "radiograph"
    region: tuple[int, int, int, int] = (0, 0, 0, 0)
    patient_right_on: str = "unknown"
    turned: tuple[bool, bool] = (False, False)
    notes: tuple[str, ...] = ()
    place: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        rows, columns = self.image.shape
        if self.region == (0, 0, 0, 0):
            object.__setattr__(self, "region", (0, 0, rows, columns))
        r, c, height, width = self.region
        if min(height, width) < SMALLEST_SIDE_PX:
            raise InputError(
                f"The part of the picture to look at is {width} x {height} pixels; at least {SMALLEST_SIDE_PX} on each "
                "side are needed. Use a larger picture or region."
            )
        if r < 0 or c < 0 or r + height > rows or c + width > columns:
            raise InputError(
                f"The region (row {r}, column {c}, {height} x {width} pixels) reaches outside the picture of "
                f"{rows} x {columns} pixels. Move or shrink it."
            )

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns)"""
        return self.image.shape

    @property
    def is_typical(self) -> bool:
        """Whether the region's true aspect lies in the range of the published training images."""
        _, _, rows, columns = self.region
        aspect = columns * self.scale.column / (rows * self.scale.row)
        return TRAINING_ASPECT[0] <= aspect <= TRAINING_ASPECT[1]

    def with_region(self, row: float, column: float, rows: float, columns: float) -> Radiograph:
        """The same picture with another region for the network; raises InputError when it leaves the picture."""
        return replace(self, region=tuple(int(round(value)) for value in (row, column, rows, columns)))

    def to_grid(self, points: np.ndarray) -> np.ndarray:
        """Picture points (..., 2) = (row, column) on the networks' 512 x 256 grid."""
        return to_network(np.asarray(points, float) - self.region[:2], self.region[2:])

    def from_grid(self, points: np.ndarray) -> np.ndarray:
        """Grid points (..., 2) in the picture."""
        return to_picture(points, self.region[2:]) + np.array(self.region[:2], float)

    @cached_property
    def grid_image(self) -> np.ndarray:
        """The region as an 8-bit picture of 512 x 256 pixels."""
        r, c, rows, columns = self.region
        return resize_gray(self.image[r : r + rows, c : c + columns], GRID)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the network sees."""
        return hashlib.sha256(self.grid_image.tobytes()).hexdigest()


def in_source(points: np.ndarray, size: tuple[int, int], turned: tuple[bool, bool]) -> np.ndarray:
    """Points (..., 2) of a turned picture of `size` where they lie in the file it came from; the reverse is the
    same.
    """
    mirrored, upside_down = turned
    points = np.array(points, float)
    if upside_down:
        points = np.subtract(size, 1) - points
    if mirrored:
        points[..., 1] = size[1] - 1 - points[..., 1]
    return points

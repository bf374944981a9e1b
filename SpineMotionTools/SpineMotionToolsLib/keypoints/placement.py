"""Which way up a picture lies in its file, and where Slicer shows the file's pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LATERAL_NOTE = "The volume lies in a sagittal plane, as a lateral view does; the networks read frontal views only."
TURNED_NOTE = "The picture was turned upright, as its file says; rows and columns are those of the upright picture."
SAGITTAL, FRONTAL, AXIAL = range(3)
VIEW_AXES = {  # downwards and to the right in Slicer's views of each plane, RAS
    SAGITTAL: (np.array((0, 0, -1)), np.array((0, -1, 0))),
    FRONTAL: (np.array((0, 0, -1)), np.array((-1, 0, 0))),
    AXIAL: (np.array((0, -1, 0)), np.array((-1, 0, 0))),
}


@dataclass(frozen=True)
class Lie:
    """How an upright picture lies in its file: the file's axes (0 i, 1 j, 2 k) that run downwards and to the right,
    and whether each runs the other way.
    """

    axes: tuple[int, int]
    flipped: tuple[bool, bool] = (False, False)

    @property
    def across(self) -> int:
        return 3 - sum(self.axes)

    def upright(self, array: np.ndarray) -> np.ndarray:
        """The first slice of `array` in the order (k, j, i) as an upright picture."""
        down, right, across = (2 - axis for axis in (*self.axes, self.across))  # numpy's order is k, j, i
        picture = np.moveaxis(array, (down, right, across), (0, 1, 2))[:, :, 0]
        return np.ascontiguousarray(picture[:: -1 if self.flipped[0] else 1, :: -1 if self.flipped[1] else 1])

    def to_file(self, size: tuple[int, int]) -> np.ndarray:
        """(4, 4) from (column, row, 0, 1) of the upright picture of `size` (rows, columns) to (i, j, k, 1)."""
        matrix = np.zeros((4, 4))
        matrix[self.across, 2] = matrix[3, 3] = 1
        for axis, flipped, length, of_picture in zip(self.axes, self.flipped, size, (1, 0)):
            matrix[axis, of_picture] = -1 if flipped else 1
            matrix[axis, 3] = length - 1 if flipped else 0
        return matrix


PLAIN = Lie((1, 0))


def as_shown(directions: np.ndarray, across: int) -> tuple[int, Lie]:
    """(plane, lie) of a slice as Slicer's views show it.

    `directions` (3, 3): the unit RAS directions of the file's axes in its columns; `across`: the axis across the slice.
    """
    plane = int(np.argmax(np.abs(directions[:, across])))
    down_to, right_to = VIEW_AXES[plane]
    down, right = (axis for axis in range(3) if axis != across)
    if abs(directions[:, down] @ down_to) < abs(directions[:, right] @ down_to):
        down, right = right, down
    flipped = (bool(directions[:, down] @ down_to < 0), bool(directions[:, right] @ right_to < 0))
    return plane, Lie((down, right), flipped)


def exif_lie(orientation: int) -> Lie:
    """How the upright picture lies in a file with this EXIF orientation (1 to 8)."""
    flip_i, flip_j = orientation in (2, 3, 7, 8), orientation in (3, 4, 6, 7)
    return Lie((0, 1), (flip_i, flip_j)) if orientation in (5, 6, 7, 8) else Lie((1, 0), (flip_j, flip_i))


def place_in_slicer(path: Path, size: tuple[int, int], lie: Lie = PLAIN, frame: int = 0) -> np.ndarray | None:
    """(4, 4) from (column, row, 0, 1) of the upright picture of `size` to LPS mm where Slicer loads the file.

    Slicer reads files with ITK, which takes the resolution of JPEG and TIFF files for a pixel size and prefers one of
    several in DICOM. None when ITK cannot read the header.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    count = min(reader.GetDimension(), 3)
    shape = np.array([*reader.GetSize()[:count], *[1] * (3 - count)])
    if tuple(shape[list(lie.axes)]) != tuple(size):
        return None
    matrix = np.eye(4)
    directions = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:count, :count]
    matrix[:count, :count] = directions * np.array(reader.GetSpacing()[:count])
    matrix[:count, 3] = reader.GetOrigin()[:count]
    to_file = lie.to_file(size)
    to_file[lie.across, 3] = frame
    return matrix @ to_file

"""Voxel indices and patient coordinates: IJK, RAS, LPS."""

from __future__ import annotations

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""4x4 matrix that turns ITK and DICOM coordinates into Slicer's, and back (it is its own inverse)."""


def ijk_to_ras(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Voxel indices (..., 3) in the order (i, j, k), fractions allowed, as RAS positions (..., 3) in mm.

    `matrix` is 4x4, IJK to RAS. Raises InputError for other shapes.
    """
    return _apply(_checked(matrix), points)


def ras_to_ijk(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """RAS positions (..., 3) in mm as fractional voxel indices (..., 3) in the order (i, j, k).

    `matrix` is 4x4, IJK to RAS (the same as for `ijk_to_ras`). Raises InputError for other shapes or a singular matrix.
    """
    try:
        inverse = np.linalg.inv(_checked(matrix))
    except np.linalg.LinAlgError as error:
        raise InputError(
            "The image geometry is singular: a voxel axis has no length. Check the file's spacing."
        ) from error
    return _apply(inverse, points)


def lps_to_ras(points: np.ndarray) -> np.ndarray:
    """LPS positions (..., 3), as ITK and DICOM store them, as RAS positions; the same call turns RAS into LPS."""
    return _points(points) * np.array([-1.0, -1.0, 1.0])


def spacing_of(matrix: np.ndarray) -> np.ndarray:
    """Voxel size (i, j, k) in mm of a 4x4 IJK-to-RAS matrix."""
    return np.linalg.norm(_checked(matrix)[:3, :3], axis=0)


def direction_of(matrix: np.ndarray) -> np.ndarray:
    """3x3 matrix whose columns are the unit RAS directions of the axes i, j, k of a 4x4 IJK-to-RAS matrix."""
    matrix = _checked(matrix)
    return matrix[:3, :3] / spacing_of(matrix)


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return _points(points) @ matrix[:3, :3].T + matrix[:3, 3]


def _checked(matrix: np.ndarray) -> np.ndarray:
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise InputError(f"A geometry matrix must be 4x4, not {matrix.shape}.")
    return matrix


def _points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim == 0 or points.shape[-1] != 3:
        raise InputError(f"Points must have three coordinates each (shape (..., 3)), not shape {points.shape}.")
    return points

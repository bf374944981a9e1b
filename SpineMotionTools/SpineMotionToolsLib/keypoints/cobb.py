"""Cobb angles from 68 corners, by the AASCE challenge's rule and by the clinical one.

Corners are (68, 2) = (row, column) in TRUE geometry: millimeters or pixels of a picture with square pixels, never the
squeezed 512 x 256 grid, on which angles are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.errors import InputError


@dataclass(frozen=True)
class AasceAngles:
    """The challenge's three angles in degrees and the vertebrae (0..16) they are measured between.

    `main` lies between `i` and `j`. `upper` lies between i and `k2`. The third lies between j and `k3`, below the
    main curve, or between k2 and `k3`, further above, when an S-shaped spine has its main curve low. Tables call them
    MT, PT and TL/L.
    """

    main: float
    upper: float
    lower_or_upper2: float
    end_vertebrae: tuple[int, int, int, int]
    s_shaped: bool
    upper_half: bool

    @property
    def angles(self) -> np.ndarray:
        return np.array([self.main, self.upper, self.lower_or_upper2])


def aasce_angles(corners: np.ndarray, height: float) -> AasceAngles:
    """The angles of the AASCE 2019 challenge's own program, in double precision; `height`: the picture's height."""
    corners = _corners(corners)
    quads = corners.reshape(17, 4, 2)
    midlines = (quads[:, 1] + quads[:, 3] - quads[:, 0] - quads[:, 2]) / 2
    lengths = np.linalg.norm(midlines, axis=1)
    cosines = midlines @ midlines.T / np.outer(lengths, lengths)
    table = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    np.fill_diagonal(table, 0.0)
    i, j = (int(k) for k in np.unravel_index(np.argmax(table), table.shape))
    edges = (corners[0::2] + corners[1::2]) / 2
    s_shaped = _is_s_shaped(edges)
    upper_half = bool(edges[2 * i + 1, 0] + edges[2 * j + 1, 0] < height)
    if not s_shaped:
        k2, k3 = 0, 16
        third = table[j, k3]
    else:
        k2 = int(np.argmax(table[i, : i + 1]))
        if upper_half:
            k3 = j + int(np.argmax(table[j, j:]))
            third = table[j, k3]
        else:
            k3 = int(np.argmax(table[k2, : k2 + 1]))
            third = table[k2, k3]
    return AasceAngles(float(table[i, j]), float(table[i, k2]), float(third), (i, j, k2, k3), s_shaped, upper_half)


def _is_s_shaped(edges: np.ndarray) -> bool:
    """Whether edge centers lie on both sides of the line from the first to the last one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (edges[:-2] - edges[-1]) / (edges[0] - edges[-1])
        side = along[:, 0] - along[:, 1]
    return bool(np.isnan(side).any() or ((side > 0).any() and (side < 0).any()))


def aasce_angles_port(corners: np.ndarray, height: float) -> np.ndarray:
    """The three angles as a widely used Python port of the challenge's program computes them, to compare with its
    numbers.

    It works in single precision, cuts angles at 90 degrees and tests the upper edges of the end vertebrae.
    """
    points = _corners(corners)[:, ::-1].astype(np.float32)
    quads = points.reshape(17, 4, 2)
    midlines = (quads[:, 1] + quads[:, 3]) / 2 - (quads[:, 0] + quads[:, 2]) / 2
    lengths = np.sqrt(np.sum(midlines**2, axis=1))[:, None]
    table = np.arccos(np.clip(midlines @ midlines.T / (lengths @ lengths.T), 0.0, 1.0))
    i = int(np.argmax(table.max(1)))
    j = int(np.argmax(table[i]))
    edges = (points[0::2] + points[1::2]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        side = (edges[:-2] - edges[-1]) / (edges[0] - edges[-1])
        side = (side[:, 1] - side[:, 0])[:, None]
        product = side @ side.T
        one_sided = abs(product.sum() - np.abs(product).sum()) < 1e-4
    if one_sided:
        upper, third = table[0, i], table[16, j]
    else:
        k2 = int(np.argmax(table[i, : i + 1]))
        upper = table[i, k2]
        third = table[j, j:].max() if edges[2 * i, 1] + edges[2 * j, 1] < height else table[k2, : k2 + 1].max()
    return np.array([table[i, j], upper, third]) / np.pi * 180


def smape(angles: np.ndarray, reference: np.ndarray) -> float:
    """The challenge's score in percent, from (N, 3) angles: mean over images of sum |a - b| / sum (a + b)."""
    angles, reference = (np.atleast_2d(np.asarray(values, float)) for values in (angles, reference))
    total = (angles + reference).sum(1)
    share = np.divide(np.abs(angles - reference).sum(1), total, out=np.zeros_like(total), where=total > 0)
    return float(100 * share.mean())


def endplate_tilts(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tilt of the upper and lower endplates, (17,) degrees each; positive when the end on the picture's right is
    lower.
    """
    quads = _corners(corners).reshape(17, 4, 2)
    upper, lower = quads[:, 1] - quads[:, 0], quads[:, 3] - quads[:, 2]
    return np.degrees(np.arctan2(upper[:, 0], upper[:, 1])), np.degrees(np.arctan2(lower[:, 0], lower[:, 1]))


def endplate_cobb(corners: np.ndarray, present: np.ndarray | None = None) -> tuple[float, int, int]:
    """(degrees, i, j): the largest angle between the upper endplate of i and the lower endplate of a j below it."""
    upper, lower = endplate_tilts(corners)
    table = np.abs(upper[:, None] - lower[None, :])
    table[np.tril_indices(17)] = -1.0
    if present is not None:
        table[~np.asarray(present, bool)] = -1.0
        table[:, ~np.asarray(present, bool)] = -1.0
    i, j = (int(k) for k in np.unravel_index(np.argmax(table), table.shape))
    if table[i, j] < 0:
        raise InputError("A Cobb angle needs at least two vertebrae. Mark fewer vertebrae as absent.")
    return float(table[i, j]), i, j


def _corners(corners: np.ndarray) -> np.ndarray:
    corners = np.asarray(corners, dtype=np.float64)
    if corners.shape != (68, 2) or not np.isfinite(corners).all():
        raise InputError(f"68 finite points (row, column) are needed, not an array of shape {corners.shape}.")
    return corners

"""What the detection network's thirteen output maps mean, and the maps a perfect network would give.

The published network, the starter network and the decoder (`heatmaps.py`, `grouping.py`) share this convention:

* A **patch** is a square of 26 cm of one sagittal slice, resampled to 224 x 224 pixels (1.16 mm), head at the top.
  The maps have the patch's own size (stride 1) and are raw: no sigmoid.
* Patch coordinates are (column, row); the centre of the first pixel is (0, 0). With half-pixel resampling the patch
  that covers scan columns [x1, x2) holds scan column x at `(x - x1 + 0.5) * 224 / (x2 - x1) - 0.5`
  (`scan_to_patch`), and rows likewise.
* **Corner order** everywhere: 0 right-top, 1 right-bottom, 2 left-bottom, 3 left-top, as seen in the picture; "right"
  is the larger column. With the usual display (anterior at the left) right corners are posterior. In a patch mirrored
  left to right the order changes with it: see `mirror_corners`.

| channel | holds |
| --- | --- |
| 0-3 | heat map of the corner of each type; 1 at the corner |
| 4 | heat map of the centroid; 1 at the centroid |
| 5-8 | x (columns) of the vector from the corner of each type **to the centroid of its own body**, in patch pixels |
| 9-12 | y (rows) of the same vectors |

Heat maps are the maximum over bodies of exp(-d^2 / (2 s^2)), with s = 0.065 sqrt(body area in patch pixels) for
corners and 1.3 s for the centroid. Vectors are supervised only within 5 pixels of a corner (`vector_mask`), and are
zero elsewhere in the targets. The centroid is the mean of the four corners, so that a lost corner is the mirror image
of the opposite one (Windsor et al., MICCAI 2020, arXiv 2007.02606; widths and radius are ours).
"""

from __future__ import annotations

import numpy as np

CORNER_NAMES = ("rt", "rb", "lb", "lt")
CHANNELS = 13
CORNER_CHANNELS = slice(0, 4)
CENTROID_CHANNEL = 4
VECTOR_X_CHANNELS = slice(5, 9)
VECTOR_Y_CHANNELS = slice(9, 13)

PATCH_SIZE = 224
SIGMA_PER_ROOT_AREA = 0.065
CENTROID_WIDENING = 1.3
VECTOR_RADIUS_PX = 5.0


def centroids_of(corners: np.ndarray) -> np.ndarray:
    """The mean of each body's four corners: (n, 4, 2) -> (n, 2)."""
    return np.asarray(corners, dtype=float).reshape(-1, 4, 2).mean(axis=1)


def areas_of(corners: np.ndarray) -> np.ndarray:
    """Area of each quadrilateral (shoelace formula), in the corners' unit squared: (n, 4, 2) -> (n,)."""
    x, y = np.moveaxis(np.asarray(corners, dtype=float).reshape(-1, 4, 2), -1, 0)
    return 0.5 * np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1))


def mirror_corners(corners: np.ndarray, width: int) -> np.ndarray:
    """Corners (n, 4, 2) of the left-right mirrored patch of `width` columns, back in the order rt, rb, lb, lt."""
    mirrored = np.array(corners, dtype=float).reshape(-1, 4, 2)[:, [3, 2, 1, 0]]
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return mirrored


def scan_to_patch(points: np.ndarray, window: tuple[int, int, int, int], patch_size: int = PATCH_SIZE) -> np.ndarray:
    """Patch coordinates (column, row) of scan points (column, row), for the scan window (x1, x2, y1, y2)."""
    x1, x2, y1, y2 = window
    scale = np.array([patch_size / (x2 - x1), patch_size / (y2 - y1)])
    return (np.asarray(points, dtype=float) - (x1, y1) + 0.5) * scale - 0.5


def patch_to_scan(points: np.ndarray, window: tuple[int, int, int, int], patch_size: int = PATCH_SIZE) -> np.ndarray:
    """Scan coordinates (column, row) of patch points: the inverse of `scan_to_patch`."""
    x1, x2, y1, y2 = window
    scale = np.array([(x2 - x1) / patch_size, (y2 - y1) / patch_size])
    return (np.asarray(points, dtype=float) + 0.5) * scale - 0.5 + (x1, y1)


def make_targets(
    corners: np.ndarray, centroids: np.ndarray | None = None, shape: tuple[int, int] = (PATCH_SIZE, PATCH_SIZE)
) -> np.ndarray:
    """The thirteen maps a perfect detector gives for bodies with these corners.

    `corners`: (n, 4, 2) patch coordinates (column, row) in the order rt, rb, lb, lt; `centroids`: (n, 2) or None for
    the corners' means; n may be 0, and points may lie outside the patch. Returns float32 (13, rows, columns).
    """
    corners = np.asarray(corners, dtype=float).reshape(-1, 4, 2)
    centroids = centroids_of(corners) if centroids is None else np.asarray(centroids, dtype=float).reshape(-1, 2)
    maps = np.zeros((CHANNELS, *shape), dtype=np.float32)
    if not len(corners):
        return maps
    sigma = SIGMA_PER_ROOT_AREA * np.sqrt(areas_of(corners))
    maps[CENTROID_CHANNEL] = _peaks(centroids, CENTROID_WIDENING * sigma, shape)
    for k in range(4):
        maps[k] = _peaks(corners[:, k], sigma, shape)
        for (rows, columns), vector in zip(_disks(corners[:, k], shape), centroids - corners[:, k]):
            maps[5 + k][rows, columns], maps[9 + k][rows, columns] = vector
    return maps


def vector_mask(corners: np.ndarray, shape=(PATCH_SIZE, PATCH_SIZE)) -> np.ndarray:
    """Where each corner type's vectors are supervised: bool (4, rows, columns), true within 5 pixels of a corner."""
    corners = np.asarray(corners, dtype=float).reshape(-1, 4, 2)
    mask = np.zeros((4, *shape), dtype=bool)
    for k in range(4):
        for rows, columns in _disks(corners[:, k], shape):
            mask[k][rows, columns] = True
    return mask


def _disks(points: np.ndarray, shape):
    """For each (column, row) point the pixels (rows, columns) within the vector radius; each pixel goes to the
    nearest point."""
    nearest = np.full(shape, -1, dtype=np.int16)
    distance = np.full(shape, VECTOR_RADIUS_PX**2)
    reach = int(np.ceil(VECTOR_RADIUS_PX))
    windows = []
    for number, (x, y) in enumerate(points):
        rows = slice(max(0, int(np.floor(y)) - reach), max(0, int(np.ceil(y)) + reach + 1))
        columns = slice(max(0, int(np.floor(x)) - reach), max(0, int(np.ceil(x)) + reach + 1))
        own = distance[rows, columns]
        d2 = (np.arange(shape[0])[rows, None] - y) ** 2 + (np.arange(shape[1])[columns] - x) ** 2
        closer = (d2 < own) | ((d2 == own) & (nearest[rows, columns] < 0))
        own[closer] = d2[closer]
        nearest[rows, columns][closer] = number
        windows.append((rows, columns))
    disks = []
    for number, (rows, columns) in enumerate(windows):
        down, across = np.nonzero(nearest[rows, columns] == number)
        disks.append((down + rows.start, across + columns.start))
    return disks


def _peaks(points: np.ndarray, sigma: np.ndarray, shape) -> np.ndarray:
    """The maximum over points of Gaussians of height 1; a Gaussian is the product of one along rows and one along
    columns."""
    scale = -0.5 / np.maximum(sigma, 1e-6)[:, None] ** 2
    columns = np.exp(scale * (np.arange(shape[1]) - points[:, :1]) ** 2).astype(np.float32)
    rows = np.exp(scale * (np.arange(shape[0]) - points[:, 1:]) ** 2).astype(np.float32)
    peaks = np.zeros(shape, dtype=np.float32)
    for row, column in zip(rows, columns):
        np.maximum(peaks, row[:, None] * column, out=peaks)
    return peaks

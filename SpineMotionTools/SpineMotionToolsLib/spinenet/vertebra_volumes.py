"""The appearance network's input: each vertebra straightened, cut out with its surroundings, 224 x 224 x 16."""

from __future__ import annotations

import numpy as np

from .departures import FAITHFUL, Departures
from .resampling import resize_cubic, rotation_about, warp_cubic

EDGE = 224
SLICES = 16
UPPER_PERCENTILE = 95.0


def straightening(polygon: np.ndarray, true_angle: bool = False) -> np.ndarray:
    """The 2 x 3 rotation that levels the upper endplate, about its centre: by the published hyperbolic tangent of the
    slope, or (`true_angle`) its arctangent."""
    (x_rt, y_rt), (x_lt, y_lt) = polygon[0], polygon[3]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.float64(y_rt - y_lt) / np.float64(x_rt - x_lt)
    angle = float(np.arctan(slope) if true_angle else np.tanh(slope))
    if np.isnan(angle):  # both upper corners in one point: nothing to level
        angle = 0.0
    centre = np.float32((x_lt + x_rt) / 2), np.float32((y_lt + y_rt) / 2)
    return rotation_about(angle, (float(centre[0]), float(centre[1])))


def straightened(polygon: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The polygon in the straightened scan: (4, 2) in (x, y)."""
    return polygon @ matrix[:, :2].T + matrix[:, 2]


def crop_range(box: np.ndarray) -> tuple[int, int, int, int]:
    """The square around a straightened vertebra, three times its longer side: (x0, x1, y0, y1), maybe outside the
    scan."""
    edge = float(np.ptp(box, axis=0).max())
    x0, y0 = int(box[3, 0] - edge), int(box[3, 1] - edge)
    return x0, int(x0 + 3 * edge), y0, int(y0 + 3 * edge)


def extract(scan: np.ndarray, polygon: np.ndarray, departures: Departures = FAITHFUL) -> np.ndarray:
    """The volume of one vertebra: float32 (224 rows, 224 columns, 16 slices), all zero where it cannot be cut out.

    `scan`: (rows, columns, slices); `polygon`: the vertebra's average outline. Windsor et al., arXiv 2205.01683.
    """
    polygon = np.asarray(polygon, dtype=np.float64)
    matrix = straightening(polygon, departures.true_angle)
    part = _cut(scan, matrix, crop_range(straightened(polygon, matrix)), departures.pad_volumes)
    if part is None or 0 in part.shape:
        return np.zeros((EDGE, EDGE, SLICES), dtype=np.float32)
    return to_network_size(part)


def _cut(scan: np.ndarray, matrix: np.ndarray, crop: tuple[int, int, int, int], pad: bool) -> np.ndarray | None:
    """The crop of the straightened scan, as float32; None where the published program gives up."""
    x0, x1, y0, y1 = crop
    h, w = scan.shape[:2]
    if not pad:
        if y0 < 0 and (x0 < 0 or x1 > w):
            return None
        if x0 < 0:
            x0, x1 = max(x0 + w, 0), x1 if x1 >= 0 else x1 + w
        if y1 < 0:  # counted from the lower edge, like x1
            y1 = max(y1 + h, 0)
        x1, y1 = min(x1, w), min(y1, h)
    if x1 <= x0 or y1 <= y0:
        return None
    part = np.zeros((y1 - y0, x1 - x0, *scan.shape[2:]), dtype=np.float32)
    left, right, top, bottom = max(x0, 0), min(x1, w), max(y0, 0), min(y1, h)
    if right <= left or bottom <= top:
        return None
    inside = warp_cubic(scan, matrix, (left, right), (top, bottom))
    part[top - y0 : bottom - y0, left - x0 : right - x0] = inside
    return part


def to_network_size(volume: np.ndarray) -> np.ndarray:
    """Resize a crop (rows, columns, slices) to 224 x 224 x 16 and normalise by its 95th percentile: float32."""
    resized = resize_cubic(volume.astype(np.float64), EDGE, EDGE)
    slices = resized.shape[2]
    output = np.empty((EDGE, EDGE, SLICES), dtype=np.float32)
    for i in range(SLICES):
        z = i * slices / SLICES
        high, low = min(int(np.ceil(z)), slices - 1), min(int(np.floor(z)), slices - 1)
        if high == low:
            output[..., i] = resized[..., high]
        else:
            output[..., i] = resized[..., high] * abs(low - z) + resized[..., low] * abs(high - z)
    return (output - output.min()) / (np.percentile(output, UPPER_PERCENTILE) + np.float32(0.000001))

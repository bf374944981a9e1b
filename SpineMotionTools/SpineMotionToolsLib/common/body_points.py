"""Body points of people in a picture: from the maps of `body_network` to joints, limbs and persons (Cao et al. 2017).

Joint order (18 COCO points): see `JOINTS`. Pictures here are BGR, as the published network was trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.resampling import cubic_along, cubic_taps, resize_cubic

JOINTS = (
    *("nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist"),
    *("right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle"),
    *("right eye", "left eye", "right ear", "left ear"),
)
# Joint pairs, and the channels of the limb field (x, y) of each pair.
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11)),
    *((11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17)),
)
FIELDS = (
    *((12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7)),
    *((8, 9), (10, 11), (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27)),
)
LAST_FOUNDING_LIMB = 17  # the shoulder-ear limbs only join parts, they found no person
NETWORK_HEIGHT_PX = 184  # half of the published box of 368 pixels
STRIDE = 8
PEAK_THRESHOLD = 0.1
FIELD_THRESHOLD = 0.05
SMOOTHING_SIGMA_PX = 3.0
OVERSHOOT = 0.4453125
"""A bicubic step along both axes leaves the range of the values it reads by at most this share of it: weights sum to 1,
negative ones to -0.1875 an axis, and (1 + 2 * 0.1875)**2 = 1 + 2 * 0.4453."""

Network = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(1,3,h,w) float32 -> (limb fields (38,h/8,w/8), joint maps (19,h/8,w/8))."""


@dataclass(frozen=True)
class BodyPoints:
    """Found joints and persons.

    `candidates` (n,4): x, y in pixels, score, number. `persons` (m,20): candidate number of each joint or -1, total
    score, number of parts.
    """

    candidates: np.ndarray
    persons: np.ndarray

    def joints(self, person: int) -> np.ndarray:
        """(18,3) x, y, score of one person; NaN where a joint was not found."""
        numbers = self.persons[person, :18].astype(int)
        points = np.full((18, 3), np.nan)
        points[numbers >= 0] = self.candidates[numbers[numbers >= 0], :3]
        return points


NOBODY = BodyPoints(np.zeros((0, 4)), np.zeros((0, 20)))


def prepare(picture_bgr: np.ndarray) -> np.ndarray:
    """Network input (1,3,h,w) of a BGR uint8 picture (H,W,3): height about 184, sides padded to multiples of 8."""
    scaled = resize_cubic(picture_bgr, factor=NETWORK_HEIGHT_PX / picture_bgr.shape[0])
    bottom, right = (-side % STRIDE for side in scaled.shape[:2])
    padded = np.pad(scaled, ((0, bottom), (0, right), (0, 0)), constant_values=128)
    return np.ascontiguousarray((padded.astype(np.float32) / 256.0 - 0.5).transpose(2, 0, 1)[None])


def find_bodies(picture_bgr: np.ndarray, network: Network) -> BodyPoints:
    """Body points of every person in a BGR uint8 picture (H,W,3)."""
    fields, maps = network(prepare(picture_bgr))
    return decode(fields, maps, picture_bgr.shape[:2])


def decode(fields: np.ndarray, maps: np.ndarray, size: tuple[int, int]) -> BodyPoints:
    """Bodies from limb fields (38,h,w) and joint maps (19,h,w) of a picture of `size` (height, width)."""
    enlarged = Enlarged(size)
    peaks, found = [], 0
    for joint in range(18):
        rows = enlarged.peaks(maps[joint])
        numbers = np.arange(found, found + len(rows), dtype=np.float64)
        peaks.append(np.column_stack([rows, numbers]))
        found += len(rows)
    candidates = np.concatenate(peaks)
    limbs = [_connect(peaks[a], peaks[b], fields[list(c)], enlarged) for (a, b), c in zip(LIMBS, FIELDS)]
    return BodyPoints(candidates, _assemble(limbs, candidates))


class Enlarged:
    """Network maps seen at the size of the picture: enlarged 8 times, cut to the scaled picture, resized to the
    picture.

    The two bicubic steps run only where a joint may be, in the published order of float32 operations: with equal
    neighbors, which pixel is the peak hangs on rounding.
    """

    def __init__(self, size: tuple[int, int]):
        self.size = size
        scale = NETWORK_HEIGHT_PX / size[0]
        self.scaled = tuple(int(np.rint(side * scale)) for side in size)

    def window(self, grid: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Rows top..bottom-1 and columns left..right-1 of one enlarged map (h,w)."""
        spans = ((top, bottom), (left, right))
        second = [
            cubic_taps(scaled, full, scaled / full, *span) for scaled, full, span in zip(self.scaled, self.size, spans)
        ]
        inner = [(int(taps[0].min()), int(taps[0].max()) + 1) for taps in second]
        picture = self._enlarged_once(grid, *inner)
        rows, columns = ((taps[0] - start, taps[1]) for taps, (start, _) in zip(second, inner))
        return cubic_along(cubic_along(picture, *columns, axis=1), *rows, axis=0)

    def _enlarged_once(self, grid: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """Rows and columns (start, stop) of one map after the first step, at the size of the scaled picture."""
        down, across = (
            cubic_taps(side, side * STRIDE, 1 / STRIDE, *span) for side, span in zip(grid.shape, (rows, columns))
        )
        return cubic_along(cubic_along(grid.astype(np.float32), *across, axis=1), *down, axis=0)

    def peaks(self, grid: np.ndarray) -> np.ndarray:
        """(n,3) x, y and map value of the local maxima of the smoothed map above 0.1, row by row."""
        from scipy.ndimage import gaussian_filter

        reach = int(4 * SMOOTHING_SIGMA_PX + 0.5) + 1
        rows = []
        for top, bottom, left, right in self._regions(grid):
            y0, x0 = max(top - reach, 0), max(left - reach, 0)
            values = self.window(grid, y0, min(bottom + reach, self.size[0]), x0, min(right + reach, self.size[1]))
            smooth = gaussian_filter(values.astype(np.float64), SMOOTHING_SIGMA_PX)
            around = np.pad(smooth, 1)  # outside the picture counts 0
            peak = smooth > PEAK_THRESHOLD
            for neighbor in (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]):
                peak &= smooth >= neighbor
            ys, xs = np.nonzero(peak)
            inside = (ys + y0 >= top) & (ys + y0 < bottom) & (xs + x0 >= left) & (xs + x0 < right)
            rows += [(x + x0, y + y0, values[y, x]) for y, x in zip(ys[inside], xs[inside])]
        return np.array(sorted(rows, key=lambda row: (row[1], row[0])), np.float64).reshape(-1, 3)

    def _regions(self, grid: np.ndarray) -> list[tuple[int, int, int, int]]:
        """Parts of the picture (top, bottom, left, right) without overlap that hold every pixel that can exceed 0.1."""
        from scipy.ndimage import find_objects, label, maximum_filter, minimum_filter

        scaled = self._enlarged_once(grid, (0, self.scaled[0]), (0, self.scaled[1]))
        # What a smoothed pixel is made of: the smoothing's reach, then the four taps of the second step.
        reach = int(np.ceil((4 * SMOOTHING_SIGMA_PX + 1) * max(np.divide(self.scaled, self.size)))) + 3
        lowest, highest = (extreme(scaled, 2 * reach + 1) for extreme in (minimum_filter, maximum_filter))
        can_exceed = highest + OVERSHOOT * (highest - lowest) > 0.999 * PEAK_THRESHOLD
        boxes = find_objects(label(can_exceed, np.ones((3, 3)))[0])
        boxes = _joined([(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in boxes])
        return [self._to_picture(box) for box in boxes]

    def _to_picture(self, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        edges = []
        for full, scaled, start, stop in zip(self.size, self.scaled, box[::2], box[1::2]):
            edges += [int(start * full / scaled), full if stop >= scaled else int(stop * full / scaled)]
        return tuple(edges)

    def at(self, grids: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Values (n,C) of maps (C,h,w) at whole pixels (n,2) given as x, y."""
        rows, columns = (self._operator(grids.shape[axis + 1], axis)[points[:, 1 - axis]] for axis in (0, 1))
        return np.einsum("nh,chw,nw->nc", rows, grids.astype(np.float64), columns, optimize=True)

    def _operator(self, cells: int, axis: int) -> np.ndarray:
        """(pixels,cells) weights of both bicubic steps along one axis."""
        taps, weights = cubic_taps(cells, cells * STRIDE, 1 / STRIDE, 0, self.scaled[axis])
        first = np.zeros((self.scaled[axis], cells))
        np.add.at(first, (np.arange(len(taps))[:, None], taps), weights)
        taps, weights = cubic_taps(self.scaled[axis], self.size[axis], self.scaled[axis] / self.size[axis])
        return (first[taps] * weights[..., None]).sum(axis=1)


def _joined(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Boxes with every overlapping pair replaced by the box around both."""
    boxes = list(boxes)
    i = 0
    while i < len(boxes):
        a = boxes[i]
        other = next(
            (j for j, b in enumerate(boxes) if j != i and a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]),
            None,
        )
        if other is None:
            i += 1
            continue
        b = boxes[other]
        boxes = [box for j, box in enumerate(boxes) if j not in (i, other)]
        boxes.append((min(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3])))
        i = 0
    return boxes


def _connect(first: np.ndarray, second: np.ndarray, fields: np.ndarray, enlarged: Enlarged) -> np.ndarray:
    """Limbs (n,3) of one kind: candidate numbers of both ends and score, best first, every candidate in one at most."""
    if not len(first) or not len(second):
        return np.zeros((0, 3))
    a, b = np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1))
    vector = b[:, :2] - a[:, :2]
    length = np.linalg.norm(vector, axis=1) + 1e-5  # two ends in one pixel are no limb, and no division by zero
    steps = np.linspace(a[:, :2], b[:, :2], 10, axis=1)
    values = enlarged.at(fields, np.rint(steps).astype(int).reshape(-1, 2)).reshape(-1, 10, 2)
    along = np.einsum("ntc,nc->nt", values, vector / length[:, None])
    score = along.mean(axis=1) + np.minimum(0.5 * enlarged.size[0] / length - 1, 0)
    accepted = np.flatnonzero((np.count_nonzero(along > FIELD_THRESHOLD, axis=1) > 8) & (score > 0))
    limbs, used_a, used_b = [], set(), set()
    for index in accepted[np.argsort(-score[accepted], kind="stable")]:
        if a[index, 3] not in used_a and b[index, 3] not in used_b:
            limbs.append((a[index, 3], b[index, 3], score[index]))
            used_a.add(a[index, 3])
            used_b.add(b[index, 3])
    return np.array(limbs).reshape(-1, 3)


def _assemble(limbs: list[np.ndarray], candidates: np.ndarray) -> np.ndarray:
    """Persons (m,20) from the limbs of all kinds, without those of fewer than 4 parts or a mean score below 0.4."""
    persons: list[np.ndarray] = []
    for kind, (joint_a, joint_b) in enumerate(LIMBS):
        for a, b, score in limbs[kind]:
            touching = [k for k, row in enumerate(persons) if row[joint_a] == a or row[joint_b] == b][:2]
            if not touching:
                if kind < LAST_FOUNDING_LIMB:
                    row = np.full(20, -1.0)
                    row[joint_a], row[joint_b] = a, b
                    row[18], row[19] = candidates[[int(a), int(b)], 2].sum() + score, 2
                    persons.append(row)
                continue
            row = persons[touching[0]]
            if len(touching) == 2:
                other = persons[touching[1]]
                if not np.any((row[:18] >= 0) & (other[:18] >= 0)):
                    row[:18] += other[:18] + 1
                    row[18:] += other[18:]
                    row[18] += score
                    del persons[touching[1]]
                    continue
            elif row[joint_b] == b:
                continue
            row[joint_b] = b
            row[19] += 1
            row[18] += candidates[int(b), 2] + score
    kept = [row for row in persons if row[19] >= 4 and row[18] / row[19] >= 0.4]
    return np.array(kept).reshape(-1, 20)

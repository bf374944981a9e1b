"""From corners and centroids to vertebrae: assembly within a slice, then grouping across slices.

Polygons are (4, 2) arrays of (x, y) in scan pixels, corner order rt, rb, lb, lt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .departures import FAITHFUL, Departures
from .heatmaps import CENTROID_THRESHOLD, CORNER_THRESHOLD, Corners, centroid_map, corners, peaks
from .patches import Window
from .polygons import contains, internal_angles, is_simple, overlap

LOST_CORNER_FRACTION = 0.5
LOST_CORNER_PX, LOST_CORNER_MM = 20.0, 12.0
SHARED_CORNER_PX, SHARED_CORNER_MM = 2.0, 1.2
SLICE_OVERLAP = 0.2
MERGE_OVERLAP = 0.05
NEIGHBOURS_WITHIN_HEIGHTS = 1.7
BESIDE = 2.0  # times as far across as along; a steep sacrum lies as far behind L5 as below it


@dataclass(frozen=True)
class SliceDetections:
    """What one slice shows: outlines (n, 4, 2) in (x, y), and what they were made of, in (row, column)."""

    polygons: np.ndarray
    centroids: np.ndarray
    corners: tuple[Corners, Corners, Corners, Corners]
    centroid_map: np.ndarray = field(repr=False)


@dataclass
class VertebraOutline:
    """One vertebra's outlines over the slices it was found in; a slice number may repeat, and order may be mixed."""

    polygons: list[np.ndarray]
    slices: list[int]

    @property
    def average(self) -> np.ndarray:
        """The plain mean of all outlines: (4, 2)."""
        return np.mean(self.polygons, axis=0)


def decode_slice(
    maps: np.ndarray,
    windows: Sequence[Window],
    shape: tuple[int, int],
    corner_threshold: float = CORNER_THRESHOLD,
    centroid_threshold: float = CENTROID_THRESHOLD,
    departures: Departures = FAITHFUL,
    pixel_spacing_mm: float = 1.0,
    repeats: Sequence[int] | None = None,
) -> SliceDetections:
    """Outlines of one slice from the network's maps (windows, 13, h, w); `shape` is the slice's (rows, columns).

    The spacing only matters with `departures.limits_in_mm`. `repeats` tells how often each window counts in the
    centroid map, where repeated edge windows were left out. Windsor et al., MICCAI 2020.
    """
    heat = centroid_map(maps, windows, shape, departures, repeats)
    centroids = peaks(heat, centroid_threshold)
    found = corners(maps, windows, shape, corner_threshold, departures)
    lost, shared = LOST_CORNER_PX, SHARED_CORNER_PX
    if departures.limits_in_mm:
        lost, shared = LOST_CORNER_MM / pixel_spacing_mm, SHARED_CORNER_MM / pixel_spacing_mm
    outlines = assemble(centroids, found, lost, departures.check_completed, departures.highest_corners)
    return SliceDetections(drop_shared_corners(outlines, shared), centroids, found, heat)


def corner_is_lost(distance: np.ndarray, vector: np.ndarray, limit: float = LOST_CORNER_PX) -> np.ndarray:
    """Whether corners whose arrows (..., 2) end `distance` (...) from a centroid do not belong to it: bool (...)."""
    return (distance > LOST_CORNER_FRACTION * np.linalg.norm(vector, axis=-1)) | (distance > limit)


def assemble(
    centroids: np.ndarray,
    found: Sequence[Corners],
    lost_limit: float = LOST_CORNER_PX,
    check_completed: bool = False,
    highest: bool = False,
) -> np.ndarray:
    """A quadrilateral for every centroid with at least three corners whose arrows point at it: (n, 4, 2) in (x, y).

    For every type the corner aimed nearest to the centroid is taken, or (`highest`) the highest of those aimed near
    enough; one lost corner is completed from the opposite corner's vector. Corners may serve several centroids.
    """
    outlines = []
    if all(len(of_type.points) for of_type in found):
        for centroid in np.asarray(centroids, dtype=float):
            outline = _outline_of(centroid, found, lost_limit, check_completed, highest)
            if outline is not None:
                outlines.append(outline[:, ::-1])
    return np.array(outlines).reshape(-1, 4, 2)


def _outline_of(centroid: np.ndarray, found: Sequence[Corners], limit: float, check_completed: bool, highest: bool):
    points, vectors, lost = [], [], []
    for k, of_type in enumerate(found):
        distances = np.linalg.norm(of_type.points + of_type.vectors - centroid, axis=1)
        is_lost = corner_is_lost(distances, of_type.vectors, limit)
        if highest and not is_lost.all():
            chosen = int(np.argmax(np.where(is_lost, -np.inf, of_type.heights)))
        else:
            chosen = int(np.argmin(distances))
        points.append(of_type.points[chosen])
        vectors.append(of_type.vectors[chosen])
        if is_lost[chosen]:
            lost.append(k)
    if len(lost) > 1:
        return None
    outline = np.array(points)
    if lost:
        outline[lost[0]] = centroid + vectors[(lost[0] + 2) % 4]
    if (not lost or check_completed) and not (is_simple(outline) and contains(outline, centroid)):
        return None
    return outline


def drop_shared_corners(outlines: np.ndarray, limit: float = SHARED_CORNER_PX) -> np.ndarray:
    """Of two different outlines that share a corner (same type, closer than `limit`), drop the more distorted one.

    Distortion is the range of the internal angles. Equal ranges drop both; exact duplicates stay, they fuse later.
    """
    outlines = np.asarray(outlines, dtype=float).reshape(-1, 4, 2)
    if len(outlines) < 2:
        return outlines
    gaps = np.linalg.norm(outlines[:, None] - outlines[None], axis=-1).min(axis=-1)
    same = (outlines[:, None] == outlines[None]).all(axis=(-1, -2))
    spread = np.ptp(internal_angles(outlines), axis=1)
    dropped = np.zeros(len(outlines), dtype=bool)
    for i, j in np.argwhere((gaps < limit) & ~same):
        dropped[i if spread[i] > spread[j] else j] = True
    return outlines[~dropped]


def group_slices(
    slices: Sequence[np.ndarray],
    overlap_threshold: float = SLICE_OVERLAP,
    remove_single_slice_detections: bool = True,
    departures: Departures = FAITHFUL,
) -> list[VertebraOutline]:
    """Vertebrae from the outlines of every slice, top to bottom.

    An outline joins the first vertebra whose latest outline it overlaps by more than the threshold. Vertebrae that lie
    over each other are merged in the end.
    """
    vertebrae: list[VertebraOutline] = []
    for number, polygons in enumerate(slices):
        for polygon in polygons:
            for vertebra in vertebrae:
                if overlap(polygon, vertebra.polygons[-1]) > overlap_threshold:
                    vertebra.polygons.append(polygon)
                    vertebra.slices.append(number)
                    break
            else:
                vertebrae.append(VertebraOutline([polygon], [number]))
    if remove_single_slice_detections:
        vertebrae = [v for v in vertebrae if len(v.polygons) > 1]
    vertebrae = _merge_overlapping(vertebrae, departures.single_deletion)
    if departures.drop_outliers:
        vertebrae = drop_outliers(vertebrae)
    vertebrae = sorted(vertebrae, key=lambda v: v.average[:, 1].mean())
    if departures.drop_beside:
        vertebrae = drop_beside(vertebrae)
    return drop_between(vertebrae) if departures.drop_between else vertebrae


def _merge_overlapping(vertebrae: list[VertebraOutline], carefully: bool) -> list[VertebraOutline]:
    if carefully:
        return _merge_carefully(vertebrae)
    averages = [v.average for v in vertebrae]
    pairs = [
        (i, j) for i in range(len(vertebrae)) for j in range(i) if overlap(averages[i], averages[j]) > MERGE_OVERLAP
    ]
    for i, j in pairs:
        vertebrae[i].polygons.extend(vertebrae[j].polygons)
        vertebrae[i].slices.extend(vertebrae[j].slices)
    for j in sorted((j for _, j in pairs), reverse=True):
        if j < len(vertebrae):
            del vertebrae[j]
    return vertebrae


def _merge_carefully(vertebrae: list[VertebraOutline]) -> list[VertebraOutline]:
    """Vertebrae in the order of how many slices show them: each joins the kept one it lies over, or is dropped.

    Bodies do not overlap: what overlaps a better seen body a little is a pedicle or a false outline between two bodies,
    as the outermost slices have them, and must not join these to one.
    """
    kept: list[VertebraOutline] = []
    for vertebra in sorted(vertebrae, key=lambda v: -len(v.slices)):
        shared = [overlap(vertebra.average, other.average) for other in kept]
        best = int(np.argmax(shared)) if shared else 0
        if not shared or shared[best] <= MERGE_OVERLAP:
            kept.append(vertebra)
        elif shared[best] > SLICE_OVERLAP:
            parts = zip(kept[best].slices + vertebra.slices, kept[best].polygons + vertebra.polygons)
            numbers, polygons = zip(*sorted(parts, key=lambda part: part[0]))
            kept[best] = VertebraOutline(list(polygons), list(numbers))
    return kept


def drop_outliers(vertebrae: list[VertebraOutline]) -> list[VertebraOutline]:
    """Bodies that a fifth-degree curve x(y) through all upper and lower edge centres passes, at either edge."""
    if len(vertebrae) < 4:
        return vertebrae
    boxes = np.array([v.average for v in vertebrae])
    top, bottom = boxes[:, [0, 3]], boxes[:, [1, 2]]
    centres = np.concatenate([top.mean(axis=1), bottom.mean(axis=1)])
    curve = np.polynomial.Polynomial.fit(centres[:, 1], centres[:, 0], 5)

    def passed(edge: np.ndarray) -> np.ndarray:
        at = curve(edge[..., 1].mean(axis=1))
        return (edge[..., 0].min(axis=1) <= at) & (at <= edge[..., 0].max(axis=1))

    return [v for v, good in zip(vertebrae, passed(top) | passed(bottom)) if good]


def drop_beside(vertebrae: list[VertebraOutline]) -> list[VertebraOutline]:
    """Bodies, top to bottom, without those that lie beside the best seen row rather than above or below it.

    A row is what neighbours link: bodies whose centres lie at most 1.7 body heights apart. The row that most slices
    show stays, and so does every other one whose nearest body lies above or below a body of it, as where a body between
    them was missed.
    """
    boxes = [v.average for v in vertebrae]
    centres, heights = np.array([b.mean(axis=0) for b in boxes]), np.array([_height(b) for b in boxes])
    rows: list[list[int]] = []
    for i in range(len(vertebrae)):
        near = [
            row
            for row in rows
            if any(
                np.linalg.norm(centres[i] - centres[j]) < NEIGHBOURS_WITHIN_HEIGHTS * (heights[i] + heights[j]) / 2
                for j in row
            )
        ]
        rows = [row for row in rows if row not in near] + [[j for row in near for j in row] + [i]]
    kept = max(rows, key=lambda row: sum(len(vertebrae[i].slices) for i in row), default=[])

    def beside(row: list[int]) -> bool:
        steps = centres[row][:, None] - centres[kept][None]
        across, along = np.abs(steps.reshape(-1, 2)[np.linalg.norm(steps, axis=-1).argmin()])
        return bool(across > BESIDE * along)

    return [vertebrae[i] for i in sorted(i for row in rows for i in row if row is kept or not beside(row))]


def drop_between(vertebrae: list[VertebraOutline]) -> list[VertebraOutline]:
    """Bodies, top to bottom, without those between two that are each other's neighbours already.

    Neighbours' centres lie at most 1.7 body heights apart (usual are 1.2 to 1.5; with a body between them at least 1.8,
    even if it is flattened). A body is dropped only if it shows in fewer slices than both.
    """
    boxes = [v.average for v in vertebrae]
    heights = [_height(b) for b in boxes]
    between = set()
    for i in range(1, len(vertebrae) - 1):
        above, below = i - 1, i + 1
        apart = np.linalg.norm(boxes[above].mean(axis=0) - boxes[below].mean(axis=0))
        near = apart < NEIGHBOURS_WITHIN_HEIGHTS * (heights[above] + heights[below]) / 2
        if near and len(vertebrae[i].slices) < min(len(vertebrae[above].slices), len(vertebrae[below].slices)):
            between.add(i)
    return [v for i, v in enumerate(vertebrae) if i not in between]


def _height(outline: np.ndarray) -> float:
    """The distance of the upper and the lower edge's centre."""
    return float(np.linalg.norm(outline[[0, 3]].mean(axis=0) - outline[[1, 2]].mean(axis=0)))

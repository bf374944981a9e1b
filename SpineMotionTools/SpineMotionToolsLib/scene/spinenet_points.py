"""Vertebral centers and corners as markups, and what a person did to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from SpineMotionToolsLib.spinenet.results import Spine

CORNERS = (("rt", "posterior superior"), ("rb", "posterior inferior"), ("lb", "anterior inferior"))
CORNERS += (("lt", "anterior superior"),)
MOVED_MM = 1e-3  # markups keep positions as doubles; a smaller difference is rounding
CENTER_COLOR, CORNER_COLOR, ACTIVE_COLOR = (1.0, 0.85, 0.2), (0.2, 0.9, 1.0), (1.0, 0.4, 0.2)
ALONG_THE_SPINE = 0.7  # cosine between a view's direction and that of head and foot
GLYPH = "CrossDot2D"  # shows the place without hiding it


@dataclass(frozen=True)
class MovedCorner:
    """A corner that a person put elsewhere: vertebra (index), slice, corner ("rt", ...) and its new place, RAS mm."""

    vertebra: int
    slice_number: int
    corner: str
    position_ras: np.ndarray


def show_centers(node, volume_node, spine: Spine) -> None:
    """One locked point a vertebra; label = level, description = what else is known, as JSON.

    It lies at the center of the outline in the middle slice, or in the slice beside it that is nearer to the middle of
    the whole spine, so that the names of a straight spine are seen in one slice.
    """
    common = np.median([v.middle_slice for v in spine.vertebrae]) if spine.vertebrae else 0
    points = []
    for index, vertebra in enumerate(spine.vertebrae):
        near = [number for number in vertebra.slices if abs(number - vertebra.middle_slice) <= 1]
        number = min(near, key=lambda each: (abs(each - common), abs(each - vertebra.middle_slice)))
        position = vertebra.corners_ras[vertebra.slices.index(number)].mean(axis=0)
        facts = {"vertebra": index, "slice": number, "source": vertebra.source}
        points.append((position, vertebra.label, facts | {"label_probability": vertebra.label_probability}))
    _fill(node, volume_node, points, locked=True)
    display = node.GetDisplayNode()
    display.SetPointLabelsVisibility(True)
    _color(display, CENTER_COLOR)
    project_names(node)


def project_names(node) -> None:
    """Show the names of bodies beside the slice in view too, dimmed, since a curved spine leaves it.

    Only in views that look at the spine from its side or front: seen along the spine, all names would lie on a heap.
    """
    scene, display = node.GetScene(), node.GetNthDisplayNode(1)
    views = []
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        view = scene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
        if abs(view.GetSliceToRAS().GetElement(2, 2)) < ALONG_THE_SPINE:
            views.append(view.GetID())
    if not views:  # a display node of no views would show in all
        if display is not None:
            scene.RemoveNode(display)
        return
    if display is None:
        display = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialDisplayNode")
        node.AddAndObserveDisplayNodeID(display.GetID())
    display.CopyContent(node.GetDisplayNode())  # what is drawn twice then lies on itself
    display.SetViewNodeIDs(views)
    display.SetSliceProjection(True)
    display.SetSliceProjectionUseFiducialColor(True)
    display.SetSliceProjectionOpacity(0.7)


def show_corners(node, volume_node, spine: Spine, all_slices: bool = False) -> None:
    """Four points a vertebra in its middle slice, or in all its slices; they may be dragged, not added or removed."""
    points = []
    for index, number, corner, position in _corners(spine, all_slices):
        name, words = CORNERS[corner]
        label = f"{spine.vertebrae[index].label} {words}"
        points.append((position, label, {"vertebra": index, "slice": number, "corner": name}))
    _fill(node, volume_node, points, locked=False)
    display = node.GetDisplayNode()
    display.SetPointLabelsVisibility(False)  # 28 names would hide the scan; the Markups module lists them
    _color(display, CORNER_COLOR)


def moved_corner(node, spine: Spine) -> MovedCorner | None:
    """The corner that is no longer where the spine has it, or None; of several the first."""
    for index in range(node.GetNumberOfControlPoints()):
        facts = _facts(node, index)
        number, name = facts.get("slice"), facts.get("corner")
        if not 0 <= facts.get("vertebra", -1) < len(spine.vertebrae):
            continue
        vertebra = spine.vertebrae[facts["vertebra"]]
        names = [corner for corner, words in CORNERS]
        if number not in vertebra.slices or name not in names:
            continue
        known = vertebra.corners_ras[vertebra.slices.index(number), names.index(name)]
        position = np.array(node.GetNthControlPointPosition(index))
        if np.abs(position - known).max() > MOVED_MM:
            return MovedCorner(facts["vertebra"], number, name, position)
    return None


def drawn_outline(points_ras: np.ndarray, spine: Spine) -> tuple[int, np.ndarray]:
    """The slice and the corners (4, 2) in pixels (rt, rb, lb, lt) of four points (4, 3) drawn in any order.

    Which corner is which follows the nearest vertebra, since a sacrum may be turned by half a right angle.
    """
    pixels = spine.geometry.to_pixels(points_ras)
    number = int(np.clip(np.rint(np.median(pixels[:, 2])), 0, spine.geometry.shape[2] - 1))
    outline = pixels[:, :2] - pixels[:, :2].mean(axis=0)
    outline = outline[np.argsort(np.arctan2(outline[:, 1], outline[:, 0]))]  # clockwise on the screen: rt rb lb lt
    nearest = nearest_vertebra(spine, points_ras.mean(axis=0))
    template = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]], dtype=float)
    if nearest is not None:
        template = spine.vertebrae[nearest].middle_polygon_px
        template = template - template.mean(axis=0)
    template = template / np.linalg.norm(template)
    turned = max((np.roll(outline, turn, axis=0) for turn in range(4)), key=lambda each: (each * template).sum())
    return number, turned + pixels[:, :2].mean(axis=0)


def nearest_vertebra(spine: Spine, position_ras: np.ndarray) -> int | None:
    """Index of the vertebra whose center is nearest to a place, or None without vertebrae."""
    centers = [v.center_ras for v in spine.vertebrae]
    return int(np.argmin(np.linalg.norm(np.array(centers) - position_ras, axis=1))) if centers else None


def _corners(spine: Spine, all_slices: bool) -> Iterator[tuple[int, int, int, np.ndarray]]:
    for index, vertebra in enumerate(spine.vertebrae):
        for number, corners in zip(vertebra.slices, vertebra.corners_ras):
            if all_slices or number == vertebra.middle_slice:
                for corner in range(4):
                    yield index, number, corner, corners[corner]


def _facts(node, index: int) -> dict[str, Any]:
    try:
        return dict(json.loads(node.GetNthControlPointDescription(index)))
    except (TypeError, ValueError):
        return {}


def _fill(node, volume_node, points, locked: bool) -> None:
    """Give the node these (position, label, facts); the number of points stays fixed for the user."""
    was_modifying = node.StartModify()
    try:
        node.SetFixedNumberOfControlPoints(False)
        while node.GetNumberOfControlPoints() > len(points):
            node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)
        for index, (position, label, facts) in enumerate(points):
            if index == node.GetNumberOfControlPoints():
                node.AddControlPoint(*map(float, position))
            node.SetNthControlPointPosition(index, *map(float, position))
            node.SetNthControlPointLabel(index, label)
            node.SetNthControlPointDescription(index, json.dumps(facts))
            node.SetNthControlPointLocked(index, locked)
        node.SetFixedNumberOfControlPoints(True)
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
            _look(node.GetDisplayNode())
    finally:
        node.EndModify(was_modifying)


def _look(display) -> None:
    """How new points look; later the user's own choice stays."""
    display.SetGlyphTypeFromString(GLYPH)
    display.SetGlyphScale(1.5)
    display.SetTextScale(3.0)
    display.SetPropertiesLabelVisibility(False)
    display.SetOccludedVisibility(True)


def _color(display, color: tuple[float, float, float]) -> None:
    display.SetColor(*color)
    display.SetSelectedColor(*color)
    display.SetActiveColor(*ACTIVE_COLOR)

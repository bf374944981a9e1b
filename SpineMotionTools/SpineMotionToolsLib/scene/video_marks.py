"""What is drawn on a video by hand: the patient's region, an infant's torso points, the outline of the infant.

Regions and torso points belong to frames. One node of each kind shows what is known of the frame in view; what was
placed by hand is kept with the node, by frame number of the original.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import vtk

from SpineMotionToolsLib.scene import nodes
from SpineMotionToolsLib.scene.video import SceneVideo

PLACED_COLOR = (1.0, 0.69, 0.0)  # by hand
FOUND_COLOR = (0.29, 0.59, 0.88)  # by the program
DEPTH_MM = 20.0  # of the region's box: the view's plane lies in its middle
POINT_NAMES = ("right shoulder", "left shoulder", "right hip", "left hip")
# A trunk lying head up in the middle of the picture, in shares of its shorter side from the middle.
FIRST_POINTS = np.array([[-0.11, -0.15], [0.11, -0.15], [-0.08, 0.15], [0.08, 0.15]])
OUTLINE_POINTS, OUTLINE_ROLE = 12, "infant outline"


class RegionMark:
    """The patient's box: [x1, y1, x2, y2] in pixels of the original."""

    node_class, kind, role = "vtkMRMLMarkupsROINode", "region", "patient region"

    def make(self, scene, video: SceneVideo):
        """A new region node for a video."""
        node = _new(scene, video, self.node_class, self.role)
        display = node.GetDisplayNode()
        display.SetFillVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        display.SetHandlesInteractive(True)
        display.SetRotationHandleVisibility(False)
        display.SetTranslationHandleVisibility(True)
        display.SetScaleHandleVisibility(True)
        return node

    def first(self, video: SceneVideo) -> list[float]:
        """A box to begin with: upright, in the middle of the picture."""
        width, height = video.size_px
        half_height = 0.35 * height
        half_width = min(0.45 * half_height, 0.4 * width)
        return [width / 2 - half_width, height / 2 - half_height, width / 2 + half_width, height / 2 + half_height]

    def read(self, video: SceneVideo, node) -> list[float]:
        """The box, inside the picture."""
        center, size = np.zeros(3), np.zeros(3)
        node.GetCenterWorld(center)
        node.GetSizeWorld(size)
        half = np.array([size[0] / 2, size[1] / 2, 0])
        corners = video.to_pixels(np.array([center - half, center + half]))
        low, high = corners.min(axis=0), corners.max(axis=0)
        low, high = np.clip(low, 0, video.size_px), np.clip(high, 0, video.size_px)
        return [round(float(v), 2) for v in (*low, *high)]

    def write(self, video: SceneVideo, node, box) -> None:
        """Show a box."""
        x1, y1, x2, y2 = (float(v) for v in box)
        low, high = video.to_ras(np.array([[x1, y1], [x2, y2]]))
        was_modifying = node.StartModify()
        node.SetCenterWorld(*((low + high) / 2))
        node.SetSizeWorld(*np.abs(high - low)[:2], DEPTH_MM)
        node.EndModify(was_modifying)

    def between(self, earlier, later, share: float):
        """The box a share of the way between two."""
        return [(1 - share) * a + share * b for a, b in zip(earlier, later)]


class TorsoMark:
    """An infant's right and left shoulder, right and left hip: (4,2) pixels of the original."""

    node_class, kind, role = "vtkMRMLMarkupsFiducialNode", "torso", "torso points"

    def make(self, scene, video: SceneVideo):
        """A new node with four named points."""
        node = _new(scene, video, self.node_class, self.role)
        for name, place in zip(POINT_NAMES, video.to_ras(self.first(video))):
            node.AddControlPointWorld(vtk.vtkVector3d(*place), name)
        node.SetFixedNumberOfControlPoints(True)
        display = node.GetDisplayNode()
        display.SetPropertiesLabelVisibility(False)
        display.SetPointLabelsVisibility(True)
        display.SetTextScale(3.0)
        display.SetGlyphScale(2.5)
        return node

    def first(self, video: SceneVideo) -> list[list[float]]:
        """Points to begin with: a trunk lying head up, its right at the viewer's left."""
        side = min(video.size_px)
        return (np.array(video.size_px) / 2 + side * FIRST_POINTS).tolist()

    def read(self, video: SceneVideo, node) -> list[list[float]]:
        places = np.array([node.GetNthControlPointPositionWorld(index) for index in range(4)])
        return video.to_pixels(places).round(2).tolist()

    def write(self, video: SceneVideo, node, points) -> None:
        was_modifying = node.StartModify()
        for index, place in enumerate(video.to_ras(np.asarray(points))):
            node.SetNthControlPointPositionWorld(index, *place)
        node.EndModify(was_modifying)

    def between(self, earlier, later, share: float):
        return ((1 - share) * np.asarray(earlier) + share * np.asarray(later)).tolist()


MARKS = {mark.kind: mark for mark in (RegionMark(), TorsoMark())}


def _new(scene, video: SceneVideo, node_class: str, role: str):
    node = scene.AddNewNodeByClass(node_class, scene.GenerateUniqueName(f"{video.sequence.GetName()} {role}"))
    node.CreateDefaultDisplayNodes()
    nodes.mark_result(node, video.sequence, role)
    nodes.put_in_case_folder(scene, video.sequence, (node,))
    return node


def color(node, placed: bool) -> None:
    """Tell by color whether what is shown was placed by hand."""
    display, chosen = node.GetDisplayNode(), PLACED_COLOR if placed else FOUND_COLOR
    if tuple(display.GetSelectedColor()) != chosen:
        display.SetSelectedColor(*chosen)
        display.SetColor(*chosen)
        display.SetActiveColor(*chosen)


def placed(node) -> dict[int, Any]:
    """What was placed by hand, by frame number of the original."""
    return {int(frame): value for frame, value in nodes.attribute(node, "Placed", {}).items()} if node else {}


def set_placed(node, values: Mapping[int, Any]) -> None:
    """Keep what was placed by hand with the node."""
    text = json.dumps({str(frame): values[frame] for frame in sorted(values)})
    if node.GetAttribute(nodes.ATTRIBUTE_PREFIX + "Placed") != text:
        node.SetAttribute(nodes.ATTRIBUTE_PREFIX + "Placed", text)


def known_at(kind: str, frame: int, by_hand: Mapping[int, Any], found: Mapping[int, Any], reach: int) -> Any:
    """What to show at a frame: placed there, else found there (within `reach` frames), else the nearest placed before.

    None when nothing is known.
    """
    if frame in by_hand:
        return by_hand[frame]
    if frame in found:
        return found[frame]
    if found:
        nearest = min(found, key=lambda number: abs(number - frame))
        return found[nearest] if abs(nearest - frame) <= reach else None
    if not by_hand:
        return None
    before = [number for number in by_hand if number < frame]
    after = [number for number in by_hand if number > frame]
    if before and after and kind == "torso":
        low, high = max(before), min(after)
        return MARKS[kind].between(by_hand[low], by_hand[high], (frame - low) / (high - low))
    return by_hand[max(before)] if before else by_hand[min(after)]


def click_of(video: SceneVideo, regions: Mapping[int, Any]) -> tuple[float, float, float] | None:
    """(time in s, x, y) of the middle of the first drawn region: a point on the patient; None without one."""
    if not regions:
        return None
    frame = min(regions)
    x1, y1, x2, y2 = regions[frame]
    item = int(np.argmin(np.abs(np.array(video.frames) - frame)))
    return (video.time_of(item), (x1 + x2) / 2, (y1 + y2) / 2)


def make_outline(scene, video: SceneVideo):
    """A closed curve around the middle of the picture, to be drawn to where the infant moves."""
    node = _new(scene, video, "vtkMRMLMarkupsClosedCurveNode", OUTLINE_ROLE)
    angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    around = 0.42 * np.column_stack([np.cos(angles), np.sin(angles)]) * video.size_px + np.array(video.size_px) / 2
    for place in video.to_ras(around):
        node.AddControlPointWorld(vtk.vtkVector3d(*place))
    display = node.GetDisplayNode()
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    color(node, True)
    return node


def outline_px(video: SceneVideo, node) -> list[list[float]]:
    """The drawn curve as a polygon (n,2) in pixels of the original; raises InputError for fewer than three points."""
    from SpineMotionToolsLib.common.errors import InputError

    if node is None or node.GetNumberOfDefinedControlPoints() < 3:
        raise InputError("No outline was drawn. Draw a closed curve around where the infant moves.")
    points = node.GetCurvePointsWorld()
    places = [points.GetPoint(index) for index in range(points.GetNumberOfPoints())]
    polygon = video.to_pixels(np.array(places))
    step = max(1, len(polygon) // 200)
    return polygon[::step].round(1).tolist()

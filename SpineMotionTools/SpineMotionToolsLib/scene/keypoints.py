"""Keypoints in the scene: 68 corners to drag, what is drawn from them, tables, the session itself in a text node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import vtk

from SpineMotionToolsLib.keypoints import anatomy
from SpineMotionToolsLib.keypoints.exports import markups
from SpineMotionToolsLib.keypoints.pictures import DOUBTFUL, FAIR, GIVEN, SURE, confidence_color
from SpineMotionToolsLib.keypoints.results import Reading
from SpineMotionToolsLib.scene import keypoints_overlay as overlay
from SpineMotionToolsLib.scene import nodes
from SpineMotionToolsLib.scene.keypoints_picture import Picture
from SpineMotionToolsLib.scene.keypoints_tables import curve_table, vertebra_table

VOLUME_ROLE = "SpineMotionTools.Radiograph"
FIDUCIAL, MODEL, TABLE = "vtkMRMLMarkupsFiducialNode", "vtkMRMLModelNode", "vtkMRMLTableNode"
TITLES = {"corners": "corners", "curves": "curves", "vertebrae": "vertebrae"}
TEXTS = ("levels", "angles", "sides")
MARKS = ("doubtful", "placed")
OVERLAYS = (*overlay.LINE_COLORS, *MARKS, *TEXTS)
"""Nodes that only repeat what the corners say; hidden from lists, never dragged, gone when the corners are."""
CLASSES = {
    "corners": FIDUCIAL,
    **dict.fromkeys(overlay.LINE_COLORS, MODEL),
    **dict.fromkeys((*MARKS, *TEXTS), FIDUCIAL),  # after the corners, so that marks are drawn over them
    "curves": TABLE,
    "vertebrae": TABLE,
}
LINE_ENDS = (slice(None, -1), slice(1, None))
VIEWS = ("Yellow", "Green", "Red")  # names of the views of sagittal, frontal and axial planes
PARALLEL = 0.99  # cosine between a view's normal and the picture's
MOVED_MM = 1e-6  # a smaller change is rounding
DEFINED = 2  # vtkMRMLMarkupsNode::PositionDefined


class KeypointNodes:
    """The nodes of one radiograph's session, held together by its text node; knows no network and no Qt."""

    def __init__(self, scene, text_node):
        self.scene = scene
        self.text = text_node
        self._drawn: dict[str, np.ndarray] = {}  # ends of the lines that each surface shows

    @classmethod
    def create(cls, scene, volume_node) -> KeypointNodes:
        """New nodes for a radiograph."""
        name = f"{volume_node.GetName() or 'radiograph'} keypoint session"
        text = scene.AddNewNodeByClass("vtkMRMLTextNode", scene.GenerateUniqueName(name))
        text.SetNodeReferenceID(VOLUME_ROLE, volume_node.GetID())
        return cls(scene, text)

    @classmethod
    def find(cls, scene, volume_node) -> KeypointNodes | None:
        """The newest nodes of a radiograph, also from a loaded scene; None when it has none."""
        found = None
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLTextNode")):
            text = scene.GetNthNodeByClass(index, "vtkMRMLTextNode")
            if text.GetNodeReferenceID(VOLUME_ROLE) == volume_node.GetID():
                found = cls(scene, text)
        return found

    @property
    def volume(self):
        return self._referenced(VOLUME_ROLE)

    def node(self, role: str):
        """The node of a role, e.g. "corners"; None when it was removed."""
        return self._referenced(f"SpineMotionTools.{role}")

    def _referenced(self, role: str):
        """By its ID, because a text node that was removed still tells which nodes were its own."""
        identifier = self.text.GetNodeReferenceID(role)
        return self.scene.GetNodeByID(identifier) if identifier else None

    # --- the session's record ---

    def store(self, picture: Picture, session: Mapping[str, Any]) -> None:
        """Keep the session (`Session.to_json()`) with the picture it belongs to; saved with the scene."""
        self.text.SetText(json.dumps({"picture": picture.to_json(), "session": session}, separators=(",", ":")))

    def stored(self) -> tuple[Picture, dict[str, Any]]:
        """What `store` kept; raises InputError when the text is damaged."""
        from SpineMotionToolsLib.common.errors import InputError

        try:
            record = json.loads(self.text.GetText() or "")
            return Picture.from_json(record["picture"]), record["session"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("The saved session is damaged. Press Apply to find the corners again.") from error

    # --- showing ---

    def show(self, reading: Reading, picture: Picture, uncertainty: bool = True, keep: Iterable[int] = ()) -> None:
        """Write a reading into all nodes; missing ones are made. Corners in `keep` are left where they are."""
        made = [role for role in CLASSES if self._ensure(role)]
        self._show_corners(reading, picture, set(keep))
        self.draw(reading, picture, uncertainty)
        for role, table in (("curves", curve_table(reading)), ("vertebrae", vertebra_table(reading))):
            nodes.fill_table(self.node(role), table)
        for role in TITLES:
            nodes.set_provenance(self.node(role), reading.provenance)
        nodes.set_provenance(self.text, reading.provenance)
        if made and self.volume is not None:
            kept = [self.text, *(self.node(role) for role in TITLES)]
            nodes.put_in_case_folder(self.scene, self.volume, kept)

    def draw(self, reading: Reading, picture: Picture, uncertainty: bool = True) -> None:
        """Outlines, marks, Cobb lines and texts of a reading; quick enough to follow the mouse."""
        for role, drawn in overlay.lines(reading, uncertainty).items():
            self._draw_lines(role, drawn, picture)
        texts = (overlay.level_labels(reading), overlay.angle_labels(reading), overlay.side_labels(reading))
        for role, labels in {**dict(zip(TEXTS, texts)), **overlay.marked(reading)}.items():
            self._set_labels(self.node(role), labels, picture)

    def _draw_lines(self, role: str, drawn: list[np.ndarray], picture: Picture) -> None:
        """Give a surface its lines; one that shows them already is left alone, because views redraw what is set."""
        starts, ends = (np.concatenate([line[part] for line in drawn] or [np.zeros((0, 2))]) for part in LINE_ENDS)
        ends_ras = np.stack([picture.to_ras(self.volume, places) for places in (starts, ends)])
        node = self.node(role)
        if node.GetPolyData() is None or not np.array_equal(self._drawn.get(role), ends_ras):
            node.SetAndObservePolyData(overlay.ribbons(*ends_ras, 0.49 * picture.across_mm(self.volume)))
            self._drawn[role] = ends_ras

    def corners_px(self, picture: Picture) -> np.ndarray:
        """(68, 2) where the corners lie now, (row, column) of the picture."""
        return picture.from_ras(self.volume, self._corners_ras())

    def markups_json(self, reading: Reading, picture: Picture) -> dict[str, Any]:
        """A `.mrk.json` file whose corners lie on the radiograph as the scene has it, transforms aside."""
        content = markups(reading)
        for point, ras in zip(content["markups"][0]["controlPoints"], picture.to_ras(self.volume, reading.points_px)):
            point["position"] = [-float(ras[0]), -float(ras[1]), float(ras[2])]
        return content

    def show_parts(self, visible: bool, levels: bool, corner_names: bool, angles: bool) -> None:
        """What of the drawing is seen."""
        wanted = {role: visible for role in ("corners", *OVERLAYS)}
        wanted["levels"] = visible and levels
        for role in ("angles", *overlay.COBB_ROLES):
            wanted[role] = visible and angles
        for role, on in wanted.items():
            if (node := self.node(role)) is not None:
                node.SetDisplayVisibility(bool(on))
        if (corners := self.node("corners")) is not None:
            corners.GetDisplayNode().SetPointLabelsVisibility(bool(corner_names))

    def follow_transform(self) -> None:
        """Put all nodes under the radiograph's transform, so that they move with it."""
        transform = self.volume.GetTransformNodeID() if self.volume is not None else None
        for role in ("corners", *OVERLAYS):
            if (node := self.node(role)) is not None and node.GetTransformNodeID() != transform:
                node.SetAndObserveTransformNodeID(transform)

    def remove_drawing(self) -> None:
        """Take away what makes no sense without the corners; tables and the session stay."""
        for role in OVERLAYS:
            if (node := self.node(role)) is not None:
                self.scene.RemoveNode(node)

    def remove(self) -> None:
        """Take all nodes of the session away."""
        for role in CLASSES:
            if (node := self.node(role)) is not None:
                self.scene.RemoveNode(node)
        self.scene.RemoveNode(self.text)

    # --- inside ---

    def _ensure(self, role: str) -> bool:
        """Make the node of a role when it is not there; whether it was made."""
        if self.node(role) is not None:
            return False
        base = (self.volume.GetName() if self.volume is not None else "") or "radiograph"
        name = f"{base} {TITLES[role]}" if role in TITLES else f"{base} corners ({role})"
        node = self.scene.AddNewNodeByClass(CLASSES[role], self.scene.GenerateUniqueName(name))
        node.SetHideFromEditors(role in OVERLAYS)
        if CLASSES[role] == FIDUCIAL:
            _set_up_points(node, role)
        elif CLASSES[role] == MODEL:
            _set_up_ribbons(node, overlay.LINE_COLORS[role])
        if CLASSES[role] != TABLE and self.volume is not None:
            node.SetAndObserveTransformNodeID(self.volume.GetTransformNodeID())
        self.text.SetNodeReferenceID(f"SpineMotionTools.{role}", node.GetID())
        return True

    def _corners_ras(self) -> np.ndarray:
        corners = self.node("corners")
        position, ras = np.zeros(3), np.empty((anatomy.KEYPOINTS, 3))
        for k in range(anatomy.KEYPOINTS):
            corners.GetNthControlPointPosition(k, position)
            ras[k] = position
        return ras

    def _show_corners(self, reading: Reading, picture: Picture, keep: set[int]) -> None:
        corners = self.node("corners")
        was_modifying = corners.StartModify()
        try:
            if corners.GetNumberOfControlPoints() != anatomy.KEYPOINTS:
                corners.SetFixedNumberOfControlPoints(False)
                corners.RemoveAllControlPoints()
                corners.AddNControlPoints(anatomy.KEYPOINTS, "", [0.0, 0.0, 0.0])
                corners.SetFixedNumberOfControlPoints(True)
                keep = set()
            ras = picture.to_ras(self.volume, reading.points_px)
            moved = ~(np.abs(ras - self._corners_ras()).max(axis=1) <= MOVED_MM)
            for k in range(anatomy.KEYPOINTS):
                present, defined = bool(reading.present[k // 4]), corners.GetNthControlPointPositionStatus(k) == DEFINED
                if present and k not in keep and (moved[k] or not defined):
                    corners.SetNthControlPointPosition(k, *ras[k])
                elif not present and defined:
                    corners.SetNthControlPointPositionMissing(k)
                _show_state(corners, k, reading)
            _set_measurement(corners, "confidence", "", reading.confidence)
            _set_measurement(corners, "uncertainty", reading.scale.unit, np.hypot(*reading.spread.T))
        finally:
            corners.EndModify(was_modifying)

    def _set_labels(self, node, labels: list[overlay.Label], picture: Picture) -> None:
        """As many points as labels, at their places; colors alternate as the curves' do."""
        was_modifying = node.StartModify()
        try:
            count, before = node.GetNumberOfControlPoints(), np.zeros(3)
            while node.GetNumberOfControlPoints() > len(labels):
                node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)
            if (missing := len(labels) - node.GetNumberOfControlPoints()) > 0:
                node.AddNControlPoints(missing, "", [0.0, 0.0, 0.0])
            places = np.array([label.place for label in labels]).reshape(-1, 2)
            for k, (label, ras) in enumerate(zip(labels, picture.to_ras(self.volume, places))):
                node.GetNthControlPointPosition(k, before)
                if k >= count or np.abs(ras - before).max() > MOVED_MM:
                    node.SetNthControlPointPosition(k, *ras)
                if node.GetNthControlPointLabel(k) != label.text:
                    node.SetNthControlPointLabel(k, label.text)
                if node.GetNthControlPointSelected(k) != (k % 2 == 0):
                    node.SetNthControlPointSelected(k, k % 2 == 0)
        finally:
            node.EndModify(was_modifying)


def _set_up_points(node, role: str) -> None:
    """How the points of a role look. Texts have no glyph to speak of; marks lie over the corners they mark."""
    cobb = tuple(overlay.LINE_COLORS[line] for line in overlay.COBB_ROLES)
    colors = {"corners": (SURE, FAIR), "doubtful": (DOUBTFUL, DOUBTFUL), "angles": cobb}  # selected, unselected
    selected, unselected = colors.get(role, (GIVEN, GIVEN))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*(value / 255 for value in selected))
    display.SetColor(*(value / 255 for value in unselected))
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(role in TEXTS)
    display.SetHandlesInteractive(False)
    display.SetGlyphScale({"corners": 1.6, "doubtful": 1.9, "placed": 1.9}.get(role, 0.01))
    display.SetTextScale({"angles": 2.8, "levels": 2.2, "sides": 4.0}.get(role, 2.4))
    if role == "placed":
        display.SetGlyphType(display.Square2D)
    if role != "corners":
        node.SetLocked(True)
        display.SetVisibility3D(False)


def _set_up_ribbons(node, color: tuple[int, int, int]) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(*(value / 255 for value in color))
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(2)


def _show_state(corners, k: int, reading: Reading) -> None:
    """Label, lock and confidence of one corner; only what changed is written, because every write is an event."""
    label = anatomy.keypoint_name(k, reading.levels)
    description = "placed by hand" if k in reading.given else f"confidence {reading.confidence[k]:.2f}"
    locked = k // 4 in reading.locked or not reading.present[k // 4]
    sure = confidence_color(float(reading.confidence[k])) == SURE
    if corners.GetNthControlPointLabel(k) != label:
        corners.SetNthControlPointLabel(k, label)
    if corners.GetNthControlPointDescription(k) != description:
        corners.SetNthControlPointDescription(k, description)
    if corners.GetNthControlPointLocked(k) != locked:
        corners.SetNthControlPointLocked(k, bool(locked))
    if corners.GetNthControlPointSelected(k) != sure:
        corners.SetNthControlPointSelected(k, bool(sure))


def _set_measurement(corners, name: str, unit: str, values: np.ndarray) -> None:
    """One number a corner, kept in `.mrk.json` files too."""
    import slicer

    array = vtk.vtkDoubleArray()
    array.SetName(name)
    for value in values:
        array.InsertNextValue(float(value))
    measurement = corners.GetMeasurement(name)
    if measurement is None:
        measurement = slicer.vtkMRMLStaticMeasurement()
        measurement.SetName(name)
        measurement.SetUnits(unit)
        corners.AddMeasurement(measurement)
    measurement.SetControlPointValues(array)


# --- slice views ---


def view_of(picture: Picture, volume_node) -> str:
    """The slice view ("Red", "Yellow" or "Green") whose usual plane is nearest to the picture's."""
    _, right, down = picture.world_axes(volume_node)
    return VIEWS[int(np.argmax(np.abs(np.cross(right, down))))]


def show_upright(slice_node, picture: Picture, volume_node) -> None:
    """Turn a slice view to the picture as it is read, all of it in view."""
    center, right, down = picture.world_axes(volume_node)
    x, y = right / np.linalg.norm(right), -down / np.linalg.norm(down)
    across = np.cross(x, y)
    before = nodes.matrix_of(slice_node.GetSliceToRAS())[:3, 2]
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = x, y, across if across @ before >= 0 else -across
    pose[:3, 3] = center
    slice_node.GetSliceToRAS().DeepCopy(nodes.vtk_matrix_of(pose))
    slice_node.UpdateMatrices()
    rows, columns = np.array(picture.size) * (np.linalg.norm(down), np.linalg.norm(right)) * 1.04
    _set_view_width(slice_node, rows, columns)


def show_place(
    slice_node, picture: Picture, volume_node, place_px: np.ndarray, height_px: float, zoom_out: bool = False
) -> None:
    """Center a slice view on a place of the picture, and zoom in until `height_px` fill it; out only when asked to."""
    ras = nodes.to_world(volume_node, picture.to_ras(volume_node, place_px))[0]
    slice_node.JumpSliceByCentering(*ras)
    _, _, down = picture.world_axes(volume_node)
    height = height_px * np.linalg.norm(down)
    if zoom_out or slice_node.GetFieldOfView()[1] > height:
        _set_view_width(slice_node, height, 0.0)


def display_pixel_mm(scene, picture: Picture, volume_node) -> float:
    """The largest pixel of the slice views that show the picture's plane, mm; 0 when none does."""
    _, right, down = picture.world_axes(volume_node)
    across = np.cross(right, down) / np.linalg.norm(np.cross(right, down))
    largest = 0.0
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        slice_node = scene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
        rows = slice_node.GetDimensions()[1]
        if rows > 0 and abs(nodes.matrix_of(slice_node.GetSliceToRAS())[:3, 2] @ across) > PARALLEL:
            largest = max(largest, slice_node.GetFieldOfView()[1] / rows)
    return largest


def _set_view_width(slice_node, height: float, width: float) -> None:
    """The smallest field of view with the view's own aspect that holds height and width, mm."""
    columns, rows, _ = slice_node.GetDimensions()
    per_pixel = max(height / max(rows, 1), width / max(columns, 1))
    slice_node.SetFieldOfView(per_pixel * columns, per_pixel * rows, slice_node.GetFieldOfView()[2])
    slice_node.UpdateMatrices()

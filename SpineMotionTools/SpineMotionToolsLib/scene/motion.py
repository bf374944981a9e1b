"""Motion grades in the scene: table, plot with stack borders, stack boxes, attention overlay, and the result itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk

from SpineMotionToolsLib.scene import nodes

if TYPE_CHECKING:
    from SpineMotionToolsLib.motion.calibration import Calibration
    from SpineMotionToolsLib.motion.results import MotionResult

GRADE_COLORS = {
    1: (0.07, 0.37, 0.69),
    2: (0.29, 0.59, 0.88),
    3: (0.95, 0.79, 0.30),
    4: (0.90, 0.42, 0.36),
    5: (0.72, 0.23, 0.19),
}
"""Blue for little, red for much motion: the colors of the published slice profile."""

ATTENTION_COLORS = "vtkMRMLPETProceduralColorNodePET-Heat"  # built in: needs no color file
ATTENTION_FLOOR = 0.1  # weaker attention stays transparent, so that the bone under it can be read


ROLES = {"result": "motion result", "table": "motion table", "chart": "motion chart"}
ATTENTION_ROLE = "motion attention"


@dataclass
class MotionNodes:
    """The nodes of one graded scan (any may be missing)."""

    result: Any = None
    table: Any = None
    chart: Any = None


def show_result(scene, volume_node, result: MotionResult, existing: MotionNodes | None = None) -> MotionNodes:
    """Write a motion result into the scene beside its scan; nodes in `existing`, or else the scan's own, are reused."""
    existing = existing or find_result(scene, volume_node)
    name = volume_node.GetName() or "scan"
    shown = MotionNodes(
        result=nodes.ensure(scene, "vtkMRMLTextNode", f"{name} motion result", existing.result),
        table=nodes.ensure(scene, "vtkMRMLTableNode", f"{name} motion grades", existing.table),
        chart=nodes.ensure(scene, "vtkMRMLPlotChartNode", f"{name} motion plot", existing.chart),
    )
    shown.result.SetText(json.dumps(result.to_json()))
    nodes.fill_table(shown.table, result.to_table())
    _fill_chart(scene, shown.chart, result, name)
    for role in ROLES:
        node = getattr(shown, role)
        nodes.set_attribute(node, "Provenance", result.provenance)
        nodes.mark_result(node, volume_node, ROLES[role])
    nodes.put_in_case_folder(scene, volume_node, (shown.result, shown.table, shown.chart))
    return shown


def find_result(scene, volume_node) -> MotionNodes:
    """The newest nodes of a graded scan, also of a scene that was loaded; all None when it has no result."""
    found = nodes.results_of(scene, volume_node)
    return MotionNodes(**{name: found.get(role) for name, role in ROLES.items()})


def result_of(text_node) -> MotionResult | None:
    """The motion result kept in a text node; None when the node is empty or holds something else."""
    from SpineMotionToolsLib.motion.results import MotionResult

    return nodes.kept_in(text_node, MotionResult.from_json)


def _fill_chart(scene, chart, result: MotionResult, name: str) -> None:
    """Grade per slice as points, and the stack borders as one line that leaves the plot above and below."""
    table = chart.GetNthPlotSeriesNode(0).GetTableNode() if chart.GetNumberOfPlotSeriesNodes() else None
    table = nodes.ensure(scene, "vtkMRMLTableNode", f"{name} motion plot data", table)
    table.SetHideFromEditors(True)
    scored = np.flatnonzero(result.scored)
    borders = sorted({int(edge) for edge in result.stack_ranges.ravel()})[1:-1]
    zigzag_y = [y for index in range(len(borders)) for y in ((-1, 7) if index % 2 == 0 else (7, -1))]
    columns = {
        "slice": scored,
        "grade": result.slice_grades[scored],
        "border slice": np.repeat(np.array(borders, dtype=float) - 0.5, 2),
        "border grade": zigzag_y,
    }
    _set_columns(table, columns)
    series = [
        ("Grade", "slice", "grade", (0.20, 0.45, 0.75)),
        ("Stack border", "border slice", "border grade", (0.55, 0.55, 0.55)),
    ]
    was_modifying = chart.StartModify()
    while chart.GetNumberOfPlotSeriesNodes() < (2 if borders else 1):
        node = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", f"{name} motion series")
        chart.AddAndObservePlotSeriesNodeID(node.GetID())
    while chart.GetNumberOfPlotSeriesNodes() > (2 if borders else 1):
        node = chart.GetNthPlotSeriesNode(chart.GetNumberOfPlotSeriesNodes() - 1)
        chart.RemovePlotSeriesNodeID(node.GetID())
        scene.RemoveNode(node)
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        label, x, y, color = series[index]
        node = chart.GetNthPlotSeriesNode(index)
        node.SetName(label)
        node.SetAndObserveTableNodeID(table.GetID())
        node.SetXColumnName(x)
        node.SetYColumnName(y)
        node.SetPlotType(node.PlotTypeScatter)
        node.SetColor(*color)
        if index == 0:
            node.SetLineStyle(node.LineStyleNone)
            node.SetMarkerStyle(node.MarkerStyleCircle)
            node.SetMarkerSize(6)
        else:
            node.SetLineStyle(node.LineStyleDash)
            node.SetMarkerStyle(node.MarkerStyleNone)
    chart.SetTitle(f"Motion grade {result.grade} ({result.confidence_percent} % member agreement)")
    chart.SetXAxisTitle("Slice (dashed: stack borders)" if borders else "Slice")
    chart.SetYAxisTitle("Motion grade")
    chart.SetLegendVisibility(False)  # it would cover the points of the worst grades
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(-0.5, result.slice_count - 0.5)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.5, 5.5)
    chart.EndModify(was_modifying)


def _set_columns(table, columns: dict[str, Any]) -> None:
    """Columns of different lengths in one table; short ones are filled up with NaN, which plots leave out."""
    length = max(len(values) for values in columns.values())
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    for name, values in columns.items():
        array = vtk.vtkDoubleArray()
        array.SetName(name)
        for value in [*values, *[float("nan")] * (length - len(values))]:
            array.InsertNextValue(float(value))
        table.AddColumn(array)
    table.EndModify(was_modifying)


def slice_of_plot_point(result: MotionResult, point_index: int) -> int:
    """The slice of the n-th point of the grade series."""
    return int(np.flatnonzero(result.scored)[point_index])


def show_stack_boxes(scene, volume_node, result: MotionResult, existing: list | None = None) -> list:
    """One locked box (markups ROI) per stack, named and colored by its grade; boxes in `existing` are reused."""

    matrix = nodes.ijk_to_ras(volume_node)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    columns, rows, _slices = volume_node.GetImageData().GetDimensions()
    boxes = [box for box in existing or [] if box is not None and scene.IsNodePresent(box)]
    while len(boxes) > len(result.stack_ranges):
        scene.RemoveNode(boxes.pop())
    for number, (first, end) in enumerate(result.stack_ranges.tolist()):
        if number == len(boxes):
            boxes.append(scene.AddNewNodeByClass("vtkMRMLMarkupsROINode"))
            boxes[-1].CreateDefaultDisplayNodes()
        box, grade = boxes[number], int(result.stack_grades[number])
        center = matrix @ np.array([(columns - 1) / 2, (rows - 1) / 2, (first + end - 1) / 2, 1.0])
        pose = np.eye(4)
        pose[:3, :3] = matrix[:3, :3] / spacing
        pose[:3, 3] = center[:3]
        box.SetName(f"Stack {number + 1}: " + (f"grade {grade}" if grade else "not graded"))
        box.SetAndObserveObjectToNodeMatrix(nodes.vtk_matrix_of(pose))
        box.SetCenter(*center[:3])
        box.SetSize(columns * spacing[0], rows * spacing[1], (end - first) * spacing[2])
        box.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        box.SetLocked(True)
        display = box.GetDisplayNode()
        color = GRADE_COLORS.get(grade, (0.6, 0.6, 0.6))
        display.SetColor(*color)
        display.SetSelectedColor(*color)
        display.SetFillVisibility(False)
        display.SetHandlesInteractive(False)
        display.SetVisibility(True)
        display.SetPropertiesLabelVisibility(True)
        nodes.set_attribute(box, "Stack", number + 1)
        nodes.set_attribute(box, "Provenance", result.provenance)
    nodes.put_in_case_folder(scene, volume_node, boxes)
    return boxes


def all_stack_boxes(scene) -> list:
    """The stack boxes of all scans."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode")
    boxes = [scene.GetNthNodeByClass(index, "vtkMRMLMarkupsROINode") for index in range(count)]
    return [box for box in boxes if nodes.attribute(box, "Stack") is not None]


def find_attention(scene, volume_node):
    """The overlay volume of a scan's attention map; None when it has none."""
    return nodes.results_of(scene, volume_node).get(ATTENTION_ROLE)


def show_attention(scene, volume_node, attention_xyz: np.ndarray, opacity: float | None = None):
    """The attention map (x, y, z), 0 to 1, as a volume; with an opacity it is laid over the scan in the views."""
    name = f"{volume_node.GetName() or 'scan'} motion attention"
    node = nodes.ensure(scene, "vtkMRMLScalarVolumeNode", name, find_attention(scene, volume_node))
    nodes.set_volume(node, np.transpose(attention_xyz, (2, 1, 0)).astype(np.float32), nodes.ijk_to_ras(volume_node))
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(ATTENTION_COLORS)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetThreshold(ATTENTION_FLOOR, 1.0)
    display.SetApplyThreshold(True)
    explained = find_result(scene, volume_node).result
    if explained is not None:
        nodes.set_attribute(node, "Provenance", nodes.attribute(explained, "Provenance"))
    nodes.mark_result(node, volume_node, ATTENTION_ROLE)
    nodes.put_in_case_folder(scene, volume_node, (node,))
    if opacity is not None:
        nodes.show_in_slice_views(scene, background=volume_node, foreground=node, opacity=opacity)
    return node


def add_scan(
    scene, array_kji: np.ndarray, ijk_to_ras: np.ndarray, name: str, unit: str, calibration: Calibration | None
):
    """A Scanco scan as a volume node that knows its unit and calibration; window set to bone and soft tissue."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    nodes.set_volume(node, array_kji, ijk_to_ras)
    nodes.set_attribute(node, "Unit", unit)
    nodes.set_attribute(node, "Calibration", calibration.to_json() if calibration else None)
    node.CreateDefaultDisplayNodes()
    if calibration:
        # Air to dense cortex: -400 to 1200 mg HA/ccm, in the unit of the voxels.
        density = np.array([-400.0, 1200.0], dtype=np.float64)
        native = calibration.to_native(density, "density")
        low, high = calibration.from_native(native, unit) if unit != "native" else native
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevelMinMax(float(low), float(high))
    return node


def unit_and_calibration(volume_node) -> tuple[str, Calibration | None]:
    """What the reader noted about the voxels; ("", None) for a volume that came another way."""
    from SpineMotionToolsLib.motion.calibration import Calibration

    record = nodes.attribute(volume_node, "Calibration")
    return nodes.attribute(volume_node, "Unit", ""), Calibration.from_json(record) if record else None

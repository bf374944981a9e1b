"""A read spine in the scene: segments, markups, tables, and the result itself; views to a level.

All nodes follow the parent transform of the scan, since a `Spine` holds positions in the scan's own RAS.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineMotionToolsLib.scene import nodes
from SpineMotionToolsLib.scene.spinenet_points import show_centers, show_corners
from SpineMotionToolsLib.scene.spinenet_segments import fill_segmentation
from SpineMotionToolsLib.scene.spinenet_tables import fill, tables_of

if TYPE_CHECKING:
    from SpineMotionToolsLib.common.volumes import Volume
    from SpineMotionToolsLib.spinenet.results import Spine

scan_of = nodes.scan_of
NAMES = {
    "result": ("vtkMRMLTextNode", "spine result"),
    "segmentation": ("vtkMRMLSegmentationNode", "spine"),
    "centers": ("vtkMRMLMarkupsFiducialNode", "vertebrae"),
    "corners": ("vtkMRMLMarkupsFiducialNode", "vertebral corners"),
    "grades": ("vtkMRMLTableNode", "disc grades"),
    "discs": ("vtkMRMLTableNode", "disc measurements"),
    "bodies": ("vtkMRMLTableNode", "body measurements"),
    "angles": ("vtkMRMLTableNode", "sagittal angles"),
}


@dataclass
class SpineNodes:
    """The nodes of one read scan (any may be missing)."""

    result: Any = None
    segmentation: Any = None
    centers: Any = None
    corners: Any = None
    grades: Any = None
    discs: Any = None
    bodies: Any = None
    angles: Any = None


def show_spine(
    scene, volume_node, spine: Spine, existing: SpineNodes | None = None, corners_in_all_slices: bool = False
) -> SpineNodes:
    """Write a spine into the scene beside its scan; nodes given in `existing`, or else the scan's own, are reused."""
    existing = existing or find_spine(scene, volume_node)
    scan_name = volume_node.GetName() or "scan"
    shown = SpineNodes(
        **{
            field: nodes.ensure(scene, kind, f"{scan_name} {words}", getattr(existing, field))
            for field, (kind, words) in NAMES.items()
        }
    )
    shown.result.SetText(json.dumps(spine.to_json()))
    fill_segmentation(shown.segmentation, volume_node, spine)
    show_centers(shown.centers, volume_node, spine)
    show_corners(shown.corners, volume_node, spine, corners_in_all_slices)
    for name, table in tables_of(spine).items():
        fill(getattr(shown, name), table)
    every = [getattr(shown, field.name) for field in fields(shown)]
    for field, node in zip(fields(shown), every):
        nodes.set_provenance(node, spine.provenance)
        nodes.mark_result(node, volume_node, f"spine {field.name}")
    nodes.put_in_case_folder(scene, volume_node, every)
    return shown


def find_spine(scene, volume_node) -> SpineNodes:
    """The newest nodes of a read scan, also of a scene that was loaded; all None when it has no result."""
    found = nodes.results_of(scene, volume_node)
    return SpineNodes(**{field.name: found.get(f"spine {field.name}") for field in fields(SpineNodes)})


def spine_of(text_node) -> Spine | None:
    """The spine kept in a text node; None when the node is empty or holds something else."""
    from SpineMotionToolsLib.spinenet.results import Spine

    return nodes.kept_in(text_node, Spine.from_json)


def levels_of(spine: Spine, table: str) -> list[str]:
    """The first cells of a table ("grades", "discs", "bodies", "angles"), top to bottom."""
    if table == "bodies":
        return spine.labels
    if table == "grades":
        return [d.level for d in spine.discs]
    if spine.measurements is None:
        return []
    return (
        [d.level for d in spine.measurements.discs] if table == "discs" else [a.name for a in spine.measurements.angles]
    )


def place_of(spine: Spine, table: str, row: int) -> np.ndarray | None:
    """Where the row of a table lies, RAS mm in the scan: a body or disc in its middle slice; None beyond the table."""
    levels = levels_of(spine, table)
    if not 0 <= row < len(levels):
        return None
    if table == "bodies":
        ends = [spine.vertebrae[row]]
    elif table == "angles":
        angle = spine.measurements.angles[row]
        ends = [spine.find(end.split()[0]) for end in (angle.first_endplate, angle.second_endplate)]
    else:
        disc = next(d for d in spine.discs if d.level == levels[row])
        ends = [spine.vertebrae[disc.upper], spine.vertebrae[disc.lower]]
    return np.mean([vertebra.middle_polygon_ras.mean(axis=0) for vertebra in ends], axis=0)


def jump_to(scene, volume_node, position_ras: np.ndarray) -> None:
    """Move slice and 3-D views to a place given in the scan's own RAS mm."""
    import slicer

    r, a, s = nodes.to_world(volume_node, position_ras)[0]
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, r, a, s, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLCameraNode")):
        camera = scene.GetNthNodeByClass(index, "vtkMRMLCameraNode")
        eye = np.array(camera.GetPosition()) - np.array(camera.GetFocalPoint()) + (r, a, s)
        camera.SetFocalPoint(r, a, s)
        camera.SetPosition(*eye)


def add_scan(scene, volume: Volume, window: tuple[float, float] | None = None):
    """A volume as a node of the scene, with the gray values (lowest, highest) that its window shows."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(volume.name or "Scan"))
    nodes.set_volume(node, volume.array, volume.ijk_to_ras)
    node.CreateDefaultDisplayNodes()
    if window is not None:
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevelMinMax(*window)
    return node

"""Vertebral bodies and discs as segments of a segmentation node, in the voxels of the scan that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from SpineMotionToolsLib.scene import nodes, terminology
from SpineMotionToolsLib.spinenet.segments import Part, label_image, parts_of

if TYPE_CHECKING:
    from SpineMotionToolsLib.spinenet.results import Spine

OUTLINE_PX = 2


def fill_segmentation(segmentation_node, volume_node, spine: Spine) -> None:
    """Make the node's segments anew from a spine, in the scan's voxels, with codes, colors and closed surfaces.

    Segments that were there before keep their visibility.
    """
    import slicer

    parts = parts_of(spine)
    shown = _visibilities(segmentation_node)
    shape_kji = volume_node.GetImageData().GetDimensions()[::-1]
    matrix = nodes.ijk_to_ras(volume_node)
    labels, first = label_image(parts, spine.geometry.index_to_ras, matrix, shape_kji)
    image = _oriented_image(labels, first, matrix)
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segmentation = segmentation_node.GetSegmentation()
    was_modifying = segmentation_node.StartModify()
    try:
        segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        segmentation_node.SetNodeReferenceID(
            segmentation_node.GetReferenceImageGeometryReferenceRole(), volume_node.GetID()
        )
        segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        segmentation.RemoveAllSegments()
        segmentation.SetSourceRepresentationName(binary)
        for number, part in enumerate(parts, start=1):
            segment = slicer.vtkSegment()
            segment.SetName(part.name)
            segment.SetColor(*_color(part))
            segment.SetLabelValue(number)
            segment.AddRepresentation(binary, image)
            segment.SetTag(segment.GetTerminologyEntryTagName(), _entry(part))
            segment.SetTag(terminology.LEVEL_TAG, part.level)
            segmentation.AddSegment(segment, segmentation.GenerateUniqueSegmentID(part.name))
        if parts:
            segmentation_node.CreateClosedSurfaceRepresentation()
        _show(segmentation_node, shown)
    finally:
        segmentation_node.EndModify(was_modifying)


def _oriented_image(labels: np.ndarray, first: tuple[int, int, int], matrix: np.ndarray):
    """A label image as Slicer's segments hold it: voxels of a box, with the whole volume's geometry."""
    import slicer

    image = slicer.vtkOrientedImageData()
    depth, rows, columns = labels.shape
    i, j, k = first
    image.SetExtent(i, i + columns - 1, j, j + rows - 1, k, k + depth - 1)
    image.GetPointData().SetScalars(numpy_to_vtk(labels.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR))
    image.SetImageToWorldMatrix(nodes.vtk_matrix_of(matrix))
    return image


def _visibilities(segmentation_node) -> dict[str, bool]:
    display, segmentation = segmentation_node.GetDisplayNode(), segmentation_node.GetSegmentation()
    if display is None:
        return {}
    names = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return {name: display.GetSegmentVisibility(name) for name in names}


def _show(segmentation_node, shown: dict[str, bool]) -> None:
    if segmentation_node.GetDisplayNode() is None:
        segmentation_node.CreateDefaultDisplayNodes()
        segmentation_node.GetDisplayNode().SetVisibility2DFill(False)  # bone and disc are to be read, not covered
        segmentation_node.GetDisplayNode().SetSliceIntersectionThickness(OUTLINE_PX)
    display, segmentation = segmentation_node.GetDisplayNode(), segmentation_node.GetSegmentation()
    for name, visible in shown.items():
        if not visible and segmentation.GetSegment(name) is not None:
            display.SetSegmentVisibility(name, False)


def _entry(part: Part) -> str:
    return terminology.disc_entry(part.level) if part.is_disc else terminology.vertebra_entry(part.level)


def _color(part: Part) -> tuple[float, float, float]:
    return terminology.disc_color() if part.is_disc else terminology.vertebra_color(part.level)

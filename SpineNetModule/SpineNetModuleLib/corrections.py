"""A vertebra that was not found, drawn in a view by four points."""

import numpy as np
import slicer
from slicer.i18n import tr as _

LARGEST_OVERLAP = 0.2  # of two bodies, intersection over union

# The library is imported inside functions: it lies in another module's folder.


def startDrawing(volumeNode):
    """A list of points in place mode, for the four corners of a vertebra that was not found; returns its node."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", _("New vertebra"))
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetPropertiesLabelVisibility(False)
    node.GetDisplayNode().SetPointLabelsVisibility(False)
    markups = slicer.modules.markups.logic()
    markups.SetActiveList(node)
    markups.StartPlaceMode(True)
    return node


def stopDrawing(node):
    """Leave place mode and remove the list of points."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetPlaceModePersistence(False)
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    if slicer.mrmlScene.IsNodePresent(node):
        node.RemoveAllControlPoints()  # or views that drew them keep them until they are drawn anew
        slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
        slicer.mrmlScene.RemoveNode(node)


def addDrawn(spine, points_ras):
    """The spine with a vertebra drawn by four points (4, 3) in RAS mm, in any order.

    The outline is copied to the slices that show the nearest vertebra. The label is the one that is missing at that
    place; where none is missing, all are counted anew from the lowest one. Raises InputError for an unfit outline.
    """
    from SpineMotionToolsLib.common.errors import InputError
    from SpineMotionToolsLib.scene.spinenet_points import drawn_outline, nearest_vertebra
    from SpineMotionToolsLib.spinenet import editing
    from SpineMotionToolsLib.spinenet.polygons import overlap

    number, outline = drawn_outline(points_ras, spine)
    for vertebra in spine.vertebrae:
        if overlap(outline, vertebra.average_polygon_px) > LARGEST_OVERLAP:
            text = _("{level} lies there already. Drag its corners, or delete it first.")
            raise InputError(text.format(level=vertebra.label))
    nearest = nearest_vertebra(spine, points_ras.mean(axis=0))
    slices = sorted({number, *(spine.vertebrae[nearest].slices if nearest is not None else ())})
    index = sum(v.average_polygon_px[:, 1].mean() < outline[:, 1].mean() for v in spine.vertebrae)
    label = missingLabel(spine, index)
    added = editing.add_vertebra(spine, label, slices, np.repeat(outline[None], len(slices), axis=0))
    if label in spine.labels:
        try:
            added = editing.count_from(added, len(added.vertebrae) - 1, added.labels[-1])
        except InputError:
            pass  # the count does not fit into a spine: the repeated label is a warning, and the user's to correct
    return added


def missingLabel(spine, index):
    """The level of a body that comes to lie at `index`: the missing one beside it, else that of the body below."""
    levels, labels = spine.numbering.levels, spine.labels
    if not labels:
        return "L3"  # a guess to begin with
    if index < len(labels) and labels[index] in levels:
        below = levels.index(labels[index])
        return levels[below - 1] if below > 0 and levels[below - 1] not in labels[:index] else labels[index]
    above = levels.index(labels[-1]) if labels[-1] in levels else len(levels) - 1
    return levels[min(above + 1, len(levels) - 1)]

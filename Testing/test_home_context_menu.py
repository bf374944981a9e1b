"""The context menu of the subject hierarchy: what suits an item is offered, and starts its module with it."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")
pytestmark = pytest.mark.panel


@pytest.fixture
def menu(open_module, scene):
    """A function: the visible actions of a node's or folder's item, by text."""
    import SpineMotionTools

    for name in ("MotionScore", "SpineNetModule", "KeypointModule"):
        open_module(name)
    open_module("SpineMotionTools")
    SpineMotionTools.registerContextMenu()
    handler = slicer.qSlicerSubjectHierarchyPluginHandler.instance()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)

    def actions(node):
        if isinstance(node, int):
            return handler.visible_actions(node)
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        return handler.visible_actions(item)

    return actions


def volume(shape, spacing, **options):
    matrix = np.diag([-spacing, -spacing, spacing, 1.0])
    node = slicer.util.addVolumeFromArray(np.zeros(shape, np.int16), ijkToRAS=matrix, name="Case", **options)
    node.CreateDefaultDisplayNodes()
    return node


@pytest.mark.parametrize(
    ("shape", "spacing", "text"),
    [
        ((9, 30, 30), 0.0607, "Grade motion"),
        ((9, 30, 30), 1.0, "Read this spine"),
        ((1, 90, 70), 0.3, "Find keypoints"),
    ],
)
def test_each_kind_of_image_gets_its_action(menu, shape, spacing, text):
    assert list(menu(volume(shape, spacing))) == [text]


def test_label_maps_and_tables_get_none(menu, scene):
    assert menu(volume((9, 30, 30), 1.0, nodeClassName="vtkMRMLLabelMapVolumeNode")) == {}
    assert menu(scene.AddNewNodeByClass("vtkMRMLTableNode")) == {}
    assert menu(0) == {}


def test_a_case_folder_stands_for_its_scan(menu, scene):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Case 1")
    assert menu(folder) == {}
    hierarchy.CreateItem(folder, scene.AddNewNodeByClass("vtkMRMLTableNode"))
    hierarchy.CreateItem(folder, volume((9, 30, 30), 1.0))
    assert list(menu(folder)) == ["Read this spine"]


def test_the_action_opens_the_module_with_the_item_and_starts_it(menu, open_module, monkeypatch):
    started = []
    monkeypatch.setattr(slicer.util, "selectModule", open_module)  # there is no main window here
    widget = slicer.util.getModuleWidget("MotionScore")
    monkeypatch.setattr(widget, "onApplyButton", lambda: started.append(widget._parameterNode.inputVolume))
    other, node = volume((9, 30, 30), 0.0607), volume((9, 30, 30), 0.0607)
    menu(other)
    menu(node)["Grade motion"].trigger()
    assert started == [node]


def test_videos_are_offered_only_where_their_module_is_there(menu, open_module, scene):
    video = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Walk")
    assert menu(video) == {}
    video.SetAttribute("SpineMotionTools.Video", "{}")
    assert menu(video) == {}
    open_module("MovementModule")
    assert list(menu(video)) == ["Score this walk", "Score this infant's movements"]

"""Scenes as files: saved without the application, and saved as Slicer's own dialog does."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from Testing import motion_samples
from Testing.spinenet_samples import made_spine, made_volume

slicer = pytest.importorskip("slicer")
pytestmark = pytest.mark.scene


def test_a_bare_interpreter_finds_the_classes_of_modules_that_have_no_mrml_library(monkeypatch):
    """Slicer's modules Volumes and Tables bring a logic only; PythonSlicer saved no scene at all for the lack."""
    from SpineMotionToolsLib.scene.files import load_classes

    for name, class_name in {"Volumes": "vtkSlicerVolumesLogic", "Tables": "vtkSlicerTablesLogic"}.items():
        library = importlib.import_module(f"slicer_core.vtkSlicer{name}ModuleLogic")
        monkeypatch.setitem(sys.modules, f"vtkSlicer{name}ModuleLogicPython", library)
        monkeypatch.delattr(slicer, class_name)
    load_classes()
    assert slicer.vtkSlicerVolumesLogic().GetClassName() == "vtkSlicerVolumesLogic"


def test_a_python_without_a_module_says_so(monkeypatch):
    from SpineMotionToolsLib.scene.files import load_classes

    monkeypatch.delattr(slicer, "vtkSlicerTablesLogic")
    with pytest.raises(ImportError, match="vtkSlicerTablesLogic"):
        load_classes()


def test_what_save_data_writes_is_whole_again_when_it_is_loaded(scene, app, tmp_path):
    """With a file a node, hidden ones apart, rather than as one `.mrb`."""
    from SpineMotionToolsLib.scene import motion, nodes, spinenet

    volume = made_volume()
    spine = made_spine(volume)
    node = spinenet.add_scan(scene, volume)
    spinenet.show_spine(scene, node, spine)
    result = motion_samples.random_result()
    motion.show_result(scene, node, result)
    before = contents(scene)
    path = app.coreIOManager().save_data(tmp_path)
    scene.Clear(0)
    slicer.util.loadScene(str(path))
    assert contents(scene) == before
    loaded = scene.GetFirstNodeByName(node.GetName())
    assert spinenet.spine_of(spinenet.find_spine(scene, loaded).result).to_json() == spine.to_json()
    found = motion.find_result(scene, loaded)
    assert motion.result_of(found.result).to_json() == result.to_json()
    np.testing.assert_array_equal(nodes.array_of(loaded), volume.array)


def contents(scene):
    """(rows, columns) of every table, segments of every segmentation, points of every list, by node name."""
    sizes = {}
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if node.IsA("vtkMRMLTableNode"):
            sizes[node.GetName()] = (node.GetNumberOfRows(), node.GetNumberOfColumns())
        elif node.IsA("vtkMRMLSegmentationNode"):
            sizes[node.GetName()] = node.GetSegmentation().GetNumberOfSegments()
        elif node.IsA("vtkMRMLMarkupsNode"):
            sizes[node.GetName()] = node.GetNumberOfControlPoints()
    return sizes

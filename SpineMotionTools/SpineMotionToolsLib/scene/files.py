"""Scenes without the application: make one, save it as an `.mrb` that Slicer opens. Needs the slicer-core wheel."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import slicer
import vtk

LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
}


@contextmanager
def new_scene() -> Iterator[slicer.vtkMRMLScene]:
    """A scene with the module logics that our nodes need; everything is released when the block ends.

    Raises ImportError where this Python has no MRML classes of a module.
    """
    load_classes()
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.GetColorLogic().SetMRMLScene(scene)
    application.GetColorLogic().AddDefaultColorNodes()
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    kept = []  # the application logic holds module logics weakly
    for name, class_name in LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        kept.append(logic)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    try:
        yield scene
    finally:
        scene.Clear(1)
        del kept


def load_classes() -> None:
    """Make the modules' MRML classes known to `slicer`, which Slicer's bare interpreter (PythonSlicer) does not do.

    Raises ImportError when they are not to be found.
    """
    for name, class_name in LOGICS.items():
        if hasattr(slicer, class_name):
            continue
        for library_name in (f"vtkSlicer{name}Module{part}Python" for part in ("MRML", "Logic")):
            if importlib.util.find_spec(library_name) is None:
                continue  # Volumes, Tables and others have no MRML classes of their own
            library = importlib.import_module(library_name)
            for each in dir(library):
                if each.startswith("vtk") and not hasattr(slicer, each):
                    setattr(slicer, each, getattr(library, each))
        if not hasattr(slicer, class_name):
            raise ImportError(f"slicer.{class_name} is not there", name=class_name)


def save_scene(scene, path: Path) -> None:
    """Save the scene as an `.mrb` file (written beside it first, then renamed).

    Raises OutputError when the file cannot be written.
    """
    from SpineMotionToolsLib.common.errors import OutputError
    from SpineMotionToolsLib.common.files import atomic_path

    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLStorableNode")
        if node.GetStorageNode() is None and not node.GetHideFromEditors():
            node.AddDefaultStorageNode()
    path = Path(path)
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory(prefix="SpineMotionTools-") as folder:
        bundle = Path(folder) / path.with_suffix(".mrb").name
        if not scene.WriteToMRB(str(bundle)):
            raise OutputError(f"The scene could not be saved to {path}. Check that the disk is not full.")
        temporary.write_bytes(bundle.read_bytes())

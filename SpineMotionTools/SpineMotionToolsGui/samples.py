"""Samples in Slicer's module Sample Data: made or read on this computer, nothing is downloaded."""

import os

import slicer
from slicer.i18n import tr as _

CATEGORY = "SpineMotionTools"


def registerSample(name, moduleFile, load):
    """Offer a sample by its picture `Resources/Icons/<name>.png`; `load()` puts it into the scene, returns its node."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("Spine and motion"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=name,
        nodeNames=name,
        uris="",  # none is refused, also where nothing is downloaded
        fileNames=name,
        thumbnailFileName=os.path.join(os.path.dirname(moduleFile), "Resources", "Icons", f"{name}.png"),
        customDownloader=lambda source: _shown(load()),
    )


def _shown(node):
    if node.IsA("vtkMRMLVolumeNode"):
        slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node

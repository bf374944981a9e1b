"""Everything the user can choose in the SpineNet module; saved with the scene."""

from enum import Enum
from typing import Annotated

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

# Enum members are stored by name: renaming one breaks saved scenes.


class ShownTable(Enum):
    """Which table the panel shows; values are names of `SpineNodes`."""

    GRADES = "grades"
    DISCS = "discs"
    BODIES = "bodies"
    ANGLES = "angles"

    def label(self):
        return {
            "grades": _("Disc grades"),
            "discs": _("Disc heights and slips"),
            "bodies": _("Vertebral bodies"),
            "angles": _("Sagittal angles"),
        }[self.value]


class Device(Enum):
    """Where the networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self):
        return {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("NVIDIA GPU"), "mps": _("Apple GPU")}[self.value]


@parameterNodeWrapper
class SpineNetModuleParameterNode:
    """Inputs and choices of the panel, and the result's nodes."""

    inputVolume: vtkMRMLScalarVolumeNode
    model: str = "spinenet-starter"
    shownTable: ShownTable = ShownTable.GRADES

    thoracicCount: Annotated[int, WithinRange(11, 13)] = 12
    lumbarCount: Annotated[int, WithinRange(4, 6)] = 5
    cornersInAllSlices: bool = False
    updateAtOnce: bool = True

    device: Device = Device.AUTO
    penaliseSkips: bool = True
    removeSingleSlices: bool = True

    result: vtkMRMLTextNode
    segmentation: vtkMRMLSegmentationNode
    centers: vtkMRMLMarkupsFiducialNode
    corners: vtkMRMLMarkupsFiducialNode
    gradeTable: vtkMRMLTableNode
    discTable: vtkMRMLTableNode
    bodyTable: vtkMRMLTableNode
    angleTable: vtkMRMLTableNode

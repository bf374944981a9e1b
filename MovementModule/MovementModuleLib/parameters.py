"""Everything the user can choose in the Movement Videos module; saved with the scene."""

from enum import Enum
from typing import Annotated

from slicer import (
    vtkMRMLMarkupsClosedCurveNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLPlotChartNode,
    vtkMRMLSequenceNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

# Enum members are stored by name: renaming one breaks saved scenes.

AGE_NOT_ENTERED = -20.0  # weeks; the spin box shows words instead


class Task(Enum):
    """What is asked of the video."""

    GAIT = "gait"
    MOVEMENTS = "movements"

    def label(self):
        return {"gait": _("Walking adult: spinal deformity"), "movements": _("Infant: general movements")}[self.value]


class PatientBy(Enum):
    """How the walking patient is found."""

    MOTION = "motion"
    REGION = "region"
    BOXES = "boxes"
    NETWORK = "network"

    def label(self):
        return {
            "motion": _("motion, still camera"),
            "region": _("drawn region"),
            "boxes": _("table of boxes"),
            "network": _("detection network"),
        }[self.value]


class Background(Enum):
    """What becomes of everything around the infant."""

    NETWORK = "network"
    OUTLINE = "outline"
    KEEP = "keep"

    def label(self):
        return {
            "network": _("removed by network"),
            "outline": _("removed outside outline"),
            "keep": _("kept"),
        }[self.value]


class TorsoBy(Enum):
    """Where the infant's shoulders and hips come from."""

    NETWORK = "network"
    MANUAL = "manual"

    def label(self):
        return {"network": _("found by network"), "manual": _("placed by hand")}[self.value]


class Timing(Enum):
    """How clips are cut where the patient is out of view."""

    REAL = "real"
    PUBLISHED = "published"

    def label(self):
        return {"real": _("real time"), "published": _("as published")}[self.value]


class Device(Enum):
    """Where the networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self):
        return {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("NVIDIA GPU"), "mps": _("Apple GPU")}[self.value]


@parameterNodeWrapper
class MovementModuleParameterNode:
    """Inputs, choices and results of the module."""

    inputVideo: vtkMRMLSequenceNode
    task: Task = Task.GAIT

    patientBy: PatientBy = PatientBy.MOTION
    patientFile: str = ""
    follow: bool = True
    ageWeeks: Annotated[float, WithinRange(-20.0, 60.0)] = AGE_NOT_ENTERED
    background: Background = Background.NETWORK
    torsoBy: TorsoBy = TorsoBy.NETWORK
    region: vtkMRMLMarkupsROINode
    torso: vtkMRMLMarkupsFiducialNode
    outline: vtkMRMLMarkupsClosedCurveNode

    gaitModel: str = "gait-starter"
    movementsModel: str = "movements-starter"
    backgroundModel: str = "movements-starter"
    pointsModel: str = "movements-starter"
    measureLean: bool = False
    leanModel: str = "gait-starter"
    timing: Timing = Timing.REAL
    mirror: bool = False
    ignoreQuality: bool = False
    device: Device = Device.AUTO

    showMarks: bool = True
    activationOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    hideFaces: bool = True

    result: vtkMRMLTextNode
    overallTable: vtkMRMLTableNode
    clipTable: vtkMRMLTableNode
    energyTable: vtkMRMLTableNode
    chart: vtkMRMLPlotChartNode
    activation: vtkMRMLSequenceNode

"""Everything the user can choose in the Motion score module; saved with the scene."""

import pathlib
from enum import Enum
from typing import Annotated

from slicer import (
    vtkMRMLMarkupsROINode,
    vtkMRMLPlotChartNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLTableNode,
    vtkMRMLTextNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

# Enum members are stored by name: renaming one breaks saved scenes.


class GradingUnit(Enum):
    """Unit of the values the networks see."""

    AUTOMATIC = "auto"
    NATIVE = "native"
    DENSITY = "density"
    HU = "hu"

    def label(self):
        return {
            "auto": _("Automatic"),
            "native": _("Native"),
            "density": _("Density (mg HA/ccm)"),
            "hu": _("HU"),
        }[self.value]


class IncompleteStack(Enum):
    """What happens to a last stack with fewer slices than the stack height."""

    KEEP = "keep_last"
    DROP = "drop_last"
    REFUSE = "error"

    def label(self):
        return {
            "keep_last": _("Keep, short"),
            "drop_last": _("Leave out"),
            "error": _("Refuse scan"),
        }[self.value]


class Rules(Enum):
    """Arithmetic of votes, rounding and percent."""

    NEWER = "newer"
    LEGACY = "legacy"

    def label(self):
        return {"newer": _("Newer (2.5)"), "legacy": _("Legacy (2023)")}[self.value]


class Device(Enum):
    """Where the networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self):
        return {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("NVIDIA GPU"), "mps": _("Apple GPU")}[self.value]


class AttentionMode(Enum):
    """Which grade the attention map explains."""

    PER_SLICE = "per-slice"
    PUBLISHED = "published"

    def label(self):
        return {"per-slice": _("each slice's grade"), "published": _("the scan's grade")}[self.value]


class ReviewScope(Enum):
    """Which scans the review list holds."""

    PENDING = "pending"
    LOW_AGREEMENT = "low"
    ALL = "all"

    def label(self):
        return {
            "pending": _("Not yet reviewed"),
            "low": _("Agreement below the threshold"),
            "all": _("All scans"),
        }[self.value]


@parameterNodeWrapper
class MotionScoreParameterNode:
    """Inputs, choices and results of the module."""

    inputVolume: vtkMRMLScalarVolumeNode
    gradingUnit: GradingUnit = GradingUnit.AUTOMATIC
    stackHeight: Annotated[int, WithinRange(1, 4096)] = 168
    incompleteStack: IncompleteStack = IncompleteStack.KEEP
    rules: Rules = Rules.NEWER
    device: Device = Device.AUTO
    model: str = "motion-starter"

    showStackBoxes: bool = False
    attentionMode: AttentionMode = AttentionMode.PER_SLICE
    attentionOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5

    datasetFolder: pathlib.Path
    sliceStep: Annotated[int, WithinRange(1, 168)] = 1
    reprocess: bool = False
    reviewer: str
    blindMode: bool = False
    confidenceThreshold: Annotated[float, WithinRange(0.0, 100.0)] = 75.0
    reviewScope: ReviewScope = ReviewScope.PENDING

    result: vtkMRMLTextNode
    gradeTable: vtkMRMLTableNode
    gradeChart: vtkMRMLPlotChartNode
    attentionVolume: vtkMRMLScalarVolumeNode
    stackBoxes: list[vtkMRMLMarkupsROINode]

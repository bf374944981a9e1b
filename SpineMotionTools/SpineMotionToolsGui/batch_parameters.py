"""What the user chooses on the start page; saved with the scene."""

import pathlib
from enum import Enum
from typing import Annotated

from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

# Enum members are stored by name: renaming one breaks saved scenes.


class BatchTask(Enum):
    """What is done with every case; values are the tasks of `SpineMotionToolsLib.batch`."""

    MOTION = "motion"
    SPINE = "spine"
    KEYPOINTS = "keypoints"
    GAIT = "gait"
    MOVEMENTS = "movements"

    def label(self):
        return {
            "motion": _("Grade motion (HR-pQCT)"),
            "spine": _("Read spines (MRI)"),
            "keypoints": _("Find keypoints (radiographs)"),
            "gait": _("Score walks (videos)"),
            "movements": _("Score infants (videos)"),
        }[self.value]

    @property
    def isVideo(self):
        return self in (BatchTask.GAIT, BatchTask.MOVEMENTS)

    @property
    def system(self):
        """The name of the task's weights in the catalogue."""
        return "spinenet" if self is BatchTask.SPINE else self.value


class BatchDevice(Enum):
    """Where the networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self):
        return {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("NVIDIA GPU"), "mps": _("Apple GPU")}[self.value]


@parameterNodeWrapper
class SpineMotionToolsParameterNode:
    """The batch of the start page; an empty model is the task's starter set."""

    task: BatchTask = BatchTask.MOTION
    inputFolder: pathlib.Path
    outputFolder: pathlib.Path
    model: str = ""
    stackHeight: Annotated[int, WithinRange(1, 10000)] = 168
    device: BatchDevice = BatchDevice.AUTO
    saveScenes: bool = True
    writeDicom: bool = False
    doAgain: bool = False

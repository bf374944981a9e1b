"""Everything the user can choose in the Spine Keypoints module; saved with the scene."""

from enum import Enum
from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

# Enum members are stored by name: renaming one breaks saved scenes.


class Slices(Enum):
    """What the slices of a volume are."""

    FRONTAL = "frontal"
    FRAMES = "frames"

    def label(self):
        return {"frontal": _("A body, cut frontally"), "frames": _("Radiographs, one a slice")}[self.value]


class Turn(Enum):
    """How the picture is turned before it is read."""

    AS_SHOWN = "as-shown"
    MIRRORED = "mirrored"
    UPSIDE_DOWN = "upside-down"
    BOTH = "both"

    def label(self):
        return {
            "as-shown": _("As it is"),
            "mirrored": _("Left and right exchanged"),
            "upside-down": _("Turned by 180°"),
            "both": _("Top and bottom exchanged"),
        }[self.value]


class Bone(Enum):
    """Whether bone is bright or dark."""

    AUTO = "auto"
    BRIGHT = "bright"
    DARK = "dark"

    def label(self):
        return {"auto": _("As displayed"), "bright": _("Bright"), "dark": _("Dark")}[self.value]


class PixelSize(Enum):
    """Whether the volume's spacing is the true pixel size."""

    AUTO = "auto"
    KNOWN = "known"
    UNKNOWN = "unknown"

    def label(self):
        return {
            "auto": _("Automatic"),
            "known": _("The volume's spacing"),
            "unknown": _("Not known: pixels"),
        }[self.value]


class PatientRight(Enum):
    """The side of the picture that the patient's right is on."""

    AUTO = "auto"
    LEFT = "left"
    RIGHT = "right"
    UNKNOWN = "unknown"

    def label(self):
        return {
            "auto": _("Automatic"),
            "left": _("Picture's left (usual)"),
            "right": _("Picture's right"),
            "unknown": _("Not known"),
        }[self.value]


class Device(Enum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self):
        return {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("NVIDIA GPU"), "mps": _("Apple GPU")}[self.value]


@parameterNodeWrapper
class KeypointModuleParameterNode:
    """Inputs and choices of the module; results hang on their radiograph, see `scene.keypoints`."""

    inputVolume: vtkMRMLScalarVolumeNode
    region: vtkMRMLMarkupsROINode
    sliceIndex: Annotated[int, WithinRange(-1, 100000)] = -1
    model: str = "keypoints-starter"
    device: Device = Device.AUTO

    slices: Slices = Slices.FRONTAL
    turn: Turn = Turn.AS_SHOWN
    bone: Bone = Bone.AUTO
    pixelSize: PixelSize = PixelSize.AUTO
    patientRight: PatientRight = PatientRight.AUTO

    showCorners: bool = True
    showLevels: bool = True
    showAngles: bool = True
    showUncertainty: bool = True
    showCornerNames: bool = False

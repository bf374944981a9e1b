"""The scan that a panel starts with, to save a click."""

import qt
import slicer
from slicer.i18n import tr as _


class ScanChooser:
    """Chooses the first scan for a panel that has none, also one that is loaded while the panel is shown.

    `parameters()` returns the panel's parameter node with its field `inputVolume`, or None while there is none.
    """

    def __init__(self, moduleWidget, parameters):
        self._parameters = parameters
        self._timer = qt.QTimer()  # one look after many nodes have come, and after their voxels
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self.choose)
        moduleWidget.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAddedEvent, self._onNodeAdded)

    def _onNodeAdded(self, caller, event):
        if self._parameters() is not None:
            self._timer.start()

    def choose(self):
        """Choose the first scan unless one is chosen."""
        parameters = self._parameters()
        if parameters is not None and parameters.inputVolume is None and not slicer.mrmlScene.IsBatchProcessing():
            scan = firstScan()
            if scan is not None:
                parameters.inputVolume = scan


def sequenceNote(volumeNode):
    """What to know of a volume that shows one item of a sequence, as text; "" for others."""
    from SpineMotionToolsLib.scene import nodes

    if volumeNode is None or not nodes.follows_sequence(volumeNode):
        return ""
    return _("One item of a sequence: results are of the item that was shown at Apply, also when another one is shown.")


def firstScan():
    """The first volume of gray values in the scene; label maps and pictures in colors are other classes."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and node.GetImageData() and not node.GetHideFromEditors():
            return node
    return None

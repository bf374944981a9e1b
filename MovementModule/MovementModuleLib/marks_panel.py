"""The panel's section "Patient": region, torso points and outline, which follow the video and can be dragged."""

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MovementModuleLib import texts

KINDS = {"gait": "region", "movements": "torso"}  # system -> what is drawn for it
REST_MS = 200  # a dragged mark is taken over when it has rested so long
LEAST_CHANGE_PX = 0.25


class MarksPanel(VTKObservationMixin):
    """Shows what is known of the frame in view, keeps what the user drags, and takes it back."""

    def __init__(self, moduleWidget):
        VTKObservationMixin.__init__(self)
        self._module = moduleWidget
        self._ui = moduleWidget.ui
        self._undo = {}  # node id -> what was placed before each step
        self._writing = False
        self._edited = None  # (node, frame) that is being dragged
        self._shown = None  # (node id, value) on the node as we wrote it
        self._found = (None, "", {})  # result, video, and what it found
        self._restTimer = qt.QTimer()
        self._restTimer.setSingleShot(True)
        self._restTimer.setInterval(REST_MS)
        self._restTimer.connect("timeout()", self._takeOver)
        self._ui.placeButton.connect("clicked(bool)", self.onPlace)
        self._ui.removeButton.connect("clicked(bool)", self.onRemove)
        self._ui.undoButton.connect("clicked(bool)", self.onUndo)
        self._ui.outlineButton.connect("clicked(bool)", self.onOutline)
        # Not bound as a path: an empty one would be shown as ".".
        self._ui.patientFileEdit.connect("currentPathChanged(QString)", self.onPatientFile)
        # An emptied field is told by this signal only.
        self._ui.patientFileEdit.connect("validInputChanged(bool)", lambda valid: valid or self.onPatientFile(""))

    def close(self):
        self._restTimer.stop()
        self.removeObservers()

    def forget(self):
        """The scene was closed: nothing of it can be taken back."""
        self._restTimer.stop()
        self._undo, self._edited, self._shown, self._found = {}, None, None, (None, "", {})
        self.removeObservers()

    # -- what there is --------------------------------------------------------------------------------------------

    @property
    def _parameters(self):
        return self._module._parameterNode

    @property
    def kind(self):
        return KINDS[self._parameters.task.value]

    @property
    def _mark(self):
        from SpineMotionToolsLib.scene.video_marks import MARKS

        return MARKS[self.kind]

    def node(self):
        """The node that shows the region or the torso points of the chosen video, or None."""
        return getattr(self._parameters, self.kind)

    def _way(self):
        return (self._parameters.patientBy if self.kind == "region" else self._parameters.torsoBy).value

    def _setWay(self):
        """What was drawn is used from now on."""
        node = self._parameters
        if self.kind == "region":
            node.patientBy = type(node.patientBy)("region")
        else:
            node.torsoBy = type(node.torsoBy)("manual")

    def ensureNode(self, video, system):
        """The node of region or torso points of a video, chosen or not; made when the video has none."""
        from SpineMotionToolsLib.scene import nodes, video_marks

        mark = video_marks.MARKS[KINDS[system]]
        node = nodes.results_of(slicer.mrmlScene, video.sequence).get(mark.role)
        if node is None:
            node = mark.make(slicer.mrmlScene, video)
            self._module.logic.takeOver(self._parameters)
        return node

    # -- what is shown --------------------------------------------------------------------------------------------

    def update(self, video, result):
        """Fit buttons, texts and nodes to the chosen video, task and frame."""
        from SpineMotionToolsLib.scene import video_marks

        ui, node = self._ui, self.node() if self._parameters else None
        placed = video_marks.placed(node)
        ready = video is not None and not self._module.jobs.running
        ui.placeButton.enabled = ready
        ui.removeButton.enabled = False
        ui.undoButton.enabled = ready and node is not None and bool(self._undo.get(node.GetID()))
        ui.outlineButton.enabled = ready
        if self._parameters is None:
            return
        gait, way = self.kind == "region", self._way()
        if ui.patientFileEdit.currentPath != self._parameters.patientFile:
            ui.patientFileEdit.currentPath = self._parameters.patientFile
        ui.placeButton.text = _("Draw here") if gait else _("Place here")
        ui.gaitWidget.visible, ui.infantWidget.visible = gait, not gait
        ui.patientFileRow.visible = way in ("boxes", "network") and gait
        ui.followCheckBox.visible = way == "region"
        ui.outlineRow.visible = self._parameters.background.value == "outline"
        ui.findRow.visible = not gait and way == "network"
        times = [self._time(video, frame) for frame in sorted(placed)] if video else []
        ui.marksLabel.text = texts.marksText(self.kind, placed, times, way, node is not None)
        ui.marksLabel.visible = bool(ui.marksLabel.text)
        self._observe(node)
        self._hideOthers(video)
        self.followTime(video, result)

    @staticmethod
    def _time(video, frame):
        return video.time_of(int(np.argmin(np.abs(np.array(video.frames) - frame))))

    def found(self, video, result):
        """What a result found, by frame; read once, because long videos hold thousands of boxes."""
        from SpineMotionToolsLib.scene.video_results import found_marks

        if self._found[0] is not result or self._found[1] != video.sequence.GetID():
            self._found = (result, video.sequence.GetID(), found_marks(video, result))
        return self._found[2]

    def _observe(self, node):
        observed = [entry for entry in (self._parameters.region, self._parameters.torso) if entry is not None]
        for other in observed:
            if other is not node and self.hasObserver(other, vtk.vtkCommand.ModifiedEvent, self._onModified):
                self.removeObserver(other, vtk.vtkCommand.ModifiedEvent, self._onModified)
                self.removeObserver(other, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self._onModified)
        if node is not None and not self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self._onModified):
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onModified)
            self.addObserver(node, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self._onModified)

    def _hideOthers(self, video):
        """Only what belongs to the chosen video and task is seen."""
        from SpineMotionToolsLib.scene import nodes, video_marks

        roles = {mark.role for mark in video_marks.MARKS.values()} | {video_marks.OUTLINE_ROLE}
        parameters = self._parameters
        outlined = self.kind == "torso" and parameters.background.value == "outline" and parameters.showMarks
        for other in slicer.util.getNodesByClass("vtkMRMLMarkupsNode"):
            if nodes.attribute(other, "Role") in roles and other is not self.node():
                _setVisible(other, other is parameters.outline and outlined)

    def followTime(self, video, result):
        """Show on the video what is known of its frame."""
        from SpineMotionToolsLib.scene import video_marks

        parameters, node = self._parameters, self.node()
        if node is None or video is None or self._edited is not None:
            return
        placed, found = video_marks.placed(node), self.found(video, result)
        self._ui.removeButton.enabled = video.frame in placed and not self._module.jobs.running
        reach = 1 if self.kind == "region" else 10**6
        value = video_marks.known_at(self.kind, video.frame, placed, found, reach)
        _setVisible(node, value is not None and parameters.showMarks)
        if value is None:
            return
        self._write(video, node, value)
        video_marks.color(node, video.frame in placed)

    def _isShown(self, node, value):
        """Whether the node shows this value as we wrote it."""
        if self._shown is None or self._shown[0] != node.GetID():
            return False
        return bool(np.all(np.abs(np.asarray(self._shown[1]) - np.asarray(value)) < LEAST_CHANGE_PX))

    def _write(self, video, node, value):
        if self._isShown(node, value):
            return
        self._writing = True
        try:
            self._mark.write(video, node, value)
        finally:
            self._writing = False
        self._shown = (node.GetID(), self._mark.read(video, node))

    # -- what the user does ---------------------------------------------------------------------------------------

    def _onModified(self, caller, event, index=None):
        if self._writing or self._parameters is None:
            return
        video = self._module.video()
        if video is None or caller is not self.node():
            return
        if self._shown is None or self._shown[0] != caller.GetID():
            return  # not shown yet: what the node holds was never seen
        if self._isShown(caller, self._mark.read(video, caller)):
            return
        if self._edited is None:
            self._edited = (caller, video.frame)
        self._restTimer.start()

    def _takeOver(self):
        """A dragged mark has come to rest: from now on it is placed by hand on its frame."""
        if self._edited is None or self._parameters is None:
            return
        (node, frame), self._edited = self._edited, None
        video = self._module.video()
        if video is None or node is not self.node():
            return
        value = self._mark.read(video, node)
        self._shown = (node.GetID(), value)
        self._place(node, frame, value)

    def _remember(self, node):
        """What was placed by hand until now, kept for Undo."""
        from SpineMotionToolsLib.scene import video_marks

        placed = video_marks.placed(node)
        self._undo.setdefault(node.GetID(), []).append(placed)
        return placed

    def _place(self, node, frame, value):
        from SpineMotionToolsLib.scene import video_marks

        placed = self._remember(node)
        video_marks.set_placed(node, {**placed, frame: value})
        self._setWay()
        self._module._updateControls()

    def onPlace(self):
        """Put region or torso points on the frame that is shown, as known so far, to be dragged into place."""
        from SpineMotionToolsLib.scene import video_marks

        video = self._module.video()
        with slicer.util.tryWithErrorDisplay(_("Nothing could be drawn."), waitCursor=False):
            node = self.ensureNode(video, self._parameters.task.value)
            found = self.found(video, self._module.result())
            placed = video_marks.placed(node)
            value = video_marks.known_at(self.kind, video.frame, placed, found, 10**6) or self._mark.first(video)
            self._parameters.showMarks = True
            self._place(node, video.frame, value)
            self._module.logic.showVideo(video, self._parameters.activation)

    def onRemove(self):
        from SpineMotionToolsLib.scene import video_marks

        node, video = self.node(), self._module.video()
        placed = self._remember(node)
        video_marks.set_placed(node, {f: value for f, value in placed.items() if f != video.frame})
        self._module._updateControls()

    def onUndo(self):
        from SpineMotionToolsLib.scene import video_marks

        node = self.node()
        video_marks.set_placed(node, self._undo[node.GetID()].pop())
        self._module._updateControls()

    def onPatientFile(self, path):
        if self._parameters is not None and self._parameters.patientFile != path:
            self._parameters.patientFile = path

    def onOutline(self):
        """Show a closed curve to drag around where the infant moves."""
        from SpineMotionToolsLib.scene import video_marks

        video = self._module.video()
        with slicer.util.tryWithErrorDisplay(_("No outline could be drawn."), waitCursor=False):
            if self._parameters.outline is None:
                self._parameters.outline = video_marks.make_outline(slicer.mrmlScene, video)
            self._parameters.showMarks = True
            self._module.logic.showVideo(video, self._parameters.activation)
            self._module._updateControls()

    def takeFound(self, video, torso, before):
        """Torso points that were looked for, as if placed by hand, so that they can be corrected.

        `before`: what was placed when the search began; what was placed since then stays.
        """
        from SpineMotionToolsLib.scene import video_marks

        node = self.ensureNode(video, "movements")
        since = {frame: points for frame, points in self._remember(node).items() if before.get(frame) != points}
        video_marks.set_placed(node, {int(frame): points for frame, points in torso.items()} | since)
        if self._module.scoring.isChosen(video, "movements"):
            self._parameters.showMarks = True
            self._setWay()
        self._module._updateControls()


def _setVisible(node, visible):
    if bool(node.GetDisplayVisibility()) != bool(visible):
        node.SetDisplayVisibility(bool(visible))

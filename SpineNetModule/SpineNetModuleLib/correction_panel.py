"""The panel's section "Corrections": labels, corners, missing and surplus vertebrae; every step can be undone."""

import qt
import slicer
from slicer.i18n import tr as _

from SpineNetModuleLib import corrections, texts

CORNERS_OF_A_BODY = 4


class CorrectionPanel:
    """Makes corrections through the logic and asks the module for an update of what they changed."""

    def __init__(self, moduleWidget):
        self._module = moduleWidget
        self._ui = moduleWidget.ui
        self._observedCorners = self._observedCenters = self._observedMode = None
        self._projecting = False
        self._drawing = None  # the points of a vertebra being added
        self._filling = False
        ui = self._ui
        ui.renameButton.connect("clicked(bool)", self.onRename)
        ui.countButton.connect("clicked(bool)", self.onCount)
        ui.shiftUpButton.connect("clicked(bool)", lambda checked: self.onShift(-1))
        ui.shiftDownButton.connect("clicked(bool)", lambda checked: self.onShift(1))
        ui.deleteButton.connect("clicked(bool)", self.onDelete)
        ui.addButton.connect("clicked(bool)", self.onAdd)
        ui.undoButton.connect("clicked(bool)", lambda checked: self._travel(self._module.logic.undo))
        ui.redoButton.connect("clicked(bool)", lambda checked: self._travel(self._module.logic.redo))
        ui.vertebraComboBox.connect("activated(int)", self.onVertebra)
        ui.allSlicesCheckBox.connect("toggled(bool)", self.onAllSlices)
        self._fillLevels()

    @property
    def _parameters(self):
        return self._module._parameterNode

    # -- what is shown --------------------------------------------------------------------------------------------

    def _fillLevels(self):
        from SpineMotionToolsLib.spinenet.numbering import all_levels

        for level in all_levels():
            self._ui.levelComboBox.addItem(level)

    def update(self):
        """Show the vertebrae, what can be pressed, and watch the corners that can be dragged."""
        ui, logic, node = self._ui, self._module.logic, self._parameters
        spine = logic.resultOf(node) if node else None
        self._watchPoints(*((node.corners, node.centers) if spine is not None else (None, None)))
        if spine is None:
            self.stopDrawing()
        self._fillVertebrae(spine)
        ready = spine is not None and not self._module.reading
        some = ready and bool(spine.vertebrae)
        for button in (ui.renameButton, ui.countButton, ui.shiftUpButton, ui.shiftDownButton, ui.deleteButton):
            button.enabled = some
        for widget in (ui.vertebraComboBox, ui.levelComboBox, ui.thoracicSpinBox, ui.lumbarSpinBox):
            widget.enabled = some
        ui.allSlicesCheckBox.enabled = some
        ui.addButton.enabled = ready
        ui.addButton.text = _("Add vertebra") if self._drawing is None else _("Stop adding")
        ui.undoButton.enabled = ready and logic.history.canUndo
        ui.redoButton.enabled = ready and logic.history.canRedo
        ui.correctionsLabel.text = "<br>".join(
            text for text in (texts.correctionsText(spine), texts.pendingText(spine)) if text
        )

    def _fillVertebrae(self, spine):
        combo = self._ui.vertebraComboBox
        labels = spine.labels if spine is not None else []
        if labels == [combo.itemText(index) for index in range(combo.count)]:
            return
        chosen = combo.currentIndex
        self._filling = True
        combo.clear()
        for label in labels:
            combo.addItem(label)
        combo.setCurrentIndex(min(max(chosen, 0), len(labels) - 1))
        self._filling = False
        self._showLevel()

    def _showLevel(self):
        level = self._ui.levelComboBox.findText(self._ui.vertebraComboBox.currentText)
        if level >= 0:
            self._ui.levelComboBox.setCurrentIndex(level)

    def choose(self, index):
        """Make a vertebra the one that corrections are about."""
        if 0 <= index < self._ui.vertebraComboBox.count:
            self._ui.vertebraComboBox.setCurrentIndex(index)
            self._showLevel()

    def onVertebra(self, index):
        if not self._filling:
            self._showLevel()
            self._module.logic.jumpToRow(self._parameters, "bodies", index)

    # -- labels ---------------------------------------------------------------------------------------------------

    def onRename(self):
        from SpineMotionToolsLib.spinenet import editing

        index, level = self._ui.vertebraComboBox.currentIndex, self._ui.levelComboBox.currentText
        self._correct(lambda spine: editing.rename(spine, index, level))

    def onCount(self):
        from SpineMotionToolsLib.spinenet import editing
        from SpineMotionToolsLib.spinenet.numbering import Numbering

        index, level = self._ui.vertebraComboBox.currentIndex, self._ui.levelComboBox.currentText
        numbering = Numbering(self._parameters.thoracicCount, self._parameters.lumbarCount)
        self._correct(lambda spine: editing.count_from(spine, index, level, numbering))

    def onShift(self, steps):
        from SpineMotionToolsLib.spinenet import editing

        self._correct(lambda spine: editing.shift_labels(spine, steps))

    # -- bodies ---------------------------------------------------------------------------------------------------

    def onDelete(self):
        from SpineMotionToolsLib.spinenet import editing

        index = self._ui.vertebraComboBox.currentIndex
        self._correct(lambda spine: editing.delete_vertebra(spine, index))

    def onAdd(self):
        if self._drawing is not None:
            self.stopDrawing()
        else:
            self._drawing = corrections.startDrawing(self._parameters.inputVolume)
            event = slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent
            self._module.addObserver(self._drawing, event, self._onPointDrawn)
            self._watchMode(slicer.app.applicationLogic().GetInteractionNode())
            self._module.say(_("Click the four corners of the vertebra in one sagittal slice."))
        self.update()

    def _onPointDrawn(self, caller, event):
        if self._drawing is not None and self._drawing.GetNumberOfDefinedControlPoints() == CORNERS_OF_A_BODY:
            qt.QTimer.singleShot(0, self._finishDrawing)  # the list cannot be removed while it tells of a point

    def _watchMode(self, node):
        event = slicer.vtkMRMLInteractionNode.InteractionModeChangedEvent
        self._observedMode = self._watch(self._observedMode, node, event, self._onModeChanged)

    def _onModeChanged(self, caller, event):
        """A right click or Esc ends placing: before the fourth point the user gave up."""
        node = self._drawing
        if node is not None and node.GetNumberOfDefinedControlPoints() < CORNERS_OF_A_BODY:
            if caller.GetCurrentInteractionMode() != caller.Place:
                qt.QTimer.singleShot(0, self._giveUpDrawing)

    def _giveUpDrawing(self):
        self.stopDrawing()
        self.update()

    def _finishDrawing(self):
        node = self._drawing
        if node is None or not slicer.mrmlScene.IsNodePresent(node):
            self._drawing = None
            return
        spine = self._run(lambda: self._module.logic.addDrawn(self._parameters, node))
        self.stopDrawing()
        self.update()
        if spine is not None:
            self.choose(next(index for index, v in enumerate(spine.vertebrae) if v.source == "added"))

    def stopDrawing(self):
        """Give up adding a vertebra."""
        node, self._drawing = self._drawing, None
        if node is not None:
            event = slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent
            if self._module.hasObserver(node, event, self._onPointDrawn):
                self._module.removeObserver(node, event, self._onPointDrawn)
            self._watchMode(None)
            corrections.stopDrawing(node)

    # -- corners --------------------------------------------------------------------------------------------------

    def _watchPoints(self, corners, centers):
        """Hear of a corner when it is let go (never while it moves, never of what the module itself writes), and of how
        the user wants the names to look."""
        drop, look = (
            slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent,
            slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
        )
        self._observedCorners = self._watch(self._observedCorners, corners, drop, self.onCornerDropped)
        self._observedCenters = self._watch(self._observedCenters, centers, look, self.onNamesChanged)

    def _watch(self, old, node, event, method):
        if node is not old:
            if old is not None and self._module.hasObserver(old, event, method):
                self._module.removeObserver(old, event, method)
            if node is not None:
                self._module.addObserver(node, event, method)
        return node

    def onNamesChanged(self, caller, event):
        """Two display nodes draw the names: the second follows the first, which the user can change."""
        from SpineMotionToolsLib.scene.spinenet_points import project_names

        if not self._projecting and slicer.mrmlScene.IsNodePresent(caller):
            self._projecting = True
            project_names(caller)
            self._projecting = False

    def onCornerDropped(self, caller, event):
        if self._module.reading:
            self._module.logic.showCorners(self._parameters)
        else:
            self._run(lambda: self._module.logic.moveDraggedCorner(self._parameters))

    def onAllSlices(self, checked):
        if self._parameters is not None:
            self._parameters.cornersInAllSlices = checked
            self._module.logic.showCorners(self._parameters)

    # -- making a correction --------------------------------------------------------------------------------------

    def _correct(self, edit):
        self._run(lambda: self._module.logic.correct(self._parameters, edit))

    def _travel(self, step):
        self._run(lambda: step(self._parameters))

    def _run(self, change):
        """Make a change, which returns the new spine or None, and ask for an update; returns what `change` returned.

        A correction that makes no sense is a sentence, and nothing changes.
        """
        from SpineMotionToolsLib.common.errors import SpineMotionError

        try:
            spine = change()
        except SpineMotionError as error:
            self._module.say(str(error))
            return None
        if spine is not None:
            self._module.say("")
            self._module.afterCorrection()
        return spine

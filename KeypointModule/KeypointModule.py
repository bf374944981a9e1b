"""Vertebra keypoints: 68 vertebral corners in a spine radiograph; drag one and the others follow; Cobb angles."""

import html

import numpy as np
import qt
import slicer
import vtk
from KeypointModuleLib import texts
from KeypointModuleLib.logic import KeypointModuleLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

SAMPLE_NAME = "SpineRadiographPhantom"


class KeypointModule(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Vertebra Keypoints")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = ["SpineMotionTools"]
        self.parent.contributors = ["SpineMotionTools contributors"]
        self.parent.helpText = _(
            "Finds the four corners of the vertebrae T1 to L5 in a frontal spine radiograph and measures Cobb angles. "
            "Drag a wrong corner: the others follow. Load a radiograph, press Apply. Not a medical device."
        )
        self.parent.acknowledgementText = _(
            "Method: Kim, Kim et al., Morphology-aware interactive keypoint estimation, MICCAI 2022, arXiv 2209.07163. "
            "Independent implementation."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """One-click sample radiograph, made on this computer: nothing is downloaded."""
    from SpineMotionToolsGui.samples import registerSample

    registerSample(SAMPLE_NAME, __file__, KeypointModuleLogic.makeSampleRadiograph)


class KeypointModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: binds the parameter node to the .ui file and hands work to the logic."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._slice = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from KeypointModuleLib.correct_panel import CorrectPanel
        from KeypointModuleLib.results_panel import ResultsPanel
        from SpineMotionToolsGui.jobs import JobControls
        from SpineMotionToolsGui.log import Log
        from SpineMotionToolsGui.models import ModelChooser

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/KeypointModule.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = KeypointModuleLogic()
        self.logic.onChanged = self._updateControls
        self.logic.onMoving = lambda reading: self.results.showReading(reading)
        self.logic.onMessage = self.showMessage
        self.log = Log(self.ui.logText)
        self.jobs = JobControls(
            [self.ui.applyButton, self.ui.findRegionButton],
            self.ui.progressBar,
            self.ui.statusLabel,
            self.log,
            onIdle=self._updateControls,
        )
        self.models = ModelChooser(
            self.ui.modelComboBox, self.ui.modelNoteLabel, system="keypoints", onChosen=self._onModel, pickFile=True
        )
        self.results = ResultsPanel(self)
        self.correct = CorrectPanel(self)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)

        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.findRegionButton.connect("clicked(bool)", self.onFindRegionButton)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.showButton.connect("clicked(bool)", self.onShowButton)

        self.initializeParameterNode()

    # -- life cycle -----------------------------------------------------------------------------------------------

    def cleanup(self):
        self.exit()  # a reload cleans up a panel that is still shown; its widgets are gone afterwards
        self.jobs.cancel()
        self.logic.close()
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self._disconnectParameterNode()

    def onSceneStartClose(self, caller, event):
        self.jobs.cancel()
        self.logic.closeSessions()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onReload(self):
        """Reload the parts of the module before Slicer reloads this file (developer mode)."""
        from SpineMotionToolsGui.reloading import reloadPackages

        reloadPackages("SpineMotionToolsLib", "SpineMotionToolsGui", "KeypointModuleLib")
        ScriptedLoadableModuleWidget.onReload(self)

    def initializeParameterNode(self):
        """Connect the parameter node; choose the first volume when none was chosen, to save a click."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            gray = [volume for volume in volumes if volume.GetClassName() == "vtkMRMLScalarVolumeNode"]
            if gray:  # no label map, no frame of a video
                self._parameterNode.inputVolume = gray[0]

    def setParameterNode(self, parameterNode):
        from SpineMotionToolsGui.binding import connectWidgets

        self._disconnectParameterNode()
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = connectWidgets(parameterNode, self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateControls)
            self.models.setCurrent(parameterNode.model)
        self._updateControls()

    def _disconnectParameterNode(self):
        if self._parameterNode is None:
            return
        if self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
        if self.hasObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateControls):
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateControls)

    # -- what is shown --------------------------------------------------------------------------------------------

    def session(self):
        """The session of the chosen radiograph, or None."""
        return self.logic.sessionOf(self._parameterNode.inputVolume) if self._parameterNode else None

    def _updateControls(self, caller=None, event=None):
        """Enable what can be used, and say what is missing for the rest."""
        node = self._parameterNode
        volume = node.inputVolume if node else None
        self.jobs.showAbout(volume)
        session = self.session()
        picture = self._showPicture(node, session)
        if not self.jobs.running:
            self.ui.applyButton.enabled = self.ui.findRegionButton.enabled = picture is not None
            self.ui.applyButton.toolTip = _("Find the corners.") if volume else _("Choose or load a radiograph first.")
        if session is not None:
            self.logic.showParts(node)
        self.ui.showButton.enabled = picture is not None
        self.results.update(session)
        self.correct.update()

    def _showPicture(self, node, session):
        """Describe the chosen picture; returns it, or None when there is none."""
        from SpineMotionToolsGui.scans import sequenceNote
        from SpineMotionToolsLib.common.errors import SpineMotionError

        ui, picture = self.ui, None
        ui.pictureLabel.text = ""
        if node is not None and node.inputVolume is not None:
            try:
                picture = self.logic.pictureOf(node)
                described = [texts.pictureText(picture), sequenceNote(node.inputVolume)]
                ui.pictureLabel.text = "<br>".join(filter(None, described))
                if session is not None and not session.restate(picture):
                    ui.pictureLabel.text += (
                        "<br><b>" + _("The corners are those of another picture: press Apply.") + "</b>"
                    )
            except SpineMotionError as error:
                ui.pictureLabel.text = html.escape(str(error))
        self._showSlice(node, picture)
        several = picture is not None and picture.slices > 1
        ui.sliceRow.visible = several
        if several:
            ui.sliceSpinBox.maximum = picture.slices - 1
        return picture

    def _showSlice(self, node, picture):
        """The slice views go to the slice that was just chosen."""
        key = (node.inputVolume.GetID(), picture.axes, picture.index) if picture is not None else None
        if key != self._slice and picture is not None and picture.slices > 1:
            self.logic.showSlice(node.inputVolume, picture)
        self._slice = key

    def _onModel(self, model):
        if self._parameterNode:
            self._parameterNode.model = model
            self.logic.useNetwork(model, self._parameterNode.device.value)

    def showMessage(self, text, failed=False):
        """One sentence in the status line and the log."""
        self.ui.statusLabel.text = html.escape(text)
        (self.log.error if failed else self.log.info)(text)

    # -- actions --------------------------------------------------------------------------------------------------

    def onApplyButton(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        if not self._mayReplace(self.session()):
            return
        with slicer.util.tryWithErrorDisplay(_("The corners were not found."), waitCursor=True):
            from SpineMotionToolsGui.dependencies import ensureInferencePackages

            ensureInferencePackages()
            if self.logic.needsSearch(self._parameterNode, self.logic.pictureOf(self._parameterNode)):
                self._findRegion(self.ui.applyButton, self._findCorners)
            else:
                self._findCorners()

    @staticmethod
    def _mayReplace(session):
        """Whether new corners may take the place of those there are; asks when a reader has worked on them."""
        from SpineMotionToolsLib.keypoints.anatomy import LEVELS

        if session is None or _workOn(session) == ((), (), (), False, LEVELS):
            return True
        return slicer.util.confirmOkCancelDisplay(
            _("Finding all corners anew discards your corrections, and Undo does not bring them back."),
            windowTitle=_("Vertebra Keypoints"),
        )

    def onFindRegionButton(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The spine was not found."), waitCursor=True):
            from SpineMotionToolsGui.dependencies import ensureInferencePackages

            ensureInferencePackages()
            self._findRegion(self.ui.findRegionButton, lambda: None)

    def _findRegion(self, button, andThen):
        """Put a box around the spine, then go on."""
        node, volumeID = self._parameterNode, self._parameterNode.inputVolume.GetID()
        picture = self.logic.pictureOf(node)

        def found(answer):
            if node.inputVolume is None or node.inputVolume.GetID() != volumeID:
                return  # removed, or another one chosen meanwhile
            self.logic.finishSearch(node, picture, answer)
            self.showMessage(_("The box shows where the spine was found. Move it where it is wrong."))
            andThen()

        self.jobs.run(
            button, _("Looking for the spine"), lambda onProgress: self.logic.startSearch(node, picture), found
        )

    def _findCorners(self):
        with slicer.util.tryWithErrorDisplay(_("The corners were not found."), waitCursor=True):
            node, volumeID = self._parameterNode, self._parameterNode.inputVolume.GetID()
            picture, before = self.logic.pictureOf(node), _workOn(self.session())
            self.jobs.run(
                self.ui.applyButton,
                _("Finding the corners"),
                lambda onProgress: self.logic.startDetection(node, picture),
                lambda answer: self._onFound(volumeID, picture, before, answer),
            )

    def _onFound(self, volumeID, picture, before, answer):
        volume = slicer.mrmlScene.GetNodeByID(volumeID)
        if volume is None:  # removed while the network ran
            self.log.info(_("The radiograph was removed from the scene; its corners were discarded."))
            return
        session = self.logic.sessionOf(volume)
        if _workOn(session) != before:
            self.showMessage(_("You changed the corners meanwhile, so they were kept. Press Apply to find all anew."))
            return
        first, chosen = session is None, self._parameterNode.inputVolume is volume
        with slicer.util.tryWithErrorDisplay(_("The corners were not found."), waitCursor=False):
            session = self.logic.finishDetection(volume, picture, answer)
            self.showMessage(_("Found the corners in {ms} ms.").format(ms=round(1000 * answer["seconds"])))
            if first and chosen and self.parent.isEntered:  # else the views are not this radiograph's
                self._showRadiograph(volume, session.picture)
            self._updateControls()

    def onSampleButton(self):
        with slicer.util.tryWithErrorDisplay(_("The sample radiograph could not be made."), waitCursor=True):
            self._parameterNode.inputVolume = self.logic.makeSampleRadiograph()
            self.onShowButton()

    def onShowButton(self):
        node = self._parameterNode
        session = self.session()
        if session is not None:
            session.redraw()
            node.showCorners = True
        self._showRadiograph(node.inputVolume, session.picture if session else self.logic.pictureOf(node))
        self._updateControls()

    def _showRadiograph(self, volume, picture):
        self.logic.showRadiograph(volume, picture)
        # A view of a new layout has its size only then.
        qt.QTimer.singleShot(0, lambda: self.logic.turnUpright(volume, picture))


def _workOn(session):
    """What a reader did to a session, to be compared; None without a session."""
    reading = session.reading if session is not None else None
    return reading and (reading.given, reading.locked, reading.absent, reading.accepted, tuple(reading.levels))


class KeypointModuleTest(ScriptedLoadableModuleTest):
    """Self test: makes a radiograph, ties it to the scene, and finds its corners when torch is there."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_picture()
        self.setUp()
        self.test_session()

    def test_picture(self):
        """Picture points go to the scene and back."""
        from SpineMotionToolsLib.scene.keypoints_picture import find_picture

        volume = KeypointModuleLogic.makeSampleRadiograph()
        picture = find_picture(volume)
        points = np.array([[0.0, 0.0], [100.5, 20.25]])
        self.assertTrue(np.allclose(picture.from_ras(volume, picture.to_ras(volume, points)), points))
        self.assertIsNotNone(picture.spacing_mm)
        self.delayDisplay("Picture found")

    def test_session(self):
        """A corrected corner stays where it was put."""
        import importlib.util

        if importlib.util.find_spec("torch") is None:
            self.delayDisplay("PyTorch is not installed: finding corners was not tested")
            return
        logic = KeypointModuleLogic()
        try:
            session = logic.startSession(logic.makeSampleRadiograph())
            place = tuple(session.reading.points_px[21] + (4.0, 2.0))
            reading = session.correct(21, place)
            self.assertEqual(tuple(reading.points_px[21]), place)
            self.assertEqual(session.nodes.node("corners").GetNumberOfControlPoints(), 68)
            self.assertTrue(np.array_equal(session.undo().given, ()))
        finally:
            logic.close()
        self.delayDisplay("Corners found and corrected")

"""Movement Videos: adult spinal deformity from a video of a walk, and infants' general movements."""

import slicer
import vtk
from MovementModuleLib.logic import SAMPLES, MovementModuleLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class MovementModule(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Movement Videos")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = ["SpineMotionTools", "Sequences"]
        self.parent.contributors = ["SpineMotionTools contributors"]
        self.parent.helpText = _(
            "Scores videos: adult spinal deformity from a walk filmed from the side, general movements of an infant "
            "filmed from above. Drop a video on the window, choose the task, press Apply. Not a medical device."
        )
        self.parent.acknowledgementText = _(
            "Methods: Chen et al., Front Neurosci 17 (2023) 1278584, doi 10.3389/fnins.2023.1278584; "
            "two-stream general movements assessment, MICCAI 2022, arXiv 2207.03344. Independent implementation."
        )
        slicer.app.connect("startupCompleted()", registerLayout)
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerLayout():
    """The layout of video and plot is known from the start: a saved scene may ask for it."""
    from SpineMotionToolsLib.scene import video_layout

    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None:
        video_layout.register(layoutManager.layoutLogic().GetLayoutNode())


def registerSampleData():
    """Two drawn videos, which ship with the module: nothing is downloaded."""
    from SpineMotionToolsGui.samples import registerSample

    for task, name in SAMPLES.items():
        registerSample(name, __file__, lambda task=task: MovementModuleLogic.loadSample(task))


class MovementModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: binds the parameter node to the .ui file and hands work to the logic."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._shownVideoID = ""
        self._updating = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from MovementModuleLib.marks_panel import MarksPanel
        from MovementModuleLib.network_panel import NetworkPanel
        from MovementModuleLib.results_panel import ResultsPanel
        from MovementModuleLib.score_panel import ScorePanel
        from MovementModuleLib.video_panel import VideoPanel
        from SpineMotionToolsGui.jobs import JobControls
        from SpineMotionToolsGui.log import Log

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MovementModule.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.ui.inputVideoSelector.addAttribute("vtkMRMLSequenceNode", "SpineMotionTools.Video")
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = MovementModuleLogic()
        self.log = Log(self.ui.logText)
        ui = self.ui
        self.jobs = JobControls(
            [ui.applyButton, ui.loadButton, ui.findButton, ui.activationButton, ui.exportVideoButton],
            ui.progressBar,
            ui.statusLabel,
            self.log,
            onIdle=self._updateControls,
        )
        self.videos = VideoPanel(self, onTime=self._onTime)
        self.networks = NetworkPanel(self)
        self.marks = MarksPanel(self)
        self.results = ResultsPanel(self)
        self.scoring = ScorePanel(self)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)

        self.initializeParameterNode()

    # -- life cycle -----------------------------------------------------------------------------------------------

    def cleanup(self):
        self.exit()  # a reload cleans up a panel that is still shown; its widgets are gone afterwards
        self.jobs.cancel()
        self.marks.close()
        self.results.close()
        self.videos.close()
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self._disconnectParameterNode()

    def onSceneStartClose(self, caller, event):
        self.jobs.cancel()
        self.marks.forget()
        self.logic.forget()
        self.scoring.forget()
        self._shownVideoID = ""
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

        reloadPackages("SpineMotionToolsLib", "SpineMotionToolsGui", "MovementModuleLib")
        ScriptedLoadableModuleWidget.onReload(self)

    def initializeParameterNode(self):
        """Connect the parameter node; choose the first video when none was chosen, to save a click."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVideo:
            first = self.logic.firstVideo()
            if first:
                self._parameterNode.inputVideo = first

    def setParameterNode(self, parameterNode):
        from SpineMotionToolsGui.binding import connectWidgets

        self._disconnectParameterNode()
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = connectWidgets(parameterNode, self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._updateControls)
            self.networks.setCurrent(parameterNode)
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

    def video(self):
        """The chosen video in the scene, or None."""
        return self.logic.videoOf(self._parameterNode.inputVideo) if self._parameterNode else None

    def result(self):
        """The result of the chosen video and task, or None."""
        return self.logic.resultOf(self._parameterNode) if self._parameterNode else None

    def _updateControls(self, caller=None, event=None):
        """Enable what can be used, and say what is missing for the rest."""
        if self._updating:
            return
        self._updating = True
        try:
            self._update()
        finally:
            self._updating = False

    def _update(self):
        node, ui = self._parameterNode, self.ui
        if node:
            self.videos.restore(node.inputVideo)
            self.logic.takeOver(node)
        video, result = self.video(), self.result()
        problem = self.logic.videoProblem(video.sequence) if video else ""
        self.jobs.showAbout(video.sequence if video else None)
        self.videos.update(video, problem)
        if not self.jobs.running:
            ready = video is not None and not problem
            ui.applyButton.enabled = ui.findButton.enabled = ready
            ui.applyButton.toolTip = problem or (_("Score the video.") if ready else _("Choose or load a video first."))
            ui.activationButton.enabled = ui.exportVideoButton.enabled = ready and self.logic.isScored(result)
        self.results.update(node, result, self.scoring.problemsOf(node))
        self._showChosen(video)
        self.networks.update(node)
        self.marks.update(video, result)
        self._onTime()

    def _showChosen(self, video):
        """Another video was chosen: the views show it, with its plot when it has one."""
        identifier = video.sequence.GetID() if video else ""
        if identifier and self._shownVideoID and identifier != self._shownVideoID:
            self.results.onShowPlot()
        self._shownVideoID = identifier

    def _onTime(self):
        """The slider moved: cursor, marks and the line under it follow."""
        video, result = self.video(), self.result()
        if video is None:
            return
        self.videos.showTime(video, result)
        if result is not None:
            self.logic.moveCursor(self._parameterNode, video)
        self.marks.followTime(video, result)

    def onApplyButton(self):
        self.scoring.onApply()


class MovementModuleFileReader:
    """Loads video files by drag and drop or File > Add data."""

    def __init__(self, parent):
        self.parent = parent

    def description(self):
        return _("Movement video")

    def fileType(self):
        return "MovementVideoFile"

    def extensions(self):
        from SpineMotionToolsLib.common.video import VIDEO_SUFFIXES

        return [_("Movement video") + f" (*{suffix})" for suffix in VIDEO_SUFFIXES]

    def canLoadFileConfidence(self, filePath):
        # A file that only has the name of a video is tried too: what is wrong with it is then told in words.
        return 0.7 if self.parent.supportedNameFilters(filePath) else 0.0

    def load(self, properties):
        try:
            node = MovementModuleLogic.loadVideo(properties["fileName"], properties.get("name"))
        except Exception as error:  # every failure of a reader is a message to the user
            self.parent.userMessages().AddMessage(vtk.vtkCommand.ErrorEvent, str(error))
            return False
        self.parent.loadedNodes = [node.GetID()]
        return True


class MovementModuleTest(ScriptedLoadableModuleTest):
    """Self test: loads both samples, and scores the walk when torch is there."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_loadVideo()
        self.setUp()
        self.test_scoreWalk()

    def _canRead(self, *packages):
        import importlib.util

        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            self.delayDisplay(f"Not installed, so not tested: {', '.join(missing)}")
        return not missing

    def test_loadVideo(self):
        """A video comes in upright with its times, and keeps where it came from."""
        if not self._canRead("av"):
            return
        from SpineMotionToolsLib.scene.video import original_path

        sequence = MovementModuleLogic.loadSample("movements")
        video = MovementModuleLogic.videoOf(sequence)
        self.assertTrue(original_path(sequence).is_file())
        self.assertEqual(sequence.GetNumberOfDataNodes(), len(video.frames))
        corner = video.to_ras([[0, 0]])[0]
        self.assertAlmostEqual(float(corner[0]), 0.0)
        self.assertTrue((video.to_pixels([corner]) == 0).all())
        self.delayDisplay("Video loaded")

    def test_scoreWalk(self):
        """The sample walk is scored, and P(ASD) and P(non-ASD) add up to one."""
        if not self._canRead("av", "torch"):
            return
        logic = MovementModuleLogic()
        sequence = logic.loadSample("gait")
        result = logic.score(sequence, task="gait")
        self.assertTrue(result.clips, result.why_not)
        self.assertAlmostEqual(result.p_asd + result.p_non_asd, 1.0)
        node = logic.getParameterNode()
        self.assertEqual(node.clipTable.GetNumberOfRows(), len(result.clips))
        self.delayDisplay("Walk scored")

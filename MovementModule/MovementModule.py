"""Movement Videos: adult spinal deformity from a video of a walk, and infants' general movements."""

import html
import os

import qt
import slicer
import vtk
from MovementModuleLib import texts
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
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Two drawn videos, which ship with the module: nothing is downloaded."""
    import SampleData

    icons = os.path.join(os.path.dirname(__file__), "Resources", "Icons")
    SampleData.SampleDataLogic.registerCustomSampleDataCategory("SpineMotionTools", title=_("Spine and motion"))
    for task, name in SAMPLES.items():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="SpineMotionTools",
            sampleName=name,
            nodeNames=name,
            thumbnailFileName=os.path.join(icons, f"{name}.png"),
            customDownloader=lambda source, task=task: MovementModuleLogic.loadSample(task),
        )


class MovementModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: binds the parameter node to the .ui file and hands work to the logic."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._browser = None
        self._shownVideoID = ""
        self._updating = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from MovementModuleLib.marks_panel import MarksPanel
        from MovementModuleLib.network_panel import NetworkPanel
        from MovementModuleLib.results_panel import ResultsPanel
        from SpineMotionToolsGui.jobs import JobControls
        from SpineMotionToolsGui.log import Log

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MovementModule.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.ui.inputVideoSelector.addAttribute("vtkMRMLSequenceNode", "SpineMotionTools.Video")
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self._seekWidget = slicer.qMRMLSequenceBrowserSeekWidget()
        self._seekWidget.toolTip = _("Drag to go through the video.")
        self.ui.seekPlace.layout().addWidget(self._seekWidget)

        self.logic = MovementModuleLogic()
        self.log = Log(self.ui.logText)
        self.jobs = JobControls(
            [self.ui.applyButton, self.ui.findButton, self.ui.activationButton, self.ui.exportVideoButton],
            self.ui.progressBar,
            self.ui.statusLabel,
            self.log,
            onIdle=self._updateControls,
        )
        self.networks = NetworkPanel(self)
        self.marks = MarksPanel(self)
        self.results = ResultsPanel(self)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)

        self.ui.loadButton.connect("clicked(bool)", self.onLoadButton)
        self.ui.locateButton.connect("clicked(bool)", self.onLocateButton)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.findButton.connect("clicked(bool)", self.onFindButton)
        self.ui.activationButton.connect("clicked(bool)", self.onActivationButton)
        self.ui.exportVideoButton.connect("clicked(bool)", self.onExportVideoButton)
        self.ui.sampleWalkButton.connect("clicked(bool)", lambda checked=False: self.onSample("gait"))
        self.ui.sampleInfantButton.connect("clicked(bool)", lambda checked=False: self.onSample("movements"))
        self.ui.playButton.connect("toggled(bool)", self.onPlay)

        self.initializeParameterNode()

    # -- life cycle -----------------------------------------------------------------------------------------------

    def cleanup(self):
        self.exit()  # a reload cleans up a panel that is still shown; its widgets are gone afterwards
        self.jobs.cancel()
        self.marks.close()
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self._disconnectParameterNode()

    def onSceneStartClose(self, caller, event):
        self.jobs.cancel()
        self.marks.forget()
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
        self._disconnectParameterNode()
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
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

    def _observeBrowser(self, browser):
        """Follow this video's slider, also while another module is shown."""
        if browser is self._browser:
            return
        if self._browser is not None and self.hasObserver(self._browser, vtk.vtkCommand.ModifiedEvent, self._onTime):
            self.removeObserver(self._browser, vtk.vtkCommand.ModifiedEvent, self._onTime)
        self._browser = browser
        if browser is not None:
            self.addObserver(browser, vtk.vtkCommand.ModifiedEvent, self._onTime)
        self._seekWidget.setMRMLSequenceBrowserNode(browser)

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
            self.logic.takeOver(node)
        video, result = self.video(), self.result()
        self._observeBrowser(video.browser if video else None)
        problem = self.logic.videoProblem(video.sequence) if video else ""
        ui.videoLabel.text = texts.videoText(video.sequence, problem) if video else ""
        ui.videoLabel.visible = bool(ui.videoLabel.text)
        ui.locateRow.visible = bool(problem)
        ui.seekRow.visible = ui.timeLabel.visible = video is not None
        if not self.jobs.running:
            ready = video is not None and not problem
            ui.applyButton.enabled = ui.findButton.enabled = ready
            ui.applyButton.toolTip = problem or (_("Score the video.") if ready else _("Choose or load a video first."))
            ui.activationButton.enabled = ui.exportVideoButton.enabled = ready and self.logic.isScored(result)
        self.results.update(node, result)
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

    def _onTime(self, caller=None, event=None):
        """The slider moved: cursor, marks and the line under it follow."""
        video, result = self.video(), self.result()
        if video is None:
            return
        self.ui.timeLabel.text = html.escape(texts.timeText(video, result))
        self.ui.playButton.checked = bool(video.browser.GetPlaybackActive())
        if result is not None:
            self.logic.moveCursor(self._parameterNode, video)
        self.marks.followTime(video, result)

    # -- videos ---------------------------------------------------------------------------------------------------

    def onLoadButton(self):
        from SpineMotionToolsLib.common.video import VIDEO_SUFFIXES

        filters = _("Videos") + f" ({' '.join('*' + suffix for suffix in VIDEO_SUFFIXES)})"
        path = qt.QFileDialog.getOpenFileName(self.parent, _("Load video"), "", filters)
        if path:
            with slicer.util.tryWithErrorDisplay(_("The video was not loaded."), waitCursor=True):
                self._parameterNode.inputVideo = self.logic.loadVideo(path)

    def onSample(self, task):
        with slicer.util.tryWithErrorDisplay(_("The sample video was not loaded."), waitCursor=True):
            sequence = self.logic.loadSample(task)
            with slicer.util.NodeModify(self._parameterNode):
                self._parameterNode.inputVideo = sequence
                self._parameterNode.task = type(self._parameterNode.task)(task)

    def onLocateButton(self):
        path = qt.QFileDialog.getOpenFileName(self.parent, _("Where the video file is now"))
        if path:
            with slicer.util.tryWithErrorDisplay(_("The file was not taken."), waitCursor=True):
                self.logic.locate(self._parameterNode.inputVideo, path)
                self._updateControls()

    def onPlay(self, play):
        video = self.video()
        if video is not None and bool(video.browser.GetPlaybackActive()) != bool(play):
            video.browser.SetPlaybackActive(bool(play))

    # -- scoring --------------------------------------------------------------------------------------------------

    def onApplyButton(self):
        self._run(
            self.ui.applyButton,
            _("The video was not scored."),
            _("Scoring the video"),
            lambda onProgress: self.logic.startScoring(self._parameterNode, onProgress),
            self._onScored,
        )

    def onActivationButton(self):
        self._run(
            self.ui.activationButton,
            _("No activation was computed."),
            _("Finding where the network looked"),
            lambda onProgress: self.logic.startScoring(self._parameterNode, onProgress, explain=True),
            self._onScored,
        )

    def onFindButton(self):
        self._run(
            self.ui.findButton,
            _("No torso points were looked for."),
            _("Looking for the torso points"),
            lambda onProgress: self.logic.startFinding(self._parameterNode, onProgress),
            self._onFound,
        )

    def onExportVideoButton(self):
        path = "" if self.jobs.running else self.results.askPath(_("Save video"), "video.mp4", "MP4 (*.mp4)")
        if path or self.jobs.running:
            self._run(
                self.ui.exportVideoButton,
                _("The video was not written."),
                _("Writing the video"),
                lambda onProgress: self.logic.startScoring(self._parameterNode, onProgress, explain=True, overlay=True),
                lambda video, result: self._onVideoWritten(video, result, path),
            )

    def _run(self, button, failure, title, start, done):
        """Start a job on the chosen video, or cancel it when its own button was pressed again."""
        if self.jobs.running:
            self.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(failure, waitCursor=True):
            from MovementModuleLib.packages import ensureVideoPackages
            from SpineMotionToolsGui.dependencies import ensureInferencePackages

            ensureInferencePackages()
            ensureVideoPackages(flow=self._parameterNode.task.value == "movements")
            sequenceID = self._parameterNode.inputVideo.GetID()
            self.jobs.run(button, title, start, lambda result: self._finish(sequenceID, failure, result, done))

    def _finish(self, sequenceID, failure, jobResult, done):
        video = self.logic.videoOf(slicer.mrmlScene.GetNodeByID(sequenceID))
        if video is None:  # removed while the job ran
            self.log.info(_("The video was removed from the scene; its scores were discarded."))
            return
        with slicer.util.tryWithErrorDisplay(failure, waitCursor=True):
            for problem in jobResult.get("problems", ()):
                self.log.error(problem)
            done(video, jobResult)
        self._updateControls()

    def _onScored(self, video, jobResult):
        result = self.logic.finishScoring(self._parameterNode, video.sequence, jobResult)
        if not self.logic.isScored(result):
            self.log.info(_("Not scored. {reason}").format(reason=result.why_not))
            return
        self.log.info(_("Scored {n} clips.").format(n=len(self.logic.spansOf(result))))
        self.marks.ensureNode(self.logic.videoOf(video.sequence))
        self.results.onShowPlot()

    def _onFound(self, video, jobResult):
        if not jobResult["torso"]:
            self.ui.statusLabel.text = _("No infant was found. Place the torso points by hand.")
            return
        self.marks.takeFound(video, jobResult["torso"])
        self.log.info(_("Found torso points on {n} frames.").format(n=len(jobResult["torso"])))

    def _onVideoWritten(self, video, jobResult, path):
        self._onScored(video, jobResult)
        self.logic.exportVideo(jobResult, path)
        self.log.info(_("Wrote the video."))


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

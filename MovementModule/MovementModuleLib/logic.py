"""Turns video nodes into inputs, runs scoring as a job, and hands results to the scene. Usable without the panel."""

import os

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MovementModuleLib import exports, loading
from MovementModuleLib.kept import KeptScores, choicesOf
from MovementModuleLib.parameters import AGE_NOT_ENTERED, MovementModuleParameterNode
from MovementModuleLib.request import Request

RESULT_FIELDS = {  # role of a node -> field of the parameter node
    "result": "result",
    "overall": "overallTable",
    "clips": "clipTable",
    "energy": "energyTable",
    "chart": "chart",
    "activation": "activation",
}
SAMPLES = {"gait": "WalkPhantom", "movements": "InfantPhantom"}


class MovementModuleLogic(ScriptedLoadableModuleLogic):
    """From the Python console:

    >>> result = slicer.util.getModuleLogic("MovementModule").score(sequenceNode, task="gait")
    >>> result.answer, result.p_asd, result.p_non_asd
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._kept = KeptScores()
        self._result, self._resultKey = None, None

    def getParameterNode(self):
        from SpineMotionToolsGui.binding import readable

        return readable(MovementModuleParameterNode, super().getParameterNode())

    # -- videos ---------------------------------------------------------------------------------------------------

    @staticmethod
    def loadVideo(path, name=None, show=True):
        """Load a video file, or a folder of pictures, for display and scoring; returns the sequence node.

        Asks for PyAV when it is missing. A long video is decoded in a child process, behind a dialog that can cancel
        it. Raises InputError, DependencyError or Cancelled with a sentence.
        """
        shown = loading.load(path, name)
        if show:
            MovementModuleLogic.showVideo(shown)
        return shown.sequence

    @staticmethod
    def startLoading(path, onProgress):
        """Start decoding the frames to show of a video; returns the job. The window stays alive meanwhile."""
        return loading.startLoading(path, onProgress)

    @staticmethod
    def finishLoading(path, jobResult, show=True):
        """Put what a finished job decoded into the scene, with `show` into the views; returns the sequence node."""
        shown = loading.finishLoading(path, jobResult)
        if show:
            MovementModuleLogic.showVideo(shown)
        return shown.sequence

    @staticmethod
    def loadSample(task):
        """A short drawn video of a walk ("gait") or an infant ("movements"), which ships with the module."""
        name = SAMPLES[task]
        folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), "Resources", "Data")
        return MovementModuleLogic.loadVideo(os.path.join(folder, f"{name}.mp4"), name)

    @staticmethod
    def videoOf(sequenceNode):
        """The `scene.video.SceneVideo` of a sequence node, or None."""
        from SpineMotionToolsLib.scene.video import scene_video

        return scene_video(slicer.mrmlScene, sequenceNode)

    @staticmethod
    def showVideo(video, activation=None):
        """Show a video in the slice views, upright in the axial one, and in the sequence toolbar."""
        from SpineMotionToolsLib.scene import video_layout
        from SpineMotionToolsLib.scene.video_activation import overlay_of

        overlay = overlay_of(video, activation)
        video_layout.turn_axial(slicer.mrmlScene)
        slicer.util.setSliceViewerLayers(background=video.volume, foreground=overlay, label=None, fit=True)
        toolbar = getattr(slicer.modules.sequences, "setToolBarActiveBrowserNode", None)
        if toolbar is not None:
            toolbar(video.browser)

    @staticmethod
    def fitViews():
        """Fit the slice views to what they show."""
        layoutManager = slicer.app.layoutManager()
        if layoutManager is not None:
            layoutManager.resetSliceViews()

    @staticmethod
    def goToItem(video, item):
        """Show an item of the video, with everything that is in step with it."""
        video.browser.SetSelectedItemNumber(int(item))
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(video.browser)

    @staticmethod
    def videoProblem(sequenceNode):
        """Why the original of a video cannot be scored, as a sentence; "" when it can."""
        from SpineMotionToolsLib.scene.video import original_path

        path = original_path(sequenceNode)
        if path is None or path.exists():
            return ""
        return _("The video file is not at {path} any more. Press 'Locate file...'.").format(path=path)

    # -- scoring --------------------------------------------------------------------------------------------------

    def score(self, video, task="gait", show=True, **choices):
        """Score a video and wait for the result (`GaitResult` or `MovementResult`); with `show`, put it into the scene.

        `video` is a sequence node or a path; `choices` are the fields of `request.Request` (model, regions, torso,
        ageWeeks, device, ...). Raises InputError, WeightsError, DependencyError or JobError with a sentence.
        """
        from SpineMotionToolsLib.common.jobs import start_job

        request = Request(task=task, **choices)
        sequence = self.loadVideo(video) if show and isinstance(video, (str, os.PathLike)) else video
        job = self._start(start_job, sequence, request)
        try:
            jobResult = job.wait()
            result = self._resultFrom(jobResult)
            if show:
                self._keep(sequence, {**jobResult, "choices": job.choices})
                self._show(sequence, result)
                node = self.getParameterNode()
                with slicer.util.NodeModify(node):
                    node.inputVideo, node.task = sequence, type(node.task)(task)
                    self.takeOver(node)
        finally:
            job.close()
        return result

    def startScoring(self, parameterNode, onProgress, explain=False, overlay=False):
        """Start scoring the chosen video in a child process; returns the job.

        `explain` also makes activation maps, `overlay` also writes the video with everything laid over. With either of
        them, a score that was made in this session with the same choices is not computed again.
        """
        from SpineMotionToolsLib.common.jobs import start_job

        faces = parameterNode.hideFaces
        extra = {"explain": explain, "overlay": overlay, "faces_hidden": faces, "face_hidden": faces}
        return self._start(start_job, parameterNode.inputVideo, self.requestOf(parameterNode), onProgress, extra)

    def finishScoring(self, parameterNode, sequenceNode, jobResult, show=True):
        """Put a finished job's scores, and activation maps if it made any, into the scene; returns the result.

        The chosen video and task stay chosen; with `show`, the slice views show the activation.
        """
        from SpineMotionToolsLib.scene import video_activation

        maps = self._keep(sequenceNode, jobResult)
        result = self._resultFrom(jobResult)
        video = self._show(sequenceNode, result)
        if maps is not None:
            opacity = parameterNode.activationOpacity if show else None
            video_activation.show_activation(slicer.mrmlScene, video, result, maps, opacity)
            self.goToItem(video, video.item)
        self.takeOver(parameterNode)
        return result

    def startFinding(self, parameterNode, onProgress):
        """Start looking for an infant's torso points only; returns the job."""
        from SpineMotionToolsLib.common.jobs import start_job

        request = self.requestOf(parameterNode)
        request.torsoBy = "network"
        return self._start(start_job, parameterNode.inputVideo, request, onProgress, task="find_infant")

    def requestOf(self, parameterNode):
        """The choices of the panel; raises InputError when something was to be drawn and is not there."""
        from SpineMotionToolsLib.scene import video_marks

        node, video = parameterNode, self.videoOf(parameterNode.inputVideo)
        age = None if node.ageWeeks <= AGE_NOT_ENTERED else node.ageWeeks
        gait = node.task.value == "gait"
        outlined = not gait and node.background.value == "outline"
        return Request(
            task=node.task.value,
            model=node.gaitModel if gait else node.movementsModel,
            patientBy=node.patientBy.value,
            patientFile=node.patientFile,
            regions=video_marks.placed(node.region),
            click=video_marks.click_of(video, video_marks.placed(node.region)),
            follow=node.follow,
            ageWeeks=age,
            background=node.background.value,
            backgroundModel=node.backgroundModel,
            outline=video_marks.outline_px(video, node.outline) if outlined else None,
            torsoBy=node.torsoBy.value,
            torso=video_marks.placed(node.torso),
            pointsModel=node.leanModel if gait else node.pointsModel,
            measureLean=node.measureLean,
            timing=node.timing.value,
            mirror=node.mirror,
            ignoreQuality=node.ignoreQuality,
            device=node.device.value,
        )

    def _start(self, start, video, request, onProgress=None, extra=None, task="score"):
        """Start a task on a sequence node or path; what it writes goes to a folder that is removed with the job."""
        import tempfile

        folder = tempfile.TemporaryDirectory(prefix="SpineMotionTools-")
        path = self._originalOf(video, folder.name)
        extra = dict(extra or {}, report=False)
        choices = choicesOf(request.parameters(path))
        if extra.get("explain") or extra.get("overlay"):
            extra |= self._kept.files(video.GetID(), request.task, choices, folder.name)
            extra["folder"] = os.path.join(folder.name, "results")
            os.makedirs(extra["folder"])
        job = start(f"{request.task}.tasks:{task}", request.parameters(path, **extra), onProgress)
        job.outputFolder, job.choices = folder, choices
        return job

    def _originalOf(self, video, folder):
        """The path of a video's original; frames that came from no file are written to one."""
        if isinstance(video, (str, os.PathLike)):
            return str(video)
        from SpineMotionToolsLib.common.errors import InputError
        from SpineMotionToolsLib.scene.video import original_path

        if video is None:
            raise InputError(_("No video was chosen. Load a video, then press Apply."))
        if problem := self.videoProblem(video):
            raise InputError(problem)
        path = original_path(video)
        if path is not None:
            return str(path)
        return loading.writtenFrames(video, folder)

    def _resultFrom(self, jobResult):
        from SpineMotionToolsLib.gait.results import GaitResult
        from SpineMotionToolsLib.movements.results import MovementResult

        values = jobResult["result"]
        return {"gait": GaitResult, "movements": MovementResult}[values["provenance"]["system"]].from_json(values)

    def _keep(self, sequenceNode, jobResult):
        """Remember what was computed, with the choices it was made with; returns the activation maps or None."""
        result, path = self._resultFrom(jobResult), jobResult["files"].get("maps")
        maps = None
        if path is not None:
            if result.provenance.system == "gait":
                from SpineMotionToolsLib.gait.explain import ActivationMaps
            else:
                from SpineMotionToolsLib.movements.explain import ActivationMaps
            maps = ActivationMaps.load(path)
        self._kept.keep(sequenceNode.GetID(), result, maps, jobResult.get("choices"))
        return maps

    def forget(self):
        """The scene is closed: nothing that was computed belongs to the next one."""
        self._kept.clear()
        self._result, self._resultKey = None, None

    def _show(self, sequenceNode, result):
        from SpineMotionToolsLib.scene import video_activation, video_results

        video, system = loading.ensured(sequenceNode), result.provenance.system
        video_activation.remove_activation(slicer.mrmlScene, video, system)
        shown = video_results.show_result(slicer.mrmlScene, video, result)
        video_results.move_cursor(shown.chart, video.time_s)
        return video

    def takeOver(self, parameterNode):
        """Point the parameter node at what belongs to the chosen video and task, also in a scene that was loaded."""
        from SpineMotionToolsLib.scene import nodes, video_marks

        node, scene = parameterNode, slicer.mrmlScene
        found = nodes.results_of(scene, node.inputVideo) if node.inputVideo else {}
        system = node.task.value
        wanted = {field: found.get(f"{system} {role}") for role, field in RESULT_FIELDS.items()}
        wanted |= {kind: found.get(mark.role) for kind, mark in video_marks.MARKS.items()}
        wanted["outline"] = found.get(video_marks.OUTLINE_ROLE)
        with slicer.util.NodeModify(parameterNode):
            for field, value in wanted.items():
                if getattr(node, field) is not value:
                    setattr(node, field, value)

    # -- what the panel shows -------------------------------------------------------------------------------------

    def resultOf(self, parameterNode):
        """The result of the chosen video and task, or None when it has not been scored."""
        from SpineMotionToolsLib.scene import nodes, video_results

        text = parameterNode.result
        if not nodes.has_text_of(text, parameterNode.inputVideo):
            return None
        key = (text.GetID(), text.GetMTime())
        if self._resultKey != key:  # reading a long result takes a while
            self._result, self._resultKey = video_results.result_of(text), key
        return self._result

    @staticmethod
    def firstVideo():
        """The first video of the scene, or None."""
        from SpineMotionToolsLib.scene.video import VIDEO_ATTRIBUTE

        videos = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
        return next((node for node in videos if node.GetAttribute(VIDEO_ATTRIBUTE)), None)

    @staticmethod
    def locate(sequenceNode, path):
        """Tell where the original of a video is now; raises InputError when it is another video."""
        from SpineMotionToolsLib.scene.video import set_original_path

        set_original_path(sequenceNode, path)

    @staticmethod
    def isScored(result):
        """Whether there is a result with at least one scored clip."""
        from SpineMotionToolsLib.scene.video_results import is_scored

        return is_scored(result)

    @staticmethod
    def spansOf(result):
        """(start s, end s) of every scored clip."""
        from SpineMotionToolsLib.scene.video_results import spans

        return spans(result)

    @staticmethod
    def moveCursor(parameterNode, video):
        """The plot's line follows the video."""
        from SpineMotionToolsLib.scene.video_results import move_cursor

        move_cursor(parameterNode.chart, video.time_s)

    def setActivationOpacity(self, parameterNode):
        """The overlay's opacity follows the parameter node."""
        from SpineMotionToolsLib.scene.nodes import set_foreground_opacity
        from SpineMotionToolsLib.scene.video_activation import overlay_of

        overlay = overlay_of(self.videoOf(parameterNode.inputVideo), parameterNode.activation)
        if overlay is not None:
            set_foreground_opacity(slicer.mrmlScene, overlay, parameterNode.activationOpacity)

    def goToPlotPoint(self, parameterNode, seriesID, pointIndex):
        """Go to the clip of a clicked point; the cursor and the undecided band lead nowhere."""
        from SpineMotionToolsLib.scene.video_results import time_of_plot_point

        video, result = self.videoOf(parameterNode.inputVideo), self.resultOf(parameterNode)
        time = time_of_plot_point(parameterNode.chart, result, seriesID, pointIndex)
        if time is not None:
            self.goToItem(video, video.item_at(time))

    def showPlot(self, parameterNode, video):
        """Show the video with the plot below it; returns the plot's view, or None without a window."""
        from SpineMotionToolsLib.scene import video_layout

        layoutManager = slicer.app.layoutManager()
        if layoutManager is None or parameterNode.chart is None:
            self.showVideo(video, parameterNode.activation)
            return None
        video_layout.register(layoutManager.layoutLogic().GetLayoutNode())
        layoutManager.setLayout(video_layout.LAYOUT)
        self.showVideo(video, parameterNode.activation)
        plotWidget = layoutManager.plotWidget(0)
        if plotWidget is None:
            return None
        plotViewNode = plotWidget.mrmlPlotViewNode()
        plotViewNode.SetPlotChartNodeID(parameterNode.chart.GetID())
        plotViewNode.SetInteractionMode(slicer.vtkMRMLPlotViewNode.InteractionModeSelectPoints)
        return plotWidget.plotView()

    # -- files ----------------------------------------------------------------------------------------------------

    def exportCsv(self, parameterNode, folder):
        """Write scores, measures, and what was found as CSV; returns the file names."""
        return exports.exportCsv(parameterNode.inputVideo.GetName(), self.resultOf(parameterNode), folder)

    def exportReport(self, parameterNode, path):
        """Write one HTML file with the answer, the plot, pictures with hidden face, and how they were made."""
        from SpineMotionToolsLib.scene.video import original_path

        sequence, result = parameterNode.inputVideo, self.resultOf(parameterNode)
        maps = self._kept.maps(sequence.GetID(), result.provenance.system)
        exports.exportReport(result, original_path(sequence), maps, path)

    @staticmethod
    def exportVideo(jobResult, path):
        """Keep the overlay video of a finished job under the user's name; raises OutputError if there is none."""
        exports.exportVideo(jobResult, path)

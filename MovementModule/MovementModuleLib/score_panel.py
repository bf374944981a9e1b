"""The panel's jobs: scoring, activation, torso points, and the video to export."""

import html

import slicer
from slicer.i18n import tr as _

from MovementModuleLib import loading


class ScorePanel:
    """Starts the jobs on the chosen video and hands what they found to the scene."""

    def __init__(self, moduleWidget):
        self._module = moduleWidget
        self._problems = {}  # (sequence id, system) -> what went wrong besides the scoring
        ui = self._ui = moduleWidget.ui
        ui.applyButton.connect("clicked(bool)", self.onApply)
        ui.findButton.connect("clicked(bool)", self.onFind)
        ui.activationButton.connect("clicked(bool)", self.onActivation)
        ui.exportVideoButton.connect("clicked(bool)", self.onExportVideo)

    def forget(self):
        """The scene is closed: nothing told of its videos is told of the next ones."""
        self._problems = {}

    def problemsOf(self, parameterNode):
        """What went wrong when the chosen video and task were last scored, as sentences."""
        if parameterNode is None or parameterNode.inputVideo is None:
            return ()
        return self._problems.get((parameterNode.inputVideo.GetID(), parameterNode.task.value), ())

    # -- what the user does ---------------------------------------------------------------------------------------

    def onApply(self):
        failure, title = _("The video was not scored."), _("Scoring the video")
        self._run(self._ui.applyButton, failure, title, self._starting(), self.onScored)

    def onActivation(self):
        failure, title = _("No activation was computed."), _("Finding where the network looked")
        self._run(self._ui.activationButton, failure, title, self._starting(explain=True), self.onScored)

    def onFind(self):
        from SpineMotionToolsLib.scene import video_marks

        before = video_marks.placed(self._module._parameterNode.torso)
        self._run(
            self._ui.findButton,
            _("No torso points were looked for."),
            _("Looking for the torso points"),
            lambda onProgress: self._module.logic.startFinding(self._module._parameterNode, onProgress),
            lambda video, jobResult: self._onFound(video, jobResult, before),
        )

    def onExportVideo(self):
        running = self._module.jobs.running
        path = "" if running else self._module.results.askPath(_("Save video"), "video.mp4", "MP4 (*.mp4)")
        if path or running:
            self._run(
                self._ui.exportVideoButton,
                _("The video was not written."),
                _("Writing the video"),
                self._starting(explain=True, overlay=True),
                lambda video, jobResult: self._onVideoWritten(video, jobResult, path),
            )

    # -- jobs -----------------------------------------------------------------------------------------------------

    def _starting(self, **extra):
        return lambda onProgress: self._module.logic.startScoring(self._module._parameterNode, onProgress, **extra)

    def _run(self, button, failure, title, start, done):
        """Start a job on the chosen video, or cancel it when its own button was pressed again."""
        jobs, node = self._module.jobs, self._module._parameterNode
        if jobs.running:
            jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(failure, waitCursor=True):
            from SpineMotionToolsGui.dependencies import ensureInferencePackages

            from MovementModuleLib.packages import ensureVideoPackages

            ensureInferencePackages()
            ensureVideoPackages(flow=node.task.value == "movements")
            sequenceID, started = node.inputVideo.GetID(), []

            def begin(onProgress):
                started.append(start(onProgress))
                return started[0]

            def end(jobResult):
                self.finish(sequenceID, failure, {**jobResult, "choices": started[0].choices}, done)

            jobs.run(button, title, begin, end)

    def finish(self, sequenceID, failure, jobResult, done):
        """Hand what a job found to `done(video, jobResult)`, unless its video is gone."""
        video = loading.ensured(slicer.mrmlScene.GetNodeByID(sequenceID))
        if video is None:  # removed while the job ran
            self._module.log.info(_("The video was removed from the scene; its scores were discarded."))
            return
        with slicer.util.tryWithErrorDisplay(failure, waitCursor=True):
            done(video, jobResult)
        self._module._updateControls()

    def onScored(self, video, jobResult):
        """Show scores, and the activation if it was computed."""
        logic, sequence = self._module.logic, video.sequence
        system, problems = jobResult["result"]["provenance"]["system"], list(jobResult.get("problems", ()))
        lookedAt = self._module.parent.isEntered and self.isChosen(video, system)
        result = logic.finishScoring(self._module._parameterNode, sequence, jobResult, lookedAt)
        self._problems[(sequence.GetID(), system)] = problems
        for problem in problems:  # shown among the warnings, too
            self._module.log.error(problem)
        if not logic.isScored(result):
            self._say(_("Not scored. {reason}").format(reason=result.why_not))
            return
        counted = _("Scored {n} clips.") if system == "gait" else _("Scored {n} seconds.")
        self._say(counted.format(n=len(logic.spansOf(result))))
        self._module.marks.ensureNode(logic.videoOf(sequence), system)
        if lookedAt:
            self._module.results.onShowPlot()

    def isChosen(self, video, system):
        """Whether video and task are still the chosen ones: the user may go on to others while a job runs."""
        node = self._module._parameterNode
        return node.inputVideo is video.sequence and node.task.value == system

    def _onFound(self, video, jobResult, before):
        if not jobResult["torso"]:
            self._say(_("No infant was found. Place the torso points by hand."))
            return
        self._module.marks.takeFound(video, jobResult["torso"], before)
        self._say(_("Found torso points on {n} frames.").format(n=len(jobResult["torso"])))

    def _onVideoWritten(self, video, jobResult, path):
        self.onScored(video, jobResult)
        self._module.logic.exportVideo(jobResult, path)
        self._say(_("Wrote the video."))

    def _say(self, text):
        """One sentence in the status line and the log."""
        self._ui.statusLabel.text = html.escape(text)
        self._module.log.info(text)

"""The panel's section "Inputs": loading videos, finding a moved file, going through the video."""

import html

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MovementModuleLib import loading, texts


class VideoPanel(VTKObservationMixin):
    """Loads videos into the scene and follows the slider of the chosen one; `onTime()` is called when it moves."""

    def __init__(self, moduleWidget, onTime):
        VTKObservationMixin.__init__(self)
        self._module = moduleWidget
        self._onTime = onTime
        self._browser = None
        ui = self._ui = moduleWidget.ui
        self.seekWidget = slicer.qMRMLSequenceBrowserSeekWidget()
        self.seekWidget.toolTip = _("Drag to go through the video.")
        ui.seekPlace.layout().addWidget(self.seekWidget)
        ui.loadButton.connect("clicked(bool)", self.onLoad)
        ui.sampleWalkButton.connect("clicked(bool)", lambda checked: self.onSample("gait"))
        ui.sampleInfantButton.connect("clicked(bool)", lambda checked: self.onSample("movements"))
        ui.locateButton.connect("clicked(bool)", self.onLocate)
        ui.playButton.connect("toggled(bool)", self.onPlay)

    def close(self):
        self.removeObservers()

    # -- what is shown --------------------------------------------------------------------------------------------

    def update(self, video, problem):
        """Show what the chosen video is; `problem` is why its file cannot be scored, or ""."""
        ui = self._ui
        self._observe(video.browser if video else None)
        ui.videoLabel.text = texts.videoText(video.sequence, problem) if video else ""
        ui.videoLabel.visible = bool(ui.videoLabel.text)
        ui.locateRow.visible = bool(problem)
        ui.seekRow.visible = ui.timeLabel.visible = video is not None

    def restore(self, sequence):
        """A video whose browser was deleted gets a new one: without it nothing can be shown or scored."""
        from SpineMotionToolsLib.scene.video import VIDEO_ATTRIBUTE

        if sequence is None or sequence.GetAttribute(VIDEO_ATTRIBUTE) is None or slicer.mrmlScene.IsBatchProcessing():
            return
        video = loading.ensured(sequence) if self._module.logic.videoOf(sequence) is None else None
        if video is not None:
            self._module.logic.showVideo(video)
            self._module.log.info(_("The video's sequence browser was missing: a new one was made."))

    def showTime(self, video, result):
        """Tell the time that is shown, and whether the video plays."""
        self._ui.timeLabel.text = html.escape(texts.timeText(video, result))
        self._ui.playButton.checked = bool(video.browser.GetPlaybackActive())

    def _observe(self, browser):
        """Follow this video's slider, also while another module is shown."""
        if browser is self._browser:
            return
        if self._browser is not None and self.hasObserver(self._browser, vtk.vtkCommand.ModifiedEvent, self._onBrowser):
            self.removeObserver(self._browser, vtk.vtkCommand.ModifiedEvent, self._onBrowser)
        self._browser = browser
        if browser is not None:
            self.addObserver(browser, vtk.vtkCommand.ModifiedEvent, self._onBrowser)
        self.seekWidget.setMRMLSequenceBrowserNode(browser)

    def _onBrowser(self, caller, event):
        self._onTime()

    # -- what the user does ---------------------------------------------------------------------------------------

    def onLoad(self):
        """Ask for a file and decode what is shown of it in a child process; pressed again, stop that."""
        from SpineMotionToolsLib.common.video import VIDEO_SUFFIXES

        jobs, logic = self._module.jobs, self._module.logic
        if jobs.running:
            jobs.cancel()
            return
        filters = _("Videos") + f" ({' '.join('*' + suffix for suffix in VIDEO_SUFFIXES)})"
        path = qt.QFileDialog.getOpenFileName(self._module.parent, _("Load video"), "", filters)
        if not path:
            return
        with slicer.util.tryWithErrorDisplay(_("The video was not loaded."), waitCursor=True):
            jobs.run(
                self._ui.loadButton,
                _("Loading the video"),
                lambda onProgress: logic.startLoading(path, onProgress),
                lambda jobResult: self._onLoaded(path, jobResult),
            )

    def _onLoaded(self, path, jobResult):
        with slicer.util.tryWithErrorDisplay(_("The video was not loaded."), waitCursor=True):
            entered = self._module.parent.isEntered  # else the views are another module's
            self._module._parameterNode.inputVideo = self._module.logic.finishLoading(path, jobResult, entered)

    def onSample(self, task):
        with slicer.util.tryWithErrorDisplay(_("The sample video was not loaded."), waitCursor=True):
            sequence, node = self._module.logic.loadSample(task), self._module._parameterNode
            with slicer.util.NodeModify(node):
                node.inputVideo = sequence
                node.task = type(node.task)(task)

    def onLocate(self):
        path = qt.QFileDialog.getOpenFileName(self._module.parent, _("Where the video file is now"))
        if path:
            with slicer.util.tryWithErrorDisplay(_("The file was not taken."), waitCursor=True):
                self._module.logic.locate(self._module._parameterNode.inputVideo, path)
                self._module._updateControls()

    def onPlay(self, play):
        video = self._module.video()
        if video is not None and bool(video.browser.GetPlaybackActive()) != bool(play):
            video.browser.SetPlaybackActive(bool(play))

"""The start page's section "Batch": a folder of cases in, a table of results in the panel and on disk, scenes out."""

import html
import os

import qt
import slicer
from slicer.i18n import tr as _

from SpineMotionToolsGui.batch_parameters import BatchTask
from SpineMotionToolsGui.folders import FolderField, folderOf

COLUMNS = ("case", "status", "result")


class BatchPanel:
    """Runs a batch in a child process and shows a row a case as soon as it is done.

    `parameters()` returns the page's parameter node, or None while there is none.
    """

    def __init__(self, moduleWidget, parameters):
        from SpineMotionToolsGui.jobs import JobControls
        from SpineMotionToolsGui.models import ModelChooser

        self._module, self._ui, self._parameters = moduleWidget, moduleWidget.ui, parameters
        self._rows, self._shownState, self._out = [], None, ""
        ui = self._ui
        self.jobs = JobControls(
            [ui.batchButton], ui.batchProgressBar, ui.batchStatusLabel, moduleWidget.log, onIdle=self.update
        )
        self.models = ModelChooser(ui.batchModelComboBox, ui.batchModelNoteLabel, "motion", onChosen=self._onModel)
        self._folders = (
            FolderField(ui.batchInputEdit, parameters, "inputFolder"),
            FolderField(ui.batchOutputEdit, parameters, "outputFolder"),
        )
        table = ui.batchTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels([_("Case"), _("State"), _("Result")])
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setVisible(False)
        table.connect("itemSelectionChanged()", self._describeRow)
        table.connect("cellActivated(int,int)", lambda row, column: self.onOpenScene())
        ui.batchButton.connect("clicked(bool)", self.onRun)
        ui.batchSceneButton.connect("clicked(bool)", self.onOpenScene)
        ui.batchFolderButton.connect("clicked(bool)", self.onOpenFolder)

    def close(self):
        self.jobs.cancel()

    # -- what is shown --------------------------------------------------------------------------------------------

    def update(self, caller=None, event=None):
        """Show the chosen task's networks, what can be pressed, and the rows of the results folder."""
        node, ui = self._parameters(), self._ui
        if node is None:
            return
        for folder in self._folders:
            folder.show()
        self.models.setSystem(node.task.system, pickFile=node.task not in (BatchTask.MOTION, BatchTask.SPINE))
        self.models.setCurrent(node.model or f"{node.task.system}-starter")
        motion = node.task is BatchTask.MOTION
        ui.batchStackHeightLabel.visible = ui.batchStackHeightSpinBox.visible = motion
        ui.batchDicomCheckBox.visible = not node.task.isVideo
        source, out = folderOf(node.inputFolder), folderOf(node.outputFolder)
        if not self.jobs.running:
            ready = os.path.isdir(source) and bool(out)
            ui.batchButton.enabled = ready
            ui.batchButton.toolTip = (
                _("Do the task with every case of the folder.")
                if ready
                else _("Choose a folder of cases and a folder for the results first.")
            )
            self._out = out
        self._fillRows()

    def _fillRows(self):
        """Read the record in the results folder when it has changed."""
        from SpineMotionToolsLib.batch.journal import JOURNAL_NAME, read_journal, rows_of

        try:
            state = os.stat(os.path.join(self._out, JOURNAL_NAME)) if self._out else None
        except OSError:
            state = None
        key = (self._out, state.st_mtime_ns if state else 0)
        if key != self._shownState:
            self._shownState = key
            self._rows = rows_of(read_journal(self._out)) if state else []
            self._showRows()
        self._describeRow()

    def _showRows(self):
        table, ui = self._ui.batchTable, self._ui
        selected = table.currentRow()
        table.setRowCount(len(self._rows))
        for number, row in enumerate(self._rows):
            for column, text in enumerate((row.case, stateText(row), row.error or row.result)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip("\n".join((row.file, row.error or row.result, *row.warnings)))
                table.setItem(number, column, item)
        table.resizeColumnToContents(0)
        table.resizeColumnToContents(1)
        if 0 <= selected < len(self._rows):
            table.selectRow(selected)
        for widget in (table, ui.batchRowLabel, ui.batchOpenRow):
            widget.visible = bool(self._rows)

    def _row(self):
        number = self._ui.batchTable.currentRow()
        return self._rows[number] if 0 <= number < len(self._rows) else None

    def _describeRow(self):
        row = self._row()
        self._ui.batchSceneButton.enabled = row is not None and bool(row.scene)
        self._ui.batchRowLabel.text = rowText(row) if row is not None else ""

    # -- actions --------------------------------------------------------------------------------------------------

    def _onModel(self, model):
        if self._parameters() is not None:
            self._parameters().model = model

    def onRun(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        node = self._parameters()
        with slicer.util.tryWithErrorDisplay(_("The batch was not started."), waitCursor=True):
            from SpineMotionToolsLib.batch.job import BatchJob

            from SpineMotionToolsGui import dependencies

            dependencies.ensureInferencePackages()
            if node.task.isVideo:
                ensureVideoPackages(flow=node.task is BatchTask.MOVEMENTS)
            options = {"device": node.device.value}
            if node.model:
                options["model"] = node.model
            if node.task is BatchTask.MOTION:
                options["stack_height"] = node.stackHeight
            parameters = {
                "task": node.task.value,
                "source": folderOf(node.inputFolder),
                "out": folderOf(node.outputFolder),
                "options": options,
                "scenes": node.saveScenes,
                "dicom": node.writeDicom and not node.task.isVideo,
                "again": node.doAgain,
            }
            self.jobs.run(
                self._ui.batchButton,
                _("Running the batch"),
                lambda onProgress: BatchJob(parameters, self._progressThen(onProgress)),
                lambda result: self._onFinished(parameters),
            )

    def _progressThen(self, onProgress):
        def report(done, of, text=""):
            onProgress(done, of, text)
            self._fillRows()

        return report

    def _onFinished(self, parameters):
        from SpineMotionToolsLib.batch.journal import read_journal, rows_of, summary

        self._fillRows()
        rows = rows_of(read_journal(parameters["out"]))  # another folder may be chosen by now
        self._ui.batchStatusLabel.text = html.escape(summary(rows))
        self._module.log.info(summary(rows))
        if parameters["scenes"]:
            self._writeScenes(parameters, [row for row in rows if row.status == "done" and not row.scene])

    def _writeScenes(self, parameters, rows):
        """Save the scenes that the child process could not make, one at a time, so that the window stays alive."""
        from SpineMotionToolsLib.batch.run import add_scene

        if not rows or self.jobs.running:
            return
        try:
            add_scene(parameters, rows[0])
        except Exception as error:  # whatever it is, the other cases get their scenes
            self._module.log.error(
                _("{case}: no scene was saved. {reason}").format(case=rows[0].case, reason=str(error))
            )
        self._fillRows()
        qt.QTimer.singleShot(0, lambda: self._writeScenes(parameters, rows[1:]))

    def onOpenScene(self):
        """Load the selected case and show its image; its module has it chosen."""
        row = self._row()
        if row is None or not row.scene:
            return
        with slicer.util.tryWithErrorDisplay(_("The scene was not opened."), waitCursor=True):
            from SpineMotionToolsLib.batch.journal import read_journal

            from SpineMotionToolsGui.cases import openCase

            openCase(read_journal(self._out)["task"], os.path.join(self._out, row.scene))

    def onOpenFolder(self):
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._out))


def ensureVideoPackages(flow):
    """Ask for the packages of videos as their module does; without that module the job says what is missing."""
    try:
        from MovementModuleLib import packages
    except ImportError:
        return
    packages.ensureVideoPackages(flow)


def stateText(row):
    if row.status != "done":
        return _("failed")
    return _("done, see warnings") if row.warnings else _("done")


def rowText(row):
    """A case with its result, warnings and error, as rich text."""
    lines = ["<b>" + html.escape(row.case) + "</b>: " + html.escape(row.error or row.result)]
    lines += ["\u26a0 " + html.escape(warning) for warning in row.warnings]
    return "<br>".join(lines)

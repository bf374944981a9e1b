"""The section "Results": warnings, the largest curve, tables whose rows lead to their place, files."""

import html

import qt
import slicer
from slicer.i18n import tr as _

from KeypointModuleLib import texts


class ResultsPanel:
    """Shows what was measured in the chosen radiograph, and writes it to files."""

    def __init__(self, moduleWidget):
        self._module = moduleWidget
        ui = self._ui = moduleWidget.ui
        ui.exportFilesButton.connect("clicked(bool)", self.onExportFiles)
        ui.exportReportButton.connect("clicked(bool)", self.onExportReport)
        ui.exportDicomButton.connect("clicked(bool)", self.onExportDicom)
        ui.curveTableView.connect("selectionChanged()", self.onCurveSelection)
        ui.vertebraTableView.connect("selectionChanged()", self.onVertebraSelection)

    # -- what is shown --------------------------------------------------------------------------------------------

    def update(self, session):
        """Show a session's numbers; None clears the section."""
        from SpineMotionToolsGui.tables import showTable

        ui = self._ui
        for view, role in ((ui.curveTableView, "curves"), (ui.vertebraTableView, "vertebrae")):
            showTable(view, session.nodes.node(role) if session else None)
            view.visible = session is not None
        self.showReading(session.reading if session else None)
        for button in (ui.exportFilesButton, ui.exportReportButton, ui.exportDicomButton):
            button.enabled = session is not None and not session.busy

    def showReading(self, reading):
        """The numbers that follow a dragged corner."""
        ui, node = self._ui, self._module._parameterNode
        refusal = self._module.logic.refusalOf(node.inputVolume) if node else ""
        ui.curveLabel.text = html.escape(refusal) or texts.curveText(reading)
        ui.warningsLabel.text = texts.warningsText(reading)
        ui.warningsLabel.visible = bool(ui.warningsLabel.text)

    # -- what the user does ---------------------------------------------------------------------------------------

    def onCurveSelection(self):
        self._afterSelection(self._ui.curveTableView, self._module.logic.jumpToCurve)

    def onVertebraSelection(self):
        def goTo(session, row):
            self._module.correct.goTo(session.reading.vertebrae[row].level)

        self._afterSelection(self._ui.vertebraTableView, goTo)

    def _afterSelection(self, view, go):
        """Call `go(session, row)` for the selected row; the view's current row changes only after its signal."""

        def goToRow():
            session, index = self._module.session(), view.currentIndex()
            if session is not None and index.isValid() and view.selectionModel().hasSelection:
                go(session, index.row())

        qt.QTimer.singleShot(0, goToRow)

    def onExportFiles(self):
        folder = qt.QFileDialog.getExistingDirectory(self._module.parent, _("Folder for the files"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The files were not written."), waitCursor=True):
                self._tell(self._module.logic.exportFiles(self._module.session(), folder))

    def onExportReport(self):
        parent = self._module.parent
        path = qt.QFileDialog.getSaveFileName(parent, _("Save report"), "spine-report.html", "HTML (*.html)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The report was not written."), waitCursor=True):
                self._module.logic.exportReport(self._module.session(), path)
                self._module.showMessage(_("Wrote the report."))

    def onExportDicom(self):
        folder = qt.QFileDialog.getExistingDirectory(self._module.parent, _("Folder for the DICOM files"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The DICOM files were not written."), waitCursor=True):
                self._tell(self._module.logic.exportDicom(self._module.session(), folder))

    def _tell(self, names):
        self._module.showMessage(_("Wrote {files}.").format(files=", ".join(names)))

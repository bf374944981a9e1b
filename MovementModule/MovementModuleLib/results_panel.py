"""The panel's section "Results": warnings, answer, tables, plot and files."""

import qt
import slicer
from slicer.i18n import tr as _
from SpineMotionToolsGui.plots import PlotClicks

from MovementModuleLib import texts


class ResultsPanel:
    """Shows the result of the chosen video and task, and goes where its table or plot is clicked."""

    def __init__(self, moduleWidget):
        self._module = moduleWidget
        self._plotClicks = PlotClicks(self.onPlotSelection)
        ui = self._ui = moduleWidget.ui
        ui.showPlotButton.connect("clicked(bool)", self.onShowPlot)
        ui.exportCsvButton.connect("clicked(bool)", self.onExportCsv)
        ui.exportReportButton.connect("clicked(bool)", self.onExportReport)
        ui.clipTableView.connect("selectionChanged()", self.onTableSelection)

    def close(self):
        self._plotClicks.watch(None)

    def update(self, node, result, problems):
        """Show a result and what went wrong besides; None clears the section."""
        from SpineMotionToolsGui.tables import showTable

        ui, scored = self._ui, self._module.logic.isScored(result)
        ui.warningsLabel.text = texts.warningsText(result, problems)
        ui.warningsLabel.visible = bool(ui.warningsLabel.text)
        ui.answerLabel.text = texts.answerText(result, node)
        ui.qualityLabel.text = texts.qualityText(result)
        ui.qualityLabel.toolTip = texts.askedText(result)
        ui.qualityLabel.visible = bool(ui.qualityLabel.text)
        for view, field in ((ui.overallTableView, "overallTable"), (ui.clipTableView, "clipTable")):
            table = getattr(node, field) if scored else None
            showTable(view, table)
            view.visible = table is not None
        ui.showPlotButton.enabled = scored
        ui.exportCsvButton.enabled = ui.exportReportButton.enabled = result is not None
        ui.opacityRow.visible = node is not None and node.activation is not None
        if ui.opacityRow.visible:
            self._module.logic.setActivationOpacity(node)

    def onTableSelection(self):
        # The view's current row changes only after this signal.
        qt.QTimer.singleShot(0, self._goToSelectedRow)

    def _goToSelectedRow(self):
        view, video = self._ui.clipTableView, self._module.video()
        index = view.currentIndex()
        if video is not None and index.isValid() and view.selectionModel().hasSelection:
            self._module.logic.goToItem(video, video.item_at(float(index.sibling(index.row(), 0).data())))

    def onShowPlot(self):
        """Show video and plot one below the other; clicking a point goes to its clip."""
        plotView = self._module.logic.showPlot(self._module._parameterNode, self._module.video())
        qt.QTimer.singleShot(0, self._module.logic.fitViews)  # views of a new layout have their size only then
        if plotView is not None:
            self._plotClicks.watch(plotView)

    def onPlotSelection(self, seriesIDs, selections):
        if self._module.result() is None or selections is None or selections.GetNumberOfItems() == 0:
            return
        points = selections.GetItemAsObject(0)
        if seriesIDs.GetNumberOfValues() > 0 and points.GetNumberOfValues() > 0:
            self._module.logic.goToPlotPoint(self._module._parameterNode, seriesIDs.GetValue(0), points.GetValue(0))
        # Else the next click beside a point would tell the same selection again.
        qt.QTimer.singleShot(0, self._plotClicks.view.RemovePlotSelections)

    def onExportCsv(self):
        folder = qt.QFileDialog.getExistingDirectory(self._module.parent, _("Folder for the CSV files"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The scores were not exported."), waitCursor=True):
                names = self._module.logic.exportCsv(self._module._parameterNode, folder)
                self._module.log.info(_("Wrote {files}.").format(files=", ".join(names)))

    def onExportReport(self):
        path = self.askPath(_("Save report"), "report.html", "HTML (*.html)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The report was not written."), waitCursor=True):
                self._module.logic.exportReport(self._module._parameterNode, path)
                self._module.log.info(_("Wrote the report."))

    def askPath(self, title, name, filters):
        """Ask where to save; "" when the user thinks better of it."""
        proposed = f"{self._module._parameterNode.task.value}-{name}"
        return qt.QFileDialog.getSaveFileName(self._module.parent, title, proposed, filters)

"""Motion score: motion grade 1-5 of HR-pQCT scans, per slice, stack and scan, with review and confirmation."""

import os

import qt
import slicer
import vtk
from MotionScoreLib.logic import MotionScoreLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

SAMPLE_NAME = "HRpQCTPhantom"


class MotionScore(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Motion Score")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = ["SpineMotionTools"]
        self.parent.contributors = ["SpineMotionTools contributors"]
        self.parent.helpText = _(
            "Grades motion artifacts in HR-pQCT scans of radius and tibia from 1 (none) to 5 (severe), per slice, "
            "stack and scan. Load an .AIM or .ISQ file, press Apply. Not a medical device."
        )
        self.parent.acknowledgementText = _(
            "Method: Walle et al., Bone 166 (2023) 116607, doi 10.1016/j.bone.2022.116607. Independent implementation."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """One-click sample scan, made on this computer: nothing is downloaded."""
    from SpineMotionToolsGui.samples import registerSample

    registerSample(SAMPLE_NAME, __file__, MotionScoreLogic.makeSampleScan)


class MotionScoreWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: binds the parameter node to the .ui file and hands work to the logic."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from MotionScoreLib.review_panel import ReviewPanel
        from SpineMotionToolsGui.jobs import JobControls
        from SpineMotionToolsGui.log import Log
        from SpineMotionToolsGui.models import ModelChooser
        from SpineMotionToolsGui.plots import PlotClicks
        from SpineMotionToolsGui.scans import ScanChooser

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MotionScore.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = MotionScoreLogic()
        self.log = Log(self.ui.logText)
        self.jobs = JobControls(
            [self.ui.applyButton, self.ui.attentionButton, self.ui.predictButton],
            self.ui.progressBar,
            self.ui.statusLabel,
            self.log,
            onIdle=self._updateControls,
        )
        self.models = ModelChooser(
            self.ui.modelComboBox, self.ui.modelNoteLabel, system="motion", onChosen=self._onModel
        )
        self.review = ReviewPanel(self)
        self.scans = ScanChooser(self, lambda: self._parameterNode)
        self.plotClicks = PlotClicks(self.onPlotSelection)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)

        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.showPlotButton.connect("clicked(bool)", self.onShowPlot)
        self.ui.attentionButton.connect("clicked(bool)", self.onAttentionButton)
        self.ui.exportCsvButton.connect("clicked(bool)", self.onExportCsv)
        self.ui.exportReportButton.connect("clicked(bool)", self.onExportReport)
        self.ui.exportDicomButton.connect("clicked(bool)", self.onExportDicom)
        self.ui.gradeTableView.connect("selectionChanged()", self.onTableSelection)
        self.ui.loadUnitComboBox.connect("currentIndexChanged(int)", self.onLoadUnitChanged)
        self._fillLoadUnits()

        self.initializeParameterNode()

    # -- life cycle -----------------------------------------------------------------------------------------------

    def cleanup(self):
        self.exit()  # a reload cleans up a panel that is still shown; its widgets are gone afterwards
        self.jobs.cancel()
        self.review.close()
        self.plotClicks.watch(None)
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()
        self.review.installShortcuts()

    def exit(self):
        self.review.removeShortcuts()
        self._disconnectParameterNode()

    def onSceneStartClose(self, caller, event):
        self.jobs.cancel()
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

        reloadPackages("SpineMotionToolsLib", "SpineMotionToolsGui", "MotionScoreLib")
        ScriptedLoadableModuleWidget.onReload(self)

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        self.scans.choose()

    def setParameterNode(self, parameterNode):
        from SpineMotionToolsGui.binding import connectWidgets

        self._disconnectParameterNode()
        self._parameterNode = parameterNode
        if parameterNode:
            self._parameterNodeGuiTag = connectWidgets(parameterNode, self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)
            self.models.setCurrent(parameterNode.model)
        self._updateControls()

    def _disconnectParameterNode(self):
        if self._parameterNode is None:
            return
        if self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
        if self.hasObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified):
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersModified)

    # -- what is shown --------------------------------------------------------------------------------------------

    def _onParametersModified(self, caller, event):
        if not slicer.mrmlScene.IsBatchProcessing():  # nodes that an import refers to may still be missing
            self._updateControls()

    def _updateControls(self):
        """Enable what can be used, and say what is missing for the rest."""
        from SpineMotionToolsGui.scans import sequenceNote
        from SpineMotionToolsGui.tables import showTable

        node = self._parameterNode
        volume = node.inputVolume if node else None
        if node:
            self.logic.takeOverResult(node)
        result = self.logic.resultOf(node) if node else None
        self.jobs.showAbout(volume)
        calibration = self.logic.calibrationText(volume, node.gradingUnit) if volume else ""
        self.ui.calibrationLabel.text = "<br>".join(filter(None, [calibration, sequenceNote(volume)]))
        if not self.jobs.running:
            self.ui.applyButton.enabled = volume is not None
            self.ui.applyButton.toolTip = _("Grade the scan.") if volume else _("Choose or load a scan first.")
            self.ui.attentionButton.enabled = result is not None and volume is not None
            self.ui.predictButton.enabled = self.review.folderChosen()
        hidden = self.review.hidesResult()
        showTable(self.ui.gradeTableView, node.gradeTable if node and not hidden else None)
        self.ui.gradeTableView.visible = result is not None and not hidden
        self.ui.gradeLabel.text = self.logic.gradeText(node, result, hidden)
        self.ui.warningsLabel.text = self.logic.warningsText(result)
        self.ui.warningsLabel.visible = bool(self.ui.warningsLabel.text)
        ui = self.ui
        for button in (ui.showPlotButton, ui.exportCsvButton, ui.exportReportButton, ui.exportDicomButton):
            button.enabled = result is not None and not hidden
        if node:
            self.logic.updateDisplay(node, hidden)
        self.review.update()

    def _onModel(self, model):
        if self._parameterNode:
            self._parameterNode.model = model

    # -- actions --------------------------------------------------------------------------------------------------

    def onApplyButton(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The scan was not graded."), waitCursor=True):
            from SpineMotionToolsGui.dependencies import ensureInferencePackages

            ensureInferencePackages()
            node, volume = self._parameterNode, self._parameterNode.inputVolume
            volumeID = volume.GetID()
            self.jobs.run(
                self.ui.applyButton,
                _("Grading the scan"),
                lambda onProgress: self.logic.startGrading(node, onProgress),
                lambda result: self._onGraded(volumeID, result),
            )

    def _onGraded(self, volumeID, jobResult):
        volume = slicer.mrmlScene.GetNodeByID(volumeID)
        if volume is None:  # removed while the job ran
            self.log.info(_("The scan was removed from the scene; its grades were discarded."))
            return
        result = self.logic.finishGrading(self._parameterNode, volume, jobResult)
        self.log.info(_("Graded {n} slices.").format(n=int(result.scored.sum())))
        self._updateControls()
        if self._isLookedAt(volume) and not self.review.hidesResult():
            self.onShowPlot()

    def _isLookedAt(self, volume):
        """Whether the views are this scan's: the user may have gone to another one, or to another module."""
        return self.parent.isEntered and self._parameterNode.inputVolume is volume

    def onAttentionButton(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("No attention map was made."), waitCursor=True):
            node, volumeID = self._parameterNode, self._parameterNode.inputVolume.GetID()
            self.jobs.run(
                self.ui.attentionButton,
                _("Finding where the networks saw motion"),
                lambda onProgress: self.logic.startAttention(node, onProgress),
                lambda result: self._onAttention(volumeID, result),
            )

    def _onAttention(self, volumeID, jobResult):
        volume = slicer.mrmlScene.GetNodeByID(volumeID)
        if volume is not None:
            self.logic.finishAttention(self._parameterNode, volume, jobResult, self._isLookedAt(volume))
            self._updateControls()

    def onSampleButton(self):
        with slicer.util.tryWithErrorDisplay(_("The sample scan could not be made."), waitCursor=True):
            self._parameterNode.inputVolume = self.logic.makeSampleScan()
            self._parameterNode.stackHeight = self.logic.SAMPLE_STACK_HEIGHT
            slicer.util.setSliceViewerLayers(background=self._parameterNode.inputVolume, fit=True)

    def onTableSelection(self):
        # The view's current row changes only after this signal.
        qt.QTimer.singleShot(0, self._jumpToSelectedRow)

    def _jumpToSelectedRow(self):
        index = self.ui.gradeTableView.currentIndex()
        if self._parameterNode and index.isValid():
            self.logic.jumpToSlice(self._parameterNode, int(index.sibling(index.row(), 0).data()))

    def onShowPlot(self):
        """Show the plot in the layout; clicking a point goes to its slice."""
        chart = self._parameterNode.gradeChart
        layoutManager = slicer.app.layoutManager()
        if chart is None or layoutManager is None:
            return
        slicer.modules.plots.logic().ShowChartInLayout(chart)
        plotWidget = layoutManager.plotWidget(0)
        if plotWidget is None:
            return
        plotWidget.mrmlPlotViewNode().SetInteractionMode(slicer.vtkMRMLPlotViewNode.InteractionModeSelectPoints)
        self.plotClicks.watch(plotWidget.plotView())

    def onPlotSelection(self, seriesIDs, selections):
        if self._parameterNode is None or selections is None or selections.GetNumberOfItems() == 0:
            return
        points = selections.GetItemAsObject(0)
        if points.GetNumberOfValues() > 0:
            self.logic.jumpToPlotPoint(self._parameterNode, seriesIDs.GetValue(0), points.GetValue(0))

    def onExportCsv(self):
        folder = qt.QFileDialog.getExistingDirectory(self.parent, _("Folder for the CSV files"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The grades were not exported."), waitCursor=True):
                self.log.info(
                    _("Wrote {files}.").format(files=", ".join(self.logic.exportCsv(self._parameterNode, folder)))
                )

    def onExportReport(self):
        path = qt.QFileDialog.getSaveFileName(self.parent, _("Save report"), "motion-report.html", "HTML (*.html)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The report was not written."), waitCursor=True):
                self.logic.exportReport(self._parameterNode, path)
                self.log.info(_("Wrote the report."))

    def onExportDicom(self):
        folder = qt.QFileDialog.getExistingDirectory(self.parent, _("Folder for the DICOM files"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The DICOM files were not written."), waitCursor=True):
                names = self.logic.exportDicom(self._parameterNode, folder)
                self.log.info(_("Wrote {files}.").format(files=", ".join(names)))

    # -- Scanco files ---------------------------------------------------------------------------------------------

    def _fillLoadUnits(self):
        for text, unit in ((_("Native"), "native"), (_("Density (mg HA/ccm)"), "density"), (_("HU"), "hu")):
            self.ui.loadUnitComboBox.addItem(text, unit)
        self.ui.loadUnitComboBox.setCurrentIndex(max(0, self.ui.loadUnitComboBox.findData(self.logic.loadUnit())))

    def onLoadUnitChanged(self, index):
        self.logic.setLoadUnit(self.ui.loadUnitComboBox.itemData(index))


class MotionScoreFileReader:
    """Loads Scanco .AIM and .ISQ files, also versioned ones (C0001234.AIM;1), by drag and drop or File > Add data."""

    def __init__(self, parent):
        self.parent = parent

    def description(self):
        return _("Scanco HR-pQCT scan")

    def fileType(self):
        return "ScancoFile"

    def extensions(self):
        # A semicolon separates patterns in a filter, so '?' stands for the one in versioned names.
        return [_("Scanco scan") + suffix for suffix in (" (*.aim)", " (*.isq)", " (*.aim?*)")]

    def canLoadFileConfidence(self, filePath):
        from SpineMotionToolsLib.motion.scanco import looks_like_scanco

        if not self.parent.supportedNameFilters(filePath):
            return 0.0
        return 0.9 if looks_like_scanco(filePath) else 0.0

    def load(self, properties):
        try:
            node = MotionScoreLogic.loadScan(properties["fileName"], properties.get("name"), properties.get("unit"))
        except Exception as error:  # every failure of a reader is a message to the user
            self.parent.userMessages().AddMessage(vtk.vtkCommand.ErrorEvent, str(error))
            return False
        self.parent.loadedNodes = [node.GetID()]
        if properties.get("show", True):  # as Slicer's own volume reader does
            slicer.util.setSliceViewerLayers(background=node, fit=True)
        return True


class MotionScoreTest(ScriptedLoadableModuleTest):
    """Self test: makes a scan, reads it from an AIM file, and grades it when torch is there."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_readAIM()
        self.setUp()
        self.test_gradeSample()

    def test_readAIM(self):
        """A Scanco file comes in with its voxels, size, unit and calibration."""
        path = os.path.join(os.path.dirname(__file__), "Resources", "Data", "phantom.AIM")
        node = slicer.util.loadNodeFromFile(path, "ScancoFile")
        voxels = slicer.util.arrayFromVolume(node)
        self.assertEqual((voxels.shape, int(voxels.astype("int64").sum())), ((4, 80, 80), 56344411))
        self.assertAlmostEqual(node.GetSpacing()[2], 0.42, places=6)
        logic = MotionScoreLogic()
        self.assertIn("1603.519", logic.calibrationText(node, logic.getParameterNode().gradingUnit))
        self.delayDisplay("AIM file read")

    def test_gradeSample(self):
        """The sample's still stack is graded better than its moving one."""
        import importlib.util

        if importlib.util.find_spec("torch") is None:
            self.delayDisplay("PyTorch is not installed: grading was not tested")
            return
        logic = MotionScoreLogic()
        volume = logic.makeSampleScan()
        result = logic.grade(volume, stackHeight=logic.SAMPLE_STACK_HEIGHT)
        self.assertEqual(len(result.slice_grades), volume.GetImageData().GetDimensions()[2])
        self.assertLess(result.stack_grades.min(), result.stack_grades.max())
        self.delayDisplay("Sample graded")

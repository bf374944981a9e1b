"""SpineNet: vertebrae found, labelled and measured in sagittal spine MRI; eleven radiological grades per disc."""

import os

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from SpineNetModuleLib import texts
from SpineNetModuleLib.logic import SpineNetModuleLogic

SAMPLE_NAME = "LumbarMRI"


class SpineNetModule(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SpineNet")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = ["SpineMotionTools"]
        self.parent.contributors = ["SpineMotionTools contributors"]
        self.parent.helpText = _(
            "Finds, labels and measures the vertebrae in sagittal spine MRI and grades every disc. Choose a scan, "
            "press Apply, correct what is wrong: what changed is measured and graded again. Not a medical device."
        )
        self.parent.acknowledgementText = _(
            "Method: Windsor et al., MICCAI 2020 (arXiv 2007.02606) and arXiv 2205.01683. Independent implementation. "
            "Sample: Chu et al., doi 10.5281/zenodo.22304, CC BY 4.0."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerTerminology)


def registerSampleData():
    """One-click sample scan, which ships with the module: nothing is downloaded."""
    from SpineMotionToolsGui.samples import registerSample

    registerSample(SAMPLE_NAME, __file__, SpineNetModuleLogic.loadSample)


def registerTerminology():
    """Make the names and codes of single vertebrae and discs known to Slicer's segment tables."""
    import SpineMotionToolsGui

    folder = os.path.dirname(os.path.dirname(SpineMotionToolsGui.__file__))
    path = os.path.join(folder, "Resources", "SpineMotionTools.term.json")
    slicer.modules.terminologies.logic().LoadTerminologyFromFile(path)


class SpineNetModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: binds the parameter node to the .ui file and hands work to the logic."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._reading = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from SpineMotionToolsGui.jobs import JobControls
        from SpineMotionToolsGui.log import Log
        from SpineMotionToolsGui.models import ModelChooser
        from SpineMotionToolsGui.scans import ScanChooser
        from SpineNetModuleLib.correction_panel import CorrectionPanel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpineNetModule.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = SpineNetModuleLogic()
        self.log = Log(self.ui.logText)
        self.jobs = JobControls(
            [self.ui.applyButton, self.ui.updateButton],
            self.ui.progressBar,
            self.ui.statusLabel,
            self.log,
            onIdle=self._updateControls,
        )
        self.models = ModelChooser(
            self.ui.modelComboBox, self.ui.modelNoteLabel, system="spinenet", onChosen=self._onModel
        )
        self.corrections = CorrectionPanel(self)
        self.scans = ScanChooser(self, lambda: self._parameterNode)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)

        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.updateButton.connect("clicked(bool)", self.onUpdateButton)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.exportCsvButton.connect("clicked(bool)", self.onExportCsv)
        self.ui.exportReportButton.connect("clicked(bool)", self.onExportReport)
        self.ui.exportDicomButton.connect("clicked(bool)", self.onExportDicom)
        self.ui.resultTableView.connect("selectionChanged()", self.onTableSelection)

        self.initializeParameterNode()

    # -- life cycle -----------------------------------------------------------------------------------------------

    def cleanup(self):
        self.exit()  # a reload cleans up a panel that is still shown; its widgets are gone afterwards
        self.jobs.cancel()
        self.corrections.stopDrawing()
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.corrections.stopDrawing()
        self._disconnectParameterNode()

    def onSceneStartClose(self, caller, event):
        self.jobs.cancel()
        self.corrections.stopDrawing()
        self.logic.forgetCorrections()
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

        reloadPackages("SpineMotionToolsLib", "SpineMotionToolsGui", "SpineNetModuleLib")
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

    @property
    def reading(self):
        """True while a scan is read anew, when corrections would be lost."""
        return self._reading and self.jobs.running

    def say(self, text):
        """A sentence in the status line."""
        if not self.jobs.running:
            self.ui.statusLabel.text = text
        if text:
            self.log.info(text)

    def _onParametersModified(self, caller, event):
        if not slicer.mrmlScene.IsBatchProcessing():  # nodes that an import refers to may still be missing
            self._updateControls()

    def _updateControls(self):
        """Enable what can be used, and say what is missing for the rest."""
        from SpineMotionToolsGui.tables import showTable

        node, ui = self._parameterNode, self.ui
        volume = node.inputVolume if node else None
        if node:
            self.logic.takeOverResult(node)
        spine = self.logic.resultOf(node) if node else None
        self.jobs.showAbout(volume)
        ui.scanLabel.text = self.logic.scanText(volume)
        if not self.jobs.running:
            ui.applyButton.enabled = volume is not None
            ui.applyButton.toolTip = _("Read the scan.") if volume else _("Choose or load a scan first.")
            ui.updateButton.enabled = spine is not None and bool(texts.pendingText(spine))
        ui.warningsLabel.text = texts.warningsText(spine)
        ui.warningsLabel.visible = bool(ui.warningsLabel.text)
        ui.summaryLabel.text = texts.summaryText(spine, node)
        tables = {"grades": "gradeTable", "discs": "discTable", "bodies": "bodyTable", "angles": "angleTable"}
        shown = node.shownTable.value if node else "grades"
        table = getattr(node, tables[shown]) if spine is not None else None
        showTable(ui.resultTableView, table)
        ui.resultTableView.visible = ui.tableComboBox.visible = spine is not None
        ui.gradesNoteLabel.text = texts.gradesNote(spine) if spine is not None and shown == "grades" else ""
        ui.gradesNoteLabel.visible = bool(ui.gradesNoteLabel.text)
        for button in (ui.exportCsvButton, ui.exportReportButton, ui.exportDicomButton):
            button.enabled = spine is not None
        self.corrections.update()

    def _onModel(self, model):
        if self._parameterNode:
            self._parameterNode.model = model

    # -- actions --------------------------------------------------------------------------------------------------

    def onApplyButton(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The scan was not read."), waitCursor=True):
            from SpineMotionToolsGui.dependencies import ensureInferencePackages

            ensureInferencePackages()
            node, volumeID = self._parameterNode, self._parameterNode.inputVolume.GetID()
            self.corrections.stopDrawing()
            self._reading = True
            self.jobs.run(
                self.ui.applyButton,
                _("Reading the scan"),
                lambda onProgress: self.logic.startReading(node, onProgress),
                lambda result: self._onRead(volumeID, result),
            )
            self._updateControls()

    def _onRead(self, volumeID, jobResult):
        volume = slicer.mrmlScene.GetNodeByID(volumeID)
        if volume is None:  # removed while the job ran
            self.log.info(_("The scan was removed from the scene; its result was discarded."))
            return
        spine = self.logic.finishReading(self._parameterNode, volume, jobResult)
        self.log.info(_("Found {n} vertebrae.").format(n=len(spine.vertebrae)))
        self._updateControls()
        if self.parent.isEntered and self._parameterNode.inputVolume is volume:  # else the views are not this scan's
            self.logic.showMiddle(self._parameterNode)

    def afterCorrection(self):
        """Show a correction, and update what it changed when the user wants that at once."""
        self.jobs.cancel()  # an update that runs knows nothing of it, and would take it back
        self._updateControls()
        if self._parameterNode.updateAtOnce:
            self.startUpdate()

    def onUpdateButton(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The grades were not updated."), waitCursor=True):
            from SpineMotionToolsGui.dependencies import ensureInferencePackages

            ensureInferencePackages()
        self.startUpdate()

    def startUpdate(self):
        """Grade and measure what corrections changed."""
        with slicer.util.tryWithErrorDisplay(_("The grades were not updated."), waitCursor=True):
            node, volumeID = self._parameterNode, self._parameterNode.inputVolume.GetID()
            self._reading = False
            self.jobs.run(
                self.ui.updateButton,
                _("Grading and measuring what changed"),
                lambda onProgress: self.logic.startUpdate(node, onProgress),
                lambda result: self._onUpdated(volumeID, result),
            )

    def _onUpdated(self, volumeID, jobResult):
        volume = slicer.mrmlScene.GetNodeByID(volumeID)
        if volume is not None:
            self.logic.finishUpdate(self._parameterNode, volume, jobResult)
            self._updateControls()

    def onSampleButton(self):
        with slicer.util.tryWithErrorDisplay(_("The sample scan could not be loaded."), waitCursor=True):
            self._parameterNode.inputVolume = self.logic.loadSample()
            slicer.util.setSliceViewerLayers(background=self._parameterNode.inputVolume, fit=True)

    def onTableSelection(self):
        # The view's current row changes only after this signal.
        qt.QTimer.singleShot(0, self._jumpToSelectedRow)

    def _jumpToSelectedRow(self):
        index = self.ui.resultTableView.currentIndex()
        if self._parameterNode is None or not index.isValid():
            return
        vertebra = self.logic.jumpToRow(
            self._parameterNode, self._parameterNode.shownTable.value, index.row(), index.sibling(index.row(), 0).data()
        )
        if vertebra is not None:
            self.corrections.choose(vertebra)

    def onExportCsv(self):
        folder = qt.QFileDialog.getExistingDirectory(self.parent, _("Folder for the CSV files"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The tables were not exported."), waitCursor=True):
                names = self.logic.exportCsv(self._parameterNode, folder)
                self.log.info(_("Wrote {files}.").format(files=", ".join(names)))

    def onExportReport(self):
        path = qt.QFileDialog.getSaveFileName(self.parent, _("Save report"), "spine-report.html", "HTML (*.html)")
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


class SpineNetModuleTest(ScriptedLoadableModuleTest):
    """Self test: loads the sample, reads it when torch is there, corrects it and takes the correction back."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_sample()
        self.setUp()
        self.test_readAndCorrect()

    def test_sample(self):
        """The sample is a sagittal scan with its true geometry."""
        volume = SpineNetModuleLogic.loadSample()
        self.assertEqual(volume.GetImageData().GetDimensions(), (232, 368, 17))
        self.assertAlmostEqual(volume.GetSpacing()[2], 4.0, places=6)
        self.delayDisplay("Sample loaded")

    def test_readAndCorrect(self):
        """The sample's lumbar spine is found; a shift of the labels can be undone."""
        import importlib.util

        if importlib.util.find_spec("torch") is None:
            self.delayDisplay("PyTorch is not installed: reading was not tested")
            return
        from SpineMotionToolsLib.spinenet import editing

        logic = SpineNetModuleLogic()
        spine = logic.read(SpineNetModuleLogic.loadSample())
        node = logic.getParameterNode()
        self.assertTrue({"L1", "L2", "L3", "L4", "L5"} <= set(spine.labels))
        self.assertEqual(node.segmentation.GetSegmentation().GetNumberOfSegments(), 2 * len(spine.vertebrae) - 1)
        logic.correct(node, lambda each: editing.shift_labels(each, -1))
        self.assertNotEqual(logic.resultOf(node).labels, spine.labels)
        logic.undo(node)
        self.assertEqual(logic.resultOf(node).labels, spine.labels)
        self.delayDisplay("Sample read and corrected")

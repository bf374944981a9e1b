"""A scripted module in the style of Slicer's template, only used to test the headless application."""

import enum
import os
import pathlib
from typing import Annotated, Optional

import numpy as np
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Doubler(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Doubler")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Examples")]
        self.parent.contributors = ["Nobody"]
        self.parent.helpText = _("Multiplies a volume.")
        self.parent.acknowledgementText = _("None.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataCategory("Examples", title=_("Examples"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Examples",
        sampleName="DoublerOnes",
        nodeNames="Ones",
        uris="",
        fileNames="",
        customDownloader=makeOnes,
    )


def makeOnes(source):
    return slicer.util.addVolumeFromArray(np.ones((4, 5, 6), np.int16), name=source.nodeNames[0])


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = "exact"

    def label(self):
        return {"fast": _("Quick"), "exact": _("Exact")}[self.value]


@parameterNodeWrapper
class DoublerParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    resultTable: vtkMRMLTableNode
    factor: Annotated[float, WithinRange(0, 10)] = 2.0
    repeats: Annotated[int, WithinRange(1, 5)] = 1
    mode: Mode = Mode.EXACT
    unit: Annotated[str, Choice(["mm", "cm"])] = "mm"
    label: str = "result"
    keep: bool = False
    folder: pathlib.Path
    limit: Optional[float]
    history: list[str]


class DoublerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Doubler.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = DoublerLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.failButton.clicked.connect(self.onFailButton)
        self.layout.addStretch(1)
        self.initializeParameterNode()

    def cleanup(self):
        self.exit()  # a reload cleans up a panel that is still shown; its widgets are gone afterwards
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            if self.hasObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply):
                self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = parameterNode
        if self._parameterNode:
            # Slicer's connectGui does not return the tag that disconnectGui needs (issue 7547).
            bound = {w.property("SlicerParameterName"): w for w in vars(self.ui).values()}
            bound = {name: widget for name, widget in bound.items() if name}
            self._parameterNodeGuiTag = self._parameterNode.connectParametersToGui(bound)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None):
        ready = self._parameterNode is not None and self._parameterNode.inputVolume is not None
        self.ui.applyButton.enabled = ready
        self.ui.applyButton.toolTip = _("Multiply") if ready else _("Choose an input volume first")

    def onApplyButton(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to multiply."), waitCursor=True):
            node = self._parameterNode
            node.resultTable = self.logic.multiply(node.inputVolume, node.factor, node.repeats)
            self.ui.resultView.setMRMLTableNode(node.resultTable)
            node.history.append(os.path.basename(node.label))

    def onFailButton(self):
        if not slicer.util.confirmOkCancelDisplay(_("Really fail?")):
            return
        with slicer.util.tryWithErrorDisplay(_("Failed.")):
            self.logic.multiply(None, 1, 1)


class DoublerLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return DoublerParameterNode(super().getParameterNode())

    def multiply(self, volume, factor, repeats):
        if volume is None:
            raise ValueError("Choose an input volume.")
        slicer.util.arrayFromVolume(volume)[:] *= int(factor**repeats)
        slicer.util.arrayFromVolumeModified(volume)
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Sums")
        total = float(slicer.util.arrayFromVolume(volume).sum())
        slicer.util.updateTableFromArray(table, np.array([[factor, total]]), ["factor", "sum"])
        return table


class DoublerFileReader:
    def __init__(self, parent):
        self.parent = parent

    def description(self):
        return _("Doubler numbers")

    def fileType(self):
        return "DoublerFile"

    def extensions(self):
        return [_("Doubler numbers") + " (*.dbl)", _("Doubler numbers") + " (*.csv)"]

    def canLoadFileConfidence(self, filePath):
        if not self.parent.supportedNameFilters(filePath):
            return 0.0
        with open(filePath, "rb") as file:
            return 0.9 if file.read(3) == b"DBL" else 0.0

    def load(self, properties):
        try:
            values = [
                float(word) for word in pathlib.Path(properties["fileName"]).read_text(encoding="utf-8").split()[1:]
            ]
        except ValueError as error:
            self.parent.userMessages().AddMessage(vtk.vtkCommand.ErrorEvent, f"Not a number: {error}")
            return False
        node = slicer.util.addVolumeFromArray(np.array(values).reshape(1, 1, -1), name="Numbers")
        self.parent.loadedNodes = [node.GetID()]
        return True


class DoublerTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_multiply()

    def test_multiply(self):
        self.delayDisplay("Multiplying")
        volume = makeOnes(type("Source", (), {"nodeNames": ["Ones"]}))
        DoublerLogic().multiply(volume, 3.0, 1)
        assert slicer.util.arrayFromVolume(volume).max() == 3

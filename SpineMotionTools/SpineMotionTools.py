"""SpineMotionTools: what the extension can do, the models it uses, and a check of this computer."""

import html
import os

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

MODULES = ("MotionScore", "SpineNetModule", "KeypointModule", "MovementModule")


class SpineMotionTools(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SpineMotionTools")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.dependencies = []
        self.parent.contributors = ["SpineMotionTools contributors"]
        self.parent.helpText = _(
            "Start page of the extension: its modules, the models they use, and a check of this computer. "
            "Not a medical device."
        )
        self.parent.acknowledgementText = _("Each module names the paper of its method.")
        slicer.app.connect("startupCompleted()", registerContextMenu)


def registerContextMenu():
    """Add "Read this spine" and its like to the context menus of the subject hierarchy."""
    folder = os.path.join(os.path.dirname(__file__), "SpineMotionToolsGui")
    plugin = slicer.qSlicerSubjectHierarchyScriptedPlugin(None)
    plugin.setPythonSource(os.path.join(folder, "SpineMotionToolsSubjectHierarchyPlugin.py"))


class SpineMotionToolsWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The start page: buttons to the modules, batch, the model manager, and the computer check."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._checked = {}  # model id -> report of its last check

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from SpineMotionToolsGui.batch_panel import BatchPanel
        from SpineMotionToolsGui.jobs import JobControls
        from SpineMotionToolsGui.log import Log

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SpineMotionTools.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SpineMotionToolsLogic()
        self.log = Log(self.ui.logText)
        self.jobs = JobControls(
            [
                self.ui.downloadButton,
                self.ui.addFileButton,
                self.ui.addFolderButton,
                self.ui.checkModelButton,
                self.ui.checkButton,
            ],
            self.ui.progressBar,
            self.ui.statusLabel,
            self.log,
            onIdle=self._showSelectedModel,
        )
        self.ui.introLabel.text = _("Choose what to do. Each module has a sample to try it on. Not a medical device.")
        self._addModuleButtons()
        table = self.ui.modelsTable
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("State"), _("Size"), _("Model")])
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setVisible(False)
        table.connect("itemSelectionChanged()", self._showSelectedModel)
        self.ui.downloadButton.connect("clicked(bool)", self.onDownload)
        self.ui.addFileButton.connect("clicked(bool)", self.onAddFile)
        self.ui.addFolderButton.connect("clicked(bool)", self.onAddFolder)
        self.ui.deleteButton.connect("clicked(bool)", self.onDelete)
        self.ui.checkModelButton.connect("clicked(bool)", self.onCheckModel)
        self.ui.openFolderButton.connect("clicked(bool)", self.onOpenFolder)
        self.ui.checkButton.connect("clicked(bool)", self.onCheck)
        self.ui.copyButton.connect("clicked(bool)", self.onCopy)
        self._fillModels()
        self.batch = BatchPanel(self, lambda: self._parameterNode)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    # -- life cycle -----------------------------------------------------------------------------------------------

    def cleanup(self):
        self.jobs.cancel()
        self.batch.close()
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)  # a running batch needs no scene and goes on

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        node = self._parameterNode
        if node is not None:
            if self._parameterNodeGuiTag is not None:
                node.disconnectGui(self._parameterNodeGuiTag)
                self._parameterNodeGuiTag = None
            if self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self.batch.update):
                self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self.batch.update)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.batch.update)
        self.batch.update()

    def onReload(self):
        """Reload the library before Slicer reloads this file (developer mode)."""
        from SpineMotionToolsGui.reloading import reloadPackages

        reloadPackages("SpineMotionToolsLib", "SpineMotionToolsGui")
        ScriptedLoadableModuleWidget.onReload(self)

    def _addModuleButtons(self):
        for name in MODULES:
            module = getattr(slicer.modules, name.lower(), None)
            if module is None:
                continue
            purpose = self.logic.modulePurpose(name)
            button = qt.QPushButton(getattr(module, "title", name))
            button.objectName = f"open{name}Button"
            button.toolTip = _("Open the module: {purpose}.").format(purpose=purpose)
            button.connect("clicked(bool)", lambda checked, name=name: slicer.util.selectModule(name))
            label = qt.QLabel(purpose)
            label.wordWrap = True
            self.ui.modulesWidget.layout().addWidget(button)
            self.ui.modulesWidget.layout().addWidget(label)

    # -- models ---------------------------------------------------------------------------------------------------

    def _fillModels(self):
        from SpineMotionToolsLib.common.catalogue import catalogue

        table, entries = self.ui.modelsTable, list(catalogue().values())
        selected = self._selectedModel()
        table.setRowCount(len(entries))
        for row, entry in enumerate(entries):
            texts = (self.logic.stateText(entry.id), self.logic.sizeText(entry), entry.title)
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setData(qt.Qt.UserRole, entry.id)
                item.setToolTip(entry.purpose)
                table.setItem(row, column, item)
            if entry.id == selected:
                table.selectRow(row)
        table.resizeColumnsToContents()
        self._showSelectedModel()

    def _selectedModel(self):
        item = self.ui.modelsTable.item(self.ui.modelsTable.currentRow(), 0)
        return item.data(qt.Qt.UserRole) if item is not None else None

    def _showSelectedModel(self):
        if self.jobs.running:
            return
        from SpineMotionToolsLib.common.catalogue import find_model

        ui, identifier = self.ui, self._selectedModel()
        entry = find_model(identifier) if identifier else None
        ui.modelLabel.text = self.logic.modelText(entry) if entry else _("Select a model to see its license.")
        if identifier in self._checked:
            ui.modelLabel.text += "<br><br>" + html.escape(self._checked[identifier]).replace("\n", "<br>")
        ui.checkModelButton.enabled = entry is not None and any(path.is_file() for path in entry.paths)
        own = entry is not None and not entry.starter
        ui.downloadButton.enabled = own and entry.downloadable
        ui.addFileButton.enabled = ui.addFolderButton.enabled = own
        ui.deleteButton.enabled = own and entry.folder.is_dir()

    def _agreed(self, entry, question):
        """Show size, license and citation, and ask; True when the user accepts."""
        text = _("{title}\n\nLicense: {license}\n{url}\nCite: {citation}\n\n{question}").format(
            title=entry.title,
            license=entry.license,
            url=entry.license_url,
            citation=entry.citation,
            question=question,
        )
        return slicer.util.confirmOkCancelDisplay(text, windowTitle=_("License"))

    def onDownload(self):
        self._withModel(self.ui.downloadButton, "common.tasks:download_model", self._downloadQuestion, {})

    def onAddFile(self):
        self._add(
            self.ui.addFileButton, lambda: qt.QFileDialog.getOpenFileName(self.parent, _("Weight file or archive"))
        )

    def onAddFolder(self):
        self._add(self.ui.addFolderButton, lambda: qt.QFileDialog.getExistingDirectory(self.parent, _("Weight folder")))

    def _add(self, button, choose):
        source = "" if self.jobs.running else choose()
        if source or self.jobs.running:
            question = lambda entry: _("Use your copy under this license?")
            self._withModel(button, "common.tasks:add_model_files", question, {"source": str(source)})

    def _downloadQuestion(self, entry):
        size = self.logic.remoteSizeText(entry.id)
        return _("Download {size} from {source} under this license?").format(size=size, source=entry.source)

    def _withModel(self, button, task, question, parameters):
        if self.jobs.running:
            self.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The model was not added."), waitCursor=False):
            from SpineMotionToolsLib.common.catalogue import find_model
            from SpineMotionToolsLib.common.jobs import start_job

            entry = find_model(self._selectedModel())
            if not self._agreed(entry, question(entry)):
                return
            parameters = {"model_id": entry.id, "accept_license": True, **parameters}
            self.jobs.run(
                button,
                _("Fetching {title}").format(title=entry.title),
                lambda onProgress: start_job(task, parameters, onProgress),
                lambda result: self._onAdded(),
            )

    def _onAdded(self):
        """Weights that have just come are checked at once: a wrong file is found here, not at the first scan."""
        self._fillModels()
        self.onCheckModel()

    def onCheckModel(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The files were not checked."), waitCursor=True):
            from SpineMotionToolsLib.common.catalogue import find_model
            from SpineMotionToolsLib.common.jobs import start_job

            entry = find_model(self._selectedModel())
            self.jobs.run(
                self.ui.checkModelButton,
                _("Checking {title}").format(title=entry.title),
                lambda onProgress: start_job("models.tasks:check", {"model_id": entry.id}, onProgress),
                lambda result: self._onModelChecked(entry.id, result),
            )

    def _onModelChecked(self, modelID, result):
        self._checked[modelID] = result["text"]
        (self.log.info if result["good"] else self.log.error)(result["text"])
        self._fillModels()

    def onDelete(self):
        from SpineMotionToolsLib.common.catalogue import find_model
        from SpineMotionToolsLib.common.model_store import delete_model

        entry = find_model(self._selectedModel())
        if slicer.util.confirmOkCancelDisplay(_("Delete {title} from this computer?").format(title=entry.title)):
            with slicer.util.tryWithErrorDisplay(_("The model was not deleted."), waitCursor=True):
                delete_model(entry.id)
                self._checked.pop(entry.id, None)
            self._fillModels()

    def onOpenFolder(self):
        from SpineMotionToolsLib.common.catalogue import find_model, models_folder

        identifier = self._selectedModel()
        folder = find_model(identifier).folder if identifier else models_folder()
        if not folder.is_dir():
            folder = models_folder()
            os.makedirs(folder, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    # -- check this computer --------------------------------------------------------------------------------------

    def onCheck(self):
        if self.jobs.running:
            self.jobs.cancel()
            return
        from SpineMotionToolsLib.common.jobs import start_job

        self.ui.checkText.plainText = self.logic.checkHere()
        self.jobs.run(
            self.ui.checkButton,
            _("Checking this computer"),
            lambda onProgress: start_job("common.tasks:torch_check", {}, onProgress),
            lambda result: self.ui.checkText.appendPlainText(self.logic.checkText(result)),
        )

    def onCopy(self):
        slicer.app.clipboard().setText(self.ui.checkText.plainText)


class SpineMotionToolsLogic(ScriptedLoadableModuleLogic):
    """Texts about modules, models and this computer; no dialogs."""

    def getParameterNode(self):
        from SpineMotionToolsGui.batch_parameters import SpineMotionToolsParameterNode

        return SpineMotionToolsParameterNode(super().getParameterNode())

    def modulePurpose(self, name):
        return {
            "MotionScore": _("motion artifacts of HR-pQCT scans, graded 1 to 5"),
            "SpineNetModule": _("vertebrae and discs in spine MRI: found, labelled, measured, graded"),
            "KeypointModule": _("vertebral corners and Cobb angles in spine radiographs"),
            "MovementModule": _("walking adults and moving infants in videos"),
        }[name]

    def stateText(self, modelID):
        """'ships with the extension', 'on this computer', 'not here', or 'damaged'."""
        from SpineMotionToolsLib.common.catalogue import find_model
        from SpineMotionToolsLib.common.model_store import model_state

        state = model_state(modelID).state
        if state == "present":
            return _("ships with it") if find_model(modelID).starter else _("here")
        return _("not here") if state == "absent" else _("damaged")

    def sizeText(self, entry):
        """The size of a set on disk, or as published; "" where nobody states it."""
        sizes = [path.stat().st_size if path.is_file() else file.size for file, path in zip(entry.files, entry.paths)]
        if None in sizes:
            return ""
        return _("{n} MB").format(n=f"{sum(sizes) / 1e6:.3g}")

    def modelText(self, entry):
        """What a set of weights is for, its license and citation, and what is wrong with its files, as rich text."""
        from SpineMotionToolsLib.common.model_store import model_state

        lines = ["<b>" + html.escape(entry.title) + "</b>: " + html.escape(entry.purpose)]
        lines.append(_("License: {license}").format(license=html.escape(entry.license)))
        if not entry.commercial_use:
            lines.append(_("Non-commercial use only."))
        lines.append(_("Cite: {citation}").format(citation=html.escape(entry.citation)))
        if entry.starter:
            lines.append("<b>" + _("Starter model: not validated on patients.") + "</b>")
        elif not entry.downloadable:
            lines.append(_("Get the files at {source}, then add them.").format(source=html.escape(entry.source)))
        lines += [html.escape(problem) for problem in model_state(entry.id).problems]
        return "<br>".join(lines)

    def remoteSizeText(self, modelID):
        """The size of a download as the server tells it."""
        from SpineMotionToolsLib.common.model_store import remote_size

        size = remote_size(modelID)
        return _("an unknown number of MB") if size is None else _("{n} MB").format(n=max(1, round(size / 2**20)))

    def checkHere(self):
        """What this Slicer is: version, paths, models folder."""
        import SpineMotionToolsLib
        from SpineMotionToolsLib.common.catalogue import models_folder

        lines = [
            f"SpineMotionTools {SpineMotionToolsLib.__version__}",
            f"Slicer {getattr(slicer.app, 'applicationVersion', '')}",
            f"Models folder: {models_folder()}",
        ]
        if not str(models_folder()).isascii():
            lines.append(_("The path holds characters beyond ASCII; that is supported."))
        return "\n".join(lines)

    def checkText(self, result):
        """The result of the job `common.tasks:torch_check` as text."""
        lines = [f"Python {result['python']}, {result['system']}", f"PyTorch {result['torch']}"]
        for device in result["devices"]:
            state = _("works") if device["works"] else _("does not work: {error}").format(error=device["error"])
            lines.append(f"{device['device']} ({device['name']}): {state}")
        lines.append(f"Threads: {result['threads']}; fast bfloat16: {'yes' if result['fast_bf16_cpu'] else 'no'}")
        lines.append(f"Memory: {result['memory_free_gib']} of {result['memory_gib']} GiB free")
        lines += [f"{name} {version or _('is not installed')}" for name, version in result["packages"].items()]
        if not result["temporary_folder_writable"]:
            lines.append(_("The temporary folder cannot be written: free some space or check its permissions."))
        return "\n".join(lines)


class SpineMotionToolsTest(ScriptedLoadableModuleTest):
    """Self test: the catalogue is readable and the panel's texts can be made."""

    def runTest(self):
        from SpineMotionToolsLib.common.catalogue import catalogue

        logic = SpineMotionToolsLogic()
        self.assertIn("motion-starter", catalogue())
        for entry in catalogue().values():
            self.assertIn(entry.license.split("<")[0][:10], logic.modelText(entry))
            self.assertTrue(logic.stateText(entry.id))
        self.assertIn("SpineMotionTools", logic.checkHere())
        self.delayDisplay("Catalogue read")

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

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from SpineMotionToolsGui.batch_panel import BatchPanel
        from SpineMotionToolsGui.jobs import JobControls
        from SpineMotionToolsGui.log import Log
        from SpineMotionToolsGui.model_manager import ModelManager

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
            onIdle=lambda: self.models.showSelected(),
        )
        self.ui.introLabel.text = _("Choose what to do. Each module has a sample to try it on. Not a medical device.")
        self._addModuleButtons()
        self.ui.checkButton.connect("clicked(bool)", self.onCheck)
        self.ui.copyButton.connect("clicked(bool)", self.onCopy)
        self.models = ModelManager(self, self.jobs)
        self.batch = BatchPanel(self, lambda: self._parameterNode)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    # -- life cycle -----------------------------------------------------------------------------------------------

    def cleanup(self):
        self.exit()  # a reload cleans up a panel that is still shown; its widgets are gone afterwards
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
        from SpineMotionToolsGui.binding import connectWidgets

        node = self._parameterNode
        if node is not None:
            if self._parameterNodeGuiTag is not None:
                node.disconnectGui(self._parameterNodeGuiTag)
                self._parameterNodeGuiTag = None
            if self.hasObserver(node, vtk.vtkCommand.ModifiedEvent, self.batch.update):
                self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self.batch.update)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = connectWidgets(parameterNode, self.ui)
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
            label = qt.QLabel(f"{purpose[:1].upper()}{purpose[1:]}.")
            label.wordWrap = True
            self.ui.modulesWidget.layout().addWidget(button)
            self.ui.modulesWidget.layout().addWidget(label)

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
        from SpineMotionToolsGui.binding import readable

        return readable(SpineMotionToolsParameterNode, super().getParameterNode())

    def modulePurpose(self, name):
        return {
            "MotionScore": _("motion artifacts of HR-pQCT scans, graded 1 to 5"),
            "SpineNetModule": _("vertebrae and discs in spine MRI: found, labeled, measured, graded"),
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

    def downloadSizeText(self, size):
        """The size of a download in bytes as text; None where the server does not tell it."""
        return _("an unknown number of MB") if size is None else _("{n} MB").format(n=max(1, round(size / 1e6)))

    def checkHere(self):
        """What this Slicer is: versions of it and of the extensions, paths, and which weights are here."""
        import SpineMotionToolsLib
        from SpineMotionToolsLib.common.catalogue import catalogue, models_folder

        lines = [
            f"SpineMotionTools {SpineMotionToolsLib.__version__}",
            f"Slicer {getattr(slicer.app, 'applicationVersion', '')}",
            _("Models folder: {path}").format(path=models_folder()),
        ]
        if not str(models_folder()).isascii():
            lines.append(_("The path holds characters beyond ASCII; that is supported."))
        weights = _("Weights {identifier}: {state}")
        lines += [weights.format(identifier=each, state=self.stateText(each)) for each in catalogue()]
        lines.append(_("Extensions: {list}").format(list=", ".join(self.extensions()) or _("not known")))
        return "\n".join(lines)

    def extensions(self):
        """The installed extensions, with their revisions where the application tells them."""
        model = slicer.app.extensionsManagerModel() if hasattr(slicer.app, "extensionsManagerModel") else None
        if model is None:
            return []
        names = model.installedExtensions
        names = [str(name) for name in (names() if callable(names) else names)]
        try:
            revisions = [str((model.extensionMetadata(name) or {}).get("revision", ""))[:7] for name in names]
        except (AttributeError, TypeError, ValueError):  # an application that does not tell
            revisions = [""] * len(names)
        return [f"{name} {revision}".rstrip() for name, revision in zip(names, revisions)]

    def checkText(self, result):
        """The result of the job `common.tasks:torch_check` as text."""
        lines = [
            f"Python {result['python']}, {result['system']}",
            f"PyTorch {result['torch'] or result['torch_error']}",
        ]
        for device in result["devices"]:
            state = _("works") if device["works"] else _("does not work: {error}").format(error=device["error"])
            if "memory_free_gib" in device:
                state += ", " + _("{memory_free_gib} of {memory_gib} GiB free").format(**device)
            lines.append(f"{device['device']} ({device['name']}): {state}")
        fast = _("yes") if result["fast_bf16_cpu"] else _("no")
        lines.append(_("Threads: {n}; fast bfloat16: {fast}").format(n=result["threads"], fast=fast))
        lines.append(_("Memory: {memory_free_gib} of {memory_gib} GiB free").format(**result))
        lines += [f"{name} {version or _('is not installed')}" for name, version in result["packages"].items()]
        lines.append(_("Free on the disk of the models folder: {disk_free_gib} GiB").format(**result))
        if not result["temporary_folder_writable"]:
            lines.append(_("The temporary folder cannot be written: free some space or check its permissions."))
        if not result["models_folder_writable"]:
            lines.append(_("The models folder cannot be written: check its permissions, or set SPINEMOTION_MODELS."))
        return "\n".join(lines)


class SpineMotionToolsTest(ScriptedLoadableModuleTest):
    """Self test: reads the catalogue, looks at this computer, and runs a batch over two files when torch is there."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_texts()
        self.test_check()
        self.setUp()
        self.test_batch()

    def test_texts(self):
        """Every set of weights has a license and a state."""
        from SpineMotionToolsLib.common.catalogue import catalogue

        logic = SpineMotionToolsLogic()
        self.assertIn("motion-starter", catalogue())
        for entry in catalogue().values():
            self.assertIn(entry.license.split("<")[0][:10], logic.modelText(entry))
            self.assertTrue(logic.stateText(entry.id))
        self.assertIn("Weights motion-starter: ", logic.checkHere())
        self.delayDisplay("Catalogue read")

    def test_check(self):
        """The child process starts and tells what this computer offers, with or without torch."""
        from SpineMotionToolsLib.common.jobs import run_job

        found = run_job("common.tasks:torch_check", {})
        self.assertIn(f"Python {found['python']}", SpineMotionToolsLogic().checkText(found))
        self.assertTrue(found["torch"] or found["torch_error"])
        self.delayDisplay("Computer checked")

    def test_batch(self):
        """A batch grades a whole scan, lists a broken one, and saves a scene that opens."""
        import importlib.util
        import shutil
        import tempfile

        from SpineMotionToolsLib.batch.job import BatchJob
        from SpineMotionToolsLib.batch.journal import read_journal, rows_of

        scan = os.path.join(os.path.dirname(slicer.util.modulePath("MotionScore")), "Resources", "Data", "phantom.AIM")
        if importlib.util.find_spec("torch") is None:
            self.delayDisplay("PyTorch is not installed: the batch was not tested")
            return
        with tempfile.TemporaryDirectory(prefix="SpineMotionTools-") as folder:
            source, out = os.path.join(folder, "scans"), os.path.join(folder, "results")
            os.mkdir(source)
            shutil.copy(scan, os.path.join(source, "whole.AIM"))
            with open(os.path.join(source, "broken.AIM"), "wb") as file:
                file.write(b"AIMDATA_V030   broken")
            parameters = {"task": "motion", "source": source, "out": out, "options": {"stack_height": 4}}
            job = BatchJob(parameters)
            try:
                self.assertEqual(job.wait(), {"rows": 2, "failed": 1})
            finally:
                job.close()
            rows = {row.case: row for row in rows_of(read_journal(out))}
            self.assertIn("broken.AIM", rows["broken"].error)
            self.assertIn("grade", rows["whole"].result)
            if not rows["whole"].scene:
                from SpineMotionToolsLib.batch.run import add_scene

                add_scene(parameters, rows["whole"])
            slicer.util.loadScene(os.path.join(out, "whole", "whole.mrb"))
        self.assertIsNotNone(slicer.mrmlScene.GetFirstNodeByName("whole"))
        self.delayDisplay("Batch run and its scene opened")

"""The module base classes (`slicer.ScriptedLoadableModule`), the C++ side of a scripted module, the module manager."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import unittest
from pathlib import Path

import slicer
import slicer.util

from Testing.headless.iomanager import FileReaderParent

BASE_CLASSES = (
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleWidget",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
)


# ---- the Python base classes -------------------------------------------------------------------------------------
class ScriptedLoadableModule:
    def __init__(self, parent):
        super().__init__()
        self.parent, self.moduleName = parent, type(self).__name__
        parent.title, parent.helpText, parent.acknowledgementText = "", "", ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        icon = self.resourcePath(f"Icons/{self.moduleName}.png")
        if os.path.isfile(icon):
            import qt

            parent.icon = qt.QIcon(icon)
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        page = slicer.app.documentationBaseUrl + docPage if docPage else None
        url = page or slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec=100, **kwargs):
        test = getattr(importlib.import_module(type(self).__module__), f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        super().__init__()
        import qt

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent
        if not parent:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if not parent:
            self.setup()
            self.parent.show()
        manager = slicer.app.moduleManager()
        manager.connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self):
        """The developer section is not rebuilt; `ModuleHost.reload` and `run_self_test` press its buttons."""

    def enter(self):
        pass

    def exit(self):
        pass

    def cleanup(self):
        pass

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            manager = slicer.app.moduleManager()
            manager.disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def onReload(self):
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName, self.isSingletonParameterNode = type(self).__name__.removesuffix("Logic"), True

    def getParameterNode(self):
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None and node.GetAttribute("ModuleName") != self.moduleName:
                node.SetAttribute("ModuleName", self.moduleName)
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        return node if node is not None else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self):
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # owned by the Python variable
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.enableScreenshots, self.screenshotScaleFactor = False, 1.0

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        slicer.util.delayDisplay(message, msec or requestedDelay or 100)

    def takeScreenshot(self, name, description, type=-1):
        self.delayDisplay(description)

    def runTest(self):
        logging.warning(f"No test is defined in {self.__class__.__name__}")


# ---- the C++ side ------------------------------------------------------------------------------------------------
class LoadableModule:
    """A C++ module as `slicer.modules.<name>`: it only has a logic here."""

    def __init__(self, name: str, logic):
        self.name, self._logic = name, logic

    def logic(self):
        return self._logic


class ScriptedModule:
    """qSlicerScriptedLoadableModule: what Slicer hands to `<M>(parent)`; other attributes are refused."""

    __slots__ = ("title", "categories", "dependencies", "contributors", "helpText", "acknowledgementText", "icon")
    __slots__ += ("hidden", "index", "associatedNodeTypes", "widgetRepresentationCreationEnabled", "path", "name")
    __slots__ += ("_self", "_panel", "_reader")

    def __init__(self, name: str, path: Path):
        self.name, self.path, self.hidden, self.icon, self.index = name, str(path), False, None, -1
        self.widgetRepresentationCreationEnabled, self.associatedNodeTypes = True, []
        self._panel = self._reader = self._self = None

    def self(self):
        """The Python object of class `<M>`."""
        return self._self

    def load(self) -> None:
        """Run the module file, construct `<M>`, register the file reader if there is one."""
        source = load_source(self.name, self.path)
        self._self = getattr(source, self.name)(self)
        setattr(slicer.modules, self.name.lower(), self)
        setattr(slicer.modules, f"{self.name}Instance", self._self)
        if hasattr(source, f"{self.name}FileReader"):
            self._reader = FileReaderParent(getattr(source, f"{self.name}FileReader"))
            slicer.app.coreIOManager().registerReader(self._reader)

    def logic(self):
        return None  # a C++ object that scripted modules do not use; their Python logic belongs to the widget

    def widgetRepresentation(self):
        """The panel, made and set up at the first call."""
        if self._panel is None and self.widgetRepresentationCreationEnabled:
            self._panel = slicer.qSlicerScriptedLoadableModuleWidget()
            self._panel.bind(self)
        return self._panel

    def unload(self) -> None:
        if self._reader is not None:
            slicer.app.coreIOManager().unregisterReader(self._reader)
        if self._panel is not None:
            self._panel.close()
            self._panel.deleteLater()
        for name in (self.name.lower(), f"{self.name}Instance", f"{self.name}Widget"):
            if hasattr(slicer.modules, name):
                delattr(slicer.modules, name)


def load_source(name: str, path: str):
    """Run a module file under its own name, as Slicer does."""
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    spec.loader.exec_module(source)
    return source


class ModuleManager:
    """`slicer.app.moduleManager()`."""

    def __init__(self, app):
        self._app, self._modules, self._unload_slots = app, {}, []
        self.current = None  # the ModuleHost whose panel is shown
        self._hosts = {}

    def factoryManager(self):
        return self

    def loadedModuleNames(self) -> list[str]:
        return list(self._modules)

    modulesNames = loadedModuleNames

    def module(self, name: str):
        return self._modules.get(name) or getattr(slicer.modules, name.lower(), None)

    def isModuleLoaded(self, name: str) -> bool:
        return self.module(name) is not None

    def connect(self, signature: str, slot) -> bool:
        if signature != "moduleAboutToBeUnloaded(QString)":
            raise AttributeError(f"QObject::connect() signal '{signature}' is not known to the headless application")
        self._unload_slots.append(slot)
        return True

    def disconnect(self, signature: str, slot) -> bool:
        if slot in self._unload_slots:
            self._unload_slots.remove(slot)
        return True

    # -- used by host.py -------------------------------------------------------------------------------------------
    def host(self, name: str):
        return self._hosts.get(name)

    def add(self, name: str, folder: Path, host) -> ScriptedModule:
        """Put the module folders on `sys.path` and load the module."""
        for path in [folder, *sorted(each.parent for each in folder.parent.glob("*/*.py") if is_module_file(each))]:
            if str(path) not in sys.path:
                sys.path.append(str(path))
        module = ScriptedModule(name, folder / f"{name}.py")
        self._modules[name] = module
        try:
            module.load()
        except BaseException:
            del self._modules[name]
            raise
        self._hosts[name] = host
        return module

    def remove(self, name: str) -> None:
        for slot in list(self._unload_slots):
            slot(name)
        self._modules.pop(name).unload()
        self._hosts.pop(name, None)


def is_module_file(path: Path) -> bool:
    """Whether a file is one that Slicer would load as a module: `<Name>/<Name>.py` with a `<Name>Widget` class."""
    return path.stem == path.parent.name and f"class {path.stem}Widget" in path.read_text(encoding="utf-8")

"""The subject hierarchy's Qt side: scripted plugins, by the path of their file; items go with their nodes."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import slicer
import vtk


class PluginHandler:
    """`slicer.qSlicerSubjectHierarchyPluginHandler`: one instance, a current item, the registered plugins."""

    _instance: PluginHandler | None = None

    def __init__(self):
        self._plugins, self._current = {}, 0

    @classmethod
    def instance(cls) -> PluginHandler:
        cls._instance = cls._instance or cls()
        return cls._instance

    def registerPlugin(self, plugin) -> bool:
        if not plugin.name:
            return False  # "Unable to register subject hierarchy plugin: its name is empty"
        self._plugins[plugin.name] = plugin
        return True

    def pluginByName(self, name: str):
        return self._plugins.get(name)

    def setCurrentItem(self, item: int) -> None:
        self._current = item

    def currentItem(self) -> int:
        return self._current

    def visible_actions(self, item: int) -> dict:
        """What a right click on an item offers, by text; not part of Slicer's class."""
        self.setCurrentItem(item)
        shown = {}
        for plugin in self._plugins.values():
            plugin.python.showContextMenuActionsForItem(item)
            shown |= {action.text: action for action in plugin.python.itemContextMenuActions() if action.visible}
        return shown


class AbstractPlugin:
    """`slicer.qSlicerSubjectHierarchyAbstractPlugin`: the places of actions in the menu."""

    SectionNode = 1000

    @staticmethod
    def setActionPosition(action, section, weight=0, weight2=0) -> None:
        if section not in range(0, 10000):
            raise ValueError(f"{section} is no section of a context menu")


def scripted_plugin_class(qt):
    """`slicer.qSlicerSubjectHierarchyScriptedPlugin`, a QObject that runs a Python file."""

    class ScriptedPlugin(qt.QObject):
        def __init__(self, parent=None):
            super().__init__(parent)
            self.python = None

        def setPythonSource(self, path: str) -> bool:
            from Testing.headless.modules import load_source

            name = Path(path).stem
            wanted = name if name.endswith("SubjectHierarchyPlugin") else f"{name}SubjectHierarchyPlugin"
            source = load_source(name, str(path))
            self.python = getattr(source, wanted)(self)
            return True

    return ScriptedPlugin


class AbstractScriptedPlugin:
    """`SubjectHierarchyPlugins.AbstractScriptedSubjectHierarchyPlugin`: registers itself when it is made."""

    def __init__(self, scriptedPlugin):
        self.scriptedPlugin = scriptedPlugin
        PluginHandler.instance().registerPlugin(scriptedPlugin)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _forget_removed(scene, event, node) -> None:
    """A removed node's item goes, as Slicer's plugin logic sees to; the items below it stay."""
    hierarchy = None if scene.IsClosing() else slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None and hierarchy is not node else 0
    if item:
        hierarchy.RemoveItem(item, False, False)


def install() -> None:
    """Put the classes where Slicer has them."""
    slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAboutToBeRemovedEvent, _forget_removed)
    qt = sys.modules["qt"]
    slicer.qSlicerSubjectHierarchyPluginHandler = PluginHandler
    slicer.qSlicerSubjectHierarchyAbstractPlugin = AbstractPlugin
    slicer.qSlicerSubjectHierarchyScriptedPlugin = scripted_plugin_class(qt)
    package = types.ModuleType("SubjectHierarchyPlugins")
    package.AbstractScriptedSubjectHierarchyPlugin = AbstractScriptedPlugin
    sys.modules["SubjectHierarchyPlugins"] = package

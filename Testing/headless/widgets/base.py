"""What the stand-ins share: stored properties, the scene, the panel that Slicer hands to `<M>Widget`."""

from __future__ import annotations

import weakref

import shiboken6
import slicer
from PySide6 import QtCore

from Testing.headless.pythonqt import stand_in

import qt  # isort: skip  (made by pythonqt.install, which the application calls first)

Signal = QtCore.Signal


def stored(name: str, kind, default=None, changed=None):
    """A Qt property that only remembers its value; `changed(self)` is called after it is set."""

    def read(self):
        return self.__dict__.get(f"_{name}", default)

    def write(self, value):
        self.__dict__[f"_{name}"] = value
        if changed:
            changed(self)

    return QtCore.Property(kind, read, write)


def scene_events(scene):
    """The events after which a list of nodes must be filled again."""
    return (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)


class Observations:
    """Observers of one object at a time, made again when the object changes; they do not keep the widget alive.

    The observer holds these only weakly: VTK shows Python's garbage collection the observers of an object, and in a
    circle object, observer, observations, object it would empty the observer that the object still calls.
    """

    def __init__(self):
        self._object, self._tags = None, []

    def watch(self, thing, events, method) -> None:
        """Call `method()`, a method of a widget, on these events of `thing` (None: of nothing)."""
        self.stop()
        if thing is not None:
            self._object = thing
            call = self._caller(weakref.WeakMethod(method))
            self._tags = [thing.AddObserver(event, call) for event in events]

    def stop(self) -> None:
        for tag in self._tags:
            self._object.RemoveObserver(tag)
        self._object, self._tags = None, []

    def _caller(self, method):
        self_reference = weakref.ref(self)

        def call(*_):
            observations = self_reference()
            if observations is not None:
                observations._call(method)

        return call

    def _call(self, method) -> None:
        bound = method()
        if bound is None or not shiboken6.isValid(bound.__self__):  # Qt deleted the widget
            self.stop()
        else:
            bound()


@stand_in
class qMRMLWidget(qt.QWidget):
    """A widget that knows the scene and passes it on by its signal."""

    mrmlSceneChanged = Signal(object)
    signalSignatures = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


@stand_in
class qSlicerWidget(qMRMLWidget):
    """The same under the name that older panels use."""


@stand_in
class qSlicerScriptedLoadableModuleWidget(qSlicerWidget):
    """The panel: Slicer makes it with a vertical layout, hands it to `<M>Widget` and calls setup, enter and exit."""

    def __init__(self, parent=None):
        super().__init__(parent)
        qt.QVBoxLayout(self)
        self._module = self._widget = None
        self._entered = False

    isEntered = QtCore.Property(bool, lambda self: self._entered)
    moduleName = QtCore.Property(str, lambda self: self._module.name)

    def self(self):
        """The `<M>Widget` object."""
        return self._widget

    def bind(self, module) -> None:
        """Make `<M>Widget(panel)` and set it up."""
        self._module = module
        self.objectName = f"{module.name}ModuleWidget"
        self.reload()

    def reload(self) -> None:
        """Make the `<M>Widget` again from the code that is loaded now."""
        import sys

        self._widget = getattr(sys.modules[self._module.name], f"{self._module.name}Widget")(self)
        setattr(slicer.modules, f"{self._module.name}Widget", self._widget)
        self.setMRMLScene(slicer.mrmlScene)
        self._widget.setup()

    def setEntered(self, entered: bool) -> None:
        """Slicer's enter() and exit(): tell the `<M>Widget` that it is shown or left."""
        self._entered = entered
        self._widget.enter() if entered else self._widget.exit()

"""The class decorator `parameterNodeWrapper` and the binding of its fields to widgets."""

from __future__ import annotations

import weakref

import slicer.util
import vtk

from Testing.headless.parameternode import annotations as notes
from Testing.headless.parameternode import containers, packs  # noqa: F401  (containers registers its serializers)
from Testing.headless.parameternode.connectors import GuiConnector, createGuiConnector

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Field:
    """One field of one wrapper: reads and writes the node, caches what may be cached."""

    def __init__(self, member: packs.Member, name: str, node):
        self.member, self.name, self.node, self._writing = member, name, node, False
        if not member.serializer.isIn(node, name):
            member.serializer.write(node, name, member.default.value)
        self.cached = member.serializer.supportsCaching()
        if self.cached:
            self._value = self._read()
            me = weakref.ref(self)
            tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: me() and me()._refresh())
            weakref.finalize(self, node.RemoveObserver, tag)

    def _read(self):
        if not self.member.serializer.isIn(self.node, self.name):
            self.member.serializer.write(self.node, self.name, self.member.default.value)
        return self.member.serializer.read(self.node, self.name)

    def _refresh(self) -> None:
        if not self._writing:
            self._value = self._read()

    def read(self):
        return self._value if self.cached else self._read()

    def write(self, value) -> None:
        self._writing = True
        try:
            with slicer.util.NodeModify(self.node):  # observers see the new value, cache included
                self.member.serializer.write(self.node, self.name, value)
                if self.cached:
                    self._value = self._read()
        finally:
            self._writing = False


class _Methods:
    """What the decorator adds to the class."""

    def __init__(self, parameterNode, prefix: str | None = None):
        self.parameterNode = parameterNode
        self._guis, self._nextTag, self._updatingGUIFromParameterNode = {}, 0, False
        self._fields = {
            name: _Field(member, f"{prefix or ''}{name}", parameterNode) for name, member in self.allParameters.items()
        }

    @classmethod
    def _check_name(cls, name: str) -> None:
        top, rest = packs.split_name(name)
        if top not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {top}; found {list(cls.allParameters)}")
        if rest is not None:
            bare = notes.split(cls.allParameters[top].unalteredType)[0]
            if not packs.isParameterPack(bare):
                raise ValueError(f"{bare} is not a parameter pack but expects to have '{rest}'")
            bare.dataType(rest)

    @classmethod
    def dataType(cls, name: str):
        cls._check_name(name)
        top, rest = packs.split_name(name)
        declared = cls.allParameters[top].unalteredType
        return declared if rest is None else notes.split(declared)[0].dataType(rest)

    def default(self, name: str):
        self._check_name(name)
        return self.allParameters[name].default

    def isCached(self, name: str) -> bool:
        self._check_name(name)
        return self._fields[name].cached

    def getValue(self, name: str):
        self._check_name(name)
        top, rest = packs.split_name(name)
        value = self._fields[top].read()
        return value if rest is None else value.getValue(rest)

    def setValue(self, name: str, value) -> None:
        self._check_name(name)
        top, rest = packs.split_name(name)
        self._fields[top].write(value) if rest is None else self._fields[top].read().setValue(rest, value)

    def connectGui(self, gui) -> None:
        """Bind the widgets of `gui` (a widget or childWidgetVariables' result) by their SlicerParameterName.

        As in Slicer (issue 7547) the tag for `disconnectGui` is not returned.
        """
        if getattr(gui, "isWidgetType", lambda: False)():
            import qt

            widgets = gui.findChildren(qt.QWidget)
        else:
            widgets = [thing for thing in vars(gui).values() if hasattr(thing, "property")]
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict) -> int:
        """Bind widgets (or connectors) by field name; returns the tag for `disconnectGui`."""
        for name in mapping:
            self._check_name(name)
        connectors = {
            name: thing if isinstance(thing, GuiConnector) else createGuiConnector(thing, self.dataType(name))
            for name, thing in mapping.items()
        }
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._gui_changed(name, connector))
        # Slicer keeps this observer after disconnectGui too; it then finds nothing to update.
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui())
        return tag

    def _gui_changed(self, name: str, connector: GuiConnector):
        def store():
            if not self._updatingGUIFromParameterNode:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return store

    def _update_gui(self) -> None:
        if self._updatingGUIFromParameterNode:
            return
        self._updatingGUIFromParameterNode = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updatingGUIFromParameterNode = False

    def disconnectGui(self, tag) -> None:
        for connector in self._guis.pop(tag, {}).values():
            connector.onChanged(None)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified) -> None:
        self.parameterNode.EndModify(wasModified)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag) -> None:
        self.parameterNode.RemoveObserver(tag)


def isParameterNodeWrapper(thing) -> bool:
    return getattr(thing, "_is_parameter_node_wrapper", False)


def _field_property(name: str) -> property:
    return property(lambda self: self._fields[name].read(), lambda self, value: self._fields[name].write(value))


def parameterNodeWrapper(cls=None):
    """Class decorator: typed access to the parameters of a `vtkMRMLScriptedModuleNode`."""
    if cls is None:
        return parameterNodeWrapper
    members = packs.members_of(cls)
    for name in vars(_Methods):
        if name in members or (not name.startswith("__") and hasattr(cls, name)):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    for name in members:
        setattr(cls, name, _field_property(name))
    for name, method in vars(_Methods).items():
        if name == "__init__" or not name.startswith("__"):
            setattr(cls, name, method)
    cls.allParameters, cls._is_parameter_node_wrapper = members, True
    return cls


def findChildWidgetForParameter(widget, name: str):
    """The child of `widget` that is bound to field `name`, or None."""
    import qt

    children = widget.findChildren(qt.QWidget)
    return next((child for child in children if child.property(SlicerParameterNamePropertyName) == name), None)

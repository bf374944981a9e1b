"""Which widget shows which type, by the table of Slicer's developer guide ("Available connectors").

A pair that is not in the table is refused, as in Slicer: an `int` on a ctkSliderWidget, a ctkSliderWidget without
bounds, a combo box without choices.
"""

from __future__ import annotations

import enum
import pathlib
import typing

import slicer

from Testing.headless.parameternode import annotations as notes
from Testing.headless.parameternode import packs
from Testing.headless.parameternode.serializers import PATHS

_registered: list[type] = []


class GuiConnector:
    """Ties one widget to one field: reads and writes the widget, reports the user's changes."""

    signals: tuple[str, ...] = ()

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        raise NotImplementedError

    @classmethod
    def create(cls, widget, datatype):
        return cls(widget, datatype)

    def __init__(self, widget, datatype):
        self._widget, self._callback = widget, None
        self._type, self._notes = notes.split(datatype)

    def widget(self):
        return self._widget

    def onChanged(self, callback) -> None:
        """Call `callback()` when the user changes the widget; None disconnects."""
        for name in self.signals:
            signal = getattr(self._widget, name)
            if callback and not self._callback:
                signal.connect(self.changed)
            elif self._callback and not callback:
                signal.disconnect(self.changed)
        self._callback = callback

    def changed(self, *_) -> None:
        if self._callback:
            self._callback()

    def read(self):
        raise NotImplementedError

    def write(self, value) -> None:
        raise NotImplementedError


def parameterNodeGuiConnector(cls=None):
    """Class decorator: register a connector."""
    if cls is None:
        return parameterNodeGuiConnector
    _registered.append(cls)
    return cls


def createGuiConnector(widget, datatype) -> GuiConnector:
    """The connector for a widget and a possibly annotated type; RuntimeError if there is none."""
    for connector in _registered:
        if connector.canRepresent(widget, datatype):
            return connector.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")


def _is(widget, *names: str) -> bool:
    return type(widget).__name__ in names  # the exact class, not one derived from it


def _bare(datatype):
    return notes.split(datatype)[0]


@parameterNodeGuiConnector
class BoolConnector(GuiConnector):
    signals = ("toggled",)

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return _bare(datatype) is bool and _is(widget, "QCheckBox", "ctkCheckBox", "QPushButton")

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        widget.checkable = True

    def read(self):
        return self._widget.checked

    def write(self, value) -> None:
        self._widget.checked = value


class _Number(GuiConnector):
    signals = ("valueChanged",)
    needs_bounds: tuple[str, ...] = ()
    unbounded = (-(2**31), 2**31 - 1)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        for hint, name in ((notes.Decimals, "decimals"), (notes.SingleStep, "singleStep")):
            if found := notes.first(self._notes, hint):
                setattr(widget, name, found.value)
        both = notes.first(self._notes, notes.WithinRange)
        low = both or notes.first(self._notes, notes.Minimum)
        high = both or notes.first(self._notes, notes.Maximum)
        if _is(widget, *self.needs_bounds) and not (low and high):
            raise RuntimeError(
                f"A field shown by a {type(widget).__name__} needs bounds: annotate it with WithinRange."
            )
        widget.minimum = low.minimum if low else self.unbounded[0]
        widget.maximum = high.maximum if high else self.unbounded[1]

    def read(self):
        return self._widget.value

    def write(self, value) -> None:
        self._widget.value = value


@parameterNodeGuiConnector
class IntConnector(_Number):
    needs_bounds = ("QSlider",)

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return _bare(datatype) is int and _is(widget, "QSpinBox", "QSlider")


@parameterNodeGuiConnector
class FloatConnector(_Number):
    needs_bounds = ("ctkSliderWidget", "ctkDoubleSlider")
    unbounded = (float("-inf"), float("inf"))

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        names = ("QDoubleSpinBox", "ctkSliderWidget", "ctkDoubleSlider", "ctkDoubleSpinBox")
        names += ("qMRMLSpinBox", "qMRMLSliderWidget")
        return _bare(datatype) is float and _is(widget, *names)


@parameterNodeGuiConnector
class ComboBoxConnector(GuiConnector):
    signals = ("currentIndexChanged",)

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        bare = _bare(datatype)
        known = bare in (int, float, str, bool) or (isinstance(bare, type) and issubclass(bare, enum.Enum))
        return known and _is(widget, "QComboBox", "ctkComboBox")

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        if issubclass(self._type, enum.Enum):
            self._values = list(self._type)
            labels = [value.label() if hasattr(value, "label") else value.name for value in self._values]
        else:
            choice = notes.first(self._notes, notes.Choice)
            if choice is None:
                raise RuntimeError("A combo box needs the Choice annotation on its field.")
            self._values = list(choice.choices)
            labels = [str(value) for value in self._values]
        widget.clear()
        widget.addItems(labels)

    def read(self):
        return self._values[self._widget.currentIndex]

    def write(self, value) -> None:
        self._widget.currentIndex = self._values.index(value)


@parameterNodeGuiConnector
class LineEditConnector(GuiConnector):
    signals = ("textChanged",)

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return _bare(datatype) is str and _is(widget, "QLineEdit")

    def read(self):
        return self._widget.text

    def write(self, value) -> None:
        self._widget.text = value  # even where it is equal, which moves the cursor


@parameterNodeGuiConnector
class TextEditConnector(GuiConnector):
    signals = ("textChanged",)

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return _bare(datatype) is str and _is(widget, "QTextEdit")

    def read(self):
        return self._widget.toPlainText()

    def write(self, value) -> None:
        self._widget.setPlainText(value)


@parameterNodeGuiConnector
class LabelConnector(GuiConnector):
    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return _bare(datatype) is str and _is(widget, "QLabel")

    def read(self):
        return self._widget.text

    def write(self, value) -> None:
        self._widget.text = value


@parameterNodeGuiConnector
class RangeConnector(GuiConnector):
    signals = ("valuesChanged",)

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        names = ("ctkRangeWidget", "ctkDoubleRangeSlider", "qMRMLRangeWidget")
        return _bare(datatype) is packs.FloatRange and _is(widget, *names)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        for hint, name in ((notes.Decimals, "decimals"), (notes.SingleStep, "singleStep")):
            if found := notes.first(self._notes, hint):
                setattr(widget, name, found.value)
        bounds = notes.first(self._notes, notes.RangeBounds)
        if bounds is None:
            raise RuntimeError("A range widget needs the RangeBounds annotation on its field.")
        widget.minimum, widget.maximum = bounds.minimum, bounds.maximum

    def read(self):
        return self._type(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value) -> None:
        self._widget.setValues(value.minimum, value.maximum)


@parameterNodeGuiConnector
class PathConnector(GuiConnector):
    signals = ("currentPathChanged",)
    attribute = "currentPath"

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return _bare(datatype) in PATHS and _is(widget, "ctkPathLineEdit")

    def read(self) -> pathlib.PurePath:
        return self._type(getattr(self._widget, self.attribute))

    def write(self, value) -> None:
        setattr(self._widget, self.attribute, str(value))


@parameterNodeGuiConnector
class DirectoryConnector(PathConnector):
    signals = ("directoryChanged",)
    attribute = "directory"

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return _bare(datatype) in PATHS and _is(widget, "ctkDirectoryButton")


def _node_classes(datatype) -> list[type]:
    """The node classes of a node type or a union of node types and None; empty for other types."""
    bare = _bare(datatype)
    parts = typing.get_args(bare) if typing.get_origin(bare) is typing.Union else (bare,)
    classes = [_bare(part) for part in parts if _bare(part) is not type(None)]
    is_node = all(isinstance(part, type) and issubclass(part, slicer.vtkMRMLNode) for part in classes)
    return classes if classes and is_node else []


@parameterNodeGuiConnector
class NodeConnector(GuiConnector):
    signals = ("currentNodeChanged",)

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return _is(widget, "qMRMLNodeComboBox") and bool(_node_classes(datatype))

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        widget.nodeTypes = [cls().GetClassName() for cls in _node_classes(datatype)]

    def read(self):
        return self._widget.currentNode()

    def write(self, value) -> None:
        self._widget.setCurrentNode(value)


@parameterNodeGuiConnector
class SubjectHierarchyConnector(NodeConnector):
    signals = ("currentItemChanged",)

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        names = ("qMRMLSubjectHierarchyTreeView", "qMRMLSubjectHierarchyComboBox")
        return _is(widget, *names) and bool(_node_classes(datatype))

    def read(self):
        return self._widget.subjectHierarchyNode().GetItemDataNode(self._widget.currentItem())

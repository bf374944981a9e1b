"""`qt` as PythonQt presents it, over PySide6.

PythonQt shows every Qt property as an attribute (`button.text = "Apply"`, `if button.enabled:`) and leaves setters and
other methods callable; a getter that has the name of its property is therefore gone: `button.text()` is an error.
Signals are also reached by their C++ signature: `button.connect("clicked(bool)", slot)`. A misspelt attribute is
refused, as on PythonQt's C++ objects.

All Qt classes get the properties; classes reached through `qt` are subclasses that add `connect`, `disconnect` and the
refusal of unknown attributes. Objects that Qt makes itself (`table.horizontalHeader()`) have the properties, but
`connect` only as `header.sectionClicked.connect(slot)`, which works in both worlds.
"""

from __future__ import annotations

import re
import sys
import types
import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

QT_MODULES = (QtCore, QtGui, QtWidgets)
# PySide6's own additions; in Slicer they are absent or crash.
NOT_IN_PYTHONQT = {"Signal", "Slot", "Property", "SIGNAL", "SLOT", "QEnum", "QFlag", "ClassInfo", "Qt3DCore"}

DESIGNER_ONLY = {"buddy"}  # in .ui files, but not a Qt property
# Qt's own loader cannot make these; they are made after it (see UiLoader.load).
MADE_AFTERWARDS = ("vtkMRML", "of the set-type property", "of the enum-type property", "(sender name", "(receiver name")
_made: dict[type, type] = {}
_QT_FIND_CHILDREN = QtCore.QObject.findChildren
_being_read: set[tuple[int, str]] = set()
STAND_INS: dict[str, type] = {}  # class name in a .ui file -> stand-in class; filled by the widgets package


# ---- properties --------------------------------------------------------------------------------------------------
def _checked(owner, name: str, value):
    """Refuse values that PythonQt does not convert: a node or a numpy number for a switch or a number, None for all."""
    index = owner.metaObject().indexOfProperty(name)
    kind = owner.metaObject().property(index).typeName() if index >= 0 else ""
    number = kind in ("bool", "int", "double")
    if (number and not isinstance(value, (bool, int, float))) or (kind == "QString" and value is None):
        raise AttributeError(
            f"Property '{name}' of type '{kind}' does not accept an object of type {type(value).__name__} ({value!r})"
        )
    if kind == "bool":
        return bool(value)
    return int(value) if kind == "int" else str(value) if kind == "QString" else value


def _property(name: str, writable: bool) -> property:
    def write(self, value):
        if not writable:
            raise AttributeError(f"Property '{name}' of {type(self).__name__} object is not writable")
        QtCore.QObject.setProperty(self, name, _checked(self, name, value))

    def read(self):
        # Where the C++ getter is virtual (`sizeHint`), it asks Python for an override first and ends up here again.
        if (id(self), name) in _being_read:
            return None
        _being_read.add((id(self), name))
        try:
            return QtCore.QObject.property(self, name)
        finally:
            _being_read.discard((id(self), name))

    return property(read, write)


class _StaticAndProperty:
    """`QTimer.singleShot(msec, slot)` on the class, the property of that name on a timer."""

    def __init__(self, static, instance: property):
        self._static, self._instance = static, instance

    def __get__(self, owner, cls):
        return self._static if owner is None else self._instance.__get__(owner, cls)

    def __set__(self, owner, value):
        self._instance.__set__(owner, value)


def _show_properties_as_attributes() -> None:
    static_single_shot = QtCore.QTimer.singleShot
    for cls in qt_classes():
        meta = cls.staticMetaObject
        for index in range(meta.propertyCount()):
            name = meta.property(index).name()
            inherited = index < meta.propertyOffset() and name not in cls.__dict__
            if not inherited:
                setattr(cls, name, _property(name, meta.property(index).isWritable()))
    QtCore.QTimer.singleShot = _StaticAndProperty(static_single_shot, QtCore.QTimer.singleShot)


def qt_classes() -> list[type]:
    """Every QObject class of the Qt modules that `qt` offers."""
    found = (getattr(module, name) for module in QT_MODULES for name in dir(module))
    return [cls for cls in found if isinstance(cls, type) and issubclass(cls, QtCore.QObject)]


# ---- signals -----------------------------------------------------------------------------------------------------
def _signal(sender, signature: str):
    """The signal with this C++ signature; AttributeError if the class has none such."""
    text = re.sub(r"\bconst\b|&", "", signature).replace(" ", "")
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    declared = getattr(type(sender), "signalSignatures", ())
    if not match or not (text in declared or sender.metaObject().indexOfSignal(text) >= 0):
        raise AttributeError(
            f"QObject::connect() signal '{signature}' does not exist on {sender.metaObject().className()}"
        )
    signal = getattr(sender, getattr(type(sender), "signalAliases", {}).get(match[1], match[1]))
    try:
        return signal[match[2]]
    except (IndexError, KeyError, TypeError):  # a single signature, or a stand-in's signal that carries any object
        return signal


def _connect(self, signature: str, slot) -> bool:
    _signal(self, signature).connect(slot)
    return True


def _disconnect(self, signature: str, slot=None) -> bool:
    signal = _signal(self, signature)
    signal.disconnect() if slot is None else signal.disconnect(slot)
    return True


# ---- classes -----------------------------------------------------------------------------------------------------
class _QtClass(type(QtCore.QObject)):
    """Metaclass of the classes in `qt`: `isinstance` also holds for objects that Qt made itself."""

    def __new__(mcs, name, bases, body):
        # PySide6 finds its own `connect` first unless each class brings one.
        return super().__new__(mcs, name, bases, {"connect": _connect, "disconnect": _disconnect, **body})

    def __instancecheck__(cls, instance):
        return type.__instancecheck__(cls.__dict__.get("_plain", cls), instance)

    def __subclasscheck__(cls, subclass):
        return type.__subclasscheck__(cls.__dict__.get("_plain", cls), subclass)


def _set_attribute(self, name: str, value) -> None:
    """Refuse attributes that the C++ class does not have; classes written by the module may add their own."""
    cls = type(self)
    if "cppClass" in cls.__dict__ and not (hasattr(cls, name) or (name.startswith("_") and cls.__name__ in STAND_INS)):
        if name.encode() not in [bytes(known) for known in self.dynamicPropertyNames()]:
            raise AttributeError(
                f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
            )
        self.setProperty(name, value)
        return
    plain = next(base.__dict__["_plain"] for base in cls.__mro__ if "_plain" in base.__dict__)
    plain.__setattr__(self, name, value)


def pythonize(cls: type) -> type:
    """The class that `qt` offers for a PySide6 class; anything that is not a QObject class comes back as it is."""
    if not (isinstance(cls, type) and issubclass(cls, QtCore.QObject)) or isinstance(cls, _QtClass):
        return cls
    if cls not in _made:
        body = {"_plain": cls, "cppClass": True, "__module__": "qt", "__setattr__": _set_attribute}
        body.update(_STATIC.get(cls.__name__, {}))
        if hasattr(cls, "exec"):
            body["exec_"] = body.get("exec") or (lambda self, *arguments: cls.exec(self, *arguments))
        _made[cls] = _QtClass(cls.__name__, (cls,), body)
    return _made[cls]


def stand_in(cls: type) -> type:
    """Class decorator: a ctk, qMRML or qSlicer widget written in Python, known to `.ui` files by its name."""
    cls.cppClass = True
    STAND_INS[cls.__name__] = cls
    return cls


def _find_children(self, cls=None, name: str = "") -> list:
    plain = vars(cls or QtCore.QObject).get("_plain", cls or QtCore.QObject)
    return list(_QT_FIND_CHILDREN(self, plain, name) if name else _QT_FIND_CHILDREN(self, plain))


def _find_child(self, cls=None, name: str = ""):
    return next(iter(_find_children(self, cls, name)), None)


def _settings_value(self, key, default=None):
    return QtCore.QSettings.value(self, key) if default is None else QtCore.QSettings.value(self, key, default)


def _dialogs():
    from Testing.headless.application import HeadlessApplication

    return HeadlessApplication.instance().dialogs


def _ask(kind: str):
    return staticmethod(lambda *arguments: _dialogs().ask(kind, *arguments))


# Dialogs that would wait for a person are answered by script (dialogs.py); PythonQt returns plain text, not a tuple.
_STATIC = {
    "QFileDialog": {k: _ask(k) for k in ("getOpenFileName", "getOpenFileNames", "getSaveFileName")}
    | {"getExistingDirectory": _ask("getExistingDirectory")},
    "QInputDialog": {k: _ask(k) for k in ("getText", "getMultiLineText", "getInt", "getDouble", "getItem")},
    "QMessageBox": {k: _ask(k) for k in ("question", "information", "warning", "critical", "about")},
    "QSettings": {"value": _settings_value},
    "QDesktopServices": {"openUrl": _ask("openUrl")},
}


def _exec_by_script(self, *_):
    """`exec_()` of a dialog: what the script answers, instead of an event loop that nobody ends."""
    return _dialogs().ask("exec", self)


for _name in ("QDialog", "QMessageBox", "QFileDialog", "QInputDialog", "QMenu", "QProgressDialog"):
    _STATIC.setdefault(_name, {})["exec"] = _exec_by_script


# ---- .ui files ---------------------------------------------------------------------------------------------------
class UiLoader(QtUiTools.QUiLoader):
    """Loads a `.ui` file with the stand-ins, makes its MRML connections and refuses unknown properties."""

    def createWidget(self, class_name, parent=None, name=""):
        cls = STAND_INS.get(class_name) or pythonize(getattr(QtWidgets, class_name, None))
        if cls is None:
            raise RuntimeError(
                f"The headless application has no widget class {class_name}; see Testing/headless/widgets"
            )
        widget = cls(parent)
        widget.setObjectName(name)
        return widget

    def load(self, device, parent=None):
        path = device.fileName()
        top = super().load(device, parent)
        if top is not None and path:
            tree = ElementTree.parse(path)
            _check_properties(top, tree, path)
            _set_enumerations(top, tree)
            _make_mrml_connections(top, tree)
        return top


def _by_name(top) -> dict:
    widgets = [top, *QtCore.QObject.findChildren(top, QtCore.QObject)]
    return {QtCore.QObject.objectName.fget(widget): widget for widget in widgets}


def _set_enumerations(top, tree) -> None:
    """Flags and enumerations of stand-ins, e.g. `ctkPathLineEdit::Dirs`, which Qt cannot look up."""
    widgets = _by_name(top)
    for element in tree.iter("widget"):
        cls = STAND_INS.get(element.get("class"))
        for entry in element.findall("property") if cls else ():
            text = entry.findtext("set") or entry.findtext("enum") or ""
            names = [name.split("::")[-1] for name in text.split("|") if name.startswith(f"{cls.__name__}::")]
            if names:
                value = sum(getattr(cls, name) for name in names)
                widgets[element.get("name")].setProperty(entry.get("name"), value)


def _check_properties(top, tree, path: str) -> None:
    widgets = _by_name(top)
    for element in tree.iter("widget"):
        widget = widgets.get(element.get("name"))
        for entry in element.findall("property"):
            name = entry.get("name")
            known = widget is None or name in DESIGNER_ONLY or widget.metaObject().indexOfProperty(name) >= 0
            if entry.get("stdset") != "0" and not known:
                raise ValueError(f"{path}: {element.get('class')} {element.get('name')} has no property '{name}'")


def _make_mrml_connections(top, tree) -> None:
    """Connections whose signatures name MRML classes are unknown to Qt itself; make them here."""
    widgets = _by_name(top)
    for entry in tree.iter("connection"):
        signal, slot = entry.findtext("signal"), entry.findtext("slot")
        if "vtk" in signal:
            sender, receiver = widgets[entry.findtext("sender")], widgets[entry.findtext("receiver")]
            _signal(sender, signal).connect(getattr(receiver, slot.split("(")[0]))


def _quiet_about_mrml(kind, context, message: str) -> None:
    if not any(part in message for part in (*MADE_AFTERWARDS, "This plugin does not support")):
        sys.stderr.write(message + "\n")


class _QtModule(types.ModuleType):
    QUiLoader = UiLoader

    def __getattr__(self, name: str):
        if name not in NOT_IN_PYTHONQT:
            for module in QT_MODULES:
                if hasattr(module, name):
                    value = pythonize(getattr(module, name))
                    setattr(self, name, value)
                    return value
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


def install() -> types.ModuleType:
    """Make `import qt` work; returns the module."""
    if "qt" not in sys.modules:
        _show_properties_as_attributes()
        QtCore.QObject.name = property(
            lambda self: QtCore.QObject.property(self, "objectName"),
            lambda self, value: QtCore.QObject.setProperty(self, "objectName", value),
        )
        QtCore.QObject.findChildren, QtCore.QObject.findChild = _find_children, _find_child
        QtCore.QObject.className = lambda self: self.metaObject().className()
        QtCore.qInstallMessageHandler(_quiet_about_mrml)
        sys.modules["qt"] = _QtModule("qt")
    return sys.modules["qt"]

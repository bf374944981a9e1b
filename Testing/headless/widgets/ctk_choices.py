"""ctk widgets that take a path, a folder, an item, a text or a color."""

from __future__ import annotations

import os
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from Testing.headless.pythonqt import stand_in
from Testing.headless.widgets.base import Signal, stored
from Testing.headless.widgets.ctk_numbers import tight_row

import qt  # isort: skip


@stand_in
class ctkPathLineEdit(qt.QWidget):
    """An editable path with history and a "..." button; `filters` are the sum of ctkPathLineEdit's flags."""

    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x001, 0x002, 0x004, 0x008, 0x007
    Readable, Writable, Executable, Hidden = 0x010, 0x020, 0x040, 0x100
    NoDotAndDotDot, NoFilter = 0x1000, -1
    ShowDirsOnly, DontConfirmOverwrite, DontUseNativeDialog = 0x01, 0x04, 0x10
    currentPathChanged, validInputChanged = Signal(str), Signal(bool)
    signalSignatures = ("currentPathChanged(QString)", "validInputChanged(bool)")
    label, settingKey = stored("label", str, ""), stored("settingKey", str, "")
    filters, options = stored("filters", int, AllEntries), stored("options", int, 0)
    nameFilters = stored("nameFilters", "QStringList", [])
    sizeAdjustPolicy = stored("sizeAdjustPolicy", int, 1)
    minimumContentsLength = stored("minimumContentsLength", int, 0)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._edit, self._button = QtWidgets.QComboBox(self), QtWidgets.QToolButton(self)
        self._edit.setEditable(True)
        self._edit.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        self._button.setText("...")
        row = tight_row(self)
        row.addWidget(self._edit, 1)
        row.addWidget(self._button)
        self._valid = False
        self._edit.editTextChanged.connect(self._changed)
        self._button.clicked.connect(self.browse)
        self.setFocusProxy(self._edit)

    def _changed(self, path: str) -> None:
        """As in ctk, an emptied field is told as not valid, never as a changed path."""
        was_valid, self._valid = self._valid, bool(path)
        if self._valid != was_valid:
            self.validInputChanged.emit(self._valid)
        if self._valid:
            self.currentPathChanged.emit(path)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setEditText(path)

    currentPath = QtCore.Property(str, lambda self: self._edit.property("currentText"), setCurrentPath)
    showBrowseButton = QtCore.Property(
        bool, lambda self: not self._button.isHidden(), lambda self, value: self._button.setVisible(value)
    )
    showHistoryButton = stored("showHistoryButton", bool, True)

    def comboBox(self):
        return self._edit

    def browse(self) -> None:
        directory_only = not self.filters & self.Files
        kind = "getExistingDirectory" if directory_only else "getOpenFileName"
        kind = "getSaveFileName" if not directory_only and self.filters & self.Writable else kind
        chosen = getattr(qt.QFileDialog, kind)(self, self.label, self.currentPath)
        if chosen:
            self.setCurrentPath(chosen)

    def retrieveHistory(self) -> None:
        history = qt.QSettings().value(self.settingKey or self.objectName) or []
        self._edit.addItems([history] if isinstance(history, str) else list(history))

    def addCurrentPathToHistory(self) -> None:
        if self._edit.findText(self.currentPath) < 0:
            self._edit.insertItem(0, self.currentPath)
        paths = [self._edit.itemText(index) for index in range(self._edit.property("count"))]
        qt.QSettings().setValue(self.settingKey or self.objectName, paths)


@stand_in
class ctkDirectoryButton(qt.QWidget):
    """A button that shows a folder and opens a folder dialog."""

    directoryChanged, directorySelected = Signal(str), Signal(str)
    signalSignatures = ("directoryChanged(QString)", "directorySelected(QString)")
    caption = stored("caption", str, "")
    acceptMode, options = stored("acceptMode", int, 0), stored("options", int, 0)
    elideMode = stored("elideMode", int, 2, lambda self: self._show())
    text = stored("text", str, "", lambda self: self._show())
    icon = stored("icon", QtGui.QIcon, None, lambda self: self._button.setIcon(self._icon))

    def __init__(self, parent=None):
        super().__init__(parent)
        self._button, self._directory = QtWidgets.QPushButton(self), os.getcwd()
        self._button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        self._button.setIcon(self.style().standardIcon(QtWidgets.QStyle.StandardPixmap.SP_DirIcon))
        tight_row(self).addWidget(self._button)
        self._button.clicked.connect(self.browse)
        self._show()

    def _show(self) -> None:
        metrics, room = self.fontMetrics(), max(self._button.property("width") - 40, 120)
        elided = metrics.elidedText(self._directory, QtCore.Qt.TextElideMode.ElideMiddle, room)
        self._button.setText(self.property("text") or elided)

    def resizeEvent(self, event):
        self._show()

    def _set_directory(self, path: str) -> None:
        path = str(Path(path).absolute()) if path else os.getcwd()
        changed, self._directory = path != self._directory, path
        self._show()
        self.directorySelected.emit(path)
        if changed:
            self.directoryChanged.emit(path)

    directory = QtCore.Property(str, lambda self: self._directory, _set_directory)

    def browse(self) -> str:
        chosen = qt.QFileDialog.getExistingDirectory(self, self.property("caption"), self._directory)
        if chosen:
            self._set_directory(chosen)
        return chosen


@stand_in
class ctkComboBox(qt.QComboBox):
    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = range(4)
    defaultText, forceDefault = stored("defaultText", str, ""), stored("forceDefault", bool, False)
    defaultIcon, elideMode = stored("defaultIcon", QtGui.QIcon), stored("elideMode", int, 3)
    scrollWheelEffect = stored("scrollWheelEffect", int, 1)

    def setCurrentUserDataAsString(self, text: str) -> None:
        self.setCurrentIndex(self.findData(text))

    currentUserDataAsString = QtCore.Property(
        str, lambda self: str(self.itemData(self.property("currentIndex"))), setCurrentUserDataAsString
    )


@stand_in
class ctkCheckableComboBox(qt.QComboBox):
    """A combo box whose items carry check marks; the closed box lists the checked ones."""

    checkedIndexesChanged = Signal()
    signalSignatures = ("checkedIndexesChanged()",)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setModel(QtGui.QStandardItemModel(self))
        self.model().dataChanged.connect(lambda *_: (self.update(), self.checkedIndexesChanged.emit()))
        self.model().rowsInserted.connect(self._make_checkable)

    def _make_checkable(self, parent, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            if item is not None and not item.isCheckable():
                item.setCheckable(True)
                item.setCheckState(QtCore.Qt.CheckState.Unchecked)

    def _indexes(self) -> list:
        return [self.model().index(row, 0) for row in range(self.property("count"))]

    def checkableModel(self):
        return self.model()

    def checkState(self, index):
        return self.model().itemFromIndex(index).checkState()

    def setCheckState(self, index, state) -> None:
        self.model().itemFromIndex(index).setCheckState(QtCore.Qt.CheckState(state))

    def checkedIndexes(self) -> list:
        return [index for index in self._indexes() if self.checkState(index) == QtCore.Qt.CheckState.Checked]

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.property("count")

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()

    def paintEvent(self, event):
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = ", ".join(index.data() for index in self.checkedIndexes())
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()


@stand_in
class ctkSearchBox(qt.QLineEdit):
    showSearchIcon, alwaysShowClearIcon = (
        stored("showSearchIcon", bool, False),
        stored("alwaysShowClearIcon", bool, False),
    )


@stand_in
class ctkColorPickerButton(qt.QPushButton):
    colorChanged = Signal(QtGui.QColor)
    signalSignatures = ("colorChanged(QColor)",)
    displayColorName = stored("displayColorName", bool, True)
    dialogOptions = stored("dialogOptions", int, 0)

    def setColor(self, color) -> None:
        self._color = QtGui.QColor(color)
        self.setText(self._color.name())
        self.colorChanged.emit(self._color)

    color = QtCore.Property(QtGui.QColor, lambda self: self.__dict__.get("_color", QtGui.QColor("black")), setColor)

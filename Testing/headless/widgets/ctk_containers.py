"""ctk widgets that hold or announce others: collapsible sections, buttons, message box."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

from Testing.headless.pythonqt import stand_in
from Testing.headless.widgets.base import Signal, qMRMLWidget, stored

import qt  # isort: skip

ARROW = 18  # pixels that the arrow of a section takes
UNLIMITED = 16777215  # QWIDGETSIZE_MAX


def _draw_arrow(painter, rectangle, collapsed: bool, color) -> None:
    center, size = rectangle.center(), 4
    ends = [(-size / 2, -size), (-size / 2, size), (size / 2, 0)] if collapsed else [(-size, -2), (size, -2), (0, 3)]
    polygon = QtGui.QPolygonF([QtCore.QPointF(center.x() + x, center.y() + y) for x, y in ends])
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawPolygon(polygon)


class _Hider:
    """Hides the children of a collapsed section and shows again those that were not hidden before."""

    def _hide_contents(self, collapsed: bool) -> None:
        if collapsed:
            children = [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]
            shown = [child for child in children if not child.isHidden()]
            self._shown_before = [*self.__dict__.get("_shown_before", []), *shown]
            for child in shown:
                child.hide()
        else:
            for child in self.__dict__.pop("_shown_before", []):
                child.show()
        self.updateGeometry()


@stand_in
class ctkCollapsibleButton(qt.QAbstractButton, _Hider):
    """A section with a header button; `checked` means open, `collapsed` the opposite."""

    contentsCollapsed = Signal(bool)
    signalSignatures = ("contentsCollapsed(bool)",)
    collapsedHeight = stored("collapsedHeight", int, 10)
    contentsFrameShape = stored("contentsFrameShape", int, 0)
    contentsFrameShadow = stored("contentsFrameShadow", int, 16)
    contentsLineWidth = stored("contentsLineWidth", int, 1)
    contentsMidLineWidth = stored("contentsMidLineWidth", int, 0)
    buttonTextAlignment = stored("buttonTextAlignment", int, 0)
    indicatorAlignment = stored("indicatorAlignment", int, 0)

    def __init__(self, *arguments):
        text = [argument for argument in arguments if isinstance(argument, str)]
        super().__init__(*(argument for argument in arguments if isinstance(argument, QtWidgets.QWidget)))
        self.setText(text[0] if text else "")
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(self._on_toggled)

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 8

    def _on_toggled(self, opened: bool) -> None:
        self._hide_contents(not opened)
        self.setMaximumHeight(UNLIMITED if opened else self._header_height())
        self.contentsCollapsed.emit(not opened)

    collapsed = QtCore.Property(
        bool,
        lambda self: not self.isChecked(),
        lambda self, value: self.setChecked(not value),
        notify=contentsCollapsed,
    )

    def hitButton(self, position) -> bool:
        return position.y() < self._header_height()

    def showEvent(self, event) -> None:
        self._hide_contents(not self.isChecked())  # contents may have been added since

    def _is_open(self) -> bool:
        return self.isChecked() and self.layout() is not None

    def sizeHint(self):
        width = self.fontMetrics().horizontalAdvance(self.property("text")) + 2 * ARROW
        header = QtCore.QSize(width, self._header_height())
        return header.expandedTo(self.layout().totalSizeHint()) if self._is_open() else header

    def minimumSizeHint(self):
        header = QtCore.QSize(2 * ARROW, self._header_height())
        return header.expandedTo(self.layout().totalMinimumSize()) if self._is_open() else header

    def paintEvent(self, event):
        painter, colors = QtGui.QPainter(self), self.property("palette")
        header = QtCore.QRect(0, 1, QtWidgets.QWidget.rect.fget(self).width(), self._header_height() - 4)
        painter.setPen(colors.mid().color())
        painter.setBrush(colors.button())
        painter.drawRoundedRect(header.adjusted(0, 0, -1, -1), 3, 3)
        painter.setPen(colors.buttonText().color())
        painter.drawText(
            header.adjusted(ARROW + 4, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, self.property("text")
        )
        box = QtCore.QRect(2, header.top(), ARROW, header.height())
        _draw_arrow(painter, box, not self.isChecked(), colors.buttonText().color())
        painter.end()


@stand_in
class qMRMLCollapsibleButton(ctkCollapsibleButton):
    """A section that also passes the scene on."""

    mrmlSceneChanged = Signal(object)
    signalSignatures = ("contentsCollapsed(bool)", "mrmlSceneChanged(vtkMRMLScene*)")

    setMRMLScene = qMRMLWidget.setMRMLScene

    def mrmlScene(self):
        return self.__dict__.get("_scene")


@stand_in
class ctkCollapsibleGroupBox(qt.QGroupBox, _Hider):
    """A group box with an arrow; `checked` means open."""

    collapsedHeight = stored("collapsedHeight", int, 14)

    def __init__(self, *arguments):
        super().__init__(*(argument for argument in arguments if argument is not None))
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._on_toggled)

    collapsed = QtCore.Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))

    def _on_toggled(self, opened: bool) -> None:
        self._hide_contents(not opened)
        height = self.fontMetrics().height() + self.property("collapsedHeight")
        self.setMaximumHeight(UNLIMITED if opened else height)

    def showEvent(self, event) -> None:
        self._hide_contents(not self.isChecked())

    def paintEvent(self, event):
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        option.subControls &= ~QtWidgets.QStyle.SubControl.SC_GroupBoxCheckBox
        option.text = "     " + option.text
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_GroupBox, option)
        box = QtCore.QRect(6, 0, ARROW - 4, self.fontMetrics().height() + 2)
        _draw_arrow(painter, box, not self.isChecked(), self.property("palette").windowText().color())
        painter.end()


@stand_in
class ctkPushButton(qt.QPushButton):
    buttonTextAlignment = stored("buttonTextAlignment", int, 0)
    iconAlignment = stored("iconAlignment", int, 0)
    elideMode = stored("elideMode", int, 3)


@stand_in
class ctkCheckablePushButton(ctkPushButton):
    indicatorAlignment = stored("indicatorAlignment", int, 0)
    checkBoxControlsButton = stored("checkBoxControlsButton", bool, True)
    checkBoxControlsButtonToggleState = stored("checkBoxControlsButtonToggleState", bool, True)
    checkBoxUserCheckable = stored("checkBoxUserCheckable", bool, True)


@stand_in
class ctkMenuButton(qt.QPushButton):
    """A push button with a separate arrow that opens its menu."""

    showMenuButton = stored("showMenuButton", bool, True)


@stand_in
class ctkExpandButton(qt.QToolButton):
    mirrorOnExpand = stored("mirrorOnExpand", bool, False)


@stand_in
class ctkCheckBox(qt.QCheckBox):
    indicatorIcon = stored("indicatorIcon", QtGui.QIcon)
    indicatorIconSize = stored("indicatorIconSize", QtCore.QSize)


@stand_in
class ctkMessageBox(qt.QMessageBox):
    dontShowAgain = stored("dontShowAgain", bool, False)
    dontShowAgainSettingsKey = stored("dontShowAgainSettingsKey", str, "")
    dontShowAgainVisible = stored("dontShowAgainVisible", bool, False)


@stand_in
class ctkFittedTextBrowser(qt.QTextBrowser):
    """A text browser as high as its text; with `collapsibleText` only a teaser is shown first."""

    collapsibleText = stored("collapsibleText", bool, True)
    collapsed = stored("collapsed", bool, False)
    showMoreText = stored("showMoreText", str, "")
    showLessText = stored("showLessText", str, "")
    showDetailsText = stored("showDetailsText", str, "")
    hideDetailsText = stored("hideDetailsText", str, "")


class ctkWidgetsUtils:
    """Static helpers of CTK."""

    @staticmethod
    def grabWidget(widget, rectangle=None):
        return widget.grab().toImage()

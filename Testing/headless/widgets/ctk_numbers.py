"""ctk and qMRML widgets that take a number or a range: sliders, spin boxes, range bars."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

from Testing.headless.pythonqt import stand_in
from Testing.headless.widgets.base import Signal, stored

import qt  # isort: skip

SLIDER_STEPS = 1000


def tight_row(widget) -> QtWidgets.QHBoxLayout:
    row = QtWidgets.QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(4)
    return row


def _spin_property(name: str, kind, setter: str):
    """A property of the inner spin box `self._box`."""

    def write(self, value):
        getattr(self._box, setter)(value)
        self._sync()

    return QtCore.Property(kind, lambda self: self._box.property(name), write)


class _WithSpinBox(qt.QWidget):
    valueChanged = Signal(float)
    signalSignatures = ("valueChanged(double)",)
    decimals = _spin_property("decimals", int, "setDecimals")
    singleStep = _spin_property("singleStep", float, "setSingleStep")
    minimum = _spin_property("minimum", float, "setMinimum")
    maximum = _spin_property("maximum", float, "setMaximum")
    value = _spin_property("value", float, "setValue")
    prefix = _spin_property("prefix", str, "setPrefix")
    suffix = _spin_property("suffix", str, "setSuffix")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._make_row(tight_row(self))
        self._box.valueChanged.connect(self._on_value)
        self.setFocusProxy(self._box)

    def _make_row(self, row) -> None:
        row.addWidget(self._box)

    def _on_value(self, value: float) -> None:
        self._sync()
        self.valueChanged.emit(value)

    def _sync(self) -> None:
        """Move what else shows the value; called after every change."""

    def setValue(self, value) -> None:
        self._box.setValue(value)


@stand_in
class ctkDoubleSpinBox(_WithSpinBox):
    decimalsOption = stored("decimalsOption", int, 0)
    invertedControls = stored("invertedControls", bool, False)
    sizeHintPolicy = stored("sizeHintPolicy", int, 0)
    text = QtCore.Property(str, lambda self: self._box.property("text"))
    cleanText = QtCore.Property(str, lambda self: self._box.property("cleanText"))

    def setRange(self, minimum, maximum) -> None:
        self._box.setRange(minimum, maximum)

    def stepUp(self) -> None:
        self._box.stepUp()

    def stepDown(self) -> None:
        self._box.stepDown()


@stand_in
class ctkSliderWidget(_WithSpinBox):
    """A slider and a spin box that show the same value."""

    valueIsChanging = Signal(float)
    signalSignatures = ("valueChanged(double)", "valueIsChanging(double)")
    pageStep = stored("pageStep", float, 10.0)
    tickInterval = stored("tickInterval", float, 0.0)
    tickPosition = stored("tickPosition", int, 0)
    autoSpinBoxWidth = stored("autoSpinBoxWidth", bool, True)
    spinBoxAlignment = stored("spinBoxAlignment", int, 1)
    tracking = stored("tracking", bool, True)
    popupSlider = stored("popupSlider", bool, False)
    invertedAppearance = stored("invertedAppearance", bool, False)
    invertedControls = stored("invertedControls", bool, False)

    def _make_row(self, row) -> None:
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, SLIDER_STEPS)
        self._slider.valueChanged.connect(self._on_slider)
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)

    def _span(self) -> float:
        return max(self._box.property("maximum") - self._box.property("minimum"), 1e-12)

    def _on_slider(self, position: int) -> None:
        self._box.setValue(self._box.property("minimum") + position / SLIDER_STEPS * self._span())

    def _sync(self) -> None:
        position = (self._box.property("value") - self._box.property("minimum")) / self._span() * SLIDER_STEPS
        self._slider.blockSignals(True)
        self._slider.setValue(round(position))
        self._slider.blockSignals(False)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._box.setVisible(visible)

    spinBoxVisible = QtCore.Property(bool, lambda self: not self._box.isHidden(), setSpinBoxVisible)

    def reset(self) -> None:
        self._box.setValue(0)


@stand_in
class ctkDoubleSlider(ctkSliderWidget):
    """A slider of real numbers, without a spin box."""

    orientation = stored("orientation", int, 1)
    signalSignatures = ("valueChanged(double)", "sliderMoved(double)")
    sliderMoved = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._box.hide()


@stand_in
class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that takes its unit from the scene; here without units."""

    quantity = stored("quantity", str, "")
    unitAwareProperties = stored("unitAwareProperties", int, 0)

    def setMRMLScene(self, scene) -> None:
        self._scene = scene


@stand_in
class qMRMLSpinBox(ctkDoubleSpinBox):
    quantity = stored("quantity", str, "")
    unitAwareProperties = stored("unitAwareProperties", int, 0)
    setMRMLScene = qMRMLSliderWidget.setMRMLScene


class _RangeBar(qt.QWidget):
    """Draws the chosen part of the range between the two spin boxes."""

    def paintEvent(self, event):
        owner, painter = self.parent(), QtGui.QPainter(self)
        colors, height = self.property("palette"), self.property("height")
        low, high = owner.property("minimum"), owner.property("maximum")
        scale = (self.property("width") - 12) / max(high - low, 1e-12)
        start, end = ((owner.property(name) - low) * scale + 6 for name in ("minimumValue", "maximumValue"))
        painter.fillRect(QtCore.QRectF(6, height / 2 - 2, self.property("width") - 12, 4), colors.mid())
        painter.fillRect(QtCore.QRectF(start, height / 2 - 2, end - start, 4), colors.highlight())
        painter.setBrush(colors.button())
        painter.setPen(colors.dark().color())
        for x in (start, end):
            painter.drawEllipse(QtCore.QPointF(x, height / 2), 5, 5)
        painter.end()


@stand_in
class ctkRangeWidget(qt.QWidget):
    """Two spin boxes and a bar: minimum <= minimumValue <= maximumValue <= maximum."""

    valuesChanged = Signal(float, float)
    minimumValueChanged, maximumValueChanged = Signal(float), Signal(float)
    rangeChanged = Signal(float, float)
    signalSignatures = (
        "valuesChanged(double,double)",
        "minimumValueChanged(double)",
        "maximumValueChanged(double)",
        "rangeChanged(double,double)",
    )
    prefix, suffix = stored("prefix", str, ""), stored("suffix", str, "")
    tickInterval = stored("tickInterval", float, 0.0)
    autoSpinBoxWidth = stored("autoSpinBoxWidth", bool, True)
    spinBoxAlignment = stored("spinBoxAlignment", int, 0)
    spinBoxTextAlignment = stored("spinBoxTextAlignment", int, 0)
    tracking, symmetricMoves = stored("tracking", bool, True), stored("symmetricMoves", bool, False)
    customSpinBoxesLimits = stored("customSpinBoxesLimits", bool, False)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._low, self._high, self._bar = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox(), _RangeBar(self)
        row = tight_row(self)
        row.addWidget(self._low)
        row.addWidget(self._bar, 1)
        row.addWidget(self._high)
        self._high.setValue(99)
        self._low.valueChanged.connect(lambda value: self._changed(self.minimumValueChanged, value))
        self._high.valueChanged.connect(lambda value: self._changed(self.maximumValueChanged, value))

    def _changed(self, signal, value: float) -> None:
        self._low.setMaximum(self._high.property("value"))
        self._high.setMinimum(self._low.property("value"))
        self._bar.update()
        signal.emit(value)
        self.valuesChanged.emit(self._low.property("value"), self._high.property("value"))

    def _set_both(self, name: str, value) -> None:
        for box in (self._low, self._high):
            box.setProperty(name, value)

    def setRange(self, minimum, maximum) -> None:
        self._low.setMinimum(minimum)
        self._high.setMaximum(maximum)
        self.rangeChanged.emit(minimum, maximum)
        self._bar.update()

    def setValues(self, minimum, maximum) -> None:
        if minimum > self._high.property("value"):
            self._high.setValue(maximum)
        self._low.setMaximum(self._high.property("maximum"))
        self._low.setValue(minimum)
        self._high.setMinimum(minimum)
        self._high.setValue(maximum)

    def setMinimumValue(self, value) -> None:
        self._low.setValue(value)

    def setMaximumValue(self, value) -> None:
        self._high.setValue(value)

    decimals = QtCore.Property(
        int, lambda self: self._low.property("decimals"), lambda self, value: self._set_both("decimals", value)
    )
    singleStep = QtCore.Property(
        float, lambda self: self._low.property("singleStep"), lambda self, value: self._set_both("singleStep", value)
    )
    minimum = QtCore.Property(
        float,
        lambda self: self._low.property("minimum"),
        lambda self, value: self.setRange(value, self._high.property("maximum")),
    )
    maximum = QtCore.Property(
        float,
        lambda self: self._high.property("maximum"),
        lambda self, value: self.setRange(self._low.property("minimum"), value),
    )
    minimumValue = QtCore.Property(float, lambda self: self._low.property("value"), setMinimumValue)
    maximumValue = QtCore.Property(float, lambda self: self._high.property("value"), setMaximumValue)


@stand_in
class ctkDoubleRangeSlider(ctkRangeWidget):
    orientation = stored("orientation", int, 1)


@stand_in
class qMRMLRangeWidget(ctkRangeWidget):
    quantity = stored("quantity", str, "")
    unitAwareProperties = stored("unitAwareProperties", int, 0)
    setMRMLScene = qMRMLSliderWidget.setMRMLScene

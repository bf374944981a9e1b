"""Charts drawn with QPainter, and the controls of sequences and of the 3-D display of segments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from Testing.headless.pythonqt import stand_in
from Testing.headless.widgets.base import Observations, Signal, qMRMLWidget, stored
from Testing.headless.widgets.ctk_containers import ctkMenuButton
from Testing.headless.widgets.ctk_numbers import tight_row

import qt  # isort: skip

PEN_STYLES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5}  # vtkMRMLPlotSeriesNode line style -> Qt.PenStyle
CLICK_RADIUS = 8  # pixels
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 56, 14, 30, 44


@dataclass
class Series:
    """One series of a chart: its node and the values shown."""

    node: object
    x: np.ndarray
    y: np.ndarray


def _column(table, name: str) -> list[float] | None:
    """The numbers of a table column; None without such a column."""
    if not name or table.GetColumnByName(name) is None:
        return None
    return [table.GetValueByName(row, name).ToDouble() for row in range(table.GetNumberOfRows())]


def series_of(chart) -> list[Series]:
    """The series of a chart node that have a table and columns."""
    found = []
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        node = chart.GetNthPlotSeriesNode(index)
        table = node.GetTableNode().GetTable() if node is not None and node.GetTableNode() is not None else None
        y = _column(table, node.GetYColumnName()) if table is not None else None
        if y is None:
            continue
        x = _column(table, node.GetXColumnName()) if node.IsXColumnRequired() else None
        found.append(Series(node, np.array(range(len(y)) if x is None else x, float), np.array(y)))
    return found


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers between two limits."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9) / count))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count)
    start = math.ceil(low / step - 1e-9)
    return [index * step for index in range(start, math.floor(high / step + 1e-9) + 1)]


@stand_in
class qMRMLPlotView(qt.QWidget):
    """Draws the chart that its plot view node selects; a click on a point sends `dataSelected`.

    What is selected stays so: a click beside all points sends it again, as in Slicer.
    """

    mrmlSceneChanged, dataSelected = Signal(object), Signal(object, object)
    signalSignatures = ("mrmlSceneChanged(vtkMRMLScene*)", "dataSelected(vtkStringArray*,vtkCollection*)")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = self._view_node = None
        self._observations = [Observations()]
        self._selected = (vtk.vtkStringArray(), vtk.vtkCollection())
        self.setMinimumSize(160, 120)

    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def setMRMLPlotViewNode(self, node) -> None:
        self._view_node = node
        self._watch()

    def fitToContent(self) -> None:
        self.update()

    def RemovePlotSelections(self) -> None:
        self._selected = (vtk.vtkStringArray(), vtk.vtkCollection())

    def _chart(self):
        return self._view_node.GetPlotChartNode() if self._view_node is not None else None

    def _watch(self) -> None:
        """Draw again when the view node, its chart, a series or a table changes."""
        chart, things = self._chart(), [self._view_node]
        if chart is not None:
            things += [chart, *(series.node for series in series_of(chart))]
            things += [series.node.GetTableNode() for series in series_of(chart)]
        for observation in self._observations:
            observation.stop()
        self._observations = [Observations() for _ in things]
        for observation, thing in zip(self._observations, things):
            observation.watch(thing, ("ModifiedEvent",), self._watch)
        self.update()

    # -- geometry --------------------------------------------------------------------------------------------------
    def _limits(self, chart, all_series) -> tuple[float, float, float, float]:
        xs, ys = (np.concatenate([getattr(series, axis) for series in all_series] or [[0, 1]]) for axis in "xy")
        bars = any(series.node.GetPlotType() in (series.node.PlotTypeBar,) for series in all_series)
        limits = []
        for axis, values, pad in (("X", xs, 0.5 if bars else 0.0), ("Y", ys, 0.0)):
            values = values[np.isfinite(values)]
            low, high = (values.min() - pad, values.max() + pad) if len(values) else (0.0, 1.0)
            if not getattr(chart, f"Get{axis}AxisRangeAuto")():
                low, high = getattr(chart, f"Get{axis}AxisRange")()
            elif axis == "Y":
                low, high = (min(low, 0.0), high) if bars else (low, high)
                low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
            limits += [low, high if high > low else low + 1]
        return tuple(limits)

    def _frame(self) -> QtCore.QRectF:
        size = QtWidgets.QWidget.size.fget(self)
        width, height = size.width() - MARGIN_LEFT - MARGIN_RIGHT, size.height() - MARGIN_TOP - MARGIN_BOTTOM
        return QtCore.QRectF(MARGIN_LEFT, MARGIN_TOP, max(width, 20), max(height, 20))

    def _pixels(self, limits, x, y) -> list[QtCore.QPointF]:
        frame, (x0, x1, y0, y1) = self._frame(), limits
        across = frame.left() + (np.asarray(x) - x0) / (x1 - x0) * frame.width()
        up = frame.bottom() - (np.asarray(y) - y0) / (y1 - y0) * frame.height()
        return [QtCore.QPointF(a, b) for a, b in zip(across, up)]

    def pointPixel(self, series_index: int, point: int) -> QtCore.QPoint:
        """Where a point of the chart is drawn (for tests: click there)."""
        all_series = series_of(self._chart())
        limits, series = self._limits(self._chart(), all_series), all_series[series_index]
        return self._pixels(limits, series.x[point : point + 1], series.y[point : point + 1])[0].toPoint()

    def mousePressEvent(self, event):
        chart = self._chart()
        all_series = series_of(chart) if chart is not None else []
        limits = self._limits(chart, all_series) if all_series else ()
        for series in reversed(all_series):  # the nearest point of the uppermost series, as VTK's charts choose
            away = [(pixel - event.position()).manhattanLength() for pixel in self._pixels(limits, series.x, series.y)]
            index = int(np.nanargmin(away)) if np.isfinite(away).any() else 0
            if away[index] <= CLICK_RADIUS:
                ids, selection, selections = vtk.vtkStringArray(), vtk.vtkIdTypeArray(), vtk.vtkCollection()
                ids.InsertNextValue(series.node.GetID())
                selection.InsertNextValue(index)
                selections.AddItem(selection)
                self._selected = (ids, selections)
                break
        self.dataSelected.emit(*self._selected)

    # -- drawing ---------------------------------------------------------------------------------------------------
    def paintEvent(self, event):
        painter, chart = QtGui.QPainter(self), self._chart()
        painter.fillRect(QtWidgets.QWidget.rect.fget(self), QtGui.QColor("white"))
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        if chart is not None:
            all_series = series_of(chart)
            limits = self._limits(chart, all_series)
            self._draw_axes(painter, chart, limits)
            for series in all_series:
                self._draw_series(painter, series, limits)
            if chart.GetLegendVisibility():
                self._draw_legend(painter, all_series)
        painter.end()

    def _draw_axes(self, painter, chart, limits) -> None:
        frame, black = self._frame(), QtGui.QColor("#222222")
        center = QtCore.Qt.AlignmentFlag.AlignCenter
        right = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
        for value in ticks(*limits[:2], 8):
            x = self._pixels(limits, [value], [limits[2]])[0].x()
            self._grid(painter, chart, QtCore.QLineF(x, frame.top(), x, frame.bottom()))
            painter.drawText(QtCore.QRectF(x - 30, frame.bottom() + 3, 60, 16), center, f"{value:g}")
        for value in ticks(*limits[2:]):
            y = self._pixels(limits, [limits[0]], [value])[0].y()
            self._grid(painter, chart, QtCore.QLineF(frame.left(), y, frame.right(), y))
            painter.drawText(QtCore.QRectF(18, y - 8, MARGIN_LEFT - 24, 16), right, f"{value:g}")
        painter.setPen(black)
        painter.drawRect(frame)
        if chart.GetTitleVisibility():
            painter.drawText(QtCore.QRectF(0, 4, frame.right(), MARGIN_TOP - 6), center, chart.GetTitle() or "")
        bottom = QtCore.QRectF(frame.left(), frame.bottom() + 20, frame.width(), 20)
        painter.drawText(bottom, center, chart.GetXAxisTitle() or "" if chart.GetXAxisTitleVisibility() else "")
        painter.save()
        painter.translate(2, frame.center().y())
        painter.rotate(-90)
        title = chart.GetYAxisTitle() or "" if chart.GetYAxisTitleVisibility() else ""
        painter.drawText(QtCore.QRectF(-frame.height() / 2, 0, frame.height(), 16), center, title)
        painter.restore()

    def _grid(self, painter, chart, line) -> None:
        if chart.GetGridVisibility():
            painter.setPen(QtGui.QColor("#e2e2e2"))
            painter.drawLine(line)
        painter.setPen(QtGui.QColor("#222222"))

    def _color(self, series) -> QtGui.QColor:
        color = QtGui.QColor.fromRgbF(*series.node.GetColor())
        color.setAlphaF(series.node.GetOpacity())
        return color

    def _draw_series(self, painter, series, limits) -> None:
        node, frame = series.node, self._frame()
        points = self._pixels(limits, series.x, series.y)
        painter.save()
        painter.setClipRect(frame.adjusted(-6, -6, 6, 6))
        if node.GetPlotType() in (node.PlotTypeBar, node.PlotTypeScatterBar):
            width = 0.7 * frame.width() / max(len(points), 1)
            base = self._pixels(limits, [limits[0]], [max(0, limits[2])])[0].y()
            for point in points:
                bar = QtCore.QRectF(point.x() - width / 2, min(point.y(), base), width, abs(base - point.y()))
                painter.fillRect(bar, self._color(series))
        else:
            style = QtCore.Qt.PenStyle(PEN_STYLES[node.GetLineStyle()])
            painter.setPen(QtGui.QPen(self._color(series), node.GetLineWidth(), style))
            finite = np.isfinite(series.y)
            for start, end, known in zip(points, points[1:], finite[1:] & finite[:-1]):
                if known:
                    painter.drawLine(start, end)
            for point, known in zip(points, finite):
                if known:
                    self._draw_marker(painter, node, point, self._color(series))
        painter.restore()

    @staticmethod
    def _draw_marker(painter, node, point, color) -> None:
        style, half = node.GetMarkerStyle(), node.GetMarkerSize() / 2
        painter.setPen(QtGui.QPen(color, 1.5))
        painter.setBrush(color)
        box = QtCore.QRectF(point.x() - half, point.y() - half, 2 * half, 2 * half)
        if style == node.MarkerStyleCircle:
            painter.drawEllipse(box)
        elif style == node.MarkerStyleSquare:
            painter.drawRect(box)
        elif style == node.MarkerStyleDiamond:
            middle = [QtCore.QPointF(*xy) for xy in ((0, -half), (half, 0), (0, half), (-half, 0))]
            painter.drawPolygon(QtGui.QPolygonF([point + offset for offset in middle]))
        elif style == node.MarkerStyleCross:
            painter.drawLine(box.topLeft(), box.bottomRight())
            painter.drawLine(box.bottomLeft(), box.topRight())
        elif style == node.MarkerStylePlus:
            painter.drawLine(point + QtCore.QPointF(-half, 0), point + QtCore.QPointF(half, 0))
            painter.drawLine(point + QtCore.QPointF(0, -half), point + QtCore.QPointF(0, half))

    def _draw_legend(self, painter, all_series) -> None:
        names = [series.node.GetName() for series in all_series]
        metrics, frame = painter.fontMetrics(), self._frame()
        width = 34 + max((metrics.horizontalAdvance(name) for name in names), default=0)
        height = metrics.height() * len(names) + 6
        box = QtCore.QRectF(frame.right() - width - 6, frame.top() + 6, width, height)
        painter.setPen(QtGui.QColor("#bbbbbb"))
        painter.setBrush(QtGui.QColor(255, 255, 255, 220))
        painter.drawRect(box)
        for row, series in enumerate(all_series):
            y = box.top() + 3 + metrics.height() * (row + 0.5)
            painter.setPen(QtGui.QPen(self._color(series), max(series.node.GetLineWidth(), 2)))
            painter.drawLine(QtCore.QPointF(box.left() + 6, y), QtCore.QPointF(box.left() + 24, y))
            painter.setPen(QtGui.QColor("#222222"))
            text = QtCore.QRectF(box.left() + 29, y - metrics.height() / 2, width, metrics.height())
            painter.drawText(text, QtCore.Qt.AlignmentFlag.AlignVCenter, names[row])


class _SequenceControl(qMRMLWidget):
    """Follows one sequence browser node."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._browser, self._observations = None, Observations()
        self._make(tight_row(self))

    def setMRMLSequenceBrowserNode(self, node) -> None:
        self._browser = node
        self._observations.watch(node, ("ModifiedEvent",), self._update)
        self._update()

    def _update(self) -> None:
        """Show the browser's state."""


@stand_in
class qMRMLSequenceBrowserSeekWidget(_SequenceControl):
    """A slider over the items of a sequence and the index value of the current one."""

    def _make(self, row) -> None:
        self._slider, self._label = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self), QtWidgets.QLabel(self)
        row.addWidget(self._slider, 1)
        row.addWidget(self._label)
        self._slider.valueChanged.connect(self.setSelectedItemNumber)

    def slider(self):
        return self._slider

    def setSelectedItemNumber(self, item: int) -> None:
        if self._browser is not None:
            self._browser.SetSelectedItemNumber(item)
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._browser)

    def _update(self) -> None:
        count = self._browser.GetNumberOfItems() if self._browser is not None else 0
        self.setEnabled(count > 0)
        self._slider.blockSignals(True)
        self._slider.setRange(0, max(count - 1, 0))
        if count:
            item, master = self._browser.GetSelectedItemNumber(), self._browser.GetMasterSequenceNode()
            self._slider.setValue(item)
            self._label.setText(f"{master.GetNthIndexValue(item)} {master.GetIndexUnit()}" if item >= 0 else "")
        self._slider.blockSignals(False)


@stand_in
class qMRMLSequenceBrowserPlayWidget(_SequenceControl):
    """First, previous, play, next, last; playing is driven by whoever waits, there is no timer."""

    RecordingControlsVisible = stored("RecordingControlsVisible", bool, True)
    PlayPauseShortcut, PreviousFrameShortcut = (
        stored("PlayPauseShortcut", str, ""),
        stored("PreviousFrameShortcut", str),
    )
    NextFrameShortcut = stored("NextFrameShortcut", str, "")

    def _make(self, row) -> None:
        slots = (self.onVcrFirst, self.onVcrPrevious, self.onVcrPlayPause, self.onVcrNext, self.onVcrLast)
        for text, slot in zip(("|<", "<", "▶", ">", ">|"), slots):
            button = QtWidgets.QToolButton(self)
            button.setText(text)
            button.clicked.connect(slot)
            row.addWidget(button)

    def _go(self, item: int) -> None:
        if self._browser is not None and self._browser.GetNumberOfItems():
            self._browser.SetSelectedItemNumber(item % self._browser.GetNumberOfItems())
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._browser)

    def onVcrFirst(self) -> None:
        self._go(0)

    def onVcrPrevious(self) -> None:
        self._go(self._browser.GetSelectedItemNumber() - 1)

    def onVcrNext(self) -> None:
        self._go(self._browser.GetSelectedItemNumber() + 1)

    def onVcrLast(self) -> None:
        self._go(-1)

    def onVcrPlayPause(self) -> None:
        self.setPlaybackEnabled(not self._browser.GetPlaybackActive())

    def setPlaybackEnabled(self, play: bool) -> None:
        self._browser.SetPlaybackActive(play)

    def setPlaybackRateFps(self, rate: float) -> None:
        self._browser.SetPlaybackRateFps(rate)

    def setPlaybackLoopEnabled(self, loop: bool) -> None:
        self._browser.SetPlaybackLooped(loop)


@stand_in
class qMRMLSegmentationShow3DButton(ctkMenuButton):
    """Makes and shows the closed surfaces of a segmentation."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None
        self.setText("Show 3D")
        self.setCheckable(True)
        self.toggled.connect(self._on_toggled)

    def setSegmentationNode(self, node) -> None:
        self._node = node

    def segmentationNode(self):
        return self._node

    def _on_toggled(self, show: bool) -> None:
        if self._node is not None:
            (self._node.CreateClosedSurfaceRepresentation if show else self._node.RemoveClosedSurfaceRepresentation)()

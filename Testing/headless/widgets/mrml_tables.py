"""Widgets that list the contents of a node: table cells, segments, control points; and the point placement buttons."""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from Testing.headless.pythonqt import stand_in
from Testing.headless.widgets.base import Observations, Signal, qMRMLWidget, qSlicerWidget, stored
from Testing.headless.widgets.ctk_numbers import tight_row

import qt  # isort: skip

MINIMUM_COLUMN_PX = 60  # of Slicer's table view
NO_EDIT = QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers


class qMRMLTableModel(QtGui.QStandardItemModel):
    """The cells of a table node; the row of names comes first unless the node uses names as headers."""

    def __init__(self, parent):
        super().__init__(parent)
        self.node, self.transposed, self._observations = None, False, Observations()
        self.itemChanged.connect(self._write)

    def show(self, node) -> None:
        self.node = node
        self._observations.watch(node, ("ModifiedEvent",), self.update)
        self.update()

    def mrmlTableNode(self):
        return self.node

    def _first_row(self) -> int:
        return 0 if self.node.GetUseColumnTitleAsColumnHeader() else 1

    def _title(self, name: str) -> str:
        return self.node.GetColumnTitle(name) or name

    def _tooltip(self, name: str) -> str:
        unit, description = self.node.GetColumnUnitLabel(name), self.node.GetColumnDescription(name)
        return "<p>".join(filter(None, (unit and f"Unit: {unit}", description)))

    def update(self) -> None:
        """Cells keep their items, so that what is selected stays selected when numbers change, as in Slicer."""
        table = self.node.GetTable() if self.node is not None else None
        if table is None or table.GetNumberOfColumns() == 0:
            self.clear()
            return
        self.itemChanged.disconnect(self._write)
        columns, rows, start = table.GetNumberOfColumns(), table.GetNumberOfRows(), self._first_row()
        shape = (columns, rows + start) if self.transposed else (rows + start, columns)
        self.setRowCount(shape[0])
        self.setColumnCount(shape[1])
        names = [table.GetColumnName(column) for column in range(columns)]
        for column, name in enumerate(names):
            for row in range(rows + start):
                place = (column, row) if self.transposed else (row, column)
                if self.item(*place) is None:
                    self.setItem(*place, QtGui.QStandardItem())
                item = self.item(*place)
                item.setText(self._title(name) if row < start else table.GetValue(row - start, column).ToString())
                item.setToolTip(self._tooltip(name))
                item.setEditable(not self.node.GetLocked())
        if not start:
            titles = [self._title(name) for name in names]
            (self.setVerticalHeaderLabels if self.transposed else self.setHorizontalHeaderLabels)(titles)
        self.itemChanged.connect(self._write)

    def _write(self, item) -> None:
        row, column = (item.column(), item.row()) if self.transposed else (item.row(), item.column())
        self.node.SetCellText(row - self._first_row(), column, item.text())

    def mrmlTableRowIndex(self, index) -> int:
        return (index.column() if self.transposed else index.row()) - self._first_row()

    def mrmlTableColumnIndex(self, index) -> int:
        return index.row() if self.transposed else index.column()


@stand_in
class qMRMLTableView(qt.QTableView):
    """Shows a vtkMRMLTableNode, or the one that its table view node selects."""

    mrmlSceneChanged = Signal(object)
    tableSelectionChanged = Signal()
    signalSignatures = ("mrmlSceneChanged(vtkMRMLScene*)", "selectionChanged()")
    signalAliases = {"selectionChanged": "tableSelectionChanged"}  # a virtual function has that name too
    firstRowLocked, firstColumnLocked = stored("firstRowLocked", bool, False), stored("firstColumnLocked", bool, False)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = self._view_node = None
        self._observations, self._model = Observations(), qMRMLTableModel(self)
        self._proxy = QtCore.QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self._model)
        self.setModel(self._proxy)

    def selectionChanged(self, selected, deselected) -> None:
        super().selectionChanged(selected, deselected)
        self.tableSelectionChanged.emit()

    def setTransposed(self, transposed: bool) -> None:
        self._model.transposed = transposed
        self._model.update()

    transposed = QtCore.Property(bool, lambda self: self._model.transposed, setTransposed)

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene

    def setMRMLTableNode(self, node) -> None:
        self._model.show(node)
        self._proxy.invalidate()
        self.horizontalHeader().setMinimumSectionSize(MINIMUM_COLUMN_PX)
        self.resizeColumnsToContents()
        self.tableSelectionChanged.emit()

    def mrmlTableNode(self):
        return self._model.node

    def setMRMLTableViewNode(self, node) -> None:
        self._view_node = node
        self._observations.watch(node, ("ModifiedEvent",), self._follow_view_node)
        self._follow_view_node()

    def mrmlTableViewNode(self):
        return self._view_node

    def _follow_view_node(self) -> None:
        if self._view_node.GetTableNode() is not self._model.node:
            self.setMRMLTableNode(self._view_node.GetTableNode())

    def tableModel(self):
        return self._model

    def sortFilterProxyModel(self):
        return self._proxy


@stand_in
class qMRMLSegmentsTableView(qMRMLWidget):
    """The segments of a segmentation: visibility, color, name."""

    selectionChanged = Signal(object, object)
    signalSignatures = (
        "selectionChanged(QItemSelection,QItemSelection)",
        "mrmlSceneChanged(vtkMRMLScene*)",
    )
    selectionMode, headerVisible = stored("selectionMode", int, 3), stored("headerVisible", bool, True)
    visibilityColumnVisible = stored("visibilityColumnVisible", bool, True, lambda self: self._fill())
    colorColumnVisible = stored("colorColumnVisible", bool, True, lambda self: self._fill())
    opacityColumnVisible = stored("opacityColumnVisible", bool, True)
    statusColumnVisible, layerColumnVisible = stored("statusColumnVisible", bool), stored("layerColumnVisible", bool)
    readOnly, filterBarVisible = stored("readOnly", bool, False), stored("filterBarVisible", bool, False)
    textFilter = stored("textFilter", str, "")
    jumpToSelectedSegmentEnabled = stored("jumpToSelectedSegmentEnabled", bool, False)
    segmentCount = QtCore.Property(int, lambda self: self._table.property("rowCount"))

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node, self._observations, self._table = None, Observations(), QtWidgets.QTableWidget(0, 3, self)
        self._table.setHorizontalHeaderLabels(["", "", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setEditTriggers(NO_EDIT)
        self._table.verticalHeader().hide()
        tight_row(self).addWidget(self._table)
        self._table.selectionModel().selectionChanged.connect(lambda *changed: self.selectionChanged.emit(*changed))

    def setSegmentationNode(self, node) -> None:
        self._node = node
        segmentation = node.GetSegmentation() if node is not None else None
        events = [
            getattr(slicer.vtkSegmentation, name) for name in ("SegmentAdded", "SegmentRemoved", "SegmentModified")
        ]
        self._observations.watch(segmentation, events, self._fill)
        self._fill()

    def segmentationNode(self):
        return self._node

    def _fill(self) -> None:
        ids = list(self._node.GetSegmentation().GetSegmentIDs()) if self._node is not None else []
        display = self._node.GetDisplayNode() if self._node is not None else None
        self._table.setRowCount(len(ids))
        for row, identifier in enumerate(ids):
            segment = self._node.GetSegmentation().GetSegment(identifier)
            visible = display is None or display.GetSegmentVisibility(identifier)
            cells = [QtWidgets.QTableWidgetItem(text) for text in ("●" if visible else "○", "", segment.GetName())]
            cells[1].setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            cells[0].setData(QtCore.Qt.ItemDataRole.UserRole, identifier)
            for column, cell in enumerate(cells):
                self._table.setItem(row, column, cell)
        self._table.setColumnHidden(0, not self.visibilityColumnVisible)
        self._table.setColumnHidden(1, not self.colorColumnVisible)
        self._table.setColumnWidth(0, 28)
        self._table.setColumnWidth(1, 28)

    def tableWidget(self):
        return self._table

    def segmentIDForRow(self, row: int) -> str:
        return self._table.item(row, 0).data(QtCore.Qt.ItemDataRole.UserRole)

    def rowForSegmentID(self, identifier: str) -> int:
        ids = self.displayedSegmentIDs()
        return ids.index(identifier) if identifier in ids else -1

    def displayedSegmentIDs(self) -> tuple[str, ...]:
        return tuple(self.segmentIDForRow(row) for row in range(self._table.property("rowCount")))

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        rows = sorted({index.row() for index in self._table.selectedIndexes()})
        return tuple(self.segmentIDForRow(row) for row in rows)

    def setSelectedSegmentIDs(self, identifiers) -> None:
        self._table.clearSelection()
        for identifier in identifiers:
            self._table.selectRow(self.rowForSegmentID(identifier))

    def clearSelection(self) -> None:
        self._table.clearSelection()


@stand_in
class qSlicerMarkupsPlaceWidget(qSlicerWidget):
    """The button that starts placing points of the current markups node."""

    ShowPlaceMultipleMarkupsOption, HidePlaceMultipleMarkupsOption = 0, 1
    ForcePlaceSingleMarkup, ForcePlaceMultipleMarkups = 2, 3
    activeMarkupsPlaceModeChanged = Signal(bool)
    signalSignatures = ("activeMarkupsPlaceModeChanged(bool)", "mrmlSceneChanged(vtkMRMLScene*)")
    buttonsVisible = stored("buttonsVisible", bool, True)
    deleteAllControlPointsOptionVisible = stored("deleteAllControlPointsOptionVisible", bool, True)
    unsetLastControlPointOptionVisible = stored("unsetLastControlPointOptionVisible", bool, False)
    unsetAllControlPointsOptionVisible = stored("unsetAllControlPointsOptionVisible", bool, False)
    placeMultipleMarkups = stored("placeMultipleMarkups", int, 0)
    placeModePersistency = stored("placeModePersistency", bool, False)
    nodeColor, defaultNodeColor = stored("nodeColor", QtGui.QColor), stored("defaultNodeColor", QtGui.QColor)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node, self._observations = None, Observations()
        self._place, self._delete = QtWidgets.QToolButton(self), QtWidgets.QToolButton(self)
        self._place.setText("Place")
        self._place.setCheckable(True)
        self._delete.setText("Delete")
        row = tight_row(self)
        row.addWidget(self._place)
        row.addWidget(self._delete)
        row.addStretch(1)
        self._place.clicked.connect(self.setPlaceModeEnabled)
        self._delete.clicked.connect(self.deleteLastPoint)

    def setMRMLScene(self, scene) -> None:
        super().setMRMLScene(scene)
        interaction = self.interactionNode() if scene is not None else None
        self._observations.watch(interaction, ("ModifiedEvent",), self._report)

    def interactionNode(self):
        return slicer.app.applicationLogic().GetInteractionNode()

    def selectionNode(self):
        return slicer.app.applicationLogic().GetSelectionNode()

    def setCurrentNode(self, node) -> None:
        self._node = node

    def currentNode(self):
        return self._node

    currentMarkupsNode = currentMarkupsFiducialNode = currentNode

    def _active(self) -> bool:
        return self._node is not None and self.selectionNode().GetActivePlaceNodeID() == self._node.GetID()

    def setCurrentNodeActive(self, active: bool) -> None:
        if active and self._node is not None:
            self.selectionNode().SetReferenceActivePlaceNodeClassName(self._node.GetClassName())
            self.selectionNode().SetActivePlaceNodeID(self._node.GetID())

    currentNodeActive = QtCore.Property(bool, _active, setCurrentNodeActive)

    def _placing(self) -> bool:
        return self._active() and self.interactionNode().GetCurrentInteractionMode() == self.interactionNode().Place

    def setPlaceModeEnabled(self, enabled: bool) -> None:
        interaction = self.interactionNode()
        if enabled:
            self.setCurrentNodeActive(True)
            persistent = self.property("placeMultipleMarkups") == self.ForcePlaceMultipleMarkups
            interaction.SetPlaceModePersistence(int(persistent or self.property("placeModePersistency")))
        interaction.SetCurrentInteractionMode(interaction.Place if enabled else interaction.ViewTransform)

    placeModeEnabled = QtCore.Property(bool, _placing, setPlaceModeEnabled)

    def _report(self) -> None:
        self._place.setChecked(self._placing())
        self.activeMarkupsPlaceModeChanged.emit(self._placing())

    def placeButton(self):
        return self._place

    def deleteButton(self):
        return self._delete

    def deleteLastPoint(self) -> None:
        if self._node is not None and self._node.GetNumberOfControlPoints():
            self._node.RemoveNthControlPoint(self._node.GetNumberOfControlPoints() - 1)

    def deleteAllPoints(self) -> None:
        if self._node is not None:
            self._node.RemoveAllControlPoints()


@stand_in
class qSlicerSimpleMarkupsWidget(qSlicerWidget):
    """Choice of a markups node and the list of its control points."""

    markupsNodeChanged, markupsFiducialNodeChanged = Signal(), Signal()
    updateFinished = Signal()
    signalSignatures = (
        "markupsNodeChanged()",
        "markupsFiducialNodeChanged()",
        "updateFinished()",
        "mrmlSceneChanged(vtkMRMLScene*)",
    )
    nodeSelectorVisible = stored("nodeSelectorVisible", bool, True, lambda self: self._show_parts())
    optionsVisible = stored("optionsVisible", bool, True, lambda self: self._show_parts())
    enterPlaceModeOnNodeChange = stored("enterPlaceModeOnNodeChange", bool, True)
    jumpToSliceEnabled, viewGroup = stored("jumpToSliceEnabled", bool, False), stored("viewGroup", int, 0)
    defaultNodeColor = stored("defaultNodeColor", QtGui.QColor)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._observations, self._table = Observations(), QtWidgets.QTableWidget(0, 4, self)
        self._selector, self._place = slicer.qMRMLNodeComboBox(self), qSlicerMarkupsPlaceWidget(self)
        self._selector.nodeTypes, self._selector.noneEnabled = ["vtkMRMLMarkupsFiducialNode"], True
        self._table.setHorizontalHeaderLabels(["Label", "R", "A", "S"])
        self._table.setEditTriggers(NO_EDIT)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        column = QtWidgets.QVBoxLayout(self)
        for part in (self._selector, self._place, self._table):
            column.addWidget(part)
        self._selector.currentNodeChanged.connect(self._on_node)

    def _show_parts(self) -> None:
        self._selector.setVisible(self.nodeSelectorVisible)
        self._place.setVisible(self.optionsVisible)

    def setMRMLScene(self, scene) -> None:
        super().setMRMLScene(scene)
        self._selector.setMRMLScene(scene)
        self._place.setMRMLScene(scene)

    def setCurrentNode(self, node) -> None:
        self._selector.setCurrentNode(node)

    def currentNode(self):
        return self._selector.currentNode()

    def _on_node(self, node) -> None:
        self._place.setCurrentNode(node)
        markups = slicer.vtkMRMLMarkupsNode
        events = (markups.PointModifiedEvent, markups.PointAddedEvent, markups.PointRemovedEvent)
        self._observations.watch(node, events, self._fill)
        self._fill()
        self.markupsNodeChanged.emit()
        self.markupsFiducialNodeChanged.emit()

    def _fill(self) -> None:
        node = self.currentNode()
        self._table.setRowCount(node.GetNumberOfControlPoints() if node is not None else 0)
        for row in range(self._table.property("rowCount")):
            position = [f"{value:.3f}" for value in node.GetNthControlPointPositionWorld(row)]
            for column, text in enumerate([node.GetNthControlPointLabel(row), *position]):
                self._table.setItem(row, column, QtWidgets.QTableWidgetItem(text))
        self._table.resizeColumnsToContents()
        self.updateFinished.emit()

    def highlightNthControlPoint(self, index: int) -> None:
        self._table.selectRow(index)

    def setNodeBaseName(self, name: str) -> None:
        self._selector.baseName = name

    def tableWidget(self):
        return self._table

    def markupsPlaceWidget(self):
        return self._place

    def markupsSelectorComboBox(self):
        return self._selector

"""Widgets that choose a node or a subject hierarchy item."""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from Testing.headless.pythonqt import stand_in
from Testing.headless.widgets.base import Observations, Signal, scene_events, stored
from Testing.headless.widgets.ctk_numbers import tight_row

import qt  # isort: skip


@stand_in
class qMRMLNodeComboBox(qt.QWidget):
    """The nodes of some classes; disabled until it has a scene, as in Slicer."""

    currentNodeChanged, currentNodeIDChanged = Signal(object), Signal(str)
    nodeActivated, nodeAdded, nodeAboutToBeRemoved = Signal(object), Signal(object), Signal(object)
    nodeAddedByUser, nodeAddedByUserAction = Signal(object), Signal(object)
    signalSignatures = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "currentNodeIDChanged(QString)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAddedByUserAction(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
    )
    nodeTypes = stored("nodeTypes", "QStringList", [], lambda self: self._fill())
    hideChildNodeTypes = stored("hideChildNodeTypes", "QStringList", [], lambda self: self._fill())
    showChildNodeTypes = stored("showChildNodeTypes", bool, True, lambda self: self._fill())
    showHidden = stored("showHidden", bool, False, lambda self: self._fill())
    noneEnabled = stored("noneEnabled", bool, False, lambda self: self._fill())
    noneDisplay = stored("noneDisplay", str, "None", lambda self: self._fill())
    baseName = stored("baseName", str, "")
    addEnabled, removeEnabled = stored("addEnabled", bool, True), stored("removeEnabled", bool, True)
    editEnabled, renameEnabled = stored("editEnabled", bool, False), stored("renameEnabled", bool, False)
    selectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    interactionNodeSingletonTag = stored("interactionNodeSingletonTag", str, "Singleton")
    sizeAdjustPolicy = stored("sizeAdjustPolicy", int, 0)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._attributes, self._ids, self._reported = None, [], [], ""
        self._observations, self._names = Observations(), []
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        self._box.setMinimumContentsLength(8)
        tight_row(self).addWidget(self._box)
        self._box.currentIndexChanged.connect(self._report)
        self._box.activated.connect(lambda _: self.nodeActivated.emit(self.currentNode()))
        self.setFocusProxy(self._box)
        self._box.setEnabled(False)

    # -- the list --------------------------------------------------------------------------------------------------
    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        self._box.setEnabled(scene is not None)
        self._observations.watch(scene, scene_events(scene) if scene is not None else (), self._fill)
        self._fill()

    def mrmlScene(self):
        return self._scene

    def addAttribute(self, node_class: str, name: str, value=None) -> None:
        self._attributes.append((node_class, name, value))
        self._fill()

    def removeAttribute(self, node_class: str, name: str) -> None:
        self._attributes = [known for known in self._attributes if known[:2] != (node_class, name)]
        self._fill()

    def _accepts(self, node) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(hidden) for hidden in self.hideChildNodeTypes):
            return False
        exact = self.showChildNodeTypes or node.GetClassName() in self.nodeTypes
        wanted = [(name, value) for cls, name, value in self._attributes if node.IsA(cls)]
        has = [
            node.GetAttribute(name) is not None if value is None else node.GetAttribute(name) == str(value)
            for name, value in wanted
        ]
        return exact and all(has)

    def _nodes(self) -> list:
        nodes = []
        for node_class in self.nodeTypes if self._scene is not None else []:
            found = self._scene.GetNodesByClass(node_class)
            found.UnRegister(None)
            nodes += [node for node in (found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())) if node]
        return [node for node in dict.fromkeys(nodes) if self._accepts(node)]

    def _fill(self) -> None:
        if self._scene is not None and self._scene.IsBatchProcessing():
            return  # Slicer waits too; the end event of the import or close fills the list
        nodes, kept = self._nodes(), self.currentNodeID
        first = [("", self.noneDisplay)] if self.noneEnabled else []
        entries = first + [(node.GetID(), node.GetName()) for node in nodes]
        self._ids = [identifier for identifier, _ in entries]
        self._box.blockSignals(True)
        self._box.clear()
        self._box.addItems([name or "" for _, name in entries])
        self._box.setCurrentIndex(self._ids.index(kept) if kept in self._ids else 0 if entries else -1)
        self._box.blockSignals(False)
        for observation in self._names:
            observation.stop()
        self._names = []
        for node in nodes:
            observation = Observations()
            observation.watch(node, ("ModifiedEvent",), self._rename)
            self._names.append(observation)
        self._report()

    def _rename(self) -> None:
        for index, identifier in enumerate(self._ids):
            node = self._scene.GetNodeByID(identifier) if identifier else None
            if node is not None and self._box.itemText(index) != node.GetName():
                self._box.setItemText(index, node.GetName())

    def _report(self, *_) -> None:
        if self.currentNodeID != self._reported:
            self._reported = self.currentNodeID
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(self._reported)

    # -- the choice ------------------------------------------------------------------------------------------------
    def currentNode(self):
        return self._scene.GetNodeByID(self.currentNodeID) if self._scene is not None and self.currentNodeID else None

    def _current_id(self) -> str:
        index = self._box.property("currentIndex")
        return self._ids[index] if 0 <= index < len(self._ids) else ""

    def setCurrentNodeID(self, identifier: str) -> None:
        identifier = identifier or ""
        self._box.setCurrentIndex(self._ids.index(identifier) if identifier in self._ids else -1)

    currentNodeID = QtCore.Property(str, _current_id, setCurrentNodeID)

    def setCurrentNode(self, node) -> None:
        if isinstance(node, str):
            self.setCurrentNodeID(node)
        else:
            self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeIndex(self, index: int) -> None:
        self._box.setCurrentIndex(index + self.noneEnabled)

    def nodeCount(self) -> int:
        return len(self._ids) - self.noneEnabled

    def nodeFromIndex(self, index: int):
        index += self.noneEnabled
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def addNode(self, node_class: str | None = None):
        """What "Create new ..." in the list does."""
        node_class = node_class or self.nodeTypes[0]
        node = self._scene.CreateNodeByClass(node_class)
        node.UnRegister(None)
        name = self.baseName or node.GetNodeTagName()
        node.SetName(self._scene.GenerateUniqueName(name))
        for cls, attribute, value in self._attributes:
            if node.IsA(cls):
                node.SetAttribute(attribute, str(value or ""))
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        for signal in (self.nodeAddedByUser, self.nodeAddedByUserAction, self.nodeAdded):
            signal.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self.nodeAboutToBeRemoved.emit(self.currentNode())
        self._scene.RemoveNode(self.currentNode())


class _HierarchyItems(QtGui.QStandardItemModel):
    """The items of the subject hierarchy that hold an accepted data node, and the folders above them."""

    ITEM = QtCore.Qt.ItemDataRole.UserRole

    def fill(self, scene, accepts) -> None:
        self.clear()
        self.setHorizontalHeaderLabels(["Node"])
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        self._add(hierarchy, hierarchy.GetSceneItemID(), self.invisibleRootItem(), accepts)

    def _add(self, hierarchy, parent: int, row, accepts) -> bool:
        import vtk

        children, found = vtk.vtkIdList(), False
        hierarchy.GetItemChildren(parent, children)
        for index in range(children.GetNumberOfIds()):
            item = children.GetId(index)
            node = hierarchy.GetItemDataNode(item)
            entry = QtGui.QStandardItem(hierarchy.GetItemName(item))
            entry.setData(item, self.ITEM)
            below = self._add(hierarchy, item, entry, accepts)
            if below or (node is not None and accepts(node)):
                row.appendRow(entry)
                found = True
        return found

    def index_of(self, item: int):
        found = self.match(self.index(0, 0), self.ITEM, item, 1, QtCore.Qt.MatchFlag.MatchRecursive)
        return found[0] if found else QtCore.QModelIndex()


class _HierarchyWidget:
    """Scene, filter and current item, shared by the tree and the combo box."""

    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        events = scene_events(scene) if scene is not None else ()
        self._observations = self.__dict__.get("_observations") or Observations()
        self._observations.watch(scene, events, self._fill)
        self._fill()

    def mrmlScene(self):
        return self.__dict__.get("_scene")

    def subjectHierarchyNode(self):
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _fill(self) -> None:
        if self.mrmlScene() is not None and not self._scene.IsBatchProcessing():
            self._items.fill(self._scene, lambda node: not self.nodeTypes or any(map(node.IsA, self.nodeTypes)))

    def setCurrentNode(self, node) -> None:
        self.setCurrentItem(self.subjectHierarchyNode().GetItemByDataNode(node) if node is not None else 0)


@stand_in
class qMRMLSubjectHierarchyTreeView(qt.QTreeView, _HierarchyWidget):
    currentItemChanged, currentItemsChanged = Signal(object), Signal(object)
    currentItemModified = Signal(object)
    signalSignatures = (
        "currentItemChanged(vtkIdType)",
        "currentItemsChanged(QList<vtkIdType>)",
        "currentItemModified(vtkIdType)",
    )
    nodeTypes = stored("nodeTypes", "QStringList", [], lambda self: self._fill())
    hideChildNodeTypes, levelFilter = (
        stored("hideChildNodeTypes", "QStringList", []),
        stored("levelFilter", "QStringList"),
    )
    nameFilter = stored("nameFilter", str, "")
    attributeNameFilter, attributeValueFilter = stored("attributeNameFilter", str), stored("attributeValueFilter", str)
    showRootItem, multiSelection = stored("showRootItem", bool, True), stored("multiSelection", bool, False)
    highlightReferencedItems = stored("highlightReferencedItems", bool, True)
    contextMenuEnabled = stored("contextMenuEnabled", bool, True)
    editMenuActionVisible = stored("editMenuActionVisible", bool, True)
    selectRoleSubMenuVisible = stored("selectRoleSubMenuVisible", bool, True)
    visibilityColumnVisible, idColumnVisible = (
        stored("visibilityColumnVisible", bool, True),
        stored("idColumnVisible", bool),
    )
    colorColumnVisible, transformColumnVisible = (
        stored("colorColumnVisible", bool),
        stored("transformColumnVisible", bool),
    )
    descriptionColumnVisible = stored("descriptionColumnVisible", bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._items = _HierarchyItems(self)
        self.setModel(self._items)
        self.selectionModel().currentChanged.connect(lambda *_: self._report())

    def _fill(self) -> None:
        super()._fill()
        self.expandAll()

    def _report(self) -> None:
        self.currentItemChanged.emit(self.currentItem())
        self.currentItemsChanged.emit([self.currentItem()])

    def currentItem(self) -> int:
        return self.currentIndex().data(_HierarchyItems.ITEM) or 0

    def setCurrentItem(self, item: int) -> None:
        self.setCurrentIndex(self._items.index_of(item))

    def displayedItemCount(self) -> int:
        everything = QtCore.Qt.MatchFlag.MatchRecursive | QtCore.Qt.MatchFlag.MatchWildcard
        return len(self._items.findItems("*", everything))


@stand_in
class qMRMLSubjectHierarchyComboBox(qt.QComboBox, _HierarchyWidget):
    currentItemChanged = Signal(object)
    signalSignatures = ("currentItemChanged(vtkIdType)",)
    nodeTypes = stored("nodeTypes", "QStringList", [], lambda self: self._fill())
    noneEnabled, noneDisplay = stored("noneEnabled", bool, False), stored("noneDisplay", str, "None")
    levelFilter, nameFilter = stored("levelFilter", "QStringList"), stored("nameFilter", str, "")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._items = _HierarchyItems(self)
        self.setModel(self._items)
        self.currentIndexChanged.connect(lambda _: self.currentItemChanged.emit(self.currentItem()))

    def currentItem(self) -> int:
        return self.currentData(_HierarchyItems.ITEM) or 0

    def setCurrentItem(self, item: int) -> None:
        self.setCurrentIndex(self._items.index_of(item).row())

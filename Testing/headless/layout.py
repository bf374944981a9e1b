"""`slicer.app.layoutManager()`: slice views, plot and table views by the scene's layout node. No 3-D views."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import slicer

from Testing.headless.views import OffscreenSliceView

SLICE_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
FOUR_UP = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


class LayoutManager:
    """Slice views exist from the start, further views when the layout first shows them, as in Slicer."""

    def __init__(self, app):
        self._app, self._slices, self._others = app, {}, {}
        for name, orientation in SLICE_VIEWS.items():
            self._slices[name] = OffscreenSliceView(app, name, orientation)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(app.mrmlScene())
        self.setLayout(FOUR_UP)

    def layoutLogic(self):
        return self._logic

    def mrmlScene(self):
        return self._app.mrmlScene()

    @property
    def layout(self) -> int:
        return self._logic.GetLayoutNode().GetViewArrangement()

    @layout.setter
    def layout(self, value: int) -> None:
        self.setLayout(value)

    def setLayout(self, value: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(value)

    # -- slice views -----------------------------------------------------------------------------------------------
    def sliceViewNames(self) -> tuple[str, ...]:
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if node.GetName() not in self._slices:
                self._slices[node.GetName()] = OffscreenSliceView(self._app, node.GetName())
        return tuple(self._slices)

    def sliceWidget(self, name: str):
        """The slice widget; its slice view is an OffscreenSliceView."""
        self.sliceViewNames()
        view = self._slices.get(name)
        if view is None:
            return None
        controller = SimpleNamespace(
            fitSliceToBackground=view.fitSliceToBackground,
            setSliceOffsetValue=view.logic.SetSliceOffset,
            mrmlSliceCompositeNode=view.mrmlSliceCompositeNode,
        )
        return SimpleNamespace(
            sliceView=lambda: view,
            sliceLogic=view.sliceLogic,
            mrmlSliceNode=view.mrmlSliceNode,
            mrmlSliceCompositeNode=view.mrmlSliceCompositeNode,
            interactorStyle=view.interactorStyle,
            sliceController=lambda: controller,
            fitSliceToBackground=view.fitSliceToBackground,
        )

    def mrmlSliceLogics(self):
        return self._app.applicationLogic().GetSliceLogics()

    def turn_upright(self) -> None:
        """Slice views back to their first directions; the scene keeps view nodes, so a test's tilt would stay."""
        for name, orientation in SLICE_VIEWS.items():
            self._slices[name].node.SetOrientation(orientation)
            self._slices[name].logic.SetSliceOffset(0)

    def resetSliceViews(self) -> None:
        for view in self._slices.values():
            view.logic.FitSliceToBackground()

    # -- plot and table views --------------------------------------------------------------------------------------
    def _view_widget(self, node, make):
        if node.GetID() not in self._others:
            self._others[node.GetID()] = make(node)
        return self._others[node.GetID()]

    def _nodes(self, node_class: str) -> list:
        return slicer.util.getNodesByClass(node_class)

    @property
    def plotViewCount(self) -> int:
        return len(self._nodes("vtkMRMLPlotViewNode"))

    @property
    def tableViewCount(self) -> int:
        return len(self._nodes("vtkMRMLTableViewNode"))

    threeDViewCount = 0

    def plotWidget(self, index: int):
        nodes = self._nodes("vtkMRMLPlotViewNode")
        return self._plot_widget(nodes[index]) if index < len(nodes) else None

    def tableWidget(self, index: int):
        nodes = self._nodes("vtkMRMLTableViewNode")
        return self._table_widget(nodes[index]) if index < len(nodes) else None

    def threeDWidget(self, index: int):
        return None

    def _plot_widget(self, node):
        def make(node):
            view = slicer.qMRMLPlotView()
            view.setMRMLScene(self.mrmlScene())
            view.setMRMLPlotViewNode(node)
            return SimpleNamespace(plotView=lambda: view, mrmlPlotViewNode=lambda: node)

        return self._view_widget(node, make)

    def _table_widget(self, node):
        def make(node):
            view = slicer.qMRMLTableView()
            view.setMRMLScene(self.mrmlScene())
            view.setMRMLTableViewNode(node)
            return SimpleNamespace(tableView=lambda: view, mrmlTableViewNode=lambda: node)

        return self._view_widget(node, make)

    # -- for pictures ----------------------------------------------------------------------------------------------
    def description(self) -> ElementTree.Element:
        """The layout the scene asks for, as Slicer's layout XML."""
        return ElementTree.fromstring(self._logic.GetLayoutNode().GetCurrentLayoutDescription())

    def qt_view(self, element: ElementTree.Element):
        """The plot or table widget that a `<view>` of the description names, or None."""
        tag = element.get("singletontag")
        node = self.mrmlScene().GetSingletonNode(tag, element.get("class"))
        if node is None:
            return None
        if element.get("class") == "vtkMRMLPlotViewNode":
            return self._plot_widget(node).plotView()
        return self._table_widget(node).tableView()

"""Slice views without a screen: a real slice logic and real displayable managers, pictures as arrays, mouse events."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
)
COLORS = {"Red": "#f34a33", "Yellow": "#edd54c", "Green": "#6eb04b"}  # of the view's controller bar in Slicer


class OffscreenSliceView:
    """One slice view of the layout; the window is made when a picture or a mouse event first needs it.

    `logic`: vtkMRMLSliceLogic; `node`: vtkMRMLSliceNode; `size`: width and height in pixels.
    """

    def __init__(self, app, name: str = "Red", orientation: str | None = None, size: tuple[int, int] = (400, 400)):
        self.app, self.name, self.size, self._window = app, name, size, None
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(app.applicationLogic())
        app.applicationLogic().GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(app.mrmlScene())
        self.node = self.logic.AddSliceNode(name)
        if orientation:
            self.node.SetOrientation(orientation)
        self.logic.ResizeSliceNode(*size)

    @property
    def window(self):
        """The render window, with interactor, displayable managers and the slice picture."""
        if self._window is None:
            self._make_window()
        return self._window

    def _make_window(self) -> None:
        self.renderer, overlay = vtk.vtkRenderer(), vtk.vtkRenderer()
        overlay.SetLayer(1)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetNumberOfLayers(2)
        for renderer in (self.renderer, overlay):
            renderer.GetActiveCamera().ParallelProjectionOn()
            self._window.AddRenderer(renderer)
        self._window.SetSize(*self.size)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self._window)
        self.interactor.Initialize()
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self.interactor.UpdateSize(*self.size)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self.app.applicationLogic())
        for manager in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.style = slicer.vtkMRMLSliceViewInteractorStyle()
        self.style.SetSliceLogic(self.logic)
        self.style.SetDisplayableManagers(self.managers)
        self.style.SetInteractor(self.interactor)
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self.mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)

    def resize(self, width: int, height: int) -> None:
        """Give the view another size, keeping what it shows in view."""
        if (width, height) != self.size:
            self.size = (width, height)
            self.window.SetSize(width, height)
            self.interactor.UpdateSize(width, height)
            self.logic.ResizeSliceNode(width, height)

    def show(self, volume) -> None:
        """Show a volume node as background, fitted to the view."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def image(self) -> np.ndarray:
        """The picture: (height, width, 3) uint8, first row on top."""
        window = self.window
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
        window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(window)
        grab.ReadFrontBufferOff()
        grab.Update()
        width, height, _ = grab.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(height, width, -1)[::-1, :, :3].copy()

    # -- the mouse; pixels, origin at the lower left as in VTK -----------------------------------------------------
    def xy(self, ras) -> tuple[int, int]:
        """The display pixel of a world point (RAS, mm)."""
        to_xy = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), to_xy)
        x, y = to_xy.MultiplyPoint((*ras, 1))[:2]
        return round(x), round(y)

    def move(self, x: int, y: int) -> None:
        self.window  # noqa: B018  (makes the interactor)
        self.interactor.SetEventInformation(x, y, 0, 0, chr(0), 0, None)
        self.interactor.MouseMoveEvent()

    def drag(self, start: tuple[int, int], end: tuple[int, int], steps: int = 4) -> None:
        """Press the left button at `start`, move in steps, release at `end`."""
        self.move(*start)
        self.interactor.LeftButtonPressEvent()
        for step in range(1, steps + 1):
            self.move(*(round(a + (b - a) * step / steps) for a, b in zip(start, end)))
        self.interactor.LeftButtonReleaseEvent()

    def click(self, x: int, y: int) -> None:
        self.drag((x, y), (x, y), 1)

    def wheel(self, steps: int) -> None:
        """Turn the wheel: positive numbers are turns forward."""
        self.move(self.size[0] // 2, self.size[1] // 2)
        event = self.interactor.MouseWheelForwardEvent if steps > 0 else self.interactor.MouseWheelBackwardEvent
        for _ in range(abs(steps)):
            event()

    # -- what module code calls on qMRMLSliceWidget and qMRMLSliceView ---------------------------------------------
    def mrmlSliceNode(self):
        return self.node

    def sliceLogic(self):
        return self.logic

    def mrmlSliceCompositeNode(self):
        return self.logic.GetSliceCompositeNode()

    def interactorStyle(self):
        self.window  # noqa: B018
        return self.style

    def fitSliceToBackground(self) -> None:
        self.logic.FitSliceToBackground()

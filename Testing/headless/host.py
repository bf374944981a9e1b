"""Drives one scripted module in the headless application: load, click, wait, grab, save and load the scene."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from PySide6 import QtCore, QtTest, QtWidgets

from Testing.headless import pictures, start

REPOSITORY = Path(__file__).resolve().parents[2]
POLL = 0.01  # seconds between two looks at a condition


def open_module(name: str, folder: Path | str | None = None, enter: bool = True) -> ModuleHost:
    """Load module `name` the way Slicer does and show it.

    Every module folder of the repository is put on `sys.path`, `<folder>/<name>.py` is executed, class `<name>` is
    constructed with a parent, a `<name>FileReader` (if any) is registered, `<name>Widget(panel).setup()` runs, then
    `enter()`. A module that is loaded already is not loaded again, as in Slicer: the same host comes back, entered.

    `folder`: the module's folder if it is not `<repository>/<name>`. `enter`: False stops before `enter()`.
    """
    app = start()
    host = app.moduleManager().host(name) or ModuleHost(app, name, Path(folder or REPOSITORY / name))
    if enter:
        host.enter()
    return host


class ModuleHost:
    """A module in the headless application.

    Attributes: `app` (HeadlessApplication), `module` (the `<M>` object), `widget` (the `<M>Widget` object), `logic`
    (`widget.logic`), `ui` (`widget.ui`), `panel` (the Qt widget that Slicer hands to `<M>Widget`), `dialogs`
    (`app.dialogs`: every message box shown, and the answers to give).
    """

    def __init__(self, app, name: str, folder: Path):
        self.app, self.name, self.dialogs = app, name, app.dialogs
        self._module = app.moduleManager().add(name, Path(folder).resolve(), self)
        self.panel = self._module.widgetRepresentation()
        self.panel.resize(500, 800)
        self.panel.show()  # on Qt's off-screen platform; hidden widgets would not lay out

    @property
    def module(self):
        return self._module.self()

    @property
    def widget(self):
        return self.panel.self()

    @property
    def logic(self):
        return self.widget.logic

    @property
    def ui(self):
        return self.widget.ui

    # -- life cycle, as the module selector and the scene drive it -------------------------------------------------
    def enter(self) -> None:
        """Show the panel (`<M>Widget.enter`), leaving the module that was shown before."""
        manager = self.app.moduleManager()
        if manager.current is not self:
            if manager.current is not None:
                manager.current.leave()
            manager.current = self
            self.panel.setEntered(True)
            self.process()

    def leave(self) -> None:
        """Show another module's panel (`<M>Widget.exit`)."""
        manager = self.app.moduleManager()
        if manager.current is self:
            manager.current = None
            self.panel.setEntered(False)

    def reload(self) -> None:
        """What the developer section's Reload button does (`<M>Widget.onReload`)."""
        self.widget.onReload()
        self.process()

    def close(self) -> None:
        """Unload the module (`<M>Widget.cleanup`), as when Slicer quits."""
        self.leave()
        self.app.moduleManager().remove(self.name)
        self.process()

    def run_self_test(self) -> None:
        """Run `<M>Test().runTest()` in testing mode, as Reload & Test does; failures are raised."""
        before, self.app.testing = self.app.testing, True
        try:
            self.module.runTest()
        finally:
            self.app.testing = before

    # -- the user's hand -------------------------------------------------------------------------------------------
    def child(self, name: str):
        """The panel's widget with this object name; LookupError with the names that exist otherwise."""
        found = QtCore.QObject.findChild(self.panel, QtWidgets.QWidget, name)
        if found is None:
            children = QtCore.QObject.findChildren(self.panel, QtWidgets.QWidget)
            names = sorted({child.objectName for child in children if child.objectName})
            raise LookupError(f"{self.name}'s panel has no widget '{name}'; it has: {', '.join(names)}")
        return found

    def _usable(self, widget, verb: str):
        widget = self.child(widget) if isinstance(widget, str) else widget
        if not widget.isVisible():
            raise AssertionError(f"A user could not {verb} {widget.objectName or widget}: it is hidden")
        if not widget.isEnabled():
            raise AssertionError(f"A user could not {verb} {widget.objectName or widget}: it is disabled")
        return widget

    def click(self, button) -> None:
        """Click a button, check box or tool button (object or name); refuses one that is hidden or disabled."""
        button = self._usable(button, "click")
        button.click() if hasattr(button, "click") else QtTest.QTest.mouseClick(button, QtCore.Qt.LeftButton)
        self.process()

    def key(self, widget, key: str, modifiers: Sequence[str] = ()) -> None:
        """Press a key, e.g. `host.key(host.panel, "3")`, `host.key("notesEdit", "Z", ["Control"])`."""
        widget = self._usable(widget, "type into")
        pressed = QtCore.Qt.NoModifier
        for modifier in modifiers:
            pressed |= getattr(QtCore.Qt, f"{modifier}Modifier")
        widget.activateWindow()
        widget.setFocus()
        self.process()
        QtTest.QTest.keyClick(widget, getattr(QtCore.Qt, f"Key_{key}"), pressed)
        self.process()

    def type(self, widget, text: str) -> None:
        """Type a text into a line edit, spin box or text edit."""
        widget = self._usable(widget, "type into")
        QtTest.QTest.keyClicks(widget, text)
        self.process()

    def wait(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Run Qt's event loop until `condition()` is true; TimeoutError after `timeout` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"Nothing happened within {timeout:g} s; dialogs: {self.dialogs.texts()}")
            self.process(POLL)

    def process(self, seconds: float = 0.0) -> None:
        """Run Qt's event loop for so many seconds (0: what is pending)."""
        if seconds > 0:
            loop = QtCore.QEventLoop()
            QtCore.QTimer.singleShot(round(seconds * 1000), loop.quit)
            loop.exec()
        self.app.processEvents()

    # -- the scene -------------------------------------------------------------------------------------------------
    def save_scene(self, path: Path | str) -> Path:
        """Save the scene as an `.mrb` (or `.mrml`) file through `slicer.util.saveScene`."""
        import slicer

        if not slicer.util.saveScene(str(path)):
            raise OSError(f"The scene could not be saved as {path}")
        return Path(path)

    def load_scene(self, path: Path | str, clear: bool = True) -> None:
        """Load a scene through `slicer.util.loadScene`, closing the present one first unless `clear` is False."""
        import slicer

        if clear:
            self.close_scene()
        slicer.util.loadScene(str(path))
        self.process()

    def close_scene(self) -> None:
        """File > Close scene: `slicer.mrmlScene.Clear(0)`, with the events modules observe."""
        self.app.mrmlScene().Clear(0)
        self.process()

    # -- pictures --------------------------------------------------------------------------------------------------
    def grab(
        self,
        path: Path | str | None = None,
        width: int = 500,
        style: str = "light",
        height: int | None = None,
    ) -> Image.Image:
        """A picture of the panel (PIL image, RGB), also written to `path`.

        `width`: pixels, 325 is the narrowest a panel must bear; `style`: "light" or "dark"; `height`: None for all of
        the panel, scrolled contents included.
        """
        return pictures.save(pictures.panel(self, width, style, height), path)

    def screenshot_with_views(
        self,
        path: Path | str | None = None,
        views: Sequence[str] | None = None,
        size: tuple[int, int] = (1280, 800),
        panel_width: int = 400,
        style: str = "light",
    ) -> Image.Image:
        """A picture like Slicer's window: panel on the left, views on the right (PIL image, RGB).

        `views`: None for the layout the scene asks for (`slicer.app.layoutManager().layout`), without its 3-D views;
        or slice views by name, and "Plot", "Table", in a grid of at most two columns. Also written to `path`.
        """
        return pictures.save(pictures.window(self, views, size, panel_width, style), path)

    def violations(self, width: int = 325) -> list[str]:
        """What breaks the panel at this width: clipped texts, widgets beyond the edge, controls without a tooltip."""
        return pictures.violations(self, width)

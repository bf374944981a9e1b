"""Drives one scripted module in the headless application: load, click, wait, grab, save and load the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from Testing.headless import application

REPOSITORY = Path(__file__).resolve().parents[2]
PANEL_WIDTHS = (325, 500)  # pixels: the narrowest module panel Slicer's style guide asks for, and a usual one


def open_module(name: str, folder: Path | str | None = None, enter: bool = True) -> ModuleHost:
    """Load module `name` the way Slicer does and show it.

    Every module folder of the repository is put on `sys.path`, `<folder>/<name>.py` is executed, class `<name>` is
    constructed with a parent, a `<name>FileReader` (if any) is registered, `<name>Widget(panel).setup()` runs, then
    `enter()`. A module that is loaded already is not loaded again, as in Slicer: the same host comes back, entered.

    `folder`: the module's folder if it is not `<repository>/<name>`. `enter`: False stops before `enter()`.
    """
    app = application()
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

    def __init__(self, app, name: str, folder: Path): ...

    # -- life cycle, as the module selector and the scene drive it ------------------------------------------------
    def enter(self) -> None:
        """Show the panel (`<M>Widget.enter`), leaving the module that was shown before."""

    def leave(self) -> None:
        """Show another module's panel (`<M>Widget.exit`)."""

    def reload(self) -> None:
        """What the developer section's Reload button does (`<M>Widget.onReload`)."""

    def close(self) -> None:
        """Unload the module (`<M>Widget.cleanup`), as when Slicer quits."""

    def run_self_test(self) -> None:
        """Run `<M>Test().runTest()` in testing mode, as Reload & Test does; failures are raised."""

    # -- the user's hand -------------------------------------------------------------------------------------------
    def child(self, name: str):
        """The panel's widget with this object name; LookupError with the names that exist otherwise."""

    def click(self, button) -> None:
        """Click a button, check box or tool button (object or name); refuses one that is hidden or disabled."""

    def key(self, widget, key: str, modifiers: Sequence[str] = ()) -> None:
        """Press a key, e.g. `host.key(host.panel, "3")`, `host.key("notesEdit", "Z", ["Control"])`."""

    def wait(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Run Qt's event loop until `condition()` is true; TimeoutError after `timeout` seconds."""

    def process(self, seconds: float = 0.0) -> None:
        """Run Qt's event loop for so many seconds (0: what is pending)."""

    # -- the scene -------------------------------------------------------------------------------------------------
    def save_scene(self, path: Path | str) -> Path:
        """Save the scene as an `.mrb` (or `.mrml`) file through `slicer.util.saveScene`."""

    def load_scene(self, path: Path | str, clear: bool = True) -> None:
        """Load a scene through `slicer.util.loadScene`, closing the present one first unless `clear` is False."""

    def close_scene(self) -> None:
        """File > Close scene: `slicer.mrmlScene.Clear(0)`, with the events modules observe."""

    # -- pictures --------------------------------------------------------------------------------------------------
    def grab(self, path: Path | str | None = None, width: int = 500, style: str = "light", height: int | None = None):
        """A picture of the panel (PIL image, RGB), also written to `path`.

        `width`: pixels, 325 is the narrowest a panel must bear; `style`: "light" or "dark"; `height`: None for all of
        the panel, scrolled contents included.
        """

    def screenshot_with_views(
        self,
        path: Path | str | None = None,
        views: Sequence[str] = ("Red", "Yellow", "Green"),
        size: tuple[int, int] = (1280, 800),
        panel_width: int = 400,
        style: str = "light",
    ):
        """A picture like Slicer's window: panel on the left, views on the right (PIL image, RGB), also written to `path`.

        `views`: slice views by name, and "Plot", "Table" for the chart and table the layout shows; they are laid out
        in a grid of at most two columns (three views: one wide above two).
        """

    def violations(self, width: int = 325) -> list[str]:
        """What breaks the panel at this width: clipped texts, widgets beyond the edge, controls without a tooltip."""

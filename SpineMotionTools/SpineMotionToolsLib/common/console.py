"""The terminal: progress bars where somebody watches, plain lines elsewhere, any character on any code page."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from SpineMotionToolsLib.common.progress import Progress, no_progress


def use_utf8() -> None:
    """Print any character: Windows consoles and pipes often use a code page that cannot."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


def say(text: str = "") -> None:
    """Print a line of results to the standard output."""
    print(text, flush=True)


@contextmanager
def quiet_training() -> Iterator[None]:
    """Keep Lightning's advice and advertisements off the terminal; errors still pass."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def progress_bar(title: str, quiet: bool = False) -> Iterator[Progress]:
    """Yield a `Progress` that draws a bar with the time left on the standard error, if that is a terminal.

    Lines printed with `say` meanwhile stand above the bar.
    """
    if quiet or not sys.stderr.isatty():
        yield no_progress
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
    except ImportError:  # Slicer does not bring it, and a bar is not worth an installation
        yield no_progress
        return

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", style="dim"),
    ]
    # Results that go to a file or a pipe must not be drawn above the bar instead.
    above = sys.stdout.isatty()
    with Bars(*columns, console=Console(stderr=True), transient=True, redirect_stdout=above) as bars:
        task = bars.add_task(title, total=None, text="")
        shown_at = 0.0

        def report(done: float, of: float, text: str = "") -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at > 0.1 or done >= of:
                shown_at = time.monotonic()
                bars.update(task, completed=done, total=of, text=text)

        yield report

"""How long work tells its caller where it stands, and how the caller stops it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, float, str], None]
"""`progress(done, of, text)`: `done` of `of` units are finished, `text` says what is next.

It may raise `Cancelled` to stop the work.
"""


def no_progress(done: float, of: float, text: str = "") -> None:
    """The default of every `progress` argument: tells nobody and never stops the work."""

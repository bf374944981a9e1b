"""How long work tells its caller where it stands, and how the caller stops it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, float, str], None]
"""`progress(done, of, text)`: `done` of `of` units are finished, `text` says what is next.

It may raise `Cancelled` to stop the work.
"""


def no_progress(done: float, of: float, text: str = "") -> None:
    """The default of every `progress` argument: tells nobody and never stops the work."""


def parts(progress: Progress, *shares: float) -> list[Progress]:
    """The progress of work in several steps, one a step; `shares` are their usual times, in any unit."""
    whole, starts = max(sum(shares), 1e-9), [sum(shares[:k]) for k in range(len(shares))]

    def part(start: float, share: float) -> Progress:
        def report(done: float, of: float, text: str = "") -> None:
            progress((start + share * done / max(of, 1e-9)) / whole, 1.0, text)

        return report

    return [part(start, share) for start, share in zip(starts, shares)]

"""What a session is made of: the network runs it asks for, their answers, and the states of its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from SpineMotionToolsLib.keypoints import anatomy

Point = tuple[float, float]
Chain = tuple[tuple[tuple[int, Point], ...], ...]
"""The hints of every network run in order; each run also saw the maps of the run before it. Hints are on the
networks' grid.
"""


@dataclass(frozen=True)
class Request:
    """What the network shall compute: `chain` ends with the wanted run. `base`: the state it follows."""

    chain: Chain
    base: int
    action: str
    given: Mapping[int, Point]

    def to_json(self) -> list[list[list[float]]]:
        """The chain for `tasks.serve`: per run a list of [keypoint, row, column]."""
        return [[[keypoint, *point] for keypoint, point in run] for run in self.chain]


@dataclass(frozen=True)
class Answer:
    """What the network found: `points` (68, 2) on its grid, `confidence` (68,), `spread` (68, 2) in grid pixels."""

    points: np.ndarray
    confidence: np.ndarray
    spread: np.ndarray
    seconds: float = 0.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Answer:
        arrays = (np.asarray(values[name], float) for name in ("points", "confidence", "spread"))
        return cls(*arrays, float(values.get("seconds", 0.0)))


@dataclass(frozen=True)
class State:
    """One entry of the history. Points are (row, column) in the picture; `raw` is the network's, `given` the
    user's.
    """

    action: str
    raw: np.ndarray = field(repr=False)
    confidence: np.ndarray = field(repr=False)
    spread: np.ndarray = field(repr=False)
    chain: Chain = field(repr=False)
    given: Mapping[int, Point] = field(default_factory=dict)
    locked: Mapping[int, tuple[Point, ...]] = field(default_factory=dict)
    absent: frozenset[int] = frozenset()
    levels: tuple[str, ...] = anatomy.LEVELS
    accepted: bool = False
    seconds: float = 0.0
    time_utc: str = ""

    @property
    def fixed(self) -> dict[int, Point]:
        """Every point that must not move: given ones and those of locked vertebrae."""
        held = {4 * level + q: point for level, points in self.locked.items() for q, point in enumerate(points)}
        return {**held, **self.given}

    @property
    def points(self) -> np.ndarray:
        """(68, 2) the shown points: the network's, with fixed ones exactly where they were put."""
        shown = self.raw.copy()
        for keypoint, point in self.fixed.items():
            shown[keypoint] = point
        return shown


def state_to_json(state: State) -> dict[str, Any]:
    """A state as plain values."""
    return {
        "action": state.action,
        "time_utc": state.time_utc,
        "seconds": state.seconds,
        "raw": state.raw.tolist(),
        "confidence": state.confidence.tolist(),
        "spread": state.spread.tolist(),
        "chain": [[[k, *point] for k, point in run] for run in state.chain],
        "given": [[k, *point] for k, point in sorted(state.given.items())],
        "locked": [[level, [list(point) for point in points]] for level, points in sorted(state.locked.items())],
        "absent": sorted(state.absent),
        "levels": list(state.levels),
        "accepted": state.accepted,
    }


def state_from_json(entry: Mapping[str, Any]) -> State:
    """The state that `state_to_json` gave; raises KeyError, TypeError or ValueError for other values."""
    raw, confidence, spread = (np.array(entry[name], float) for name in ("raw", "confidence", "spread"))
    if raw.shape != (68, 2) or confidence.shape != (68,) or spread.shape != (68, 2) or not np.isfinite(raw).all():
        raise ValueError("points")
    return State(
        str(entry["action"]), raw, confidence, spread,
        tuple(tuple((int(k), (float(r), float(c))) for k, r, c in run) for run in entry["chain"]),
        {anatomy.check_index(int(k)): (float(r), float(c)) for k, r, c in entry["given"]},
        {int(level): tuple((float(r), float(c)) for r, c in points) for level, points in entry["locked"]},
        frozenset(int(level) for level in entry["absent"]), tuple(map(str, entry["levels"])), bool(entry["accepted"]),
        float(entry["seconds"]), str(entry["time_utc"]),
    )  # fmt: skip

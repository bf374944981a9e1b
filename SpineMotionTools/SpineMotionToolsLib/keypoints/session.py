"""A session: keypoints found once, then corrected; each correction moves the others, and everything can be undone.

The session itself needs no network: it says what to predict (`Request`) and takes the answer (`Answer`). A program
with a window sends requests to a service (`tasks.serve`) and applies answers when they come; a script lets `predict`
do both at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.keypoints import anatomy
from SpineMotionToolsLib.keypoints.history import Answer, Point, Request, State, state_from_json, state_to_json
from SpineMotionToolsLib.keypoints.radiograph import Radiograph
from SpineMotionToolsLib.keypoints.results import Reading

FORMAT = 1
GIVEN_SPREAD_GRID_PX = 0.5  # how well a hand places a corner
FAR_SHARE = 0.02  # of the picture's height: a hint this far from what the network still sees there is worth a warning


class Session:
    """Keypoints of one radiograph. `predict` answers requests at once; without it use `request_*` and `apply`.

    Every change makes a new state; `undo` and `redo` move between states. Bad corrections raise InputError and change
    nothing.
    """

    def __init__(
        self,
        radiograph: Radiograph,
        predict: Callable[[Request], Answer] | None = None,
        provenance: Provenance | None = None,
    ):
        self.radiograph = radiograph
        self.provenance = provenance or Provenance("keypoints")
        self._predict = predict
        self._states: list[State] = []
        self._position = -1

    # --- the user's actions ---

    def detect(self) -> Reading:
        """Find all keypoints from scratch, forgetting what was done before."""
        self._states, self._position = [], -1
        return self.apply(self.request_detect(), self._answer(self.request_detect()))

    def correct(self, index: int, point: Point) -> Reading:
        """Put one keypoint at `point` (row, column) of the picture; the others follow. Raises InputError for a bad
        point.
        """
        return self.correct_many({index: point})

    def correct_many(self, points: Mapping[int, Point]) -> Reading:
        """Put several keypoints in one pass."""
        request = self.request_correct(points)
        return self.apply(request, self._answer(request))

    def release(self, index: int) -> Reading:
        """Take a given point back; the network says again where it is."""
        request = self.request_release(index)
        return self.apply(request, self._answer(request))

    def restart(self) -> Reading:
        """Predict from the given points alone, without the previous maps, when the network clings to a wrong place."""
        request = self.request_restart()
        return self.apply(request, self._answer(request))

    def lock(self, level: int | str) -> Reading:
        """Keep a vertebra's four corners where they are shown, and tell the network so with the next correction."""
        number = anatomy.check_level(level, self.state.levels)
        corners = tuple(tuple(map(float, point)) for point in self.state.points[4 * number : 4 * number + 4])
        return self._extend(f"lock {self.state.levels[number]}", locked={**self.state.locked, number: corners})

    def unlock(self, level: int | str) -> Reading:
        number = anatomy.check_level(level, self.state.levels)
        locked = {key: value for key, value in self.state.locked.items() if key != number}
        return self._extend(f"unlock {self.state.levels[number]}", locked=locked)

    def set_absent(self, level: int | str, absent: bool = True) -> Reading:
        """Say that a vertebra is not there (or not in the picture); it leaves all measurements."""
        number = anatomy.check_level(level, self.state.levels)
        marked = self.state.absent | {number} if absent else self.state.absent - {number}
        action = f"{'absent' if absent else 'present'} {self.state.levels[number]}"
        return self._extend(action, absent=frozenset(marked))

    def name_levels(self, levels: Sequence[str]) -> Reading:
        """Name the 17 vertebrae from the top, e.g. with `anatomy.names_from("T1", lumbar=6)`."""
        names = tuple(anatomy.check_name(name) for name in levels)
        if len(names) != len(anatomy.LEVELS) or len(set(names)) != len(names):
            raise InputError("17 different names are needed, the topmost vertebra first.")
        return self._extend("name levels", levels=names)

    def accept(self) -> Reading:
        """Mark the keypoints as checked by a reader."""
        return self._extend("accept", accepted=True)

    def undo(self) -> Reading:
        """Go back one step; at the first step nothing changes."""
        self._position = max(0, self._position)
        if self._position > 0:
            self._position -= 1
        return self.reading

    def redo(self) -> Reading:
        """Go forward again one undone step."""
        if self._position < len(self._states) - 1:
            self._position += 1
        return self.reading

    # --- what a program with a window uses ---

    def request_detect(self) -> Request:
        return Request(((),), -1, "detect", {})

    def request_correct(self, points: Mapping[int, Point]) -> Request:
        """The network run that follows from corrections; raises InputError and changes nothing when one is bad."""
        moved = self.checked(points)
        names = ", ".join(anatomy.keypoint_name(k, self.state.levels) for k in moved)
        return self._request(f"correct {names}", {**self.state.given, **moved})

    def request_release(self, index: int) -> Request:
        if anatomy.check_index(index) not in self.state.given:
            raise InputError(
                f"{anatomy.keypoint_name(index, self.state.levels)} was not corrected; there is nothing to take back."
            )
        given = {k: point for k, point in self.state.given.items() if k != index}
        return self._request(f"release {anatomy.keypoint_name(index, self.state.levels)}", given)

    def request_restart(self) -> Request:
        return self._request("restart", dict(self.state.given), from_scratch=True)

    def apply(self, request: Request, answer: Answer) -> Reading:
        """Take an answer: it becomes the newest state, and states that were undone are forgotten.

        Raises InputError when the session has moved on since the request was made, or when the answer is not usable.
        """
        if request.base != self._position:
            raise InputError("The session has changed since this prediction was asked for. Ask again.")
        points = np.asarray(answer.points, float)
        if points.shape != (68, 2) or not np.isfinite(points).all():
            raise InputError(
                "The network found no points in this picture. Check that it shows a spine, or its weights."
            )
        to_px = np.divide(self.radiograph.region[2:], (512, 256))
        base = self._states[self._position] if self._states else None
        state = State(
            request.action, self.radiograph.from_grid(points), np.asarray(answer.confidence, float),
            np.asarray(answer.spread, float) * to_px, request.chain, dict(request.given),
            base.locked if base else {}, base.absent if base else frozenset(), base.levels if base else anatomy.LEVELS,
            False, answer.seconds, _now(),
        )  # fmt: skip
        return self._append(state)

    def checked(self, points: Mapping[int, Point]) -> dict[int, Point]:
        """Corrections as plain numbers; raises InputError for one that is not finite, outside, or on another
        corner.
        """
        state, (rows, columns) = self.state, self.radiograph.size
        if not points:
            raise InputError("Give at least one keypoint to correct.")
        moved: dict[int, Point] = {}
        for index, point in points.items():
            name = anatomy.keypoint_name(index, state.levels)
            try:
                row, column = (float(value) for value in point)
            except (TypeError, ValueError) as error:
                raise InputError(f"{name} needs a row and a column, not {point!r}.") from error
            if not (math.isfinite(row) and math.isfinite(column)):
                raise InputError(f"The new place of {name} is not a number. Drag it again.")
            if not (0 <= row <= rows - 1 and 0 <= column <= columns - 1):
                raise InputError(
                    f"{name} would lie outside the picture (row {row:.0f}, column {column:.0f} of {rows} x {columns}). "
                    "Put it inside, or mark the vertebra as absent."
                )
            moved[anatomy.check_index(index)] = (row, column)
        fixed = {**state.fixed, **moved}
        for index in moved:
            self._check_vertebra(index, fixed, state.levels)
        return moved

    @property
    def state(self) -> State:
        """The state shown now; raises InputError before `detect`."""
        if not self._states:
            raise InputError("Nothing was detected yet. Call detect() first.")
        return self._states[self._position]

    @property
    def history(self) -> list[State]:
        """All states up to the one shown now."""
        return self._states[: self._position + 1]

    @property
    def can_undo(self) -> bool:
        return self._position > 0

    @property
    def can_redo(self) -> bool:
        return self._position < len(self._states) - 1

    @property
    def first_points(self) -> np.ndarray:
        """(68, 2) what the network found before any correction, for comparison."""
        return self._states[0].raw.copy()

    @property
    def reading(self) -> Reading:
        """The keypoints shown now with everything measured from them."""
        return self._reading(self.state)

    def preview(self, points: Mapping[int, Point]) -> Reading:
        """The reading as it would be with some points moved and the others where they are, e.g. while one is dragged.

        Nothing is stored and no network runs.
        """
        return self._reading(replace(self.state, given={**self.state.given, **points}))

    def _reading(self, state: State) -> Reading:
        spread = state.spread.copy()
        confidence = state.confidence.copy()
        hand = GIVEN_SPREAD_GRID_PX * np.divide(self.radiograph.region[2:], (512, 256))
        for keypoint in state.fixed:
            spread[keypoint], confidence[keypoint] = hand, 1.0
        return Reading(
            points_px=state.points, confidence=confidence, spread_px=spread, given=tuple(sorted(state.given)),
            locked=tuple(sorted(state.locked)), absent=tuple(sorted(state.absent)), levels=state.levels,
            accepted=state.accepted, size=self.radiograph.size, region=self.radiograph.region,
            scale=self.radiograph.scale, name=self.radiograph.name,
            patient_right_on=self.radiograph.patient_right_on,
            turned=self.radiograph.turned, notes=(*self.radiograph.notes, *self._remarks(state)),
            provenance=self.provenance, place=self.radiograph.place,
        )  # fmt: skip

    # --- history on disk ---

    def to_json(self) -> dict[str, Any]:
        """The whole history as plain values; the picture is not part of it, only its digest."""
        return {
            "format": FORMAT,
            "image_sha256": self.radiograph.digest,
            "region": list(self.radiograph.region),
            "provenance": self.provenance.to_json(),
            "position": self._position,
            "states": [state_to_json(state) for state in self._states],
        }

    @classmethod
    def from_json(
        cls,
        values: Mapping[str, Any],
        radiograph: Radiograph,
        predict: Callable[[Request], Answer] | None = None,
        provenance: Provenance | None = None,
    ) -> Session:
        """The session that `to_json` gave; `provenance` is that of the network used from now on.

        Raises InputError when the history is damaged or belongs to another picture. With another network than before,
        the next correction starts from its given points alone.
        """
        try:
            if values["format"] > FORMAT:
                raise InputError("This history was written by a later version. Update SpineMotionTools, then open it.")
            radiograph = radiograph.with_region(*values["region"])
            made_with = Provenance.from_json(values["provenance"])
            states = [state_from_json(entry) for entry in values["states"]]
            position = int(values["position"])
            digest = values["image_sha256"]
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("The session's history is damaged. Detect the keypoints again.") from error
        if digest != radiograph.digest:
            raise InputError("The history belongs to another picture. Open the picture it was made on.")
        if not (states and 0 <= position < len(states)):
            raise InputError("The session's history is empty. Detect the keypoints again.")
        if provenance is not None and provenance.model_sha256 != made_with.model_sha256:
            states = [replace(state, chain=()) for state in states]
        session = cls(radiograph, predict, provenance or made_with)
        session._states, session._position = states, position
        return session

    # --- inside ---

    def _request(self, action: str, given: Mapping[int, Point], from_scratch: bool = False) -> Request:
        known = {**{k: p for k, p in self.state.fixed.items() if k not in self.state.given}, **given}
        run = tuple((k, tuple(map(float, self.radiograph.to_grid(known[k])))) for k in sorted(known))
        chain = (run,) if from_scratch else (*self.state.chain, run)
        return Request(chain, self._position, action, dict(given))

    def _answer(self, request: Request) -> Answer:
        if self._predict is None:
            raise InputError("This session has no network. Start it with pipeline.start_session, or apply() an answer.")
        began = time.perf_counter()
        answer = self._predict(request)
        return answer if answer.seconds else replace(answer, seconds=time.perf_counter() - began)

    def _extend(self, action: str, **changes: Any) -> Reading:
        changes.setdefault("accepted", False)
        return self._append(replace(self.state, action=action, seconds=0.0, time_utc=_now(), **changes))

    def _append(self, state: State) -> Reading:
        self._states = [*self._states[: self._position + 1], state]
        self._position = len(self._states) - 1
        return self.reading

    def _check_vertebra(self, index: int, fixed: Mapping[int, Point], levels: Sequence[str]) -> None:
        """Raise InputError when a placed corner lies on, or on the wrong side of, another placed one of its
        vertebra.
        """
        level, q = divmod(index, 4)
        name = anatomy.keypoint_name(index, levels)
        scale = self.radiograph.region[2] / 512
        for other in range(4 * level, 4 * level + 4):
            if other == index or other not in fixed:
                continue
            other_name = anatomy.keypoint_name(other, levels)
            gap = np.subtract(fixed[other], fixed[index])
            if np.hypot(*gap) < scale:
                raise InputError(f"{name} would lie on {other_name}. Put the two corners apart.")
            o = other % 4
            if q % 2 != o % 2 and q // 2 == o // 2 and (gap[1] > 0) != (o % 2 > q % 2):
                raise InputError(f"{name} would lie on the wrong side of {other_name}: left and right are exchanged.")
            if q % 2 == o % 2 and q // 2 != o // 2 and (gap[0] > 0) != (o // 2 > q // 2):
                raise InputError(f"{name} would lie on the wrong side of {other_name}: up and down are exchanged.")

    def _remarks(self, state: State) -> Iterable[str]:
        """Sentences about given points that the network does not follow."""
        limit = FAR_SHARE * self.radiograph.region[2]
        far = [k for k, point in state.given.items() if np.hypot(*(state.raw[k] - point)) > limit]
        if far and state.chain:
            names = ", ".join(anatomy.keypoint_name(k, state.levels) for k in far[:3])
            yield (
                f"The network still sees {names}{' and others' if len(far) > 3 else ''} elsewhere. "
                "Correct a neighbor too, or predict again from scratch."
            )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")

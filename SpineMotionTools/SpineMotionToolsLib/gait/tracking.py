"""The patient through a video: which of the persons, frame by frame, over short gaps and crossings.

`Following` is the default. It keeps to one person by place and size, where the published rule
(`patients.PublishedChoice`) compares only horizontal distance and loses the patient after a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.video import Frame, Video
from SpineMotionToolsLib.gait.detectors import Detector
from SpineMotionToolsLib.gait.patients import PublishedChoice, persons

LONGEST_GAP_S = 0.3  # a missing box is bridged so long
LONGEST_CROSSING_S = 1.5  # and so long while another person stands in the way
FORGET_S = 1.0  # after this time another appearance may be the patient


@dataclass(frozen=True)
class Sighting:
    """What is known of one frame: the patient's box or None, how many persons, and whether the box was only bridged."""

    frame: Frame
    box: np.ndarray | None
    persons: int
    bridged: bool = False


@dataclass
class _Person:
    """One person followed: last box, smoothed height and speed (pixels/s)."""

    box: np.ndarray
    time_s: float
    height: float
    speed: np.ndarray

    def place(self, time_s: float) -> np.ndarray:
        """The box expected at a time."""
        return self.box + np.tile(self.speed * min(time_s - self.time_s, LONGEST_CROSSING_S), 2)

    def keep(self, box: np.ndarray, time_s: float) -> None:
        passed = time_s - self.time_s
        if passed > 0:
            step = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2 / passed
            step[1] = 0.0  # people walk along the picture; up and down is the gait itself
            self.speed = 0.85 * self.speed + 0.15 * step if self.speed.any() else step
        self.height = 0.95 * self.height + 0.05 * _height(box)
        self.box, self.time_s = np.asarray(box, np.float32), time_s


class Following:
    """Keeps to one person among others. `click`: (time in s, x, y) of a point on the patient."""

    def __init__(self, click: tuple[float, float, float] | None = None):
        self.click = click
        self.several_at_start = False
        self._patient: _Person | None = None
        self._others: list[_Person] = []

    def choose(self, boxes: np.ndarray, time_s: float) -> tuple[np.ndarray | None, bool]:
        """(box, bridged) of the patient among the person boxes (n,4) at a time."""
        patient = self._patient
        if patient is None:
            return self._start(boxes, time_s), False
        passed = time_s - patient.time_s
        crossing = self._crossing(boxes, time_s)
        if not crossing:
            found = self._assign(boxes, time_s)
            if found is not None:
                return found, False
        if passed <= (LONGEST_CROSSING_S if crossing else LONGEST_GAP_S):
            return patient.place(time_s).astype(np.float32), True
        if passed > FORGET_S and len(boxes) == 1 and 0.75 < _height(boxes[0]) / patient.height < 1.33:
            self._patient = _new(boxes[0], time_s)
            self._others = []
            return self._patient.box, False
        return None, False

    def _start(self, boxes: np.ndarray, time_s: float) -> np.ndarray | None:
        if len(boxes) == 0 or (self.click is not None and time_s < self.click[0]):
            return None
        if self.click is not None:
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
            chosen = int(np.argmin(np.linalg.norm(centers - self.click[1:], axis=1)))
        elif len(boxes) <= 2:  # the published rule: the shorter of two is the patient, the other the examiner
            self.several_at_start = len(boxes) == 2
            chosen = int(np.argmin(boxes[:, 3] - boxes[:, 1]))
        else:
            self.several_at_start = True
            return None
        self._patient = _new(boxes[chosen], time_s)
        self._others = [_new(box, time_s) for i, box in enumerate(boxes) if i != chosen]
        return self._patient.box

    def _crossing(self, boxes: np.ndarray, time_s: float) -> bool:
        """Whether the patient and another person stand behind one another: one box where two are expected."""
        places = [person.place(time_s) for person in (self._patient, *self._others)]
        for number, box in enumerate(boxes):
            width = box[2] - box[0]
            inside = [box[0] - 0.1 * width < (p[0] + p[2]) / 2 < box[2] + 0.1 * width for p in places]
            if inside[0] and sum(inside) > 1:
                others = np.delete(boxes, number, axis=0)
                return not any(_overlap(other, places[0]) > 0 for other in others)
        return False

    def _assign(self, boxes: np.ndarray, time_s: float) -> np.ndarray | None:
        """Give every box to the person it fits best; returns the patient's."""
        from scipy.optimize import linear_sum_assignment

        people = [self._patient, *self._others]
        cost = np.array([[_cost(person, box, time_s) for box in boxes] for person in people]).reshape(len(people), -1)
        rows, columns = linear_sum_assignment(np.minimum(cost, 1e6))
        found = None
        taken = set()
        for row, column in zip(rows, columns):
            if np.isfinite(cost[row, column]):
                people[row].keep(boxes[column], time_s)
                taken.add(column)
                found = people[row].box if row == 0 else found
        if found is not None:  # a new person appears only while it is clear which one is the patient
            self._others += [_new(box, time_s) for i, box in enumerate(boxes) if i not in taken]
        self._others = [p for p in self._others if time_s - p.time_s <= LONGEST_CROSSING_S]
        return found


def _new(box: np.ndarray, time_s: float) -> _Person:
    return _Person(np.asarray(box, np.float32), time_s, _height(box), np.zeros(2))


def _cost(person: _Person, box: np.ndarray, time_s: float) -> float:
    """How badly a box fits a person, infinite where it cannot be theirs."""
    place, passed = person.place(time_s), time_s - person.time_s
    away = float(np.abs((box[:2] + box[2:] - place[:2] - place[2:]) / 2).sum() / person.height)
    size = _height(box) / person.height
    width = (box[2] - box[0]) / (place[2] - place[0])
    # Two persons in front of one another make one wide box: better bridge than follow it.
    if away > 0.25 + 0.8 * passed or not 0.7 < size < 1.4 or width > 2.2:
        return np.inf
    return away + 3.0 * abs(np.log(size))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(min(a[2], b[2]) - max(a[0], b[0]))


def _height(box: np.ndarray) -> float:
    return float(box[3] - box[1])


def follow(video: Video, detector: Detector, chooser: Following | PublishedChoice) -> Iterator[Sighting]:
    """One sighting per frame, decoding the video once."""
    asked_at = -np.inf
    for frame in video.frames():
        due = frame.time_s - asked_at >= detector.interval_s - 1e-6
        if isinstance(chooser, PublishedChoice):  # the published program asks on every frame
            rows = detector.detect(frame)
            yield Sighting(frame, chooser.choose(rows), len(persons(rows)))
            continue
        if due:
            boxes, asked_at = persons(detector.detect(frame)), frame.time_s
            count = len(boxes)
        else:
            boxes = np.zeros((0, 4), np.float32)
        box, bridged = chooser.choose(boxes, frame.time_s)
        yield Sighting(frame, box, count, bridged and due)

"""Simulated users: the test loops of both published systems, and a fair one.

Points are (row, column); labels are in pixels of the original picture of `size` (rows, columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from SpineMotionToolsLib.keypoints import heatmaps
from SpineMotionToolsLib.keypoints.metrics import radial_errors
from SpineMotionToolsLib.keypoints.prediction import Prediction, Predictor, PublishedPredictor
from SpineMotionToolsLib.keypoints.preprocessing import GRID, to_network, to_picture


@dataclass(frozen=True)
class Simulated:
    """One image's course: errors after 0..n clicks with the network, and when the user alone moves the points.

    `model`, `manual` (n + 1,): MRE in original pixels; `hints`, `manual_hints` (n + 1,): the keypoint chosen after
    each prediction; `others` (n + 1,): mean error of the keypoints that were not given, and `others_at_start`: that
    of the same keypoints before any hint; `model_hard`: MRE of hard-argmax points (MICCAI loop only); `shown` (n + 1,
    68, 2): the points.
    """

    model: np.ndarray
    manual: np.ndarray
    hints: np.ndarray
    manual_hints: np.ndarray
    others: np.ndarray
    others_at_start: np.ndarray
    shown: np.ndarray
    model_hard: np.ndarray | None = None


def interact(
    predictor: Predictor, size: tuple[int, int], hints: Sequence[tuple[int, tuple[float, float]]]
) -> list[tuple[Prediction, np.ndarray]]:
    """(prediction, shown points in original pixels) before the hints and after each one of (keypoint, original
    point).
    """
    given: dict[int, tuple[float, float]] = {}
    pins: dict[int, tuple[float, float]] = {}
    prediction = predictor.predict()
    course = [(prediction, to_picture(prediction.points, size))]
    for keypoint, point in hints:
        pins[keypoint] = point
        given[keypoint] = tuple(to_network(point, size))
        prediction = predictor.predict(given, prediction)
        course.append((prediction, _pinned(to_picture(prediction.points, size), pins)))
    return course


def simulate(
    predictor: Predictor, label: np.ndarray, size: tuple[int, int], clicks: int, scale=(1.0, 1.0)
) -> Simulated:
    """Each click gives the shown point that is farthest off and was not given before, by true distance.

    `scale`: length of a row and a column of the picture, when its pixels are not square; errors are in that unit.
    """
    label, scale = np.asarray(label, float), np.asarray(scale, float)

    def chosen(shown: np.ndarray, given: dict) -> int:
        error = radial_errors(shown * scale, label * scale)
        error[list(given)] = -1
        return int(np.argmax(error))

    return _simulate(predictor, label, size, clicks, chosen, chosen, scale)


def simulate_project(predictor: Predictor, label: np.ndarray, size: tuple[int, int], clicks: int) -> Simulated:
    """The Project's loop, its oddities included.

    The click goes to the unpinned network point that is farthest off on the squeezed 512 x 256 grid, so that a
    keypoint may be given twice and the click is lost.
    """
    on_grid = to_network(label, size).astype(np.float32)
    label = to_picture(on_grid, size).astype(np.float32)

    def chosen(shown: np.ndarray, given: dict, raw: np.ndarray | None = None) -> int:
        points = to_network(shown, size) if raw is None else raw
        return int(np.argmax(((points - on_grid) ** 2).sum(1)))

    return _simulate(predictor, label, size, clicks, chosen, chosen, np.ones(2), raw=True)


def _simulate(predictor, label, size, clicks, chosen, chosen_by_hand, scale, raw: bool = False) -> Simulated:
    on_grid = to_network(label, size)
    given: dict[int, tuple[float, float]] = {}
    prediction = predictor.predict()
    start = by_hand = to_picture(prediction.points, size)
    moved: dict[int, int] = {}
    model, manual, hints, manual_hints, others, at_start, shown_points = [], [], [], [], [], [], []
    for click in range(clicks + 1):
        shown = _pinned(to_picture(prediction.points, size), {k: label[k] for k in given})
        error = radial_errors(shown * scale, label * scale)
        free = np.setdiff1d(np.arange(68), list(given))
        model.append(error.mean())
        others.append(error[free].mean())
        at_start.append(radial_errors(start * scale, label * scale)[free].mean())
        manual.append(radial_errors(by_hand * scale, label * scale).mean())
        shown_points.append(shown)
        hints.append(chosen(shown, given, prediction.points) if raw else chosen(shown, given))
        manual_hints.append(chosen_by_hand(by_hand, moved))
        if click < clicks:
            given[hints[-1]] = tuple(on_grid[hints[-1]])
            moved[manual_hints[-1]] = 1
            by_hand = _pinned(by_hand, {manual_hints[-1]: label[manual_hints[-1]]})
            prediction = predictor.predict(given, prediction)
    return Simulated(
        np.array(model), np.array(manual), np.array(hints), np.array(manual_hints), np.array(others),
        np.array(at_start), np.array(shown_points),
    )  # fmt: skip


def simulate_miccai(
    predictor: PublishedPredictor, label: np.ndarray, size: tuple[int, int], clicks: int = 10, spacing=(1.0, 1.0)
) -> Simulated:
    """The loop of the MICCAI 2022 program: worst hard-argmax point by true distance, pinned points and heatmaps
    counted.
    """
    spacing, label = np.asarray(spacing, float), np.asarray(label, float)
    on_grid = to_network(label, size)
    targets = heatmaps.gaussian(on_grid, GRID)
    prediction = predictor.predict()
    probability = first = predictor.probability(prediction.maps).clone()
    given: dict[int, tuple[float, float]] = {}
    moved: dict[int, tuple[float, float]] = {}
    course: dict[str, list] = {name: [] for name in ("soft", "hard", "manual", "hint", "by_hand", "others", "shown")}

    def soft_points(maps: torch.Tensor, done: dict) -> np.ndarray:
        return _pinned(to_picture(heatmaps.decode(maps, "patch").numpy(), size), {k: label[k] for k in done})

    def hard_errors(maps: torch.Tensor, done: dict) -> np.ndarray:
        maps = maps.clone()
        maps[list(done)] = targets[list(done)]
        points = to_picture(heatmaps.decode(maps, "hard").numpy(), size)
        return radial_errors(points * spacing, label * spacing)

    def worst(error: np.ndarray, done: dict) -> int:
        error = error.copy()
        error[list(done)] = -1000.0
        return int(np.argmax(error))

    start = radial_errors(soft_points(first, {}) * spacing, label * spacing)
    at_start = []
    for click in range(clicks + 1):
        shown = soft_points(probability, given)
        soft, hard = radial_errors(shown * spacing, label * spacing), hard_errors(probability, given)
        free = np.setdiff1d(np.arange(68), list(given))
        course["soft"].append(soft.mean())
        course["others"].append(soft[free].mean())
        at_start.append(start[free].mean())
        course["hard"].append(hard.mean())
        course["manual"].append(radial_errors(soft_points(first, moved) * spacing, label * spacing).mean())
        course["shown"].append(shown)
        course["hint"].append(worst(hard, given))
        course["by_hand"].append(worst(hard_errors(first, moved), moved))
        if click < clicks:
            given[course["hint"][-1]] = tuple(on_grid[course["hint"][-1]])
            moved[course["by_hand"][-1]] = ()
            prediction = predictor.predict(given, prediction)
            probability = predictor.probability(prediction.maps)
    return Simulated(
        np.array(course["soft"]), np.array(course["manual"]), np.array(course["hint"]), np.array(course["by_hand"]),
        np.array(course["others"]), np.array(at_start), np.array(course["shown"]), np.array(course["hard"]),
    )  # fmt: skip


def reached(model: np.ndarray, targets: Sequence[float]) -> np.ndarray:
    """(targets, clicks + 1): 1 once the error was at or below the target after this or an earlier click."""
    best = np.minimum.accumulate(model)
    return (best[None, :] <= np.asarray(targets)[:, None]).astype(np.int64)


def _pinned(points: np.ndarray, pins: dict) -> np.ndarray:
    points = np.array(points, float)
    for keypoint, place in pins.items():
        points[keypoint] = place
    return points

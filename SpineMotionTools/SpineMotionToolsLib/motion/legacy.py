"""The published command line of 2023: what it returned, what it called its pictures, which slices it showed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.motion.results import MotionResult


def scores(result: MotionResult) -> tuple[np.ndarray, np.ndarray]:
    """Grades and confidences as it returned them: every stack and then the scan; one value for a single stack."""
    grades, confidences = result.stack_grades, result.stack_confidences
    if len(grades) == 1:
        return np.array([result.grade], dtype=np.float64), np.array([result.mean_confidence])
    return np.append(grades, result.grade), np.append(confidences, result.mean_confidence)


def scan_name(path: Path | str) -> str:
    """A scan's name: its file name up to the first dot."""
    return Path(path).name.split(".")[0]


def picture_name(scan: str, result: MotionResult) -> str:
    """The picture's file name, in which the grade and the percentage (cut, not rounded) were kept."""
    return f"{scan}_{result.grade}_{int(result.mean_confidence * 100)}_motion.png"


def panel_slices(grades: Sequence[int], confidences: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Slices the picture showed and the grades it wrote under them, each (3,): lowest, median and highest grade.

    Of each grade it is the first slice with the highest confidence. With fewer than three different grades it showed
    the slices 0, 1 and 2 under those labels; `pictures.key_slices` gives the true ones.
    """
    grades, confidences = np.asarray(grades), np.asarray(confidences)
    distinct = np.unique(grades)
    labels = distinct[[0, (len(distinct) - 1) // 2, -1]]
    if len(distinct) < 3:
        return np.arange(3), labels
    best = [np.flatnonzero(grades == grade)[np.argmax(confidences[grades == grade])] for grade in labels]
    return np.array(best), labels

"""Figures of merit of classifiers, with confidence intervals by resampling whole subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.tables import Column, Table


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes,classes) counts: rows are the truth, columns the prediction."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (np.asarray(truth, np.int64), np.asarray(predicted, np.int64)), 1)
    return matrix


def confusion_table(matrices: Mapping[str, np.ndarray], names: Sequence[str]) -> Table:
    """Confusion matrices of several parts (folds, pooled) as one table: a row per part and true class."""
    rows = [
        [part, name, *(int(count) for count in counts)]
        for part, matrix in matrices.items()
        for name, counts in zip(names, matrix)
    ]
    columns = [Column("part"), Column("truth"), *(Column(f"predicted {name}") for name in names)]
    return Table("Confusion matrix", columns, rows)


def accuracy(matrix: np.ndarray) -> float:
    return float(np.trace(matrix) / max(matrix.sum(), 1))


def precision(matrix: np.ndarray) -> np.ndarray:
    """Per class: right predictions of the class / all predictions of it; 0 where it was never predicted."""
    return _share(np.diag(matrix), matrix.sum(axis=0))


def recall(matrix: np.ndarray) -> np.ndarray:
    """Per class: right predictions of the class / all samples of it; 0 where there are none."""
    return _share(np.diag(matrix), matrix.sum(axis=1))


def f1(matrix: np.ndarray) -> np.ndarray:
    """Per class: harmonic mean of precision and recall; 0 where both are 0."""
    return _share(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def matthews(matrix: np.ndarray) -> float:
    """Matthews correlation coefficient of any number of classes (Gorodkin 2004); 0 where it is undefined."""
    truth, predicted = matrix.sum(axis=1).astype(float), matrix.sum(axis=0).astype(float)
    total = matrix.sum()
    covariance = np.trace(matrix) * total - truth @ predicted
    spread = np.sqrt((total**2 - predicted @ predicted) * (total**2 - truth @ truth))
    return float(covariance / spread) if spread > 0 else 0.0


def cohen_kappa(matrix: np.ndarray) -> float:
    """Agreement beyond chance (Cohen 1960); NaN where chance alone explains everything."""
    total = matrix.sum()
    expected = matrix.sum(axis=1) @ matrix.sum(axis=0) / total**2
    return float((np.trace(matrix) / total - expected) / (1 - expected)) if expected < 1 else float("nan")


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a sample of class 1 scores above one of class 0, ties counting half."""
    from scipy.stats import rankdata

    truth = np.asarray(truth, bool)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(np.asarray(score, np.float64))
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def youden_threshold(truth: np.ndarray, score: np.ndarray) -> float:
    """The score at which sensitivity + specificity is largest (samples at or above it count as class 1)."""
    truth, score = np.asarray(truth, bool), np.asarray(score, np.float64)
    candidates = np.unique(score)
    sensitivity = np.array([(score[truth] >= t).mean() for t in candidates])
    specificity = np.array([(score[~truth] < t).mean() for t in candidates])
    return float(candidates[np.argmax(sensitivity + specificity)])


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence limits."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def bootstrap(
    figure: Callable[[np.ndarray], float],
    groups: Sequence,
    repeats: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of `figure(indices)` when whole groups (patients) are drawn with replacement.

    Resamples for which the figure is undefined (NaN: a class is missing) are left out.
    """
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    of_group = [np.flatnonzero(members == g) for g in range(members.max() + 1)]
    random = np.random.default_rng(seed)
    values = []
    for _ in range(repeats):
        drawn = random.integers(len(of_group), size=len(of_group))
        values.append(figure(np.concatenate([of_group[g] for g in drawn])))
    values = np.array(values, np.float64)
    values = values[~np.isnan(values)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (np.nan, np.nan)
    return Interval(float(figure(np.arange(len(members)))), float(low), float(high))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)

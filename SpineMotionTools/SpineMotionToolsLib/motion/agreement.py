"""How well two series of grades agree: shares, kappas with intervals, confusion matrix, grade differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

GRADES = 5
Interval = tuple[float, float]


@dataclass(frozen=True)
class Agreement:
    """Agreement of pairs of grades 1..5, for example (automatic, reviewer)."""

    n_scored: int
    agreement_exact: float
    kappa: float
    kappa_weighted_quadratic: float

    def to_json(self) -> dict[str, float | int]:
        return dict(vars(self))


def confusion(pairs: Sequence[tuple[int, int]], grades: int = GRADES) -> np.ndarray:
    """Counts, shape (grades, grades): row = first grade − 1, column = second grade − 1."""
    matrix = np.zeros((grades, grades), dtype=np.int64)
    for first, second in pairs:
        matrix[first - 1, second - 1] += 1
    return matrix


def cohen_kappa(matrix: np.ndarray) -> float:
    """Cohen's kappa of a confusion matrix; without chance left to correct for, 1 if all agree, else 0; no pairs: 0."""
    total = matrix.sum()
    if not total:
        return 0.0
    observed = np.trace(matrix) / total
    expected = float(matrix.sum(axis=1) @ matrix.sum(axis=0)) / total**2
    if expected >= 1:
        return float(observed >= 1)
    return float((observed - expected) / (1 - expected))


def quadratic_kappa(matrix: np.ndarray) -> float:
    """Quadratic weighted kappa; without expected disagreement 1 if none is seen, else 0; no pairs: 0."""
    total = matrix.sum()
    if not total:
        return 0.0
    size = len(matrix)
    weight = (np.subtract.outer(np.arange(size), np.arange(size)) / max(1, size - 1)) ** 2
    seen = float((weight * matrix).sum()) / total
    expected = float((weight * np.outer(matrix.sum(axis=1), matrix.sum(axis=0))).sum()) / total**2
    if expected == 0:
        return float(seen == 0)
    return 1 - seen / expected


def agreement(pairs: Sequence[tuple[int, int]]) -> Agreement:
    """Exact share, Cohen's and quadratic weighted kappa of the pairs of grades 1..5; all zero without such pairs."""
    pairs = [pair for pair in pairs if all(1 <= grade <= GRADES for grade in pair)]
    if not pairs:
        return Agreement(0, 0.0, 0.0, 0.0)
    matrix = confusion(pairs)
    exact = float(np.trace(matrix) / matrix.sum())
    return Agreement(len(pairs), exact, cohen_kappa(matrix), quadratic_kappa(matrix))


@dataclass(frozen=True)
class Comparison:
    """Agreement with 95 % intervals, the matrix behind it, and the differences (second − first grade).

    `limits` are the mean difference ± 1.96 standard deviations (Bland and Altman 1986); None below two pairs.
    """

    agreement: Agreement
    exact_interval: Interval
    kappa_interval: Interval
    kappa_weighted_interval: Interval
    confusion: np.ndarray
    within_one: float
    mean_difference: float
    sd_difference: float | None
    limits: Interval | None
    difference_counts: dict[int, int]

    def text(self) -> str:
        """The comparison in two sentences."""
        found, count = self.agreement, self.agreement.n_scored
        limits = f", limits of agreement {_span(self.limits, '+.2f')}." if self.limits else "."
        return (
            f"{count} {'scan' if count == 1 else 'scans'}: {found.agreement_exact:.0%} equal grades (95 % interval "
            f"{_span(self.exact_interval, '.0%')}), {self.within_one:.0%} within one grade, kappa {found.kappa:.2f} "
            f"({_span(self.kappa_interval)}), quadratic weighted kappa {found.kappa_weighted_quadratic:.2f} "
            f"({_span(self.kappa_weighted_interval)}). Mean difference {self.mean_difference:+.2f} grades{limits}"
        )

    def to_json(self) -> dict[str, object]:
        return {
            **self.agreement.to_json(),
            "exact_interval_95": list(self.exact_interval),
            "kappa_interval_95": list(self.kappa_interval),
            "kappa_weighted_quadratic_interval_95": list(self.kappa_weighted_interval),
            "confusion_first_rows_second_columns": self.confusion.tolist(),
            "within_one_grade": self.within_one,
            "mean_difference_second_minus_first": self.mean_difference,
            "sd_difference": self.sd_difference,
            "limits_of_agreement": None if self.limits is None else list(self.limits),
            "difference_counts": {str(step): count for step, count in self.difference_counts.items()},
        }


def compare(pairs: Sequence[tuple[int, int]], resamples: int = 2000, seed: int = 13) -> Comparison | None:
    """Agreement of pairs of grades with intervals; None without pairs.

    The share's interval is Wilson's; the kappas' are percentiles of `resamples` bootstrap draws of the pairs
    (fixed seed, so that a report can be made again).
    """
    if not pairs:
        return None
    matrix = confusion(pairs)
    n = len(pairs)
    draws = np.random.default_rng(seed).multinomial(n, matrix.ravel() / n, size=resamples).reshape(-1, *matrix.shape)
    steps = np.array([second - first for first, second in pairs], dtype=float)
    spread = float(steps.std(ddof=1)) if n > 1 else None
    mean = float(steps.mean())
    return Comparison(
        agreement=agreement(pairs),
        exact_interval=wilson_interval(int(np.trace(matrix)), n),
        kappa_interval=_percentiles([cohen_kappa(draw) for draw in draws]),
        kappa_weighted_interval=_percentiles([quadratic_kappa(draw) for draw in draws]),
        confusion=matrix,
        within_one=float(np.mean(np.abs(steps) <= 1)),
        mean_difference=mean,
        sd_difference=spread,
        limits=None if spread is None else (mean - 1.96 * spread, mean + 1.96 * spread),
        difference_counts={step: int((steps == step).sum()) for step in range(1 - GRADES, GRADES)},
    )


def wilson_interval(hits: int, n: int, z: float = 1.959964) -> Interval:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    if not n:
        return 0.0, 1.0
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _span(interval: Interval, form: str = ".2f") -> str:
    return f"{interval[0]:{form}} to {interval[1]:{form}}"


def _percentiles(values: Sequence[float]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def agreement_matrix(grades: Mapping[str, Mapping[str, int]]) -> dict[tuple[str, str], Agreement]:
    """Agreement of every two raters on the scans both graded; `grades` maps rater -> scan -> grade 1..5."""
    raters = list(grades)
    return {
        (first, second): agreement(
            [(grades[first][scan], grades[second][scan]) for scan in grades[first] if scan in grades[second]]
        )
        for index, first in enumerate(raters)
        for second in raters[index + 1 :]
    }

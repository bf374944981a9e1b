"""From the members' probabilities to grades: votes per slice, then rounded means per stack and scan.

Two published sets of rules exist. They differ in arithmetic and rounding only, and both are kept to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

CLASSES = 5


@dataclass(frozen=True)
class Rules:
    """How votes become numbers: `newer` (torch ensemble, v2.5) or `legacy` (Keras ensemble, 2023)."""

    name: str
    dtype: type
    """Arithmetic of votes and confidences."""
    divisor: int | None
    """What vote counts are divided by; None: by the number of members."""
    truncate_percent: bool
    """0.57 becomes 56 % when truncated (in binary it lies just below), 57 % when rounded."""


RULES = {
    "newer": Rules("newer", np.float32, None, truncate_percent=False),
    # Ten members were assumed: with three, no confidence can pass 0.3.
    "legacy": Rules("legacy", np.float64, 10, truncate_percent=True),
}


def rules_named(name: str) -> Rules:
    if name not in RULES:
        raise InputError(f"The rules {name!r} are not known. Choose one of: {', '.join(RULES)}.")
    return RULES[name]


def member_classes(probabilities: np.ndarray) -> np.ndarray:
    """Class index 0..4 of every member and slice, (M, Z) int64, of equal probabilities the lowest.

    `probabilities` is (M, Z, 5). NaN would silently vote for grade 1, so it is an InputError.
    """
    if not np.isfinite(probabilities).all():
        member, z = np.argwhere(~np.isfinite(probabilities))[0][:2]
        raise InputError(
            f"Member {member} of the ensemble gave no number for scored slice {z}. "
            "Check the weights and the image for infinite values."
        )
    return probabilities.argmax(axis=2)


def count_votes(classes: np.ndarray, rules: Rules) -> np.ndarray:
    """Share of members that voted for each grade, (Z, 5), from class indices (M, Z)."""
    counts = (classes[:, :, None] == np.arange(CLASSES)).sum(axis=0)
    return counts.astype(rules.dtype) / rules.dtype(rules.divisor or len(classes))


def slice_decisions(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grade 1..5 (Z,) with the most votes, of equals the lowest, and its share of votes (Z,)."""
    return votes.argmax(axis=1) + 1, votes.max(axis=1)


def mean_decision(grades: np.ndarray, confidences: np.ndarray, rules: Rules) -> tuple[int, float]:
    """Grade and confidence of a run of slices: mean grade rounded half to even, mean confidence to two decimals."""
    confidence = np.asarray(confidences, dtype=rules.dtype).mean().round(2)
    return int(np.round(np.mean(grades))), float(confidence)


def percent(confidence: float, rules: Rules) -> int:
    """A confidence 0..1 in whole percent, as the rules write it."""
    return int(confidence * 100) if rules.truncate_percent else int(round(confidence * 100))

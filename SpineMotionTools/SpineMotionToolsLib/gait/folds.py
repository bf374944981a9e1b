"""Patient keys, cross-validation folds and the three-part split of the published study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

KEY_LENGTH = 15


def patient_key(file_name: str) -> str:
    """The first 15 characters of a video's name stand for one patient's visit; a shorter name is its own key."""
    return file_name[:KEY_LENGTH]


def stratified_group_folds(labels: Sequence, groups: Sequence, folds: int = 5) -> list[np.ndarray]:
    """Validation indices of each fold: no group in two folds, classes spread as evenly as groups allow.

    Groups are visited by decreasing spread of their class counts; each goes to the fold that makes the classes' shares
    most even over the folds, ties to the smaller fold (scikit-learn's StratifiedGroupKFold without shuffling).
    """
    _, classes = np.unique(np.asarray(labels), return_inverse=True)
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.zeros((members.max() + 1, classes.max() + 1))
    np.add.at(counts, (members, classes), 1)
    per_class = counts.sum(axis=0)
    filled = np.zeros((folds, counts.shape[1]))
    fold_of = np.empty(len(counts), np.int64)
    for group in np.argsort(-np.std(counts, axis=1), kind="stable"):
        best = (np.inf, np.inf)
        for fold in range(folds):
            filled[fold] += counts[group]
            unevenness = np.mean(np.std(filled / per_class, axis=0))
            samples = filled[fold].sum()
            filled[fold] -= counts[group]
            if unevenness < best[0] or (np.isclose(unevenness, best[0]) and samples < best[1]):
                best, fold_of[group] = (unevenness, samples), fold
        filled[fold_of[group]] += counts[group]
    return [np.flatnonzero(fold_of[members] == fold) for fold in range(folds)]


def three_parts(count: int) -> tuple[int, int, int]:
    """How many of a patient's sorted videos go to the parts A, B and C; fewer than three all go to A."""
    third = count // 3
    return (third, third, count - 2 * third) if count >= 3 else (count, 0, 0)

"""The published five folds over infants, and the published early stopping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

FOLDS = 5
SEED = 777
PATIENCE = 10


def stratified_folds(labels: Sequence[int], folds: int = FOLDS, seed: int = SEED) -> list[np.ndarray]:
    """Test indices of each fold, every class spread evenly (scikit-learn's StratifiedKFold with shuffling)."""
    labels = np.asarray(labels)
    # Classes are numbered by first appearance, and the legacy generator is the one whose order is published.
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    encoded = np.argsort(np.argsort(first))[inverse]
    ordered, classes = np.sort(encoded), len(first)
    allocation = np.array([np.bincount(ordered[i::folds], minlength=classes) for i in range(folds)])
    random = np.random.RandomState(seed)
    fold_of = np.empty(len(labels), np.int64)
    for number in range(classes):
        dealt = np.arange(folds).repeat(allocation[:, number])
        random.shuffle(dealt)
        fold_of[encoded == number] = dealt
    return [np.flatnonzero(fold_of == fold) for fold in range(folds)]


@dataclass
class EarlyStop:
    """Stops when the training loss has been above its best for `patience` epochs; an equal loss counts as the best."""

    patience: int = PATIENCE
    best: float = field(default=float("inf"))
    worse: int = 0

    def better(self, loss: float) -> bool:
        """Whether the weights of this epoch are to be saved; counts the epoch."""
        if loss > self.best:
            self.worse += 1
            return False
        self.best, self.worse = loss, 0
        return True

    @property
    def stop(self) -> bool:
        return self.worse >= self.patience


def replay(losses: Iterable[float], patience: int = PATIENCE) -> tuple[list[int], int]:
    """Epochs at which weights are saved, and the epoch at which training stops (-1: never)."""
    rule, saved = EarlyStop(patience), []
    for epoch, loss in enumerate(losses):
        if rule.better(loss):
            saved.append(epoch)
        if rule.stop:
            return saved, epoch
    return saved, -1

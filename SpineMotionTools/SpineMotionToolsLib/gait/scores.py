"""From logits to probabilities, and the published figures of merit.

The classes are numbered by the alphabetical order of the study's folders: 0 = ASD (adult spinal deformity), 1 = non-
ASD. The network's output is the logit of class 1, so its sigmoid is the probability of NON-ASD.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common import classification

ASD, NON_ASD = 0, 1
CLASS_NAMES = ("ASD", "non-ASD")


def probability_non_asd(logits: np.ndarray) -> np.ndarray:
    """Sigmoid of the logits, float32: the score as published."""
    from scipy.special import expit

    return expit(np.asarray(logits, dtype=np.float32))


def probability_asd(logits: np.ndarray) -> np.ndarray:
    """1 - sigmoid(logits), computed without loss for large logits."""
    return probability_non_asd(-np.asarray(logits, dtype=np.float32))


def predicted_class(logits: np.ndarray) -> np.ndarray:
    """1 (non-ASD) where the probability of non-ASD is above 0.5, else 0 (ASD); exactly 0.5 gives ASD."""
    return (probability_non_asd(logits) > 0.5).astype(np.int64)


@dataclass(frozen=True)
class Figures:
    """The published figures; precision, recall, F1 and AUROC describe class 1 (non-ASD)."""

    loss: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    auroc: float
    confusion: np.ndarray  # rows: truth (ASD, non-ASD); columns: prediction


def figures(logits: np.ndarray, labels: np.ndarray) -> Figures:
    """Figures over samples with logits (n,) and labels (n,) of 0 (ASD) or 1 (non-ASD)."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    matrix = classification.confusion_matrix(labels, predicted_class(logits), 2)
    cross_entropy = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    return Figures(
        loss=float(cross_entropy.mean()),
        accuracy=classification.accuracy(matrix),
        precision=float(classification.precision(matrix)[NON_ASD]),
        recall=float(classification.recall(matrix)[NON_ASD]),
        f1=float(classification.f1(matrix)[NON_ASD]),
        auroc=classification.auroc(labels == NON_ASD, probability_non_asd(logits)),
        confusion=matrix,
    )

"""From chunk logits to the class of an infant, and the published figures of merit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from SpineMotionToolsLib.common import classification

CLASS_NAMES = ("WMs", "FMs", "PR")
CLASS_TITLES = ("writhing movements", "fidgety movements", "poor repertoire")
CLASS_COLORS = ("#0072B2", "#009E73", "#D55E00")  # told apart by the color-blind, too (Okabe and Ito)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    logits = np.asarray(logits, np.float64)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def mean_logits(logits: np.ndarray) -> np.ndarray:
    """Mean over chunks (n,3) -> (3,): what the published program calls the posterior probability."""
    return np.asarray(logits, np.float64).mean(axis=0)


def subject_classes(subjects: Sequence, labels: Sequence[int], logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(predicted, true) class of every subject in the order of first appearance; equal means give the first class."""
    subjects, labels, logits = np.asarray(subjects), np.asarray(labels), np.asarray(logits, np.float64)
    predicted, truth = [], []
    for subject in dict.fromkeys(subjects.tolist()):
        rows = subjects == subject
        predicted.append(int(np.argmax(mean_logits(logits[rows]))))
        truth.append(int(labels[rows][0]))
    return np.array(predicted, np.int64), np.array(truth, np.int64)


def figures(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """The published figures: accuracy, macro precision and recall, F1 per class and macro, Matthews, Cohen's kappa."""
    matrix = classification.confusion_matrix(truth, predicted, len(CLASS_NAMES))
    f1 = classification.f1(matrix)
    return {
        "accuracy": classification.accuracy(matrix),
        "macro precision": float(classification.precision(matrix).mean()),
        "macro recall": float(classification.recall(matrix).mean()),
        **{f"F1 {name}": float(value) for name, value in zip(CLASS_NAMES, f1)},
        "macro F1": float(f1.mean()),
        "Matthews correlation": classification.matthews(matrix),
        "Cohen's kappa": classification.cohen_kappa(matrix),
    }

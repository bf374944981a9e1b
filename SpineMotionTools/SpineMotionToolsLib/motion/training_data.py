"""Pure steps of the fine-tuning recipe: splits, folds, slice sampling, labels, loss and kappa.

They follow the published MotionScore training, hashes and random streams included, so that the same data set and seed
give the same slices and the same folds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.motion.agreement import quadratic_kappa

if TYPE_CHECKING:
    import torch

SPLIT_RATIOS = {"train": 0.70, "val": 0.15, "test": 0.15}
MANIFEST_COLUMNS = (
    "scan_id", "subject_id", "raw_image_path", "slice_index", "label", "label_source", "sample_weight", "split",
    "is_manual", "manual_grade", "automatic_grade", "automatic_confidence", "auto_slice_confidence", "cache_npy_path",
    "cache_index", "fold_id",
)  # fmt: skip
AUTO_SLICE_CONFIDENCE = 0.70
"""Slices of a scan nobody graded become training labels only from this share of agreeing members on."""


@dataclass(frozen=True)
class SubjectPlace:
    """What a subject's scans are used for."""

    split: str
    fold: int


@dataclass(frozen=True)
class SliceLabel:
    """One training slice: its grade 1..5, where the grade comes from, and its weight in the loss."""

    slice_index: int
    label: int
    source: str
    weight: float


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def place_subjects(subjects: Sequence[str], seed: int = 13, folds: int = 10) -> dict[str, SubjectPlace]:
    """Split (train, val, test) and cross-validation fold of every subject, in the order given.

    Subjects are ranked by a hash of seed and name, so that adding scans of known subjects moves nobody.
    """
    ranked = sorted(dict.fromkeys(subjects), key=lambda subject: _sha1(f"{seed}:{subject}"))
    sizes = _split_sizes(len(ranked))
    splits = [split for split in SPLIT_RATIOS for _ in range(sizes[split])]
    places = {
        subject: SubjectPlace(split, rank % max(1, folds)) for rank, (subject, split) in enumerate(zip(ranked, splits))
    }
    return {subject: places[subject] for subject in dict.fromkeys(subjects)}


def _split_sizes(count: int) -> dict[str, int]:
    """Largest remainders of the ratios; from three subjects on every split has at least one."""
    if count <= 2:
        return {"train": min(count, 1), "val": 0, "test": max(0, count - 1)}
    exact = {split: ratio * count for split, ratio in SPLIT_RATIOS.items()}
    sizes = {split: int(value) for split, value in exact.items()}
    by_remainder = sorted(SPLIT_RATIOS, key=lambda split: sizes[split] - exact[split])
    for split in by_remainder[: count - sum(sizes.values())]:
        sizes[split] += 1
    for split in SPLIT_RATIOS:
        if not sizes[split]:
            sizes[max(sizes, key=lambda name: sizes[name])] -= 1
            sizes[split] = 1
    return sizes


def sample_slices(depth: int, scan_id: str, count: int = 8, step: int = 1, seed: int = 13) -> np.ndarray:
    """Slice indices (int64, increasing) to train on: one random slice in each of `count` equal bins.

    A `count` of 0 takes every `step`-th slice instead.
    """
    if depth <= 0:
        return np.zeros(0, dtype=np.int64)
    if count <= 0:
        return np.arange(0, depth, max(1, step), dtype=np.int64)
    bins = min(count, depth)
    edges = np.linspace(0, depth, bins + 1, dtype=int)
    random = np.random.default_rng(int(_sha1(f"{seed}:{scan_id}")[:8], 16))
    drawn = [int(random.integers(low, max(low + 1, high))) for low, high in zip(edges, edges[1:])]
    return np.unique(np.array(drawn, dtype=np.int64))


def slice_labels(
    slices: Sequence[int],
    manual_grade: int | None,
    slice_grades: Sequence[int] = (),
    slice_confidences: Sequence[float] = (),
    include_automatic: bool = False,
) -> list[SliceLabel]:
    """Training labels of one scan's sampled slices.

    A reviewer's grade goes to every slice with full weight. Without one, and only when asked, a slice keeps its
    automatic grade if at least 70 % of the members agreed on it, weighted by that share.
    """
    if manual_grade is not None:
        return [SliceLabel(int(z), int(manual_grade), "manual_scan_propagated", 1.0) for z in slices]
    if not include_automatic:
        return []
    return [
        SliceLabel(int(z), int(slice_grades[z]), "auto_slice", max(0.05, float(slice_confidences[z])))
        for z in slices
        if slice_confidences[z] + 1e-6 >= AUTO_SLICE_CONFIDENCE
    ]


def cache_name(image_path: str) -> str:
    """File name of a scan's cached slices: 16 hex digits of the SHA-1 of its path."""
    return f"{_sha1(image_path)[:16]}.npy"


def weighted_loss(probabilities: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted negative log-likelihood of softmax outputs.

    probabilities (n, 5), targets (n,) class indices, weights (n,); a scalar tensor comes back.
    """
    picked = probabilities.gather(1, targets.long().view(-1, 1)).squeeze(1).clamp_min(1e-8)
    return (-picked.log() * weights).sum() / weights.sum().clamp_min(1e-8)


def validation_kappa(matrix: np.ndarray) -> float:
    """Quadratic weighted kappa of a confusion matrix (rows truth, columns prediction)."""
    return quadratic_kappa(np.asarray(matrix))

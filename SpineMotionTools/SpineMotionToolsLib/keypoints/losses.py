"""Losses: cross-entropy of heatmaps and the morphology-aware terms of both published systems.

Points are (B, 68, 2) = (row, column). Distances are taken between pairs of keypoints, angles at triples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MORPHOLOGY_WEIGHT = 0.01
Pairs = Sequence[tuple[int, int]]
Triples = Sequence[tuple[int, int, int]]


def heatmap_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy of sigmoid(logits) and the label heatmaps, each logarithm clamped at -100."""
    return functional.binary_cross_entropy(torch.sigmoid(logits), target)


def distances(points: Tensor, pairs: Pairs) -> Tensor:
    """(B, P) Euclidean distances of the pairs."""
    first, second = torch.as_tensor(pairs).T
    return (points[:, first] - points[:, second]).norm(dim=-1)


def angles(points: Tensor, triples: Triples, vertex: str) -> Tensor:
    """(B, T, 2) cosine and sine of the angle of each triple (a, b, c).

    `vertex` "middle": at b, from a to c (MICCAI 2022). "first": at a, from c to b, as the Project has it with the
    same lists, which is an error of theirs that is kept to reproduce them.
    """
    a, b, c = torch.as_tensor(triples).T
    if vertex == "middle":
        start, end, small = points[:, a] - points[:, b], points[:, c] - points[:, b], 1e-8
    else:
        start, end, small = points[:, c] - points[:, a], points[:, b] - points[:, a], 0.0
    angle = torch.atan2(end[..., 0], end[..., 1] + small) - torch.atan2(start[..., 0], start[..., 1] + small)
    return torch.stack((torch.cos(angle), torch.sin(angle)), -1)


def morphology(predicted: Tensor, label: Tensor, pairs: Pairs, triples: Triples, vertex: str) -> Tensor:
    """Mean difference of the pair distances plus mean cosine distance of the triple angles, unweighted."""
    difference = (distances(predicted, pairs) - distances(label, pairs)).abs().mean()
    cosine = (angles(predicted, triples, vertex) * angles(label, triples, vertex)).sum(-1)
    return difference + (1 - cosine).mean()


def project_loss(
    logits: Tensor, target: Tensor, predicted: Tensor | None = None, label: Tensor | None = None,
    pairs: Pairs = (), triples: Triples = (), coordinates: bool = False,
) -> Tensor:  # fmt: skip
    """The Project's loss: cross-entropy, with points (network pixels) also morphology and, on request, coordinates."""
    total = heatmap_loss(logits, target)
    if predicted is not None:
        total = total + MORPHOLOGY_WEIGHT * morphology(predicted, label, pairs, triples, "first")
        if coordinates:
            total = total + MORPHOLOGY_WEIGHT * (predicted - label).abs().mean()
    return total


def miccai_morphology(
    predicted: Tensor,
    label: Tensor,
    grid: tuple[int, int],
    pairs: Pairs,
    triples: Triples,
    untouched: Tensor | None = None,
) -> Tensor:
    """0.01 x morphology of points divided by the grid's size; only samples whose geometry is `untouched` (B,)
    count.
    """
    if untouched is not None:
        if not bool(untouched.any()):
            return predicted.sum() * 0
        predicted, label = predicted[untouched], label[untouched]
    size = torch.tensor(grid, dtype=predicted.dtype)
    return MORPHOLOGY_WEIGHT * morphology(predicted / size, label / size, pairs, triples, "middle")


def steadiest_pairs(labels: np.ndarray, count: int = 70) -> list[tuple[int, int]]:
    """The pairs whose distance varies least over normalized labels (N, 68, 2), the steadiest first."""
    i, j = np.triu_indices(labels.shape[1], 1)
    spread = np.linalg.norm(labels[:, i] - labels[:, j], axis=-1).std(0)
    order = np.argsort(spread, kind="stable")[:count]
    return [(int(i[k]), int(j[k])) for k in order]


def steadiest_triples(labels: np.ndarray, count: int = 70) -> list[tuple[int, int, int]]:
    """The triples (a, b, c), a < c, whose angle at b varies least over normalized labels (N, 68, 2)."""
    found = []
    a, c = np.triu_indices(labels.shape[1], 1)
    for b in range(labels.shape[1]):
        spoke = labels - labels[:, b : b + 1]
        direction = np.arctan2(spoke[..., 0], spoke[..., 1])
        turn = direction[:, c] - direction[:, a]
        mean = np.angle(np.exp(1j * turn).mean(0))
        spread = np.sqrt((np.angle(np.exp(1j * (turn - mean))) ** 2).mean(0))
        spread[(a == b) | (c == b)] = np.inf
        best = np.argsort(spread, kind="stable")[:count]
        found += [(float(spread[k]), int(a[k]), b, int(c[k])) for k in best]
    return [triple[1:] for triple in sorted(found)[:count]]

"""Names the vertebrae: appearance probabilities, the context image, and the search for the likeliest falling sequence.

Class 0 is S1, 1 is L5, ... 23 is C2; going down the body the class falls by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .departures import FAITHFUL, Departures

LEVELS = (
    "S1",
    *(f"L{i}" for i in range(5, 0, -1)),
    *(f"T{i}" for i in range(12, 0, -1)),
    *(f"C{i}" for i in range(7, 1, -1)),
)
CLASSES = len(LEVELS)
TEMPERATURE = 10.0
ROWS_MULTIPLE = 256
BEAM_WIDTH = 100
START_SCORE = 1.0
ORDER_PENALTY, REPEATED_S1_PENALTY, SKIP_PENALTY = 1000.0, 100.0, 100.0
SACRAL_TAPER, NO_TAPER = 0.75, 0.82
"""Lower by upper endplate of S1 (0.5 to 0.75), and where it begins to be a sign of S1 (L5 and above: 0.84 and more)."""
TAPER_LOGIT = 6.0


@dataclass(frozen=True)
class Labelling:
    """The outcome for all vertebrae, top to bottom. `probabilities` (n, 24): by the context network; `certainty` (n,):
    of each label given all vertebrae.
    """

    labels: list[str]
    classes: np.ndarray
    probabilities: np.ndarray
    certainty: np.ndarray
    score: float
    appearance_classes: np.ndarray
    context_classes: np.ndarray
    context_image: np.ndarray


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax over the last axis, in the logits' own precision."""
    z = logits / np.asarray(temperature, dtype=logits.dtype)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def label_vertebrae(
    polygons: Sequence[np.ndarray],
    appearance_logits: np.ndarray,
    context_network: Callable[[np.ndarray], np.ndarray],
    scan_rows: int,
    pixel_spacing_mm: float,
    penalise_skips: bool = True,
    departures: Departures = FAITHFUL,
) -> Labelling:
    """Labels for vertebrae in order from top to bottom.

    `polygons`: average outlines; `appearance_logits`: float32 (n, 24), rows of zeros where there was no volume;
    `context_network`: image float32 (1, 1, rows, 24) -> same shape. Windsor et al., arXiv 2205.01683.
    """
    appearance = np.asarray(appearance_logits, dtype=np.float32).reshape(-1, CLASSES)
    empty = ~appearance.any(axis=1)
    if departures.sacral_bodies and len(appearance):
        appearance = appearance.copy()
        appearance[~empty, 0] += TAPER_LOGIT * sacral_taper(np.asarray(polygons))[~empty]
    rows = np.where(empty[:, None], np.float32(0), softmax(appearance, TEMPERATURE)) if len(appearance) else appearance
    image = context_image(polygons, rows, scan_rows, pixel_spacing_mm)
    output = context_network(image.astype(np.float32)[None, None])[0, 0]
    at = [min(int(centre_row(p, pixel_spacing_mm)), len(output) - 1) for p in polygons]
    context = np.asarray(output[at], dtype=np.float32).reshape(-1, CLASSES)
    probabilities = softmax(context, TEMPERATURE).astype(np.float64) if len(context) else context.astype(np.float64)
    repeated_s1 = 0.0 if departures.sacral_bodies else REPEATED_S1_PENALTY
    sequences, scores = beam_search(probabilities, penalise_skips=penalise_skips, repeated_s1=repeated_s1)
    best = np.array(sequences[0], dtype=np.int64)
    return Labelling(
        sacral_names_of(best) if departures.sacral_bodies else names_of(best, departures.keep_first_s1),
        best,
        probabilities,
        label_probabilities(probabilities, best, penalise_skips, repeated_s1),
        float(scores[0]),
        appearance.argmax(axis=1),
        context.argmax(axis=1),
        image,
    )


def sacral_taper(polygons: np.ndarray) -> np.ndarray:
    """(n,) from 0 (no sign of S1) to 1: how much outlines (n, 4, 2) narrow downwards."""
    upper, lower = (np.linalg.norm(polygons[:, a] - polygons[:, b], axis=1) for a, b in ((0, 3), (1, 2)))
    return np.clip((NO_TAPER - lower / np.maximum(upper, 1e-6)) / (NO_TAPER - SACRAL_TAPER), 0, 1)


def centre_row(polygon: np.ndarray, pixel_spacing_mm: float) -> float:
    """The row of the context image (1 mm each) that a vertebra is read from."""
    return float(np.mean(np.asarray(polygon)[:, 1] * pixel_spacing_mm))


def context_image(
    polygons: Sequence[np.ndarray], rows: np.ndarray, scan_rows: int, pixel_spacing_mm: float
) -> np.ndarray:
    """One row a millimetre, one column a level; each vertebra paints its probabilities over half of its height.

    Double (rows padded to a multiple of 256, 24).
    """
    height = int(scan_rows * pixel_spacing_mm)
    image = np.zeros((height, CLASSES))
    for polygon, probability in zip(polygons, rows):
        y = np.asarray(polygon)[:, 1] * pixel_spacing_mm
        centre, half = int(y.mean()), int((y.max() - y.min()) / 2 / 2)
        image[centre - half : centre + half] = probability
    return np.pad(image, ((0, -height % ROWS_MULTIPLE), (0, 0)))


def beam_search(
    probabilities: np.ndarray,
    width: int = BEAM_WIDTH,
    penalise_skips: bool = True,
    descending: bool = True,
    repeated_s1: float = REPEATED_S1_PENALTY,
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class sequences, best first: (int64 (k, n), double scores (k,)), k at most `width`.

    A score is 1 minus the sum of ln p, plus penalties for classes that do not fall (`descending`) or rise, and for
    gaps. Ties keep the order in which sequences are made.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64).reshape(-1, CLASSES)
    sequences, scores = np.zeros((1, 0), dtype=np.int64), np.array([START_SCORE])
    classes = np.arange(CLASSES)
    for row in probabilities:
        with np.errstate(divide="ignore"):
            candidates = scores[:, None] - np.log(row)[None, :]
        if sequences.shape[1]:
            last = sequences[:, -1:]
            if descending:
                wrong = classes >= last
                candidates = candidates + np.where(wrong, np.where(classes == 0, repeated_s1, ORDER_PENALTY), 0.0)
            else:
                candidates = candidates + np.where(classes <= last, ORDER_PENALTY, 0.0)
            if penalise_skips:
                candidates = candidates + np.where(abs(classes - last) > 1, SKIP_PENALTY, 0.0)
        order = np.argsort(candidates.ravel(), kind="stable")[:width]
        sequences = np.hstack([sequences[order // CLASSES], (order % CLASSES)[:, None]])
        scores = candidates.ravel()[order]
    return sequences, scores


def label_probabilities(
    probabilities: np.ndarray,
    classes: np.ndarray,
    penalise_skips: bool = True,
    repeated_s1: float = REPEATED_S1_PENALTY,
) -> np.ndarray:
    """The probability of each vertebra's class given all vertebrae: double (n,).

    The sum over all sequences weighted by exp(-score), with the search's own penalties (forward-backward algorithm).
    """
    classes = np.asarray(classes, dtype=int)
    with np.errstate(divide="ignore"):
        emission = np.log(np.asarray(probabilities, dtype=np.float64).reshape(-1, CLASSES))
    after, before = np.meshgrid(np.arange(CLASSES), np.arange(CLASSES))
    wrong = np.where(after == 0, repeated_s1, ORDER_PENALTY)
    penalty = np.where(after >= before, wrong, 0.0)
    if penalise_skips:
        penalty = penalty + np.where(abs(after - before) > 1, SKIP_PENALTY, 0.0)
    forward = np.array(emission)
    backward = np.zeros_like(emission)
    for i in range(1, len(emission)):
        forward[i] += np.logaddexp.reduce(forward[i - 1][:, None] - penalty, axis=0)
    for i in range(len(emission) - 2, -1, -1):
        backward[i] = np.logaddexp.reduce(emission[i + 1] + backward[i + 1] - penalty, axis=1)
    joint = forward + backward
    joint -= np.logaddexp.reduce(joint, axis=1, keepdims=True) if len(joint) else 0
    return np.exp(joint[np.arange(len(classes)), classes])


def names_of(classes: Sequence[int], keep_first_s1: bool = False) -> list[str]:
    """Level names of a class sequence, top to bottom: the second of two S1 at the bottom is S2.

    As published, the first of two S1 at the top is renamed as well, unless `keep_first_s1`.
    """
    names = [LEVELS[c] for c in classes]
    if len(names) > 1:
        if names[-2:] == ["S1", "S1"]:
            names[-1] = "S2"
        if names[:2] == ["S1", "S1"] and not keep_first_s1:
            names[0] = "S2"
    return names


def sacral_names_of(classes: Sequence[int]) -> list[str]:
    """Level names of a class sequence, top to bottom: of several S1 in a row the second is S2, the third S3."""
    names: list[str] = []
    for c in classes:
        below = names and names[-1].startswith("S") and c == 0
        names.append(f"S{int(names[-1][1:]) + 1}" if below else LEVELS[c])
    return names

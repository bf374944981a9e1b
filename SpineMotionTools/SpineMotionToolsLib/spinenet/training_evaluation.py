"""How well a set of networks reads labelled scans, through the whole pipeline; run through `starter_training.py`.

A scan is read as a clinical one: slices of 4 mm. Counted are the bodies T12-S1; T11 is labelled too, but often cut.
Of made whole spines, C3-S1 are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from SpineMotionToolsLib.spinenet.models import Models
from SpineMotionToolsLib.spinenet.pipeline import detect
from SpineMotionToolsLib.spinenet.results import Spine
from SpineMotionToolsLib.spinenet.scans import Scan
from SpineMotionToolsLib.spinenet.training_contrast import Contrast
from SpineMotionToolsLib.spinenet.training_scans import VALID, Subject, unlabelled_region

SLICE_MM = 4
MATCH_SHARE = 0.5  # a body is found where a center lies within half of its height
LOOKS = ("as scanned", "T1-like", "STIR-like")
MADE = "made whole spines, drawn anew"


@dataclass
class Outcome:
    """What reading labelled scans gave; errors in mm, one number a body."""

    bodies: int = 0
    found: int = 0
    false: int = 0
    unlabelled: int = 0
    labelled_right: int = 0
    center_errors: list[float] = field(default_factory=list)
    corner_errors: list[float] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def joined(cls, outcomes: Iterable[Outcome]) -> Outcome:
        total = cls()
        for outcome in outcomes:
            for name in cls.__dataclass_fields__:
                setattr(total, name, getattr(total, name) + getattr(outcome, name))
        return total

    def lines(self) -> list[str]:
        """The figures as sentences, and every miss, false body and wrong label by name."""
        centers, corners = (np.array(errors or [np.nan]) for errors in (self.center_errors, self.corner_errors))
        return [
            f"bodies found: {self.found} of {self.bodies} ({100 * self.found / max(self.bodies, 1):.1f} %)",
            f"false bodies: {self.false}; bodies nobody labelled (above or below): {self.unlabelled}",
            f"center error: median {np.median(centers):.2f} mm, largest {centers.max():.2f} mm",
            f"corner error: mean {corners.mean():.2f} mm, largest of a body {corners.max():.2f} mm",
            f"labels right: {self.labelled_right} of {self.found} "
            f"({100 * self.labelled_right / max(self.found, 1):.1f} %)",
            *self.remarks,
        ]


def clinical_scan(subject: Subject, look: str = LOOKS[0], first: int = 0, seed: int = 0) -> Scan:
    """A subject's volume in slices of 4 mm beginning at voxel slice `first`, as scanned or with another look."""
    volume, thick = subject.volume[..., first:], _thickness(subject)
    count = volume.shape[2] // thick
    array = volume[..., : count * thick].reshape(*volume.shape[:2], count, thick).mean(axis=3)
    if look != LOOKS[0]:
        array = subject.without_air(array)
        contrast = Contrast(np.random.default_rng(seed))
        change = contrast.t1 if look == LOOKS[1] else contrast.fat_suppressed
        bodies = _mean_outlines(subject)
        array = 255 * np.clip(change(array / np.percentile(array, 99.5), bodies), 0, 1.2)
    return Scan.from_array(array.astype(np.float32), 1.0, thick * subject.slice_mm, subject.name)


def _thickness(subject: Subject) -> int:
    """How many stored slices make a clinical one."""
    return max(1, SLICE_MM // subject.slice_mm)


def read_subject(subject: Subject, models: Models, look: str = LOOKS[0], first: int = 0) -> tuple[Spine, Outcome]:
    """The spine that the networks see in a subject, and how it compares with the truth."""
    spine = detect(clinical_scan(subject, look, first), models)
    return spine, compare(spine, subject, first)


def compare(spine: Spine, subject: Subject, first: int = 0) -> Outcome:
    """The outcome of one scan."""
    outcome = Outcome()
    truth, present = _clinical_truth(subject, first)
    taken: set[int] = set()
    for body, label in enumerate(subject.labels):
        slices = np.flatnonzero(present[:, body])
        if not len(slices):
            continue
        outlines = truth[slices, body]
        center, counted = outlines.mean(axis=(0, 1)), body > 0
        height = np.linalg.norm(outlines[:, [0, 3]].mean(axis=(0, 1)) - outlines[:, [1, 2]].mean(axis=(0, 1)))
        outcome.bodies += counted
        distances = [np.linalg.norm(v.corners_px.mean(axis=(0, 1)) - center) for v in spine.vertebrae]
        nearest = int(np.argmin(distances)) if distances else -1
        if nearest < 0 or nearest in taken or distances[nearest] > MATCH_SHARE * height:
            outcome.remarks += [f"{subject.name}: {label} missed"] * counted
            continue
        taken.add(nearest)
        if not counted:
            continue
        vertebra = spine.vertebrae[nearest]
        outcome.found += 1
        right = vertebra.label == label
        outcome.labelled_right += right
        outcome.remarks += [] if right else [f"{subject.name}: {label} named {vertebra.label}"]
        by_slice = dict(zip(vertebra.slices, vertebra.corners_px))
        both = [s for s in slices if int(s) in by_slice]
        if both:
            gaps = np.array([by_slice[int(s)] - truth[s, body] for s in both])
            outcome.center_errors.append(float(np.linalg.norm(gaps.mean(axis=1), axis=-1).mean()))
            outcome.corner_errors.append(float(np.linalg.norm(gaps, axis=-1).mean()))
    for number, vertebra in enumerate(spine.vertebrae):
        if number not in taken:
            column, row = vertebra.corners_px.mean(axis=(0, 1))
            outside = _is_unlabelled(
                subject, int(row), int(column), first + _thickness(subject) * vertebra.middle_slice
            )
            outcome.unlabelled += outside
            outcome.false += not outside
            outcome.remarks += (
                [] if outside else [f"{subject.name}: false body {vertebra.label} at {column:.0f}, {row:.0f}"]
            )
    return outcome


def _clinical_truth(subject: Subject, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners (slices, n, 4, 2) in the clinical slices, and whether they are known in at least half of the thin
    ones."""
    thick = _thickness(subject)
    count = (len(subject.corners) - first) // thick
    used = slice(first, first + count * thick)
    valid = (subject.state[used] == VALID).reshape(count, thick, len(subject.labels))
    corners = subject.corners[used].reshape(count, thick, len(subject.labels), 4, 2).astype(np.float64)
    total = np.where(valid[..., None, None], corners, 0).sum(axis=1)
    return total / np.maximum(valid.sum(axis=1), 1)[..., None, None], valid.mean(axis=1) >= 0.5


def _is_unlabelled(subject: Subject, row: int, column: int, z: int) -> bool:
    """Whether a place lies above or below the labelled bodies, where the scans show bodies that nobody labelled."""
    z = min(z + _thickness(subject) // 2, len(subject.corners) - 1)
    region = unlabelled_region(subject.corners[z], subject.state[z], subject.volume.shape[:2])
    inside = 0 <= row < region.shape[0] and 0 <= column < region.shape[1]
    return bool(inside and region[row, column])


def _mean_outlines(subject: Subject) -> np.ndarray:
    return np.array([subject.corners[subject.state[:, b] == VALID, b].mean(axis=0) for b in range(len(subject.labels))])


def evaluate(subjects: Sequence[Subject], models: Models, look: str = LOOKS[0], first: int = 0) -> Outcome:
    """The outcome over several scans."""
    return Outcome.joined(read_subject(subject, models, look, first)[1] for subject in subjects)

"""Detector training samples: patches cut from real and made scans, bent, re-contrasted and damaged as scans vary.

Each sample imitates another scanner, sequence or patient: slice thickness 1-5 mm, rotation, scale, smooth bending
(scoliosis, wedging, disc height), the shapes of `training_pathology.py` and the contrasts of `training_contrast.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from SpineMotionToolsLib.spinenet.detection_targets import PATCH_SIZE
from SpineMotionToolsLib.spinenet.labelling import LEVELS
from SpineMotionToolsLib.spinenet.training_contrast import Contrast, enlarge
from SpineMotionToolsLib.spinenet.training_pathology import deformed, displacement
from SpineMotionToolsLib.spinenet.training_scans import ABSENT, VALID, Subject, unlabelled_region

PATCH_MM = 260.0
DEFORMED_SHARE, SLENDER_SHARE = 0.4, 0.08
MADE_SHARE, MADE = 0.13, -1
SHIFTED_SHARE = 0.3  # of the samples keep some of the shift that air has in the stored scans


class PatchSampler:
    """Draws training patches from subjects, and some from `made` ones; the same seed gives the same patches."""

    def __init__(self, subjects: Sequence[Subject], seed: int, made: Sequence[Subject] = ()):
        self._subjects, self._made = subjects, made
        self._rng = np.random.default_rng(seed)
        self._contrast = Contrast(self._rng)
        self._ignored: dict[tuple[str, int], np.ndarray] = {}

    def sample(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Image (224, 224), corners of all levels, C2 last, (24, 4, 2) NaN where unknown, pixels to leave out, and the
        number of the subject, -1 for a made one."""
        rng = self._rng
        if self._made and rng.random() < MADE_SHARE:
            number, subject = MADE, self._made[int(rng.integers(len(self._made)))]
        else:
            number = int(rng.integers(len(self._subjects)))
            subject = self._subjects[number]
        with_bodies = np.flatnonzero((subject.state == VALID).sum(axis=1) >= 4)
        z = int(rng.choice(with_bodies)) if rng.random() < 0.93 else int(rng.integers(subject.volume.shape[2]))
        picture = self._thick_slice(subject, z)
        slender = rng.random() < SLENDER_SHARE
        grid, to_patch = self._geometry(subject, z, slender)
        state = subject.state[z]
        there = state != ABSENT
        corners = to_patch(subject.corners[z].reshape(-1, 2)).reshape(-1, 4, 2)
        if there.sum() > 1 and (slender or rng.random() < DEFORMED_SHARE):
            after = deformed(corners[there], rng, slender)
            at = np.mgrid[:PATCH_SIZE, :PATCH_SIZE] + displacement(corners[there], after, (PATCH_SIZE, PATCH_SIZE))
            grid = np.stack([ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in grid])
            corners[there] = after
        image = ndimage.map_coordinates(picture, grid, order=1, mode="constant")
        outside = ~_within(grid, picture.shape)
        ignored = ndimage.map_coordinates(self._ignored_in(subject, z).view(np.uint8), grid, order=0, mode="nearest")
        image = self._contrast.change(image, corners[there])
        image[outside] = 0
        ignored = (ignored > 0) & ~outside
        known = np.full((len(LEVELS), 4, 2), np.nan, dtype=np.float32)
        for body in np.flatnonzero(state == VALID):
            known[LEVELS.index(subject.labels[body])] = corners[body]
        return normalized(image), known, ignored, number

    def _thick_slice(self, subject, z):
        thickness = max(1, int(self._rng.integers(1, 6)) // subject.slice_mm)
        first = max(0, z - thickness // 2)
        picture = subject.volume[:, :, first : first + thickness].mean(axis=2)
        return subject.without_air(picture, self._rng.random() if self._rng.random() < SHIFTED_SHARE else 1.0)

    def _ignored_in(self, subject, z):
        key = subject.name, z
        if key not in self._ignored:
            shape = subject.volume.shape[:2]
            self._ignored[key] = unlabelled_region(subject.corners[z], subject.state[z], shape)
        return self._ignored[key]

    def _geometry(self, subject, z, slender):
        """Where each patch pixel lies in the slice (rows, columns), and the way back for points (column, row)."""
        rng = self._rng
        enlarged = rng.uniform(0.25, 0.6) if slender else _scale_logarithm(rng)
        angle = np.deg2rad(rng.normal(0, 7) if rng.random() < 0.8 else rng.uniform(-25, 25))
        scale = PATCH_MM / PATCH_SIZE * np.exp(enlarged)  # the scans have 1 mm pixels
        stretch = np.exp(rng.normal(0, 0.06))
        body = rng.integers(len(subject.labels))
        target = subject.corners[z, body].mean(axis=0) if subject.state[z, body] else np.array([190.0, 190.0])
        middle = target + rng.normal(0, 40, 2)
        size, reach = np.array(subject.volume.shape[1::-1]), 0.4 * PATCH_SIZE * scale
        middle = np.clip(middle, np.minimum(reach, size / 2), np.maximum(size - reach, size / 2))
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = rotation @ np.diag([scale * stretch, scale / stretch])
        bend = self._bend()

        rows, columns = np.mgrid[:PATCH_SIZE, :PATCH_SIZE].astype(np.float64)
        half = (PATCH_SIZE - 1) / 2
        x, y = columns - half + bend[0], rows - half + bend[1]
        grid = np.stack(
            [matrix[1, 0] * x + matrix[1, 1] * y + middle[1], matrix[0, 0] * x + matrix[0, 1] * y + middle[0]]
        )
        inverse = np.linalg.inv(matrix)

        def to_patch(points):
            straight = (np.asarray(points, dtype=np.float64) - middle) @ inverse.T + half
            found = straight.copy()
            for _ in range(6):  # fixed point: the bend is small and smooth
                at = found[:, ::-1].T
                shift = [ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in bend]
                found = straight - np.stack(shift, axis=1)
            return found

        return grid, to_patch

    def _bend(self):
        """A smooth displacement (2, 224, 224) in patch pixels: long waves always, short ones in half of the samples."""
        rng = self._rng
        bend = np.zeros((2, PATCH_SIZE, PATCH_SIZE))
        for knots, amplitude, share in ((4, 5.0, 0.7), (9, 1.6, 0.5)):
            if rng.random() < share:
                coarse = rng.normal(0, amplitude * rng.random(), (2, knots, knots))
                bend += np.stack([enlarge(part, (PATCH_SIZE, PATCH_SIZE)) for part in coarse])
        return bend


def _scale_logarithm(rng: np.random.Generator) -> float:
    """Mostly clinical sizes; sometimes a narrow field of view, which enlarges bodies, or small bodies."""
    low, high = ((-0.28, 0.28), (-0.6, -0.28), (0.28, 0.45))[int(rng.choice(3, p=(0.78, 0.16, 0.06)))]
    return rng.uniform(low, high)


def _within(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return ((grid >= 0) & (grid <= np.array(shape)[:, None, None] - 1)).all(axis=0)


def normalized(patch: np.ndarray) -> np.ndarray:
    """The detector's own normalization: minus the minimum, over the 0.5 to 99.5 percentile range; float32."""
    low, high = np.percentile(patch, (0.5, 99.5))
    return ((patch - patch.min()) / (abs(high - low) + 1e-9)).astype(np.float32)

"""Detector training samples: patches cut from real scans, bent, re-contrasted and damaged as clinical scans vary.

Each sample imitates another scanner, sequence or patient: slice thickness 1-5 mm, rotation, scale, smooth bending
(scoliosis, wedging, disc height), and the contrasts of `training_contrast.py`.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from SpineMotionToolsLib.spinenet.detection_targets import PATCH_SIZE, make_targets, vector_mask
from SpineMotionToolsLib.spinenet.training_contrast import Contrast, enlarge
from SpineMotionToolsLib.spinenet.training_scans import ABSENT, VALID, Subject, unlabelled_region

PATCH_MM = 260.0


class PatchSampler:
    """Draws training patches from subjects; the same seed gives the same patches."""

    def __init__(self, subjects: list[Subject], seed: int):
        self._subjects = subjects
        self._rng = np.random.default_rng(seed)
        self._contrast = Contrast(self._rng)
        self._ignored: dict[tuple[int, int], np.ndarray] = {}

    def batch(self, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`size` samples: images (n, 1, 224, 224), targets (n, 13, ...), weight (n, ...) 0 where unlabelled, vector
        mask (n, 4, ...)."""
        samples = [self.sample() for _ in range(size)]
        images, targets, weights, vectors = (np.stack(parts) for parts in zip(*samples))
        return images[:, None], targets, weights, vectors

    def sample(self):
        rng = self._rng
        number = int(rng.integers(len(self._subjects)))
        subject = self._subjects[number]
        with_bodies = np.flatnonzero((subject.state == VALID).sum(axis=1) >= 4)
        z = int(rng.choice(with_bodies)) if rng.random() < 0.93 else int(rng.integers(subject.volume.shape[2]))
        picture = self._thick_slice(subject.volume, z)
        grid, to_patch = self._geometry(subject, z)
        image = ndimage.map_coordinates(picture, grid, order=1, mode="constant")
        outside = ndimage.map_coordinates(np.ones_like(picture), grid, order=0, mode="constant") == 0
        ignored = ndimage.map_coordinates(self._ignored_in(number, z).view(np.uint8), grid, order=0, mode="nearest")
        state = subject.state[z]
        corners = to_patch(subject.corners[z].reshape(-1, 2)).reshape(-1, 4, 2)
        image = self._contrast.change(image, corners[state != ABSENT])
        image[outside] = 0
        valid = corners[state == VALID]
        weight = 1.0 - np.where(outside, 0, ignored).astype(np.float32)
        vectors = vector_mask(valid, image.shape) & (weight > 0)
        return normalized(image), make_targets(valid, shape=image.shape), weight, vectors

    def _thick_slice(self, volume, z):
        thickness = int(self._rng.integers(1, 6))
        first = max(0, z - thickness // 2)
        return volume[:, :, first : min(volume.shape[2], first + thickness)].mean(axis=2)

    def _ignored_in(self, number, z):
        if (number, z) not in self._ignored:
            subject = self._subjects[number]
            shape = subject.volume.shape[:2]
            self._ignored[number, z] = unlabelled_region(subject.corners[z], subject.state[z], shape)
        return self._ignored[number, z]

    def _geometry(self, subject, z):
        """Where each patch pixel lies in the slice (rows, columns), and the way back for points (column, row)."""
        rng = self._rng
        angle = np.deg2rad(rng.normal(0, 7) if rng.random() < 0.8 else rng.uniform(-25, 25))
        scale = PATCH_MM / PATCH_SIZE * np.exp(rng.uniform(-0.28, 0.28))  # the scans have 1 mm pixels
        stretch = np.exp(rng.normal(0, 0.06))
        body = rng.integers(8)
        target = subject.corners[z, body].mean(axis=0) if subject.state[z, body] else np.array([190.0, 190.0])
        middle = target + rng.normal(0, 45, 2)
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


def normalized(patch: np.ndarray) -> np.ndarray:
    """The detector's own normalization: minus the minimum, over the 0.5 to 99.5 percentile range; float32."""
    low, high = np.percentile(patch, (0.5, 99.5))
    return ((patch - patch.min()) / (abs(high - low) + 1e-9)).astype(np.float32)

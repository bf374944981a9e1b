"""Detector training samples: patches cut from real scans, bent, re-contrasted and damaged as clinical scans vary.

Each sample imitates another scanner, sequence or patient: slice thickness 1-5 mm, rotation, scale, smooth bending
(scoliosis, wedging, disc height), T1- and STIR-like intensity maps, bright or dark marrow and discs, end-plate and
body lesions, coil shading, blur, coarse pixels, noise, metal.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from SpineMotionToolsLib.spinenet.detection_targets import PATCH_SIZE, make_targets, vector_mask
from SpineMotionToolsLib.spinenet.training_scans import ABSENT, VALID, Subject, unlabelled_region

PATCH_MM = 260.0


class PatchSampler:
    """Draws training patches from subjects; the same seed gives the same patches."""

    def __init__(self, subjects: list[Subject], seed: int):
        self._subjects = subjects
        self._rng = np.random.default_rng(seed)
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
        image = self._recontrast(image, corners[state != ABSENT], outside)
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
                bend += np.stack([_enlarge(part) for part in coarse])
        return bend

    def _recontrast(self, image, corners, outside):
        rng = self._rng
        image = image / max(np.percentile(image, 99.5), 1.0)
        image = self._tissues(image, corners)
        if rng.random() < 0.55:
            image = self._intensity_map(image)
        if rng.random() < 0.6:
            image = image * np.exp(_enlarge(rng.normal(0, 0.45 * rng.random(), (4, 4))))
        if rng.random() < 0.05:
            image = self._metal(image)
        if rng.random() < 0.35:
            image = self._coarser(image)
        if rng.random() < 0.5:
            image = ndimage.gaussian_filter(image, rng.uniform(0.2, 1.1))
        noise = 0.07 * rng.random() ** 2
        image = np.hypot(image + rng.normal(0, noise, image.shape), rng.normal(0, noise, image.shape))
        image[outside] = 0
        return image

    def _tissues(self, image, corners):
        """Marrow and discs brighter or darker, all together or one by one; lesions at end plates."""
        rng = self._rng
        factor = np.ones_like(image)
        if rng.random() < 0.45 and len(corners):
            marrow = np.exp(rng.uniform(-1.0, 0.6))
            for body in corners:
                own = np.exp(rng.normal(0, 0.08)) if rng.random() > 0.08 else np.exp(rng.uniform(-0.7, 0.7))
                _paint(factor, body, marrow * own)
        for upper, lower in zip(corners[:-1], corners[1:]):
            if rng.random() < 0.5:
                disc = np.stack([upper[1], lower[0], lower[3], upper[2]])
                _paint(factor, disc, np.exp(rng.uniform(-1.3, 0.8)))
        for body in corners:
            if rng.random() < 0.10:  # Modic-like band or Schmorl-like spot at an end plate
                a, b = (body[0], body[3]) if rng.random() < 0.5 else (body[1], body[2])
                inward = body.mean(axis=0) - (a + b) / 2
                start, end = np.sort(rng.random(2))
                depth = rng.uniform(0.15, 0.6)
                p, q = a + (b - a) * start, a + (b - a) * end
                _paint(factor, np.stack([p, q, q + depth * inward, p + depth * inward]), np.exp(rng.uniform(-1.2, 0.9)))
        return image * ndimage.gaussian_filter(factor, rng.uniform(0.7, 1.6))

    def _intensity_map(self, image):
        """Gray values through a random curve: monotone (gamma), T1-like (bright fluid turns dark) or any."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.35:
            return np.clip(image, 0, None) ** np.exp(rng.uniform(-0.6, 0.6))
        knots = np.array([0.0, 0.12, 0.25, 0.4, 0.6, 0.85, 1.2])
        if kind < 0.7:
            values = np.array([0.0, 0.15, 0.45, 0.6, 0.5, 0.3, 0.2]) + rng.normal(0, 0.08, 7)
        else:
            values = rng.random(7)
        values[0] = 0.0
        return np.interp(image, knots, np.clip(values, 0, 1.2))

    def _metal(self, image):
        rng = self._rng
        rows, columns = np.mgrid[:PATCH_SIZE, :PATCH_SIZE]
        y, x = rng.uniform(20, PATCH_SIZE - 20, 2)
        radius = rng.uniform(6, 20)
        distance = np.hypot((rows - y) / rng.uniform(0.6, 1.6), columns - x)
        return image * (1 - np.exp(-((distance / radius) ** 4))) + 0.8 * np.exp(-(((distance - 1.1 * radius) / 2) ** 2))

    def _coarser(self, image):
        factor = self._rng.uniform(0.5, 0.9)
        small = ndimage.zoom(ndimage.gaussian_filter(image, 0.4 / factor), factor, order=1)
        return ndimage.zoom(small, np.array(image.shape) / small.shape, order=1)


def normalized(patch: np.ndarray) -> np.ndarray:
    """The detector's own normalization: minus the minimum, over the 0.5 to 99.5 percentile range; float32."""
    low, high = np.percentile(patch, (0.5, 99.5))
    return ((patch - patch.min()) / (abs(high - low) + 1e-9)).astype(np.float32)


def _enlarge(coarse: np.ndarray) -> np.ndarray:
    """A coarse grid of values as a smooth 224 x 224 field."""
    at = np.linspace(0, len(coarse) - 1, PATCH_SIZE)
    fine = ndimage.spline_filter(coarse, order=3)
    rows, columns = np.meshgrid(at, at, indexing="ij")
    return ndimage.map_coordinates(fine, [rows, columns], order=3, prefilter=False, mode="nearest")


def _paint(field: np.ndarray, polygon: np.ndarray, value: float) -> None:
    """Set the pixels inside a polygon of (column, row) points."""
    from PIL import Image, ImageDraw

    low = np.floor(polygon.min(axis=0)).astype(int) - 1
    size = np.ceil(polygon.max(axis=0)).astype(int) + 2 - low
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(low + size, field.shape[::-1])
    if x1 <= x0 or y1 <= y0:
        return
    stencil = Image.new("1", (int(x1 - x0), int(y1 - y0)))
    ImageDraw.Draw(stencil).polygon([(float(x - x0), float(y - y0)) for x, y in polygon], fill=1)
    field[y0:y1, x0:x1][np.asarray(stencil)] = value

"""Other looks of a scan for training: sequences, coils, resolutions, marrow and disc changes, lesions, metal."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


class Contrast:
    """Changes gray values at random, as other scanners, sequences (T1, STIR) and patients would."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng

    def change(self, image: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """Another look of a picture (rows, columns) or of the slices of a crop (rows, columns, slices).

        `corners`: (n, 4, 2) corners of its bodies, top to bottom, as (column, row), in the order rt, rb, lb, lt.
        """
        rng = self._rng
        image = image / max(np.percentile(image, 99.5), 1.0)
        image = self._tissues(image, corners)
        if rng.random() < 0.55:
            image = self._intensity_map(image)
        if rng.random() < 0.6:
            shading = enlarge(rng.normal(0, 0.45 * rng.random(), (4, 4)), image.shape[:2])
            image = image * _over(np.exp(shading), image)
        if rng.random() < 0.05:
            image = self._metal(image)
        if rng.random() < 0.35:
            image = self._coarser(image)
        if rng.random() < 0.5:
            image = _blur(image, rng.uniform(0.2, 1.1))
        noise = 0.07 * rng.random() ** 2
        image = np.hypot(image + rng.normal(0, noise, image.shape), rng.normal(0, noise, image.shape))
        return image

    def _tissues(self, image, corners):
        """Marrow and discs brighter or darker, all together or one by one; lesions at end plates."""
        rng = self._rng
        factor = np.ones(image.shape[:2])
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
        return image * _over(ndimage.gaussian_filter(factor, rng.uniform(0.7, 1.6)), image)

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
        height, width = image.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        y, x = rng.uniform(0.1, 0.9, 2) * (height, width)
        radius = rng.uniform(6, 20)
        distance = np.hypot((rows - y) / rng.uniform(0.6, 1.6), columns - x)
        hole, rim = np.exp(-((distance / radius) ** 4)), np.exp(-(((distance - 1.1 * radius) / 2) ** 2))
        return image * _over(1 - hole, image) + 0.8 * _over(rim, image)

    def _coarser(self, image):
        factor = self._rng.uniform(0.5, 0.9)
        scale = (factor, factor, 1)[: image.ndim]
        small = ndimage.zoom(_blur(image, 0.4 / factor), scale, order=1)
        return ndimage.zoom(small, np.array(image.shape) / small.shape, order=1)


def _over(field: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A field (rows, columns) shaped so that it applies to all slices of the image."""
    return field if image.ndim == 2 else field[..., None]


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim])


def enlarge(coarse: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A coarse square grid of values as a smooth field (rows, columns)."""
    fine = ndimage.spline_filter(coarse, order=3)
    at = [np.linspace(0, len(coarse) - 1, size) for size in shape]
    rows, columns = np.meshgrid(*at, indexing="ij")
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

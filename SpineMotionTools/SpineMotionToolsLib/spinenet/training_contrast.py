"""Other looks of a scan for training: sequences, coils, resolutions, marrow and disc changes, lesions, metal."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import interpolate, ndimage

T1_SHARE, FAT_SUPPRESSED_SHARE, MAPPED_SHARE = 0.28, 0.24, 0.2
ALIKE_SHARE = 0.2  # of T1- and STIR-like pictures show discs nearly as gray as the bodies


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
        kind = rng.random()
        if kind < T1_SHARE and len(corners) > 1:
            image = self.t1(image, corners)
        elif kind < T1_SHARE + FAT_SUPPRESSED_SHARE and len(corners) > 1:
            image = self.fat_suppressed(image, corners)
        elif kind < T1_SHARE + FAT_SUPPRESSED_SHARE + MAPPED_SHARE:
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
                _paint(factor, _disc(upper, lower), np.exp(rng.uniform(-1.3, 0.8)))
        for body in corners:
            if rng.random() < 0.10:  # Modic-like band or Schmorl-like spot at an end plate
                a, b = (body[0], body[3]) if rng.random() < 0.5 else (body[1], body[2])
                inward = body.mean(axis=0) - (a + b) / 2
                start, end = np.sort(rng.random(2))
                depth = rng.uniform(0.15, 0.6)
                p, q = a + (b - a) * start, a + (b - a) * end
                _paint(factor, np.stack([p, q, q + depth * inward, p + depth * inward]), np.exp(rng.uniform(-1.2, 0.9)))
        return image * _over(ndimage.gaussian_filter(factor, rng.uniform(0.7, 1.6)), image)

    def t1(self, image, corners):
        """T1-like: dark fluid in the canal, gray discs, marrow brighter than muscle, fat bright as before."""
        rng = self._rng
        canal = _over(_canal(corners, image.shape[:2]), image)
        image = image * (1 - rng.uniform(0.5, 0.85) * canal * _bright(image))
        marrow, factor = rng.uniform(0.9, 1.8), np.ones(image.shape[:2])
        for body in corners:
            _paint(factor, body, marrow * np.exp(rng.normal(0, 0.05)))
        image = image * _over(ndimage.gaussian_filter(factor, 0.8), image)
        alike = rng.random() < ALIKE_SHARE
        image = self._gray_discs(image, corners, (0.85, 1.1) if alike else (0.5, 0.95))
        return np.clip(image, 0, None) ** np.exp(rng.uniform(-0.4, 0.3))

    def fat_suppressed(self, image, corners):
        """STIR-like: fat and marrow dark, fluid bright, discs between, some bodies with edema."""
        rng = self._rng
        canal = _over(_canal(corners, image.shape[:2]), image)
        # Judged on a blurred picture, so that the rim of fat does not stay bright.
        image = image * (1 - rng.uniform(0.6, 0.97) * (1 - canal) * _bright(_blur(image, rng.uniform(0.3, 1.2))))
        marrow, factor = rng.uniform(0.2, 0.8), np.ones(image.shape[:2])
        for body in corners:
            _paint(factor, body, rng.uniform(0.9, 2.5) if rng.random() < 0.07 else marrow * np.exp(rng.normal(0, 0.08)))
        image = image * _over(ndimage.gaussian_filter(factor, 0.8), image)
        if rng.random() < ALIKE_SHARE:
            image = self._gray_discs(image, corners, (0.8, 1.3))
        return np.clip(image, 0, None) ** np.exp(rng.uniform(-0.6, 0.2))

    def _gray_discs(self, image, corners, of_marrow):
        """Discs mostly in one gray, a random multiple of the bodies' own within `of_marrow`."""
        rng = self._rng
        inside = [_values_in(image, body) for body in corners]
        level = float(np.median(np.concatenate(inside))) if any(len(v) for v in inside) else 0.3
        gray, share = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
        for upper, lower in zip(corners[:-1], corners[1:]):
            _paint(share, _disc(upper, lower), rng.uniform(0.5, 0.9))
            _paint(gray, _disc(upper, lower), level * rng.uniform(*of_marrow))
        share = ndimage.gaussian_filter(share, 1.2)
        return image * _over(1 - share, image) + _over(ndimage.gaussian_filter(gray, 1.2) * share, image)

    def _intensity_map(self, image):
        """Gray values through a random curve: monotone (gamma), T1-like (bright fluid turns dark) or any."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.55:
            return np.clip(image, 0, None) ** np.exp(rng.uniform(-0.6, 0.6))
        knots = np.array([0.0, 0.12, 0.25, 0.4, 0.6, 0.85, 1.2])
        if kind < 0.85:
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


def _disc(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.stack([upper[1], lower[0], lower[3], upper[2]])


def _bright(image: np.ndarray) -> np.ndarray:
    """0 for dark and 1 for bright pixels (fluid and fat on T2), smooth between."""
    part = np.clip((image - 0.3) / 0.3, 0, 1)
    return part * part * (3 - 2 * part)


def _canal(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The spinal canal, 0 to 1: a band behind the bodies, two thirds of their depth wide."""
    field = np.zeros(shape)
    wall = corners[:, :2].reshape(-1, 2)  # right corners are posterior
    backward = np.repeat((corners[:, 0] - corners[:, 3] + corners[:, 1] - corners[:, 2]) / 2, 2, axis=0)
    first, last = wall[:1] + 1.5 * (wall[:1] - wall[1:2]), wall[-1:] + 1.5 * (wall[-1:] - wall[-2:-1])
    wall = np.concatenate([first, wall, last])
    backward = np.concatenate([backward[:1], backward, backward[-1:]])
    _paint(field, np.concatenate([wall + 0.03 * backward, (wall + 0.67 * backward)[::-1]]), 1.0)
    return ndimage.gaussian_filter(field, 1.5)


def _values_in(image: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    inside = np.zeros(image.shape[:2])
    _paint(inside, polygon, 1.0)
    return image[inside > 0].ravel()


def _over(field: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A field (rows, columns) shaped so that it applies to all slices of the image."""
    return field if image.ndim == 2 else field[..., None]


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, (sigma, sigma, 0)[: image.ndim])


def enlarge(coarse: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A coarse grid of values as a smooth field (rows, columns): a cubic spline through the values."""
    rows, columns = (_spline(knots, length) for knots, length in zip(coarse.shape, shape))
    return rows @ coarse @ columns.T


@lru_cache(maxsize=64)
def _spline(knots: int, length: int) -> np.ndarray:
    """Natural cubic splines through unit values, (length, knots)."""
    at = np.linspace(0, knots - 1, length)
    return interpolate.CubicSpline(np.arange(knots), np.eye(knots), bc_type="natural")(at)


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

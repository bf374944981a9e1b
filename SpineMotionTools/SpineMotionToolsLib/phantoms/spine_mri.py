"""Made sagittal MRI of a whole spine, C2 to the sacrum, with the corners and the name of every body in every slice.

A T2-weighted drawing, not a simulation: bodies and discs of usual sizes, kyphosis and lordosis, canal with cord and
fluid, posterior elements, pedicles with foramina between them, ribs, aorta, lungs, bowel and fat, as smooth shapes in
mm. For levels of which there are no labelled scans. Rows run head to foot, columns front to back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

LEVELS = (*(f"C{i}" for i in range(2, 8)), *(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)), "S1")
FINER = 2  # drawn at half a millimeter
COLUMNS = 300
SACRUM_BELOW = 3  # S2-S4 are drawn, and have no corners

# At some levels (C2 = 0 ... S1 = 23, S4 = 26), from anatomy textbooks; between them linear. Lengths in mm.
_KNOTS = (0, 1, 5, 6, 11, 17, 18, 22, 23, 24, 26)
_DEPTH = (15, 15.5, 17, 17.5, 24, 29, 31, 34, 31, 19, 12)
_HEIGHT = (17, 13.5, 14, 16.5, 20, 24, 26, 27.5, 27, 22, 18)
_DISC = (5, 5, 5.5, 3.5, 4, 6, 8, 10.5, 3, 2, 1)
_HALF_WIDTH = (9, 10, 13, 14, 14.5, 20, 21, 26, 26, 22, 18)
_TILT_DEG = (-2, -2, 18, 20, 0, -14, -14, 20, 42, 55, 75)  # of the body's axis, positive: its foot lies further back
_CANAL = (15, 14, 14, 14, 13.5, 15, 16, 15, 12, 8, 3)
_BACK = (60, 58, 60, 62, 60, 66, 70, 78, 70, 55, 40)  # from the bodies to the skin behind
_FRONT = (55, 52, 75, 95, 150, 150, 140, 130, 125, 120, 115)  # and before them


@dataclass(frozen=True)
class MadeSpine:
    """`volume` (rows, columns, slices) float32 0-255, 1 mm pixels, slices `slice_mm` apart.

    `corners` (slices, bodies, 4, 2) as (column, row), order rt, rb, lb, lt; `aside` (slices, bodies): how far from a
    body's middle the slice lies, in half-widths of the body (above 1 it shows none of it); `labels` top to bottom.
    """

    volume: np.ndarray
    slice_mm: float
    corners: np.ndarray
    aside: np.ndarray
    labels: tuple[str, ...]

    def between(self, first: str, last: str, margin_mm: int = 12) -> MadeSpine:
        """The field of view that shows the bodies `first` to `last` wholly; labels keep only these."""
        chosen = slice(self.labels.index(first), self.labels.index(last) + 1)
        rows = self.corners[:, chosen, :, 1]
        top, bottom = max(int(rows.min()) - margin_mm, 0), int(rows.max()) + margin_mm
        return replace(
            self,
            volume=self.volume[top:bottom],
            corners=self.corners[:, chosen] - (0, top),
            aside=self.aside[:, chosen],
            labels=self.labels[chosen],
        )


def draw_spine(rng: np.random.Generator, slices: int = 19, slice_mm: float = 4.0) -> MadeSpine:
    """One made patient's whole spine; the same generator state gives the same spine."""
    patient = _Patient(rng)
    positions = (np.arange(slices) - (slices - 1) / 2) * slice_mm
    drawn = [_Slice(patient, z, rng).picture() for z in positions]
    volume = np.clip(np.stack(drawn, axis=2), 0, 1.2) * (255 / 1.2)
    corners = np.stack([patient.outlines(z)[: len(LEVELS)] for z in positions])
    aside = np.stack([np.abs(patient.aside(z))[: len(LEVELS)] for z in positions])
    return MadeSpine(volume.astype(np.float32), slice_mm, corners, aside, LEVELS)


class _Patient:
    """Sizes, curves and gray values, drawn once: corners (27, 4, 2) of C2-S4 in the middle plane."""

    def __init__(self, rng: np.random.Generator):
        count = len(LEVELS) + SACRUM_BELOW
        level = np.arange(count)

        def usual(values: Sequence[float], spread: float = 0.03) -> np.ndarray:
            return np.interp(level, _KNOTS, values) * np.exp(rng.normal(0, spread, count))

        size, slender = np.exp(rng.normal(0, 0.08)), np.exp(rng.normal(0, 0.05))
        self.depth, self.height = size * slender * usual(_DEPTH), size / slender * usual(_HEIGHT)
        self.half_width = size * usual(_HALF_WIDTH)
        worn = np.where(rng.random(count) < 0.25 * rng.random(), rng.uniform(0.3, 0.8, count), 1.0)
        self.disc = size * usual(_DISC, 0.1) * np.exp(rng.normal(0, 0.1)) * worn
        self.canal, self.back, self.front = (size * usual(values) for values in (_CANAL, _BACK, _FRONT))
        self.back *= np.exp(rng.normal(0, 0.12))
        curved = np.interp(level, (0, 5, 6, 17, 18, 26), np.repeat(rng.uniform(0.4, 1.25, 3), 2))
        bumps = ndimage.gaussian_filter1d(rng.normal(0, 8, count), 1.5)
        tilt = np.deg2rad(np.interp(level, _KNOTS, _TILT_DEG) * curved + bumps + rng.normal(0, 4))
        self.down = np.stack([np.sin(tilt), np.cos(tilt)], axis=1)
        self.behind = np.stack([np.cos(tilt), -np.sin(tilt)], axis=1)
        self.sideways = 14 * rng.random() ** 2 * np.sin(level / rng.uniform(2.5, 6) + rng.uniform(0, 7))
        self.sideways += rng.normal(0, 2)
        wedge = np.interp(level, (0, 10, 17, 20, 22, 23, 26), (0, -0.04, -0.02, 0, 0.09, 0.06, 0))
        self.wedge = wedge + rng.normal(0, 0.025, count)
        self.corners = self._stacked()
        self.marrow = rng.uniform(0.28, 0.5) * np.exp(rng.normal(0, 0.06, count))
        wet = 0.75 * np.exp(-rng.exponential(0.35)) * np.ones(count)
        self.nucleus = np.clip(wet * np.where(worn < 1, 0.35, 1) * np.exp(rng.normal(0, 0.15, count)), 0.1, 0.95)
        self.aorta = rng.uniform(-6, 14)
        self.rows = int(self.corners[:, :, 1].max()) + 25

    def _stacked(self) -> np.ndarray:
        tops, at = [], np.array([0.0, 0.0])
        for i, (height, disc) in enumerate(zip(self.height, self.disc)):
            tops.append(at)
            after = min(i + 1, len(self.height) - 1)
            middle = self.down[i] + self.down[after]
            at = at + height * self.down[i] + disc * middle / np.linalg.norm(middle)
        tops = np.array(tops)
        ends = []
        # S1 narrows toward its foot; other bodies are a little deeper there
        narrowing = np.where(np.arange(len(tops)) >= len(LEVELS) - 1, 0.72, 1.03)[:, None]
        half = self.depth[:, None] / 2 * self.behind
        for side, end in ((1, 0), (1, 1), (-1, 1), (-1, 0)):
            along = self.height[:, None] * (end + (0.5 - end) * side * self.wedge[:, None]) * self.down
            ends.append(tops + along + side * half * (narrowing if end else 1.0))
        corners = np.stack(ends, axis=1)
        middle = corners[:, :, 0].mean()
        return corners + (0.52 * COLUMNS - middle, 38.0)

    def aside(self, z: float) -> np.ndarray:
        """Signed distance of a slice from the bodies' middles, in half-widths."""
        return (z - self.sideways) / self.half_width

    def outlines(self, z: float) -> np.ndarray:
        """Corners in the slice at `z`: the front wall is round."""
        share = np.clip(np.abs(self.aside(z)), 0, 1)
        shorter = (0.3 * share**2 * self.depth)[:, None] * self.behind
        corners = self.corners.copy()
        corners[:, 2:] += shorter[:, None]
        corners[:, :2] -= 0.15 * shorter[:, None]
        return corners


class _Slice:
    """Paints one slice from the skin inward; what is painted later lies over what was painted before."""

    def __init__(self, patient: _Patient, z: float, rng: np.random.Generator):
        self._p, self._rng = patient, rng
        self._beside = z - patient.sideways  # mm from each body's middle plane
        self._aside = np.abs(patient.aside(z))
        self._corners = patient.outlines(z)
        self._middle = self._corners.mean(axis=1)
        self._aorta = np.abs(z - patient.aorta - patient.sideways) < 9
        self._canvas(np.zeros((FINER * patient.rows, FINER * COLUMNS)))

    def _canvas(self, under: np.ndarray) -> None:
        from PIL import Image, ImageDraw

        self._image = Image.fromarray(under.astype(np.float32))
        self._brush = ImageDraw.Draw(self._image)

    def picture(self) -> np.ndarray:
        """(rows, columns), 1 mm, gray values 0 to about 1."""
        self._soft_tissue()
        self._canvas(ndimage.gaussian_filter(np.asarray(self._image), FINER * 1.5))
        self._posterior_elements()
        self._canal()
        self._discs()
        self._bodies()
        fine = np.asarray(self._image)
        image = fine.reshape(self._p.rows, FINER, COLUMNS, FINER).mean(axis=(1, 3))
        for scale, amount in ((0.8, 0.05), (2.5, 0.07), (12.0, 0.12)):
            field = ndimage.gaussian_filter(self._rng.normal(size=image.shape), scale)
            image = image * (1 + amount * field / field.std())
        return ndimage.gaussian_filter(np.clip(image, 0, None), 0.45)

    def _fill(self, points, gray: float, rim: float | None = None, rim_mm: float = 1.2) -> None:
        points = np.asarray(points, dtype=np.float64)
        flat = [tuple(FINER * point) for point in points]
        self._brush.polygon(flat, fill=float(gray))
        if rim is not None:
            self._brush.line([*flat, flat[0]], fill=float(rim), width=max(1, round(FINER * rim_mm)), joint="curve")

    def _oval(self, at, along, across, gray, rim=None) -> None:
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        wobble = 1 + 0.12 * ndimage.gaussian_filter1d(self._rng.normal(size=20), 1.5, mode="wrap")
        ring = np.outer(np.cos(turn) * wobble, along) + np.outer(np.sin(turn) * wobble, across)
        self._fill(at + ring, gray, rim)

    def _band(self, front, back, gray: float, first: int = 0, last: int | None = None) -> None:
        """A band along the spine between `front` and `back` mm behind the bodies' back walls, one number a body."""
        p, chosen = self._p, slice(first, last)
        wall = p.corners[chosen, :2].reshape(-1, 2)
        behind = np.repeat(p.behind[chosen], 2, axis=0)
        near, far = (np.repeat(np.broadcast_to(v, len(p.depth))[chosen], 2)[:, None] for v in (front, back))
        edges = [wall + near * behind, wall + far * behind]
        if first == 0:
            edges = [np.concatenate([edge[:1] - 60 * p.down[:1], edge]) for edge in edges]
        smooth = [ndimage.gaussian_filter1d(edge, 1.0, axis=0, mode="nearest") for edge in edges]
        self._fill(np.concatenate([smooth[0], smooth[1][::-1]]), gray)

    def _soft_tissue(self) -> None:
        p, rng = self._p, self._rng
        fat = rng.uniform(3, 22) + rng.normal(0, 1)
        self._band(-p.depth - p.front, p.back, 0.85)
        self._band(-p.depth - p.front + fat, p.back - 0.6 * fat - 3, 0.17)
        thorax, lateral = np.s_[6:17], np.median(np.abs(self._beside)) > 16
        for i in range(len(p.depth)):  # neck, chest or belly before the bodies
            for _ in range(6):
                reach = rng.uniform(8, max(p.front[i] - fat - 6, 9)) + p.depth[i] / 2
                at = self._middle[i] - reach * p.behind[i] + rng.uniform(-12, 12) * p.down[i]
                gray = rng.choice((0.05, 0.2, 0.35, 0.6)) * np.exp(rng.normal(0, 0.2))
                if thorax.start <= i < thorax.stop and reach > 30:
                    gray = 0.04 if rng.random() < 0.7 else gray
                large = rng.uniform(5, 12 if i < 6 else 24)
                self._oval(at, large * p.down[i], 0.7 * large * p.behind[i], gray)
        if lateral:
            self._band(-p.depth - 50, -0.4 * p.depth, 0.04, thorax.start, thorax.stop)
            self._band(-p.depth - 6, -2, 0.18, 17, len(LEVELS))  # psoas
        else:
            airway = p.depth[:8].mean()
            self._band(-airway - 26, -airway - 11, 0.04, 1, 8)
            self._band(-p.depth - 5, 0, 0.5, 17)
        if self._aorta[10:21].any():
            self._band(-p.depth - 24, -p.depth - 5, 0.05, 8, 21)

    def _posterior_elements(self) -> None:
        p, rng = self._p, self._rng
        for i in range(len(LEVELS)):
            side, start = abs(self._beside[i]), p.canal[i] + 3
            wall = p.corners[i, :2].mean(axis=0)
            long = (0.35 if i in range(1, 5) else 0.5) * (p.back[i] - start)
            slope = 0.9 if 8 <= i < 15 else 0.35
            marrow = 1.05 * p.marrow[i]
            if side < 5:  # spinous process, fat between
                low = wall + start * p.behind[i] + 0.3 * p.height[i] * p.down[i]
                self._oval(low, 0.7 * p.height[i] * p.down[i], 7 * p.behind[i], rng.uniform(0.4, 0.8))
                tip = low + long * p.behind[i] + slope * long * p.down[i]
                thick = 0.27 * p.height[i] * p.down[i]
                self._fill([low - thick, low + thick, tip + 1.2 * thick, tip - thick], marrow, 0.07)
            elif side < 0.55 * p.half_width[i] + 3:  # lamina
                at = wall + (start + 3) * p.behind[i] + 0.45 * p.height[i] * p.down[i]
                self._oval(at, 0.42 * p.height[i] * p.down[i], 4.5 * p.behind[i], marrow, 0.07)
            if 0.4 < self._aside[i] < 1.15 and side > 6:  # pedicle, articular process, and the foramen below
                up, down = p.corners[i, 0], p.corners[i, 1]
                reach = (p.canal[i] + 1) * p.behind[i]
                notch = wall + 0.55 * reach + 0.7 * (down - wall)
                self._oval(notch, 0.5 * p.height[i] * p.down[i], 0.55 * reach, 0.75)
                self._oval(notch, 2.6 * p.down[i], 2.4 * p.behind[i], 0.22)
                beam = [up, up + reach, up + reach + 0.45 * (down - up), up + 0.45 * (down - up)]
                self._fill(beam, marrow, 0.07)
                facet = wall + reach + 4 * p.behind[i]
                self._oval(facet, 0.62 * p.height[i] * p.down[i], 5 * p.behind[i], marrow, 0.07)
            if 6 <= i < 18 and self._aside[i] > 0.95:  # rib beside the disc above
                at = p.corners[i, 0] - 0.12 * p.depth[i] * p.behind[i] - 0.5 * p.disc[i] * p.down[i]
                self._oval(at, 6 * p.down[i], 5 * p.behind[i], marrow, 0.07)

    def _canal(self) -> None:
        p, rng = self._p, self._rng
        inside = np.abs(self._beside) < 0.65 * p.canal + 1
        for first, last in _runs(inside):
            self._band(1.0, p.canal, 0.3, first, last)
            self._band(1.0, p.canal - 1.0, rng.uniform(0.85, 1.1), first, last)
        thick = np.interp(np.arange(len(p.depth)), (0, 5, 8, 16, 18, 19), (8, 8.5, 6.5, 7, 4, 0))
        for first, last in _runs((np.abs(self._beside) < 5) & (thick > 0)):
            front = 0.45 * (p.canal - thick)
            self._band(front, front + thick, 0.42, first, last)
        for first, last in _runs((np.abs(self._beside) < 7) & (np.arange(len(p.depth)) >= 18)):
            self._band(0.62 * p.canal, 0.85 * p.canal, 0.68, first, last)  # cauda equina

    def _discs(self) -> None:
        p = self._p
        for i in range(len(p.depth) - 1):
            if max(self._aside[i], self._aside[i + 1]) > 1:
                continue
            a, b = self._corners[i], self._corners[i + 1]
            bulge = self._rng.uniform(0.2, 1.8)
            quad = np.stack([a[1], (a[1] + b[0]) / 2 + bulge * p.behind[i], b[0]])
            front = np.stack([b[3], (a[2] + b[3]) / 2 - bulge * p.behind[i], a[2]])
            self._fill(np.concatenate([quad, front]), 0.1)
            if i < len(LEVELS) - 1:
                middle, across = (a[1] + a[2] + b[0] + b[3]) / 4, (a[1] - a[2]) * 0.34
                self._oval(middle, 0.55 * p.disc[i] * p.down[i], across, p.nucleus[i])

    def _bodies(self) -> None:
        p, rng = self._p, self._rng
        for i, (rt, rb, lb, lt) in enumerate(self._corners):
            if self._aside[i] > 1:
                continue
            waist = rng.uniform(0.03, 0.08) * (rt - lt)
            hollow = rng.uniform(0.01, 0.06) * (rb - rt)
            right, left = (rt + rb) / 2 - waist, (lt + lb) / 2 + waist
            top, bottom = (rt + lt) / 2 + hollow, (rb + lb) / 2 - hollow
            if i == 0 and self._aside[0] < 0.6:  # the dens
                dens = [lt + 0.1 * (rt - lt), lt + 0.2 * (rt - lt) - 15 * p.down[0]]
                self._fill([*dens, dens[1] + 0.55 * (rt - lt), dens[0] + 0.7 * (rt - lt)], p.marrow[0], 0.07)
            self._fill(_rounded(np.array([rt, right, rb, bottom, lb, left, lt, top])), p.marrow[i], 0.07)
            if abs(self._beside[i]) < 5:  # basivertebral vein
                self._oval((rt + rb) / 2 - 0.12 * (rt - lt), 1.2 * p.down[i], 2.5 * p.behind[i], 1.5 * p.marrow[i])


def _rounded(ring: np.ndarray) -> np.ndarray:
    """A closed outline of corners and edge middles, corners cut a little."""
    cut = []
    for i in range(0, len(ring), 2):
        before, corner, after, middle = ring[i - 1], ring[i], ring[i + 1], ring[i + 1]
        cut += [corner + 0.12 * (before - corner), corner + 0.03 * (before + after - 2 * corner)]
        cut += [corner + 0.12 * (after - corner), middle]
    return np.array(cut)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Stretches (first, last + 1) of true values at least two long."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2]) if b - a > 1]

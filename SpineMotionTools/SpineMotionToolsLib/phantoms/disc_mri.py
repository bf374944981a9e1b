"""Made sagittal MRI of one lumbar disc with known radiological grades, laid out as a disc grading network sees it.

A drawing, not a simulation: two bodies, disc, canal and foramina as smooth shapes in mm. The grades are caricatures
(a narrow disc is drawn low, a herniation as a bump), so that networks trained on them show how grading works and
nothing about patients. Slices run from the patient's left to right; columns from front to back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SHAPE = (9, 112, 224)
DISC_WIDTH_PX = 113.5
BODY_LEVEL = 0.25  # gray value of marrow after the published scaling
EDGE_MM = 0.45
CANAL_HALF_MM, FORAMEN_MM = 9.5, (10.0, 19.0)


@dataclass(frozen=True)
class DiscGrades:
    """Classes from 0: Pfirrmann (5), narrowing (4), canal stenosis (4), slip (3), and eight findings (2 each)."""

    pfirrmann: int
    narrowing: int
    canal_stenosis: int
    slip: int
    upper_endplate: int
    lower_endplate: int
    upper_marrow: int
    lower_marrow: int
    left_foramen: int
    right_foramen: int
    herniation: int

    def classes(self) -> tuple[int, ...]:
        """In the order of the published grading heads."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def random_grades(rng: np.random.Generator) -> DiscGrades:
    """Grades with every class common; a collapsed disc (Pfirrmann V) is always narrow."""
    pfirrmann = int(rng.integers(5))
    narrowing = int(rng.integers(2, 4)) if pfirrmann == 4 else int(rng.choice(4, p=(0.4, 0.27, 0.2, 0.13)))
    slip = int(rng.choice(3, p=(0.5, 0.25, 0.25)))
    findings = (rng.random(7) < 0.4).astype(int).tolist()
    return DiscGrades(pfirrmann, narrowing, int(rng.integers(4)), slip, *findings)


def draw_disc(grades: DiscGrades, rng: np.random.Generator) -> np.ndarray:
    """The disc's volume: float32 (9 slices, 112 rows, 224 columns), marrow near 0.25, values 0 to 1."""
    return _Disc(grades, rng).volume()


class _Disc:
    """One patient's disc: sizes and gray values drawn once, then slice by slice."""

    def __init__(self, grades: DiscGrades, rng: np.random.Generator):
        self.grades, self.rng = grades, rng
        self.width = rng.uniform(30, 40)
        self.height = rng.uniform(9.5, 11.5) * (1.0, 0.72, 0.47, 0.22)[grades.narrowing]
        self.slip = (
            self.width * (rng.uniform(-0.02, 0.02), rng.uniform(0.12, 0.22), rng.uniform(0.3, 0.45))[grades.slip]
        )
        self.canal = rng.uniform(14, 17) * (1.0, 0.72, 0.48, 0.25)[grades.canal_stenosis]
        self.spacing = rng.uniform(3.5, 5.0)
        self.marrow = BODY_LEVEL * rng.uniform(0.9, 1.1)
        self.fluid, self.fat, self.soft = rng.uniform(0.6, 1.0), rng.uniform(0.4, 0.8), rng.uniform(0.06, 0.2)
        lowest, highest = ((0.45, 0.85), (0.36, 0.55), (0.22, 0.28), (0.12, 0.17), (0.05, 0.09))[grades.pfirrmann]
        self.nucleus, self.annulus = rng.uniform(lowest, highest), rng.uniform(0.04, 0.09)
        self.contrast = rng.uniform(0.5, 1.05)  # some scanners and sequences show all differences weaker
        self.hollow = rng.uniform(0.05, 0.2) * self.height  # end plates are concave
        self.tilt = np.deg2rad(rng.normal(0, 3))
        self.notch = {side: (rng.uniform(-0.25, 0.25), rng.uniform(-1, 1), rng.uniform(3.5, 6.0)) for side in (-1, 1)}
        self.change = {side: (rng.choice([0.45, 1.8, 2.2]), rng.uniform(5, 10)) for side in (-1, 1)}
        self.bump = (rng.uniform(-5, 5), rng.uniform(0.7, 1.1))

    def volume(self) -> np.ndarray:
        middle = SHAPE[0] // 2 + self.rng.uniform(-0.5, 0.5)
        slices = [self._slice((number - middle) * self.spacing) for number in range(SHAPE[0])]
        volume = ndimage.gaussian_filter(np.stack(slices), (0, *(2 * [self.rng.uniform(0.5, 1.6)])))
        volume = BODY_LEVEL + self.contrast * (volume - BODY_LEVEL)
        shading = ndimage.zoom(self.rng.normal(0, 0.06, (1, 3, 4)), np.array(SHAPE) / (1, 3, 4), order=1)
        noise = self.rng.normal(0, self.rng.uniform(0.002, 0.03), SHAPE)
        return np.clip(volume * np.exp(shading) + noise, 0, 1).astype(np.float32)

    def _slice(self, side_mm: float) -> np.ndarray:
        """One sagittal slice, `side_mm` to the patient's right of the middle."""
        rng = self.rng
        mm = self.width / DISC_WIDTH_PX
        rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
        y, x = (rows - SHAPE[1] / 2) * mm, (columns - SHAPE[2] / 2) * mm
        x, y = np.cos(self.tilt) * x - np.sin(self.tilt) * y, np.sin(self.tilt) * x + np.cos(self.tilt) * y
        round_off = np.sqrt(max(0.0, 1 - (side_mm / 27) ** 4))  # bodies get shorter toward their sides
        half = 0.5 * self.width * round_off
        texture = ndimage.zoom(rng.normal(0, 0.25, (8, 16)), (14, 14), order=1)
        image = self.soft * np.exp(texture)
        image = _over(image, 0.8 * self.fat, _inside(half + 17 - x))
        image = self._behind(image, x, y, half, side_mm)
        if half > 3:
            image = self._disc(image, x, y, half, side_mm)
            for side in (-1, 1):
                image = self._body(image, x, y, half, side_mm, side)
        return image

    def _behind(self, image, x, y, half, side_mm):
        """The canal in the middle slices, foramina with their nerve roots beside it."""
        back = half + 0.5
        if abs(side_mm) < CANAL_HALF_MM:
            tightness = np.exp(-((y / 9) ** 2))
            depth = 15.5 + (self.canal - 15.5) * tightness
            image = _over(image, self.fluid, _inside(np.maximum(back + 15.5 - depth - x, x - back - 15.5)))
        elif FORAMEN_MM[0] <= abs(side_mm) <= FORAMEN_MM[1] + 2:
            narrow = self.grades.right_foramen if side_mm > 0 else self.grades.left_foramen
            size = 0.35 if narrow else 1.0
            distance = np.hypot((x - back - 4) / (4.2 * size), (y + 3) / (8.0 * size)) - 1
            image = _over(image, self.fat, _inside(3 * distance))
            image = _over(image, 0.12, _inside(np.hypot(x - back - 4, y + 5) - 1.8 * min(1.0, 1.5 * size)))
        return image

    def _disc(self, image, x, y, half, side_mm):
        lower_edge = 0.5 * self.height + self.hollow
        image = _over(
            image, self.annulus, _inside(np.maximum(np.abs(x + 0.5 * self.slip) - half - 0.8, np.abs(y) - lower_edge))
        )
        distinct = (1.5, 1.5, 0.7, 0.5, 0.3)[self.grades.pfirrmann]
        core = np.hypot(x + 0.5 * self.slip, y * half / max(lower_edge, 0.5) * 0.9) - 0.72 * half
        image = _over(image, self.nucleus, 1 / (1 + np.exp(np.clip(core * distinct, -30, 30))))
        if self.grades.pfirrmann in (0, 1) and self.height > 4:
            split = 0.35 if self.grades.pfirrmann == 1 else 0.1  # the dark cleft within the nucleus
            image = image * (1 - split * np.exp(-((y / 0.8) ** 2)) * _inside(np.abs(x) - 0.5 * half))
        if self.grades.herniation and abs(side_mm - self.bump[0]) < 7:
            size = self.bump[1] * 8
            image = _over(image, 0.13, _inside(np.hypot(x - half - 0.3 * size, (y - 1) * 1.2) - 0.7 * size))
        return image

    def _body(self, image, x, y, half, side_mm, side):
        """`side` -1 for the body above, which has slipped forward, 1 for the body below."""
        here = x + (self.slip if side < 0 else 0.0)
        into = side * y - 0.5 * self.height - self.hollow * (1 - (here / half) ** 2)
        wanted = self.grades.upper_endplate if side < 0 else self.grades.lower_endplate
        if wanted:
            at, depth_at, size = self.notch[side]
            if abs(side_mm - 6 * depth_at) < 9:
                hole = np.hypot(here - at * half * 2, into) - size
                into = np.minimum(into, hole)
                image = _over(image, 0.5 * self.nucleus, _inside(np.maximum(hole, -side * y)))
        waist = 1.5 * np.clip(into / 12, 0, 1)
        shape = np.maximum(np.abs(here) - half + waist, -into)
        image = _over(image, 0.04, _inside(shape))
        level = np.full_like(x, self.marrow)
        if self.grades.upper_marrow if side < 0 else self.grades.lower_marrow:
            factor, depth = self.change[side]
            level = level * (1 + (factor - 1) * _inside(into - depth))
        return _over(image, level, _inside(shape + 0.9))


def _inside(distance: np.ndarray) -> np.ndarray:
    """1 inside (negative distance in mm), 0 outside, smooth between."""
    return 1 / (1 + np.exp(np.clip(distance / EDGE_MM, -30, 30)))


def _over(image: np.ndarray, value: np.ndarray | float, share: np.ndarray) -> np.ndarray:
    return image * (1 - share) + value * share

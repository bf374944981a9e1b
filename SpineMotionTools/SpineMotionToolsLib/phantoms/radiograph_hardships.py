"""What makes real spine radiographs hard to read: stretches that hardly show, things that lie over the spine.

A veil is a map (rows, columns) of the share of bone contrast that is lost, 0 where bones show, 1 where nothing of them
is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from SpineMotionToolsLib.phantoms import radiograph_anatomy as anatomy

# Which part is hidden, and in what share of the pictures that hide one. An end that is hidden takes its neighbors, by
# which levels are told, along: C7 and the shoulders, or the sacrum and the iliac crests.
HIDDEN_PARTS = {
    ("stretch",): 0.25,
    ("top",): 0.1,
    ("bottom",): 0.2,
    ("top", "bottom"): 0.25,
    ("stretch", "bottom"): 0.15,
    ("stretch", "stretch"): 0.05,
}
BEYOND_MM = 300.0


@dataclass(frozen=True)
class Hidden:
    """Levels `first` to `last` hardly show, to `half_width_mm` left and right of the spine, and all beyond an end that
    is hidden. `lost`: share of their contrast. `density`: attenuation of what hides them.
    """

    first: int
    last: int
    half_width_mm: float
    lost: float
    density: float
    above: bool = False
    below: bool = False


def draw_hidden(rng: np.random.Generator) -> list[Hidden]:
    """One or two parts of a spine that only its continuity and counting tell."""
    parts = list(HIDDEN_PARTS)[rng.choice(len(HIDDEN_PARTS), p=list(HIDDEN_PARTS.values()))]
    found = []
    for part in parts:
        how = {
            "half_width_mm": rng.uniform(25, 60) if part == "stretch" or rng.random() < 0.3 else rng.uniform(80, 250),
            "lost": 1 - rng.choice([0.0, rng.uniform(0, 0.12), rng.uniform(0.1, 0.25)]),
            "density": rng.uniform(-0.25, 0.5),
        }
        if part == "stretch":
            count = int(rng.integers(2, 7))
            first = int(rng.integers(1, 17 - count))
            found.append(Hidden(first, first + count - 1, **how))
        elif part == "top":
            found.append(Hidden(0, int(rng.integers(0, 4)), above=True, **how))
        else:
            found.append(Hidden(int(rng.integers(12, 17)), 16, below=True, **how))
    return found


def veil(canvas: anatomy.Canvas, spine: anatomy.Spine, hidden: Hidden, rng: np.random.Generator) -> np.ndarray:
    """The veil of one hidden part."""
    y, x = canvas.y[:, None], canvas.x[None]
    top = spine.corners[hidden.first, :, 0].min() - (BEYOND_MM if hidden.above else rng.uniform(0, 6))
    bottom = spine.corners[hidden.last, :, 0].max() + (BEYOND_MM if hidden.below else rng.uniform(0, 6))
    soft = rng.uniform(3, 10 if hidden.half_width_mm < 80 else 30)
    along = np.clip(np.minimum(y - top, bottom - y) / soft + 0.5, 0, 1)
    beside = hidden.half_width_mm - np.abs(x - spine.middle_x(canvas.y)[:, None] - rng.uniform(-0.2, 0.2) * 50)
    return (hidden.lost * along * np.clip(beside / rng.uniform(6, 20) + 0.5, 0, 1)).astype(np.float32)


def add_clutter(canvas: anatomy.Canvas, spine: anatomy.Spine, amount: float, rng: np.random.Generator) -> None:
    """Gas, stool, folds, breast shadows, leads and buttons over the spine; `amount` 0..1 of each."""
    centers = spine.centers
    for _ in range(rng.integers(0, 1 + int(16 * amount))):  # bowel gas in front of the lumbar spine
        row = rng.uniform(centers[10, 0], centers[16, 0] + 40)
        place = (row, float(spine.middle_x(row)) + rng.normal(0, 35))
        radii = (rng.uniform(4, 14), rng.uniform(5, 20))
        canvas.add_ellipse(place, radii, -rng.uniform(0.1, 0.5), rng.uniform(1.5, 5), rng.uniform(0, 3))
    if rng.random() < amount:  # stool
        mottle = slow_noise(rng, canvas.attenuation.shape, int(rng.integers(40, 80)))
        below = np.clip((canvas.y - centers[11, 0]) / 40, 0, 1)[:, None]
        canvas.attenuation += (rng.uniform(0.02, 0.09) * below * mottle).astype(np.float32)
    for _ in range(rng.integers(0, 1 + int(4 * amount))):  # folds of skin and clothes: one side denser, fading away
        level, angle = rng.uniform(0, 16), rng.normal(0, 0.5)
        row = float(np.interp(level, np.arange(17), centers[:, 0]))
        away = (canvas.y[:, None] - row) * np.cos(angle) - (canvas.x[None] - centers[8, 1]) * np.sin(angle)
        step = np.clip(away / 1.5 + 0.5, 0, 1) * np.exp(-np.clip(away, 0, None) / rng.uniform(10, 60))
        canvas.attenuation += (rng.uniform(0.05, 0.25) * step).astype(np.float32)
    if rng.random() < 0.4 * amount:  # breasts, or the arms of a sitting patient
        row, radius = centers[int(rng.integers(5, 9)), 0], rng.uniform(40, 70)
        for side in (-1, 1):
            place = (row, centers[7, 1] + side * rng.uniform(50, 90))
            canvas.add_ellipse(place, (0.8 * radius, radius), rng.uniform(0.1, 0.5), 4, side * 0.2)
    for _ in range(rng.integers(0, 1 + int(3 * amount))):  # leads and tubes
        s = np.linspace(0, 1, 500)
        start, end = (np.array([rng.uniform(0, canvas.y[-1]), rng.uniform(0, canvas.x[-1])]) for _ in range(2))
        bend = rng.normal(0, 50, 2)
        line = start + s[:, None] * (end - start) + np.sin(np.pi * s)[:, None] * bend
        anatomy.add_wire(canvas, line, rng.uniform(0.5, 1.6), rng.uniform(0.15, 0.8))
    for _ in range(rng.integers(0, 1 + int(3 * amount))):  # buttons, electrodes
        place = (rng.uniform(0, canvas.y[-1]), float(np.median(centers[:, 1])) + rng.normal(0, 50))
        canvas.add_ellipse(place, (rng.uniform(3, 8),) * 2, rng.uniform(0.2, 1.2), 1.5)


def cover_ends(gray: np.ndarray, spine: anatomy.Spine, canvas: anatomy.Canvas, rng: np.random.Generator) -> None:
    """A collimator's blade across T1 or L5 or a shield of lead in front of the pelvis, in one picture of six each."""
    value = rng.choice([0.0, 1.0, rng.uniform(0.05, 0.95)])
    if rng.random() < 1 / 6:
        level = spine.corners[0]
        gray[canvas.y < level[:, 0].min() + rng.uniform(-0.5, 0.9) * np.ptp(level[:, 0])] = value
    if rng.random() < 1 / 6:
        level = spine.corners[16]
        gray[canvas.y > level[:, 0].max() - rng.uniform(-0.5, 0.9) * np.ptp(level[:, 0])] = value
    if rng.random() < 1 / 6:
        shield = anatomy.Canvas(np.zeros_like(gray), canvas.y, canvas.x)
        center = spine.centers[16] + (rng.uniform(20, 70), rng.normal(0, 15))
        shield.add_ellipse(center, (rng.uniform(25, 55), rng.uniform(30, 80)), 1.0, 1.5)
        np.maximum(gray, rng.uniform(0.85, 1.0) * shield.attenuation, out=gray)


def slow_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise of standard deviation about 1, `cells` bumps high."""
    small = rng.standard_normal((cells, max(2, cells // 2))).astype(np.float32)
    zoom = (shape[0] / small.shape[0], shape[1] / small.shape[1])
    return ndimage.zoom(small, zoom, order=1, grid_mode=True, mode="nearest")[: shape[0], : shape[1]]

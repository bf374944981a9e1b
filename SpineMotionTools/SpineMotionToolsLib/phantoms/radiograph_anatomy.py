"""The parts of a phantom radiograph, each added to one map of X-ray attenuation (natural logarithm, no unit).

Coordinates are millimeters (y down, x to the image's right). Sizes are those of an adolescent or adult trunk;
attenuations are differences to soft tissue at about 80 kV, chosen so that contrasts look like those of standing spine
radiographs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SOFT_TISSUE_PER_MM = 0.019
METAL = 1.6
REACH_MM = 12.0  # beyond which a rib's or a clavicle's center line changes nothing


@dataclass
class Canvas:
    """An attenuation map with the millimeter positions of its rows and columns."""

    attenuation: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @classmethod
    def empty(cls, size: tuple[int, int], spacing_mm: tuple[float, float]) -> Canvas:
        rows, columns = size
        y = (np.arange(rows) * spacing_mm[0]).astype(np.float32)
        x = (np.arange(columns) * spacing_mm[1]).astype(np.float32)
        return cls(np.zeros(size, np.float32), y, x)

    @property
    def spacing_mm(self) -> tuple[float, float]:
        return float(self.y[1]), float(self.x[1])

    def window(self, points: np.ndarray, margin_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """(view of the map, its y as a column, its x as a row) around points (n, 2), or None when outside."""
        low, high = points.min(0) - margin_mm, points.max(0) + margin_mm
        r0, r1 = np.searchsorted(self.y, (low[0], high[0]))
        c0, c1 = np.searchsorted(self.x, (low[1], high[1]))
        if r0 >= r1 or c0 >= c1:
            return None
        return self.attenuation[r0:r1, c0:c1], self.y[r0:r1, None], self.x[None, c0:c1]

    def add_ellipse(self, center, radii, amount: float, soft_mm: float = 4.0, angle: float = 0.0) -> None:
        """Add `amount` inside an ellipse whose edge is `soft_mm` wide."""
        reach = float(max(radii)) + soft_mm
        if (part := self.window(np.array([center], float), reach)) is None:
            return
        view, y, x = part
        dy, dx = y - center[0], x - center[1]
        u, v = dy * np.cos(angle) + dx * np.sin(angle), dx * np.cos(angle) - dy * np.sin(angle)
        outside = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2) - 1
        view += amount * np.clip(0.5 - outside * min(radii) / soft_mm, 0, 1)

    def around(self, points: np.ndarray, margin_mm: float) -> tuple[Canvas, np.ndarray] | None:
        """(the part around points (n, 2), their places in it), or None when it is outside or a single line."""
        part = self.window(points, margin_mm)
        if part is None or min(part[0].shape) < 2:
            return None
        view, y, x = part[0], part[1][:, 0], part[2][0]
        return Canvas(view, y - y[0], x - x[0]), points - (y[0], x[0])

    def distance_to(self, points: np.ndarray) -> np.ndarray:
        """Distance in mm of every pixel to the nearest of many points (n, 2)."""
        free = np.ones(self.attenuation.shape, bool)
        rows = np.rint(points[:, 0] / self.spacing_mm[0]).astype(int)
        columns = np.rint(points[:, 1] / self.spacing_mm[1]).astype(int)
        kept = (rows >= 0) & (rows < free.shape[0]) & (columns >= 0) & (columns < free.shape[1])
        free[rows[kept], columns[kept]] = False
        if free.all():
            return np.full(free.shape, np.inf)
        return ndimage.distance_transform_edt(free, sampling=self.spacing_mm)


@dataclass(frozen=True)
class Spine:
    """Corners (17, 4, 2) in mm and what follows from them; `rotation` (17,) is the axial rotation in radians."""

    corners: np.ndarray
    rotation: np.ndarray

    @property
    def centers(self) -> np.ndarray:
        return self.corners.mean(1)

    def middle_x(self, y: np.ndarray) -> np.ndarray:
        """The spine's column at heights y, continued straight above and below."""
        centers = self.centers
        return np.interp(y, centers[:, 0], centers[:, 1]).astype(np.float32)

    def axes(self, level: int) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Unit vectors to the image's right and down along vertebra `level`, its half width and half height in mm."""
        ul, ur, ll, lr = self.corners[level]
        right, down = (ur + lr - ul - ll) / 4, (ll + lr - ul - ur) / 4
        half_width, half_height = float(np.linalg.norm(right)), float(np.linalg.norm(down))
        return right / half_width, down / half_height, half_width, half_height


def add_trunk(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Soft tissue of the trunk, lungs, heart, diaphragm, bowel gas."""
    y, centers = canvas.y, spine.centers
    top, bottom = centers[0, 0], centers[16, 0]
    length = bottom - top
    t = (y - top) / length
    middle = 0.6 * spine.middle_x(y) + 0.4 * centers[:, 1].mean()
    half_width = rng.uniform(105, 165) * np.interp(
        t, [-0.2, -0.05, 0.1, 0.45, 0.75, 1.1], [0.45, 0.6, 1.1, 1.05, 0.88, 1.1]
    )
    depth = rng.uniform(160, 250) * np.interp(t, [-0.1, 0.1, 0.5, 0.8, 1.1], [0.6, 0.8, 1.0, 0.95, 1.05])
    across = (canvas.x[None] - middle[:, None]) / half_width[:, None].astype(np.float32)
    inside = np.sqrt(np.clip(1 - across**2, 0, None))
    canvas.attenuation += (SOFT_TISSUE_PER_MM * depth)[:, None].astype(np.float32) * inside

    # The lungs end at the diaphragm, somewhere between T9 and T11, lower at the sides.
    floor = centers[int(rng.integers(8, 11)), 0]
    air = rng.uniform(0.7, 1.6)
    for side in (-1, 1):
        gap = rng.uniform(16, 34) + 12 * np.clip(t * 2.2, 0, 1)
        from_midline = side * (canvas.x[None] - middle[:, None]) - gap[:, None]
        to_wall = half_width[:, None] - 14 - side * (canvas.x[None] - middle[:, None])
        dome = floor + rng.uniform(-12, 12) + 25 * (np.abs(across) - 0.45) ** 2 * 4
        apex = top + rng.uniform(-15, 15) + 18 * np.abs(across)
        edges = np.minimum(np.minimum(from_midline, to_wall), np.minimum(dome - y[:, None], (y[:, None] - apex) * 0.7))
        canvas.attenuation -= air * np.clip(edges / rng.uniform(5, 14) + 0.3, 0, 1)
    heart_side = rng.choice([1, 1, 1, 1, -1])  # mostly on the image's right, as in the usual display
    heart_x = float(np.interp(floor - 40, y, middle)) + heart_side * rng.uniform(15, 35)
    canvas.add_ellipse(
        (floor - 40, heart_x), (rng.uniform(45, 65), rng.uniform(35, 55)), rng.uniform(0.2, 0.9), 15, 0.3
    )
    aorta_x = float(np.interp(centers[3, 0], y, middle)) + heart_side * 22
    canvas.add_ellipse((centers[3, 0] + 10, aorta_x), (22, 14), rng.uniform(0.1, 0.4), 10)

    for _ in range(rng.integers(0, 14)):
        place = (rng.uniform(floor + 20, bottom + 40), rng.uniform(canvas.x[0], canvas.x[-1]))
        radii = (rng.uniform(5, 16), rng.uniform(5, 22))
        canvas.add_ellipse(place, radii, -rng.uniform(0.1, 0.5), rng.uniform(3, 8), rng.uniform(0, 3))
    for _ in range(rng.integers(2, 6)):
        place = (rng.uniform(canvas.y[0], canvas.y[-1]), rng.uniform(canvas.x[0], canvas.x[-1]))
        canvas.add_ellipse(place, rng.uniform(30, 120, 2), rng.uniform(-0.25, 0.25), 30, rng.uniform(0, 3))


def add_ribs(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Twelve pairs of ribs: dense posterior parts from the vertebrae outwards, faint anterior parts back inwards and
    down.
    """
    width = rng.uniform(0.8, 1.15)
    slope = rng.uniform(0.7, 1.3)
    reach = width * np.array([42, 68, 88, 102, 112, 120, 126, 130, 130, 124, 95, 60.0])
    drop = slope * np.array([12, 18, 24, 30, 36, 42, 48, 54, 60, 64, 60, 42.0])
    last = int(rng.choice([11, 12, 12, 12, 12, 12, 13])) - 1  # 13: a lumbar rib, 11: none on T12
    s = np.linspace(0, 1, 260)
    posterior, anterior = [], []
    for level in range(last + 1):
        known = min(level, 11)
        right, down, half_width, half_height = spine.axes(level)
        for side in (-1, 1):
            start = spine.centers[level] + side * 1.05 * half_width * right - 0.75 * half_height * down
            wall = reach[known] * rng.uniform(0.95, 1.05) * (0.5 if level == 12 else 1.0)
            # Rotation brings the convex side's ribs backwards and spreads them.
            fall = drop[known] * (1 + 0.5 * side * np.sin(spine.rotation[level]))
            out = np.sin(s * np.pi / 2)
            line_y = start[0] - 7 * np.sin(np.pi * np.clip(s * 2, 0, 1)) + fall * (1 - np.cos(s * np.pi / 2))
            line_x = start[1] + side * wall * out * (0.9 if level >= 10 else 1)
            posterior.append(np.stack([line_y, line_x], 1))
            if level < 10:
                back = wall * (1 - (0.25 + 0.05 * level / 2) * s**1.3)
                ahead_y = line_y[-1] + (30 + 6 * level) * slope * s
                anterior.append(np.stack([ahead_y, start[1] + side * back], 1))
    for lines, radius, amount in ((posterior, rng.uniform(4.5, 6.5), 0.42), (anterior, rng.uniform(5, 7), 0.26)):
        if (part := canvas.around(np.concatenate(lines), REACH_MM)) is None:
            continue
        near, places = part
        distance = near.distance_to(places)
        marrow = np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, None))
        cortex = np.exp(-(((distance - radius + 1) / 0.9) ** 2))
        near.attenuation += (amount * rng.uniform(0.6, 1.3) * (0.6 * marrow + 0.5 * cortex)).astype(np.float32)


@dataclass(frozen=True)
class Look:
    """How strongly each part of a vertebra shows."""

    body: float = 1.0
    rim: float = 1.0
    endplates: float = 1.0
    pedicles: float = 1.0
    processes: float = 1.0


PLAIN = Look()


def add_vertebra(
    canvas: Canvas,
    spine: Spine,
    corners: np.ndarray,
    rotation: float,
    level: int,
    strength: float,
    rng: np.random.Generator,
    look: Look = PLAIN,
) -> None:
    """One vertebra: body with cortex and endplates, pedicles, spinous and transverse processes.

    `level` counts from T1 = 0; negative ones are cervical. `corners` (4, 2) in mm.
    """
    if (part := canvas.window(corners, 25.0)) is None:
        return
    view, y, x = part
    ul, ur, ll, lr = corners
    center = corners.mean(0)
    right, down = (ur + lr - ul - ll) / 4, (ll + lr - ul - ur) / 4
    half_width, half_height = np.linalg.norm(right), np.linalg.norm(down)
    right, down = right / half_width, down / half_height

    top = _inside_edge(y, x, ul, ur, 0.06 * half_height)
    bottom = _inside_edge(y, x, lr, ll, 0.10 * half_height)
    sides = np.minimum(_inside_edge(y, x, ur, lr, 0.16 * half_width), _inside_edge(y, x, ll, ul, 0.16 * half_width))
    depth = np.minimum(np.minimum(top, bottom), sides)
    solid = np.clip(depth + 0.5, 0, 1)
    added = 0.2 * look.body * solid * (1 - 0.15 * np.clip(depth / half_height, 0, 1))
    added += 0.14 * look.rim * np.exp(-(((depth - 0.8) / 0.9) ** 2))
    # An endplate that is not parallel to the beam shows its front and back rims apart.
    for edge in (top, bottom):
        apart = abs(rng.normal(0, 1.5))
        rims = np.exp(-(((edge - 0.8) / 0.9) ** 2)) + np.exp(-(((edge - 0.8 - apart) / 1.1) ** 2))
        added += 0.12 * look.endplates * solid * rims

    dy, dx = y - center[0], x - center[1]
    u = dx * right[1] + dy * right[0]  # to the right along the vertebra
    w = dx * down[1] + dy * down[0]  # down along it
    lumbar = level >= 12
    shift = np.sin(rotation) * half_width * 0.9
    ring_y, ring_x = 0.42 * half_height, (0.2 if lumbar else 0.16) * half_width + 1.0
    for side in (-1, 1):
        # The pedicle that turns towards the midline also turns its narrow side to the beam.
        at = side * 0.62 * half_width * np.cos(rotation) + shift
        radius = np.sqrt(((u - at) / ring_x) ** 2 + ((w + 0.3 * half_height) / ring_y) ** 2)
        added += look.pedicles * (0.2 * np.exp(-(((radius - 1) * ring_x / 1.0) ** 2)) + 0.08 * (radius < 1))
        # Transverse process: a bar pointing outwards from the pedicle.
        along = side * (u - at) - (6 if lumbar else 4)
        bar = (
            (np.abs(w + 0.25 * half_height + 0.12 * side * (u - at)) < 3.0)
            & (along > 0)
            & (along < (19 if lumbar else 12))
        )
        added += 0.13 * look.processes * bar
    tip = shift * 2.0
    spinous = ((u - tip) / 3.2) ** 2 + ((w - 0.55 * half_height) / (0.55 * half_height + 2)) ** 2
    added += 0.24 * look.processes * np.clip(1.3 - spinous, 0, 1)
    for side in (-1, 1):  # laminae and articular processes
        facet = ((u - shift - side * 0.36 * half_width) / (0.16 * half_width)) ** 2
        added += (
            0.1 * look.processes * np.clip(1.3 - facet - ((w - 0.8 * half_height) / (0.5 * half_height)) ** 2, 0, 1)
        )
    view += (strength * added).astype(np.float32)


def _inside_edge(y, x, start: np.ndarray, end: np.ndarray, hollow_mm: float) -> np.ndarray:
    """Distance to the inner side of the edge start -> end, hollowed by up to `hollow_mm` in its middle; corners
    stay.
    """
    (ey, ex), length = end - start, np.linalg.norm(end - start)
    dy, dx = y - start[0], x - start[1]
    along = np.clip((dy * ey + dx * ex) / length**2, 0, 1)
    return (ex * dy - ey * dx) / length - 4 * hollow_mm * along * (1 - along)


def add_neighbours(canvas: Canvas, spine: Spine, strength: float, rng: np.random.Generator, look: Look = PLAIN) -> None:
    """C7 to C2 above T1, the sacrum and pelvis below L5."""
    corners = spine.corners
    step = corners[0] - corners[1]
    for number in range(1, 7):
        shape = corners[0] - corners[0].mean(0)
        place = corners[0].mean(0) + number * step.mean(0) * 0.9
        visible = strength * rng.uniform(0.4, 1.0)
        turned = float(rng.normal(0, 0.1))
        add_vertebra(canvas, spine, place + shape * (0.95**number), turned, -number, visible, rng, look)
    right, down, half_width, half_height = spine.axes(16)
    below = spine.centers[16] + down * (half_height + 5)
    first = np.array([below - 1.05 * half_width * right, below + 1.05 * half_width * right])
    far = np.array([below - 0.75 * half_width * right, below + 0.75 * half_width * right]) + 70 * np.array([1.0, 0.0])
    sacrum = np.concatenate([first, far])
    if (part := canvas.window(sacrum, 10.0)) is not None:
        view, y, x = part
        ul, ur, ll, lr = sacrum
        depth = np.minimum.reduce(
            [_inside_edge(y, x, a, b, 1.0) for a, b in ((ul, ur), (ur, lr), (lr, ll), (ll, ul))],
        )
        view += strength * (0.26 * np.clip(depth / 3 + 0.5, 0, 1) + 0.12 * np.exp(-(((depth - 1) / 1.2) ** 2)))
    crest = spine.centers[16, 0] - rng.uniform(-5, 45)
    for side in (-1, 1):
        center = (crest + 75, spine.centers[16, 1] + side * rng.uniform(85, 110))
        canvas.add_ellipse(center, (75, 62), 0.35 * strength, 3, side * 0.35)
        canvas.add_ellipse((center[0] + 6, center[1]), (64, 52), -0.15 * strength, 8, side * 0.35)


def add_shoulders(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Clavicles and the skull's lower edge, where the picture reaches so far."""
    top = spine.centers[0]
    rise, fall = rng.uniform(-5, 15), rng.uniform(5, 25)
    s = np.linspace(0, 1, 300)
    lines = []
    for side in (-1, 1):
        x = top[1] + side * (14 + 130 * s)
        lines.append(np.stack([top[0] + fall + 25 - rise * s - 14 * np.sin(np.pi * s * 1.3), x], 1))
    amount = rng.uniform(0.1, 0.3)
    if (part := canvas.around(np.concatenate(lines), REACH_MM)) is not None:
        near, places = part
        near.attenuation += (amount * np.clip(1.2 - (near.distance_to(places) / 5.5) ** 2, 0, 1)).astype(np.float32)
    canvas.add_ellipse((top[0] - rng.uniform(150, 190), top[1]), (75, 70), 0.9, 6)


def add_implants(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Pedicle screws on a run of vertebrae and the two rods that join them."""
    first = int(rng.integers(1, 12))
    last = min(16, first + int(rng.integers(3, 12)))
    for side in (-1, 1):
        heads = []
        for level in range(first, last + 1):
            right, down, half_width, half_height = spine.axes(level)
            shift = np.sin(spine.rotation[level]) * half_width * 0.9
            head = spine.centers[level] + (side * 0.62 * half_width + shift) * right - 0.3 * half_height * down
            heads.append(head)
            if rng.random() < 0.75:
                tip = head - side * 0.45 * half_width * right + 0.25 * half_height * down
                line = head + np.linspace(0, 1, 60)[:, None] * (tip - head)
                add_wire(canvas, line, 2.2)
                canvas.add_ellipse(head, (4.5, 4.5), METAL, 1.0)
        heads = np.array(heads)
        rows = np.linspace(heads[0, 0] - 8, heads[-1, 0] + 8, 900)
        smooth = np.polyval(np.polyfit(heads[:, 0], heads[:, 1], min(3, len(heads) - 1)), rows)
        add_wire(canvas, np.stack([rows, smooth], 1), 2.6)


def add_wire(canvas: Canvas, line: np.ndarray, radius_mm: float, amount: float = METAL) -> None:
    """A wire of this radius along points (n, 2) that lie close together."""
    if (part := canvas.around(line, radius_mm + 2)) is not None:
        near, places = part
        near.attenuation += amount * np.clip(radius_mm - near.distance_to(places) + 0.5, 0, 1).astype(np.float32)

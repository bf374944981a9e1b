"""The scene of the phantom videos: background, camera, light, and limbs drawn as rounded shapes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

OVERSAMPLING = 2  # shapes are drawn at twice the size and averaged down, so that edges are smooth
MARGIN_PX = 24  # background kept beyond the picture for a moving camera


@dataclass
class Stage:
    """Background and camera of one phantom video; `size_px` is (width, height)."""

    size_px: tuple[int, int]
    random: np.random.Generator
    floor_y: float | None = None  # height of the floor's edge as a share of the picture; None: seen from above
    noise_levels: float = 3.0
    shake_px: float = 0.0
    _background: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        width, height = (side + 2 * MARGIN_PX for side in self.size_px)
        wall = self.random.uniform(70, 200) + self.random.uniform(-18, 18, 3)
        picture = np.ones((height, width, 1)) * wall
        picture += cloud(self.random, (height, width), 60.0)[..., None] * self.random.uniform(4, 14)
        picture += cloud(self.random, (height, width), 5.0)[..., None] * self.random.uniform(1, 5)
        picture += np.linspace(-1, 1, width)[None, :, None] * self.random.uniform(-15, 15)
        if self.floor_y is not None:
            edge = int(self.floor_y * self.size_px[1]) + MARGIN_PX
            picture[edge:] += self.random.uniform(-60, 60) + self.random.uniform(-20, 20, 3)
            for _ in range(self.random.integers(0, 4)):  # doors, cupboards and posters
                left, top = self.random.integers(0, width - 20), self.random.integers(0, max(edge - 30, 1))
                right, bottom = left + self.random.integers(10, 60), min(top + self.random.integers(20, 120), edge)
                picture[top:bottom, left:right] += self.random.uniform(-35, 35, 3)
        else:
            stripes = np.sin(np.arange(width) / self.random.uniform(3, 12)) * self.random.uniform(0, 6)
            picture += stripes[None, :, None]
        self._background = np.clip(picture, 0, 255).astype(np.uint8)
        tile = self.random.normal(0, self.noise_levels, (64 + self.size_px[1], 64 + self.size_px[0], 3))
        self._noise = np.clip(np.rint(tile), -40, 40).astype(np.int16)
        self._shake = self.random.uniform(0, 2 * np.pi, (2, 3))

    def camera_shift(self, time_s: float) -> np.ndarray:
        """(x,y) pixels by which the picture moves at a time, for a camera held in the hand."""
        waves = np.sin(2 * np.pi * np.array([0.31, 0.83, 1.7]) * time_s + self._shake)
        return self.shake_px * (waves * [1.0, 0.5, 0.3]).sum(axis=1)

    def canvas(self, time_s: float) -> Canvas:
        """A canvas with the background as the camera sees it."""
        from PIL import Image

        dx, dy = np.rint(self.camera_shift(time_s)).astype(int)
        width, height = self.size_px
        left, top = (int(np.clip(MARGIN_PX - d, 0, 2 * MARGIN_PX)) for d in (dx, dy))
        image = Image.fromarray(self._background[top : top + height, left : left + width])
        return Canvas(image.resize((width * OVERSAMPLING, height * OVERSAMPLING), Image.Resampling.NEAREST))

    def photograph(self, canvas: Canvas, frame: int) -> np.ndarray:
        """uint8 RGB (H,W,3) of a canvas, with this frame's sensor noise."""
        picture = np.asarray(canvas.image.reduce(OVERSAMPLING)).astype(np.int16)
        row, column = np.random.default_rng(frame).integers(0, 64, 2)
        height, width = picture.shape[:2]
        return np.clip(picture + self._noise[row : row + height, column : column + width], 0, 255).astype(np.uint8)


class Canvas:
    """Draws shapes in picture coordinates (x right, y down, pixels)."""

    def __init__(self, image, oversampling: int = OVERSAMPLING):
        from PIL import ImageDraw

        self.image, self.oversampling = image, oversampling
        self._draw = ImageDraw.Draw(image)

    def limb(self, start, end, start_radius: float, end_radius: float, color) -> None:
        """A rounded bar from `start` to `end` (x,y)."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        along = end - start
        length = np.hypot(*along)
        if length > 0:
            across = np.array([-along[1], along[0]]) / length
            corners = [start + across * start_radius, end + across * end_radius]
            corners += [end - across * end_radius, start - across * start_radius]
            self._draw.polygon([tuple(c * self.oversampling) for c in corners], fill=color)
        self.ball(start, start_radius, color)
        self.ball(end, end_radius, color)

    def ball(self, center, radius: float, color, height: float = 1.0) -> None:
        """A filled ellipse of this half width and half height `radius` * `height`."""
        x, y = np.asarray(center, float) * self.oversampling
        rx, ry = radius * self.oversampling, radius * height * self.oversampling
        self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=color)


def cloud(random: np.random.Generator, shape: tuple[int, int], grain_px: float) -> np.ndarray:
    """Smooth noise of zero mean and unit spread."""
    from scipy.ndimage import zoom

    coarse = random.standard_normal(tuple(max(2, int(side / grain_px) + 2) for side in shape))
    fine = zoom(coarse, [side / small for side, small in zip(shape, coarse.shape)], order=1)
    fine = fine[: shape[0], : shape[1]]
    return (fine - fine.mean()) / (fine.std() + 1e-9)


def shade(color, factor: float) -> tuple[int, int, int]:
    """A color made darker or lighter."""
    return tuple(int(np.clip(c * factor, 0, 255)) for c in color)


def any_color(random: np.random.Generator) -> tuple[int, int, int]:
    return tuple(int(v) for v in random.integers(25, 231, 3))


SKINS = ((235, 200, 175), (214, 170, 138), (173, 124, 92), (120, 80, 58), (80, 54, 40))

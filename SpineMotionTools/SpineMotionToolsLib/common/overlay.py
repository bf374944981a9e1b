"""Pictures with something drawn on them: activation in color, boxes, words; and heads made unrecognizable."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Dark violet over red to yellow (the "inferno" scale of van der Walt and Smith), at equal steps.
HEAT_COLORS = np.array(
    [
        (0, 0, 4),
        (40, 11, 84),
        (101, 21, 110),
        (159, 42, 99),
        (212, 72, 66),
        (245, 125, 21),
        (250, 193, 39),
        (252, 255, 164),
    ],
    float,
)


def heat_rgb(values: np.ndarray) -> np.ndarray:
    """Values 0 to 1 (H,W) as RGB uint8 (H,W,3) of the heat scale."""
    steps = np.clip(np.asarray(values, float), 0, 1) * (len(HEAT_COLORS) - 1)
    low = np.minimum(steps.astype(int), len(HEAT_COLORS) - 2)
    part = (steps - low)[..., None]
    return np.rint(HEAT_COLORS[low] * (1 - part) + HEAT_COLORS[low + 1] * part).astype(np.uint8)


def blend_heat(picture: np.ndarray, values: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """An RGB picture (H,W,3) with values 0 to 1 (H,W) laid over it; the weaker a value, the less it covers."""
    cover = (strength * np.clip(values, 0, 1) ** 0.7)[..., None]
    return np.rint(picture * (1 - cover) + heat_rgb(values) * cover).astype(np.uint8)


def draw_box(picture: np.ndarray, box: np.ndarray, color=(255, 176, 0), width: int = 2) -> np.ndarray:
    """A copy of a picture with the outline of a box [x1, y1, x2, y2]."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    ImageDraw.Draw(image).rectangle([float(v) for v in box], outline=color, width=width)
    return np.asarray(image)


def draw_lines(picture: np.ndarray, lines: Iterable[str]) -> np.ndarray:
    """A copy of a picture with lines of text on a dark strip at its top."""
    from PIL import Image, ImageDraw, ImageFont

    lines = list(lines)
    image = Image.fromarray(picture)
    size = max(12, picture.shape[0] // 28)
    font = ImageFont.load_default(size)
    strip = Image.new("RGB", (image.width, int(len(lines) * size * 1.35) + 6), (0, 0, 0))
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((6, 2 + number * size * 1.35), line, fill=(255, 255, 255), font=font)
    image.paste(Image.blend(image.crop((0, 0, *strip.size)), strip, 0.65), (0, 0))
    image.paste(strip, (0, 0), strip.convert("L"))
    return np.asarray(image)


def blur_region(picture: np.ndarray, box: Iterable[float], cells: int = 4) -> np.ndarray:
    """A copy of a picture whose part in a box [x1, y1, x2, y2] keeps only the means of cells x cells fields.

    Fine detail is removed, not scrambled, so that it cannot be computed back.
    """
    from PIL import Image

    image = Image.fromarray(picture)
    area = _inside(image, box)
    if area is None:
        return picture
    part = image.crop(area)
    coarse = part.resize((cells, cells), Image.Resampling.BOX).resize(part.size, Image.Resampling.BILINEAR)
    image.paste(coarse, area[:2])
    return np.asarray(image)


def blur_outside(picture: np.ndarray, box: Iterable[float]) -> np.ndarray:
    """A copy of a picture that keeps detail only inside a box: nobody else in view can be recognized."""
    from PIL import Image

    image = Image.fromarray(picture)
    small = (max(image.width // 48, 2), max(image.height // 48, 2))
    coarse = image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)
    if area := _inside(image, box):
        coarse.paste(image.crop(area), area[:2])
    return np.asarray(coarse)


def _inside(image, box: Iterable[float]) -> tuple[int, int, int, int] | None:
    """The whole-pixel part of a box that lies in the picture, or None."""
    x1, y1, x2, y2 = (int(round(float(v))) for v in box)
    area = (max(x1, 0), max(y1, 0), min(x2, image.width), min(y2, image.height))
    return area if area[2] - area[0] > 1 and area[3] - area[1] > 1 else None

"""Small helpers for pictures drawn with Pillow: colors, text, dashed lines, slices as gray images."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GRADE_COLORS = {1: "#125FAF", 2: "#4B97E0", 3: "#F2C94C", 4: "#E56A5D", 5: "#B73A31"}
"""Blue for usable, yellow for borderline, red for motion that spoils the measurement."""


@lru_cache(maxsize=16)
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px)


def text(
    draw: ImageDraw.ImageDraw,
    xy: tuple[float, float],
    words: str,
    size_px: int,
    fill: str = "black",
    anchor: str = "la",
) -> None:
    """Write one line; `anchor` as in Pillow ("la" left top, "mm" middle, "ra" right top)."""
    draw.text(xy, words, fill=fill, font=font(size_px), anchor=anchor)


def text_width(words: str, size_px: int) -> float:
    return font(size_px).getlength(words)


def fitting_size(words: str, width_px: float, largest_px: int, smallest_px: int = 7) -> int:
    """The largest font size at which the words fit into the width."""
    size = largest_px
    while size > smallest_px and text_width(words, size) > width_px:
        size -= 1
    return size


def vertical_text(image: Image.Image, center: tuple[float, float], words: str, size_px: int) -> None:
    """Write a line that reads upward, its middle at `center`."""
    width, height = int(text_width(words, size_px)) + 4, size_px + 6
    label = Image.new("L", (width, height), 0)
    ImageDraw.Draw(label).text((width / 2, height / 2), words, fill=255, font=font(size_px), anchor="mm")
    label = label.rotate(90, expand=True)
    corner = int(center[0] - label.width / 2), int(center[1] - label.height / 2)
    image.paste(Image.new("RGB", label.size, "black"), corner, label)


def dashed_line(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    end: tuple[float, float],
    fill: str = "black",
    width: int = 1,
    dash_px: float = 5,
) -> None:
    """A dashed straight line."""
    a, b = np.array(start, dtype=float), np.array(end, dtype=float)
    length = float(np.linalg.norm(b - a))
    for at in np.arange(0, length, 2 * dash_px):
        first, last = a + (b - a) * at / length, a + (b - a) * min(at + dash_px, length) / length
        draw.line([*first, *last], fill=fill, width=width)


def to_gray8(image: np.ndarray) -> np.ndarray:
    """Window an image to 8 bit between its percentiles 1 and 99, or its extremes when those are equal; constant is 0.

    Pixels that are not finite are black.
    """
    finite = np.isfinite(image)
    if not finite.any():
        return np.zeros(image.shape, dtype=np.uint8)
    values = image[finite]
    low, high = np.percentile(values, [1, 99])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(image.shape, dtype=np.uint8)
    share = np.clip((np.where(finite, image, low) - low) / (high - low), 0, 1)
    return np.where(finite, share * 255, 0).astype(np.uint8)


def slice_image(slice_xy: np.ndarray, size_px: tuple[int, int]) -> Image.Image:
    """A slice (X, Y) as a gray picture inside a black frame of `size_px`, x to the right and y down, not distorted.

    This is how viewers show an axial slice in scanner (LPS) orientation; the published pictures show it mirrored.
    """
    gray = Image.fromarray(to_gray8(slice_xy).T)
    scale = min(size_px[0] / gray.width, size_px[1] / gray.height)
    inner = max(1, round(gray.width * scale)), max(1, round(gray.height * scale))
    frame = Image.new("RGB", size_px, "black")
    corner = (size_px[0] - inner[0]) // 2, (size_px[1] - inner[1]) // 2
    frame.paste(gray.resize(inner, Image.Resampling.BICUBIC).convert("RGB"), corner)
    return frame


def save_png(path: Path, image: Image.Image) -> None:
    """Write a PNG in one step; raises OutputError."""
    from SpineMotionToolsLib.common.files import atomic_path

    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")

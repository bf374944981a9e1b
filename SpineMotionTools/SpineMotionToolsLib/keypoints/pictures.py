"""A reading drawn on its radiograph: outlines colored by confidence, level names, Cobb lines with their angles."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.report import NOT_A_MEDICAL_DEVICE, STARTER_WARNING
from SpineMotionToolsLib.keypoints.results import Reading

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

HEIGHT_PX = 1200
SURE, FAIR, DOUBTFUL = (70, 190, 170), (242, 201, 76), (229, 106, 93)
GIVEN = (255, 255, 255)
CURVE_COLORS = ((122, 183, 255), (255, 170, 90), (200, 150, 255), (150, 220, 120))


def confidence_color(confidence: float) -> tuple[int, int, int]:
    """Teal from 0.7, yellow from 0.4, red below."""
    return SURE if confidence >= 0.7 else FAIR if confidence >= 0.4 else DOUBTFUL


def overlay(reading: Reading, image: np.ndarray, height_px: int = HEIGHT_PX, heading: bool = True) -> Image.Image:
    """The radiograph (rows, columns) uint8 with the reading drawn on it, at true aspect, `height_px` high.

    `heading`: a strip above with the name and the warnings that must be seen, and one below that explains the colors.
    """
    from PIL import Image, ImageDraw

    rows, columns = image.shape
    aspect = columns * reading.scale.column / (rows * reading.scale.row)
    size = (max(80, round(height_px * aspect)), height_px)
    picture = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0).convert("RGB")
    margin = 92
    canvas = Image.new("RGB", (picture.width + 2 * margin, picture.height), (16, 18, 20))
    canvas.paste(picture, (margin, 0))
    draw = ImageDraw.Draw(canvas, "RGBA")
    to_canvas = np.array([size[1] / rows, size[0] / columns])
    points = (reading.points_px + 0.5) * to_canvas + (0, margin)
    text_px = max(13, height_px // 75)
    _draw_region(draw, reading, to_canvas, margin)
    _draw_curves(draw, reading, points, canvas.width, text_px)
    _draw_vertebrae(draw, reading, points, text_px)
    _draw_sides(draw, reading, canvas.width, canvas.height, margin, text_px)
    return _framed(canvas, reading, text_px) if heading else canvas


def _draw_vertebrae(draw: ImageDraw.ImageDraw, reading: Reading, points: np.ndarray, text_px: int) -> None:
    for level in np.flatnonzero(reading.present):
        quad = points[4 * level : 4 * level + 4]
        color = confidence_color(float(reading.confidence[4 * level : 4 * level + 4].min()))
        ring = [tuple(quad[q][::-1]) for q in (0, 1, 3, 2, 0)]
        draw.line(ring, fill=(*color, 190), width=2)
        if level in reading.locked:
            draw.polygon(ring, fill=(*color, 50))
        radius = text_px / 4.5
        for q, (row, column) in enumerate(quad):
            box = (column - radius, row - radius, column + radius, row + radius)
            if 4 * level + q in reading.given:
                draw.rectangle(box, fill=GIVEN, outline=(0, 0, 0))
            else:
                draw.ellipse(box, fill=(*confidence_color(float(reading.confidence[4 * level + q])), 255))
        row, column = quad.mean(0)
        draw.text(
            (column, row), reading.levels[level], fill=(255, 255, 255, 235), font=_font(text_px), anchor="mm",
            stroke_width=2, stroke_fill=(0, 0, 0, 170),
        )  # fmt: skip


def _draw_curves(draw: ImageDraw.ImageDraw, reading: Reading, points: np.ndarray, width: int, text_px: int) -> None:
    """Both end plates of every curve drawn out to the concave side's margin, and the angle between them."""
    placed: list[float] = []
    for number, curve in enumerate(reading.curves):
        color = CURVE_COLORS[number % len(CURVE_COLORS)]
        # The endplates' lines meet on the concave side: the angle is written there.
        right = curve.convex_to == "left"
        edge = width - 4 if right else 4
        ends = []
        for level, (a, b) in ((curve.upper, (0, 1)), (curve.lower, (2, 3))):
            start, end = points[4 * level + a], points[4 * level + b]
            along = end - start
            slope = along[0] / along[1] if abs(along[1]) > 1e-6 else 0.0
            far = start if right else end
            row = far[0] + slope * (edge - far[1])
            draw.line([(far[1], far[0]), (edge, row)], fill=(*color, 230), width=2)
            ends.append(row)
        row = float(np.clip(np.mean(ends), 2 * text_px, draw.im.size[1] - 2 * text_px))
        while any(abs(row - other) < 2.4 * text_px for other in placed):
            row += 0.5 * text_px
        placed.append(row)
        words = f"{curve.cobb_deg:.0f}°"
        names = f"{curve.upper_name}-{curve.lower_name}"
        anchor = "rm" if right else "lm"
        at = width - 8 if right else 8
        for line, dy, size in ((words, -0.55, text_px + 5), (names, 0.75, text_px)):
            draw.text(
                (at, row + dy * text_px), line, fill=color, font=_font(size), anchor=anchor, stroke_width=2,
                stroke_fill=(0, 0, 0, 200),
            )  # fmt: skip


def _draw_region(draw: ImageDraw.ImageDraw, reading: Reading, to_canvas: np.ndarray, margin: int) -> None:
    r, c, rows, columns = reading.region
    if (rows, columns) == reading.size:
        return
    top, left = np.array([r, c]) * to_canvas
    bottom, right = np.array([r + rows, c + columns]) * to_canvas
    draw.rectangle((left + margin, top, right + margin, bottom), outline=(150, 150, 150, 200), width=1)


def _draw_sides(draw, reading: Reading, width: int, height: int, margin: int, text_px: int) -> None:
    if reading.patient_right_on not in ("left", "right"):
        return
    for side, at in (("left", margin + 10), ("right", width - margin - 10)):
        letter = "R" if side == reading.patient_right_on else "L"
        anchor = "ls" if side == "left" else "rs"
        draw.text((at, height - 10), letter, fill=(255, 255, 255), font=_font(text_px + 6), anchor=anchor)


def _framed(canvas: Image.Image, reading: Reading, text_px: int) -> Image.Image:
    from PIL import Image, ImageDraw

    width = max(canvas.width, 34 * text_px)
    above = [(reading.name, (235, 235, 235))]
    above += [
        (line, (242, 201, 76)) for text in _important(reading) for line in _wrapped(text, width - 16, text_px - 2)
    ]
    below = ["Outlines: teal sure, yellow fair, red doubtful; white squares: placed by hand"]
    if reading.patient_right_on not in ("left", "right"):
        below.append("Which side of the patient is left in the picture is not known.")
    below.append(NOT_A_MEDICAL_DEVICE)
    below = [line for text in below for line in _wrapped(text, width - 16, text_px - 2)]
    step = text_px + 6
    framed = Image.new("RGB", (width, canvas.height + (len(above) + len(below)) * step + 16), (16, 18, 20))
    framed.paste(canvas, ((width - canvas.width) // 2, len(above) * step + 8))
    draw = ImageDraw.Draw(framed)
    for number, (line, color) in enumerate(above):
        draw.text((8, 4 + number * step), line, fill=color, font=_font(text_px if number == 0 else text_px - 2))
    for number, line in enumerate(below):
        y = canvas.height + (len(above) + number) * step + 12
        draw.text((8, y), line, fill=(170, 170, 170), font=_font(text_px - 2))
    return framed


def _important(reading: Reading) -> list[str]:
    """Warnings about the result itself; how the file was read stands in the report."""
    return [text for text in reading.warnings if text == STARTER_WARNING or text not in reading.notes]


def _wrapped(text: str, width: int, size: int) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and _font(size).getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


@lru_cache(maxsize=16)
def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size=size)

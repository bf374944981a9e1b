"""Pictures of a graded scan: preview of some slices, and the profile of votes along the scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from SpineMotionToolsLib.motion.drawing import (
    GRADE_COLORS,
    dashed_line,
    fitting_size,
    save_png,
    slice_image,
    text,
    to_gray8,
    vertical_text,
)
from SpineMotionToolsLib.motion.results import GRADES, MotionResult

ReadSlice = Callable[[int], np.ndarray]
"""Gives a slice (X, Y) of the scored box by its index."""

MOST_PANELS = 9
_PANEL_PX, _GAP_PX, _HEADER_PX, _LABEL_PX = 256, 8, 36, 22
_BACKGROUND = (18, 18, 18)

PROFILE_SIZE_PX = (1066, 338)
PROFILE_AREA = {"left": 0.11, "right": 0.89, "bottom": 0.20, "top": 0.84}
"""Where the slices lie in the profile picture, as fractions of its width and (from below) height."""

__all__ = ["key_slices", "panel_slices", "preview_picture", "profile_picture", "save_png", "to_gray8"]


def panel_slices(depth: int, panels: int = 3) -> np.ndarray:
    """Slice indices of the preview's panels: spread evenly from the first to the last, 1 to 9 of them."""
    count = min(max(1, panels), MOST_PANELS, max(1, depth))
    return np.unique(np.linspace(0, max(0, depth - 1), count).astype(np.int64))


def key_slices(result: MotionResult) -> list[int]:
    """Up to three slices that speak for the scan: of the lowest, the middle and the highest grade that occur.

    For each grade it is the first slice with the largest member agreement. The published pictures fall back to the
    first three slices when fewer than three grades occur; these are always slices of the grade they are labeled with.
    """
    best: dict[int, int] = {}
    for z in np.flatnonzero(result.scored).tolist():
        grade = int(result.slice_grades[z])
        if grade not in best or result.slice_confidences[z] > result.slice_confidences[best[grade]]:
            best[grade] = z
    grades = sorted(best)
    chosen = {grades[0], grades[(len(grades) - 1) // 2], grades[-1]}
    return [best[grade] for grade in sorted(chosen)]


def slice_label(result: MotionResult, z: int) -> str:
    """What stands under a slice: its index, grade and member agreement."""
    if not result.scored[z]:
        return f"slice {z}: not scored"
    return f"slice {z}: grade {result.slice_grades[z]}, agreement {100 * result.slice_confidences[z]:.0f} %"


def preview_picture(
    read_slice: ReadSlice, result: MotionResult, panels: int = 3, hide_grades: bool = False
) -> Image.Image:
    """Slices spread over the scan side by side with their grades; `hide_grades` (blind review) leaves those out."""
    slices = panel_slices(result.slice_count, panels)
    width = len(slices) * (_PANEL_PX + _GAP_PX) + _GAP_PX
    picture = Image.new("RGB", (width, _HEADER_PX + _PANEL_PX + _LABEL_PX + _GAP_PX), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    title = "grades hidden until reviewed" if hide_grades else scan_title(result)
    size = fitting_size(title, width - 2 * _GAP_PX, 17)
    text(draw, (_GAP_PX, _HEADER_PX / 2), title, size, fill="white", anchor="lm")
    for number, z in enumerate(slices.tolist()):
        left = _GAP_PX + number * (_PANEL_PX + _GAP_PX)
        picture.paste(slice_image(read_slice(z), (_PANEL_PX, _PANEL_PX)), (left, _HEADER_PX))
        below = _HEADER_PX + _PANEL_PX
        label = f"slice {z}" if hide_grades else slice_label(result, z)
        if result.scored[z] and not hide_grades:
            draw.rectangle([left, below, left + 5, below + _LABEL_PX], fill=GRADE_COLORS[int(result.slice_grades[z])])
        text(draw, (left + 10, below + _LABEL_PX / 2), label, 14, fill="white", anchor="lm")
    return picture


def scan_title(result: MotionResult) -> str:
    starter = ", starter model" if result.starter else ""
    return f"motion grade {result.grade}, member agreement {result.confidence_percent} %{starter}"


def profile_picture(result: MotionResult) -> Image.Image:
    """Share of the members' votes for each grade along the slices, with the agreement and the stack borders."""
    width, height = PROFILE_SIZE_PX
    left, right = PROFILE_AREA["left"] * width, PROFILE_AREA["right"] * width
    bottom, top = (1 - PROFILE_AREA["bottom"]) * height, (1 - PROFILE_AREA["top"]) * height
    picture = Image.new("RGB", PROFILE_SIZE_PX, "white")
    draw = ImageDraw.Draw(picture)

    def x(z: float) -> float:
        return left + (right - left) * z / result.slice_count

    def y(share: float) -> float:
        return bottom - (bottom - top) * share

    draw.rectangle([left, top, right, bottom], fill="#ECECEC")
    _draw_votes(draw, result, x, y)
    _draw_agreement(draw, result, x, y)
    for first, _ in result.stack_ranges.tolist()[1:]:
        dashed_line(draw, (x(first), top), (x(first), bottom), fill="black", width=2)
    draw.rectangle([left, top, right, bottom], outline="black")
    for share in (0, 0.25, 0.5, 0.75, 1):
        draw.line([left - 5, y(share), left, y(share)], fill="black")
        draw.line([right, y(share), right + 5, y(share)], fill="black")
        text(draw, (left - 8, y(share)), f"{share:.2f}", 13, anchor="rm")
        text(draw, (right + 8, y(share)), f"{100 * share:.0f} %", 13, anchor="lm")
    for z in tick_marks(result.slice_count):
        draw.line([x(z), bottom, x(z), bottom + 5], fill="black")
        text(draw, (x(z), bottom + 8), str(z), 13, anchor="ma")
    text(draw, ((left + right) / 2, bottom + 27), "slice index (dashed vertical lines: stack borders)", 13, anchor="ma")
    vertical_text(picture, (28, (top + bottom) / 2), "share of members per grade", 13)
    vertical_text(picture, (width - 22, (top + bottom) / 2), "member agreement (line)", 13)
    _draw_legend(draw, left, 30)
    title = scan_title(result)
    size = fitting_size(title, right - left - 330, 15)
    text(draw, (right, 30), title, size, anchor="rm")
    return picture


def tick_marks(count: int) -> list[int]:
    """Round slice indices for an axis of `count` slices, at most eleven."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, count) if step * 10 >= count)
    return list(range(0, count + 1, max(1, step)))


def _draw_votes(draw: ImageDraw.ImageDraw, result: MotionResult, x: Callable, y: Callable) -> None:
    for z in np.flatnonzero(result.scored).tolist():
        low = 0.0
        for grade in GRADES:
            share = float(result.votes[z, grade - 1])
            if share > 0:
                draw.rectangle([x(z), y(low + share), x(z + 1), y(low)], fill=GRADE_COLORS[grade])
            low += share


def _draw_agreement(draw: ImageDraw.ImageDraw, result: MotionResult, x: Callable, y: Callable) -> None:
    points = [(x(z + 0.5), y(float(result.slice_confidences[z]))) for z in np.flatnonzero(result.scored).tolist()]
    if len(points) > 1:
        draw.line(points, fill="white", width=4)  # a halo keeps the line readable on dark red and blue
        draw.line(points, fill="black", width=2)
    overall = y(result.mean_confidence)
    dashed_line(draw, (x(0), overall), (x(result.slice_count), overall), fill="white", width=3, dash_px=8)
    dashed_line(draw, (x(0), overall), (x(result.slice_count), overall), fill="black", width=1, dash_px=8)


def _draw_legend(draw: ImageDraw.ImageDraw, left: float, middle: float) -> None:
    text(draw, (left, middle), "grade", 13, anchor="lm")
    for grade, color in GRADE_COLORS.items():
        at = left + 10 + 46 * grade
        draw.rectangle([at, middle - 6, at + 12, middle + 6], fill=color, outline="black")
        text(draw, (at + 17, middle), str(grade), 13, anchor="lm")


def save_pictures(
    read_slice: ReadSlice,
    result: MotionResult,
    preview: Path | None,
    profile: Path | None,
    panels: int = 3,
    blind: bool = False,
) -> None:
    """Write the preview and the profile; in blind mode the preview shows no grades and the profile is left out."""
    if preview:
        save_png(preview, preview_picture(read_slice, result, panels, hide_grades=blind))
    if profile and not blind:
        save_png(profile, profile_picture(result))

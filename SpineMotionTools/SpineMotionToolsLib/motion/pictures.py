"""Pictures of a graded scan: preview of some slices, and the profile of votes along the scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from SpineMotionToolsLib.motion.drawing import (
    GRADE_COLORS,
    dashed_line,
    fitting_size,
    slice_image,
    text,
    text_width,
    to_gray8,
    vertical_text,
)
from SpineMotionToolsLib.motion.results import GRADES, MotionResult

Slices: TypeAlias = "Callable[[int], np.ndarray] | np.ndarray"
"""The scored image: a function that gives slice z as (X, Y), such as `ScanSource.slice_xy`, or an array (X, Y, Z)."""

MOST_PANELS = 9
_PANEL_PX, _GAP_PX, _HEADER_PX, _LABEL_PX = 256, 8, 36, 22
_BACKGROUND = (18, 18, 18)

PROFILE_SIZE_PX = (1066, 338)
PROFILE_AREA = {"left": 0.11, "right": 0.89, "bottom": 0.20, "top": 0.84}
"""Where the slices lie in the profile picture, as fractions of its width and (from below) height."""

LEGACY_BAR_COLORS = {1: "#134A86", 2: "#327CB7", 3: "#6BACD1", 4: "#C43B3C", 5: "#8D0C25"}
"""The published picture's red-blue map at 0.95, 0.85, 0.75, 0.15 and 0.05."""

__all__ = ["key_slices", "legacy_picture", "panel_slices", "preview_picture", "slice_profile_picture", "to_gray8"]


def panel_slices(depth: int, panels: int = 3) -> np.ndarray:
    """Slice indices of the preview's panels: spread evenly from the first to the last, 1 to 9 of them."""
    count = min(max(1, panels), MOST_PANELS, max(1, depth))
    return np.unique(np.linspace(0, max(0, depth - 1), count).astype(np.int64))


def key_slices(result: MotionResult, count: int = 3) -> list[int]:
    """Up to `count` slices that speak for the scan, by rising grade: of the lowest, middle and highest grade there.

    Of each grade it is the first slice with the largest member agreement; where fewer grades occur, slices spread over
    the scan fill up. (The published pictures then show the first three slices under other slices' labels.)
    """
    scored = np.flatnonzero(result.scored)
    grades = np.unique(result.slice_grades[scored])
    chosen = []
    for grade in grades[sorted({0, (len(grades) - 1) // 2, len(grades) - 1})][:count]:
        mine = scored[result.slice_grades[scored] == grade]
        chosen.append(int(mine[np.argmax(result.slice_confidences[mine])]))
    while len(chosen) < min(count, len(scored)):
        distance = np.abs(scored[:, None] - np.array(chosen)).min(axis=1)
        chosen.append(int(scored[np.argmax(distance)]))
    return sorted(chosen, key=lambda z: (result.slice_grades[z], z))


def slice_label(result: MotionResult, z: int) -> str:
    """What stands under a slice: its index, grade and member agreement."""
    if not result.scored[z]:
        return f"slice {z}: not scored"
    return f"slice {z}: grade {result.slice_grades[z]}, agreement {100 * result.slice_confidences[z]:.0f} %"


def preview_picture(slices: Slices, result: MotionResult, panels: int = 3, hide_grades: bool = False) -> Image.Image:
    """Slices spread over the scan side by side with their grades; `hide_grades` (blind review) leaves those out."""
    indices = panel_slices(result.slice_count, panels)
    width = len(indices) * (_PANEL_PX + _GAP_PX) + _GAP_PX
    picture = Image.new("RGB", (width, _HEADER_PX + _PANEL_PX + _LABEL_PX + _GAP_PX), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    title = "grades hidden until reviewed" if hide_grades else scan_title(result)
    size = fitting_size(title, width - 2 * _GAP_PX, 17)
    text(draw, (_GAP_PX, _HEADER_PX / 2), title, size, fill="white", anchor="lm")
    for number, z in enumerate(indices.tolist()):
        left = _GAP_PX + number * (_PANEL_PX + _GAP_PX)
        picture.paste(slice_image(slice_of(slices, z), (_PANEL_PX, _PANEL_PX)), (left, _HEADER_PX))
        below = _HEADER_PX + _PANEL_PX
        label = f"slice {z}" if hide_grades else slice_label(result, z)
        if result.scored[z] and not hide_grades:
            draw.rectangle([left, below, left + 5, below + _LABEL_PX], fill=GRADE_COLORS[int(result.slice_grades[z])])
        text(draw, (left + 10, below + _LABEL_PX / 2), label, 14, fill="white", anchor="lm")
    return picture


def scan_title(result: MotionResult) -> str:
    starter = ", starter model" if result.starter else ""
    return f"motion grade {result.grade}, member agreement {result.confidence_percent} %{starter}"


def slice_profile_picture(result: MotionResult) -> Image.Image:
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
    if len(points) > 200:
        draw.line(points, fill="black", width=1)
    elif len(points) > 1:
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


def legacy_picture_size(shape_xyz: tuple[int, int, int]) -> tuple[int, int]:
    """Width and height (px) of the published picture: four panels of the slice's proportions, 300 px high."""
    # 1439.9999999999998 pixels are 1440, as the published drawing library has it; other fractions are cut off.
    return max(1, int(round(4 * 3 * (shape_xyz[0] / shape_xyz[1]) * 100, 6))), 300


def legacy_picture(slices: Slices, result: MotionResult) -> Image.Image:
    """The published one-row picture: grades along the scan, then a slice of the highest, middle and lowest grade."""
    width, height = legacy_picture_size(result.scan.shape_xyz)
    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    cell, top, bottom = width / 4, 26, height - 40
    count = len(result.stack_grades)
    title = (
        f"{count} stack{'s' * (count > 1)} ({result.slice_count} slices)  Score {result.grade} "
        f"({result.mean_confidence:.2f}){'  starter model' if result.starter else ''}"
    )
    text(draw, (width / 2, top / 2), title, fitting_size(title, width - 8, 14), anchor="mm")
    _draw_legacy_bars(draw, result, (36, top, cell - 8, bottom))
    for place, z in enumerate(reversed(key_slices(result)), start=1):
        size = int(cell - 10), int(bottom - top)
        picture.paste(slice_image(slice_of(slices, z), size), (int(place * cell + 5), top))
        label = f"# {z} (grade {result.slice_grades[z]})"
        text(draw, ((place + 0.5) * cell, bottom + 4), label, fitting_size(label, cell - 8, 12), anchor="ma")
    legend = "grades 1 to 3 to the left, 4 and 5 to the right; bars: share of networks; in brackets: member agreement"
    size = fitting_size(legend, width - 110, 11)
    for number, (grade, color) in enumerate(LEGACY_BAR_COLORS.items()):
        left = 6 + 19 * number
        draw.rectangle([left, height - 17, left + 8, height - 7], fill=color)
        text(draw, (left + 9, height - 12), str(grade), 9, anchor="lm")
    if text_width(legend, size) <= width - 110:
        text(draw, (106, height - 12), legend, size, anchor="lm")
    return picture


def _draw_legacy_bars(draw: ImageDraw.ImageDraw, result: MotionResult, box: tuple[float, float, float, float]) -> None:
    """One horizontal bar a slice, slice 0 at the bottom: votes for grades 3, 2, 1 to the left, 4 and 5 to the right."""
    left, top, right, bottom = box
    middle, half = (left + right) / 2, (right - left) / 2

    def y(z: float) -> float:
        return bottom - (bottom - top) * z / result.slice_count

    for z in tick_marks(result.slice_count):
        draw.line([left, y(z), right, y(z)], fill="#DDDDDD")
        text(draw, (left - 4, y(z)), str(z), 10, anchor="rm")
    for z in np.flatnonzero(result.scored).tolist():
        for grades, direction in (((3, 2, 1), -1), ((4, 5), 1)):
            reach = 0.0
            for grade in grades:
                share = float(result.votes[z, grade - 1])
                ends = sorted([middle + direction * half * reach, middle + direction * half * (reach + share)])
                if share > 0:
                    draw.rectangle([ends[0], y(z + 1), ends[1], y(z)], fill=LEGACY_BAR_COLORS[grade])
                reach += share
    draw.line([middle, top, middle, bottom], fill="black")
    draw.rectangle([left, top, right, bottom], outline="black")
    for (first, end), grade, share in zip(result.stack_ranges, result.stack_grades, result.stack_confidences):
        if first > 0:
            dashed_line(draw, (left, y(first)), (right, y(first)), width=1)
        words = f"Score {grade:.0f} ({share:.2f})" if share >= 0 else "not scored"
        size = fitting_size(words, right - left - 12, 11)
        wide, center = text_width(words, size) / 2 + 4, y((first + end) / 2)
        draw.rectangle([middle - wide, center - 8, middle + wide, center + 8], fill="white", outline="black")
        text(draw, (middle, center), words, size, anchor="mm")


def slice_of(slices: Slices, z: int) -> np.ndarray:
    return slices(z) if callable(slices) else slices[:, :, z]

"""Key pictures: the middle sagittal slice with outlines, labels and, beside the discs, what is not normal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .results import Spine
from .scans import Scan

if TYPE_CHECKING:
    from PIL import Image

WANTED_HEIGHT_PX = 900
MARGIN_PX = 190
PARAMEDIAN_MM = 12.0  # about where the lateral recess ends and the foramen begins
BODY, EDITED, DISC, TEXT = (255, 196, 60), (80, 200, 255), (120, 220, 140), (240, 240, 240)
WINDOW_PERCENTILES = (1.0, 99.5)


def key_picture(scan: Scan, spine: Spine, slice_number: int | None = None, notes: bool = True) -> Image.Image:
    """The scan's slice through the middle of most bodies, with outlines, level names and (`notes`) short grades.

    Outlines in another color were drawn by a person. The front of the patient is at the left. Grades that are a
    demonstration stay in their table.
    """
    from PIL import Image, ImageDraw

    number = middle_slice(spine) if slice_number is None else slice_number
    scale = max(1.0, WANTED_HEIGHT_PX / scan.array.shape[0])
    picture = _gray(scan, number)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (picture.width + (MARGIN_PX if notes else 0), picture.height), (0, 0, 0))
    canvas.paste(picture, (0, 0))
    draw, font = ImageDraw.Draw(canvas), _font(17)
    place: Callable = lambda points: [tuple((np.asarray(p) + 0.5) * scale) for p in points]
    for vertebra in spine.vertebrae:
        if number not in vertebra.slices:
            continue
        outline = vertebra.corners_px[vertebra.slices.index(number)]
        color = BODY if vertebra.source == "detected" else EDITED
        draw.line([*place(outline), *place(outline[:1])], fill=color, width=2)
        x, y = place([outline.mean(axis=0)])[0]
        draw.text((x, y), vertebra.label, fill=color, font=font, anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0))
    for disc in spine.discs if notes else ():
        _note(draw, disc, spine, picture.width, place, _font(14))
    _corner_notes(draw, spine, number, canvas, _font(13))
    return canvas


def middle_slice(spine: Spine) -> int:
    """The slice that is nearest to the middle of most vertebrae; the scan's own middle for an empty spine."""
    if not spine.vertebrae:
        return spine.geometry.shape[2] // 2
    shown = [n for v in spine.vertebrae for n in v.slices]
    median = float(np.median([v.middle_slice for v in spine.vertebrae]))
    return max(sorted(set(shown)), key=lambda n: (shown.count(n), -abs(n - median)))


def paramedian_slices(spine: Spine) -> list[tuple[int, str, float]]:
    """(slice, "left" or "right", distance in mm) of the slices about `PARAMEDIAN_MM` beside the middle one, if any."""
    if not spine.vertebrae:
        return []
    middle, spacing = middle_slice(spine), spine.geometry.slice_spacing_mm
    steps = max(1, round(PARAMEDIAN_MM / spacing))
    first_is_left = spine.geometry.index_to_ras[0, 2] > 0  # slices then run towards the patient's right
    found = []
    for number, is_first in ((middle - steps, True), (middle + steps, False)):
        if 0 <= number < spine.geometry.shape[2]:
            found.append((number, "left" if is_first == first_is_left else "right", steps * spacing))
    return found


def short_grades(disc, measured=None) -> str:
    """A disc's Pfirrmann grade and what else is not normal, for a picture."""
    parts = []
    if disc.grades:
        parts.append(f"Pf {disc.grade('Pfirrmann').meaning}")
        parts += [
            text
            for column, text in (("CentralCanalStenosis", "stenosis"), ("Herniation", "herniation"))
            if disc.grade(column).index > 0
        ]
    if measured is not None and measured.slip_direction:
        parts.append(f"slip {measured.slip_mm:+.0f} mm")
    return ", ".join(parts)


def _note(draw, disc, spine: Spine, x: float, place: Callable, font) -> None:
    upper, lower = spine.vertebrae[disc.upper], spine.vertebrae[disc.lower]
    middle = (upper.middle_polygon_px[1:3].mean(axis=0) + lower.middle_polygon_px[[0, 3]].mean(axis=0)) / 2
    measured = None
    if spine.measurements is not None:
        measured = next((d for d in spine.measurements.discs if d.level == disc.level), None)
    y = place([middle])[0][1]
    shown = replace(disc, grades=None) if spine.grades_are_demonstration else disc  # not on what looks like a finding
    draw.text((x + 8, y), f"{disc.level}  {short_grades(shown, measured)}", fill=DISC, font=font, anchor="lm")


def _corner_notes(draw, spine: Spine, number: int, canvas, font) -> None:
    lines = [f"Slice {number + 1} of {spine.geometry.shape[2]}, front at the left"]
    if spine.provenance.starter:
        lines.append("Starter model, not validated on patients")
    text = "\n".join(lines)
    draw.multiline_text((8, canvas.height - 6), text, fill=TEXT, font=font, anchor="ld", stroke_width=2, stroke_fill=0)


def _gray(scan: Scan, number: int) -> Image.Image:
    """One slice in gray levels between the scan's percentiles."""
    from PIL import Image

    low, high = np.percentile(scan.array, WINDOW_PERCENTILES)
    values = (scan.array[..., number].astype(np.float64) - low) / max(high - low, 1e-9)
    return Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))


def _font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)

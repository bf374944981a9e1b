"""Charts of motion grades as inline SVG for reports: the grade on its scale, votes along the scan, bars of grades."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from SpineMotionToolsLib.motion.drawing import GRADE_COLORS
from SpineMotionToolsLib.motion.pictures import tick_marks
from SpineMotionToolsLib.motion.results import GRADE_MEANINGS, GRADES, MotionResult

_TEXT_ON = {1: "#FFFFFF", 2: "#000000", 3: "#000000", 4: "#000000", 5: "#FFFFFF"}


def grade_scale(grade: int) -> str:
    """The scan's grade large, beside the scale of all five with their meaning."""
    rows = []
    for each in GRADES:
        y, chosen = 8 + 24 * (each - 1), each == grade
        weight, opacity = ("700", "1") if chosen else ("400", "0.55")
        rows.append(
            f'<rect x="150" y="{y}" width="26" height="20" rx="3" fill="{GRADE_COLORS[each]}" '
            f'opacity="{1 if chosen else 0.45}"/>'
            f'<text x="163" y="{y + 15}" text-anchor="middle" font-size="13" fill="{_TEXT_ON[each]}">{each}</text>'
            f'<text x="188" y="{y + 15}" font-size="14" font-weight="{weight}" opacity="{opacity}" fill="currentColor">'
            f"{escape(GRADE_MEANINGS[each])}</text>"
        )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 132" width="700" role="img" '
        f'aria-label="motion grade {grade} of 5" font-family="system-ui, sans-serif">'
        f'<rect x="4" y="8" width="116" height="116" rx="10" fill="{GRADE_COLORS[grade]}"/>'
        f'<text x="62" y="92" text-anchor="middle" font-size="80" font-weight="700" fill="{_TEXT_ON[grade]}">{grade}'
        f"</text>{''.join(rows)}</svg>"
    )


def slice_chart(result: MotionResult) -> str:
    """Share of votes for each grade along the slices, member agreement as a line, stacks named and divided."""
    left, top, width, height = 52.0, 34.0, 800.0, 180.0
    depth = result.slice_count

    def x(z: float) -> float:
        return left + width * z / depth

    def y(share: float) -> float:
        return top + height * (1 - share)

    parts = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="currentColor" opacity="0.06"/>']
    scored = np.flatnonzero(result.scored).tolist()
    for grade in GRADES:
        below, shares = result.votes[:, : grade - 1].sum(axis=1), result.votes[:, grade - 1]
        path = "".join(
            f"M{x(z):.1f} {y(below[z]):.1f}V{y(below[z] + shares[z]):.1f}H{x(z + 1):.1f}V{y(below[z]):.1f}Z"
            for z in scored
            if shares[z] > 0
        )
        if path:
            parts.append(f'<path d="{path}" fill="{GRADE_COLORS[grade]}"/>')
    points = " ".join(f"{x(z + 0.5):.1f},{y(result.slice_confidences[z]):.1f}" for z in scored)
    halo = '<polyline points="{}" fill="none" stroke="{}" stroke-width="{}" stroke-linejoin="round"/>'
    parts += [halo.format(points, "#FFFFFF", 3), halo.format(points, "#000000", 1.3)]
    for number, (first, end) in enumerate(result.stack_ranges.tolist()):
        grade = f": grade {result.stack_grades[number]:.0f}" if result.stack_confidences[number] >= 0 else ""
        parts.append(_text((x(first) + x(end)) / 2, top - 10, f"stack {number + 1}{grade}", "middle"))
    for border in sorted(set(result.stack_ranges.ravel().tolist()) - {0, depth}):
        parts.append(
            f'<line x1="{x(border):.1f}" x2="{x(border):.1f}" y1="{top - 22}" y2="{top + height}" '
            'stroke="currentColor" stroke-width="1.6" stroke-dasharray="5 4"/>'
        )
    for share in (0, 0.5, 1):
        parts.append(_text(left - 6, y(share) + 4, f"{share:.0%}", "end"))
    for z in tick_marks(depth):
        parts.append(_text(x(z), top + height + 17, str(z), "middle"))
    parts.append(_text(left + width / 2, top + height + 36, "slice index", "middle"))
    return _svg(left + width + 14, top + height + 46, parts, "votes for each grade along the slices")


def grade_bars(counts: Sequence[tuple[str, int, str]], label: str) -> str:
    """Horizontal bars of (name, count, color)."""
    most = max([count for _, count, _ in counts] + [1])
    parts = []
    for row, (name, count, color) in enumerate(counts):
        y = 6 + 26 * row
        parts.append(_text(70, y + 15, name, "end"))
        parts.append(f'<rect x="80" y="{y}" width="{420 * count / most:.1f}" height="20" fill="{color}"/>')
        parts.append(_text(88 + 420 * count / most, y + 15, str(count), "start"))
    return _svg(560, 10 + 26 * len(counts), parts, label)


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{escape(words)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'role="img" aria-label="{escape(label)}" font-family="system-ui, sans-serif" font-size="12.5">'
        f"{''.join(parts)}</svg>"
    )

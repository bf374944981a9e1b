"""A chart of values over a video's time as inline SVG for reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 860.0, 190.0, 58.0, 26.0, 14.0, 44.0
LETTER = 7.0  # width of a letter in the legend


@dataclass(frozen=True)
class Series:
    """One line of a chart: spans (start s, end s, value) in time order; gaps stay open."""

    name: str
    color: str
    spans: Sequence[tuple[float, float, float]]


def time_chart(
    series: Sequence[Series],
    duration_s: float,
    top: float,
    label: str,
    band: tuple[float, float] | None = None,
    bottom: float = 0.0,
) -> str:
    """An SVG with one step line per series over 0 to `duration_s`, the value axis from `bottom` to `top`.

    `band`: a range of values shaded gray, such as where nothing is decided.
    """
    duration_s = max(duration_s, 1e-3)
    inner = WIDTH - LEFT - RIGHT

    def x(second: float) -> float:
        return LEFT + inner * min(second / duration_s, 1.0)

    def y(value: float) -> float:
        share = (min(max(value, bottom), top) - bottom) / (top - bottom)
        return TOP + HEIGHT * (1 - share)

    parts = [f'<rect x="{LEFT}" y="{TOP}" width="{inner}" height="{HEIGHT}" fill="currentColor" opacity="0.05"/>']
    if band:
        parts.append(
            f'<rect x="{LEFT}" y="{y(band[1]):.1f}" width="{inner}" height="{y(band[0]) - y(band[1]):.1f}" '
            'fill="currentColor" opacity="0.12"/>'
        )
    for value in _ticks(bottom, top):
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + inner}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="currentColor" '
            'opacity="0.18"/>' + _text(LEFT - 7, y(value) + 4, f"{value:g}", "end")
        )
    for second in _ticks(0.0, duration_s):
        parts.append(_text(x(second), TOP + HEIGHT + 17, f"{second:g}", "middle"))
    parts.append(_text(LEFT + inner / 2, TOP + HEIGHT + 36, "time (s)", "middle"))
    parts.append(_text(LEFT, TOP - 9, label, "start"))
    widths = [35 + LETTER * len(one.name) for one in series]
    for number, one in enumerate(series):
        rest = (len(series) - 1 - number) / max(len(series) - 1, 1)
        parts += _steps(one, x, y, 3.4 + 4 * rest)  # equal values are drawn over wider ones
        if len(series) > 1:
            left = LEFT + inner - sum(widths[number:])
            parts.append(f'<rect x="{left:.1f}" y="{TOP - 18}" width="12" height="12" rx="2" fill="{one.color}"/>')
            parts.append(_text(left + 17, TOP - 8, one.name, "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {TOP + HEIGHT + BOTTOM:.0f}" '
        f'width="{WIDTH:.0f}" role="img" aria-label="{escape(label, quote=True)}" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def _steps(one: Series, x, y, height: float) -> list[str]:
    """Thick bars for the spans, thin lines between spans that touch."""
    parts, previous = [], None
    for start, end, value in one.spans:
        if previous is not None and abs(previous[0] - start) < 1e-6:
            parts.append(
                f'<line x1="{x(start):.1f}" x2="{x(start):.1f}" y1="{y(previous[1]):.1f}" y2="{y(value):.1f}" '
                f'stroke="{one.color}" stroke-width="1.2"/>'
            )
        width = max(x(end) - x(start), 2.0)
        parts.append(
            f'<rect x="{x(start):.1f}" y="{y(value) - height / 2:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="1.5" fill="{one.color}"><title>{escape(one.name)}: {value:.3g}</title></rect>'
        )
        previous = (end, value)
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """At most nine round numbers from low to high."""
    span = high - low
    step = next(s * 10.0**p for p in range(-4, 6) for s in (1, 2, 5) if span / (s * 10.0**p) <= 8.0)
    count = int((high - low) / step + 1e-9)
    return [round(low + step * k, 9) for k in range(count + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="12.5" fill="currentColor">{escape(text)}</text>'

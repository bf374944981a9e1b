"""The HTML report of one reading."""

from __future__ import annotations

import html

import numpy as np

from SpineMotionToolsLib.common.report import Report
from SpineMotionToolsLib.keypoints.pictures import overlay
from SpineMotionToolsLib.keypoints.results import Reading

FIRST_TO_CHECK = 3


def make_report(reading: Reading, image: np.ndarray) -> Report:
    """Picture, curves, vertebrae, the AASCE angles, what to check next and how the result was made."""
    report = Report("Spine radiograph: vertebrae and Cobb angles", reading.name)
    for warning in reading.warnings:
        report.warning(warning)
    report.provenance(reading.provenance)
    if (main := reading.main_curve) is not None:
        doubt = f" ± {main.uncertainty_deg:.0f}°" if main.uncertainty_deg is not None else ""
        report.text(
            f"Largest Cobb angle {main.cobb_deg:.0f}°{doubt} between {main.upper_name} and {main.lower_name}, "
            f"apex {main.apex}, convex to the picture's {main.convex_to}{_side(reading, main.convex_to)} "
            f"({main.region})."
        )
    corrected = len(reading.given)
    state = f"{corrected} of 68 corners were placed by hand." if corrected else "No corner was corrected by hand."
    accepted = "A reader accepted the result." if reading.accepted else "No reader has accepted the result yet."
    report.text(f"{state} {accepted}")
    if order := reading.to_check[:FIRST_TO_CHECK]:
        report.text(f"Least certain vertebrae, to check first: {', '.join(reading.levels[v] for v in order)}.")
    report.image(overlay(reading, image, heading=False), _caption(reading))
    report.heading("Curves")
    if reading.curves:
        report.table(reading.curve_table())
    else:
        report.text("No curve of 10° or more.")
    report.text(
        "The angle lies between the upper endplate of the upper and the lower endplate of the lower end vertebra. "
        "Repeated manual measurements differ by 3 to 5°."
    )
    report.heading("Tilt of the vertebrae")
    report.svg(tilt_chart(reading), "Tilt of each vertebra; positive: the end on the picture's right is lower.")
    report.heading("Vertebrae")
    report.table(reading.vertebra_table())
    if reading.aasce is not None:
        report.heading("AASCE angles")
        report.table(reading.aasce_table())
    report.heading("Keypoints")
    report.table(reading.keypoint_table())
    return report


def tilt_chart(reading: Reading) -> str:
    """The vertebrae's tilts from the top down as inline SVG, with their end vertebrae marked."""
    vertebrae = reading.vertebrae
    left, top, step, width = 48, 24, 20, 420
    height = top + step * len(vertebrae) + 34
    largest = max(20.0, 10.0 * np.ceil(max((abs(v.tilt_deg) for v in vertebrae), default=0) / 10))
    x = lambda degrees: left + width / 2 + degrees / largest * width / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 24} {height}" '
        f'width="{left + width + 24}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="currentColor" stroke="none">'
    ]
    for degrees in np.linspace(-largest, largest, 5):
        at, dash = x(degrees), "" if degrees == 0 else ' stroke-dasharray="3 4"'
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 8}" y2="{height - 26}" stroke="currentColor" '
            f'stroke-opacity="0.35"{dash}/>'
            f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle">{degrees:.0f}°</text>'
        )
    ends = {level for curve in reading.curves for level in (curve.upper, curve.lower)}
    line = " ".join(f"{x(v.tilt_deg):.1f},{top + step * (n + 0.5):.1f}" for n, v in enumerate(vertebrae))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#3d8bd4" stroke-width="2"/>')
    for n, v in enumerate(vertebrae):
        y = top + step * (n + 0.5)
        bold = ' font-weight="bold"' if v.level in ends else ""
        parts.append(
            f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end"{bold}>{html.escape(v.name)}</text>'
            f'<circle cx="{x(v.tilt_deg):.1f}" cy="{y:.1f}" r="{5 if v.level in ends else 3}" fill="#3d8bd4"/>'
        )
    return "".join(parts) + "</svg>"


def _side(reading: Reading, picture_side: str) -> str:
    side = reading.patient_side(picture_side)
    return f", the patient's {side}" if side != "unknown" else ""


def _caption(reading: Reading) -> str:
    display = {
        "left": "The patient's right is on the picture's left.",
        "right": "The patient's right is on the picture's right.",
    }.get(reading.patient_right_on, "Which side of the patient is on the picture's left is not known.")
    return (
        "Outlines: teal sure, yellow fair, red doubtful; white squares were placed by hand. Lines: endplates of "
        f"the end vertebrae. {display}"
    )

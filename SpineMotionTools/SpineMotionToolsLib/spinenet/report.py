"""The reading report: one HTML file with key pictures, warnings, grades, measurements and provenance."""

from __future__ import annotations

from SpineMotionToolsLib.common.provenance import DEMONSTRATION
from SpineMotionToolsLib.common.report import Report

from .editing import edits_of
from .pictures import key_picture, paramedian_slices
from .results import Spine
from .scans import Scan


def spine_report(spine: Spine, scan: Scan | None = None, title: str = "Spine MRI") -> Report:
    """The report of a spine; with the scan also its key pictures. `Report.write(path)` saves it."""
    found = f"{len(spine.vertebrae)} vertebrae, {len(spine.discs)} discs"
    name = spine.provenance.parameters.get("scan")
    report = Report(title, f"{name}: {found}" if name else found)
    for text in (*spine.notices, *spine.warnings):
        report.warning(text)
    if scan is not None:
        report.image(key_picture(scan, spine), "Middle sagittal slice; the front of the patient is at the left.")
        for number, side, offset_mm in paramedian_slices(spine):
            report.image(
                key_picture(scan, spine, number, notes=False),
                f"Slice {number + 1}, {offset_mm:.0f} mm towards the patient's {side} by the image's geometry.",
            )
    report.heading("Vertebrae").table(spine.vertebra_table())
    if spine.measurements is not None:
        report.heading("Measurements")
        report.text(
            "Lengths and angles come from the corners of each body in its middle slice, in the plane of the "
            "slices. The "
            "patient lay down: angles are smaller than on standing radiographs."
        )
        for table in (
            spine.measurements.angle_table(),
            spine.measurements.disc_table(),
            spine.measurements.vertebra_table(),
        ):
            if table.rows:
                report.table(table)
    if any(disc.grades for disc in spine.discs):
        report.heading("Grades")
        if spine.grades_are_demonstration:
            report.text(f"Grades: {DEMONSTRATION}.")
        report.table(spine.grade_table()).table(spine.probability_table())
    if edits := edits_of(spine):
        report.heading("Corrections by a person").text(*edits)
    return report.provenance(spine.provenance)

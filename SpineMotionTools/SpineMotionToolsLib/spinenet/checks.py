"""What a reader should know before trusting a result: warnings about a spine and its grades."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .grouping import BESIDE
from .measurements import Body, sagittal_angles
from .numbering import Numbering, vertebra_count_note
from .results import Disc, Spine, Vertebra
from .scans import ScanGeometry

UNSURE_LABEL = 0.5
WIDE_GAP = 1.6
LUMBAR_DEPTH_MM = (20.0, 50.0)
VALIDATED = ("T12-L1", "L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")


def detection_warnings(vertebrae: Sequence[Vertebra], geometry: ScanGeometry, numbering: Numbering) -> list[str]:
    """Sentences about what was found: nothing, little, gaps, unsure labels, bodies at the edge of the picture."""
    if not vertebrae:
        return ["No vertebra was found. Check that the scan is a sagittal MRI of the spine, or add vertebrae by hand."]
    warnings = []
    if len(vertebrae) < 3:
        warnings.append(f"Only {len(vertebrae)} vertebra(e) were found; labels from so few are unreliable.")
    centres = np.array([v.center_ras for v in vertebrae])
    if len(centres) > 3:
        pitch = np.linalg.norm(np.diff(centres, axis=0), axis=1)
        for i in np.flatnonzero(pitch > WIDE_GAP * np.median(pitch)):
            warnings.append(
                f"There is a wide gap between {vertebrae[i].label} and {vertebrae[i + 1].label}: "
                "a vertebra may be missing. Check, and add it or shift the labels."
            )
    by_network = [v for v in vertebrae if v.label_probability is not None]
    if unsure := [v.label for v in by_network if v.label_probability < UNSURE_LABEL]:
        warnings.append(f"Labels are unsure: {', '.join(unsure)}. Check the count, and name a level you are sure of.")
    if by_network and not {"S1", "C2"} & {v.label for v in vertebrae}:
        warnings.append(
            "Neither the sacrum nor C2 was found: levels are counted from appearance alone, and all of them may be off "
            "whatever their probability."
        )
    warnings += numbering_warnings([v.label for v in vertebrae], numbering)
    if at_edge := [v.label for v in vertebrae if v.is_cut]:
        warnings.append(f"Cut by the edge of the picture: {', '.join(at_edge)}; their measurements are unreliable.")
    return warnings + _place_warnings(vertebrae, geometry)


def _place_warnings(vertebrae: Sequence[Vertebra], geometry: ScanGeometry) -> list[str]:
    """Sentences about bodies that lie or measure as no spine does: a wrong body, slices beside the spine, a wrong
    spacing or orientation."""
    warnings = []
    for above, below in zip(vertebrae, vertebrae[1:]):
        across, along = np.abs(np.diff(geometry.to_plane_mm([above.center_ras, below.center_ras]), axis=0)[0])
        if across > BESIDE * along:
            warnings.append(
                f"{below.label} lies beside {above.label}, not below it: one of them is hardly a vertebra. Delete the "
                "wrong one and count again; slips beside it mean nothing."
            )
    depths_mm = [float(np.linalg.norm(v.middle_polygon_ras[0] - v.middle_polygon_ras[3])) for v in vertebrae]
    last = geometry.shape[2] - 1
    one_sided = [
        v.label
        for v, depth in zip(vertebrae, depths_mm)
        if (v.slices[0] == 0) != (v.slices[-1] == last) and len(v.slices) * geometry.slice_spacing_mm < depth
    ]
    if one_sided:
        warnings.append(
            f"The slices end within these bodies, perhaps before their middle: {', '.join(one_sided)}. Their heights, "
            "slips and angles are unreliable; use a series that covers the whole spine from side to side."
        )
    lumbar = [depth for v, depth in zip(vertebrae, depths_mm) if v.label.startswith("L")]
    low, high = LUMBAR_DEPTH_MM
    if lumbar and not low <= np.median(lumbar) <= high:
        warnings.append(
            f"The lumbar bodies measure {np.median(lumbar):.0f} mm from front to back; {low:.0f} to {high:.0f} mm are "
            "usual. Check the pixel spacing: all lengths depend on it."
        )
    for angle in sagittal_angles([v.label for v in vertebrae], [Body.of(v) for v in vertebrae]):
        if angle.name == "Lumbar lordosis L1-S1" and angle.angle_deg < 0:
            warnings.append(
                f"The lumbar spine bends forward ({angle.angle_deg:.0f}° L1-S1), which is rare: check that front and "
                "back are not swapped in the scan."
            )
    return warnings


def numbering_warnings(labels: Sequence[str], numbering: Numbering) -> list[str]:
    """Sentences about the count: repeated labels, skipped levels, an unusual number of bodies above the sacrum."""
    warnings = [note] if (note := vertebra_count_note(labels, numbering)) else []
    repeated = sorted({name for name in labels if labels.count(name) > 1})
    if repeated:
        warnings.append(f"Given more than once: {', '.join(repeated)}. Correct the labels.")
    skips = [f"{a} to {b}" for a, b in zip(labels, labels[1:]) if a != b and not numbering.are_neighbours(a, b)]
    if skips:
        warnings.append(f"The count jumps: {', '.join(skips)}. A vertebra may be missing, or the anatomy transitional.")
    return warnings


def grading_warnings(discs: Sequence[Disc]) -> list[str]:
    """Sentences about the grades: levels that do not follow each other, levels never validated, unusable discs."""
    warnings = []
    discs = [d for d in discs if d.grades is not None]
    gaps = [d.level for d in discs if not d.neighbours]
    if gaps:
        warnings.append(f"Graded as one disc although the levels do not follow each other: {', '.join(gaps)}.")
    outside = [d.level for d in discs if d.neighbours and d.level not in VALIDATED]
    if outside:
        warnings.append(f"Grades were developed for T12-L1 to L5-S1; take those of {', '.join(outside)} with care.")
    failed = [d.level for d in discs if d.grades == ()]
    if failed:
        reason = "no signal in the bodies, or outlines without width"
        warnings.append(f"Could not be graded ({reason}): {', '.join(failed)}.")
    return warnings


def warnings_of(spine: Spine) -> list[str]:
    """All sentences of this file that are true of a spine."""
    return detection_warnings(spine.vertebrae, spine.geometry, spine.numbering) + grading_warnings(spine.discs)


def current_warnings(before: Spine, after: Spine) -> tuple[str, ...]:
    """The warnings of a spine made from another one: those a correction settled are gone, those of the scan stay."""
    settled = set(warnings_of(before))
    kept = [w for w in before.warnings if w not in settled]
    return tuple(dict.fromkeys([*kept, *warnings_of(after)]))

"""Corrections by a person: every function returns a new `Spine`, with the correction in its provenance.

Grades stay with discs whose two outlines did not change; the others lose theirs and are graded by the next `grade`.
Measurements are dropped; the next `measure` makes them anew. Warnings that a correction settles go, new ones come.
Keeping the old `Spine` is undo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

from .checks import current_warnings
from .detection_targets import CORNER_NAMES
from .numbering import Numbering, all_levels
from .polygons import is_simple
from .results import Spine, Vertebra, discs_between

EDITS = "edits"


def edits_of(spine: Spine) -> list[str]:
    """The corrections made so far, oldest first."""
    return list(spine.provenance.parameters.get(EDITS, ()))


def rename(spine: Spine, index: int, label: str) -> Spine:
    """Give one vertebra another label. Raises InputError for an unknown level or index."""
    vertebra = _vertebra(spine, index)
    if label not in all_levels():
        raise InputError(f"There is no level {label!r}. Choose one of {', '.join(all_levels())}.")
    vertebrae = list(spine.vertebrae)
    vertebrae[index] = _labelled(vertebra, label)
    return _edited(spine, vertebrae, f"renamed {vertebra.label} to {label}")


def shift_labels(spine: Spine, steps: int) -> Spine:
    """Move all labels by `steps` levels towards the feet (negative: towards the head), keeping their distances.

    Raises InputError when a label would leave the spine.
    """
    levels = spine.numbering.levels
    labels = []
    for old in spine.labels:
        place = levels.index(old) + steps if old in levels else -1
        if not 0 <= place < len(levels):
            raise InputError(f"The labels cannot be shifted by {steps}: {old} would leave the spine.")
        labels.append(levels[place])
    return _relabelled(spine, labels, f"shifted all labels by {steps}")


def count_from(spine: Spine, index: int, label: str, numbering: Numbering | None = None, certain: bool = True) -> Spine:
    """Label all vertebrae by counting from one that a person is sure of, with no level left out.

    `numbering` states transitional anatomy (four or six lumbar, eleven or thirteen thoracic bodies). `certain` False:
    nobody vouches for that one; labels that stay keep the network's probability.
    """
    _vertebra(spine, index)
    numbering = numbering or spine.numbering
    labels = numbering.count_from(spine.labels, index, label)
    text = f"counted from {label} at vertebra {index + 1} ({numbering.thoracic} thoracic, {numbering.lumbar} lumbar)"
    return _relabelled(spine, labels, text, numbering, certain)


def move_corner(spine: Spine, index: int, slice_number: int, corner: int | str, position_ras: Sequence[float]) -> Spine:
    """Put one corner of a vertebra in one slice at a RAS position (projected on the slice).

    `corner`: 0-3 or "rt", "rb", "lb", "lt". Raises InputError when the vertebra is not in that slice or its outline
    would cross itself.
    """
    vertebra = _vertebra(spine, index)
    if slice_number not in vertebra.slices:
        raise InputError(f"{vertebra.label} has no outline in slice {slice_number}.")
    k = CORNER_NAMES.index(corner) if isinstance(corner, str) else int(corner)
    at = vertebra.slices.index(slice_number)
    corners = np.array(vertebra.corners_px)
    corners[at, k] = spine.geometry.to_pixels(np.asarray(position_ras, dtype=float))[:2]
    if not is_simple(corners[at]):
        raise InputError("There the outline would cross itself. Put the corner elsewhere.")
    return _reshaped(
        spine, index, vertebra.slices, corners, (f"moved a corner of {vertebra.label} in slice {slice_number}")
    )


def set_outline(spine: Spine, index: int, slices: Sequence[int], corners_px: np.ndarray) -> Spine:
    """Replace a vertebra's outlines: slice numbers and (slices, 4, 2) corners in pixels. Raises InputError if unfit."""
    vertebra = _vertebra(spine, index)
    slices, corners = _checked(spine, slices, corners_px)
    return _reshaped(spine, index, slices, corners, f"redrew {vertebra.label}")


def delete_vertebra(spine: Spine, index: int) -> Spine:
    """Remove a vertebra; the labels of the others stay (`count_from` closes the gap)."""
    vertebra = _vertebra(spine, index)
    vertebrae = [v for i, v in enumerate(spine.vertebrae) if i != index]
    return _edited(spine, vertebrae, f"deleted {vertebra.label}")


def add_vertebra(spine: Spine, label: str, slices: Sequence[int], corners_px: np.ndarray) -> Spine:
    """Add a vertebra drawn by a person: slice numbers and (slices, 4, 2) corners in pixels, order rt, rb, lb, lt.

    Raises InputError for an unknown level or corners that do not form outlines inside the scan.
    """
    if label not in all_levels():
        raise InputError(f"There is no level {label!r}. Choose one of {', '.join(all_levels())}.")
    slices, corners = _checked(spine, slices, corners_px)
    added = Vertebra(label, slices, corners, spine.geometry, None, "added")
    vertebrae = sorted([*spine.vertebrae, added], key=lambda v: v.average_polygon_px[:, 1].mean())
    return _edited(spine, vertebrae, f"added {label}")


def _vertebra(spine: Spine, index: int) -> Vertebra:
    if not 0 <= index < len(spine.vertebrae):
        raise InputError(f"There is no vertebra number {index}; there are {len(spine.vertebrae)}.")
    return spine.vertebrae[index]


def _checked(spine: Spine, slices: Sequence[int], corners_px: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    numbers = [int(s) for s in slices]
    corners = np.asarray(corners_px, dtype=float)
    if not numbers or len(set(numbers)) < len(numbers) or corners.shape != (len(numbers), 4, 2):
        raise InputError("A vertebra needs one outline of four corners for each of its slices.")
    if min(numbers) < 0 or max(numbers) >= spine.geometry.shape[2]:
        raise InputError(f"The scan has slices 0 to {spine.geometry.shape[2] - 1}.")
    if not all(is_simple(outline) for outline in corners):
        raise InputError(
            "An outline crosses itself. Give the corners in the order right-top, right-bottom, left-bottom, left-top."
        )
    order = np.argsort(numbers)
    return tuple(numbers[i] for i in order), corners[order]


def _labelled(vertebra: Vertebra, label: str) -> Vertebra:
    return vertebra if vertebra.label == label else replace(vertebra, label=label, label_probability=None)


def _relabelled(
    spine: Spine, labels: Sequence[str], text: str, numbering: Numbering | None = None, certain: bool = True
) -> Spine:
    vertebrae = [
        replace(v, label=label, label_probability=None) if certain else _labelled(v, label)
        for v, label in zip(spine.vertebrae, labels)
    ]
    return _edited(spine, vertebrae, text, numbering)


def _reshaped(spine: Spine, index: int, slices: tuple[int, ...], corners: np.ndarray, text: str) -> Spine:
    old = spine.vertebrae[index]
    source = "added" if old.source == "added" else "corrected"
    vertebrae = list(spine.vertebrae)
    vertebrae[index] = Vertebra(old.label, slices, corners, spine.geometry, old.label_probability, source)
    vertebrae.sort(key=lambda v: v.average_polygon_px[:, 1].mean())
    return _edited(spine, vertebrae, text)


def _edited(spine: Spine, vertebrae: Sequence[Vertebra], text: str, numbering: Numbering | None = None) -> Spine:
    graded = tuple((spine.vertebrae[d.upper], spine.vertebrae[d.lower], d) for d in spine.discs)
    numbering = numbering or spine.numbering
    parameters = {**spine.provenance.parameters, EDITS: [*edits_of(spine), text]}
    edited = replace(
        spine,
        vertebrae=tuple(vertebrae),
        discs=discs_between(tuple(vertebrae), numbering, graded),
        numbering=numbering,
        provenance=replace(spine.provenance, parameters=parameters),
        measurements=None,
    )
    return replace(edited, warnings=current_warnings(spine, edited))

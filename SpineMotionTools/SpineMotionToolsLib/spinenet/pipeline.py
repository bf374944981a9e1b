"""Reads spine MRI: vertebrae found and labelled, discs graded, everything measured.

    spine = read("scan.nrrd")            # detect, grade and measure
    spine = detect(scan); spine = grade(scan, spine); spine = measure(spine, scan)

Windsor et al., arXiv 2205.01683 and 2007.02606. Steps and constants are the published ones; where a model set asks for
it, switches of `departures.py` change single steps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.engine import Engine, ResolvedEngine, run_with_fallback
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.provenance import current
from SpineMotionToolsLib.common.volumes import Volume

from .checks import current_warnings, detection_warnings
from .departures import Departures
from .discs import disc_volumes, stack_outlines
from .editing import count_from
from .grades import HEADS
from .grouping import SLICE_OVERLAP, VertebraOutline, group_slices
from .inference import SliceDetector, appearance_logits, context_output, grade_logits
from .inputs import read_scan
from .labelling import Labelling, label_vertebrae, softmax
from .measurements import measure_spine
from .models import Models, choose_models
from .numbering import Numbering
from .patches import cut_patches, split
from .results import Disc, Grade, Spine, Vertebra, discs_between
from .scans import Scan
from .vertebra_volumes import extract

Source = Scan | Volume | Path | str


@dataclass(frozen=True)
class Options:
    """What a user may change; None takes the model set's own value (0.6 and `Departures()` for the published one).

    `lowest` or `highest`: the level of the lowest or highest body in view, where a person knows it; all labels are
    counted from it. `numbering`: how many thoracic and lumbar bodies the spine has; when it is unusual, labels are
    counted from the sacrum, C2 or, without these, the lowest body.
    """

    corner_threshold: float | None = None
    centroid_threshold: float | None = None
    group_across_slices_threshold: float = SLICE_OVERLAP
    penalise_skips: bool = True
    remove_single_slice_detections: bool = True
    departures: Departures | None = None
    numbering: Numbering = field(default_factory=Numbering)
    lowest: str = ""
    highest: str = ""


AUTO, DEFAULTS = Engine(), Options()
SAME_PLACE_MM = 0.01
NAMED = frozenset(Numbering().levels)


def parameters_of(options: Options, models: Models) -> dict[str, Any]:
    """The options as plain values for the provenance, with the departures that hold for this set of models."""
    return {**asdict(options), "departures": (options.departures or models.departures).to_dict()}


def read(
    source: Source,
    models: Models | str = "",
    engine: Engine = AUTO,
    options: Options = DEFAULTS,
    progress: Progress = no_progress,
) -> Spine:
    """Everything: `detect`, `grade` and `measure`. Raises InputError for a scan that cannot be read."""
    scan, models = read_scan(source), choose_models(models)
    spine = detect(scan, models, engine, options, lambda done, of, text: progress(0.7 * done / of, 1, text))
    spine = grade(scan, spine, models, engine, lambda done, of, text: progress(0.7 + 0.3 * done / of, 1, text))
    spine = measure(spine, scan)
    progress(1, 1, "Done")
    return spine


def detect(
    source: Source,
    models: Models | str = "",
    engine: Engine = AUTO,
    options: Options = DEFAULTS,
    progress: Progress = no_progress,
) -> Spine:
    """The vertebrae of a sagittal scan with labels and corners, and the discs between them, not yet graded.

    A scan without vertebrae gives an empty spine with a warning. Raises InputError for a scan that cannot be read.
    """
    scan, models = read_scan(source), choose_models(models)
    departures = options.departures or models.departures
    (outlines, labelling), resolved = run_with_fallback(
        lambda on: _detect(scan, models, on, options, departures, progress), engine
    )
    vertebrae = tuple(
        _vertebra(outline, label, scan, probability)
        for outline, label, probability in zip(outlines, labelling.labels, labelling.certainty)
        if label in NAMED
    )
    left_out = len(outlines) - len(vertebrae)
    provenance = current(
        "spinenet",
        models.id,
        models.sha256,
        device=resolved.device_name,
        precision=resolved.precision,
        parameters={**parameters_of(options, models), "scan": scan.name},
        starter=models.starter,
        notes=[*scan.notes, *resolved.notes],
    )
    spine = Spine(
        vertebrae,
        discs_between(vertebrae, Numbering()),
        scan.geometry,
        provenance,
        warnings=(
            *scan.warnings,
            *([f"Bodies found below S2 and left out: {left_out}."] if left_out else []),
            *detection_warnings(vertebrae, scan.geometry, Numbering()),
        ),
        notices=models.notices,
        grades_are_demonstration=models.grades_are_demonstration,
    )
    return _counted(spine, options)


def _counted(spine: Spine, options: Options) -> Spine:
    """The spine with its labels counted as the options say; as it is when they say nothing."""
    if not spine.vertebrae or not (options.lowest or options.highest or options.numbering != Numbering()):
        return spine
    last = len(spine.vertebrae) - 1
    stated = bool(options.lowest or options.highest)
    if stated:
        index, label = (last, options.lowest) if options.lowest else (0, options.highest)
    else:
        index = next((i for i, v in enumerate(spine.vertebrae) if v.label in ("S1", "C2")), last)
        label = spine.vertebrae[index].label
    return count_from(spine, index, label, options.numbering, certain=stated)


def grade(
    source: Source,
    spine: Spine,
    models: Models | str = "",
    engine: Engine = AUTO,
    progress: Progress = no_progress,
    again: bool = False,
) -> Spine:
    """The spine with grades for every disc that has none yet (`again`: for all). Discs are graded one level at a time.

    `models` must be the set that made the spine when discs graded before are to stay comparable. Raises InputError for
    another scan than the spine's.
    """
    scan, models = _own_scan(source, spine), choose_models(models)
    wanted = [d for d in spine.discs if again or d.grades is None]
    if not wanted:
        return spine
    stacked = stack_outlines([v.outline for v in spine.vertebrae], spine.labels, scan.array.shape[2])
    lowest = len(spine.vertebrae) - 1
    volumes = disc_volumes(scan.array, stacked, [lowest - d.lower for d in wanted])
    usable = [volume.is_usable for volume in volumes]
    probabilities: list[list[np.ndarray]] = []
    for number, volume in enumerate(volumes):
        progress(number, len(volumes), f"Grading {volume.level}")
        if usable[number]:
            logits, _ = run_with_fallback(lambda on, v=volume: grade_logits(models, v.volume[None], on), engine)
            probabilities.append([softmax(y[0].astype(np.float64)) for y in logits])
        else:
            probabilities.append([])
    graded = {
        disc.upper: replace(disc, grades=tuple(Grade(h, tuple(map(float, p))) for h, p in zip(HEADS, of_disc)))
        for disc, of_disc in zip(wanted, probabilities)
    }
    discs = tuple(graded.get(d.upper, d) for d in spine.discs)
    graded_spine = replace(spine, discs=discs)
    return replace(graded_spine, warnings=current_warnings(spine, graded_spine))


def measure(spine: Spine, source: Source | None = None) -> Spine:
    """The spine with measurements; with its scan also disc signal relative to cerebrospinal fluid.

    Raises InputError for another scan than the spine's.
    """
    return replace(spine, measurements=measure_spine(spine, None if source is None else _own_scan(source, spine)))


def _own_scan(source: Source, spine: Spine) -> Scan:
    scan = read_scan(source)
    same = scan.geometry.shape == spine.geometry.shape
    if not (same and np.allclose(scan.geometry.index_to_ras, spine.geometry.index_to_ras, atol=SAME_PLACE_MM)):
        raise InputError("This is not the scan that the spine was read from: its place or size differs. Read it first.")
    return scan


def _detect(
    scan: Scan,
    models: Models,
    engine: ResolvedEngine,
    options: Options,
    departures: Departures,
    progress: Progress,
) -> tuple[list[VertebraOutline], Labelling]:
    """Outlines of all vertebrae, top to bottom, and their labelling."""
    image = scan.array.astype(np.float32) if departures.float_resampling else scan.array
    rows, columns, slices = image.shape
    detector = SliceDetector(
        models,
        engine,
        split(image.shape, scan.pixel_spacing_mm),
        (rows, columns),
        models.corner_threshold if options.corner_threshold is None else options.corner_threshold,
        models.centroid_threshold if options.centroid_threshold is None else options.centroid_threshold,
        departures,
        scan.pixel_spacing_mm,
    )
    found: list[np.ndarray] = []
    for start in range(0, slices, detector.slices_at_once):
        progress(start, slices + 2, f"Looking at slice {start + 1} of {slices}")
        group = range(start, min(start + detector.slices_at_once, slices))
        patches = np.stack([cut_patches(np.ascontiguousarray(image[..., s]), detector.windows) for s in group])
        found += [detections.polygons for detections in detector.detect(patches)]
    models.release("detection")
    keep_single = slices == 1 or not options.remove_single_slice_detections
    outlines = group_slices(found, options.group_across_slices_threshold, not keep_single, departures)
    progress(slices, slices + 2, "Naming vertebrae")
    volumes = [extract(image, outline.average, departures) for outline in outlines]
    logits = appearance_logits(models.network("appearance"), np.array(volumes), engine)
    labelling = label_vertebrae(
        [outline.average for outline in outlines],
        logits,
        context_output(models.network("context"), engine),
        rows,
        scan.pixel_spacing_mm,
        options.penalise_skips,
        departures,
    )
    return outlines, labelling


def _vertebra(outline: VertebraOutline, label: str, scan: Scan, probability: float) -> Vertebra:
    """A vertebra with one outline a slice, in slice order: of several in a slice the last, which hides the others."""
    by_slice = dict(zip(outline.slices, outline.polygons))
    numbers = tuple(sorted(by_slice))
    corners = np.array([by_slice[n] for n in numbers], dtype=float)
    found = outline if len(numbers) < len(outline.slices) else None
    return Vertebra(label, numbers, corners, scan.geometry, float(probability), found=found)


__all__ = ["Disc", "Options", "detect", "grade", "measure", "read"]

"""Motion scoring from a scan to its grades, in the order of the paper: prepare slices, ensemble, votes, stacks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from SpineMotionToolsLib.common import provenance
from SpineMotionToolsLib.common.engine import Engine, ResolvedEngine, run_with_fallback
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.motion.calibration import Calibration
from SpineMotionToolsLib.motion.fast_slices import SlicePreparer
from SpineMotionToolsLib.motion.inputs import ScanSource, Source, open_scan
from SpineMotionToolsLib.motion.limb import Box
from SpineMotionToolsLib.motion.members import STARTER, Ensemble, load_ensemble
from SpineMotionToolsLib.motion.results import MotionResult, ScanInfo
from SpineMotionToolsLib.motion.stacks import DEFAULT_HEIGHT, fit_height, stack_ranges
from SpineMotionToolsLib.motion.votes import (
    CLASSES,
    Rules,
    count_votes,
    mean_decision,
    member_classes,
    percent,
    rules_named,
    slice_decisions,
)

__all__ = ["decide", "explain", "grade", "load_ensemble", "open_scan"]

AUTO = Engine()
TENSORFLOW = "tensorflow"
AHEAD = 2
"""Batches of slices prepared while the networks are busy."""

Item = TypeVar("Item")


def grade(
    source: Source,
    ensemble: str | Path | Ensemble = STARTER,
    rules: str = "newer",
    stack_height: int = DEFAULT_HEIGHT,
    incomplete: str = "keep_last",
    slice_step: int = 1,
    unit: str | None = None,
    engine: Engine | str = AUTO,
    progress: Progress = no_progress,
    *,
    calibration: Calibration | None = None,
    stored_unit: str | None = None,
    crop: str | Box = "auto",
    replace_nan: bool = False,
    name: str | None = None,
) -> MotionResult:
    """Grade the motion artefacts of an HR-pQCT scan: 1 none visible ... 5 severe (Walle et al., Bone 2023).

    `source`, `unit`, `calibration`, `stored_unit`, `crop` and `name`: see `inputs.open_scan`. `ensemble` is "starter"
    or what `load_ensemble` takes. `rules` "newer" or "legacy"; `incomplete` "keep_last", "drop_last" or "error".
    Every `slice_step`-th slice is scored. `engine` "tensorflow" runs original Keras files untouched in Keras.
    Raises InputError, WeightsError, DependencyError, or Cancelled from `progress`.
    """
    applied = rules_named(rules)
    if slice_step < 1:
        raise InputError(f"A slice step of {slice_step} is not possible. Use 1 to score every slice.")
    scan = open_scan(
        source,
        unit,
        legacy=applied.name == "legacy",
        calibration=calibration,
        stored_unit=stored_unit,
        crop=crop,
        name=name,
    )
    height = fit_height(stack_height, scan.depth)
    stack_ranges(scan.depth, height, incomplete)  # refuses before the long work, not after
    indices = np.arange(0, scan.depth, slice_step)
    scored = _scored(scan, ensemble, indices, engine, replace_nan, progress)
    result = decide(
        scored.probabilities,
        indices,
        scan.info,
        applied,
        height,
        incomplete,
        slice_step=slice_step,
        members=scored.ensemble.names,
    )
    made = provenance.current(
        "motion",
        scored.ensemble.id,
        scored.ensemble.sha256,
        device=scored.device,
        precision=scored.precision,
        parameters={
            "rules": rules,
            "stack_height": stack_height,
            "incomplete": incomplete,
            "slice_step": slice_step,
            "unit": scan.info.unit,
            "crop_box_xxyy": list(scan.info.crop_box) if scan.info.crop_box else None,
            "replace_nan": replace_nan,
        },
        starter=scored.ensemble.starter,
        notes=scored.notes,
    )
    warnings = (
        *scan.warnings,
        *scored.warnings,
        *_stack_cautions(result, stack_height),
        *scored.ensemble.notes,
        *scored.notes,
    )
    return replace(result, warnings=warnings, provenance=made.to_json())


@dataclass(frozen=True)
class _Scored:
    """Probabilities (M, n, 5) of the scored slices, and what made them."""

    probabilities: np.ndarray
    warnings: list[str]
    ensemble: Ensemble
    device: str
    precision: str
    notes: tuple[str, ...] = ()


def _scored(
    scan: ScanSource,
    ensemble: str | Path | Ensemble,
    indices: np.ndarray,
    engine: Engine | str,
    replace_nan: bool,
    progress: Progress,
) -> _Scored:
    if engine == TENSORFLOW:
        from SpineMotionToolsLib.motion.tensorflow_engine import KerasScorer

        scorer = KerasScorer(ensemble)
        found = score_slices(scan, scorer, indices, replace_nan, progress)
        return _Scored(*found, scorer.ensemble, scorer.device, "float32")
    loaded = load_ensemble(ensemble)

    def score(resolved: ResolvedEngine) -> _Scored:
        from SpineMotionToolsLib.motion.ensemble import Scorer

        scorer = Scorer(loaded, resolved, len(indices))
        found = score_slices(scan, scorer, indices, replace_nan, progress)
        return _Scored(*found, loaded, resolved.device_name, scorer.precision, tuple(resolved.notes))

    return run_with_fallback(score, _engine(engine))[0]


def decide(
    probabilities: np.ndarray,
    indices: Sequence[int],
    scan: ScanInfo,
    rules: Rules,
    stack_height: int = DEFAULT_HEIGHT,
    incomplete: str = "keep_last",
    *,
    slice_step: int = 1,
    members: Sequence[str] = (),
) -> MotionResult:
    """Votes, grades and stacks from the members' probabilities (M, n, 5) of the scored slices `indices`.

    Raises InputError for NaN, and for an incomplete stack when that is refused.
    """
    depth = scan.shape_xyz[2]
    classes = member_classes(probabilities)
    votes = np.zeros((depth, CLASSES), dtype=rules.dtype)
    votes[indices] = count_votes(classes, rules)
    grades = np.zeros(depth, dtype=np.int64)
    confidences = np.full(depth, -1.0, dtype=rules.dtype)
    grades[indices], confidences[indices] = slice_decisions(votes[indices])
    mean = np.zeros((depth, CLASSES), dtype=np.float32)
    mean[indices] = probabilities.mean(axis=0)
    member_grades = np.zeros((len(classes), depth), dtype=np.uint8)
    member_grades[:, indices] = classes + 1

    def over(slices: np.ndarray) -> tuple[int, float]:
        scored = slices[grades[slices] > 0]
        return mean_decision(grades[scored], confidences[scored], rules) if len(scored) else (0, -1.0)

    ranges = stack_ranges(depth, fit_height(stack_height, depth), incomplete)
    stacks = [over(np.arange(first, end)) for first, end in ranges]
    # Over all scored slices: also those of a stack that was dropped.
    overall, confidence = over(np.arange(depth))
    return MotionResult(
        grade=overall,
        mean_confidence=confidence,
        confidence_percent=percent(confidence, rules),
        slice_grades=grades,
        slice_confidences=confidences,
        votes=votes,
        probabilities=mean,
        member_grades=member_grades,
        stack_ranges=ranges,
        stack_grades=np.array([stack[0] for stack in stacks], dtype=np.float64),
        stack_confidences=np.array([stack[1] for stack in stacks], dtype=np.float64),
        rules=rules.name,
        stack_height=fit_height(stack_height, depth),
        incomplete=incomplete,
        slice_step=slice_step,
        members=tuple(members) or tuple(f"DNN_{number}" for number in range(len(classes))),
        scan=scan,
    )


def explain(
    source: Source,
    ensemble: str | Path | Ensemble = STARTER,
    result: MotionResult | None = None,
    mode: str = "published",
    target_grade: int | None = None,
    engine: Engine | str = AUTO,
    progress: Progress = no_progress,
    **how_to_read,
) -> np.ndarray:
    """Where the networks looked (Grad-CAM): float32 (X, Y, Z) of the whole scan, 0..1; 0 where nothing was scored.

    `mode` "published" explains the scan's grade, or `target_grade`, in every slice, each slice and member scaled to
    its own maximum; "per-slice" explains each slice's own grade by the members that voted for it, on one scale, so
    that slices can be compared. Without a `result` the scan is graded first, with it the scan is read as it was then.
    `how_to_read`: `unit`, `calibration`, `stored_unit`, `crop`, `replace_nan`, `name` as for `grade`.
    Raises what `grade` raises.
    """
    from SpineMotionToolsLib.motion.attention import MODES, attention_volume

    if mode not in MODES:
        raise InputError(f"The mode {mode!r} is not known. Choose one of: {', '.join(MODES)}.")
    replace_nan = how_to_read.pop("replace_nan", False)
    loaded = load_ensemble(ensemble)
    scan = open_scan(source, like=result.scan if result else None, **how_to_read)
    if result is None and (mode == "per-slice" or target_grade is None):
        first, progress = _part(progress, 0, 0.4), _part(progress, 0.4, 1)
        result = grade(scan, loaded, engine=engine, progress=first, replace_nan=replace_nan)
    if result is not None and result.scan.shape_xyz != scan.info.shape_xyz:
        raise InputError("The grades belong to another scan. Grade this scan first.")
    preparer = SlicePreparer(scan.read_slice, scan.depth, replace_nan)
    indices = np.flatnonzero(result.scored) if result is not None else np.arange(scan.depth)
    x0, x1, y0, y1 = scan.info.crop_box or (0, scan.info.shape_xyz[0], 0, scan.info.shape_xyz[1])

    def attend(resolved: ResolvedEngine) -> np.ndarray:
        volume = np.zeros(scan.whole.shape_xyz[::-1], dtype=np.float32).transpose(2, 1, 0)  # slices lie in one piece
        images = ahead(lambda z: preparer.image(z)[None], indices.tolist())
        attention_volume(volume[x0:x1, y0:y1], images, indices, loaded, resolved, result, mode, target_grade, progress)
        return volume

    return run_with_fallback(attend, _engine(engine))[0]


def score_slices(
    scan: ScanSource, scorer, indices: np.ndarray, replace_nan: bool = False, progress: Progress = no_progress
) -> tuple[np.ndarray, list[str]]:
    """(M, n, 5) float32 probabilities of the slices `indices`, and warnings; slices are prepared ahead in a thread."""
    preparer = SlicePreparer(scan.read_slice, scan.depth, replace_nan)

    batches = [indices[i : i + scorer.batch_size].tolist() for i in range(0, len(indices), scorer.batch_size)]
    parts, constant, done = [], [], 0
    progress(0, len(indices), "reading")
    for batch, images in zip(batches, ahead(preparer.images, batches)):
        parts.append(scorer.score(images))
        # Padding hides that a slice is constant in its image.
        constant += [z for z, image in zip(batch, images) if z in preparer.constant or image.min() == image.max()]
        done += len(batch)
        progress(done, len(indices), f"slice {batch[-1] + 1} of {scan.depth}")
    probabilities = np.concatenate(parts, axis=1)
    for position in scorer.doubtful():
        image = preparer.image(int(indices[position]))[None]
        probabilities[:, position] = scorer.score_exactly(image, np.array([position]))[:, 0]
    warnings = []
    if constant:
        listed = ", ".join(map(str, constant[:8])) + (", ..." if len(constant) > 8 else "")
        warnings.append(
            f"{len(constant)} of {len(indices)} slices hold one value only ({listed}). Their grades mean nothing."
        )
    if preparer.replaced:
        warnings.append(f"{preparer.replaced} voxels that were not numbers were replaced by their slice's minimum.")
    return probabilities, warnings


def ahead(work: Callable[[Item], np.ndarray], items: Iterable[Item]) -> Iterator[np.ndarray]:
    """`work` of each item in order, done up to two items ahead in one thread."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="motion-slices")
    try:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _engine(engine: Engine | str) -> Engine:
    """An engine as given, or one for a device name. What Keras cannot do, the torch engine does with its weights."""
    engine = engine if isinstance(engine, Engine) else Engine(device="auto" if engine == TENSORFLOW else engine)
    # Deciding close bfloat16 votes again costs what bfloat16 saves (see Docs/performance.md).
    return replace(engine, precision="float32") if engine.precision == "auto" else engine


def _part(progress: Progress, start: float, end: float) -> Progress:
    """Progress of a part of the work, as a share of the whole."""

    def report(done: float, of: float, text: str = "") -> None:
        progress(start + (end - start) * done / max(of, 1), 1.0, text)

    return report


def _stack_cautions(result: MotionResult, requested: int) -> list[str]:
    cautions = []
    depth, height = result.slice_count, result.stack_height
    if depth % height:
        short = depth % height
        fate = "was kept as a short stack" if result.incomplete == "keep_last" else "was left out of the stacks"
        cautions.append(f"The last {short} slices do not fill a stack of {height}: the incomplete stack {fate}.")
    in_plane = result.scan.spacing_mm[0]
    if requested == DEFAULT_HEIGHT and 0.081 <= in_plane <= 0.083 and depth % 110 == 0:
        cautions.append("Voxels of 82 \u00b5m are those of an XtremeCT I, whose stacks have 110 slices, not 168.")
    return cautions

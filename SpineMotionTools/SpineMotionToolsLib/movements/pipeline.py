"""Scoring general movements, in the order of the paper: background, pose, adjusting, flow, two streams, mean over
chunks.

MICCAI 2022 (arXiv 2207.03344).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common import provenance
from SpineMotionToolsLib.common.body_models import BodyModel
from SpineMotionToolsLib.common.engine import Engine, ResolvedEngine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.video import Video, open_video
from SpineMotionToolsLib.common.video_quality import Check, file_checks, stopping
from SpineMotionToolsLib.movements import quality
from SpineMotionToolsLib.movements.chunks import CHUNK_FRAMES, FRAME_RATE_HZ, Chunk, chunk_at, chunk_tensors, starts
from SpineMotionToolsLib.movements.inputs import EvenFrames, Infant
from SpineMotionToolsLib.movements.measures import chunk_energy
from SpineMotionToolsLib.movements.models import (
    STARTER_NOTE,
    BackgroundModel,
    Classifier,
    load_background_model,
    load_classifier,
    load_points_model,
)
from SpineMotionToolsLib.movements.preparing import (
    Masking,
    TrunkSearch,
    adjusted_pictures,
    find_trunk,
    trunk_by_hand,
)
from SpineMotionToolsLib.movements.results import ChunkScore, MovementResult

__all__ = ["Infant", "load_models", "score_video"]

AUTO = Engine()
ANY_INFANT = Infant()


class Models:
    """The networks of one run on one engine: classifier, and where the choices need them background and body points."""

    def __init__(self, classifier: Classifier | None, infant: Infant, engine: ResolvedEngine):
        self.classifier, self.engine = classifier, engine
        self.background: BackgroundModel | None = None
        self.points: BodyModel | None = None
        if infant.background == "network":
            self.background = load_background_model(infant.background_file, engine)
        if infant.points == "network":
            self.points = load_points_model(infant.points_file, engine)

    @property
    def all(self) -> list:
        return [model for model in (self.classifier, self.background, self.points) if model is not None]

    def logits(self, picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """(3,) logits of one chunk."""
        import torch

        with torch.inference_mode():
            tensors = [torch.from_numpy(t[None]).to(self.engine.device) for t in (picture, flow)]
            return self.classifier.network(*tensors)[0].float().cpu().numpy()


def load_models(weights: Path | str | None = None, infant: Infant = ANY_INFANT, engine: Engine = AUTO) -> Models:
    """The networks for scoring with these choices, starter ones where no file is given. Raises WeightsError."""
    resolved = engine.resolve()
    return Models(load_classifier(weights, resolved), infant, resolved)


def score_video(
    source: Path | str | Video,
    models: Models | Path | str | None = None,
    infant: Infant = ANY_INFANT,
    *,
    name: str | None = None,
    ignore_quality: bool = False,
    every_frame: bool = False,
    engine: Engine = AUTO,
    progress: Progress = no_progress,
) -> MovementResult:
    """The pattern of general movements in a video of an infant lying on its back, filmed from above.

    `source` is a file, a folder of pictures or a `Video`, resampled to 30 frames/s; `models` what `load_models` gave,
    or the classifier's weight file. Below the quality gate the answer is "not scored" unless `ignore_quality`.
    `every_frame` masks all frames, as published; the result is the same. Raises InputError, WeightsError,
    DependencyError.
    """
    video = open_video(source)
    if not isinstance(models, Models):
        models = load_models(models, infant, engine)
    frames = EvenFrames(video)
    masking = Masking(infant, frames.size, models.background)
    checks = quality.before(video, infant.age_weeks)
    search, scores = TrunkSearch(None), []
    if not stopping(checks) or ignore_quality:
        search = _search(frames, masking, models, infant, _part(progress, 0.0, 0.4))
        if search.adjustment is not None:
            numbers = range(len(frames)) if every_frame else None
            made = _chunks(frames, masking, search, _part(progress, 0.4, 1.0), numbers)
            scores = [_score(chunk, pictures, models) for chunk, pictures in made]
        checks += quality.after(search, masking, infant.points == "manual")
    checks += file_checks(video)
    if not scores and not stopping(checks):
        checks.append(Check("Scored seconds", "none", "at least one", False, advice="Choose a longer video."))
    if stopping(checks) and not (ignore_quality and scores):
        scores = []
    result = MovementResult(
        video=video.name,
        infant=name or Path(video.name).stem,
        chunks=tuple(scores),
        checks=tuple(checks),
        provenance=_provenance(models, infant, video),
        age_weeks=infant.age_weeks,
        torso=search.torso,
        adjustment=_as_numbers(search),
    )
    odd = quality.fits_age(infant.age_weeks, result.predicted)
    return result if odd is None else _with_check(result, odd)


def prepared_chunks(
    source: Path | str | Video, models: Models, infant: Infant, progress: Progress = no_progress
) -> Iterator[tuple[Chunk, dict[int, np.ndarray]]]:
    """Every chunk of a video with the adjusted BGR pictures of its frames; raises InputError without an infant."""
    frames = EvenFrames(open_video(source))
    masking = Masking(infant, frames.size, models.background)
    search = _search(frames, masking, models, infant, _part(progress, 0.0, 0.4))
    if search.adjustment is None:
        raise InputError("No infant was found. Place the four torso points by hand.")
    yield from _chunks(frames, masking, search, _part(progress, 0.4, 1.0), None)


def _search(frames: EvenFrames, masking: Masking, models: Models, infant: Infant, progress: Progress) -> TrunkSearch:
    if infant.points == "manual":
        return trunk_by_hand(frames, infant)
    return find_trunk(frames, masking, models.points, progress)


def _chunks(
    frames: EvenFrames, masking: Masking, search: TrunkSearch, progress: Progress, numbers: range | None
) -> Iterator[tuple[Chunk, dict[int, np.ndarray]]]:
    """Chunks with their pictures, as soon as the last frame of each is adjusted; old pictures are let go."""
    waiting = [chunk_at(start) for start in starts(len(frames))]
    needed = numbers if numbers is not None else {number for chunk in waiting for number in chunk.frames}
    pictures: dict[int, np.ndarray] = {}
    for number, picture in adjusted_pictures(frames, needed, masking, search.adjustment, progress):
        pictures[number] = picture
        while waiting and waiting[0].frames[-1] <= number:
            chunk = waiting.pop(0)
            if all(n in pictures for n in chunk.frames):
                yield chunk, pictures
        for old in [n for n in pictures if not waiting or n < waiting[0].frames[0]]:
            del pictures[old]


def _score(chunk: Chunk, pictures: dict[int, np.ndarray], models: Models) -> ChunkScore:
    logits = models.logits(*chunk_tensors(chunk, pictures))
    times = (chunk.start / FRAME_RATE_HZ, (chunk.start + CHUNK_FRAMES) / FRAME_RATE_HZ)
    return ChunkScore(*times, tuple(float(v) for v in logits), chunk_energy(chunk, pictures))


def _part(progress: Progress, start: float, end: float) -> Progress:
    """A part of the whole progress, from `start` to `end` of 1."""

    def report(done: float, of: float, text: str = "") -> None:
        progress(start + (end - start) * done / max(of, 1), 1.0, text)

    return report


def _as_numbers(search: TrunkSearch) -> dict[str, float]:
    if search.adjustment is None:
        return {}
    trunk = search.adjustment.trunk
    return {
        "rough_degree": search.adjustment.rough_degree,
        "center_x_px": trunk.center_px[0],
        "center_y_px": trunk.center_px[1],
        "length_px": trunk.length_px,
        "degree": trunk.degree,
    }


def _with_check(result: MovementResult, check: Check) -> MovementResult:
    from dataclasses import replace

    return replace(result, checks=(*result.checks, check))


def _provenance(models: Models, infant: Infant, video: Video):
    starter = any(model.starter for model in models.all)
    notes = [*models.engine.notes, *video.notes, *([STARTER_NOTE] if starter else [])]
    return provenance.current(
        "movements",
        models.classifier.title,
        ",".join(model.sha256 for model in models.all),
        device=models.engine.device_name,
        precision=models.engine.precision,
        parameters={name: str(value) for name, value in infant.to_json().items() if value},
        starter=starter,
        notes=notes,
    )

"""Scoring walks, in the order of the paper: find the patient, crop, cut clips, network, scores.

Front. Neurosci. 2023;17:1278584. The published output is the probability of NON-ASD; results show P(ASD) as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common import provenance
from SpineMotionToolsLib.common.body_models import BodyModel
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import CONCERNS_ALL, InputError, reason_of
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.video import Video, open_video
from SpineMotionToolsLib.common.video_quality import Check, file_checks, stopping
from SpineMotionToolsLib.gait import quality
from SpineMotionToolsLib.gait.clip_making import Clip, clips_as_published, clips_in_time
from SpineMotionToolsLib.gait.inputs import Person, patient_of
from SpineMotionToolsLib.gait.measures import measure
from SpineMotionToolsLib.gait.models import STARTER_NOTE, GaitModel, load_model
from SpineMotionToolsLib.gait.results import ClipScore, GaitResult
from SpineMotionToolsLib.gait.tracking import Sighting, follow

__all__ = ["Person", "load_model", "score_video", "score_videos"]

TIMINGS = ("real", "published")
AUTO = Engine()
ANYBODY = Person()
POINTS_RATE_HZ = 10.0


def score_video(
    source: Path | str | Video,
    model: GaitModel | Path | str | None = None,
    person: Person = ANYBODY,
    *,
    timing: str = "real",
    mirror: bool = False,
    ignore_quality: bool = False,
    points: BodyModel | None = None,
    patient: str | None = None,
    engine: Engine = AUTO,
    progress: Progress = no_progress,
) -> GaitResult:
    """Probability of adult spinal deformity from a video of a walk, filmed from the side.

    `source` is a file, a folder of pictures or a `Video`; `model` what `load_model` takes (the starter network without
    it). `timing` "real" cuts clips of equal real time; "published" drops frames without the patient and takes the rest
    as 30 frames/s. `mirror` averages with the mirrored clip. `points`, a body-point model, adds the trunk's lean. Below
    the quality gate the answer is "not scored" unless `ignore_quality`. Raises InputError, WeightsError,
    DependencyError.
    """
    if timing not in TIMINGS:
        raise InputError(f"The timing {timing!r} is unknown. Choose one of {', '.join(TIMINGS)}.")
    from SpineMotionToolsLib.gait.inference import ClipScorer

    video = open_video(source)
    if not isinstance(model, GaitModel):
        model = load_model(model)
    settings = model.settings
    scorer = ClipScorer(model, engine)
    checks = quality.before(video, settings)
    watch, joints = quality.Watch(), _Joints(points)
    clips: list[ClipScore] = []
    skipped: list[tuple[float, float, str]] = []
    if not stopping(checks) or ignore_quality:
        chooser = person.chooser()
        sightings = _sightings(video, person, chooser, settings.cropped, str(scorer.engine.device))
        watched = _watched(sightings, [watch.note, joints.note], len(video), progress)
        if timing == "published":
            made: Iterable[Clip] = clips_as_published(watched, settings)
        else:
            made = clips_in_time(video, watched, settings)
        clips, skipped = _scores(made, scorer, mirror)
        watch.several_at_start = getattr(chooser, "several_at_start", False)
        if settings.cropped:
            checks += watch.checks()
        if not clips and not stopping(checks):
            checks.append(_no_clip(settings.clip_s))
    checks += file_checks(video)
    if stopping(checks) and not ignore_quality:
        clips = []
    return GaitResult(
        video=video.name,
        patient=patient or patient_of(Path(video.name)),
        clips=tuple(clips),
        checks=tuple(checks),
        provenance=_provenance(model, scorer, person, timing, mirror, video),
        measures=measure(np.array(watch.times_s), np.array(watch.boxes), *joints.arrays()) if watch.boxes else None,
        boxes=watch.box_rows(),
        skipped=tuple(skipped),
    )


def score_videos(
    sources: Sequence[Path],
    model: GaitModel | Path | str | None = None,
    person: Person = ANYBODY,
    *,
    root: Path | None = None,
    progress: Progress = no_progress,
    on_result: Callable[[GaitResult | None, Path, str], None] | None = None,
    **options,
) -> list[GaitResult]:
    """Score many videos with one model; a video that fails is told to `on_result` and does not stop the others.

    Patients are the folders below `root` (`patient_of`), else the first 15 characters of the file names.
    """
    if not isinstance(model, GaitModel):
        model = load_model(model)
    results = []
    for number, path in enumerate(sources):

        def part(done: float, of: float, text: str = "", number: int = number) -> None:
            progress(number + done / max(of, 1), len(sources), text)

        try:
            result = score_video(path, model, person, patient=patient_of(Path(path), root), progress=part, **options)
        except CONCERNS_ALL:
            raise
        except Exception as error:
            if on_result:
                on_result(None, Path(path), reason_of(error, Path(path)))
            continue
        results.append(result)
        if on_result:
            on_result(result, Path(path), "")
    return results


def _sightings(video: Video, person: Person, chooser, cropped: bool, device: str) -> Iterator[Sighting]:
    if cropped:
        return follow(video, person.detector(video, device), chooser)
    whole = np.array([0, 0, video.width_px, video.height_px], np.float32)
    return (Sighting(frame, whole, 1) for frame in video.frames())


def _watched(
    sightings: Iterable[Sighting], watchers: list[Callable], frames: int, progress: Progress
) -> Iterator[Sighting]:
    for sighting in sightings:
        for watcher in watchers:
            watcher(sighting)
        if sighting.frame.number % 10 == 0:
            progress(sighting.frame.number, frames, f"{sighting.frame.time_s:.0f} s")
        yield sighting


def _scores(made: Iterable[Clip], scorer, mirror: bool) -> tuple[list[ClipScore], list[tuple[float, float, str]]]:
    """Scores of the clips that could be made, and the others with the reason."""
    kept: list[Clip] = []
    skipped: list[tuple[float, float, str]] = []

    def tensors() -> Iterator[np.ndarray]:
        for clip in made:
            if clip.tensor is None:
                skipped.append((clip.start_s, clip.end_s, clip.reason))
                continue
            kept.append(Clip(clip.start_s, clip.end_s, clip.in_view, clip.frames, None))
            yield clip.tensor

    logits = list(scorer.each(tensors(), mirror))
    return [ClipScore(c.start_s, c.end_s, value, c.in_view, c.frames) for c, value in zip(kept, logits)], skipped


class _Joints:
    """Body points of the patient ten times a second, where a model is given."""

    def __init__(self, model: BodyModel | None):
        self._model = model
        self._times: list[float] = []
        self._joints: list[np.ndarray] = []

    def note(self, sighting: Sighting) -> None:
        if self._model is None or sighting.box is None or sighting.bridged:
            return
        if self._times and sighting.frame.time_s - self._times[-1] < 1 / POINTS_RATE_HZ - 1e-3:
            return
        self._times.append(sighting.frame.time_s)
        self._joints.append(person_joints(sighting.frame.picture, sighting.box, self._model))

    def arrays(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        if not self._times:
            return None, None
        return np.array(self._joints), np.array(self._times)


def person_joints(picture: np.ndarray, box: np.ndarray, model: BodyModel) -> np.ndarray:
    """(18,3) joints x, y, score of the person in a box of an RGB picture, in its pixels; NaN where not found."""
    from SpineMotionToolsLib.common.body_points import find_bodies

    square, corner = person_square(picture, box)
    bodies = find_bodies(square, model)
    if not len(bodies.persons):
        return np.full((18, 3), np.nan)
    joints = bodies.joints(int(np.argmax(bodies.persons[:, 19])))
    return joints + [*corner, 0]


def person_square(picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """BGR square with some room around the person in a box of an RGB picture, and its left upper corner (x,y)."""
    from SpineMotionToolsLib.common.crops import crop

    x1, y1, x2, y2 = np.asarray(box, float)
    height = y2 - y1
    side = int(1.15 * height)
    left, top = int((x1 + x2 - side) / 2), int(y1 - 0.075 * height)
    return np.ascontiguousarray(crop(picture, top, left, side, side)[..., ::-1]), np.array([left, top])


def _no_clip(clip_s: float) -> Check:
    return Check(
        "Clips", "none", f"at least one of {clip_s:g} s with the patient in view", False,
        advice="Draw the region around the patient by hand, or choose another video.",
    )  # fmt: skip


def _provenance(model: GaitModel, scorer, person: Person, timing: str, mirror: bool, video: Video):
    notes = [*scorer.engine.notes, *video.notes, *([STARTER_NOTE] if model.starter else [])]
    return provenance.current(
        "gait",
        f"gait-{model.name}",
        model.sha256,
        device=scorer.engine.device_name,
        precision=scorer.engine.precision,
        parameters={
            "clip_s": model.settings.clip_s,
            "frames": model.settings.frames,
            "size_px": model.settings.size_px,
            "timing": timing,
            "mirror": mirror,
            **{f"person_{name}": str(value) for name, value in person.to_json().items() if value},
        },
        starter=model.starter,
        notes=notes,
    )

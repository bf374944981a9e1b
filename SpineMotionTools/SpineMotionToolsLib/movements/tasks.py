"""Scoring general movements as tasks of a job's child process: JSON in, JSON out, pictures and maps in files.

Parameters of every task: "video" (path), and, all optional, "model" (path of the classifier), "infant" (fields of
`inputs.Infant`), "name", "ignore_quality", "device", "precision", "threads".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError, OutputError
from SpineMotionToolsLib.common.progress import Progress, no_progress


def score(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Score one video; further parameters "folder" (where files go), "explain", "overlay", "face_hidden", "report".

    Returns {"result": `MovementResult.to_json()`, "files": paths by kind, "problems": sentences on files that could not
    be written}.
    """
    from SpineMotionToolsLib.movements import pipeline, report
    from SpineMotionToolsLib.movements.explain import explain, write_overlay

    infant = infant_of(parameters.get("infant"))
    models = pipeline.load_models(parameters.get("model"), infant, _engine(parameters))
    wants_maps = bool(parameters.get("explain")) or bool(parameters.get("overlay"))
    result = pipeline.score_video(
        parameters["video"],
        models,
        infant,
        name=parameters.get("name"),
        ignore_quality=bool(parameters.get("ignore_quality", False)),
        progress=_part(progress, 0.0, 0.7 if wants_maps else 1.0),
    )
    maps = None
    if wants_maps and result.chunks:
        maps = explain(parameters["video"], result, models, infant, progress=_part(progress, 0.7, 0.85))
    files: dict[str, str] = {}
    problems: list[str] = []
    if folder := parameters.get("folder"):
        try:
            files = report.write_files(folder, result, maps, bool(parameters.get("report", True)))
            if parameters.get("overlay") and result.chunks:
                path = Path(files["json"]).with_name(Path(files["json"]).stem + "_overlay.mp4")
                hidden = bool(parameters.get("face_hidden", True))
                write_overlay(path, parameters["video"], result, maps, hidden, _part(progress, 0.85, 1.0))
                files["overlay"] = str(path)
        except OutputError as error:  # a full disk loses files, not the scores
            problems.append(str(error))
    return {"result": result.to_json(), "files": files, "problems": problems}


def find_infant(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Look for the trunk only, so that its points can be looked at and corrected before scoring.

    Returns {"torso": frame of the video -> right and left shoulder, right and left hip (pixels), "found": share of the
    frames looked at}.
    """
    from SpineMotionToolsLib.common.video import open_video
    from SpineMotionToolsLib.movements import pipeline
    from SpineMotionToolsLib.movements.inputs import EvenFrames
    from SpineMotionToolsLib.movements.preparing import Masking, find_trunk

    infant = infant_of(parameters.get("infant"))
    models = pipeline.load_models(parameters.get("model"), infant, _engine(parameters))
    if models.points is None:
        raise InputError("The torso points were placed by hand, so there is nothing to look for. Press Apply.")
    frames = EvenFrames(open_video(parameters["video"]))
    search = find_trunk(frames, Masking(infant, frames.size, models.background), models.points, progress)
    times = {k: frames.video.nearest_frames(np.array([k / 30]))[0] for k in search.torso}
    torso = {str(int(times[k])): points.round(2).tolist() for k, points in search.torso.items()}
    return {"torso": torso, "found": search.found}


def infant_of(values: Mapping[str, Any] | None):
    """`inputs.Infant` of JSON values; raises InputError for names it does not know."""
    from SpineMotionToolsLib.movements.inputs import Infant

    values = dict(values or {})
    known = {field.name for field in fields(Infant)}
    if unknown := sorted(set(values) - known):
        raise InputError(
            f"Unknown ways of finding the infant: {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )
    if values.get("torso"):
        values["torso"] = {int(k): v for k, v in values["torso"].items()}
    return Infant(**values)


def _engine(parameters: Mapping[str, Any]):
    from SpineMotionToolsLib.common.engine import Engine

    return Engine(parameters.get("device", "auto"), parameters.get("precision", "auto"), parameters.get("threads"))


def _part(progress: Progress, start: float, end: float) -> Progress:
    """A part of the whole progress, from `start` to `end` of 1."""

    def report(done: float, of: float, text: str = "") -> None:
        progress(start + (end - start) * done / max(of, 1e-9), 1.0, text)

    return report

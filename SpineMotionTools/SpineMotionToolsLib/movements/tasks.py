"""Scoring general movements as tasks of a job's child process: JSON in, JSON out, pictures and maps in files.

Parameters of every task: "video" (path), and, all optional, "model" (path of the classifier), "infant" (fields of
`inputs.Infant`), "name", "ignore_quality", "device", "precision", "threads".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import InputError, OutputError
from SpineMotionToolsLib.common.progress import Progress, no_progress, parts
from SpineMotionToolsLib.common.video_folders import OVERLAY


def score(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Score one video; further parameters "folder" (where files go), "explain", "overlay", "face_hidden", "report".

    "scored" (path of an earlier `MovementResult.to_json()`) and "maps" (path of its activation maps) are what was found
    before with the same parameters and is not computed again.
    Returns {"result": `MovementResult.to_json()`, "files": paths by kind, "problems": sentences on files that could not
    be written}.
    """
    from SpineMotionToolsLib.movements import pipeline, report
    from SpineMotionToolsLib.movements.explain import ActivationMaps, explain, write_overlay

    infant, overlay = infant_of(parameters.get("infant")), bool(parameters.get("overlay"))
    result = _scored(parameters)
    maps = ActivationMaps.load(parameters["maps"]) if parameters.get("maps") else None
    wants_maps = maps is None and (overlay or bool(parameters.get("explain")))
    models = None
    if result is None or wants_maps:
        models = pipeline.load_models(parameters.get("model"), infant, _engine(parameters))
    scoring, explaining, writing = parts(progress, 4.0 * (result is None), 1.0 * wants_maps, 1.0 * overlay)
    if result is None:
        result = pipeline.score_video(
            parameters["video"],
            models,
            infant,
            name=parameters.get("name"),
            ignore_quality=bool(parameters.get("ignore_quality", False)),
            progress=scoring,
        )
    if wants_maps and result.chunks:
        maps = explain(parameters["video"], result, models, infant, progress=explaining)
    files: dict[str, str] = {}
    problems: list[str] = []
    if folder := parameters.get("folder"):
        try:
            files = report.write_files(folder, result, maps, bool(parameters.get("report", True)))
            if overlay and result.chunks:
                path = Path(files["json"]).with_name(Path(files["json"]).stem + f"{OVERLAY}.mp4")
                hidden = bool(parameters.get("face_hidden", True))
                write_overlay(path, parameters["video"], result, maps, hidden, writing)
                files["overlay"] = str(path)
        except OutputError as error:  # a full disk loses files, not the scores
            problems.append(str(error))
    return {"result": result.to_json(), "files": files, "problems": problems}


def _scored(parameters: Mapping[str, Any]):
    """The result of an earlier run that is to be used, or None."""
    from SpineMotionToolsLib.movements.results import MovementResult

    path = parameters.get("scored")
    return MovementResult.from_json(json.loads(Path(path).read_text(encoding="utf-8"))) if path else None


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
    torso = {str(frame): points.round(2).tolist() for frame, points in search.torso.items()}
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

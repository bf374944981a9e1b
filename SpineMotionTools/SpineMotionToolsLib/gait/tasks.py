"""Scoring walks as tasks of a job's child process: JSON in, JSON out, pictures and maps in files.

Parameters of every task: "video" (path), and, all optional, "model" (path), "model_settings" (frames, clip_s, size_px),
"person" (fields of `inputs.Person`), "timing", "mirror", "ignore_quality", "points" (path of a body-point model, or
"starter"), "patient", "device", "precision", "threads".
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

STARTER_POINTS_FILE = "gait-body-points.safetensors"


def score(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Score one video; further parameters "folder" (where files go), "name" (what they are called), "explain",
    "overlay", "faces_hidden", "report".

    "scored" (path of an earlier `GaitResult.to_json()`) and "maps" (path of its activation maps) are what was found
    before with the same parameters and is not computed again.
    Returns {"result": `GaitResult.to_json()`, "files": paths by kind, "problems": sentences on files that could not be
    written}.
    """
    from SpineMotionToolsLib.gait import report
    from SpineMotionToolsLib.gait.explain import ActivationMaps, explain, write_overlay

    overlay = bool(parameters.get("overlay"))
    result = _scored(parameters)
    maps = ActivationMaps.load(parameters["maps"]) if parameters.get("maps") else None
    wants_maps = maps is None and (overlay or bool(parameters.get("explain")))
    model = _model(parameters) if result is None or wants_maps else None
    scoring, explaining, writing = parts(progress, 3.0 * (result is None), 1.0 * wants_maps, 1.0 * overlay)
    if result is None:
        result = _score(parameters, model, scoring)
    if wants_maps and result.clips:
        maps = explain(parameters["video"], result, model, explaining)
    files: dict[str, str] = {}
    problems: list[str] = []
    if folder := parameters.get("folder"):
        try:
            html, name = bool(parameters.get("report", True)), parameters.get("name")
            files = report.write_files(folder, result, parameters["video"], maps, html, name)
            if overlay:
                path = Path(files["json"]).with_name(Path(files["json"]).stem + f"{OVERLAY}.mp4")
                hidden = bool(parameters.get("faces_hidden", True))
                write_overlay(path, parameters["video"], result, maps, hidden, writing)
                files["overlay"] = str(path)
        except OutputError as error:  # a full disk loses files, not the scores
            problems.append(str(error))
    return {"result": result.to_json(), "files": files, "problems": problems}


def _score(parameters: Mapping[str, Any], model, progress: Progress):
    from SpineMotionToolsLib.gait import pipeline

    return pipeline.score_video(
        parameters["video"],
        model,
        person_of(parameters.get("person")),
        timing=parameters.get("timing", "real"),
        mirror=bool(parameters.get("mirror", False)),
        ignore_quality=bool(parameters.get("ignore_quality", False)),
        points=_points(parameters),
        patient=parameters.get("patient"),
        engine=_engine(parameters),
        progress=progress,
    )


def _scored(parameters: Mapping[str, Any]):
    """The result of an earlier run that is to be used, or None."""
    from SpineMotionToolsLib.gait.results import GaitResult

    path = parameters.get("scored")
    return GaitResult.from_json(json.loads(Path(path).read_text(encoding="utf-8"))) if path else None


def person_of(values: Mapping[str, Any] | None):
    """`inputs.Person` of JSON values; raises InputError for names it does not know."""
    from SpineMotionToolsLib.gait.inputs import Person

    values = dict(values or {})
    known = {field.name for field in fields(Person)}
    if unknown := sorted(set(values) - known):
        raise InputError(
            f"Unknown ways of finding the patient: {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )
    if values.get("click"):
        values["click"] = tuple(values["click"])
    return Person(**values)


def _model(parameters: Mapping[str, Any]):
    from SpineMotionToolsLib.gait.models import load_model

    return load_model(parameters.get("model"), parameters.get("network"), **(parameters.get("model_settings") or {}))


def _points(parameters: Mapping[str, Any]):
    from SpineMotionToolsLib.common.body_models import load_body_model
    from SpineMotionToolsLib.common.weights import starter_path

    path = parameters.get("points")
    if not path:
        return None
    return load_body_model(
        starter_path(STARTER_POINTS_FILE) if path == "starter" else path, _engine(parameters).resolve()
    )


def _engine(parameters: Mapping[str, Any]):
    from SpineMotionToolsLib.common.engine import Engine

    return Engine(parameters.get("device", "auto"), parameters.get("precision", "auto"), parameters.get("threads"))

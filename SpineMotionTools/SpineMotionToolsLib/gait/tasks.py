"""Scoring walks as tasks of a job's child process: JSON in, JSON out, pictures and maps in files.

Parameters of every task: "video" (path), and, all optional, "model" (path), "model_settings" (frames, clip_s, size_px),
"person" (fields of `inputs.Person`), "timing", "mirror", "ignore_quality", "points" (path of a body-point model, or
"starter"), "patient", "device", "precision", "threads".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import InputError, OutputError
from SpineMotionToolsLib.common.progress import Progress, no_progress

STARTER_POINTS_FILE = "gait-body-points.safetensors"


def score(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Score one video; further parameters "folder" (where files go), "explain", "overlay", "faces_hidden", "report".

    Returns {"result": `GaitResult.to_json()`, "files": paths by kind, "problems": sentences on files that could not be
    written}.
    """
    from SpineMotionToolsLib.gait import pipeline, report
    from SpineMotionToolsLib.gait.explain import explain, write_overlay

    model = _model(parameters)
    wants_maps = bool(parameters.get("explain")) or bool(parameters.get("overlay"))
    result = pipeline.score_video(
        parameters["video"],
        model,
        person_of(parameters.get("person")),
        timing=parameters.get("timing", "real"),
        mirror=bool(parameters.get("mirror", False)),
        ignore_quality=bool(parameters.get("ignore_quality", False)),
        points=_points(parameters),
        patient=parameters.get("patient"),
        engine=_engine(parameters),
        progress=_part(progress, 0.0, 0.6 if wants_maps else 1.0),
    )
    maps = None
    if wants_maps and result.clips:
        maps = explain(parameters["video"], result, model, _part(progress, 0.6, 0.8))
    files: dict[str, str] = {}
    problems: list[str] = []
    if folder := parameters.get("folder"):
        try:
            files = report.write_files(folder, result, parameters["video"], maps, bool(parameters.get("report", True)))
            if parameters.get("overlay"):
                path = Path(files["json"]).with_name(Path(files["json"]).stem + "_overlay.mp4")
                hidden = bool(parameters.get("faces_hidden", True))
                write_overlay(path, parameters["video"], result, maps, hidden, _part(progress, 0.8, 1.0))
                files["overlay"] = str(path)
        except OutputError as error:  # a full disk loses files, not the scores
            problems.append(str(error))
    return {"result": result.to_json(), "files": files, "problems": problems}


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


def _part(progress: Progress, start: float, end: float) -> Progress:
    """A part of the whole progress, from `start` to `end` of 1."""

    def report(done: float, of: float, text: str = "") -> None:
        progress(start + (end - start) * done / max(of, 1e-9), 1.0, text)

    return report

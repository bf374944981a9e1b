"""Work for a child process: JSON in, JSON out; voxels come as a .npy file or as any path `inputs.read_scan` takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.volumes import Volume

from . import pipeline
from .inputs import read_scan
from .results import Spine
from .scans import Scan


def read(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Detect, grade and measure one scan.

    Parameters: "scan" (a path, or "voxels_kji" .npy path, "ijk_to_ras", "name"), "model", "device", "precision",
    "threads", "penalise_skips", "remove_single_slice_detections". Result: "result" (`Spine.to_json`), "model".
    """
    options = pipeline.Options(
        penalise_skips=bool(parameters.get("penalise_skips", True)),
        remove_single_slice_detections=bool(parameters.get("remove_single_slice_detections", True)),
    )
    model = parameters.get("model", "")
    spine = pipeline.read(scan_of(parameters), model, engine_of(parameters), options, progress)
    return {"result": spine.to_json(), "model": model}


def grade(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Grade the discs that have no grades, and measure: after a correction.

    Parameters: as for `read`, and "spine" (`Spine.to_json`). Result: "result".
    """
    scan = scan_of(parameters)
    spine = Spine.from_json(parameters["spine"])
    spine = pipeline.grade(scan, spine, parameters.get("model", ""), engine_of(parameters), progress)
    return {"result": pipeline.measure(spine, scan).to_json(), "model": parameters.get("model", "")}


def engine_of(parameters: dict[str, Any]) -> Engine:
    names = ("device", "precision", "threads", "batch_size")
    return Engine(**{name: parameters[name] for name in names if parameters.get(name) is not None})


def scan_of(parameters: dict[str, Any]) -> Scan:
    """The scan a task was given. Raises InputError when its voxels cannot be read."""
    given = parameters["scan"]
    if isinstance(given, str):
        return read_scan(given, parameters.get("series", ""))
    try:
        voxels = np.load(given["voxels_kji"], allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError("The scan's voxels could not be handed over. Start the reading again.") from error
    return read_scan(Volume(voxels, np.array(given["ijk_to_ras"], dtype=float), str(given.get("name", ""))))

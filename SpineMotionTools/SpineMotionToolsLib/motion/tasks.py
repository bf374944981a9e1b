"""Motion scoring as tasks of a job's child process: JSON in, JSON out, voxels in files.

Parameters of `grade` and `explain`: `scan`, either {"path"} or {"voxels_kji" (.npy), "ijk_to_ras", "name", "unit",
"calibration"}; and, all optional, `model`, `rules`, `stack_height`, `incomplete`, `slice_step`, `unit`, `crop`,
`replace_nan`, `device`, `precision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress


def grade(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Grade a scan; returns {"result": `MotionResult.to_json()`}."""
    from SpineMotionToolsLib.motion import pipeline

    source, options = _source(parameters)
    result = pipeline.grade(
        source,
        parameters.get("model", pipeline.STARTER),
        rules=parameters.get("rules", "newer"),
        stack_height=parameters.get("stack_height", pipeline.DEFAULT_HEIGHT),
        incomplete=parameters.get("incomplete", "keep_last"),
        slice_step=parameters.get("slice_step", 1),
        unit=parameters.get("unit"),
        engine=_engine(parameters),
        progress=progress,
        crop=_crop(parameters),
        replace_nan=parameters.get("replace_nan", False),
        **options,
    )
    return {"result": result.to_json()}


def explain(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Attention map of a scan; further parameters `mode`, `target_grade`, `result` (of `grade`) and `output`.

    Returns {"attention": path}: `output`, a `.npy` file (x, y, z) or a volume file such as `.mha`; by default
    `attention.npy` beside the voxels.
    """
    from SpineMotionToolsLib.common.files import atomic_path
    from SpineMotionToolsLib.common.volumes import Volume, write_volume
    from SpineMotionToolsLib.motion import pipeline
    from SpineMotionToolsLib.motion.results import MotionResult

    source, options = _source(parameters)
    output = _output(parameters)
    result = MotionResult.from_json(parameters["result"]) if parameters.get("result") else None
    scan = pipeline.open_scan(
        source, parameters.get("unit"), crop=_crop(parameters), like=result.scan if result else None, **options
    )
    attention = pipeline.explain(
        scan,
        parameters.get("model", pipeline.STARTER),
        result,
        mode=parameters.get("mode", "per-slice"),
        target_grade=parameters.get("target_grade"),
        engine=_engine(parameters),
        progress=progress,
        replace_nan=parameters.get("replace_nan", False),
    )
    if output.suffix == ".npy":
        with atomic_path(output) as temporary, open(temporary, "wb") as file:
            np.save(file, attention, allow_pickle=False)
    else:
        write_volume(output, Volume(np.transpose(attention, (2, 1, 0)), scan.whole.ijk_to_ras, "attention"))
    return {"attention": str(output)}


def predict(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Grade a data set into its derivatives folder; parameters and result: see `dataset.predict_task`."""
    from SpineMotionToolsLib.motion.dataset import predict_task

    return predict_task(parameters, progress)


def _source(parameters: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The scan, and what is known of its unit."""
    from SpineMotionToolsLib.common.volumes import Volume
    from SpineMotionToolsLib.motion.calibration import Calibration

    scan = parameters["scan"]
    if "path" in scan:
        return scan["path"], {}
    array = np.load(scan["voxels_kji"], mmap_mode="r", allow_pickle=False)
    volume = Volume(array, np.array(scan["ijk_to_ras"], dtype=np.float64), scan.get("name", "scan"))
    record = scan.get("calibration")
    return volume, {
        "stored_unit": scan.get("unit"),
        "calibration": Calibration.from_json(record) if record else None,
    }


def _output(parameters: Mapping[str, Any]) -> Path:
    if parameters.get("output"):
        return Path(parameters["output"])
    if "voxels_kji" in parameters["scan"]:
        return Path(parameters["scan"]["voxels_kji"]).with_name("attention.npy")
    raise InputError("Say where the attention map is to be written (parameter 'output').")


def _crop(parameters: Mapping[str, Any]) -> Any:
    crop = parameters.get("crop", "auto")
    return crop if isinstance(crop, str) else tuple(crop)


def _engine(parameters: Mapping[str, Any]) -> Any:
    from SpineMotionToolsLib.motion import pipeline

    if parameters.get("device") == pipeline.TENSORFLOW:
        return pipeline.TENSORFLOW
    return pipeline.Engine(
        device=parameters.get("device", "auto"),
        precision=parameters.get("precision", "auto"),
        threads=parameters.get("threads"),
        batch_size=parameters.get("batch_size"),
    )

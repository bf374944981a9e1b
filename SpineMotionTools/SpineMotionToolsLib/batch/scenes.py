"""The Slicer scene of a case, made from its file and the result files beside it; each module shows it as its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import safe_name


def scene_file(name: str, folder: Path) -> Path:
    return folder / f"{name}.mrb"


def write_scene(system: str, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> Path:
    """Save `<folder>/<name>.mrb`: the case's image, result, tables and drawings, in one subject-hierarchy folder.

    `source` is the case's file, `folder` holds the files of its result, `options` are the batch's. Raises ImportError
    where this Python has no MRML classes, InputError when a file is gone, OutputError.
    """
    from SpineMotionToolsLib.scene.files import new_scene, save_scene

    with new_scene() as scene:
        WRITERS[system](scene, name, Path(source), Path(folder), options)
        save_scene(scene, scene_file(name, Path(folder)))
    return scene_file(name, Path(folder))


def _motion(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    from SpineMotionToolsLib.motion.derivatives import result_name
    from SpineMotionToolsLib.motion.inputs import read_scan
    from SpineMotionToolsLib.motion.results import MotionResult
    from SpineMotionToolsLib.scene import motion

    result = MotionResult.from_json(_json(folder / result_name(name)))
    scan = read_scan(source)
    volume = motion.add_scan(scene, scan.array, scan.ijk_to_ras, name, scan.unit, scan.calibration)
    motion.show_result(scene, volume, result)
    motion.show_stack_boxes(scene, volume, result)


def _spine(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    from dataclasses import replace

    from SpineMotionToolsLib.scene import nodes, spinenet
    from SpineMotionToolsLib.spinenet.batch import RESULT_NAME
    from SpineMotionToolsLib.spinenet.inputs import read_voxels
    from SpineMotionToolsLib.spinenet.results import Spine

    spine = Spine.from_json(_json(folder / RESULT_NAME))
    voxels = read_voxels(source, options.get("series", ""))[0]
    shown = spinenet.show_spine(scene, spinenet.add_scan(scene, replace(voxels, name=name)), spine)
    nodes.set_attribute(shown.result, "Model", options.get("model") or "spinenet-starter")  # for updates


def _keypoints(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    from dataclasses import replace

    import numpy as np

    from SpineMotionToolsLib.common.volumes import Volume
    from SpineMotionToolsLib.keypoints.inputs import read_radiograph
    from SpineMotionToolsLib.keypoints.session import Session
    from SpineMotionToolsLib.scene import spinenet
    from SpineMotionToolsLib.scene.keypoints import KeypointNodes
    from SpineMotionToolsLib.scene.keypoints_picture import PictureOptions, find_picture

    record = _json(folder / f"{safe_name(name)}-session.json")
    turns = {turn: bool(options.get(turn)) for turn in ("mirrored", "upside_down", "inverted")}
    radiograph = read_radiograph(source, **turns)
    reading = Session.from_json(record, radiograph).reading
    row, column = reading.scale.factors
    # As Slicer shows a file without a position in the patient: first row on top, the patient's right on the left.
    matrix = np.diag([-column, -row, 1.0, 1.0])
    volume = spinenet.add_scan(scene, Volume(radiograph.image[np.newaxis], matrix, name))
    known = PictureOptions(
        inverted=False,
        pixel_size_known=reading.scale.unit == "mm",
        patient_right_on=reading.patient_right_on,
        remarks=reading.notes,
    )
    picture = replace(find_picture(volume, known), notes=reading.notes)
    if reading.region != (0, 0, *reading.size):
        picture = replace(picture, region=reading.region)
    nodes = KeypointNodes.create(scene, volume)
    nodes.store(picture, record)
    nodes.show(reading, picture)


def _gait(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    from SpineMotionToolsLib.gait.results import GaitResult

    _video(scene, name, source, GaitResult.from_json(_json(folder / f"{safe_name(source.stem)}.json")))


def _movements(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    from SpineMotionToolsLib.movements.results import MovementResult

    _video(scene, name, source, MovementResult.from_json(_json(folder / f"{safe_name(name)}.json")))


def _video(scene: Any, name: str, source: Path, result: Any) -> None:
    from SpineMotionToolsLib.common.video import open_video
    from SpineMotionToolsLib.scene import video, video_results

    video_results.show_result(scene, video.add_video(scene, open_video(source), source, name), result)


WRITERS = {"motion": _motion, "spine": _spine, "keypoints": _keypoints, "gait": _gait, "movements": _movements}


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} is missing or damaged. Run the batch again for this case.") from error

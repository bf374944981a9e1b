"""The Slicer scene of a case, made from its file and the result files beside it; each module shows it as its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.batch import saved
from SpineMotionToolsLib.batch.dicom import find_images
from SpineMotionToolsLib.common.errors import InputError


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
    from SpineMotionToolsLib.motion.inputs import read_scan
    from SpineMotionToolsLib.scene import motion

    result = saved.motion_result(name, folder)
    scan = read_scan(source)
    volume = motion.add_scan(scene, scan.array, scan.ijk_to_ras, name, scan.unit, scan.calibration)
    _refer_to_images(volume, "motion", source, options)
    motion.show_result(scene, volume, result)
    motion.show_stack_boxes(scene, volume, result)


def _spine(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    from dataclasses import replace

    from SpineMotionToolsLib.scene import nodes, spinenet
    from SpineMotionToolsLib.spinenet.inputs import read_voxels

    spine = saved.spine(folder)
    voxels = read_voxels(source, options.get("series", ""))[0]
    volume = spinenet.add_scan(scene, replace(voxels, name=name))
    _refer_to_images(volume, "spine", source, options)
    shown = spinenet.show_spine(scene, volume, spine)
    nodes.set_attribute(shown.result, "Model", options.get("model") or "spinenet-starter")  # for updates


def _keypoints(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    from dataclasses import replace

    import numpy as np

    from SpineMotionToolsLib.common.volumes import Volume
    from SpineMotionToolsLib.scene import spinenet
    from SpineMotionToolsLib.scene.keypoints import KeypointNodes
    from SpineMotionToolsLib.scene.keypoints_picture import PictureOptions, find_picture, keep_file_facts

    session = saved.keypoint_session(name, source, folder, options)
    reading = session.reading
    row, column = reading.scale.factors
    # As Slicer shows a file without a position in the patient: first row on top, the patient's right on the left.
    matrix = np.diag([-column, -row, 1.0, 1.0])
    volume = spinenet.add_scan(scene, Volume(session.radiograph.image[np.newaxis], matrix, name))
    keep_file_facts(volume, reading.patient_right_on, session.radiograph.notes)
    if not any(reading.turned):
        _refer_to_images(volume, "keypoints", source, options)
    known = PictureOptions(
        inverted=False,
        pixel_size_known=reading.scale.unit == "mm",
        patient_right_on=reading.patient_right_on,
        remarks=reading.notes,
    )
    picture = replace(find_picture(volume, known), notes=reading.notes)
    if reading.region != (0, 0, *reading.size):
        picture = replace(picture, region=reading.region)
    shown = KeypointNodes.create(scene, volume)
    shown.store(picture, session.to_json())
    shown.show(reading, picture)


def _refer_to_images(volume: Any, system: str, source: Path, options: Mapping[str, Any]) -> None:
    """Note the DICOM images as Slicer does when it loads them, so that what is corrected can go back to their study."""
    try:
        images = find_images(system, source, options)
    except InputError:  # not DICOM
        return
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(str(header.SOPInstanceUID) for header in images.headers))


def _gait(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    _video(scene, name, source, saved.gait_result(source, folder))


def _movements(scene: Any, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> None:
    _video(scene, name, source, saved.movement_result(name, folder))


def _video(scene: Any, name: str, source: Path, result: Any) -> None:
    from SpineMotionToolsLib.common.video import open_video
    from SpineMotionToolsLib.scene import video, video_results

    video_results.show_result(scene, video.add_video(scene, open_video(source), source, name), result)


WRITERS = {"motion": _motion, "spine": _spine, "keypoints": _keypoints, "gait": _gait, "movements": _movements}

"""The DICOM results of a case, made from its file and the saved result: those that the system's own command writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineMotionToolsLib.batch import saved
from SpineMotionToolsLib.common.files import safe_name

if TYPE_CHECKING:
    from SpineMotionToolsLib.common.dicom_source import DicomSource

SYSTEMS = ("motion", "spine", "keypoints")


def find_images(system: str, source: Path, options: Mapping[str, Any]) -> DicomSource:
    """The DICOM images that a case was read from; raises InputError for a case that is not DICOM."""
    if system == "motion":
        from SpineMotionToolsLib.motion.dicom import find_source

        return find_source(source)
    if system == "spine":
        from SpineMotionToolsLib.spinenet.dicom import find_source

        return find_source(source, options.get("series", ""))
    from SpineMotionToolsLib.keypoints.dicom import find_source

    return find_source(source)


def write_results(system: str, name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> list[Path]:
    """Write a report, for spines a segmentation too, into the case's folder; returns their paths.

    Raises InputError for a case that is not DICOM, DependencyError without highdicom, OutputError.
    """
    images = find_images(system, source, options)
    if system == "motion":
        from SpineMotionToolsLib.motion.dicom import write_dicom

        return [write_dicom(saved.motion_result(name, folder), images, folder / f"{name}_report.dcm")]
    if system == "spine":
        from SpineMotionToolsLib.spinenet.dicom import write_dicom

        return write_dicom(saved.spine(folder), images, folder)
    from SpineMotionToolsLib.keypoints.dicom import write_dicom

    reading = saved.keypoint_session(name, source, folder, options).reading
    return [write_dicom(reading, images, folder / f"{safe_name(name)}-report.dcm")]

"""A finished case's result read back from its folder: for its scene and its DICOM files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import safe_name

if TYPE_CHECKING:
    from SpineMotionToolsLib.gait.results import GaitResult
    from SpineMotionToolsLib.keypoints.session import Session
    from SpineMotionToolsLib.motion.results import MotionResult
    from SpineMotionToolsLib.movements.results import MovementResult
    from SpineMotionToolsLib.spinenet.results import Spine


def motion_result(name: str, folder: Path) -> MotionResult:
    """Raises InputError when the file is gone or damaged, as the others do."""
    from SpineMotionToolsLib.motion.derivatives import result_name
    from SpineMotionToolsLib.motion.results import MotionResult

    return MotionResult.from_json(read_json(folder / result_name(name)))


def spine(folder: Path) -> Spine:
    from SpineMotionToolsLib.spinenet.batch import RESULT_NAME
    from SpineMotionToolsLib.spinenet.results import Spine

    return Spine.from_json(read_json(folder / RESULT_NAME))


def keypoint_session(name: str, source: Path, folder: Path, options: Mapping[str, Any]) -> Session:
    """The session with its radiograph, read again from `source` with the batch's options."""
    from SpineMotionToolsLib.keypoints.inputs import read_radiograph
    from SpineMotionToolsLib.keypoints.pipeline import REGION_FOUND
    from SpineMotionToolsLib.keypoints.session import Session

    turns = {turn: bool(options.get(turn)) for turn in ("mirrored", "upside_down", "inverted")}
    radiograph = read_radiograph(source, **turns)
    session = Session.from_json(read_json(folder / f"{safe_name(name)}-session.json"), radiograph)
    if session.radiograph.region != radiograph.region:
        session.radiograph = replace(session.radiograph, notes=(*radiograph.notes, REGION_FOUND))
    return session


def gait_result(source: Path, folder: Path) -> GaitResult:
    from SpineMotionToolsLib.gait.results import GaitResult

    return GaitResult.from_json(read_json(folder / f"{safe_name(source.stem)}.json"))


def movement_result(name: str, folder: Path) -> MovementResult:
    from SpineMotionToolsLib.movements.results import MovementResult

    return MovementResult.from_json(read_json(folder / f"{safe_name(name)}.json"))


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} is missing or damaged. Run the batch again for this case.") from error

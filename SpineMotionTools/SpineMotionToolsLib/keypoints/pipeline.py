"""The public face: radiograph in, keypoints and angles out, and a session to correct them.

session = start_session("radiograph.dcm")
reading = session.detect()
reading = session.correct(21, (810.0, 402.5))   # T6 upper right to row 810, column 402.5; the others follow
for curve in reading.curves:
    print(curve.cobb_deg, curve.upper_name, curve.lower_name)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.provenance import Provenance, current
from SpineMotionToolsLib.keypoints.radiograph import SMALLEST_SIDE_PX, TYPICAL_ASPECT, Radiograph
from SpineMotionToolsLib.keypoints.session import Session

if TYPE_CHECKING:
    from SpineMotionToolsLib.keypoints.prediction import Predictor
    from SpineMotionToolsLib.keypoints.results import Reading

REGION_FOUND = (
    "The network looked at a part of the picture that was chosen automatically. Check that it holds T1 to L5."
)
REGION_HEIGHTS = (1.0, 0.8, 0.6, 0.45)
REGION_STEP = 0.16  # of the picture's height, between candidates
REGION_STEP_ACROSS = 0.4  # of the candidate's width
SURE_ENOUGH = 0.5  # mean confidence at which a picture of usual aspect is taken whole


def load_predictor(
    weights: Path | str | None = None, engine: Engine | None = None, decoding: str | None = None
) -> Predictor:
    """A network ready to predict: the starter (None) or a published weight file; raises WeightsError."""
    from SpineMotionToolsLib.keypoints.prediction import make_predictor
    from SpineMotionToolsLib.keypoints.weights import load_network

    return make_predictor(load_network(weights), engine, decoding)


def provenance_of(predictor: Predictor) -> Provenance:
    """What a session made with this predictor says about its origin."""
    loaded, engine = predictor.loaded, predictor.engine
    return current(
        "keypoints", loaded.name, loaded.sha256, device=engine.device_name, precision=engine.precision,
        parameters={"decoding": predictor.decoding, "file": loaded.file_name}, starter=loaded.starter,
        notes=engine.notes,
    )  # fmt: skip


def start_session(
    picture: Radiograph | np.ndarray | Path | str,
    weights: Path | str | None = None,
    engine: Engine | None = None,
    region: str = "given",
    predictor: Predictor | None = None,
) -> Session:
    """A session on a radiograph, an array (rows, columns) or a file, with the network in this process.

    `weights`: a file, a catalogue id or None for the starter. `region` "auto": look for the spine first where the
    whole picture is wide, long or doubtful. Raises InputError, WeightsError.
    """
    from SpineMotionToolsLib.keypoints.inputs import from_array, read_radiograph
    from SpineMotionToolsLib.keypoints.replay import Replay

    if isinstance(picture, np.ndarray):
        picture = from_array(picture)
    elif not isinstance(picture, Radiograph):
        picture = read_radiograph(picture)
    predictor = predictor or load_predictor(weights, engine)
    if region == "auto":
        picture = find_region(picture, engine)
    replay = Replay(predictor)
    replay.set_image(picture.grid_image, picture.digest)
    return Session(picture, replay, provenance_of(predictor))


def detect(picture: Radiograph | np.ndarray | Path | str, **options) -> Reading:
    """The keypoints of one radiograph, uncorrected; options as for `start_session`."""
    return start_session(picture, **options).detect()


def find_region(radiograph: Radiograph, engine: Engine | None = None, progress: Progress = no_progress) -> Radiograph:
    """The radiograph with the region in which the network is surest, and a note that says so when it is not all of it.

    Wide, long-cassette and full-body (EOS) pictures, squeezed into 512 x 256 as they are, are far from what networks
    know. The starter's first stage is fast enough for this search; its choice serves every network.
    """
    predictor = load_predictor(engine=engine, decoding="windowed")
    whole = _sureness(radiograph, predictor)
    if radiograph.is_typical and whole >= SURE_ENOUGH:
        return radiograph
    candidates = [(whole if radiograph.is_typical else 0.0, radiograph)]
    parts = list(_regions(radiograph))
    for number, part in enumerate(parts):
        progress(number, len(parts), "Looking for the spine")
        candidates.append((_sureness(part, predictor), part))
    best = max(candidates, key=lambda candidate: candidate[0])[1]
    if best is radiograph:
        return radiograph
    return replace(best, notes=(*best.notes, REGION_FOUND))


def _sureness(radiograph: Radiograph, predictor: Predictor) -> float:
    from SpineMotionToolsLib.keypoints.preprocessing import network_image

    predictor.set_image(network_image(radiograph.grid_image))
    return float(np.mean(predictor.predict().confidence))


def _regions(radiograph: Radiograph) -> Iterator[Radiograph]:
    """Overlapping parts of usual aspect and several sizes."""
    (rows, columns), scale = radiograph.size, radiograph.scale
    for share in REGION_HEIGHTS:
        height = int(rows * share)
        width = min(columns, int(TYPICAL_ASPECT * height * scale.row / scale.column))
        if min(height, width) < SMALLEST_SIDE_PX:
            continue
        for top in _places(rows - height, REGION_STEP * rows):
            for left in _places(columns - width, REGION_STEP_ACROSS * width):
                yield radiograph.with_region(top, left, height, width)


def _places(room: int, step: float) -> list[int]:
    """Evenly spaced starts from 0 to `room`, at most `step` apart."""
    return np.unique(np.linspace(0, room, 1 + int(np.ceil(room / step))).astype(int)).tolist()

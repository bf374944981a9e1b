"""The public face: radiograph in, keypoints and angles out, and a session to correct them.

session = start_session("radiograph.dcm")
reading = session.detect()
reading = session.correct(21, (810.0, 402.5))   # T6 upper right to row 810, column 402.5; the others follow
for curve in reading.curves:
    print(curve.cobb_deg, curve.upper_name, curve.lower_name)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.provenance import Provenance, current
from SpineMotionToolsLib.keypoints.radiograph import TYPICAL_ASPECT, Radiograph
from SpineMotionToolsLib.keypoints.session import Session

if TYPE_CHECKING:
    from SpineMotionToolsLib.keypoints.prediction import Predictor
    from SpineMotionToolsLib.keypoints.results import Reading

REGION_HEIGHTS = (1.0, 0.85, 0.7, 0.55, 0.42)
REGION_STEP = 0.12  # of the picture's height, between candidates


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

    `region` "auto": look for the spine in wide, long or full-body pictures first. Raises InputError, WeightsError.
    """
    from SpineMotionToolsLib.keypoints.inputs import from_array, read_radiograph
    from SpineMotionToolsLib.keypoints.replay import Replay

    if isinstance(picture, np.ndarray):
        picture = from_array(picture)
    elif not isinstance(picture, Radiograph):
        picture = read_radiograph(picture)
    predictor = predictor or load_predictor(weights, engine)
    if region == "auto" and not picture.is_typical:
        picture = find_region(picture, predictor)
    replay = Replay(predictor)
    replay.set_image(picture.grid_image, picture.digest)
    return Session(picture, replay, provenance_of(predictor))


def detect(picture: Radiograph | np.ndarray | Path | str, **options) -> Reading:
    """The keypoints of one radiograph, uncorrected; options as for `start_session`."""
    return start_session(picture, **options).detect()


def find_region(radiograph: Radiograph, predictor: Predictor) -> Radiograph:
    """The radiograph with the region of usual aspect in which the network is surest, and a note that says so.

    For wide, long-cassette and full-body (EOS) pictures, which squeezed into 512 x 256 are far from what networks
    know.
    """
    from SpineMotionToolsLib.keypoints.preprocessing import network_image

    rows, columns = radiograph.size
    scale = radiograph.scale
    best: tuple[float, tuple[int, int, int, int]] | None = None
    for share in REGION_HEIGHTS:
        height = int(rows * share)
        width = min(columns, int(TYPICAL_ASPECT * height * scale.row / scale.column))
        if min(height, width) < 64:
            continue
        tops = np.unique(np.linspace(0, rows - height, 1 + int(np.ceil((1 - share) / REGION_STEP))).astype(int))
        lefts = np.unique(
            np.linspace(0, columns - width, 1 + int(np.ceil((columns - width) / (0.3 * width)))).astype(int)
        )
        for top in tops:
            for left in lefts:
                candidate = radiograph.with_region(top, left, height, width)
                predictor.set_image(network_image(candidate.grid_image))
                prediction = predictor.predict()
                sureness = float(np.mean(prediction.confidence))
                if best is None or sureness > best[0]:
                    best = (sureness, candidate.region)
    if best is None:
        raise InputError("The picture is too small to look for a spine in it. Use one with at least 64 x 160 pixels.")
    note = "The network looked at a part of the picture that was chosen automatically. Check that it holds T1 to L5."
    return replace(radiograph, region=best[1], notes=(*radiograph.notes, note))

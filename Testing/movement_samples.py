"""Made results of the sample videos, for tests of what is shown: no network runs."""

from __future__ import annotations

import numpy as np
from SpineMotionToolsLib.common import provenance
from SpineMotionToolsLib.common.video_quality import Check
from SpineMotionToolsLib.gait.measures import GaitMeasures
from SpineMotionToolsLib.gait.results import ClipScore, GaitResult
from SpineMotionToolsLib.movements.measures import PARTS
from SpineMotionToolsLib.movements.results import ChunkScore, MovementResult

P_ASD = (0.70, 0.80, 0.78)  # mean 0.76


def gait_result(scored: bool = True) -> GaitResult:
    """Three clips of one second; the patient is found up to frame 120, moving two pixels a frame after frame 20."""
    clips = tuple(
        ClipScore(float(k), k + 1.0, float(np.log((1 - p) / p)), 1.0, tuple(range(30 * k, 30 * k + 30, 4)))
        for k, p in enumerate(P_ASD)
    )
    rate = Check("Frame rate", "3 frames/s", "at least 12", scored, advice="Film with 25 to 60 frames a second.")
    left = [30 + max(0, frame - 20) for frame in range(121)]
    return GaitResult(
        video="WalkPhantom.mp4",
        patient="WalkPhantom",
        clips=clips if scored else (),
        checks=(rate,),
        provenance=provenance.current("gait", "gait-starter", starter=True),
        measures=GaitMeasures(104.0, "width of the box"),
        boxes=np.array([[frame, x, 40, x + 60, 220] for frame, x in enumerate(left)], float),
    )


def movement_result() -> MovementResult:
    """Three scored seconds, fidgety movements."""
    chunks = tuple(
        ChunkScore(5.0 * k + 1 / 30, 5.0 * k + 31 / 30, (0.1, 2.0 + 0.2 * k, -0.5), {part: 0.1 for part in PARTS})
        for k in range(3)
    )
    torso = np.array([[140, 90], [180, 90], [145, 150], [175, 150]], float)
    return MovementResult(
        video="InfantPhantom.mp4",
        infant="InfantPhantom",
        chunks=chunks,
        checks=(),
        provenance=provenance.current("movements", "movements-starter", starter=True),
        age_weeks=12.0,
        torso={30 * k: torso + k for k in range(16)},
        adjustment={"rough_degree": 0.0, "center_x_px": 160.0, "center_y_px": 120.0, "length_px": 60.0, "degree": 0.0},
    )

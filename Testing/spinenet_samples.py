"""Made spines with known places, for tests of scene and panel: boxes as vertebrae T12 to S1, in any geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from SpineMotionToolsLib.common.provenance import current
from SpineMotionToolsLib.common.volumes import Volume
from SpineMotionToolsLib.spinenet.grades import HEADS
from SpineMotionToolsLib.spinenet.models import DEMONSTRATION_NOTICE, STARTER_NOTICE
from SpineMotionToolsLib.spinenet.numbering import Numbering
from SpineMotionToolsLib.spinenet.pipeline import measure
from SpineMotionToolsLib.spinenet.results import Grade, Spine, Vertebra, discs_between
from SpineMotionToolsLib.spinenet.scans import from_volume

LEVELS = ("T12", "L1", "L2", "L3", "L4", "L5", "S1")
PITCH_MM, HEIGHT_MM, DEPTH_MM, WIDTH_MM = 36.0, 27.0, 34.0, 30.0
SIZE_MM = (68.0, 150.0, 300.0)  # right, anterior, superior; 17 slices of 4 mm, so that bodies have one middle slice
TILT_DEG = 30.0  # of S1


def made_volume(spacing_mm=(4.0, 1.0, 1.0), order=(1, 2, 0), signs=(1, 1, 1), rotation=None, seed=0) -> Volume:
    """A volume of noise around RAS 0. `spacing_mm`: along R, A, S; `order`: which of these are the axes i, j, k."""
    step = np.eye(3) * spacing_mm
    axes = np.stack([step[:, axis] * sign for axis, sign in zip(order, signs)], axis=1)
    axes = axes if rotation is None else rotation @ axes
    count = [round(SIZE_MM[axis] / spacing_mm[axis]) for axis in order]
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = -axes @ ((np.array(count) - 1) / 2)
    array = np.random.default_rng(seed).integers(0, 255, count[::-1]).astype(np.uint8)
    return Volume(array, matrix, "Scan")


def body_ras(index: int, r_mm: float) -> np.ndarray:
    """Corners (4, 3) of vertebra `index` in a plane at right angles to R, as rt, rb, lb, lt; RAS mm."""
    angle = np.radians(TILT_DEG if index == len(LEVELS) - 1 else 0)
    across, down = DEPTH_MM / 2, HEIGHT_MM / 2
    corners = np.array([[-across, down], [-across, -down], [across, -down], [across, down]])  # (anterior, superior)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    center = np.array([0.0, 0.5 * PITCH_MM * (len(LEVELS) - 1) - PITCH_MM * index])
    corners = corners @ turn.T + center
    return np.column_stack([np.full(4, r_mm), corners])


def made_spine(volume: Volume, rotation=None, graded: bool = True, seed: int = 1) -> Spine:
    """The spine of `made_volume`, as read by starter models."""
    rng = np.random.default_rng(seed)
    geometry = from_volume(volume).geometry
    rotation = np.eye(3) if rotation is None else rotation
    vertebrae = []
    for index, label in enumerate(LEVELS):
        slices, outlines = [], []
        for number in range(geometry.shape[2]):
            middle = np.array([(geometry.shape[1] - 1) / 2, (geometry.shape[0] - 1) / 2, number, 1.0])
            r_mm = float((rotation.T @ (geometry.index_to_ras @ middle)[:3])[0])
            if abs(r_mm) <= WIDTH_MM / 2:
                slices.append(number)
                outlines.append(geometry.to_pixels(body_ras(index, r_mm) @ rotation.T)[:, :2])
        vertebrae.append(Vertebra(label, tuple(slices), np.array(outlines), geometry, 0.95))
    discs = discs_between(tuple(vertebrae), Numbering())
    if graded:
        discs = tuple(
            replace(d, grades=tuple(Grade(h, tuple(map(float, rng.dirichlet(np.ones(h.classes))))) for h in HEADS))
            for d in discs
        )
    spine = Spine(
        tuple(vertebrae),
        discs,
        geometry,
        current("spinenet", "spinenet-starter", starter=True),
        notices=(STARTER_NOTICE, DEMONSTRATION_NOTICE),
        grades_are_demonstration=True,
    )
    return measure(spine)

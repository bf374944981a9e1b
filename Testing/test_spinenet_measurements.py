"""Measurements: known values on made spines, and nothing changes when patient or scanner is turned or moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from SpineMotionToolsLib.common.provenance import current
from SpineMotionToolsLib.spinenet.checks import warnings_of
from SpineMotionToolsLib.spinenet.measurements import (
    Body,
    body_measurement,
    csf_signal,
    disc_measurement,
    measure_spine,
    slip,
)
from SpineMotionToolsLib.spinenet.numbering import Numbering
from SpineMotionToolsLib.spinenet.results import Spine, Vertebra, discs_between
from SpineMotionToolsLib.spinenet.scans import CANONICAL, Scan, ScanGeometry

LABELS = ("L1", "L2", "L3", "L4", "L5", "S1")


def body(centre=(0.0, 0.0), depth=34.0, front=28.0, back=28.0, turn_deg=0.0) -> Body:
    """A body in plane millimetres; positive turn lets its front sink (lordosis below)."""
    corners = np.array([[depth, -back], [depth, back], [-depth, front], [-depth, -front]]) / 2
    a = np.radians(-turn_deg)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return Body(*(corners @ turn.T + centre))


def spine_of(geometry: ScanGeometry, turns=(0, 2, 5, 9, 15, 35), scale=1.0) -> Spine:
    """Six bodies 36 mm apart, each turned a little more, in slices 1 to 3; `scale` times as large."""
    vertebrae = []
    for i, (label, turn) in enumerate(zip(LABELS, turns)):
        made = body((100.0, 40 + 36.0 * i), turn_deg=turn)
        corners = np.array([made.upper_back, made.lower_back, made.lower_front, made.upper_front])
        corners = scale * corners / np.linalg.norm(geometry.index_to_ras[:3, :2], axis=0)
        vertebrae.append(Vertebra(label, (1, 2, 3), np.repeat(corners[None], 3, axis=0), geometry))
    row = tuple(vertebrae)
    return Spine(row, discs_between(row, Numbering()), geometry, current("spinenet"))


def geometry_of(matrix: np.ndarray) -> ScanGeometry:
    return ScanGeometry((1000, 1000, 5), matrix)


def upright(spacing=(1.0, 1.0, 4.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = CANONICAL.T * spacing
    return matrix


def numbers_of(spine: Spine) -> np.ndarray:
    measured = measure_spine(spine).to_json()
    rows = [row for group in measured.values() for row in group]
    return np.array([v for row in rows for v in row.values() if isinstance(v, float)])


def test_heights_depths_and_ratios_of_a_known_body():
    got = body_measurement("L3", body(front=20.0, back=25.0, depth=34.0))
    assert (got.anterior_height_mm, got.posterior_height_mm, got.middle_height_mm) == pytest.approx((20, 25, 22.5))
    assert got.upper_depth_mm == pytest.approx(np.hypot(34, 2.5))
    assert got.wedge_ratio == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("front", "grade"), [(28.0, 0), (22.5, 0), (22.0, 1), (20.9, 2), (16.9, 2), (16.7, 3), (5.0, 3)]
)
def test_genant_limits_of_a_wedge(front, grade):
    got = body_measurement("L1", body(front=front))
    assert got.genant_grade == grade
    assert got.genant_type == ("wedge" if grade else "")


def test_crush_needs_neighbours_and_the_sacrum_is_not_graded():
    flat, high = body(front=18.0, back=18.0), body()
    got = body_measurement("L2", flat, high, high)
    assert (got.genant_grade, got.genant_type) == (2, "crush")
    assert got.height_loss_percent == pytest.approx(100 * (1 - 18 / 28))
    assert body_measurement("L2", flat).genant_grade == 0
    sacrum = body_measurement("S1", flat, high)
    assert (sacrum.genant_grade, sacrum.genant_type, sacrum.height_loss_percent) == (None, "", None)


def test_posterior_wedging_of_l5_is_no_fracture():
    assert body_measurement("L5", body(front=29.0, back=24.0)).genant_grade == 0


def test_disc_heights_and_index():
    got = disc_measurement("L3-L4", body((0, 0)), body((0, 38.0)))
    assert (got.anterior_height_mm, got.middle_height_mm, got.posterior_height_mm) == pytest.approx((10, 10, 10))
    assert got.height_index == pytest.approx(10 / 28)
    assert disc_measurement("L5-S1", body(), body((0, 31.0), front=14, back=14), True).height_index == pytest.approx(
        10 / 28
    )


@pytest.mark.parametrize(
    ("forward", "grade", "direction"),
    [
        (2.9, 0, ""),
        (3.1, 1, "anterolisthesis"),
        (8.4, 1, "anterolisthesis"),
        (9.0, 2, "anterolisthesis"),
        (20.0, 3, "anterolisthesis"),
        (30.0, 4, "anterolisthesis"),
        (36.0, 5, "anterolisthesis"),
        (-4.0, 1, "retrolisthesis"),
    ],
)
def test_slip_and_meyerding(forward, grade, direction):
    mm, percent, got, way = slip(body((-forward, 0)), body((0, 38.0)))  # the front is at smaller x
    assert (mm, percent) == pytest.approx((forward, 100 * forward / 34))
    assert (got, way) == (grade, direction)


def test_lordosis_is_positive_and_segments_add_up():
    measured = measure_spine(spine_of(geometry_of(upright())))
    angles = {a.name: a.angle_deg for a in measured.angles}
    assert angles["Lumbar lordosis L1-S1"] == pytest.approx(35)
    assert angles["Lumbar lordosis L1-L5"] == pytest.approx(15)
    assert sum(d.segmental_angle_deg for d in measured.discs) == pytest.approx(35)
    assert measured.discs[-1].disc_angle_deg == pytest.approx(20)


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_measurements_do_not_depend_on_the_patients_place(angles, shift):
    placed = np.eye(4)
    placed[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    placed[:3, 3] = shift
    want = numbers_of(spine_of(geometry_of(upright())))
    assert numbers_of(spine_of(geometry_of(placed @ upright()))) == pytest.approx(want, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.3, 2.0), st.floats(0.3, 2.0), st.floats(-3, 3), st.floats(-3, 3))
def test_measurements_do_not_depend_on_pixels_or_shifted_slices(column_mm, row_mm, shift_x, shift_y):
    matrix = upright((column_mm, row_mm, 4.0))
    matrix[:3, 2] += matrix[:3, 0] / column_mm * shift_x + matrix[:3, 1] / row_mm * shift_y
    spine = spine_of(geometry_of(matrix))
    want = numbers_of(spine_of(geometry_of(upright())))
    assert numbers_of(spine) == pytest.approx(want, abs=1e-6)


def test_discs_that_are_no_neighbours_are_not_measured():
    spine = spine_of(geometry_of(upright()))
    row = (*spine.vertebrae[:2], *spine.vertebrae[3:])
    gap = Spine(row, discs_between(row, Numbering()), spine.geometry, spine.provenance)
    assert [d.level for d in measure_spine(gap).discs] == ["L1-L2", "L4-L5", "L5-S1"]


def test_disc_signal_is_relative_to_fluid_and_absent_without_it():
    spine = spine_of(geometry_of(upright()), turns=(0,) * 6)
    image = np.full((300, 300, 5), 200.0)
    image[:, 120:134] = 1000.0  # fluid behind the bodies
    for i in range(5):
        image[55 + 36 * i : 62 + 36 * i, 83:117] = 500.0
    scan = Scan(image, spine.geometry)
    assert csf_signal(scan, spine.vertebrae) == pytest.approx(1000)
    assert [d.signal_ratio_csf for d in measure_spine(spine, scan).discs] == pytest.approx([0.5] * 5)
    dark = Scan(np.where(image == 1000, 50.0, image), spine.geometry)
    assert csf_signal(dark, spine.vertebrae) is None
    assert all(d.signal_ratio_csf is None for d in measure_spine(spine, dark).discs)


def test_a_body_that_the_picture_cuts_has_no_fracture_grade_and_is_no_measure_for_others():
    spine = spine_of(geometry_of(upright()))
    corners = spine.vertebrae[0].corners_px.copy()
    corners[:, [0, 3], 1] += 14  # half of L1 lies above the picture
    up = np.array([0.0, -corners[0, 3, 1] + 1])
    moved = tuple(
        replace(v, corners_px=(corners if i == 0 else v.corners_px) + up) for i, v in enumerate(spine.vertebrae)
    )
    assert [v.is_cut for v in moved] == [True] + 5 * [False]
    measured = measure_spine(replace(spine, vertebrae=moved)).vertebrae
    assert measured[0].genant_grade is None
    assert measured[0].height_loss_percent is None
    assert measured[1].crush_ratio == pytest.approx(1)
    assert measured[1].genant_grade == 0


def warned(spine: Spine) -> str:
    return " ".join(warnings_of(spine))


def test_what_no_spine_looks_like_is_told():
    usual = spine_of(geometry_of(upright()))
    usual = replace(usual, vertebrae=tuple(replace(v, slices=(1, 2, 3)) for v in usual.vertebrae))
    assert not any(word in warned(usual) for word in ("beside", "from front to back", "end within", "bends forward"))
    assert "68 mm from front to back" in warned(spine_of(geometry_of(2 * upright() - np.diag([0, 0, 0, 1.0])), scale=2))
    at_side = replace(usual, vertebrae=tuple(replace(v, slices=(0, 1, 2)) for v in usual.vertebrae))
    assert "end within these bodies, perhaps before their middle: L1, L2, L3, L4, L5, S1" in warned(at_side)
    assert "bends forward (-35° L1-S1)" in warned(spine_of(geometry_of(upright()), turns=(0, -2, -5, -9, -15, -35)))
    bowel = replace(usual.vertebrae[4], corners_px=usual.vertebrae[4].corners_px - (70, 20))
    beside = replace(usual, vertebrae=(*usual.vertebrae[:4], bowel, usual.vertebrae[5]))
    assert "L5 lies beside L4" in warned(beside)
    steep = replace(usual.vertebrae[5], corners_px=usual.vertebrae[5].corners_px + (30, -11))
    assert "beside" not in warned(replace(usual, vertebrae=(*usual.vertebrae[:5], steep)))

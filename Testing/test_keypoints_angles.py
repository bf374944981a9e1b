"""Cobb angles and vertebral measurements: known curves, invariance, regions, refusal of nonsense."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints import cobb, curves
from SpineMotionToolsLib.keypoints.anatomy import LEVELS, MIRRORED, names_from


def from_tilts(tilts_deg, width: float = 40.0, height: float = 25.0, gap: float = 6.0) -> np.ndarray:
    """(68, 2) rectangular vertebrae with the given tilts, stacked along their own axes."""
    points, at = [], np.array([50.0, 300.0])
    for tilt in np.radians(tilts_deg):
        right, down = np.array([np.sin(tilt), np.cos(tilt)]), np.array([np.cos(tilt), -np.sin(tilt)])
        center = at + down * height / 2
        points += [center + a * right * width / 2 + b * down * height / 2 for b in (-1, 1) for a in (-1, 1)]
        at = at + down * (height + gap)
    return np.array(points)


def one_curve(degrees: float) -> np.ndarray:
    """Tilts that fall from + degrees/2 at T5 to - degrees/2 at T12 and return to zero at both ends."""
    half = degrees / 2
    return np.interp(np.arange(17), [0, 4, 11, 16], [0, half, -half, 0])


@pytest.mark.parametrize("degrees", [12, 30, 55, 80])
def test_a_known_curve_is_measured(degrees):
    points = from_tilts(one_curve(degrees))
    main = curves.main_curve(points)
    assert np.isclose(main.cobb_deg, degrees)
    assert (main.upper_name, main.lower_name) == ("T5", "T12")
    assert main.region == "main thoracic"
    assert main.apex in ("T8", "T9", "T8-T9")
    assert np.isclose(cobb.aasce_angles(points, 1000).main, degrees, atol=1e-6)


def test_the_convex_side_is_where_the_spine_bulges():
    points = from_tilts(one_curve(40))
    centers = points.reshape(17, 4, 2).mean(1)
    line = np.interp(centers[8, 0], centers[[4, 11], 0], centers[[4, 11], 1])
    side = "right" if centers[8, 1] > line else "left"
    assert curves.main_curve(points).convex_to == side
    mirrored = points[MIRRORED] * (1, -1) + (0, 600)
    assert curves.main_curve(mirrored).convex_to != side


@pytest.mark.parametrize("seed", [0, 9, 287])
def test_a_small_curve_on_the_flank_of_a_large_one_bends_the_other_way(seed):
    """Its vertebrae hardly leave the line between its ends; the side is where the endplates' lines do not meet."""
    from SpineMotionToolsLib.phantoms.spine_shape import load_model

    found = curves.find_curves(1000 * load_model().sample(np.random.default_rng(seed)).corners)
    assert len(found) > 1
    assert all(above.convex_to != below.convex_to for above, below in zip(found, found[1:]))


def test_every_curve_of_an_s_shaped_spine_is_found():
    tilts = np.interp(np.arange(17), [0, 4, 9, 14, 16], [-8, 22, -25, 15, 5])
    found = curves.find_curves(from_tilts(tilts))
    assert [round(c.cobb_deg) for c in found] == [30, 47, 40]
    assert [c.region for c in found] == ["proximal thoracic", "main thoracic", "thoracolumbar"]
    assert curves.find_curves(from_tilts(np.zeros(17))) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(-20, 20), st.floats(0.2, 5))
def test_angles_do_not_depend_on_scale_place_or_turning_of_the_picture(seed, turn, scale):
    rng = np.random.default_rng(seed)
    points = from_tilts(20 * np.sin(np.arange(17) / 3 + rng.uniform(0, 6))) + rng.normal(0, 0.7, (68, 2))
    angle = np.radians(turn)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = points @ matrix * scale + (100, -50)
    first, second = curves.main_curve(points), curves.main_curve(moved)
    assert np.isclose(first.cobb_deg, second.cobb_deg, atol=1e-6)
    assert (first.upper, first.lower, first.apex) == (second.upper, second.lower, second.apex)
    assert np.isclose(cobb.aasce_angles(points, 1).main, cobb.aasce_angles(moved, 1).main, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_mirroring_keeps_angles_and_exchanges_sides(seed):
    rng = np.random.default_rng(seed)
    points = from_tilts(25 * np.sin(np.arange(17) / 3 + rng.uniform(0, 6))) + rng.normal(0, 0.5, (68, 2))
    mirrored = points[MIRRORED] * (1, -1)
    first, second = curves.main_curve(points), curves.main_curve(mirrored)
    assert np.isclose(first.cobb_deg, second.cobb_deg)
    assert first.convex_to != second.convex_to
    for a, b in zip(curves.measure_vertebrae(points), curves.measure_vertebrae(mirrored)):
        assert np.isclose(a.tilt_deg, -b.tilt_deg)
        assert np.isclose(a.left_height, b.right_height)


def test_angles_on_the_squeezed_grid_would_be_wrong():
    points = from_tilts(one_curve(50))
    assert abs(curves.main_curve(points * (0.4, 1.0)).cobb_deg - 50) > 5


def test_absent_vertebrae_leave_the_measurement():
    tilts = np.zeros(17)
    tilts[0] = 40
    points = from_tilts(tilts)
    present = np.ones(17, bool)
    assert curves.main_curve(points).cobb_deg > 35
    present[0] = False
    assert curves.main_curve(points, present).cobb_deg < 1
    assert len(curves.measure_vertebrae(points, "mm", present)) == 16
    assert curves.main_curve(points, np.arange(17) < 2) is None
    with pytest.raises(InputError, match="two vertebrae"):
        cobb.endplate_cobb(points, np.arange(17) < 1)


def test_vertebra_sizes_and_wedging():
    points = from_tilts(np.zeros(17), width=42, height=26)
    points[4 * 8 + 3, 0] += 5  # T9: the right side 5 taller
    found = curves.measure_vertebrae(points, "mm")
    assert np.isclose(found[0].width, 42)
    assert np.isclose(found[0].left_height, 26)
    assert found[0].unit == "mm"
    assert np.isclose(found[8].right_height, 31)
    assert np.isclose(found[8].wedging_deg, np.degrees(np.arctan2(5, 42)))
    assert np.isclose(found[8].disc_below_deg, -found[8].wedging_deg)
    assert found[16].disc_below_deg is None


def test_uncertainty_grows_with_the_corners_and_agrees_with_simulation():
    points = from_tilts(one_curve(40))
    main = curves.main_curve(points, spread=np.full((68, 2), 1.0))
    rng = np.random.default_rng(0)
    upper, lower = main.upper, main.lower
    seen = []
    for _ in range(800):
        sup, inf = cobb.endplate_tilts(points + rng.normal(0, 1.0, (68, 2)))
        seen.append(abs(sup[upper] - inf[lower]))
    assert np.isclose(main.uncertainty_deg, np.std(seen), rtol=0.1)
    assert curves.main_curve(points, spread=np.full((68, 2), 1.5)).uncertainty_deg == pytest.approx(
        1.5 * main.uncertainty_deg
    )


def test_an_endplate_that_does_not_show_has_the_tilt_its_neighbors_allow():
    unknown = curves.main_curve(from_tilts(one_curve(40)), spread=np.full((68, 2), 100.0))
    assert unknown.uncertainty_deg == pytest.approx(np.sqrt(2) * curves.HIDDEN_TILT_DEG)


@pytest.mark.parametrize(
    ("apex", "region"),
    [
        ("T3", "proximal thoracic"),
        ("T5", "proximal thoracic"),
        ("T6", "main thoracic"),
        ("T11-T12", "main thoracic"),
        ("T12", "thoracolumbar"),
        ("T12-L1", "thoracolumbar"),
        ("L1", "thoracolumbar"),
        ("L1-L2", "lumbar"),
        ("L4", "lumbar"),
    ],
)
def test_regions_by_apex(apex, region):
    assert curves.region_of(apex) == region


def test_smape_and_large_angles():
    assert cobb.smape([[10, 20, 30]], [[10, 20, 30]]) == 0
    assert np.isclose(cobb.smape([[30, 0, 0]], [[10, 0, 0]]), 50)
    assert cobb.smape([[0, 0, 0]], [[0, 0, 0]]) == 0
    points = from_tilts(np.interp(np.arange(17), [0, 8, 16], [55, 0, -55]))
    assert np.isclose(cobb.aasce_angles(points, 100).main, 110)
    assert cobb.aasce_angles_port(points, 100)[0] < 90.1


def test_bad_points_are_refused():
    for bad in (np.zeros((17, 2)), np.full((68, 2), np.nan)):
        with pytest.raises(InputError, match="68 finite points"):
            cobb.aasce_angles(bad, 100)


def test_level_names():
    assert names_from("T1") == LEVELS
    assert names_from("T1", thoracic=13, lumbar=4)[12:] == ("T13", "L1", "L2", "L3", "L4")
    with pytest.raises(InputError):
        names_from("L3")
    with pytest.raises(InputError):
        names_from("T1", lumbar=9)

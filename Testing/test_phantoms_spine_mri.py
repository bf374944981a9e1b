"""Made MRI of a whole spine: its corners, names and gray values agree with each other and with anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from SpineMotionToolsLib.phantoms.spine_mri import LEVELS, draw_spine


@pytest.fixture(scope="module")
def spines():
    return [draw_spine(np.random.default_rng(seed), slices=5, slice_mm=5.0) for seed in range(3)]


def test_same_generator_same_spine(spines):
    again = draw_spine(np.random.default_rng(1), slices=5, slice_mm=5.0)
    np.testing.assert_array_equal(again.volume, spines[1].volume)
    np.testing.assert_array_equal(again.corners, spines[1].corners)
    assert np.abs(again.corners - spines[2].corners).max() > 2


def test_arrays_fit_together(spines):
    for spine in spines:
        assert spine.labels == LEVELS
        assert len(LEVELS) == 24
        assert spine.volume.dtype == np.float32
        assert spine.volume.shape[2] == 5
        assert 0 <= spine.volume.min()
        assert 100 < spine.volume.max() <= 255
        assert spine.corners.shape == (5, 24, 4, 2)
        assert spine.aside.shape == (5, 24)
        assert (spine.corners >= 0).all()
        assert (spine.corners < np.array(spine.volume.shape[1::-1])).all()


def test_bodies_are_in_order_and_of_usual_size(spines):
    for spine in spines:
        middle = spine.corners[2]
        assert (np.diff(middle.mean(axis=1)[:, 1]) > 8).all()  # head to foot
        rt, rb, lb, lt = np.moveaxis(middle, 1, 0)
        depth, height = np.linalg.norm(rt - lt, axis=1), np.linalg.norm(rt + lt - rb - lb, axis=1) / 2
        assert (rt[:, 0] > lt[:, 0]).all()
        assert (rb[:, 1] > rt[:, 1]).all()
        for level, sizes in {"C5": (13, 20, 10, 18), "T6": (17, 30, 14, 25), "L3": (26, 42, 20, 34)}.items():
            at, (d0, d1, h0, h1) = LEVELS.index(level), sizes
            assert d0 < depth[at] < d1
            assert h0 < height[at] < h1
        end = np.arctan2(*(lt - rt)[LEVELS.index("S1"), ::-1])  # the sacrum is tilted forward
        assert np.rad2deg(np.pi - end if end > 0 else end + np.pi) > 10


def test_corners_lie_on_bodies(spines):
    """Inside a body is marrow of one gray; below its lower end plate lies the dark rim of a disc."""
    for spine in spines:
        picture = spine.volume[:, :, 2]
        for body in np.flatnonzero(spine.aside[2] < 0.5):
            corners = spine.corners[2, body]
            inside = [corners.mean(axis=0) + 0.35 * (c - corners.mean(axis=0)) for c in corners]
            marrow = np.median([picture[round(y), round(x)] for x, y in inside])
            x, y = 0.85 * corners[1] + 0.15 * corners[2]
            rows = np.clip(np.arange(-4, 5) + round(y), 0, len(picture) - 1)
            assert marrow > 30
            assert picture[rows, round(x)].min() < 0.75 * marrow


def test_field_of_view_keeps_what_it_names(spines):
    whole = spines[0]
    part = whole.between("C3", "T2", margin_mm=10)
    assert part.labels == ("C3", "C4", "C5", "C6", "C7", "T1", "T2")
    assert part.corners.shape[1] == part.aside.shape[1] == 7
    rows = part.corners[..., 1]
    assert 9 <= rows.min() <= 11
    assert part.volume.shape[0] < 200
    x, y = np.rint(part.corners[2, 3].mean(axis=0)).astype(int)
    u, v = np.rint(whole.corners[2, LEVELS.index("C6")].mean(axis=0)).astype(int)
    assert part.volume[y, x, 2] == whole.volume[v, u, 2]

"""Phantom radiographs: corners where the bones are, real proportions, everything from the seed."""

from __future__ import annotations

import numpy as np
import pytest
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.phantoms import radiograph_hardships, spine_shape
from SpineMotionToolsLib.phantoms.radiograph import DEGREES, degree_of, radiograph_phantom
from SpineMotionToolsLib.phantoms.radiograph_anatomy import Canvas, Spine


def draw(seed: int, spread: float | None = None) -> spine_shape.SpineShape:
    return spine_shape.load_model().sample(np.random.default_rng(seed), spread)


def test_the_same_seed_gives_the_same_picture():
    first, second, other = (radiograph_phantom(draw(1), seed, (256, 128)) for seed in (3, 3, 4))
    assert np.array_equal(first.image, second.image)
    assert not np.array_equal(first.image, other.image)
    assert np.array_equal(first.corners_px, other.corners_px)


def test_vertebral_bodies_are_brighter_than_discs():
    brighter = 0
    for seed in range(6):
        shape = draw(seed, 0.3)
        phantom = radiograph_phantom(shape, seed, (768, round(768 * shape.aspect)), implants=False)
        quads = phantom.corners_px.reshape(17, 4, 2)
        value = lambda point, image=phantom.image: int(image[tuple(np.rint(point).astype(int))])
        edges = [np.mean([value(q[:2].mean(0) + (1.5, 0)), value(q[2:].mean(0) - (1.5, 0))]) for q in quads]
        discs = [value((a[2:].mean(0) + b[:2].mean(0)) / 2) for a, b in zip(quads, quads[1:])]
        brighter += np.mean(edges) > np.mean(discs)
    assert brighter == 6


def test_corners_scale_with_the_grid():
    shape = draw(2)
    small, large = (radiograph_phantom(shape, 5, size) for size in ((256, 128), (512, 256)))
    assert np.allclose(2 * small.corners_px, large.corners_px)
    assert np.isclose(small.pixel_spacing_mm[0], 2 * large.pixel_spacing_mm[0])


def test_implants_are_the_brightest_part():
    shape = draw(3, 0.5)
    plain, metal = (radiograph_phantom(shape, 9, (512, 200), implants=value) for value in (False, True))
    assert not np.array_equal(plain.image, metal.image)


def test_degrees_of_hardness_come_in_their_shares():
    drawn = [degree_of(seed) for seed in range(1000)]
    for degree, share in DEGREES.items():
        assert abs(drawn.count(degree) / 1000 - share) < 0.06


def test_harder_pictures_have_the_same_corners_and_less_contrast():
    contrast = {degree: [] for degree in DEGREES}
    for seed in range(6):
        shape = draw(seed, 0.5)
        phantoms = {degree: radiograph_phantom(shape, seed, implants=False, degree=degree) for degree in DEGREES}
        for degree, phantom in phantoms.items():
            assert np.array_equal(phantom.corners_px, phantoms["plain"].corners_px)
            assert phantom.image.dtype == np.uint8
            quads = phantom.corners_px.reshape(17, 4, 2)
            value = lambda point, image=phantom.image: float(image[tuple(np.rint(point).astype(int))])
            edges = [value(q[:2].mean(0) + (1.5, 0)) + value(q[2:].mean(0) - (1.5, 0)) for q in quads]
            discs = [2 * value((a[2:].mean(0) + b[:2].mean(0)) / 2) for a, b in zip(quads, quads[1:])]
            contrast[degree].append((np.mean(edges) - np.mean(discs)) / phantom.image.std())
    assert np.mean(contrast["plain"]) > 1.3 * np.mean(contrast["faint"])
    assert np.mean(contrast["plain"]) > 1.2 * np.mean(contrast["hidden"])


def test_a_veil_hides_its_levels_and_what_lies_beyond_a_hidden_end():
    shape = draw(5, 0.3)
    canvas = Canvas.empty((512, 256), (1.0, 2.0 * shape.aspect))
    spine = Spine(shape.corners.reshape(17, 4, 2) * 512, np.zeros(17))
    rng = np.random.default_rng(0)
    lost = lambda hidden: radiograph_hardships.veil(canvas, spine, hidden, rng)
    at = lambda veil, level: veil[round(spine.centers[level, 0]), round(spine.centers[level, 1] / canvas.spacing_mm[1])]
    stretch = lost(radiograph_hardships.Hidden(6, 9, 60.0, 0.9, 0.0))
    assert [at(stretch, level) > 0.85 for level in (4, 6, 9, 11)] == [False, True, True, False]
    end = lost(radiograph_hardships.Hidden(15, 16, 300.0, 1.0, 0.0, below=True))
    assert at(end, 12) < 0.1
    assert at(end, 16) > 0.9
    assert end[-1].min() > 0.9
    parts = [part for seed in range(60) for part in radiograph_hardships.draw_hidden(np.random.default_rng(seed))]
    assert all(0 <= part.first <= part.last <= 16 and part.lost >= 0.75 for part in parts)
    assert any(part.above for part in parts)
    assert any(part.below for part in parts)


def test_drawn_spines_have_the_proportions_of_patients():
    angles, heights = [], []
    for seed in range(80):
        shape = draw(seed)
        assert spine_shape.is_plausible(shape)
        assert np.all((shape.corners > 0) & (shape.corners < (1, shape.aspect)))
        quads = shape.corners.reshape(17, 4, 2)
        midline = quads[:, 1] + quads[:, 3] - quads[:, 0] - quads[:, 2]
        tilts = np.degrees(np.arctan2(midline[:, 0], midline[:, 1]))
        angles.append(np.ptp(tilts))
        heights.append(quads[:, 2, 0] - quads[:, 0, 0])
    assert np.min(angles) < 20
    assert 55 < np.max(angles) < 140
    assert np.mean(heights, 0)[15] > 1.4 * np.mean(heights, 0)[1]  # L4 is taller than T2


def test_a_mirrored_spine_keeps_its_labels_in_order():
    shape = draw(4)
    mirrored = shape.mirrored()
    quads = mirrored.corners.reshape(17, 4, 2)
    assert (quads[:, 0, 1] < quads[:, 1, 1]).all()
    assert np.allclose(mirrored.mirrored().corners, shape.corners)


def test_another_frame_keeps_the_spine_inside():
    moved = 0
    for seed in range(30):
        shape = draw(seed)
        view = spine_shape.random_view(shape, np.random.default_rng(seed))
        assert np.all((view.corners > 0) & (view.corners < (1, view.aspect)))
        moved += view is not shape
    assert 5 < moved < 25


def test_a_model_is_rebuilt_from_a_table(tmp_path):
    model = spine_shape.load_model()
    rng = np.random.default_rng(0)
    shapes = [model.sample(rng, 1.0) for _ in range(120)]
    header = ["height_px", "width_px", *(f"{axis}{k}" for k in range(68) for axis in "yx")]
    lines = [",".join(header)]
    for shape in shapes:
        corners = shape.corners / (1, shape.aspect)
        lines.append(",".join(["1000", f"{1000 * shape.aspect:.6f}", *(f"{v:.8f}" for v in corners.ravel())]))
    (tmp_path / "sets.csv").write_text("\n".join(lines), encoding="utf-8")
    read = spine_shape.read_landmarks(tmp_path / "sets.csv")
    assert np.allclose(read[5].corners, shapes[5].corners, atol=1e-6)
    for_model, held_out = spine_shape.split(read)
    assert len(for_model) + len(held_out) == 120
    assert not set(map(id, for_model)) & set(map(id, held_out))
    again = spine_shape.fit(for_model, 20)
    assert np.allclose(again.mean, model.mean, atol=0.03)
    assert spine_shape.main([str(tmp_path / "sets.csv"), "--out", str(tmp_path / "model.npz")]) == 0
    assert spine_shape.load_model(tmp_path / "model.npz").modes.shape == (40, 137)


def test_bad_tables_and_labels_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("height_px,width_px,y0\n10,10,x\n", encoding="utf-8")
    with pytest.raises(InputError, match="Line 2"):
        spine_shape.read_landmarks(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("height_px\n", encoding="utf-8")
    with pytest.raises(InputError, match="no landmark sets"):
        spine_shape.read_landmarks(tmp_path / "b.csv")
    with pytest.raises(InputError, match="does not exist"):
        spine_shape.read_landmarks(tmp_path / "c.csv")
    with pytest.raises(InputError, match="more than 40"):
        spine_shape.fit([draw(0)] * 3)
    shape = draw(0)
    corners = shape.corners.copy()
    corners[64:68] = corners[60:64]
    assert not spine_shape.is_plausible(spine_shape.SpineShape(corners, shape.aspect))

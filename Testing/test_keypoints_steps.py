"""Preprocessing, heatmaps, decoders, metrics and losses: rules that hold for all inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints import heatmaps, hint_sampling, losses, metrics, preprocessing
from SpineMotionToolsLib.keypoints.augmentation import Augmentation, augmented, flipped, rotated

from Testing.keypoint_samples import picture, spine

inside = st.tuples(st.floats(20, 107), st.floats(15, 48))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 900), st.integers(1, 700), st.integers(0, 2**31))
def test_resizing_equals_opencv_to_the_last_bit(rows, columns, seed):
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    wanted = cv2.resize(image, (256, 512), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(preprocessing.resize_gray(image, (512, 256)), wanted)


def test_only_gray_bytes_are_resized():
    for bad in (np.zeros((5, 5)), np.zeros((5, 5, 3), np.uint8), np.zeros((0, 5), np.uint8)):
        with pytest.raises(InputError, match="8-bit gray"):
            preprocessing.resize_gray(bad, (4, 4))


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(-100, 5000), st.floats(-100, 5000))
def test_points_return_from_the_grid(rows, columns, r, c):
    there = preprocessing.to_network(np.array([r, c]), (rows, columns))
    assert np.allclose(preprocessing.to_picture(there, (rows, columns)), (r, c), atol=1e-6)


def test_histogram_matching_takes_the_reference_levels():
    dark, bright = picture((200, 90)) // 2, 128 + picture((180, 80), 3) // 2
    matched = preprocessing.match_histogram(dark, bright)
    assert abs(int(np.median(matched)) - int(np.median(bright))) <= 2
    assert np.array_equal(preprocessing.match_histogram(dark, dark), dark)
    assert preprocessing.network_image(dark, reference=bright).mean() > 0.2


@settings(max_examples=50, deadline=None)
@given(inside)
def test_every_decoder_finds_a_gaussian(point):
    maps = heatmaps.gaussian(np.array([point]), (128, 64), 4.0)
    for name, limit in (("windowed", 0.05), ("patch", 0.4), ("hard", 0.75)):
        found = heatmaps.decode(maps, name)[0].numpy()
        assert np.abs(found - point).max() <= limit, name


def test_the_center_of_mass_is_exact_far_from_the_border():
    maps = heatmaps.gaussian(np.array([[60.3, 31.6]]), (128, 64), 3.0)
    assert np.allclose(heatmaps.expectation(maps)[0], (60.3, 31.6), atol=1e-3)
    assert torch.isnan(heatmaps.expectation(torch.zeros(1, 8, 8))).all()


def test_gaussians_equal_the_dense_formula():
    points = np.array([[10.25, 20.5], [-3.0, 70.0], [500.0, 10.0]])
    r, c = np.mgrid[:40, :60]
    for map_, (pr, pc) in zip(heatmaps.gaussian(points, (40, 60), 7.5).numpy(), points):
        dense = np.exp(-0.5 * ((r - pr) ** 2 + (c - pc) ** 2) / 7.5**2)
        assert np.allclose(map_, dense, rtol=1e-5, atol=1e-7)


def test_unknown_decoding_and_even_patches_are_refused():
    with pytest.raises(InputError, match="unknown"):
        heatmaps.decode(torch.zeros(1, 4, 4), "magic")
    with pytest.raises(InputError, match="odd"):
        heatmaps.patch_expectation(torch.zeros(1, 20, 20), 4)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12))
def test_failures_never_lower_the_number_of_clicks(increments):
    counts = np.cumsum(increments)
    images = int(counts[-1]) + 7
    clicks = metrics.number_of_clicks(counts, images)
    if counts[-1]:
        assert clicks.noc_failures_as_max >= clicks.noc_reached_only - 1e-9
    assert 0 <= clicks.failure_rate_percent <= 100


def test_metrics_of_known_errors():
    label = spine()
    predicted = label + (3.0, 4.0)
    found = metrics.errors(predicted, label, (4.9, 5.1))
    assert np.isclose(found.mre, 5)
    assert np.isclose(found.mae, 3.5)
    assert np.isclose(found.rmse, np.sqrt(12.5))
    assert found.sdr == {4.9: 0.0, 5.1: 1.0}
    predicted[17] += 100
    assert metrics.worst(predicted, label)[0] == 17
    assert metrics.correction_percent(50, 40) == 20


def test_hint_distributions_are_probabilities():
    for p in (hint_sampling.PROJECT_HINT_PROBABILITIES, hint_sampling.MICCAI_HINT_PROBABILITIES):
        assert np.isclose(p.sum(), 1)
        assert (p >= 0).all()


def test_morphology_is_zero_for_equal_points_and_blind_to_shifts():
    label = torch.from_numpy(spine()).float()[None]
    pairs, triples = [(0, 1), (5, 60)], [(2, 63, 4), (0, 30, 1)]
    for vertex in ("first", "middle"):
        assert losses.morphology(label, label, pairs, triples, vertex) < 1e-5
        assert losses.morphology(label + 10, label, pairs, triples, vertex) < 1e-4
        assert losses.morphology(label * 1.2, label, pairs, triples, vertex) > 1
    masked = losses.miccai_morphology(label * 1.2, label, (512, 256), pairs, triples, torch.tensor([False]))
    assert masked == 0


def test_the_steadiest_pairs_and_triples_are_found():
    rng = np.random.default_rng(0)
    labels = spine()[None] / (1200, 500) + rng.normal(0, 0.02, (40, 68, 2))
    labels[:, 7] = labels[:, 3] + (0.01, 0.02)
    assert losses.steadiest_pairs(labels)[0] == (3, 7)
    labels[:, 9] = labels[:, 3] + (0.02, -0.01)
    assert losses.steadiest_triples(labels, 3)[0] in ((3, 7, 9), (7, 3, 9), (3, 9, 7))
    assert len(losses.steadiest_triples(labels)) == 70


def test_a_flip_keeps_left_corners_left():
    image, corners = picture((300, 140)), spine((300, 140))
    mirrored, moved = flipped(image, corners)
    quads = moved.reshape(17, 4, 2)
    assert (quads[:, 0, 1] < quads[:, 1, 1]).all()
    assert (quads[:, 2, 1] < quads[:, 3, 1]).all()
    back, points = flipped(mirrored, moved)
    assert np.array_equal(back, image)
    assert np.allclose(points, corners)
    assert (flipped(image, corners, swap=False)[1].reshape(17, 4, 2)[:, 0, 1] > quads[:, 0, 1]).all()


@pytest.mark.parametrize("degrees", [-15.0, 7.0])
def test_rotation_moves_picture_and_corners_alike(degrees):
    image = np.zeros((400, 200), np.uint8)
    point = np.array([[120.0, 60.0]])
    image[117:124, 57:64] = 255
    turned, moved = rotated(image, point, degrees)
    r, c = np.nonzero(turned > 100)
    assert np.hypot(r.mean() - moved[0, 0], c.mean() - moved[0, 1]) < 1.0


def test_augmentation_says_whether_the_geometry_changed():
    image, corners = picture((300, 140)), spine((300, 140))
    seen = set()
    for seed in range(12):
        gray, moved, untouched = augmented(image, corners, (512, 256), Augmentation(), np.random.default_rng(seed))
        assert gray.shape == (512, 256)
        assert moved.shape == (68, 2)
        plain = preprocessing.to_network(corners, image.shape)
        if untouched:  # rounding of the scaled picture's size moves points by less than a pixel
            assert np.abs(moved - plain).max() < 1.0
        seen.add(untouched)
    assert seen == {True, False}

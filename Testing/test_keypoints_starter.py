"""The starter that ships: small, marked as a starter, and good enough on phantoms it has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.weights import read_metadata, starter_path
from SpineMotionToolsLib.keypoints import evaluation, shape_decoding, starter_refiner, weights
from SpineMotionToolsLib.keypoints.pipeline import load_predictor, start_session
from SpineMotionToolsLib.keypoints.preprocessing import network_image
from SpineMotionToolsLib.keypoints.starter_prediction import MOVED_PX


@pytest.fixture(scope="module")
def predictor():
    return load_predictor(engine=Engine(device="cpu", threads=1))


def test_it_is_small_and_says_what_it_is(predictor):
    path = starter_path(weights.STARTER_FILE)
    assert path.stat().st_size <= 6_000_000
    assert "not validated on patients" in read_metadata(path)["trained_on"]
    assert predictor.loaded.starter
    assert path.with_suffix(".md").is_file()


# The spines here are drawn from the shape model, which is wilder than patients: the model card's figures, on real
# spines, are printed by `spinemotion keypoints evaluate --landmarks`.
def test_it_finds_spines_and_follows_hints(predictor):
    found = evaluation.evaluate(predictor, evaluation.phantom_samples(count=10), 3)
    assert found.mre_percent[0] <= 2
    assert found.mre_percent[3] <= 1
    assert np.median(found.cobb_errors(0)) <= 3
    assert np.median(found.cobb_errors(3)) <= 2


@pytest.mark.slow
def test_hints_help_the_other_corners_on_phantoms_of_all_degrees(predictor):
    found = evaluation.evaluate(predictor, evaluation.phantom_samples(count=60), 5)
    assert found.mre_percent[0] <= 2
    assert found.others_reduction_percent[1] >= 15
    assert found.others_reduction_percent[5] >= 40
    assert np.median(found.cobb_errors(0)) <= 3
    assert np.median(found.cobb_errors(3)) <= 2


def test_results_repeat_exactly_and_say_that_they_are_a_starters(predictor):
    sample = next(evaluation.phantom_samples(count=1))
    readings = [start_session(sample.image, predictor=predictor).detect() for _ in range(2)]
    assert np.array_equal(readings[0].points_px, readings[1].points_px)
    assert any(text.startswith("Starter model") for text in readings[0].warnings)
    assert readings[0].provenance.parameters["decoding"] == "shape"


def test_a_given_corner_counts_as_known(predictor):
    sample = next(evaluation.phantom_samples(count=1))
    session = start_session(sample.image, predictor=predictor)
    before = session.detect()
    moved = session.correct(20, tuple(before.points_px[20] + (0.0, 6.0)))
    assert np.abs(moved.points_px[20] - before.points_px[20] - (0.0, 6.0)).max() == 0
    assert moved.spread_px[20].max() <= 1


def test_a_given_corner_pulls_along_what_errs_with_it():
    """Errors of 0 and 1 go together, 2 errs alone."""
    covariance = np.eye(136)
    covariance[0, 2] = covariance[2, 0] = 0.8
    spine = shape_decoding.Spine(np.zeros((68, 2)), covariance).with_given({0: (10.0, 0.0)})
    assert np.allclose(spine.points[0], (10, 0), atol=0.6)
    assert np.allclose(spine.points[1], (8, 0), atol=0.6)
    assert np.abs(spine.points[2:]).max() < 1e-9
    assert spine.spread[0].max() < 0.3
    assert 0.55 < spine.spread[1, 0] < 0.7
    assert spine.spread[2:].min() == 1


def test_the_most_probable_spine_takes_sure_points_and_fills_unsure_ones(predictor):
    prior = predictor.prior
    truth = prior.mean.reshape(68, 2) + 8 * np.sin(np.arange(17) / 4).repeat(4)[:, None] * (0, 1)
    sure = np.full((68, 2), 0.3)
    found = prior.most_probable(shape_decoding.Spine(truth, np.diag(sure.ravel())))
    assert np.abs(found.points - truth).max() < 4
    unsure, seen = sure.copy(), truth.copy()
    unsure[30:34], seen[30:34] = 1e6, 0.0
    found = prior.most_probable(shape_decoding.Spine(seen, np.diag(unsure.ravel())))
    assert np.abs(found.points[30:34] - truth[30:34]).max() < 6
    assert found.spread[30:34].min() > found.spread[10:14].max()


def certain_maps(places: np.ndarray) -> np.ndarray:
    """(68, 64, 32) probabilities of a locator that is certain of places (68, 2) in pixels of the grid."""
    rows, columns = np.mgrid[0:64, 0:32]
    away = (rows - places[:, 0, None, None] / 8) ** 2 + (columns - places[:, 1, None, None] / 8) ** 2
    maps = np.exp(-0.5 * away / 0.75**2)
    return maps / maps.sum((1, 2), keepdims=True)


def test_a_spine_is_weighed_against_the_same_with_levels_moved(predictor):
    judge, truth = predictor.judge, predictor.prior.mean.reshape(68, 2)
    sure = judge.weigh(certain_maps(truth), truth, {})
    assert len(sure.spines) == 1 + 2 * 17 * 16 / 2
    assert not sure.changed
    assert np.array_equal(sure.best, truth)
    assert sure.doubt.max() < 0.1
    assert np.isclose(sure.chances.sum(), 1)
    slipped = truth.reshape(17, 4, 2).copy()
    slipped[9:] = np.concatenate((slipped[10:], 2 * slipped[-1:] - slipped[-2:-1]))  # T10 to L5 one too low
    seen = judge.weigh(certain_maps(truth), slipped.reshape(68, 2), {})
    assert seen.changed
    assert np.abs(seen.best - truth).max() < 6
    assert np.abs(slipped.reshape(68, 2) - truth).max() > 25
    assert seen.doubt[12] > 0.9


def test_vague_maps_make_levels_doubtful_and_a_given_corner_settles_them(predictor):
    judge, truth = predictor.judge, predictor.prior.mean.reshape(68, 2)
    below = np.concatenate((truth[4:], 2 * truth[-4:] - truth[-8:-4]))
    maps = (certain_maps(truth) + certain_maps(below)) / 2
    vague = judge.weigh(maps, truth, {})
    assert vague.doubt.max() > 0.2
    assert vague.variance[:, 0].max() > 16
    kept, moved = (judge.weigh(maps, truth, {50: tuple(place[50])}) for place in (truth, below))
    assert kept.doubt[12] < 0.1
    assert moved.doubt[12] > 0.9
    assert np.abs(moved.best[48:52] - below[48:52]).max() < 3


def test_errors_along_a_vertebra_become_errors_in_the_picture():
    """A vertebra turned by a quarter errs along rows where it was unsure along its width."""
    axes = np.repeat([[[0.0, 20.0], [10.0, 0.0]]], 17, 0)  # down along columns, right along rows
    deviation = np.repeat([[[0.1, 0.3]]], 17, 0).repeat(4, 1)
    covariance = shape_decoding.error_covariance(axes, deviation, np.eye(136))
    assert np.allclose(np.diag(covariance).reshape(68, 2), (6.0**2, 1.0**2))


def test_a_patch_shows_its_vertebra_upright_and_in_the_middle():
    image = torch.zeros(1, 1, 200, 100)
    image[0, 0, 90:111, 30:71] = 1.0  # centers of pixels: rows 90 to 110, columns 30 to 70
    corners = torch.tensor([[90.0, 30.0], [90.0, 70.0], [110.0, 30.0], [110.0, 70.0]])
    centers, axes = starter_refiner.frames(corners)
    assert torch.allclose(
        starter_refiner.to_local(corners, centers, axes), torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    )
    assert torch.allclose(
        starter_refiner.to_grid(starter_refiner.to_local(corners, centers, axes), centers, axes), corners
    )
    patch = starter_refiner.cut(image, centers[None, None], axes[None, None])[0, 0]
    bright = (patch > 0.5).nonzero().float()
    rows, columns = starter_refiner.PATCH
    wanted = torch.tensor([(rows - 1) / 2, (columns - 1) / 2])
    assert (bright.mean(0) - wanted).abs().max() < 0.5
    extent = bright.amax(0) - bright.amin(0)
    size = torch.tensor([(rows - 1) / starter_refiner.REACH[0], (columns - 1) / starter_refiner.REACH[1]])
    assert (extent - size).abs().max() < 3.5
    crossed = starter_refiner.frames(corners.flip(0))[1]
    assert torch.linalg.det(crossed).abs() > 1


def test_corrections_look_again_only_at_what_moved(predictor, monkeypatch):
    sample = next(evaluation.phantom_samples(count=1))
    predictor.set_image(network_image(sample.image))
    first = predictor.predict()
    seen = []
    refine = predictor._refine
    monkeypatch.setattr(
        predictor, "_refine", lambda looks, at, levels: (seen.append(levels), refine(looks, at, levels))
    )
    hint = {20: tuple(first.points[20] + (9.0, 0.0))}
    moved = predictor.predict(hint, first)
    assert np.abs(moved.points[20] - hint[20]).max() < 1
    levels = np.concatenate(seen)
    assert 5 in levels
    assert len(levels) < 17
    again = predictor.predict(hint, first)
    assert np.array_equal(again.points, moved.points)

    seen.clear()
    nearby = {**hint, 60: tuple(moved.points[60] + (0.2, 0.0))}
    going_on = predictor.predict(nearby, moved)
    looks = sum(map(len, seen))
    seen.clear()
    anew = predictor.predict(nearby, replace(moved, looks=None))
    assert looks < sum(map(len, seen))
    assert np.abs(going_on.points - anew.points).max() < MOVED_PX


def test_its_decodings():
    with pytest.raises(InputError, match="Choose shape or windowed"):
        load_predictor(decoding="patch")
    maps = np.full((68, 64, 32), 1e-12)
    maps[:, 40, 20] = 1.0
    points, _ = shape_decoding.read_maps(maps, np.full((68, 2), (41.0, 21.0)))
    assert np.allclose(points, (320, 160), atol=0.1)
    assert np.allclose(shape_decoding.share_near(maps, points), 1)
    assert np.allclose(shape_decoding.share_near(maps, points + (64, 0)), 0, atol=0.01)

"""The starter that ships: small, marked as a starter, and good enough on phantoms it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.weights import read_metadata, starter_path
from SpineMotionToolsLib.keypoints import evaluation, shape_decoding, weights
from SpineMotionToolsLib.keypoints.pipeline import load_predictor, start_session


@pytest.fixture(scope="module")
def predictor():
    return load_predictor(engine=Engine(device="cpu", threads=1))


def test_it_is_small_and_says_what_it_is(predictor):
    path = starter_path(weights.STARTER_FILE)
    assert path.stat().st_size <= 6_000_000
    assert "not validated on patients" in read_metadata(path)["trained_on"]
    assert predictor.loaded.starter
    assert path.with_suffix(".md").is_file()


def test_it_finds_spines_and_follows_hints(predictor):
    found = evaluation.evaluate(predictor, evaluation.phantom_samples(count=8), 5)
    assert found.mre_percent[0] <= 2
    assert found.others_reduction_percent[1] > 5
    assert found.others_reduction_percent[5] > 15
    assert (np.diff(found.mean("model")) < 0.2).all()


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


def test_the_most_probable_spine_takes_sure_points_and_fills_unsure_ones(predictor):
    prior = predictor.prior
    truth = prior.mean.reshape(68, 2) + 8 * np.sin(np.arange(17) / 4).repeat(4)[:, None] * (0, 1)
    sure = np.full((68, 2), 0.3)
    assert np.abs(prior.most_probable(truth, sure)[0] - truth).max() < 4
    unsure, seen = sure.copy(), truth.copy()
    unsure[30:34], seen[30:34] = 1e6, 0.0
    filled, variance = prior.most_probable(seen, unsure)
    assert np.abs(filled[30:34] - truth[30:34]).max() < 6
    assert variance[30:34].min() > variance[10:14].max()


def test_its_decodings():
    with pytest.raises(InputError, match="Choose shape or windowed"):
        load_predictor(decoding="patch")
    maps = np.full((68, 128, 64), 1e-12)
    maps[:, 40, 20] = 1.0
    points, _ = shape_decoding._read(maps, np.full((68, 2), (42.0, 21.0)))
    assert np.allclose(points, (160, 80), atol=0.1)

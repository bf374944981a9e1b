"""The video systems out of the box: with the starter networks only, nothing drawn or placed by hand."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from SpineMotionToolsLib.common.body_models import load_body_model
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.video import array_video
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.common.weights import starter_path
from SpineMotionToolsLib.gait import pipeline as gait
from SpineMotionToolsLib.gait.tasks import STARTER_POINTS_FILE
from SpineMotionToolsLib.movements import pipeline as movements
from SpineMotionToolsLib.movements.inputs import Infant
from SpineMotionToolsLib.movements.models import STARTER_FILES
from SpineMotionToolsLib.phantoms.infant import infant_video
from SpineMotionToolsLib.phantoms.walker import walker_video


@pytest.mark.parametrize("name", ["gait-classifier.safetensors", STARTER_POINTS_FILE, *STARTER_FILES.values()])
def test_starter_files_are_small(name):
    assert starter_path(name).stat().st_size <= 3_000_000


@pytest.mark.parametrize(("seed", "stooped"), [(9003, True), (9004, False)])
def test_the_lean_of_a_walker_is_measured_with_starter_body_points(seed, stooped):
    phantom = walker_video(seed, stooped, seconds=2.1)
    points = load_body_model(starter_path(STARTER_POINTS_FILE), Engine("cpu").resolve())
    result = gait.score_video(phantom.video, points=points)
    assert result.answer == ("ASD" if stooped else "non-ASD")
    assert result.measures.trunk_inclination_deg == pytest.approx(phantom.walk.trunk_deg, abs=6)


@pytest.fixture(scope="module")
def models():
    return movements.load_models()


def test_an_infant_is_found_and_scored_from_the_terminal(tmp_path, capsys):
    from SpineMotionToolsLib.movements.commands import add_commands

    phantom = infant_video(9001, "writhing", seconds=1.3)
    write_video(tmp_path / "infant.mp4", (frame.picture for frame in phantom.video.frames()), 30)
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    options = parser.parse_args(["score", str(tmp_path / "infant.mp4"), "--out", str(tmp_path), "--age-weeks", "4"])
    assert options.run(options) == 0
    assert "starter models, not validated on patients" in capsys.readouterr().out
    assert len((tmp_path / "infant_chunk_result.csv").read_text(encoding="utf-8").splitlines()) == 2
    assert "three patterns only" in (tmp_path / "infant_report.html").read_text(encoding="utf-8")


def test_the_trunk_is_found_where_it_is(models):
    phantom = infant_video(9002, "fidgety", seconds=2.2)
    result = movements.score_video(phantom.video, models, Infant(age_weeks=12), ignore_quality=True)
    assert result.torso
    for frame, points in result.torso.items():
        truth = phantom.torso(frame)
        assert np.linalg.norm(points - truth, axis=1).mean() < 0.25 * phantom.infant.trunk_px
        assert np.linalg.norm(points.mean(axis=0) - truth.mean(axis=0)) < 0.15 * phantom.infant.trunk_px


def test_an_infant_like_the_sheet_and_an_empty_sheet_are_not_scored(models):
    faded = infant_video(9003, "writhing", seconds=1.3, contrast=0.02)
    hidden = movements.score_video(faded.video, models, Infant(age_weeks=4))
    assert hidden.answer == "not scored"
    assert "by hand" in hidden.why_not or "looks like the background" in hidden.why_not
    sheet = np.random.default_rng(0).normal(150, 3, (40, 240, 320, 3)).clip(0, 255).astype(np.uint8)
    empty = movements.score_video(array_video(sheet), models, Infant(age_weeks=4))
    assert empty.answer == "not scored"
    assert "Infant found" in empty.why_not

"""Scoring walks from video to report, and what happens with videos that cannot be scored."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import numpy as np
import pytest
from SpineMotionToolsLib.common.errors import Cancelled, InputError, OutputError
from SpineMotionToolsLib.common.video import array_video, open_video
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.gait import pipeline, report, tasks
from SpineMotionToolsLib.gait.explain import explain, hide_faces, square_of, write_overlay
from SpineMotionToolsLib.gait.inputs import Person
from SpineMotionToolsLib.gait.models import load_model
from SpineMotionToolsLib.gait.results import GaitResult, by_patient
from SpineMotionToolsLib.phantoms.walker import walker_video

SIZE = (240, 180)


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def stooped():
    """A stooped walker whose pictures are kept, so that they are drawn once."""
    phantom = walker_video(9003, True, seconds=3.2, size_px=SIZE)
    phantom.video = array_video(np.stack([f.picture for f in phantom.video.frames()]), 30.0, "walk.mp4")
    return phantom


@pytest.fixture(scope="module")
def result(stooped, model):
    return pipeline.score_video(stooped.video, model)


def test_a_stooped_phantom_scores_asd_and_both_probabilities_are_shown(result, stooped):
    assert result.answer == "ASD"
    assert result.p_asd + result.p_non_asd == pytest.approx(1)
    assert [(c.start_s, c.end_s) for c in result.clips] == [(0, 1), (1, 2), (2, 3)]
    assert result.measures.cadence_per_min == pytest.approx(stooped.walk.cadence_per_min, rel=0.05)
    assert result.provenance.starter
    assert "NON-ASD" in result.to_json()["note"]


def test_real_and_published_timing_agree_at_30_frames_without_gaps(result, stooped, model):
    published = pipeline.score_video(stooped.video, model, timing="published")
    assert [c.frames for c in published.clips] == [c.frames for c in result.clips]
    assert [c.logit for c in published.clips] == pytest.approx([c.logit for c in result.clips], abs=1e-5)


def test_real_timing_does_not_change_with_the_frame_rate(model):
    scores = []
    for rate in (30.0, 60.0):
        phantom = walker_video(9001, True, seconds=1.2, size_px=SIZE, frame_rate_hz=rate)
        person = Person("boxes", boxes={i: [[*box, 1, 0]] for i, box in enumerate(phantom.boxes)})
        scores.append(pipeline.score_video(phantom.video, model, person).clips[0].logit)
    assert scores[0] == pytest.approx(scores[1], abs=0.7)


def test_results_survive_json_and_patients_are_grouped(result):
    again = GaitResult.from_json(json.loads(json.dumps(result.to_json())))
    assert again.p_asd == result.p_asd
    assert again.checks == result.checks
    assert np.allclose(again.boxes, result.boxes, atol=0.01)
    (patient,) = by_patient([result, again])
    assert len(patient.clips) == 2 * len(result.clips)
    assert patient.p_asd == pytest.approx(result.p_asd)


def test_corrected_boxes_can_be_given_back(result, stooped, model, tmp_path):
    result.box_table().to_csv(tmp_path / "boxes.csv")
    again = pipeline.score_video(stooped.video, model, Person("boxes", str(tmp_path / "boxes.csv")))
    assert again.p_asd == pytest.approx(result.p_asd, abs=0.05)


def test_cancel_stops_the_work(stooped, model):
    def stop(done, of, text=""):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        pipeline.score_video(stooped.video, model, progress=stop)


# ----- explanations and files


def test_activation_overlay_and_report(result, stooped, model, tmp_path):
    maps = explain(stooped.video, result, model)
    assert maps.maps.shape[:2] == (3, 8)
    assert maps.maps.min() >= 0
    assert maps.maps.max() == pytest.approx(1)
    files = report.write_files(tmp_path, result, stooped.video, maps)
    page = (tmp_path / "walk_report.html").read_text(encoding="utf-8")
    for text in ("P(ASD)", "NON-ASD", "Starter model", "Cadence", "Not a medical device", "data:image/png"):
        assert text in page
    assert set(files) == {"json", "clips", "boxes", "maps", "report"}
    write_overlay(tmp_path / "overlay.mp4", stooped.video, result, maps)
    assert len(open_video(tmp_path / "overlay.mp4")) == len(stooped.video)


def test_faces_are_hidden_on_export(stooped):
    picture, box = stooped.video.picture(10), stooped.boxes[10]
    hidden = hide_faces(picture, box)
    x, y = stooped.joints[10, 16].astype(int)
    around = np.s_[y - 8 : y + 8, x - 8 : x + 8]
    assert np.abs(np.diff(hidden[around].astype(int), axis=1)).max() < 40
    assert np.abs(np.diff(picture[around].astype(int), axis=1)).max() > 60
    left, top, side = square_of(box)
    assert side == int(box[3]) - int(box[1])
    assert top == int(box[1])


def test_full_disk_during_export_keeps_the_result(result, tmp_path, monkeypatch):
    import os

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises((OutputError, OSError)):
        report.write_files(tmp_path, result, html=False)
    assert not list(tmp_path.glob("*.json"))
    assert result.p_asd is not None


# ----- below the gate


def check_named(result: GaitResult, name: str):
    return next(check for check in result.checks if check.name == name)


def test_three_frames_a_second_are_not_scored(stooped, model):
    pictures = np.stack([f.picture for f in stooped.video.frames(range(0, 90, 10))])
    slow = pipeline.score_video(array_video(pictures, 3.0), model)
    assert slow.answer == "not scored"
    assert slow.p_asd is None
    assert "Frame rate: 3 frames/s" in slow.why_not


def test_black_and_short_videos_are_not_scored(model):
    black = pipeline.score_video(array_video(np.zeros((60, 180, 240, 3), np.uint8)), model)
    assert "Black frames" in black.why_not
    short = pipeline.score_video(array_video(np.full((9, 180, 240, 3), 99, np.uint8)), model)
    assert "Length" in short.why_not


def test_nobody_in_view_is_not_scored(model):
    random = np.random.default_rng(0)
    room = random.integers(60, 200, (180, 240, 3))
    pictures = np.clip(room + random.normal(0, 3, (60, 180, 240, 3)), 0, 255).astype(np.uint8)
    empty = pipeline.score_video(array_video(pictures), model)
    assert empty.answer == "not scored"
    assert "Patient found: in 0 % of the frames" in empty.why_not
    assert "Draw the region" in empty.why_not


def test_two_people_crossing_are_told_and_the_crossing_is_left_out(model):
    phantom = walker_video(7, True, companion=True, seconds=3.0, size_px=(320, 240))
    crossed = pipeline.score_video(phantom.video, model)
    assert any("Several people" in warning for warning in crossed.warnings)
    boxes = {int(row[0]): row[1:] for row in crossed.boxes}
    centers = [abs((boxes[n][0] + boxes[n][2]) - (phantom.boxes[n][0] + phantom.boxes[n][2])) / 2 for n in boxes]
    assert np.median(centers) < 15
    assert max(centers) < 60


def test_the_gate_can_be_ignored_and_choices_are_checked(stooped, model):
    pictures = np.stack([f.picture for f in stooped.video.frames(range(0, 90, 3))])
    forced = pipeline.score_video(array_video(pictures, 10.0), model, ignore_quality=True)
    assert forced.clips
    assert not check_named(forced, "Frame rate").passed
    with pytest.raises(InputError, match="timing"):
        pipeline.score_video(stooped.video, model, timing="dream")
    with pytest.raises(InputError, match="Unknown ways"):
        tasks.person_of({"magic": 1})


# ----- task and terminal give the same numbers


def test_task_and_command_agree_with_the_library(stooped, tmp_path, capsys):
    import argparse

    from SpineMotionToolsLib.gait.commands import add_commands

    study = tmp_path / "study" / "patient-1"
    study.mkdir(parents=True)
    write_video(study / "walk.mp4", (f.picture for f in stooped.video.frames()), 30)
    (study / "broken.mp4").write_bytes(b"no video at all")
    direct = pipeline.score_video(study / "walk.mp4")
    done = tasks.score({"video": str(study / "walk.mp4"), "folder": str(tmp_path / "task"), "report": False})
    assert done["result"]["p_asd"] == direct.p_asd
    kept = {"video": str(study / "walk.mp4"), "scored": done["files"]["json"], "model": "not needed any more.pth"}
    assert tasks.score(kept)["result"] == done["result"]
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    options = parser.parse_args(["score", str(tmp_path / "study"), "--out", str(tmp_path / "out"), "--no-report"])
    assert options.run(options) == 3  # one of the two videos is no video
    printed = capsys.readouterr()
    assert f"P(ASD) {direct.p_asd:.3f}" in printed.out
    assert "broken.mp4" in printed.err
    table = (tmp_path / "out" / "videos.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 2
    assert "patient-1" in table[1]


def test_a_stopped_run_keeps_its_tables_and_a_fault_costs_one_video(result, tmp_path, capsys, monkeypatch):
    import argparse

    from SpineMotionToolsLib.gait.commands import add_commands

    for name in ("p1/walk.mp4", "p2/walk.mov", "p2/walk.mp4", "p3/walk.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    asked = []

    def score(parameters, progress):
        asked.append((parameters["patient"], parameters["folder"], parameters["name"]))
        if len(asked) == 2:
            raise ZeroDivisionError("a fault")
        if len(asked) == 4:
            raise Cancelled("stopped")
        return {"result": replace(result, patient=parameters["patient"]).to_json(), "problems": []}

    monkeypatch.setattr(tasks, "score", score)
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    given = [str(tmp_path / folder) for folder in ("p1", "p2", "p3")]
    options = parser.parse_args(["score", *given, "--out", str(tmp_path / "out")])
    with pytest.raises(Cancelled):
        options.run(options)
    assert [patient for patient, _, _ in asked] == ["p1", "p2", "p2", "p3"]
    assert len({f"{folder}/{name}" for _, folder, name in asked}) == 4
    assert "p2/walk.mov: A fault in SpineMotionTools: ZeroDivisionError" in capsys.readouterr().err
    table = (tmp_path / "out" / "videos.csv").read_text(encoding="utf-8")
    assert [row.split(",")[:2] for row in table.splitlines()[1:]] == [["p1/walk.mp4", "p1"], ["p2/walk.mp4", "p2"]]
    assert table.count("no clinical meaning") == 2

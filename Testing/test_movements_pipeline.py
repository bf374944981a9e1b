"""Scoring general movements from video to report, and what happens with videos that cannot be scored.

The infant's trunk is given by hand and the background kept or outlined, so that these tests need no downloads.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import torch
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import Cancelled, InputError
from SpineMotionToolsLib.common.video import FrameVideo, array_video, open_video
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.movements import pipeline, preparing, quality, report, tasks
from SpineMotionToolsLib.movements.dataset import (
    forget_chunks,
    labeled_infants,
    prepared_starts,
    read_prepared,
    remarks,
    write_chunk_files,
    write_fold_tables,
)
from SpineMotionToolsLib.movements.explain import explain, head_area, hide_face, write_overlay
from SpineMotionToolsLib.movements.inputs import EvenFrames, Infant, read_torso
from SpineMotionToolsLib.movements.models import save_network
from SpineMotionToolsLib.movements.networks import TwoStream, Variant
from SpineMotionToolsLib.movements.results import MovementResult
from SpineMotionToolsLib.phantoms.infant import PATTERNS, infant_video

SECONDS = 6.4


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small classifier with random weights: what it says means nothing, and must be the same every time."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "classifier.safetensors"
    save_network(path, TwoStream(Variant(18, 18, width=8)), "nothing")
    return path


@pytest.fixture(scope="module")
def phantom():
    made = infant_video(9000, "writhing", seconds=SECONDS, size_px=(240, 180))
    made.video = array_video(np.stack([f.picture for f in made.video.frames()]), 30.0, "infant.mp4")
    return made


@pytest.fixture(scope="module")
def by_hand(phantom):
    return Infant(background="keep", points="manual", torso={0: phantom.torso(0), 60: phantom.torso(60)}, age_weeks=4)


@pytest.fixture(scope="module")
def result(phantom, weights, by_hand):
    return pipeline.score_video(phantom.video, weights, by_hand)


def test_every_chunk_of_the_video_is_scored(result):
    assert [c.start_s for c in result.chunks] == pytest.approx([1 / 30, 151 / 30])
    assert result.mean_logits == pytest.approx(np.mean([c.logits for c in result.chunks], axis=0))
    assert result.predicted == int(np.argmax(result.mean_logits))
    assert set(result.chunks[0].energy) == {"right arm", "left arm", "right leg", "left leg", "head", "trunk"}
    assert "three patterns only" in result.to_json()["scope"]


def test_needed_frames_only_give_the_same_result_as_all(phantom, weights, by_hand):
    class Counting:
        """A background network that counts, and whose map depends on the frame."""

        sha256, starter = "0", False

        def __init__(self):
            self.seen = 0

        def __call__(self, tensor):
            self.seen += 1
            return tensor[:, 0]

    from dataclasses import replace

    masked = replace(by_hand, background="network", background_file="unused")
    runs = []
    for every_frame in (False, True):
        models = pipeline.load_models(weights, by_hand)
        models.background = counting = Counting()
        scored = pipeline.score_video(phantom.video, models, masked, every_frame=every_frame, ignore_quality=True)
        runs.append((counting.seen, [c.logits for c in scored.chunks]))
    assert runs[0][1] == runs[1][1]
    assert runs[1][0] == len(phantom.video)
    assert runs[0][0] == 16  # two chunks of eight frames


def test_remembered_maps_are_bounded(by_hand):
    from dataclasses import replace

    picture = np.full((180, 240, 3), 90, np.uint8)
    masking = preparing.Masking(replace(by_hand, background="network"), (240, 180), lambda tensor: tensor[:, 0])
    for number in range(preparing.REMEMBERED_MAPS + 20):
        masking(number, picture)
    assert len(masking._maps) == preparing.REMEMBERED_MAPS
    runs = masking.network_runs
    masking(0, picture)
    assert masking.network_runs == runs
    masking(preparing.REMEMBERED_MAPS + 1, picture)
    assert masking.network_runs == runs + 1


def test_a_minute_needs_an_eighth_of_its_frames_at_most():
    from SpineMotionToolsLib.movements.chunks import chunk_at, starts

    needed = {n for start in starts(1800) for n in chunk_at(start).frames} | set(range(0, 1800, 30))
    assert len(needed) <= 1800 / 8


def test_result_survives_json(result):
    again = MovementResult.from_json(json.loads(json.dumps(result.to_json())))
    assert again.answer == result.answer
    assert again.checks == result.checks
    assert [c.logits for c in again.chunks] == [c.logits for c in result.chunks]


def test_activation_overlay_and_report(phantom, weights, by_hand, result, tmp_path):
    models = pipeline.load_models(weights, by_hand)
    maps = explain(phantom.video, result, models, by_hand)
    assert maps.maps.shape == (2, 7, 7)
    assert maps.explained == result.predicted
    files = report.write_files(tmp_path, result, maps)
    page = (tmp_path / "infant_report.html").read_text(encoding="utf-8")
    for text in ("three patterns only", "Movement energy", "mean logit", "Not a medical device"):
        assert text in page
    assert set(files) == {"json", "chunks", "energy", "torso", "maps", "report"}
    saved = type(maps).load(files["maps"])
    left, top, right, bottom = report.HEAD_BOX
    heads = np.s_[:, top + 4 : bottom - 4, left + 4 : right - 4]
    assert np.abs(np.diff(saved.pictures[heads].astype(int), axis=2)).max() < 40  # the face is hidden in files
    assert np.abs(np.diff(maps.pictures[heads].astype(int), axis=2)).max() > 60
    assert np.array_equal(saved.pictures[:, bottom + 1 :], maps.pictures[:, bottom + 1 :])
    write_overlay(tmp_path / "overlay.mp4", phantom.video, result, maps)
    assert len(open_video(tmp_path / "overlay.mp4")) == len(phantom.video)


@pytest.mark.parametrize("variant", [Variant(18, 18, "sum", width=8), Variant(18, None, "sum", width=8)])
def test_other_variants_are_scored_and_explained(phantom, by_hand, tmp_path, variant):
    save_network(tmp_path / "other.safetensors", TwoStream(variant), "nothing")
    models = pipeline.load_models(tmp_path / "other.safetensors", by_hand)
    scored = pipeline.score_video(phantom.video, models, by_hand)
    assert explain(phantom.video, scored, models, by_hand).maps.max() <= 1


def test_the_face_is_hidden_on_export(phantom, result):
    from SpineMotionToolsLib.movements.explain import adjustment_of

    picture, torso = phantom.video.picture(0), phantom.torso(0)
    hidden = hide_face(picture, torso, adjustment_of(result))
    left, top, right, bottom = head_area(torso)
    for joint in (0, 14, 15, 16, 17):
        x, y = phantom.joints(0)[joint]
        assert left < x < right
        assert top < y < bottom
    area = np.s_[int(top) + 4 : int(bottom) - 4, int(left) + 4 : int(right) - 4]
    assert np.abs(np.diff(hidden[area].astype(int), axis=1)).max() < 40
    assert np.abs(np.diff(picture[area].astype(int), axis=1)).max() > 60


# ----- below the gate


def test_slow_black_and_short_videos_are_not_scored(phantom, weights, by_hand):
    pictures = np.stack([f.picture for f in phantom.video.frames(range(0, 190, 10))])
    slow = pipeline.score_video(array_video(pictures, 3.0), weights, by_hand)
    assert slow.answer == "not scored"
    assert "Frame rate: 3 frames/s" in slow.why_not
    black = pipeline.score_video(array_video(np.zeros((60, 180, 240, 3), np.uint8)), weights, by_hand)
    assert "Black frames" in black.why_not
    short = pipeline.score_video(array_video(np.full((20, 180, 240, 3), 90, np.uint8)), weights, by_hand)
    assert "Length" in short.why_not


def test_ages_are_checked(phantom, weights, by_hand, result):
    from dataclasses import replace

    old = pipeline.score_video(phantom.video, weights, replace(by_hand, age_weeks=40))
    assert "Age: 40 weeks" in old.why_not
    missing = quality.before(phantom.video, None)
    assert any(c.name == "Age" and not c.passed and not c.stops for c in missing)
    assert quality.fits_age(2, 1).name == "Class and age"
    assert quality.fits_age(14, 0) is not None
    assert quality.fits_age(14, 1) is None


def nobody(tensor):
    """A body-point network that finds nothing."""
    grid = tensor.shape[2] // 8, tensor.shape[3] // 8
    return np.zeros((38, *grid), np.float32), np.zeros((19, *grid), np.float32)


def test_infant_not_found_is_not_scored(phantom, weights, by_hand):
    from dataclasses import replace

    models = pipeline.load_models(weights, by_hand)
    models.points = nobody
    with_network = replace(by_hand, points="network", torso={})
    search = preparing.find_trunk(EvenFrames(phantom.video), preparing.Masking(with_network, (240, 180), None), nobody)
    assert search.adjustment is None
    checks = quality.after(search, preparing.Masking(with_network, (240, 180), None), by_hand=False)
    assert any("Place the four torso points" in check.sentence for check in checks if not check.passed)


def test_infant_dressed_like_the_background_is_told(weights):
    """A mask that covers nearly nothing, as U2-Net gives for an infant that cannot be told from the sheet."""
    faded = infant_video(1, "writhing", seconds=2, size_px=(240, 180), contrast=0.03)
    infant = Infant(background="network", background_file="unused", points="manual", torso={0: faded.torso(0)})
    masking = preparing.Masking(
        infant, (240, 180), lambda tensor: np.where(tensor[:, 0] >= tensor[:, 0].max(), 1.0, 0.0)
    )
    for number, picture in EvenFrames(faded.video).pictures([0, 30]):
        masking(number, picture)
    search = preparing.trunk_by_hand(EvenFrames(faded.video), infant)
    checks = {c.name: c for c in quality.after(search, masking, by_hand=True)}
    assert not checks["Infant stands out"].passed
    assert "looks like the background" in checks["Infant stands out"].sentence


def test_bad_points_are_told(phantom, weights):
    frames = EvenFrames(phantom.video)
    with pytest.raises(InputError, match="which the video has not"):
        preparing.trunk_by_hand(frames, Infant("keep", points="manual", torso={9999: phantom.torso(0)}))
    with pytest.raises(InputError, match="on top of one another"):
        preparing.trunk_by_hand(frames, Infant("keep", points="manual", torso={0: np.ones((4, 2))}))
    for corners in (phantom.torso(0) * 100, np.full((4, 2), np.inf), phantom.torso(0) - [9999, 0]):
        with pytest.raises(InputError, match="far outside the picture"):
            preparing.trunk_by_hand(frames, Infant("keep", points="manual", torso={0: corners}))


def test_cancel_and_outline(phantom, weights, by_hand):
    def stop(done, of, text=""):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        pipeline.score_video(phantom.video, weights, by_hand, progress=stop)
    outlined = Infant("outline", outline=[(60, 20), (180, 20), (180, 170), (60, 170)])
    masked = preparing.Masking(outlined, (240, 180), None)(0, phantom.video.picture(0))
    assert not masked[:, :55].any()
    assert masked[60:120, 100:140].any()


@pytest.mark.parametrize("rate", [25, 60])
def test_found_points_can_be_given_back_at_any_frame_rate(phantom, weights, tmp_path, rate):
    times = np.arange(0, 2.2, 1 / rate)
    numbers = phantom.video.nearest_frames(times)
    video = FrameVideo(lambda n: phantom.video.picture(int(numbers[n])), times)
    last = len(video) - 1
    infant = Infant("keep", points="manual", torso={0: phantom.torso(0), last: phantom.torso(0)}, age_weeks=4)
    result = pipeline.score_video(video, weights, infant)
    result.torso_table().to_csv(tmp_path / "torso.csv")
    again = Infant("keep", points="manual", torso=read_torso(tmp_path / "torso.csv"), age_weeks=4)
    assert sorted(again.torso) == [0, last]
    assert pipeline.score_video(video, weights, again).adjustment == pytest.approx(result.adjustment, abs=0.2)


# ----- task, terminal, folders of the study


def test_task_and_command_agree_with_the_library(phantom, weights, by_hand, tmp_path, capsys):
    from SpineMotionToolsLib.movements.commands import add_commands

    folder = tmp_path / "baby-7"
    folder.mkdir()
    write_video(folder / "video.mp4", (f.picture for f in phantom.video.frames()), 30)
    direct = pipeline.score_video(folder / "video.mp4", weights, by_hand)
    torso = {str(k): np.asarray(v).tolist() for k, v in by_hand.torso.items()}
    choices = {"background": "keep", "points": "manual", "torso": torso, "age_weeks": 4}
    done = tasks.score({"video": str(folder / "video.mp4"), "model": str(weights), "infant": choices})
    assert done["result"]["mean_logits"] == pytest.approx(direct.mean_logits.tolist())
    direct.torso_table().to_csv(tmp_path / "torso.csv")
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    words = ["score", str(folder), "--out", str(tmp_path / "out"), "--weights", str(weights), "--keep-background"]
    options = parser.parse_args([*words, "--torso", str(tmp_path / "torso.csv"), "--age-weeks", "4", "--no-report"])
    assert options.run(options) == 0
    assert "baby-7" in (tmp_path / "out" / "infants.csv").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "baby-7_chunk_result.csv").exists()
    capsys.readouterr()
    with pytest.raises(InputError, match="Unknown ways"):
        tasks.infant_of({"magic": 1})


@pytest.mark.slow
def test_prepared_folders_give_the_same_tensors_and_train(tmp_path, by_hand):
    from SpineMotionToolsLib.movements.chunks import chunk_tensors
    from SpineMotionToolsLib.movements.training import Chunks, Recipe, cross_validate, fit, predict

    models = pipeline.Models(None, by_hand, Engine("cpu").resolve())
    tensors = {}
    for label, name in enumerate(("WMs", "FMs", "PR")):
        for number in range(5):
            folder = tmp_path / name / f"s{number}"
            folder.mkdir(parents=True)
            made = infant_video(number, PATTERNS[label], seconds=1.1, size_px=(200, 160))
            infant = Infant("keep", points="manual", torso={0: made.torso(0)})
            for chunk, pictures in pipeline.prepared_chunks(made.video, models, infant):
                write_chunk_files(folder, chunk, pictures)
                tensors[len(tensors)] = chunk_tensors(chunk, pictures)
    infants = labeled_infants(tmp_path)
    assert prepared_starts(infants[0].folder) == [1]
    assert "In several classes: s0, s1, s2, s3, s4." in remarks(infants)[0]
    write_fold_tables(tmp_path, infants)
    assert len((tmp_path / "fold" / "test" / "fold1.csv").read_text(encoding="utf-8").splitlines()) == 4
    pictures, flows, labels, owners = read_prepared(infants)
    assert np.allclose(pictures[0], tensors[0][0], atol=1e-3)
    assert np.allclose(flows[0], tensors[0][1], atol=1e-3)
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=1e-3)

    def network():
        torch.manual_seed(0)
        return TwoStream(Variant(18, 18, width=8))

    data = Chunks(pictures, flows, labels)
    twice = [predict(fit(network(), data, recipe, tmp_path / "run"), data) for _ in range(2)]
    assert np.array_equal(*twice)
    found = cross_validate(network, data, owners, recipe, tmp_path / "folds")
    assert len(found.truth) == 15
    forget_chunks(infants[0].folder)
    assert prepared_starts(infants[0].folder) == []
    said = remarks(infants)
    assert "nothing is prepared: s0." in said[0]
    assert said[-1].endswith("without them: WMs.")
    parts = [*(f"fold {k}" for k in range(1, 6)), "mean (SD)", "pooled", "95 % limits"]
    assert [row[0] for row in found.table().rows] == parts
    pooled = [row[2:] for row in found.confusion().rows if row[0] == "pooled"]
    assert np.array(pooled).sum(axis=1).tolist() == [5, 5, 5]
    assert len(found.chunk_table().rows) == 15
    assert sorted(row[0] for row in found.subject_table().rows) == [0] * 5 + [1] * 5 + [2] * 5

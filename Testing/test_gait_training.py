"""Training gait networks: transfer modes, reproducible runs, cross-validation by patient."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.video import FrameVideo, array_video
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.gait import dataset, training
from SpineMotionToolsLib.gait.models import ClipSettings, load_model
from SpineMotionToolsLib.gait.networks import Branch, VideoNet, initialise_from_scratch
from SpineMotionToolsLib.gait.networks_2d import SingleFrame
from SpineMotionToolsLib.gait.starter_training import architecture
from torch.utils.data import TensorDataset

SETTINGS = ClipSettings(frames=8, clip_s=1.0, size_px=112)


def network() -> VideoNet:
    torch.manual_seed(0)
    return VideoNet(architecture())


@pytest.mark.parametrize(
    ("mode", "trains"),
    [("all", {0, 1, 2, 3, 4, 5}), ("head", {5}), ("stem_head", {0, 5}), ("stage_head", {1, 2, 3, 4, 5})],
)
def test_transfer_modes_train_their_parts_and_frozen_statistics_stay(mode, trains):
    module = training.GaitTraining(network(), training.Recipe(transfer=mode), SETTINGS)
    found = {i for i, block in enumerate(module.model.blocks) if any(p.requires_grad for p in block.parameters())}
    assert found == trains
    module.train()
    assert all(not part.training for part in module.frozen)
    with pytest.raises(InputError, match="transfer mode"):
        training.freeze(network(), "legs")
    with pytest.raises(InputError, match="three-dimensional"):
        training.freeze(SingleFrame(), "head")


def test_start_from_scratch_begins_with_closed_branches():
    made = network()
    initialise_from_scratch(made)
    assert all(not m.norm_c.weight.any() for m in made.modules() if isinstance(m, Branch))
    assert not made.blocks[-1].proj.bias.any()


def test_two_runs_with_one_seed_are_equal_and_learn(tmp_path):
    random = np.random.default_rng(0)
    labels = torch.arange(12) % 2
    clips = (
        torch.from_numpy(random.normal(0, 1, (12, 3, 8, 112, 112)).astype(np.float32))
        + 2.0 * labels[:, None, None, None, None]
    )
    data = TensorDataset(clips, labels)
    recipe = training.Recipe(epochs=3, batch_size=4, learning_rate=5e-3)
    runs, lines = [], []
    for number in range(2):
        best = training.fit(network(), data, data, SETTINGS, recipe, tmp_path / str(number), lines.append)
        trained = training.with_weights(network(), best)
        runs.append(training.predict(trained, data))
    assert np.array_equal(*runs)
    assert any("val_acc" in line for line in lines)
    assert runs[0][labels == 1].mean() > runs[0][labels == 0].mean()


@pytest.mark.slow
def test_cross_validation_over_folders_of_videos(tmp_path):
    random = np.random.default_rng(0)
    for label, name in enumerate(dataset.FOLDERS):
        for patient in range(3):
            for number in range(2):
                level = 40 + 150 * label + random.integers(0, 20)
                folder = tmp_path / "data" / name
                folder.mkdir(parents=True, exist_ok=True)
                pictures = (np.full((64, 64, 3), level, np.uint8) for _ in range(30))
                write_video(folder / f"2017010{patient}_{label}_{name}_lat__V1-{number:04}.mp4", pictures, 30)
    videos = dataset.labeled_videos(tmp_path / "data")
    assert len(videos) == 12
    assert len({video.patient for video in videos}) == 6
    recipe = training.Recipe(epochs=1, batch_size=4, learning_rate=1e-3)
    found = training.cross_validate(network, videos, SETTINGS, recipe, tmp_path / "out", folds=2)
    assert len(found.logits) == 12
    for patient in set(found.patients):
        assert len({f for f, p in zip(found.folds, found.patients) if p == patient}) == 1
    assert [row[0] for row in found.table().rows] == ["fold 0", "fold 1", "mean (SD)", "pooled", "95 % limits"]
    counts = {tuple(row[:2]): row[2:] for row in found.confusion().rows}
    for truth in ("ASD", "non-ASD"):
        per_fold = np.add(counts["fold 0", truth], counts["fold 1", truth])
        assert per_fold.tolist() == list(counts["pooled", truth])
    assert sum(map(sum, (counts["pooled", truth] for truth in ("ASD", "non-ASD")))) == 12
    assert [row[0] for row in found.patients_table().rows] == ["accuracy", "AUROC"]
    assert len(found.clip_table().rows) == 12
    checkpoint = next((tmp_path / "out" / "fold0").glob("epoch*.ckpt"))
    from SpineMotionToolsLib.common.weights import read_checkpoint

    content = read_checkpoint(checkpoint)
    assert all(key.startswith("model.") for key in content["state_dict"])
    assert content["hyper_parameters"]["hparams"]["uniform_temporal_subsample_num"] == 8


def test_the_folders_of_the_study_are_read(tmp_path):
    def put(*parts):
        path = tmp_path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    for part in ("train", "val"):
        for number, name in enumerate(dataset.FOLDERS):
            put("split", part, name, f"2017010{number}_{part}_x_lat.mp4")
    found = dataset.labeled_videos(tmp_path / "split")
    assert sorted(video.label for video in found) == [0, 0, 1, 1]
    assert dataset.labeled_folds(tmp_path / "split") is None
    for fold in range(3):
        for name in dataset.FOLDERS:
            put("given", f"fold{fold}", "val", name, f"p{fold}_{name}.mp4")
            put("given", f"fold{fold}", "train", name, "elsewhere.mp4")
    put("given", "raw", "ASD", "raw.mp4")
    videos, parts = dataset.labeled_folds(tmp_path / "given")
    assert [len(part) for part in parts] == [2, 2, 2]
    assert {videos[i].path.name for i in parts[1]} == {"p1_ASD.mp4", "p1_ASD_not.mp4"}
    assert dataset.in_several_folds(videos, parts) == []
    put("given", "fold2", "val", "ASD", "p1_ASD.mp4")
    assert dataset.in_several_folds(*dataset.labeled_folds(tmp_path / "given")) == ["p1_ASD.mp4"]


def test_a_folder_below_the_class_is_one_patient(tmp_path):
    for name in (
        "ASD/p1/a.mp4", "ASD/p1/visit2/b.mp4", "ASD/p2/a.mp4", "ASD_not/p3/a.mp4", "ASD_not/p3/._a.mp4"
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    videos = dataset.labeled_videos(tmp_path)
    assert sorted(video.patient for video in videos) == ["p1", "p1", "p2", "p3"]


def test_who_is_in_both_classes_counts_once_in_each():
    logits = np.array([-3.0, -2.0, 3.0, 2.0])
    found = training.CrossValidation(
        logits, np.array([0, 0, 1, 1]), np.zeros(4, int), ("p1", "p2", "p1", "p3"), ("a", "b", "c", "d")
    )
    assert found.patients_table().name == "Cross-validation (4 patients)"
    assert [row[1] for row in found.patients_table().rows] == [1.0, 1.0]


def test_prepared_videos_hold_the_cropped_patient(tmp_path, capsys):
    import argparse

    from SpineMotionToolsLib.common.video import open_video
    from SpineMotionToolsLib.gait.commands import add_commands
    from SpineMotionToolsLib.phantoms.walker import walker_video

    for label, name in enumerate(dataset.FOLDERS):
        (tmp_path / "raw" / name).mkdir(parents=True)
        made = walker_video(9003, label == 0, seconds=1.2, size_px=(240, 180), frame_rate_hz=25).video
        write_video(tmp_path / "raw" / name / f"walk{label}.mp4", (f.picture for f in made.frames()), 25)
    (tmp_path / "raw" / "ASD" / "p2").mkdir()
    shutil.copy(tmp_path / "raw" / "ASD" / "walk0.mp4", tmp_path / "raw" / "ASD" / "p2")
    (tmp_path / "raw" / "ASD" / "broken.mp4").write_bytes(b"nothing")
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    options = parser.parse_args(["prepare", str(tmp_path / "raw"), "--out", str(tmp_path / "out")])
    assert options.run(options) == 3
    assert "broken.mp4" in capsys.readouterr().err
    video = open_video(tmp_path / "out" / "ASD" / "walk0.mp4")
    assert (video.width_px, video.height_px) == (512, 512)
    assert video.frame_rate_hz == pytest.approx(25)
    picture = video.picture(len(video) // 2)
    assert picture[:, :40].max() < 30  # black bars beside the person
    assert picture[:, 150:362].std() > 10
    assert sorted(v.patient for v in dataset.labeled_videos(tmp_path / "out")) == ["p2", "walk0.mp4", "walk1.mp4"]
    options = parser.parse_args(["prepare", str(tmp_path / "out"), "--out", f"{tmp_path}/raw/../out"])
    with pytest.raises(InputError, match="would replace the videos"):
        options.run(options)


def test_missing_classes_and_too_few_patients_are_told(tmp_path):
    with pytest.raises(InputError, match="holds no videos"):
        dataset.labeled_videos(tmp_path)
    with pytest.raises(InputError, match="fewer patients"):
        training.cross_validate(network, [], SETTINGS, training.Recipe(), tmp_path)
    with pytest.raises(InputError, match="2 or more"):
        training.cross_validate(network, [], SETTINGS, training.Recipe(), tmp_path, folds=1)


def test_choices_that_make_no_training_are_told_before_it_starts(tmp_path):
    from SpineMotionToolsLib.cli import main

    pictures = np.zeros((30, 32, 32, 3), np.uint8)
    for patient in ("ASD/p1", "ASD/p2", "ASD_not/p3", "ASD_not/p4"):
        (tmp_path / patient).mkdir(parents=True)
        write_video(tmp_path / patient / "walk.mp4", pictures, 30)
    train = ["gait", "train", str(tmp_path), "--out", str(tmp_path / "out"), "--folds", "2", "--network"]
    for choice in ("none", "x3d_m --frames 4", "x3d_m --frames 16 --size-px 64"):
        assert main([*train, *choice.split()]) == 2
    with pytest.raises(InputError, match="Nothing would be learned"):
        training.Recipe(epochs=0)


def test_frames_that_cannot_be_decoded_are_told():
    video = array_video(np.zeros((30, 32, 32, 3), np.uint8))
    video.frames = lambda numbers: [f for f in FrameVideo.frames(video, numbers) if f.number < 20]
    with pytest.raises(InputError, match="Frame 20 of array"):
        dataset.read_clip(video, 0, ClipSettings(size_px=32))


def test_a_training_checkpoint_of_a_published_network_is_loaded_again(tmp_path):
    import lightning
    from SpineMotionToolsLib.gait.networks import build

    module = training.GaitTraining(build("x3d_m"), training.Recipe(), ClipSettings(frames=16, size_px=224))
    trainer = lightning.Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=0)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    model = load_model(tmp_path / "last.ckpt")
    assert (model.name, model.settings.frames) == ("x3d_m", 16)

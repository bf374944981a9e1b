"""Fine-tuning: manifest and slices, the two stages, selection, outputs, resuming; the starter's recipe; bad input."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from SpineMotionToolsLib.common.errors import Cancelled, InputError
from SpineMotionToolsLib.motion import review_store, training
from SpineMotionToolsLib.motion.dataset import PredictOptions, predict
from SpineMotionToolsLib.motion.derivatives import read_index, read_rows
from SpineMotionToolsLib.motion.discovery import discover
from SpineMotionToolsLib.motion.members import Ensemble, contract, load_ensemble
from SpineMotionToolsLib.motion.training_data import MANIFEST_COLUMNS, sample_slices

SUBJECTS = {"SUB001": 1, "SUB002": 4, "SUB003": 5}
SHORT = training.Recipe(batch_size=4, classifier_epochs=1, full_epochs=2, full_rate=1e-3)


def random_ensemble(members: int = 2, seed: int = 0) -> Ensemble:
    random = np.random.default_rng(seed)
    weights = {
        f"DNN_{number}": {
            key: (random.normal(size=spec.shape) / np.sqrt(max(np.prod(spec.shape[1:]), 1))).astype(np.float32)
            for key, spec in contract().items()
        }
        for number in range(members)
    }
    return Ensemble.of(weights, "random")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder whose three scans were graded by a person."""
    from SpineMotionToolsLib.phantoms.hrpqct import write_phantom_aim

    folder = tmp_path_factory.mktemp("study")
    for number, (subject, grade) in enumerate(SUBJECTS.items()):
        write_phantom_aim(folder / f"{subject}_DT_T1.AIM", number, "tibia", (grade,), slices=4, size=48)
    root = folder / "derivatives" / "MotionScore"
    predict(discover(folder), root, PredictOptions(manual_only=True, pictures=False))
    for row in read_index(root):
        review = review_store.ReviewFiles((root / row["review_tsv"]).parent)
        review_store.apply_grade(review, row["scan_id"], SUBJECTS[row["subject_id"]], "AB")
    return root


@pytest.fixture(scope="module")
def manifest(results, tmp_path_factory):
    sampling = training.Sampling(slice_count=3, folds=3)
    return training.train_prepare(results, tmp_path_factory.mktemp("slices"), sampling).manifest


# ----- manifest


def test_the_manifest_lists_every_sampled_slice_with_its_grade(manifest):
    rows = read_rows(manifest)
    assert tuple(rows[0]) == MANIFEST_COLUMNS
    assert len(rows) == 9
    assert {(row["subject_id"], int(row["label"])) for row in rows} == set(SUBJECTS.items())
    assert {row["label_source"] for row in rows} == {"manual_scan_propagated"}
    assert {row["sample_weight"] for row in rows} == {"1.000"}
    assert {row["fold_id"] for row in rows} == {"0", "1", "2"}
    for scan in {row["scan_id"] for row in rows}:
        chosen = [int(row["slice_index"]) for row in rows if row["scan_id"] == scan]
        assert chosen == sample_slices(4, scan, 3).tolist()


def test_kept_slices_are_the_networks_input(manifest):
    from SpineMotionToolsLib.motion.inputs import read_scan
    from SpineMotionToolsLib.motion.slices import prepare

    slices = training.read_manifest(manifest)
    row = slices.rows[-1]
    expected = prepare(read_scan(row["raw_image_path"]).array.transpose(2, 1, 0))[int(row["slice_index"])]
    np.testing.assert_array_equal(slices.image(len(slices) - 1), expected)


def test_slices_are_made_again_only_when_something_changed(results, manifest):
    cached = sorted((manifest.parent / training.SLICE_FOLDER).glob("*.npy"))
    before = [path.stat().st_mtime_ns for path in cached]
    training.train_prepare(results, manifest.parent, training.Sampling(slice_count=3, folds=3))
    assert [path.stat().st_mtime_ns for path in cached] == before


def test_a_lost_scan_is_skipped_and_named(results, tmp_path):
    lost = next(row for row in read_index(results) if row["subject_id"] == "SUB002")

    path = Path(lost["raw_image_path"])
    hidden = path.rename(path.with_suffix(".hidden"))
    try:
        prepared = training.train_prepare(results, tmp_path, training.Sampling(slice_count=2))
    finally:
        hidden.rename(path)
    assert (prepared.scans, prepared.slices) == (2, 4)
    assert [scan for scan, _ in prepared.skipped] == [lost["scan_id"]]


def test_without_grades_there_is_nothing_to_learn(tmp_path, results):
    with pytest.raises(InputError, match="Run predict first"):
        training.train_prepare(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="no results of 'other'"):
        training.train_prepare(results, tmp_path / "out", model_id="other")


@pytest.mark.parametrize("fault", ["missing", "columns", "pixels"])
def test_a_damaged_manifest_is_refused(manifest, tmp_path, fault):
    path = tmp_path / "manifest.tsv"
    if fault == "columns":
        path.write_text("scan_id\tlabel\na\t1\n", encoding="utf-8")
    elif fault == "pixels":
        path.write_text(manifest.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(InputError, match="train-prepare"):
        training.train(path, tmp_path / "out", random_ensemble())


# ----- training


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    lines: list[str] = []
    metrics = training.train(manifest, folder, random_ensemble(), SHORT, say=lines.append)
    return folder, metrics, lines


def test_every_member_gets_a_test_fold_of_its_own(trained):
    _, metrics, _ = trained
    assert [(model["test_fold"], model["validation_fold"]) for model in metrics["models"]] == [(0, 1), (1, 2)]
    for model in metrics["models"]:
        assert model["slices"] == {"train": 3, "validation": 3, "test": 3}
        assert [step["stage"] for step in model["history"]] == ["classifier", "full-model", "full-model"]
        gain = model["retrained_test_accuracy"] - model["base_test_accuracy"]
        assert model["accuracy_improvement"] == pytest.approx(gain)


def test_the_outputs_are_there_and_load_as_an_ensemble(trained):
    from PIL import Image

    folder, metrics, lines = trained
    assert json.loads((folder / training.METRICS_NAME).read_text(encoding="utf-8"))["models"] == metrics["models"]
    assert len(load_ensemble(folder)) == 2
    for name in (
        "training_plot.png",
        "training_plot_live.png",
        "training_plot_model_0.png",
        "training_plot_model_1.png",
    ):
        assert np.asarray(Image.open(folder / name)).std() > 0
    assert len(lines) == 6
    assert lines[0].startswith("[train-epoch] model=DNN_0 stage=classifier epoch=1 train_loss=")
    assert lines[0].endswith("lr=0.001")


def test_the_classifier_stage_leaves_the_convolutions_alone(manifest, tmp_path):
    base = random_ensemble(1)
    training.train(manifest, tmp_path, base, replace(SHORT, full_epochs=0), say=lambda line: None)
    old, new = base.members[0].tensors, load_ensemble(tmp_path).members[0].tensors
    assert all(np.array_equal(old[name], new[name]) == name.startswith("conv") for name in old)


def test_the_best_epoch_is_kept_not_the_last(manifest, tmp_path):
    """The kept copy must not follow the live weights: it must score the kappa it was kept for."""
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.motion.agreement import confusion
    from SpineMotionToolsLib.motion.training_data import validation_kappa
    from SpineMotionToolsLib.motion.training_member import fit, predict_grades

    slices = training.read_manifest(manifest)
    wild = replace(SHORT, classifier_epochs=0, full_epochs=3, full_rate=0.05)
    seen = slices.of_folds([0, 1, 2])
    fitted = fit(random_ensemble(1).members[0].tensors, seen, seen, wild, 0, Engine(), lambda history: None)
    kappas = [step["val_weighted_kappa"] for step in fitted.history]
    assert fitted.kappa == max(kappas)
    assert fitted.epoch == 1 + kappas.index(max(kappas))
    grades = predict_grades(fitted.tensors, seen, 4, Engine())
    pairs = list(zip((seen.targets + 1).tolist(), grades.tolist()))
    assert validation_kappa(confusion(pairs)) == pytest.approx(fitted.kappa)


def test_a_cancelled_run_goes_on_with_the_next_member(manifest, tmp_path):
    def stop_in_the_second(done: float, of: float, text: str = "") -> None:
        if done > 1:
            raise Cancelled("stopped")

    base, quick = random_ensemble(), replace(SHORT, full_epochs=0)
    with pytest.raises(Cancelled):
        training.train(manifest, tmp_path, base, quick, progress=stop_in_the_second, say=lambda line: None)
    first = (tmp_path / "DNN_0.pt").stat().st_mtime_ns
    lines: list[str] = []
    metrics = training.train(manifest, tmp_path, base, quick, say=lines.append)
    assert (tmp_path / "DNN_0.pt").stat().st_mtime_ns == first
    assert [model["model"] for model in metrics["models"]] == ["DNN_0", "DNN_1"]
    assert all("model=DNN_1" in line for line in lines)


def test_two_subjects_are_too_few(results, tmp_path):
    two = training.train_prepare(results, tmp_path, training.Sampling(slice_count=1, folds=2)).manifest
    with pytest.raises(InputError, match="three subjects"):
        training.train(two, tmp_path / "out", random_ensemble(1), SHORT)


@pytest.mark.parametrize("change", ["flip_horizontal", "flip_vertical", "rotate", "crop"])
def test_augmentation_does_what_it_is_told(change):
    import torch
    from SpineMotionToolsLib.motion.training_member import augment

    image = torch.rand(1, 32, 32)
    none = {"flip_horizontal": False, "flip_vertical": False, "rotate": False, "crop": False}
    random = np.random.default_rng(1)
    for _ in range(5):
        assert torch.equal(augment(image, replace(SHORT, **none), random), image)
    seen = [augment(image, replace(SHORT, **none | {change: True}), random) for _ in range(24)]
    unchanged = sum(torch.equal(one, image) for one in seen)
    assert all(one.shape == image.shape for one in seen)
    assert 3 < unchanged < 21
    if change == "flip_horizontal":
        assert all(torch.equal(one, image) or torch.equal(one, image.flip(2)) for one in seen)


# ----- the starter's recipe


def test_the_normalized_network_folds_into_the_published_one():
    import torch
    from SpineMotionToolsLib.common.weights import check_contract
    from SpineMotionToolsLib.motion.networks import MotionNet
    from SpineMotionToolsLib.motion.starter_network import NormalizedNet

    torch.manual_seed(0)
    net = NormalizedNet()
    net.train()
    for _ in range(2):
        net.logits(torch.rand(2, 1, 128, 128))
    torch.nn.init.normal_(net.shifts[2])
    net.eval()
    folded = net.folded()
    check_contract(folded, contract(), "folded network")
    image = torch.rand(1, 1, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(
            MotionNet.from_tensors(folded).logits(image), net.logits(image), rtol=1e-4, atol=1e-5
        )


def test_examples_repeat_and_splits_share_no_bone():
    from SpineMotionToolsLib.motion.starter_slices import bone_examples

    first, again = bone_examples("train", 0, (1,)), bone_examples("train", 0, (1,))
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != bone_examples("test", 0, (1,)).images).any()
    assert first.images.shape == (1, 512, 512)
    assert first.motion_mm[0] < 0.007


def test_held_out_bones_show_every_grade_as_often_at_both_sites():
    from SpineMotionToolsLib.motion.starter_slices import two_grades
    from SpineMotionToolsLib.motion.starter_training import TEST_BONES

    shown = np.array([(bone % 2, grade) for bone in range(TEST_BONES) for grade in two_grades(bone)])
    assert len(shown) == 200
    assert all(((shown == (site, grade)).all(axis=1)).sum() == 20 for site in (0, 1) for grade in range(1, 6))


def test_the_starter_learns_and_a_bootstrap_keeps_bones_whole():
    import torch
    from SpineMotionToolsLib.motion.starter_network import NormalizedNet
    from SpineMotionToolsLib.motion.starter_slices import Examples
    from SpineMotionToolsLib.motion.starter_training import Phase, bootstrap, learn

    random = np.random.default_rng(0)
    grades = np.tile([1, 5], 8)
    images = random.integers(0, 60, (16, 512, 512), dtype=np.uint8)
    images[grades == 5, :, ::4] += 150
    examples = Examples(images, grades, np.arange(16) // 2, np.zeros(16), np.zeros(16))
    lines: list[str] = []
    torch.manual_seed(0)
    learn(NormalizedNet(), Phase("crops", 96, 6, 8, 5e-3), examples, examples, 0, say=lines.append)
    losses = [float(line.rpartition(" ")[2]) for line in lines]
    assert losses[-1] < 0.8 * losses[0]
    drawn = bootstrap(examples, random)
    assert len(drawn) == 16
    assert all((drawn.bones == bone).sum() % 2 == 0 for bone in np.unique(drawn.bones))


def test_the_terminal_says_what_is_missing(tmp_path, capsys):
    from SpineMotionToolsLib.motion.starter_training import main

    (tmp_path / "something").write_text("", encoding="utf-8")
    for arguments, reason in (([], "--out is needed"), (["--out", str(tmp_path)], "--resume")):
        with pytest.raises(SystemExit):
            main(arguments)
        assert reason in capsys.readouterr().err


def test_terminal_takes_the_data_set_as_well_as_its_results(results, tmp_path):
    from SpineMotionToolsLib import cli

    study = results.parent.parent
    assert cli.main(["motion", "train-prepare", str(study), "--out", str(tmp_path), "--slice-count", "1"]) == 0
    assert (tmp_path / "manifest.tsv").exists()


def test_terminal_says_what_is_missing_for_training(tmp_path, capsys):
    from SpineMotionToolsLib import cli

    assert cli.main(["motion", "train-prepare", str(tmp_path), "--out", str(tmp_path / "slices")]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert cli.main(["motion", "train", str(tmp_path / "manifest.tsv"), "--out", str(tmp_path / "out")]) == 2
    assert "manifest.tsv" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_starter_follows_the_motion_of_unseen_phantoms():
    from SpineMotionToolsLib.motion.agreement import agreement
    from SpineMotionToolsLib.motion.pipeline import grade
    from SpineMotionToolsLib.phantoms.hrpqct import make_phantom

    pairs = []
    for seed, site in enumerate(("radius", "tibia")):
        for truth in range(1, 6):
            phantom = make_phantom(500 + seed, site, truth, slices=3)
            pairs.append((truth, int(grade(phantom.volume.transpose(2, 1, 0)).slice_grades[1])))
    assert agreement(pairs).kappa_weighted_quadratic > 0.8
    assert max(abs(truth - graded) for truth, graded in pairs) <= 2

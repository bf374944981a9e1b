"""Training of the starter networks: samples, stores, losses, resuming, evaluation; on made scans, without the data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from SpineMotionToolsLib.spinenet.training_scans import LABELS, UNSURE, VALID, Subject

torch = pytest.importorskip("torch")

SIDE, SLICES = 300, 20


def made_subject(name: str = "made", seed: int = 0) -> Subject:
    """Eight boxes above each other, bright on a gray ground, in every slice."""
    rng = np.random.default_rng(seed)
    volume = rng.normal(60, 5, (SIDE, SIDE, SLICES)).astype(np.float32)
    corners = np.zeros((SLICES, len(LABELS), 4, 2), dtype=np.float32)
    for body in range(len(LABELS)):
        top, left = 12 + 34 * body, 120
        corners[:, body] = [[left + 34, top], [left + 34, top + 26], [left, top + 26], [left, top]]
        volume[top : top + 27, left : left + 35] = 160
    state = np.full((SLICES, len(LABELS)), VALID, dtype=np.uint8)
    state[:2] = UNSURE
    return Subject(name, volume, corners, state)


@pytest.fixture(scope="module")
def subjects():
    return [made_subject(f"made-{number}", number) for number in range(4)]


@pytest.fixture(scope="module")
def patches(subjects, tmp_path_factory):
    from SpineMotionToolsLib.spinenet import training_store

    folder = tmp_path_factory.mktemp("patches")
    size, training_store.PART = training_store.PART, 8
    try:
        return training_store.stored_patches(subjects, folder, 16, made=1, log=lambda line: None)
    finally:
        training_store.PART = size


def made_spine(seed: int = 0) -> Subject:
    from SpineMotionToolsLib.spinenet.training_scans import made_subjects

    return made_subjects(1, seed)[0]


def test_made_spines_have_all_levels_and_sides_left_out():
    made = made_spine()
    assert made.labels[0] == "C2"
    assert made.labels[-1] == "S1"
    assert made.corners.shape[:2] == made.state.shape == (made.volume.shape[2], 24)
    assert (made.state[len(made.state) // 2] == VALID).any()
    assert ((made.state == VALID).sum(axis=0) >= 1).all()


def test_patches_of_made_spines_name_their_levels(subjects, monkeypatch):
    from SpineMotionToolsLib.spinenet import training_patches
    from SpineMotionToolsLib.spinenet.labelling import LEVELS

    monkeypatch.setattr(training_patches, "MADE_SHARE", 1.0)
    sampler = training_patches.PatchSampler(subjects, 3, [made_spine()])
    most = 0
    for _ in range(6):
        image, corners, ignored, number = sampler.sample()
        assert number == training_patches.MADE
        assert corners.shape == (len(LEVELS), 4, 2)
        known = np.isfinite(corners[:, 0, 0])
        most = max(most, known.sum())
        assert (np.diff(corners[known].mean(axis=1)[:, 1]) < 0).all()  # S1 first, C2 last: upward
    assert most > 8


def test_volumes_of_made_spines_have_all_classes():
    from SpineMotionToolsLib.spinenet.training_labels import VolumeSampler

    volumes, classes, _ = VolumeSampler([made_spine()], 0).scan()
    assert volumes.shape == (24, 112, 112, 8)
    assert classes.tolist() == list(range(23, -1, -1))


def test_air_is_taken_off(subjects):
    from dataclasses import replace

    shifted = replace(subjects[0], air=30.0)
    assert shifted.without_air(np.array([0.0, 30.0, 100.0])).tolist() == [0, 0, 70]
    assert shifted.without_air(np.array([40.0]), 0.5).tolist() == [25]


@pytest.mark.parametrize("look", ["t1", "fat_suppressed"])
def test_looks_have_the_fluid_and_marrow_of_their_sequence(look):
    """On T1 fluid is darker than marrow, on STIR far brighter; fat behind the canal loses its signal on STIR only."""
    from SpineMotionToolsLib.spinenet.training_contrast import Contrast

    made = made_spine(3)
    z = made.volume.shape[2] // 2
    chosen = np.flatnonzero((made.state[z] == VALID) & np.isin(made.labels, ["L2", "L3", "L4"]))
    assert len(chosen)
    picture = made.volume[:, :, z] / 255
    changed = getattr(Contrast(np.random.default_rng(0)), look)(picture, made.corners[z].astype(float))
    for body in chosen:
        rt, rb, lb, lt = made.corners[z, body]
        back = (rt - lt + rb - lb) / 2
        fluid = (rt + rb) / 2 + np.linspace(0.1, 0.5, 9)[:, None] * back
        center = (rt + rb + lb + lt) / 4
        marrow = changed[round(center[1]), round(center[0])]
        shown = max(changed[round(y), round(x)] for x, y in fluid)
        assert shown < marrow if look == "t1" else shown > 1.5 * marrow


@pytest.mark.parametrize("seed", range(6))
def test_corners_of_a_patch_lie_on_its_bodies(seed, subjects):
    """Whatever the turn, bend and change of shape: gray values inside the drawn corners are those of bodies."""
    from SpineMotionToolsLib.spinenet.training_patches import PatchSampler

    sampler = PatchSampler(subjects, seed)
    sampler._contrast.change = lambda image, corners: image
    image, corners, ignored, number = sampler.sample()
    assert image.shape == ignored.shape == (224, 224)
    assert 0 <= number < len(subjects)
    for body in corners[np.isfinite(corners[:, 0, 0])]:
        for share in (0.35, 0.65):  # points well inside, between opposite corners
            column, row = np.rint(body[0] * share + body[2] * (1 - share)).astype(int)
            if 2 <= row < 222 and 2 <= column < 222:
                assert image[row, column] > 0.7 * image.max()


def test_store_goes_on_where_it_was_stopped(subjects, tmp_path, monkeypatch):
    from SpineMotionToolsLib.spinenet import training_store

    monkeypatch.setattr(training_store, "PART", 4)
    whole = training_store.stored_patches(subjects, tmp_path / "a", 8, made=1, log=lambda line: None)
    lines = []
    training_store.stored_patches(subjects, tmp_path / "b", 4, made=1, log=lines.append)
    resumed = training_store.stored_patches(subjects, tmp_path / "b", 8, made=1, log=lines.append)
    assert lines == ["patches: 4 of 4", "patches: 8 of 8"]
    for name in ("images", "corners", "ignored", "subjects"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(resumed, name))


@pytest.mark.parametrize("columns", [128, 224])
def test_batch_shows_the_spine_and_leaves_out_what_nobody_labelled(patches, columns):
    images, targets, weights, vectors = patches.batch(np.arange(6), np.random.default_rng(1), columns)
    assert images.shape == (6, 1, 224, columns)
    assert targets.shape == (6, 13, 224, columns)
    assert set(np.unique(weights)) <= {0.0, 1.0}
    assert not vectors[:, 0][weights == 0].any()
    assert targets[:, 4].max(axis=(1, 2)).min() > 0.5  # every sample shows a body


def test_loss_ignores_what_nobody_labelled():
    from SpineMotionToolsLib.spinenet.training_detector import heat_loss

    target = torch.zeros(1, 5, 32, 32)
    target[:, :, 8:12, 8:12] = 1.0
    weight = torch.ones(1, 32, 32)
    weight[:, 20:] = 0
    output = torch.randn(1, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    other = output.clone()
    other[:, :, 20:] += 50
    assert heat_loss(output, target, weight) == heat_loss(other, target, weight)
    assert heat_loss(20 * (target - 0.5), target, weight) < 0.01 < heat_loss(output, target, weight)


def test_detector_learns_resumes_and_keeps_the_fold_out(subjects, patches, tmp_path, monkeypatch):
    from SpineMotionToolsLib.common.weights import read_metadata
    from SpineMotionToolsLib.spinenet import training_detector
    from SpineMotionToolsLib.spinenet.models import load_network

    monkeypatch.setattr(training_detector, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(training_detector, "BATCH", 2)
    seen = []
    batch = type(patches).batch
    monkeypatch.setattr(
        type(patches), "batch", lambda self, chosen, *rest: seen.extend(chosen) or batch(self, chosen, *rest)
    )

    def stop(line):
        if "step 4" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training_detector.train_detector(subjects, patches, 1, tmp_path, steps=6, log=stop)
    path = training_detector.train_detector(subjects, patches, 1, tmp_path, steps=6, log=lambda line: None)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "detection-fold1.log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert steps[-1] == 6
    assert not (patches.subjects[np.array(seen)] == 1).any()
    assert "made-1" not in read_metadata(path)["trained_on"]
    network = load_network(path, "detection").eval()
    with torch.inference_mode():
        maps = network(torch.zeros(1, 1, 224, 224))
    assert maps.shape == (1, 13, 224, 224)
    assert 0 <= maps[:, :5].min()
    assert maps[:, :5].max() <= 1


def test_appearance_volumes_are_those_that_reading_cuts(subjects):
    """The training crop equals the pipeline's crop of the same outline, but for interpolation."""
    from SpineMotionToolsLib.spinenet.small_networks import SmallAppearance
    from SpineMotionToolsLib.spinenet.training_labels import VolumeSampler
    from SpineMotionToolsLib.spinenet.vertebra_volumes import extract

    class Still:
        """A generator without chance."""

        def normal(self, mean, sigma, size=None):
            return mean if size is None else np.full(size, float(mean))

        def random(self, size=None):
            return 0.99

    sampler = VolumeSampler(subjects, 0)
    sampler._rng = Still()
    sampler._contrast.change = lambda image, corners: image
    subject = subjects[0]
    outline = subject.corners[5, 3].astype(np.float64)
    slices = subject.volume.reshape(SIDE, SIDE, -1, 4).mean(axis=3)
    cut = sampler._cut(slices, outline, subject.corners[5])
    read = torch.from_numpy(extract(slices, outline))[None, None]
    wanted = SmallAppearance.reduced(read)[0, 0].numpy()
    assert cut.shape == wanted.shape == (112, 112, 8)
    assert np.abs((cut - cut.mean()) - (wanted - wanted.mean())).mean() < 0.02


def test_context_samples_fall_down_the_body():
    from SpineMotionToolsLib.spinenet.training_labels import SequenceSampler

    sampler = SequenceSampler(3)
    for _ in range(50):
        image, centers, classes = sampler.spine()
        assert image.shape == (512, 24)
        assert np.all(np.diff(centers) > 0)
        assert np.all((np.diff(classes) < 0) | (classes[1:] == 0))
        assert np.allclose(image[centers].sum(axis=1), 1)


def test_outcome_counts_misses_false_bodies_and_wrong_labels(subjects):
    from dataclasses import replace

    from SpineMotionToolsLib.common.provenance import current
    from SpineMotionToolsLib.spinenet.results import Spine, Vertebra
    from SpineMotionToolsLib.spinenet.training_evaluation import clinical_scan, compare

    subject = subjects[0]
    scan = clinical_scan(subject)
    assert scan.array.shape == (SIDE, SIDE, SLICES // 4)
    bodies = tuple(
        Vertebra(label, (1, 2, 3), np.repeat(subject.corners[5, body][None] + 1.0, 3, axis=0), scan.geometry)
        for body, label in enumerate(LABELS)
    )
    spine = Spine(bodies, (), scan.geometry, current("spinenet", "made"))
    good = compare(spine, subject)
    assert (good.bodies, good.found, good.false, good.labelled_right) == (7, 7, 0, 7)
    assert np.allclose(good.corner_errors, np.sqrt(2), atol=1e-5)
    stray = replace(bodies[2], corners_px=bodies[2].corners_px - (90, 0))
    bad = compare(replace(spine, vertebrae=(*bodies[:3], replace(bodies[4], label="L4"), *bodies[5:], stray)), subject)
    assert (bad.bodies, bad.found, bad.false, bad.labelled_right) == (7, 6, 1, 5)
    assert any("L2 missed" in remark for remark in bad.remarks)


def test_drawn_discs_show_their_grades():
    from SpineMotionToolsLib.phantoms.disc_mri import DiscGrades, draw_disc

    healthy = DiscGrades(*([0] * 11))
    narrow = DiscGrades(4, 3, *([0] * 9))
    volumes = [draw_disc(grades, np.random.default_rng(5)) for grades in (healthy, narrow)]
    assert all(volume.shape == (9, 112, 224) and volume.dtype == np.float32 for volume in volumes)
    assert all(0 <= volume.min() and volume.max() <= 1 for volume in volumes)
    bright, dark = (volume[4, 50:62, 95:130].mean() for volume in volumes)
    assert bright > 2 * dark  # a healthy nucleus is bright


def test_grading_network_serves_fine_tuning():
    """It has the heads and features that the fine-tuning of published networks uses."""
    from SpineMotionToolsLib.spinenet.grades import HEADS
    from SpineMotionToolsLib.spinenet.small_networks import SmallGrading

    network = SmallGrading((4, 8, 8, 8)).eval()
    volume = torch.zeros(2, 1, 9, 112, 224)
    with torch.inference_mode():
        outputs, features = network(volume), network.features(volume)
    assert [tuple(output.shape) for output in outputs] == [(2, head.classes) for head in HEADS]
    assert features.shape == (2, getattr(network, HEADS[0].key).in_features)


def test_command_needs_a_place_for_results(capsys, tmp_path):
    from SpineMotionToolsLib.spinenet.starter_training import main

    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path)])
    assert "--out" in capsys.readouterr().err

"""Grading: the fast ensemble decides as the published computation does; votes, stacks, tables, jobs, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import Cancelled, InputError
from SpineMotionToolsLib.common.volumes import Volume
from SpineMotionToolsLib.motion import ensemble as scoring
from SpineMotionToolsLib.motion import legacy, slices
from SpineMotionToolsLib.motion.ensemble import Scorer, reference_probabilities
from SpineMotionToolsLib.motion.members import Ensemble
from SpineMotionToolsLib.motion.networks import FastMember, MotionNet, fold, halve
from SpineMotionToolsLib.motion.pipeline import ahead, decide, grade
from SpineMotionToolsLib.motion.results import MotionResult, ScanInfo
from SpineMotionToolsLib.motion.stacks import stack_ranges
from SpineMotionToolsLib.motion.votes import RULES, count_votes, mean_decision, member_classes, percent, slice_decisions

from Testing.motion_scans import UNDECIDED, aim_bytes, phantom, seeded_ensemble, write, write_sparse_isq

CPU = Engine(device="cpu", precision="float32", threads=1)


def scored(ensemble: Ensemble, precision: str, images: np.ndarray) -> tuple[np.ndarray, Scorer]:
    """Probabilities as the pipeline gets them, two slices at a time, and the scorer."""
    scorer = Scorer(ensemble, replace(CPU, precision=precision).resolve(), len(images))
    got = np.concatenate([scorer.score(images[i : i + 2]) for i in range(0, len(images), 2)], axis=1)
    for position in scorer.doubtful():
        got[:, position] = scorer.score_exactly(images[position : position + 1], np.array([position]))[:, 0]
    return got, scorer


def reference(ensemble: Ensemble, images: np.ndarray) -> np.ndarray:
    return np.stack([reference_probabilities(MotionNet.from_tensors(m.tensors), images) for m in ensemble.members])


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    parts = [phantom((64, 60, 7)), phantom((300, 280, 2), name="motion-vol-b"), np.zeros((8, 8, 1), np.int16)]
    return np.concatenate([slices.prepare(part) for part in parts])


@pytest.fixture(scope="module")
def undecided() -> Ensemble:
    return seeded_ensemble(UNDECIDED)


# ----- the networks


def test_fast_member_computes_the_same_logits(images, undecided):
    levels = torch.from_numpy(images)
    for member in undecided.members:
        with torch.inference_mode():
            fast, _ = FastMember(member.tensors, torch.device("cpu"), torch.float32).logits(fold(levels.float()))
            want = MotionNet.from_tensors(member.tensors).logits(scoring.to_input(images))
        np.testing.assert_allclose(fast.numpy(), want.numpy(), rtol=1e-5, atol=1e-5)


@given(st.integers(2, 9), st.integers(2, 9))
def test_halve_is_max_pooling(height, width):
    x = torch.randn(2, 3, height, width)
    assert torch.equal(halve(x), torch.nn.functional.max_pool2d(x, 2))


@pytest.fixture(scope="module")
def want(images, undecided) -> np.ndarray:
    return reference(undecided, images)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_vote_is_the_published_one(images, undecided, want, precision):
    got, _ = scored(undecided, precision, images)
    np.testing.assert_array_equal(got.argmax(axis=2), want.argmax(axis=2))
    np.testing.assert_allclose(got, want, atol=1e-5 if precision == "float32" else 0.05)


def near_ties(ensemble: Ensemble, images: np.ndarray, gaps: list[float]) -> Ensemble:
    """Members whose last biases are shifted until their two best classes on image k differ by gaps[k], both ways."""
    weights = {}
    for number, gap in enumerate(gaps):
        member = ensemble.members[number % len(ensemble)]
        with torch.inference_mode():
            image = images[number % len(images)][None]
            logits = MotionNet.from_tensors(member.tensors).logits(scoring.to_input(image))[0].numpy()
        first, second = np.argsort(logits)[::-1][:2]
        bias = member.tensors["fc2.bias"].copy()
        bias[second] += logits[first] - logits[second] + gap
        weights[f"DNN_{number}"] = {**member.tensors, "fc2.bias": bias}
    return Ensemble.of(weights)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_adversarial_near_ties(images, undecided, precision, monkeypatch):
    """Leads of every size down to nothing, either way: where a faster order could err, the published one decides."""
    monkeypatch.setattr(scoring, "AUDIT_FIRST", 1)  # leave as many votes as possible to bfloat16
    monkeypatch.setattr(scoring, "GIVE_UP_SHARE", 1.0)
    gaps = [sign * size for size in (1e-1, 1e-3, 1e-5, 1e-7) for sign in (1, -1)] + [0.0]
    images = images[4:9]
    made = near_ties(undecided, images, gaps)
    got, scorer = scored(made, precision, images)
    np.testing.assert_array_equal(got.argmax(axis=2), reference(made, images).argmax(axis=2))
    if precision == "bfloat16":
        assert scorer.decided_again > 0
        assert np.isfinite(scorer._leads).sum() > 10  # and it did decide where it could


def test_bfloat16_votes_need_more_than_the_error_seen(images, undecided):
    """The bound is several times the largest error of the member, measured on the scan itself."""
    _, scorer = scored(undecided, "bfloat16", images)
    with torch.inference_mode():
        levels = torch.from_numpy(images)
        exact, _ = scorer._logits(scorer._float32, levels.float())
        coarse, sizes = scorer._logits(scorer._bfloat16, levels.bfloat16())
    errors = (np.ptp(coarse - exact, axis=2) / sizes).max(axis=1)
    assert (errors < scoring.SAFETY / 2 * scorer.largest_error).all()


def test_bfloat16_is_given_up_where_it_does_not_pay(images, undecided, want, monkeypatch):
    """When every vote has to be computed twice, the rest is computed in float32 at once, with the same votes."""
    monkeypatch.setattr(scoring, "SAFETY", 1e6)
    monkeypatch.setattr(scoring, "GIVE_UP_AFTER", 6)
    got, scorer = scored(undecided, "bfloat16", images)
    assert scorer.decided_again == 2 * len(undecided)  # slices 4 and 5; then it stopped trying
    np.testing.assert_array_equal(got.argmax(axis=2), want.argmax(axis=2))


def test_slices_unlike_the_measured_ones_are_measured_themselves(images, undecided):
    """A bright or a noisy slice among dark ones is decided in float32, whatever its lead."""
    odd = images[0] // 4 + 190
    noise = np.random.default_rng(0).integers(0, 256, odd.shape).astype(np.uint8)
    _, scorer = scored(undecided, "bfloat16", np.stack([*images[:6], odd, noise]))
    assert np.isinf(scorer._leads[6]).all()
    assert np.isinf(scorer._leads[7]).mean() > 0.5


def test_a_larger_error_seen_later_reopens_earlier_votes(images, undecided):
    _, scorer = scored(undecided, "bfloat16", images)
    stood = {z for z, leads in enumerate(scorer._leads) if np.isfinite(leads).any()}
    assert stood
    assert set(scorer.doubtful().tolist()) <= stood
    scorer.largest_error[:] = 1e6
    assert set(scorer.doubtful().tolist()) == stood


# ----- votes, rounding, stacks


def test_not_a_number_fails_loudly():
    probabilities = np.full((3, 4, 5), 0.2, dtype=np.float32)
    probabilities[1, 2, 0] = np.nan
    with pytest.raises(InputError, match="Member 1 .* slice 2"):
        member_classes(probabilities)


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=st.integers(0, 4)))
def test_votes(classes):
    for rules in RULES.values():
        votes = count_votes(classes, rules)
        divisor = rules.divisor or len(classes)
        assert votes.dtype == rules.dtype
        np.testing.assert_allclose(votes.sum(axis=1), len(classes) / divisor, rtol=1e-6)
        grades, confidences = slice_decisions(votes)
        for z, grade_ in enumerate(grades):
            counts = np.bincount(classes[:, z], minlength=5)
            assert grade_ - 1 == np.flatnonzero(counts == counts.max())[0]  # ties go to the better grade
            assert confidences[z] == rules.dtype(counts.max()) / rules.dtype(divisor)


def test_rounding_of_both_rules():
    half = mean_decision(np.array([2, 3]), np.array([0.57, 0.57]), RULES["newer"])
    assert half == (2, pytest.approx(0.57))
    assert mean_decision(np.array([3, 4]), np.ones(2), RULES["newer"])[0] == 4
    assert [percent(0.57, RULES[name]) for name in ("newer", "legacy")] == [57, 56]
    # At an exact half the two arithmetics part.
    tenths, grades = np.array([5] * 2 + [6] * 6), np.ones(8, dtype=int)
    assert mean_decision(grades, tenths / 10, RULES["legacy"])[1] == 0.57
    shares = tenths.astype(np.float32) / np.float32(10)
    assert mean_decision(grades, shares, RULES["newer"])[1] == pytest.approx(0.58)


@given(st.integers(0, 500), st.integers(1, 300), st.sampled_from(["keep_last", "drop_last"]))
def test_stacks_cover_the_scan_once(depth, height, policy):
    ranges = stack_ranges(depth, height, policy)
    covered = np.concatenate([np.arange(first, end) for first, end in ranges])
    np.testing.assert_array_equal(covered, np.arange(covered.size))
    if policy == "keep_last" or depth < height:
        assert covered.size == depth
    else:
        assert covered.size == depth - depth % height


# ----- from probabilities to a result


def made_probabilities(classes: np.ndarray) -> np.ndarray:
    return (0.1 + 0.5 * (classes[:, :, None] == np.arange(5))).astype(np.float32)


def made_scan(depth: int) -> ScanInfo:
    return ScanInfo("scan", (48, 40, depth), np.diag([-0.06, -0.06, 0.06, 1.0]))


def test_dropped_stack_counts_in_the_scan(tmp_path):
    classes = np.array([[0, 0, 0, 0, 4, 4]] * 3)
    result = decide(made_probabilities(classes), range(6), made_scan(6), RULES["newer"], 4, "drop_last")
    assert result.stack_grades.tolist() == [1.0]
    assert result.grade == 2  # mean of 1 1 1 1 5 5, 2.33
    assert (result.worst_stack_grade, result.fraction_slices_ge4) == (1, pytest.approx(1 / 3))
    assert [result.stack_of(z) for z in (0, 3, 4)] == [0, 0, -1]


def test_skipped_slices(tmp_path):
    classes = np.array([[0, 4], [0, 4], [1, 4]])
    result = decide(made_probabilities(classes), [0, 5], made_scan(9), RULES["newer"], 3, slice_step=5)
    assert result.slice_grades.tolist() == [1, 0, 0, 0, 0, 5, 0, 0, 0]
    assert result.slice_confidences[1] == -1
    assert result.stack_grades.tolist() == [1, 5, 0]
    assert result.stack_confidences.tolist() == [pytest.approx(0.67), 1, -1]
    assert not result.votes[1].any()
    assert result.worst_stack == 1
    rows = result.to_table().rows
    assert rows[1][3:] == [None] * 13
    assert result.stack_table().rows[2][3] is None


def test_ties_are_flagged():
    classes = np.array([[0, 2], [3, 2]])
    result = decide(made_probabilities(classes), range(2), made_scan(2), RULES["newer"])
    assert result.slice_grades.tolist() == [1, 3]
    assert result.slice_ties.tolist() == [True, False]
    assert not result.half_grade
    assert decide(
        made_probabilities(classes[:1, :1].repeat(2, 1) + [[0, 1]]), range(2), made_scan(2), RULES["newer"]
    ).half_grade


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.integers(0, 4)),
    st.sampled_from(["newer", "legacy"]),
)
def test_json_round_trip(classes, rules):
    depth = classes.shape[1]
    result = decide(made_probabilities(classes), range(depth), made_scan(depth), RULES[rules], 4)
    again = MotionResult.from_json(json.loads(json.dumps(result.to_json())))
    assert again.to_json() == result.to_json()
    assert again.votes.dtype == result.votes.dtype
    np.testing.assert_array_equal(again.slice_confidences, result.slice_confidences)


# ----- the whole way


def test_grade_a_file_and_its_array(tmp_path):
    volume = phantom((64, 60, 7))
    array = np.ascontiguousarray(volume.transpose(2, 1, 0))
    path = write(tmp_path / "P1_DT_BL.AIM;2", aim_bytes(array))
    ensemble = seeded_ensemble(UNDECIDED)
    seen = []
    result = grade(path, ensemble, stack_height=3, engine=CPU, progress=lambda *args: seen.append(args))
    same = grade(volume, ensemble, stack_height=3, engine=CPU)
    np.testing.assert_array_equal(result.votes, same.votes)
    np.testing.assert_array_equal(result.probabilities, same.probabilities)
    assert result.scan.name == "P1_DT_BL"
    assert result.scan.format == "AIM V030"
    assert "Mu_Scaling 8192" in result.scan.describe_unit()
    assert result.stack_ranges.tolist() == [[0, 3], [3, 6], [6, 7]]
    assert any("incomplete stack was kept" in warning for warning in result.warnings)
    assert seen[-1][:2] == (7, 7)
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    assert "DOE" not in json.dumps(result.to_json())
    want = decide(reference(ensemble, slices.prepare(volume)), range(7), result.scan, RULES["newer"], 3)
    np.testing.assert_array_equal(result.member_grades, want.member_grades)
    assert result.provenance["precision"] == "float32"


def test_batch_size_and_slabs_do_not_matter(tmp_path):
    volume, ensemble = phantom((50, 70, 6)), seeded_ensemble(UNDECIDED[:2])
    results = [grade(volume, ensemble, engine=replace(CPU, batch_size=size)) for size in (1, 4)]
    np.testing.assert_array_equal(results[0].votes, results[1].votes)
    np.testing.assert_allclose(results[0].probabilities, results[1].probabilities, atol=1e-6)


def test_legacy_rules_see_the_truncated_density(tmp_path):
    array = np.ascontiguousarray(phantom((48, 60, 4)).transpose(2, 1, 0))
    path = write(tmp_path / "a.aim", aim_bytes(array))
    result = grade(path, seeded_ensemble(), "legacy", engine=CPU)
    assert result.scan.unit == "density-from-hu"
    assert result.mean_confidence <= 0.2  # two members, divided by ten
    scores, confidences = legacy.scores(result)
    assert scores.tolist() == [result.grade]
    assert legacy.picture_name(legacy.scan_name("a.b.aim"), result).startswith(f"a_{result.grade}_")
    assert grade(path, seeded_ensemble(), "newer", engine=CPU).scan.unit == "native"


def test_cancel_stops_everything():
    def stop(done, of, text=""):
        if done >= 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        grade(phantom((64, 64, 30)), seeded_ensemble(), engine=CPU, progress=stop)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("motion-slices")]


def test_prepared_ahead_in_order_and_failing_loudly():
    assert list(ahead(lambda n: n * n, range(7))) == [n * n for n in range(7)]

    def fail(n: int) -> int:
        if n == 3:
            raise InputError("slice 3")
        return n

    with pytest.raises(InputError, match="slice 3"):
        list(ahead(fail, range(7)))


def test_bad_choices():
    volume = np.zeros((8, 8, 5), np.int16)
    for options, words in (
        ({"rules": "newest"}, "newer, legacy"),
        ({"slice_step": 0}, "Use 1"),
        ({"incomplete": "keep"}, "keep_last"),
        ({"stack_height": 2, "incomplete": "error"}, "do not divide"),
        ({"unit": "gray"}, "Choose one of"),
    ):
        with pytest.raises(InputError, match=words):
            grade(volume, seeded_ensemble(), engine=CPU, **options)


# ----- as a job


def test_task_in_a_child_process(tmp_path):
    from SpineMotionToolsLib.common.jobs import run_job

    volume = phantom((48, 40, 4))
    weights = tmp_path / "weights"
    weights.mkdir()
    for number, member in enumerate(seeded_ensemble().members):
        state = {name: torch.from_numpy(value.copy()) for name, value in member.tensors.items()}
        torch.save(state, weights / f"DNN_{number}.pt")
    voxels = tmp_path / "scan.npy"
    np.save(voxels, np.ascontiguousarray(volume.transpose(2, 1, 0)))
    scan = {"voxels_kji": str(voxels), "ijk_to_ras": np.eye(4).tolist(), "name": "ü", "unit": "unknown"}
    common = {"model": str(weights), "device": "cpu", "precision": "float32", "unit": "auto"}
    done = run_job("motion.tasks:grade", {"scan": scan, "stack_height": 2, **common})
    result = MotionResult.from_json(done["result"])
    want = grade(Volume(volume.transpose(2, 1, 0)), weights, stack_height=2, engine=CPU)
    np.testing.assert_array_equal(result.votes, want.votes)
    assert result.scan.name == "ü"
    explained = run_job("motion.tasks:explain", {"scan": scan, "result": done["result"], "mode": "per-slice", **common})
    attention = np.load(explained["attention"])
    assert attention.shape == volume.shape
    assert attention.max() == pytest.approx(1)


# ----- memory


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
def test_a_scan_larger_than_memory_stays_small(tmp_path):
    """2304 x 2304 x 1600 int16 (17 GB, nearly all hole): the peak depends on the slice, not on the depth."""
    random = np.random.default_rng(0)
    plane = random.integers(-500, 9000, (2304, 2304)).astype(np.int16)
    path = write_sparse_isq(tmp_path / "large.isq", (2304, 2304, 1600), {0: plane, 800: plane})
    weights = tmp_path / "weights"
    weights.mkdir()
    for number, member in enumerate(seeded_ensemble().members):
        state = {name: torch.from_numpy(value.copy()) for name, value in member.tensors.items()}
        torch.save(state, weights / f"DNN_{number}.pt")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from SpineMotionToolsLib.motion.pipeline import grade\n"
        "result = grade(sys.argv[1], sys.argv[2], slice_step=200, crop='none', engine='cpu')\n"
        # Not ru_maxrss: it counts the memory of the process that started this one.
        "print(result.scored.sum(), Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    root = str(Path(__file__).parents[1] / "SpineMotionTools")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(weights)],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    scored, peak_kib = map(int, done.stdout.split())
    assert scored == 8
    assert peak_kib < 1.5 * 2**20

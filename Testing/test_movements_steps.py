"""General movements step by step: masks, torso points, adjusting, flow, chunks, scores, folds, networks, weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.body_models import load_body_model
from SpineMotionToolsLib.common.body_network import BodyNetwork
from SpineMotionToolsLib.common.body_points import BodyPoints
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError, WeightsError
from SpineMotionToolsLib.common.video import FrameVideo
from SpineMotionToolsLib.movements import adjusting, background, chunks, folds, measures, models, quality, scores, torso
from SpineMotionToolsLib.movements.background_network import U2Net
from SpineMotionToolsLib.movements.inputs import EvenFrames, Infant, read_torso
from SpineMotionToolsLib.movements.networks import TwoStream, Variant, variant_of

CONTRACTS = Path(chunks.__file__).parent / "contracts"
TORSO = np.array([[90.0, 60], [130, 62], [95, 120], [125, 121]])
CPU = Engine("cpu", "float32").resolve()


# ----- networks and weights


@pytest.mark.parametrize(
    ("contract", "make"),
    [
        ("u2net", U2Net),
        ("openpose_body", BodyNetwork),
        ("two_stream_resnet50", lambda: TwoStream(Variant())),
        ("two_stream_resnet18", lambda: TwoStream(Variant(18, 18))),
        ("two_stream_resnet50_original", lambda: TwoStream(Variant(fusion="sum"))),
        ("spatial_only_resnet50", lambda: TwoStream(Variant(50, None, "sum"))),
        ("temporal_only_resnet50", lambda: TwoStream(Variant(None, 50, "sum"))),
    ],
)
def test_state_dicts_equal_their_contracts(contract, make):
    wanted = json.loads((CONTRACTS / f"gma-{contract}.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        network = make()
    state = network.state_dict()
    assert {k: list(v.shape) for k, v in state.items()} == {k: v["shape"] for k, v in wanted.items()}
    assert variant_of(state) == (network.variant if isinstance(network, TwoStream) else None)


def test_weights_of_a_parallel_training_are_read_and_foreign_ones_told(tmp_path):
    network = TwoStream(Variant(18, 18, width=8))
    torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, tmp_path / "best_weights.pth")
    loaded = models.load_classifier(tmp_path / "best_weights.pth", CPU)
    assert loaded.variant == network.variant
    assert not loaded.starter
    torch.save({"x": torch.zeros(3)}, tmp_path / "other.pth")
    for load in (models.load_classifier, models.load_background_model, load_body_model):
        with pytest.raises(WeightsError, match="fits no"):
            load(tmp_path / "other.pth", CPU)


class Malice:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_code_in_a_weight_file_is_refused_unrun(tmp_path):
    torch.save({"state_dict": Malice(tmp_path / "ran")}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="nothing in it was run"):
        models.load_classifier(tmp_path / "bad.pth", CPU)
    assert not (tmp_path / "ran").exists()


def test_narrow_networks_keep_shapes():
    assert [m.shape for m in U2Net(8)(torch.zeros(1, 3, 37, 51))] == [(1, 1, 37, 51)] * 7
    fields, maps = BodyNetwork(2, 8)(torch.zeros(1, 3, 40, 48))
    assert (fields.shape, maps.shape) == ((1, 38, 5, 6), (1, 19, 5, 6))


# ----- masks


def test_black_frames_and_constant_maps_give_no_nan():
    tensor = background.network_input(np.zeros((50, 60, 3), np.uint8), 32)
    assert np.isfinite(tensor).all()
    mask = background.mask_of(np.full((8, 8), 0.4, np.float32), (20, 30))
    assert mask.shape == (20, 30)
    assert not mask.any()


def test_reduction_keeps_the_mean_inside_and_clips():
    picture = np.random.default_rng(0).uniform(0.2, 0.8, (200, 160, 3))
    reduced = background.resize_antialiased(picture, (20, 16))
    assert reduced[5:15, 5:11].mean() == pytest.approx(picture.mean(), abs=0.02)
    assert reduced.min() >= picture.min()
    assert reduced.max() <= picture.max()


def test_cleaned_mask_is_its_largest_part():
    mask = np.zeros((20, 20), np.float32)
    mask[2:10, 2:10], mask[15:17, 15:17] = 0.9, 0.9
    assert background.clean_mask(mask).sum() == 64
    assert not background.clean_mask(np.zeros((5, 5), np.float32)).any()


# ----- torso and adjusting


def bodies(points: np.ndarray, persons: int = 1) -> BodyPoints:
    candidates = np.array([[*p, 0.9, i] for i, p in enumerate(points)])
    rows = np.full((persons, 20), -1.0)
    for number, joint in enumerate(torso.TORSO_JOINTS):
        rows[0, joint] = number
    return BodyPoints(candidates, rows)


def test_exactly_four_points_or_none():
    assert torso.torso_points(bodies(TORSO)).shape == (7, 2)
    found = bodies(TORSO, 2)
    found.persons[1, 2] = 0
    assert torso.torso_points(found).shape == (0, 2)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames_give_their_median_and_none_a_sentence(count):
    samples = [torso.with_midpoints(TORSO + [0, shift]) for shift in range(count)]
    assert np.isfinite(torso.average_trunk(samples).center_px).all()
    with pytest.raises(InputError, match="No infant was found"):
        torso.average_trunk([np.zeros((0, 2), np.int32)])
    with pytest.raises(InputError, match="Four torso points"):
        torso.with_midpoints(TORSO[:3])


@settings(deadline=None, max_examples=40)
@given(st.floats(-179, 179), st.floats(0, 150), st.floats(0, 110))
def test_turned_points_follow_the_picture_and_back(degree, x, y):
    size = (160, 120)
    point = np.array([[x, y]])
    turned = adjusting.turned_points(point, degree, size)
    assert np.allclose(adjusting.unturned_points(turned, degree, size), point, atol=1e-6)


@pytest.mark.parametrize("degree", [0, 33, 90, -120])
def test_turned_points_lie_where_the_pixels_go(degree):
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[39:42, 99:102] = 255
    turned = adjusting.turn(picture, degree, enlarge=True)
    ys, xs = np.nonzero(turned[..., 0])
    found = adjusting.turned_points(np.array([[100.0, 40.0]]), degree, (160, 120))[0]
    assert found == pytest.approx([xs.mean(), ys.mean()], abs=0.8)


@pytest.mark.parametrize("turn_deg", [0, 50, -130])
def test_adjusted_infants_lie_upright_centered_and_of_one_size(turn_deg):
    size = (320, 240)
    angle = np.radians(turn_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (TORSO - TORSO.mean(axis=0)) @ rotation.T + [170, 110]
    rough = torso.rough_degree([torso.with_midpoints(points)])
    turned = torso.with_midpoints(adjusting.turned_points(points, rough, size))
    adjustment = torso.Adjustment(rough, torso.average_trunk([turned]))
    placed = adjusting.to_adjusted(points, adjustment, size)
    neck, crotch = placed[:2].mean(axis=0), placed[2:].mean(axis=0)
    assert (neck + crotch) / 2 == pytest.approx([112, 112], abs=2.5)
    assert np.hypot(*(crotch - neck)) == pytest.approx(224 / 3.75, abs=2.5)
    assert crotch[1] > neck[1]
    assert abs(crotch[0] - neck[0]) < 3
    picture = np.zeros((240, 320, 3), np.uint8)
    x, y = np.rint(points[0]).astype(int)
    picture[y - 1 : y + 2, x - 1 : x + 2] = 255
    ys, xs = np.nonzero(adjusting.adjust(picture, adjustment)[..., 0] > 60)
    assert [xs.mean(), ys.mean()] == pytest.approx(list(placed[0]), abs=2.5)


# ----- chunks, flow, energy


def test_chunks_need_the_frames_of_the_study():
    chunk = chunks.chunk_at(151)
    assert chunk.picture == 166
    assert chunk.flows == (155, 160, 165, 170, 175, 180)
    assert chunk.frames == (150, 155, 160, 165, 166, 170, 175, 180)
    assert chunks.starts() == list(range(1, 1800, 150))
    assert chunks.starts(1800) == chunks.starts()
    assert chunks.starts(182) == [1, 151]
    assert chunks.starts(180) == [1]
    assert chunks.starts(10) == []


@settings(deadline=None)
@given(st.floats(-100, 100, width=32))
def test_flow_code_is_close_within_its_range_and_saturates(value):
    code = chunks.encode_flow(np.array([value]))
    back = chunks.decode_flow(code)[0] * 20
    assert back == pytest.approx(np.clip(value, -20, 20), abs=0.25)


def test_mirroring_twice_changes_nothing_and_turns_x():
    random = np.random.default_rng(0)
    picture, flow = random.random((3, 6, 8)).astype(np.float32), random.standard_normal((12, 6, 8)).astype(np.float32)
    once = chunks.mirror(picture, flow)
    assert np.allclose(once[1][0], -flow[0][:, ::-1])
    assert np.allclose(once[1][1], flow[1][:, ::-1])
    assert all(np.allclose(a, b) for a, b in zip(chunks.mirror(*once), (picture, flow)))


def test_energy_is_felt_by_the_part_that_moves():
    areas = measures.part_areas()
    stack = np.stack(list(areas.values()))
    assert stack.sum(axis=0).max() == 1
    chunk = chunks.chunk_at(1)
    base = np.full((224, 224, 3), 60, np.uint8)
    pictures = {}
    for k, number in enumerate(chunk.frames):
        picture = base.copy()
        picture[60 + 2 * k : 90 + 2 * k, 30:60] = 200  # upper left in the picture: the infant's right arm
        pictures[number] = picture
    energy = measures.chunk_energy(chunk, pictures)
    assert max(energy, key=energy.get) == "right arm"
    assert energy["left leg"] < 0.1 * energy["right arm"]


# ----- scores and folds


def test_subject_score_is_the_mean_logit_and_first_maximum_wins():
    logits = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 5], [0, 0, -4]])
    predicted, truth = scores.subject_classes(["a", "a", "b", "b"], [0, 0, 2, 2], logits)
    assert predicted.tolist() == [0, 2]
    assert truth.tolist() == [0, 2]
    assert scores.probabilities(logits).sum(axis=1) == pytest.approx(1)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=15, max_size=60))
def test_folds_hold_every_infant_once_and_classes_evenly(labels):
    parts = folds.stratified_folds(labels)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for label in set(labels):
        counts = [sum(labels[i] == label for i in part) for part in parts]
        assert max(counts) - min(counts) <= 1


def test_early_stop_saves_on_equal_losses():
    assert folds.replay([1.0, 1.0, 2.0, 2.0], 2) == ([0, 1], 3)
    assert folds.replay([3, 2, 1], 2) == ([0, 1, 2], -1)


# ----- inputs


@pytest.mark.parametrize("rate", [15.0, 25.0, 29.97, 30.0, 60.0])
def test_any_frame_rate_becomes_thirty(rate):
    count = int(4 * rate)
    video = FrameVideo(lambda n: np.full((4, 4, 3), n % 256, np.uint8), np.arange(count) / rate)
    frames = EvenFrames(video)
    assert len(frames) == pytest.approx(120, abs=2)
    for number, picture in frames.pictures([0, 30, 60, 90]):
        assert int(picture[0, 0, 0]) / rate == pytest.approx(number / 30, abs=0.51 / rate)


def test_usual_length_is_about_a_minute():
    def usual(seconds):
        video = FrameVideo(lambda n: np.full((200, 200, 3), 99, np.uint8), np.arange(int(12 * seconds)) / 12)
        return next(check for check in quality.before(video, 4) if check.name == "Usual length")

    assert [usual(seconds).passed for seconds in (30, 60, 64, 180)] == [False, True, True, False]
    assert "first minute" in usual(180).advice


def test_torso_files(tmp_path):
    path = tmp_path / "torso.csv"
    rows = [f"7,{name},{x},{y}" for name, (x, y) in zip(torso.POINT_NAMES, TORSO)]
    path.write_text("\n".join(["frame,point,x,y", *rows]), encoding="utf-8")
    assert np.allclose(read_torso(path)[7], TORSO)
    path.write_text("\n".join(["frame,point,x,y", *rows]).replace(",", ";").replace(".", ","), encoding="utf-8")
    assert np.allclose(read_torso(path)[7], TORSO)
    for text in ("frame,point,x,y\n7,nose,1,2\n", "frame,point,x,y\n", ""):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="torso points"):
            read_torso(path)


@pytest.mark.parametrize("choice", [(7, 50), (50, 0), (50, None), (None, None, "sum"), (0, 50, "sum")])
def test_streams_that_make_no_network_are_told(choice):
    with pytest.raises(InputError, match=r"There is no ResNet|A stream is missing"):
        Variant(*choice)


def test_choices_are_checked():
    for bad in ({"background": "magic"}, {"points": "manual"}, {"background": "outline"}):
        with pytest.raises(InputError):
            Infant(**bad)

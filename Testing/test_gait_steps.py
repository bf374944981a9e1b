"""The gait system step by step: choice of the patient, squares, clips, folds, scores, measures, detectors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.video import FrameVideo, array_video
from SpineMotionToolsLib.gait import clips, folds, measures, patients, scores
from SpineMotionToolsLib.gait.detectors import MotionDetector, RegionDetector, read_boxes
from SpineMotionToolsLib.gait.inputs import Person, patient_of
from SpineMotionToolsLib.gait.tracking import Following


def person(x: float, height: float = 100.0, width: float = 40.0) -> np.ndarray:
    """A box centered at x, standing on the floor at y 200."""
    return np.array([x - width / 2, 200 - height, x + width / 2, 200], np.float32)


def row(box: np.ndarray) -> np.ndarray:
    return np.array([[*box, 0.99, 0]], np.float32)


# ----- the published choice


def test_published_choice_takes_the_shorter_of_two_then_the_nearer():
    choice = patients.PublishedChoice()
    tall, short = person(100, 150), person(300, 120)
    assert np.array_equal(choice.choose(np.vstack([row(tall), row(short)])), short)
    assert np.array_equal(choice.choose(np.vstack([row(person(290, 160)), row(person(110, 90))])), person(290, 160))


def test_published_gate_is_strict_at_100_pixels():
    choice = patients.PublishedChoice()
    choice.choose(row(person(100)))
    assert choice.choose(row(person(200))) is None
    assert choice.choose(row(person(199))) is not None


@settings(deadline=None, max_examples=50)
@given(st.integers(-20, 90), st.integers(-20, 70), st.integers(2, 60), st.integers(2, 60))
def test_padded_square_shows_the_person_between_black_bars(left, top, width, height):
    frame = np.full((80, 100, 3), 200, np.uint8)
    window = patients.person_window(frame, np.array([left, top, left + width, top + height]))
    assert window.shape == (height, width + 20, 3)
    square = patients.square_picture(window, 32)
    assert square.shape == (32, 32, 3)
    assert square.max() <= 200


# ----- clips


@settings(deadline=None)
@given(st.fractions(Fraction(1, 10), 40), st.fractions(Fraction(1, 4), 4))
def test_clips_tile_the_video_without_the_last_piece(duration, length):
    times = clips.clip_times(duration, length)
    assert times[0][0] == 0
    assert all(end - start == length for start, end in times)
    assert all(a[1] == b[0] for a, b in zip(times, times[1:]))
    assert times[-1][1] <= duration or len(times) == 1
    assert times[-1][1] + length > duration


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 64))
def test_picked_frames_rise_from_first_to_last(available, wanted):
    picked = clips.pick_frames(available, wanted)
    assert len(picked) == wanted
    assert picked[0] == 0
    assert wanted == 1 or picked[-1] == available - 1
    assert (np.diff(picked) >= 0).all()


def test_picked_frames_do_not_depend_on_the_processor():
    # Here torch.linspace gives 0.99999994 with fused multiply-add (every current processor) and 1.0 without.
    assert clips.pick_frames(3, 15).tolist() == [0] * 8 + [1] * 6 + [2]


def test_network_input_scale_and_mirror():
    clip = np.full((3, 2, 40, 60), 255.0)
    assert np.allclose(clips.network_input(clip, 24), (1 - 0.45) / 0.225)
    ramp = np.broadcast_to(np.arange(60.0), (3, 2, 40, 60))
    once = clips.network_input(ramp, 24)
    assert np.allclose(clips.network_input(ramp, 24, mirror=True), once[..., ::-1])


# ----- folds


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 14), st.booleans()), min_size=20, max_size=80), st.integers(2, 5))
def test_no_patient_is_in_two_folds_and_every_video_is_in_one(videos, count):
    groups = [f"p{patient}" for patient, _ in videos]
    labels = [label for _, label in videos]
    parts = folds.stratified_group_folds(labels, groups, count)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(videos)))
    seen = [{groups[i] for i in part} for part in parts]
    assert all(not (a & b) for i, a in enumerate(seen) for b in seen[i + 1 :])


def test_patient_keys():
    assert folds.patient_key("20170612_1_ASD_lat__V1-0005.mp4") == "20170612_1_ASD_"
    assert folds.patient_key("short.mp4") == "short.mp4"
    from pathlib import Path

    assert patient_of(Path("/study/p7/walk.mp4"), Path("/study")) == "p7"
    assert patient_of(Path("/study/p7/visit1/walk.mp4"), Path("/study")) == "p7/visit1"
    assert patient_of(Path("/study/val/ASD/20170612_1_ASD_lat.mp4"), Path("/study")) == "20170612_1_ASD_"


# ----- scores


def test_score_is_of_non_asd_and_p_asd_is_its_complement():
    logits = np.array([-2.0, 0.0, 3.0], np.float32)
    assert np.allclose(scores.probability_asd(logits) + scores.probability_non_asd(logits), 1)
    assert scores.probability_asd(np.array([-8.0]))[0] > 0.99
    assert scores.predicted_class(logits).tolist() == [scores.ASD, scores.ASD, scores.NON_ASD]


# ----- measures


@pytest.mark.parametrize("cadence", [60, 84, 110, 150])
@pytest.mark.parametrize("rate", [10.0, 25.0, 30.0])
def test_cadence_is_found(cadence, rate):
    times = np.arange(0, 6, 1 / rate)
    spread = np.abs(np.sin(np.pi * cadence / 60 * times)) + 0.05 * np.random.default_rng(0).standard_normal(len(times))
    assert measures.cadence_per_min(times, spread) == pytest.approx(cadence, rel=0.04)


def test_cadence_is_unknown_for_noise_and_short_walks():
    times = np.arange(0, 1.5, 1 / 30)
    assert measures.cadence_per_min(times, np.sin(10 * times)) is None
    assert measures.cadence_per_min(np.arange(0, 5, 0.1), np.zeros(50)) is None


@pytest.mark.parametrize(("count", "rate"), [(31, 10.0), (96, 30.0), (300, 30.0)])
def test_noise_seldom_passes_for_a_cadence(count, rate):
    """The body points of small networks jump between the legs: then the width of the box is asked."""
    random, times = np.random.default_rng(0), np.arange(count) / rate
    found = [measures.cadence_per_min(times, random.standard_normal(count)) for _ in range(300)]
    assert sum(cadence is not None for cadence in found) <= 6


def test_without_clear_ankles_the_cadence_is_that_of_the_box():
    times, boxes = np.arange(96) / 30, np.zeros((96, 4))
    boxes[:, 2] = 40 + 10 * np.abs(np.sin(np.pi * 110 / 60 * times))
    boxes[:, 3] = 100
    joints = np.random.default_rng(0).uniform(0, 40, (32, 18, 3))
    measured = measures.measure(times, boxes, joints, np.arange(32) / 10)
    assert measured.cadence_per_min == pytest.approx(110, rel=0.04)
    assert measured.cadence_from == measures.FROM_BOX


@pytest.mark.parametrize(("forward", "sign"), [(1, 1), (-1, -1)])
def test_trunk_lean_is_positive_toward_the_walk(forward, sign):
    joints = np.full((1, 18, 3), np.nan)
    joints[0, 8], joints[0, 11] = (100, 200, 1), (100, 200, 1)
    joints[0, 1] = (100 + 100 * np.tan(np.radians(20)), 100, 1)
    assert measures.trunk_inclination_deg(joints, forward)[0] == pytest.approx(sign * 20)


def leaning(times: np.ndarray, x: np.ndarray, lean_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and joints of a walker of 100 pixels at x, whose neck lies ahead of the hips by a lean in the picture."""
    boxes = np.array([person(value) for value in x])
    joints = np.full((len(times), 18, 3), np.nan)
    joints[:, 8, :2] = joints[:, 11, :2] = np.column_stack([x, np.full(len(x), 150.0)])
    joints[:, 1, :2] = np.column_stack([x + 30 * np.tan(np.radians(lean_deg)), np.full(len(x), 120.0)])
    return boxes, joints


@pytest.mark.parametrize("turns_after_s", [3.0, 4.5])
def test_turns_are_left_out_of_the_lean(turns_after_s):
    times = np.arange(0, 12, 1 / 25)
    phase = times / turns_after_s + 0.5  # to and fro, slowing down smoothly around each turn
    heading = np.tanh(4 * np.sin(np.pi * phase))
    x = 200 + np.cumsum(heading) * 80 / 25
    boxes, joints = leaning(times, x, 15.0 * heading)  # seen from the front in a turn, the lean shrinks
    found = measures.measure(times, boxes, joints, times)
    direction = measures.walking_direction(times, x, 100.0)
    assert found.trunk_inclination_deg == pytest.approx(15.0, abs=0.3)
    assert found.trunk_inclination_sd_deg < 1.0
    assert np.std(measures.trunk_inclination_deg(joints, np.where(heading >= 0, 1.0, -1.0))) > 3.0  # with all frames
    assert found.frames == np.count_nonzero(direction) < len(times)
    assert (direction[np.abs(heading) < 0.4] == 0).all()


def test_a_steady_walk_keeps_all_its_frames():
    times = np.arange(0, 4, 1 / 25)
    wobble = 2.0 * np.sin(2 * np.pi * 1.8 * times)
    found = measures.measure(times, *leaning(times, 100 + 90 * times, 8.0 + wobble), times)
    assert found.frames == len(times)
    assert found.trunk_inclination_deg == pytest.approx(8.0, abs=0.5)
    assert found.trunk_inclination_sd_deg == pytest.approx(np.std(wobble), rel=0.05)


@pytest.mark.parametrize("looks", [1.0, -1.0])
def test_on_a_treadmill_the_face_tells_what_forward_is(looks):
    times = np.arange(0, 4, 1 / 25)
    boxes, joints = leaning(times, 200 + 2 * np.sin(9 * times), np.full(len(times), looks * 12.0))
    assert measures.measure(times, boxes, joints, times).trunk_inclination_deg is None  # no face: forward is not known
    joints[:, 16, :2], joints[:, 0, :2] = (200, 110), (200 + looks * 8, 112)
    found = measures.measure(times, boxes, joints, times)
    assert found.trunk_inclination_deg == pytest.approx(12.0, abs=0.1)
    assert found.frames == len(times)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e4, 1e4), max_size=40), st.floats(1, 500))
def test_walking_direction_is_a_side_or_none(x, height):
    direction = measures.walking_direction(np.arange(len(x)) / 25, np.array(x), height)
    assert direction.shape == (len(x),)
    assert np.isin(direction, (-1.0, 0.0, 1.0)).all()


# ----- following


def test_following_keeps_its_person_through_a_crossing():
    following = Following()
    found = []
    for frame in range(90):
        patient, other = person(60 + 4 * frame, 100), person(420 - 4 * frame, 118)
        together = abs(patient[0] - other[0]) < 40
        both = np.concatenate([np.minimum(patient[:2], other[:2]), np.maximum(patient[2:], other[2:])])
        boxes = np.array([both] if together else [other, patient])
        box, _ = following.choose(boxes, frame / 30)
        found.append(None if box is None else abs((box[0] + box[2]) / 2 - (60 + 4 * frame)))
    assert following.several_at_start
    assert all(gap is not None and gap < 30 for gap in found)


def test_following_bridges_a_short_gap_and_drops_a_long_one():
    following = Following()
    for frame in range(30):
        following.choose(person(50 + 3 * frame)[None], frame / 30)
    nothing = np.zeros((0, 4), np.float32)
    box, bridged = following.choose(nothing, 30 / 30)
    assert bridged
    assert (box[0] + box[2]) / 2 == pytest.approx(140, abs=4)
    assert following.choose(nothing, 1.6)[0] is None
    assert following.choose(person(300)[None], 2.5)[0] is not None


def test_click_chooses_among_several():
    following = Following(click=(0.0, 300, 150))
    boxes = np.array([person(100, 90), person(300, 120), person(400, 80)])
    assert np.array_equal(following.choose(boxes, 0.0)[0], boxes[1])
    assert Following().choose(boxes, 0.0)[0] is None


# ----- detectors


@pytest.mark.parametrize("steps_a_lap", [8, 10, 12, 25])
def test_a_walk_in_laps_is_not_taken_for_background(steps_a_lap):
    def picture(number: int) -> np.ndarray:
        image = np.full((120, 200, 3), 200, np.uint8)
        x = 10 + 160 * (number % steps_a_lap) // steps_a_lap
        image[30:110, x : x + 20] = 30
        return image

    video = FrameVideo(picture, np.arange(24 * steps_a_lap + 1) / 25)
    detector = MotionDetector(video)
    for frame in video.frames(range(steps_a_lap)):
        x1 = 10 + 160 * frame.number // steps_a_lap
        assert detector.detect(frame)[:, :4] == pytest.approx(np.array([[x1, 30, x1 + 20, 110]]), abs=6)


def test_boxes_of_a_file(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("frame,x1,y1,x2,y2\n3,1,2,30,90\n", encoding="utf-8")
    frame = next(array_video(np.zeros((5, 100, 100, 3), np.uint8)).frames([3]))
    assert read_boxes(path).detect(frame)[:, :4].tolist() == [[1, 2, 30, 90]]
    path.write_text("\ufeffframe;x1;y1;x2;y2\n3;1,5;2;30;90\n", encoding="utf-8")  # saved by a spreadsheet
    assert read_boxes(path).detect(frame)[:, :4].tolist() == [[1.5, 2, 30, 90]]
    path.write_text('[{"frame": 3, "x1": 1, "y1": 2, "x2": 30, "y2": 90}]', encoding="utf-8")
    assert len(read_boxes(path.rename(tmp_path / "boxes.json")).detect(frame)) == 1


@pytest.mark.parametrize("text", ["frame,x1\n1,2\n", "frame,x1,y1,x2,y2\n", "frame,x1,y1,x2,y2\n1,9,9,2,2\n", "\0\1"])
def test_bad_box_files_are_told(tmp_path, text):
    path = tmp_path / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="boxes"):
        read_boxes(path)


def test_drawn_regions_are_interpolated_and_checked():
    detector = RegionDetector({0: np.array([0, 0, 20, 60]), 10: np.array([50, 0, 70, 60])}, follow=False)
    frame = next(array_video(np.zeros((11, 80, 100, 3), np.uint8)).frames([5]))
    assert detector.detect(frame)[0, :4].tolist() == [25, 0, 45, 60]
    with pytest.raises(InputError, match="too small"):
        RegionDetector({0: np.array([0, 0, 3, 3])})
    with pytest.raises(InputError, match="No region"):
        RegionDetector({})
    with pytest.raises(InputError, match="unknown"):
        Person("magic").detector(array_video(np.zeros((2, 9, 9, 3), np.uint8)))


def test_regions_boxes_and_clicks_that_do_not_fit_the_video_are_told():
    video = array_video(np.zeros((4, 80, 100, 3), np.uint8))
    away = [0, 0, 3000, 60], [200, 10, 240, 60], [-50, 0, -10, 60], [np.nan, 0, 20, 60]
    for box in away:
        with pytest.raises(InputError, match=r"not lie in the picture|too small"):
            Person("region", regions={1: box}).detector(video)
        with pytest.raises(InputError, match="No box lies in the picture"):
            Person("boxes", boxes={1: [[*box, 1, 0]]}).detector(video)
    for number in (-1, 4):
        with pytest.raises(InputError, match="the video has not"):
            Person("region", regions={number: [10, 10, 40, 70]}).detector(video)
    for click in ((0.1, 101, 5), (0.1, 5, -1), (9, 5, 5), (-1, 5, 5)):
        with pytest.raises(InputError, match="outside the video"):
            Person(click=click).detector(video)
    with pytest.raises(InputError, match="three numbers"):
        Person(click=(0.1, 5)).detector(video)
    with pytest.raises(InputError, match="six numbers"):
        Person("boxes", boxes={1: [[1, 2, 30, 40]]}).detector(video)
    beside = [95, -5, 130, 85]  # half out of view: the patient walks in
    kept = Person("boxes", boxes={1: [[*beside, 1, 0], [*away[1], 1, 0]]}).detector(video)
    assert kept.rows[1][:, :4].tolist() == [beside]
    assert Person("region", regions={1: beside}).detector(video).regions[1].tolist() == beside

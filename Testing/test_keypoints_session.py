"""Sessions: corrections stay put, the others follow, everything can be undone, saved and refused with a sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.keypoints.anatomy import LEVELS, names_from
from SpineMotionToolsLib.keypoints.history import Answer
from SpineMotionToolsLib.keypoints.radiograph import Radiograph
from SpineMotionToolsLib.keypoints.session import Session

from Testing.keypoint_samples import Follower, picture, session, spine


def test_a_correction_stays_exactly_and_the_others_follow():
    made = session()
    before = made.reading.points_px
    target = (before[21, 0] + 12.3, before[21, 1] - 7.7)
    reading = made.correct(21, target)
    assert tuple(reading.points_px[21]) == target
    assert np.linalg.norm(reading.points_px[20] - before[20]) > 3
    assert reading.given == (21,)
    assert reading.confidence[21] == 1.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 67), st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=8))
def test_given_points_never_move_again(corrections):
    made = session()
    placed = {}
    for keypoint, dr, dc in corrections:
        point = tuple(spine()[keypoint] + (dr, dc))
        try:
            made.correct(keypoint, point)
        except InputError:  # two random corners of one vertebra may collide
            continue
        placed[keypoint] = point
        for other, where in placed.items():
            assert tuple(made.reading.points_px[other]) == where


def test_several_corrections_are_one_network_run():
    made = session()
    runs = len(made._predict.calls)
    points = made.reading.points_px
    reading = made.correct_many({4: tuple(points[4] + 2), 30: tuple(points[30] - 3)})
    assert len(made._predict.calls) == runs + 1
    assert reading.given == (4, 30)


def test_undo_and_redo_restore_points_and_given():
    made = session()
    first = made.reading
    second = made.correct(10, tuple(first.points_px[10] + 5))
    third = made.correct(40, tuple(first.points_px[40] + 5))
    assert np.array_equal(made.undo().points_px, second.points_px)
    assert np.array_equal(made.undo().points_px, first.points_px)
    assert not made.can_undo
    assert np.array_equal(made.undo().points_px, first.points_px)
    made.redo()
    assert np.array_equal(made.redo().points_px, third.points_px)
    assert not made.can_redo
    made.undo()
    made.correct(0, tuple(first.points_px[0] + 3))
    assert not made.can_redo


def test_release_takes_a_hint_back():
    made = session()
    detected = made.reading.points_px
    made.correct(10, tuple(detected[10] + 5))
    released = made.release(10)
    assert released.given == ()
    assert np.allclose(released.points_px, detected)
    with pytest.raises(InputError, match="nothing to take back"):
        made.release(10)


def test_a_locked_vertebra_stays_and_is_told_to_the_network():
    made = session()
    made.lock("T6")
    held = made.reading.points_px[20:24]
    reading = made.correct(26, tuple(made.reading.points_px[26] + 20))
    assert np.array_equal(reading.points_px[20:24], held)
    assert {k for k, _ in made._predict.calls[-1].chain[-1]} == {20, 21, 22, 23, 26}
    assert 5 not in reading.to_check
    made.unlock(5)
    assert made.reading.locked == ()


def test_absent_and_renamed_levels():
    made = session()
    reading = made.set_absent("L5")
    assert not reading.present[16]
    assert all(v.name != "L5" for v in reading.vertebrae)
    assert reading.aasce is None
    assert made.set_absent("L5", False).present[16]
    reading = made.name_levels(names_from("T2", lumbar=6))
    assert reading.levels[0] == "T2"
    assert reading.levels[-1] == "L6"
    for bad in (LEVELS[:16], ("T1",) * 17, ("X9", *LEVELS[1:])):
        with pytest.raises(InputError):
            made.name_levels(bad)


def test_accept_holds_until_the_next_change():
    made = session()
    assert made.accept().accepted
    assert not made.correct(3, tuple(made.reading.points_px[3] + 2)).accepted
    assert made.undo().accepted


def test_the_history_survives_json_and_goes_on_the_same():
    made = session()
    made.correct(10, tuple(made.reading.points_px[10] + 5.25))
    made.lock("L2")
    made.set_absent("T1")
    made.undo()
    stored = json.loads(json.dumps(made.to_json()))
    radiograph = made.radiograph
    again = Session.from_json(stored, radiograph, Follower(radiograph, spine()))
    assert np.array_equal(again.reading.points_px, made.reading.points_px)
    assert again.can_redo
    assert again.redo().absent == (0,)
    again.undo()
    target = tuple(made.reading.points_px[33] + 4)
    assert np.array_equal(again.correct(33, target).points_px, made.correct(33, target).points_px)
    assert all(state.time_utc for state in again.history)
    assert again.history[1].seconds > 0


def test_another_picture_or_a_damaged_history_is_refused():
    made = session()
    stored = made.to_json()
    with pytest.raises(InputError, match="another picture"):
        Session.from_json(stored, Radiograph(picture(seed=5)))
    for key in ("states", "position", "region", "image_sha256"):
        damaged = {name: value for name, value in stored.items() if name != key}
        with pytest.raises(InputError):
            Session.from_json(damaged, made.radiograph)
    with pytest.raises(InputError, match="later version"):
        Session.from_json({**stored, "format": 99}, made.radiograph)


def test_with_other_weights_the_next_run_starts_from_the_hints_alone():
    made = session()
    made.correct(10, tuple(made.reading.points_px[10] + 5))
    follower = Follower(made.radiograph, spine())
    again = Session.from_json(made.to_json(), made.radiograph, follower, Provenance("keypoints", model_sha256="new"))
    again.correct(50, tuple(again.reading.points_px[50] + 3))
    assert len(follower.calls[-1].chain) == 1
    assert {k for k, _ in follower.calls[-1].chain[0]} == {10, 50}


def test_an_answer_to_an_old_request_is_refused_and_changes_nothing():
    made = session()
    request = made.request_correct({7: tuple(made.reading.points_px[7] + 4)})
    made.correct(8, tuple(made.reading.points_px[8] + 4))
    before = made.to_json()
    with pytest.raises(InputError, match="Ask again"):
        made.apply(request, Answer(np.zeros((68, 2)), np.ones(68), np.ones((68, 2))))
    assert made.to_json() == before


def test_restart_uses_hints_without_previous_maps():
    made = session()
    made.correct(10, tuple(made.reading.points_px[10] + 5))
    made.restart()
    assert len(made._predict.calls[-1].chain) == 1


@pytest.mark.parametrize(
    ("keypoint", "point", "words"),
    [
        (5, (float("nan"), 10.0), "not a number"),
        (5, (float("inf"), 10.0), "not a number"),
        (5, (-20.0, 10.0), "outside the picture"),
        (5, (100.0, 5000.0), "outside the picture"),
        (5, "here", "row and a column"),
        (68, (10.0, 10.0), "no keypoint"),
        (True, (10.0, 10.0), "no keypoint"),
    ],
)
def test_bad_corrections_say_what_is_wrong_and_change_nothing(keypoint, point, words):
    made = session()
    before = made.to_json()
    with pytest.raises(InputError, match=words):
        made.correct(keypoint, point)
    assert made.to_json() == before


def test_two_corners_on_each_other_are_refused():
    made = session()
    place = tuple(made.reading.points_px[20])
    made.correct(20, place)
    with pytest.raises(InputError, match="would lie on T6 upper left"):
        made.correct(21, (place[0] + 0.1, place[1]))
    assert made.reading.given == (20,)


@pytest.mark.parametrize(("moved", "fixed", "words"), [(20, 21, "left and right"), (20, 22, "up and down")])
def test_crossing_corners_are_refused(moved, fixed, words):
    made = session()
    points = made.reading.points_px
    made.correct(fixed, tuple(points[fixed]))
    beyond = points[fixed] + (points[fixed] - points[moved]) * 0.5
    with pytest.raises(InputError, match=words):
        made.correct(moved, tuple(beyond))


def test_crossed_vertebrae_of_the_network_are_a_warning():
    radiograph = Radiograph(picture())
    points = spine()
    points[[20, 21]] = points[[21, 20]]
    made = Session(radiograph, Follower(radiograph, points))
    assert any("T6 cross" in text for text in made.detect().warnings)


def test_a_point_the_network_does_not_follow_is_named():
    made = session()
    made._predict = lambda request: Answer(made.radiograph.to_grid(spine()), np.ones(68), np.ones((68, 2)))
    reading = made.correct(10, tuple(made.reading.points_px[10] + (0, 60)))
    assert any("T3 lower left" in text for text in reading.warnings)


def test_a_network_without_points_leaves_the_session_alone():
    made = session()
    before = made.to_json()
    made._predict = lambda request: Answer(np.full((68, 2), np.nan), np.ones(68), np.ones((68, 2)))
    with pytest.raises(InputError, match="found no points"):
        made.correct(3, tuple(made.reading.points_px[3] + 1))
    assert made.to_json() == before


def test_nothing_works_before_detection_or_without_a_network():
    radiograph = Radiograph(picture())
    with pytest.raises(InputError, match="detect"):
        _ = Session(radiograph).state
    with pytest.raises(InputError, match="no network"):
        Session(radiograph).detect()


def test_the_least_certain_vertebra_is_checked_first():
    made = session()
    reading = made.reading
    doubt = np.linalg.norm(reading.spread_px, axis=1) / reading.confidence
    assert reading.to_check[0] == int(np.argmax(doubt)) // 4
    assert reading.next_keypoint == int(np.argmax(doubt))
    assert sorted(reading.to_check) == list(range(17))


def test_a_region_moves_points_with_it():
    radiograph = Radiograph(picture((1500, 900))).with_region(100, 150, 1200, 500)
    made = Session(radiograph, Follower(radiograph, spine() + (100, 150)))
    assert np.allclose(made.detect().points_px, spine() + (100, 150))
    with pytest.raises(InputError, match="outside the picture"):
        radiograph.with_region(1000, 0, 900, 300)
    with pytest.raises(InputError, match="at least 64"):
        radiograph.with_region(0, 0, 20, 20)


def test_a_preview_moves_one_point_and_stores_nothing():
    made = session()
    before = made.to_json()
    runs = len(made._predict.calls)
    points = made.reading.points_px
    seen = made.preview({20: tuple(points[20] + (9, 0))})
    assert np.array_equal(np.delete(seen.points_px, 20, 0), np.delete(points, 20, 0))
    assert seen.vertebrae[5].upper_tilt_deg != made.reading.vertebrae[5].upper_tilt_deg
    assert len(made._predict.calls) == runs
    assert made.to_json() == before

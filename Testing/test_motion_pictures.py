"""Pictures and reports of motion grades: sizes, colors, orientation, the slices they show, what they say and hide."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor
from SpineMotionToolsLib.motion.batch import Outcome
from SpineMotionToolsLib.motion.charts import grade_scale, slice_chart
from SpineMotionToolsLib.motion.drawing import GRADE_COLORS, slice_image, to_gray8
from SpineMotionToolsLib.motion.pictures import (
    PROFILE_AREA,
    PROFILE_SIZE_PX,
    key_slices,
    legacy_picture,
    legacy_picture_size,
    panel_slices,
    preview_picture,
    slice_profile_picture,
)
from SpineMotionToolsLib.motion.report import batch_report, review_report, scan_report
from SpineMotionToolsLib.motion.review import ReviewSession

from Testing.motion_samples import made_result, make_results_folder, phantom_slice, random_result

MEMBERS = st.lists(st.lists(st.integers(1, 5), min_size=4, max_size=4), min_size=1, max_size=25)


def with_shape(result, width: int, height: int):
    scan = dataclasses.replace(result.scan, shape_xyz=(width, height, result.slice_count))
    return dataclasses.replace(result, scan=scan)


# ----- which slices are shown


@settings(deadline=None, max_examples=60)
@given(MEMBERS)
def test_key_slices_carry_the_grades_they_are_labeled_with(columns):
    result = made_result(np.array(columns).T)
    slices = key_slices(result)
    grades = result.slice_grades[slices].tolist()
    assert grades == sorted(grades)
    assert len(set(slices)) == len(slices) == min(3, result.slice_count)
    assert {result.slice_grades.min(), result.slice_grades.max()} <= set(grades)
    for grade in {grades[0], grades[-1]}:
        of_grade = np.flatnonzero(result.slice_grades == grade)
        assert of_grade[np.argmax(result.slice_confidences[of_grade])] in slices


def test_key_slices_skip_what_was_not_scored():
    result = made_result(np.full((2, 9), 3))
    unscored = np.arange(9) % 4 != 0
    result = dataclasses.replace(result, slice_grades=np.where(unscored, 0, 3))
    assert set(key_slices(result)) == {0, 4, 8}


@pytest.mark.parametrize(
    ("depth", "panels", "slices"),
    [(168, 3, [0, 83, 167]), (1, 9, [0]), (7, 0, [0]), (12, 20, [0, 1, 2, 4, 5, 6, 8, 9, 11])],
)
def test_preview_panels(depth, panels, slices):
    assert panel_slices(depth, panels).tolist() == slices


# ----- drawing


@pytest.mark.parametrize(("width", "height"), [(96, 80), (70, 90), (500, 300), (300, 900)])
@pytest.mark.parametrize("depth", [1, 2, 36, 504])
def test_legacy_picture_has_the_published_size(width, height, depth):
    result = with_shape(random_result(depth=depth, stack_height=168), width, height)
    slices = np.random.default_rng(0).normal(size=(width, height, 1))
    picture = legacy_picture(lambda z: slices[:, :, 0], result)
    assert picture.size == legacy_picture_size(result.scan.shape_xyz) == (width * 1200 // height, 300)
    assert (
        preview_picture(lambda z: slices[:, :, 0], result).size[1]
        == preview_picture(slices.repeat(depth, 2), result).size[1]
    )


def test_slices_are_shown_as_in_the_scanner():
    """x grows to the right and y down, so that the patient's left stays where viewers of LPS images show it."""
    pixels = np.asarray(slice_image(phantom_slice(0), (96, 80)).convert("L")).astype(int)
    brightest = np.unravel_index(np.argmax(pixels), pixels.shape)
    assert brightest[1] > 70, "the mark at large x is on the right"
    assert 30 < brightest[0] < 50
    assert pixels[72, 48] > pixels[8, 48], "the mark at large y is below"
    tall = slice_image(np.ones((10, 40)), (200, 200))
    assert tall.size == (200, 200)
    assert np.asarray(slice_image(np.arange(400.0).reshape(10, 40), (200, 200)))[100, :60].max() == 0, "not stretched"


@settings(deadline=None, max_examples=30)
@given(MEMBERS)
def test_the_profile_shows_the_votes(columns):
    """In the middle of a slice's column, each grade's color takes its share of the plot's height."""
    result = made_result(np.array(columns).T, stack_height=168)
    pixels = np.asarray(slice_profile_picture(result))
    width, height = PROFILE_SIZE_PX
    assert pixels.shape == (height, width, 3)
    left, right = PROFILE_AREA["left"] * width, PROFILE_AREA["right"] * width
    top, bottom = int((1 - PROFILE_AREA["top"]) * height), int((1 - PROFILE_AREA["bottom"]) * height)
    z = result.slice_count // 2
    # Off the middle of the column, where the line of agreement has its corner.
    column = pixels[top + 1 : bottom, int(left + (right - left) * (z + 0.2) / result.slice_count)]
    for grade, color in GRADE_COLORS.items():
        share = np.mean(np.all(column == ImageColor.getrgb(color), axis=1))
        assert share == pytest.approx(result.votes[z, grade - 1], abs=0.09), grade


def test_hidden_pictures_do_not_depend_on_the_grades():
    one, other = made_result(np.full((3, 8), 1)), made_result(np.full((3, 8), 5))
    hidden = [np.asarray(preview_picture(phantom_slice, result, hide_grades=True)) for result in (one, other)]
    assert np.array_equal(*hidden)
    shown = [np.asarray(preview_picture(phantom_slice, result)) for result in (one, other)]
    assert not np.array_equal(*shown)


@pytest.mark.parametrize("image", [np.full((4, 5), 7.0), np.full((3, 3), np.nan), np.zeros((0, 3))])
def test_flat_and_empty_images_are_black(image):
    assert to_gray8(image).shape == image.shape
    assert not to_gray8(image).any()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("inf")), min_size=2, max_size=60))
def test_gray_values_keep_their_order(values):
    gray = to_gray8(np.array([values]))
    order = np.argsort(values, kind="stable")
    finite = np.isfinite(np.array(values))[order]
    assert (np.diff(gray[0, order][finite].astype(int)) >= 0).all()


# ----- charts and reports


def test_charts_are_drawings_a_report_accepts():
    from SpineMotionToolsLib.common.report import Report

    for result in (random_result(depth=1), random_result(depth=40, stack_height=12)):
        page = Report("t").svg(slice_chart(result)).svg(grade_scale(result.grade)).to_html()
        assert page.count("<svg") == 2
    assert slice_chart(random_result(depth=40, stack_height=12)).count("stroke-dasharray") == 3


def test_report_of_a_scan_says_what_a_reader_needs():
    result = random_result(3, depth=36, stack_height=12, warnings=["The scan was scored uncropped."])
    page = scan_report(result, phantom_slice).to_html()
    text = re.sub(r"<[^>]+>", " ", page)
    assert f"Member agreement {result.confidence_percent} %" in text
    assert "not how likely the grade is right" in text
    assert "not validated on patients" in text.split("Along the scan")[0], "the warning stands on top"
    assert "The scan was scored uncropped." in text.split("Along the scan")[0]
    assert "native; calibration: none in the file" in text
    assert "Apache-2.0" in text
    assert "confidence" not in text.lower(), "agreement of networks is not called confidence"
    assert page.count("<img") == 1
    patient = scan_report(random_result(3, starter=False)).to_html()
    assert "not validated on patients" not in patient
    assert "CC BY-NC-ND" in patient


def test_report_escapes_names():
    page = scan_report(random_result(0, name="<script>alert(1)</script>")).to_html()
    assert "<script>" not in page


def test_report_of_a_batch_lists_what_failed():
    outcomes = [Outcome(f"S{n}", Path(f"S{n}.AIM"), "graded", result=random_result(n)) for n in range(3)]
    outcomes.append(Outcome("bad", Path("bad.AIM"), "skipped", "bad.AIM is truncated."))
    page = batch_report(outcomes, "Motion grades", linked=lambda name: f"{name}_report.html").to_html()
    assert "3 of 4 scans graded" in page
    assert "bad.AIM is truncated." in page
    assert batch_report([], "Motion grades").to_html().count("<svg") == 1


def test_report_of_a_blind_review_hides_what_waits(tmp_path):
    pages = []
    for secret in ((5, 91), (1, 33)):
        root = make_results_folder(tmp_path / str(secret[0]), {"seen": (2, 80), "waiting": secret})
        session = ReviewSession(root, "Anna", blind=True)
        session.grade(3, scan_id="seen")
        pages.append(review_report(session).to_html())
    assert pages[0] == pages[1]
    assert "Blind mode" in pages[0]


def test_pictures_of_starter_models_say_so():
    """The starter's mark is drawn: pictures of equal grades by other weights look different."""
    starter, other = random_result(3), dataclasses.replace(random_result(3, starter=False))
    for draw in (
        slice_profile_picture,
        lambda r: legacy_picture(phantom_slice, r),
        lambda r: preview_picture(phantom_slice, r),
    ):
        one, two = draw(starter), draw(other)
        assert isinstance(one, Image.Image)
        assert not np.array_equal(np.asarray(one), np.asarray(two))

"""The starter weights that ship: complete, small, described, and able to read the sample scan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from SpineMotionToolsLib.common.weights import read_metadata, starter_path
from SpineMotionToolsLib.spinenet.models import PARTS, load_network, starter_models

pytest.importorskip("torch")

SAMPLE = Path(__file__).parents[1] / "SpineNetModule" / "Resources" / "Data" / "LumbarMRI.nrrd"
LARGEST_MB = 12


@pytest.fixture(scope="module")
def spine():
    from SpineMotionToolsLib.spinenet.pipeline import read

    return read(SAMPLE)


def test_files_are_small_and_describe_themselves():
    files = [starter_path(f"spinenet-{part}.safetensors") for part in PARTS]
    assert sum(path.stat().st_size for path in files) < LARGEST_MB * 1e6
    for part, path in zip(PARTS, files):
        metadata = read_metadata(path)
        assert json.loads(metadata["architecture"])["class"].startswith("Small")
        assert metadata["trained_on"]
        assert load_network(path, part) is not None


def test_thresholds_come_from_the_detectors_file():
    models = starter_models()
    wanted = json.loads(read_metadata(models.sources["detection"])["thresholds"])
    assert (models.corner_threshold, models.centroid_threshold) == (wanted["corner"], wanted["centroid"])


def test_sample_is_read_with_the_sacrum(spine):
    """The starter has seen this subject: a check that nothing broke, not a figure."""
    labels = [vertebra.label for vertebra in spine.vertebrae]
    assert labels[-7:] == ["T12", "L1", "L2", "L3", "L4", "L5", "S1"]
    assert [disc.level for disc in spine.discs][-1] == "L5-S1"
    centers = np.array([vertebra.center_ras for vertebra in spine.vertebrae])
    pitch = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    assert 20 < pitch.min()
    assert pitch.max() < 50


def test_a_narrow_view_with_the_lower_sacrum_is_named_rightly():
    """L2 to S3 of a drawn spine that training never showed; S3 is found, and left out."""
    from SpineMotionToolsLib.spinenet.pipeline import detect
    from SpineMotionToolsLib.spinenet.scans import Scan
    from SpineMotionToolsLib.spinenet.training_scans import VALID, made_subjects

    subject = made_subjects(1, seed=777)[0]
    places = {
        label: subject.corners[subject.state[:, body] == VALID, body].mean(axis=(0, 1))
        for body, label in enumerate(subject.labels)
    }
    top, left = int(places["L2"][1] - 20), int(places["L2"][0] - 75)
    view = subject.volume[top : int(places["S1"][1] + 75), left : left + 150]
    spine = detect(Scan.from_array(np.ascontiguousarray(view), 1.0, subject.slice_mm, "drawn"))
    assert "below S2" in spine.warnings[0]
    found = spine.vertebrae
    assert [body.label for body in found][-6:] == ["L2", "L3", "L4", "L5", "S1", "S2"]
    for body in found[-6:-1]:
        assert np.linalg.norm(body.corners_px.mean(axis=(0, 1)) + (left, top) - places[body.label]) < 5


def test_sample_has_grades_that_say_what_they_are(spine):
    assert spine.grades_are_demonstration
    assert all(len(disc.grades) == 11 for disc in spine.discs)
    for disc in spine.discs:
        for grade in disc.grades:
            assert abs(sum(grade.probabilities) - 1) < 1e-5


def test_bodies_beside_the_row_are_left_out_and_others_stay():
    from SpineMotionToolsLib.spinenet.grouping import VertebraOutline, drop_beside

    def body(x, y, slices, height=26.0):
        corners = np.array([[34, -height], [34, height], [-34, height], [-34, -height]]) / 2 + (x, y)
        return VertebraOutline([corners] * slices, list(range(slices)))

    row = [body(100 - 6 * i, 40.0 + 36 * i, 12) for i in range(4)]
    sacrum = body(100, 180, 10)
    bowel = [body(30, 160, 2, 15), body(28, 177, 2, 20)]
    found = sorted([*row, *bowel, sacrum], key=lambda v: v.average[:, 1].mean())
    assert drop_beside(found) == [*row, sacrum]
    one_missed = [*row[:1], *row[2:], sacrum]
    assert drop_beside(one_missed) == one_missed
    slipped = [*row, body(100, 185, 10)]  # forward by half a body
    assert drop_beside(slipped) == slipped
    steep = [*row, body(100, 185, 10), body(140, 220, 3)]  # the second sacral body too far off to be a neighbour
    assert drop_beside(steep) == steep
    assert drop_beside([]) == []


def test_a_disc_taken_for_a_body_is_dropped_and_a_flat_body_stays():
    from SpineMotionToolsLib.spinenet.grouping import VertebraOutline, drop_between

    def body(top, height, slices):
        box = np.array([[40.0, top], [40.0, top + height], [0.0, top + height], [0.0, top]])
        return VertebraOutline([box] * len(slices), list(slices))

    upper, lower = body(0, 27, range(10)), body(38, 27, range(10))
    found = drop_between([upper, body(25, 14, [1, 2]), lower])
    assert [id(vertebra) for vertebra in found] == [id(upper), id(lower)]
    fractured = [upper, body(36, 9, [4, 5]), body(54, 27, range(10))]  # flattened to a third
    assert drop_between(fractured) == fractured
    as_often = [upper, body(25, 14, range(10)), lower]
    assert drop_between(as_often) == as_often

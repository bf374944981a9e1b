"""The published steps and our departures from them, on made inputs."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.spinenet import discs, heatmaps, labelling, polygons, resampling, vertebra_volumes
from SpineMotionToolsLib.spinenet.certainty import LOGIT_ROUNDING, grades_in_doubt, peaks_in_doubt, rounding_to_expect
from SpineMotionToolsLib.spinenet.departures import FAITHFUL, RECOMMENDED, Departures
from SpineMotionToolsLib.spinenet.detection_targets import make_targets, mirror_corners, patch_to_scan, scan_to_patch
from SpineMotionToolsLib.spinenet.grouping import VertebraOutline, assemble, decode_slice, group_slices
from SpineMotionToolsLib.spinenet.heatmaps import Corners
from SpineMotionToolsLib.spinenet.numbering import Numbering
from SpineMotionToolsLib.spinenet.patches import Window, split

SQUARE = np.array([[10.0, 0], [10, 10], [0, 10], [0, 0]])


# ----- resampling


@pytest.mark.parametrize("dtype", resampling.SUPPORTED)
def test_resize_keeps_constants_and_types(dtype):
    image = np.full((31, 17), 77, dtype=dtype)
    got = resampling.resize_cubic(image, 20, 40)
    assert got.dtype == dtype
    assert got == pytest.approx(77)


def test_resize_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).normal(size=(21, 33, 2))
    assert resampling.resize_cubic(image, 21, 33) == pytest.approx(image, abs=1e-12)


@pytest.mark.parametrize("size", [(1, 700), (223, 519), (431, 64)])
def test_bilinear_resizing_is_pytorchs(size):
    """Peaks of resized maps are compared with thresholds, so single precision's own errors belong to the result."""
    import torch

    image = np.random.default_rng(3).normal(size=(224, 224)).astype(np.float32)
    want = torch.nn.functional.interpolate(torch.from_numpy(image)[None, None], size, mode="bilinear")[0, 0]
    np.testing.assert_allclose(resampling.resize_bilinear(image, *size), want.numpy(), atol=2e-6)


def test_integer_results_saturate():
    image = np.zeros((8, 8), dtype=np.uint8)
    image[:, 4:] = 255
    got = resampling.resize_cubic(image, 8, 31)
    assert (got.min(), got.max()) == (0, 255)


def test_warp_without_motion_copies_and_is_zero_outside():
    image = np.random.default_rng(0).normal(size=(20, 25, 3))
    still = resampling.rotation_about(0.0, (3.0, 4.0))
    assert resampling.warp_cubic(image, still, (0, 25), (0, 20)) == pytest.approx(image)
    assert not resampling.warp_cubic(image, still, (40, 50), (-20, -10)).any()


def test_part_of_a_warp_equals_the_whole():
    image = np.random.default_rng(1).normal(size=(40, 30))
    turn = resampling.rotation_about(0.3, (15.0, 20.0))
    whole = resampling.warp_cubic(image, turn, (0, 30), (0, 40))
    assert np.array_equal(resampling.warp_cubic(image, turn, (5, 21), (11, 33)), whole[11:33, 5:21])


# ----- polygons

points = st.tuples(st.floats(-50, 50), st.floats(-50, 50))


@settings(deadline=None)
@given(st.floats(-3, 3), points, st.floats(0.1, 10))
def test_overlap_does_not_depend_on_place_turn_or_size(angle, shift, size):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    other = SQUARE + (4, 3)
    want = polygons.overlap(SQUARE, other)
    assert want == pytest.approx(42 / 158)
    move = lambda p: size * p @ turn.T + shift
    assert polygons.overlap(move(SQUARE), move(other)) == pytest.approx(want, rel=1e-6)


def test_overlap_of_a_dented_quadrilateral():
    dented = np.array([[10.0, 0], [4, 4], [0, 10], [0, 0]])
    assert polygons.overlap(dented, SQUARE) == pytest.approx(0.4)
    assert polygons.overlap(SQUARE, dented) == pytest.approx(0.4)


def test_crossed_and_flat_polygons_overlap_nothing():
    assert polygons.overlap(SQUARE[[0, 2, 1, 3]], SQUARE) == 0
    assert not polygons.is_simple(np.array([[0, 0], [1, 1], [2, 2], [3, 3]]))
    assert polygons.is_simple(SQUARE)


def test_a_quadrilateral_with_a_repeated_corner_is_a_triangle():
    triangle = np.array([[10.0, 0], [10, 0], [0, 10], [0, 0]])
    assert polygons.is_simple(triangle)
    assert polygons.contains(triangle, np.array([2.0, 2.0]))
    square = np.array([[10.0, 0], [10, 10], [0, 10], [0, 0]])
    assert polygons.overlap(triangle, square) == pytest.approx(0.5)
    assert not polygons.is_simple(np.array([[10.0, 0], [10, 0], [0, 10], [0, 10]]))


@settings(deadline=None, max_examples=50)
@given(st.lists(points, min_size=4, max_size=4))
def test_mask_holds_the_centers_inside(corners):
    polygon = np.array(corners)
    if not polygons.is_simple(polygon):
        return
    mask = polygons.mask_of(polygon + 60, (121, 121))
    for row, column in np.random.default_rng(0).integers(0, 121, (40, 2)):
        if polygons.contains(polygon + 60, np.array([column, row], dtype=float)):
            assert mask[row, column]


# ----- patches and maps


def test_windows_cover_the_slice_and_lack_the_last_line():
    windows = split((512, 512, 3), 0.5)
    assert windows == [Window(*x, *y) for x in ((0, 511), (-511, -1)) for y in ((0, 511), (-511, -1))]
    assert windows[3].bounds(512, 512) == (1, 511, 1, 511)


def test_too_coarse_pixels_are_refused():
    with pytest.raises(InputError, match="too coarse"):
        split((3, 3, 1), 200.0)


def test_patch_and_scan_coordinates_are_inverse():
    at = np.random.default_rng(0).normal(size=(9, 2)) * 100
    window = (13, 340, -5, 300)
    assert patch_to_scan(scan_to_patch(at, window), window) == pytest.approx(at)


def test_mirrored_corners_keep_their_names():
    mirrored = mirror_corners(SQUARE[None], 224)[0]
    assert mirrored[0] == pytest.approx([223, 0])
    assert mirrored[2] == pytest.approx([213, 10])
    assert mirror_corners(mirrored[None], 224)[0] == pytest.approx(SQUARE)


def test_subpixel_peaks_are_exact_on_gaussians():
    rows, columns = np.mgrid[:40, :50]
    heat = np.exp(-((rows - 20.3) ** 2 + (columns - 31.8) ** 2) / 18).astype(np.float32)
    assert heatmaps.refine(heat, heatmaps.peaks(heat, 0.6)) == pytest.approx(np.array([[20.3, 31.8]]), abs=1e-3)


def test_peaks_on_the_border_stay():
    heat = np.zeros((5, 5), dtype=np.float32)
    heat[0, 4] = 1
    assert heatmaps.refine(heat, heatmaps.peaks(heat, 0.5)) == pytest.approx(np.array([[0, 4]]))


def test_each_switch_of_the_departures_is_off_by_default():
    assert not any(FAITHFUL.to_dict().values())
    assert {f.name for f in fields(Departures)} == set(RECOMMENDED.to_dict())


def decoded(departures: Departures) -> np.ndarray:
    shape, spacing = (300, 260), 0.9
    windows = split((*shape, 1), spacing)
    corners = np.array([[[150, 120], [151, 150], [110, 151], [109, 119]]]) + 0.37
    maps = np.stack(
        [make_targets(scan_to_patch(corners.reshape(-1, 2), w.bounds(*shape)).reshape(-1, 4, 2)) for w in windows]
    )
    found = decode_slice(maps, windows, shape, departures=departures, pixel_spacing_mm=spacing)
    assert len(found.polygons) == 1
    return np.abs(found.polygons[0] - corners[0]).max()


def test_departures_place_corners_better():
    assert decoded(RECOMMENDED) < 0.05 < decoded(FAITHFUL) < 2


# ----- grouping


def column(x, y):
    return np.array([[x + 40, y], [x + 40, y + 25], [x, y + 25], [x, y]], dtype=float)


def test_a_body_that_merges_into_two_takes_no_third_with_it():
    first, innocent = column(20, 20), column(28, 100)
    slices = [np.array([first, innocent]), np.array([first + (0, 1), innocent])]
    slices += [np.array([first + (d, k)]) for d in (-28, 28) for k in (0, 1)]
    assert len(group_slices(slices)) == 2
    kept = group_slices(slices, departures=Departures(single_deletion=True))
    assert [len(v.polygons) for v in kept] == [2, 2]


def test_a_false_outline_between_two_bodies_does_not_join_them():
    """As the outermost slices have them, where the bodies end and the pedicles begin."""
    upper, lower = column(20, 20), column(22, 52)
    between = np.array([[61, 40], [61, 57], [21, 57], [21, 40]], dtype=float)
    slices = [np.array([between])] * 2 + [np.array([upper, lower])] * 5 + [np.array([between])] * 2
    kept = group_slices(slices, departures=Departures(single_deletion=True))
    assert [v.slices for v in kept] == [[2, 3, 4, 5, 6]] * 2
    assert np.allclose([v.average for v in kept], [upper, lower])


def test_a_body_that_was_begun_twice_is_one():
    drifting = [np.array([column(x, 20)]) for x in (0, 24, 48, 10, 10)]  # a jump back begins a second one
    kept = group_slices(drifting, departures=Departures(single_deletion=True))
    assert [v.slices for v in kept] == [[0, 1, 2, 3, 4]]


def test_a_faint_corner_does_not_take_the_place_of_a_clear_one():
    box = np.array([[20, 60], [50, 60], [50, 20], [20, 20]], dtype=float)  # (row, column), rt rb lb lt
    found = [Corners(box[k : k + 1], (35.0, 40.0) - box[k : k + 1], np.array([0.7])) for k in range(4)]
    faint = Corners(np.array([[56.0, 58.0]]), np.array([[-21.0, -18.0]]), np.array([0.16]))
    clear = Corners(box[1:2], np.array([[-15.0, -17.0]]), np.array([0.6]))  # aimed 3 px beside the centroid
    found[1] = Corners.join([faint, clear])
    assert assemble([(35.0, 40.0)], found)[0, 1].tolist() == [58.0, 56.0]
    assert assemble([(35.0, 40.0)], found, highest=True)[0, 1].tolist() == [60.0, 50.0]


def test_outliers_leave_when_asked():
    def stacked(i, x):
        return np.array([[x + 30, 40 * i], [x + 30, 40 * i + 25], [x, 40 * i + 25], [x, 40 * i]], dtype=float)

    def left_edges(bodies):
        grouped = group_slices([np.array(bodies)] * 2, departures=Departures(drop_outliers=True))
        return [v.average[3, 0] for v in grouped]

    bodies = [stacked(i, 100 + 2 * i) for i in range(18)]
    assert left_edges(bodies) == [100 + 2 * i for i in range(18)]
    bodies[9] = stacked(9, 190)
    assert len(group_slices([np.array(bodies)] * 2)) == 18
    assert left_edges(bodies) == [100 + 2 * i for i in range(18) if i != 9]


# ----- labels


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 8), st.integers(0, 10**6))
def test_best_sequence_falls_by_one(count, seed):
    rows = labelling.softmax(np.random.default_rng(seed).normal(size=(count, 24)))
    sequences, scores = labelling.beam_search(rows)
    best = sequences[0]
    assert (np.diff(best) == -1).all() or (best[-2:] == 0).all()
    assert (np.diff(scores) >= 0).all()
    probabilities = labelling.label_probabilities(rows, best)
    assert ((probabilities > 0) & (probabilities <= 1 + 1e-9)).all()


def test_label_probabilities_are_those_of_all_sequences():
    rows = labelling.softmax(np.random.default_rng(3).normal(size=(2, 24)))
    sequences, scores = labelling.beam_search(rows, width=24**2, penalise_skips=False)
    weight = np.exp(scores[0] - scores)
    want = [weight[sequences[:, i] == sequences[0, i]].sum() / weight.sum() for i in range(2)]
    assert labelling.label_probabilities(rows, sequences[0], False) == pytest.approx(want)


def test_two_s1_at_the_top_stay_when_asked():
    assert labelling.names_of([0, 0, 0]) == ["S2", "S1", "S2"]
    assert labelling.names_of([0, 0, 0], keep_first_s1=True) == ["S1", "S1", "S2"]


def made_outlines(lower_widths):
    """Outlines 30 wide at the top, one below the other, in the order rt, rb, lb, lt."""
    return [
        np.array([[115, y], [100 + w / 2, y + 28], [100 - w / 2, y + 28], [85, y]], float)
        for y, w in zip(range(20, 400, 36), lower_widths)
    ]


def test_the_sacrum_tapers():
    assert labelling.sacral_taper(np.array(made_outlines([30, 26, 22, 15]))) == pytest.approx([0, 0, 1, 1])


def test_bodies_below_s1_are_counted_downwards():
    assert labelling.sacral_names_of([2, 1, 0, 0, 0]) == ["L4", "L5", "S1", "S2", "S3"]
    assert labelling.sacral_names_of([0, 1, 0]) == ["S1", "L5", "S1"]


def test_a_second_sacral_body_moves_no_name_where_few_bodies_show():
    outlines = made_outlines([30, 29, 17, 20])
    seen = np.zeros((4, 24), np.float32)
    seen[range(4), [2, 1, 0, 0]] = 40  # what both networks say: L4, L5, S1, S1

    def context(image):
        output = np.zeros_like(image)
        for outline, logits in zip(outlines, seen):
            output[0, 0, int(outline[:, 1].mean())] = logits
        return output

    def names(departures):
        return labelling.label_vertebrae(outlines, seen, context, 400, 1.0, departures=departures).labels

    assert names(Departures(sacral_bodies=True)) == ["L4", "L5", "S1", "S2"]
    assert names(Departures()) == ["L3", "L4", "L5", "S1"]  # as published


def test_numbering_counts_both_ways_and_knows_transitional_anatomy():
    assert Numbering().count_from(["?"] * 4, 2, "L1") == ["T11", "T12", "L1", "L2"]
    assert Numbering(lumbar=6).count_from(["?"] * 3, 2, "S1") == ["L5", "L6", "S1"]
    assert Numbering(thoracic=11).are_neighbours("T11", "L1")
    assert not Numbering().are_neighbours("T11", "L1")
    assert Numbering().are_neighbours("S1", "S2")


# ----- volumes


def test_padding_rescues_a_vertebra_at_the_left_edge():
    scan = np.random.default_rng(0).random((200, 200, 5))
    at_edge = np.array([[30.0, 90], [30, 115], [2, 115], [2, 90]])
    assert not vertebra_volumes.extract(scan, at_edge).any()
    assert vertebra_volumes.extract(scan, at_edge, Departures(pad_volumes=True)).any()


def test_a_volume_wholly_above_the_picture_is_filled_from_its_upper_rows_as_published():
    scan = np.random.default_rng(0).random((100, 100, 4)) + 1
    above = np.array([[20.0, -25], [20, -15], [10, -15], [10, -25]])
    rows = np.concatenate([np.zeros((35, 30, 4)), scan[:-5, :30]])
    assert vertebra_volumes.extract(scan, above) == pytest.approx(vertebra_volumes.to_network_size(rows), abs=1e-6)
    assert not vertebra_volumes.extract(scan, above, Departures(pad_volumes=True)).any()


def test_disc_at_the_lower_edge_is_padded_not_refused():
    scan = np.random.default_rng(0).random((120, 120, 5)) + 1
    low = [VertebraOutline([SQUARE * 3 + (40, y)] * 2, [1, 2]) for y in (45, 88)]
    found = discs.disc_volumes(scan, discs.stack_outlines(low, ["L5", "S1"], 5))
    assert [d.level for d in found] == ["L5-S1"]
    assert found[0].is_usable
    assert found[0].volume.shape == (9, 112, 224)


def test_disc_without_signal_is_not_usable():
    low = [VertebraOutline([SQUARE * 3 + (40, y)] * 2, [1, 2]) for y in (10, 55)]
    found = discs.disc_volumes(np.zeros((120, 120, 5)), discs.stack_outlines(low, ["L5", "S1"], 5))
    assert not found[0].is_usable


def test_disc_of_mostly_dark_bodies_is_not_usable():
    scan = np.where(np.random.default_rng(0).random((120, 120, 5)) < 0.4, 5.0, 0.0) + 1e-9
    low = [VertebraOutline([SQUARE * 3 + (40.3, y)] * 2, [1, 2]) for y in (10, 55)]
    found = discs.disc_volumes(scan - 1e-9, discs.stack_outlines(low, ["L5", "S1"], 5))
    assert found[0].body_median == 0
    assert not found[0].is_usable


def test_disc_without_width_is_not_usable_and_others_are_cut():
    scan = np.random.default_rng(0).random((200, 120, 5)) + 1
    outlines = [VertebraOutline([SQUARE * 3 + (40, y)] * 2, [1, 2]) for y in (10, 55, 100)]
    outlines[0] = VertebraOutline([SQUARE * (0.001, 3) + (40, 10)] * 2, [1, 2])
    outlines[1] = VertebraOutline([np.array([[40.1, 55.0], [70, 85], [40, 85], [40, 55]])] * 2, [1, 2])
    found = discs.disc_volumes(scan, discs.stack_outlines(outlines, ["L4", "L5", "S1"], 5))
    assert [disc.is_usable for disc in found] == [True, False]


def test_discs_can_be_cut_one_at_a_time():
    scan = np.random.default_rng(0).random((200, 120, 5)) + 1
    stacked = discs.stack_outlines(
        [VertebraOutline([SQUARE * 3 + (40, y)] * 2, [1, 2]) for y in (10, 55, 100)], ["L4", "L5", "S1"], 5
    )
    every = discs.disc_volumes(scan, stacked)
    assert np.array_equal(discs.disc_volumes(scan, stacked, [1])[0].volume, every[1].volume)


# ----- doubt


def test_equal_neighbours_are_in_doubt_and_clear_peaks_are_not():
    heat = np.zeros((20, 20), dtype=np.float32)
    heat[5, 5], heat[5, 6] = 1.0, 0.9
    assert not peaks_in_doubt(heat, 0.6)
    heat[5, 6] = np.float32(1.0) - np.float32(1e-6)
    assert peaks_in_doubt(heat, 0.6)


def test_a_peak_at_the_threshold_is_in_doubt():
    heat = np.zeros((20, 20), dtype=np.float32)
    heat[5, 5], heat[12, 12] = 1.0, 0.6000001
    assert peaks_in_doubt(heat, 0.6)


def test_near_classes_are_in_doubt_for_their_disc_only():
    logits = [np.array([[0.0, 3.0], [1.0, 1.001]]), np.array([[2.0, 0.0], [2.0, 0.0]])]
    assert grades_in_doubt(logits, LOGIT_ROUNDING["bfloat16"]).tolist() == [False, True]
    assert grades_in_doubt(logits, LOGIT_ROUNDING["float32"]).tolist() == [False, False]


def test_rounding_to_expect_is_four_times_the_largest_change_of_a_difference():
    fast = [np.array([[0.0, 3.0], [1.0, 2.0]]), np.array([[5.0, 0.0, 2.0], [1.0, 0.0, 0.0]])]
    exact = [np.array([[0.1, 3.1], [1.0, 2.01]]), np.array([[5.0, 0.0, 2.05], [1.0, 0.0, 0.0]])]
    assert rounding_to_expect(fast, exact) == pytest.approx(4 * 0.05 / 5)  # both logits 0.1 higher change nothing

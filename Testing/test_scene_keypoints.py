"""Radiographs and their keypoints in a real scene: which pixels are read, where points lie, what is drawn."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints.anatomy import keypoint_name
from SpineMotionToolsLib.keypoints.radiograph import Scale

from Testing.keypoint_samples import Follower, session, spine

pytestmark = pytest.mark.scene

SIZE = (120, 80)
FILE_AXES = np.diag([-1.0, -1.0, 1.0])  # columns to the left, rows to the back: how readers place a plain picture
FRONTAL_AXES = np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # columns to the left, rows downwards


def gradient(size=SIZE):
    """(rows, columns) uint8 in which every pixel of a neighborhood differs."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return ((rows * 1.3 + columns * 0.7) % 251).astype(np.uint8)


def add_volume(array, axes=FILE_AXES, spacing=(0.5, 0.5, 1.0), name="XR"):
    """A (k, j, i) array as a volume node; `axes` (3, 3): directions of i, j, k in its columns."""
    import slicer.util

    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(axes) * np.asarray(spacing)
    matrix[:3, 3] = (10.0, -20.0, 30.0)
    node = slicer.util.addVolumeFromArray(np.ascontiguousarray(array), ijkToRAS=matrix, name=name)
    node.CreateDefaultDisplayNodes()
    return node


def transform_to(matrix):
    """A linear transform node."""
    import slicer.util

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    slicer.util.updateTransformMatrixFromArray(node, np.asarray(matrix, float))
    return node


def rotation(degrees, axis=2):
    """(4, 4) about one axis."""
    matrix, (a, b) = np.eye(4), [k for k in range(3) if k != axis]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


@pytest.fixture
def pictures(scene):
    from SpineMotionToolsLib.scene import keypoints_picture

    return keypoints_picture


# -- which pixels are read ---------------------------------------------------------------------------------------------


def test_plain_picture_is_read_as_its_file_has_it(pictures):
    volume = add_volume(gradient()[None])
    picture = pictures.find_picture(volume)
    radiograph = picture.radiograph(volume)
    assert np.array_equal(radiograph.image, gradient())
    assert radiograph.patient_right_on == "unknown"
    assert radiograph.scale == Scale(0.5, 0.5, "mm")


@settings(max_examples=48, deadline=None)
@given(
    order=st.permutations(range(3)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    frontal=st.booleans(),
    points=st.lists(st.tuples(st.floats(0, 119), st.floats(0, 79)), min_size=1, max_size=4),
)
def test_storage_order_changes_neither_picture_nor_places(app, order, flips, frontal, points):
    """The same body stored with its axes in any order and direction: same pixels, and points at the same places."""
    import slicer
    from SpineMotionToolsLib.scene.keypoints_picture import find_picture

    axes = FRONTAL_AXES if frontal else FILE_AXES
    plain, stored = gradient()[None], gradient()[None]
    steps, origin = axes * (0.5, 0.4, 1.0), np.array((10.0, -20.0, 30.0))
    for axis in range(3):  # numpy's order is k, j, i
        if flips[axis]:
            stored = np.flip(stored, 2 - axis)
            origin = origin + steps[:, axis] * (plain.shape[2 - axis] - 1)
            steps = steps * np.where(np.arange(3) == axis, -1, 1)
    stored = np.transpose(stored, [2 - order[2 - n] for n in range(3)])
    steps = steps[:, list(order)]
    volume = add_volume(stored, steps, (1, 1, 1))
    try:
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = steps, origin
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        picture = find_picture(volume)
        radiograph = picture.radiograph(volume)
        assert np.array_equal(radiograph.image, gradient())
        assert radiograph.scale == Scale(pytest.approx(0.4), pytest.approx(0.5), "mm")
        assert radiograph.patient_right_on == ("left" if frontal else "unknown")
        ras = picture.to_ras(volume, points)
        expected = (10.0, -20.0, 30.0) + np.array(points)[:, ::-1] @ (axes[:, :2] * (0.5, 0.4)).T
        assert np.allclose(ras, expected, atol=1e-9)
        assert np.allclose(picture.from_ras(volume, ras), points, atol=1e-9)
    finally:
        slicer.mrmlScene.RemoveNode(volume)


@pytest.mark.parametrize(("mirrored", "upside_down"), list(itertools.product((False, True), repeat=2)))
def test_turned_pictures_keep_their_places(pictures, mirrored, upside_down):
    array = np.arange(np.prod(SIZE), dtype=np.uint8).reshape(SIZE) % 100
    array[30, 50] = 200
    volume = add_volume(array[None])
    options = pictures.PictureOptions(mirrored=mirrored, upside_down=upside_down, patient_right_on="left")
    picture = pictures.find_picture(volume, options)
    radiograph = picture.radiograph(volume)
    bright = np.argwhere(radiograph.image == radiograph.image.max())
    assert np.allclose(picture.to_ras(volume, bright), [(10 - 25, -20 - 15, 30)])
    assert radiograph.patient_right_on == "left"  # stated of the picture that is read
    assert radiograph.turned == (mirrored, upside_down)


def test_volume_gives_its_frontal_slice_with_known_sides(pictures):
    array = np.stack([gradient() // 2 + k for k in range(5)], axis=1)  # k rows of a body cut into 5 frontal slices
    volume = add_volume(array, np.array([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]]), (1, 3, 1))
    middle = pictures.find_picture(volume)
    assert (middle.slices, middle.index) == (5, 2)
    assert np.array_equal(middle.radiograph(volume).image.shape, SIZE)
    assert middle.radiograph(volume).patient_right_on == "left"
    assert middle.spacing_mm == (1.0, 1.0)  # a body has true lengths, whatever they are
    first = pictures.find_picture(volume, pictures.PictureOptions(slice_index=0))
    assert np.array_equal(first.radiograph(volume).image, array[:, 0])
    far = pictures.find_picture(volume, pictures.PictureOptions(slice_index=99))
    assert far.index == 4


def test_frames_are_pictures_of_their_own(pictures):
    array = np.stack([gradient(), 250 - gradient()])
    volume = add_volume(array)
    picture = pictures.find_picture(volume, pictures.PictureOptions(frames=True, slice_index=1))
    assert np.array_equal(picture.radiograph(volume).image, array[1])
    assert picture.patient_right_on == "unknown"


def test_lateral_placement_is_remarked(pictures):
    volume = add_volume(gradient()[None], np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]]))
    assert pictures.LATERAL_NOTE in pictures.find_picture(volume).notes


# -- true geometry -----------------------------------------------------------------------------------------------------


def test_transform_turns_the_places_and_scales_the_lengths(pictures):
    from SpineMotionToolsLib.scene import nodes

    volume = add_volume(gradient()[None])
    volume.SetAndObserveTransformNodeID(transform_to(rotation(20) @ np.diag([3.0, 3.0, 3.0, 1.0])).GetID())
    picture = pictures.find_picture(volume)
    assert np.array_equal(picture.radiograph(volume).image, gradient())
    assert picture.spacing_mm == pytest.approx((1.5, 1.5))
    own = picture.to_ras(volume, [(10, 20)])
    assert np.allclose(nodes.to_world(volume, own)[0], rotation(20)[:3, :3] @ own[0] * 3)


def test_shearing_transform_is_remarked(pictures):
    volume = add_volume(gradient()[None])
    shear = np.eye(4)
    shear[0, 1] = 0.4
    volume.SetAndObserveTransformNodeID(transform_to(shear).GetID())
    picture = pictures.find_picture(volume)
    assert pictures.SHEARED_NOTE in picture.notes
    assert picture.spacing_mm == (0.5, 0.5)


def test_file_transform_to_the_front_gives_the_same_picture(pictures):
    """A plain picture that a transform stands upright in the patient: sides are known then."""
    volume = add_volume(gradient()[None])
    volume.SetAndObserveTransformNodeID(transform_to(rotation(90, axis=0)).GetID())  # the back becomes the feet
    picture = pictures.find_picture(volume)
    assert np.array_equal(picture.radiograph(volume).image, gradient())
    assert picture.patient_right_on == "left"


@pytest.mark.parametrize(("spacing", "stated", "unit"), [
    ((0.5, 0.5, 1), None, "mm"),
    ((1, 1, 1), None, "px"),
    ((1, 1, 1), True, "mm"),
    ((0.5, 0.5, 1), False, "px"),
])  # fmt: skip
def test_pixel_size_is_never_guessed(pictures, spacing, stated, unit):
    volume = add_volume(gradient()[None], spacing=spacing)
    options = pictures.PictureOptions(pixel_size_known=stated)
    assert pictures.find_picture(volume, options).radiograph(volume).scale.unit == unit


def test_pictures_from_image_files_have_no_pixel_size(pictures, tmp_path):
    """Readers take print resolutions of PNG and TIFF files for a spacing."""
    import slicer

    volume = add_volume(gradient()[None])
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "scan.TIFF"))
    volume.SetAndObserveStorageNodeID(storage.GetID())
    assert pictures.find_picture(volume).spacing_mm is None


def test_inverted_display_means_dark_bone(pictures):
    volume = add_volume(gradient()[None])
    volume.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    assert np.array_equal(pictures.find_picture(volume).radiograph(volume).image, 255 - gradient())
    bright = pictures.PictureOptions(inverted=False)
    assert np.array_equal(pictures.find_picture(volume, bright).radiograph(volume).image, gradient())


def test_region_is_the_part_inside_a_box(pictures):
    import slicer

    volume = add_volume(gradient((300, 200))[None])
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    picture = pictures.find_picture(volume)
    corners = picture.to_ras(volume, [(40, 30), (239, 129)])
    box.SetCenter(*corners.mean(0))
    box.SetSize(*(np.abs(np.diff(corners, axis=0)[0]) + (0, 0, 50)))
    assert pictures.find_picture(volume, region_node=box).region == (40, 30, 200, 100)
    assert pictures.find_picture(volume, region_node=box).radiograph(volume).region == (40, 30, 200, 100)
    box.SetCenter(900, 900, 900)
    with pytest.raises(InputError, match="does not lie on the radiograph"):
        pictures.find_picture(volume, region_node=box)


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_color_photograph_is_refused_and_gray_in_three_channels_is_not(pictures):
    import slicer.util

    colors = np.random.default_rng(0).integers(0, 255, (1, *SIZE, 3), dtype=np.uint8)
    photo = slicer.util.addVolumeFromArray(colors, nodeClassName="vtkMRMLVectorVolumeNode")
    with pytest.raises(InputError, match="color picture"):
        pictures.find_picture(photo).radiograph(photo)
    gray = np.repeat(gradient()[None, ..., None], 3, axis=-1)
    jpeg = slicer.util.addVolumeFromArray(gray, nodeClassName="vtkMRMLVectorVolumeNode")
    assert np.array_equal(pictures.find_picture(jpeg).radiograph(jpeg).image, gradient()[:, ::-1][::-1])


def test_empty_constant_and_tiny_pictures_are_sentences(pictures):
    import slicer

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    with pytest.raises(InputError, match="holds no image"):
        pictures.find_picture(empty)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    with pytest.raises(InputError, match="Labels holds labels or other data, no image"):
        pictures.find_picture(labels)
    constant = add_volume(np.full((1, *SIZE), 7, np.int16))
    with pytest.raises(InputError, match="every pixel has the value 7"):
        pictures.find_picture(constant).radiograph(constant)
    tiny = add_volume(gradient((20, 20))[None])
    with pytest.raises(InputError, match="20 x 20 pixels"):
        pictures.find_picture(tiny).radiograph(tiny)


def test_changed_volume_is_noticed(pictures):
    import slicer.util

    volume = add_volume(gradient()[None])
    picture = pictures.find_picture(volume)
    slicer.util.updateVolumeFromArray(volume, gradient((90, 70))[None])
    with pytest.raises(InputError, match="has changed"):
        picture.radiograph(volume)
    with pytest.raises(InputError, match="not described"):
        pictures.Picture.from_json({"axes": [1, 0, 2]})


def test_picture_survives_json(pictures):
    volume = add_volume(gradient()[None])
    picture = pictures.find_picture(volume, pictures.PictureOptions(mirrored=True, remarks=("A remark.",)))
    assert pictures.Picture.from_json(json.loads(json.dumps(picture.to_json()))) == picture


# -- nodes -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(scene, pictures):
    """(nodes, picture, session): a made session on a volume, with a placed corner, a locked and an absent vertebra."""
    from SpineMotionToolsLib.scene.keypoints import KeypointNodes

    made = session(scale=Scale(0.5, 0.5, "mm"))
    volume = add_volume(made.radiograph.image[None])
    picture = pictures.find_picture(volume)
    made.correct(21, tuple(made.reading.points_px[21] + (4, 3)))
    made.lock("T9")
    made.set_absent("L5")
    kept = KeypointNodes.create(scene, volume)
    kept.store(picture, made.to_json())
    kept.show(made.reading, picture)
    return kept, picture, made


def corner(kept, index):
    position = np.zeros(3)
    kept.node("corners").GetNthControlPointPositionWorld(index, position)
    return position


def test_corners_are_68_named_points_at_their_places(shown):
    kept, picture, made = shown
    corners, reading = kept.node("corners"), made.reading
    assert corners.GetNumberOfControlPoints() == 68
    assert [corners.GetNthControlPointLabel(k) for k in range(68)] == [keypoint_name(k) for k in range(68)]
    expected = picture.to_ras(kept.volume, reading.points_px)
    assert np.allclose([corner(kept, k) for k in range(64)], expected[:64], atol=1e-6)
    assert np.allclose(kept.corners_px(picture)[:64], reading.points_px[:64], atol=1e-6)
    assert [corners.GetNthControlPointLocked(k) for k in (31, 32, 35, 36)] == [False, True, True, False]
    assert corners.GetNthControlPointPositionStatus(67) == corners.PositionMissing
    assert corners.GetNthControlPointDescription(21) == "placed by hand"
    import slicer.util

    confidence = slicer.util.arrayFromMarkupsControlPointData(corners, "confidence")
    assert np.allclose(confidence, reading.confidence)


def test_colors_follow_confidence(shown):
    from SpineMotionToolsLib.keypoints.pictures import DOUBTFUL, SURE

    kept, picture, made = shown
    reading = made.reading
    reading.confidence[:] = 0.9
    reading.confidence[5], reading.confidence[40] = 0.5, 0.2
    kept.show(reading, picture)
    corners = kept.node("corners")
    assert [k for k in range(68) if not corners.GetNthControlPointSelected(k)] == [5, 40]
    assert np.allclose(corners.GetDisplayNode().GetSelectedColor(), np.array(SURE) / 255)
    doubtful = kept.node("doubtful")
    assert doubtful.GetNumberOfControlPoints() == 1
    assert np.allclose(doubtful.GetNthControlPointPosition(0), corner(kept, 40))
    assert np.allclose(doubtful.GetDisplayNode().GetSelectedColor(), np.array(DOUBTFUL) / 255)
    assert np.allclose(kept.node("placed").GetNthControlPointPosition(0), corner(kept, 21))


def test_absent_vertebra_comes_back(shown):
    kept, picture, made = shown
    kept.show(made.set_absent("L5", False), picture)
    corners = kept.node("corners")
    assert corners.GetNthControlPointPositionStatus(67) == corners.PositionDefined
    assert np.allclose(kept.corners_px(picture), made.reading.points_px, atol=1e-6)
    assert kept.node("levels").GetNumberOfControlPoints() == 17


def test_lines_outline_vertebrae_and_draw_the_angles(shown):
    from SpineMotionToolsLib.scene import keypoints_overlay as overlay

    kept, picture, made = shown
    reading = made.reading
    drawn = overlay.lines(reading, uncertainty=True)
    assert len(drawn["placedLines"]) == 1
    outlines = [line for role in ("sureLines", "fairLines", "doubtfulLines") for line in drawn[role] if len(line) == 5]
    assert len(outlines) == 16
    ellipses = [line for role in drawn for line in drawn[role] if len(line) == 17]
    assert len(ellipses) == 68 - 4 - 4 - 1  # absent, locked, placed
    without = overlay.lines(reading, uncertainty=False)
    assert not [line for role in without for line in without[role] if len(line) == 17]
    curve = reading.curves[0]
    upper, lower = drawn["cobbLines"][:2]
    directions = [np.degrees(np.arctan2(*(line[1] - line[0]))) for line in (upper, lower)]
    between = abs(directions[0] - directions[1])
    assert min(between, 360 - between) == pytest.approx(curve.cobb_deg, abs=1e-6)  # square pixels
    surface = kept.node("placedLines").GetPolyData()
    assert surface.GetNumberOfCells() == 4
    assert np.allclose(np.ptp([surface.GetPoint(k) for k in range(16)], axis=0)[2], 0.98)  # half a slice to each side


def test_labels_tell_angle_uncertainty_and_ends(shown):
    from SpineMotionToolsLib.scene import keypoints_overlay as overlay

    kept, picture, made = shown
    curve = made.reading.curves[0]
    text = overlay.angle_labels(made.reading)[0].text
    assert text == f"{curve.cobb_deg:.0f}° ± {curve.uncertainty_deg:.0f}°  {curve.upper_name}-{curve.lower_name}"
    assert kept.node("angles").GetNthControlPointLabel(0) == text
    names = kept.node("levels")
    assert [names.GetNthControlPointLabel(k) for k in (0, 8)] == ["T1", "T9 locked"]
    assert kept.node("sides").GetNumberOfControlPoints() == 0


def test_labels_of_curves_do_not_cover_each_other(scene):
    from SpineMotionToolsLib.scene import keypoints_overlay as overlay

    made = session(scale=Scale(0.5, 0.5, "mm"))
    follower = Follower(made.radiograph, spine(bend=0.06, turns=2.5))
    made._predict = follower
    reading = made.detect()
    assert len(reading.curves) >= 3
    for a, b in itertools.combinations(overlay.angle_labels(reading), 2):
        assert abs(a.place[0] - b.place[0]) > 0.04 * reading.size[0] or abs(a.place[1] - b.place[1]) > 50


def test_tables_are_short_and_rounded(shown):
    kept, _picture, made = shown
    curves, vertebrae = kept.node("curves"), kept.node("vertebrae")
    assert curves.GetNumberOfRows() == len(made.reading.curves)
    assert float(curves.GetCellText(0, 0)) == pytest.approx(made.reading.curves[0].cobb_deg, abs=0.051)
    assert len(curves.GetCellText(0, 0)) <= 5
    assert vertebrae.GetNumberOfRows() == 16
    assert vertebrae.GetColumnTitle(vertebrae.GetColumnName(3)) == "Height (mm)"


def test_nodes_keep_to_themselves(shown, scene):
    """Helper nodes stay out of lists, cannot be grabbed, and lie in the radiograph's folder with the results."""
    from SpineMotionToolsLib.scene.keypoints import MARKS, OVERLAYS, TEXTS

    kept, _picture, _made = shown
    assert all(kept.node(role).GetHideFromEditors() for role in OVERLAYS)
    assert all(kept.node(role).GetLocked() for role in (*MARKS, *TEXTS))
    assert not kept.node("corners").GetHideFromEditors()
    assert json.loads(kept.node("curves").GetAttribute("SpineMotionTools.Provenance"))["system"] == "keypoints"


def test_everything_follows_the_transform(shown):
    kept, picture, made = shown
    before = corner(kept, 10)
    moved = transform_to(rotation(30))
    kept.volume.SetAndObserveTransformNodeID(moved.GetID())
    kept.follow_transform()
    assert np.allclose(corner(kept, 10), rotation(30)[:3, :3] @ before)
    assert kept.node("sureLines").GetTransformNodeID() == moved.GetID()
    assert np.allclose(kept.corners_px(picture)[:64], made.reading.points_px[:64], atol=1e-6)


def test_marks_file_lies_on_the_radiograph(shown):
    kept, picture, made = shown
    points = kept.markups_json(made.reading, picture)["markups"][0]["controlPoints"]
    assert np.allclose(np.array(points[10]["position"]) * (-1, -1, 1), corner(kept, 10), atol=1e-6)


def test_stored_session_is_found_again(shown, scene):
    from SpineMotionToolsLib.scene.keypoints import KeypointNodes

    kept, picture, made = shown
    found = KeypointNodes.find(scene, kept.volume)
    assert found.text is kept.text
    assert found.stored() == (picture, json.loads(json.dumps(made.to_json())))
    other = add_volume(gradient()[None], name="other")
    assert KeypointNodes.find(scene, other) is None
    kept.text.SetText("{")
    with pytest.raises(InputError, match="damaged"):
        kept.stored()


def test_slice_view_shows_the_picture_upright(shown, app):
    from SpineMotionToolsLib.scene import keypoints

    kept, picture, made = shown
    kept.volume.SetAndObserveTransformNodeID(transform_to(rotation(25) @ rotation(70, axis=0)).GetID())
    kept.follow_transform()
    view = app.layoutManager().sliceWidget("Red").sliceView()
    view.resize(400, 500)
    view.show(kept.volume)
    keypoints.show_upright(view.node, picture, kept.volume)
    (left, upper), (right, lower) = (view.xy(corner(kept, k)) for k in (0, 63))
    assert 0 < left < 400
    assert 0 < lower < upper < 500  # display rows run upwards: T1 is above L4
    keypoints.show_place(view.node, picture, kept.volume, made.reading.points_px[20], 100)
    assert view.xy(corner(kept, 20)) == pytest.approx((200, 250), abs=2)
    assert view.node.GetFieldOfView()[1] == pytest.approx(50)  # 100 pixels of 0.5 mm
    keypoints.show_place(view.node, picture, kept.volume, made.reading.points_px[20], 500)
    assert view.node.GetFieldOfView()[1] == pytest.approx(50)  # never out of a closer look

"""A spine in the scene: segments in the scan's voxels, markups, tables, codes; through transforms and files."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.volumes import Volume

from Testing.spinenet_samples import (
    DEPTH_MM,
    HEIGHT_MM,
    LEVELS,
    PITCH_MM,
    WIDTH_MM,
    body_ras,
    made_spine,
    made_volume,
)

pytestmark = pytest.mark.scene
pytest.importorskip("vtk")
ORIENTATIONS = st.tuples(st.permutations((0, 1, 2)), st.tuples(*[st.sampled_from((1, -1))] * 3))


def rotation(degrees: float) -> np.ndarray:
    """About the axis from foot to head, as in an oblique sagittal scan."""
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


@pytest.fixture
def volume():
    return made_volume()


@pytest.fixture
def spine(volume):
    return made_spine(volume)


@pytest.fixture
def shown(scene, volume, spine):
    """The volume's node and the nodes of its spine."""
    from SpineMotionToolsLib.scene import spinenet

    node = spinenet.add_scan(scene, volume)
    return node, spinenet.show_spine(scene, node, spine)


# ---- voxels --------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(ORIENTATIONS, st.floats(-20, 20), st.sampled_from([(4.0, 1.0, 1.0), (3.3, 0.7, 0.7), (1.0, 1.0, 1.0)]))
def test_bodies_fill_the_right_voxels_of_any_sagittal_volume(orientation, degrees, spacing):
    """Whatever the axes' order, direction, turn and spacing: place and size in mm are those of the outlines."""
    from SpineMotionToolsLib.scene.spinenet_segments import label_image, parts_of

    turn = rotation(degrees)
    volume = made_volume(spacing, *orientation, rotation=turn)
    spine = made_spine(volume, turn)
    parts = parts_of(spine)
    labels, first = label_image(parts, spine.geometry.index_to_ras, volume.ijk_to_ras, volume.array.shape)
    voxel_mm3 = abs(np.linalg.det(volume.ijk_to_ras[:3, :3]))
    for number, part in enumerate(parts, start=1):
        if part.is_disc:
            continue
        index = LEVELS.index(part.level)
        ijk = np.argwhere(labels == number)[:, ::-1] + first
        center = (volume.ijk_to_ras @ np.append(ijk.mean(axis=0), 1))[:3]
        assert np.abs(center - turn @ body_ras(index, 0).mean(axis=0)).max() < 1.0
        through = len(part.slices) * spine.geometry.slice_spacing_mm
        assert len(ijk) * voxel_mm3 == pytest.approx(HEIGHT_MM * DEPTH_MM * through, rel=0.08)
        assert abs(through - WIDTH_MM) <= spine.geometry.slice_spacing_mm


def test_a_disc_fills_the_space_between_two_bodies(spine, volume):
    from SpineMotionToolsLib.scene.spinenet_segments import label_image, parts_of

    parts = parts_of(spine)
    assert [part.name for part in parts][:3] == ["T12", "T12-L1 disc", "L1"]
    labels, first = label_image(parts, spine.geometry.index_to_ras, volume.ijk_to_ras, volume.array.shape)
    k, j, i = np.argwhere(labels == 2).T
    s_mm = (volume.ijk_to_ras @ np.stack([i + first[0], j + first[1], k + first[2], np.ones(len(i))]))[2]
    assert np.ptp(s_mm) + 1 == pytest.approx(PITCH_MM - HEIGHT_MM, abs=1.5)
    assert s_mm.mean() == pytest.approx(2.5 * PITCH_MM, abs=1)


def test_a_gap_in_the_count_has_no_disc(spine):
    from SpineMotionToolsLib.scene.spinenet_segments import parts_of
    from SpineMotionToolsLib.spinenet.editing import delete_vertebra

    names = [part.name for part in parts_of(delete_vertebra(spine, 2))]
    assert "L1-L3 disc" not in names
    assert names[-1] == "S1"


def test_outlines_beyond_the_volume_are_cut(spine, volume):
    from SpineMotionToolsLib.scene.spinenet_segments import label_image, parts_of

    half = Volume(volume.array[:, : volume.array.shape[1] // 2], volume.ijk_to_ras)
    labels, first = label_image(parts_of(spine), spine.geometry.index_to_ras, half.ijk_to_ras, half.array.shape)
    assert (np.array(first) >= 0).all()
    assert (np.array(labels.shape) + first[::-1] <= half.array.shape).all()
    assert set(np.unique(labels)) < set(range(14))


def test_a_spine_without_vertebrae_empties_the_nodes(scene, shown, spine):
    from SpineMotionToolsLib.scene import spinenet

    node, nodes = shown
    empty = replace(spine, vertebrae=(), discs=(), measurements=None)
    spinenet.show_spine(scene, node, empty, nodes)
    assert nodes.segmentation.GetSegmentation().GetNumberOfSegments() == 0
    assert (nodes.centers.GetNumberOfControlPoints(), nodes.corners.GetNumberOfControlPoints()) == (0, 0)
    assert nodes.grades.GetNumberOfRows() == 0
    assert spinenet.spine_of(nodes.result).vertebrae == ()


# ---- segments ------------------------------------------------------------------------------------------------------


def test_segments_have_names_codes_colors_levels_and_surfaces(shown):
    import vtk

    node, nodes = shown
    segmentation = nodes.segmentation.GetSegmentation()
    segments = {segmentation.GetNthSegment(n).GetName(): segmentation.GetNthSegment(n) for n in range(13)}
    assert segmentation.GetNumberOfSegments() == 13
    entry, level = vtk.reference(""), vtk.reference("")
    segments["L3"].GetTag(segments["L3"].GetTerminologyEntryTagName(), entry)
    assert "SCT^36470004^L3 vertebra" in entry
    assert segments["L3"].GetColor() == pytest.approx((212 / 255, 188 / 255, 102 / 255))
    segments["L4-L5 disc"].GetTag(segments["L4-L5 disc"].GetTerminologyEntryTagName(), entry)
    segments["L4-L5 disc"].GetTag("SpineMotionTools.Level", level)
    assert "SCT^84020006^L4/L5 disc" in entry
    assert level == "L4-L5"
    surface = vtk.vtkPolyData()
    nodes.segmentation.GetClosedSurfaceRepresentation("L3", surface)
    assert surface.GetNumberOfPoints() > 100
    assert surface.GetCenter() == pytest.approx((0, 0, 0), abs=1.5)
    role = nodes.segmentation.GetReferenceImageGeometryReferenceRole()
    assert nodes.segmentation.GetNodeReference(role) is node


def test_hidden_segments_stay_hidden_and_nodes_are_reused(scene, shown, spine):
    from SpineMotionToolsLib.scene import spinenet

    node, nodes = shown
    nodes.segmentation.GetDisplayNode().SetSegmentVisibility("L1-L2 disc", False)
    before = scene.GetNumberOfNodes()
    again = spinenet.show_spine(scene, node, spine, nodes)
    assert scene.GetNumberOfNodes() == before
    assert again.segmentation is nodes.segmentation
    display = again.segmentation.GetDisplayNode()
    assert not display.GetSegmentVisibility("L1-L2 disc")
    assert display.GetSegmentVisibility("L2-L3 disc")


def test_repeated_labels_give_two_segments(scene, shown, spine):
    from SpineMotionToolsLib.scene import spinenet
    from SpineMotionToolsLib.spinenet.editing import rename

    node, nodes = shown
    spinenet.show_spine(scene, node, rename(spine, 3, "L2"), nodes)
    segmentation = nodes.segmentation.GetSegmentation()
    names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
    assert names.count("L2") == 2


# ---- terminology ---------------------------------------------------------------------------------------------------


def test_the_shipped_list_is_the_one_the_code_knows():
    from SpineMotionToolsLib.scene import terminology

    path = Path(__file__).parents[1] / "SpineMotionTools" / "Resources" / "SpineMotionTools.term.json"
    assert json.loads(path.read_text(encoding="utf-8")) == terminology.document()


def test_slicer_reads_the_list_and_our_entries(app, scene):
    import slicer
    from SpineMotionToolsLib.scene import terminology

    logic = slicer.modules.terminologies.logic()
    path = Path(__file__).parents[1] / "SpineMotionTools" / "Resources" / "SpineMotionTools.term.json"
    assert logic.LoadTerminologyFromFile(str(path)) == terminology.CONTEXT
    entries = {
        terminology.vertebra_entry("L5"): "49668003",
        terminology.disc_entry("L4-L5"): "84020006",
        terminology.disc_entry("L5-L6"): "360499006",
    }
    for text, code in entries.items():
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(text, entry)
        assert entry.GetTypeObject().GetCodeValue() == code
    for level in ("T13", "L6", "S2"):
        assert terminology.vertebra_code(level) == terminology.VERTEBRA


# ---- markups -------------------------------------------------------------------------------------------------------


def test_centers_and_corners_lie_where_the_spine_has_them(shown, spine):
    node, nodes = shown
    assert [nodes.centers.GetNthControlPointLabel(n) for n in range(7)] == list(LEVELS)
    assert nodes.centers.GetNthControlPointLocked(3)
    center = np.array(nodes.centers.GetNthControlPointPosition(3))
    assert center[1:] == pytest.approx([0, 0], abs=1e-6)
    assert nodes.corners.GetNumberOfControlPoints() == 4 * 7
    facts = json.loads(nodes.corners.GetNthControlPointDescription(13))
    assert facts == {"vertebra": 3, "slice": spine.vertebrae[3].middle_slice, "corner": "rb"}
    position = np.array(nodes.corners.GetNthControlPointPosition(13))
    assert position[1:] == pytest.approx([-DEPTH_MM / 2, -HEIGHT_MM / 2], abs=1e-6)  # posterior, inferior
    assert nodes.corners.GetNthControlPointLabel(13) == "L3 posterior inferior"


def test_names_of_a_straight_spine_are_seen_in_one_slice(scene, spine, volume):
    from SpineMotionToolsLib.scene import spinenet

    first = spine.vertebrae[0]
    cut = replace(first, slices=first.slices[1:], corners_px=first.corners_px[1:])
    node = spinenet.add_scan(scene, volume)
    nodes = spinenet.show_spine(scene, node, replace(spine, vertebrae=(cut, *spine.vertebrae[1:])))
    places = {round(nodes.centers.GetNthControlPointPosition(n)[0], 3) for n in range(7)}
    assert len(places) == 1


def test_corners_in_all_slices(scene, shown, spine):
    from SpineMotionToolsLib.scene import spinenet_points

    node, nodes = shown
    spinenet_points.show_corners(nodes.corners, node, spine, all_slices=True)
    assert nodes.corners.GetNumberOfControlPoints() == 4 * sum(len(v.slices) for v in spine.vertebrae)
    spinenet_points.show_corners(nodes.corners, node, spine)
    assert nodes.corners.GetNumberOfControlPoints() == 4 * 7


def test_the_corner_that_was_moved_is_found(shown, spine):
    from SpineMotionToolsLib.scene.spinenet_points import moved_corner

    node, nodes = shown
    assert moved_corner(nodes.corners, spine) is None
    nodes.corners.SetNthControlPointPosition(10, 1.0, 20.0, 33.0)
    moved = moved_corner(nodes.corners, spine)
    assert (moved.vertebra, moved.corner) == (2, "lb")
    assert moved.position_ras.tolist() == [1.0, 20.0, 33.0]


def test_points_of_other_origin_are_no_moved_corners(shown, spine):
    from SpineMotionToolsLib.scene.spinenet_points import moved_corner

    node, nodes = shown
    for text in ("", "not json", '{"vertebra": 99}', '{"vertebra": 1, "slice": 0, "corner": "xx"}'):
        nodes.corners.SetNthControlPointDescription(0, text)
        nodes.corners.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
        assert moved_corner(nodes.corners, spine) is None


@pytest.mark.parametrize("index", [0, 6])
@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::3])
def test_a_drawn_outline_is_ordered_whatever_the_order_of_clicks(spine, index, order):
    from SpineMotionToolsLib.scene.spinenet_points import drawn_outline

    vertebra = spine.vertebrae[index]
    number, outline = drawn_outline(vertebra.middle_polygon_ras[list(order)], spine)
    assert number == vertebra.middle_slice
    assert outline == pytest.approx(vertebra.middle_polygon_px, abs=1e-6)


# ---- tables --------------------------------------------------------------------------------------------------------


def test_grades_stand_beside_their_probabilities(shown, spine):
    node, nodes = shown
    table = nodes.grades
    assert (table.GetNumberOfRows(), table.GetNumberOfColumns()) == (6, 1 + 2 * 11)
    assert table.GetColumnTitle("CentralCanalStenosis") == "Central canal stenosis"
    assert table.GetColumnTitle("p CentralCanalStenosis") == "p"
    grade = spine.discs[4].grade("Pfirrmann")
    assert table.GetCellText(4, 1) == str(grade.value)
    assert float(table.GetCellText(4, 2)) == round(grade.probability, 2)
    assert table.GetColumnDescription("Narrowing") == ("Disc narrowing: 1 = none, 2 = mild, 3 = moderate, 4 = severe")


def test_demonstration_stands_on_grades_and_not_on_measurements(spine):
    from SpineMotionToolsLib.scene.spinenet_tables import tables_of

    names = {key: table.name for key, table in tables_of(spine).items()}
    assert "demonstration" in names.pop("grades")
    assert not any("demonstration" in name for name in names.values())
    real = tables_of(replace(spine, grades_are_demonstration=False))
    assert real["grades"].name == "Grades"


def test_ungraded_and_ungradable_discs_have_empty_cells(scene, shown, spine):
    from SpineMotionToolsLib.scene import spinenet

    node, nodes = shown
    discs = (replace(spine.discs[0], grades=None), replace(spine.discs[1], grades=()), *spine.discs[2:])
    spinenet.show_spine(scene, node, replace(spine, discs=discs), nodes)
    assert [nodes.grades.GetCellText(row, 1) == "" for row in range(4)] == [True, True, False, False]


def test_measurements_have_units_and_sensible_digits(shown):
    node, nodes = shown
    assert nodes.bodies.GetColumnTitle("Anterior height") == "Anterior height (mm)"
    assert nodes.bodies.GetColumnUnitLabel("Anterior height") == "mm"
    assert float(nodes.bodies.GetCellText(2, 1)) == HEIGHT_MM
    assert float(nodes.discs.GetCellText(1, 2)) == PITCH_MM - HEIGHT_MM
    assert nodes.angles.GetCellText(0, 0) == "Lumbar lordosis L1-S1"


# ---- places, transforms, files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "row", "s_mm"),
    [("bodies", 3, 0.0), ("grades", 2, 18.0), ("discs", 0, 90.0), ("angles", 0, -18.0), ("bodies", 9, None)],
)
def test_rows_lead_to_their_level(spine, table, row, s_mm):
    from SpineMotionToolsLib.scene.spinenet import place_of

    place = place_of(spine, table, row)
    assert (None if place is None else float(place[2])) == (None if s_mm is None else pytest.approx(s_mm, abs=1e-6))


def test_results_follow_the_transform_of_the_scan(scene, app, volume, spine):
    from SpineMotionToolsLib.scene import nodes as scene_nodes
    from SpineMotionToolsLib.scene import spinenet

    node = spinenet.add_scan(scene, volume)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = (100, 200, 300)
    transform.SetMatrixTransformToParent(scene_nodes.vtk_matrix_of(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    nodes = spinenet.show_spine(scene, node, spine)
    world = np.zeros(3)
    nodes.corners.GetNthControlPointPositionWorld(13, world)
    assert world[1:] == pytest.approx([200 - DEPTH_MM / 2, 300 - HEIGHT_MM / 2], abs=1e-6)
    center = np.array(nodes.segmentation.GetSegmentCenterRAS("L3"))
    assert center == pytest.approx([100, 200, 300], abs=2)
    spinenet.jump_to(scene, node, spinenet.place_of(spine, "bodies", 3))
    assert scene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset() == pytest.approx(300, abs=1e-6)


def test_files_keep_levels_codes_and_points(shown, spine, tmp_path, scene):
    import slicer
    import vtk

    node, nodes = shown
    for each, kind, name in (
        (nodes.segmentation, "vtkMRMLSegmentationStorageNode", "spine.seg.nrrd"),
        (nodes.corners, "vtkMRMLMarkupsJsonStorageNode", "corners.mrk.json"),
    ):
        storage = scene.AddNewNodeByClass(kind)
        storage.SetFileName(str(tmp_path / name))
        assert storage.WriteData(each)
        again = scene.AddNewNodeByClass(each.GetClassName())
        assert storage.ReadData(again)
        if name.endswith(".mrk.json"):
            assert again.GetNthControlPointDescription(13) == each.GetNthControlPointDescription(13)
            continue
        level = vtk.reference("")
        segment = again.GetSegmentation().GetSegment("L4-L5 disc")
        assert segment.GetTag("SpineMotionTools.Level", level)
        assert level == "L4-L5"
        before = slicer.util.arrayFromSegmentBinaryLabelmap(each, "L3", node)
        assert np.array_equal(before, slicer.util.arrayFromSegmentBinaryLabelmap(again, "L3", node))


def test_the_result_comes_back_whole_from_its_text(shown, spine):
    from SpineMotionToolsLib.scene.spinenet import scan_of, spine_of

    node, nodes = shown
    assert spine_of(nodes.result).to_json() == json.loads(json.dumps(spine.to_json()))
    assert scan_of(nodes.result) is node
    assert json.loads(nodes.bodies.GetAttribute("SpineMotionTools.Provenance"))["system"] == "spinenet"


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", "no json", '{"geometry": 3}'])
def test_a_foreign_text_is_no_result(scene, text):
    from SpineMotionToolsLib.scene.spinenet import spine_of

    node = scene.AddNewNodeByClass("vtkMRMLTextNode")
    node.SetText(text)
    assert spine_of(node) is None
    assert spine_of(None) is None

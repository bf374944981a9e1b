"""The SpineNet module as a user meets it: its real panel and logic on a real scene, corners dragged with the mouse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from Testing.spinenet_samples import LEVELS, body_ras, made_spine, made_volume

pytestmark = pytest.mark.panel

REPOSITORY = Path(__file__).parents[1]
YELLOW = "Yellow"  # the sagittal view


@pytest.fixture
def host(open_module):
    opened = open_module("SpineNetModule")
    opened.widget._parameterNode.updateAtOnce = False
    return opened


@pytest.fixture
def volume(scene, host):
    """A made scan in the scene, chosen in the panel and shown."""
    import slicer
    from SpineMotionToolsLib.scene import spinenet

    node = spinenet.add_scan(scene, made_volume())
    host.widget._parameterNode.inputVolume = node
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


@pytest.fixture
def read(host, volume):
    """The made scan with its known spine, as after Apply."""
    spine = made_spine(made_volume())
    host.logic._showReading(host.widget._parameterNode, volume, spine, "spinenet-starter")
    host.widget._updateControls()
    return spine


@pytest.fixture
def made_tasks(monkeypatch):
    """Jobs of the module run `Testing.spinenet_made_tasks` in a real child process: no weight files are needed."""
    from SpineMotionToolsLib.common import jobs

    start = jobs.start_job

    def start_made(task, parameters, onProgress=None):
        room, _, name = task.partition(":")
        assert room == "spinenet.tasks"
        return start(f"Testing.spinenet_made_tasks:{name}", parameters, onProgress, module_prefixes=["Testing."])

    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(jobs, "start_job", start_made)


def present(host):
    """The spine that the panel shows."""
    return host.logic.resultOf(host.widget._parameterNode)


def finish(host, timeout=240):
    host.wait(lambda: not host.widget.jobs.running, timeout=timeout)


def view(host, index=3):
    """The sagittal view, at a vertebra."""
    host.logic.jumpToRow(host.widget._parameterNode, "bodies", index)
    sagittal = host.app.layoutManager().sliceWidget(YELLOW).sliceView()
    sagittal.resize(500, 500)
    sagittal.fitSliceToBackground()
    sagittal.image()  # so that the points are drawn and can be picked
    return sagittal


def drag_corner(host, index, corner, by_px):
    """Drag a corner of the middle slice with the mouse; returns where it was and where it is, RAS mm."""
    before = present(host).vertebrae[index].middle_polygon_ras[corner]
    sagittal = view(host, index)
    x, y = sagittal.xy(before)
    sagittal.drag((x, y), (x + by_px[0], y + by_px[1]))
    host.process()
    return before, present(host).vertebrae[index].middle_polygon_ras[corner]


# ---- the panel -----------------------------------------------------------------------------------------------------


def test_fresh_panel_says_what_is_missing(open_module):
    host = open_module("SpineNetModule")
    assert not host.ui.applyButton.enabled
    assert "scan" in host.ui.applyButton.toolTip
    assert "Not read yet" in host.ui.summaryLabel.text
    for name in ("renameButton", "addButton", "undoButton", "updateButton", "exportReportButton"):
        assert not getattr(host.ui, name).enabled
    assert host.violations(325) == []


def test_every_control_has_a_tooltip(open_module):
    host = open_module("SpineNetModule")
    host.ui.advancedCollapsibleButton.collapsed = False
    assert [problem for problem in host.violations(500) if "tooltip" in problem.lower()] == []


def test_full_panel_fits_its_narrowest_width(host, read):
    host.click("shiftUpButton")
    host.ui.advancedCollapsibleButton.collapsed = False
    assert host.violations(325) == []


def test_the_scan_line_tells_slices_and_sides(host, volume):
    assert "17 sagittal slices, 4.0 mm apart; pixels of 1.00 mm" in host.ui.scanLabel.text
    assert "not known" not in host.ui.scanLabel.text
    host.click("sampleButton")
    assert host.widget._parameterNode.inputVolume.GetName().startswith("LumbarMRI")
    assert "17 sagittal slices, 4.0 mm apart" in host.ui.scanLabel.text
    assert "left is not known" in host.ui.scanLabel.text


def test_sample_data_has_its_button_and_terminology_is_known(host, app):
    import slicer
    from SpineMotionToolsLib.scene import terminology

    from Testing.headless import sampledata

    app.startup_completed()
    assert sampledata.press("LumbarMRI").GetImageData().GetDimensions() == (232, 368, 17)
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.modules.terminologies.logic()
    assert logic.DeserializeTerminologyEntry(terminology.vertebra_entry("L5"), entry)
    known = logic.GetNumberOfTypesInTerminologyCategory(terminology.CONTEXT, entry.GetCategoryObject())
    assert known == 25 + 23 + 2  # vertebrae, discs, and one of each without a level


def test_result_is_read_from_top_to_bottom(host, read):
    assert "T12 to S1" in host.ui.summaryLabel.text
    assert "Lumbar lordosis L1-S1: 30" in host.ui.summaryLabel.text
    assert "not validated on patients" in host.ui.warningsLabel.text
    assert host.ui.resultTableView.visible


def test_demonstration_stands_exactly_where_grades_are(host, read):
    from SpineNetModuleLib.parameters import ShownTable

    node = host.widget._parameterNode
    for table in ShownTable:
        node.shownTable = table
        assert ("demonstration, no clinical meaning" in host.ui.gradesNoteLabel.text) == (table is ShownTable.GRADES)
        assert host.ui.gradesNoteLabel.visible == (table is ShownTable.GRADES)
    for label in (host.ui.warningsLabel, host.ui.summaryLabel):
        assert "demonstration" not in label.text


def test_a_slip_and_a_fracture_are_in_the_summary(host, read):
    from SpineMotionToolsLib.spinenet import editing

    def slipped(spine):
        corners = np.array(spine.vertebrae[4].corners_px) - [8, 0]
        spine = editing.set_outline(spine, 4, spine.vertebrae[4].slices, corners)
        corners = np.array(spine.vertebrae[2].corners_px)
        corners[:, 3, 1] += 9
        return editing.set_outline(spine, 2, spine.vertebrae[2].slices, corners)

    host.logic.correct(host.widget._parameterNode, slipped)
    host.widget._updateControls()
    assert "L4-L5: anterolisthesis of 8.0 mm (24 %, Meyerding 1)" in host.ui.summaryLabel.text
    assert "L3-L4: retrolisthesis of 8.0 mm" in host.ui.summaryLabel.text
    assert "L2: height loss 33 % (wedge, Genant 2)" in host.ui.summaryLabel.text


# ---- views ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "row", "s_mm"), [("GRADES", 2, 18), ("DISCS", 4, -54), ("BODIES", 1, 72)])
def test_clicking_a_row_goes_to_its_level(host, read, scene, table, row, s_mm):
    from SpineNetModuleLib.parameters import ShownTable

    host.widget._parameterNode.shownTable = ShownTable[table]
    host.ui.resultTableView.selectRow(row)
    host.process(0.1)
    assert scene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset() == pytest.approx(s_mm, abs=1e-6)
    middle_r = read.vertebrae[row].middle_polygon_ras[0, 0]
    assert scene.GetNodeByID("vtkMRMLSliceNodeYellow").GetSliceOffset() == pytest.approx(-middle_r, abs=1e-6)
    assert host.ui.vertebraComboBox.currentText == LEVELS[row]


def test_choosing_a_vertebra_goes_to_it(host, read, scene):
    host.ui.vertebraComboBox.setCurrentIndex(5)
    host.widget.corrections.onVertebra(5)
    assert scene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset() == pytest.approx(-72, abs=1e-6)
    assert host.ui.levelComboBox.currentText == "L5"


# ---- corners -------------------------------------------------------------------------------------------------------


def test_another_table_is_shown_without_a_jump(host, read, scene):
    """The view keeps the number of the selected row; in another table that row is another place."""
    node = host.widget._parameterNode
    node.shownTable = type(node.shownTable).DISCS
    host.ui.resultTableView.selectRow(4)
    host.process(0.05)
    before = view_offsets(scene)
    node.shownTable = type(node.shownTable).BODIES
    host.process(0.05)
    assert view_offsets(scene) == before
    assert not host.ui.resultTableView.selectionModel().hasSelection


def view_offsets(scene):
    return [scene.GetNodeByID(f"vtkMRMLSliceNode{name}").GetSliceOffset() for name in ("Red", "Yellow", "Green")]


def test_results_stay_when_other_data_is_loaded(host, read, scene):
    table = host.ui.resultTableView.mrmlTableNode()
    scene.StartState(scene.BatchProcessState)  # as loading files does
    scene.EndState(scene.BatchProcessState)
    assert host.ui.resultTableView.mrmlTableNode() is table is not None


def test_what_has_a_meaning_is_shown_first(host, read):
    """The starter's grades have none, its measurements do."""
    assert read.grades_are_demonstration
    assert host.widget._parameterNode.shownTable.name == "DISCS"
    assert host.ui.resultTableView.model().rowCount() == len(read.discs)


def test_names_do_not_lie_on_a_heap_in_the_axial_view(host, read, scene):
    centers = host.widget._parameterNode.centers
    plain, projected = centers.GetNthDisplayNode(0), centers.GetNthDisplayNode(1)
    assert not plain.GetSliceProjection()
    assert set(projected.GetViewNodeIDs()) == {"vtkMRMLSliceNodeGreen", "vtkMRMLSliceNodeYellow"}
    plain.SetPointLabelsVisibility(False)  # as in the module Markups
    assert not projected.GetPointLabelsVisibility()
    assert projected.GetSliceProjection()


def test_the_scan_is_shown_in_its_own_planes_after_apply(host, read, volume, scene):
    """Outlines lie in the slices of the scan, also when it was taken at a slant."""
    import vtk

    turn = vtk.vtkTransform()
    turn.RotateZ(12)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    vtk.vtkMatrix4x4.Multiply4x4(turn.GetMatrix(), matrix, matrix)
    volume.SetIJKToRASMatrix(matrix)
    host.logic.showMiddle(host.widget._parameterNode)
    sagittal = scene.GetNodeByID("vtkMRMLSliceNodeYellow").GetSliceToRAS()
    normal = [abs(sagittal.GetElement(row, 2)) for row in range(3)]
    assert normal == pytest.approx([np.cos(np.radians(12)), np.sin(np.radians(12)), 0], abs=1e-6)


def test_a_loaded_scan_is_chosen_but_no_label_map(host, scene):
    import slicer
    from SpineMotionToolsLib.scene import spinenet

    labels = np.zeros((3, 4, 5), np.uint8)
    slicer.util.addVolumeFromArray(labels, nodeClassName="vtkMRMLLabelMapVolumeNode", name="labels")
    host.process(0.05)
    assert host.widget._parameterNode.inputVolume is None
    scan = spinenet.add_scan(scene, made_volume())
    host.process(0.05)
    assert host.widget._parameterNode.inputVolume is scan
    assert host.ui.applyButton.enabled


def test_dragging_a_corner_measures_anew_and_asks_for_two_grades(host, read):
    height = present(host).measurements.vertebrae[3].anterior_height_mm
    before, after = drag_corner(host, 3, 3, (0, 8))
    spine = present(host)
    assert after[2] > before[2] + 2
    assert after[1] == pytest.approx(before[1], abs=0.7)
    assert spine.measurements.vertebrae[3].anterior_height_mm == pytest.approx(height + after[2] - before[2], abs=0.1)
    assert [d.level for d in spine.discs if d.grades is None] == ["L2-L3", "L3-L4"]
    assert spine.discs[5].grades == read.discs[5].grades
    assert spine.vertebrae[3].source == "corrected"
    assert "moved a corner of L3" in host.ui.correctionsLabel.text
    assert "To be graded again: L2-L3, L3-L4" in host.ui.correctionsLabel.text
    assert host.ui.updateButton.enabled


def test_one_drag_is_one_correction(host, read):
    """No echo: what the module writes into the points is no correction."""
    drag_corner(host, 3, 0, (6, 0))
    drag_corner(host, 2, 0, (6, 0))
    node = host.widget._parameterNode
    node.corners.InvokeEvent(node.corners.PointEndInteractionEvent)  # let go without having moved
    host.process()
    assert len(host.logic.history._past) == 2


def test_a_corner_that_crosses_the_outline_goes_back(host, read):
    before, after = drag_corner(host, 3, 0, (0, -90))
    assert after.tolist() == before.tolist()
    assert "cross" in host.ui.statusLabel.text
    node = host.widget._parameterNode
    assert node.corners.GetNthControlPointPosition(12) == pytest.approx(tuple(before), abs=1e-6)
    assert not host.ui.undoButton.enabled


def test_corners_in_all_slices_can_be_dragged_too(host, read):
    host.click("allSlicesCheckBox")
    node = host.widget._parameterNode
    points = node.corners.GetNumberOfControlPoints()
    assert points == 4 * sum(len(v.slices) for v in read.vertebrae)
    x, y, z = node.corners.GetNthControlPointPosition(0)
    node.corners.SetNthControlPointPosition(0, x, y - 2, z)
    node.corners.InvokeEvent(node.corners.PointEndInteractionEvent)
    spine = present(host)
    assert spine.vertebrae[0].corners_ras[0, 0] == pytest.approx([x, y - 2, z])
    assert np.array_equal(spine.vertebrae[0].corners_px[1:], read.vertebrae[0].corners_px[1:])
    assert node.corners.GetNumberOfControlPoints() == points


# ---- labels --------------------------------------------------------------------------------------------------------


def test_shift_undo_redo(host, read):
    host.click("shiftUpButton")
    assert present(host).labels == ["T11", "T12", "L1", "L2", "L3", "L4", "L5"]
    assert "shifted all labels by -1" in host.ui.correctionsLabel.text
    assert host.ui.vertebraComboBox.itemText(6) == "L5"
    assert host.widget._parameterNode.centers.GetNthControlPointLabel(6) == "L5"
    assert all(v.label_probability is None for v in present(host).vertebrae)  # a person's word, not the network's
    host.click("undoButton")
    assert present(host).labels == list(LEVELS)
    assert not any(v.label_probability is None for v in present(host).vertebrae)
    assert host.ui.correctionsLabel.text == ""
    host.click("redoButton")
    assert present(host).labels[-1] == "L5"
    assert present(host).is_graded
    assert not host.ui.redoButton.enabled


def test_a_count_without_sacrum_warns_until_a_person_names_a_level(host, read):
    host.widget.corrections.choose(6)
    host.click("deleteButton")
    assert "Neither the sacrum nor C2" in host.ui.warningsLabel.text
    host.widget.corrections.choose(5)
    host.ui.levelComboBox.setCurrentIndex(host.ui.levelComboBox.findText("L5"))
    host.click("countButton")
    assert "Neither the sacrum" not in host.ui.warningsLabel.text
    host.click("undoButton")
    assert "Neither the sacrum nor C2" in host.ui.warningsLabel.text


def test_shifting_beyond_the_spine_is_a_sentence(host, read):
    host.click("shiftDownButton")
    host.click("shiftDownButton")
    assert "would leave the spine" in host.ui.statusLabel.text
    assert present(host).labels[-1] == "S2"


def test_rename_warns_of_what_does_not_add_up(host, read):
    host.widget.corrections.choose(3)
    host.ui.levelComboBox.setCurrentIndex(host.ui.levelComboBox.findText("L2"))
    host.click("renameButton")
    assert present(host).labels == ["T12", "L1", "L2", "L2", "L4", "L5", "S1"]
    assert "Given more than once: L2" in host.ui.warningsLabel.text
    host.click("undoButton")
    assert "more than once" not in host.ui.warningsLabel.text


def test_counting_with_six_lumbar_vertebrae(host, read):
    host.ui.lumbarSpinBox.value = 6
    host.widget.corrections.choose(6)
    host.ui.levelComboBox.setCurrentIndex(host.ui.levelComboBox.findText("S1"))
    host.click("countButton")
    assert present(host).labels == ["L1", "L2", "L3", "L4", "L5", "L6", "S1"]
    assert present(host).numbering.lumbar == 6
    assert "jumps" not in host.ui.warningsLabel.text  # true of this patient
    assert present(host).is_graded  # no outline has changed


# ---- vertebrae -----------------------------------------------------------------------------------------------------


def draw(host, index, r_mm, corners=(2, 0, 3, 1)):
    """Add a vertebra by clicking its corners in the sagittal view."""
    host.click("addButton")
    sagittal = host.app.layoutManager().sliceWidget(YELLOW).sliceView()
    for corner in corners:
        sagittal.click(*sagittal.xy(body_ras(index, r_mm)[corner]))
        host.process()
    host.process(0.1)


def test_a_deleted_vertebra_can_be_drawn_again(host, read, scene):
    host.widget.corrections.choose(2)
    host.click("deleteButton")
    assert present(host).labels == ["T12", "L1", "L3", "L4", "L5", "S1"]
    assert "wide gap" in host.ui.warningsLabel.text
    assert "To be graded again: L1-L3" in host.ui.correctionsLabel.text
    sagittal = view(host, 2)
    nodes = scene.GetNumberOfNodes()
    draw(host, 2, sagittal.logic.GetSliceOffset())
    spine = present(host)
    assert spine.labels == list(LEVELS)
    added = spine.vertebrae[2]
    assert added.source == "added"
    assert added.slices == spine.vertebrae[1].slices
    assert added.middle_polygon_px == pytest.approx(read.vertebrae[2].middle_polygon_px, abs=0.8)
    assert host.ui.vertebraComboBox.currentText == "L2"
    assert host.ui.addButton.text == "Add vertebra"
    assert scene.GetNumberOfNodes() == nodes
    assert "wide gap" not in host.ui.warningsLabel.text
    host.click("undoButton")
    host.click("undoButton")
    assert present(host).to_json() == json.loads(json.dumps(read.to_json()))


def test_a_missed_vertebra_moves_the_count(host, read):
    """T12 to S1 with one body between L1 and L2 unseen: all above were named one level too low."""
    from SpineMotionToolsLib.spinenet import editing

    node = host.widget._parameterNode
    host.logic.correct(node, lambda s: editing.count_from(editing.delete_vertebra(s, 2), 5, "S1"))
    host.widget._updateControls()
    assert present(host).labels == ["L1", "L2", "L3", "L4", "L5", "S1"]
    sagittal = view(host, 2)
    draw(host, 2, sagittal.logic.GetSliceOffset())
    assert present(host).labels == list(LEVELS)


def test_a_vertebra_on_top_of_another_is_refused(host, read):
    sagittal = view(host, 2)
    draw(host, 2, sagittal.logic.GetSliceOffset())
    assert "L2 lies there already" in host.ui.statusLabel.text
    assert present(host).labels == list(LEVELS)
    assert host.ui.addButton.text == "Add vertebra"


def test_adding_can_be_given_up(host, read, scene):
    import slicer

    nodes = scene.GetNumberOfNodes()
    host.click("addButton")
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert host.ui.addButton.text == "Stop adding"
    host.click("addButton")
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert scene.GetNumberOfNodes() == nodes
    host.click("addButton")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)  # a right click in a view
    host.process(0.05)
    assert host.ui.addButton.text == "Add vertebra"
    assert scene.GetNumberOfNodes() == nodes
    host.click("addButton")
    host.leave()  # to another module
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert scene.GetNumberOfNodes() == nodes
    host.enter()


# ---- the scene -----------------------------------------------------------------------------------------------------


def test_result_choices_and_corrections_survive_saving_and_loading(host, read, tmp_path):
    node = host.widget._parameterNode
    node.lumbarCount = 6
    drag_corner(host, 3, 3, (0, 8))
    corrected = present(host).to_json()
    path = host.save_scene(tmp_path / "scene.mrb")
    host.close_scene()
    assert "Not read yet" in host.ui.summaryLabel.text
    assert not host.ui.undoButton.enabled
    host.load_scene(path)
    node = host.widget._parameterNode
    assert node.lumbarCount == 6
    assert present(host).to_json() == corrected
    assert "moved a corner of L3" in host.ui.correctionsLabel.text
    assert node.segmentation.GetSegmentation().GetNumberOfSegments() == 13
    assert not host.ui.undoButton.enabled  # a history is not saved, the list of corrections is
    drag_corner(host, 2, 3, (0, 8))
    assert len(present(host).provenance.parameters["edits"]) == 2


def test_a_scene_loaded_into_another_keeps_both_results(host, read, scene, tmp_path):
    path = host.save_scene(tmp_path / "scene.mrb")
    host.load_scene(path, clear=False)
    import slicer
    from SpineMotionToolsLib.scene import spinenet

    results = [each for each in slicer.util.getNodesByClass("vtkMRMLTextNode") if spinenet.spine_of(each)]
    scans = {spinenet.scan_of(each).GetID() for each in results}
    assert len(results) == 2
    assert len(scans) == 2


@pytest.mark.parametrize("text", ['{"schema": "of later"}', "[]", "no json", '{"geometry": null}'])
def test_a_spine_that_cannot_be_read_is_told_and_kept_until_apply(host, read, text):
    node = host.widget._parameterNode
    node.result.SetText(text)
    host.widget._updateControls()
    assert "newer version or is damaged. Press Apply" in host.ui.summaryLabel.text
    assert not host.ui.resultTableView.visible
    assert node.result.GetText() == text


def test_another_scan_does_not_show_this_result(host, read, scene):
    from SpineMotionToolsLib.scene import spinenet

    other = spinenet.add_scan(scene, made_volume(seed=5))
    host.widget._parameterNode.inputVolume = other
    assert "Not read yet" in host.ui.summaryLabel.text
    assert not host.ui.resultTableView.visible
    assert not host.ui.deleteButton.enabled


def test_a_second_scan_keeps_the_first_result(host, read, scene):
    from SpineMotionToolsLib.scene import spinenet

    node = host.widget._parameterNode
    first, kept = node.result, node.inputVolume
    other = spinenet.add_scan(scene, made_volume(seed=5))
    host.logic._showReading(node, other, made_spine(made_volume(seed=5)), "spinenet-starter")
    assert node.result is not first
    assert spinenet.scan_of(first) is kept
    assert not host.logic.history.canUndo


def test_a_scan_that_is_read_again_while_another_is_chosen_keeps_one_set_of_nodes(host, read, volume, scene):
    from SpineMotionToolsLib.scene import spinenet

    node = host.widget._parameterNode
    first = node.segmentation
    other = spinenet.add_scan(scene, made_volume(seed=5))
    host.logic._showReading(node, other, made_spine(made_volume(seed=5)), "spinenet-starter")
    host.logic._showReading(node, volume, read, "spinenet-starter")
    assert node.segmentation is first
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_exports(host, read, app, tmp_path):
    app.dialogs.answer(str(tmp_path))
    host.click("exportCsvButton")
    files = {path.name for path in tmp_path.glob("*.csv")}
    assert "Scan_spine_grades_demonstration.csv" in files
    assert "Scan_spine_discs.csv" in files
    assert (tmp_path / "Scan_spine_bodies.csv").read_text(encoding="utf-8-sig").count("\n") == 8
    app.dialogs.answer(str(tmp_path / "report.html"))
    host.click("exportReportButton")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "L4-L5" in text
    assert "demonstration, no clinical meaning" in text


# ---- work in the background ----------------------------------------------------------------------------------------


def test_apply_reads_and_a_correction_is_graded_again(host, volume, made_tasks):
    """The whole way of a user: Apply, drag a corner, and only the two discs beside it are graded anew."""
    host.click("applyButton")
    assert host.ui.applyButton.text == "Cancel"
    assert not host.ui.addButton.enabled
    finish(host)
    node, spine = host.widget._parameterNode, present(host)
    assert host.ui.applyButton.text == "Apply"
    assert spine.labels == list(LEVELS)
    assert spine.is_graded
    assert node.segmentation.GetSegmentation().GetNumberOfSegments() == 13
    assert node.gradeTable.GetNumberOfRows() == 6
    assert json.loads(node.gradeTable.GetAttribute("SpineMotionTools.Provenance"))["system"] == "spinenet"
    node.updateAtOnce = True
    drag_corner(host, 3, 0, (12, 0))  # backwards: the disc above it becomes wider
    assert host.ui.updateButton.text == "Cancel"
    host.click("shiftUpButton")  # a newer correction takes the place of the running update
    finish(host)
    again = present(host)
    assert again.labels[-1] == "L5"
    assert again.is_graded
    assert again.discs[2].grades != spine.discs[2].grades
    assert [again.discs[n].grades == spine.discs[n].grades for n in (0, 1, 4, 5)] == [True] * 4
    assert node.gradeTable.GetCellText(2, 0) == "L1-L2"
    assert not host.ui.updateButton.enabled
    host.click("undoButton")
    host.click("undoButton")
    assert present(host).discs == spine.discs
    host.widget.jobs.cancel()


def test_updates_wait_for_the_button_when_asked_to(host, volume, made_tasks):
    host.click("applyButton")
    finish(host)
    host.widget.corrections.choose(2)
    host.click("deleteButton")
    assert not host.widget.jobs.running
    assert "To be graded again: L1-L3" in host.ui.correctionsLabel.text
    host.click("updateButton")
    finish(host)
    assert present(host).is_graded
    assert "To be graded" not in host.ui.correctionsLabel.text
    assert host.ui.undoButton.enabled


def test_a_correction_while_grades_are_updated_is_not_lost(host, volume, made_tasks):
    """The running update knows nothing of it."""
    host.click("applyButton")
    finish(host)
    host.widget.corrections.choose(2)
    host.click("deleteButton")
    host.click("updateButton")
    host.click("shiftUpButton")
    finish(host)
    assert present(host).labels[-1] == "L5"
    assert "To be graded again" in host.ui.correctionsLabel.text
    host.click("updateButton")
    finish(host)
    assert present(host).is_graded
    assert present(host).labels[-1] == "L5"


def test_grades_that_come_when_another_scan_is_chosen_stay_with_theirs(host, volume, scene, made_tasks):
    from SpineMotionToolsLib.scene import spinenet

    host.click("applyButton")
    finish(host)
    host.widget.corrections.choose(2)
    host.click("deleteButton")
    host.click("updateButton")
    other, node = spinenet.add_scan(scene, made_volume(seed=5)), host.widget._parameterNode
    node.inputVolume = other
    finish(host)
    assert node.inputVolume is other
    assert "Not read yet" in host.ui.summaryLabel.text
    node.inputVolume = volume
    assert present(host).is_graded
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_console_gives_the_same_spine_as_the_panel(host, volume, made_tasks):
    host.click("applyButton")
    finish(host)
    shown = present(host)
    again = host.logic.read(volume)
    assert again.labels == shown.labels
    assert all(np.array_equal(a.corners_px, b.corners_px) for a, b in zip(again.vertebrae, shown.vertebrae))
    assert [d.grades for d in again.discs] == [d.grades for d in shown.discs]


def test_apply_turns_into_cancel_and_the_scene_stays_as_it_was(host, volume, scene, made_tasks):
    before = scene.GetNumberOfNodes()
    host.click("applyButton")
    host.process(0.3)
    host.click("applyButton")
    assert host.ui.applyButton.text == "Apply"
    assert "Cancelled" in host.ui.statusLabel.text
    assert scene.GetNumberOfNodes() == before


def test_removing_the_scan_while_it_is_read_discards_the_result(host, volume, scene, made_tasks):
    host.click("applyButton")
    scene.RemoveNode(volume)
    finish(host)
    assert "removed" in host.ui.logText.plainText


def test_removing_the_scan_while_grades_are_updated_is_quiet(host, read, volume, scene, made_tasks):
    host.widget._parameterNode.updateAtOnce = True
    drag_corner(host, 3, 3, (0, 8))
    scene.RemoveNode(volume)
    finish(host)
    assert "Not read yet" in host.ui.summaryLabel.text


def test_closing_the_scene_stops_the_work(host, volume, made_tasks):
    host.click("applyButton")
    host.close_scene()
    assert not host.widget.jobs.running
    assert host.ui.applyButton.text == "Apply"


@pytest.mark.parametrize(
    ("array", "spacing", "words"),
    [
        (np.zeros((5, 90, 90)), (1, 1, 4), "all voxels are equal"),
        (np.arange(5 * 60 * 60).reshape(5, 60, 60), (6, 1, 1), "coronal|axial"),
        (np.arange(5 * 60 * 60).reshape(5, 60, 60), (0.01, 0.01, 4), "implausible"),
    ],
)
def test_an_unfit_scan_is_a_sentence(host, scene, array, spacing, words):
    from SpineMotionToolsLib.common.volumes import Volume
    from SpineMotionToolsLib.scene import spinenet

    matrix = np.zeros((4, 4))
    matrix[1, 0], matrix[2, 1], matrix[0, 2], matrix[3, 3] = -spacing[0], -spacing[1], spacing[2], 1
    node = spinenet.add_scan(scene, Volume(array.astype(np.float32), matrix, "Odd"))
    host.widget._parameterNode.inputVolume = node
    host.click("applyButton")
    finish(host)
    assert re.search(words, host.ui.statusLabel.text)
    assert "Traceback" not in host.ui.statusLabel.text
    assert host.ui.applyButton.enabled


@pytest.mark.parametrize("kind", ["vtkMRMLLabelMapVolumeNode", "vtkMRMLSegmentationNode"])
def test_labels_are_no_scan(host, scene, kind):
    node = scene.AddNewNodeByClass(kind, "Labels")
    with pytest.raises(ValueError, match="Labels holds labels or other data, no image"):
        host.logic.read(node)


def test_an_item_of_a_sequence_is_told(host, volume, scene):
    assert "sequence" not in host.ui.scanLabel.text
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Series")
    sequence.SetDataNodeAtValue(volume, "0")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.AddSynchronizedSequenceNode(sequence)
    browser.AddProxyNode(volume, sequence, False)
    host.widget._updateControls()
    assert "item that was shown at Apply" in host.ui.scanLabel.text


def test_an_empty_volume_is_a_sentence(host, scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    host.widget._parameterNode.inputVolume = node
    assert host.ui.scanLabel.text == ""
    with pytest.raises(Exception, match="holds no image"):  # shown by tryWithErrorDisplay, which raises again
        host.widget.onApplyButton()
    assert any("holds no image" in text for text in host.dialogs.texts("error"))
    assert host.ui.applyButton.text == "Apply"


def test_wrong_weights_are_a_sentence(host, volume, tmp_path):
    host.widget._parameterNode.model = str(tmp_path)
    host.click("applyButton")
    finish(host)
    assert "detect-vfr" in host.ui.statusLabel.text
    assert "Not read yet" in host.ui.summaryLabel.text


@pytest.mark.slow
def test_self_test(open_module):
    """Reads the real sample with the starter networks, as a user's first click does."""
    open_module("SpineNetModule").run_self_test()


def test_a_spine_that_comes_when_another_scan_is_chosen_stays_with_its_own(host, volume, scene, made_tasks):
    from SpineMotionToolsLib.scene import nodes, spinenet

    node = host.widget._parameterNode
    host.click("applyButton")
    other = spinenet.add_scan(scene, made_volume(seed=5))
    node.inputVolume = other
    slice_before = scene.GetNodeByID("vtkMRMLSliceNodeYellow").GetSliceOffset()
    finish(host)
    assert node.inputVolume is other
    assert "Not read yet" in host.ui.summaryLabel.text
    assert scene.GetNodeByID("vtkMRMLSliceNodeYellow").GetSliceOffset() == slice_before
    node.inputVolume = volume
    assert present(host).vertebrae
    assert nodes.attribute(node.result, "Model") == "spinenet-starter"


def test_a_spine_that_comes_when_another_module_is_shown_leaves_its_views_alone(host, volume, scene, made_tasks):
    host.click("applyButton")
    host.leave()
    before = scene.GetNodeByID("vtkMRMLSliceNodeYellow").GetSliceOffset()
    finish(host)
    assert scene.GetNodeByID("vtkMRMLSliceNodeYellow").GetSliceOffset() == before
    host.enter()
    assert present(host).vertebrae


def test_a_sentence_about_a_scan_leaves_with_it(host, volume, scene):
    from SpineMotionToolsLib.scene import spinenet

    host.ui.statusLabel.text = "The scan is empty: all voxels are equal."
    host.widget._updateControls()
    assert host.ui.statusLabel.text
    host.widget._parameterNode.inputVolume = spinenet.add_scan(scene, made_volume(seed=5))
    assert host.ui.statusLabel.text == ""

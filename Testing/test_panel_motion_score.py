"""The Motion Score module as a user meets it: its real panel, logic and file reader on a real scene."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from SpineMotionToolsLib.motion.calibration import Calibration

from Testing.golden.seeded_weights import seeded_array
from Testing.motion_samples import made_result, make_results_folder, phantom_slice

pytestmark = pytest.mark.panel

CALIBRATION = Calibration(8192, 0.2409, 1603.51904, -391.209015)
DEPTH = 6


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A folder with three members of the published architecture."""
    from SpineMotionToolsLib.common.weights import write_safetensors
    from SpineMotionToolsLib.motion.members import contract

    folder = tmp_path_factory.mktemp("ensemble with space and é")
    for number, seed in enumerate((0, 19, 23)):
        tensors = {key: seeded_array(f"VAR_{seed}.{key}", spec.shape, 1.2) for key, spec in contract().items()}
        write_safetensors(folder / f"DNN_{number}.safetensors", tensors, {})
    return folder


@pytest.fixture
def host(open_module, weights):
    """The module with the seeded ensemble chosen."""
    opened = open_module("MotionScore")
    opened.widget._parameterNode.model = str(weights)
    opened.widget._parameterNode.stackHeight = 3
    return opened


@pytest.fixture
def volume(scene, host):
    """A small scan in the scene, chosen in the panel."""
    from SpineMotionToolsLib.scene import motion

    array = np.stack([phantom_slice(z).T for z in range(DEPTH)]).astype(np.int16)
    node = motion.add_scan(scene, array, np.diag([-0.0607, -0.0607, 0.0607, 1]), "Scan", "native", CALIBRATION)
    host.widget._parameterNode.inputVolume = node
    return node


def apply(host):
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=120)


def test_fresh_panel_says_what_is_missing(open_module):
    host = open_module("MotionScore")
    assert not host.ui.applyButton.enabled
    assert "scan" in host.ui.applyButton.toolTip
    assert host.violations(325) == []


def test_every_parameter_of_the_form_exists_and_every_control_has_a_tooltip(open_module):
    host = open_module("MotionScore")
    assert [problem for problem in host.violations(500) if "tooltip" in problem.lower()] == []


def test_grade_shows_table_plot_and_grade(host, volume):
    apply(host)
    node = host.widget._parameterNode
    result = host.logic.resultOf(node)
    assert f"Grade {result.grade}" in host.ui.gradeLabel.text
    assert node.gradeTable.GetNumberOfRows() == DEPTH
    assert node.gradeChart.GetNumberOfPlotSeriesNodes() == 2  # grades, and the border between two stacks
    assert host.ui.applyButton.text == "Apply"
    assert result.scan.unit == "native"
    assert json.loads(node.gradeTable.GetAttribute("SpineMotionTools.Provenance"))["system"] == "motion"


def test_a_scan_that_is_graded_again_while_another_is_chosen_keeps_one_set_of_nodes(host, volume, scene):
    from SpineMotionToolsLib.scene import motion

    apply(host)
    node = host.widget._parameterNode
    first, result = node.gradeTable, host.logic.resultOf(node)
    other = motion.add_scan(scene, np.zeros((4, 8, 8), np.int16), np.eye(4), "Other", "native", CALIBRATION)
    host.logic._show(node, other, result)
    assert node.gradeTable is not first
    tables = scene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    host.logic._show(node, volume, result)
    assert node.gradeTable is first
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == tables


def test_console_gives_the_same_numbers_as_the_panel(host, volume, weights):
    apply(host)
    shown = host.logic.resultOf(host.widget._parameterNode)
    again = host.logic.grade(volume, model=str(weights), stackHeight=3)
    assert np.array_equal(shown.votes, again.votes)
    assert again.stack_grades.tolist() == shown.stack_grades.tolist()


def test_clicking_a_row_or_a_point_goes_to_its_slice(host, volume, scene):
    apply(host)
    red = scene.GetNodeByID("vtkMRMLSliceNodeRed")
    host.ui.gradeTableView.selectRow(4)
    host.process(0.1)
    assert red.GetSliceOffset() == pytest.approx(4 * 0.0607, abs=1e-6)
    node = host.widget._parameterNode
    host.logic.jumpToPlotPoint(node, node.gradeChart.GetNthPlotSeriesNodeID(0), 1)
    assert red.GetSliceOffset() == pytest.approx(0.0607, abs=1e-6)
    host.logic.jumpToPlotPoint(node, node.gradeChart.GetNthPlotSeriesNodeID(1), 0)  # a stack border leads nowhere
    assert red.GetSliceOffset() == pytest.approx(0.0607, abs=1e-6)


def test_apply_turns_into_cancel_and_the_scene_stays_as_it_was(host, volume, scene):
    before = scene.GetNumberOfNodes()
    host.click("applyButton")
    assert host.ui.applyButton.text == "Cancel"
    assert not host.ui.predictButton.enabled
    host.click("applyButton")
    assert host.ui.applyButton.text == "Apply"
    assert "Cancelled" in host.ui.statusLabel.text
    assert scene.GetNumberOfNodes() == before


def test_removing_the_scan_while_it_is_graded_discards_the_result(host, volume, scene):
    host.click("applyButton")
    scene.RemoveNode(volume)
    host.wait(lambda: not host.widget.jobs.running, timeout=120)
    assert "removed" in host.ui.logText.plainText


def test_closing_the_scene_stops_the_work(host, volume):
    host.click("applyButton")
    host.close_scene()
    assert not host.widget.jobs.running
    assert host.ui.applyButton.text == "Apply"


def test_result_and_choices_survive_saving_and_loading(host, volume, tmp_path):
    node = host.widget._parameterNode
    node.showStackBoxes = True
    apply(host)
    grade = host.logic.resultOf(node).grade
    path = host.save_scene(tmp_path / "scene.mrb")
    host.close_scene()
    assert "Not graded" in host.ui.gradeLabel.text
    host.load_scene(path)
    node = host.widget._parameterNode
    assert node.stackHeight == 3
    assert host.logic.resultOf(node).grade == grade
    assert f"Grade {grade}" in host.ui.gradeLabel.text
    assert len(node.stackBoxes) == 2


DAMAGES = [(name, value) for name in ("grade", "stack_grades", "provenance") for value in (None, "text", 7)]


@pytest.mark.parametrize(("name", "value"), DAMAGES)
def test_grades_that_cannot_be_read_are_told_and_kept_until_apply(host, volume, name, value):
    node = host.widget._parameterNode
    host.logic._show(node, volume, made_result(np.full((3, DEPTH), 2), stack_height=3))
    assert "Grade 2" in host.ui.gradeLabel.text
    text = json.dumps({**json.loads(node.result.GetText()), name: value})
    node.result.SetText(text)
    node.showStackBoxes = True
    host.widget._updateControls()
    assert "newer version or are damaged. Press Apply" in host.ui.gradeLabel.text
    assert not host.ui.gradeTableView.visible
    assert not host.ui.exportReportButton.enabled
    assert node.result.GetText() == text


def test_stack_boxes_cover_their_slices(host, volume):
    import vtk

    apply(host)
    host.widget._parameterNode.showStackBoxes = True
    boxes = list(host.widget._parameterNode.stackBoxes)
    bounds = np.zeros(6)
    boxes[1].GetRASBounds(bounds)
    assert bounds[4:].tolist() == pytest.approx([2.5 * 0.0607, 5.5 * 0.0607], abs=1e-4)
    assert boxes[0].GetDisplayVisibility()
    host.widget._parameterNode.showStackBoxes = False
    assert not boxes[0].GetDisplayVisibility()
    assert vtk  # bounds came from VTK's own geometry


def test_attention_is_an_overlay_whose_opacity_follows_the_slider(host, volume, scene):
    apply(host)
    host.click("attentionButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=120)
    node = host.widget._parameterNode
    assert node.attentionVolume.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()
    composite = scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert composite.GetForegroundVolumeID() == node.attentionVolume.GetID()
    host.ui.attentionOpacitySlider.value = 0.3
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)


def test_wrong_weights_are_a_sentence(host, volume, tmp_path):
    (tmp_path / "DNN_0.pt").write_bytes(b"<html>not found</html>")
    host.widget._parameterNode.model = str(tmp_path)
    apply(host)
    assert "DNN_0.pt" in host.ui.statusLabel.text
    assert "Not graded" in host.ui.gradeLabel.text
    assert host.ui.applyButton.enabled


def test_unknown_unit_cannot_be_converted(host, scene):
    import slicer

    node = slicer.util.addVolumeFromArray(np.random.default_rng(0).normal(size=(3, 40, 40)), name="Plain")
    host.widget._parameterNode.inputVolume = node
    from MotionScoreLib.parameters import GradingUnit

    host.widget._parameterNode.gradingUnit = GradingUnit.DENSITY
    apply(host)
    assert "unit" in host.ui.statusLabel.text


def test_scanco_file_loads_by_its_content(host, tmp_path):
    import slicer
    from SpineMotionToolsLib.phantoms.hrpqct import write_phantom_aim

    path = tmp_path / "häuser 01.AIM"
    phantom = write_phantom_aim(path, grades=(1,), slices=3, size=96)
    node = slicer.util.loadNodeFromFile(str(path))
    red = host.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetBackgroundVolumeID() == node.GetID()
    assert np.array_equal(slicer.util.arrayFromVolume(node), phantom.volume)
    assert node.GetSpacing()[0] == pytest.approx(phantom.pixel_mm, rel=1e-6)
    versioned = tmp_path / "C0001.AIM;1"
    shutil.copy(path, versioned)
    assert slicer.util.loadNodeFromFile(str(versioned), "ScancoFile").GetClassName() == "vtkMRMLScalarVolumeNode"
    host.widget._parameterNode.inputVolume = node
    assert "1603.5" in host.ui.calibrationLabel.text


def test_damaged_scanco_file_is_a_message(host, tmp_path):
    import slicer

    path = tmp_path / "cut.AIM"
    path.write_bytes(b"AIMDATA_V030   \0" + b"\0" * 40)
    with pytest.raises(RuntimeError, match=r"cut\.AIM"):
        slicer.util.loadNodeFromFile(str(path), "ScancoFile")


def test_sample_scan_needs_no_file(host):
    host.click("sampleButton")
    volume = host.widget._parameterNode.inputVolume
    assert volume.GetName().startswith("HRpQCTPhantom")
    assert host.ui.applyButton.enabled


def test_exports(host, volume, app, tmp_path):
    apply(host)
    app.dialogs.answer(str(tmp_path))
    host.click("exportCsvButton")
    app.dialogs.answer(str(tmp_path / "report.html"))
    host.click("exportReportButton")
    assert (tmp_path / "Scan_motion_slices.csv").read_text(encoding="utf-8-sig").count("\n") == DEPTH + 1
    assert "grade" in (tmp_path / "report.html").read_text(encoding="utf-8").lower()


# -- review -------------------------------------------------------------------------------------------------------


@pytest.fixture
def study(host, tmp_path):
    """A graded study folder of three scans, opened in the Review section by reviewer Anna."""
    root = tmp_path / "study"
    make_results_folder(root / "derivatives" / "MotionScore", {"s1": (2, 90), "s2": (4, 60), "s3": (3, 50)})
    node = host.widget._parameterNode
    node.datasetFolder = root
    node.reviewer = "Anna"
    host.ui.reviewCollapsibleButton.collapsed = False
    host.ui.datasetCollapsibleButton.collapsed = False
    return host


def queue(host):
    table = host.ui.queueTable
    return [[table.item(row, column).text() for column in range(5)] for row in range(table.rowCount)]


def select(host, scan):
    host.widget.review._session.select(scan)
    host.widget._updateControls()


def test_threshold_counts_what_goes_to_review(study):
    assert [row[0] for row in queue(study)] == ["s2", "s3"]
    assert "2 of 3" in study.ui.thresholdCountLabel.text
    study.widget._parameterNode.confidenceThreshold = 55
    assert "1 of 3" in study.ui.thresholdCountLabel.text
    study.wait(lambda: [row[0] for row in queue(study)] == ["s3"], timeout=10)


def test_grading_saves_suggests_and_undoes(study):
    select(study, "s3")
    assert study.ui.grade3Button.text == "[3]"
    study.ui.notesLineEdit.text = "cast"
    study.widget.review._open = lambda item: None  # the made study has no image files
    study.click("grade4Button")
    session = study.widget.review._session
    assert session.item("s3").final_grade == 4
    assert session.item("s3").note == "cast"
    assert "s3" in study.ui.reviewMessageLabel.text
    study.click("undoButton")
    assert session.item("s3").my_grade is None


def test_final_grades_of_a_table_are_imported(study, app, tmp_path):
    table = tmp_path / "final.csv"
    table.write_text("scan_id,final_grade\ns2,5\ns3,9\nelsewhere,1\n", encoding="utf-8")
    app.dialogs.answer(str(table))
    study.click("importGradesButton")
    assert study.widget.review._session.item("s2").final_grade == 5
    assert study.widget.review._session.item("s3").final_grade is None
    text = study.ui.reviewMessageLabel.text
    assert "1 grades imported" in text
    assert "1 are not in this study; 1 without a valid grade" in text


def test_no_reviewer_no_grade(study):
    study.widget._parameterNode.reviewer = ""
    select(study, "s3")
    assert not study.ui.grade1Button.enabled
    assert "reviewer" in study.ui.currentScanLabel.text.lower()


def test_blind_mode_shows_no_automatic_grade(study):
    study.widget._parameterNode.blindMode = True
    select(study, "s2")
    rows = queue(study)
    assert len(rows) == 3
    assert all(row[2] == "" and row[3] == "" for row in rows)
    assert all("automatic" not in study.ui.queueTable.item(row, 0).toolTip() for row in range(3))
    assert [getattr(study.ui, f"grade{g}Button").text for g in range(1, 6)] == ["1", "2", "3", "4", "5"]
    study.click("grade5Button")
    assert "Automatic grade: 4" in study.ui.reviewMessageLabel.text


def test_opening_a_blind_study_keeps_it_blind(study, volume, tmp_path):
    """Another reviewer's fresh panel must not reveal what the study hides, nor send other scans to review."""
    from SpineMotionToolsLib.motion.review import ReviewSession

    node = study.widget._parameterNode
    select(study, "s2")  # of the other folder: not looked for in this one
    study.widget.review._loadedScanID, study.widget.review._loadedVolumeID = "s2", volume.GetID()
    root = make_results_folder(tmp_path / "blind" / "derivatives" / "MotionScore", {"b1": (2, 90), "b2": (4, 60)})
    ReviewSession(root, "Bert", blind=True, threshold=60)
    node.datasetFolder = tmp_path / "blind"
    assert (node.blindMode, node.confidenceThreshold) == (True, 60)
    assert [row[:3] for row in queue(study)] == [["b1", "to be graded", ""], ["b2", "to be graded", ""]]
    node.blindMode = False
    assert not ReviewSession(root).blind, "only the box itself ends blind mode"


def test_the_folder_is_graded_by_the_chosen_rules(study, monkeypatch):
    from SpineMotionToolsLib.common import jobs

    given = {}
    monkeypatch.setattr(jobs, "start_job", lambda task, parameters, onProgress: given.update(parameters))
    node = study.widget._parameterNode
    node.rules = type(node.rules).LEGACY
    monkeypatch.setattr(study.widget.jobs, "run", lambda button, text, start, done: start(None))
    study.click("predictButton")
    assert given["rules"] == "legacy"


def test_blind_mode_hides_the_result_of_the_open_scan(host, volume):
    apply(host)
    host.widget._parameterNode.blindMode = True
    assert "Hidden" in host.ui.gradeLabel.text
    assert not host.ui.gradeTableView.visible
    assert not host.ui.exportCsvButton.enabled


def test_self_test(open_module):
    open_module("MotionScore").run_self_test()


SLICER_KEYS = {f"Ctrl+{number}" for number in (0, 2, 3, 4, 5, 6)}
"""Error log, settings, Python console, extensions, module panel, maximized view: a second use makes both silent."""


def test_grade_keys_leave_slicer_its_own(study, app, monkeypatch):
    import qt
    import slicer

    window = qt.QMainWindow()
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: window)
    study.leave()
    study.enter()
    keys = {shortcut.key.toString() for shortcut in window.findChildren(qt.QShortcut)}
    assert len(keys) == 5
    assert not keys & SLICER_KEYS
    study.leave()
    assert not window.findChildren(qt.QShortcut)


def test_a_folder_that_is_not_chosen_is_empty(host, tmp_path):
    edit, node = host.ui.datasetFolderEdit, host.widget._parameterNode
    assert edit.currentPath == ""
    edit.currentPath = str(tmp_path)
    assert node.datasetFolder == tmp_path
    edit.currentPath = ""
    assert str(node.datasetFolder) == "."
    node.datasetFolder = tmp_path
    assert edit.currentPath == str(tmp_path)


def test_headings_of_the_table_are_words(host, volume):
    from SpineMotionToolsLib.common.tables import Column, Table
    from SpineMotionToolsLib.scene import nodes

    table = host.app.mrmlScene().AddNewNodeByClass("vtkMRMLTableNode")
    nodes.fill_table(table, Table("grades", [Column("member_agreement"), Column("z", "mm")], [[0.5, 1.0]]))
    titles = [table.GetColumnTitle(name) for name in ("member_agreement", "z")]
    assert titles == ["Member agreement", "Z (mm)"]


# -- jobs that end when the user has gone on ------------------------------------------------------------------------


@pytest.fixture
def other(scene, host):
    from SpineMotionToolsLib.scene import motion

    return motion.add_scan(scene, np.zeros((4, 8, 8), np.int16), np.eye(4), "Other", "native", CALIBRATION)


def test_grades_that_come_when_another_scan_is_chosen_stay_with_theirs(host, volume, other, scene):
    node, layout = host.widget._parameterNode, host.app.layoutManager().layout
    host.click("applyButton")
    node.inputVolume = other
    host.wait(lambda: not host.widget.jobs.running, timeout=120)
    assert node.inputVolume is other
    assert "Not graded yet" in host.ui.gradeLabel.text
    assert host.app.layoutManager().layout == layout
    node.inputVolume = volume
    assert "Grade" in host.ui.gradeLabel.text
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 1


def test_grades_that_come_when_another_module_is_shown_leave_its_views_alone(host, volume):
    layout = host.app.layoutManager().layout
    host.click("applyButton")
    host.leave()
    host.wait(lambda: not host.widget.jobs.running, timeout=120)
    assert host.app.layoutManager().layout == layout
    host.enter()
    assert "Grade" in host.ui.gradeLabel.text


def test_attention_maps_belong_to_their_scans(host, volume, other, scene, tmp_path):
    apply(host)
    node, red = host.widget._parameterNode, scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    result = host.logic.resultOf(node)

    def attention(chosen, shape):
        path = tmp_path / "attention.npy"
        np.save(path, np.ones(shape, np.float32))
        host.widget._onAttention(chosen.GetID(), {"attention": str(path)})
        return path

    attention(volume, (4, 4, 6))
    first = node.attentionVolume
    assert red.GetForegroundVolumeID() == first.GetID()
    attention(other, (8, 8, 4))  # of a scan that is no longer chosen
    assert node.attentionVolume is first
    assert red.GetForegroundVolumeID() == first.GetID()
    assert first.GetImageData().GetDimensions() == (4, 4, 6)
    host.logic._show(node, other, result)
    assert host.logic.resultOf(node) is not None
    node.inputVolume = volume
    assert node.attentionVolume is first
    node.inputVolume = other
    assert node.attentionVolume.GetName() == "Other motion attention"


def test_threshold_and_blind_mode_chosen_while_a_folder_is_graded_stay(study):
    node = study.widget._parameterNode
    node.confidenceThreshold = 55  # the folder's tables still have the one before
    study.widget.review._onPredicted({"graded": 0, "kept": 3, "skipped": []})
    assert node.confidenceThreshold == 55
    node.blindMode = True
    study.widget.review._onPredicted({"graded": 0, "kept": 3, "skipped": []})
    assert node.blindMode
    node.blindMode = False
    study.widget.review._onPredicted({"graded": 0, "kept": 3, "skipped": []})
    assert not node.blindMode


def test_stack_boxes_of_a_scene_that_was_loaded_into_this_one_hide_those_that_were_there(host, volume, scene, tmp_path):
    import slicer

    apply(host)
    host.widget._parameterNode.showStackBoxes = True
    path = host.save_scene(tmp_path / "scene.mrb")
    host.load_scene(path, clear=False)
    boxes = slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")
    assert [box.GetDisplayVisibility() for box in boxes] == [0, 0, 1, 1]
    host.widget._parameterNode.showStackBoxes = False
    assert not any(box.GetDisplayVisibility() for box in boxes)

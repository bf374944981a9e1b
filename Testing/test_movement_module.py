"""The Movement Videos module as a user meets it: its real panel, logic and file reader on a real scene."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from Testing.movement_samples import gait_result, movement_result

pytestmark = pytest.mark.panel

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY / "MovementModule" / "Resources" / "Data"
pytest.importorskip("av", reason="needs PyAV")


@pytest.fixture
def host(open_module):
    return open_module("MovementModule")


@pytest.fixture
def walk(host):
    """The sample walk, chosen in the panel."""
    host.click("sampleWalkButton")
    return host.widget.video()


@pytest.fixture
def infant(host):
    """The sample infant, chosen in the panel."""
    host.click("sampleInfantButton")
    return host.widget.video()


def test_packages_that_cannot_be_installed_are_a_sentence(host, monkeypatch):
    import slicer.packaging
    from MovementModuleLib import packages
    from SpineMotionToolsLib.common.errors import DependencyError

    def failed(*arguments, **options):
        raise subprocess.CalledProcessError(1, "pip install")

    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(slicer.packaging, "pip_ensure", failed)
    with pytest.raises(DependencyError, match=r"av, opencv-python-headless could not be installed. Check the conn"):
        packages.ensureVideoPackages(flow=True)


def parameters(host):
    return host.widget._parameterNode


def finish(host, video, result):
    """What the panel does when a job has ended with this result."""
    host.widget.scoring.finish(
        video.sequence.GetID(), "failed", {"result": result.to_json(), "files": {}}, host.widget.scoring.onScored
    )
    host.process()


def wait(host):
    host.wait(lambda: not host.widget.jobs.running, timeout=1200)


def drag_region(host, box):
    """Move the region as a user's hand would: the node changes, then rests."""
    node = host.widget.marks.node()
    x1, y1, x2, y2 = box
    node.SetCenterWorld(-(x1 + x2) / 2, -(y1 + y2) / 2, 0)
    node.SetSizeWorld(x2 - x1, y2 - y1, 20)
    host.process(0.4)


# -- the panel ----------------------------------------------------------------------------------------------------


def test_fresh_panel_says_what_is_missing(host):
    assert not host.ui.applyButton.enabled
    assert "video" in host.ui.applyButton.toolTip
    assert "Not scored yet" in host.ui.answerLabel.text
    assert host.violations(325) == []


@pytest.mark.parametrize("task", ["walk", "infant"])
def test_panel_fits_when_everything_is_open(host, task, request):
    video = request.getfixturevalue(task)
    host.ui.advancedCollapsibleButton.collapsed = False
    host.ui.logCollapsibleButton.collapsed = False
    finish(host, video, gait_result() if task == "walk" else movement_result())
    assert host.violations(325) == []


def test_the_task_shows_only_its_own_controls(host, walk):
    assert host.ui.gaitWidget.visible
    assert not host.ui.infantWidget.visible
    parameters(host).task = type(parameters(host).task)("movements")
    assert host.ui.infantWidget.visible
    assert not host.ui.gaitWidget.visible
    assert host.ui.placeButton.text == "Place here"


# -- loading ------------------------------------------------------------------------------------------------------


def test_a_dropped_video_becomes_a_sequence_with_a_browser(host, tmp_path):
    import slicer
    from SpineMotionToolsLib.scene.video import original_path

    path = tmp_path / "häuser 01.MP4"
    shutil.copy(DATA / "WalkPhantom.mp4", path)
    sequence = slicer.util.loadNodeFromFile(str(path))
    video = host.logic.videoOf(sequence)
    assert sequence.GetClassName() == "vtkMRMLSequenceNode"
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("time", "s")
    assert original_path(sequence) == path
    assert video.frames == tuple(range(0, 180, 2))
    assert video.browser.GetProxyNode(sequence).GetClassName() == "vtkMRMLVectorVolumeNode"
    assert video.times_s()[-1] == pytest.approx(178 / 30, abs=1e-3)


def test_frames_are_upright_and_not_mirrored_in_the_axial_view(host, tmp_path, app):
    from SpineMotionToolsLib.common.video_writing import write_video

    picture = np.full((120, 160, 3), 40, np.uint8)
    picture[:40, :50], picture[:40, -50:], picture[-40:, :50] = (250, 0, 0), (0, 0, 250), (0, 250, 0)
    write_video(tmp_path / "corners.mp4", [picture] * 4, 10)
    host.logic.loadVideo(str(tmp_path / "corners.mp4"))
    view = app.layoutManager().sliceWidget("Red").sliceView()
    seen = view.image()
    rows, columns = np.nonzero(seen.max(axis=2) > 20)
    corners = [seen[rows.min() + 20, columns.min() + 20], seen[rows.min() + 20, columns.max() - 20]]
    corners.append(seen[rows.max() - 20, columns.min() + 20])
    assert [int(np.argmax(corner)) for corner in corners] == [0, 2, 1]  # red, blue, green


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("empty.mp4", b"", "empty"),
        ("cut.mov", b"\0\0\0\x18ftypqt  " + b"\0" * 60, "cut"),
        ("text.avi", b"hello", "text"),
    ],
)
def test_what_is_no_video_is_a_sentence(host, tmp_path, name, content, word, scene):
    import slicer

    (tmp_path / name).write_bytes(content)
    with pytest.raises(RuntimeError, match=name.replace(".", r"\.")) as refused:
        slicer.util.loadNodeFromFile(str(tmp_path / name))
    assert word in str(refused.value)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode") == 0


def test_missing_pyav_is_a_sentence_that_names_it(host, tmp_path, monkeypatch):
    import importlib.util

    import slicer

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "av" else find(name, *a))
    with pytest.raises(RuntimeError, match=r"package av\. Try again and accept"):
        slicer.util.loadNodeFromFile(str(DATA / "WalkPhantom.mp4"))
    assert any("av>=" in text for text in host.dialogs.texts())


def test_a_moved_original_is_told_and_can_be_found_again(host, tmp_path, app):
    path = tmp_path / "walk.mp4"
    shutil.copy(DATA / "WalkPhantom.mp4", path)
    parameters(host).inputVideo = host.logic.loadVideo(str(path))
    assert host.ui.applyButton.enabled
    path.rename(tmp_path / "moved.mp4")
    host.widget._updateControls()
    assert not host.ui.applyButton.enabled
    assert "Locate file" in host.ui.videoLabel.text
    app.dialogs.answer(str(DATA / "InfantPhantom.mp4"))
    host.click("locateButton")
    assert "another video" in str(host.dialogs.texts())
    app.uncaught.clear()
    app.dialogs.answer(str(tmp_path / "moved.mp4"))
    host.click("locateButton")
    assert host.ui.applyButton.enabled


@pytest.mark.parametrize("deleted", ["browser", "volume"])
def test_a_video_whose_browser_was_deleted_gets_a_new_one(host, walk, scene, deleted):
    import slicer

    finish(host, walk, gait_result())
    rate = walk.browser.GetPlaybackRateFps()
    host.widget.exit()  # to another module, where nodes are deleted
    scene.RemoveNode(getattr(walk, deleted))
    host.widget.enter()
    host.process()
    video = host.widget.video()
    assert (video.frames, video.size_px, video.time_s) == (walk.frames, walk.size_px, 0.0)
    assert video.browser.GetPlaybackRateFps() == rate
    assert host.ui.applyButton.enabled
    assert "P(ASD) 0.76" in host.ui.answerLabel.text
    host.widget.videos.seekWidget.setSelectedItemNumber(20)
    assert host.widget.video().item == 20
    assert video.to_ras([[0, 0]])[0] == pytest.approx([0, 0, 0])
    kept = video.sequence.GetNthDataNode(20)
    assert np.array_equal(slicer.util.arrayFromVolume(video.volume), slicer.util.arrayFromVolume(kept))


def test_scores_that_come_when_the_browser_is_gone_are_not_lost(host, walk, scene):
    scene.RemoveNode(walk.browser)
    finish(host, walk, gait_result())
    assert "P(ASD) 0.76" in host.ui.answerLabel.text
    assert host.widget.video() is not None


def test_frames_that_came_from_no_file_are_scored_through_one(host, scene, tmp_path):
    import slicer
    from SpineMotionToolsLib.common.video import open_video

    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Plain")
    for number in range(10):
        gray = np.full((1, 120, 160), 20 * number, np.uint8)
        volume = slicer.util.addVolumeFromArray(gray)
        sequence.SetDataNodeAtValue(volume, f"{number / 25:.3f}")
        scene.RemoveNode(volume)
    video = open_video(host.logic._originalOf(sequence, str(tmp_path)))
    assert (len(video), video.width_px, video.height_px) == (10, 160, 120)
    assert video.frame_rate_hz == pytest.approx(25)
    assert video.picture(6).mean() == pytest.approx(120, abs=4)


@pytest.mark.parametrize("name", ["WalkPhantom", "InfantPhantom"])
def test_sample_data_has_both_videos(host, app, scene, name):
    from Testing.headless.sampledata import press

    app.startup_completed()
    press(name)
    assert scene.GetFirstNodeByClass("vtkMRMLSequenceNode").GetName() == name


def test_loading_leaves_the_panel_alive_and_can_be_cancelled(host, app, scene):
    app.dialogs.answer(str(DATA / "WalkPhantom.mp4"))
    host.click("loadButton")
    assert host.widget.jobs.running
    assert host.ui.loadButton.text == "Cancel"
    host.click("loadButton")
    assert not host.widget.jobs.running
    assert scene.GetFirstNodeByClass("vtkMRMLSequenceNode") is None
    app.dialogs.answer(str(DATA / "WalkPhantom.mp4"))
    host.click("loadButton")
    wait(host)
    video = host.widget.video()
    assert video.sequence.GetName() == "WalkPhantom"
    at_once = host.logic.videoOf(host.logic.loadSample("gait"))
    assert (video.frames, video.size_px) == (at_once.frames, at_once.size_px)
    assert np.array_equal(shown(video, 40), shown(at_once, 40))
    assert video.times_s() == pytest.approx(at_once.times_s())


def shown(video, item):
    import slicer

    return slicer.util.arrayFromVolume(video.sequence.GetNthDataNode(item))


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_long_video_is_decoded_elsewhere_behind_a_dialog(host, scene, monkeypatch, cancelled):
    import qt
    import slicer
    from MovementModuleLib import loading

    window, dialogs = qt.QMainWindow(), []
    make = slicer.util.createProgressDialog

    def dialog(**options):
        dialogs.append(make(parent=window, **options))
        if cancelled:
            dialogs[-1].cancel()
        return dialogs[-1]

    monkeypatch.setattr(loading, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: window)
    monkeypatch.setattr(slicer.util, "createProgressDialog", dialog)
    if cancelled:
        with pytest.raises(RuntimeError, match="stopped"):
            slicer.util.loadNodeFromFile(str(DATA / "WalkPhantom.mp4"))
        assert scene.GetFirstNodeByClass("vtkMRMLSequenceNode") is None
    else:
        node = slicer.util.loadNodeFromFile(str(DATA / "WalkPhantom.mp4"))
        assert node.GetName() == "WalkPhantom"
        assert host.logic.videoOf(node).size_px == (320, 240)
    assert not dialogs[0].visible


def test_a_view_turned_by_another_module_is_axial_again(host, walk, app):
    red = app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.SetOrientation("Coronal")
    host.logic.showVideo(walk)
    assert red.GetOrientation() == "Axial"


def test_points_in_a_transformed_video_are_pixels_again(host, walk, scene):
    import slicer

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    slicer.util.updateTransformMatrixFromArray(
        transform, np.array([[0, -2, 0, 7], [2, 0, 0, -5], [0, 0, 2, 1], [0, 0, 0, 1.0]])
    )
    walk.volume.SetAndObserveTransformNodeID(transform.GetID())
    points = np.array([[0, 0], [100.5, 20.25]])
    assert walk.to_pixels(walk.to_ras(points)) == pytest.approx(points)


def test_long_videos_stay_within_the_budget():
    from SpineMotionToolsLib.common.video_preview import BUDGET_BYTES, display_plan

    for seconds in (1, 60, 600, 3600):
        count = 30 * seconds
        step, side = display_plan(count, 30.0, (1920, 1080))
        assert -(-count // step) * 3 * side * side * 1080 / 1920 <= BUDGET_BYTES * 1.01
    assert display_plan(180, 30.0, (320, 240)) == (2, 480)


# -- results ------------------------------------------------------------------------------------------------------


def test_a_walk_shows_both_probabilities_tables_and_plot(host, walk, app):
    finish(host, walk, gait_result())
    assert "P(ASD) 0.76" in host.ui.answerLabel.text
    assert "P(non-ASD) 0.24" in host.ui.answerLabel.text
    assert "phantom-trained" in host.ui.warningsLabel.text
    node = parameters(host)
    assert node.clipTable.GetNumberOfRows() == 3
    assert node.overallTable.GetTable().GetValueByName(1, "value").ToString() == "0.760"
    assert "starter" in node.chart.GetTitle()
    assert json.loads(node.clipTable.GetAttribute("SpineMotionTools.Provenance"))["system"] == "gait"
    chart = app.layoutManager().plotWidget(0).mrmlPlotViewNode().GetPlotChartNodeID()
    assert chart == node.chart.GetID()


def test_an_infant_shows_all_three_patterns_and_the_scope(host, infant):
    finish(host, infant, movement_result())
    text = host.ui.answerLabel.text
    assert "Fidgety movements" in text
    assert all(f"P({name}" in text for name in ("WMs", "FMs", "PR"))
    assert "cramped" in text
    assert parameters(host).energyTable.GetNumberOfRows() == 3
    assert parameters(host).chart.GetNumberOfPlotSeriesNodes() == 4  # three patterns and the cursor


def test_patterns_can_be_told_apart_without_red_and_green_and_where_they_are_equal(host, infant):
    from SpineMotionToolsLib.movements.report import report_of
    from SpineMotionToolsLib.movements.scores import CLASS_COLORS

    finish(host, infant, movement_result())
    chart = parameters(host).chart
    curves = [chart.GetNthPlotSeriesNode(index) for index in range(3)]
    page = report_of(movement_result()).to_html()
    greenless = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])  # Machado 2009
    redless = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
    colors = np.array([curve.GetColor() for curve in curves])
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    assert (1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) > 3).all()  # against white
    for seen in (linear @ greenless.T, linear @ redless.T):
        assert min(np.abs(seen[a] - seen[b]).max() for a, b in ((0, 1), (0, 2), (1, 2))) > 0.15
    assert all(color in page for color in CLASS_COLORS)
    assert [f"#{round(r * 255):02X}{round(g * 255):02X}{round(b * 255):02X}" for r, g, b in colors] == [*CLASS_COLORS]
    assert [curve.GetLineWidth() for curve in curves] == [7, 5, 3]
    assert len({curve.GetMarkerStyle() for curve in curves}) == 3


def test_not_scored_says_why_at_the_top(host, walk):
    finish(host, walk, gait_result(scored=False))
    assert "Not scored" in host.ui.answerLabel.text
    assert "Frame rate: 3 frames/s" in host.ui.warningsLabel.text
    assert not host.ui.clipTableView.visible
    assert not host.ui.activationButton.enabled


def test_checks_of_the_video_and_problems_are_shown(host, walk):
    result = gait_result()
    job = {"result": result.to_json(), "files": {}, "problems": ["The disk is full. <Free> some space."]}
    host.widget.scoring.finish(walk.sequence.GetID(), "failed", job, host.widget.scoring.onScored)
    assert "The disk is full. &lt;Free&gt; some space." in host.ui.warningsLabel.text
    for check in result.checks:
        assert f"{check.name}: {check.value}" in host.ui.qualityLabel.text
        assert check.asked in host.ui.qualityLabel.toolTip
    finish(host, walk, result)
    assert "disk" not in host.ui.warningsLabel.text
    host.click("sampleInfantButton")
    assert not host.ui.qualityLabel.visible


def test_tables_stay_when_other_data_is_loaded(host, walk, scene):
    finish(host, walk, gait_result())
    scene.StartState(scene.BatchProcessState)
    scene.AddNewNodeByClass("vtkMRMLModelNode")
    scene.EndState(scene.BatchProcessState)
    assert host.ui.clipTableView.mrmlTableNode() is parameters(host).clipTable


def test_cursor_and_words_follow_the_slider(host, walk):
    from SpineMotionToolsLib.scene import video_results

    finish(host, walk, gait_result())
    host.widget.videos.seekWidget.setSelectedItemNumber(20)
    cursor = parameters(host).chart.GetNthPlotSeriesNode(3).GetTableNode().GetTable().GetColumnByName("now")
    assert cursor.GetValue(0) == cursor.GetValue(1) == pytest.approx(40 / 30, abs=1e-3)
    assert "P(ASD) 0.80" in host.ui.timeLabel.text
    assert video_results.clip_at(gait_result(), 40 / 30) == 1
    host.widget.videos.seekWidget.setSelectedItemNumber(80)  # after the last clip
    assert "between scored clips" in host.ui.timeLabel.text


def test_cursor_follows_while_another_module_is_shown(host, walk):
    finish(host, walk, gait_result())
    host.leave()
    walk.browser.SetSelectedItemNumber(30)
    cursor = parameters(host).chart.GetNthPlotSeriesNode(3).GetTableNode().GetTable().GetColumnByName("now")
    assert cursor.GetValue(0) == pytest.approx(2.0, abs=1e-3)


def test_clicking_a_row_or_a_point_goes_to_its_clip(host, walk):
    finish(host, walk, gait_result())
    host.ui.clipTableView.selectRow(2)
    host.process(0.1)
    assert host.widget.video().time_s == pytest.approx(2.0, abs=0.07)
    chart = parameters(host).chart
    host.logic.goToPlotPoint(parameters(host), chart.GetNthPlotSeriesNodeID(0), 3)
    assert host.widget.video().time_s == pytest.approx(1.0, abs=0.07)
    host.logic.goToPlotPoint(parameters(host), chart.GetNthPlotSeriesNodeID(1), 0)  # the band leads nowhere
    assert host.widget.video().time_s == pytest.approx(1.0, abs=0.07)


def test_clicks_in_the_plot_lead_to_clips_and_clicks_beside_points_nowhere(host, walk, app):
    from PySide6 import QtCore, QtTest

    finish(host, walk, gait_result())
    view = app.layoutManager().plotWidget(0).plotView()
    view.resize(400, 300)

    def click(place):
        QtTest.QTest.mouseClick(view, QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, place)
        host.process(0.05)

    click(view.pointPixel(0, 6))
    assert host.widget.video().time_s == pytest.approx(2.0, abs=0.07)
    host.widget.videos.seekWidget.setSelectedItemNumber(0)
    click(QtCore.QPoint(2, 2))
    assert host.widget.video().item == 0


def test_each_video_and_task_keeps_its_own_result(host, walk):
    finish(host, walk, gait_result())
    host.click("sampleInfantButton")
    assert "Not scored yet" in host.ui.answerLabel.text
    finish(host, host.widget.video(), movement_result())
    parameters(host).inputVideo = walk.sequence
    assert "Not scored yet" in host.ui.answerLabel.text  # the task is still the infant's
    parameters(host).task = type(parameters(host).task)("gait")
    assert "P(ASD) 0.76" in host.ui.answerLabel.text


@pytest.mark.parametrize("text", ['{"schema": "of later"}', "[]", "no json", '{"provenance": {"system": "gait"}}'])
def test_scores_that_cannot_be_read_are_told_and_kept_until_apply(host, walk, text):
    finish(host, walk, gait_result())
    kept = parameters(host).result
    kept.SetText(text)
    host.widget._updateControls()
    assert "newer version or are damaged. Press Apply" in host.ui.answerLabel.text
    assert not host.ui.clipTableView.visible
    assert kept.GetText() == text
    finish(host, walk, gait_result())
    assert "P(ASD) 0.76" in host.ui.answerLabel.text


def test_result_reference_and_choices_survive_saving_and_loading(host, walk, tmp_path):
    from SpineMotionToolsLib.scene.video import original_path

    parameters(host).ageWeeks = 12.5
    finish(host, walk, gait_result())
    host.click("placeButton")
    drag_region(host, (40, 50, 100, 200))
    path = host.save_scene(tmp_path / "scene.mrb")
    host.close_scene()
    assert "Not scored yet" in host.ui.answerLabel.text
    host.load_scene(path)
    assert "P(ASD) 0.76" in host.ui.answerLabel.text
    assert original_path(parameters(host).inputVideo) == DATA / "WalkPhantom.mp4"
    assert parameters(host).ageWeeks == 12.5
    assert host.ui.applyButton.enabled
    assert host.logic.requestOf(parameters(host)).regions[0] == pytest.approx([40, 50, 100, 200], abs=0.5)
    host.widget.videos.seekWidget.setSelectedItemNumber(20)
    assert "P(ASD) 0.80" in host.ui.timeLabel.text
    chart = parameters(host).chart
    assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == 9


def test_exports(host, walk, app, tmp_path):
    finish(host, walk, gait_result())
    app.dialogs.answer(str(tmp_path))
    host.click("exportCsvButton")
    app.dialogs.answer(str(tmp_path / "report.html"))
    host.click("exportReportButton")
    clips = (tmp_path / "WalkPhantom_gait_clips.csv").read_text(encoding="utf-8")
    assert clips.count("\n") == 4
    assert "P(ASD)" in clips
    assert "phantom-trained" in (tmp_path / "report.html").read_text(encoding="utf-8") or "starter" in (
        tmp_path / "report.html"
    ).read_text(encoding="utf-8")


# -- drawing ------------------------------------------------------------------------------------------------------


def test_a_dragged_region_is_kept_for_its_frame_and_can_be_undone(host, walk):
    host.click("placeButton")
    assert parameters(host).patientBy.value == "region"
    drag_region(host, (60, 80, 120, 220))
    host.widget.videos.seekWidget.setSelectedItemNumber(30)
    drag_region(host, (160, 80, 220, 220))
    regions = host.logic.requestOf(parameters(host)).regions
    assert list(regions) == [0, 60]
    assert regions[0] == pytest.approx([60, 80, 120, 220], abs=0.5)
    assert "0.0, 2.0 s" in host.ui.marksLabel.text
    host.click("removeButton")
    assert list(host.logic.requestOf(parameters(host)).regions) == [0]
    host.click("undoButton")
    assert list(host.logic.requestOf(parameters(host)).regions) == [0, 60]
    host.click("undoButton")
    host.click("undoButton")
    host.click("undoButton")
    assert host.logic.requestOf(parameters(host)).regions == {}
    assert not host.ui.undoButton.enabled


def test_found_boxes_follow_the_video_and_become_regions_when_dragged(host, walk):
    finish(host, walk, gait_result())
    host.widget.videos.seekWidget.setSelectedItemNumber(10)
    node, video = host.widget.marks.node(), host.widget.video()
    assert host.widget.marks._mark.read(video, node) == pytest.approx([30, 40, 90, 220], abs=0.5)
    assert parameters(host).patientBy.value == "motion"
    host.widget.videos.seekWidget.setSelectedItemNumber(60)
    assert host.widget.marks._mark.read(video, node) == pytest.approx([130, 40, 190, 220], abs=0.5)
    drag_region(host, (125, 40, 195, 225))
    assert parameters(host).patientBy.value == "region"
    assert list(host.logic.requestOf(parameters(host)).regions) == [120]
    host.widget.videos.seekWidget.setSelectedItemNumber(89)  # nobody was found there
    assert not node.GetDisplayVisibility()


def test_a_region_only_points_at_the_patient_when_motion_finds_persons(host, walk):
    host.click("placeButton")
    drag_region(host, (60, 80, 120, 220))
    parameters(host).patientBy = type(parameters(host).patientBy)("motion")
    person = host.logic.requestOf(parameters(host)).parameters("walk.mp4")["person"]
    assert person["click"] == pytest.approx((0.0, 90, 150), abs=0.5)
    assert "points at the patient" in host.ui.marksLabel.text


def test_the_lean_asks_for_body_points_of_its_own(host, walk, tmp_path):
    request = host.logic.requestOf(parameters(host))
    assert request.parameters("walk.mp4")["points"] is None
    host.ui.advancedCollapsibleButton.collapsed = False
    host.click("leanCheckBox")
    assert host.logic.requestOf(parameters(host)).parameters("walk.mp4")["points"] == "starter"
    parameters(host).leanModel = str(tmp_path / "body_pose_model.pth")
    points = host.logic.requestOf(parameters(host)).parameters("walk.mp4")["points"]
    assert points == str(tmp_path / "body_pose_model.pth")


def test_torso_points_are_dragged_in_the_view(host, infant, app):
    view = app.layoutManager().sliceWidget("Red").sliceView()
    host.click("placeButton")
    node = host.widget.marks.node()
    assert [node.GetNthControlPointLabel(i) for i in range(4)] == [
        "right shoulder",
        "left shoulder",
        "right hip",
        "left hip",
    ]
    view.image()
    before = np.array(host.logic.requestOf(parameters(host)).torso[0])
    x, y = view.xy(node.GetNthControlPointPositionWorld(3))
    view.drag((x, y), (x + 20, y - 10))
    host.process(0.4)
    after = np.array(host.logic.requestOf(parameters(host)).torso[0])
    assert np.abs(after[:3] - before[:3]).max() < 0.1
    assert (after[3] - before[3])[0] > 5
    assert (after[3] - before[3])[1] > 2  # down in the view is down in the picture
    assert parameters(host).torsoBy.value == "manual"


def test_outline_is_a_polygon_in_the_picture(host, infant):
    parameters(host).background = type(parameters(host).background)("outline")
    host.click("outlineButton")
    outline = np.array(host.logic.requestOf(parameters(host)).parameters("x.mp4")["infant"]["outline"])
    assert outline.min() > 0
    assert outline[:, 0].max() < 320
    assert np.ptp(outline, axis=0) == pytest.approx([0.84 * 320, 0.84 * 240], rel=0.05)


def test_the_file_of_boxes_is_empty_until_one_is_chosen(host, walk, tmp_path):
    parameters(host).patientBy = type(parameters(host).patientBy)("boxes")
    assert host.ui.patientFileEdit.currentPath == ""
    assert host.logic.requestOf(parameters(host)).patientFile == ""
    host.ui.patientFileEdit.currentPath = str(tmp_path)
    assert host.logic.requestOf(parameters(host)).patientFile == str(tmp_path)
    host.widget.exit()
    host.widget.enter()
    assert host.ui.patientFileEdit.currentPath == str(tmp_path)


def test_hiding_what_was_drawn(host, walk):
    host.click("placeButton")
    node = host.widget.marks.node()
    assert node.GetDisplayVisibility()
    host.click("showMarksCheckBox")
    assert not node.GetDisplayVisibility()


def test_age_that_was_not_entered_is_none(host, infant):
    assert host.logic.requestOf(parameters(host)).ageWeeks is None
    assert host.ui.ageSpinBox.text == "not entered"
    host.ui.ageSpinBox.value = 12.0
    assert host.logic.requestOf(parameters(host)).ageWeeks == 12.0


# -- jobs ---------------------------------------------------------------------------------------------------------


def test_apply_turns_into_cancel_and_the_scene_stays_as_it_was(host, walk, scene):
    before = scene.GetNumberOfNodes()
    host.click("applyButton")
    assert host.ui.applyButton.text == "Cancel"
    assert not host.ui.activationButton.enabled
    host.click("applyButton")
    assert host.ui.applyButton.text == "Apply"
    assert "Cancelled" in host.ui.statusLabel.text
    assert scene.GetNumberOfNodes() == before


def test_closing_the_scene_stops_the_work(host, walk):
    host.click("applyButton")
    host.close_scene()
    assert not host.widget.jobs.running
    assert host.ui.applyButton.text == "Apply"


def test_removing_the_video_while_it_is_scored_discards_the_result(host, walk, scene):
    identifier = walk.sequence.GetID()
    scene.RemoveNode(walk.sequence)
    host.widget.scoring.finish(
        identifier, "failed", {"result": gait_result().to_json(), "files": {}}, host.widget.scoring.onScored
    )
    assert "removed" in host.ui.logText.plainText


def test_wrong_weights_are_a_sentence(host, walk, tmp_path):
    (tmp_path / "best.ckpt").write_bytes(b"<html>not found</html>")
    parameters(host).gaitModel = str(tmp_path / "best.ckpt")
    host.click("applyButton")
    wait(host)
    assert "best.ckpt" in host.ui.statusLabel.text
    assert "Not scored yet" in host.ui.answerLabel.text


@pytest.mark.slow
def test_panel_console_and_terminal_give_the_same_numbers(host, walk, tmp_path):
    from SpineMotionToolsLib.cli import main

    host.click("applyButton")
    wait(host)
    shown = host.widget.result()
    assert shown.answer == "ASD"
    again = host.logic.score(str(DATA / "WalkPhantom.mp4"), task="gait", show=False)
    assert [clip.logit for clip in again.clips] == [clip.logit for clip in shown.clips]
    assert main(["gait", "score", str(DATA / "WalkPhantom.mp4"), "--out", str(tmp_path), "--no-report"]) == 0
    written = json.loads((tmp_path / "WalkPhantom.json").read_text(encoding="utf-8"))
    assert [clip["logit"] for clip in written["clips"]] == [clip.logit for clip in shown.clips]


@pytest.mark.slow
def test_infant_is_scored_with_what_was_drawn_by_hand(host, infant):
    torso = {0: [[121, 111], [153, 100], [143, 156], [163, 149]]}
    host.widget.marks.takeFound(infant, torso, before={})
    node = parameters(host)
    node.background = type(node.background)("outline")
    node.ageWeeks = 3.0
    host.click("outlineButton")
    host.click("applyButton")
    wait(host)
    result = host.widget.result()
    assert len(result.chunks) == 4
    assert result.mean_probabilities.sum() == pytest.approx(1)
    assert result.age_weeks == 3
    assert np.asarray(result.torso[0]) == pytest.approx(np.array(torso[0]), abs=0.1)
    assert "starter" in node.chart.GetTitle()


@pytest.mark.slow
def test_activation_is_an_overlay_in_step_with_the_video(host, walk, scene, app, tmp_path):
    import slicer

    finish(host, walk, gait_result())
    host.click("activationButton")
    wait(host)
    assert parameters(host).activation.GetNumberOfDataNodes() == len(walk.frames)
    composite = scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    overlay = scene.GetNodeByID(composite.GetForegroundVolumeID())
    host.widget.videos.seekWidget.setSelectedItemNumber(20)
    first = slicer.util.arrayFromVolume(overlay).copy()
    host.widget.videos.seekWidget.setSelectedItemNumber(60)
    assert not np.array_equal(first, slicer.util.arrayFromVolume(overlay))
    host.ui.activationOpacitySlider.value = 0.3
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)
    path = host.save_scene(tmp_path / "scene.mrb")
    host.close_scene()
    host.load_scene(path)
    assert parameters(host).activation.GetNumberOfDataNodes() == len(walk.frames)


@pytest.mark.slow
@pytest.mark.parametrize("sample", ["Walk", "Infant"])
def test_a_score_is_not_computed_again_for_its_activation_and_video(host, app, sample, tmp_path, monkeypatch):
    from SpineMotionToolsLib.common import jobs

    host.click(f"sample{sample}Button")
    started = []

    def start_job(task, parameters_, on_progress=None):
        started.append({name: name in parameters_ for name in ("scored", "maps")})
        return real(task, parameters_, on_progress)

    real = jobs.start_job
    monkeypatch.setattr(jobs, "start_job", start_job)
    for button in ("applyButton", "activationButton", "exportVideoButton"):
        app.dialogs.answer(str(tmp_path / "video.mp4")) if button == "exportVideoButton" else None
        host.click(button)
        wait(host)
    first, second, third = started
    assert (first, second) == ({"scored": False, "maps": False}, {"scored": True, "maps": False})
    assert third == {"scored": True, "maps": True}
    assert (tmp_path / "video.mp4").stat().st_size > 10_000
    answer = host.ui.answerLabel.text
    parameters(host).ignoreQuality = True  # another choice: the score does not hold any more
    host.click("activationButton")
    wait(host)
    assert started[3] == {"scored": False, "maps": False}
    assert host.ui.answerLabel.text == answer


def test_kept_scores_are_those_of_the_same_choices(tmp_path):
    from MovementModuleLib.kept import KeptScores, choicesOf

    video = tmp_path / "video.mp4"
    video.write_bytes(b"1")
    choices = choicesOf({"video": str(video), "person": {"regions": {3: [1, 2]}}})
    kept, result = KeptScores(), gait_result()
    kept.keep("node", result, None, choices)
    found = kept.files("node", "gait", choices, str(tmp_path))
    assert json.loads(Path(found["scored"]).read_text(encoding="utf-8")) == json.loads(json.dumps(result.to_json()))
    assert kept.files("other", "gait", choices, str(tmp_path)) == {}
    assert kept.files("node", "movements", choices, str(tmp_path)) == {}
    assert kept.files("node", "gait", choicesOf({"video": str(video)}), str(tmp_path)) == {}
    video.write_bytes(b"12")  # another file of the same name
    again = choicesOf({"video": str(video), "person": {"regions": {3: [1, 2]}}})
    assert kept.files("node", "gait", again, str(tmp_path)) == {}
    kept.clear()
    assert kept.files("node", "gait", choices, str(tmp_path)) == {}


@pytest.mark.slow
def test_exported_video_hides_faces(host, walk, app, tmp_path):
    from SpineMotionToolsLib.common.video import open_video

    finish(host, walk, gait_result())
    app.dialogs.answer(str(tmp_path / "overlay.mp4"))
    host.click("exportVideoButton")
    wait(host)
    original, written = open_video(DATA / "WalkPhantom.mp4"), open_video(tmp_path / "overlay.mp4")
    assert len(written) == len(original)
    detail = [
        np.abs(np.diff(video.picture(20)[100:, :, 0].astype(float), axis=0)).mean() for video in (original, written)
    ]
    assert detail[1] < 0.8 * detail[0]


@pytest.mark.slow
def test_self_test(open_module):
    open_module("MovementModule").run_self_test()


# -- jobs that end when the user has gone on ----------------------------------------------------------------------


def test_scores_that_come_when_another_task_or_video_is_chosen_stay_with_theirs(host, walk):
    host.click("sampleInfantButton")
    chosen, layout = parameters(host).inputVideo, host.app.layoutManager().layout
    finish(host, walk, gait_result())
    assert parameters(host).inputVideo is chosen
    assert parameters(host).task.value == "movements"
    assert "Not scored yet" in host.ui.answerLabel.text
    assert host.app.layoutManager().layout == layout
    node = parameters(host)
    node.inputVideo, node.task = walk.sequence, type(node.task)("gait")
    assert "P(ASD)" in host.ui.answerLabel.text
    assert "patient region" in node.region.GetName()


def test_scores_that_come_when_another_module_is_shown_leave_its_views_alone(host, walk):
    layout = host.app.layoutManager().layout
    host.leave()
    finish(host, walk, gait_result())
    assert host.app.layoutManager().layout == layout
    host.enter()
    assert "P(ASD)" in host.ui.answerLabel.text


def test_torso_points_are_found_for_the_video_they_were_looked_for_in(host, infant, walk):
    from SpineMotionToolsLib.scene.video_marks import placed

    torso = {0: [[121, 111], [153, 100], [143, 156], [163, 149]]}
    node = parameters(host)
    node.inputVideo = walk.sequence
    host.widget.marks.takeFound(infant, torso, before={})
    assert placed(node.torso) == {}
    assert node.torsoBy.value == "network"
    node.inputVideo = infant.sequence
    node.task = type(node.task)("movements")
    assert placed(node.torso) == torso


def test_torso_points_placed_while_others_are_looked_for_stay(host, infant):
    from SpineMotionToolsLib.scene.video_marks import placed, set_placed

    earlier, mine, found = ([[n, 10], [n, 20], [n, 30], [n, 40]] for n in (1, 2, 3))
    node = host.widget.marks.ensureNode(infant, "movements")
    set_placed(node, {0: mine, 60: earlier})
    host.widget.marks.takeFound(infant, {0: found, 60: found}, before={60: earlier})
    assert placed(node) == {0: mine, 60: found}

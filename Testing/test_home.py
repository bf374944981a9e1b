"""The start page as a user meets it: modules, batch, models, check of the computer."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from Testing.packaging_lists import REPOSITORY

pytestmark = pytest.mark.panel
AIM = REPOSITORY / "MotionScore" / "Resources" / "Data" / "phantom.AIM"


@pytest.fixture
def host(open_module, tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "models"))
    return open_module("SpineMotionTools")


@pytest.fixture
def cases(tmp_path):
    """A folder with a whole and a broken scan."""
    folder = tmp_path / "cases é"
    folder.mkdir()
    shutil.copy(AIM, folder / "whole.AIM")
    (folder / "broken.AIM").write_bytes(b"AIMDATA_V030   " + bytes(40))
    return folder


def batch(host, cases, out):
    host.ui.batchCollapsibleButton.collapsed = False
    node = host.widget._parameterNode
    node.inputFolder, node.outputFolder, node.stackHeight = cases, out, 4
    host.click("batchButton")
    return host.widget.batch


def slice_background(host):
    logic = host.app.layoutManager().sliceWidget("Red").sliceLogic()
    return host.app.mrmlScene().GetNodeByID(logic.GetSliceCompositeNode().GetBackgroundVolumeID() or "")


def wait(host):
    host.wait(lambda: not host.widget.jobs.running and not host.widget.batch.jobs.running, timeout=200)


def test_the_page_fits_and_every_control_says_what_it_does(host):
    for section in ("batchCollapsibleButton", "modelsCollapsibleButton", "checkCollapsibleButton"):
        getattr(host.ui, section).collapsed = False
    assert host.violations(325) == []
    assert not host.ui.batchButton.enabled
    assert "folder" in host.ui.batchButton.toolTip


def test_a_fault_in_one_scene_does_not_cost_the_other_cases_theirs(host, monkeypatch):
    tried = []

    def add_scene(parameters, row):
        tried.append(row.case)
        raise AttributeError("no such node")

    monkeypatch.setattr("SpineMotionToolsLib.batch.run.add_scene", add_scene)
    host.widget.batch._writeScenes({}, [SimpleNamespace(case=name) for name in ("one", "two")])
    host.wait(lambda: tried == ["one", "two"], timeout=5)
    assert "two: no scene was saved. no such node" in host.ui.logText.plainText


def test_a_batch_shows_every_case_and_a_bad_one_does_not_stop_it(open_module, host, cases, tmp_path):
    pytest.importorskip("torch")
    panel = batch(host, cases, tmp_path / "out")
    assert host.ui.batchButton.text == "Cancel"
    wait(host)
    shown = {host.ui.batchTable.item(row, 0).text(): row for row in range(host.ui.batchTable.rowCount)}
    assert set(shown) == {"whole", "broken"}
    assert host.ui.batchTable.item(shown["broken"], 1).text() == "failed"
    assert "1 of 2 cases done, 1 failed" in host.ui.batchStatusLabel.text
    host.ui.batchTable.selectRow(shown["broken"])
    assert not host.ui.batchSceneButton.enabled
    host.ui.batchTable.selectRow(shown["whole"])
    assert "Starter model" in host.ui.batchRowLabel.text
    assert (tmp_path / "out" / "cases.csv").is_file()

    host.click("batchSceneButton")
    scan = host.app.mrmlScene().GetFirstNodeByName("whole")
    assert scan.GetImageData().GetDimensions() == (80, 80, 4)
    assert slice_background(host) is scan  # the views show what was opened
    motion = open_module("MotionScore")
    assert "Grade" in motion.ui.gradeLabel.text  # the module takes the batch's result over
    host.enter()

    before = [row.seconds for row in panel._rows]
    host.click("batchButton")
    wait(host)
    assert [row.seconds for row in panel._rows if row.status == "done"] == [s for s in before if s][-1:]


def test_cancel_stops_a_batch(host, cases, tmp_path):
    panel = batch(host, cases, tmp_path / "out")
    host.click("batchButton")
    assert not panel.jobs.running
    assert host.ui.batchButton.text == "Run batch"


def test_networks_follow_the_task(host):
    from SpineMotionToolsGui.batch_parameters import BatchTask

    host.ui.batchCollapsibleButton.collapsed = False
    host.widget._parameterNode.task = BatchTask.KEYPOINTS
    assert host.ui.batchModelComboBox.currentText == "Spine X-ray, starter"
    assert not host.ui.batchStackHeightSpinBox.visible


def test_the_scene_may_close_while_the_page_is_shown(host, cases, tmp_path):
    host.widget._parameterNode.inputFolder = cases
    host.close_scene()
    assert host.widget._parameterNode is not None
    host.leave()
    assert host.widget._parameterNode is None
    host.enter()


def select(host, model_id):
    import qt

    table = host.ui.modelsTable
    rows = range(table.rowCount)
    table.selectRow(next(row for row in rows if table.item(row, 0).data(qt.Qt.UserRole) == model_id))


def test_files_of_a_model_are_checked_against_the_network(host):
    pytest.importorskip("torch")
    select(host, "motion-starter")
    assert "0.4" in host.ui.modelsTable.item(host.ui.modelsTable.currentRow(), 1).text()
    host.click("checkModelButton")
    wait(host)
    assert "the files fit" in host.ui.modelLabel.text


def test_wrong_weights_are_told_when_they_are_added(host, tmp_path):
    pytest.importorskip("torch")
    import numpy as np
    from SpineMotionToolsLib.common.weights import write_safetensors

    own = tmp_path / "model.pth"
    write_safetensors(own, {"other": np.zeros(3, np.float32)}, {})
    select(host, "keypoints-miccai2022")
    assert not host.ui.checkModelButton.enabled
    host.dialogs.answer(str(own), True)
    host.click("addFileButton")
    wait(host)
    wait(host)
    assert "do NOT fit" in host.ui.modelLabel.text
    assert host.ui.deleteButton.enabled


def test_this_computer_is_checked_and_the_text_copied(host):
    host.click("checkButton")
    wait(host)
    text = host.ui.checkText.plainText
    for word in ("SpineMotionTools", "Slicer", "Weights motion-starter", "Python", "PyTorch", "Memory", "numpy"):
        assert word in text
    host.click("copyButton")
    assert host.app.clipboard().text() == text


def test_a_missing_pytorch_is_a_finding_not_a_failure(host):
    sentence = "PyTorch is not installed or cannot be loaded."
    found = dict.fromkeys(("memory_gib", "memory_free_gib", "disk_free_gib", "threads"), 1)
    found |= {"python": "3.12", "system": "Linux", "torch": "", "torch_error": sentence, "devices": [], "packages": {}}
    found |= {"fast_bf16_cpu": False, "temporary_folder_writable": True, "models_folder_writable": False}
    text = host.logic.checkText(found)
    assert sentence in text
    assert "models folder cannot be written" in text


def test_declining_small_packages_is_told_and_changes_nothing(host, cases, tmp_path, monkeypatch):
    import slicer

    def declined(*arguments, **options):
        raise RuntimeError("User declined installation")

    monkeypatch.setattr(slicer.packaging, "pip_ensure", declined)
    panel = batch(host, cases, tmp_path / "out")
    assert not panel.jobs.running
    assert "accept the installation" in host.dialogs.texts("error")[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_self_test_passes(open_module, host):
    open_module("MotionScore")
    host.run_self_test()


class Answered:
    """A job whose answer is there at the next look; `started` keeps what was asked for."""

    started: list[str] = []
    error = remaining_s = None

    def __init__(self, task, parameters, on_progress):
        self.started.append(task)
        self.result = {"bytes": 390_000_000} if task == "common.tasks:model_size" else {"paths": [], "text": "fit"}
        self.result["good"] = True

    def poll(self):
        return True

    def cancel(self):
        pass

    close = cancel


@pytest.mark.parametrize("agreed", [False, True])
def test_nothing_is_downloaded_before_size_and_license_were_accepted(host, monkeypatch, agreed):
    """The size is asked for in a child process: a slow server does not stop the window."""
    from SpineMotionToolsLib.common import jobs

    monkeypatch.setattr(Answered, "started", [])
    monkeypatch.setattr(jobs, "start_job", Answered)
    select(host, "spinenet-v2")
    host.dialogs.answer(agreed)
    host.click("downloadButton")
    assert host.ui.downloadButton.text == "Cancel"
    assert Answered.started == ["common.tasks:model_size"]
    wait(host)
    (question,) = host.dialogs.texts("confirm")
    assert "390 MB" in question
    assert "non-commercial" in question
    assert "arXiv 2205.01683" in question
    assert Answered.started[1:2] == (["common.tasks:download_model"] if agreed else [])


def test_asking_for_the_size_can_be_cancelled(host, monkeypatch):
    from SpineMotionToolsLib.common import jobs

    monkeypatch.setattr(jobs, "start_job", Answered)
    select(host, "spinenet-v2")
    host.click("downloadButton")
    host.click("downloadButton")
    assert not host.widget.jobs.running
    assert host.dialogs.texts("confirm") == []


def test_a_batch_that_ends_when_another_folder_is_chosen_tells_of_its_own(host, tmp_path, monkeypatch):
    from SpineMotionToolsLib.batch import journal

    rows = {"out": [SimpleNamespace(status="done", scene="", case="one")]}
    monkeypatch.setattr(journal, "read_journal", lambda folder: rows[str(folder)])
    monkeypatch.setattr(journal, "rows_of", lambda entries: entries)
    monkeypatch.setattr(journal, "summary", lambda entries: ", ".join(row.case for row in entries))
    written = []
    monkeypatch.setattr(host.widget.batch, "_writeScenes", lambda parameters, rows: written.extend(rows))
    host.widget._parameterNode.outputFolder = tmp_path
    host.widget.batch._onFinished({"out": "out", "scenes": True})
    assert host.ui.batchStatusLabel.text == "one"
    assert written == rows["out"]


def test_packages_are_asked_for_without_the_wait_cursor(host, monkeypatch):
    import qt
    import slicer.packaging
    from SpineMotionToolsGui import dependencies

    shapes = []

    def ensure(*arguments, **options):
        shapes.append(qt.QApplication.overrideCursor().shape())

    monkeypatch.setattr(slicer.packaging, "pip_ensure", ensure)
    with slicer.util.tryWithErrorDisplay("failed", waitCursor=True):
        dependencies.ensureSmallPackages()
        shapes.append(qt.QApplication.overrideCursor().shape())
    assert shapes == [qt.Qt.ArrowCursor, qt.Qt.WaitCursor]
    assert qt.QApplication.overrideCursor() is None

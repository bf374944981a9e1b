"""The Vertebra Keypoints module as a user meets it: its real panel and logic, real mouse drags in a slice view."""

from __future__ import annotations

import json

import numpy as np
import pytest
from SpineMotionToolsLib.common.errors import JobError
from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.keypoints.session import Request

from Testing.keypoint_samples import Follower, picture, spine

pytestmark = pytest.mark.panel

SIZE = (1200, 500)
REGION = (100, 400, 1000, 420)  # (row, column, rows, columns) where the made network sees a spine


class MadeNetwork:
    """Stands in for `network.Network`: knows where the spine is, follows hints, answers after some polls."""

    def __init__(self, model="keypoints-starter", device="auto", sha256="made"):
        import qt

        self.model, self.device, self.sha256 = model, device, sha256
        self.provenance, self.error, self.polls, self.calls, self.closed = None, None, 2, [], 0
        self._question = self._onAnswer = None
        self._timer = qt.QTimer()
        self._timer.setInterval(5)
        self._timer.connect("timeout()", self.poll)

    @property
    def busy(self):
        return self._question is not None

    def ask(self, radiograph, chain, onAnswer, onError):
        self.calls.append(chain)
        self._question, self._onAnswer = [self.polls, radiograph, chain, onAnswer, onError], onAnswer
        self._timer.start()

    def isNewest(self, onAnswer):
        return self._onAnswer == onAnswer

    def search(self, radiograph, onAnswer, onError):
        self.ask(radiograph, "search", onAnswer, onError)

    def poll(self):
        if self._question is None:
            self._timer.stop()
            return True
        self._question[0] -= 1
        if self._question[0] > 0:
            return False
        _polls, radiograph, chain, onAnswer, onError = self._question
        self._question = None
        if self.error is not None:
            onError(self.error)
            return not self.busy
        self.provenance = Provenance("keypoints", "made", self.sha256, starter=True)
        if chain == "search":
            onAnswer({"region": REGION})
        else:
            onAnswer({} if chain is None else self._answer(radiograph, chain))
        return not self.busy

    @staticmethod
    def _answer(radiograph, chain):
        runs = tuple(tuple((int(k), (row, column)) for k, row, column in run) for run in chain)
        answer = Follower(radiograph, spine(radiograph.size))(Request(runs, -1, "", {}))
        found = {name: getattr(answer, name).tolist() for name in ("points", "confidence", "spread")}
        return {**found, "seconds": 0.02}

    def wait(self):
        while not self.poll():
            pass

    def close(self):
        self._question = self._onAnswer = None
        self.closed += 1


@pytest.fixture
def host(open_module):
    """The module with a made network."""
    opened = open_module("KeypointModule")
    opened.logic._network = MadeNetwork()
    return opened


@pytest.fixture
def volume(host):
    """A picture in the scene, chosen in the panel."""
    from Testing.test_scene_keypoints import add_volume

    node = add_volume(picture(SIZE)[None])
    host.widget._parameterNode.inputVolume = node
    return node


def apply(host):
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running)
    assert host.widget.session() is not None, host.ui.statusLabel.text
    return host.widget.session()


@pytest.fixture
def session(host, volume):
    """The corners of the picture, found."""
    return apply(host)


@pytest.fixture
def view(app, session):
    found = app.layoutManager().sliceWidget("Red").sliceView()
    found.resize(500, 900)
    show(session, found)
    return found


def show(session, view):
    from SpineMotionToolsLib.scene.keypoints import show_upright

    show_upright(view.node, session.picture, session.nodes.volume)


def world(session, index):
    position = np.zeros(3)
    session.nodes.node("corners").GetNthControlPointPositionWorld(index, position)
    return position


def drag(view, session, index, by):
    """Press on a corner, move, release; returns where the mouse left it, world RAS."""
    x, y = view.xy(world(session, index))
    view.drag((x, y), (x + by[0], y + by[1]))
    return world(session, index)


def settled(host, session):
    host.wait(lambda: not session.busy)
    host.process()


# -- finding -----------------------------------------------------------------------------------------------------------


def test_fresh_panel_says_what_is_missing(open_module):
    host = open_module("KeypointModule")
    assert not host.ui.applyButton.enabled
    assert "radiograph" in host.ui.applyButton.toolTip
    assert not host.ui.undoButton.enabled
    assert not host.ui.exportFilesButton.enabled
    assert host.violations(325) == []


def test_panel_with_results_fits_and_every_control_has_a_tooltip(host, session):
    host.ui.advancedCollapsibleButton.collapsed = False
    assert host.violations(325) == []


def test_apply_shows_corners_tables_and_what_to_know(host, session):
    corners = session.nodes.node("corners")
    assert corners.GetNumberOfControlPoints() == 68
    assert corners.GetNthControlPointLabel(0) == "T1 upper left"
    assert host.ui.curveTableView.mrmlTableNode() is session.nodes.node("curves")
    assert f"{session.reading.main_curve.cobb_deg:.0f}°" in host.ui.curveLabel.text
    assert "not validated on patients" in host.ui.warningsLabel.text
    assert "not known" in host.ui.pictureLabel.text  # the side of the patient
    assert host.ui.applyButton.text == "Apply"


def test_apply_turns_into_cancel(host, volume):
    host.logic._network.polls = 10**9
    host.click("applyButton")
    assert host.ui.applyButton.text == "Cancel"
    host.click("applyButton")
    assert host.ui.applyButton.text == "Apply"
    assert host.logic._network.closed == 1
    assert host.widget.session() is None


@pytest.fixture
def wide(host):
    """A picture of a chest and belly, twice as wide as a spine radiograph."""
    from Testing.test_scene_keypoints import add_volume

    node = add_volume(picture((1200, 1300))[None])
    host.widget._parameterNode.inputVolume = node
    return node


def test_the_spine_is_looked_for_in_a_wide_picture(host, wide):
    found = apply(host)
    assert host.logic._network.calls == ["search", [[]]]
    assert found.picture.region == REGION
    assert found.radiograph.region == REGION
    assert "another picture" not in host.ui.pictureLabel.text
    assert host.ui.regionSelector.currentNode() is host.widget._parameterNode.region


def test_a_box_that_was_found_stays_with_its_radiograph(host, wide, scene):
    host.ui.advancedCollapsibleButton.collapsed = False
    host.click("findRegionButton")
    host.wait(lambda: not host.widget.jobs.running)
    assert "box shows where the spine" in host.ui.statusLabel.text
    assert host.logic.pictureOf(host.widget._parameterNode).region == REGION
    from Testing.test_scene_keypoints import add_volume

    host.widget._parameterNode.inputVolume = add_volume(picture(SIZE)[None])
    assert host.logic.pictureOf(host.widget._parameterNode).region is None


def test_console_looks_for_the_spine_too(host, wide):
    assert host.logic.startSession(wide).picture.region == REGION


def test_console_finds_and_corrects_without_the_panel(host, volume):
    session = host.logic.startSession(volume)
    place = tuple(session.reading.points_px[21] + (5.0, 2.0))
    reading = session.correct("T6 upper right", place)
    assert tuple(reading.points_px[21]) == place
    assert session.undo().given == ()


# -- dragging ----------------------------------------------------------------------------------------------------------


def test_drag_stays_and_the_others_follow_after_release_only(host, session, view):
    network, before = host.logic._network, session.reading.points_px
    asked, surface = len(network.calls), session.nodes.node("sureLines")
    x, y = view.xy(world(session, 20))
    view.move(x, y)
    view.interactor.LeftButtonPressEvent()
    drawn = np.concatenate([line for role in live(session).values() for line in role])
    view.move(x + 6, y - 4)
    view.move(x + 12, y - 9)
    moved = np.concatenate([line for role in live(session).values() for line in role])
    assert not np.array_equal(drawn, moved)  # outlines and angles follow the mouse
    assert surface.GetPolyData() is not None
    assert len(network.calls) == asked  # the network does not
    view.interactor.LeftButtonReleaseEvent()
    assert len(network.calls) == asked + 1
    left = world(session, 20)
    settled(host, session)
    assert np.array_equal(world(session, 20), left)
    assert session.reading.given == (20,)
    assert np.abs(session.reading.points_px[22] - before[22]).max() > 1
    assert len(network.calls) == asked + 1  # what was written into the scene asked nothing


def live(session):
    """Points of all drawn surfaces."""
    from vtk.util.numpy_support import vtk_to_numpy

    found = {}
    for role in ("sureLines", "fairLines", "doubtfulLines", "placedLines", "cobbLines", "cobbLinesBelow"):
        points = session.nodes.node(role).GetPolyData().GetPoints().GetData()
        found[role] = [vtk_to_numpy(points).copy()] if points.GetNumberOfTuples() else []
    return found


def test_drag_works_zoomed_in_and_under_a_transform(host, session, view):
    from SpineMotionToolsLib.scene.keypoints import show_place

    from Testing.test_scene_keypoints import rotation, transform_to

    session.nodes.volume.SetAndObserveTransformNodeID(transform_to(rotation(35)).GetID())
    show(session, view)
    show_place(view.node, session.picture, session.nodes.volume, session.reading.points_px[30], 120)
    before = session.reading.points_px[30]
    x, y = view.xy(world(session, 30))
    left = drag(view, session, 30, (15, 10))
    assert view.xy(left) == (x + 15, y + 10)
    settled(host, session)
    assert np.array_equal(world(session, 30), left)
    per_pixel = view.node.GetFieldOfView()[1] / 900 / 0.5  # picture pixels a display pixel
    assert session.reading.points_px[30] - before == pytest.approx((-10 * per_pixel, 15 * per_pixel), abs=per_pixel)


def test_corners_of_a_volume_lie_on_their_slice(host, app):
    """A slice of a body: corners are seen and dragged there, and are not drawn over other slices."""
    from Testing.test_scene_keypoints import add_volume

    array = np.stack([picture(SIZE, seed) for seed in range(3)], axis=1)
    axes = np.array([[-1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
    host.widget._parameterNode.inputVolume = add_volume(array, axes, (0.5, 4, 0.5))
    assert host.ui.sliceRow.visible
    host.ui.sliceSpinBox.value = 1
    session = apply(host)
    view = app.layoutManager().sliceWidget("Red").sliceView()
    view.resize(500, 900)
    show(session, view)
    left = drag(view, session, 12, (8, 5))
    settled(host, session)
    assert np.array_equal(world(session, 12), left)
    assert session.reading.patient_right_on == "left"
    on_slice = colored(view.image())
    view.logic.SetSliceOffset(view.logic.GetSliceOffset() + 4)
    assert on_slice > 1000
    assert colored(view.image()) == 0
    host.ui.sliceSpinBox.value = 2
    assert "another picture" in host.ui.pictureLabel.text


def colored(image):
    """Pixels that are not gray."""
    return int((np.ptp(image.astype(int), axis=-1) > 40).sum())


def test_newer_drag_takes_the_place_of_an_unanswered_one(host, session, view):
    host.logic._network.polls = 10**9
    first = drag(view, session, 8, (9, 4))
    second = drag(view, session, 40, (-8, 5))
    calls = host.logic._network.calls
    assert [sorted(int(k) for k, *_ in chain[-1]) for chain in calls[-2:]] == [[8], [8, 40]]
    host.logic._network._question[0] = 1
    settled(host, session)
    assert session.reading.given == (8, 40)
    assert np.array_equal(world(session, 8), first)
    assert np.array_equal(world(session, 40), second)
    assert len(session.session.history) == 2  # found, and both corrections in one step


def test_answer_leaves_the_corner_under_the_mouse_alone(host, session, view):
    drag(view, session, 8, (9, 4))
    x, y = view.xy(world(session, 12))
    view.move(x, y)
    view.interactor.LeftButtonPressEvent()
    view.move(x + 10, y)
    held = world(session, 12)
    settled(host, session)  # the first answer comes while the second corner is held
    assert np.array_equal(world(session, 12), held)
    view.interactor.LeftButtonReleaseEvent()
    settled(host, session)
    assert np.array_equal(world(session, 12), held)
    assert session.reading.given == (8, 12)


def test_click_without_moving_asks_nothing(host, session, view):
    asked = len(host.logic._network.calls)
    view.click(*view.xy(world(session, 20)))
    assert len(host.logic._network.calls) == asked
    assert session.reading.given == ()


# -- refused drags -----------------------------------------------------------------------------------------------------


def test_crossing_corners_are_refused_and_go_back(host, session, view):
    drag(view, session, 20, (4, 2))
    settled(host, session)
    before = session.reading.points_px.copy()
    start, neighbor = view.xy(world(session, 21)), view.xy(world(session, 20))
    view.drag(start, (neighbor[0] - 15, neighbor[1]))
    assert "left and right are exchanged" in host.ui.statusLabel.text
    assert not session.busy
    assert np.array_equal(session.reading.points_px, before)
    assert np.allclose(session.nodes.corners_px(session.picture), before, atol=1e-6)


def test_two_corners_on_one_place_are_refused(host, session, view):
    drag(view, session, 20, (4, 2))
    settled(host, session)
    x, y = view.xy(world(session, 20))
    view.drag(view.xy(world(session, 22)), (x, y))
    assert "Put the two corners apart" in host.ui.statusLabel.text or "exchanged" in host.ui.statusLabel.text
    assert session.reading.given == (20,)


def test_drag_out_of_the_picture_is_refused(host, session, view):
    view.node.SetFieldOfView(*(2 * value for value in view.node.GetFieldOfView()[:2]), 1)
    before = world(session, 0)
    x, y = view.xy(before)
    view.drag((x, y), (x, 880))
    assert "outside the picture" in host.ui.statusLabel.text
    assert np.allclose(world(session, 0), before)
    assert session.reading.given == ()


def test_place_that_is_no_number_is_refused(host, session):
    import slicer

    corners = session.nodes.node("corners")
    corners.SetNthControlPointPosition(5, float("nan"), 0, 0)
    corners.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    assert "not a number" in host.ui.statusLabel.text
    assert np.isfinite(world(session, 5)).all()


def test_locked_vertebra_cannot_be_dragged_and_stays(host, session, view):
    session.lock("T6")
    before = [world(session, k) for k in range(20, 24)]
    drag(view, session, 21, (12, 6))
    assert session.reading.given == ()
    drag(view, session, 26, (12, 6))
    settled(host, session)
    assert session.reading.given == (26,)
    assert np.allclose([world(session, k) for k in range(20, 24)], before)


# -- history -----------------------------------------------------------------------------------------------------------


def test_undo_and_redo(host, session, view):
    found = session.reading.points_px
    left = drag(view, session, 20, (10, 5))
    settled(host, session)
    host.click("undoButton")
    assert np.allclose(session.nodes.corners_px(session.picture), found, atol=1e-6)
    assert not host.ui.undoButton.enabled
    host.click("redoButton")
    assert np.allclose(world(session, 20), left)


def test_undo_before_the_answer_drops_the_correction(host, session, view):
    host.logic._network.polls = 100
    found = session.reading.points_px
    drag(view, session, 20, (10, 5))
    host.wait(lambda: host.ui.undoButton.enabled)
    assert "follow..." in host.ui.statusLabel.text
    host.click("undoButton")
    assert not session.busy
    host.wait(lambda: not host.logic._network.busy)
    host.process(0.05)
    assert np.allclose(session.nodes.corners_px(session.picture), found, atol=1e-6)
    assert session.reading.given == ()


def test_lock_before_the_answer_keeps_the_correction(host, session, view):
    host.logic._network.polls = 20
    left = drag(view, session, 20, (10, 5))
    session.lock("L1")
    settled(host, session)
    assert (session.reading.given, session.reading.locked) == ((20,), (12,))
    assert np.array_equal(world(session, 20), left)


def test_release_and_find_again(host, session, view):
    drag(view, session, 20, (10, 5))
    settled(host, session)
    assert host.ui.placedComboBox.currentText == "T6 upper left"
    host.click("restartButton")
    settled(host, session)
    assert len(host.logic._network.calls[-1]) == 1  # one run, without the maps of the runs before
    assert session.reading.given == (20,)
    host.click("releaseButton")
    settled(host, session)
    assert session.reading.given == ()
    assert not host.ui.releaseButton.enabled


def test_another_network_introduces_itself_and_starts_from_the_placed_corners(host, session, view):
    drag(view, session, 20, (10, 5))
    settled(host, session)
    host.logic._network = other = MadeNetwork(sha256="other")
    session.network = other
    drag(view, session, 40, (-8, 5))
    settled(host, session)
    assert other.calls[0] is None
    assert len(other.calls[1]) == 1
    assert session.reading.given == (20, 40)
    assert session.reading.provenance.model_sha256 == "other"


# -- vertebrae ---------------------------------------------------------------------------------------------------------


def test_next_to_check_goes_to_the_least_certain_vertebra(host, session, view):
    order = session.reading.to_check
    host.click("nextButton")
    quad = [world(session, k) for k in range(4 * order[0], 4 * order[0] + 4)]
    assert view.xy(np.mean(quad, axis=0)) == pytest.approx((250, 450), abs=3)
    assert session.reading.levels[order[0]] in host.ui.statusLabel.text
    assert host.ui.vertebraComboBox.currentIndex == order[0]
    host.click("nextButton")
    assert host.ui.vertebraComboBox.currentIndex == order[1]
    session.lock(order[0])
    host.click("nextButton")
    assert host.ui.vertebraComboBox.currentIndex == session.reading.to_check[0]


def test_absent_vertebra_leaves_tables_and_view(host, session):
    host.ui.vertebraComboBox.setCurrentIndex(16)
    host.click("absentButton")
    assert session.nodes.node("vertebrae").GetNumberOfRows() == 16
    assert session.nodes.node("corners").GetNthControlPointPositionStatus(66) != 2
    assert "L5 (absent)" in host.ui.vertebraComboBox.currentText
    host.click("absentButton")
    assert session.nodes.node("vertebrae").GetNumberOfRows() == 17


def test_lock_button_shows_the_chosen_vertebra(host, session):
    host.ui.vertebraComboBox.setCurrentIndex(3)
    host.click("lockButton")
    assert session.reading.locked == (3,)
    host.ui.vertebraComboBox.setCurrentIndex(4)
    host.ui.vertebraComboBox.activated.emit(4)
    assert not host.ui.lockButton.checked


def test_names_for_other_numbers_of_vertebrae(host, session):
    host.ui.advancedCollapsibleButton.collapsed = False
    host.widget.correct.onNames(4)  # 13 thoracic vertebrae
    assert session.reading.levels[12:] == ("T13", "L1", "L2", "L3", "L4")
    assert session.nodes.node("corners").GetNthControlPointLabel(67) == "L4 lower right"
    host.click("undoButton")
    assert session.reading.levels[-1] == "L5"


def test_table_rows_lead_to_their_place(host, session, view):
    host.ui.vertebraTableView.selectRow(6)
    host.process()
    middle = np.mean([world(session, k) for k in range(24, 28)], axis=0)
    assert view.xy(middle) == pytest.approx((250, 450), abs=3)


# -- what is known of the picture --------------------------------------------------------------------------------------


def test_pixel_size_and_side_can_be_stated_afterwards(host, session):
    from KeypointModuleLib.parameters import PatientRight, PixelSize

    cobb = session.reading.main_curve.cobb_deg
    host.widget._parameterNode.pixelSize = PixelSize.UNKNOWN
    assert session.reading.scale.unit == "px"
    assert session.nodes.node("vertebrae").GetColumnTitle("height") == "Height (px)"
    assert " mm" not in host.ui.pictureLabel.text
    assert session.reading.main_curve.cobb_deg == pytest.approx(cobb)
    host.widget._parameterNode.patientRight = PatientRight.RIGHT
    assert "right is on the picture's right" in host.ui.pictureLabel.text
    assert session.reading.patient_right_on == "right"
    assert session.nodes.node("sides").GetNthControlPointLabel(0) == "L"


def test_dicom_file_tells_side_and_view(host, volume, monkeypatch):
    import slicer
    from KeypointModuleLib.parameters import PatientRight

    class Database:
        def instanceValue(self, instance, tag):
            return {("1.2.3", "0020,0020"): "R\\F", ("1.2.3", "0018,5101"): "LATERAL"}.get((instance, tag), "")

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    found = host.logic.pictureOf(host.widget._parameterNode)
    assert found.patient_right_on == "right"
    assert any("lateral view" in note for note in found.notes)
    host.widget._parameterNode.patientRight = PatientRight.LEFT  # a stated side does not hush what the file says
    assert any("lateral view" in note for note in host.logic.pictureOf(host.widget._parameterNode).notes)


def test_dicom_file_tells_that_the_head_is_at_the_bottom(host, volume, monkeypatch):
    import slicer
    from KeypointModuleLib.parameters import Turn

    class Database:
        def instanceValue(self, instance, tag):
            return "R\\H" if tag == "0020,0020" else ""

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    node = host.widget._parameterNode
    assert any("head is at the bottom" in note for note in host.logic.pictureOf(node).notes)
    assert host.logic.startSession(volume).reading.patient_right_on == "right"
    node.turn = Turn.UPSIDE_DOWN
    assert not any("head is at the bottom" in note for note in host.logic.pictureOf(node).notes)


def test_pictures_that_cannot_be_read_are_sentences(host, scene):
    import slicer.util

    from Testing.test_scene_keypoints import add_volume

    colors = np.random.default_rng(0).integers(0, 255, (1, 200, 100, 3), dtype=np.uint8)
    bad = {
        "color picture": slicer.util.addVolumeFromArray(colors, nodeClassName="vtkMRMLVectorVolumeNode"),
        "every pixel has the value": add_volume(np.zeros((1, 200, 100), np.int16)),
        "20 x 20 pixels": add_volume(picture((20, 20))[None]),
    }
    for sentence, node in bad.items():
        host.widget._parameterNode.inputVolume = node
        with pytest.raises(Exception, match=sentence):
            host.widget.onApplyButton()
        assert host.widget.session() is None
        assert not host.widget.jobs.running
    host.dialogs.clear()


# -- saving, removing, failing -----------------------------------------------------------------------------------------


def test_session_survives_saving_and_loading(host, session, view, app, tmp_path):
    drag(view, session, 20, (10, 5))
    settled(host, session)
    session.lock("L1")
    session.store()
    points = session.reading.points_px
    path = host.save_scene(tmp_path / "scene.mrb")
    host.close_scene()
    assert "No corners yet" in host.ui.curveLabel.text
    host.load_scene(path)
    loaded = host.widget.session()
    assert np.allclose(loaded.reading.points_px, points)
    assert (loaded.reading.given, loaded.reading.locked) == ((20,), (12,))
    assert len(loaded.session.history) == 3
    show(loaded, view)
    left = drag(view, loaded, 40, (-8, 5))
    settled(host, loaded)
    assert np.array_equal(world(loaded, 40), left)
    assert loaded.reading.given == (20, 40)
    for _ in range(3):
        host.click("undoButton")
    assert loaded.reading.given == ()


def test_what_only_the_file_told_is_saved_with_the_scene(host, volume, monkeypatch, tmp_path):
    """A print resolution does not become a pixel size, and the side stays, where neither file nor database is there."""
    import slicer

    class Database:
        def instanceValue(self, instance, tag):
            return {"0020,0020": "L\\F", "0018,5101": "LL"}.get(tag, "")

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    volume.SetSpacing(0.0847, 0.0847, 1.0)
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "scan.jpg"))
    volume.SetAndObserveStorageNodeID(storage.GetID())
    apply(host)
    path = host.save_scene(tmp_path / "scene.mrb")
    host.close_scene()
    monkeypatch.setattr(slicer, "dicomDatabase", None)
    host.load_scene(path)
    reading = host.widget.session().reading
    assert (reading.scale.unit, reading.patient_right_on) == ("px", "left")
    assert any("lateral view" in note for note in reading.notes)


def test_history_of_another_picture_is_not_resumed(host, session, volume, tmp_path):
    import slicer.util

    session.store()
    slicer.util.updateVolumeFromArray(volume, picture(SIZE, seed=9)[None])
    host.logic.closeSessions()
    host.widget._updateControls()
    assert host.widget.session() is None
    assert "another picture" in host.ui.curveLabel.text


def test_removing_the_radiograph_while_the_network_runs(host, session, view, scene):
    host.logic._network.polls = 30
    drag(view, session, 20, (10, 5))
    scene.RemoveNode(session.nodes.volume)
    host.wait(lambda: not host.logic._network.busy)
    host.process(0.05)
    assert session.closed
    assert host.widget.session() is None
    assert "removed" in host.ui.logText.plainText
    assert session.nodes.node("levels") is None


def test_removing_the_corners_keeps_the_session(host, session, view, scene):
    host.logic._network.polls = 30
    drag(view, session, 20, (10, 5))
    scene.RemoveNode(session.nodes.node("corners"))
    host.wait(lambda: not host.logic._network.busy)
    assert "removed" in host.ui.statusLabel.text
    assert session.nodes.node("sureLines") is None
    host.click("showButton")
    assert session.nodes.node("corners").GetNumberOfControlPoints() == 68
    host.logic._network.polls = 2
    show(session, view)
    left = drag(view, session, 20, (10, 5))
    settled(host, session)
    assert np.array_equal(world(session, 20), left)


def test_removing_the_session_ends_it(host, session, view, scene):
    drag(view, session, 20, (9, 4))
    scene.RemoveNode(session.nodes.text)
    host.process(0.4)
    assert session.closed
    assert host.widget.session() is None
    assert session.nodes.node("levels") is None
    assert session.nodes.node("corners") is not None
    assert "removed" in host.ui.logText.plainText
    again = apply(host)
    assert again.nodes.text is not session.nodes.text


def test_new_corners_replace_corrected_ones_only_with_consent(host, session, view, app):
    session.lock("T4")
    app.dialogs.answer(False)
    host.click("applyButton")
    assert not host.widget.jobs.running
    assert host.widget.session() is session
    app.dialogs.answer(True)
    assert apply(host) is not session


def test_what_a_drag_does_not_move_is_not_drawn_again(host, session, view):
    drawn, nodes = [], session.nodes
    for role in ("sureLines", "fairLines", "doubtfulLines", "cobbLines"):
        nodes.node(role).AddObserver("ModifiedEvent", lambda caller, event, role=role: drawn.append(role))
    for role in ("levels", "angles"):
        modified = nodes.node(role).PointModifiedEvent
        nodes.node(role).AddObserver(modified, lambda caller, event, role=role: drawn.append(role))
    nodes.draw(session.reading, session.picture)
    assert drawn == []
    points = session.reading.points_px.copy()
    points[20] += (0, 3.0)
    nodes.draw(session._with({20: tuple(points[20])}), session.picture)
    assert "levels" in drawn
    assert drawn.count("levels") == 1


def test_frames_of_a_video_are_not_taken_for_a_radiograph(open_module, scene):
    import slicer

    slicer.util.addVolumeFromArray(np.zeros((1, 8, 8, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode")
    slicer.util.addVolumeFromArray(np.zeros((1, 8, 8), np.uint8), nodeClassName="vtkMRMLLabelMapVolumeNode")
    host = open_module("KeypointModule")
    assert host.widget._parameterNode.inputVolume is None


def test_a_frontal_picture_is_shown_in_the_coronal_view_without_other_layers(open_module, app, scene):
    import slicer

    host = open_module("KeypointModule")
    other = slicer.util.addVolumeFromArray(np.zeros((1, 8, 8), np.uint8))
    slicer.util.setSliceViewerLayers(foreground=other, label=other)
    host.click("sampleButton")
    host.process(0.1)
    layout = app.layoutManager()
    assert layout.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpGreenSliceView
    green = layout.sliceWidget("Green")
    assert green.mrmlSliceNode().GetOrientation() == "Coronal"
    assert layout.sliceWidget("Red").mrmlSliceNode().GetOrientation() == "Axial"
    assert not green.mrmlSliceCompositeNode().GetForegroundVolumeID()
    assert not green.mrmlSliceCompositeNode().GetLabelVolumeID()
    assert "The patient's right is on the picture's left" in host.ui.pictureLabel.text


def test_closing_the_scene_while_the_network_runs(host, session, view):
    host.logic._network.polls = 10**9
    drag(view, session, 20, (10, 5))
    host.close_scene()
    assert not host.logic._network.busy
    assert host.widget.session() is None
    assert "No corners yet" in host.ui.curveLabel.text


def test_failing_network_leaves_the_session_as_it_was(host, session, view):
    before = session.reading.points_px
    host.logic._network.error = JobError("The computer's memory ran out.")
    drag(view, session, 20, (10, 5))
    settled(host, session)
    assert "memory ran out" in host.ui.statusLabel.text
    assert np.allclose(session.nodes.corners_px(session.picture), before, atol=1e-6)
    host.logic._network.error = None
    drag(view, session, 20, (10, 5))
    settled(host, session)
    assert session.reading.given == (20,)


def test_exports(host, session, app, tmp_path):
    app.dialogs.answer(str(tmp_path))
    host.click("exportFilesButton")
    app.dialogs.answer(str(tmp_path / "report.html"))
    host.click("exportReportButton")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert {"XR-curves.csv", "XR-keypoints.csv", "XR-vertebrae.csv", "XR.json", "XR.mrk.json", "XR.png"} <= set(names)
    assert "not validated on patients" in (tmp_path / "report.html").read_text(encoding="utf-8")
    points = json.loads((tmp_path / "XR.mrk.json").read_text(encoding="utf-8"))["markups"][0]["controlPoints"]
    assert np.allclose(np.array(points[9]["position"]) * (-1, -1, 1), world(session, 9), atol=1e-6)


def test_sample_radiograph_needs_no_file(open_module, app):
    from Testing.headless import sampledata

    host = open_module("KeypointModule")
    host.click("sampleButton")
    assert host.widget._parameterNode.inputVolume.GetName() == "SpineRadiographPhantom"
    assert host.ui.applyButton.enabled
    app.startup_completed()
    assert sampledata.press("SpineRadiographPhantom").GetImageData().GetDimensions()[1] == 1000


# -- the network's own process -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file with the starter architecture and weights of no use."""
    torch = pytest.importorskip("torch")
    from SpineMotionToolsLib.common.weights import write_safetensors
    from SpineMotionToolsLib.keypoints.starter_network import StarterNetwork

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights with space and é") / "seeded.safetensors"
    write_safetensors(path, {key: value.numpy() for key, value in StarterNetwork().state_dict().items()}, {})
    return path


@pytest.mark.slow
def test_real_network_stays_loaded_and_answers_drags(open_module, app, weights):
    from Testing.test_scene_keypoints import add_volume

    host = open_module("KeypointModule")
    node = host.widget._parameterNode
    node.inputVolume = add_volume(picture(SIZE)[None])
    node.model = str(weights)
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=200)
    session = host.widget.session()
    assert session is not None, host.ui.statusLabel.text
    service = host.logic._network._service
    place = tuple(session.reading.points_px[21] + (3.0, 4.0))
    assert tuple(session.correct(21, place).points_px[21]) == place
    assert host.logic._network._service is service
    assert "not validated on patients" in host.ui.warningsLabel.text


@pytest.mark.slow
def test_wrong_weights_are_a_sentence(open_module, tmp_path):
    from Testing.test_scene_keypoints import add_volume

    (tmp_path / "page.pth").write_bytes(b"<html>not found</html>")
    host = open_module("KeypointModule")
    host.widget._parameterNode.inputVolume = add_volume(picture(SIZE)[None])
    host.widget._parameterNode.model = str(tmp_path / "page.pth")
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=200)
    assert "page.pth" in host.ui.statusLabel.text
    assert host.widget.session() is None
    assert host.ui.applyButton.enabled


def test_self_test(open_module, monkeypatch):
    """Finding corners in the self test needs the starter weights; the picture part always runs."""
    host = open_module("KeypointModule")
    import importlib.util

    from SpineMotionToolsLib.common.catalogue import find_model

    if not all(path.is_file() for path in find_model("keypoints-starter").paths):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    host.run_self_test()


# ---- jobs that end when the user has gone on -----------------------------------------------------------------------


def test_corners_that_come_when_another_module_is_shown_leave_its_views_alone(host, volume):
    host.logic._network.polls = 20
    host.click("applyButton")
    host.leave()
    layout = host.app.layoutManager().layout
    host.wait(lambda: not host.widget.jobs.running)
    assert host.app.layoutManager().layout == layout
    host.enter()
    assert host.widget.session() is not None


def test_corners_that_come_when_another_radiograph_is_chosen_leave_the_views_alone(host, volume):
    from Testing.test_scene_keypoints import add_volume

    host.logic._network.polls = 20
    host.click("applyButton")
    host.widget._parameterNode.inputVolume = add_volume(picture(SIZE)[None])
    layout = host.app.layoutManager().layout
    host.wait(lambda: not host.widget.jobs.running)
    assert host.app.layoutManager().layout == layout
    assert host.logic.sessionOf(volume) is not None
    assert host.widget.session() is None


def test_what_the_reader_does_while_corners_are_found_anew_is_kept(host, session):
    host.logic._network.polls = 20
    host.click("applyButton")
    session.lock("L1")
    host.wait(lambda: not host.widget.jobs.running)
    assert host.widget.session() is session
    assert session.reading.locked == (12,)
    assert "kept" in host.ui.statusLabel.text


def test_a_corner_dragged_while_corners_are_found_anew_ends_the_search(host, session):
    host.logic._network.polls = 20
    host.click("applyButton")
    session._pending = {3: tuple(session.reading.points_px[3] + 5)}
    moved = dict(session._pending)
    session._ask(lambda: session.session.request_correct(moved))
    host.wait(lambda: not host.widget.jobs.running)
    assert host.ui.applyButton.text == "Apply"
    assert "Press Apply again" in host.ui.logText.plainText
    host.wait(lambda: not session.busy)
    assert session.reading.given == (3,)


def test_another_network_chosen_while_corners_are_looked_for_ends_the_search(host, volume, monkeypatch):
    host.logic._network.polls = 20
    monkeypatch.setattr("KeypointModuleLib.logic.Network", MadeNetwork)
    host.click("applyButton")
    host.widget._onModel("another")
    host.wait(lambda: not host.widget.jobs.running)
    assert host.ui.applyButton.text == "Apply"
    assert "Press Apply again" in host.ui.statusLabel.text


def test_names_given_to_vertebrae_are_not_discarded_unasked(host, session, app):
    from SpineMotionToolsLib.keypoints.anatomy import names_from

    session.nameLevels(names_from("C7"))
    app.dialogs.answer(False)
    host.click("applyButton")
    assert not host.widget.jobs.running
    assert session.reading.levels[0] == "C7"

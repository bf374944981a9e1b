"""A module in the style of Slicer's template runs unmodified in the headless application, and is driven there."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.panel
slicer = pytest.importorskip("slicer")
EXAMPLE = Path(__file__).parent / "headless" / "example" / "Doubler"


@pytest.fixture
def host(open_module):
    return open_module("Doubler", folder=EXAMPLE)


@pytest.fixture
def volume(scene):
    volume = slicer.util.addVolumeFromArray(np.ones((3, 4, 5), np.int16), name="Ones")
    volume.CreateDefaultDisplayNodes()
    return volume


def test_loading_registers_the_module_as_slicer_does(host):
    assert slicer.util.getModule("Doubler").title == "Doubler"
    assert slicer.modules.doubler.categories == ["Examples"]
    assert slicer.util.getModuleLogic("Doubler") is host.logic
    assert slicer.util.getModuleWidget("Doubler") is host.widget is slicer.modules.DoublerWidget
    assert slicer.util.modulePath("Doubler") == str(EXAMPLE / "Doubler.py")
    assert "Doubler" in slicer.util.moduleNames()
    assert slicer.util.mainWindow() is None
    with pytest.raises(AttributeError):
        slicer.modules.doubler.titel = "misspelt"


def test_buttons_react_to_the_parameter_node(host, volume):
    assert not host.ui.applyButton.enabled
    assert "Choose an input volume" in host.ui.applyButton.toolTip
    host.ui.inputSelector.setCurrentNode(volume)
    assert host.ui.applyButton.enabled
    host.ui.factorSlider.value = 3
    host.click("applyButton")
    assert slicer.util.arrayFromVolume(volume).max() == 3
    host.wait(lambda: host.ui.resultView.mrmlTableNode() is not None, timeout=5)
    assert host.ui.resultView.model().index(1, 1).data() == "180"


def test_a_user_cannot_click_what_is_disabled_or_hidden(host):
    with pytest.raises(AssertionError, match="disabled"):
        host.click("applyButton")
    with pytest.raises(AssertionError, match="hidden"):
        host.click("keepBox")  # in the collapsed section
    host.ui.advancedSection.collapsed = False
    host.click("keepBox")
    assert host.logic.getParameterNode().keep is True
    with pytest.raises(LookupError, match="applyButton"):
        host.child("aplyButton")


def test_typing_reaches_the_parameter_node(host):
    host.ui.advancedSection.collapsed = False
    host.ui.labelEdit.text = ""
    host.type("labelEdit", "scan")
    host.key("labelEdit", "1")
    assert host.logic.getParameterNode().label == "scan1"


def test_exit_and_enter_disconnect_and_connect_the_panel(host, volume):
    host.leave()
    parameters = host.logic.getParameterNode()
    host.ui.repeatsBox.value = 4
    assert parameters.repeats == 1
    assert host.panel.isEntered is False
    host.enter()
    assert host.ui.repeatsBox.value == 1
    assert host.ui.inputSelector.currentNode() is volume


def test_closing_the_scene_while_the_module_is_shown(host, volume):
    host.ui.inputSelector.setCurrentNode(volume)
    host.ui.repeatsBox.value = 3
    host.close_scene()
    assert host.ui.inputSelector.currentNode() is None
    assert not host.ui.applyButton.enabled
    host.ui.repeatsBox.value = 2
    assert host.logic.getParameterNode().repeats == 2


def test_errors_are_shown_once_and_do_not_count_as_lost(host, app):
    app.dialogs.answer(False)
    host.click("failButton")
    assert app.dialogs.texts("confirm") == ["Really fail?"]
    assert app.dialogs.texts("error") == []
    host.click("failButton")
    assert app.dialogs.texts("error") == ["Failed.\n\nChoose an input volume."]
    assert app.uncaught == []


def test_waiting_has_an_end(host):
    with pytest.raises(TimeoutError, match="within 0.05 s"):
        host.wait(lambda: False, timeout=0.05)


@pytest.mark.parametrize("suffix", [".mrb", ".mrml"])
def test_parameters_survive_saving_and_loading_the_scene(host, volume, scene, tmp_path, suffix):
    parameters = host.logic.getParameterNode()
    parameters.inputVolume, parameters.repeats, parameters.history = volume, 4, ["a", "b"]
    parameters.folder, parameters.limit = Path("/data/scans"), 2.5
    path = host.save_scene(tmp_path / f"saved {suffix}")
    if suffix == ".mrml":  # the data is saved apart
        assert slicer.util.saveNode(volume, str(tmp_path / "Ones.nrrd"))
        host.save_scene(path)
    host.load_scene(path)
    loaded = host.logic.getParameterNode()
    assert (loaded.repeats, loaded.history, loaded.limit) == (4, ["a", "b"], 2.5)
    assert loaded.folder == Path("/data/scans")
    assert host.ui.repeatsBox.value == 4
    assert slicer.util.arrayFromVolume(loaded.inputVolume).shape == (3, 4, 5)


def test_reload_runs_the_code_again(host):
    before = host.widget
    host.reload()
    assert host.widget is not before
    assert host.ui.applyButton.text == "Apply"
    assert not before.hasObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, before.onSceneEndClose)


def test_self_test_runs_in_testing_mode(host, app):
    host.run_self_test()
    assert app.dialogs.texts("delay") == ["Multiplying"]
    assert not app.testingEnabled()


def test_sample_data_is_registered_at_startup_and_made_by_its_button(host, app, scene):
    from Testing.headless import sampledata

    app.startup_completed()
    node = sampledata.press("DoublerOnes")
    assert node.GetName() == "Ones"
    with pytest.raises(AssertionError, match="ignores a customDownloader"):
        __import__("SampleData").downloadSample("DoublerOnes")


def test_closing_the_module_cleans_up(open_module):
    host = open_module("Doubler", folder=EXAMPLE)
    widget = host.widget
    host.close()
    assert not hasattr(slicer.modules, "doubler")
    assert not widget.hasObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, widget.onSceneEndClose)
    with pytest.raises(RuntimeError, match="Could not find module"):
        slicer.util.getModule("Doubler")


# ---- the file reader -----------------------------------------------------------------------------------------------
def test_the_file_reader_takes_its_files_by_content(host, tmp_path):
    own, other = tmp_path / "Ünïcode numbers.DBL", tmp_path / "table.csv"
    own.write_text("DBL 1 2 3", encoding="utf-8")
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    node = slicer.util.loadNodeFromFile(str(own))
    assert slicer.util.arrayFromVolume(node).tolist() == [[[1, 2, 3]]]
    assert slicer.util.loadNodeFromFile(str(own), "DoublerFile").IsA("vtkMRMLScalarVolumeNode")
    assert slicer.app.coreIOManager().fileType(str(other)) == "TableFile"
    assert slicer.util.loadTable(str(other)).GetNumberOfRows() == 1


def test_the_file_readers_own_words_reach_the_user(host, tmp_path):
    broken = tmp_path / "broken.dbl"
    broken.write_text("DBL one", encoding="utf-8")
    with pytest.raises(RuntimeError, match="Not a number: could not convert"):
        slicer.util.loadNodeFromFile(str(broken))


def test_a_reader_must_return_what_slicer_demands(host, tmp_path, monkeypatch):
    import Doubler

    path = tmp_path / "x.dbl"
    path.write_text("DBL 1", encoding="utf-8")
    monkeypatch.setattr(Doubler.DoublerFileReader, "canLoadFileConfidence", lambda self, path: 1)
    with pytest.raises(TypeError, match="must return a float"):
        slicer.app.coreIOManager().fileType(str(path))


# ---- pictures ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("width", "style"), [(325, "light"), (500, "dark")])
def test_pictures_of_the_panel(host, tmp_path, width, style):
    picture = host.grab(tmp_path / "panel.png", width=width, style=style)
    assert picture.size[0] == width
    assert (tmp_path / "panel.png").is_file()
    assert (np.asarray(picture)[2, 2].mean() > 128) == (style == "light")


def test_pictures_of_the_window_show_panel_and_views(host, volume, app):
    volume.GetScalarVolumeDisplayNode().SetAutoWindowLevel(0)
    volume.GetScalarVolumeDisplayNode().SetWindowLevelMinMax(0, 1)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    picture = np.asarray(host.screenshot_with_views(size=(900, 600), panel_width=325))
    assert picture.shape == (600, 900, 3)
    assert picture[100:190, 400:850].max() > 200  # the white volume in the red view
    pair = np.asarray(host.screenshot_with_views(views=("Red", "Plot"), size=(900, 600)))
    assert (pair[500, 800] == 255).all()  # an empty plot is white


def test_layout_violations_are_found(host):
    assert host.violations(325) == []
    host.ui.applyButton.toolTip = ""
    host.ui.applyButton.text = "A label that is far too long for a button in a panel that is 325 pixels wide"
    host.ui.applyButton.setSizePolicy(*[__import__("qt").QSizePolicy.Ignored] * 2)
    found = "\n".join(host.violations(325))
    assert "applyButton has no tooltip" in found
    assert "is cut off" in found

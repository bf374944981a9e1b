"""The headless application: scene, files, settings, layout, slice views with a mouse, ctk and qMRML widgets."""

import numpy as np
import pytest

pytestmark = pytest.mark.scene
slicer = pytest.importorskip("slicer")
vtk = pytest.importorskip("vtk")


@pytest.fixture
def volume(scene):
    array = np.zeros((4, 60, 80), np.int16)
    array[:, 20:40, 30:50] = 100
    volume = slicer.util.addVolumeFromArray(array, ijkToRAS=np.diag([-0.5, -0.5, 2, 1]), name="Square")
    volume.CreateDefaultDisplayNodes()
    volume.GetScalarVolumeDisplayNode().SetAutoWindowLevel(0)
    volume.GetScalarVolumeDisplayNode().SetWindowLevelMinMax(0, 100)
    return volume


# ---- application ---------------------------------------------------------------------------------------------------
def test_slicer_namespace_is_complete(app):
    import ctk
    import qt
    from slicer.i18n import tr, translate

    assert slicer.app is app
    assert slicer.mrmlScene is app.mrmlScene() is slicer.app.mrmlScene()
    assert (tr("x"), translate("context", "y")) == ("x", "y")
    assert ctk.ctkSliderWidget
    assert qt.QWidget
    assert slicer.qMRMLNodeComboBox
    assert slicer.util.getModuleLogic("Volumes").IsA("vtkSlicerVolumesLogic")
    with pytest.raises(AttributeError, match="not known"):
        app.connect("aboutToQuit()", print)


def test_requirements_are_read_but_nothing_is_installed(app, tmp_path, errors):
    import slicer.packaging as packaging

    path = tmp_path / "requirements.txt"
    path.write_text("# comment\n-r other.txt\ntorch>=2.1\n\nh5py>=3.9\n", encoding="utf-8")
    requirements = packaging.load_requirements(path)
    assert [requirement.name for requirement in requirements] == ["torch", "h5py"]
    packaging.pip_ensure(requirements, requester="SpineMotionTools")
    assert app.dialogs.texts("pip_ensure") == ["SpineMotionTools: ['torch>=2.1', 'h5py>=3.9']"]


def test_temporary_folders_and_settings(app):
    from pathlib import Path

    folder = Path(slicer.util.tempDirectory())
    assert folder.is_dir()
    assert folder.is_relative_to(slicer.app.temporaryPath)
    slicer.app.userSettings().setValue("SpineMotionTools/models", "/models")
    assert slicer.util.settingsValue("SpineMotionTools/models", "") == "/models"
    assert slicer.util.settingsValue("SpineMotionTools/none", 5, converter=int) == 5


def test_a_vtk_error_is_recorded(app, errors):
    slicer.vtkMRMLScene().GetNthNodeByClass(3, None)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLNoSuchNode")
    assert any("vtkMRMLNoSuchNode" in text for text in app.vtk_errors)
    app.vtk_errors.clear()


# ---- files ---------------------------------------------------------------------------------------------------------
def test_volumes_are_saved_and_loaded(volume, tmp_path):
    for name in ("Square.nrrd", "Square.nii.gz", "space and ümlaut.mha"):
        assert slicer.util.saveNode(volume, str(tmp_path / name), {})
        loaded = slicer.util.loadVolume(str(tmp_path / name), {"name": "Again"})
        assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
        matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
        for matrix, node in zip(matrices, (loaded, volume)):
            node.GetIJKToRASMatrix(matrix)
        assert np.allclose(*(slicer.util.arrayFromVTKMatrix(matrix) for matrix in matrices))
    labels = slicer.util.loadLabelVolume(str(tmp_path / "Square.nrrd"), {})
    assert labels.IsA("vtkMRMLLabelMapVolumeNode")


def test_other_nodes_are_saved_and_loaded(scene, tmp_path):
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "P")
    points.AddControlPoint(vtk.vtkVector3d(1, 2, 3), "L1")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "T")
    slicer.util.updateTableFromArray(table, np.array([[1.0, 2.0]]), ["a", "b"])
    text = scene.AddNewNodeByClass("vtkMRMLTextNode", "N")
    text.SetText("note")
    for node, name in ((points, "P.mrk.json"), (table, "T.csv"), (text, "N.txt")):
        assert slicer.util.exportNode(node, str(tmp_path / name), {})
        assert node.GetStorageNode() is None
    assert slicer.util.loadMarkups(str(tmp_path / "P.mrk.json")).GetNthControlPointPosition(0) == (1, 2, 3)
    assert slicer.util.loadTable(str(tmp_path / "T.csv")).GetTable().GetNumberOfColumns() == 2
    assert slicer.util.loadText(str(tmp_path / "N.txt")).GetText() == "note"


def test_a_missing_file_is_an_error_with_its_name(scene, tmp_path):
    with pytest.raises(RuntimeError, match="nothing.nrrd"):
        slicer.util.loadVolume(str(tmp_path / "nothing.nrrd"), {})
    with pytest.raises(RuntimeError, match="strange.xyz"):
        slicer.util.loadNodeFromFile(str(tmp_path / "strange.xyz"), None, {})


def test_the_longest_extension_wins(app):
    file_type = app.coreIOManager().fileType
    assert file_type("a.nrrd") == "VolumeFile"
    assert file_type("a.SEG.nrrd") == "SegmentationFile"
    assert file_type("a.seq.nrrd") == "SequenceFile"
    assert file_type("a.mrk.json") == "MarkupsFile"
    assert file_type("a.mrb") == "SceneFile"
    assert file_type("a.unknown") == "NoFile"


# ---- layout and slice views ----------------------------------------------------------------------------------------
def test_slice_views_show_what_slicer_util_sets(app, volume):
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    view = app.layoutManager().sliceWidget("Red").sliceView()
    view.resize(200, 200)
    view.fitSliceToBackground()
    image = view.image()
    center = view.xy((-20.0, -15.0, 0.0))  # the bright square's middle, RAS
    assert image.shape == (200, 200, 3)
    assert image[199 - center[1], center[0]].tolist() == [255, 255, 255]
    assert image[2, 2].sum() < image[199 - center[1], center[0]].sum()
    assert app.layoutManager().sliceViewNames() == ("Red", "Green", "Yellow")


def test_a_dragged_point_lands_under_the_mouse(app, volume):
    view = app.layoutManager().sliceWidget("Red").sliceView()
    view.resize(300, 300)
    view.show(volume)
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "P")
    points.CreateDefaultDisplayNodes()
    points.AddControlPointWorld(vtk.vtkVector3d(-20, -15, view.logic.GetSliceOffset()), "corner")
    ended = []
    points.AddObserver(points.PointEndInteractionEvent, lambda *_: ended.append(1))
    view.image()
    start = view.xy(points.GetNthControlPointPositionWorld(0))
    view.drag(start, (start[0] + 30, start[1] + 12))
    position = points.GetNthControlPointPositionWorld(0)
    expected = view.node.GetXYToRAS().MultiplyPoint((start[0] + 30, start[1] + 12, 0, 1))
    assert np.allclose(list(position)[:2], expected[:2], atol=0.4)
    assert ended == [1]


def test_the_wheel_changes_the_slice(app, volume):
    view = app.layoutManager().sliceWidget("Red").sliceView()
    view.show(volume)
    view.image()
    before = view.logic.GetSliceOffset()
    view.wheel(1)
    assert abs(view.logic.GetSliceOffset() - before) == pytest.approx(2)


def test_layouts_make_plot_and_table_views(app, scene):
    layout = app.layoutManager()
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView)
    assert layout.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView
    assert layout.plotViewCount == layout.tableViewCount == 1
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "T")
    slicer.util.updateTableFromArray(table, np.array([[1.0, 2.0]]), ["a", "b"])
    layout.tableWidget(0).mrmlTableViewNode().SetTableNodeID(table.GetID())
    assert layout.tableWidget(0).tableView().mrmlTableNode() is table


# ---- widgets -------------------------------------------------------------------------------------------------------
@pytest.fixture
def chart(scene):
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Grades")
    slicer.util.updateTableFromArray(table, np.array([[1.0, 2], [2, 4], [3, 3]]), ["slice", "grade"])
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "Grade")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("slice")
    series.SetYColumnName("grade")
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetColor(1, 0, 0)
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Chart")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Grades")
    return chart


def test_a_chart_is_drawn_and_its_points_can_be_clicked(app, chart):
    from PySide6 import QtCore, QtTest

    slicer.modules.plots.logic().ShowChartInLayout(chart)
    view = app.layoutManager().plotWidget(0).plotView()
    view.resize(400, 300)
    selected = []
    view.connect("dataSelected(vtkStringArray*,vtkCollection*)", lambda ids, data: selected.append((ids, data)))
    point = view.pointPixel(0, 1)
    color = view.grab().toImage().pixelColor(point)
    assert (color.red() > 200, color.green() < 100) == (True, True)
    QtTest.QTest.mouseClick(view, QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, point)
    ids, data = selected[0]
    assert ids.GetValue(0) == chart.GetNthPlotSeriesNodeID(0)
    assert data.GetItemAsObject(0).GetValue(0) == 1
    beside = (view, QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, QtCore.QPoint(2, 2))
    QtTest.QTest.mouseClick(*beside)
    assert selected[1] == (ids, data)  # still selected
    view.RemovePlotSelections()
    QtTest.QTest.mouseClick(*beside)
    assert selected[2][1].GetNumberOfItems() == 0


def test_the_node_selector_lists_fitting_nodes(scene):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    seen = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    first = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "one")
    scene.AddNewNodeByClass("vtkMRMLModelNode", "other")
    second = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "two")
    assert (selector.nodeCount(), selector.currentNode(), seen) == (2, first, [first])
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 1
    selector.showChildNodeTypes = True
    selector.currentNodeID = second.GetID()
    second.SetName("renamed")
    assert "renamed" in [selector.nodeFromIndex(index).GetName() for index in range(2)]
    scene.RemoveNode(second)
    assert selector.currentNode() is first
    selector.addAttribute("vtkMRMLScalarVolumeNode", "SpineMotionTools.Kind", "scan")
    assert selector.nodeCount() == 0
    assert selector.addNode().GetAttribute("SpineMotionTools.Kind") == "scan"
    with pytest.raises(AttributeError):
        selector.setNodeTypes(["vtkMRMLNode"])  # neither a slot nor invokable in C++


def test_the_table_view_shows_names_as_headers_when_told(scene):
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "T")
    slicer.util.updateTableFromArray(table, np.array([[1.5, 2.0], [3.0, 4.0]]), ["a", "b"])
    view = slicer.qMRMLTableView()
    view.setMRMLScene(scene)
    view.setMRMLTableNode(table)
    assert [view.model().index(row, 0).data() for row in range(3)] == ["a", "1.5", "3"]
    table.SetUseColumnTitleAsColumnHeader(True)
    assert view.model().rowCount() == 2
    changes = []
    view.connect("selectionChanged()", lambda: changes.append(view.currentIndex().row()))
    view.selectRow(1)
    assert changes
    assert view.tableModel().mrmlTableRowIndex(view.model().mapToSource(view.model().index(1, 0))) == 1


def test_the_segments_table_lists_segments(scene):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    segmentation.CreateDefaultDisplayNodes()
    view = slicer.qMRMLSegmentsTableView()
    view.setMRMLScene(scene)
    view.setSegmentationNode(segmentation)
    for name in ("L1", "L2"):
        segmentation.GetSegmentation().AddEmptySegment(name, name, [0.8, 0.7, 0.4])
    assert (view.segmentCount, view.displayedSegmentIDs()) == (2, ("L1", "L2"))
    view.setSelectedSegmentIDs(["L2"])
    assert view.selectedSegmentIDs() == ("L2",)


def test_point_lists_and_place_mode(app, scene):
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "P")
    widget = slicer.qSlicerSimpleMarkupsWidget()
    widget.setMRMLScene(scene)
    widget.setCurrentNode(points)
    points.AddControlPoint(vtk.vtkVector3d(1, 2, 3), "L1")
    assert [widget.tableWidget().item(0, column).text() for column in range(4)] == ["L1", "1.000", "2.000", "3.000"]
    place, modes = widget.markupsPlaceWidget(), []
    place.connect("activeMarkupsPlaceModeChanged(bool)", modes.append)
    place.placeModeEnabled = True
    assert (place.placeModeEnabled, modes[-1]) == (True, True)
    place.setPlaceModeEnabled(False)
    assert modes[-1] is False


def test_sequences_are_followed(scene):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Walk")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for index in range(3):
        node = slicer.vtkMRMLTextNode()
        node.SetText(str(index))
        sequence.SetDataNodeAtValue(node, f"{index / 2:.1f}")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "B")
    browser.AddSynchronizedSequenceNode(sequence)
    seek, play = slicer.qMRMLSequenceBrowserSeekWidget(), slicer.qMRMLSequenceBrowserPlayWidget()
    seek.setMRMLSequenceBrowserNode(browser)
    play.setMRMLSequenceBrowserNode(browser)
    seek.setSelectedItemNumber(1)
    play.onVcrNext()
    assert (seek.slider().value, browser.GetProxyNode(sequence).GetText()) == (2, "2")


def test_subject_hierarchy_tree(scene):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "V")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Case 1")
    item = hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(folder, volume)
    hierarchy.SetItemParent(item, folder)
    tree = slicer.qMRMLSubjectHierarchyTreeView()
    tree.setMRMLScene(scene)
    tree.setCurrentNode(volume)
    assert (tree.currentItem(), tree.displayedItemCount()) == (item, 2)
    tree.nodeTypes = ["vtkMRMLModelNode"]
    assert tree.displayedItemCount() == 0


def test_values_of_the_ctk_widgets(app, errors, tmp_path):
    import ctk
    import qt

    slider, across, folder = ctk.ctkSliderWidget(), ctk.ctkRangeWidget(), ctk.ctkDirectoryButton()
    changes = []
    slider.connect("valueChanged(double)", changes.append)
    slider.maximum, slider.decimals = 200, 1
    slider.value = 150.31
    assert (slider.value, changes) == (150.3, [150.3])
    across.minimum, across.maximum = -5, 5
    across.setValues(-2, 3)
    assert (across.minimumValue, across.maximumValue) == (-2, 3)
    app.dialogs.answer(str(tmp_path))
    folder.browse()
    assert folder.directory == str(tmp_path)
    box = ctk.ctkCheckableComboBox()
    box.addItems(["a", "b"])
    box.setCheckState(box.model().index(1, 0), qt.Qt.Checked)
    assert ([index.data() for index in box.checkedIndexes()], box.allChecked()) == (["b"], False)
    with pytest.raises(AttributeError):
        slider.Maximum = 3


def test_sections_hide_and_show_only_what_was_shown(app):
    import ctk
    import qt

    for section in (ctk.ctkCollapsibleButton("Advanced"), ctk.ctkCollapsibleGroupBox("Advanced")):
        layout, states = qt.QVBoxLayout(section), []
        shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
        layout.addWidget(shown)
        layout.addWidget(hidden)
        hidden.hide()
        section.show()
        section.toggled.connect(states.append)
        section.collapsed = True
        assert not shown.visible
        section.collapsed = False
        assert (shown.visible, hidden.visible, states) == (True, False, [False, True])
        section.grab()
        section.close()


def test_unknown_widgets_and_properties_in_ui_files_are_refused(app, tmp_path, errors):
    ui = '<ui version="4.0"><widget class="{}" name="top">{}</widget></ui>'
    (tmp_path / "a.ui").write_text(ui.format("qMRMLUnknownWidget", ""), encoding="utf-8")
    (tmp_path / "b.ui").write_text(
        ui.format("ctkSliderWidget", '<property name="maximun"><double>3</double></property>'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="no property 'maximun'"):
        slicer.util.loadUI(str(tmp_path / "b.ui"))
    with pytest.raises(RuntimeError):
        slicer.util.loadUI(str(tmp_path / "a.ui"))
    app.uncaught.clear()


def test_a_table_view_keeps_cells_and_selection_when_numbers_change(app, scene):
    """As Slicer's: only another table, or fewer rows, may take the selection away."""
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    slicer.util.updateTableFromArray(table, np.zeros((3, 1)), ["a"])
    table.SetUseColumnTitleAsColumnHeader(True)
    view, heard = slicer.qMRMLTableView(), []
    view.connect("selectionChanged()", lambda: heard.append(1))
    view.setMRMLTableNode(table)
    assert heard == [1]  # Slicer tells of a new table by this signal, too
    view.selectRow(2)
    table.SetCellText(2, 0, "7")
    assert view.currentIndex().row() == 2
    assert view.model().index(2, 0).data() == "7"

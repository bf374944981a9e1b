"""Export DICOM... in the three panels: the terminal's files, Slicer's DICOM database, and refusals as sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from SpineMotionToolsLib.common.volumes import Volume
from SpineMotionToolsLib.spinenet import dicom as spine_dicom

from Testing import keypoint_samples, motion_samples
from Testing.dicom_samples import write_classic, write_radiograph
from Testing.spinenet_samples import made_spine, made_volume

pytestmark = pytest.mark.panel
VOLATILE = ("UID", "Date", "Time")


class Database:
    """What a panel asks Slicer's DICOM database; `indexed` are the files that were added."""

    isOpen = True

    def __init__(self, files):
        self.files = {str(pydicom.dcmread(file).SOPInstanceUID): str(file) for file in files}
        self.indexed = []

    def fileForInstance(self, instance):
        return self.files.get(instance, "")

    def instanceValue(self, instance, tag):
        return ""


@pytest.fixture
def as_loaded(monkeypatch):
    """Make a volume node look as if Slicer had loaded it from DICOM files; returns the database."""

    def mark(node, files) -> Database:
        import ctk
        import slicer

        database = Database(files)

        class Indexer:
            def addFile(self, database, path):
                database.indexed.append(Path(path).name)

        monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
        monkeypatch.setattr(ctk, "ctkDICOMIndexer", Indexer, raising=False)
        node.SetAttribute("DICOM.instanceUIDs", " ".join(database.files))
        return database

    return mark


def export(host, app, folder: Path) -> list[Path]:
    app.dialogs.answer(str(folder))
    host.click("exportDicomButton")
    return sorted(folder.glob("*.dcm"))


def plain(dataset: pydicom.Dataset) -> list:
    """Every value but identifiers and times, in order."""
    values = []
    for element in dataset.iterall():
        if not (element.VR == "UI" or element.keyword.endswith(VOLATILE) or element.VR == "SQ"):
            values.append((element.keyword, element.value))
    return values


@pytest.fixture
def spine_host(open_module, scene, tmp_path):
    """The SpineNet panel with a spine that was read from an oblique DICOM series with slices from right to left."""
    from SpineMotionToolsLib.scene import spinenet

    host = open_module("SpineNetModule")
    volume = made_volume((4.0, 2.0, 2.0), signs=(-1, -1, -1))
    files = write_classic(tmp_path / "in", volume)
    node = spinenet.add_scan(scene, volume)
    host.widget._parameterNode.inputVolume = node
    spine = made_spine(volume)
    vertebrae = spine.vertebrae[-3:]
    discs = tuple(replace(d, upper=d.upper - 4, lower=d.lower - 4) for d in spine.discs[-2:])
    spine = replace(spine, vertebrae=vertebrae, discs=discs, measurements=None)
    host.logic._showReading(host.widget._parameterNode, node, spine, "spinenet-starter")
    host.widget._updateControls()
    return host, node, files, spine


def test_spine_panel_writes_what_the_terminal_writes(spine_host, app, as_loaded, tmp_path):
    import slicer

    host, node, files, spine = spine_host
    database = as_loaded(node, files[::-1])
    (tmp_path / "out").mkdir()
    report, segmentation = export(host, app, tmp_path / "out")
    assert database.indexed == [segmentation.name, report.name]
    assert "Scan" not in segmentation.name
    want = spine_dicom.write_dicom(spine, spine_dicom.find_source(tmp_path / "in"), tmp_path / "terminal")
    for ours, theirs in zip((segmentation, report), want, strict=True):
        assert plain(pydicom.dcmread(ours)) == plain(pydicom.dcmread(theirs))
    # The scene shows the same voxels.
    written = hd.seg.segread(segmentation)
    shown = host.widget._parameterNode.segmentation
    for number, item in enumerate(written.SegmentSequence, start=1):
        segment_id = shown.GetSegmentation().GetSegmentIdBySegmentName(item.SegmentLabel)
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(shown, segment_id, node) > 0
        uids = [str(pydicom.dcmread(file).SOPInstanceUID) for file in files]
        pixels = written.get_pixels_by_source_instance(uids, segment_numbers=[number], ignore_spatial_locations=True)
        assert np.array_equal(pixels[..., 0] > 0, voxels)


def test_a_volume_from_another_file_is_refused_with_the_next_step(spine_host, app, tmp_path):
    host, node, _, _ = spine_host
    (tmp_path / "out").mkdir()
    assert export(host, app, tmp_path / "out") == []
    (text,) = app.dialogs.texts("error")
    assert "was not loaded from DICOM" in text
    assert "Import its DICOM files in the DICOM module" in text


def test_files_that_left_the_database_are_told(spine_host, app, as_loaded, tmp_path):
    host, node, files, _ = spine_host
    as_loaded(node, files)
    files[3].unlink()
    (tmp_path / "out").mkdir()
    assert export(host, app, tmp_path / "out") == []
    assert "no longer in the DICOM database" in app.dialogs.texts("error")[0]


def test_motion_panel_writes_a_report(open_module, scene, app, as_loaded, tmp_path):
    from SpineMotionToolsLib.scene import motion

    host = open_module("MotionScore")
    result = motion_samples.random_result()
    volume = Volume(np.zeros((24, 80, 96), np.uint16), result.scan.ijk_to_ras)
    node = motion.add_scan(scene, volume.array, volume.ijk_to_ras, "Scan", "native", None)
    host.widget._parameterNode.inputVolume = node
    assert not host.ui.exportDicomButton.enabled
    host.logic._show(host.widget._parameterNode, node, result)
    host.widget._updateControls()
    database = as_loaded(node, write_classic(tmp_path / "in", volume, "CT"))
    (tmp_path / "out").mkdir()
    (report,) = export(host, app, tmp_path / "out")
    assert database.indexed == [report.name]
    assert "Motion grades (starter model)" in str(pydicom.dcmread(report).SeriesDescription)


def test_keypoint_panel_draws_the_curves_on_the_file(open_module, scene, app, as_loaded, tmp_path):
    from Testing.test_panel_keypoints import MadeNetwork, apply
    from Testing.test_scene_keypoints import add_volume

    host = open_module("KeypointModule")
    host.logic._network = MadeNetwork()
    picture = keypoint_samples.picture((900, 380))
    node = add_volume(picture[None])
    host.widget._parameterNode.inputVolume = node
    session = apply(host)
    files = [write_radiograph(tmp_path / "cr.dcm", picture)]
    database = as_loaded(node, files)
    session.session.accept()
    app.applicationLogic().GetUserInformation().SetName("Doe^Jane")
    (tmp_path / "out").mkdir()
    (report,) = export(host, app, tmp_path / "out")
    assert database.indexed == [report.name]
    found = hd.sr.MeasurementReport.from_sequence([hd.sr.srread(report)])
    cobb = found.get_image_measurement_groups()[0].get_measurements()[0]
    reading = session.reading
    curve = (reading.curves or [reading.main_curve])[0]
    corner = reading.points_px[4 * curve.upper]
    ras = session.picture.to_ras(node, corner[None])[0]
    ijk = np.linalg.inv(_matrix(node)) @ [*ras, 1.0]
    assert cobb.referenced_coordinates[0].value[0] == pytest.approx(ijk[:2] + 0.5, abs=1e-3)
    names = [str(o.observer_identifying_attributes.name) for o in found.get_observer_contexts()[:1]]
    assert names == ["Doe^Jane"]


def _matrix(node):
    from SpineMotionToolsLib.scene import nodes

    return nodes.ijk_to_ras(node)

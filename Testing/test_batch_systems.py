"""A batch of the real systems: the cases they find, scenes that the modules show as their own, the terminal."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from SpineMotionToolsLib.batch import run, systems
from SpineMotionToolsLib.batch.journal import DONE, FAILED
from SpineMotionToolsLib.common.errors import InputError

from Testing.packaging_lists import REPOSITORY

AIM = REPOSITORY / "MotionScore" / "Resources" / "Data" / "phantom.AIM"


# ---- scenes ----------------------------------------------------------------------------------------------------------
@pytest.mark.scene
def test_scenes_of_motion_and_keypoints_open_as_the_modules_own(tmp_path, open_module):
    """Scan, result, table and drawings; the panels show the batch's result without another run."""
    pytest.importorskip("torch")
    slicer = pytest.importorskip("slicer")
    from SpineMotionToolsLib.phantoms.radiograph import radiograph_phantom
    from SpineMotionToolsLib.phantoms.spine_shape import load_model

    from Testing.dicom_samples import write_radiograph

    (tmp_path / "motion").mkdir()
    (tmp_path / "keypoints").mkdir()
    shutil.copy(AIM, tmp_path / "motion" / "scan.AIM")
    shape = load_model().sample(np.random.default_rng(5), 0.9)
    picture = radiograph_phantom(shape, 5, (600, round(600 * shape.aspect)), implants=False).image
    wide = np.pad(picture, ((0, 0), (150, 250)))
    write_radiograph(tmp_path / "keypoints" / "spine.dcm", wide, PixelSpacing=[0.4, 0.4])
    rows = {}
    for task, options in (("motion", {"stack_height": 4}), ("keypoints", {})):
        out = tmp_path / f"{task} out"
        (rows[task],) = run.run_batch(task, tmp_path / task, out, {**options, "threads": 1})
        assert rows[task].scene, rows[task]
        slicer.util.loadScene(str(out / rows[task].scene))  # both into one scene, as a user may do
    hosts = {"motion": open_module("MotionScore"), "keypoints": open_module("KeypointModule")}
    for task, name in (("motion", "scan"), ("keypoints", "spine")):
        host = hosts[task]
        host.enter()
        host.widget._parameterNode.inputVolume = slicer.util.getNode(name)
        host.process()
    grade = rows["motion"].values["grade"]
    assert f"Grade {grade}" in hosts["motion"].ui.gradeLabel.text
    assert f"{rows['keypoints'].values['largest_cobb_deg']:.0f}°" in hosts["keypoints"].ui.curveLabel.text
    assert "another picture" not in hosts["keypoints"].ui.pictureLabel.text
    assert "patient's right is on the picture's left" in hosts["keypoints"].ui.pictureLabel.text  # told by the file
    warnings = " ".join(hosts["keypoints"].widget.session().reading.warnings)
    assert "Lengths were calibrated by the device" in warnings
    assert "chosen automatically" in warnings
    assert "measured at the detector" not in warnings
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(slicer.util.getNode("scan")))
    assert hierarchy.GetItemName(folder) == "scan"


@pytest.mark.scene
def test_the_scene_of_a_dicom_spine_opens_with_everything_in_its_place(tmp_path, open_module, monkeypatch):
    """Names, geometry, references; the panel takes it over, and DICOM results refer to the images it came from."""
    slicer = pytest.importorskip("slicer")
    import pydicom
    import vtk
    from SpineMotionToolsLib.common.geometry import ras_to_ijk
    from SpineMotionToolsLib.scene import nodes, spinenet, terminology
    from SpineMotionToolsLib.spinenet import pipeline

    from Testing.dicom_samples import write_classic
    from Testing.spinenet_samples import LEVELS, made_spine, made_volume

    volume = made_volume((4.0, 2.0, 2.0), signs=(-1, -1, -1))  # slices from right to left
    files = write_classic(tmp_path / "in" / "Case é", volume)
    spine = made_spine(volume)
    monkeypatch.setattr(pipeline, "read", lambda *arguments, **options: spine)
    (row,) = run.run_batch("spine", tmp_path / "in", tmp_path / "out", {"threads": 1}, dicom=True)
    assert (row.status, row.values["vertebrae"]) == (DONE, len(LEVELS))
    assert [path.rsplit("/", 1)[1] for path in row.dicom] == ["spine-segmentation.dcm", "spine-report.dcm"]

    slicer.util.loadScene(str(tmp_path / "out" / row.scene))
    scan = slicer.util.getNode(row.case)
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode")]
    tables = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLTableNode")]
    for words in ("spine", "vertebrae", "vertebral corners"):
        assert names.count(f"{row.case} {words}") == 1
    for words in ("disc grades", "disc measurements", "body measurements", "sagittal angles"):
        assert tables.count(f"{row.case} {words}") == 1
    flip = np.diag([1.0, 1.0, -1.0, 1.0])  # slices are sorted along their normal, as Slicer does
    flip[2, 3] = len(volume.array) - 1
    assert nodes.ijk_to_ras(scan) == pytest.approx(volume.ijk_to_ras @ flip, abs=1e-4)
    assert np.array_equal(slicer.util.arrayFromVolume(scan)[::-1], volume.array)
    uids = [str(pydicom.dcmread(file).SOPInstanceUID) for file in files]
    assert sorted(scan.GetAttribute("DICOM.instanceUIDs").split()) == sorted(uids)

    found = spinenet.find_spine(slicer.mrmlScene, scan)
    assert spinenet.spine_of(found.result).labels == list(LEVELS)
    assert nodes.attribute(found.segmentation, "Provenance")["model_id"] == "spinenet-starter"
    role = found.segmentation.GetReferenceImageGeometryReferenceRole()
    assert found.segmentation.GetNodeReference(role) is scan
    segmentation = found.segmentation.GetSegmentation()
    segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    assert [each.GetName() for each in segments][:3] == ["T12", "T12-L1 disc", "L1"]
    for number, label in enumerate(LEVELS):
        place = np.array(found.centers.GetNthControlPointPosition(number))
        assert found.centers.GetNthControlPointLabel(number) == label
        assert place == pytest.approx(spine.find(label).center_ras, abs=1e-3)
        i, j, k = np.rint(ras_to_ijk(nodes.ijk_to_ras(scan), place[None])[0]).astype(int)
        one = segmentation.GetSegmentIdBySegmentName(label)
        assert slicer.util.arrayFromSegmentBinaryLabelmap(found.segmentation, one, scan)[k, j, i]
    entry = vtk.reference("")
    segments[1].GetTag(segments[1].GetTerminologyEntryTagName(), entry)
    assert str(entry) == terminology.disc_entry("T12-L1")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folders = {
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in (scan, found.segmentation, found.grades)
    }
    assert [hierarchy.GetItemName(folder) for folder in folders] == [row.case]

    host = open_module("SpineNetModule")
    host.enter()
    host.widget._parameterNode.inputVolume = scan
    host.process()
    assert "T12 to S1" in host.ui.summaryLabel.text
    assert host.ui.exportDicomButton.enabled


def test_series_below_a_folder_are_scans_to_grade(tmp_path):
    from Testing.dicom_samples import write_classic
    from Testing.spinenet_samples import made_volume

    write_classic(tmp_path / "a" / "series", made_volume((8.0, 8.0, 8.0)), "CT")
    shutil.copy(AIM, tmp_path / "a" / "scan.AIM")
    (tmp_path / "b").mkdir()
    found = systems.Motion.find(tmp_path)
    assert [(name, path.relative_to(tmp_path).as_posix()) for name, path in found] == [
        ("scan", "a/scan.AIM"),
        ("series", "a/series"),
    ]


def test_radiographs_of_studies_in_sub_folders_are_cases(tmp_path):
    from Testing.dicom_samples import write_classic, write_radiograph
    from Testing.spinenet_samples import made_volume

    write_classic(tmp_path / "p1" / "mr", made_volume((8.0, 8.0, 8.0)))
    write_radiograph(tmp_path / "p1" / "xr" / "IM1", np.zeros((8, 8)))
    write_radiograph(tmp_path / "p2" / "xr" / "IM1", np.zeros((8, 8)))
    (tmp_path / "p2" / "picture.png").touch()  # may be a result
    found = systems.Keypoints.find(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for _, path in found] == ["p1/xr/IM1", "p2/xr/IM1"]
    shutil.rmtree(tmp_path / "p1" / "xr")
    with pytest.raises(InputError, match="No radiographs were found"):
        systems.Keypoints.find(tmp_path / "p1")


def test_the_terminal_tells_which_cases_are_not_dicom(tmp_path, capsys):
    pytest.importorskip("torch")
    from SpineMotionToolsLib.cli import main

    shutil.copy(AIM, tmp_path / "scan.AIM")
    options = ["--out", str(tmp_path / "out"), "--no-scenes", "--stack-height", "4", "--dicom"]
    assert main(["batch", "motion", str(tmp_path / "scan.AIM"), *options]) == 3
    told = capsys.readouterr().out
    assert "scan: grade" in told
    assert "scan: No DICOM results were written. scan.AIM is not DICOM" in told


def test_the_terminal_runs_a_batch_and_lists_what_failed(tmp_path, capsys):
    pytest.importorskip("torch")
    from SpineMotionToolsLib.cli import main

    (tmp_path / "broken.AIM").write_bytes(b"AIMDATA_V030   " + bytes(40))
    out = tmp_path / "out"
    assert main(["batch", "motion", str(tmp_path), "--out", str(out), "--no-scenes"]) == 3
    assert "broken: " in capsys.readouterr().out
    assert json.loads((out / "batch.json").read_text(encoding="utf-8"))["rows"][0]["status"] == FAILED

"""From scan to result with networks that know the truth: positions, labels, grades, edits, files, tasks."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from SpineMotionToolsLib import cli
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError, OutputError, WeightsError
from SpineMotionToolsLib.spinenet import batch, editing, export, pictures, pipeline, report
from SpineMotionToolsLib.spinenet.departures import FAITHFUL, RECOMMENDED
from SpineMotionToolsLib.spinenet.detection_targets import make_targets, scan_to_patch
from SpineMotionToolsLib.spinenet.grades import HEADS
from SpineMotionToolsLib.spinenet.models import Models
from SpineMotionToolsLib.spinenet.numbering import Numbering
from SpineMotionToolsLib.spinenet.patches import split
from SpineMotionToolsLib.spinenet.results import Spine
from SpineMotionToolsLib.spinenet.scans import Scan
from torch import nn

SHAPE, SPACING = (260, 240, 4), 1.2
LABELS = ["L2", "L3", "L4", "L5", "S1"]


def true_corners() -> np.ndarray:
    """(bodies, 4, 2) corners in scan pixels, the same in every slice."""
    centres = np.stack([120 + 8 * np.sin(np.arange(5)), 50.3 + 37.7 * np.arange(5)], axis=1)
    box = np.array([[14, -10], [14, 10], [-14, 10], [-14, -10]], dtype=float)
    return centres[:, None] + box


class Detector(nn.Module):
    """Answers with the perfect maps of each patch, in the order in which the pipeline asks."""

    def __init__(self, slices_with_bodies: range = range(4), hidden_body: int | None = None) -> None:
        super().__init__()
        self.asked, self.shown, self.hidden = 0, slices_with_bodies, hidden_body
        self.windows = list(dict.fromkeys(split(SHAPE, SPACING)))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        maps = []
        for _ in patches:
            number, place = divmod(self.asked, len(self.windows))
            self.asked += 1
            bounds = self.windows[place].bounds(*SHAPE[:2])
            corners = true_corners() if number in self.shown else np.zeros((0, 4, 2))
            if self.hidden is not None:
                corners = np.delete(corners, self.hidden, axis=0)
            maps.append(make_targets(scan_to_patch(corners.reshape(-1, 2), bounds).reshape(-1, 4, 2)))
        return torch.from_numpy(np.array(maps))


class Appearance(nn.Module):
    """The i-th volume is the i-th body from the top."""

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(volumes), 24)
        logits[torch.arange(len(volumes)), 4 - torch.arange(len(volumes))] = 60.0
        return logits


class Context(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 100 * image


class Grading(nn.Module):
    calls = 0

    def forward(self, discs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        Grading.calls += len(discs)
        return tuple(torch.arange(head.classes).float().expand(len(discs), -1) for head in HEADS)


def oracle(departures=RECOMMENDED, shown: range = range(4)) -> Models:
    networks = {"detection": Detector(shown), "appearance": Appearance(), "context": Context(), "grading": Grading()}
    return Models(networks, "oracle", departures=departures, notices=("A notice.",))


def made_scan() -> Scan:
    """Bright bodies, darker discs, bright fluid behind them."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = 60.0 + 10 * np.sin(rows / 7) * np.cos(columns / 9)
    image[:, 140:152] = 900
    for corners in true_corners():
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        image[(rows > y0) & (rows < y1) & (columns > x0) & (columns < x1)] = 300
    return Scan.from_array(np.repeat(image[..., None], SHAPE[2], axis=2), SPACING, 4.0, "made")


@pytest.fixture(scope="module")
def spine() -> Spine:
    return pipeline.read(made_scan(), oracle(), Engine("cpu"))


def test_reads_positions_labels_and_grades(spine):
    assert spine.labels == LABELS
    assert all(v.slices == (0, 1, 2, 3) for v in spine.vertebrae)
    found = np.array([v.middle_polygon_px for v in spine.vertebrae])
    assert np.abs(found - true_corners()).max() < 0.15
    assert [d.level for d in spine.discs] == ["L2-L3", "L3-L4", "L4-L5", "L5-S1"]
    assert all(d.grade("Pfirrmann").value == 5 and d.grade("Herniation").value == 1 for d in spine.discs)
    assert all(abs(sum(g.probabilities) - 1) < 1e-9 for d in spine.discs for g in d.grades)
    assert all(v.label_probability > 0.99 for v in spine.vertebrae)
    assert spine.notices == ("A notice.",)


def test_published_rules_stay_within_a_patch_pixel():
    spine = pipeline.detect(made_scan(), oracle(FAITHFUL), Engine("cpu"))
    found = np.array([v.middle_polygon_px for v in spine.vertebrae])
    assert spine.labels == LABELS
    assert 0.15 < np.abs(found - true_corners()).max() < 2.0


def test_corners_lie_where_the_geometry_says(spine):
    vertebra = spine.vertebrae[0]
    x, y = vertebra.corners_px[0, 0]
    assert vertebra.corners_ras[0, 0] == pytest.approx([0.0, -x * SPACING, -y * SPACING])
    assert vertebra.corners_ras[3, 0, 0] == pytest.approx(12.0)  # slices go to the patient's right
    assert spine.geometry.to_pixels(vertebra.corners_ras[2, 1]) == pytest.approx([*vertebra.corners_px[2, 1], 2])


def test_a_body_found_twice_in_slices_is_graded_from_all_its_outlines(spine):
    from SpineMotionToolsLib.spinenet.discs import stack_outlines
    from SpineMotionToolsLib.spinenet.grouping import VertebraOutline

    corners = true_corners()[0]
    merged = VertebraOutline([*[corners] * 4, *[corners + 3.0] * 3], [0, 1, 2, 3, 3, 3, 3])
    body = pipeline._vertebra(merged, "L2", made_scan(), 0.9)
    assert body.slices == (0, 1, 2, 3)
    assert body.middle_slice == 3
    assert np.array_equal(body.corners_px[3], corners + 3)
    again = Spine.from_json(json.loads(json.dumps(replace(spine, vertebrae=(body,), discs=()).to_json())))
    for one in (body, again.vertebrae[0]):
        assert np.array_equal(one.average_polygon_px, merged.average)
        graded, wanted = (stack_outlines([outline], ["L2"], 4) for outline in (one.outline, merged))
        assert np.array_equal(graded.x, wanted.x)
        assert graded.middle == wanted.middle
    moved = editing.move_corner(again, 0, 3, "rt", body.corners_ras[3, 0] + [0, 1, 0])
    assert moved.vertebrae[0].outline.slices == [0, 1, 2, 3]  # what a person corrected counts as it is drawn


def test_no_vertebra_gives_an_empty_spine_with_a_warning():
    spine = pipeline.read(made_scan(), oracle(shown=range(0)), Engine("cpu"))
    assert spine.vertebrae == spine.discs == ()
    assert "No vertebra was found" in spine.warnings[0]
    assert pictures.key_picture(made_scan(), spine).width > 0
    assert Spine.from_json(json.loads(json.dumps(spine.to_json()))).labels == []


def test_a_body_hidden_by_metal_leaves_a_gap_and_a_warning():
    """An implant takes the signal of a body: the others are read, the gap is named and can be closed by hand."""
    models = replace(oracle(), sources={**oracle().sources, "detection": Detector(hidden_body=2)})
    image = made_scan().array
    image[130:160, 90:150] = 0
    read = pipeline.read(Scan.from_array(image, SPACING, 4.0), models, Engine("cpu"))
    assert len(read.vertebrae) == 4
    assert any("wide gap between" in warning for warning in read.warnings)
    old = pipeline.read(made_scan(), oracle(), Engine("cpu")).vertebrae[2]
    whole = editing.count_from(editing.add_vertebra(read, "L4", old.slices, old.corners_px), 4, "S1")
    assert whole.labels == LABELS
    assert not any("gap" in warning or "jumps" in warning for warning in whole.warnings)


def test_half_a_spine_names_the_bodies_at_the_edge(spine):
    from SpineMotionToolsLib.spinenet.checks import detection_warnings

    moved = [replace(v, corners_px=v.corners_px + (0, 47.0)) for v in spine.vertebrae]  # S1 reaches the lower edge
    found = detection_warnings(moved, spine.geometry, Numbering())
    assert any("Cut by the edge of the picture: S1; their measurements" in warning for warning in found)
    assert not any("Cut by" in warning for warning in spine.warnings)


def test_another_patients_scan_is_refused(spine, tmp_path):
    other = Scan.from_array(made_scan().array[:, :-2], SPACING, 4.0)
    moved = made_scan()
    moved.geometry.index_to_ras[:3, 3] += 5
    for scan in (other, moved):
        with pytest.raises(InputError, match="not the scan that the spine was read from"):
            pipeline.grade(scan, spine, oracle(), Engine("cpu"), again=True)
        with pytest.raises(InputError, match="not the scan that the spine was read from"):
            pipeline.measure(spine, scan)
    assert pipeline.measure(spine, made_scan()).measurements.discs[0].signal_ratio_csf


def test_weights_of_another_part_are_refused():
    from SpineMotionToolsLib.common.weights import starter_path
    from SpineMotionToolsLib.spinenet.models import load_network

    with pytest.raises(WeightsError, match="holds another network than the context network"):
        load_network(starter_path("spinenet-detection.safetensors"), "context")


def test_the_published_file_put_there_last_is_taken(tmp_path):
    from time import sleep

    from SpineMotionToolsLib.spinenet.models import published_models
    from SpineMotionToolsLib.spinenet.published_weights import FOLDERS

    for folder in FOLDERS.values():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ckpt9.pt").touch()
    sleep(0.05)
    for folder in FOLDERS.values():
        for name in ("ckpt1.pt", "._ckpt1.pt", "ckpt1.encrypted.pt"):
            (tmp_path / folder / name).touch()
        os.utime(tmp_path / folder / "ckpt1.pt", (0, 0))  # as unpacking does, which keeps the file's old date
    assert {path.name for path in published_models(tmp_path).sources.values()} == {"ckpt1.pt"}


def test_a_body_in_one_slice_is_dropped_unless_wanted():
    only = oracle(shown=range(1, 2))
    assert pipeline.detect(made_scan(), only, Engine("cpu")).labels == []
    keep = pipeline.Options(remove_single_slice_detections=False)
    assert pipeline.detect(made_scan(), oracle(shown=range(1, 2)), Engine("cpu"), keep).labels == LABELS


def test_json_round_trip_keeps_everything(spine):
    text = json.dumps(spine.to_json())
    again = Spine.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert again.vertebrae[1].same_outline(spine.vertebrae[1])


def test_a_set_without_a_network_says_so():
    with pytest.raises(WeightsError, match="no grading network"):
        Models({}).network("grading")


def test_progress_runs_to_the_end_and_can_stop():
    seen = []
    pipeline.read(made_scan(), oracle(), Engine("cpu"), progress=lambda done, of, text: seen.append(done / of))
    assert seen == sorted(seen)
    assert seen[-1] == 1

    def stop(done, of, text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.detect(made_scan(), oracle(), Engine("cpu"), progress=stop)


# ----- corrections


def test_shift_rename_and_count_keep_grades(spine):
    shifted = editing.shift_labels(spine, -1)
    assert shifted.labels == ["L1", "L2", "L3", "L4", "L5"]
    assert shifted.is_graded
    assert shifted.discs[0].level == "L1-L2"
    six = editing.count_from(spine, 4, "S1", Numbering(lumbar=6))
    assert six.labels == ["L3", "L4", "L5", "L6", "S1"]
    assert all(d.neighbours for d in six.discs)
    four = editing.count_from(spine, 4, "S1", Numbering(lumbar=4))
    assert four.labels == ["L1", "L2", "L3", "L4", "S1"]
    named = editing.rename(spine, 0, "T12")
    assert not named.discs[0].neighbours
    assert named.vertebrae[0].label_probability is None
    assert editing.edits_of(named) == ["renamed L2 to T12"]
    assert editing.edits_of(spine) == []  # the old spine is undo


def test_only_changed_discs_are_graded_again(spine):
    target = spine.vertebrae[2].corners_ras[1, 0] + [0, -2.0, 0]
    moved = editing.move_corner(spine, 2, 1, "rt", target)
    assert [d.grades is None for d in moved.discs] == [False, True, True, False]
    assert moved.vertebrae[2].corners_ras[1, 0] == pytest.approx(target)
    assert moved.vertebrae[2].source == "corrected"
    before = Grading.calls
    graded = pipeline.grade(made_scan(), moved, oracle(), Engine("cpu"))
    assert Grading.calls - before == 2
    assert graded.is_graded


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"lowest": "L5"}, ["L1", "L2", "L3", "L4", "L5"]),
        ({"highest": "T12"}, ["T12", "L1", "L2", "L3", "L4"]),
        ({"numbering": Numbering(lumbar=6)}, ["L3", "L4", "L5", "L6", "S1"]),
        ({"numbering": Numbering(lumbar=4), "highest": "T12"}, ["T12", "L1", "L2", "L3", "L4"]),
    ],
)
def test_labels_are_counted_from_what_the_user_knows(options, labels):
    counted = pipeline.read(made_scan(), oracle(), Engine("cpu"), pipeline.Options(**options))
    assert counted.labels == labels
    assert counted.is_graded
    assert not any("jumps" in warning for warning in counted.warnings)
    assert editing.edits_of(counted)  # the provenance tells where the labels come from
    by_a_person = "numbering" not in options or "highest" in options
    assert [v.label_probability is None for v in counted.vertebrae].count(True) == (5 if by_a_person else 4)
    assert not any("from appearance alone" in warning for warning in counted.warnings)


def test_a_count_without_sacrum_is_in_doubt_until_a_person_names_a_level(spine):
    above = editing.delete_vertebra(spine, 4)
    for counted in (above, editing.rename(above, 0, "L2"), editing.count_from(above, 3, "L5", certain=False)):
        assert any("from appearance alone" in warning for warning in counted.warnings)
    for counted in (editing.count_from(above, 3, "L5"), editing.shift_labels(above, -1)):
        assert not any("from appearance alone" in warning for warning in counted.warnings)


def test_corrections_settle_warnings_and_raise_new_ones(spine):
    named = editing.rename(spine, 1, "L2")
    assert any("Given more than once: L2" in warning for warning in named.warnings)
    assert any("Graded as one disc" in warning for warning in named.warnings)
    assert editing.rename(named, 1, "L3").warnings == spine.warnings
    assert any("No vertebra" in w for w in _without_vertebrae(spine).warnings)


def _without_vertebrae(spine: Spine) -> Spine:
    for _ in LABELS:
        spine = editing.delete_vertebra(spine, 0)
    return spine


def test_a_disc_that_cannot_be_graded_has_empty_cells_and_a_warning(spine):
    scan = made_scan()
    dark = replace(scan, array=np.where(scan.array == 300, 0, scan.array))
    failed = pipeline.grade(dark, spine, oracle(), Engine("cpu"), again=True)
    assert failed.grade_table().rows[0] == ["L2-L3", *([None] * len(HEADS))]
    assert any("Could not be graded" in warning for warning in failed.warnings)
    again = Spine.from_json(json.loads(json.dumps(failed.to_json())))
    assert again.discs == failed.discs


@pytest.mark.parametrize("slices", [(1,), (0, 1), (1, 2), (0, 1, 3), (2, 3, 4, 5), (1, 2, 3)])
def test_bodies_are_shown_in_the_slice_where_their_discs_are_graded(spine, slices):
    from SpineMotionToolsLib.spinenet.discs import stack_outlines

    vertebra = replace(spine.vertebrae[0], slices=slices, corners_px=np.repeat(true_corners()[:1], len(slices), axis=0))
    graded_in = stack_outlines([vertebra.outline], ["L2"], 6).middle[0]
    assert vertebra.middle_slice == min(slices, key=lambda number: abs(number - graded_in))


def test_delete_and_add(spine):
    fewer = editing.delete_vertebra(spine, 2)
    assert fewer.labels == ["L2", "L3", "L5", "S1"]
    assert not fewer.discs[1].neighbours
    old = spine.vertebrae[2]
    back = editing.add_vertebra(fewer, "L4", old.slices, old.corners_px)
    assert back.labels == LABELS
    assert back.vertebrae[2].source == "added"
    assert len(editing.edits_of(back)) == 2


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: editing.rename(s, 0, "L9"),
        lambda s: editing.rename(s, 17, "L1"),
        lambda s: editing.shift_labels(s, 4),
        lambda s: editing.count_from(s, 4, "C3"),
        lambda s: editing.move_corner(s, 0, 99, 0, [0, 0, 0]),
        lambda s: editing.move_corner(s, 0, 0, 0, s.vertebrae[0].corners_ras[0, 2] + [0, 1, 5]),
        lambda s: editing.add_vertebra(s, "L1", [77], s.vertebrae[0].corners_px[:1]),
        lambda s: editing.add_vertebra(s, "L1", [0], s.vertebrae[0].corners_px[:1, [0, 2, 1, 3]]),
        lambda s: editing.add_vertebra(s, "L1", [0, 0], s.vertebrae[0].corners_px[:2]),
        lambda s: Numbering(lumbar=9),
    ],
)
def test_impossible_corrections_are_refused(spine, edit):
    with pytest.raises(InputError):
        edit(spine)


# ----- files and tasks


def test_label_map_has_bodies_and_discs_where_they_are(spine):
    labels, names = export.label_map(spine)
    assert [n for n, _ in names] == ["L2-L3 disc", "L3-L4 disc", "L4-L5 disc", "L5-S1 disc", *LABELS]
    x, y = true_corners()[3].mean(axis=0).round().astype(int)
    assert labels[1, y, x] == [n for n, _ in names].index("L5") + 1


def test_written_case_opens_again(spine, tmp_path):
    import SimpleITK as sitk

    batch.write_case(tmp_path, spine, made_scan())
    image = sitk.ReadImage(str(tmp_path / batch.SEGMENTATION_NAME))
    assert image.GetSize() == (SHAPE[1], SHAPE[0], SHAPE[2])
    assert image.GetMetaData("Segment7_Name") == "L5"
    assert "49668003" in image.GetMetaData("Segment7_Tags")
    assert image.TransformIndexToPhysicalPoint((0, 0, 3)) == pytest.approx((-12, 0, 0))  # LPS: to the right is minus
    marks = json.loads((tmp_path / batch.MARKUPS_NAME).read_text(encoding="utf-8"))["markups"]
    assert [p["label"] for p in marks[0]["controlPoints"]] == LABELS
    assert len(marks[1]["controlPoints"]) == 4 * len(LABELS)
    header = (tmp_path / "disc-measurements.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "Slip (mm)" in header
    html = (tmp_path / batch.REPORT_NAME).read_text(encoding="utf-8")
    assert "A notice." in html
    assert "L5-S1" in html


def test_report_shows_both_sides_by_the_geometry(spine):
    found = pictures.paramedian_slices(spine)  # four slices of 4 mm from the left (R = -12) to the right (R = 0)
    assert all(side == "left" for number, side, _ in found if number < pictures.middle_slice(spine))
    mirrored = np.array(spine.geometry.index_to_ras)
    mirrored[0, 2] *= -1
    turned = replace(spine, geometry=replace(spine.geometry, index_to_ras=mirrored))
    assert {(n, s) for n, s, _ in found} == {
        (n, {"left": "right", "right": "left"}[s]) for n, s, _ in pictures.paramedian_slices(turned)
    }
    thin = replace(spine.geometry, index_to_ras=spine.geometry.index_to_ras * [1, 1, 2, 1])
    assert all(distance >= 8 for _, _, distance in pictures.paramedian_slices(replace(spine, geometry=thin)))


def test_report_lists_corrections(spine):
    assert "renamed L2 to L1" in report.spine_report(editing.rename(spine, 0, "L1")).to_html()


def test_demonstration_grades_say_so_everywhere(spine, tmp_path):
    demo = replace(spine, grades_are_demonstration=True)
    batch.write_case(tmp_path / "demo", demo, made_scan())
    batch.write_case(tmp_path / "real", spine, made_scan())
    for name in ("grades.csv", "grade-probabilities.csv"):
        lines = (tmp_path / "demo" / name).read_text(encoding="utf-8").splitlines()
        assert all("no clinical meaning" in line for line in lines[1:])
        assert "clinical" not in (tmp_path / "real" / name).read_text(encoding="utf-8")
    assert "no clinical meaning" in demo.grade_table().name
    assert "no clinical meaning" in report.spine_report(demo).to_html()


def test_task_takes_voxels_and_gives_json(spine, tmp_path, monkeypatch):
    from SpineMotionToolsLib.spinenet import tasks

    monkeypatch.setattr(pipeline, "choose_models", lambda model: oracle())
    scan = made_scan()
    np.save(tmp_path / "v.npy", scan.array.transpose(2, 0, 1))
    given = {"voxels_kji": str(tmp_path / "v.npy"), "ijk_to_ras": scan.geometry.index_to_ras.tolist(), "name": "made"}
    got = tasks.read({"scan": given, "model": "", "device": "cpu"})
    json.dumps(got)
    assert Spine.from_json(got["result"]).labels == LABELS
    ungraded = editing.delete_vertebra(Spine.from_json(got["result"]), 4)
    again = tasks.grade({"scan": given, "device": "cpu", "spine": ungraded.to_json()})
    assert Spine.from_json(again["result"]).measurements is not None
    with pytest.raises(InputError, match="could not be handed over"):
        tasks.read({"scan": {**given, "voxels_kji": str(tmp_path / "none.npy")}})


def test_batch_skips_what_is_done_and_reports_what_failed(tmp_path):
    import SimpleITK as sitk

    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    scan = made_scan()
    image = sitk.GetImageFromArray(scan.array.transpose(2, 0, 1).astype(np.float32))
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    image.SetSpacing((SPACING, SPACING, 4.0))
    sitk.WriteImage(image, str(source / "good.nrrd"))
    (source / "bad.nrrd").write_text("no image", encoding="utf-8")
    cases = batch.find_cases(source)
    assert [name for name, _ in cases] == ["bad", "good"]
    rows = batch.read_cases(cases, out, oracle(), Engine("cpu"))
    assert [row["status"] for row in rows] == ["failed", "read"]
    assert "could not be read as an image" in rows[0]["remarks"]
    assert (out / "good" / batch.RESULT_NAME).exists()
    written = (out / "good" / batch.RESULT_NAME).stat().st_mtime_ns
    batch.read_cases(cases, out, oracle(), Engine("cpu"))
    assert (out / "good" / batch.RESULT_NAME).stat().st_mtime_ns == written
    rows = batch.read_cases(cases, out, oracle(), Engine("cpu"), pipeline.Options(lowest="L5"))
    assert rows[1]["levels"] == "L1 to L5"  # other options: read anew
    assert "bad,failed" in (out / batch.SUMMARY_NAME).read_text(encoding="utf-8")


def test_an_output_that_cannot_be_written_is_said_before_anything_is_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be written"):
        batch.read_cases([("a", tmp_path / "not-there.nrrd")], tmp_path / "file", oracle(), Engine("cpu"))


def test_the_terminal_shows_a_cases_warnings(tmp_path, monkeypatch, capsys):
    row = {"case": "a", "status": "read", "vertebrae": 0, "levels": "", "remarks": "No vertebra was found."}
    monkeypatch.setattr(batch, "read_cases", lambda *arguments: [row])
    (tmp_path / "a.nrrd").touch()
    assert cli.main(["spine", "read", str(tmp_path / "a.nrrd"), "--out", str(tmp_path / "out")]) == 0
    assert "note: No vertebra was found." in "".join(capsys.readouterr())


def test_find_cases_refuses_what_is_not_there(tmp_path):
    with pytest.raises(InputError):
        batch.find_cases(tmp_path / "nothing")
    with pytest.raises(InputError):
        batch.find_cases(tmp_path)

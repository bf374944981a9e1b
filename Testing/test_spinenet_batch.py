"""Many spines read into one folder: what counts as a case, what is kept, what fails, the table, the terminal."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from SpineMotionToolsLib import cli
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import Cancelled, DependencyError, InputError, OutputError, WeightsError
from SpineMotionToolsLib.common.files import safe_name, source_stamp, unique_names
from SpineMotionToolsLib.common.volumes import Volume, write_volume
from SpineMotionToolsLib.spinenet import batch, models, pipeline
from SpineMotionToolsLib.spinenet.export import write_segmentation
from SpineMotionToolsLib.spinenet.models import Models
from SpineMotionToolsLib.spinenet.results import Spine

from Testing.spinenet_samples import made_spine, made_volume
from Testing.test_spinenet_pipeline import LABELS, made_scan, oracle

MODELS = Models({}, "oracle")


def write_scan(path: Path, brightness: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scan = made_scan()
    voxels = (brightness * scan.array.transpose(2, 0, 1)).astype(np.float32)
    write_volume(path, Volume(voxels, scan.geometry.index_to_ras))
    return path


def write_slice(path: Path, head: bytes = b"DICM") -> Path:
    """A file that looks like DICOM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + head)
    return path


@pytest.fixture(scope="module")
def spine() -> Spine:
    return pipeline.read(made_scan(), oracle(), Engine("cpu"))


@pytest.fixture
def reads(spine, monkeypatch) -> list[str]:
    """Names of the scans that were read; `pipeline.read` answers at once, or raises what `faults` has for the name."""
    names: list[str] = []

    def read(scan, models, engine, options, progress):
        names.append(scan.name)
        if scan.name in faults:
            raise faults[scan.name]
        parameters = pipeline.parameters_of(options, models)
        made_by = replace(spine.provenance, model_id=models.id, model_sha256=models.sha256, parameters=parameters)
        return replace(spine, provenance=made_by)

    monkeypatch.setattr(pipeline, "read", read)
    monkeypatch.setattr(models, "choose_models", lambda model: MODELS)
    faults.clear()
    return names


faults: dict[str, BaseException] = {}


def go(source: Path, out: Path, **more) -> dict[str, dict]:
    """Rows by case."""
    rows = batch.read_cases(batch.find_cases(source, out), out, MODELS, more.pop("engine", Engine("cpu")), **more)
    return {row["case"]: row for row in rows}


def statuses(rows: dict[str, dict]) -> dict[str, str]:
    return {name: row["status"] for name, row in rows.items()}


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / batch.SUMMARY_NAME).open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def names_in(source: Path, out: Path | None = None) -> list[str]:
    return [name for name, _ in batch.find_cases(source, out)]


# ----- what is kept


def test_another_scan_of_the_same_name_is_read_again(tmp_path, reads):
    out = tmp_path / "out"
    first, second = write_scan(tmp_path / "a" / "scan.nrrd"), write_scan(tmp_path / "b" / "scan.nrrd", 2.0)
    assert statuses(go(first, out)) == {"scan": "read"}
    assert statuses(go(first, out)) == {"scan": "kept"}
    assert statuses(go(second, out)) == {"scan": "read"}
    assert table(out)["scan"]["status"] == "read"
    assert len(reads) == 2
    kept = json.loads((out / "scan" / batch.RESULT_NAME).read_text(encoding="utf-8"))["made_from"]
    assert kept == {**source_stamp(second), "series": "", "precision": "auto"}


@pytest.mark.parametrize("other", [{"series": "T2"}, {"engine": Engine("cpu", "float32")}, {"again": True}])
def test_another_series_or_precision_is_read_again(tmp_path, reads, other):
    scan = write_scan(tmp_path / "scan.nrrd")
    go(scan, tmp_path / "out")
    assert statuses(go(scan, tmp_path / "out", **other)) == {"scan": "read"}
    assert len(reads) == 2


@pytest.mark.parametrize("text", [None, "[]", "{", '{"geometry": []}'])
def test_a_result_that_does_not_say_its_source_is_read_again(tmp_path, reads, text):
    scan, result = write_scan(tmp_path / "scan.nrrd"), tmp_path / "out" / "scan" / batch.RESULT_NAME
    go(scan, tmp_path / "out")
    record = json.loads(result.read_text(encoding="utf-8"))
    del record["made_from"]
    result.write_text(json.dumps(record) if text is None else text, encoding="utf-8")
    assert statuses(go(scan, tmp_path / "out")) == {"scan": "read"}


@pytest.mark.parametrize("out", ["study", "study/out", "."])
def test_results_within_a_study_do_not_make_it_another_one(tmp_path, reads, monkeypatch, out):
    write_slice(tmp_path / "study" / "1.dcm")
    monkeypatch.setattr(batch, "read_scan", lambda path, series: replace(made_scan(), name=path.name))
    for status in ("read", "kept", "kept"):
        (row,) = go(tmp_path / "study", tmp_path / out).values()
        assert row["status"] == status
    files = {path.name for path in (tmp_path / "study").iterdir() if path.is_file()}
    assert files - {batch.SUMMARY_NAME} == {"1.dcm"}


def test_the_terminal_says_what_was_kept(tmp_path, reads, capsys):
    command = ["spine", "read", str(write_scan(tmp_path / "scan.nrrd")), "--out", str(tmp_path / "out")]
    assert cli.main(command) == 0
    assert "kept" not in capsys.readouterr().out
    assert cli.main(command) == 0
    assert "scan: 5 vertebrae L2 to S1, kept from an earlier run" in capsys.readouterr().out


def test_an_earlier_result_stays_until_there_is_another_one(tmp_path, reads):
    scan, out = write_scan(tmp_path / "scan.nrrd"), tmp_path / "out"
    go(scan, out)
    before = (out / "scan" / batch.RESULT_NAME).read_bytes()
    faults["scan"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        go(scan, out, again=True)
    faults["scan"] = MemoryError()
    (row,) = go(scan, out, again=True).values()
    assert row["status"] == batch.FAILED
    assert row["remarks"].endswith("The files in its folder are those of an earlier run.")
    assert (out / "scan" / batch.RESULT_NAME).read_bytes() == before


def test_files_of_a_case_are_new_or_none(tmp_path, spine, monkeypatch):
    batch.write_case(tmp_path, spine, made_scan())
    old = [batch.RESULT_NAME, batch.SEGMENTATION_NAME, *batch.DICOM_NAMES]
    for name in batch.DICOM_NAMES:
        (tmp_path / name).touch()

    def stop(*arguments):
        assert not [name for name in old if (tmp_path / name).exists()]
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "write_segmentation", stop)
    with pytest.raises(KeyboardInterrupt):
        batch.write_case(tmp_path, spine, made_scan())


# ----- what is a case


@pytest.mark.parametrize("loose", ["list.txt", "README", "DICOMDIR", "dicomdir"])
def test_a_loose_file_hides_no_patients(tmp_path, loose):
    for patient in ("p1", "p2"):
        write_slice(tmp_path / "in" / patient / "1.dcm")
    write_slice(tmp_path / "in" / loose, b"DICM" if loose.upper() == "DICOMDIR" else b"text")
    assert names_in(tmp_path / "in") == ["p1", "p2"]


@pytest.mark.parametrize(("name", "head"), [("1.dcm", b"none"), ("1.IMA", b"none"), ("IM_0001", b"DICM")])
@pytest.mark.parametrize("below", [True, False])
def test_loose_slices_are_one_study(tmp_path, name, head, below):
    write_slice(tmp_path / "study" / name, head)
    if below:
        write_slice(tmp_path / "study" / "more" / "2.dcm")
    assert batch.find_cases(tmp_path / "study") == [("study", tmp_path / "study")]


def test_files_that_do_not_look_like_dicom_are_tried_as_a_study(tmp_path, reads):
    write_slice(tmp_path / "study" / "IM1", b"none")
    rows = go(tmp_path / "study", tmp_path / "out")
    assert rows["study"]["status"] == "failed"
    assert "Choose an image file or a folder" in rows["study"]["remarks"]


def test_folders_without_images_are_rows_with_their_sentence(tmp_path, reads):
    write_scan(tmp_path / "in" / "good.nrrd")
    (tmp_path / "in" / "empty").mkdir()
    rows = go(tmp_path / "in", tmp_path / "out")
    assert statuses(rows) == {"good": "read", "empty": "failed"}
    assert "no DICOM slices" in rows["empty"]["remarks"]


def test_segmentations_are_cases_only_when_given_as_such(tmp_path):
    for name in ("scan.nrrd", "scan.seg.nrrd", "OTHER.SEG.NRRD"):
        (tmp_path / name).touch()
    assert names_in(tmp_path) == ["scan"]
    assert batch.find_cases(tmp_path / "scan.seg.nrrd") == [("scan.seg", tmp_path / "scan.seg.nrrd")]


@pytest.mark.parametrize("out", ["out", "deep/out", "."])
def test_results_in_the_input_are_no_cases(tmp_path, reads, out):
    source = tmp_path / "in"
    for name in ("one", "two"):
        write_scan(source / f"{name}.nrrd")
    assert statuses(go(source, source / out)) == {"one": "read", "two": "read"}
    assert statuses(go(source, source / out)) == {"one": "kept", "two": "kept"}
    if out != ".":
        assert statuses(go(source, tmp_path / "elsewhere")) == {"one": "read", "two": "read"}
    assert (source / out / "one" / batch.RESULT_NAME).is_file()


def test_results_never_lie_among_images(tmp_path, reads, monkeypatch):
    source = tmp_path / "in"
    write_slice(source / "p1" / "1.dcm")
    write_scan(source / "p1.nrrd")
    write_slice(source / "p2" / "series" / "1.dcm")
    monkeypatch.setattr(batch, "read_scan", lambda path, series: made_scan())
    for status in ("read", "kept"):
        rows = go(source, source)
        assert list(statuses(rows).values()) == [status] * 3
        assert [path.name for path in (source / "p1").iterdir()] == ["1.dcm"]
        assert [path.name for path in (source / "p2").iterdir()] == ["series"]


def test_a_study_with_an_exported_result_stays_a_case(tmp_path):
    for patient in ("p1", "p2"):
        write_slice(tmp_path / patient / "1.dcm")
    (tmp_path / "p1" / batch.RESULT_NAME).touch()
    assert names_in(tmp_path) == ["p1", "p2"]


def test_a_folder_given_as_a_dot_has_its_name(tmp_path, monkeypatch):
    write_slice(tmp_path / "patient" / "below" / "1.dcm")
    write_slice(tmp_path / "patient" / "1.dcm")
    monkeypatch.chdir(tmp_path / "patient")
    assert names_in(Path()) == ["patient"]
    monkeypatch.chdir("below")
    assert names_in(Path("..")) == ["patient"]


def test_cases_never_share_a_folder(tmp_path, reads):
    long = "x" * 130
    cases = [(name, write_scan(tmp_path / f"{number}.nrrd")) for number, name in enumerate((f"{long}1", f"{long}2"))]
    rows = batch.read_cases(cases, tmp_path / "out", MODELS, Engine("cpu"))
    assert len({row["case"] for row in rows}) == 2
    assert all((tmp_path / "out" / row["case"] / batch.RESULT_NAME).is_file() for row in rows)


@given(st.lists(st.sampled_from(["a", "A", "x" * 119, "x" * 130, "X" * 140, "ä" * 120, "CON", "..", ""]), max_size=14))
def test_names_differ_after_they_were_cut_too(names):
    cases = [(name, Path("/data/in/file")) for name in names]
    made = unique_names(cases, ["a", "in_A"])
    lower = [name.lower() for name, _ in made]
    assert len({*lower, "a", "in_a"}) == len(cases) + 2
    assert all(name == safe_name(name) for name, _ in made)
    assert unique_names(made) == made


# ----- what fails


def test_a_fault_in_one_case_does_not_end_the_others(tmp_path, reads):
    for name in ("a", "b", "c"):
        write_scan(tmp_path / "in" / f"{name}.nrrd")
    faults.update(a=ZeroDivisionError("oh"), b=MemoryError())
    rows = go(tmp_path / "in", tmp_path / "out")
    assert statuses(rows) == {"a": "failed", "b": "failed", "c": "read"}
    assert rows["a"]["remarks"] == "A fault in SpineMotionTools: ZeroDivisionError: oh."
    assert "Close other programs" in rows["b"]["remarks"]


@pytest.mark.parametrize("error", [WeightsError, DependencyError, OutputError, Cancelled])
def test_what_concerns_all_cases_ends_the_run(tmp_path, reads, error):
    faults["scan"] = error("no")
    with pytest.raises(error):
        go(write_scan(tmp_path / "scan.nrrd"), tmp_path / "out")


@pytest.mark.parametrize(("option", "value"), [("--device", "toaster"), ("--threads", "0")])
def test_an_engine_that_is_not_there_ends_the_run_before_any_case(tmp_path, reads, capsys, option, value):
    command = ["spine", "read", str(write_scan(tmp_path / "scan.nrrd")), "--out", str(tmp_path / "out")]
    cli.main(command)
    before = (tmp_path / "out" / batch.SUMMARY_NAME).read_bytes()
    capsys.readouterr()
    assert cli.main([*command, option, value]) == cli.NOT_POSSIBLE
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "out" / batch.SUMMARY_NAME).read_bytes() == before


def test_lowest_and_highest_exclude_each_other(tmp_path, reads, capsys):
    command = ["spine", "read", str(write_scan(tmp_path / "scan.nrrd")), "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--lowest", "S1", "--highest", "T12"]) == cli.NOT_POSSIBLE
    assert "Give --lowest or --highest, not both." in capsys.readouterr().err
    assert not reads


def test_why_there_is_no_segmentation_is_said_everywhere(tmp_path, reads, spine, monkeypatch):
    """Slices that lie shifted against each other, as of a tilted gantry."""
    matrix = np.array(spine.geometry.index_to_ras)
    matrix[2, 2] += 1.0
    sheared = replace(spine, geometry=replace(spine.geometry, index_to_ras=matrix))
    monkeypatch.setattr(pipeline, "read", lambda *arguments: sheared)
    (row,) = go(write_scan(tmp_path / "scan.nrrd"), tmp_path / "out").values()
    folder = tmp_path / "out" / "scan"
    wanted = "No segmentation was written. The volume's axes are not at right angles. Harden its transform"
    assert row["status"] == "read"
    assert wanted in row["remarks"]
    assert wanted in table(tmp_path / "out")["scan"]["remarks"]
    assert "No segmentation was written." in (folder / batch.REPORT_NAME).read_text(encoding="utf-8")
    written = batch.write_case(folder, sheared, made_scan())
    assert written.labels == LABELS
    assert wanted in written.warnings[-1]
    assert wanted in Spine.from_json(json.loads((folder / batch.RESULT_NAME).read_text(encoding="utf-8"))).warnings[-1]


# ----- the table


def test_the_table_keeps_other_cases(tmp_path, reads):
    out = tmp_path / "out"
    go(write_scan(tmp_path / "-first (a).nrrd"), out)
    first = (out / batch.SUMMARY_NAME).read_text(encoding="utf-8").splitlines()
    faults["second"] = InputError("It is bad.")
    go(write_scan(tmp_path / "second.nrrd"), out)
    both = (out / batch.SUMMARY_NAME).read_text(encoding="utf-8").splitlines()
    assert both[:2] == first
    assert both[2].startswith("second,failed")
    assert both[2].endswith("It is bad.")
    faults.clear()
    for _ in range(2):
        go(tmp_path / "second.nrrd", out)
        go(tmp_path / "-first (a).nrrd", out)
    assert [row["status"] for row in table(out).values()] == ["kept", "kept"]


def test_the_table_is_there_after_a_stop(tmp_path, reads):
    for name in ("a", "b"):
        write_scan(tmp_path / "in" / f"{name}.nrrd")
    faults["b"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "in", tmp_path / "out")
    assert list(table(tmp_path / "out")) == ["a"]


def test_runs_at_the_same_time_lose_no_rows(tmp_path):
    rows = [{"case": f"case {number}", "status": "read", "remarks": ""} for number in range(24)]
    add = lambda part: [batch._add_to_summary(tmp_path / batch.SUMMARY_NAME, row) for row in part]
    threads = [threading.Thread(target=add, args=(rows[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(table(tmp_path)) == {row["case"] for row in rows}
    assert os.listdir(tmp_path) == [batch.SUMMARY_NAME]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", []),
        (b"case,status\nold,read,more,cells\n,x\n", ["old"]),
        (b"\xef\xbb\xbfcase;status\r\nold;read\r\n", ["old"]),
    ],
)
def test_rows_that_a_spreadsheet_saved_are_kept(tmp_path, content, kept):
    (tmp_path / batch.SUMMARY_NAME).write_bytes(content)
    batch._add_to_summary(tmp_path / batch.SUMMARY_NAME, {"case": "new", "status": "read", "remarks": ""})
    assert list(table(tmp_path)) == [*kept, "new"]


@pytest.mark.parametrize("content", [b"a;b\n1;2\n", b"\xff\xfe\x00case"])
def test_another_table_of_that_name_is_told_before_the_work_and_stays(tmp_path, reads, content):
    (tmp_path / batch.SUMMARY_NAME).write_bytes(content)
    with pytest.raises(InputError, match="rename or remove it|save it as CSV"):
        go(write_scan(tmp_path / "scans" / "scan.nrrd"), tmp_path)
    assert (tmp_path / batch.SUMMARY_NAME).read_bytes() == content
    assert not (tmp_path / "scan").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_segmentation_of_a_name_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="bytes that are no characters"):
        write_segmentation(tmp_path / os.fsdecode(b"M\xfcller.seg.nrrd"), made_spine(made_volume()))

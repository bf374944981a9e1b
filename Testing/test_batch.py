"""A batch of any system: cases found, kept, failed and crashed; table, record and scenes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from SpineMotionToolsLib.batch import run, systems
from SpineMotionToolsLib.batch.job import BatchJob
from SpineMotionToolsLib.batch.journal import DONE, FAILED, Journal, Row, read_journal, rows_of, summary, table_of
from SpineMotionToolsLib.common.errors import (
    Cancelled,
    DependencyError,
    InputError,
    JobError,
    OutputError,
    WeightsError,
)
from SpineMotionToolsLib.common.files import folder_lock

from Testing.packaging_lists import REPOSITORY

AIM = REPOSITORY / "MotionScore" / "Resources" / "Data" / "phantom.AIM"


class Made(systems.Task):
    """A task over text files: says their length; what a file holds may make it fail."""

    system, title = "made", "Made"
    done: list[str] = []

    def __init__(self, options, source):
        super().__init__(options, source)
        self.request = {"factor": options.get("factor", 1)}

    @staticmethod
    def find(source):
        paths = sorted(source.rglob("*.txt")) if source.is_dir() else [source]
        return [(path.stem, path) for path in paths]

    def run(self, name, path, folder, progress):
        progress(1, 2)
        text = path.read_text(encoding="utf-8")
        faults = {"bad": InputError("It is bad."), "bug": ZeroDivisionError("oh"), "memory": MemoryError()}
        faults |= {"weights": WeightsError("No weights."), "stop": Cancelled("stopped")}
        if text in faults:
            raise faults[text]
        (folder / "length.txt").write_text(str(len(text)), encoding="utf-8")
        Made.done.append(name)
        return systems.Work(f"{len(text)} letters", {"letters": len(text)}, ["short"] if len(text) < 3 else [])


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setitem(systems.TASKS, "made", Made)
    Made.done = []
    folder = tmp_path / "in é"
    (folder / "b").mkdir(parents=True)
    for name, text in {"one": "hello", "two": "x", "b/one": "world!"}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def go(source, **options):
    return run.run_batch("made", source, source.parent / "out", scenes=False, **options)


def test_every_case_gets_a_row_and_a_folder_of_its_own(source):
    rows = {row.case: row for row in go(source)}
    assert {name: row.result for name, row in rows.items()} == {
        "one": "6 letters",
        "in é_one": "5 letters",
        "two": "1 letters",
    }
    assert rows["one"].file == "b/one.txt"
    assert rows["two"].warnings == ("short",)
    out = source.parent / "out"
    assert (out / "two" / "length.txt").read_text(encoding="utf-8") == "1"
    assert (out / "cases.csv").read_text(encoding="utf-8").count("\n") == 4
    assert "3 of 3 cases done, 1 with warnings." in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "reason"), [("bad", "It is bad."), ("bug", "ZeroDivisionError: oh"), ("memory", "not enough memory")]
)
def test_a_failed_case_never_stops_the_rest(source, text, reason):
    (source / "a.txt").write_text(text, encoding="utf-8")
    rows = {row.case: row for row in go(source)}
    assert rows["a"].status == FAILED
    assert reason in rows["a"].error
    assert [row.status for name, row in rows.items() if name != "a"] == [DONE] * 3
    assert not (source.parent / "out" / "a").exists()


def test_what_concerns_all_cases_ends_the_run(source):
    (source / "z.txt").write_text("weights", encoding="utf-8")
    with pytest.raises(WeightsError, match="No weights"):
        go(source)
    assert len(Made.done) == 3


def test_a_stopped_batch_goes_on_where_it_was(source):
    (source / "sz.txt").write_text("stop", encoding="utf-8")
    with pytest.raises(Cancelled):
        go(source)
    first = list(Made.done)
    (source / "sz.txt").write_text("fine", encoding="utf-8")
    Made.done = []
    assert len(go(source)) == 4
    assert not set(Made.done) & set(first)


def test_done_cases_are_kept_until_file_options_or_the_user_say_otherwise(source):
    go(source)
    Made.done = []
    go(source)
    assert Made.done == []
    (source / "two.txt").write_text("changed", encoding="utf-8")
    go(source)
    assert Made.done == ["two"]
    go(source, options={"factor": 2})
    assert len(Made.done) == 4
    go(source, again=True, options={"factor": 2})
    assert len(Made.done) == 7


def test_failed_cases_are_tried_again(source):
    (source / "a.txt").write_text("bad", encoding="utf-8")
    go(source)
    (source / "a.txt").write_text("good", encoding="utf-8")
    assert all(row.status == DONE for row in go(source))


def test_results_inside_the_source_are_no_cases(source):
    out = source / "results"
    run.run_batch("made", source, out, scenes=False)
    assert len(run.run_batch("made", source, out, scenes=False)) == 3


def test_an_output_folder_belongs_to_one_task(source, monkeypatch):
    go(source)
    monkeypatch.setitem(systems.TASKS, "other", Made)
    with pytest.raises(OutputError, match="another task"):
        run.run_batch("other", source, source.parent / "out", scenes=False)


@pytest.mark.parametrize("task", ["nothing", "", "../motion"])
def test_an_unknown_task_is_refused(source, task):
    with pytest.raises(InputError, match="unknown"):
        run.run_batch(task, source, source.parent / "out")


@pytest.mark.parametrize("out", [".", "..", "b/../."])
def test_results_never_go_to_the_folder_of_the_cases(source, out):
    with pytest.raises(OutputError, match="holds the cases"):
        run.run_batch("made", source, source / out, scenes=False)
    with pytest.raises(InputError, match="does not exist"):
        run.run_batch("made", source / "nothing", source.parent / "out", scenes=False)
    assert not (source.parent / "out").exists()


def test_an_output_folder_belongs_to_one_folder_of_cases(source):
    """Cases of the same names would take each other's place, and the table would lose the first ones."""
    go(source)
    other = source.parent / "other"
    shutil.copytree(source, other)
    with pytest.raises(OutputError, match="holds the results of the cases in"):
        run.run_batch("made", other, source.parent / "out", scenes=False)
    shutil.rmtree(source)  # as after moving it: then they are the same cases
    assert len(run.run_batch("made", other, source.parent / "out", scenes=False)) == 3


def test_a_row_never_goes_to_another_file_of_the_same_name_size_and_time(source):
    """Unpacked studies often agree in all three."""
    go(source)
    (source / "a").mkdir()
    (source / "a" / "one.txt").write_text("earth!", encoding="utf-8")  # takes the name "one" from b/one.txt
    stamp = (source / "b" / "one.txt").stat()
    os.utime(source / "a" / "one.txt", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    Made.done = []
    rows = {row.file: row.case for row in go(source)}
    assert rows["a/one.txt"] == "one"
    assert "one" in Made.done


def test_two_runs_never_write_into_one_folder(source, monkeypatch):
    monkeypatch.setattr(run, "OTHER_RUN_S", 0.05)
    with folder_lock(source.parent / "out"), pytest.raises(OutputError, match="in use by another run"):
        go(source)
    assert Made.done == []
    assert len(go(source)) == 3


def test_a_folder_that_may_not_be_opened_is_a_failed_case(source, monkeypatch):
    closed = source / "b"

    def walk(top, onerror):
        yield str(top), ["b"], []
        onerror(PermissionError(13, "Permission denied", str(closed)))

    monkeypatch.setattr(run.os, "walk", walk)
    monkeypatch.setattr(Made, "find", staticmethod(lambda source: [("two", source / "two.txt")]))
    rows = go(source)
    assert [(row.case, row.status) for row in rows] == [("two", DONE), ("b", FAILED)]
    assert "cannot be opened" in rows[1].error


def test_a_case_that_fails_later_keeps_its_earlier_files_and_says_so(source):
    go(source)
    (source / "two.txt").write_text("bad", encoding="utf-8")
    row = {row.case: row for row in go(source)}["two"]
    assert (row.status, row.error) == (FAILED, f"It is bad. {run.STILL_THERE}")
    assert (source.parent / "out" / "two" / "length.txt").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"device": "tpu"}, "tpu"), ({"threads": 0}, "threads is 0"), ({"stack_height": 0}, "stack of 0 slices")],
)
def test_options_that_cannot_be_are_told_once(tmp_path, options, words):
    pytest.importorskip("torch")
    shutil.copy(AIM, tmp_path / "scan.AIM")
    with pytest.raises(InputError, match=words):
        run.run_batch("motion", tmp_path, tmp_path / "out", options)


def test_an_empty_folder_is_told(source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds nothing"):
        run.run_batch("made", tmp_path / "empty", tmp_path / "out")


def test_a_damaged_record_starts_anew(source):
    go(source)
    (source.parent / "out" / "batch.json").write_text('{"task": "made", "rows": [{"x": 1}, 3]}', encoding="utf-8")
    assert len(go(source)) == 3


@given(st.lists(st.sampled_from(["a", "A", "a b", "CON", "ä", "x.y", ""]), min_size=1, max_size=8))
def test_names_of_cases_differ_on_every_system(names):
    cases = [(name, Path(f"/data/{number % 2}/{name}.txt")) for number, name in enumerate(names)]
    made = [name.lower() for name, _ in run.unique_names(cases)]
    assert len(set(made)) == len(cases)
    assert all(name and "/" not in name for name in made)


def test_rows_survive_the_record(tmp_path):
    journal = Journal(tmp_path, "motion")
    row = Row("a", "a.AIM", DONE, "grade 3", {"grade": 3}, ("careful",), "", "a/a.mrb", ("a/a.dcm",), 1.5, {"bytes": 4})
    journal.add(row)
    assert rows_of(read_journal(tmp_path)) == [row]
    assert table_of([row, Row("b", "b.AIM", FAILED, error="broken")]).rows[1][:3] == ["b", "b.AIM", FAILED]
    assert summary([row, Row("b", "b", FAILED)]) == "1 of 2 cases done, 1 failed, 1 with warnings."


def test_the_report_tells_failures_first_and_each_warning_once(tmp_path):
    journal = Journal(tmp_path, "motion")
    journal.add(Row("a", "a.AIM", DONE, "grade 3", {"grade": 3}, ("Starter model.", "Take care.")))
    journal.add(Row("b", "b.AIM", DONE, "grade 1", {"grade": 1}, ("Starter model.",)))
    journal.add(Row("c", "c.AIM", FAILED, error="It is <cut off>."))
    journal.finish(["a", "b", "c"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("It is &lt;cut off&gt;.") < page.index("grade 3") < page.index("Take care.")
    assert "<td>Starter model.</td><td>all</td>" in page
    assert "<td>Take care.</td><td>a</td>" in page
    assert " UTC." in page


def test_a_missing_package_is_told_once(source, monkeypatch):
    def run_one(self, *arguments):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(Made, "run", run_one)
    with pytest.raises(DependencyError, match="torch is not installed"):
        go(source)


# ---- scenes and DICOM added to what is done --------------------------------------------------------------------------
@pytest.fixture
def extras(monkeypatch):
    """Scenes and DICOM files of made cases; what `refused` holds by kind cannot be made."""
    refused = {}

    def write_scene(system, name, path, folder, options):
        if "scene" in refused:
            raise refused["scene"]
        (folder / f"{name}.mrb").write_text("scene", encoding="utf-8")
        return folder / f"{name}.mrb"

    def write_results(system, name, path, folder, options):
        if "dicom" in refused:
            raise refused["dicom"]
        return [folder / "report.dcm"]

    monkeypatch.setattr("SpineMotionToolsLib.batch.scenes.write_scene", write_scene)
    monkeypatch.setattr(run.dicom_results, "write_results", write_results)
    monkeypatch.setattr(run.dicom_results, "SYSTEMS", ("made",))
    return refused


def wanting(source, **options):
    return {row.case: row for row in run.run_batch("made", source, source.parent / "out", **options)}


def test_what_is_done_gets_the_scene_and_dicom_it_lacks_without_being_done_again(source, extras):
    go(source)
    Made.done = []
    rows = wanting(source, scenes=True, dicom=True)
    assert Made.done == []
    assert (rows["two"].scene, rows["two"].dicom) == ("two/two.mrb", ("two/report.dcm",))
    assert "two/report.dcm" in (source.parent / "out" / "cases.csv").read_text(encoding="utf-8")


def test_a_python_without_scenes_does_not_do_cases_again(source, extras):
    extras["scene"] = ImportError("no MRML classes")
    wanting(source)
    Made.done = []
    assert wanting(source)["two"].warnings == ("short",)
    assert Made.done == []


def test_what_cannot_be_made_is_one_warning_and_goes_when_it_can(source, extras):
    extras |= {"scene": OSError("no room"), "dicom": InputError("It is not DICOM.")}
    for _ in range(2):
        row = wanting(source, dicom=True)["two"]
        assert row.warnings == (
            "short",
            "No scene was saved. no room",
            "No DICOM results were written. It is not DICOM.",
        )
        assert row.status == DONE
    extras.clear()
    assert wanting(source, dicom=True)["two"].warnings == ("short",)


def test_what_is_done_anew_keeps_no_scene_or_dicom_file_of_the_result_before(source, extras):
    for row in wanting(source, dicom=True).values():
        (source.parent / "out" / row.case / "report.dcm").touch()
    record = source.parent / "out" / "batch.json"
    (source / "mine.mrb").touch()
    text = record.read_text(encoding="utf-8").replace("two/two.mrb", "../in é/mine.mrb")  # names of others are not ours
    record.write_text(text, encoding="utf-8")
    (source / "two.txt").write_text("changed", encoding="utf-8")
    (source / "one.txt").write_text("changed", encoding="utf-8")
    go(source)
    assert sorted(path.name for path in (source.parent / "out" / "in é_one").iterdir()) == ["length.txt"]
    assert not (source.parent / "out" / "two" / "report.dcm").exists()
    assert (source / "mine.mrb").exists()


def test_dicom_results_that_need_a_package_are_refused_before_the_first_case(source, extras, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(DependencyError, match="highdicom"):
        wanting(source, dicom=True)
    assert Made.done == []


def test_a_fault_in_making_the_scene_leaves_the_result(source, extras):
    extras["scene"] = AttributeError("no such node")
    row = wanting(source)["two"]
    assert (row.status, row.error) == (DONE, "")
    assert row.warnings[-1] == "No scene was saved. A fault in SpineMotionTools: AttributeError: no such node."
    extras["dicom"] = KeyError("tag")
    row = wanting(source, dicom=True)["two"]
    assert (row.status, row.error) == (DONE, "")
    assert row.warnings[-1].startswith("No DICOM results were written. A fault in SpineMotionTools: KeyError")


def test_slicer_adds_the_scene_of_a_folder_that_is_the_case_itself(source, monkeypatch):
    """Its file is named like the folder, and does not lie in it."""
    seen = []

    def write_scene(system, name, path, folder, options):
        seen.append(path)
        return folder / "made.mrb"

    monkeypatch.setattr("SpineMotionToolsLib.batch.scenes.write_scene", write_scene)
    monkeypatch.setattr(Made, "find", staticmethod(lambda folder: [(folder.name, folder)]))
    monkeypatch.setattr(Made, "run", lambda self, *arguments: systems.Work("read"))
    (row,) = go(source)
    parameters = {"task": "made", "source": str(source), "out": str(source.parent / "out")}
    run.add_scene(parameters, row)
    assert seen == [source]
    assert rows_of(read_journal(source.parent / "out"))[0].scene.endswith("made.mrb")


def test_videos_have_no_dicom_results(tmp_path):
    with pytest.raises(InputError, match="Videos have no DICOM results"):
        run.run_batch("gait", tmp_path, tmp_path / "out", dicom=True)


# ---- the child process -----------------------------------------------------------------------------------------------
def test_a_case_that_ends_the_process_is_a_failed_case(tmp_path):
    """As when the system stops it for want of memory: the rest is done by another process."""
    pytest.importorskip("torch")
    for name in ("a", "c"):
        shutil.copy(AIM, tmp_path / f"{name}.AIM")
    out = tmp_path / "out"
    parameters = {"task": "motion", "source": str(tmp_path), "out": str(out), "scenes": False}
    job = BatchJob({**parameters, "options": {"stack_height": 4}})
    while not read_journal(out).get("running"):
        assert not job.poll(), job.error
    running = read_journal(out)["running"]
    job._job._child.process.kill()
    result = job.wait()
    job.close()
    rows = {row.case: row for row in rows_of(read_journal(out))}
    assert result == {"rows": 2, "failed": 1}
    assert rows[running].status == FAILED
    assert "{" not in rows[running].error
    assert sorted(row.status for row in rows.values()) == [DONE, FAILED]


def test_all_again_also_after_a_crash(tmp_path, monkeypatch):
    """What the batch did itself is kept, what an earlier one did is not."""
    journal = Journal(tmp_path, "motion")
    for case in "abc":
        journal.add(Row(case, f"{case}.AIM", DONE, "earlier"))
    started = []

    class Ended:
        error, result = JobError("The work ended without a result."), None

        def poll(self):
            return True

        def close(self):
            pass

    monkeypatch.setattr(
        "SpineMotionToolsLib.batch.job.start_job", lambda task, given, *_: started.append(dict(given)) or Ended()
    )
    job = BatchJob({"task": "motion", "source": str(tmp_path), "out": str(tmp_path), "again": True})
    journal.add(Row("a", "a.AIM", DONE, "now"))
    journal.begin("b")
    job.poll()
    assert [given["again"] for given in started] == [True, ["b", "c"]]
    assert list(started[1]["crashed"]) == ["b"]

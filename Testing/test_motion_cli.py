"""`spinemotion` as a user types it: results, messages, exit status, interruption, two runs at once."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SpineMotionToolsLib
from SpineMotionToolsLib import cli
from SpineMotionToolsLib.motion.derivatives import read_index, read_rows, results_root

from Testing.motion_samples import make_results_folder, write_scan, write_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "seeded", (19, 23))


@pytest.fixture
def run(capsys):
    """Run a command in this process: exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def child(*arguments: object, **options) -> subprocess.Popen:
    """The same in a process of its own, which hears Ctrl-C also when the tests run in the background."""
    command = [sys.executable, "-m", "SpineMotionToolsLib.cli", *map(str, arguments)]
    if os.name == "posix":  # a shell starts background processes, and so their children, with SIGINT ignored
        options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options)


# ----- the frame


def test_version_and_help(run):
    assert run("--version") == (0, f"SpineMotionTools {SpineMotionToolsLib.__version__}\n", "")
    status, out, _ = run("--help")
    assert status == 0
    assert all(room in out for room in cli.ROOMS)
    status, out, _ = run("motion", "--help")
    assert status == 0
    assert all(
        name in out for name in ("grade", "confirm", "predict", "explain", "export", "review-apply", "model-list")
    )


def test_no_or_wrong_command_is_explained(run):
    for arguments in ([], ["motion"], ["nonsense"], ["motion", "grade"], ["motion", "grade", "--out"]):
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert "usage: spinemotion" in err


def test_a_system_that_cannot_be_imported_stops_no_other(run, monkeypatch):
    monkeypatch.setitem(cli.ROOMS, "gait", ("no_such_package.commands", "broken"))
    status, _, err = run("gait", "score")
    assert status == 2
    assert err.startswith("error: this system cannot be used: the module SpineMotionToolsLib.no_such_package")
    assert run("motion", "model-list", "--model-root", "nowhere")[0] == 0
    assert "broken" in run("--help")[1]


def test_a_fault_is_one_line_unless_asked_for(run, monkeypatch):
    monkeypatch.setattr("SpineMotionToolsLib.motion.registry.read_registry", lambda root: 1 / 0)
    status, _, err = run("motion", "model-list")
    assert (status, err.count("\n")) == (1, 1)
    assert "ZeroDivisionError" in err
    monkeypatch.setenv("SPINEMOTION_DEBUG", "1")
    assert "Traceback" in run("motion", "model-list")[2]


def test_importing_the_terminal_is_cheap():
    code = (
        "import sys, SpineMotionToolsLib.cli; print([m for m in ('torch', 'scipy', 'SimpleITK') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_any_character_can_be_printed_on_any_code_page(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    run = child("motion", "discover", tmp_path / "Größe μ 测量", env=environment)
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out) == (2, "")
    assert "Größe μ 测量" in err


# ----- grade and confirm


def test_grade_then_confirm(run, tmp_path, weights, monkeypatch):
    data, out = tmp_path / "Füße und Hände", tmp_path / "results"
    write_scan(data / "S 1.AIM")
    (data / "S2.AIM").write_bytes(b"")
    status, text, err = run("motion", "grade", data, "--out", out, "--weights", weights, "--stackheight", 3)
    assert status == 3
    assert text.startswith("Motion Score S 1: ")
    assert "skipped: S2.AIM is empty" in err
    assert "1 of 2 files were skipped" in err
    assert "Walle M" in err
    (picture,) = out.glob("S 1_*_motion.png")
    monkeypatch.setattr("builtins.input", lambda prompt: "4")
    status, text, _ = run("motion", "confirm", out, "--out", tmp_path / "o.csv", "--threshold", 101, "--no-show")
    assert status == 0
    (row,) = csv.DictReader((tmp_path / "o.csv").open(encoding="utf-8"))
    grade, percent = picture.stem.split("_")[-3:-1]
    assert row == {"filename": "S 1", "manual_grade": "4", "automatic_grade": grade, "confidence": percent}
    assert "Grading complete." in text


def test_confirm_stops_at_the_end_of_input(run, tmp_path, monkeypatch):
    def end(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    status, _, err = run(
        "motion", "confirm", "--input", "A_3_60_motion.png", "--output", tmp_path / "o.csv", "--no-show"
    )
    assert status == 130
    assert "Run the same command to go on." in err


def test_grade_accepts_volumes_and_legacy_rules(run, tmp_path, weights):
    from SpineMotionToolsLib.common.volumes import Volume, write_volume

    values = np.random.default_rng(0).normal(0, 100, (3, 40, 50)).astype(np.int16)
    write_volume(tmp_path / "scan.nrrd", Volume(values, np.diag([0.06, 0.06, 0.06, 1]), "scan"))
    status, text, _ = run(
        "motion", "grade", "--input", tmp_path / "scan.nrrd", "--output", tmp_path / "out", "--rules", "legacy",
        "--weights", weights, "--no-report",
    )  # fmt: skip
    assert status == 0
    record = json.loads((tmp_path / "out" / "scan_motion.json").read_text(encoding="utf-8"))
    assert record["rules"] == "legacy"
    # Two members of the ten that the published rules divide by.
    assert record["mean_confidence"] <= 0.2
    assert not list((tmp_path / "out").glob("*.html"))


def test_explain_one_file(run, tmp_path, weights):
    from SpineMotionToolsLib.common.volumes import read_volume

    scan = write_scan(tmp_path / "S.AIM", depth=2)
    options = ("--weights", weights, "--target-grade", 2, "--out", tmp_path / "maps")
    assert run("motion", "explain", scan, *options)[0] == 0
    assert read_volume(tmp_path / "maps" / "S_gradcam.mha").array.shape == (2, 50, 60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grade", "gone.AIM", "--out", "out"], "gone.AIM does not exist"),
        (["grade", "S.AIM", "--out", "out", "--weights", "nowhere/w"], "does not exist; give a folder of weights"),
        (["grade", "S.AIM", "--out", "out", "--slice-step", "0"], "slice step of 0"),
        (["grade", "S.AIM", "--out", "S.AIM/out"], "could not be written"),
        (["predict", ".", "--threshold", "200"], "not a percentage"),
        (["predict", "empty"], "No scans"),
        (["predict", "gone"], "does not exist"),
        (["predict", ".", "--formats", "doc"], "not known"),
        (["discover", "gone"], "does not exist"),
        (["export", "."], "motion predict"),
        (["explain", "S.AIM"], "--out FOLDER"),
        (["review-apply", ".", "--scan-id", "x", "--grade", "3", "--reviewer", "A"], "motion predict"),
        (["model-register", "gone", "--model-id", "a", "--model-root", "m"], "does not exist"),
        (["confirm", "nonsense.png", "--out", "o.csv"], "_motion.png"),
    ],
)
def test_what_is_not_possible_is_one_sentence(run, tmp_path, monkeypatch, weights, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_scan(tmp_path / "S.AIM", depth=1)
    (tmp_path / "empty").mkdir()
    if arguments[0] == "grade" and "--weights" not in arguments:
        arguments = [*arguments, "--weights", weights]
    status, _, err = run("motion", *arguments)
    assert status in (2, 3)
    assert message in err
    assert "Traceback" not in err


# ----- data sets


def test_discover_edit_predict_review_export(run, tmp_path, weights):
    study = tmp_path / "study"
    write_scan(study / "SUBJ_A_DT_T1.AIM")
    write_scan(study / "b" / "SUB2_DT_T1.AIM", seed=1)
    write_scan(study / "c" / "SUB2_DT_T1.AIM", seed=2)
    status, text, err = run("motion", "discover", study)
    assert status == 3
    assert "2 files claim to be subject SUB2" in err
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["use"], row["subject"], row["session"]) for row in rows] == [
        ("yes", "SUBJ", "A"),
        ("no", "SUB2", "T1"),
        ("no", "SUB2", "T1"),
    ]
    rows[0] |= {"subject": "SUBJ_A", "session": "T1"}
    rows[2] |= {"use": "yes", "session": "T2"}
    table = tmp_path / "scans.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    options = ("--table", table, "--weights", weights, "--stackheight", 3)
    status, text, _ = run("motion", "predict", study, *options)
    assert status == 0
    assert text.count(": graded") == 2
    root = results_root(study)
    scans = [row["scan_id"] for row in read_index(root)]
    assert [scan.rpartition("_")[0] for scan in scans] == [
        "sub-SUB2_site-tibia_ses-T2",
        "sub-SUBJ_A_site-tibia_ses-T1",
    ]
    apply = ("motion", "review-apply", study, "--reviewer", "Anna", "--scan-id", scans[0])
    status, text, _ = run(*apply, "--grade", 5, "--note", "double contour")
    assert status == 0
    assert "grade 5 saved" in text
    assert run(*apply, "--grade", 6)[0] == 2
    assert run(*apply, "--grade", 2, "--stack", 1)[0] == 0
    status, text, _ = run("motion", "agreement", study)
    assert (status, text.startswith("Anna: 1 scan: ")) == (0, True)
    status, text, _ = run("motion", "agreement", study, "--json")
    assert json.loads(text)["Anna"]["n_scored"] == 1
    status, text, _ = run("motion", "export", study, "--reviewer", "Anna", "--out", tmp_path / "export")
    assert status == 0
    exported = read_rows(tmp_path / "export" / "motion_grades.tsv")
    assert [(row["final_grade"], row["reviewer_1_grade"]) for row in exported][0] == ("5", "5")
    assert (tmp_path / "export" / "review_report.html").exists()
    assert run("motion", "review-undo", study, "--scan-id", scans[0], "--reviewer", "Anna")[0] == 0
    assert run("motion", "review-clear", study)[0] == 2, "clearing everything needs --yes"
    assert run("motion", "review-clear", study, "--yes")[1].startswith("1 grades cleared"), "the stack's"
    status, text, _ = run("motion", "explain", study, "--weights", weights, "--scan-id", scans[1])
    assert (status, text) == (0, f"{scans[1]}: explained\n")


def test_the_terminal_tells_a_blind_reviewer_nothing(run, tmp_path, weights):
    study = tmp_path / "study"
    write_scan(study / "SUB1_DT_T1.AIM")
    status, text, err = run("motion", "predict", study, "--weights", weights, "--training-mode")
    assert status == 0
    root = results_root(study)
    scan = read_index(root)[0]
    told = text + err + run("motion", "export", study)[1]
    told += (root / "motion_grades.tsv").read_text(encoding="utf-8") + (root / "motion_grades.csv").read_text(
        encoding="utf-8"
    )
    told += (root / "predict_summary.csv").read_text(encoding="utf-8")
    assert f"\t{scan['automatic_grade']}\t" not in told
    assert f"{scan['automatic_confidence']} %" not in told
    status, _, err = run("motion", "agreement", study)
    assert status == 2
    assert run("motion", "export", study, "--unblind", "--no-report")[0] == 0
    assert read_rows(root / "motion_grades.tsv")[0]["automatic_grade"] == scan["automatic_grade"]


def test_review_init_and_import(run, tmp_path):
    make_results_folder(tmp_path, {"s1": (2, 80), "s2": (4, 60)})
    assert run("motion", "review-init", tmp_path, "--threshold", 90)[1] == "2 scans, 2 wait for a grade.\n"
    table = tmp_path / "g.csv"
    table.write_text("scan_id,final_grade\ns1,3\ns2,x\n", encoding="utf-8")
    status, text, _ = run("motion", "import-final-grades", tmp_path, table)
    assert status == 3
    assert text.startswith("1 imported, 0 kept their grade")
    assert run("motion", "review-init", tmp_path, "--blind")[1] == "2 scans, 2 wait for a grade.\n"


def test_models_on_the_terminal(run, tmp_path, weights):
    root = tmp_path / "models"
    options = ("--model-root", root)
    status, text, _ = run("motion", "model-register", weights, "--model-id", "mine", "--version", "2", *options)
    assert (status, "Registered mine with 2 networks" in text) == (0, True)
    text = run("motion", "model-list", *options)[1]
    assert "motion-starter: ships with" in text
    assert "mine: mine, version 2, 2 networks (default)" in text
    write_scan(tmp_path / "S.AIM", depth=1)
    status, _, _ = run("motion", "grade", tmp_path / "S.AIM", "--out", tmp_path / "o", "--weights", "mine", *options)
    assert status == 0
    assert "motion-base-v1" in run("models", "list", "--system", "motion")[1]
    assert "CC BY-NC-ND 4.0" in run("models", "show", "motion-base-v1")[1]
    assert run("models", "show", "nonsense")[0] == 2


# ----- interruption and company


def count_lines(process: subprocess.Popen, count: int) -> list[str]:
    return [process.stdout.readline() for _ in range(count)]


@pytest.mark.parametrize("command", [pytest.param("grade", marks=pytest.mark.slow), "predict"])
def test_a_killed_run_goes_on_where_it_was(tmp_path, weights, command):
    study, out = tmp_path / "study", tmp_path / "out"
    for number in range(5):
        write_scan(study / f"SUB{number}_DT_T1.AIM", seed=number)
    arguments = ["motion", command, study, "--weights", weights, "--stackheight", 3, "--threads", 1]
    arguments += ["--out", out] if command == "grade" else []
    first = child(*arguments)
    assert all(f"SUB{n}" in line for n, line in enumerate(count_lines(first, 2)))
    first.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    first.wait(30)
    finished = time.time_ns()
    second = child(*arguments)
    text, err = second.communicate(timeout=240)
    assert second.returncode == 0, err
    lines = [line for line in text.splitlines() if "SUB" in line]
    assert len(lines) == 5
    assert all("kept" in line or "graded before" in line for line in lines[:2])
    assert "kept" not in lines[4]
    assert "graded before" not in lines[4]
    root = out if command == "grade" else results_root(study)
    records = sorted(root.rglob("*_motion.json"))
    assert len(records) == 5
    assert [path.stat().st_mtime_ns < finished for path in records][:2] == [True, True], "finished scans are not redone"
    if command == "grade":
        assert len(list(csv.DictReader((out / "motion_grades.csv").open(encoding="utf-8")))) == 5
        assert len(list(out.glob("*_motion.png"))) == 5
    else:
        assert len(read_index(root)) == 5
        assert all(read_rows(root / row["review_tsv"]) for row in read_index(root))


@pytest.mark.slow
def test_two_runs_on_one_folder_do_no_harm(tmp_path, weights):
    study = tmp_path / "study"
    for number in range(4):
        write_scan(study / f"SUB{number}_DT_T1.AIM", seed=number)
    arguments = ["motion", "predict", study, "--weights", weights, "--stackheight", 3, "--threads", 1, "--force"]
    runs = [child(*arguments), child(*arguments)]
    ends = [run.communicate(timeout=240) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], ends
    root = results_root(study)
    index = read_index(root)
    assert len(index) == len({row["scan_id"] for row in index}) == 4
    for row in index:
        assert [each["scan_id"] for each in read_rows(root / row["predictions_tsv"])] == [row["scan_id"]]
        audit = read_rows(root / row["review_audit"])
        assert [each["event"] for each in audit] == ["init"], "a scan enters the review once"
    left = [path.name for path in root.rglob("*") if path.name.startswith(".")]
    assert left == []


if sys.platform != "win32":  # where Ctrl-C cannot be sent to one process alone

    def test_ctrl_c_ends_politely(tmp_path, weights):
        for number in range(4):
            write_scan(tmp_path / f"SUB{number}_DT_T1.AIM", seed=number)
        run = child("motion", "predict", tmp_path, "--weights", weights, "--threads", 1)
        count_lines(run, 1)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
        assert run.returncode == 130
        assert err.rstrip().endswith("error: stopped")
        assert "Traceback" not in err

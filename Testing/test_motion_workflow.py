"""Around the motion grades: finding scans, confirming pictures, models at hand, batches, data sets, training data."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib import cli
from SpineMotionToolsLib.common.errors import InputError, OutputError, WeightsError
from SpineMotionToolsLib.motion import dataset, registry, review_store, scan_headers, training_data
from SpineMotionToolsLib.motion.batch import Choices, file_stamp, grade_files, unique_names
from SpineMotionToolsLib.motion.confirm import NothingToConfirmError, confirm
from SpineMotionToolsLib.motion.dataset import PredictOptions, explain_dataset, predict
from SpineMotionToolsLib.motion.derivatives import (
    INDEX_COLUMNS,
    PREDICTION_COLUMNS,
    find_results,
    merge_row,
    read_index,
    read_rows,
    results_root,
)
from SpineMotionToolsLib.motion.discovery import discover, discover_first_format, read_scan_table, scan_files
from SpineMotionToolsLib.motion.review import ReviewSession
from SpineMotionToolsLib.motion.scan_names import parse_grammar, scan_stem, session_name
from SpineMotionToolsLib.motion.training_data import place_subjects, sample_slices, slice_labels

from Testing.motion_samples import write_scan, write_weights

LOG = """!> a comment
Original file                  DISK2:[MICROCT.DATA.00000123]D0001.ISQ;1
Patient Name                   Somebody Secret
Index Patient                  4711
Index Measurement              815
Site                           38
"""


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


# ----- names and discovery


@pytest.mark.parametrize(
    ("stem", "subject", "site", "session", "stack"),
    [
        ("SUB001_DT_T1", "SUB001", "tibia", "T1", None),
        ("SUBJ_A_DT_T1", "SUBJ", "tibia", "A", None),
        ("P7_RADIUS_LEFT_BL", "P7", "radius", "LEFT", None),
        ("Q_STACK1_DT_T1", "Q", "tibia", "DT", 1),
        ("KNEE_9_KN_FOLLOWUP", "KNEE_9", "knee", "T2", None),
        ("a_rl_stack03_fu2_x", "a", "radius_left", "T3", 3),
        ("S1_DT_01", "S1", "tibia", "DT", None),
    ],
)
def test_names_are_read_as_published(stem, subject, site, session, stack):
    parts = parse_grammar(stem)
    assert (parts.subject, parts.site, parts.session, parts.stack) == (subject, site, session, stack)


@pytest.mark.parametrize(
    ("code", "session"),
    [
        ("BL", "T1"),
        ("baseline1", "T1"),
        ("FU", "T2"),
        ("FL1", "T2"),
        ("FollowUp12", "T13"),
        ("V2", "V2"),
        ("bl2", "bl2"),
    ],
)
def test_sessions(code, session):
    assert session_name(code) == session


@pytest.mark.parametrize(
    ("name", "stem"), [("a.AIM", "a"), ("a.b.aim;12", "a.b"), ("x.nii.gz", "x"), ("c.ISQ", "c"), (".aim", ".aim")]
)
def test_stems(name, stem):
    assert scan_stem(name) == stem


@pytest.mark.parametrize(
    ("stem", "derived"),
    [
        ("S_DT_T1_REG", True),
        ("S_DT_T1_REGION2", False),
        ("S_DT_T1_x_SEG", True),
        ("S_DT_T1_ROI3", True),
        ("S_DT_T1", False),
    ],
)
def test_products_are_told_by_their_name(stem, derived):
    assert parse_grammar(stem).derived == derived


def test_the_header_is_read_by_double_blanks_and_never_the_patients_name():
    parts = scan_headers.parse_log(LOG)
    assert (parts.subject, parts.site, parts.session) == ("4711", "tibia_left", "M815")
    assert scan_headers.parse_log("Index Patient: 4711") is None
    assert scan_headers.log_fields(LOG)["Original file"].endswith("D0001.ISQ;1")


def test_the_header_decides_what_a_file_is(tmp_path):
    write_scan(tmp_path / "S1_DT_T1_REG.AIM", depth=1, log=LOG)
    write_scan(tmp_path / "S2_DT_T1.AIM", depth=1, log=LOG.replace(".ISQ", ".AIM") + "AIMPEEL  done\n")
    found = discover(tmp_path)
    assert [scan.path.name for scan in found.scans] == ["S1_DT_T1_REG.AIM"]
    assert [item.scan.path.name for item in found.left_out] == ["S2_DT_T1.AIM"]
    first = discover(tmp_path, header_first=True).scans[0]
    assert (first.parts.subject, first.parts.found_by) == ("4711", "header")
    assert "Somebody" not in found.to_csv() + first.scan_id


def test_one_unclear_scan_does_not_stop_the_others(tmp_path):
    touch(tmp_path, "a/SUB001_DT_T1.AIM", "b/SUB001_DT_T1.AIM", "SUB002_DT_T1.AIM")
    found = discover(tmp_path)
    assert [scan.parts.subject for scan in found.scans] == ["SUB002"]
    assert len(found.conflicts) == 2
    assert "a/SUB001_DT_T1.AIM, b/SUB001_DT_T1.AIM" in found.conflicts[0].reason
    with pytest.raises(InputError, match="2 files claim to be subject SUB001"):
        discover(tmp_path, strict=True)


def test_what_is_left_out_is_listed_with_its_reason(tmp_path):
    touch(
        tmp_path,
        "S_DT_T1.AIM",
        "S_DT_T1.AIM;2",
        "S_DT_T1_TRAB_MASK.AIM",
        "derivatives/MotionScore/x_DT_T1.AIM",
        "out/y_DT_T1.AIM",
    )
    found = discover(tmp_path, exclude=tmp_path / "out")
    assert [scan.path.name for scan in found.scans] == ["S_DT_T1.AIM"]
    reasons = {item.scan.path.name: item.reason for item in found.left_out}
    assert reasons == {
        "S_DT_T1_TRAB_MASK.AIM": "the name contains 'mask': taken for a mask or another product",
        "S_DT_T1.AIM;2": "S_DT_T1.AIM is used instead",
    }


def test_names_that_differ_in_case_are_two_subjects(tmp_path):
    """No scan is left out for another whose name only looks alike (where the file system tells them apart)."""
    touch(tmp_path, "Ab_DT_T1.AIM", "ab_DT_T1.AIM")
    assert len(discover(tmp_path).scans) == len(list(tmp_path.iterdir()))


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are always characters there")
def test_a_name_that_is_no_text_is_skipped_with_the_next_step(tmp_path, choices):
    """The tables could not name it, so a review could not open it again."""
    good = write_scan(tmp_path / "SUB1_DT_T1.AIM")
    os.link(good, os.fsencode(tmp_path) + b"/P\xe9_DT_T1.AIM")
    found = discover(tmp_path)
    assert [scan.path for scan in found.scans] == [good]
    assert ["rename" in item.reason for item in found.conflicts] == [True]
    outcomes = predict(found, results_root(tmp_path), PredictOptions(choices, pictures=False))
    assert sorted(outcome.status for outcome in outcomes) == ["graded", "skipped"]


def test_formats_and_single_files(tmp_path):
    touch(tmp_path, "S1_DT_T1.AIM", "S1_DT_T1.ISQ", "S2_DT_T1.isq", "v/S3_DT_T1.nii.gz")
    names = lambda found: [scan.path.name for scan in found.scans]
    assert names(discover(tmp_path)) == ["S1_DT_T1.AIM"]
    assert names(discover(tmp_path, ("aim", "isq"))) == ["S1_DT_T1.AIM", "S2_DT_T1.isq"]
    assert names(discover_first_format(tmp_path / "v")) == ["S3_DT_T1.nii.gz"]
    assert names(discover(tmp_path / "S1_DT_T1.AIM")) == ["S1_DT_T1.AIM"]
    found = discover_first_format(tmp_path)
    assert names(found) == ["S1_DT_T1.AIM"]
    assert {item.scan.path.name for item in found.left_out} == {"S1_DT_T1.ISQ", "S2_DT_T1.isq", "S3_DT_T1.nii.gz"}
    assert all("--formats aim,isq,volumes" in item.reason for item in found.left_out)
    assert [path.name for path in scan_files(tmp_path)] == ["S1_DT_T1.AIM", "S2_DT_T1.isq", "S3_DT_T1.nii.gz"]
    with pytest.raises(InputError, match="does not exist"):
        discover(tmp_path / "nowhere")


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,8}[A-Za-z0-9]", fullmatch=True)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(NAMES, NAMES, NAMES, st.none() | st.integers(0, 99)), min_size=1, max_size=4, unique=True))
def test_an_edited_table_gives_the_edited_scans(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("table").resolve()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["use", "subject", "site", "session", "stack", "raw_image_path"])
    for number, (subject, site, session, stack) in enumerate(rows):
        touch(root, f"{number}.AIM")
        writer.writerow(["yes", subject, site, session, "" if stack is None else stack, f"{number}.AIM"])
    table = root / "table.csv"
    table.write_text(text.getvalue(), encoding="utf-8")
    found = read_scan_table(table, root)
    again = root / "again.csv"
    again.write_text(found.to_csv(), encoding="utf-8")
    assert {scan.group for scan in found.scans} == {(a, b, c, -1 if d is None else d) for a, b, c, d in rows}
    assert [scan.scan_id for scan in read_scan_table(again, root).scans] == [scan.scan_id for scan in found.scans]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("yes,S,tibia,T1,,gone.AIM", "is not there"),
        ("yes,,tibia,T1,,a.AIM", "needs a subject"),
        ("yes,S,tibia,T1,two,a.AIM", "a stack that is a number"),
        ("yes,../S,tibia,T1,,a.AIM", "become file names"),
        ("yes,S,tibia,T1,,a.AIM\nyes,S,tibia,T1,,b.AIM", "Lines 2 and 3"),
    ],
)
def test_a_bad_line_of_the_table_is_named(tmp_path, row, message):
    touch(tmp_path, "a.AIM", "b.AIM")
    table = tmp_path / "t.csv"
    table.write_text(f"use,subject,site,session,stack,raw_image_path\n{row}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_scan_table(table, tmp_path)


def test_the_table_may_come_back_with_semicolons_and_cannot_lead_out_of_the_results(tmp_path):
    touch(tmp_path, "a.AIM")
    table = tmp_path / "t.csv"
    table.write_text(
        "use;subject;site;session;stack;raw_image_path;folder\nyes;S;tibia;T1;;a.AIM;../../elsewhere\n",
        encoding="utf-8",
    )
    (scan,) = read_scan_table(table, tmp_path).scans
    assert scan.folder == "a"
    table.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no column use, subject, raw_image_path"):
        read_scan_table(table, tmp_path)


# ----- confirm


class Dialogue:
    """Scripted answers; remembers what was asked, shown and said."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.prompts, self.shown, self.said = list(answers), [], [], []

    def ask(self, prompt: str) -> str:
        self.prompts.append(prompt)
        if not self.answers:
            raise KeyboardInterrupt
        return self.answers.pop(0)

    def run(self, pictures, path, **options):
        return confirm(pictures, path, self.ask, self.shown.append, self.said.append, **options)


PICTURES = ["A_3_60_motion.png", "B_2_75_motion.png", "C_4_10_motion.png", "D_1_50_motion.png"]


def test_bad_names_and_answers_are_skipped_or_asked_again(tmp_path):
    dialogue = Dialogue("9", "x", "5", "", "1")
    rows = dialogue.run(["E_x_60_motion.png", "nonsense.png", *PICTURES], tmp_path / "o.csv")
    assert [(row.filename, row.manual_grade) for row in rows] == [("A", 5), ("B", 2), ("C", 4), ("D", 1)]
    assert sum("Skipping" in text for text in dialogue.said) == 2
    assert sum("is not a grade" in text for text in dialogue.said) == 2
    assert dialogue.shown == [PICTURES[0], PICTURES[2], PICTURES[3]]
    assert dialogue.said[-1] == "1 of 4 were accepted unseen. 66.67% of the 3 you looked at kept their grade."


def test_an_interrupted_confirmation_goes_on(tmp_path):
    path = tmp_path / "o.csv"
    with pytest.raises(KeyboardInterrupt):
        Dialogue("5", "1").run(PICTURES, path)
    assert path.read_text(encoding="utf-8").splitlines()[1:] == ["A,5,3,60", "B,2,2,75", "C,1,4,10"]
    second = Dialogue("2")
    rows = second.run(PICTURES, path)
    assert [row.manual_grade for row in rows] == [5, 2, 1, 2]
    assert len(second.prompts) == 1
    path.write_text(path.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8-sig")  # as Excel may save it
    again = Dialogue()
    assert again.run([PICTURES[3], *PICTURES[:3]], path) == [rows[3], *rows[:3]]
    assert again.prompts == []


def test_confirm_never_overwrites_foreign_grades(tmp_path):
    path = tmp_path / "o.csv"
    Dialogue("5").run([PICTURES[0]], path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="grades of other scans"):
        Dialogue("1").run([PICTURES[2]], path)
    assert path.read_bytes() == before
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a table of confirmed grades"):
        Dialogue("1").run(PICTURES, path)


def test_nothing_to_confirm(tmp_path):
    with pytest.raises(NothingToConfirmError, match="_motion.png"):
        Dialogue().run(["a_b.png"], tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_text(encoding="utf-8") == "filename,manual_grade,automatic_grade,confidence\n"


# ----- models


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "seeded", (19, 23, 33))


def archive_of(folder: Path, path: Path) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as pack:
            for file in folder.iterdir():
                pack.write(file, f"model/{file.name}")
            pack.writestr("README.txt", "hello")
    else:
        with tarfile.open(path, "w:gz") as pack:
            pack.add(folder, "model")
    return path


def test_register_choose_and_replace(tmp_path, weights):
    root = tmp_path / "models"
    registry.register(weights, root, "mine", {"version": "2"})
    registry.register(archive_of(weights, tmp_path / "a.zip"), root, "zipped")
    registry.register(archive_of(weights, tmp_path / "a.tar.gz"), root, "tarred", make_default=True)
    registry.register(weights / "DNN_0.pt", root, "mine", {"version": "3"})
    found = registry.read_registry(root)
    assert [(model.model_id, model.checkpoint_count) for model in found.models] == [
        ("mine", 1),
        ("tarred", 3),
        ("zipped", 3),
    ]
    assert found.default_id == "tarred"
    choice = registry.choose("mine", root)
    assert (choice.model_id, choice.version) == ("mine", "3")
    assert registry.version_text(choice, "0") == "mine@3:DNN_0.pt"
    assert sorted(path.name for path in root.iterdir()) == ["mine", "model_registry.json", "tarred", "zipped"]


def test_choices_of_weights(tmp_path, weights):
    assert registry.choose("starter").weights == "starter"
    assert registry.choose("motion-starter").path is None
    folder = registry.choose(str(weights))
    assert (folder.model_id, folder.path) == ("seeded", weights.resolve())
    assert registry.choose(str(weights / "DNN_1.pt")).model_id == "DNN_1"
    with pytest.raises(InputError, match="none yet"):
        registry.choose("unheard-of", tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        registry.choose(str(tmp_path / "gone"))
    with pytest.raises(WeightsError, match="no weights"):
        registry.choose(str(tmp_path))
    assert registry.read_registry(weights).models[0].model_id == "base-v1", "published models folder without a registry"


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path(Evil.target),))


def test_what_is_no_motion_model_is_refused_and_nothing_changes(tmp_path, weights):
    import torch

    root = tmp_path / "models"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    torch.save({"layer.weight": torch.zeros(3)}, foreign / "DNN_0.pt")
    with pytest.raises(WeightsError, match=r"conv1\.weight"):
        registry.register(foreign, root, "mine")
    Evil.target = str(tmp_path / "ran")
    (foreign / "DNN_0.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError):
        registry.register(foreign, root, "mine")
    assert not Path(Evil.target).exists(), "code in a weight file must never run"
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as pack:
        pack.writestr("../DNN_0.pt", b"x")
    with pytest.raises(WeightsError, match="lead out of it"):
        registry.register(tmp_path / "evil.zip", root, "mine")
    for bad in ("", "a/b", "..", "starter", "motion-starter"):
        with pytest.raises(InputError):
            registry.register(weights, root, bad)
    assert not root.exists() or not any(root.glob("*"))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"models": [{"model_id": "a"}, {"model_id": "a"}]}, "doubled"),
        ({"models": [{"model_id": ""}]}, "missing or doubled"),
        ({"models": [{"model_id": "a"}], "default_model_id": "b"}, "names 'b' as default"),
        ({"models": [{"model_id": "a", "relative_dir": "../.."}]}, "outside the models folder"),
        ([], "not a model registry"),
        ({"models": [{"display_name": "x"}]}, "not a model registry"),
    ],
)
def test_a_broken_registry_is_said(tmp_path, record, message):
    (tmp_path / "model_registry.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        registry.read_registry(tmp_path)


# ----- batches


@pytest.fixture
def choices(weights) -> Choices:
    return Choices(registry.choose(str(weights)), stack_height=3)


def test_grade_writes_the_published_picture_and_our_tables(tmp_path, choices):
    out = tmp_path / "out"
    write_scan(tmp_path / "data" / "S1.x.AIM")
    (outcome,) = grade_files([tmp_path / "data"], out, choices)
    result = outcome.result
    assert sorted(path.name for path in out.iterdir()) == [
        f"S1_{result.grade}_{int(result.mean_confidence * 100)}_motion.png",
        "S1_motion.json",
        "S1_report.html",
        "S1_slices.csv",
        "S1_stacks.csv",
        "motion_grades.csv",
        "report.html",
    ]
    (row,) = csv.DictReader((out / "motion_grades.csv").open(encoding="utf-8"))
    assert (row["scan"], row["status"], row["grade"]) == ("S1", "graded", str(result.grade))
    assert row["worst_stack_grade"] == str(result.worst_stack_grade)
    assert sum(float(row[f"mean_probability_{grade}"]) for grade in range(1, 6)) == pytest.approx(1, abs=1e-3)
    assert [line["slice"] for line in csv.DictReader((out / "S1_slices.csv").open(encoding="utf-8"))] == list("012345")


def test_a_finished_scan_is_kept_until_file_or_choices_change(tmp_path, choices):
    from dataclasses import replace

    scan, out = write_scan(tmp_path / "S1.AIM"), tmp_path / "out"
    statuses = lambda **options: [each.status for each in grade_files([scan], out, **options)]
    assert statuses(choices=choices) == ["graded"]
    assert statuses(choices=choices) == ["kept"]
    assert statuses(choices=choices, force=True) == ["graded"]
    assert statuses(choices=replace(choices, stack_height=2)) == ["graded"]
    assert statuses(choices=replace(choices, rules="legacy")) == ["graded"]
    assert len(list(out.glob("*_motion.png"))) == 1, "the picture of an earlier grade must not count twice"
    write_scan(scan, seed=9)
    assert statuses(choices=replace(choices, rules="legacy")) == ["graded"]
    next(out.glob("*_motion.png")).unlink()
    assert statuses(choices=replace(choices, rules="legacy")) == ["graded"], "a result without its picture is not whole"


def test_a_report_asked_for_later_is_written_without_grading_again(tmp_path, choices):
    scan, out = write_scan(tmp_path / "S1.AIM"), tmp_path / "out"
    grade_files([scan], out, choices, report=False)
    assert [each.status for each in grade_files([scan], out, choices)] == ["kept"]
    assert "S1_report.html" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "S1_report.html").exists()


def test_a_dicom_folder_is_graded_again_when_a_slice_changed(tmp_path):
    (tmp_path / "series").mkdir()
    slices = [tmp_path / "series" / f"{number}.dcm" for number in range(3)]
    for path in slices:
        path.write_bytes(b"0")
    before = file_stamp(tmp_path / "series")
    os.utime(slices[1], ns=(0, before["modified_ns"] + 10**9))  # written in place: the folder's own time stays
    assert file_stamp(tmp_path / "series") != before


def test_a_summary_saved_by_a_spreadsheet_keeps_its_rows(tmp_path, choices):
    out = tmp_path / "out"
    grade_files([write_scan(tmp_path / "S1.AIM")], out, choices, report=False)
    summary = out / "motion_grades.csv"
    summary.write_text(summary.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8-sig")
    grade_files([write_scan(tmp_path / "S2.AIM")], out, choices, report=False)
    rows = list(csv.DictReader(summary.open(encoding="utf-8")))
    assert [(row["scan"], row["status"]) for row in rows] == [("S1", "graded"), ("S2", "graded")]
    for damaged, message in (("scan;file\nJürgen;x\n".encode("cp1252"), "UTF-8"), (b"a,b\n1,2\n", "no column scan")):
        summary.write_bytes(damaged)
        with pytest.raises(InputError, match=message):
            grade_files([write_scan(tmp_path / "S3.AIM")], out, choices)
        assert not (out / "S3_motion.json").exists(), "told before the long work"


def test_unreadable_scans_are_listed_and_the_others_graded(tmp_path, choices):
    write_scan(tmp_path / "good.AIM")
    (tmp_path / "empty.AIM").touch()
    (tmp_path / "cut.AIM").write_bytes((tmp_path / "good.AIM").read_bytes()[:-1000])
    (tmp_path / "x_mask.AIM").touch()
    files = [tmp_path / name for name in ("empty.AIM", "cut.AIM", "good.AIM", "x_mask.AIM")]
    outcomes = {each.name: each for each in grade_files(files, tmp_path / "out", choices)}
    assert {name: each.status for name, each in outcomes.items()} == {
        "x_mask": "left out",
        "empty": "skipped",
        "cut": "skipped",
        "good": "graded",
    }
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Not graded: 2 of 4 scans" in page
    rows = {row["scan"]: row for row in csv.DictReader((tmp_path / "out" / "motion_grades.csv").open(encoding="utf-8"))}
    assert rows["empty"]["reason"] == outcomes["empty"].reason != ""


def test_a_run_that_leaves_out_all_it_was_given_says_how_to_grade_it(tmp_path, capsys):
    (tmp_path / "S_MASK.AIM").touch()
    assert cli.main(["motion", "grade", str(tmp_path / "S_MASK.AIM"), "--out", str(tmp_path / "out")]) == 3
    assert "rename it" in capsys.readouterr().err


def test_scans_of_the_same_name_do_not_overwrite_each_other(tmp_path):
    files = [tmp_path / "a" / "S.AIM", tmp_path / "b" / "S.AIM", tmp_path / "T.AIM"]
    names = dict(unique_names(files, lambda name, path: name == "T"))
    assert list(names) == ["a_S", "b_S", f"{tmp_path.name}_T"]
    assert list(names.values()) == files
    alike = dict(unique_names([tmp_path / "S.AIM", tmp_path / "s.AIM"], lambda name, path: False))
    assert len({name.lower() for name in alike}) == 2, "Windows and macOS would write one over the other"


def test_an_output_that_cannot_be_written_is_said(tmp_path, choices, monkeypatch):
    scan = write_scan(tmp_path / "S1.AIM")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be written"):
        grade_files([scan], tmp_path / "file" / "out", choices)

    import errno

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="disk is full"):
        grade_files([scan], tmp_path / "out", choices)
    monkeypatch.undo()
    assert not (tmp_path / "out" / "S1_motion.json").exists(), "an unfinished scan must not look finished"
    assert [each.status for each in grade_files([scan], tmp_path / "out", choices)] == ["graded"]


def test_nothing_to_grade(tmp_path, choices):
    with pytest.raises(InputError, match="No scans were given"):
        grade_files([], tmp_path / "out", choices)
    with pytest.raises(InputError, match="does not exist"):
        grade_files([tmp_path / "gone"], tmp_path / "out", choices)


# ----- data sets


@pytest.fixture
def study(tmp_path) -> Path:
    write_scan(tmp_path / "study" / "SUB1_DT_T1.AIM")
    write_scan(tmp_path / "study" / "deep" / "SUB2_RL_BL.AIM;3", seed=1)
    (tmp_path / "study" / "SUB3_DT_T1.AIM").write_bytes(b"nothing of the kind")
    return tmp_path / "study"


def run_predict(study: Path, choices: Choices, **options):
    root = results_root(study)
    return root, predict(discover(study), root, PredictOptions(choices, **options))


def test_predict_leaves_the_published_layout(study, choices):
    root, outcomes = run_predict(study, choices)
    assert [each.status for each in outcomes] == ["graded", "graded", "skipped"]
    index = read_index(root)
    assert list(index[0]) == list(INDEX_COLUMNS)
    row = next(row for row in index if row["subject_id"] == "SUB2")
    assert row["predictions_tsv"] == "deep/predictions/models/seeded/predictions.tsv"
    assert row["preview_png_path"] == f"deep/preview/models/seeded/{row['scan_id']}_preview.png"
    assert row["review_tsv"] == "deep/review/models/seeded/review.tsv"
    for name in (
        "predictions_tsv",
        "review_tsv",
        "review_json",
        "review_audit",
        "preview_png_path",
        "slice_profile_png_path",
    ):
        assert (root / row[name]).is_file(), name
    raw = (root / row["predictions_tsv"]).read_bytes()
    assert raw.startswith("\t".join(PREDICTION_COLUMNS).encode() + b"\r\n")
    (prediction,) = read_rows(root / row["predictions_tsv"])
    grades = json.loads(prediction["slice_grades"])
    assert len(grades) == 6
    assert prediction["automatic_grade"] == str(int(np.round(np.mean(grades))))
    assert prediction["model_version"] == "seeded@unversioned:DNN_0.pt+DNN_1.pt+DNN_2.pt"
    assert json.loads(prediction["stack_ranges"]) == [[0, 3], [3, 6]]
    summary = list(csv.DictReader((root / "predict_summary.csv").open(encoding="utf-8")))
    assert [line["status"] for line in summary] == ["graded", "graded", "skipped"]
    assert "SUB3_DT_T1.AIM is not" in summary[2]["reason"]


def test_predict_goes_on_and_keeps_decisions(study, choices):
    root, _ = run_predict(study, choices)
    scan = read_index(root)[0]
    files = review_store.ReviewFiles((root / scan["review_tsv"]).parent)
    review_store.apply_grade(files, scan["scan_id"], 5, "Anna")
    before = (root / "index.tsv").read_bytes()
    _, outcomes = run_predict(study, choices)
    assert [each.status for each in outcomes] == ["kept", "kept", "skipped"]
    assert (root / "index.tsv").read_bytes() == before
    _, outcomes = run_predict(study, choices, force=True)
    assert [each.status for each in outcomes] == ["graded", "graded", "skipped"]
    assert read_rows(files.table)[0]["manual_grade"] == "5"


def test_two_models_keep_their_own_results_and_reviews(study, choices, tmp_path):
    root, _ = run_predict(study, choices)
    other = Choices(registry.choose(str(write_weights(tmp_path / "other", (1,)))), stack_height=3)
    run_predict(study, other)
    index = read_index(root)
    assert [row["model_id"] for row in index] == ["other", "seeded", "other", "seeded"]
    assert len({row["review_tsv"] for row in index}) == 4


def test_the_published_program_finds_its_rows_complete(study, choices):
    """A row without our JSON beside it, as the published program leaves it, counts as graded."""
    root, _ = run_predict(study, choices)
    for path in root.rglob("*_motion.json"):
        path.unlink()
    _, outcomes = run_predict(study, choices)
    assert [each.status for each in outcomes][:2] == ["kept", "kept"]


def test_blind_prediction_draws_no_grades(study, choices):
    root, _ = run_predict(study, choices, blind=True)
    row = read_index(root)[0]
    assert row["slice_profile_png_path"] == ""
    assert not list(root.rglob("*_slice_profile.png"))
    (review,) = read_rows(root / row["review_tsv"])
    assert (review["review_status"], review["final_grade"]) == ("training_pending", "")
    assert (explain_dataset(root, choices)[0]).reason == "the scan waits for its blind grade"


def test_going_on_with_a_blind_study_keeps_it_blind(study, choices):
    """Threshold and blind mode are the study's until something else is asked for."""
    root, _ = run_predict(study, choices, threshold=60, blind=True)
    write_scan(study / "SUB4_DT_T1.AIM", seed=4)
    run_predict(study, choices)
    reviews = [row for scan in read_index(root) for row in read_rows(root / scan["review_tsv"])]
    assert [(row["review_status"], row["confidence_threshold"]) for row in reviews] == [("training_pending", "60")] * 3
    assert not list(root.rglob("*_slice_profile.png"))
    run_predict(study, choices, blind=False)
    assert not ReviewSession(root).blind


def test_manual_only_uses_no_network_and_keeps_earlier_grades(study, choices, monkeypatch):
    root, _ = run_predict(study, choices)
    known = {row["scan_id"]: row["automatic_grade"] for row in read_index(root)}
    monkeypatch.setattr(dataset, "Grader", None)
    write_scan(study / "SUB4_DT_T1.AIM")
    _, outcomes = run_predict(study, choices, manual_only=True)
    assert [each.status for each in outcomes] == ["graded", "graded", "skipped", "graded"]
    for row in read_index(root):
        assert row["manual_mode"] == "1"
        assert row["automatic_grade"] == known.get(row["scan_id"], "")
        (review,) = [each for each in read_rows(root / row["review_tsv"]) if each["scan_id"] == row["scan_id"]]
        assert (review["review_status"], review["final_grade"]) == ("pending", "")


def test_explain_lies_beside_the_other_results(study, choices, tmp_path):
    from SpineMotionToolsLib.common.volumes import read_volume
    from SpineMotionToolsLib.motion.inputs import open_scan

    root, _ = run_predict(study, choices)
    row = next(row for row in read_index(root) if row["subject_id"] == "SUB2")
    (outcome,) = explain_dataset(root, choices, scan_ids=[row["scan_id"]])
    assert outcome.status == "explained"
    row = next(row for row in read_index(root) if row["subject_id"] == "SUB2")
    assert row["attention_map_path"] == f"deep/explain/{row['scan_id']}_gradcam.mha"
    volume = read_volume(root / row["attention_map_path"])
    scan = open_scan(study / "deep" / "SUB2_RL_BL.AIM;3")
    np.testing.assert_allclose(volume.ijk_to_ras, scan.info.ijk_to_ras, atol=1e-6)
    assert volume.array.shape == (6, 50, 60)
    assert 0 <= volume.array.min() < volume.array.max() == 1
    run_predict(study, choices, force=True)
    assert next(each for each in read_index(root) if each["subject_id"] == "SUB2")["attention_map_path"] != ""
    with pytest.raises(InputError, match="there are results of: seeded"):
        explain_dataset(root, Choices())

    other = Choices(registry.choose(str(write_weights(tmp_path / "other", (5,)))), stack_height=3)
    predict(discover(study), root, PredictOptions(other, pictures=False), [row["scan_id"]])
    explain_dataset(root, other)
    maps = {each["model_id"]: each["attention_map_path"] for each in read_index(root) if each["attention_map_path"]}
    assert maps["other"] == f"deep/explain/models/other/{row['scan_id']}_gradcam.mha"
    np.testing.assert_array_equal(read_volume(root / maps["seeded"]).array, volume.array)


def test_unknown_scan_id_and_missing_results_are_said(study, choices):
    root = results_root(study)
    with pytest.raises(InputError, match="motion discover"):
        predict(discover(study), root, PredictOptions(choices), scan_ids=["zz"])
    with pytest.raises(InputError, match="motion predict"):
        find_results(study)


def test_the_module_grades_a_folder_in_a_child_process(study, weights):
    from SpineMotionToolsLib.common.jobs import run_job

    asked = {"root": str(study), "model": str(weights), "stack_height": 3, "threshold": 60.0, "unit": "auto"}
    seen = []
    done = run_job("motion.tasks:predict", asked, lambda done, of, text: seen.append((done, of)))
    assert (done["graded"], done["kept"]) == (2, 0)
    assert [line["scan"] for line in done["skipped"]] == ["SUB3_DT_T1.AIM"]
    assert find_results(study) == Path(done["results"])
    assert seen[-1] == (3, 3)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_merging_keeps_the_attention_map():
    rows = merge_row([], {"scan_id": "a", "attention_map_path": "x.mha", "n": 1}, ["scan_id"])
    rows = merge_row(rows, {"scan_id": "a", "attention_map_path": "", "n": None}, ["scan_id"])
    assert rows == [{"scan_id": "a", "attention_map_path": "x.mha", "n": ""}]


# ----- training data


@settings(max_examples=60)
@given(
    st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=60, unique=True),
    st.integers(0, 99),
    st.integers(1, 12),
)
def test_subjects_are_split_by_ratio_and_stay_in_their_place(subjects, seed, folds):
    places = place_subjects(subjects, seed, folds)
    assert list(places) == subjects
    assert places == {**places, **place_subjects(subjects[::-1], seed, folds)}
    counts = {split: sum(place.split == split for place in places.values()) for split in ("train", "val", "test")}
    if len(subjects) >= 3:
        assert min(counts.values()) >= 1
        exact = {"train": 0.7, "val": 0.15, "test": 0.15}
        assert all(abs(counts[split] - share * len(subjects)) < 2 for split, share in exact.items())
    sizes = [sum(place.fold == fold for place in places.values()) for fold in range(folds)]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=60)
@given(st.integers(0, 400), st.text(max_size=8), st.integers(0, 20), st.integers(1, 9), st.integers(0, 50))
def test_one_slice_comes_from_every_bin(depth, scan, count, step, seed):
    drawn = sample_slices(depth, scan, count, step, seed)
    assert drawn.dtype == np.int64
    np.testing.assert_array_equal(drawn, sample_slices(depth, scan, count, step, seed))
    if depth and count:
        bins = min(count, depth)
        edges = np.linspace(0, depth, bins + 1, dtype=int)
        assert [np.searchsorted(edges, z, side="right") - 1 for z in drawn] == list(range(bins))
    else:
        assert drawn.tolist() == list(range(0, depth, step)) * (count == 0)


def test_labels_of_slices():
    manual = slice_labels([1, 5], 4)
    assert [(label.slice_index, label.label, label.weight) for label in manual] == [(1, 4, 1.0), (5, 4, 1.0)]
    assert {label.source for label in manual} == {"manual_scan_propagated"}
    assert slice_labels([0, 1], None, [2, 3], [0.9, 0.9]) == []
    automatic = slice_labels([0, 1, 2], None, [2, 3, 4], [0.9, np.float32(0.7), 0.69], include_automatic=True)
    assert [(label.label, round(label.weight, 3), label.source) for label in automatic] == [
        (2, 0.9, "auto_slice"),
        (3, 0.7, "auto_slice"),
    ]


def test_loss_by_hand():
    import torch

    probabilities = torch.tensor([[0.5, 0.5, 0, 0, 0], [0.25, 0, 0.75, 0, 0]], requires_grad=True)
    loss = training_data.weighted_loss(probabilities, torch.tensor([0, 2]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx((np.log(2) - 3 * np.log(0.75)) / 4)
    loss.backward()
    assert probabilities.grad is not None
    none = training_data.weighted_loss(probabilities, torch.tensor([0, 2]), torch.zeros(2))
    assert none.item() == 0

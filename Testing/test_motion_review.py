"""Reviewing motion grades: states, undo, queue, agreement, export, and that blind mode leaks nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common.errors import InputError, OutputError
from SpineMotionToolsLib.motion import agreement, grade_exports, review_store
from SpineMotionToolsLib.motion.derivatives import read_rows
from SpineMotionToolsLib.motion.review import AUTOMATIC, ReviewSession
from SpineMotionToolsLib.motion.review_store import ReviewFiles

from Testing.motion_samples import make_results_folder

SCANS = {"s1": (2, 80), "s2": (4, 60), "s3": (1, 75), "s4": (None, None)}


class Clock:
    """Every call is a second later."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return f"2026-01-01T{self.calls // 3600:02d}:{self.calls // 60 % 60:02d}:{self.calls % 60:02d}+00:00"


def open_session(root: Path, scans=SCANS, reviewer="Anna", **options) -> ReviewSession:
    return ReviewSession(make_results_folder(root, scans), reviewer, clock=Clock(), **options)


def audit_of(session: ReviewSession, scan: str) -> list[dict[str, str]]:
    return read_rows(session.root / scan / "review" / "models" / "motion-starter" / "review_audit.tsv")


# ----- the store


@pytest.mark.parametrize(
    ("prediction", "threshold", "training", "status", "final"),
    [
        ({"automatic_grade": "3", "automatic_confidence": "75"}, 75, False, "auto_accepted", "3"),
        ({"automatic_grade": "3", "automatic_confidence": "74"}, 75, False, "pending", ""),
        ({"automatic_grade": "3", "automatic_confidence": "99"}, 75, True, "training_pending", ""),
        ({"automatic_grade": "", "automatic_confidence": "", "manual_mode": "1"}, 0, True, "pending", ""),
        ({"automatic_grade": "3", "automatic_confidence": ""}, 0, False, "pending", ""),
    ],
)
def test_first_state(tmp_path, prediction, threshold, training, status, final):
    row = review_store.initialise(ReviewFiles(tmp_path), {"scan_id": "s"} | prediction, threshold, training)
    assert (row["review_status"], row["final_grade"]) == (status, final)
    assert bool(row["reviewed_at"]) == (status == "auto_accepted")


def test_a_decision_survives_a_new_prediction(tmp_path):
    files = ReviewFiles(tmp_path)
    prediction = {"scan_id": "s", "automatic_grade": "3", "automatic_confidence": "50"}
    review_store.initialise(files, prediction, 75)
    review_store.apply_grade(files, "s", 4, "Anna")
    row = review_store.initialise(files, prediction | {"automatic_grade": "1", "automatic_confidence": "99"}, 75)
    assert (row["manual_grade"], row["final_grade"], row["automatic_grade"]) == ("4", "4", "1")
    assert row["review_status"] == "manual_override"


@pytest.mark.parametrize("grade", [0, 6, -1, "x", 2.5])
def test_only_grades_one_to_five_are_taken(tmp_path, grade):
    files = ReviewFiles(tmp_path)
    review_store.initialise(files, {"scan_id": "s", "automatic_grade": "3", "automatic_confidence": "50"})
    before = files.table.read_bytes(), files.audit.read_bytes()
    with pytest.raises(InputError, match="1, 2, 3, 4 or 5"):
        review_store.apply_grade(files, "s", grade, "Anna")
    assert (files.table.read_bytes(), files.audit.read_bytes()) == before


def test_grading_without_table_scan_or_reviewer_says_what_to_do(tmp_path):
    files = ReviewFiles(tmp_path)
    with pytest.raises(review_store.NoReviewError, match="review-init"):
        review_store.apply_grade(files, "s", 3, "Anna")
    review_store.initialise(files, {"scan_id": "s"})
    with pytest.raises(review_store.UnknownScanError, match="index.tsv"):
        review_store.apply_grade(files, "other", 3, "Anna")
    with pytest.raises(InputError, match="reviewer"):
        review_store.apply_grade(files, "s", 3, "  ")


def test_a_review_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be written"):
        review_store.initialise(ReviewFiles(tmp_path / "file" / "review"), {"scan_id": "s"})


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["grade", "clear", "undo"]), st.sampled_from(["A", "B"]), st.integers(1, 5)), max_size=12
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS, st.booleans())
def test_undo_always_returns_to_the_state_before(tmp_path_factory, operations, training):
    """Whatever was graded, cleared and undone: table and published replay of the audit agree with a plain model."""
    files, clock = ReviewFiles(tmp_path_factory.mktemp("undo")), Clock()
    prediction = {"scan_id": "s", "automatic_grade": "3", "automatic_confidence": "50"}
    review_store.initialise(files, prediction, 75, training, clock)
    model = [(None, {}, None)]  # (current (grade, reviewer), grades by reviewer, who acted)
    for kind, reviewer, grade in operations:
        current, grades, _ = model[-1]
        if kind == "grade":
            review_store.apply_grade(files, "s", grade, reviewer, clock=clock)
            model.append(((grade, reviewer), {**grades, reviewer: grade}, reviewer))
        elif kind == "clear":
            cleared = review_store.clear(files, reviewer, clock=clock)
            assert cleared == int(current is not None and current[1] == reviewer)
            if cleared:
                model.append((None, {k: v for k, v in grades.items() if k != reviewer}, reviewer))
        elif model[-1][2] == reviewer:
            review_store.undo(files, "s", reviewer, clock)
            model.pop()
        else:
            with pytest.raises(InputError, match="nothing of yours to undo"):
                review_store.undo(files, "s", reviewer, clock)
    current, grades, _ = model[-1]
    (row,) = read_rows(files.table)
    expected = (str(current[0]), current[1]) if current else ("", "")
    assert (row["manual_grade"], row["reviewer"]) == expected
    assert published_replay(read_rows(files.audit), row) == grades


def published_replay(audit, row) -> dict[str, int]:
    """The grades by reviewer as the published export reads them."""
    grades = {}
    for event in audit:
        if event["event"] == "clear_manual":
            grades.pop(event["reviewer"], None)
        elif event["manual_grade"]:
            grades[event["reviewer"]] = int(event["manual_grade"])
    if row["manual_grade"]:
        grades[row["reviewer"]] = int(row["manual_grade"])
    return grades


def test_two_processes_grading_one_folder_lose_nothing(tmp_path):
    import subprocess
    import sys

    files = ReviewFiles(tmp_path)
    for scan in "ab":
        review_store.initialise(files, {"scan_id": scan, "automatic_grade": "3", "automatic_confidence": "50"})
    code = (
        "import sys; from pathlib import Path; from SpineMotionToolsLib.motion.review_store import *\n"
        "for n in range(15): apply_grade(ReviewFiles(Path(sys.argv[1])), sys.argv[2], n % 5 + 1, sys.argv[2])"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), scan]) for scan in "ab"]
    assert [run.wait(60) for run in runs] == [0, 0]
    events = [row["scan_id"] for row in read_rows(files.audit) if row["event"] != "init"]
    assert events.count("a") == events.count("b") == 15
    assert {row["manual_grade"] for row in read_rows(files.table)} == {"5"}


# ----- the session


def test_queue_scopes_and_order(tmp_path):
    session = open_session(tmp_path)
    assert [item.scan_id for item in session.items("pending")] == ["s2", "s4"]
    assert [item.scan_id for item in session.items("low")] == ["s2", "s4"]
    assert [item.scan_id for item in session.items("all", text="S3")] == ["s3"]
    assert [item.scan_id for item in session.items(sort="agreement_percent", descending=True)] == [
        "s1",
        "s3",
        "s2",
        "s4",
    ]
    with pytest.raises(InputError, match="pending"):
        session.items("everything")


def test_walk_grade_and_history(tmp_path):
    session = open_session(tmp_path)
    assert session.next().scan_id == "s2"
    graded = session.grade(3, note="double\ncontour\there")
    assert (graded.status_text, graded.final_grade, graded.note) == ("changed", 3, "double contour here")
    assert session.next().scan_id == "s4"
    assert session.grade(5).status_text == "confirmed"
    assert session.next() is None
    assert [(entry.scan_id, entry.action, entry.grade) for entry in session.history()] == [
        ("s2", "graded", 3),
        ("s4", "graded", 5),
    ]
    again = ReviewSession(tmp_path, "Anna")
    assert again.item("s2") == graded, "every grade is on disk at once"


def test_undo_steps_back_through_the_session(tmp_path):
    session = open_session(tmp_path)
    session.grade(3, scan_id="s2")
    session.grade(5, scan_id="s2")
    session.grade(1, scan_id="s4")
    assert session.undo().scan_id == "s4"
    assert session.undo().my_grade == 3
    assert session.undo().my_grade is None
    assert session.item("s2").status_text == "to be reviewed"
    with pytest.raises(InputError, match="Nothing was graded"):
        session.undo()
    assert len(audit_of(session, "s2")) == 1 + 2 + 3, "init, two grades, and the two undone with one put back"


def test_clear_is_soft_and_can_be_undone(tmp_path):
    session = open_session(tmp_path)
    session.grade(3, scan_id="s2")
    session.grade(2, scan_id="s1")
    assert session.clear(reviewer="nobody") == 0
    assert session.clear() == 2
    assert session.item("s1").status_text == "accepted automatically"
    assert session.undo("s2").my_grade == 3


def test_clear_takes_back_every_reviewers_grades(tmp_path):
    """Also those that a later reviewer's replaced in the table, and those of stacks; each reviewer's can be undone."""
    anna, bert = open_session(tmp_path), ReviewSession(tmp_path, "Bert")
    anna.grade(3, scan_id="s2")
    anna.grade(5, scan_id="s2", stack=1)
    bert.grade(4, scan_id="s2")
    assert bert.clear(reviewer="Anna") == 2
    item = bert.item("s2")
    assert (item.reviewers, item.final_grade) == ({"Bert": 4}, 4)
    assert ReviewSession(tmp_path, "Anna").item("s2").my_stack_grades == {}
    assert ReviewSession(tmp_path, "Anna").history("s2")[-1].note == "stack=1;grade=5"
    assert ReviewSession(tmp_path, "Anna").undo("s2").reviewers == {"Anna": 3, "Bert": 4}
    again = ReviewSession(tmp_path)
    assert again.clear() == 2
    assert again.item("s2").reviewers == {}
    assert published_replay(audit_of(again, "s2"), again._scans["s2"].review) == {}


def test_stack_grades_and_notes_are_kept(tmp_path):
    session = open_session(tmp_path)
    session.select("s2")
    session.grade(5, stack=2)
    session.grade(1, stack=1)
    session.grade(4, stack=2)
    assert session.current.my_stack_grades == {1: 1, 2: 4}
    assert session.current.my_grade is None
    rows = csv.DictReader(session.export(tmp_path / "out")[1].open(encoding="utf-8"))
    shown = {row["scan_id"]: row["reviewed_stack_grades"] for row in rows}
    assert shown == dict.fromkeys(SCANS, "") | {"s2": "Anna: stack 1 grade 1, stack 2 grade 4"}
    assert ReviewSession(tmp_path, "Bert").item("s2").my_stack_grades == {}
    with pytest.raises(InputError, match="no stack 3"):
        session.grade(1, stack=3)


def test_grading_needs_a_reviewer_and_a_scan(tmp_path):
    session = open_session(tmp_path, reviewer=" ")
    with pytest.raises(InputError, match="Select a scan"):
        session.grade(3)
    session.select("s1")
    with pytest.raises(InputError, match="who is grading"):
        session.grade(3)
    with pytest.raises(InputError, match="part of this review"):
        session.select("zz")


def test_live_count_follows_the_threshold(tmp_path):
    session = open_session(tmp_path)
    assert [session.count_for_review(t) for t in (0, 60, 61, 75, 76, 81, 100)] == [1, 1, 2, 2, 3, 4, 4]
    session.grade(4, scan_id="s2")
    assert session.count_for_review(100) == 3, "a scan graded by a person needs no more review"
    session.configure(threshold=78)
    assert session.item("s3").status == "pending"
    assert session.item("s1").status == "auto_accepted"
    with pytest.raises(InputError, match="percentage"):
        session.configure(threshold=101)


def test_a_session_keeps_the_mode_it_finds(tmp_path):
    open_session(tmp_path, blind=True, threshold=60)
    again = ReviewSession(tmp_path, "Anna")
    assert (again.blind, again.threshold) == (True, 60)
    assert again.item("s1").hidden


def test_models_are_reviewed_apart(tmp_path):
    session = open_session(tmp_path)
    session.grade(3, scan_id="s2")
    make_results_folder(tmp_path, SCANS, model_id="other", predicted_at="2026-02-01T00:00:00+00:00")
    newest = ReviewSession(tmp_path, "Anna")
    assert newest.models == ["other", "motion-starter"]
    assert newest.model_id == "other"
    assert newest.item("s2").my_grade is None
    assert ReviewSession(tmp_path, "Anna", model_id="motion-starter").item("s2").my_grade == 3
    with pytest.raises(InputError, match="there are: other, motion-starter"):
        ReviewSession(tmp_path, model_id="third")
    grade_exports.export_grades(tmp_path)
    rows = read_rows(tmp_path / "motion_grades.tsv")
    assert [(row["scan_id"], row["model_id"], row["manual_grade"]) for row in rows[2:4]] == [
        ("s2", "motion-starter", "3"),
        ("s2", "other", ""),
    ]


def test_no_results_is_said(tmp_path):
    with pytest.raises(InputError, match="motion predict"):
        ReviewSession(tmp_path)


@pytest.mark.parametrize("name", ["../elsewhere/review.tsv", "/tmp/review.tsv"])
def test_a_table_cannot_name_files_outside_the_results(tmp_path, name):
    root = make_results_folder(tmp_path / "results", SCANS)
    text = (root / "index.tsv").read_text(encoding="utf-8").replace("s2/review/models/motion-starter/review.tsv", name)
    (root / "index.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="names a file outside"):
        ReviewSession(root)


# ----- blind mode


def observations(session: ReviewSession, folder: Path) -> dict[str, object]:
    """Everything a session gives out."""
    session.export(folder)
    compared = session.agreement()
    return {
        "items": [session.items(scope, sort=sort) for scope in ("pending", "low", "all") for sort in SORTS],
        "tooltips": [item.tooltip for item in session.items()],
        "table": session.table().rows,
        "html": session.table().to_html(),
        "counts": [session.count_for_review(threshold) for threshold in range(0, 101, 5)],
        "history": session.history(),
        "agreement": compared and json.dumps(compared.to_json()),
        "matrix": session.agreement_matrix(),
        "results": [(found := session.result(item.scan_id)) and found.to_json() for item in session.items()],
        "tsv": (folder / "motion_grades.tsv").read_bytes(),
        "csv": (folder / "motion_grades.csv").read_bytes(),
        "walk": [
            getattr(session.next(scope), "scan_id", None) for scope in ("pending", "low", "all") for _ in range(3)
        ],
    }


SORTS = ("scan_id", "agreement_percent", "automatic_grade", "status", "final_grade")
SECRET = st.tuples(st.integers(1, 5), st.integers(0, 100))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seen=st.lists(SECRET, min_size=1, max_size=2),
    one=st.lists(SECRET, min_size=3, max_size=3),
    other=st.lists(SECRET, min_size=3, max_size=3),
    grades=st.lists(st.integers(1, 5), min_size=2, max_size=2),
    undone=st.booleans(),
    earlier=st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_blind_mode_tells_nothing_about_ungraded_scans(tmp_path_factory, seen, one, other, grades, undone, earlier):
    """Data sets that differ only in what others think of scans this reviewer has not graded look the same."""
    told = []
    for number, secrets in enumerate((one, other)):
        root = tmp_path_factory.mktemp("blind")
        scans = {f"a{n}": value for n, value in enumerate(seen)} | {f"h{n}": value for n, value in enumerate(secrets)}
        make_results_folder(root, scans)
        if earlier:  # another reviewer has already confirmed or changed a grade in the open
            ReviewSession(root, "Bert", clock=Clock()).grade(earlier[number], scan_id="h0")
        session = ReviewSession(root, "Anna", blind=True, clock=Clock())
        for scan, grade in zip(scans, grades[: len(seen)]):
            session.grade(grade, scan_id=scan)
        session.grade(3, scan_id="h2", stack=1)
        if undone:
            session.undo()
            session.grade(grades[0], scan_id=f"a{len(seen) - 1}")
        told.append(observations(session, root / "out"))
    assert told[0] == told[1]


def test_blind_mode_shows_the_suggestion_after_the_grade(tmp_path):
    session = open_session(tmp_path, blind=True)
    assert len(session.items("pending")) == 4
    assert session.select("s1").automatic_grade is None
    assert session.result("s1") is None
    revealed = session.grade(3)
    assert (revealed.automatic_grade, revealed.agreement_percent, revealed.status_text) == (2, 80, "graded blind")
    assert session.result("s1").grade == 2
    assert len(session.items("pending")) == 3
    row = read_rows(session.root / "s1" / "review" / "models" / "motion-starter" / "review.tsv")[0]
    assert row["prediction_revealed_at"]
    session.undo()
    row = read_rows(session.root / "s1" / "review" / "models" / "motion-starter" / "review.tsv")[0]
    assert row["prediction_revealed_at"], "what has been seen stays on record"
    assert session.item("s1").hidden


def test_blind_mode_hides_other_reviewers_too(tmp_path):
    session = open_session(tmp_path, blind=True)
    session.grade(5, scan_id="s1")
    other = ReviewSession(tmp_path, "Bert")
    assert other.item("s1").hidden
    assert other.item("s1").reviewers == {}
    assert other.history() == []
    assert other.count_for_review(0) == 4


def test_the_plain_export_hides_scans_that_wait_for_a_blind_grade(tmp_path):
    session = open_session(tmp_path, blind=True)
    session.grade(3, scan_id="s2")
    grade_exports.export_grades(tmp_path)
    rows = {row["scan_id"]: row for row in read_rows(tmp_path / "motion_grades.tsv")}
    assert (rows["s1"]["automatic_grade"], rows["s1"]["automatic_confidence"], rows["s1"]["final_grade"]) == (
        "",
        "",
        "",
    )
    assert rows["s2"]["automatic_grade"] == "4"
    grade_exports.export_grades(tmp_path, hidden=grade_exports.show_all)
    assert read_rows(tmp_path / "motion_grades.tsv")[0]["automatic_grade"] == "2"


# ----- import


def test_import_fills_only_open_scans(tmp_path):
    session = open_session(tmp_path)
    table = tmp_path / "grades.csv"
    table.write_text("\ufeffscan_id;final_grade;reviewer\ns1;5;Dora\ns2;3.0;\ns4;9;Dora\nzz;1;\n", encoding="utf-8")
    counts = grade_exports.import_final_grades(tmp_path, table)
    assert counts.to_json() == {"imported": 1, "skipped_existing": 1, "missing_scan": 1}
    assert counts.invalid == ("line 4: '9' is not a grade 1 to 5",)
    fresh = ReviewSession(tmp_path, "Anna")
    assert fresh.item("s2").reviewers == {"import": 3}
    assert session.history("s2")[-1].action == "imported"


def test_import_of_a_foreign_table_names_the_columns(tmp_path):
    open_session(tmp_path)
    table = tmp_path / "x.csv"
    table.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="scan_id and final_grade"):
        grade_exports.import_final_grades(tmp_path, table)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        grade_exports.import_final_grades(tmp_path, table)


def test_tables_that_a_spreadsheet_saved_or_damaged(tmp_path):
    """Semicolons are read, a lost column is named, and a damaged summary is written anew."""
    session = open_session(tmp_path)
    session.grade(3, scan_id="s2")
    files = ReviewFiles(session.root / "s2" / "review" / "models" / "motion-starter")
    for path in (tmp_path / "index.tsv", files.table, files.audit):
        path.write_text(path.read_text(encoding="utf-8").replace("\t", ";"), encoding="utf-8-sig")
    files.json.write_text('{"cut', encoding="utf-8")
    session = ReviewSession(tmp_path, "Bert")
    assert session.grade(4, scan_id="s2").reviewers == {"Anna": 3, "Bert": 4}
    assert json.loads(files.json.read_text(encoding="utf-8"))["n_scans"] == 1
    for path, column in ((files.table, "review_status"), (tmp_path / "index.tsv", "model_id")):
        whole = path.read_bytes()
        path.write_bytes(whole.replace(column.encode(), b"other", 1))
        with pytest.raises(InputError, match=f"no column {column}"):
            ReviewSession(tmp_path, "Bert", threshold=20)
        path.write_bytes(whole)


# ----- agreement

PAIRS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=50)
@given(PAIRS)
def test_agreement_bounds_symmetry_and_intervals(pairs):
    forward, backward = agreement.agreement(pairs), agreement.agreement([(b, a) for a, b in pairs])
    assert forward.kappa == pytest.approx(backward.kappa, abs=1e-12)
    assert forward.kappa_weighted_quadratic == pytest.approx(backward.kappa_weighted_quadratic, abs=1e-12)
    assert -1 - 1e-9 <= forward.kappa <= 1
    found = agreement.compare(pairs, resamples=50)
    assert found.confusion.sum() == len(pairs)
    assert found.exact_interval[0] - 1e-12 <= forward.agreement_exact <= found.exact_interval[1] + 1e-12
    assert sum(found.difference_counts.values()) == len(pairs)
    assert (forward.agreement_exact == 1) == (forward.kappa == 1)


def test_pairs_without_two_grades_from_one_to_five_do_not_count():
    pairs = [(1, 1), (4, 5), (3, 2)]
    assert agreement.agreement([(0, 3), *pairs, (6, 1)]) == agreement.agreement(pairs)
    assert agreement.agreement([(0, 0)]) == agreement.agreement([])


def test_kappa_of_a_single_class_is_one():
    assert agreement.quadratic_kappa(np.array([[3]])) == 1.0


def test_comparison_by_hand():
    found = agreement.compare([(2, 2), (2, 3), (3, 3), (4, 3), (5, 5)])
    assert found.confusion[1].tolist() == [0, 1, 1, 0, 0]
    assert found.agreement.agreement_exact == 0.6
    assert found.within_one == 1
    assert found.mean_difference == 0
    assert found.sd_difference == pytest.approx(np.sqrt(2 / 4))
    assert found.limits == pytest.approx((-1.96 * np.sqrt(0.5), 1.96 * np.sqrt(0.5)))
    assert found.exact_interval == pytest.approx((0.2307, 0.8824), abs=1e-4)
    assert agreement.compare([]) is None
    assert agreement.compare([(1, 2)]).limits is None


def test_matrix_of_raters(tmp_path):
    session = open_session(tmp_path)
    session.grade(4, scan_id="s2")
    session.grade(2, scan_id="s1")
    bert = ReviewSession(tmp_path, "Bert")
    bert.grade(3, scan_id="s2")
    matrix = bert.agreement_matrix()
    assert set(matrix) == {(AUTOMATIC, "Anna"), (AUTOMATIC, "Bert"), ("Anna", "Bert")}
    assert (matrix[AUTOMATIC, "Anna"].n_scored, matrix[AUTOMATIC, "Anna"].agreement_exact) == (2, 1.0)
    assert matrix["Anna", "Bert"].agreement_exact == 0.0

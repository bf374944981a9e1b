"""The review tables of a folder: who graded which scan how, and everything that ever happened to it.

`review.tsv` holds the present state, one row per scan; `review_audit.tsv` every event; `review.json` the counts and the
agreement. States, events and bytes are the published ones. Undo is ours: it is written as published events, so that the
published program replays the same grades.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion.agreement import agreement
from SpineMotionToolsLib.motion.derivatives import Row, cell, merge_row, read_rows, utc_now, write_rows

REVIEW_COLUMNS = (
    "scan_id", "subject_id", "automatic_grade", "automatic_confidence", "manual_mode", "confidence_threshold",
    "manual_grade", "final_grade", "review_status", "training_mode", "prediction_revealed_at", "reviewer",
    "reviewed_at", "last_updated",
)  # fmt: skip
AUDIT_COLUMNS = (
    "timestamp", "scan_id", "event", "automatic_grade", "manual_grade", "final_grade", "reviewer", "notes",
)  # fmt: skip
STACK_COLUMNS = ("scan_id", "stack", "grade", "reviewer", "reviewed_at")

PENDING, TRAINING_PENDING, AUTO_ACCEPTED = "pending", "training_pending", "auto_accepted"
CONFIRMED, OVERRIDE, TRAINING_COMPLETED = "manual_confirmed", "manual_override", "training_completed"
CLEARED, IMPORTED = "clear_manual", "import_final_grade"
STACK_CLEARED = "clear_stack"
# Notes that mark an undo: the event taken back, and the earlier grade put in place again.
UNDONE, PUT_BACK = "undo", "undo: earlier grade"

Clock = Callable[[], str]


class UnknownScanError(InputError):
    """The review table has no such scan."""


class NoReviewError(InputError):
    """The folder has no review table yet."""


@dataclass(frozen=True)
class ReviewFiles:
    """The three published tables of one folder, and our table of grades per stack."""

    folder: Path

    @property
    def table(self) -> Path:
        return self.folder / "review.tsv"

    @property
    def json(self) -> Path:
        return self.folder / "review.json"

    @property
    def audit(self) -> Path:
        return self.folder / "review_audit.tsv"

    @property
    def stacks(self) -> Path:
        return self.folder / "review_stacks.tsv"


def as_grade(text: object) -> int | None:
    """A grade 1..5 from a cell, None when it is not one; statistics programs write 3 as 3.0."""
    try:
        grade = float(str(text).strip())
    except ValueError:
        return None
    return int(grade) if grade in (1, 2, 3, 4, 5) else None


def is_graded(row: Row) -> bool:
    """True when a person's decision stands in the row."""
    status = row["review_status"]
    return status.startswith("manual") or (status.startswith("training") and bool(row["manual_grade"]))


def initialise(
    files: ReviewFiles,
    prediction: Mapping[str, str],
    threshold: int = 75,
    training: bool = False,
    clock: Clock = utc_now,
) -> Row:
    """Enter a scan into the review or refresh what the prediction says about it; a person's decision stays.

    `prediction` holds scan_id, subject_id, automatic_grade, automatic_confidence (percent) and manual_mode.
    """
    now = clock()
    row = {name: cell(prediction.get(name)) for name in REVIEW_COLUMNS[:5]}
    row["manual_mode"] = row["manual_mode"] or "0"
    row |= {"confidence_threshold": str(threshold), "training_mode": str(int(training)), "last_updated": now}
    with _locked(files):
        rows = read_rows(files.table)
        old = _find(rows, row["scan_id"])
        if old is not None and is_graded(old):
            row = {**old, **row}
        else:
            row = _unreviewed(row, now)
        if old is None:
            _log(files, now, row, "init", notes=f"confidence_threshold={threshold};training_mode={int(training)}")
        rows = merge_row(rows, row, keys=("scan_id",))
        write_rows(files.table, REVIEW_COLUMNS, rows)
        _write_summary(files, rows, clock(), threshold, training)
    return row


def apply_grade(
    files: ReviewFiles,
    scan_id: str,
    grade: int,
    reviewer: str,
    note: str = "",
    event: str = "",
    clock: Clock = utc_now,
) -> Row:
    """Record a reviewer's grade 1..5 and return the row; an earlier reviewer's grade lives on in the audit.

    `event` renames the audit event (the new status by default). Raises InputError for a bad grade or reviewer,
    NoReviewError and UnknownScanError.
    """
    if as_grade(grade) is None:
        raise InputError(f"{grade} is not a motion grade; give 1, 2, 3, 4 or 5.")
    if not reviewer.strip():
        raise InputError("A grade needs a reviewer; give your initials or another id.")
    now = clock()
    with _locked(files):
        rows = _require_rows(files)
        row = _graded(_require(rows, scan_id), int(grade), reviewer.strip(), now)
        _log(files, now, row, event or row["review_status"], row["reviewer"], _one_line(note))
        _replace(files, rows, row, now)
    return row


def clear(files: ReviewFiles, reviewer: str = "", scan_id: str = "", clock: Clock = utc_now) -> int:
    """Take people's decisions back, all or one reviewer's or one scan's, and return how many; the audit keeps them."""
    now, cleared = clock(), 0
    notes = [f"{name}={value}" for name, value in (("reviewer_filter", reviewer), ("scan_filter", scan_id)) if value]
    with _locked(files):
        rows = _require_rows(files)
        if scan_id:
            _require(rows, scan_id)
        for row in rows:
            wanted = (not reviewer or row["reviewer"] == reviewer) and (not scan_id or row["scan_id"] == scan_id)
            if wanted and (row["manual_grade"] or row["review_status"].startswith(("manual", "training_completed"))):
                was = row["reviewer"]
                row.update(_unreviewed(row, now))
                _log(files, now, row, CLEARED, was, ";".join(notes))
                cleared += 1
        if cleared:
            _replace(files, rows, None, now)
    return cleared


def clear_others(files: ReviewFiles, reviewer: str = "", scan_id: str = "", clock: Clock = utc_now) -> int:
    """Take back what `clear`, as published, leaves: grades that a later reviewer replaced, and grades of stacks."""
    now, cleared = clock(), 0
    with _locked(files):
        audit, stacks = read_rows(files.audit), read_rows(files.stacks)
        for row in _require_rows(files):
            key, blank = row["scan_id"], row | {"manual_grade": "", "final_grade": ""}
            if scan_id not in ("", key):
                continue
            for name in replay(audit, key)[-1][0].by_reviewer:
                if name != row["reviewer"] and reviewer in ("", name):
                    _log(files, now, blank, CLEARED, name)
                    cleared += 1
            for stack in stacks:
                if stack["scan_id"] == key and stack["grade"] and reviewer in ("", stack["reviewer"]):
                    note = f"stack={stack['stack']};grade={stack['grade']}"
                    _log(files, now, blank, STACK_CLEARED, stack["reviewer"], note)
                    stack.update(grade="", reviewed_at=now)
                    cleared += 1
        if stacks:
            write_rows(files.stacks, STACK_COLUMNS, stacks)
    return cleared


@dataclass(frozen=True)
class Decision:
    """A grade somebody gave: the audit row that holds it."""

    grade: int
    reviewer: str
    timestamp: str
    event: str
    note: str


@dataclass(frozen=True)
class ScanState:
    """A scan after some event: the grade that counts now, and each reviewer's own."""

    current: Decision | None
    by_reviewer: Mapping[str, Decision]


def replay(audit: Sequence[Row], scan_id: str) -> list[tuple[ScanState, Row | None]]:
    """The states a scan went through with the event that led to each, undone ones left out; the first has none."""
    states: list[tuple[ScanState, Row | None]] = [(ScanState(None, {}), None)]
    for row in (row for row in audit if row["scan_id"] == scan_id):
        state, grade = states[-1][0], as_grade(row["manual_grade"])
        if row["notes"] == PUT_BACK:
            continue
        if row["event"] == CLEARED and row["notes"] == UNDONE:
            states = states[:-1] or states
        elif row["event"] == CLEARED:
            kept = {name: decision for name, decision in state.by_reviewer.items() if name != row["reviewer"]}
            current = state.current if state.current and state.current.reviewer != row["reviewer"] else None
            states.append((ScanState(current, kept), row))
        elif grade is not None:
            decision = Decision(grade, row["reviewer"], row["timestamp"], row["event"], row["notes"])
            states.append((ScanState(decision, {**state.by_reviewer, row["reviewer"]: decision}), row))
    return states


def undo(files: ReviewFiles, scan_id: str, reviewer: str, clock: Clock = utc_now) -> Row:
    """Take back the last grade or clearing of a scan, if it was this reviewer's, and return the row as it is then.

    `prediction_revealed_at` stays: what has been seen stays seen. Raises InputError when there is nothing of this
    reviewer to take back.
    """
    now = clock()
    with _locked(files):
        rows = _require_rows(files)
        row = dict(_require(rows, scan_id))
        states = replay(read_rows(files.audit), scan_id)
        last = states[-1][1]
        if last is None or last["reviewer"] != reviewer:
            whose = f"the last change is {last['reviewer']}'s" if last else "nobody has graded it"
            raise InputError(f"There is nothing of yours to undo on this scan: {whose}.")
        before = states[-2][0]
        revealed = row["prediction_revealed_at"]
        if before.current is None:
            row = _unreviewed(row, now)
        else:
            row = _graded(row, before.current.grade, before.current.reviewer, before.current.timestamp)
            row["last_updated"] = now
        row["prediction_revealed_at"] = revealed
        # In published events: the reviewer's grade goes away, and the one before it, if any, is given again.
        _log(files, now, row | {"manual_grade": "", "final_grade": ""}, CLEARED, reviewer, UNDONE)
        if decision := before.by_reviewer.get(reviewer):
            grade = str(decision.grade)
            _log(files, now, row | {"manual_grade": grade, "final_grade": grade}, decision.event, reviewer, PUT_BACK)
        _replace(files, rows, row, now)
    return row


def grade_stack(
    files: ReviewFiles, scan_id: str, stack: int, grade: int | None, reviewer: str, clock: Clock = utc_now
) -> None:
    """Record a reviewer's grade of one stack (numbered from 1); None takes it back."""
    if grade is not None and as_grade(grade) is None:
        raise InputError(f"{grade} is not a motion grade; give 1, 2, 3, 4 or 5.")
    with _locked(files):
        _require(_require_rows(files), scan_id)
        keys = ("scan_id", "stack", "reviewer")
        row = {"scan_id": scan_id, "stack": str(stack), "grade": str(grade or ""), "reviewer": reviewer}
        row["reviewed_at"] = clock()
        rows = merge_row(read_rows(files.stacks), row, keys)
        rows.sort(key=lambda row: (row["scan_id"], int(row["stack"] or 0), row["reviewer"]))
        write_rows(files.stacks, STACK_COLUMNS, rows)


def _unreviewed(row: Row, now: str) -> Row:
    """The row as if nobody had graded it: what its own mode and threshold make of the automatic grade."""
    status, final, reviewed_at = PENDING, "", ""
    confidence, threshold = row["automatic_confidence"], row["confidence_threshold"]
    if row["manual_mode"] == "1":
        pass
    elif row["training_mode"] == "1":
        status = TRAINING_PENDING
    elif confidence and float(confidence) >= float(threshold or 0):
        status, final, reviewed_at = AUTO_ACCEPTED, row["automatic_grade"], now
    state = {"review_status": status, "final_grade": final, "reviewed_at": reviewed_at, "last_updated": now}
    return {**row, "manual_grade": "", "prediction_revealed_at": "", "reviewer": "", **state}


def _graded(row: Row, grade: int, reviewer: str, when: str) -> Row:
    text = str(grade)
    if row["training_mode"] == "1":
        status = TRAINING_COMPLETED
    elif row["manual_mode"] == "1" or text == row["automatic_grade"]:
        status = CONFIRMED
    else:
        status = OVERRIDE
    revealed = when if status == TRAINING_COMPLETED else row["prediction_revealed_at"]
    state = {"review_status": status, "manual_grade": text, "final_grade": text, "prediction_revealed_at": revealed}
    return {**row, **state, "reviewer": reviewer, "reviewed_at": when, "last_updated": when}


def _log(files: ReviewFiles, now: str, row: Row, event: str, reviewer: str = "", notes: str = "") -> None:
    """Add an event to the audit. It is written before the table: a kill in between loses no decision."""
    entry = {**{name: row[name] for name in AUDIT_COLUMNS[1:6] if name != "event"}, "timestamp": now}
    entry |= {"event": event, "reviewer": reviewer, "notes": notes}
    write_rows(files.audit, AUDIT_COLUMNS, [*read_rows(files.audit), entry])


def _replace(files: ReviewFiles, rows: list[Row], row: Row | None, now: str) -> None:
    if row is not None:
        rows = merge_row(rows, row, keys=("scan_id",))
    write_rows(files.table, REVIEW_COLUMNS, rows)
    try:
        old = json.loads(files.json.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # written anew from the tables
        old = {}
    threshold = old.get("confidence_threshold", int(float(rows[0]["confidence_threshold"] or 75)))
    _write_summary(files, rows, now, threshold, old.get("training_mode", rows[0]["training_mode"] == "1"))


def _write_summary(files: ReviewFiles, rows: Sequence[Row], now: str, threshold: int, training: bool) -> None:
    from SpineMotionToolsLib.common.files import write_text

    pairs = [(as_grade(row["automatic_grade"]), as_grade(row["manual_grade"])) for row in rows]
    summary = {
        "schema_version": "1.1",
        "confidence_threshold": threshold,
        "training_mode": training,
        "updated_at": now,
        "n_scans": len(rows),
        "agreement": agreement([pair for pair in pairs if None not in pair]).to_json(),
    }
    write_text(files.json, json.dumps(summary, indent=2, sort_keys=True))


def _locked(files: ReviewFiles):
    from SpineMotionToolsLib.common.files import folder_lock

    return folder_lock(files.folder)


def _find(rows: Sequence[Row], scan_id: str) -> Row | None:
    return next((row for row in rows if row["scan_id"] == scan_id), None)


def _require_rows(files: ReviewFiles) -> list[Row]:
    if not files.table.exists():
        raise NoReviewError(f"{files.table} does not exist; run `spinemotion motion review-init` first.")
    return read_rows(files.table)


def _require(rows: Sequence[Row], scan_id: str) -> Row:
    row = _find(rows, scan_id)
    if row is None:
        raise UnknownScanError(f"No scan {scan_id!r} is under review here; look it up in index.tsv.")
    return row


def _one_line(note: str) -> str:
    return " ".join(note.split())

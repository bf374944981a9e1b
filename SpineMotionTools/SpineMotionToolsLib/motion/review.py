"""Review of a data set's grades by a person: queue, grades, undo, history, agreement, blind mode, export.

`ReviewSession` is what a window or a script works with. In blind mode it keeps one promise: of a scan that its reviewer
has not graded, nothing that follows from the automatic grade, or from other reviewers' grades, comes out of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion import review_store
from SpineMotionToolsLib.motion.agreement import Agreement, Comparison, agreement_matrix, compare
from SpineMotionToolsLib.motion.derivatives import find_results, inside, numbers, read_rows, result_name, utc_now
from SpineMotionToolsLib.motion.grade_exports import (
    ReviewedScan,
    collect,
    export_grades,
    read_scan,
    review_files,
    review_mode,
)
from SpineMotionToolsLib.motion.review_store import as_grade

if TYPE_CHECKING:
    from SpineMotionToolsLib.common.tables import Table
    from SpineMotionToolsLib.motion.results import MotionResult

SCOPES = ("pending", "low", "all")
STATUS_TEXTS = {
    "hidden": "to be graded",
    review_store.PENDING: "to be reviewed",
    review_store.TRAINING_PENDING: "to be graded",
    review_store.AUTO_ACCEPTED: "accepted automatically",
    review_store.CONFIRMED: "confirmed",
    review_store.OVERRIDE: "changed",
    review_store.TRAINING_COMPLETED: "graded blind",
    "": "not in review",
}
DEFAULT_THRESHOLD = 75
AUTOMATIC = "automatic"
"""The networks' name among the raters of an agreement matrix."""


@dataclass(frozen=True)
class ReviewItem:
    """A scan as this session's reviewer may see it; what is hidden is None or empty.

    `agreement_percent` is the share of networks that agree, `my_grade` this reviewer's grade, `stack_ranges` the first
    and one past the last slice of each stack, `my_stack_grades` this reviewer's grade by stack number (from 1).
    """

    scan_id: str
    subject: str
    image_path: Path
    model_id: str
    hidden: bool
    status: str
    automatic_grade: int | None
    agreement_percent: int | None
    worst_stack_grade: int | None
    my_grade: int | None
    final_grade: int | None
    reviewers: dict[str, int]
    note: str
    stack_ranges: tuple[tuple[int, int], ...] = ()
    my_stack_grades: dict[int, int] = field(default_factory=dict)

    @property
    def status_text(self) -> str:
        return STATUS_TEXTS.get(self.status, self.status)

    @property
    def tooltip(self) -> str:
        """A few lines about the scan for a window."""
        lines = [f"{self.scan_id}", f"{self.image_path}", self.status_text]
        if self.automatic_grade is not None:
            lines.append(f"automatic grade {self.automatic_grade}, member agreement {self.agreement_percent} %")
        lines += [f"{name}: grade {grade}" for name, grade in self.reviewers.items()]
        return "\n".join([*lines, self.note] if self.note else lines)


@dataclass(frozen=True)
class HistoryEntry:
    """Something that was done to a scan; `action` is "graded", "imported", "cleared" or "undone"."""

    timestamp: str
    scan_id: str
    action: str
    grade: int | None
    reviewer: str
    note: str


class ReviewSession:
    """One reviewer's work on one model's results in a data set.

    `folder` is the data set or its results folder. Every grade is on disk when `grade` returns. `threshold` (percent)
    sends scans with less member agreement to review. In blind mode every scan is graded and nothing is suggested.
    Threshold and blind mode are those the data set was last reviewed with unless given. Raises InputError when there
    are no results.
    """

    def __init__(
        self,
        folder: Path,
        reviewer: str = "",
        blind: bool | None = None,
        threshold: int | None = None,
        model_id: str | None = None,
        clock: review_store.Clock = utc_now,
    ) -> None:
        self.root = find_results(folder)
        self.reviewer = reviewer.strip()
        self._clock = clock
        self._graded: list[str] = []
        self._current_id = ""
        scans = collect(self.root)
        self.models = list(dict.fromkeys(scan.index["model_id"] for scan in sorted(scans, key=_predicted_at)))[::-1]
        self.model_id = self.models[0] if model_id is None else model_id
        if self.model_id not in self.models:
            raise InputError(f"No results of the model {model_id!r} are here; there are: {', '.join(self.models)}.")
        self._scans = {scan.index["scan_id"]: scan for scan in scans if scan.index["model_id"] == self.model_id}
        found = review_mode(scan.review for scan in self._scans.values())
        self.threshold = DEFAULT_THRESHOLD if found[0] is None else found[0]
        self.blind = bool(found[1])
        self.configure(threshold, blind)

    # ----- what is to be reviewed

    def configure(self, threshold: int | None = None, blind: bool | None = None) -> None:
        """Change the threshold or the blind mode; scans nobody has graded change their status with it, on disk too."""
        self.threshold = self.threshold if threshold is None else int(threshold)
        self.blind = self.blind if blind is None else blind
        if not 0 <= self.threshold <= 100:
            raise InputError(f"The threshold {self.threshold} is not a percentage; give 0 to 100.")
        for scan_id, scan in self._scans.items():
            wanted = str(self.threshold), str(int(self.blind))
            if (scan.review.get("confidence_threshold"), scan.review.get("training_mode")) != wanted:
                files = review_files(self.root, scan.index)
                source = scan.review or scan.index
                review_store.initialise(files, source, self.threshold, self.blind, self._clock)
                self._reload(scan_id)

    def items(
        self, scope: str = "all", text: str = "", sort: str = "scan_id", descending: bool = False
    ) -> list[ReviewItem]:
        """The scans of a scope whose names or notes hold `text`, sorted by a field of `ReviewItem`.

        "pending" is what still needs a grade, "low" what the networks agree on less than the threshold, "all"
        everything.
        """
        if scope not in SCOPES:
            raise InputError(f"The scope {scope!r} is not known; use {', '.join(SCOPES)}.")
        found = [item for item in map(self.item, sorted(self._scans)) if self._in_scope(item, scope)]
        needle = text.strip().casefold()
        found = [item for item in found if needle in f"{item.scan_id}\n{item.image_path}\n{item.note}".casefold()]
        known = [item for item in found if getattr(item, sort) is not None]
        unknown = [item for item in found if getattr(item, sort) is None]
        return sorted(known, key=lambda item: getattr(item, sort), reverse=descending) + unknown

    def item(self, scan_id: str) -> ReviewItem:
        """One scan; raises InputError when it is not part of this review."""
        scan = self._scan(scan_id)
        hidden = self._is_hidden(scan)
        grades = {name: grade for name, grade in scan.reviewers.items() if not hidden or name == self.reviewer}
        stacks = [int(grade) for grade in numbers(scan.prediction.get("stack_grades", "")) if grade > 0]
        confidence = scan.index.get("automatic_confidence", "")
        return ReviewItem(
            scan_id=scan_id,
            subject=scan.index["subject_id"],
            image_path=Path(scan.index["raw_image_path"]),
            model_id=self.model_id,
            hidden=hidden,
            status="hidden" if hidden else scan.review.get("review_status", ""),
            automatic_grade=None if hidden else as_grade(scan.index.get("automatic_grade", "")),
            agreement_percent=None if hidden or not confidence else int(float(confidence)),
            worst_stack_grade=None if hidden or not stacks else max(stacks),
            my_grade=scan.reviewers.get(self.reviewer),
            final_grade=None if hidden else as_grade(scan.review.get("final_grade", "")),
            reviewers=grades,
            note="" if hidden else scan.note,
            stack_ranges=tuple((int(a), int(b)) for a, b in numbers(scan.prediction.get("stack_ranges", ""))),
            my_stack_grades=dict(scan.stack_grades.get(self.reviewer, {})),
        )

    def count_for_review(self, threshold: float) -> int:
        """How many scans a threshold (percent) would send to review; in blind mode all that are not graded yet."""
        if self.blind:
            return sum(self._is_hidden(scan) for scan in self._scans.values())
        return sum(
            not scan.review.get("manual_grade") and _below(scan.index.get("automatic_confidence", ""), threshold)
            for scan in self._scans.values()
        )

    def result(self, scan_id: str) -> MotionResult | None:
        """The scan's full result, None when it is hidden or was not saved."""
        from SpineMotionToolsLib.motion.results import MotionResult

        scan = self._scan(scan_id)
        if self._is_hidden(scan) or not scan.index.get("predictions_tsv"):
            return None
        path = inside(self.root, scan.index["predictions_tsv"]).with_name(result_name(scan_id))
        return MotionResult.from_json(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def table(self, scope: str = "all") -> Table:
        """The queue as a table."""
        from SpineMotionToolsLib.common.tables import Column, Table

        columns = [
            Column("scan"),
            Column("status"),
            Column("automatic grade"),
            Column("member agreement", "%", "share of networks that agree; not a probability of being right"),
            Column("my grade"),
            Column("final grade"),
            Column("note"),
        ]
        rows = [
            [i.scan_id, i.status_text, i.automatic_grade, i.agreement_percent, i.my_grade, i.final_grade, i.note]
            for i in self.items(scope)
        ]
        return Table("review", columns, rows)

    # ----- where the reviewer is

    @property
    def current(self) -> ReviewItem | None:
        """The scan being looked at."""
        return self.item(self._current_id) if self._current_id else None

    def select(self, scan_id: str) -> ReviewItem:
        self._scan(scan_id)
        self._current_id = scan_id
        return self.item(scan_id)

    def next(self, scope: str = "pending") -> ReviewItem | None:
        """Go to the scope's next scan, at the end to its first one; None when it is empty."""
        return self._step(scope, 1)

    def previous(self, scope: str = "all") -> ReviewItem | None:
        return self._step(scope, -1)

    # ----- what the reviewer does

    def grade(self, grade: int, note: str = "", scan_id: str = "", stack: int | None = None) -> ReviewItem:
        """Grade the current scan (or `scan_id`) and return it, now with the suggestion shown.

        With `stack` (from 1) only that stack gets the grade, and the scan stays open. Raises InputError without a
        reviewer, without a scan, or for a grade other than 1..5.
        """
        scan = self._scan(scan_id or self._current_id)
        files, key = review_files(self.root, scan.index), scan.index["scan_id"]
        self._require_reviewer()
        if stack is not None:
            if not 1 <= stack <= len(self.item(key).stack_ranges):
                raise InputError(f"The scan has no stack {stack}.")
            review_store.grade_stack(files, key, stack, grade, self.reviewer, self._clock)
        else:
            review_store.apply_grade(files, key, grade, self.reviewer, note, clock=self._clock)
            self._graded.append(key)
        self._reload(key)
        return self.item(key)

    def undo(self, scan_id: str = "") -> ReviewItem:
        """Take back this reviewer's last grade (of this session, or of one scan) and return that scan."""
        self._require_reviewer()
        key = scan_id or (self._graded[-1] if self._graded else "")
        if not key:
            raise InputError("Nothing was graded in this session; select a scan to undo its last grade.")
        review_store.undo(review_files(self.root, self._scan(key).index), key, self.reviewer, self._clock)
        if key in self._graded:
            del self._graded[len(self._graded) - 1 - self._graded[::-1].index(key)]
        self._reload(key)
        return self.select(key)

    def clear(self, reviewer: str = "", scan_id: str = "") -> int:
        """Take grades back (all, one reviewer's, one scan's) and return how many; `undo` of a scan brings them back."""
        scans = [self._scan(scan_id)] if scan_id else list(self._scans.values())
        tables = {review_files(self.root, scan.index) for scan in scans if scan.review}
        cleared = 0
        for files in tables:
            cleared += review_store.clear_others(files, reviewer, scan_id, self._clock)
            cleared += review_store.clear(files, reviewer, scan_id, self._clock)
        for scan in scans:
            self._reload(scan.index["scan_id"])
        return cleared

    def history(self, scan_id: str = "") -> list[HistoryEntry]:
        """What was done to one scan or all, oldest first; of a hidden scan only what this reviewer did."""
        entries = []
        for key in [scan_id] if scan_id else sorted(self._scans):
            scan = self._scan(key)
            hidden = self._is_hidden(scan)
            for row in read_rows(review_files(self.root, scan.index).audit):
                visible = row["scan_id"] == key and row["event"] != "init" and row["notes"] != review_store.PUT_BACK
                if visible and (not hidden or row["reviewer"] == self.reviewer):
                    entries.append(_history_entry(row))
        return sorted(entries, key=lambda entry: entry.timestamp)

    # ----- what comes out

    def agreement(self, reviewer: str | None = None) -> Comparison | None:
        """Automatic against a reviewer's grades (this session's reviewer by default); None while there are no pairs."""
        return compare(self._pairs(self.reviewer if reviewer is None else reviewer))

    def agreement_matrix(self) -> dict[tuple[str, str], Agreement]:
        """Every two raters, the networks (`AUTOMATIC`) first, on the scans that are not hidden."""
        grades: dict[str, dict[str, int]] = {AUTOMATIC: {}}
        for item in self.items():
            if item.automatic_grade is not None:
                grades[AUTOMATIC][item.scan_id] = item.automatic_grade
            if not item.hidden:
                for name, grade in item.reviewers.items():
                    grades.setdefault(name, {})[item.scan_id] = grade
        return agreement_matrix(grades)

    def export(self, folder: Path | None = None) -> tuple[Path, Path]:
        """Write `motion_grades.tsv` and `motion_grades.csv` (to the results folder by default); hidden stays hidden."""
        return export_grades(self.root, self.model_id, hidden=self._is_hidden, folder=folder)

    # ----- inside

    def _is_hidden(self, scan: ReviewedScan) -> bool:
        return self.blind and (not self.reviewer or self.reviewer not in scan.reviewers)

    def _in_scope(self, item: ReviewItem, scope: str) -> bool:
        if scope == "all" or item.hidden:
            return True
        if scope == "low":
            return item.agreement_percent is None or item.agreement_percent < self.threshold
        return item.status in (review_store.PENDING, review_store.TRAINING_PENDING, "")

    def _pairs(self, reviewer: str) -> Sequence[tuple[int, int]]:
        return [
            (item.automatic_grade, item.reviewers[reviewer])
            for item in self.items()
            if item.automatic_grade is not None and reviewer in item.reviewers
        ]

    def _step(self, scope: str, direction: int) -> ReviewItem | None:
        keys = [item.scan_id for item in self.items(scope)]
        if not keys:
            return None
        if direction > 0:
            key = next((key for key in keys if key > self._current_id), keys[0])
        else:
            key = next((key for key in reversed(keys) if key < self._current_id), keys[-1])
        return self.select(key)

    def _scan(self, scan_id: str) -> ReviewedScan:
        if not scan_id:
            raise InputError("Select a scan first.")
        if scan_id not in self._scans:
            raise InputError(f"No scan {scan_id!r} is part of this review.")
        return self._scans[scan_id]

    def _require_reviewer(self) -> None:
        if not self.reviewer:
            raise InputError("Say who is grading first: enter your initials or another reviewer id.")

    def _reload(self, scan_id: str) -> None:
        self._scans[scan_id] = read_scan(self.root, self._scans[scan_id].index)


def _predicted_at(scan: ReviewedScan) -> str:
    return scan.index.get("predicted_at", "")


def _below(confidence: str, threshold: float) -> bool:
    return not confidence or float(confidence) < threshold


def _history_entry(row: dict[str, str]) -> HistoryEntry:
    """An audit row in plain words that do not tell whether a grade agreed with the automatic one."""
    note = row["notes"]
    if row["event"] == review_store.CLEARED:
        action, note = ("undone", "") if note == review_store.UNDONE else ("cleared", note)
    elif row["event"] == review_store.STACK_CLEARED:
        action = "cleared"
    else:
        action = "imported" if row["event"] == review_store.IMPORTED else "graded"
    return HistoryEntry(row["timestamp"], row["scan_id"], action, as_grade(row["manual_grade"]), row["reviewer"], note)

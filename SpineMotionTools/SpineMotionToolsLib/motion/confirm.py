"""Confirm grades one picture at a time; the picture's file name holds scan, grade and percent.

The dialogue and the CSV are those of the published command line. Unlike it, a bad file name or answer is skipped or
asked again, every answer is saved at once, and an interrupted run goes on where it stopped; `strict=True` gives the
published behaviour.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.tables import read_sheet

CSV_COLUMNS = ("filename", "manual_grade", "automatic_grade", "confidence")


class NothingToConfirmError(InputError):
    """No picture's name could be read."""


@dataclass(frozen=True)
class Confirmation:
    """One line of the CSV; `asked` tells whether a person looked (the others passed the threshold)."""

    filename: str
    manual_grade: int
    automatic_grade: int
    confidence: int
    asked: bool


def parse_picture_name(path: str) -> tuple[str, int, int] | None:
    """(scan, grade, percent) from `<scan>_<grade>_<percent>_motion.png`; None with fewer than three parts.

    Raises ValueError when grade or percent is not a whole number.
    """
    parts = Path(path).stem.split("_")
    if len(parts) < 3:
        return None
    return "_".join(parts[:-3]), int(parts[-3]), int(parts[-2])


def confirm(
    pictures: Sequence[str],
    csv_path: Path,
    ask: Callable[[str], str],
    show: Callable[[str], None] = lambda picture: None,
    say: Callable[[str], None] = print,
    threshold: int = 75,
    strict: bool = False,
) -> list[Confirmation]:
    """Ask for the grade of every picture below the threshold, accept the others, and write the CSV.

    `ask(prompt)` returns what the user typed (empty keeps the automatic grade); `show(picture)` displays a picture.
    Raises NothingToConfirmError when no picture has a readable name (the CSV then holds no row); in strict mode
    InputError at the first bad name or answer, before anything is saved.
    """
    rows: list[Confirmation] = []
    earlier = {} if strict else _earlier_rows(csv_path, pictures)
    for picture in pictures:
        parsed = _parse(picture, strict, say)
        if parsed is None:
            continue
        scan, grade, percent = parsed
        manual, asked = grade, percent < threshold
        if asked:
            if known := earlier.pop((scan, grade, percent), None):
                manual = known.manual_grade
            else:
                show(picture)
                manual = _ask_grade(ask, say, grade, strict)
                say(f"Graded {len(rows) + 1}/{len(pictures)} ({picture})")
        rows.append(Confirmation(scan, manual, grade, percent, asked))
        if asked and not strict:
            _write(csv_path, [*rows, *earlier.values()])
    if not rows:
        _write(csv_path, rows, header=not strict)
        raise NothingToConfirmError(
            "No picture could be confirmed; give PNG files named <scan>_<grade>_<percent>_motion.png."
        )
    _write(csv_path, rows)
    say(f"Grading complete. Saved to '{csv_path}'. Accuracy: {_share(rows):.2%}")
    if not strict:
        _say_honest_share(rows, say)
    return rows


def _parse(picture: str, strict: bool, say: Callable[[str], None]) -> tuple[str, int, int] | None:
    try:
        parsed = parse_picture_name(picture)
    except ValueError as error:
        if strict:
            raise InputError(f"'{picture}' does not end in _<grade>_<percent>_motion.png.") from error
        parsed = None
    if parsed is None:
        say(f"Skipping file '{picture}' due to unexpected filename format.")
    return parsed


def _ask_grade(ask: Callable[[str], str], say: Callable[[str], None], grade: int, strict: bool) -> int:
    while True:
        answer = ask(f"Enter your assessment for the motion score [{grade}]: ").strip()
        if not answer:
            return grade
        try:
            manual = int(answer)
        except ValueError as error:
            if strict:
                raise InputError(f"'{answer}' is not a whole number.") from error
            manual = 0
        if strict or 1 <= manual <= 5:
            return manual
        say(f"'{answer}' is not a grade; type 1, 2, 3, 4 or 5, or press Enter to keep {grade}.")


def _earlier_rows(csv_path: Path, pictures: Sequence[str]) -> dict[tuple[str, int, int], Confirmation]:
    """What an interrupted run has saved, by scan, automatic grade and percent.

    Raises InputError when the file is no such table, or holds grades of scans whose pictures were not given: they would
    be lost.
    """
    try:
        rows = [
            Confirmation(row["filename"], *(int(row[name]) for name in CSV_COLUMNS[1:]), asked=True)
            for row in read_sheet(csv_path)[1]
        ]
    except FileNotFoundError:
        return {}
    except (InputError, KeyError, ValueError) as error:
        raise InputError(f"{csv_path} exists and is not a table of confirmed grades; choose another name.") from error
    given = {Path(picture).stem.rsplit("_", 3)[0] for picture in pictures}
    foreign = [row.filename for row in rows if row.filename and row.filename not in given]
    if foreign:
        raise InputError(
            f"{csv_path} holds {len(foreign)} grades of other scans (such as {foreign[0]}) that would be overwritten; "
            "choose another name or give their pictures too."
        )
    return {(row.filename, row.automatic_grade, row.confidence): row for row in rows}


def _write(csv_path: Path, rows: Sequence[Confirmation], header: bool = True) -> None:
    from SpineMotionToolsLib.common.files import write_text

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS if header else ())
    writer.writerows([getattr(row, name) for name in CSV_COLUMNS] for row in rows)
    write_text(csv_path, text.getvalue())


def _share(rows: Sequence[Confirmation]) -> float:
    return sum(row.manual_grade == row.automatic_grade for row in rows) / len(rows)


def _say_honest_share(rows: Sequence[Confirmation], say: Callable[[str], None]) -> None:
    """The published figure counts scans nobody looked at as correct; say how many were looked at."""
    seen = [row for row in rows if row.asked]
    accepted = len(rows) - len(seen)
    of_seen = f" {_share(seen):.2%} of the {len(seen)} you looked at kept their grade." if seen else ""
    say(f"{accepted} of {len(rows)} were accepted unseen.{of_seen}")

"""Grading many scans, each on its own: what is asked for, one scan at a time, and a folder of results per file list.

A scan that cannot be read is skipped and listed. A run that was stopped goes on where it was: a scan whose result is
there, made from the same file by the same model with the same choices, is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import folder_lock, make_folder, safe_name, write_json
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.tables import Column, Table, read_sheet
from SpineMotionToolsLib.motion import legacy
from SpineMotionToolsLib.motion.derivatives import result_name
from SpineMotionToolsLib.motion.dicom import find_source, write_dicom
from SpineMotionToolsLib.motion.discovery import scan_files
from SpineMotionToolsLib.motion.inputs import ScanSource, open_scan
from SpineMotionToolsLib.motion.members import load_ensemble
from SpineMotionToolsLib.motion.registry import WeightsChoice
from SpineMotionToolsLib.motion.results import MotionResult
from SpineMotionToolsLib.motion.scan_names import excluded_word

if TYPE_CHECKING:
    from SpineMotionToolsLib.motion.members import Ensemble

SUMMARY_NAME = "motion_grades.csv"


@dataclass(frozen=True)
class Choices:
    """How scans are graded; the fields are those of `pipeline.grade`."""

    weights: WeightsChoice = WeightsChoice()
    rules: str = "newer"
    stack_height: int = 168
    incomplete: str = "keep_last"
    slice_step: int = 1
    unit: str | None = None
    crop: str = "auto"
    replace_nan: bool = False
    engine: Engine | str = field(default_factory=Engine)

    def request(self, model_sha256: str) -> dict[str, Any]:
        """What decides about the numbers, for telling whether an earlier result still holds."""
        names = ("rules", "stack_height", "incomplete", "slice_step", "unit", "crop", "replace_nan")
        chosen = {name: getattr(self, name) for name in names}
        return {**chosen, "unit": self.unit or "auto", "model_sha256": model_sha256}


class Grader:
    """Grades scans one after the other with one ensemble, loaded once."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.ensemble: Ensemble = load_ensemble(choices.weights.weights)
        self.request = choices.request(self.ensemble.sha256)

    def grade(self, path: Path, name: str, progress: Progress = no_progress) -> tuple[ScanSource, MotionResult]:
        """The opened scan and its result; raises InputError for a scan that cannot be read."""
        from SpineMotionToolsLib.motion.pipeline import TENSORFLOW, grade

        choices = self.choices
        legacy_rules = choices.rules == "legacy"
        scan = open_scan(path, choices.unit, legacy=legacy_rules, crop=choices.crop, name=name)
        # Keras reads its own files; everything else uses the ensemble that is already loaded.
        ensemble = choices.weights.weights if choices.engine == TENSORFLOW else self.ensemble
        result = grade(
            scan,
            ensemble,
            choices.rules,
            choices.stack_height,
            choices.incomplete,
            choices.slice_step,
            engine=choices.engine,
            progress=progress,
            replace_nan=choices.replace_nan,
        )
        return scan, result

    def save(self, path: Path, source: Path, result: MotionResult, **more: Any) -> None:
        """Write the full result with what it was made from, so that `kept` recognizes it."""
        record = result.to_json() | {"source": file_stamp(source), "request": self.request} | more
        write_json(path, record)

    def kept(self, path: Path, source: Path) -> dict[str, Any] | None:
        """The saved record, if it is whole and was made from this file with these choices."""
        record = read_record(path)
        same = record.get("source") == file_stamp(source) and record.get("request") == self.request
        return record if same else None


def file_stamp(path: Path) -> dict[str, Any]:
    """Path, size and time of change of a scan file, or of the files of a DICOM folder."""
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    states = [file.stat() for file in files]
    return {
        "path": str(path.resolve()),
        "bytes": sum(state.st_size for state in states),
        "modified_ns": max((state.st_mtime_ns for state in states), default=0),
    }


def read_record(path: Path) -> dict[str, Any]:
    """A saved result as JSON; empty when there is none or it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@dataclass(frozen=True)
class Outcome:
    """What became of one file: "graded", "kept" (was graded before), "skipped" (could not be) or "left out"."""

    name: str
    path: Path
    status: str
    reason: str = ""
    result: MotionResult | None = field(default=None, repr=False)


def each(
    items: Sequence[tuple[str, Path]],
    work: Callable[[str, Path, Progress], Outcome],
    progress: Progress = no_progress,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Do the work for each (name, path); a bad scan is an outcome, trouble with writing or weights ends the run."""
    outcomes = []
    for number, (name, path) in enumerate(items):

        def part(done: float, of: float, text: str = "", number: int = number, name: str = name) -> None:
            progress(number + done / max(of, 1), len(items), f"{name}: {text}" if text else name)

        part(0, 1)
        try:
            outcome = work(name, path, part)
        except InputError as error:
            outcome = Outcome(name, path, "skipped", str(error))
        except MemoryError:
            outcome = Outcome(name, path, "skipped", "There is not enough memory for this scan; close other programs.")
        except OSError as error:
            outcome = Outcome(name, path, "skipped", f"{path.name} cannot be read: {error.strerror or error}.")
        on_outcome(outcome)
        outcomes.append(outcome)
    progress(len(items), len(items), "")
    return outcomes


def collect_files(sources: Iterable[Path]) -> tuple[list[Path], list[Outcome]]:
    """The scan files that files and folders stand for, and those left out by their names.

    A folder without scan files counts as one DICOM series. Raises InputError for a path that does not exist.
    """
    files: list[Path] = []
    left_out = []
    for source in (Path(source).expanduser() for source in sources):
        if not source.exists():
            raise InputError(f"{source} does not exist. Check the name.")
        if source.is_dir():
            files += scan_files(source) or [source]
        elif word := excluded_word(source.name):
            reason = f"the name contains '{word}': taken for a mask or another product"
            left_out.append(Outcome(legacy.scan_name(source), source, "left out", reason))
        else:
            files.append(source)
    return list(dict.fromkeys(path.resolve() for path in files)), left_out


def unique_names(files: Sequence[Path], taken: Callable[[str, Path], bool]) -> list[tuple[str, Path]]:
    """A name for each file, up to its first dot; where two files share one, their folder's name goes before it.

    `taken(name, path)` tells whether a result of another file already has the name.
    """
    short = [safe_name(legacy.scan_name(path)) for path in files]
    lower = [name.lower() for name in short]  # the results may lie where upper and lower case are one
    names: dict[str, tuple[str, Path]] = {}
    for name, path in zip(short, files):
        number, base = 1, name
        if lower.count(name.lower()) > 1 or taken(name, path):
            base = name = safe_name(f"{path.parent.name}_{name}")
        while name.lower() in names or taken(name, path):
            number += 1
            name = f"{base}_{number}"
        names[name.lower()] = name, path
    return list(names.values())


def grade_files(
    sources: Iterable[Path],
    out: Path,
    choices: Choices,
    force: bool = False,
    report: bool = True,
    progress: Progress = no_progress,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    dicom: bool = False,
) -> list[Outcome]:
    """Grade files and folders of scans into `out`: picture, tables, JSON and report per scan, and a summary.

    The picture has the published name `<scan>_<grade>_<percent>_motion.png`. With `dicom` also a DICOM report, and
    scans that are not DICOM are skipped. Raises InputError, WeightsError or OutputError for what concerns the whole
    run.
    """
    from SpineMotionToolsLib.motion.report import batch_report, scan_report

    files, left_out = collect_files(sources)
    if not files and not left_out:
        raise InputError("No scans were given. Name AIM, ISQ or other volume files, or folders that hold them.")
    grader = Grader(choices)
    make_folder(out)
    with folder_lock(out):  # a folder or a summary that cannot be used is told before the long work
        _summary_rows(out)

    def of_another_file(name: str, path: Path) -> bool:
        source = read_record(out / result_name(name)).get("source", {})
        return bool(source) and source.get("path") != str(path)

    def work(name: str, path: Path, part: Progress) -> Outcome:
        record_path = out / result_name(name)
        source = find_source(path) if dicom else None
        record = None if force else grader.kept(record_path, path)
        if record and (out / record["picture"]).exists():
            status, result = "kept", MotionResult.from_json(record)
            page = out / f"{name}_report.html"
            if report and not page.exists():  # an earlier run was told to write none
                scan_report(result, open_scan(path, like=result.scan).slice_xy).write(page)
        else:
            scan, result = grader.grade(path, name, part)
            write_scan(out, name, path, grader, scan, result, report)
            status = "graded"
        if source is not None:
            write_dicom(result, source, out / f"{name}_report.dcm")
        return Outcome(name, path, status, result=result)

    def note(outcome: Outcome) -> None:
        add_to_summary(out, outcome)
        on_outcome(outcome)

    for outcome in left_out:
        note(outcome)
    outcomes = left_out + each(unique_names(files, of_another_file), work, progress, note)
    if report:
        shown = _graded_in(out) + [outcome for outcome in outcomes if outcome.result is None]
        batch_report(shown, "Motion grades", linked=lambda name: f"{name}_report.html").write(out / "report.html")
    return outcomes


def _graded_in(out: Path) -> list[Outcome]:
    """Every scan with a result in the folder, of this run and earlier ones."""
    suffix = result_name("")
    records = {path.name.removesuffix(suffix): read_record(path) for path in sorted(out.glob(f"*{suffix}"))}
    return [
        Outcome(name, Path(record["source"]["path"]), "graded", result=MotionResult.from_json(record))
        for name, record in records.items()
        if "source" in record
    ]


def write_scan(
    out: Path, name: str, path: Path, grader: Grader, scan: ScanSource, result: MotionResult, report: bool
) -> None:
    """All files of one scan; the JSON comes last, because it says that the others are there. Raises OutputError."""
    from SpineMotionToolsLib.motion.drawing import save_png
    from SpineMotionToolsLib.motion.pictures import legacy_picture
    from SpineMotionToolsLib.motion.report import scan_report

    record_path = out / result_name(name)
    picture = legacy.picture_name(name, result)
    save_png(out / picture, legacy_picture(scan.slice_xy, result))
    result.to_table().to_csv(out / f"{name}_slices.csv")
    result.stack_table().to_csv(out / f"{name}_stacks.csv")
    if report:
        scan_report(result, scan.slice_xy).write(out / f"{name}_report.html")
    earlier = read_record(record_path).get("picture", picture)
    grader.save(record_path, path, result, picture=picture)
    if earlier != picture and Path(earlier).name == earlier:
        # Two pictures of one scan would be two grades to `confirm`.
        (out / earlier).unlink(missing_ok=True)


def add_to_summary(out: Path, outcome: Outcome) -> None:
    """Put one scan's row into the summary table, which other runs may be writing to, in place of its earlier row."""
    row = summary_row(outcome)
    with folder_lock(out):
        rows: dict[str, Mapping[str, Any]] = {old["scan"]: old for old in _summary_rows(out)}
        rows[outcome.name] = row
        cells = [[each_row.get(name) for name in row] for _, each_row in sorted(rows.items())]
        Table("motion grades", [Column(name) for name in row], cells).to_csv(out / SUMMARY_NAME)


def _summary_rows(out: Path) -> list[dict[str, str]]:
    """The rows of the summary, which a spreadsheet program may have saved; raises InputError for another table."""
    try:
        names, rows = read_sheet(out / SUMMARY_NAME)
    except FileNotFoundError:
        return []
    if rows and "scan" not in names:
        raise InputError(f"{out / SUMMARY_NAME} has no column scan; rename or remove it, then try again.")
    return rows


def summary_row(outcome: Outcome) -> dict[str, Any]:
    """One line about a scan; units stand in the names."""
    result = outcome.result
    row = {"scan": outcome.name, "file": outcome.path.name, "status": outcome.status, "reason": outcome.reason}
    numbers: dict[str, Any] = dict.fromkeys(SUMMARY_NUMBERS)
    if result is not None:
        numbers = {
            "grade": result.grade,
            "member_agreement_percent": result.confidence_percent,
            "worst_stack_grade": result.worst_stack_grade,
            "slices_ge4_percent": round(100 * result.fraction_slices_ge4, 1),
            "slices_scored": int(result.scored.sum()),
            "tied_slices": int(result.slice_ties.sum()),
            "half_grade": "yes" if result.half_grade else "no",
            "stack_grades": "|".join(f"{grade:.0f}" for grade in result.stack_grades),
            **{f"mean_probability_{k}": round(float(p), 4) for k, p in enumerate(_mean_probability(result), start=1)},
            "rules": result.rules,
            "unit": result.scan.describe_unit(),
            "model": result.provenance.get("model_id", ""),
            "starter_model": "yes" if result.starter else "no",
            "warnings": " ".join(result.warnings),
        }
    return row | numbers


SUMMARY_NUMBERS = (
    "grade", "member_agreement_percent", "worst_stack_grade", "slices_ge4_percent", "slices_scored", "tied_slices",
    "half_grade", "stack_grades", *(f"mean_probability_{grade}" for grade in range(1, 6)), "rules", "unit", "model",
    "starter_model", "warnings",
)  # fmt: skip


def _mean_probability(result: MotionResult) -> list[float]:
    return result.probabilities[result.scored].mean(axis=0).tolist()

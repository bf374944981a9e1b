"""The run over all cases: find them, keep what is done, do the rest, list what fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from SpineMotionToolsLib import __version__ as VERSION
from SpineMotionToolsLib.batch import dicom as dicom_results
from SpineMotionToolsLib.batch.journal import DONE, FAILED, Journal, Row
from SpineMotionToolsLib.batch.systems import TASKS, Task
from SpineMotionToolsLib.common.dicom_objects import need_highdicom
from SpineMotionToolsLib.common.errors import CONCERNS_ALL, InputError, OutputError, missing_package, reason_of
from SpineMotionToolsLib.common.files import folder_lock, output_error, source_stamp, unique_names
from SpineMotionToolsLib.common.progress import Progress, no_progress

NO_SCENE, NO_DICOM = "No scene was saved.", "No DICOM results were written."
STILL_THERE = "The files in its folder are those of an earlier run."
CLOSED = "This folder cannot be opened, so nothing in it was read. Ask for the permission to read it, then try again."
OTHER_RUN_S = 5.0  # a stopped run needs a moment to end


def run_batch(
    task: str,
    source: Path | str,
    out: Path | str,
    options: Mapping[str, Any] | None = None,
    *,
    scenes: bool = True,
    dicom: bool = False,
    again: bool | Collection[str] = False,
    crashed: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Run a task ("motion", "spine", "keypoints", "gait" or "movements") on every case in a folder, or on one file.

    Each case gets a folder of its own below `out` with the same files as the system's own command, with `scenes` a
    Slicer scene, and with `dicom` the DICOM results of cases that are DICOM; `cases.csv` and `report.html` list all. A
    case that fails is a row with its reason. Cases that are done, from the same file with the same options, are kept
    unless `again` (all, or the cases it names); what they lack of scene and DICOM is added. `options`: see the tasks in
    `systems`; `crashed` names cases that ended an earlier process, with the reason. Raises InputError when there are no
    cases or the options are not possible here, WeightsError, DependencyError and OutputError for what concerns all.
    """
    if task not in TASKS:
        raise InputError(f"The task {task!r} is unknown. Choose one of {', '.join(TASKS)}.")
    if dicom and task not in dicom_results.SYSTEMS:
        raise InputError("Videos have no DICOM results. Run the batch without them.")
    source, out = Path(source).expanduser().resolve(), Path(out).expanduser().resolve()
    if not source.exists():
        raise InputError(f"{source} does not exist. Check the name.")
    if source.is_relative_to(out):
        raise OutputError(f"The results cannot go to {out}, which holds the cases. Choose another folder for them.")
    if dicom:
        need_highdicom()  # told before hours of work, not after the first case
    found = [case for case in TASKS[task].find(source) if not case[1].resolve().is_relative_to(out)]
    closed = _closed_folders(source, out) if source.is_dir() else []
    listed = {path for _, path in found}
    cases = unique_names([*found, *((path.name, path) for path in closed if path not in listed)])
    if not cases:
        raise InputError(f"{source} holds nothing to read. Choose the folder that holds the files.")
    with folder_lock(out, OTHER_RUN_S):
        journal = Journal(out, task, source)
        given_up = {**(crashed or {}), **{name: CLOSED for name, path in cases if path in closed}}
        again = again if isinstance(again, bool) else frozenset(again)
        one = _OneCase(journal, TASKS[task](dict(options or {}), source), source, given_up, again, scenes, dicom)
        for number, (name, path) in enumerate(cases):
            part = _part(progress, number, len(cases), name)
            part(0, 1)
            row = one.row(name, path, part)
            journal.add(row)
            on_row(row)
        progress(len(cases), len(cases), "")
        return journal.finish([name for name, _ in cases])


def _closed_folders(source: Path, out: Path) -> list[Path]:
    """The folders below `source` that this user may not open; finding cases passes over them without a word."""
    closed: list[Path] = []
    for folder, names, _ in os.walk(source, onerror=lambda error: closed.append(Path(error.filename))):
        names[:] = [name for name in names if Path(folder, name) != out]
    return sorted(closed)


@dataclass(frozen=True)
class _OneCase:
    """Makes the row of one case after the other."""

    journal: Journal
    task: Task
    source: Path
    given_up: dict[str, str]
    again: bool | Collection[str]
    scenes: bool
    dicom: bool

    def row(self, name: str, path: Path, progress: Progress) -> Row:
        """The earlier row if it still holds, else what becomes of the case now; raises what concerns all cases."""
        below = path != self.source and path.is_relative_to(self.source)
        row = Row(name, path.relative_to(self.source).as_posix() if below else path.name, FAILED)
        folder, started = self.journal.out / name, time.monotonic()
        if name in self.given_up:
            return replace(row, error=self.given_up[name])
        earlier, was_there = self.journal.rows.get(name), folder.is_dir()
        try:
            row = replace(
                row, made_from={**source_stamp(path, [self.journal.out]), **self.task.request, "version": VERSION}
            )
            self.journal.begin(name)
            if kept := self._kept(row, folder):
                return self._with_files(kept, path)
            folder.mkdir(parents=True, exist_ok=True)
            work = self.task.run(name, path, folder, progress)
            row = replace(row, status=DONE, result=work.result, values=work.values, warnings=tuple(work.warnings))
            _remove_outdated(earlier, folder)
            row = self._with_files(row, path)
        except CONCERNS_ALL:
            _remove_if_empty(folder)
            raise
        except ModuleNotFoundError as error:
            _remove_if_empty(folder)
            raise missing_package(error) from error
        except Exception as error:  # one case's fault must not cost the others their turn
            row = replace(row, error=reason_of(error, path) + (f" {STILL_THERE}" if was_there else ""))
        _remove_if_empty(folder)
        return replace(row, seconds=round(time.monotonic() - started, 1))

    def _kept(self, row: Row, folder: Path) -> Row | None:
        """The row of an earlier run if it was made from the same file with the same options, and its files are here."""
        earlier = self.journal.rows.get(row.case)
        again = self.again if isinstance(self.again, bool) else row.case in self.again
        if again or earlier is None or earlier.status != DONE or not folder.is_dir():
            return None
        # Copies of one acquisition may agree in name, size and time: the place tells whose they are.
        return earlier if (earlier.file, earlier.made_from) == (row.file, row.made_from) else None

    def _with_files(self, row: Row, path: Path) -> Row:
        """The row of a case whose result lies in its folder, with the scene and the DICOM files that it lacks yet.

        What cannot be made is a warning, in place of that of an earlier run.
        """
        system, options = self.task.system, self.task.options
        if self.scenes and not row.scene:
            row = _without(row, NO_SCENE)
            try:
                row = _with_scene(row, self.journal, system, path, options)
            except ImportError:  # this Python has no MRML classes: Slicer makes the scene later
                pass
            except CONCERNS_ALL:
                raise
            except Exception as error:  # whatever it is, the result is there
                reason = str(error) if isinstance(error, OSError) else reason_of(error, path)
                row = replace(row, warnings=(*row.warnings, f"{NO_SCENE} {reason}"))
        if self.dicom and not row.dicom:
            row = _without(row, NO_DICOM)
            try:
                written = dicom_results.write_results(system, row.case, path, self.journal.out / row.case, options)
                row = replace(row, dicom=tuple(file.relative_to(self.journal.out).as_posix() for file in written))
            except CONCERNS_ALL:
                raise
            except Exception as error:
                row = replace(row, warnings=(*row.warnings, f"{NO_DICOM} {reason_of(error, path)}"))
        return row


def _remove_outdated(earlier: Row | None, folder: Path) -> None:
    """Remove the scene and the DICOM files that an earlier run made of its own result; raises OutputError."""
    for name in filter(None, (earlier.scene, *earlier.dicom) if earlier else ()):
        path = folder / Path(name).name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise output_error(path, error) from error


def _without(row: Row, start: str) -> Row:
    return replace(row, warnings=tuple(text for text in row.warnings if not text.startswith(start)))


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def add_scene(parameters: Mapping[str, Any], row: Row) -> None:
    """Save the scene of a finished case of a batch with these parameters (of `tasks.run`) and note it in the record.

    For Slicer itself, where the child process had no MRML classes. Raises ImportError, InputError, OutputError.
    """
    journal = Journal(Path(parameters["out"]), parameters["task"])
    source = Path(parameters["source"])
    below = source / row.file
    path = below if below.exists() else source  # the source itself may be the case: a file, or the folder of a series
    journal.add(_with_scene(row, journal, parameters["task"], path, parameters.get("options", {})))


def _with_scene(row: Row, journal: Journal, system: str, path: Path, options: Mapping[str, Any]) -> Row:
    from SpineMotionToolsLib.batch.scenes import write_scene

    saved = write_scene(system, row.case, path, journal.out / row.case, options)
    return replace(row, scene=saved.relative_to(journal.out).as_posix())


def _part(progress: Progress, number: int, count: int, name: str) -> Progress:
    def part(done: float, of: float, text: str = "") -> None:
        share = min(max(done / of, 0.0), 1.0) if of > 0 else 0.0
        progress(number + share, count, f"{name} ({number + 1} of {count})" + (f": {text}" if text else ""))

    return part

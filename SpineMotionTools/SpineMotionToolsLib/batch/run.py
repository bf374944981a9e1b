"""The run over all cases: find them, keep what is done, do the rest, list what fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from SpineMotionToolsLib import __version__ as VERSION
from SpineMotionToolsLib.batch import dicom as dicom_results
from SpineMotionToolsLib.batch.journal import DONE, FAILED, Journal, Row
from SpineMotionToolsLib.batch.systems import TASKS, Task
from SpineMotionToolsLib.common.errors import CONCERNS_ALL, InputError, reason_of
from SpineMotionToolsLib.common.files import source_stamp, unique_names
from SpineMotionToolsLib.common.progress import Progress, no_progress

NO_SCENE, NO_DICOM = "No scene was saved.", "No DICOM results were written."


def run_batch(
    task: str,
    source: Path | str,
    out: Path | str,
    options: Mapping[str, Any] | None = None,
    *,
    scenes: bool = True,
    dicom: bool = False,
    again: bool = False,
    crashed: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Run a task ("motion", "spine", "keypoints", "gait" or "movements") on every case in a folder, or on one file.

    Each case gets a folder of its own below `out` with the same files as the system's own command, with `scenes` a
    Slicer scene, and with `dicom` the DICOM results of cases that are DICOM; `cases.csv` and `report.html` list all. A
    case that fails is a row with its reason. Cases that are done, from the same file with the same options, are kept
    unless `again`; what they lack of scene and DICOM is added. `options`: see the tasks in `systems`; `crashed` names
    cases that ended an earlier process, with the reason. Raises InputError when there are no cases, WeightsError,
    DependencyError and OutputError for what concerns all of them.
    """
    if task not in TASKS:
        raise InputError(f"The task {task!r} is unknown. Choose one of {', '.join(TASKS)}.")
    if dicom and task not in dicom_results.SYSTEMS:
        raise InputError("Videos have no DICOM results. Run the batch without them.")
    source, out = Path(source).expanduser().resolve(), Path(out).expanduser().resolve()
    found = [case for case in TASKS[task].find(source) if not case[1].resolve().is_relative_to(out)]
    cases = unique_names(found)
    if not cases:
        raise InputError(f"{source} holds nothing to read. Choose the folder that holds the files.")
    journal = Journal(out, task)
    one = _OneCase(journal, TASKS[task](dict(options or {}), source), source, dict(crashed or {}), again, scenes, dicom)
    for number, (name, path) in enumerate(cases):
        part = _part(progress, number, len(cases), name)
        part(0, 1)
        row = one.row(name, path, part)
        journal.add(row)
        on_row(row)
    progress(len(cases), len(cases), "")
    return journal.finish([name for name, _ in cases])


@dataclass(frozen=True)
class _OneCase:
    """Makes the row of one case after the other."""

    journal: Journal
    task: Task
    source: Path
    crashed: dict[str, str]
    again: bool
    scenes: bool
    dicom: bool

    def row(self, name: str, path: Path, progress: Progress) -> Row:
        """The earlier row if it still holds, else what becomes of the case now; raises what concerns all cases."""
        below = path != self.source and path.is_relative_to(self.source)
        row = Row(name, path.relative_to(self.source).as_posix() if below else path.name, FAILED)
        if name in self.crashed:
            return replace(row, error=self.crashed[name])
        folder, started = self.journal.out / name, time.monotonic()
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
            row = self._with_files(row, path)
        except CONCERNS_ALL:
            _remove_if_empty(folder)
            raise
        except Exception as error:  # one case's fault must not cost the others their turn
            row = replace(row, error=reason_of(error, path))
        _remove_if_empty(folder)
        return replace(row, seconds=round(time.monotonic() - started, 1))

    def _kept(self, row: Row, folder: Path) -> Row | None:
        """The row of an earlier run if it was made from the same file with the same options, and its files are here."""
        earlier = self.journal.rows.get(row.case)
        same = earlier is not None and earlier.status == DONE and earlier.made_from == row.made_from
        return earlier if same and not self.again and folder.is_dir() else None

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
            except InputError as error:
                row = replace(row, warnings=(*row.warnings, f"{NO_DICOM} {error}"))
        return row


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

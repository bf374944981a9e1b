"""The run over all cases: find them, keep what is done, do the rest, list what fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import SpineMotionToolsLib
from SpineMotionToolsLib.batch.journal import DONE, FAILED, Journal, Row
from SpineMotionToolsLib.batch.systems import TASKS, Task
from SpineMotionToolsLib.common.errors import (
    Cancelled,
    DependencyError,
    InputError,
    OutputError,
    SpineMotionError,
    WeightsError,
)
from SpineMotionToolsLib.common.files import safe_name
from SpineMotionToolsLib.common.progress import Progress, no_progress

CONCERNS_ALL = (Cancelled, DependencyError, OutputError, WeightsError)
"""These end a run: the next case would end the same way."""


def run_batch(
    task: str,
    source: Path | str,
    out: Path | str,
    options: Mapping[str, Any] | None = None,
    *,
    scenes: bool = True,
    again: bool = False,
    crashed: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Run a task ("motion", "spine", "keypoints", "gait" or "movements") on every case in a folder, or on one file.

    Each case gets a folder of its own below `out` with the same files as the system's own command, and with `scenes` a
    Slicer scene; `cases.csv` and `report.html` list all. A case that fails is a row with its reason. Cases that are
    done, from the same file with the same options, are kept unless `again`. `options`: see the tasks in `systems`;
    `crashed` names cases that ended an earlier process, with the reason. Raises InputError when there are no cases,
    WeightsError, DependencyError and OutputError for what concerns all of them.
    """
    if task not in TASKS:
        raise InputError(f"The task {task!r} is unknown. Choose one of {', '.join(TASKS)}.")
    source, out = Path(source).expanduser().resolve(), Path(out).expanduser().resolve()
    cases = _named([case for case in TASKS[task].find(source) if not case[1].resolve().is_relative_to(out)])
    if not cases:
        raise InputError(f"{source} holds nothing to read. Choose the folder that holds the files.")
    journal = Journal(out, task)
    made = TASKS[task](dict(options or {}), source)
    for number, (name, path) in enumerate(cases):
        part = _part(progress, number, len(cases), name)
        part(0, 1)
        row = _row(journal, made, name, path, source, crashed or {}, again, scenes, part)
        journal.add(row)
        on_row(row)
    progress(len(cases), len(cases), "")
    return journal.finish([name for name, _ in cases])


def _row(
    journal: Journal,
    task: Task,
    name: str,
    path: Path,
    source: Path,
    crashed: Mapping[str, str],
    again: bool,
    scenes: bool,
    progress: Progress,
) -> Row:
    file = path.relative_to(source).as_posix() if path != source and path.is_relative_to(source) else path.name
    if name in crashed:
        return Row(name, file, FAILED, error=crashed[name])
    folder, started = journal.out / name, time.monotonic()
    try:
        made_from = {**_stamp(path), **task.request, "version": SpineMotionToolsLib.__version__}
        earlier = journal.rows.get(name)
        if earlier and not again and earlier.status == DONE and earlier.made_from == made_from and folder.is_dir():
            if earlier.scene or not scenes:
                return earlier
        journal.begin(name)
        folder.mkdir(parents=True, exist_ok=True)
        work = task.run(name, path, folder, progress)
        row = Row(name, file, DONE, work.result, work.values, tuple(work.warnings), made_from=made_from)
        if scenes:
            row = _try_scene(row, journal, task, path)
    except CONCERNS_ALL:
        _remove_if_empty(folder)
        raise
    except SpineMotionError as error:
        row = Row(name, file, FAILED, error=str(error))
    except MemoryError:
        row = Row(name, file, FAILED, error="There is not enough memory for this case. Close other programs.")
    except OSError as error:
        row = Row(name, file, FAILED, error=f"{path.name} cannot be read: {error.strerror or error}.")
    except Exception as error:  # one case's fault must not cost the others their turn
        row = Row(name, file, FAILED, error=f"A fault in SpineMotionTools: {type(error).__name__}: {error}.")
    _remove_if_empty(folder)
    return Row(**{**vars(row), "seconds": round(time.monotonic() - started, 1)})


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def add_scene(parameters: Mapping[str, Any], row: Row) -> None:
    """Save the scene of a finished case of a batch with these parameters (of `tasks.run`) and note it in the record.

    For Slicer itself, where the child process had no MRML classes. Raises ImportError, InputError, OutputError.
    """
    journal = Journal(Path(parameters["out"]), parameters["task"])
    source = Path(parameters["source"])
    path = source / row.file if source.is_dir() else source
    journal.add(_with_scene(row, journal, parameters["task"], path, parameters.get("options", {})))


def _try_scene(row: Row, journal: Journal, task: Task, path: Path) -> Row:
    """The row with its scene saved; without one where this Python has no MRML classes, or with why it failed."""
    try:
        return _with_scene(row, journal, task.system, path, task.options)
    except ImportError:
        return row
    except CONCERNS_ALL:
        raise
    except (SpineMotionError, OSError) as error:
        return Row(**{**vars(row), "warnings": (*row.warnings, f"No scene was saved. {error}")})


def _with_scene(row: Row, journal: Journal, system: str, path: Path, options: Mapping[str, Any]) -> Row:
    from SpineMotionToolsLib.batch.scenes import write_scene

    saved = write_scene(system, row.case, path, journal.out / row.case, options)
    return Row(**{**vars(row), "scene": saved.relative_to(journal.out).as_posix()})


def _stamp(path: Path) -> dict[str, Any]:
    """What tells that a file, or the files of a folder, are still the same."""
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    states = [file.stat() for file in files]
    return {
        "name": path.name,
        "bytes": sum(state.st_size for state in states),
        "modified_ns": max((state.st_mtime_ns for state in states), default=0),
    }


def _named(cases: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Names that differ also where case does not matter; a second one of a name gets its folder's name before it."""
    taken: dict[str, Path] = {}
    names = []
    for wanted, path in cases:
        name, number = safe_name(wanted), 1
        if name.lower() in taken:
            name = safe_name(f"{path.parent.name}_{wanted}")
        base = name
        while name.lower() in taken:
            number += 1
            name = f"{base}_{number}"
        taken[name.lower()] = path
        names.append((name, path))
    return names


def _part(progress: Progress, number: int, count: int, name: str) -> Progress:
    def part(done: float, of: float, text: str = "") -> None:
        share = min(max(done / of, 0.0), 1.0) if of > 0 else 0.0
        progress(number + share, count, f"{name} ({number + 1} of {count})" + (f": {text}" if text else ""))

    return part

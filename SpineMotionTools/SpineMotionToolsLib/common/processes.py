"""One worker process: started with its own folder, spoken to in JSON lines, stopped with all its descendants.

The parent needs no thread and no event loop: the worker's events go to a file in the folder, and the parent reads on
where it stopped whenever it likes. Standard input stays a pipe, so a worker sees at once when its parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import SpineMotionToolsLib
from SpineMotionToolsLib.common.errors import JobError
from SpineMotionToolsLib.common.files import plain

# NumPy's products here are small; its idle threads spin on the cores that PyTorch needs (three times slower on two).
ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
GRACE_S = 0.4
"""How long a worker may take to unwind after a request to stop, before it is killed."""
LOG_BYTES = 64 * 1024

children: weakref.WeakSet[Child] = weakref.WeakSet()
"""Workers whose process or folder may still exist."""


class Child:
    """A worker process and its folder; `events()` gives what it said since the last call."""

    def __init__(self, job: dict[str, Any], python: str | None = None) -> None:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="spinemotion-"))
        except OSError as error:
            raise _not_started(error) from error
        self.process: subprocess.Popen | None = None
        self.log = ""
        self._owner = os.getpid()
        self._started: list[Any] = []
        self._rest = b""
        self._new: deque[dict[str, Any]] = deque()
        self._temporaries: list[Path] = []
        children.add(self)
        try:
            self._start(job, python or sys.executable)
        except (OSError, ValueError, TypeError) as error:
            self.stop()
            raise _not_started(error) from error

    def _start(self, job: dict[str, Any], python: str) -> None:
        if not python:
            raise OSError("the Python interpreter is unknown (sys.executable is empty)")
        job_file = self.folder / "job.json"
        content = {**job, "parent_pid": os.getpid(), "working_folder": os.getcwd()}
        job_file.write_text(json.dumps(content, default=plain), encoding="utf-8")
        with (self.folder / "events.jsonl").open("wb") as events, (self.folder / "log.txt").open("wb") as log:
            self._events = (self.folder / "events.jsonl").open("rb")
            self.process = subprocess.Popen(
                [python, "-m", "SpineMotionToolsLib.common.worker", str(job_file)],
                stdin=subprocess.PIPE,
                stdout=events,
                stderr=log,
                # -m puts the working folder on the import path: this one holds no code of strangers.
                cwd=self.folder,
                env=self._environment(),
                **_own_group(),
            )
        self._started += _identified(self.process.pid)
        self.send({"hello": True})

    def _environment(self) -> dict[str, str]:
        package_root = str(Path(SpineMotionToolsLib.__file__).parents[1])
        path = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
        temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.folder))
        python = {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        return {**ONE_BLAS_THREAD, **os.environ, **temporary, **python, "PYTHONPATH": os.pathsep.join(path)}

    def send(self, message: dict[str, Any]) -> None:
        """Send a line to the worker; a worker that has ended is noticed elsewhere."""
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(json.dumps(message, default=plain).encode() + b"\n")
            self.process.stdin.flush()

    def ended(self) -> int | None:
        """The exit code once the process has ended, None before. Call it before `events()` to miss none."""
        return self.process.poll()

    def events(self) -> Iterator[dict[str, Any]]:
        """The worker's new events, each given once even when its receiver raises."""
        self._read_events()
        while self._new:
            yield self._new.popleft()

    def _read_events(self) -> None:
        """Read on in the event file; what is no event (a library that printed) is skipped."""
        *lines, self._rest = (self._rest + self._events.read()).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                event = json.loads(line.decode("utf-8", errors="replace"))
                if not isinstance(event, dict) or "event" not in event:
                    continue
                self._new.append(event)
                if event["event"] == "started":
                    self._started += _identified(event["pid"])
                elif event["event"] == "temporary":
                    self._temporaries.append(Path(event["path"]))

    def end(self, grace_s: float = GRACE_S, ask: bool = True) -> None:
        """End the worker and every process it started; the folder stays. Does nothing the second time.

        A worker that has started may take `grace_s` to unwind, after being asked to stop (`ask`) or by itself.
        """
        if self.process is None or os.getpid() != self._owner:
            return
        self._read_events()
        if self.process.poll() is None and len(self._started) > 1 and grace_s > 0:
            if ask:
                self.send({"cancel": True})
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)
        _kill_tree(self.process, self._started)
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self._read_events()
        for temporary in self._temporaries:  # half files of a worker that could not unwind
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._events.close()
        self.log = self.read_log()
        self.process = None

    def stop(self, grace_s: float = 0) -> None:
        """End all processes and remove the folder."""
        self.end(grace_s)
        if os.getpid() == self._owner:  # a process forked from this one owns nothing
            _remove_folder(self.folder)
            children.discard(self)

    def read_log(self) -> str:
        """The end of what the worker and its libraries printed."""
        if self.process is None:
            return self.log
        with contextlib.suppress(OSError), (self.folder / "log.txt").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
            return log.read().decode("utf-8", errors="replace")
        return ""

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at interpreter exit, modules may be gone
            self.stop()


def _not_started(error: Exception) -> JobError:
    return JobError(f"The worker process could not be started: {error}. Restart the application, then try again.")


def describe_end(code: int, log: str) -> str:
    """A sentence for a worker that ended without a result, from its exit code and the last line it printed."""
    # A launcher such as PythonSlicer reports a signal as 128 + its number.
    number = code - 128 if 128 < code < 160 else -code
    if sys.platform == "win32":
        code &= 0xFFFFFFFF
        if code in (0xC0000017, 0xC000012D):
            number = 9
        elif code >= 0xC0000000:
            number = 11
    if number == 9:
        return (
            "The operating system ended the work, most likely because the computer's memory ran out. "
            "Close other programs, or choose a smaller batch size, then try again."
        )
    if number == 4:
        return "PyTorch needs processor instructions that this computer has not. Install another build of it."
    if number in (6, 7, 8, 10, 11):
        return (
            "The work crashed inside a program library. Your data is unharmed. Try again with device cpu; see the log."
        )
    last = log.strip().rpartition("\n")[2]
    why = f"exit code {code}: {last}" if last else f"exit code {code}"
    return f"The work ended without a result ({why}). See the log, then try again."


def kill_descendants() -> None:
    """Kill every process that this one has started, directly or not."""
    with contextlib.suppress(ImportError):
        import psutil

        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                process.kill()


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _identified(pid: int) -> list[Any]:
    """The process as psutil knows it, never mistaken for a later one of the same number; empty without psutil."""
    try:
        import psutil
    except ImportError:  # then the process group (POSIX) or taskkill (Windows) has to do
        return []
    with contextlib.suppress(psutil.Error):
        return [psutil.Process(pid)]
    return []


def _kill_tree(process: subprocess.Popen, started: list[Any]) -> None:
    """Kill a worker with all descendants, children first: the death of the PythonSlicer launcher alone ends nothing."""
    doomed = list(started)
    for each in started:
        with contextlib.suppress(Exception):  # it has ended
            doomed += each.children(recursive=True)
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif not started and process.poll() is None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    for each in reversed(doomed):
        with contextlib.suppress(Exception):  # it ended meanwhile
            each.kill()
    deadline = time.monotonic() + GRACE_S
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    while any(_alive(each) for each in doomed) and time.monotonic() < deadline:
        time.sleep(0.01)


def _alive(process: Any) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _remove_folder(folder: Path) -> None:
    for _ in range(20 if sys.platform == "win32" else 3):  # a virus scanner may hold a file for a moment
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)

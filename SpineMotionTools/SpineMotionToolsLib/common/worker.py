"""The child process of a job: `python -m SpineMotionToolsLib.common.worker job.json`.

Writes one JSON object a line to standard output, its "event" being "started", "temporary" (a file being written),
"progress", "ready" (a service has loaded), "result" or "error". Whatever libraries print goes to standard error.
Reads commands from standard input, and ends when that closes.
"""

from __future__ import annotations

import _thread
import importlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import Cancelled, DependencyError, JobError, SpineMotionError, missing_package
from SpineMotionToolsLib.common.files import announce_temporaries, plain, remove_pending
from SpineMotionToolsLib.common.processes import GRACE_S, kill_descendants

REPORT_S = 0.05
"""Progress is passed on at most this often, so that eager tasks do not drown the parent."""


class Worker:
    """The two ends of the conversation with the parent, and the state of being stopped."""

    def __init__(self, job_file: Path) -> None:
        self.folder = job_file.parent
        self.job = json.loads(job_file.read_text(encoding="utf-8"))
        self.calls: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stopping = self.parent_is_gone = False
        self.call: int | None = None
        self._lock = threading.Lock()
        self._last_report = 0.0
        # Keep private copies of both streams, then give libraries and grandchildren the log and an empty input.
        # (On Windows a library that looks at standard input while a thread reads it would hang.)
        self._out, self._in = os.dup(1), os.dup(0)
        os.dup2(2, 1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def send(self, event: str, **content: Any) -> None:
        """Write one event; raises TypeError when the content is not JSON."""
        number = {} if self.call is None else {"call": self.call}
        # The line end in front closes whatever was printed before the streams were parted.
        line = "\n" + json.dumps({"event": event, **number, **content}, default=plain) + "\n"
        data = memoryview(line.encode("utf-8", errors="replace"))
        with self._lock:
            while data:
                data = data[os.write(self._out, data) :]

    def progress(self, done: float, of: float, text: str = "") -> None:
        """The task's `progress`: reports, and raises Cancelled when the user stopped or superseded the work."""
        if self.stopping or not self.calls.empty():
            raise Cancelled("The work was stopped.")
        now = time.monotonic()
        if now - self._last_report >= REPORT_S or done >= of:
            self._last_report = now
            self.send("progress", done=float(done), of=float(of), text=str(text))

    def watch(self) -> None:
        """Thread: receive calls; stop the work on command, or when the parent is gone."""
        heard = False
        with os.fdopen(self._in, "r", encoding="utf-8", errors="replace") as commands:
            for line in commands:
                heard = True
                message = json.loads(line)
                if "cancel" in message:
                    self.stop()
                elif "call" in message:
                    self.calls.put(message)
        if not heard:  # a launcher that passes no input on: watch the parent itself
            _wait_for_end_of(self.job["parent_pid"])
        self.parent_is_gone = True
        self.stop()

    def stop(self) -> None:
        """Let the task unwind for a moment, then end this process whatever it does."""
        self.stopping = True
        _thread.interrupt_main(signal.SIGINT)
        time.sleep(0.75 * GRACE_S)
        self.end()

    def end(self) -> None:
        """End now, without waiting for libraries that hang at exit, and leave nothing behind."""
        kill_descendants()
        remove_pending()
        if self.parent_is_gone:
            os.chdir(self.folder.parent)
            shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(0)

    def run(self) -> None:
        """Do the job: run the task once, or load the service and answer calls."""
        try:
            task = _import_task(self.job["module"], self.job["function"])
            os.chdir(self.job["working_folder"])
            outcome = task(self.job["parameters"], self.progress)
            if not self.job["service"]:
                self._send_result(outcome)
                return
            if not callable(outcome):
                raise JobError(f"{self.job['function']} is no service: its task must return a function.")
        except BaseException as error:
            self._send_error(error)
            return
        self.send("ready")
        self._serve(outcome)

    def _serve(self, answer: Callable[[dict[str, Any], Callable], dict[str, Any]]) -> None:
        while not self.stopping:
            try:
                message = self.calls.get()
                while not self.calls.empty():  # only the newest call counts
                    message = self.calls.get()
                self.call = message["call"]
                self._send_result(answer(message["parameters"], self.progress))
            except Cancelled:
                continue
            except BaseException as error:
                self._send_error(error)

    def _send_result(self, result: Any) -> None:
        if not isinstance(result, dict):
            raise JobError(f"The task {self.job['function']} returned {type(result).__name__}, not a dict.")
        self.send("result", result=result)

    def _send_error(self, error: BaseException) -> None:
        traceback.print_exception(error, file=sys.stderr)
        kind, message = _described(error, self.job["function"])
        self.send("error", **{"class": kind, "message": message})


def main(arguments: list[str] | None = None) -> None:
    """Run the job in the file named by the first argument; never returns."""
    worker = Worker(Path((arguments or sys.argv[1:])[0]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_cancelled)
    threading.Thread(target=worker.watch, daemon=True).start()
    worker.send("started", pid=os.getpid())
    announce_temporaries(lambda path: worker.send("temporary", path=path.absolute()))
    try:
        worker.run()
    finally:
        worker.end()


def _raise_cancelled(number: int, frame: Any) -> None:
    raise Cancelled("The work was stopped.")


def _import_task(module: str, function: str) -> Callable[[dict[str, Any], Callable], Any]:
    found = None
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # not the task's module, but a package that it needs
    if found is None:
        raise JobError(f"The task {module}:{function} does not exist. Install SpineMotionTools again.")
    return found


def _described(error: BaseException, task: str) -> tuple[str, str]:
    """The class name and the sentence that the parent raises."""
    from SpineMotionToolsLib.common.engine import is_out_of_memory

    if isinstance(error, SpineMotionError):
        return type(error).__name__, str(error)
    if isinstance(error, ModuleNotFoundError):
        return DependencyError.__name__, str(missing_package(error))
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        return JobError.__name__, (
            "The computer's memory ran out. Close other programs, or choose a smaller batch size, then try again."
        )
    if isinstance(error, SystemExit):
        return JobError.__name__, f"{task} ended early (exit code {error.code}). See the log, then try again."
    return JobError.__name__, f"{task} failed: {type(error).__name__}: {error}. See the log, and please report it."


def _wait_for_end_of(pid: int) -> None:
    try:
        import psutil
    except ImportError:
        while True:  # nothing to watch with: the parent's kill has to do
            time.sleep(3600)
    while psutil.pid_exists(pid):
        time.sleep(0.5)


if __name__ == "__main__":
    main()

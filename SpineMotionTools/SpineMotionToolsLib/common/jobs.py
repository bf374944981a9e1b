"""Long work in a child process, with progress, cancel and a result; and services, which stay alive between calls.

No threads and no Qt: the host calls `poll()` from its own timer, and callbacks run in that call. A terminal waits with
`run_job`. Tasks are functions `(parameters: dict, progress) -> dict` in `<room>/tasks.py`; parameters and result pass
as JSON, arrays as files whose paths are in the dicts. A service's task returns such a function instead of a dict.
"""

from __future__ import annotations

import atexit
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from SpineMotionToolsLib.common import errors, processes
from SpineMotionToolsLib.common.errors import Cancelled, InputError, JobError
from SpineMotionToolsLib.common.progress import Progress, no_progress

PACKAGE = "SpineMotionToolsLib."
POLL_S = 0.01


def start_job(
    task: str,
    parameters: dict[str, Any],
    on_progress: Progress | None = None,
    python: str | None = None,
    *,
    module_prefixes: Sequence[str] = (),
) -> Job:
    """Start a task such as "motion.tasks:grade" in a child process and return at once.

    `python` is the interpreter (default: this one; in 3D Slicer that is PythonSlicer). `module_prefixes` admits modules
    outside the package, for tests. Raises InputError for a task that is not allowed, JobError when no process starts.
    """
    child = processes.Child(_job(task, parameters, module_prefixes, service=False), python)
    return Job(task, child, on_progress or no_progress)


def run_job(
    task: str,
    parameters: dict[str, Any],
    on_progress: Progress | None = None,
    python: str | None = None,
    *,
    module_prefixes: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a task in a child process, wait, and return its result or raise its error; Ctrl-C stops it.

    Files that the task made in its temporary folder are gone on return: name result files in the parameters.
    """
    job = start_job(task, parameters, on_progress, python, module_prefixes=module_prefixes)
    try:
        return job.wait()
    finally:
        job.close()


def start_service(
    task: str, parameters: dict[str, Any], python: str | None = None, *, module_prefixes: Sequence[str] = ()
) -> Service:
    """Start a service: its task loads once with `parameters` and returns the function that answers calls.

    Returns at once; calls may be made while it loads. Raises InputError and JobError as `start_job` does.
    """
    return Service(task, processes.Child(_job(task, parameters, module_prefixes, service=True), python))


def terminate_all() -> None:
    """End every job and service of this process and all their processes, and remove their folders; runs at exit too."""
    for child in list(processes.children):
        child.stop()


atexit.register(terminate_all)


class Job:
    """A task under way in its own process.

    `result` is the task's dict once it succeeded, `error` the exception once it failed or was stopped, `progress` the
    last report (done, of, text), `log` what the task and its libraries printed. `folder` is the job's temporary folder,
    where the task's `tempfile` files lie: it is removed when the job fails, is stopped, closed or no longer referenced.
    """

    def __init__(self, task: str, child: processes.Child, on_progress: Progress) -> None:
        self.task = task
        self.result: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.progress: tuple[float, float, str] = (0, 0, "")
        self.folder = child.folder
        self._child = child
        self._on_progress = on_progress
        self._pace = Pace()

    @property
    def finished(self) -> bool:
        return self.result is not None or self.error is not None

    @property
    def log(self) -> str:
        return self._child.read_log()

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds until the work is done, None while nothing is known."""
        return None if self.finished else self._pace.remaining_s()

    def poll(self) -> bool:
        """Deliver progress to the callback, in this thread, and tell whether the job is finished; never waits for it.

        A callback that raises Cancelled stops the job; its other exceptions pass through and the job runs on.
        """
        if self.finished:
            return True
        code = self._child.ended()
        for event in self._child.events():
            if event["event"] == "progress":
                self._report(event["done"], event["of"], event["text"])
            elif event["event"] == "result":
                self._finish(result=event["result"])
            elif event["event"] == "error":
                self._finish(error=_error(event))
            if self.finished:
                return True
        if code is not None:
            self._finish(error=JobError(processes.describe_end(code, self.log)))
        return self.finished

    def wait(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Poll until the job is finished; return its result or raise its error.

        Raises TimeoutError after `timeout_s`, and the job runs on; any other exception, such as Ctrl-C, stops it.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while not self.poll():
                if deadline is not None and time.monotonic() > deadline:
                    break
                time.sleep(POLL_S)
        except BaseException:
            self.cancel()
            raise
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise TimeoutError(f"{self.task} is not finished after {timeout_s} s.")
        return self.result

    def cancel(self) -> None:
        """Stop the work: within a second its whole process tree is gone and its temporary files are removed."""
        if not self.finished:
            self._finish(error=Cancelled("The work was stopped."))

    def close(self) -> None:
        """Remove the job's folder; stops the work when it is unfinished. `result`, `error` and `log` stay."""
        self.cancel()
        self._child.stop()

    def _report(self, done: float, of: float, text: str) -> None:
        self.progress = (done, of, text)
        self._pace.update(done, of)
        try:
            self._on_progress(done, of, text)
        except Cancelled:
            self.cancel()

    def _finish(self, result: dict[str, Any] | None = None, error: Exception | None = None) -> None:
        self.result, self.error = result, error
        if error is None:
            self._child.end(ask=False)
        else:
            self._child.stop(processes.GRACE_S)


class Service:
    """A task that stays alive with its model loaded and answers calls; only the newest call counts.

    A newer call supersedes an unfinished one, whose callbacks are then never called. The host calls `poll()`.
    """

    def __init__(self, task: str, child: processes.Child) -> None:
        self.task = task
        self.ready = False
        self.error: Exception | None = None
        self._child = child
        self._number = 0
        self._call: tuple[Callable, Callable | None, Progress] | None = None

    @property
    def busy(self) -> bool:
        """Whether a call waits for its result."""
        return self._call is not None

    @property
    def log(self) -> str:
        return self._child.read_log()

    def call(
        self,
        parameters: dict[str, Any],
        on_result: Callable[[dict[str, Any]], None],
        on_error: Callable[[Exception], None] | None = None,
        on_progress: Progress = no_progress,
    ) -> None:
        """Send a call and return at once; `on_result(result)` is called from a later `poll()`.

        An error of the call goes to `on_error`, or is raised by `poll()` when there is none. Raises the service's error
        when it has ended.
        """
        if self.error is not None:
            raise self.error
        self._number += 1
        self._call = (on_result, on_error, on_progress)
        self._child.send({"call": self._number, "parameters": parameters})

    def request(self, parameters: dict[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """Make a call and wait for its result or raise its error; raises TimeoutError after `timeout_s`."""
        outcome: list[Any] = []
        self.call(parameters, outcome.append, outcome.append)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not outcome:
            self.poll()
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.task} did not answer within {timeout_s} s.")
            time.sleep(POLL_S / 10)
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    def poll(self) -> bool:
        """Run the callbacks of what arrived, in this thread; true when no call is waiting. Never blocks."""
        if self.error is None:
            code = self._child.ended()
            for event in self._child.events():
                self._handle(event)
            if code is not None and self.error is None:
                self._fail(JobError(processes.describe_end(code, self.log)))
        return not self.busy

    def close(self) -> None:
        """End the service, within a second, with its whole process tree and temporary files."""
        if self.error is None:
            self.error = Cancelled("The service was closed.")
        self._call = None
        self._child.stop(processes.GRACE_S)

    def _handle(self, event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            self.ready = True
        elif event["event"] == "error" and "call" not in event:  # it could not load
            self._fail(_error(event))
        elif event.get("call") == self._number and self._call:
            on_result, on_error, on_progress = self._call
            if event["event"] == "progress":
                on_progress(event["done"], event["of"], event["text"])
            elif event["event"] == "result":
                self._call = None
                on_result(event["result"])
            elif event["event"] == "error":
                self._call = None
                _deliver(_error(event), on_error)

    def _fail(self, error: Exception) -> None:
        self.error = error
        self._child.stop()
        call, self._call = self._call, None
        _deliver(error, call[1] if call else None)


class Pace:
    """Remaining time from progress reports; a new stage (other total, or going back) starts the estimate again."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0, 0.0)

    def update(self, done: float, of: float) -> None:
        now = time.monotonic()
        if self._first is None or of != self._last[2] or done < self._last[1]:
            self._first = (now, done)
        self._last = (now, done, of)

    def remaining_s(self) -> float | None:
        if self._first is None:
            return None
        (start, before), (now, done, of) = self._first, self._last
        if done <= before or now <= start:
            return None
        whole = (of - done) * (now - start) / (done - before)
        return max(0.0, whole - (time.monotonic() - now))


def _job(task: str, parameters: dict[str, Any], module_prefixes: Sequence[str], service: bool) -> dict[str, Any]:
    module, _, name = task.partition(":")
    if re.fullmatch(r"[a-z_]+\.tasks", module) and re.fullmatch(r"[a-z][a-z0-9_]*", name):
        module = PACKAGE + module
    elif not (name.isidentifier() and module.startswith(tuple(module_prefixes))):
        raise InputError(f'{task!r} is no task. A task is named "<room>.tasks:<function>", e.g. "motion.tasks:grade".')
    return {"module": module, "function": name, "parameters": parameters, "service": service}


def _error(event: dict[str, Any]) -> Exception:
    """The worker's exception: one of our own classes as the same class, anything else as a JobError."""
    kind = getattr(errors, str(event.get("class")), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.SpineMotionError)):
        kind = JobError
    return kind(event.get("message", ""))


def _deliver(error: Exception, on_error: Callable[[Exception], None] | None) -> None:
    if on_error is None:
        raise error
    on_error(error)

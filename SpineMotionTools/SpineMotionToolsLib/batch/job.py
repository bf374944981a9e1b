"""A batch in a child process that survives the end of that process: a case that crashes it is a failed case."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.batch.journal import read_journal, rows_of
from SpineMotionToolsLib.common.errors import JobError
from SpineMotionToolsLib.common.jobs import POLL_S, Job, start_job
from SpineMotionToolsLib.common.progress import Progress, no_progress


class BatchJob:
    """Has the face of `jobs.Job`. `parameters`: those of `batch.tasks.run`.

    When the child process ends without a result (out of memory, say), the case it was at is listed as failed and
    another process goes on with the rest.
    """

    def __init__(self, parameters: Mapping[str, Any], on_progress: Progress = no_progress, python: str | None = None):
        self._parameters, self._on_progress, self._python = dict(parameters), on_progress, python
        self._crashed: dict[str, str] = {}
        self._out = Path(parameters["out"])
        self._before = rows_of(read_journal(self._out)) if parameters.get("again") else []
        self._job = self._start()

    def poll(self) -> bool:
        """Deliver progress and tell whether the batch is finished; never waits."""
        if not self._job.poll():
            return False
        error = self._job.error
        case = read_journal(self._out).get("running")
        if not isinstance(error, JobError) or not case or case in self._crashed:
            return True
        self._crashed[case] = str(error)
        self._job.close()
        # Where the user asked to do all again, what this batch did itself is kept.
        again = [row.case for row in rows_of(read_journal(self._out)) if row in self._before]
        self._parameters |= {"again": again, "crashed": self._crashed}
        self._job = self._start()
        return False

    @property
    def result(self) -> dict[str, Any] | None:
        return self._job.result

    @property
    def error(self) -> Exception | None:
        return self._job.error

    @property
    def remaining_s(self) -> float | None:
        return self._job.remaining_s

    def wait(self) -> dict[str, Any]:
        """Poll until the batch is finished; return its result or raise its error. Ctrl-C stops it."""
        try:
            while not self.poll():
                time.sleep(POLL_S)
        except BaseException:
            self.cancel()
            raise
        if self.error is not None:
            raise self.error
        return self.result

    def cancel(self) -> None:
        self._job.cancel()

    def close(self) -> None:
        self._job.close()

    def _start(self) -> Job:
        return start_job("batch.tasks:run", self._parameters, self._on_progress, self._python)

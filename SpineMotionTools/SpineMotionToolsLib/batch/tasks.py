"""A batch as the task of a job's child process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from SpineMotionToolsLib.common.progress import Progress, no_progress


def run(parameters: Mapping[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Run a batch; parameters are those of `run.run_batch` by name. Returns {"rows": number, "failed": number}."""
    from SpineMotionToolsLib.batch.journal import FAILED
    from SpineMotionToolsLib.batch.run import run_batch

    names = ("options", "scenes", "dicom", "again", "crashed")
    chosen = {name: parameters[name] for name in names if name in parameters}
    rows = run_batch(parameters["task"], parameters["source"], parameters["out"], **chosen, progress=progress)
    return {"rows": len(rows), "failed": sum(row.status == FAILED for row in rows)}

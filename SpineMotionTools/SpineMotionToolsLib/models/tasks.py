"""The check of a set of weights as the task of a job's child process."""

from __future__ import annotations

from typing import Any

from SpineMotionToolsLib.common.progress import Progress, no_progress


def check(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Check a set (`check.check_model`); parameter "model_id". Result: "good" and "text", a report to read."""
    from SpineMotionToolsLib.common.catalogue import find_model
    from SpineMotionToolsLib.models.check import check_model, text_of

    findings = check_model(parameters["model_id"], progress)
    good = all(finding.good for finding in findings)
    return {"good": good, "text": text_of(find_model(parameters["model_id"]), findings)}

"""The published SpineNet weights: where they lie, and what their license says about results.

Fetching them after the license was accepted is `common.model_store`'s work (catalogue id `spinenet-v2`).
"""

from __future__ import annotations

from pathlib import Path

from SpineMotionToolsLib.common.weights import models_folder

PUBLISHED_ID = "spinenet-v2"
FOLDERS = {"detection": "detect-vfr", "appearance": "appearance", "context": "context", "grading": "grading"}
LICENSE_NOTICE = (
    "Made with the SpineNet weights of the University of Oxford: non-commercial research use only. The license covers "
    "these results too. Not a medical device."
)


def installed_folder() -> Path:
    """Where fetched or added published weights are kept."""
    return models_folder() / PUBLISHED_ID

"""Motion results and results folders made from chosen numbers, for tests of what surrounds the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from SpineMotionToolsLib.common.files import write_json
from SpineMotionToolsLib.motion.derivatives import (
    PREDICTION_COLUMNS,
    ScanFiles,
    update_index,
    write_rows,
)
from SpineMotionToolsLib.motion.results import MotionResult, ScanInfo
from SpineMotionToolsLib.motion.stacks import stack_ranges
from SpineMotionToolsLib.motion.votes import RULES, count_votes, mean_decision, percent, slice_decisions


def made_result(
    member_grades: np.ndarray,
    stack_height: int = 6,
    name: str = "SUB001_DT_T1",
    starter: bool = True,
    warnings: Sequence[str] = (),
) -> MotionResult:
    """The result that follows when the members (rows, 1..5) gave these grades to the slices (columns)."""
    classes = np.asarray(member_grades, dtype=np.int64) - 1
    rules = RULES["newer"]
    votes = count_votes(classes, rules)
    grades, confidences = slice_decisions(votes)
    ranges = stack_ranges(classes.shape[1], stack_height)
    stacks = [mean_decision(grades[first:end], confidences[first:end], rules) for first, end in ranges]
    grade, confidence = mean_decision(grades, confidences, rules)
    return MotionResult(
        grade=grade,
        mean_confidence=confidence,
        confidence_percent=percent(confidence, rules),
        slice_grades=grades,
        slice_confidences=confidences,
        votes=votes,
        probabilities=votes.astype(np.float32),
        member_grades=(classes + 1).astype(np.uint8),
        stack_ranges=ranges,
        stack_grades=np.array([grade for grade, _ in stacks], dtype=np.float64),
        stack_confidences=np.array([confidence for _, confidence in stacks]),
        rules="newer",
        stack_height=stack_height,
        incomplete="keep_last",
        slice_step=1,
        members=tuple(f"DNN_{number}" for number in range(len(classes))),
        scan=ScanInfo(name, (96, 80, classes.shape[1]), np.diag([-0.0607, -0.0607, 0.0607, 1.0]), format="AIM"),
        warnings=tuple(warnings),
        provenance={"system": "motion", "model_id": "motion-starter" if starter else "base-v1", "starter": starter},
    )


def random_result(seed: int = 0, depth: int = 24, members: int = 10, **options: object) -> MotionResult:
    """A result whose grade drifts along the scan, with some disagreement."""
    random = np.random.default_rng(seed)
    drift = np.linspace(random.uniform(1, 3), random.uniform(2, 5), depth)
    grades = np.clip(np.rint(drift + random.normal(0, 0.6, (members, depth))), 1, 5)
    return made_result(grades.astype(int), **options)


def phantom_slice(z: int) -> np.ndarray:
    """A slice (96, 80) with a ring, a bright mark at large x and a dim mark at large y."""
    x, y = np.mgrid[0:96, 0:80].astype(np.float32)
    radius = np.hypot((x - 47.5) / 96, (y - 39.5) / 80)
    image = np.where((radius > 0.30) & (radius < 0.38), 1200.0, 0.0) + 300 * np.sin(x / 5 + z) * (radius < 0.3)
    image[84:92, 36:44] += 2000
    image[44:52, 68:76] += 1000
    return image


def make_results_folder(
    root: Path,
    scans: Mapping[str, tuple[int | None, int | None]],
    model_id: str = "motion-starter",
    predicted_at: str = "2026-01-01T00:00:00+00:00",
) -> Path:
    """Index and predictions of scans given as name -> (automatic grade, agreement in percent), each in its own folder.

    A grade of None is a scan for manual grading. Returns the root.
    """
    for scan, (grade, agreement) in scans.items():
        files = ScanFiles(root, scan, model_id, scan)
        manual = grade is None
        row = {
            "scan_id": scan,
            "subject_id": f"P-{scan}",
            "raw_image_path": f"/data/{scan}.AIM",
            "automatic_grade": grade,
            "automatic_confidence": agreement,
            "manual_mode": manual,
            "model_id": model_id,
            "model_version": f"{model_id}@1",
            "predicted_at": predicted_at,
        }
        detail = {
            "mean_confidence": None if manual else agreement / 100,
            "stack_ranges": [[0, 6], [6, 12]],
            "stack_grades": None if manual else [float(grade), float(grade)],
            "slice_grades": None if manual else [grade] * 12,
            "slice_confidences": None if manual else [agreement / 100] * 12,
        }
        write_rows(files.predictions, PREDICTION_COLUMNS, [row | detail])
        if not manual:
            write_json(files.result_json, made_result(np.full((2, 12), grade), name=scan).to_json())
        review = {
            f"review_{name}": files.relative(files.review_folder / file)
            for name, file in (("tsv", "review.tsv"), ("json", "review.json"), ("audit", "review_audit.tsv"))
        }
        update_index(root, row | review | {"predictions_tsv": files.relative(files.predictions)})
    return root


def write_weights(folder: Path, members: Sequence[int] = (0, 1, 2), gain: float = 1.2) -> Path:
    """An ensemble of formula-made weights as `DNN_<n>.pt`; returns the folder."""
    import torch
    from SpineMotionToolsLib.motion.members import contract

    from Testing.golden.seeded_weights import seeded_array

    folder.mkdir(parents=True, exist_ok=True)
    for position, number in enumerate(members):
        state = {
            key: torch.from_numpy(seeded_array(f"VAR_{number}.{key}", spec.shape, gain))
            for key, spec in contract().items()
        }
        torch.save(state, folder / f"DNN_{position}.pt")
    return folder


def write_scan(path: Path, depth: int = 6, seed: int = 0, log: str = "") -> Path:
    """A small AIM file (60 x 50 voxels a slice) with a ring of bone and noise; `log` replaces its calibration."""
    import py_aimio

    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = np.mgrid[0:60, 0:50]
    ring = np.hypot((x - 29.5) / 60, (y - 24.5) / 50)
    noise = np.random.default_rng(seed).normal(0, 400, (depth, 50, 60))
    values = noise + np.where((ring > 0.3) & (ring < 0.4), 6000, 500).T
    calibration = (
        "Mu_Scaling                     8192\nHU: mu water                    0.24090\n"
        "Density: slope         1.60351904e+03\nDensity: intercept    -3.91209015e+02\n"
    )
    meta = {"processing_log": log or calibration, "element_size": (0.0607, 0.0607, 0.0607)}
    py_aimio.write_aim(str(path), values.round().astype(np.int16), meta)
    return path

"""Golden cases of the motion room around the numbers: names, review tables, agreement, confirmation, training data."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion import confirm as confirming
from SpineMotionToolsLib.motion import discovery, grade_exports, pictures, review_store, training_data
from SpineMotionToolsLib.motion.agreement import agreement
from SpineMotionToolsLib.motion.derivatives import INDEX_COLUMNS, index_path, model_folder_name, write_rows

from Testing.golden.case import Case
from Testing.golden.seeded_weights import seeded_image


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name).resolve()


def error_name(error: InputError) -> str:
    """The Python exception the published program raises where ours raises `error`."""
    if isinstance(error, (confirming.NothingToConfirmError, review_store.UnknownScanError)):
        return "KeyError"
    return "FileNotFoundError" if isinstance(error, review_store.NoReviewError) else "ValueError"


def confirm(case: Case) -> dict[str, Any]:
    answers, prompts, log, error = iter(case.parameters["answers"]), [], [], ""

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return next(answers)

    with temporary_folder() as folder:
        path = folder / "o.csv"
        try:
            confirming.confirm(
                case.parameters["files"],
                path,
                ask,
                say=lambda text: log.append(text.replace(f"{folder}{os.sep}", "")),
                threshold=case.parameters["threshold"],
                strict=True,
            )
        except InputError as raised:
            error = error_name(raised)
        csv = path.read_bytes().decode() if path.exists() else ""
    return {"csv": csv, "prompts": "\n".join(prompts), "log": "\n".join(log), "error": error}


def discover(case: Case) -> dict[str, Any]:
    with temporary_folder() as root:
        for name in case.parameters["files"]:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        try:
            found = discovery.discover(root, strict=True).scans
        except InputError as error:
            return {"rows": "", "error": error_name(error)}
        rows = []
        for scan in found:
            parts = scan.parts
            stack = "" if parts.stack is None else str(parts.stack)
            path = scan.path.relative_to(root).as_posix()
            rows.append("\t".join([parts.subject, parts.site, parts.session, stack, path, scan.folder]))
    return {"rows": "\n".join(rows), "error": ""}


def scan_id(case: Case) -> dict[str, Any]:
    return {"ids": "\n".join(discovery.scan_id(*names) for names in case.parameters["cases"])}


def agree(case: Case) -> dict[str, Any]:
    outputs = {}
    for number, pairs in enumerate(case.parameters["cases"]):
        found = agreement([tuple(pair) for pair in pairs])
        values = [found.n_scored, found.agreement_exact, found.kappa, found.kappa_weighted_quadratic]
        outputs[f"a{number}"] = np.array(values, dtype=np.float64)
    return outputs


class _Clock:
    """Call n gives second n of a fixed day."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return f"2026-01-01T00:00:{self.calls:02d}+00:00"


class _FilesBelow(dict):
    """The review files of each scan's folder, also of scans that have none yet."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def __missing__(self, scan: str) -> review_store.ReviewFiles:
        return review_store.ReviewFiles(self.root / scan)


def review_store_script(case: Case) -> dict[str, Any]:
    """Run the script of review operations on a folder per scan; every table's text comes out."""
    clock, results = _Clock(), []
    scans = case.parameters["scans"]
    with temporary_folder() as root:
        files = _FilesBelow(root)
        own_files = {scan: files[scan] for scan in scans}
        _write_index(root, scans)
        for operation in case.parameters["ops"]:
            try:
                results.append(_run_operation(operation, root, files, clock))
            except InputError as error:
                results.append(error_name(error))
        outputs = {"results": "\n".join(results)}
        for scan, own in own_files.items():
            for path in (own.table, own.audit, own.json):
                outputs[f"{scan}__{path.name}"] = _text(path)
        outputs["motion_grades.tsv"] = _text(root / "motion_grades.tsv")
    return outputs


def _run_operation(operation: dict[str, Any], root: Path, files: _FilesBelow, clock: _Clock) -> str:
    kind = operation["op"]
    if kind == "init":
        prediction, training = operation["prediction"], operation.get("training", False)
        own = files[prediction["scan_id"]]
        review_store.initialise(own, prediction, operation.get("threshold", 75), training, clock)
        return "ok"
    if kind == "apply":
        scan = operation["scan_id"]
        own = files[operation.get("on", scan)]
        row = review_store.apply_grade(own, scan, operation["grade"], operation["reviewer"], clock=clock)
        return row["review_status"]
    if kind == "clear":
        filters = operation.get("reviewer", "") or "", operation.get("scan_id", "") or ""
        return str(review_store.clear(files[operation["on"]], *filters, clock=clock))
    if kind == "import":
        table = root / operation["file"]
        table.write_text(operation["content"], encoding="utf-8")
        return json.dumps(grade_exports.import_final_grades(root, table, clock=clock).to_json(), sort_keys=True)
    if kind == "export":
        grade_exports.export_grades(root, hidden=grade_exports.show_all)
        return "ok"
    raise ValueError(f"unknown operation {kind}")


def _write_index(root: Path, scans: list[str]) -> None:
    """The index the script's exports read: every scan with its review tables, and raw/<scan>.AIM as its image."""
    rows = [
        {
            "scan_id": scan,
            "subject_id": f"P-{scan}",
            "raw_image_path": f"raw/{scan}.AIM",
            "review_tsv": f"{scan}/review.tsv",
        }
        for scan in scans
    ]
    write_rows(index_path(root), INDEX_COLUMNS, rows)


def _text(path: Path) -> str:
    return path.read_bytes().decode() if path.exists() else ""


def training_helpers(case: Case) -> dict[str, Any]:
    import torch

    parameters, outputs = case.parameters, {}
    for number, split in enumerate(parameters["splits"]):
        places = training_data.place_subjects(split["subjects"], split["seed"], split["folds"])
        outputs[f"split{number}"] = "\n".join(f"{name}\t{place.split}\t{place.fold}" for name, place in places.items())
    for number, draw in enumerate(parameters["slices"]):
        outputs[f"slices{number}"] = training_data.sample_slices(**draw)
    for number, matrix in enumerate(parameters["kappa"]):
        outputs[f"kappa{number}"] = training_data.validation_kappa(np.array(matrix))
    for number, batch in enumerate(parameters["loss"]):
        probabilities = torch.tensor(batch["probs"], dtype=torch.float32)
        targets, weights = torch.tensor(batch["targets"]), torch.tensor(batch["weights"], dtype=torch.float32)
        outputs[f"loss{number}"] = training_data.weighted_loss(probabilities, targets, weights).numpy()
    return outputs


def preview_helpers(case: Case) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for number, (depth, panels) in enumerate(case.parameters["panels"]):
        outputs[f"panels{number}"] = pictures.panel_slices(depth, panels)
    for number, recipe in enumerate(case.parameters["images"]):
        outputs[f"uint8_{number}"] = pictures.to_gray8(_image(recipe))
    outputs["model_components"] = "\n".join(model_folder_name(name) for name in case.parameters["ids"])
    return outputs


def _image(recipe: dict[str, Any]) -> np.ndarray:
    shape = tuple(recipe["shape"])
    if recipe["type"] == "constant":
        image = np.full(shape, recipe["value"])
    else:
        image = seeded_image(recipe["name"], shape, recipe["low"], recipe["high"])
    if recipe.get("nan"):
        image = image.astype(np.result_type(image, np.float32))
        image[0, 0] = np.nan
    dtype = np.dtype(recipe.get("dtype", image.dtype))
    return (np.rint(image) if dtype.kind in "iu" else image).astype(dtype)


KINDS = {
    "confirm": confirm,
    "discovery": discover,
    "scan-id": scan_id,
    "agreement": agree,
    "review-store": review_store_script,
    "training-helpers": training_helpers,
    "preview-helpers": preview_helpers,
}

"""Checks of DICOM files against the standard's tables of required attributes, and by dciodvfy where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import highdicom
import numpy as np
from pydicom import Dataset, dcmread

TABLES = Path(highdicom.__file__).parent / "_standard"
CONTENT = "sr-document-content"  # what is required there depends on the value type: `content_faults`
OTHER_SPECIMEN = "PlanePositionSlideSequence"  # of microscopes only
VALUES = {
    "CONTAINER": "ContinuityOfContent",
    "CODE": "ConceptCodeSequence",
    "NUM": "MeasuredValueSequence",
    "TEXT": "TextValue",
    "PNAME": "PersonName",
    "UIDREF": "UID",
    "IMAGE": "ReferencedSOPSequence",
    "SCOORD": "GraphicData",
}
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@cache
def _table(name: str) -> dict:
    return json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))


def missing_attributes(path: Path) -> list[str]:
    """Attributes of type 1 without a value, and of type 2 that are absent, in mandatory modules and their sequences."""
    dataset = dcmread(path)
    missing = []
    for module in _table("iod_module_map")[_table("sop_class_iod_map")[dataset.SOPClassUID]]:
        if module["usage"] == "M" and module["key"] != CONTENT:
            for attribute in _table("module_attribute_map")[module["key"]]:
                missing += _missing(dataset, attribute, module["key"])
    return missing


def _missing(dataset: Dataset, attribute: dict, module: str) -> list[str]:
    name, kind, path = attribute["keyword"], attribute["type"], attribute["path"]
    if kind not in ("1", "2") or name == OTHER_SPECIMEN:
        return []
    if (
        path
        and path[0] in GROUPS
        and len(path) == 1
        and any(name in group for s in GROUPS for group in dataset.get(s, []))
    ):
        return []  # what all frames share lies in one place, what differs in the other
    items = [dataset]
    for sequence in path:
        items = [inner for item in items for inner in item.get(sequence) or []]
    lacking = [item for item in items if name not in item or (kind == "1" and item[name].value in (None, "", []))]
    return [f"{module}: {'/'.join([*path, name])} (type {kind})"] if lacking else []


def content_faults(item: Dataset, root: bool = True) -> list[str]:
    """What a report's content items lack: names, values, relationships, complete codes, UCUM units."""
    faults, kind = [], item.get("ValueType", "")
    wanted = ["ConceptNameCodeSequence", VALUES.get(kind, "ValueType"), *([] if root else ["RelationshipType"])]
    faults += [f"{kind} without {name}" for name in wanted if not item.get(name)]
    names = ("ConceptNameCodeSequence", "ConceptCodeSequence")
    coded = [code for name in names for code in item.get(name) or []]
    if kind == "NUM":
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0]
        coded.append(unit)
        if unit.CodingSchemeDesignator != "UCUM" or not np.isfinite(float(measured.NumericValue)):
            faults.append(f"{measured.NumericValue} {unit.CodeValue}")
    for code in coded:
        if not (0 < len(code.CodeValue) <= 16 and 0 < len(code.CodeMeaning) <= 64 and code.CodingSchemeDesignator):
            faults.append(f"code {code.CodeValue!r} {code.CodeMeaning!r}")
    return faults + [fault for child in item.get("ContentSequence") or [] for fault in content_faults(child, False)]


def dciodvfy_errors(path: Path) -> list[str] | None:
    """Lines that David Clunie's validator calls errors; None where it is not installed."""
    if not (program := shutil.which("dciodvfy")):
        return None
    done = subprocess.run([program, str(path)], capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]

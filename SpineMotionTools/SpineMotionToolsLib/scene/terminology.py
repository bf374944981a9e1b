"""What segments of the spine are called and how they look: SNOMED CT codes, terminology entries, colors.

Slicer's own lists know neither single vertebrae nor discs, so the extension brings a list of its own, made from the
tables below: `python -m SpineMotionToolsLib.scene.terminology FILE` writes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CONTEXT = "Segmentation category and type - SpineMotionTools"
ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"
SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"
LEVEL_TAG = "SpineMotionTools.Level"
CATEGORY = ("123037004", "Anatomical Structure")
VERTEBRA = ("51282000", "Vertebra")
DISC = ("360499006", "Intervertebral disc")

CODES = {
    "C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002", "C5": "36978003", "C6": "36054005",
    "C7": "87391001", "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006",
    "T6": "45296009", "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004",
    "T12": "23215003", "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
    "S1": "65985001",
}  # fmt: skip
"""SNOMED CT codes of the vertebrae; T13, L6 and S2 have none here and are coded as a vertebra, with their level."""

COLORS = {"C": (255, 255, 207), "T": (226, 202, 134), "L": (212, 188, 102), "S": (212, 208, 122)}
"""Recommended colors of cervical, thoracic, lumbar and sacral vertebrae: those of TotalSegmentator's list."""

DISC_COLOR = (111, 184, 210)


def vertebra_code(level: str) -> tuple[str, str]:
    """SNOMED CT code and meaning of a vertebra, e.g. ("66794005", "L1 vertebra")."""
    return (CODES[level], f"{level} vertebra") if level in CODES else VERTEBRA


def vertebra_entry(level: str) -> str:
    """The terminology entry of a vertebra's segment, in Slicer's seven parts."""
    return _entry(vertebra_code(level))


def disc_entry() -> str:
    """The terminology entry of a disc's segment; its level is kept in the tag `LEVEL_TAG`."""
    return _entry(DISC)


def vertebra_color(level: str) -> tuple[float, float, float]:
    """Color of a vertebra, 0 to 1."""
    return _unit(COLORS.get(level[:1], COLORS["L"]))


def disc_color() -> tuple[float, float, float]:
    """Color of discs, 0 to 1."""
    return _unit(DISC_COLOR)


def document() -> dict[str, Any]:
    """The list as Slicer's Terminologies logic reads it (`*.term.json`, schema of dcmqi)."""
    types = [_type(*vertebra_code(level), COLORS[level[0]]) for level in CODES]
    types += [_type(*VERTEBRA, COLORS["T"]), _type(*DISC, DISC_COLOR)]
    category = _code(*CATEGORY) | {"showAnatomy": "false", "Type": types}
    return {
        "@schema": SCHEMA,
        "SegmentationCategoryTypeContextName": CONTEXT,
        "SegmentationCodes": {"Category": [category]},
    }


def _entry(code: tuple[str, str]) -> str:
    category, kind = ("^".join(("SCT", *each)) for each in (CATEGORY, code))
    return "~".join((CONTEXT, category, kind, "^^", ANATOMIC_CONTEXT, "^^", "^^"))


def _type(value: str, meaning: str, color: tuple[int, int, int]) -> dict[str, Any]:
    return _code(value, meaning) | {"3dSlicerLabel": meaning, "recommendedDisplayRGBValue": list(color)}


def _code(value: str, meaning: str) -> dict[str, str]:
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning}


def _unit(color: tuple[int, int, int]) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(document(), indent=1) + "\n", encoding="utf-8", newline="\n")

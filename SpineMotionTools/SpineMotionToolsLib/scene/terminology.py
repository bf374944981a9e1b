"""What segments of the spine are called and how they look: SNOMED CT codes, terminology entries, colors.

Slicer's own lists know neither single vertebrae nor discs, so the extension brings a list of its own, made from the
tables below: `python -m SpineMotionToolsLib.scene.terminology FILE` writes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common import spine_codes
from SpineMotionToolsLib.common.spine_codes import DISC, VERTEBRA, Code, disc_code, vertebra_code

CONTEXT = "Segmentation category and type - SpineMotionTools"
ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"
SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"
LEVEL_TAG = "SpineMotionTools.Level"
CATEGORY = Code("123037004", "Anatomical Structure")


def vertebra_entry(level: str) -> str:
    """The terminology entry of a vertebra's segment, in Slicer's seven parts."""
    return _entry(vertebra_code(level))


def disc_entry(level: str) -> str:
    """The terminology entry of a disc's segment; a level without a code of its own is an intervertebral disc."""
    return _entry(disc_code(level))


def vertebra_color(level: str) -> tuple[float, float, float]:
    """Color of a vertebra, 0 to 1."""
    return _unit(spine_codes.vertebra_color(level))


def disc_color() -> tuple[float, float, float]:
    """Color of discs, 0 to 1."""
    return _unit(spine_codes.DISC_COLOR)


def document() -> dict[str, Any]:
    """The list as Slicer's Terminologies logic reads it (`*.term.json`, schema of dcmqi)."""
    types = [_type(vertebra_code(level), spine_codes.vertebra_color(level)) for level in spine_codes.VERTEBRA_VALUES]
    types += [_type(disc_code(level), spine_codes.DISC_COLOR) for level in spine_codes.DISC_VALUES]
    types += [_type(VERTEBRA, spine_codes.vertebra_color("T")), _type(DISC, spine_codes.DISC_COLOR)]
    category = _code(CATEGORY) | {"showAnatomy": "false", "Type": types}
    return {
        "@schema": SCHEMA,
        "SegmentationCategoryTypeContextName": CONTEXT,
        "SegmentationCodes": {"Category": [category]},
    }


def _entry(code: Code) -> str:
    category, kind = (f"{each.scheme}^{each.value}^{each.meaning}" for each in (CATEGORY, code))
    return "~".join((CONTEXT, category, kind, "^^", ANATOMIC_CONTEXT, "^^", "^^"))


def _type(code: Code, color: tuple[int, int, int]) -> dict[str, Any]:
    return _code(code) | {"3dSlicerLabel": code.meaning, "recommendedDisplayRGBValue": list(color)}


def _code(code: Code) -> dict[str, str]:
    return {"CodingSchemeDesignator": code.scheme, "CodeValue": code.value, "CodeMeaning": code.meaning}


def _unit(color: tuple[int, int, int]) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(document(), indent=1) + "\n", encoding="utf-8", newline="\n")

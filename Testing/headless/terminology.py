"""Small terminology files under the names that Slicer's own have, so that its logic starts without errors."""

from __future__ import annotations

import json
from pathlib import Path

SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/{}-context-schema.json#"
TYPES = {"Vertebra": "51282000", "Spine": "421060004", "Intervertebral disc": "360499006", "Bone": "272673000"}
SEGMENTATION_FILES = {
    "SegmentationCategoryTypeModifier-SlicerGeneralAnatomy": "3D Slicer General Anatomy list",
    "SegmentationCategoryTypeModifier-DICOM-Master": "DICOM master list",
}
REGION_FILE = ("AnatomicRegionAndModifier-DICOM-Master", "Anatomic codes - DICOM master list")


def _code(value: str, meaning: str) -> dict:
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning}


def write(folder: Path) -> None:
    """Write the `*.term.json` files that the Terminologies logic reads when it gets the scene."""
    types = [
        _code(value, meaning) | {"recommendedDisplayRGBValue": [226, 202, 134]} for meaning, value in TYPES.items()
    ]
    category = _code("123037004", "Anatomical Structure") | {"showAnatomy": "true", "Type": types}
    for name, title in SEGMENTATION_FILES.items():
        content = {
            "@schema": SCHEMA.format("segment"),
            "SegmentationCategoryTypeContextName": f"Segmentation category and type - {title}",
            "SegmentationCodes": {"Category": [category]},
        }
        (folder / f"{name}.term.json").write_text(json.dumps(content), encoding="utf-8")
    regions = [_code(value, meaning) for meaning, value in TYPES.items()]
    content = {
        "@schema": SCHEMA.format("anatomic"),
        "AnatomicContextName": REGION_FILE[1],
        "AnatomicCodes": {"AnatomicRegion": regions},
    }
    (folder / f"{REGION_FILE[0]}.term.json").write_text(json.dumps(content), encoding="utf-8")

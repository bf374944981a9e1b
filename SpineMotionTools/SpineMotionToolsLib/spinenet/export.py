"""Results as files other programs open: segmentation (.seg.nrrd) and markups (.mrk.json) for 3D Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.files import atomic_path, write_json
from SpineMotionToolsLib.common.image_files import check_text
from SpineMotionToolsLib.common.spine_codes import DISC_COLOR, disc_code, vertebra_code, vertebra_color
from SpineMotionToolsLib.common.volumes import Volume, to_image

from .polygons import mask_of
from .results import Spine

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def label_map(spine: Spine) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Labels (slices, rows, columns) from 1, and (name, level) of each: bodies and the discs between neighbors.

    Bodies lie over discs.
    """
    rows, columns, slices = spine.geometry.shape
    labels = np.zeros((slices, rows, columns), dtype=np.uint8)
    names: list[tuple[str, str]] = []
    for disc in (d for d in spine.discs if d.neighbours):
        names.append((f"{disc.level} disc", disc.level))
        above, below = spine.vertebrae[disc.upper], spine.vertebrae[disc.lower]
        for s in sorted(set(above.slices) & set(below.slices)):
            u, v = above.corners_px[above.slices.index(s)], below.corners_px[below.slices.index(s)]
            labels[s][mask_of(np.array([u[1], v[0], v[3], u[2]]), (rows, columns))] = len(names)
    for vertebra in spine.vertebrae:
        names.append((vertebra.label, vertebra.label))
        for s, outline in zip(vertebra.slices, vertebra.corners_px):
            labels[s][mask_of(outline, (rows, columns))] = len(names)
    return labels, names


def write_segmentation(path: Path | str, spine: Spine) -> None:
    """Write bodies and discs as a .seg.nrrd with names, colors and SNOMED CT codes.

    Raises OutputError when the place cannot be written, InputError for a name that is no text.
    """
    import SimpleITK as sitk

    check_text(Path(path))
    labels, names = label_map(spine)
    image = to_image(Volume(labels, spine.geometry.index_to_ras))
    for number, (name, level) in enumerate(names):
        where = np.argwhere(labels == number + 1)
        low, high = (where.min(axis=0), where.max(axis=0)) if len(where) else (np.zeros(3, int), np.full(3, -1))
        extent = " ".join(f"{a} {b}" for a, b in zip(low[::-1], high[::-1]))
        color = DISC_COLOR if name.endswith("disc") else vertebra_color(level)
        entries = {
            "ID": f"Segment_{number + 1}",
            "Name": name,
            "LabelValue": str(number + 1),
            "Layer": "0",
            "Color": " ".join(f"{c / 255:.6f}" for c in color),
            "Extent": extent,
            "Tags": f"TerminologyEntry:{_terminology(name, level)}|SpineMotionTools.Level:{level}|",
        }
        for key, value in entries.items():
            image.SetMetaData(f"Segment{number}_{key}", value)
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    image.SetMetaData("Segmentation_ContainedRepresentationNames", "Binary labelmap|")
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _terminology(name: str, level: str) -> str:
    code = disc_code(level) if name.endswith("disc") else vertebra_code(level)
    category, kind = "SCT^123037004^Anatomical Structure", f"{code.scheme}^{code.value}^{code.meaning}"
    context, anatomic = "Segmentation category and type - SpineMotionTools", "Anatomic codes - DICOM master list"
    return f"{context}~{category}~{kind}~^^~{anatomic}~^^~^^"


def write_markups(path: Path | str, spine: Spine) -> None:
    """Write centers of all bodies and the corners in their middle slices as a .mrk.json in RAS mm; raises
    OutputError."""
    centers = [(v.label, v.source, v.center_ras) for v in spine.vertebrae]
    names = ("posterior superior", "posterior inferior", "anterior inferior", "anterior superior")
    corners = [
        (v.label, names[k], position) for v in spine.vertebrae for k, position in enumerate(v.middle_polygon_ras)
    ]
    lists = [_fiducials("Vertebral centers", centers), _fiducials("Vertebral corners", corners)]
    write_json(path, {"@schema": SCHEMA, "markups": lists})


def _fiducials(name: str, points: list[tuple[str, str, np.ndarray]]) -> dict[str, Any]:
    return {
        "type": "Fiducial",
        "name": name,
        "coordinateSystem": "RAS",
        "coordinateUnits": "mm",
        "locked": True,
        "controlPoints": [
            {
                "id": str(number),
                "label": label,
                "description": text,
                "position": [round(float(c), 4) for c in position],
                "selected": True,
                "locked": True,
                "visibility": True,
                "positionStatus": "defined",
            }
            for number, (label, text, position) in enumerate(points, start=1)
        ],
    }

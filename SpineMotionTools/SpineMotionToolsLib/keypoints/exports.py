"""A reading as files: tables, JSON, a Slicer markups file, a picture and a report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.files import atomic_path, safe_name, write_json
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.keypoints import anatomy
from SpineMotionToolsLib.keypoints.radiograph import in_source
from SpineMotionToolsLib.keypoints.results import Reading

MARKUPS_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def write_reading(
    reading: Reading, image: np.ndarray, folder: Path, history: dict[str, Any] | None = None, stem: str | None = None
) -> list[Path]:
    """Write every file of one reading into `folder` and return their paths; raises OutputError.

    `stem`: start of the files' names, by default the radiograph's name; `history`: `Session.to_json()`.
    """
    from SpineMotionToolsLib.keypoints.pictures import overlay
    from SpineMotionToolsLib.keypoints.report import make_report

    base = safe_name(stem or reading.name)
    path = lambda ending: Path(folder) / f"{base}{ending}"
    reading.keypoint_table().to_csv(path("-keypoints.csv"))
    _with_unit(reading.vertebra_table(), reading.scale.unit).to_csv(path("-vertebrae.csv"))
    reading.curve_table().to_csv(path("-curves.csv"))
    write_json(path(".json"), reading.to_json())
    write_json(path(".mrk.json"), markups(reading))
    endings = ["-keypoints.csv", "-vertebrae.csv", "-curves.csv", ".json", ".mrk.json", ".png", ".html"]
    if history is not None:
        write_json(path("-session.json"), history)
        endings.append("-session.json")
    with atomic_path(path(".png")) as temporary:
        overlay(reading, image).save(temporary)
    make_report(reading, image).write(path(".html"))
    return [path(ending) for ending in endings]


def _with_unit(table: Table, unit: str) -> Table:
    """The table with the unit of its lengths in every row: it differs from picture to picture, and rows are pooled."""
    return Table(table.name, [*table.columns, Column("length unit")], [[*row, unit] for row in table.rows])


def markups(reading: Reading) -> dict[str, Any]:
    """A Slicer markups (.mrk.json) file that lies on the radiograph as Slicer loads it from its own file.

    Where that is not known: first pixel at the origin, columns towards the patient's left and rows towards the back,
    as Slicer puts a two-dimensional file; in mm or, without a pixel size, in pixels.
    """
    row, column = reading.scale.factors
    place = np.diag([column, row, 1.0, 1.0]) if reading.place is None else reading.place
    source = in_source(reading.points_px, reading.size, reading.turned)
    lps = source[:, ::-1] @ place[:3, :2].T + place[:3, 3]
    points = []
    for k in range(68):
        present = bool(reading.present[k // 4])
        points.append(
            {
                "id": str(k + 1),
                "label": f"{reading.levels[k // 4]} {anatomy.CORNERS[k % 4]}",
                "description": f"confidence {reading.confidence[k]:.2f}",
                "associatedNodeID": "",
                "position": lps[k].tolist(),
                "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
                "selected": True,
                "locked": k // 4 in reading.locked,
                "visibility": present,
                "positionStatus": "defined" if present else "missing",
            }
        )
    return {
        "@schema": MARKUPS_SCHEMA,
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "locked": False,
                "fixedNumberOfControlPoints": True,
                "labelFormat": "%N-%d",
                "lastUsedControlPointNumber": 68,
                "controlPoints": points,
            }
        ],
    }


def summary_table(readings: list[tuple[str, Reading | None, str]], stems: Sequence[str] = ()) -> Table:
    """One row a file: (file name, reading or None, error); `stems`: how the names of its results start."""
    columns = [
        Column("file"),
        Column("largest Cobb angle", "°", "", 1),
        Column("±", "°", "one standard deviation, from the uncertainty of the corners alone", 1),
        Column("upper end vertebra"),
        Column("lower end vertebra"),
        Column("apex"),
        Column("convex to", description="side of the picture"),
        Column("curves of 10° or more"),
        Column("mean confidence", "", "", 2),
        Column("check first"),
        Column("starter model"),
        Column("results", description="start of the names of its files"),
        Column("remarks"),
    ]
    rows: list[list[Any]] = []
    for (name, reading, error), stem in zip_longest(readings, stems):
        if reading is None:
            rows.append([name, *[None] * (len(columns) - 2), error])
            continue
        main = reading.main_curve
        curve = [None] * 6
        if main is not None:
            ends = [main.upper_name, main.lower_name, main.apex]
            curve = [main.cobb_deg, main.uncertainty_deg, *ends, f"picture's {main.convex_to}"]
        first = reading.levels[reading.to_check[0]] if reading.to_check else None
        rows.append(
            [
                name, *curve, len(reading.curves), float(reading.confidence.mean()), first, reading.provenance.starter,
                stem, " ".join(reading.warnings),
            ]
        )  # fmt: skip
    return Table("Radiographs", columns, rows)

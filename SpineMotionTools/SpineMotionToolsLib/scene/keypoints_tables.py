"""The tables a panel shows beside a radiograph: the library's numbers in few, narrow columns, rounded to be read."""

from __future__ import annotations

from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.keypoints.results import Reading


def curve_table(reading: Reading) -> Table:
    """Every curve of at least 10 degrees, one a row."""
    columns = [
        Column("Cobb", "°", "Cobb angle between the end vertebrae's outer endplates, degrees"),
        Column("±", "°", "one standard deviation, from the uncertainty of the corners alone, degrees"),
        Column("from", "", "upper end vertebra"),
        Column("to", "", "lower end vertebra"),
        Column("apex", "", "vertebra or disc farthest from the line between the end vertebrae"),
        Column("convex to", "", "side of the picture"),
        Column("patient", "", "side of the patient, where it is known"),
        Column("region", "", "by the apex"),
    ]
    rows = [
        [
            round(curve.cobb_deg, 1),
            "" if curve.uncertainty_deg is None else round(curve.uncertainty_deg, 1),
            curve.upper_name,
            curve.lower_name,
            curve.apex,
            f"picture's {curve.convex_to}",
            reading.patient_side(curve.convex_to),
            curve.region,
        ]
        for curve in reading.curves
    ]
    return Table("Curves of 10° or more", columns, rows)


def vertebra_table(reading: Reading) -> Table:
    """Every present vertebra, one a row; lengths in mm, or in pixels where their size is not known."""
    unit = reading.scale.unit
    columns = [
        Column("level"),
        Column("tilt", "°", "degrees; positive: the end on the picture's right is lower"),
        Column("wedge", "°", "lower less upper endplate, degrees; positive: the picture's right side is taller"),
        Column("height", unit, "mean of both sides"),
        Column("conf.", "", "least certain corner, 0 to 1; 1: placed by hand or locked"),
        Column("left", unit, "height on the picture's left"),
        Column("right", unit, "height on the picture's right"),
        Column("width", unit, "between the middles of both sides"),
        Column("disc", "°", "wedge of the disc below, degrees"),
    ]
    rows = [
        [
            v.name,
            round(v.tilt_deg, 1),
            round(v.wedging_deg, 1),
            round((v.left_height + v.right_height) / 2, 1),
            round(float(reading.confidence[4 * v.level : 4 * v.level + 4].min()), 2),
            round(v.left_height, 1),
            round(v.right_height, 1),
            round(v.width, 1),
            None if v.disc_below_deg is None else round(v.disc_below_deg, 1),
        ]
        for v in reading.vertebrae
    ]
    return Table("Vertebrae", columns, rows)

"""A radiograph's reading as a DICOM report: every curve with its Cobb angle, end vertebrae and apex, drawn on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.dicom_objects import own_code
from SpineMotionToolsLib.common.dicom_report import LEFT, RIGHT, Choice, Group, Line, Number, Site, write_report
from SpineMotionToolsLib.common.dicom_source import NOT_DICOM, DicomSource, Frame, is_dicom, read_source
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.spine_codes import Code, disc_code, vertebra_code
from SpineMotionToolsLib.keypoints.curves import Curve
from SpineMotionToolsLib.keypoints.radiograph import in_source
from SpineMotionToolsLib.keypoints.results import Reading

TITLE = "Cobb angles"
COBB_ANGLE = Code("285285000", "Cobb angle")
CURVE = own_code("CoronalCurve", "Coronal curve of the spine")
UPPER_END = own_code("UpperEndVertebra", "Upper end vertebra")
LOWER_END = own_code("LowerEndVertebra", "Lower end vertebra")
APEX = own_code("Apex", "Apex of the curve")
CONVEXITY, REGION = own_code("Convexity", "Convexity"), own_code("CurveRegion", "Region of the curve, by its apex")
PICTURE_SIDES = {
    "left": own_code("PictureLeft", "picture's left, patient side not known"),
    "right": own_code("PictureRight", "picture's right, patient side not known"),
}
UPPER_ENDPLATE, LOWER_ENDPLATE = (0, 1), (2, 3)


def find_source(path: Path | str) -> DicomSource:
    """The DICOM image that `inputs.read_radiograph` reads; raises InputError when the file is not DICOM."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist or is a folder. Give one image file.")
    if not is_dicom(path):
        raise InputError(NOT_DICOM.format(name=path.name))
    return read_source([path])


def write_dicom(
    reading: Reading,
    source: DicomSource,
    path: Path | str,
    reviewer: str | None = None,
    frame: Frame | None = None,
    pixels: np.ndarray | None = None,
) -> Path:
    """Write the report to a file and return its path.

    `reviewer`: name of the person who reviewed the corners; corrected and accepted ones name a person even when nobody
    is given. `frame`: the image of a file or series with several. `pixels` (68, 2): the keypoints as (column, row) of
    the DICOM image where the reading was made from pixels in another order; without it the reading must be of the
    image's size. Raises InputError for fewer than three vertebrae and for images of another size, OutputError.
    """
    header = source.first
    if pixels is None:
        if (int(header.get("Rows", 0)), int(header.get("Columns", 0))) != reading.size:
            raise InputError(
                f"The DICOM image has {header.get('Columns')} x {header.get('Rows')} pixels and the reading "
                f"{reading.size[1]} x {reading.size[0]}. Give the image that was read."
            )
        pixels = in_source(reading.points_px, reading.size, reading.turned)[:, ::-1]
    if reviewer is None and (reading.accepted or reading.given or reading.locked):
        reviewer = ""
    path = Path(path)
    groups = report_groups(reading, frame or source.frames[0], pixels)
    write_report(path, source, groups, reading.provenance, TITLE, _comments(reading), reviewer)
    return path


def report_groups(reading: Reading, frame: Frame, pixels: np.ndarray) -> list[Group]:
    """Every curve of at least 10 degrees from the top, or the largest one when none is."""
    curves = reading.curves or [curve for curve in [reading.main_curve] if curve is not None]
    return [_curve_group(number, curve, reading, frame, pixels) for number, curve in enumerate(curves, start=1)]


def _curve_group(number: int, curve: Curve, reading: Reading, frame: Frame, pixels: np.ndarray) -> Group:
    ends = ((curve.upper, UPPER_ENDPLATE), (curve.lower, LOWER_ENDPLATE))
    lines = tuple(Line(frame, pixels[[4 * level + corner for corner in plate]]) for level, plate in ends)
    side = {"left": LEFT, "right": RIGHT}.get(reading.patient_side(curve.convex_to), PICTURE_SIDES[curve.convex_to])
    return Group(
        f"Curve {number}, {curve.upper_name} to {curve.lower_name}",
        CURVE,
        (_site(curve.upper_name, UPPER_END), _site(curve.lower_name, LOWER_END), _site(curve.apex, APEX)),
        (Number(COBB_ANGLE, curve.cobb_deg, "deg", curve.uncertainty_deg, lines),),
        (Choice(CONVEXITY, side), Choice(REGION, own_code(_camel(curve.region), curve.region))),
        (frame,),
    )


def _site(level: str, role: Code) -> Site:
    """A vertebra or a disc; one without a code of its own is told in its role."""
    code = disc_code(level) if "-" in level else vertebra_code(level)
    known = code.meaning.split()[0] == level.replace("-", "/")
    return Site(code, role=role if known else own_code(role.value, f"{role.meaning}: {level}"))


def _camel(text: str) -> str:
    return "".join(word.capitalize() for word in text.split())


def _comments(reading: Reading) -> list[str]:
    comments = [*reading.warnings]
    if not reading.curves:
        comments.insert(0, "No curve of 10 degrees or more; the largest is given.")
    if reading.given:
        comments.append(f"{len(reading.given)} of 68 corners were placed by hand.")
    if reading.absent:
        comments.append(f"Absent: {', '.join(reading.levels[level] for level in reading.absent)}.")
    if reading.accepted:
        comments.append("The corners were accepted by a reader.")
    return comments

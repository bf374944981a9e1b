"""What is drawn over a radiograph: outlines, uncertainty, Cobb lines with their angles; picture pixels to VTK surfaces.

Lines are drawn as ribbons that stand on the picture, half a slice to either side: a slice view cuts a ribbon into a
line, and only where the view shows the picture's slice. Each color is a surface of its own: Slicer's slice views report
an error with every picture of a surface that carries its colors itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

from SpineMotionToolsLib.keypoints.pictures import CURVE_COLORS, DOUBTFUL, FAIR, GIVEN, SURE, confidence_color
from SpineMotionToolsLib.keypoints.results import Reading

LINE_COLORS = {
    "sureLines": SURE,
    "fairLines": FAIR,
    "doubtfulLines": DOUBTFUL,
    "placedLines": GIVEN,
    "cobbLines": CURVE_COLORS[0],
    "cobbLinesBelow": CURVE_COLORS[1],  # curves alternate, so that neighbors differ
}
COBB_ROLES = ("cobbLines", "cobbLinesBelow")
ROLE_OF = {color: role for role, color in LINE_COLORS.items()}
RING = [0, 1, 3, 2, 0]  # corners of a vertebra in the order of its outline
SQUARE = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)], float)
ELLIPSE = np.stack([f(np.linspace(0, 2 * np.pi, 17)) for f in (np.sin, np.cos)], axis=1)
MARK_SHARE = 0.11  # half the side of the square around a placed corner, in vertebral heights
LABEL_GAP_SHARE = 0.045  # of the picture's height, between two angles
LABEL_ROOM_SHARE, LABEL_INSET_SHARE = 0.30, 0.01  # of the region's width, for texts at its right and left edge
NAME_SHIFT = 0.18  # texts start at their place and run to the right: of the vertebra's width


@dataclass(frozen=True)
class Label:
    """A text at a place (row, column) of the picture."""

    text: str
    place: tuple[float, float]


def lines(reading: Reading, uncertainty: bool) -> dict[str, list[np.ndarray]]:
    """Everything drawn as lines: by role (color) a list of lines through points (N, 2), picture (row, column).

    Vertebrae are outlined in the color of their least certain corner, locked ones crossed out; squares mark corners
    placed by hand and, with `uncertainty`, ellipses of one standard deviation the others.
    """
    found: dict[str, list[np.ndarray]] = {role: [] for role in LINE_COLORS}
    points, confidence = reading.points_px, reading.confidence
    for level in np.flatnonzero(reading.present):
        quad = points[4 * level : 4 * level + 4]
        outline = found[ROLE_OF[confidence_color(float(confidence[4 * level : 4 * level + 4].min()))]]
        outline.append(quad[RING])
        if level in reading.locked:
            outline += [quad[[0, 3]], quad[[1, 2]]]
        side = MARK_SHARE * np.linalg.norm(quad[[2, 3]] - quad[[0, 1]], axis=1).mean()
        for keypoint in range(4 * level, 4 * level + 4):
            if keypoint in reading.given:
                found["placedLines"].append(points[keypoint] + SQUARE * side)
            elif uncertainty and level not in reading.locked:
                ellipse = points[keypoint] + ELLIPSE * reading.spread_px[keypoint]
                found[ROLE_OF[confidence_color(float(confidence[keypoint]))]].append(ellipse)
    for n, curve in enumerate(reading.curves):
        found[COBB_ROLES[n % 2]] += _drawn_out(reading, curve)
    return found


def marked(reading: Reading) -> dict[str, list[Label]]:
    """Corners that carry a mark over their own glyph: "doubtful" ones and those "placed" by hand."""
    shown = np.flatnonzero(np.repeat(reading.present, 4)).tolist()
    placed = [k for k in shown if k in reading.given]
    red = [k for k in shown if k not in placed and confidence_color(float(reading.confidence[k])) == DOUBTFUL]
    kept = {"doubtful": red, "placed": placed}
    return {role: [Label("", tuple(reading.points_px[k])) for k in keypoints] for role, keypoints in kept.items()}


def level_labels(reading: Reading) -> list[Label]:
    """Every present vertebra's name on its body."""
    labels = []
    for level in np.flatnonzero(reading.present):
        quad = reading.points_px[4 * level : 4 * level + 4]
        place = quad.mean(0) - NAME_SHIFT * (quad[[1, 3]] - quad[[0, 2]]).mean(0)
        locked = " locked" if level in reading.locked else ""
        labels.append(Label(reading.levels[level] + locked, tuple(place)))
    return labels


def angle_labels(reading: Reading) -> list[Label]:
    """Each curve's angle and end vertebrae between its lines on the concave side, none over another."""
    labels: list[Label] = []
    gap = LABEL_GAP_SHARE * reading.size[0]
    for curve in reading.curves:
        upper, lower = _drawn_out(reading, curve)
        row, edge = np.mean((upper[1], lower[1]), axis=0)
        right = curve.convex_to == "left"
        column = edge + (-LABEL_ROOM_SHARE if right else LABEL_INSET_SHARE) * reading.region[3]
        while any(abs(row - other.place[0]) < gap and abs(column - other.place[1]) < 1 for other in labels):
            row += gap / 4
        doubt = "" if curve.uncertainty_deg is None else f" ± {curve.uncertainty_deg:.0f}°"
        text = f"{curve.cobb_deg:.0f}°{doubt}  {curve.upper_name}-{curve.lower_name}"
        labels.append(Label(text, (float(row), float(column))))
    return labels


def side_labels(reading: Reading) -> list[Label]:
    """R and L at the picture's lower corners, where the sides of the patient are known."""
    if reading.patient_right_on not in ("left", "right"):
        return []
    rows, columns = reading.size
    letters = "RL" if reading.patient_right_on == "left" else "LR"
    return [Label(letter, (0.97 * rows, share * columns)) for letter, share in zip(letters, (0.02, 0.92))]


def ribbons(starts_ras: np.ndarray, ends_ras: np.ndarray, half_ras: np.ndarray) -> vtk.vtkPolyData:
    """One quadrilateral a segment from `starts_ras` to `ends_ras` (M, 3), reaching `half_ras` (3,) to either side."""
    corners = np.stack((starts_ras - half_ras, ends_ras - half_ras, ends_ras + half_ras, starts_ras + half_ras), axis=1)
    count = len(corners)
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(corners.reshape(-1, 3), np.float64), deep=True))
    offsets, corner_ids = np.arange(0, 4 * count + 1, 4, dtype=np.int64), np.arange(4 * count, dtype=np.int64)
    cells = vtk.vtkCellArray()
    cells.SetData(numpy_to_vtkIdTypeArray(offsets, deep=True), numpy_to_vtkIdTypeArray(corner_ids, deep=True))
    surface = vtk.vtkPolyData()
    surface.SetPoints(points)
    surface.SetPolys(cells)
    return surface


def _drawn_out(reading: Reading, curve) -> tuple[np.ndarray, np.ndarray]:
    """The upper endplate of the upper and the lower endplate of the lower end vertebra, (2, 2) each: from the end on
    the convex side to the region's edge on the concave side, where the two lines meet.
    """
    _top, left, _rows, columns = reading.region
    right = curve.convex_to == "left"
    edge = left + (columns - 1 if right else 0)
    found = []
    for level, (a, b) in ((curve.upper, (0, 1)), (curve.lower, (2, 3))):
        start, end = reading.points_px[4 * level + a], reading.points_px[4 * level + b]
        far, along = (start, end - start) if right else (end, start - end)
        share = (edge - far[1]) / along[1] if along[1] * (edge - far[1]) > 0 else 1.0
        found.append(np.array([far, far + max(share, 1.0) * along]))
    return found[0], found[1]

"""A sagittal scan as the networks see it, and where its pixels lie in the patient.

Axes of the array are (row, column, slice): rows go from head to foot, columns from front to back, slices from the
patient's left to the patient's right (the order the published weights most likely expect; never stated by their
authors).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.geometry import ijk_to_ras, ras_to_ijk
from SpineMotionToolsLib.common.volumes import Volume

from .resampling import SUPPORTED, resize_cubic

CANONICAL = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], dtype=float)
"""RAS directions of columns (x), rows (y) and slices: posterior, inferior, right."""

SQUARE_TOLERANCE = 0.01
THICK_SLICE_MM = 4.0
THIN_BELOW_MM = 2.5
LARGEST_PIXEL_MM, SMALLEST_PIXEL_MM = 2.5, 0.05
SMALLEST_VIEW_MM, LARGEST_VIEW_MM = 60.0, 2000.0
RINGING_SHARE, RINGING_DEPTH = 0.02, 0.25
LARGEST_TURN_DEG, WARN_TURN_DEG = 45.0, 20.0


@dataclass(frozen=True, eq=False)
class ScanGeometry:
    """Size and place of a sagittal scan; `index_to_ras` (4, 4) maps (column, row, slice) to RAS mm."""

    shape: tuple[int, int, int]
    index_to_ras: np.ndarray

    @cached_property
    def pixel_spacing_mm(self) -> float:
        """In-plane pixel size; pixels are square to within 1 %."""
        return float(np.linalg.norm(self.index_to_ras[:3, :2], axis=0).mean())

    @cached_property
    def slice_spacing_mm(self) -> float:
        """Distance between neighbouring slice planes, at right angles to them."""
        return float(abs(self.normal @ self.index_to_ras[:3, 2]))

    @cached_property
    def plane(self) -> np.ndarray:
        """(2, 3): unit RAS directions of columns (front to back) and rows (head to foot)."""
        return (self.index_to_ras[:3, :2] / np.linalg.norm(self.index_to_ras[:3, :2], axis=0)).T

    @cached_property
    def normal(self) -> np.ndarray:
        """(3,): unit RAS normal of the slices."""
        normal = np.cross(*self.plane)
        return normal / np.linalg.norm(normal)

    def to_ras(self, points: np.ndarray, slices: np.ndarray | float) -> np.ndarray:
        """RAS mm (..., 3) of (column, row) points (..., 2) in the given slices (...)."""
        points = np.asarray(points, dtype=float)
        depth = np.broadcast_to(np.asarray(slices, dtype=float)[..., None], (*points.shape[:-1], 1))
        return ijk_to_ras(self.index_to_ras, np.concatenate([points, depth], axis=-1))

    def to_pixels(self, points_ras: np.ndarray) -> np.ndarray:
        """(column, row, slice) of RAS points (..., 3), with fractions."""
        return ras_to_ijk(self.index_to_ras, points_ras)

    def to_plane_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """In-plane coordinates in mm (..., 2), (front to back, head to foot), of RAS points projected on the slices."""
        return np.asarray(points_ras, dtype=float) @ self.plane.T

    def to_json(self) -> dict[str, Any]:
        return {
            "shape_rows_columns_slices": list(self.shape),
            "pixel_spacing_mm": self.pixel_spacing_mm,
            "slice_spacing_mm": self.slice_spacing_mm,
            "column_row_slice_to_ras": self.index_to_ras.tolist(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ScanGeometry:
        return cls(tuple(values["shape_rows_columns_slices"]), np.array(values["column_row_slice_to_ras"], dtype=float))


@dataclass(frozen=True, eq=False)
class Scan:
    """A sagittal scan: `array` (rows, columns, slices) in the order of the module's first paragraph.

    `notes` tell what was done to the input (for the provenance), `warnings` what its reader should know.
    """

    array: np.ndarray = field(repr=False)
    geometry: ScanGeometry
    name: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def pixel_spacing_mm(self) -> float:
        return self.geometry.pixel_spacing_mm

    @classmethod
    def from_array(
        cls, array: np.ndarray, pixel_spacing_mm: float, slice_spacing_mm: float = THICK_SLICE_MM, name: str = ""
    ) -> Scan:
        """A scan from a bare array (rows, columns, slices) that is already in the canonical order.

        Its RAS frame is the scan's own. Raises InputError for other shapes or an implausible spacing.
        """
        array = np.asarray(array)
        if array.ndim != 3:
            raise InputError(f"A scan must have three axes (rows, columns, slices), not shape {array.shape}.")
        if not (
            np.isfinite([pixel_spacing_mm, slice_spacing_mm]).all() and min(pixel_spacing_mm, slice_spacing_mm) > 0
        ):
            raise InputError("Pixel and slice spacing must be one positive number of millimetres each.")
        if not SMALLEST_PIXEL_MM <= pixel_spacing_mm <= LARGEST_PIXEL_MM:
            raise InputError(
                f"A pixel spacing of {pixel_spacing_mm:g} mm is implausible for a spine scan ({SMALLEST_PIXEL_MM:g} to "
                f"{LARGEST_PIXEL_MM:g} mm). Give it in millimetres."
            )
        matrix = np.eye(4)
        matrix[:3, :3] = CANONICAL.T * [pixel_spacing_mm, pixel_spacing_mm, slice_spacing_mm]
        array, warnings = _numbers(array)
        return cls(array, ScanGeometry(array.shape, matrix), name, tuple(warnings))


def from_volume(volume: Volume, slice_mm: float = THICK_SLICE_MM) -> Scan:
    """A sagittal scan from a volume in any orientation: axes reordered and flipped, never rotated.

    Pixels that are not square are resampled to the finer of both spacings. Slices thinner than 2.5 mm are averaged in
    groups to about `slice_mm`, since the networks know thick slices only. Raises InputError for axial and coronal
    series, implausible spacing, and volumes without contrast.
    """
    array, warnings = _numbers(np.moveaxis(volume.array, (0, 1, 2), (2, 1, 0)))
    order, signs = _axes(volume.direction)
    notes = [_orientation_note(order, signs)]
    matrix = np.array(volume.ijk_to_ras)
    matrix[:3, :3] = volume.ijk_to_ras[:3, order] * signs
    for axis, sign in zip(order, signs):
        if sign < 0:
            matrix[:3, 3] += volume.ijk_to_ras[:3, axis] * (volume.array.shape[2 - axis] - 1)
    array = array.transpose(order[1], order[0], order[2])
    array = array[:: int(signs[1]), :: int(signs[0]), :: int(signs[2])]
    scan = Scan(np.ascontiguousarray(array), ScanGeometry(array.shape, matrix), volume.name, tuple(warnings))
    scan = replace(scan, warnings=(*scan.warnings, *_check_geometry(scan.geometry)))
    for step in (_square_pixels, lambda s: _thicken(s, slice_mm)):
        scan, note = step(scan)
        notes += [note] if note else []
    return replace(scan, notes=tuple(notes))


def _numbers(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The array in a type the resampling knows, without NaN; raises InputError for arrays without contrast."""
    warnings = []
    if array.dtype.kind not in "biuf":
        raise InputError(f"The scan holds {array.dtype} values. Convert it to a grey image, then try again.")
    if array.dtype.name not in SUPPORTED:
        array = array.astype(np.float32)
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if bad.any():
            array = np.where(bad, array.dtype.type(0), array)
            warnings.append(f"{int(bad.sum())} voxels were not numbers (NaN or infinite) and were set to 0.")
    if array.size == 0 or array.min() == array.max():
        raise InputError("The scan is empty: all voxels are equal. Choose another series.")
    if array.min() < 0 and _is_ringing(array):
        warnings.append(f"{int((array < 0).sum())} voxels were a little below 0, as resampling leaves them; now 0.")
        array = np.maximum(array, array.dtype.type(0))
    elif array.min() < 0:
        if array.min() <= -500:
            warnings.append(
                "Values down to -500 and less look like CT. The networks know MRI only: results are unreliable."
            )
        array = array.astype(np.float32) - np.float32(array.min())
        warnings.append(
            "The scan holds negative values; all values were shifted so that the smallest is 0. Grades and disc "
            "signals depend on where 0 lies: use the scanner's images if these were changed."
        )
    return array, warnings


def _is_ringing(array: np.ndarray) -> bool:
    """Whether negative values are few and small beside the bright ones."""
    few = (array < 0).mean() < RINGING_SHARE
    return bool(few and -float(array.min()) < RINGING_DEPTH * float(np.percentile(array, 99)))


def _axes(direction: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Which volume axes (i, j, k) become columns, rows and slices, and their signs."""
    from itertools import permutations

    fit = CANONICAL @ direction  # (canonical axis, volume axis)
    order = max(permutations(range(3)), key=lambda p: sum(abs(fit[c, a]) for c, a in enumerate(p)))
    return list(order), np.sign([fit[c, a] for c, a in enumerate(order)])


def _orientation_note(order: list[int], signs: np.ndarray) -> str:
    names = "ijk"
    axes = [("-" if s < 0 else "") + names[a] for a, s in zip(order, signs)]
    return (
        f"Columns (front to back), rows (head to foot) and slices (patient's left to right) are the volume's axes "
        f"{', '.join(axes)}; a minus means reversed. Left and right follow the image's geometry."
    )


def _check_geometry(geometry: ScanGeometry) -> list[str]:
    """Warnings about a geometry; raises InputError for one that cannot be a sagittal scan of a spine."""
    columns, rows, through = np.linalg.norm(geometry.index_to_ras[:3, :3], axis=0)
    worst = max(columns, rows)
    if worst > 2.0 and worst > 1.5 * through:
        name = "axial" if rows > columns else "coronal"
        raise InputError(
            f"This is {'an' if name == 'axial' else 'a'} {name} series (slices {worst:.1f} mm apart): vertebrae "
            f"are read "
            "from sagittal slices. Choose the sagittal series."
        )
    if worst > LARGEST_PIXEL_MM or min(columns, rows) < SMALLEST_PIXEL_MM:
        raise InputError(
            f"The pixel spacing of {rows:.3g} x {columns:.3g} mm is implausible for a spine scan "
            f"({SMALLEST_PIXEL_MM:g} to {LARGEST_PIXEL_MM:g} mm). Correct it in the file, then try again."
        )
    height, width = geometry.shape[0] * rows, geometry.shape[1] * columns
    if min(height, width) < SMALLEST_VIEW_MM or max(height, width) > LARGEST_VIEW_MM:
        raise InputError(
            f"The slices show {height:.0f} x {width:.0f} mm, which is implausible for a spine scan. "
            "Correct the pixel spacing in the file, then try again."
        )
    warnings = []
    turn = np.degrees(np.arccos(min(1.0, abs(geometry.normal[0]))))
    if turn > LARGEST_TURN_DEG:
        raise InputError(
            f"The slices are turned {turn:.0f} degrees out of the sagittal plane. Choose the sagittal series."
        )
    if turn > WARN_TURN_DEG:
        warnings.append(f"The slices are turned {turn:.0f} degrees out of the sagittal plane; check left and right.")
    sheared = np.degrees(np.arccos(min(1.0, geometry.slice_spacing_mm / through)))
    if sheared > 1:
        warnings.append(
            f"The slices are shifted against each other (tilted by {sheared:.0f} degrees); positions take this "
            f"into account."
        )
    if geometry.shape[2] == 1:
        warnings.append("There is one slice only: vertebrae cannot be confirmed by a neighbouring slice.")
    elif geometry.shape[2] < 5:
        warnings.append(
            f"There are only {geometry.shape[2]} slices; this may be a localizer. Use the full sagittal series."
        )
    if geometry.shape[2] > 1 and through > 8:
        warnings.append(f"The slices lie {through:.1f} mm apart, more than in the scans the networks know.")
    return warnings


def _square_pixels(scan: Scan) -> tuple[Scan, str]:
    columns, rows = np.linalg.norm(scan.geometry.index_to_ras[:3, :2], axis=0)
    target = min(columns, rows)
    if max(columns, rows) / target - 1 <= SQUARE_TOLERANCE:
        return scan, ""
    old = scan.array.shape[:2]
    new = max(1, round(old[0] * rows / target)), max(1, round(old[1] * columns / target))
    array = np.maximum(resize_cubic(scan.array.astype(np.float32), *new), 0)
    scale = np.array([old[1] / new[1], old[0] / new[0], 1.0])
    matrix = _rescaled(scan.geometry.index_to_ras, scale)
    note = f"Pixels of {rows:.3f} x {columns:.3f} mm (rows x columns) were resampled to {target:.3f} mm squares."
    return replace(scan, array=array, geometry=ScanGeometry(array.shape, matrix)), note


def _thicken(scan: Scan, slice_mm: float) -> tuple[Scan, str]:
    slices, spacing = scan.array.shape[2], scan.geometry.slice_spacing_mm
    group = round(slice_mm / spacing)
    if spacing >= THIN_BELOW_MM or group < 2 or slices < 2 * group:
        return scan, ""
    count = slices // group
    first = (slices - count * group) // 2
    used = scan.array[..., first : first + count * group].astype(np.float32)
    array = used.reshape(*scan.array.shape[:2], count, group).mean(axis=3)
    matrix = np.array(scan.geometry.index_to_ras)
    matrix[:3, 3] += matrix[:3, 2] * (first + (group - 1) / 2)
    matrix[:3, 2] *= group
    note = f"{slices} slices of {spacing:.2f} mm were averaged in groups of {group} to {count}."
    return replace(scan, array=array, geometry=ScanGeometry(array.shape, matrix)), note


def _rescaled(matrix: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The matrix after a resize by which one new index step covers `scale` old ones (half-pixel centres)."""
    matrix = np.array(matrix)
    matrix[:3, 3] += matrix[:3, :3] @ ((scale - 1) / 2)
    matrix[:3, :3] *= scale
    return matrix

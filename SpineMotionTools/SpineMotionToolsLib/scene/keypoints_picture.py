"""The picture a volume node shows: which slice, which way up, its pixel size; and the way from its pixels to the scene.

A picture lies as the slice views show it: to the right is the patient's left (left), downwards is caudal (posterior for
files without a position in the patient, whose pixels Slicer puts into an axial plane, first row on top).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from vtk.util.numpy_support import vtk_to_numpy

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints.inputs import (
    CALIBRATED,
    DETECTOR_SPACING,
    NO_SPACING,
    PICTURE_SUFFIXES,
    from_array,
    turned,
)
from SpineMotionToolsLib.keypoints.placement import FRONTAL, LATERAL_NOTE, SAGITTAL, as_shown
from SpineMotionToolsLib.keypoints.radiograph import Radiograph, in_source
from SpineMotionToolsLib.scene import nodes

FOUND_ANYWAY = (NO_SPACING, DETECTOR_SPACING, LATERAL_NOTE)  # sentences that follow from the volume itself
SHEARED_NOTE = "The volume's transform shears it; angles and lengths are those of the picture without the transform."
INVERTED_GRAY = "vtkMRMLColorTableNodeInvertedGrey"  # Slicer's display of MONOCHROME1 files
RIGHT_ANGLE_TOLERANCE = 0.02  # cosine
PATIENT_RIGHT = "PatientRightOn"
"""Attribute of a volume whose file told on which side of its picture the patient's right is: "left" or "right"."""
FILE_REMARKS, PICTURE_FILE = "FileRemarks", "PictureFile"
"""Attributes of a volume: sentences about its file; that it came from a picture file such as PNG."""


@dataclass(frozen=True)
class PictureOptions:
    """What the user may state about a picture; None: find out.

    `frames`: the slices of a volume are pictures along its third axis, not frontal slices of a body. `slice_index`:
    which one. `mirrored`, `upside_down`: turn the picture first. `inverted`: bone is dark. `patient_right_on`: the side
    ("left", "right" or "unknown") of the turned picture. `remarks`: sentences for the reader of the result.
    """

    frames: bool = False
    slice_index: int | None = None
    mirrored: bool = False
    upside_down: bool = False
    inverted: bool | None = None
    pixel_size_known: bool | None = None
    patient_right_on: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """One slice of a volume as a picture, enough to find it again in a saved scene.

    `axes`: the volume's axes (0 i, 1 j, 2 k) that run downwards, to the right and across; `flipped`: whether the first
    two run the other way; `index`: the slice; `size` (rows, columns) and `slices`; `spacing_mm` (row, column) or None;
    `region` (row, column, rows, columns) for the network, or None for all of the picture.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool]
    index: int
    size: tuple[int, int]
    slices: int
    mirrored: bool = False
    upside_down: bool = False
    inverted: bool = False
    spacing_mm: tuple[float, float] | None = None
    patient_right_on: str = "unknown"
    region: tuple[int, int, int, int] | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Picture:
        """The picture that `to_json` gave; raises InputError for anything else."""
        try:
            lists = ("axes", "flipped", "size", "spacing_mm", "region", "notes")
            return cls(**{k: tuple(v) if k in lists and v is not None else v for k, v in values.items()})
        except (AttributeError, TypeError) as error:
            raise InputError("The session's picture is not described as expected. Detect the corners again.") from error

    def radiograph(self, volume_node) -> Radiograph:
        """The picture as the keypoint system reads it; raises InputError for empty, constant and color pictures."""
        name = volume_node.GetName() or "radiograph"
        made = from_array(self._pixels(volume_node), self.spacing_mm, name, None, self.patient_right_on, self.notes)
        made = turned(made, self.mirrored, self.upside_down, self.inverted)
        return made if self.region is None else made.with_region(*self.region)

    def to_ras(self, volume_node, points_px: np.ndarray) -> np.ndarray:
        """Picture points (N, 2) = (row, column) in the volume's own RAS, mm, (N, 3)."""
        source = in_source(np.asarray(points_px, float).reshape(-1, 2), self.size, (self.mirrored, self.upside_down))
        ijk = np.full((len(source), 3), float(self.index))
        for axis, flipped, length, values in zip(self.axes, self.flipped, self.size, source.T):
            ijk[:, axis] = length - 1 - values if flipped else values
        matrix = nodes.ijk_to_ras(volume_node)
        return ijk @ matrix[:3, :3].T + matrix[:3, 3]

    def from_ras(self, volume_node, points_ras: np.ndarray) -> np.ndarray:
        """Points (N, 3) in the volume's own RAS as picture points (N, 2), projected onto the picture."""
        matrix = nodes.ijk_to_ras(volume_node)
        ijk = np.linalg.solve(matrix[:3, :3], (np.asarray(points_ras, float).reshape(-1, 3) - matrix[:3, 3]).T)
        source = np.stack(
            [
                length - 1 - ijk[axis] if flipped else ijk[axis]
                for axis, flipped, length in zip(self.axes, self.flipped, self.size)
            ],
            axis=1,
        )
        return in_source(source, self.size, (self.mirrored, self.upside_down))

    def across_mm(self, volume_node) -> np.ndarray:
        """(3,) the step from one slice to the next in the volume's own RAS, mm."""
        return nodes.ijk_to_ras(volume_node)[:3, self.axes[2]]

    def world_axes(self, volume_node) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(center, to the right, downwards) in world RAS: mm, and mm per pixel step at the center."""
        center = (np.array(self.size) - 1) / 2
        around = self.to_ras(volume_node, [center, center + (0, 1), center + (1, 0)])
        world = nodes.to_world(volume_node, around)
        return world[0], world[1] - world[0], world[2] - world[0]

    def _pixels(self, volume_node) -> np.ndarray:
        image = nodes.image_of(volume_node)
        columns, rows, slices = image.GetDimensions()
        array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(slices, rows, columns, -1)
        down, right, across = (2 - axis for axis in self.axes)  # numpy's order is k, j, i
        if (array.shape[down], array.shape[right], array.shape[across]) != (*self.size, self.slices):
            raise InputError("The volume has changed since its corners were found. Detect them again.")
        pixels = np.moveaxis(array, (down, right, across), (0, 1, 2))[:, :, self.index]
        pixels = pixels[:: -1 if self.flipped[0] else 1, :: -1 if self.flipped[1] else 1]
        return np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def find_picture(volume_node, options: PictureOptions = PictureOptions(), region_node=None) -> Picture:
    """The picture to read of a volume node; raises InputError when it holds none.

    A volume of one slice is that picture; of others the middle frontal slice is taken, or the slice that `options` say.
    `region_node`: a markups box around the spine.
    """
    size_ijk = np.array(nodes.image_of(volume_node).GetDimensions())
    steps = _world_steps(volume_node, size_ijk)
    directions = steps / np.linalg.norm(steps, axis=0)
    thin = np.flatnonzero(size_ijk == 1)
    flat = len(thin) > 0 or options.frames  # a picture of its own, not a slice of a body
    across = int(thin[-1]) if len(thin) else 2 if options.frames else int(np.argmax(np.abs(directions[1])))
    plane, lie = as_shown(directions, across)
    down, right = lie.axes
    notes = [*options.remarks, *([LATERAL_NOTE] if plane == SAGITTAL else [])]
    spacing = np.linalg.norm(steps[:, [down, right]], axis=0)
    if abs(directions[:, down] @ directions[:, right]) > RIGHT_ANGLE_TOLERANCE:
        notes.append(SHEARED_NOTE)
        spacing = np.array(volume_node.GetSpacing())[[down, right]]
    known = options.pixel_size_known
    if known is None:
        known = not flat or _states_pixel_size(volume_node, spacing)
    if known and flat and not any(remark.startswith(CALIBRATED) for remark in options.remarks):
        notes.append(DETECTOR_SPACING)
    slices = int(size_ijk[across])
    picture = Picture(
        axes=(down, right, across),
        flipped=lie.flipped,
        index=slices // 2 if options.slice_index is None else min(max(0, options.slice_index), slices - 1),
        size=(int(size_ijk[down]), int(size_ijk[right])),
        slices=slices,
        mirrored=options.mirrored,
        upside_down=options.upside_down,
        inverted=_shown_inverted(volume_node) if options.inverted is None else options.inverted,
        spacing_mm=(float(spacing[0]), float(spacing[1])) if known else None,
        patient_right_on=_side_before_turning(options, "left" if plane == FRONTAL else "unknown"),
        notes=tuple(notes),
    )
    return picture if region_node is None else _with_region(picture, volume_node, region_node)


def _world_steps(volume_node, size_ijk: np.ndarray) -> np.ndarray:
    """(3, 3) in column a: the step of one voxel along axis a in world RAS, mm, at the volume's center."""
    center = (size_ijk - 1) / 2
    matrix = nodes.ijk_to_ras(volume_node)
    around = np.vstack((center, center + np.eye(3)))
    world = nodes.to_world(volume_node, around @ matrix[:3, :3].T + matrix[:3, 3])
    return (world[1:] - world[0]).T


def _side_before_turning(options: PictureOptions, found: str) -> str:
    """The side of the volume's own picture that the patient's right is on; a stated side is that of the turned one."""
    if options.patient_right_on is None or options.mirrored == options.upside_down:
        return options.patient_right_on or found
    return {"left": "right", "right": "left"}.get(options.patient_right_on, "unknown")


def _states_pixel_size(volume_node, spacing_mm: np.ndarray) -> bool:
    """Whether a picture's spacing is more than the 1 mm that readers put where a file has none."""
    return not _from_picture_file(volume_node) and not np.allclose(spacing_mm, 1.0, rtol=1e-6)


def _from_picture_file(volume_node) -> bool:
    storage = volume_node.GetStorageNode()
    name = (storage.GetFileName() or "").lower() if storage is not None else ""
    return name.endswith(PICTURE_SUFFIXES) or bool(nodes.attribute(volume_node, PICTURE_FILE))


def keep_file_facts(volume_node, patient_right_on: str | None, remarks: tuple[str, ...]) -> None:
    """Note on a volume what only its file tells: a saved scene has another file, and may be opened elsewhere."""
    remarks = tuple(remark for remark in remarks if remark not in FOUND_ANYWAY)
    side = patient_right_on if patient_right_on in ("left", "right") else None
    facts = {PATIENT_RIGHT: side, FILE_REMARKS: remarks, PICTURE_FILE: _from_picture_file(volume_node)}
    for name, fact in facts.items():
        if fact:
            nodes.set_attribute(volume_node, name, fact)


def _shown_inverted(volume_node) -> bool:
    display = volume_node.GetDisplayNode()
    return display is not None and display.GetColorNodeID() == INVERTED_GRAY


def _with_region(picture: Picture, volume_node, region_node) -> Picture:
    """The picture with the part inside a markups box as the network's region; raises InputError when it misses."""
    bounds = np.zeros(6)
    region_node.GetRASBounds(bounds)
    corners = np.array([[bounds[x], bounds[2 + y], bounds[4 + z]] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    inside = np.clip(
        picture.from_ras(volume_node, nodes.from_world(volume_node, corners)), 0, np.array(picture.size) - 1
    )
    first, last = np.floor(inside.min(0)).astype(int), np.ceil(inside.max(0)).astype(int)
    rows, columns = (int(value) for value in last - first + 1)
    if min(rows, columns) < 2:
        raise InputError("The region does not lie on the radiograph. Move its box over the spine, or choose no region.")
    return replace(picture, region=(int(first[0]), int(first[1]), rows, columns))


def add_region_box(scene, volume_node, picture: Picture, region: tuple[int, int, int, int]):
    """A markups box around a part (row, column, rows, columns) of a picture; with it `find_picture` gives that part."""
    row, column, rows, columns = region
    ends = np.array([(row, column), (row + rows - 1, column + columns - 1)], float)
    corners = picture.to_ras(volume_node, ends)
    across = picture.across_mm(volume_node) / 2
    world = nodes.to_world(volume_node, np.vstack([corners - across, corners + across]))
    box = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", scene.GenerateUniqueName("Spine"))
    box.SetXYZ(*world.mean(axis=0))
    box.SetRadiusXYZ(*np.maximum(np.ptp(world, axis=0) / 2, 0.5))
    box.CreateDefaultDisplayNodes()
    box.GetDisplayNode().SetFillVisibility(False)
    box.GetDisplayNode().SetHandlesInteractive(False)
    nodes.mark_result(box, volume_node, "keypoints region")
    return box

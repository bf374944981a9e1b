"""Where a picture's points lie on the DICOM image that its volume was loaded from."""

from __future__ import annotations

import numpy as np

from SpineMotionToolsLib.common.dicom_source import DicomSource, Frame
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.geometry import ras_to_ijk
from SpineMotionToolsLib.scene import nodes
from SpineMotionToolsLib.scene.keypoints_picture import Picture


def dicom_place(picture: Picture, volume_node, source: DicomSource, points_px: np.ndarray) -> tuple[Frame, np.ndarray]:
    """The DICOM image that shows a picture, and the picture's points (N, 2) as (column, row) of that image.

    Raises InputError when the picture is a slice across several images, or the volume is not what the files hold.
    """
    if picture.axes[2] != 2:
        raise InputError(
            "The picture is a slice across several DICOM images, so its points lie on none of them. "
            "Choose a radiograph, or export the other formats."
        )
    points_ras = picture.to_ras(volume_node, points_px)
    if all(frame.pixel_to_ras is not None for frame in source.frames):
        frame = source.frame_at(points_ras.mean(axis=0))
        return frame, ras_to_ijk(frame.pixel_to_ras, points_ras)[:, :2]
    columns, rows, slices = volume_node.GetImageData().GetDimensions()
    header = source.first
    if (int(header.Rows), int(header.Columns), len(source.frames)) != (rows, columns, slices):
        raise InputError(
            f"The volume has {columns} x {rows} pixels in {slices} images, and its DICOM files {header.Columns} x "
            f"{header.Rows} in {len(source.frames)}. Load the radiograph from its DICOM files and detect again."
        )
    # Files without a place in the patient are loaded pixel for pixel: i is the column and j the row.
    return source.frames[picture.index], ras_to_ijk(nodes.ijk_to_ras(volume_node), points_ras)[:, :2]

"""The published program's DICOM loader, kept by its own rules for comparison with existing studies.

It sorts by instance number, averages all spacings and ignores positions and rescale; left and right may be swapped.
`inputs.read_scan` is the one to use: it follows the patient's geometry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

OVERWRITABLE = ("PixelSpacing", "SliceThickness", "ImageOrientationPatient")
REQUIRED = ("PixelData", "PixelSpacing", "SliceThickness", "InstanceNumber")


@dataclass(frozen=True)
class PublishedSeries:
    """Raw stored pixels (rows, columns, slices), one pixel spacing and one slice thickness in mm."""

    volume: np.ndarray
    pixel_spacing: float
    slice_thickness: float


def load_published(
    folder: Path | str, require_extensions: bool = True, metadata_overwrites: Mapping[str, Any] | None = None
) -> PublishedSeries:
    """Every file of a folder that is DICOM (not recursive, hidden files skipped), sorted by instance number.

    `metadata_overwrites` may replace PixelSpacing, SliceThickness and ImageOrientationPatient. Raises InputError for a
    missing or damaged tag, damaged pixels, a series that is not sagittal, unequal shapes, an empty folder, and (with
    `require_extensions`) a DICOM file whose name does not end in .dcm.
    """
    import pydicom

    overwrites = dict(metadata_overwrites or {})
    if unknown := set(overwrites) - set(OVERWRITABLE):
        raise InputError(f"{', '.join(sorted(unknown))} cannot be overwritten; only {', '.join(OVERWRITABLE)} can.")
    files: list[tuple[str, Dataset]] = []
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            files.append((path.name, pydicom.dcmread(path)))
        except Exception:  # notes, thumbnails and the like lie in many exported folders
            continue
    if not files:
        raise InputError(f"{folder} holds no DICOM files. Choose the folder of one sagittal series.")
    for name, dataset in files:
        if require_extensions and not name.endswith(".dcm"):
            raise InputError(f"{name} does not end in .dcm. Rename it, or read without require_extensions.")
        for tag, value in overwrites.items():
            setattr(dataset, tag, value)
    slices = sorted((_read(name, dataset) for name, dataset in files), key=lambda one: one.number)
    if len({one.pixels.shape for one in slices}) > 1:
        raise InputError(f"The slices in {folder} differ in size. Choose the folder of one series.")
    spacing = float(np.mean([one.spacing for one in slices]))
    thickness = float(np.mean([one.thickness for one in slices]))
    return PublishedSeries(np.stack([one.pixels for one in slices], axis=-1), spacing, thickness)


class _Slice(NamedTuple):
    number: int
    pixels: np.ndarray
    spacing: list[float]
    thickness: float


def _read(name: str, dataset: Dataset) -> _Slice:
    try:
        _check(name, dataset)
        return _Slice(
            int(dataset.InstanceNumber),
            dataset.pixel_array,
            [float(v) for v in dataset.PixelSpacing],
            float(np.mean(np.atleast_1d(np.asarray(dataset.SliceThickness, dtype=float)))),
        )
    except InputError:
        raise
    except Exception as error:  # pydicom's kinds of errors for damaged values are many
        raise InputError(f"{name} is damaged or compressed in a way that is not supported. Export it again.") from error


def _check(name: str, dataset: Dataset) -> None:
    missing = [tag for tag in REQUIRED if getattr(dataset, tag, None) is None]
    if missing:
        raise InputError(f"{name} lacks {', '.join(missing)}. Give the values by hand, or choose another series.")
    orientation = getattr(dataset, "ImageOrientationPatient", None)
    if orientation is None:
        raise InputError(f"{name} lacks ImageOrientationPatient. Give it by hand, or choose another series.")
    if round(float(orientation[0])) != 0 or round(float(orientation[3])) != 0:
        raise InputError(f"{name} is not a sagittal slice. Choose the sagittal series.")

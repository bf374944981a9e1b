"""Files and arrays -> sagittal scans: image files of any format SimpleITK reads, and DICOM files or folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.image_files import check_there, read_image
from SpineMotionToolsLib.common.volumes import Volume, from_image

from .dicom_input import read_series
from .scans import THICK_SLICE_MM, Scan, from_volume

MASK_SAMPLE, MASK_VALUES = 200_000, 32
IMAGE_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def read_scan(source: Path | str | Volume | Scan, series: str = "", slice_mm: float = THICK_SLICE_MM) -> Scan:
    """The sagittal scan in an image file, a DICOM file, a folder of DICOM files (mixed series too), or a volume.

    `series` chooses one of several DICOM series by UID, number or a part of its description; without it the best
    sagittal MRI series is taken and named in the notes. Raises InputError with the next step for anything else.
    """
    if isinstance(source, Scan):
        return source
    if isinstance(source, Volume):
        return from_volume(source, slice_mm)
    volume, warnings, notes = read_voxels(source, series)
    scan = from_volume(volume, slice_mm)
    return Scan(scan.array, scan.geometry, scan.name, (*warnings, *scan.warnings), (*notes, *scan.notes))


def read_voxels(source: Path | str, series: str = "") -> tuple[Volume, list[str], list[str]]:
    """The voxels of a file or DICOM folder as they are stored, with warnings and notes. Raises InputError."""
    path = Path(source)
    check_there(path)
    if path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES):
        return _read_image(path), [], []
    return read_series(path, series)


def _read_image(path: Path) -> Volume:
    """A three-dimensional grey image; a fourth axis of one point in time is dropped."""
    image = read_image(path)
    if image.GetDimension() == 2:
        raise InputError(
            f"{path.name} is one picture without a place in the patient. "
            "Choose the whole series, as DICOM or as a volume."
        )
    if image.GetDimension() == 4:
        times = image.GetSize()[3]
        if times > 1:
            raise InputError(
                f"{path.name} holds {times} volumes (4-D). Save the one to be read on its own, then try again."
            )
        image = image[:, :, :, 0]
    image.SetSpacing([_as_written(mm) for mm in image.GetSpacing()])
    volume = from_image(image, path.name)
    name = path.name[: -len(".nii.gz")] if path.name.lower().endswith(".nii.gz") else path.stem
    if _is_mask(volume.array):
        raise InputError(f"{path.name} is a mask, not a scan with gray values. Choose the scan it was made from.")
    return Volume(np.asarray(volume.array), volume.ijk_to_ras, name)


def _is_mask(array: np.ndarray) -> bool:
    """Whether an array holds several, but few different whole numbers, as labels are."""
    sample = array.ravel()[:: max(1, array.size // MASK_SAMPLE)]
    different = np.unique(sample[np.isfinite(sample)]) if array.dtype.kind == "f" else np.unique(sample)
    return bool(1 < len(different) <= MASK_VALUES and (different == np.floor(different)).all())


def _as_written(number: float) -> float:
    """A number stored with 32 bits, as NIfTI does, as it was meant: 0.800000011920929 becomes 0.8."""
    return float(str(np.float32(number))) if np.float32(number) == number else number

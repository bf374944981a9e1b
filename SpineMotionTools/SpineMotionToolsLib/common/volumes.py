"""A volume with its geometry, read from and written to any file SimpleITK knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.errors import InputError, OutputError
from SpineMotionToolsLib.common.files import atomic_path
from SpineMotionToolsLib.common.geometry import LPS_TO_RAS, direction_of, spacing_of
from SpineMotionToolsLib.common.image_files import check_text, check_there, read_image, series_ids

if TYPE_CHECKING:
    import SimpleITK as sitk

UNIT_KEY = "SpineMotionTools.Unit"
TWO_FILE_FORMATS = {".mhd", ".nhdr", ".hdr", ".img"}


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they lie: `array` in the order (k, j, i), `ijk_to_ras` a 4x4 float64 matrix in mm.

    A two-dimensional picture is a volume with one slice. Raises InputError when shapes or geometry make no sense.
    """

    array: np.ndarray = field(repr=False)
    ijk_to_ras: np.ndarray = field(default_factory=lambda: np.eye(4))
    name: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if self.array.ndim != 3:
            raise InputError(f"A volume must have three axes (k, j, i), not shape {self.array.shape}.")
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
            raise InputError("The volume's IJK-to-RAS matrix must be an invertible 4x4 matrix of finite numbers.")
        matrix.flags.writeable = False
        object.__setattr__(self, "ijk_to_ras", matrix)

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (i, j, k) in mm."""
        i, j, k = spacing_of(self.ijk_to_ras)
        return float(i), float(j), float(k)

    @cached_property
    def direction(self) -> np.ndarray:
        """3x3: columns are the unit RAS directions of the axes i, j, k."""
        return direction_of(self.ijk_to_ras)


def read_volume(path: Path | str) -> Volume:
    """The volume in an image file, or in a folder that holds exactly one DICOM series.

    The name is the file's without extension. Raises InputError for a missing, foreign, damaged, cut off, color or 4-D
    file, and for a series with missing or unevenly spaced slices.
    """
    path = Path(path)
    check_there(path)
    return from_image(_read_series(path) if path.is_dir() else read_image(path), _stem(path))


def write_volume(path: Path | str, volume: Volume) -> None:
    """Write a volume atomically; the extension chooses the format (.nrrd, .mha, .nii, .nii.gz, ...).

    Raises OutputError when the place cannot be written, the format is unknown or needs two files, InputError for a name
    that is no text.
    """
    import SimpleITK as sitk

    path = Path(path)
    check_text(path)
    if path.suffix.lower() in TWO_FILE_FORMATS:
        raise OutputError(f"{path.name} would need two files. Choose a name that ends in .nrrd, .mha or .nii.gz.")
    image = to_image(volume)
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            # SimpleITK hides the reason: ask the file system itself, which names a full or read-only place.
            temporary.write_bytes(bytes(min(volume.array.nbytes, 1 << 24)))
            raise OutputError(
                f"{path.name} could not be written: its format is not supported for this kind of image. "
                "Choose a name that ends in .nrrd, .mha or .nii.gz."
            ) from error


def from_image(image: sitk.Image, name: str = "") -> Volume:
    """A SimpleITK image (2-D or 3-D, one value a voxel; LPS) as a volume (RAS); raises InputError for others."""
    import SimpleITK as sitk

    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{name or 'The image'} holds {image.GetNumberOfComponentsPerPixel()} values per voxel (color or vectors). "
            "Convert it to a gray image, then try again."
        )
    if image.GetDimension() not in (2, 3):
        raise InputError(
            f"{name or 'The image'} has {image.GetDimension()} dimensions. Save one volume of it, then try again."
        )
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    unit = image.GetMetaData(UNIT_KEY) if image.HasMetaDataKey(UNIT_KEY) else ""
    return Volume(sitk.GetArrayFromImage(image), LPS_TO_RAS @ matrix, name, unit)


def to_image(volume: Volume) -> sitk.Image:
    """A volume (RAS) as a SimpleITK image (LPS); raises OutputError for sheared axes, which image files cannot hold."""
    import SimpleITK as sitk

    direction = LPS_TO_RAS[:3, :3] @ volume.direction
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise OutputError(
            "The volume's axes are not at right angles. Harden its transform and resample it, then try again."
        )
    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin((LPS_TO_RAS @ volume.ijk_to_ras)[:3, 3].tolist())
    if volume.unit:
        image.SetMetaData(UNIT_KEY, volume.unit)
    return image


def _read_series(folder: Path) -> sitk.Image:
    import SimpleITK as sitk

    series = series_ids(folder)
    for file in () if series else folder.iterdir():
        check_there(file)
    if len(series) != 1:
        raise InputError(
            f"{folder} holds {len(series) or 'no'} DICOM series; one is needed. "
            "Choose a folder with the files of one series."
        )
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
    if len(names) == 1:  # as a list it would get a fourth axis
        return read_image(Path(names[0]))
    image = read_image(folder, names)
    if image.HasMetaDataKey("ITK_non_uniform_sampling_deviation"):
        _check_gaps(folder, names)
    return image


def _check_gaps(folder: Path, names: Sequence[str]) -> None:
    """Raise InputError when gaps between slices differ by more than a tenth; ITK also notes mere rounding."""
    import SimpleITK as sitk

    positions = []
    for name in names:
        reader = sitk.ImageFileReader()
        reader.SetFileName(name)
        reader.ReadImageInformation()
        positions.append(reader.GetOrigin())
    gaps_mm = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    usual_mm = np.median(gaps_mm)
    if np.abs(gaps_mm - usual_mm).max() > 0.1 * usual_mm:
        raise InputError(
            f"The slices in {folder} are not evenly spaced: {gaps_mm.min():.1f} to {gaps_mm.max():.1f} mm apart. "
            "Some may be missing: export the whole series again, then try again."
        )


def _stem(path: Path) -> str:
    return (
        path.name[: -len(".nii.gz")]
        if path.name.lower().endswith(".nii.gz")
        else path.stem
        if path.is_file()
        else path.name
    )

"""Scans to score: AIM, ISQ, any file SimpleITK reads, a volume or an array, slice by slice and in the wanted unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.geometry import LPS_TO_RAS
from SpineMotionToolsLib.common.image_files import check_there, check_whole
from SpineMotionToolsLib.common.volumes import Volume, read_volume
from SpineMotionToolsLib.motion.calibration import UNIT_LABELS, UNKNOWN, Calibration, unit_name
from SpineMotionToolsLib.motion.limb import Box, limb_box
from SpineMotionToolsLib.motion.results import ScanInfo
from SpineMotionToolsLib.motion.scanco import looks_like_scanco, read_array, read_header, read_slices

LEGACY_UNIT = "density-from-hu"
WHOLE_BYTES = 1 << 28
"""ITK files up to this size are read at once; of larger ones, blocks of slices."""
HRPQCT_VOXEL_MM = 0.03, 0.2
"""Voxels of HR-pQCT scans are 0.06 to 0.1 mm; some studies resample them."""
MASK_VALUES = 8


@dataclass(eq=False)
class ScanSource:
    """A scan whose slices are read when they are needed, cropped and converted to `info.unit`.

    `info` is the scored box, `whole` the uncropped scan.
    """

    info: ScanInfo
    whole: ScanInfo
    warnings: list[str] = field(default_factory=list)
    _read: Callable[[int, int], np.ndarray] = field(kw_only=True, repr=False)
    """Stored values (z, y, x) of the slices first..end-1, whole slices."""

    @property
    def depth(self) -> int:
        return self.info.shape_xyz[2]

    def read_slice(self, z: int) -> np.ndarray:
        """Slice z of the scored box, (Y, X), in the scored unit."""
        return self.read_block(z, z + 1)[0]

    def read_block(self, first: int, end: int) -> np.ndarray:
        """Slices first..end-1 of the scored box, (z, Y, X), in the scored unit."""
        values = self._read(first, end)
        if self.info.crop_box:
            x0, x1, y0, y1 = self.info.crop_box
            values = values[:, y0:y1, x0:x1]
        info = self.info
        if info.unit == info.stored_unit:
            return values
        return info.calibration.from_native(info.calibration.to_native(values, info.stored_unit), info.unit)

    def slice_xy(self, z: int) -> np.ndarray:
        """Slice z as (X, Y), for pictures."""
        return self.read_slice(z).T


Source: TypeAlias = "ScanSource | Volume | np.ndarray | Path | str"


def open_scan(
    source: Source,
    unit: str | None = None,
    *,
    legacy: bool = False,
    calibration: Calibration | None = None,
    stored_unit: str | None = None,
    crop: str | Box = "auto",
    name: str | None = None,
    like: ScanInfo | None = None,
) -> ScanSource:
    """Open a scan for scoring.

    `source` is a path (AIM, ISQ, any volume file, a folder with one DICOM series), a Volume, or an array (x, y, z).
    `unit` None keeps the stored numbers, or for Scanco files under the `legacy` rules the density the published
    Keras ensemble saw. `calibration` and `stored_unit` say what a volume without a Scanco header holds. `crop` is
    "auto" (the limb for ISQ files, else nothing), "limb", "none", or a box (x0, x1, y0, y1). `like` takes unit and
    crop from an earlier result's `scan`.
    Raises InputError: missing or damaged file, mask instead of a scan, unit without calibration, box outside.
    """
    if isinstance(source, ScanSource):
        return source
    if like is not None:
        unit = None if like.unit == like.stored_unit else like.unit
        crop = like.crop_box or "none"
    scan = _opened(source)
    known = unit_name(stored_unit or scan.info.stored_unit)
    info = replace(
        scan.info,
        name=name or scan.info.name,
        stored_unit=known,
        calibration=calibration or scan.info.calibration,
    )
    scanco = info.format.startswith(("AIM", "ISQ"))
    as_stored = LEGACY_UNIT if legacy and scanco else known
    wanted = as_stored if unit in (None, "", "auto", UNKNOWN) else unit_name(unit)
    if wanted == "native" and known == UNKNOWN:  # the numbers as they are
        info = replace(info, stored_unit="native")
    _check_unit(info, wanted, scan.calibration_fault)
    whole, box = info, _crop_box(scan, crop)
    if box:
        x0, x1, y0, y1 = box
        matrix = info.ijk_to_ras.copy()
        matrix[:3, 3] = (matrix @ [x0, y0, 0, 1])[:3]
        info = replace(info, crop_box=box, ijk_to_ras=matrix, shape_xyz=(x1 - x0, y1 - y0, info.shape_xyz[2]))
    opened = ScanSource(replace(info, unit=wanted), whole, _read=scan.read)
    opened.warnings += _cautions(opened)
    if scanco and info.calibration is None:
        why = scan.calibration_fault.partition(". ")[0]
        opened.warnings.append(f"{why}, so the stored numbers were scored; densities or HU cannot be had.")
    if scan.any_slice_is_cheap and _seems_a_mask(opened):
        opened.warnings.append(
            "The scan seems to be a mask: it holds few different values only. Grade the scan itself."
        )
    return opened


@dataclass(frozen=True)
class ReadScan:
    """A scan read whole: `array` (k, j, i) in `unit`, its geometry and calibration."""

    array: np.ndarray
    ijk_to_ras: np.ndarray
    name: str
    unit: str
    calibration: Calibration | None


def read_scan(path: Path | str, unit: str = "native") -> ReadScan:
    """Read an AIM or ISQ file (masks too) or another volume whole, uncropped, in the unit asked for.

    Raises InputError, also when the unit needs a calibration that the file does not have.
    """
    scan = _opened(path, masks=True)
    wanted = scan.info.stored_unit if unit_name(unit) == "native" else unit_name(unit)
    _check_unit(scan.info, wanted, scan.calibration_fault)
    source = ScanSource(replace(scan.info, unit=wanted), scan.info, _read=scan.read)
    info = source.info
    return ReadScan(source.read_block(0, source.depth), info.ijk_to_ras, info.name, info.unit, info.calibration)


# ----- the kinds of source


@dataclass(frozen=True)
class _Opened:
    info: ScanInfo
    read: Callable[[int, int], np.ndarray]
    calibration_fault: str = "The scan has no calibration."
    any_slice_is_cheap: bool = True


def _opened(source: Source, masks: bool = False) -> _Opened:
    if isinstance(source, Volume):
        return _from_volume(source)
    if isinstance(source, np.ndarray):
        if source.ndim != 3:
            raise InputError(f"A scan must have three axes (x, y, z), not shape {source.shape}.")
        return _from_volume(Volume(np.transpose(source, (2, 1, 0)), name="scan"))
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist. Check the name.")
    if path.is_dir():
        return _from_volume(read_volume(path))
    if path.stat().st_size == 0:
        raise InputError(f"{path.name} is empty. Copy or export the scan again.")
    return _from_scanco(path, masks) if looks_like_scanco(path) or _scanco_name(path) else _from_itk(path)


def _scanco_name(path: Path) -> bool:
    return path.name.rpartition(";")[0].lower().endswith((".aim", ".isq")) or path.suffix.lower() in (".aim", ".isq")


def _from_volume(volume: Volume, format: str = "") -> _Opened:
    array = volume.array
    if array.size == 0:
        raise InputError("The scan holds no voxels. Choose another volume.")
    if array.dtype == np.bool_:
        raise InputError("The scan is a mask (yes or no), not gray values. Choose the scan itself.")
    if array.dtype.kind not in "iuf":
        raise InputError(f"The scan's values are of the type {array.dtype}. Give whole or real numbers.")
    try:
        stored = unit_name(volume.unit)
    except InputError:
        stored = UNKNOWN
    info = ScanInfo(volume.name or "scan", array.shape[::-1], volume.ijk_to_ras, stored, stored, format=format)
    return _Opened(info, lambda first, end: array[first:end])


def _from_scanco(path: Path, masks: bool) -> _Opened:
    header = read_header(path)
    if header.voxels.mask and not masks:
        raise InputError(f"{path.name} is a mask, not a scan with gray values. Choose the scan it was made from.")
    info = ScanInfo(
        path.name.split(";")[0].rpartition(".")[0] or path.name,
        header.shape_xyz,
        header.ijk_to_ras,
        calibration=header.calibration,
        format=header.format,
    )
    if header.voxels.encoding == "plain":
        return _Opened(info, lambda first, end: read_slices(header, first, end), header.calibration_fault)
    mask = read_array(header)
    return _Opened(info, lambda first, end: mask[first:end], header.calibration_fault)


def _from_itk(path: Path) -> _Opened:
    import SimpleITK as sitk

    check_there(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        large = np.prod(size, dtype=np.float64) * 8 > WHOLE_BYTES
    except RuntimeError:
        large = False
    if not large or len(size) != 3 or reader.GetNumberOfComponents() != 1:
        return _from_volume(read_volume(path), path.suffix.lstrip(".").upper())
    check_whole(path)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    matrix[:3, 3] = reader.GetOrigin()
    info = ScanInfo(path.stem, size, LPS_TO_RAS @ matrix, UNKNOWN, UNKNOWN, format=path.suffix[1:].upper())
    blocks = _Blocks(reader, size)
    return _Opened(info, blocks.read, any_slice_is_cheap=False)


class _Blocks:
    """Slices of a large ITK file, a block at a time: a compressed file is unpacked anew for each block."""

    def __init__(self, reader, size: tuple[int, int, int]) -> None:
        self._reader, self._size = reader, size
        self._height = max(4, WHOLE_BYTES // (size[0] * size[1] * 8))
        self._first, self._block = 0, None

    def read(self, first: int, end: int) -> np.ndarray:
        if self._block is None or not self._first <= first <= end <= self._first + len(self._block):
            self._first = max(0, first - 2)  # smoothing looks one slice back
            height = max(self._height, end - self._first)
            self._block = None  # before the next one is read, so that only one is held
            self._block = self._read(self._first, min(self._first + height, self._size[2]))
        return self._block[first - self._first : end - self._first]

    def _read(self, first: int, end: int) -> np.ndarray:
        import SimpleITK as sitk

        self._reader.SetExtractIndex([0, 0, first])
        self._reader.SetExtractSize([*self._size[:2], end - first])
        try:
            return sitk.GetArrayFromImage(self._reader.Execute())
        except RuntimeError as error:
            name = Path(self._reader.GetFileName()).name
            raise InputError(f"{name} is damaged or truncated. Copy or export the scan again.") from error


# ----- checks


def _check_unit(info: ScanInfo, wanted: str, fault: str) -> None:
    if wanted == info.stored_unit:
        return
    if info.stored_unit == UNKNOWN:
        raise InputError(
            f"The unit of {info.name} is not known, so it cannot be converted to {UNIT_LABELS[wanted]}. State the "
            "unit it is stored in and its calibration, or choose the unit 'auto' to score the numbers as they are."
        )
    if info.calibration is None:
        raise InputError(f"{info.name} cannot be converted to {UNIT_LABELS[wanted]}. {fault}")
    if info.stored_unit == LEGACY_UNIT:
        raise InputError(f"{info.name} holds {UNIT_LABELS[LEGACY_UNIT]}; that cannot be converted. Choose 'auto'.")


def _crop_box(scan: _Opened, crop: str | Box) -> Box | None:
    width, height, depth = scan.info.shape_xyz
    if isinstance(crop, str):
        if crop not in ("auto", "limb", "none"):
            raise InputError(f"The crop {crop!r} is not known. Use auto, limb, none, or a box (x0, x1, y0, y1).")
        wanted = crop == "limb" or (crop == "auto" and scan.info.format == "ISQ")
        box = limb_box(scan.read, (width, height, depth)) if wanted else None
        return None if box == (0, width, 0, height) else box
    x0, x1, y0, y1 = box = tuple(int(edge) for edge in crop)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(f"The crop box {box} does not lie within the slice of {width} x {height} voxels.")
    return box


def _cautions(scan: ScanSource) -> list[str]:
    info, cautions = scan.info, []
    width, height, depth = info.shape_xyz
    if info.crop_box:
        x0, x1, y0, y1 = info.crop_box
        cautions.append(
            f"Only the limb was scored: columns {x0} to {x1 - 1}, rows {y0} to {y1 - 1} of the uncropped scan. "
            "The framing of a scan changes its grade."
        )
    elif info.format == "ISQ":
        cautions.append("The scan was scored uncropped. The framing of a scan changes its grade; crop it to the limb.")
    placed = not np.array_equal(info.ijk_to_ras, np.eye(4))  # a bare array has no voxel size
    if placed and not all(HRPQCT_VOXEL_MM[0] <= size <= HRPQCT_VOXEL_MM[1] for size in info.spacing_mm):
        voxel = " x ".join(f"{size:.3g}" for size in info.spacing_mm)
        cautions.append(
            f"Voxels of {voxel} mm are not those of an HR-pQCT scan (about 0.06 to 0.08 mm), for which the grades are "
            "meant. Check the scan and its voxel size."
        )
    if depth == 1:
        cautions.append("The scan is a single slice, so its smoothing had no neighbors; grades of whole stacks differ.")
    return cautions


def _seems_a_mask(scan: ScanSource) -> bool:
    step = max(1, max(scan.info.shape_xyz[:2]) // 256)
    samples = [np.unique(scan.read_slice(z)[::step, ::step]) for z in sorted({0, scan.depth // 2, scan.depth - 1})]
    return 2 <= len(np.unique(np.concatenate(samples))) <= MASK_VALUES

"""Image files through SimpleITK, after a look whether they are whole: ITK fills what is cut off without a word."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from SpineMotionToolsLib.common.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

UNCOMPRESSED_DICOM = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
DICOM_SIZE_TAGS = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames", "PixelData")
NIFTI_1 = (348, 344, b"n+1", "h", 40, 72, "f", 108)
NIFTI_2 = (540, 4, b"n+2", "q", 16, 14, "q", 168)
"""Header length, place and text of the mark of one file, type and place of the eight dims, place of the bits a voxel,
type and place of the voxels' offset.
"""


def read_image(path: Path, slices: Sequence[str] = ()) -> sitk.Image:
    """The image in a file, or in the DICOM files `slices` of a folder.

    Raises InputError when it may not be read, is cut off, damaged or of a format that is not supported.
    """
    import SimpleITK as sitk

    for file in slices or (path,):
        check_whole(Path(file))
    try:
        return sitk.ReadImage(list(slices) or str(path))
    except RuntimeError as error:
        raise _damaged(path) from error


def check_there(path: Path) -> None:
    """Raise InputError for a file or folder that is not there, may not be read, or has a name that ITK cannot open."""
    check_text(path)
    try:
        with os.scandir(path) if path.is_dir() else path.open("rb"):
            pass
    except PermissionError as error:
        raise no_permission(path) from error
    except (OSError, ValueError) as error:  # names with a zero byte are ValueErrors
        raise InputError(f"{path} does not exist. Check the name.") from error


def check_text(path: Path) -> None:
    """Raise InputError for a path with bytes that are no characters, as in old archives: ITK would end the program."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path} holds bytes that are no characters. Rename the file or its folder.") from error


def series_ids(folder: Path) -> Sequence[str]:
    """The DICOM series of a folder's files; raises InputError for a folder that cannot be opened."""
    import SimpleITK as sitk

    check_there(folder)
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # GDCM would warn of a folder without any
    try:
        return sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def check_whole(path: Path) -> None:
    """Raise InputError for a file that may not be read or whose name ITK cannot open, and for NIfTI and uncompressed
    DICOM that are cut off.
    """
    check_text(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
        if start[:2] == b"\x1f\x8b":
            wanted, held, whole = _zipped_size(path)
        elif start[128:] == b"DICM":
            wanted, held, whole = *_dicom_size(path), True
        else:
            with path.open("rb") as stream:
                wanted, held, whole = _nifti_size(stream.read(NIFTI_2[0])), path.stat().st_size, True
    except PermissionError as error:
        raise no_permission(path) from error
    except (OSError, zlib.error) as error:  # that of a damaged gzip stream is an OSError too
        raise _damaged(path) from error
    if held < wanted:
        raise InputError(f"{path.name} is cut off: it holds {held} of {wanted} bytes. Copy or export it again.")
    if not whole:
        raise InputError(f"{path.name} is cut off: its end is missing. Copy or export it again.")


def no_permission(path: Path) -> InputError:
    """The error for a file or folder that its user may not read."""
    return InputError(f"No permission to read {path}. Change its permissions or copy it to your own folder.")


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path.name} could not be read as an image: it is damaged or of a format that is not supported. "
        "Open it in 3D Slicer and save it as .nrrd, then try again."
    )


def _zipped_size(path: Path) -> tuple[int, int, bool]:
    """Of a gzip file: unzipped bytes that its NIfTI header states (0 for others), those it holds, whether it ends."""
    start, held, whole = b"", 0, True
    with gzip.open(path, "rb") as stream:
        try:
            while block := stream.read1(1 << 20):
                held += len(block)
                if len(start) < NIFTI_2[0]:
                    start += block
        except EOFError:
            whole = False
    return _nifti_size(start), held, whole


def _nifti_size(start: bytes) -> int:
    """Bytes of the whole NIfTI file that starts so; 0 for other files and damaged headers."""
    for length, at, mark, dim_type, dim_at, bits_at, offset_type, offset_at in (NIFTI_1, NIFTI_2):
        for order in "<>":
            if start[:4] == struct.pack(f"{order}i", length) and start[at : at + 3] == mark and len(start) >= length:
                dims = struct.unpack_from(f"{order}8{dim_type}", start, dim_at)
                bits = struct.unpack_from(f"{order}h", start, bits_at)[0]
                offset = struct.unpack_from(f"{order}{offset_type}", start, offset_at)[0]
                if 1 <= dims[0] <= 7 and bits > 0 and math.isfinite(offset):
                    return max(int(offset), length) + math.prod(max(n, 1) for n in dims[1 : dims[0] + 1]) * bits // 8
    return 0


def _dicom_size(path: Path) -> tuple[int, int]:
    """Bytes of uncompressed gray pixels that a DICOM file's header states, and those it holds; 0, 0 for others."""
    import pydicom

    with suppress(Exception):  # pydicom's kinds of errors for damaged headers are many; ITK refuses or reads these
        header = pydicom.dcmread(path, specific_tags=list(DICOM_SIZE_TAGS))
        if header.file_meta.TransferSyntaxUID in UNCOMPRESSED_DICOM and header.SamplesPerPixel == 1:
            frames = int(header.get("NumberOfFrames") or 1)
            return header.Rows * header.Columns * header.BitsAllocated * frames // 8, len(header.PixelData)
    return 0, 0

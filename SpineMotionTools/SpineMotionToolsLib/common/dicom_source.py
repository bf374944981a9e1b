"""The DICOM images a result was read from: their headers, and where each frame lies in the patient.

DICOM results join the study of these images and refer to them; without such images there is nothing to refer to.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.geometry import LPS_TO_RAS
from SpineMotionToolsLib.common.image_files import series_ids

if TYPE_CHECKING:
    from pydicom import Dataset

NOT_DICOM = (
    "{name} is not DICOM, so there is no study that DICOM results could join. Give the scan's DICOM files (export them "
    "from the PACS or the scanner), or write the other results only."
)
REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of the source: its file's header, its number in a multi-frame file (from 1), and where it lies.

    `pixel_to_ras` (4, 4) maps (column, row, mm along the normal) to RAS mm, whole numbers at pixel centers; None for
    projections, which have no place in the patient.
    """

    header: Dataset = field(repr=False)
    number: int | None = None
    pixel_to_ras: np.ndarray | None = field(default=None, repr=False)

    def distance_mm(self, position_ras: Sequence[float]) -> float:
        """Signed distance of a RAS position from the image plane."""
        return float(self.pixel_to_ras[:3, 2] @ (np.asarray(position_ras, float) - self.pixel_to_ras[:3, 3]))


@dataclass(frozen=True, eq=False)
class DicomSource:
    """All images of one series that a result was read from; `headers` have no pixels and are in Unicode."""

    headers: tuple[Dataset, ...] = field(repr=False)

    @property
    def first(self) -> Dataset:
        return self.headers[0]

    @property
    def is_multi_frame(self) -> bool:
        return len(self.headers) == 1 and int(self.first.get("NumberOfFrames", 1) or 1) > 1

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """Every image, in the order of the files and of the frames in them."""
        return tuple(frame for header in self.headers for frame in frames_of(header))

    @property
    def file_tag(self) -> str:
        """Digits for file names that tell series apart and nothing about the patient."""
        return "".join(c for c in str(self.first.SeriesInstanceUID) if c.isdigit())[-8:]

    def frame_at(self, position_ras: Sequence[float]) -> Frame:
        """The image nearest to a RAS position; raises InputError when the images have no place in the patient."""
        placed = [frame for frame in self.frames if frame.pixel_to_ras is not None]
        if not placed:
            raise InputError("These DICOM images do not state where they lie in the patient. Use the original series.")
        return min(placed, key=lambda frame: abs(frame.distance_mm(position_ras)))


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content, or by its name where the content says nothing or cannot be read."""
    head = b""
    with suppress(OSError), path.open("rb") as stream:
        head = stream.read(132)
    return head[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def read_source(files: Iterable[Path | str]) -> DicomSource:
    """The headers of the DICOM files that a result was read from.

    Raises InputError for files that are missing, not DICOM or of several series, and for headers without the UIDs that
    results must refer to.
    """
    headers = tuple(_header(Path(file)) for file in dict.fromkeys(files))
    if not headers:
        raise InputError(NOT_DICOM.format(name="The scan"))
    if len({(header.StudyInstanceUID, header.SeriesInstanceUID) for header in headers}) > 1:
        raise InputError("The DICOM files belong to several series. Give the files of the series that was read.")
    return DicomSource(headers)


def series_files(folder: Path | str) -> list[Path]:
    """The files of the one DICOM series in a folder, sorted by position; raises InputError for none or several."""
    import SimpleITK as sitk

    series = series_ids(Path(folder))
    if len(series) == 1:
        return [Path(name) for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])]
    if series:
        raise InputError(f"{folder} holds {len(series)} DICOM series. Give a folder with the files of one series.")
    raise InputError(NOT_DICOM.format(name=Path(folder).name))


def _header(path: Path) -> Dataset:
    import pydicom

    try:
        with warnings.catch_warnings():  # they would put names and dates of patients into logs
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True)
            header.decode()
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there anymore. Load the scan from its DICOM files again.") from error
    except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError, LookupError) as error:
        raise InputError(NOT_DICOM.format(name=path.name)) from error
    missing = [name for name in REQUIRED if not header.get(name)]
    if missing:
        raise InputError(
            f"{path.name} lacks {', '.join(missing)}, which DICOM results must refer to. "
            "Export the series again, or de-identify it in a way that keeps replaced UIDs."
        )
    header.SpecificCharacterSet = "ISO_IR 192"  # decoded above; results are written in UTF-8 whatever the source had
    for name in MAY_BE_EMPTY:
        if name not in header or not _is_possible(name, header[name].value):
            setattr(header, name, "")
    return header


def _is_possible(name: str, value: Any) -> bool:
    """Whether DICOM allows the value: old archives hold others, which results must not repeat."""
    from pydicom.valuerep import DA, TM

    if name == "PatientSex":
        return value in ("M", "F", "O")
    kind = DA if name.endswith("Date") else TM if name.endswith("Time") else str
    try:
        kind(str(value or ""))
    except ValueError:
        return False
    return True


def frames_of(header: Dataset) -> list[Frame]:
    """The images of a file by its header."""
    count = int(header.get("NumberOfFrames", 1) or 1)
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    if not own:
        matrix = _matrix(header, header, header) if count == 1 else None
        return [Frame(header, None if count == 1 else number, matrix) for number in range(1, count + 1)]
    frames = []
    for number, group in enumerate(own, start=1):
        names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        places = [_first(group.get(name)) or _first(shared.get(name) if shared else None) for name in names]
        frames.append(Frame(header, number, _matrix(*places) if all(place is not None for place in places) else None))
    return frames


def _first(sequence: Any) -> Dataset | None:
    return sequence[0] if sequence else None


def _matrix(position: Dataset, orientation: Dataset, measures: Dataset) -> np.ndarray | None:
    """(column, row, mm along the normal) to RAS mm, or None where the header does not say."""
    origin, axes = position.get("ImagePositionPatient"), orientation.get("ImageOrientationPatient")
    spacing = measures.get("PixelSpacing")
    if not (origin and axes and spacing):
        return None
    along_row, along_column = np.array(axes, float).reshape(2, 3)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = along_row * float(spacing[1]), along_column * float(spacing[0])
    matrix[:3, 2] = np.cross(along_row, along_column)
    matrix[:3, 3] = np.array(origin, float)
    return LPS_TO_RAS @ matrix

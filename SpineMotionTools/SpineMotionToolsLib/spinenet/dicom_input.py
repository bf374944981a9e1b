"""DICOM files -> one volume: sorted by position, with what is wrong with a series told in sentences.

Pixels are decoded by SimpleITK (GDCM), which reads JPEG, JPEG-LS, JPEG 2000 and RLE compression without more packages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.dicom_source import frames_of
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.geometry import LPS_TO_RAS
from SpineMotionToolsLib.common.volumes import Volume

LOCALIZER_WORDS = ("loc", "scout", "survey", "3-pl", "3pl", "plan")
T2_ECHO_MS = 60.0
SAME_PLACE_MM = 0.05
SPACING_TOLERANCE = 0.1
TAGS = (
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "InstanceNumber",
    "EchoTime",
    "SamplesPerPixel",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True)
class Slice:
    """One image's place; `position` and `axes` (row and column direction) in LPS mm.

    `number`: the instance number, or the frame's number in a file of many; `frame`: its place in the file, from 0.
    """

    path: Path
    number: int
    position: np.ndarray
    axes: np.ndarray
    header: Any
    frame: int = 0


@dataclass(frozen=True)
class Series:
    """Slices of one series, orientation and size."""

    slices: tuple[Slice, ...]

    @property
    def header(self) -> Any:
        return self.slices[0].header

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.slices[0].axes)

    @property
    def plane(self) -> str:
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.normal)))]

    @property
    def description(self) -> str:
        return str(getattr(self.header, "SeriesDescription", "") or "")

    @property
    def title(self) -> str:
        number = getattr(self.header, "SeriesNumber", None)
        parts = (f"series {number}" if number is not None else "", self.description)
        return " ".join(part for part in parts if part) or "series"

    @property
    def is_mri(self) -> bool:
        return str(getattr(self.header, "Modality", "MR") or "MR") == "MR"

    @property
    def looks_like_localizer(self) -> bool:
        return any(word in self.description.lower() for word in LOCALIZER_WORDS)

    @property
    def rank(self) -> tuple:
        """Larger is the better choice: MRI, sagittal, no localizer, at least five slices, T2, many slices."""
        description, echo = self.description.lower(), float(getattr(self.header, "EchoTime", 0) or 0)
        t2 = "t2" in description or (echo >= T2_ECHO_MS and "t1" not in description)
        places = len({round(float(s.position @ self.normal), 1) for s in self.slices})
        sagittal = self.plane == "sagittal"
        return self.is_mri, sagittal, not self.looks_like_localizer, places >= 5, t2, places


def read_series(path: Path, series: str = "") -> tuple[Volume, list[str], list[str]]:
    """The best sagittal MRI series under a folder, or the one a file belongs to: (volume, warnings, notes).

    Raises InputError when there is none, with what was found instead.
    """
    found = _series_at(path)
    chosen = _choose(found, series)
    warnings, notes = [], [f"Read {chosen.title}, {chosen.plane}, {len(chosen.slices)} images."]
    if chosen.looks_like_localizer:
        warnings.append(f"The {chosen.title} looks like a localizer. Use the full sagittal series.")
    if others := sorted({s.title for s in found if s is not chosen and s.title != chosen.title}):
        notes.append(f"Other series in the folder: {'; '.join(others)}.")
    slices = _one_per_place(chosen, warnings)
    slices, positions = _evenly_spaced(chosen, slices, warnings)
    return _stack(chosen, slices, positions, warnings), warnings, notes


def files_read(path: Path, series: str = "") -> list[Path]:
    """The files whose voxels `read_series` reads; raises InputError as it does."""
    slices = _one_per_place(_choose(_series_at(path), series), [])
    return list(dict.fromkeys(one.path for one in slices))


def _series_at(path: Path) -> list[Series]:
    """The series below a folder, or the one a file belongs to; raises InputError when there is none."""
    found = _scan_files(path)
    if path.is_file():
        found = [s for s in found if any(each.path == path for each in s.slices)] or found
    if not found:
        raise InputError(f"{path.name} holds no DICOM slices. Choose an image file or a folder with one study.")
    return found


def _scan_files(path: Path) -> list[Series]:
    """Series of the DICOM files below a folder (or beside a file), of one image or many each."""
    import pydicom

    files = [path, *path.parent.iterdir()] if path.is_file() else path.rglob("*")
    groups: dict[tuple, list[Slice]] = defaultdict(list)
    for file in dict.fromkeys(files):
        if not file.is_file() or file.name.startswith(".") or file.name == "DICOMDIR":
            continue
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
            if int(getattr(header, "Rows", 0) or 0) == 0:
                continue  # reports, presentation states
            series = str(getattr(header, "SeriesInstanceUID", "")), int(header.Rows), int(header.Columns)
            slices = _slices_of(file, header)
        except Exception:  # notes, thumbnails and damaged files; pydicom's kinds of errors for these are many
            continue
        for one in slices:
            groups[(*series, *np.round(one.axes.ravel(), 2))].append(one)
    return [Series(tuple(group)) for group in groups.values()]


def _slices_of(file: Path, header: Any) -> list[Slice]:
    """The file's images that say where they lie: itself, or the frames of an enhanced (multi-frame) file."""
    if not header.get("PerFrameFunctionalGroupsSequence"):
        several = int(header.get("NumberOfFrames", 1) or 1) > 1  # a film or a stack of captures
        one = None if several else _slice_of(file, header)
        return [] if one is None else [one]
    slices = []
    for index, frame in enumerate(frames_of(header)):
        if frame.pixel_to_ras is not None:
            to_lps = LPS_TO_RAS @ frame.pixel_to_ras
            column_mm, row_mm = np.linalg.norm(to_lps[:3, :2], axis=0)
            header.PixelSpacing = [float(row_mm), float(column_mm)]  # each frame has its own place for it
            axes = (to_lps[:3, :2] / (column_mm, row_mm)).T
            slices.append(Slice(file, frame.number, to_lps[:3, 3], axes, header, index))
    return slices


def _slice_of(file: Path, header: Any) -> Slice | None:
    """The slice of a file with one image, or None where it does not say where it lies."""
    orientation, position = (getattr(header, tag, None) for tag in ("ImageOrientationPatient", "ImagePositionPatient"))
    if orientation is None or position is None or len(orientation) != 6 or len(position) != 3:
        return None
    axes = np.array(orientation, dtype=float).reshape(2, 3)
    number = int(getattr(header, "InstanceNumber", 0) or 0)
    return Slice(file, number, np.array(position, dtype=float), axes, header)


def _choose(found: list[Series], wanted: str) -> Series:
    if wanted:
        matches = [s for s in found if _matches(s, wanted)]
        if not matches:
            raise InputError(f"There is no series {wanted!r}. Choose one of: {'; '.join(_titles(found))}.")
        return max(matches, key=lambda s: s.rank)
    best = max(found, key=lambda s: s.rank)
    if not best.is_mri:
        modality = getattr(best.header, "Modality", "")
        raise InputError(
            f"The {best.title} is {modality}, not MRI: the networks know MRI only. Choose a sagittal MRI series."
        )
    if best.plane != "sagittal" and not _is_three_dimensional(best):
        raise InputError(
            f"There is no sagittal series here; found: {'; '.join(_titles(found))}. "
            "Choose the folder that holds the sagittal series."
        )
    return best


def _matches(series: Series, wanted: str) -> bool:
    number = str(getattr(series.header, "SeriesNumber", ""))
    uid = str(getattr(series.header, "SeriesInstanceUID", ""))
    return wanted in (uid, number) or wanted.lower() in series.description.lower()


def _titles(found: Iterable[Series]) -> list[str]:
    return sorted({f"{s.title} ({s.plane}, {len(s.slices)} slices)" for s in found})


def _is_three_dimensional(series: Series) -> bool:
    """Whether a series in another plane has slices thin enough to be read as sagittal ones."""
    places = sorted({round(float(s.position @ series.normal), 2) for s in series.slices})
    return len(places) > 20 and float(np.median(np.diff(places))) <= 2.0


def _one_per_place(series: Series, warnings: list[str]) -> list[Slice]:
    """Slices sorted along the normal, one for each position (the lowest instance number)."""
    ordered = sorted(series.slices, key=lambda s: (round(float(s.position @ series.normal), 2), s.number, str(s.path)))
    kept: list[Slice] = []
    for one in ordered:
        if not kept or abs(float((one.position - kept[-1].position) @ series.normal)) > SAME_PLACE_MM:
            kept.append(one)
    if len(kept) < len(ordered):
        warnings.append(
            f"{len(ordered) - len(kept)} slices lie where another one lies (duplicates, echoes or points in time); "
            "the first of each was read."
        )
    return kept


def _evenly_spaced(series: Series, slices: list[Slice], warnings: list[str]) -> tuple[list[Slice], np.ndarray]:
    """The slices, and at which multiple of the usual spacing each lies."""
    if len(slices) == 1:
        return slices, np.array([0])
    places = np.array([float(s.position @ series.normal) for s in slices])
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    steps = np.maximum(np.rint(gaps / usual).astype(int), 1)
    if (steps > 1).any():
        warnings.append(
            f"{int((steps - 1).sum())} slices are missing in the series (spacing {usual:.1f} mm, largest gap "
            f"{gaps.max():.1f} mm); "
            "they were filled by interpolation. Export the series again if you can."
        )
    if (abs(gaps / steps - usual) > SPACING_TOLERANCE * usual).any():
        warnings.append(
            f"The slices are not evenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): positions across "
            f"slices are approximate."
        )
    return slices, np.concatenate([[0], np.cumsum(steps)])


def _stack(series: Series, slices: list[Slice], at: np.ndarray, warnings: list[str]) -> Volume:
    arrays = {path: _read_pixels(path) for path in dict.fromkeys(one.path for one in slices)}
    pixels = [arrays[one.path][one.frame] for one in slices]
    if len({p.shape for p in pixels}) > 1:
        raise InputError(f"The slices of {series.title} differ in size. Export the series again, then try again.")
    array = np.empty((at[-1] + 1, *pixels[0].shape), dtype=np.result_type(*pixels))
    for (before, low), (after, high) in zip(zip(pixels, at), zip(pixels[1:], at[1:])):
        for k in range(low, high):
            t = (k - low) / (high - low)
            array[k] = before if k == low else (1 - t) * before + t * after
    array[-1] = pixels[-1]
    matrix = np.eye(4)
    row_spacing, column_spacing = _pixel_spacing(series, warnings)
    matrix[:3, 0], matrix[:3, 1] = slices[0].axes[0] * column_spacing, slices[0].axes[1] * row_spacing
    if len(slices) > 1:
        matrix[:3, 2] = (slices[-1].position - slices[0].position) / at[-1]
    else:
        matrix[:3, 2] = series.normal * float(getattr(series.header, "SliceThickness", 0) or 4.0)
    matrix[:3, 3] = slices[0].position
    return Volume(array, LPS_TO_RAS @ matrix, series.title)


def _pixel_spacing(series: Series, warnings: list[str]) -> tuple[float, float]:
    spacing = getattr(series.header, "PixelSpacing", None)
    if spacing is None or len(spacing) != 2 or min(float(v) for v in spacing) <= 0:
        raise InputError(f"The {series.title} does not state its pixel spacing. Choose another series.")
    stated = [s.header.PixelSpacing for s in series.slices if "PixelSpacing" in s.header]
    if len({tuple(round(float(v), 4) for v in each) for each in stated}) > 1:
        warnings.append("The slices state different pixel spacings; the first one's is used.")
    return float(spacing[0]), float(spacing[1])


def _read_pixels(path: Path) -> np.ndarray:
    """(images, rows, columns) of a file."""
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(
            f"{path.name} could not be decoded: it is damaged or compressed in a way that is not supported. "
            "Export the series uncompressed, then try again."
        ) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path.name} is a color picture (a screenshot or a report). Choose the original series.")
    return sitk.GetArrayFromImage(image).reshape(-1, image.GetSize()[1], image.GetSize()[0])

"""DICOM files -> one volume: sorted by position, with what is wrong with a series told in sentences.

Pixels are decoded by SimpleITK (GDCM), which reads JPEG, JPEG-LS, JPEG 2000 and RLE compression without more packages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from SpineMotionToolsLib.common.dicom_source import frames_of
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.geometry import LPS_TO_RAS
from SpineMotionToolsLib.common.image_files import check_whole, no_permission
from SpineMotionToolsLib.common.volumes import Volume

LOCALIZER_WORDS = ("loc", "scout", "survey", "3-pl", "3pl", "plan")
T2_ECHO_MS = 60.0
SAME_PLACE_MM = 0.05
SPACING_TOLERANCE = 0.1
SAME_DIRECTION = 0.02
"""Largest difference of direction cosines (about 1 degree) within a series; files round them in different ways."""

NO_PERMISSION = "No permission to read files in {name}. Change their permissions or copy them to your own folder."
DAMAGED = "{name} holds damaged values (of size, position, orientation or pixel spacing). Export the series again."
NO_PLACE = (
    "The slices in {name} do not state their position and orientation in the patient. "
    "Export the original series, not pictures of it."
)
NO_IMAGE = "{name} holds no DICOM slices. Choose an image file or a folder with one study."
FAULTS = (NO_PERMISSION, DAMAGED, NO_PLACE, NO_IMAGE)
"""What can be wrong with a file, in the order in which it is told of a folder without any slice."""

TAGS = (
    "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "EchoTime",
    "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns",
    "NumberOfFrames", "InstanceNumber", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip

Kind = TypeVar("Kind", str, int, float)


@dataclass(frozen=True)
class Label:
    """What a file says of its series; empty or 0 where it does not say or the value cannot be decoded.

    `patient` and `study` only tell people apart; they are never shown.
    """

    uid: str
    number: str
    description: str
    modality: str
    echo_ms: float
    thickness_mm: float
    patient: str = field(repr=False)
    study: str = field(repr=False)


@dataclass(frozen=True)
class Slice:
    """One image's place; `position` and `axes` (row and column direction) in LPS mm.

    `number`: the instance number, or the frame's number in a file of many; `spacing`: mm between rows and between
    columns, as stated; `frame`: its place in the file, from 0.
    """

    path: Path
    number: int
    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, ...]
    label: Label
    frame: int = 0


@dataclass(frozen=True)
class Series:
    """Slices of one series, orientation and size."""

    slices: tuple[Slice, ...]

    @property
    def label(self) -> Label:
        return self.slices[0].label

    @property
    def normal(self) -> np.ndarray:
        return np.cross(*self.slices[0].axes)

    @property
    def plane(self) -> str:
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.normal)))]

    @property
    def title(self) -> str:
        parts = (f"series {self.label.number}" if self.label.number else "", self.label.description)
        return " ".join(part for part in parts if part) or "series"

    @property
    def is_mri(self) -> bool:
        return self.label.modality in ("MR", "")

    @property
    def looks_like_localizer(self) -> bool:
        return any(word in self.label.description.lower() for word in LOCALIZER_WORDS)

    @property
    def rank(self) -> tuple:
        """Larger is the better choice: MRI, sagittal, no localizer, at least five slices, T2, many slices."""
        description = self.label.description.lower()
        t2 = "t2" in description or (self.label.echo_ms >= T2_ECHO_MS and "t1" not in description)
        places = len({round(float(s.position @ self.normal), 1) for s in self.slices})
        sagittal = self.plane == "sagittal"
        return self.is_mri, sagittal, not self.looks_like_localizer, places >= 5, t2, places


def read_series(path: Path, series: str = "") -> tuple[Volume, list[str], list[str]]:
    """The best sagittal MRI series under a folder, or the one a file belongs to: (volume, warnings, notes).

    Raises InputError when there is none, with what was found instead.
    """
    found, faults = _series_at(path)
    chosen = _choose(found, series)
    warnings, notes = [], [f"Read {chosen.title}, {chosen.plane}, {len(chosen.slices)} images."]
    if chosen.looks_like_localizer:
        warnings.append(f"The {chosen.title} looks like a localizer. Use the full sagittal series.")
    others = {s.title for s in found if (s.label.uid, s.title) != (chosen.label.uid, chosen.title)}
    if others:
        notes.append(f"Other series in the folder: {'; '.join(sorted(others))}.")
    if _of_several_people(found):
        warnings.append(
            f"The folder holds sagittal series of several patients or studies; only {chosen.title} "
            f"({len(chosen.slices)} images) was read. Check that it is the right one, or read one folder for each."
        )
    for fault, text in ((NO_PERMISSION, "may not be read"), (DAMAGED, "hold damaged values")):
        if count := list(faults.values()).count(fault):
            warnings.append(f"{count} of the folder's files {text} and were left out.")
    slices = _one_per_place(chosen, warnings)
    slices, positions = _evenly_spaced(chosen, slices, warnings)
    return _stack(chosen, slices, positions, warnings), warnings, notes


def files_read(path: Path, series: str = "") -> list[Path]:
    """The files whose voxels `read_series` reads; raises InputError as it does."""
    slices = _one_per_place(_choose(_series_at(path)[0], series), [])
    return list(dict.fromkeys(one.path for one in slices))


def _series_at(path: Path) -> tuple[list[Series], dict[Path, str]]:
    """The series below a folder, or the one a file belongs to, and the files left out with one of `FAULTS` each.

    Raises InputError when there is no series.
    """
    try:
        found, faults = _scan_files(path)
    except PermissionError as error:
        raise no_permission(path) from error
    told = next((fault for fault in FAULTS if fault in faults.values()), NO_IMAGE)
    if path.is_file():
        found = [s for s in found if any(each.path == path for each in s.slices)]
        told = faults.get(path, NO_IMAGE)
    if not found:
        raise InputError(told.format(name=path.name))
    return found, faults


def _scan_files(path: Path) -> tuple[list[Series], dict[Path, str]]:
    """Series of the DICOM files below a folder (or beside a file), of one image or many each, and the files' faults."""
    import pydicom

    files = [path, *path.parent.iterdir()] if path.is_file() else path.rglob("*")
    groups: dict[tuple, list[list[Slice]]] = defaultdict(list)
    faults: dict[Path, str] = {}
    for file in sorted(set(files)):
        try:
            if not file.is_file() or (file.name.startswith(".") and file != path) or file.name == "DICOMDIR":
                continue
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
            if int(header.get("Rows") or 0) == 0:
                continue  # reports, presentation states
            size = int(header.Rows), int(header.Columns)
            slices = _slices_of(file, header)
        except PermissionError:
            faults[file] = NO_PERMISSION
        except pydicom.errors.InvalidDicomError:  # notes and thumbnails
            faults[file] = NO_IMAGE
        except Exception:  # pydicom's kinds of errors for damaged files are many
            faults[file] = DAMAGED
        else:
            if not slices:
                faults[file] = NO_PLACE
            for one in slices:
                _add(one, groups[(one.label.uid, *size)])
    return [Series(tuple(slices)) for group in groups.values() for slices in group], faults


def _add(one: Slice, groups: list[list[Slice]]) -> None:
    """Add a slice to the group of its orientation, or as a new one."""
    for group in groups:
        if np.allclose(one.axes, group[0].axes, rtol=0, atol=SAME_DIRECTION):
            group.append(one)
            return
    groups.append([one])


def _slices_of(file: Path, header: Any) -> list[Slice]:
    """The file's images that say where they lie: itself, or the frames of an enhanced (multi-frame) file.

    Values that cannot be decoded raise pydicom's errors here, and only here.
    """
    label = _label(header)
    if not header.get("PerFrameFunctionalGroupsSequence"):
        several = int(header.get("NumberOfFrames") or 1) > 1  # a film or a stack of captures
        orientation, position = header.get("ImageOrientationPatient"), header.get("ImagePositionPatient")
        if several or not orientation or not position:
            return []
        spacing = tuple(float(v) for v in header.get("PixelSpacing") or ())
        place = _finite(position).reshape(3), _finite(orientation).reshape(2, 3)
        return [Slice(file, _value(header, "InstanceNumber", int), *place, spacing, label)]
    slices = []
    for index, frame in enumerate(frames_of(header)):
        if frame.pixel_to_ras is not None:
            to_lps = _finite(LPS_TO_RAS @ frame.pixel_to_ras)
            column_mm, row_mm = np.linalg.norm(to_lps[:3, :2], axis=0)
            axes = (to_lps[:3, :2] / (column_mm, row_mm)).T
            spacing = float(row_mm), float(column_mm)
            slices.append(Slice(file, frame.number, to_lps[:3, 3], axes, spacing, label, index))
    return slices


def _label(header: Any) -> Label:
    return Label(
        uid=_value(header, "SeriesInstanceUID", str),
        number=_value(header, "SeriesNumber", str),
        description=_value(header, "SeriesDescription", str),
        modality=_value(header, "Modality", str),
        echo_ms=_value(header, "EchoTime", float),
        thickness_mm=_value(header, "SliceThickness", float),
        patient=_value(header, "PatientID", str),
        study=_value(header, "StudyInstanceUID", str),
    )


def _value(header: Any, tag: str, kind: type[Kind]) -> Kind:
    """A header's value, or an empty one where it is missing or cannot be decoded."""
    try:
        value = header.get(tag)
        return kind() if value is None else kind(value)
    except Exception:  # pydicom's kinds of errors for damaged values are many
        return kind()


def _finite(values: Any) -> np.ndarray:
    """The numbers as an array; raises ValueError for infinities and what is no number."""
    array = np.array(values, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError("not finite")
    return array


def _of_several_people(found: Iterable[Series]) -> bool:
    """Whether the sagittal MRI series name more than one patient or study."""
    labels = [s.label for s in found if s.is_mri and s.plane == "sagittal"]
    return any(len(keys - {""}) > 1 for keys in ({each.patient for each in labels}, {each.study for each in labels}))


def _choose(found: list[Series], wanted: str) -> Series:
    if wanted:
        exact = [s for s in found if wanted in (s.label.uid, s.label.number)]
        matches = exact or [s for s in found if wanted.lower() in s.label.description.lower()]
        if not matches:
            raise InputError(f"There is no series {wanted!r}. Choose one of: {'; '.join(_titles(found))}.")
        return max(matches, key=lambda s: s.rank)
    best = max(found, key=lambda s: s.rank)
    if not best.is_mri:
        raise InputError(
            f"The {best.title} is {best.label.modality}, not MRI: the networks know MRI only. "
            "Choose a sagittal MRI series."
        )
    if best.plane != "sagittal" and not _is_three_dimensional(best):
        raise InputError(
            f"There is no sagittal series here; found: {'; '.join(_titles(found))}. "
            "Choose the folder that holds the sagittal series."
        )
    return best


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
    row_spacing, column_spacing = _pixel_spacing(series.title, slices, warnings)
    matrix[:3, 0], matrix[:3, 1] = slices[0].axes[0] * column_spacing, slices[0].axes[1] * row_spacing
    if len(slices) > 1:
        matrix[:3, 2] = (slices[-1].position - slices[0].position) / at[-1]
    else:
        thickness = series.label.thickness_mm
        matrix[:3, 2] = series.normal * (thickness if 0 < thickness < np.inf else 4.0)
    matrix[:3, 3] = slices[0].position
    return Volume(array, LPS_TO_RAS @ matrix, series.title)


def _pixel_spacing(title: str, slices: list[Slice], warnings: list[str]) -> tuple[float, float]:
    """mm between rows and between columns; raises InputError where the first slice does not state them."""
    spacing = slices[0].spacing
    if len(spacing) != 2 or not all(0 < v < np.inf for v in spacing):
        raise InputError(f"The {title} does not state its pixel spacing. Choose another series.")
    if len({tuple(round(v, 4) for v in one.spacing) for one in slices if one.spacing}) > 1:
        warnings.append("The slices state different pixel spacings; the first one's is used.")
    return spacing[0], spacing[1]


def _read_pixels(path: Path) -> np.ndarray:
    """(images, rows, columns) of a file."""
    import SimpleITK as sitk

    check_whole(path)
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

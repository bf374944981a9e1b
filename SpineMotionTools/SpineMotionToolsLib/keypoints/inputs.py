"""Radiographs as they come: DICOM, PNG, JPEG, TIFF, other image files and arrays -> `Radiograph`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.dicom_source import is_dicom
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.image_files import check_there
from SpineMotionToolsLib.keypoints.placement import (
    FRONTAL,
    LATERAL_NOTE,
    PLAIN,
    SAGITTAL,
    TURNED_NOTE,
    as_shown,
    exif_lie,
    place_in_slicer,
)
from SpineMotionToolsLib.keypoints.radiograph import SMALLEST_SIDE_PX, Radiograph, Scale

PROJECTION_MODALITIES = ("CR", "DX", "RF", "RG", "XA", "OT", "SC", "")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
LARGEST_PIXELS = 600_000_000
TAILS_PERCENT = (0.5, 99.5)  # gray levels cut off where no window is given
EXIF_ORIENTATION = 274
COLOR_DIFFERENCE = 12  # between channels, of 255: JPEG compression alone makes less

NO_SPACING = "The file states no pixel size, so lengths are in pixels and pixels are taken to be square."
LATERAL_FILE = "The file says that this is a lateral view; the networks read frontal views only."
HEAD_DOWN = "The file says that the head is at the bottom. Turn the picture by 180 degrees before reading."
CALIBRATED = "Lengths were calibrated"
DETECTOR_SPACING = (
    "Lengths are measured at the detector; in the patient they are about 5 to 25 % shorter. Angles are not affected."
)


def read_radiograph(
    path: Path | str, mirrored: bool = False, upside_down: bool = False, inverted: bool = False, frame: int = 0
) -> Radiograph:
    """A frontal spine radiograph from a file.

    `mirrored`, `upside_down`, `inverted` turn the picture as read: left-right, by 180 degrees, bone dark to bone
    bright. `frame`: of a DICOM file with several. Raises InputError for a file that is no gray radiograph, with the
    next step.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist or is a folder. Give one image file.")
    check_there(path)
    suffix = path.suffix.lower()
    if is_dicom(path):
        radiograph = _read_dicom(path, frame)
    elif suffix in PICTURE_SUFFIXES:
        radiograph = _read_picture(path)
    else:
        radiograph = _read_volume(path)
    return turned(radiograph, mirrored, upside_down, inverted)


def from_array(
    array: np.ndarray,
    spacing_mm: tuple[float, float] | None = None,
    name: str = "radiograph",
    window: tuple[float, float] | None = None,
    patient_right_on: str = "unknown",
    notes: tuple[str, ...] = (),
) -> Radiograph:
    """A radiograph from gray values (rows, columns), or (1, rows, columns); bone bright, head up.

    `spacing_mm` (row, column); `window` (lowest, highest value shown). Without a window, 8-bit values are taken as
    they are and others from their 0.5 to their 99.5 percentile. Raises InputError for empty, constant, color or too
    small pictures.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} holds no gray values but {array.dtype}. Give an array of numbers.")
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[2] in (3, 4):
        array = _gray_of_color(array, name)
    if array.ndim != 2:
        raise InputError(
            f"{name} has shape {array.shape}; a radiograph has one slice of rows and columns. "
            "Choose a radiograph, or one slice of the volume."
        )
    _check_size(array.shape, name)
    gray = _to_8_bit(array, window, name)
    if spacing_mm is None:
        return Radiograph(gray, Scale(), name, patient_right_on=patient_right_on, notes=(*notes, NO_SPACING))
    row, column = (float(value) for value in spacing_mm)
    if not (np.isfinite([row, column]).all() and row > 0 and column > 0):
        raise InputError(f"The pixel size of {name} is {row} x {column} mm. Correct it, then try again.")
    return Radiograph(gray, Scale(row, column, "mm"), name, patient_right_on=patient_right_on, notes=notes)


def turned(
    radiograph: Radiograph, mirrored: bool = False, upside_down: bool = False, inverted: bool = False
) -> Radiograph:
    """The radiograph mirrored, turned by 180 degrees or with its gray levels inverted; sides and notes follow."""
    if not (mirrored or upside_down or inverted):
        return radiograph
    image, side, notes = radiograph.image, radiograph.patient_right_on, list(radiograph.notes)
    if inverted:
        image = 255 - image
        notes.append("The gray levels were inverted before reading.")
    if mirrored != upside_down:  # a turn by 180 degrees exchanges the sides, and so does a mirror: both together do not
        side = {"left": "right", "right": "left"}.get(side, side)
    if mirrored:
        image = image[:, ::-1]
        notes.append("The picture was mirrored left to right before reading; points refer to the mirrored picture.")
    if upside_down:
        image = image[::-1, ::-1]
        notes = [note for note in notes if note != HEAD_DOWN]
        notes.append("The picture was turned by 180 degrees before reading; points refer to the turned picture.")
    before = radiograph.turned
    return replace(
        radiograph,
        image=np.ascontiguousarray(image),
        patient_right_on=side,
        turned=(before[0] != mirrored, before[1] != upside_down),
        notes=tuple(notes),
    )


def _read_dicom(path: Path, frame: int) -> Radiograph:
    dataset, pixels = _dicom_pixels(path)
    notes = []
    if int(dataset.get("SamplesPerPixel", 1)) > 1:
        values, window = _gray_of_color(pixels[frame] if pixels.ndim == 4 else pixels, path.name), None
    else:
        if pixels.ndim == 3:
            if not 0 <= frame < len(pixels):
                raise InputError(f"{path.name} has {len(pixels)} frames, numbered from 0; there is no frame {frame}.")
            pixels = pixels[frame]
            notes.append(f"Frame {frame} of a file with several.")
        values, window = _windowed(pixels, dataset)
        if window is None and values.dtype != np.uint8:
            notes.append(
                "The file states no usable display window; gray levels were stretched to the 0.5 to 99.5 percentile."
            )
    view = str(dataset.get("ViewPosition", "")).upper()
    along_rows, along_columns = _directions(dataset)
    if view in ("LL", "RL", "LLO", "RLO") or "LAT" in view or along_rows in ("A", "P"):
        notes.append(LATERAL_FILE)
    if along_columns == "H":
        notes.append(HEAD_DOWN)
    side = {"L": "left", "R": "right"}.get(along_rows, "unknown")  # that the patient's right is on
    spacing, about = _dicom_spacing(dataset)
    radiograph = from_array(values, spacing, path.stem, window, side, tuple(notes))
    place = place_in_slicer(path, radiograph.size, frame=frame)
    dark = dataset.get("PhotometricInterpretation") == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    return replace(
        radiograph,
        image=255 - radiograph.image if dark else radiograph.image,
        notes=tuple(dict.fromkeys((*radiograph.notes, about))),
        place=place,
    )


def _dicom_pixels(path: Path) -> tuple[Any, np.ndarray]:
    """(dataset, stored pixels); raises InputError when this is no radiograph or cannot be decoded."""
    import pydicom

    try:
        dataset = pydicom.dcmread(path)
    except Exception as error:  # pydicom fails in many ways on damaged files
        raise InputError(f"{path.name} is a damaged DICOM file ({error}). Export it again.") from error
    modality = str(dataset.get("Modality", ""))
    if modality not in PROJECTION_MODALITIES:
        raise InputError(
            f"{path.name} is a {modality} image. Choose a radiograph (CR, DX or RF), frontal, with the whole spine."
        )
    if "PixelData" not in dataset:
        raise InputError(f"{path.name} holds no picture. Choose the DICOM file of a radiograph.")
    if int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0)) > LARGEST_PIXELS:
        raise InputError(f"{path.name} has more than {LARGEST_PIXELS // 10**6} million pixels. Reduce it first.")
    try:
        return dataset, dataset.pixel_array
    except Exception as error:
        raise InputError(
            f"The picture in {path.name} cannot be decoded ({error}). Load it in 3D Slicer and save it as .nrrd, "
            "or export it uncompressed."
        ) from error


def _windowed(pixels: np.ndarray, dataset: Any) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Stored pixels as (values after rescaling and the file's window or table, range shown).

    The range is None, and only the rescaling is done, when the file has no window that shows anything.
    """
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    values = np.asarray(apply_modality_lut(pixels, dataset))
    if not ("VOILUTSequence" in dataset or ("WindowCenter" in dataset and "WindowWidth" in dataset)):
        return values, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # A look-up table is indexed by whole numbers; window formulas take any.
            source = values.astype(np.int64 if "VOILUTSequence" in dataset else float)
            shown = np.asarray(apply_voi_lut(source, dataset, index=0), float)
        except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
            return values, None
    low, high = float(shown.min()), float(shown.max())
    if not np.isfinite([low, high]).all() or high <= low:
        return values, None
    # A window that leaves nearly everything black or white was not made for this picture.
    lost = np.mean((shown <= low) | (shown >= high))
    return (values, None) if lost > 0.9 else (shown, (low, high))


def _dicom_spacing(dataset: Any) -> tuple[tuple[float, float] | None, str]:
    """((row, column) mm or None, a sentence about what these lengths are)."""
    plain, detector = (_pair(dataset.get(name)) for name in ("PixelSpacing", "ImagerPixelSpacing"))
    kind = str(dataset.get("PixelSpacingCalibrationType", ""))
    factor = dataset.get("EstimatedRadiographicMagnificationFactor")
    calibrated = plain and (
        kind in ("GEOMETRY", "FIDUCIAL") or (detector and not np.allclose(plain, detector, rtol=1e-3))
    )
    if calibrated:
        how = {"GEOMETRY": "from the geometry of the exposure", "FIDUCIAL": "with an object of known size"}
        return (
            plain,
            f"{CALIBRATED} {how.get(kind, 'by the device')}; they hold in the plane of calibration.",
        )
    detector = detector or _pair(dataset.get("NominalScannedPixelSpacing"))  # of a film
    if plain or detector:
        about = DETECTOR_SPACING
        if factor:
            about = f"{DETECTOR_SPACING} The file estimates a magnification of {float(factor):.2f}."
        return plain or detector, about
    aspect = _pair(dataset.get("PixelAspectRatio"))
    if aspect and aspect[0] != aspect[1]:
        raise InputError(
            f"The pixels of this radiograph are not square ({aspect[0]:g} : {aspect[1]:g}) and it states no "
            "size in mm, so angles cannot be measured. Export it with square pixels."
        )
    return None, NO_SPACING


def _pair(value: Any) -> tuple[float, float] | None:
    try:
        row, column = (float(part) for part in value)
    except (TypeError, ValueError):
        return None
    return (row, column) if np.isfinite([row, column]).all() and row > 0 and column > 0 else None


def _directions(dataset: Any) -> tuple[str, str]:
    """What rows and columns run towards by PatientOrientation: "L", "R", "A", "P", "H", "F", or "" when not stated."""
    orientation = dataset.get("PatientOrientation") or []
    along_rows, along_columns = (str(part).upper()[:1] for part in (*orientation, "", "")[:2])
    return along_rows, along_columns


def _read_picture(path: Path) -> Radiograph:
    from PIL import Image, ImageOps

    with _large_pictures():
        try:
            with Image.open(path) as picture:
                if picture.width * picture.height > LARGEST_PIXELS:
                    raise InputError(f"{path.name} has {picture.width} x {picture.height} pixels. Reduce it first.")
                _check_size((picture.height, picture.width), path.name)
                notes = [f"The first of {pages} pages of the file."] if (pages := _pages(picture)) > 1 else []
                lie = exif_lie(picture.getexif().get(EXIF_ORIENTATION, 1))
                # Pillow inverts "white is zero" for 8 bits only.
                dark = picture.format == "TIFF" and picture.mode not in ("1", "L") and picture.tag_v2.get(262) == 0
                picture = ImageOps.exif_transpose(picture)
                if picture.mode == "P":
                    picture = picture.convert("RGB")
                elif picture.mode in ("1", "LA", "PA", "CMYK", "YCbCr", "HSV", "LAB"):
                    picture = picture.convert("L" if picture.mode in ("1", "LA", "PA") else "RGB")
                array = np.asarray(picture)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{path.name} is damaged or no picture ({error}). Export the radiograph again as DICOM, PNG or TIFF."
            ) from error
    notes += [TURNED_NOTE] if lie != PLAIN else []
    radiograph = from_array(array, None, path.stem, notes=tuple(notes))
    place = place_in_slicer(path, radiograph.size, lie)
    return replace(radiograph, image=255 - radiograph.image if dark else radiograph.image, place=place)


def _pages(picture: Any) -> int:
    return getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1


def _read_volume(path: Path) -> Radiograph:
    from SpineMotionToolsLib.common.volumes import read_volume

    volume = read_volume(path)
    thin = [axis for axis in range(3) if volume.array.shape[2 - axis] == 1]
    if not thin:
        raise InputError(
            f"{path.name} is a volume of {volume.array.shape[0]} slices. "
            "Choose a radiograph, or save one frontal slice of it."
        )
    plane, lie = as_shown(volume.direction, thin[-1])
    picture = lie.upright(volume.array)
    row, column = (volume.spacing_mm[axis] for axis in lie.axes)
    # Files without a pixel size state 1 mm, which no radiograph of this many pixels has.
    known = not (row == column == 1.0 and len(picture) > 900)
    notes = [TURNED_NOTE] if any(lie.flipped) else []
    notes += [LATERAL_NOTE] if plane == SAGITTAL else []
    notes += [DETECTOR_SPACING] if known else []
    side = "left" if plane == FRONTAL else "unknown"
    spacing = (row, column) if known else None
    radiograph = from_array(picture, spacing, volume.name, patient_right_on=side, notes=tuple(notes))
    return replace(radiograph, place=place_in_slicer(path, radiograph.size, lie))


def _to_8_bit(array: np.ndarray, window: tuple[float, float] | None, name: str) -> np.ndarray:
    if array.dtype == bool:
        raise InputError(f"{name} is a mask of two values. Choose the radiograph it was made from.")
    finite = array if array.dtype.kind in "ui" else array[np.isfinite(array)]
    if finite.size < array.size / 2:
        raise InputError(f"Most values of {name} are not numbers. Export the radiograph again.")
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        raise InputError(f"{name} is empty: every pixel has the value {low:g}. Choose another picture.")
    if not any(((part != low) & (part != high)).any() for part in _bands(array)):
        raise InputError(f"{name} is a mask of two values. Choose the radiograph it was made from.")
    if window is not None:
        low, high = (float(value) for value in window)
        if not high > low:
            raise InputError(f"The window {low:g} to {high:g} shows nothing. Give a lower and a higher value.")
    elif array.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        sample = finite.ravel()[:: max(1, finite.size // 2_000_000)]
        cut = np.percentile(sample, TAILS_PERCENT)
        low, high = (float(cut[0]), float(cut[1])) if cut[1] > cut[0] else (low, high)
    if array.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        gray = np.ascontiguousarray(array)
    else:
        gray = np.empty(array.shape, np.uint8)
        for part, shades in zip(_bands(array), _bands(gray)):
            part = np.nan_to_num(part.astype(np.float32), nan=low, posinf=high, neginf=low)
            shades[:] = np.rint(np.clip((part - low) / (high - low), 0, 1) * 255)
    if np.ptp(gray) < 8:
        raise InputError(f"{name} shows nothing: its gray levels hardly differ. Choose another picture or window.")
    return gray


def _bands(array: np.ndarray) -> Iterator[np.ndarray]:
    """Views of 1024 rows, for large pictures without large copies."""
    return (array[start : start + 1024] for start in range(0, len(array), 1024))


def _gray_of_color(array: np.ndarray, name: str) -> np.ndarray:
    """One channel of a picture whose channels are equal but for compression; raises InputError for true color."""
    color = array[::4, ::4, :3].astype(np.int32) if array.dtype == np.uint8 else array[::4, ::4, :3].astype(float)
    largest = max(float(color.max()), 1.0)
    difference = np.ptp(color, axis=2) / largest * 255
    if float(np.mean(difference > COLOR_DIFFERENCE)) > 0.02:
        raise InputError(
            f"{name} is a color picture, such as a photograph or a screen copy. "
            "Export the radiograph itself as gray DICOM, PNG or TIFF."
        )
    return array[..., 0] if float(difference.max()) == 0 else array[..., :3].mean(-1).round().astype(array.dtype)


def _check_size(shape: tuple[int, ...], name: str) -> None:
    if min(shape) < SMALLEST_SIDE_PX:
        raise InputError(
            f"{name} has {shape[1]} x {shape[0]} pixels; a spine cannot be read from fewer than "
            f"{SMALLEST_SIDE_PX} on a side. Export the radiograph in full resolution."
        )


@contextmanager
def _large_pictures() -> Iterator[None]:
    """Lift Pillow's limit on pixels: `LARGEST_PIXELS` is checked before anything is decoded."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before

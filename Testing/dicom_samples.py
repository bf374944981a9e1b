"""Made DICOM studies for tests: classic and enhanced MR, CT and computed radiography, in any geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from SpineMotionToolsLib.common.geometry import LPS_TO_RAS
from SpineMotionToolsLib.common.volumes import Volume

CLASSIC = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2"}
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
PATIENT_NAME = "Müller^Jörg"


def write_classic(folder: Path, volume: Volume, modality: str = "MR", order: Sequence[int] | None = None, **tags):
    """One file for each slice k of a volume, in the order of `order`; returns their paths in the order of k."""
    folder.mkdir(parents=True, exist_ok=True)
    common = _study(modality) | tags
    matrix = LPS_TO_RAS @ volume.ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    paths = {}
    for number, k in enumerate(range(len(volume.array)) if order is None else order, start=1):
        one = _file(CLASSIC[modality], common)
        one.InstanceNumber = number
        _place(one, matrix, spacing, k)
        _pixels(one, volume.array[k])
        paths[k] = folder / f"image{number:04d}.dcm"
        one.save_as(paths[k], enforce_file_format=True)
    return [paths[k] for k in sorted(paths)]


def write_enhanced(path: Path, volume: Volume, shared_orientation: bool = True, order: Sequence[int] | None = None):
    """The volume as one enhanced MR file, frames in the order of `order`; scanners put the orientation in each frame
    (`shared_orientation` False) or once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one = _file(ENHANCED_MR, _study("MR"))
    one.InstanceNumber, one.NumberOfFrames = 1, len(volume.array)
    matrix = LPS_TO_RAS @ volume.ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    order = list(range(len(volume.array)) if order is None else order)
    shared, frames = Dataset(), []
    for place, k in enumerate(order, start=1):
        header = Dataset()
        _place(header, matrix, spacing, k)
        position, orientation, measures = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = header.ImagePositionPatient
        orientation.ImageOrientationPatient = header.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = header.PixelSpacing, header.SliceThickness
        measures.SpacingBetweenSlices = header.SliceThickness
        content, frame = Dataset(), Dataset()
        content.DimensionIndexValues = [place]
        frame.FrameContentSequence, frame.PlanePositionSequence = [content], [position]
        for group in (shared,) if shared_orientation else (frame,):
            group.PlaneOrientationSequence, group.PixelMeasuresSequence = [orientation], [measures]
        frames.append(frame)
    one.SharedFunctionalGroupsSequence, one.PerFrameFunctionalGroupsSequence = [shared], frames
    _pixels(one, volume.array[order])
    one.save_as(path, enforce_file_format=True)
    return path


def write_radiograph(path: Path, image: np.ndarray, **tags) -> Path:
    """A frontal radiograph (CR), patient's right on the picture's left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one = _file(CR, _study("CR"))
    one.InstanceNumber, one.ViewPosition, one.BodyPartExamined = 1, "AP", "SPINE"
    one.PatientOrientation, one.ImagerPixelSpacing = ["L", "F"], [0.5, 0.5]
    del one.FrameOfReferenceUID, one.PositionReferenceIndicator
    _pixels(one, image)
    for name, value in tags.items():
        setattr(one, name, value)
    one.save_as(path, enforce_file_format=True)
    return path


def _study(modality: str) -> dict[str, object]:
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": PATIENT_NAME,
        "PatientID": "4711",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "StudyDate": "20260301",
        "StudyTime": "101500",
        "ReferringPhysicianName": "",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "PositionReferenceIndicator": "",
        "SeriesNumber": 3,
        "SeriesDescription": "t2_sag",
        "Manufacturer": "Made",
        "Modality": modality,
    }


def _file(sop_class: str, tags: dict[str, object]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    for name, value in tags.items():
        setattr(one, name, value)
    return one


def _place(header: Dataset, matrix: np.ndarray, spacing: np.ndarray, k: int) -> None:
    position = matrix[:3, 3] + matrix[:3, 2] * k
    header.ImagePositionPatient = [f"{value:.10g}" for value in position]
    axes = (matrix[:3, :2] / spacing[:2]).T.ravel()
    header.ImageOrientationPatient = [f"{value:.10g}" for value in axes]
    header.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
    header.SliceThickness = f"{spacing[2]:.10g}"


def _pixels(one: Dataset, array: np.ndarray) -> None:
    array = np.asarray(array)
    one.Rows, one.Columns = array.shape[-2:]
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit = 15
    one.PixelData = array.astype("<u2").tobytes()

"""Segments as a DICOM Segmentation (SEG) whose frames lie on the very images that they were drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import SpineMotionToolsLib
from SpineMotionToolsLib.common.dicom_objects import (
    ARTIFICIAL_INTELLIGENCE,
    MANUFACTURER,
    PRODUCT,
    dicom_code,
    new_uid,
    parameters_of,
    save,
    series_number,
    starter_title,
    understandable_errors,
)
from SpineMotionToolsLib.common.dicom_source import DicomSource, Frame
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.geometry import lps_to_ras
from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.common.spine_codes import Code

if TYPE_CHECKING:
    from pydicom import Dataset

ANATOMICAL_STRUCTURE = Code("91723000", "Anatomical Structure")
SAME_PLACE_MM = 0.05
TURNED = 0.02  # largest difference of direction cosines within a series: about one degree


@dataclass(frozen=True)
class Segment:
    """What a segment shows: its code, RGB color, and whether a network drew it alone or a person corrected it."""

    label: str
    code: Code
    color: tuple[int, int, int]
    corrected: bool = False
    tracking_uid: str = field(default_factory=new_uid)


def segmentation_frames(source: DicomSource) -> list[Frame]:
    """The images that hold segments, in the order of the source: of those that share a place (echoes) the first.

    Raises InputError for images without a place or frame of reference, and for a series that is not parallel.
    """
    frames = list(source.frames)
    if not source.first.get("FrameOfReferenceUID") or any(frame.pixel_to_ras is None for frame in frames):
        raise InputError(
            "These DICOM images do not state where they lie in the patient (position, orientation and frame of "
            "reference), so no segmentation can refer to them. Export the original series from the PACS or the scanner."
        )
    normal = frames[0].pixel_to_ras[:3, 2]
    if any(np.abs(frame.pixel_to_ras[:3, 2] - normal).max() > TURNED for frame in frames):
        raise InputError("The images of this series are not parallel. Give the files of one parallel series.")
    places = np.array([_place_mm(frames, frame) for frame in frames])
    order = np.argsort(places, kind="stable")
    repeated = order[1:][np.diff(places[order]) < SAME_PLACE_MM]
    return [frame for number, frame in enumerate(frames) if number not in repeated]


def _place_mm(frames: Sequence[Frame], frame: Frame) -> float:
    """Where a frame lies along the normal of the first one."""
    return frames[0].distance_mm(frame.pixel_to_ras[:3, 3])


def write_segmentation(
    path: Path, source: DicomSource, labels: np.ndarray, segments: Sequence[Segment], provenance: Provenance, title: str
) -> Dataset:
    """Write a binary SEG; returns its dataset, for reports to refer to.

    `labels` (images, rows, columns) holds n + 1 where segment n is, on the images of `segmentation_frames`. Raises
    InputError when nothing is segmented or the images' headers cannot be referred to, OutputError.
    """
    if not segments or not labels.any():
        raise InputError(
            "No segment lies on these DICOM images. Make sure that they are the images that were read, and that the "
            "volume was not moved or cropped."
        )
    with understandable_errors(source):
        import highdicom as hd

        algorithm = hd.AlgorithmIdentificationSequence(
            name=f"{PRODUCT} {provenance.system}",
            family=dicom_code(ARTIFICIAL_INTELLIGENCE),
            version=provenance.library_version or SpineMotionToolsLib.__version__,
            source=MANUFACTURER,
            parameters=parameters_of(provenance),
        )
        described = [_described(number, segment, algorithm) for number, segment in enumerate(segments, start=1)]
        title = starter_title(title, provenance)
        frames = segmentation_frames(source)
        dataset = hd.seg.Segmentation(
            source_images=_normalized(source, frames),
            pixel_array=labels,
            plane_positions=_positions(frames) if len(frames) < len(source.frames) else None,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=described,
            series_instance_uid=new_uid(),
            series_number=series_number(source, 7000),
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=PRODUCT,
            software_versions=SpineMotionToolsLib.__version__,
            device_serial_number="software",
            content_label="SEGMENTATION",
            content_description=title[:64],
            content_creator_name=f"{PRODUCT}^",
            omit_empty_frames=True,
        )
    save(path, dataset, title)
    return dataset


def _described(number: int, segment: Segment, algorithm):
    import highdicom as hd

    kinds = hd.seg.SegmentAlgorithmTypeValues
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=dicom_code(ANATOMICAL_STRUCTURE),
        segmented_property_type=dicom_code(segment.code),
        algorithm_type=kinds.SEMIAUTOMATIC if segment.corrected else kinds.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.label,
        display_color=hd.color.CIELabColor.from_rgb(*segment.color),
    )


def _positions(frames: Sequence[Frame]) -> list:
    import highdicom as hd

    positions = [lps_to_ras(frame.pixel_to_ras[:3, 3]).tolist() for frame in frames]
    return [hd.PlanePositionSequence(hd.CoordinateSystemNames.PATIENT, position) for position in positions]


def _normalized(source: DicomSource, frames: Sequence[Frame]) -> list[Dataset]:
    """The headers as highdicom wants them: one text of the orientation, slice thickness, and shared plane groups.

    Scanners round the orientation differently from slice to slice, and keep what all frames share in each of them.
    """
    if source.is_multi_frame:
        return [_with_shared_groups(source.first)]
    headers = []
    for header in (_copied(frame.header) for frame in frames):
        header.ImageOrientationPatient = source.first.ImageOrientationPatient
        header.SliceThickness = header.get("SliceThickness") or source.first.get("SliceThickness") or _gap_mm(frames)
        headers.append(header)
    return headers


def _gap_mm(frames: Sequence[Frame]) -> float:
    """The distance between neighboring images, for headers without a slice thickness; 1 mm where there is one image."""
    gaps = np.diff(np.sort([_place_mm(frames, frame) for frame in frames]))
    return round(float(np.median(gaps)), 3) if len(gaps) else 1.0


def _with_shared_groups(header: Dataset) -> Dataset:
    shared_before = header.get("SharedFunctionalGroupsSequence")
    header, shared = _copied(header), _copied(shared_before[0] if shared_before else {})
    first = header.PerFrameFunctionalGroupsSequence[0]
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if name not in shared:
            shared.add(first[name])
    header.SharedFunctionalGroupsSequence = [shared]
    return header


def _copied(header: Dataset | dict) -> Dataset:
    """A dataset of its own with the same elements; `copy.copy` would share them."""
    from pydicom import Dataset as Item

    copied = Item()
    copied.update(header)
    return copied

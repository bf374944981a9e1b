"""Measurements and evaluations as a DICOM Structured Report: template TID 1500, Comprehensive 3D SR.

Rooms describe their results as `Group`s; this file knows the template and highdicom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import SpineMotionToolsLib
from SpineMotionToolsLib.common.dicom_objects import (
    MANUFACTURER,
    NOT_A_DEVICE,
    PRODUCT,
    STARTER_NOTE,
    device_uid,
    dicom_code,
    new_uid,
    own_code,
    parameters_of,
    save,
    series_number,
    starter_title,
    understandable_errors,
)
from SpineMotionToolsLib.common.dicom_source import DicomSource, Frame
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.provenance import DEMONSTRATION, Provenance
from SpineMotionToolsLib.common.spine_codes import Code

if TYPE_CHECKING:
    from pydicom import Dataset

LEFT, RIGHT = Code("7771000", "Left"), Code("24028007", "Right")
UNITS = {
    "mm": Code("mm", "millimeter", "UCUM"),
    "deg": Code("deg", "degree", "UCUM"),
    "%": Code("%", "percent", "UCUM"),
    "1": Code("1", "no units", "UCUM"),
}
PROCEDURES = {
    "MR": Code("25056-3", "MRI unspecified body region", "LN"),
    "CT": Code("25045-6", "CT unspecified body region", "LN"),
    **dict.fromkeys(("CR", "DX", "RF", "RG", "XA"), Code("43468-8", "XR unspecified body region", "LN")),
}
OTHER_PROCEDURE = Code("363679005", "Imaging procedure")
COMMENT = Code("121106", "Comment", "DCM")
VALIDITY = own_code("Validity", "Validity of these grades")
DEMONSTRATION_CODE = own_code("Demonstration", DEMONSTRATION)


@dataclass(frozen=True)
class Line:
    """A line on an image that a number was measured from: points (N, 2) = (column, row), whole at pixel centers."""

    frame: Frame
    points: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Number:
    """A measured number; `unit` is a key of `UNITS`, `uncertainty` one standard deviation."""

    name: Code
    value: float
    unit: str
    uncertainty: float | None = None
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A coded answer to a coded question, e.g. a grade."""

    name: Code
    value: Code


@dataclass(frozen=True)
class Site:
    """Where something was found; `role` is what the place is to the finding, e.g. the apex of a curve."""

    code: Code
    laterality: Code | None = None
    role: Code | None = None


@dataclass(frozen=True)
class Group:
    """What belongs to one thing: a vertebra, a disc, a curve, a stack.

    `segment`: its number in the segmentation that is written with the report, or None; `frames`: images it was measured
    on, all of the source when empty; `demonstration`: its evaluations have no clinical meaning.
    """

    title: str
    finding: Code
    sites: tuple[Site, ...] = ()
    numbers: tuple[Number, ...] = ()
    choices: tuple[Choice, ...] = ()
    frames: tuple[Frame, ...] = ()
    segment: int | None = None
    tracking_uid: str = field(default_factory=new_uid)
    demonstration: bool = False


def write_report(
    path: Path,
    source: DicomSource,
    groups: Sequence[Group],
    provenance: Provenance,
    title: str,
    comments: Sequence[str] = (),
    reviewer: str | None = None,
    segmentation: Dataset | None = None,
) -> Dataset:
    """Write the report and return its dataset.

    `reviewer`: name of the person who reviewed or corrected the result, "" when it is not known; None when nobody did.
    Raises InputError when there is nothing to report or the images' headers cannot be referred to, OutputError.
    """
    if not groups:
        raise InputError("There is nothing to report in this result. Read the scan again, or correct the result first.")
    with understandable_errors(source):
        import highdicom as hd

        title = starter_title(title, provenance)
        algorithm = hd.sr.AlgorithmIdentification(
            name=f"{PRODUCT} {provenance.system}",
            version=provenance.library_version or SpineMotionToolsLib.__version__,
            parameters=[f"{name}: {value}" for name, value in parameters_of(provenance).items()],
            manufacturer=MANUFACTURER,
        )
        report = hd.sr.MeasurementReport(
            observation_context=_observers(provenance, reviewer),
            procedure_reported=dicom_code(PROCEDURES.get(str(source.first.get("Modality", "")), OTHER_PROCEDURE)),
            imaging_measurements=[_group(group, algorithm, segmentation) for group in groups],
        )
        told = any(comment.startswith("Starter model") for comment in comments)
        notes = [NOT_A_DEVICE, *([STARTER_NOTE] if provenance.starter and not told else []), *comments]
        report[0].ContentSequence.extend(_comments(notes))
        dataset = hd.sr.Comprehensive3DSR(
            evidence=[*source.headers, *([segmentation] if segmentation is not None else [])],
            content=report,
            series_instance_uid=new_uid(),
            series_number=series_number(source, 8000),
            sop_instance_uid=new_uid(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=PRODUCT,
            software_versions=SpineMotionToolsLib.__version__,
            device_serial_number="software",
            is_complete=True,
            is_final=False,
        )
    save(path, dataset, title)
    return dataset


def _observers(provenance: Provenance, reviewer: str | None):
    """The device, and the person who reviewed its result."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=device_uid(provenance.system),
            name=f"{PRODUCT} {provenance.system}",
            manufacturer_name=MANUFACTURER,
            model_name=PRODUCT,
            serial_number=provenance.library_version or SpineMotionToolsLib.__version__,
        ),
    )
    if reviewer is None:
        return hd.sr.ObservationContext(observer_device_context=device)
    person = hd.sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name=_person_name(reviewer)),
    )
    return hd.sr.ObservationContext(observer_person_context=person, observer_device_context=device)


def _person_name(text: str) -> str:
    """A name as DICOM writes it, family name first; one without parts, such as initials, is a family name."""
    name = " ".join(text.split()).replace("\\", " ") or "Reviewer not named"
    return name if "^" in name else f"{name}^"


def _group(group: Group, algorithm, segmentation: Dataset | None):
    import highdicom as hd

    choices = [*([Choice(VALIDITY, DEMONSTRATION_CODE)] if group.demonstration else []), *group.choices]
    content = dict(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=group.tracking_uid, identifier=group.title),
        finding_type=dicom_code(group.finding),
        finding_sites=[_site(site) for site in group.sites],
        algorithm_id=algorithm,
        measurements=[_measurement(number) for number in group.numbers],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(dicom_code(choice.name), dicom_code(choice.value)) for choice in choices
        ],
    )
    if group.segment is not None and segmentation is not None:
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=hd.sr.ReferencedSegment.from_segmentation(segmentation, group.segment), **content
        )
    images = [hd.sr.SourceImageForMeasurementGroup(*_reference(frame)) for frame in group.frames]
    return hd.sr.MeasurementsAndQualitativeEvaluations(source_images=images or None, **content)


def _site(site: Site):
    import highdicom as hd

    laterality = dicom_code(site.laterality) if site.laterality else None
    return hd.sr.FindingSite(dicom_code(site.code), laterality, dicom_code(site.role) if site.role else None)


def _measurement(number: Number):
    import highdicom as hd

    unit, properties = dicom_code(UNITS[number.unit]), None
    if number.uncertainty is not None:
        either_way = _rounded(number.uncertainty)
        properties = hd.sr.MeasurementProperties(
            upper_measurement_uncertainty=either_way, lower_measurement_uncertainty=either_way
        )
        for item in properties:  # highdicom writes them without a unit
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [hd.sr.CodedConcept.from_code(unit)]
    coordinates = [
        hd.sr.CoordinatesForMeasurement(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=np.asarray(line.points, float) + 0.5,  # DICOM counts from the corner of the first pixel
            source_image=hd.sr.SourceImageForRegion(*_reference(line.frame)),
        )
        for line in number.lines
    ]
    return hd.sr.Measurement(
        name=dicom_code(number.name),
        value=_rounded(number.value),
        unit=unit,
        properties=properties,
        referenced_coordinates=coordinates or None,
    )


def _reference(frame: Frame) -> tuple[str, str, list[int] | None]:
    return frame.header.SOPClassUID, frame.header.SOPInstanceUID, None if frame.number is None else [frame.number]


def _comments(texts: Sequence[str]):
    import highdicom as hd

    return [
        hd.sr.TextContentItem(
            name=dicom_code(COMMENT), value=text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
        )
        for text in dict.fromkeys(texts)
        if text
    ]


def _rounded(value: float) -> float:
    """Four decimals: more would pretend a precision that no image has. Raises ValueError for what is no number."""
    if not np.isfinite(value):
        raise ValueError(f"a measurement is {value}")
    return round(float(value), 4) + 0.0  # never -0

"""What segmentations and reports written to DICOM share: codes, equipment, algorithm, and how they are saved.

Concepts without a code in a public scheme are coded in the scheme 99SMT, whose definitions are the meanings themselves;
`Docs/dicom-results.md` lists them.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import SpineMotionToolsLib
from SpineMotionToolsLib.common.dicom_source import DicomSource
from SpineMotionToolsLib.common.errors import DependencyError, InputError
from SpineMotionToolsLib.common.files import atomic_path
from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.common.spine_codes import Code

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.sr.coding import Code as DicomCode

OWN_SCHEME = "99SMT"
PRODUCT = "SpineMotionTools"
MANUFACTURER = "SpineMotionTools contributors"
ARTIFICIAL_INTELLIGENCE = Code("123110", "Artificial Intelligence", "DCM")
STARTER_NOTE = "Starter model, not validated on patients."
NOT_A_DEVICE = "Not a medical device; for research use only."
LONGEST_TEXT = 600  # of an algorithm's parameter, which every group repeats; lists of corrections are far longer


def own_code(value: str, meaning: str) -> Code:
    """A concept of this project's own scheme; DICOM allows 16 characters of value and 64 of meaning."""
    return Code(value[:16], meaning[:64], OWN_SCHEME)


def dicom_code(code: Code) -> DicomCode:
    from pydicom.sr.coding import Code as DicomCode

    return DicomCode(code.value, code.scheme, code.meaning)


def starter_title(title: str, provenance: Provenance) -> str:
    """A title that says when a starter model made what it names."""
    return f"{title} (starter model)" if provenance.starter else title


def parameters_of(provenance: Provenance) -> dict[str, str]:
    """What made a result, as names and short texts: model, its SHA-256, how it ran, and all parameters."""
    values: dict[str, Any] = {
        "model": provenance.model_id,
        "model_sha256": provenance.model_sha256,
        "starter_model": "yes, not validated on patients" if provenance.starter else "no",
        "device": provenance.device,
        "precision": provenance.precision,
        "created_utc": provenance.created_utc,
        **provenance.parameters,
    }
    return {name: _short(value) for name, value in values.items() if value not in (None, "", [], {})}


def new_uid() -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


def device_uid(system: str) -> str:
    """The UID of this version of a system as an observer: the same wherever it runs."""
    name = f"{PRODUCT}/{system}/{SpineMotionToolsLib.__version__}"
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"


def need_highdicom() -> None:
    """Raise DependencyError where DICOM results cannot be written."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "DICOM results need the Python package highdicom. Install it: pip install highdicom."
        ) from error


@contextmanager
def understandable_errors(source: DicomSource) -> Iterator[None]:
    """Turn what the DICOM libraries raise on headers that break the standard into a sentence, and keep them quiet."""
    need_highdicom()
    try:
        with warnings.catch_warnings():  # they would put names of patients into logs
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        modality = source.first.get("Modality", "")
        raise InputError(
            f"The headers of the {modality} images break the DICOM standard, so results cannot refer to them "
            f"({error}). Export the series again from the PACS or the scanner."
        ) from error


def series_number(source: DicomSource, offset: int) -> int:
    """A number that sorts results after the study's images."""
    return offset + int(source.first.get("SeriesNumber", 0) or 0) % 1000


def save(path: Path, dataset: Dataset, title: str) -> None:
    """Name series and scheme, and write the file atomically; raises OutputError."""
    from pydicom import Dataset as Item

    scheme = Item()
    scheme.CodingSchemeDesignator = OWN_SCHEME
    scheme.CodingSchemeName = PRODUCT
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
    dataset.CodingSchemeIdentificationSequence = [scheme]
    dataset.SeriesDescription = title[:64]
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(temporary, enforce_file_format=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."

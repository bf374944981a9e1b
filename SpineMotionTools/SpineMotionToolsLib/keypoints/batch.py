"""Many radiographs into one folder of results."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.dicom_source import is_dicom
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import Cancelled, InputError, SpineMotionError
from SpineMotionToolsLib.common.files import make_folder, unique_names
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.keypoints.dicom import find_source, write_dicom
from SpineMotionToolsLib.keypoints.exports import summary_table, write_reading
from SpineMotionToolsLib.keypoints.inputs import PICTURE_SUFFIXES, read_radiograph
from SpineMotionToolsLib.keypoints.pipeline import load_predictor, start_session
from SpineMotionToolsLib.keypoints.results import Reading

SUMMARY_NAME = "keypoints-summary.csv"
SUFFIXES = (*PICTURE_SUFFIXES, ".dcm", ".dicom", ".nrrd", ".mha", ".nii", ".nii.gz")


def expand(images: list[Path]) -> list[Path]:
    """Files and the radiograph files directly in folders, in order; raises InputError when nothing is there."""
    found: list[Path] = []
    for path in images:
        if path.is_dir():
            found += sorted(filter(_is_image, path.iterdir()))
        else:
            found.append(path)
    if not found:
        raise InputError(f"No radiographs were found. Give files that end in {', '.join(SUFFIXES)}, or their folder.")
    return list(dict.fromkeys(found))


def _is_image(path: Path) -> bool:
    """By name, or DICOM by content: its files often end in nothing, or in the last number of a UID."""
    if not path.is_file() or path.name.startswith(".") or path.name.upper() == "DICOMDIR":
        return False
    with suppress(OSError):
        return path.name.lower().endswith(SUFFIXES) or is_dicom(path)
    return False


def case_name(path: Path) -> str:
    """The file's name without its ending; dots inside it, as in UIDs, stay."""
    ending = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(ending)] or path.name


def detect_files(parameters: dict[str, Any], progress: Progress = no_progress) -> list[Path]:
    """Read every file of `images` and write its results and a summary below `out`; return all paths.

    Other keys, all optional: `weights`, `device`, `precision`, `threads`, `decoding`, `region` ("auto" or "given"),
    `mirrored`, `upside_down`, `inverted`, `dicom` (also DICOM reports; files that are not DICOM then fail). A file that
    fails is listed in the summary with its reason; raises its error when all fail.
    """
    images = expand([Path(path) for path in parameters["images"]])
    out = make_folder(parameters["out"])
    options = {
        name: parameters[name] for name in ("device", "precision", "threads") if parameters.get(name) is not None
    }
    predictor = load_predictor(parameters.get("weights"), Engine(**options), parameters.get("decoding"))
    turns = {name: bool(parameters.get(name)) for name in ("mirrored", "upside_down", "inverted")}
    written: list[Path] = []
    outcomes: list[tuple[str, Reading | None, str]] = []
    failure: SpineMotionError | None = None
    cases = unique_names([(case_name(path), path) for path in images])
    try:
        for number, (stem, path) in enumerate(cases):
            progress(number, len(images), path.name)
            try:
                source = find_source(path) if parameters.get("dicom") else None
                radiograph = read_radiograph(path, **turns)
                session = start_session(radiograph, region=parameters.get("region", "auto"), predictor=predictor)
                reading = session.detect()
                written += write_reading(reading, session.radiograph.image, out, session.to_json(), stem)
                if source is not None:
                    written.append(write_dicom(reading, source, out / f"{stem}-report.dcm"))
                outcomes.append((path.name, reading, ""))
            except Cancelled:
                raise
            except SpineMotionError as error:
                failure = error
                outcomes.append((path.name, None, str(error)))
    finally:  # also of what was read before somebody stopped it
        if outcomes:
            stems = [stem for stem, _ in cases[: len(outcomes)]]
            summary_table(outcomes, stems).to_csv(out / SUMMARY_NAME)
    progress(len(images), len(images), "")
    if failure is not None and not written:
        raise failure
    return [*written, out / SUMMARY_NAME]

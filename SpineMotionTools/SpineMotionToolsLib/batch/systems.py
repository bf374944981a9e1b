"""The tasks a batch can run: per system how cases are found, read, and said in one row. Files are the commands' own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress
from SpineMotionToolsLib.common.report import STARTER_WARNING


@dataclass(frozen=True)
class Work:
    """What a task made of a case: one line for people, named numbers, warnings."""

    result: str
    values: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Task(ABC):
    """A task with its model loaded. `request` is what decides about the numbers beside the file itself.

    Options of all tasks: `model` (catalogue id, file or folder; empty: the starter), `device`, `precision`, `threads`.
    """

    system: str
    title: str

    def __init__(self, options: dict[str, Any], source: Path) -> None:
        names = ("device", "precision", "threads", "batch_size")
        self.options, self.source = options, source
        self.engine = Engine(**{name: options[name] for name in names if options.get(name) not in (None, "")})
        if self.engine != Engine():  # what this computer has not is told once, not for every case
            self.engine.resolve()
        self.request: dict[str, Any] = {}

    @staticmethod
    @abstractmethod
    def find(source: Path) -> list[tuple[str, Path]]:
        """(name, path) of every case in a folder, or of the one file; raises InputError when there is none."""

    @abstractmethod
    def run(self, name: str, path: Path, folder: Path, progress: Progress) -> Work:
        """Do one case and write its files into `folder`; raises InputError for one that cannot be read."""

    def _own_file(self) -> str | None:
        """The chosen weight file; None for the starter."""
        from SpineMotionToolsLib.common.catalogue import catalogue
        from SpineMotionToolsLib.common.model_store import model_paths

        model = self.options.get("model") or "starter"
        entry = catalogue().get(model)
        if model == "starter" or (entry and entry.starter):
            return None
        return str(model_paths(model)[0]) if entry else model

    def _weights_digest(self) -> str:
        from SpineMotionToolsLib.common.weights import sha256_of

        file = self._own_file()
        return sha256_of(file) if file else "starter"


class Motion(Task):
    """Motion grades of HR-pQCT scans. Further options: `stack_height`, `incomplete`, `rules`, `unit`, `slice_step`."""

    system, title = "motion", "Grade motion (HR-pQCT)"

    def __init__(self, options: dict[str, Any], source: Path) -> None:
        from SpineMotionToolsLib.motion.batch import Choices, Grader
        from SpineMotionToolsLib.motion.registry import choose

        super().__init__(options, source)
        if options.get("stack_height", 1) < 1:
            raise InputError(f"A stack of {options['stack_height']} slices is not possible. Give 1 or more.")
        names = ("stack_height", "incomplete", "rules", "unit", "slice_step", "crop", "replace_nan")
        chosen = {name: options[name] for name in names if options.get(name) not in (None, "auto")}
        model = options.get("model") or "starter"
        self._grader = Grader(Choices(weights=choose(str(model)), engine=self.engine, **chosen))
        self.request = {**self._grader.request, "starter": self._grader.ensemble.starter}

    @staticmethod
    def find(source: Path) -> list[tuple[str, Path]]:
        from SpineMotionToolsLib.motion import legacy
        from SpineMotionToolsLib.motion.batch import collect_files
        from SpineMotionToolsLib.motion.discovery import scan_files

        files = [*scan_files(source), *_series_below(source)] if source.is_dir() else collect_files([source])[0]
        return [(legacy.scan_name(path), path) for path in files]

    def run(self, name: str, path: Path, folder: Path, progress: Progress) -> Work:
        from SpineMotionToolsLib.motion.batch import write_scan

        scan, result = self._grader.grade(path, name, progress)
        write_scan(folder, name, path, self._grader, scan, result, report=True)
        values = {
            "grade": result.grade,
            "member_agreement_percent": result.confidence_percent,
            "worst_stack_grade": result.worst_stack_grade,
            "slices_ge4_percent": round(100 * result.fraction_slices_ge4, 1),
        }
        line = f"grade {result.grade}, member agreement {result.confidence_percent} %"
        starter = [STARTER_WARNING] if result.starter else []
        return Work(line, values, [*dict.fromkeys((*starter, *result.warnings))])


class Spine(Task):
    """Vertebrae and discs in spine MRI. Further option: `series` (of DICOM folders)."""

    system, title = "spine", "Read spines (MRI)"

    def __init__(self, options: dict[str, Any], source: Path) -> None:
        from SpineMotionToolsLib.spinenet.models import choose_models

        super().__init__(options, source)
        self._models = choose_models(options.get("model") or "")
        self._models.keep_loaded = True
        self.request = {"model_sha256": self._models.sha256, "series": options.get("series", "")}
        self.request["starter"] = self._models.starter

    @staticmethod
    def find(source: Path) -> list[tuple[str, Path]]:
        from SpineMotionToolsLib.spinenet.batch import find_cases

        return find_cases(source)

    def run(self, name: str, path: Path, folder: Path, progress: Progress) -> Work:
        from SpineMotionToolsLib.spinenet import pipeline
        from SpineMotionToolsLib.spinenet.batch import write_case
        from SpineMotionToolsLib.spinenet.inputs import read_scan

        scan = read_scan(path, self.options.get("series", ""))
        spine = pipeline.read(scan, self._models, self.engine, progress=progress)
        spine = write_case(folder, spine, scan)
        labels = spine.labels
        line = f"{len(labels)} vertebrae, {labels[0]} to {labels[-1]}" if labels else "no vertebra found"
        angles = spine.measurements.angles if spine.measurements else ()
        values = {"vertebrae": len(labels), **{f"{angle.name} (deg)": round(angle.angle_deg, 1) for angle in angles}}
        return Work(line, values, [*dict.fromkeys((*spine.notices, *spine.warnings))])


class Keypoints(Task):
    """Vertebral corners and Cobb angles in radiographs. Options: `region` ("auto", "given"), `mirrored`,
    `upside_down`, `inverted`.
    """

    system, title = "keypoints", "Find keypoints (radiographs)"

    def __init__(self, options: dict[str, Any], source: Path) -> None:
        from SpineMotionToolsLib.keypoints.pipeline import load_predictor

        super().__init__(options, source)
        self._predictor = load_predictor(options.get("model") or None, self.engine, options.get("decoding"))
        self._turns = {name: bool(options.get(name)) for name in ("mirrored", "upside_down", "inverted")}
        self._region = options.get("region", "auto")
        loaded = self._predictor.loaded
        self.request = {"model_sha256": loaded.sha256, "starter": loaded.starter, "region": self._region}
        self.request |= {**self._turns, "decoding": self._predictor.decoding}

    @staticmethod
    def find(source: Path) -> list[tuple[str, Path]]:
        """Files directly in the folder, and below it DICOM radiographs: studies lie in sub-folders."""
        from SpineMotionToolsLib.keypoints.batch import case_name, expand

        below = _radiographs_below(source) if source.is_dir() else []
        try:
            paths = expand([source])
        except InputError:
            if not below:
                raise
            paths = []
        return [(case_name(path), path) for path in dict.fromkeys([*paths, *below])]

    def run(self, name: str, path: Path, folder: Path, progress: Progress) -> Work:
        from SpineMotionToolsLib.keypoints.exports import write_reading
        from SpineMotionToolsLib.keypoints.inputs import read_radiograph
        from SpineMotionToolsLib.keypoints.pipeline import start_session

        radiograph = read_radiograph(path, **self._turns)
        session = start_session(radiograph, region=self._region, predictor=self._predictor)
        reading = session.detect()
        write_reading(reading, session.radiograph.image, folder, session.to_json(), name)
        progress(1, 1)
        main = reading.main_curve
        values: dict[str, Any] = {"curves": len(reading.curves)}
        line = "no curve measured"
        if main is not None:
            line = f"largest Cobb angle {main.cobb_deg:.0f}°, {main.upper_name} to {main.lower_name}"
            values |= {"largest_cobb_deg": round(main.cobb_deg, 1)}
            values |= {"upper_end": main.upper_name, "lower_end": main.lower_name}
        values["mean_confidence"] = round(float(reading.confidence.mean()), 2)
        return Work(line, values, list(reading.warnings))


class Gait(Task):
    """Adult spinal deformity in videos of walks. Options: those of `gait.tasks.score`."""

    system, title = "gait", "Score walks (videos)"

    def __init__(self, options: dict[str, Any], source: Path) -> None:
        super().__init__(options, source)
        self.request = {"model_sha256": self._weights_digest(), "starter": self._own_file() is None}
        self.request["options"] = {k: v for k, v in sorted(options.items()) if k not in ("model", "device", "threads")}

    @staticmethod
    def find(source: Path) -> list[tuple[str, Path]]:
        return _videos(source)

    def run(self, name: str, path: Path, folder: Path, progress: Progress) -> Work:
        from SpineMotionToolsLib.gait.inputs import patient_of
        from SpineMotionToolsLib.gait.results import GaitResult
        from SpineMotionToolsLib.gait.tasks import score

        own = {"video": str(path), "model": self._own_file(), "folder": str(folder)}
        own["patient"] = patient_of(path, self.source if self.source.is_dir() else None)
        result = GaitResult.from_json(score({**self.options, **own}, progress)["result"])
        if not result.clips:
            return Work(f"not scored. {result.why_not}", {"clips": 0}, [result.why_not, *result.warnings])
        values = {"p_asd": round(result.p_asd, 3), "clips": len(result.clips), "patient": result.patient}
        return Work(f"{result.answer}, P(ASD) {result.p_asd:.2f}", values, [*_starter(result), *result.warnings])


class Movements(Task):
    """General movements in videos of infants. Options: those of `movements.tasks.score`."""

    system, title = "movements", "Score infants' movements (videos)"

    def __init__(self, options: dict[str, Any], source: Path) -> None:
        super().__init__(options, source)
        self.request = {"model_sha256": self._weights_digest(), "starter": self._own_file() is None}
        self.request["options"] = {k: v for k, v in sorted(options.items()) if k not in ("model", "device", "threads")}

    @staticmethod
    def find(source: Path) -> list[tuple[str, Path]]:
        return _videos(source)

    def run(self, name: str, path: Path, folder: Path, progress: Progress) -> Work:
        from SpineMotionToolsLib.movements.results import MovementResult
        from SpineMotionToolsLib.movements.scores import CLASS_NAMES
        from SpineMotionToolsLib.movements.tasks import score

        own = {"video": str(path), "model": self._own_file(), "folder": str(folder), "name": name}
        result = MovementResult.from_json(score({**self.options, **own}, progress)["result"])
        if not result.chunks:
            return Work(f"not scored. {result.why_not}", {"seconds_scored": 0}, [result.why_not, *result.warnings])
        shares = result.mean_probabilities
        values = {f"p_{name}": round(float(share), 3) for name, share in zip(CLASS_NAMES, shares)}
        line = f"{result.answer}, probability {shares[result.predicted]:.2f}"
        values |= {"seconds_scored": len(result.chunks)}
        return Work(line, values, [*_starter(result), *result.warnings])


TASKS: dict[str, type[Task]] = {each.system: each for each in (Motion, Spine, Keypoints, Gait, Movements)}


def _series_below(source: Path) -> list[Path]:
    """Every folder, from `source` down, that directly holds DICOM files."""
    from SpineMotionToolsLib.common.dicom_source import is_dicom

    folders = [source, *sorted(path for path in source.rglob("*") if path.is_dir())]
    return [folder for folder in folders if any(path.is_file() and is_dicom(path) for path in _files_in(folder))]


def _files_in(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it may not be opened, which the batch tells."""
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _radiographs_below(source: Path) -> list[Path]:
    """DICOM files in sub-folders whose modality is one of radiographs; results of earlier runs are none."""
    from SpineMotionToolsLib.common.dicom_source import is_dicom

    files = sorted(path for path in source.rglob("*") if path.is_file() and path.parent != source)
    return [path for path in files if is_dicom(path) and _is_radiograph(path)]


def _is_radiograph(path: Path) -> bool:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        header = dcmread(path, specific_tags=["Modality"], stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError):
        return False
    return header.get("Modality", "") in ("CR", "DX", "RF", "RG")


def _videos(source: Path) -> list[tuple[str, Path]]:
    """Videos below a folder; the study of general movements keeps every infant's as <infant>/video.mp4."""
    from SpineMotionToolsLib.common.video_folders import videos_in

    paths = videos_in([source])
    return [(path.parent.name if path.stem.lower() == "video" else path.stem, path) for path in paths]


def _starter(result: Any) -> list[str]:
    return [STARTER_WARNING] if result.provenance.starter else []

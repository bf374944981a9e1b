"""The models a user has at hand: a folder of ensembles with a small table, and what `--weights` may name.

`model_registry.json` is the published format. Weight files stay what they are; they are registered by copying them
into the models folder.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from SpineMotionToolsLib.common.archives import members_of
from SpineMotionToolsLib.common.errors import InputError, OutputError, WeightsError
from SpineMotionToolsLib.motion.derivatives import model_folder_name, utc_now
from SpineMotionToolsLib.motion.members import STARTER, STARTER_ID, load_ensemble, member_files

_WEIGHT_SUFFIXES = (".pt", ".h5", ".keras", ".safetensors")
_LARGEST_ARCHIVE = 1 << 30  # ten members with their optimizer states have 2 MB
_UNREGISTERED_ID = "base-v1"


@dataclass(frozen=True)
class Model:
    """One registered ensemble; `relative_dir` is its folder below the models folder."""

    model_id: str
    display_name: str = ""
    domain: str = ""
    version: str = ""
    description: str = ""
    relative_dir: str = ""
    checkpoint_count: int = 0
    source_model_id: str = ""
    training_manifest: str = ""
    metrics_path: str = ""
    registered_at: str = ""


@dataclass(frozen=True)
class Registry:
    """The models below `root`; `default_id` is the one the published program would take."""

    root: Path
    models: tuple[Model, ...]
    default_id: str = ""

    def folder(self, model: Model) -> Path:
        return self.root / model.relative_dir

    def find(self, model_id: str) -> Model:
        for model in self.models:
            if model.model_id == model_id:
                return model
        known = ", ".join(model.model_id for model in self.models) or "none yet"
        raise InputError(f"No model {model_id!r} is registered (there are: {known}). Register it or name a folder.")


@dataclass(frozen=True)
class WeightsChoice:
    """What a choice of weights stands for: the starter (`path` None) or a file or folder, and the id of its results."""

    model_id: str = STARTER_ID
    path: Path | None = None
    version: str = ""

    @property
    def weights(self) -> str:
        """The text that names these weights to `pipeline.grade`."""
        return STARTER if self.path is None else str(self.path)


def default_root() -> Path:
    """Where motion models are kept: `motion` below the models folder."""
    from SpineMotionToolsLib.common.weights import models_folder

    return models_folder() / "motion"


def read_registry(root: Path) -> Registry:
    """The registry in a models folder; weight files lying there without one count as the published base model.

    Raises InputError when ids are doubled or missing, the default does not exist, or a folder leads out of `root`.
    """
    path = root / "model_registry.json"
    if not path.exists():
        count = len(list(root.glob("DNN_*.pt")))
        model = Model(_UNREGISTERED_ID, "Base v1", relative_dir=".", checkpoint_count=count)
        return Registry(root, (model,), _UNREGISTERED_ID) if count else Registry(root, ())
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        names = Model.__dataclass_fields__
        models = tuple(
            Model(**{name: value for name, value in entry.items() if name in names and value is not None})
            for entry in record["models"]
        )
        default = str(record.get("default_model_id") or "")
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a model registry ({error}); restore or delete it.") from error
    ids = [model.model_id for model in models]
    if "" in ids or len(set(ids)) < len(ids):
        raise InputError(f"{path} has a missing or doubled model id; correct it.")
    if default and default not in ids:
        raise InputError(f"{path} names {default!r} as default, which is not registered; correct it.")
    for model in models:
        if not (root / model.relative_dir).resolve().is_relative_to(root.resolve()):
            raise InputError(f"{path}: the folder of {model.model_id!r} lies outside the models folder; correct it.")
    return Registry(root, models, default)


def register(
    source: Path, root: Path, model_id: str, details: Mapping[str, str] | None = None, make_default: bool = False
) -> Model:
    """Copy an ensemble (a folder, a weight file, or a .zip or .tar archive of one) into the models folder and register
    it.

    The same id again replaces the model; the first model becomes the default. Every file is checked to be a motion
    network before anything is changed. Raises InputError, WeightsError or OutputError.
    """
    from SpineMotionToolsLib.common.files import folder_lock, write_json

    if not model_id.strip() or model_folder_name(model_id) != model_id:
        raise InputError(f"{model_id!r} cannot be a model id; use letters, digits, '.', '_' and '-' only.")
    if model_id in (STARTER, STARTER_ID):
        raise InputError(f"{model_id!r} is the id of the bundled model; choose another.")
    with _weights_in(Path(source).expanduser()) as files:
        for file in files:
            load_ensemble(file)
        with folder_lock(root):
            registry = read_registry(root)
            target = root / model_id
            _copy_into(files, target)
            model = Model(model_id, relative_dir=model_id, checkpoint_count=len(files), registered_at=utc_now())
            model = replace(model, display_name=model_id, **{k: v for k, v in (details or {}).items() if v})
            others = [other for other in registry.models if other.model_id != model_id]
            default = model_id if make_default or not registry.default_id else registry.default_id
            models = sorted([*others, model], key=lambda model: model.model_id)
            record = {
                "schema_version": "1.0",
                "updated_at": utc_now(),
                "default_model_id": default,
                "models": [asdict(model) for model in models],
            }
            write_json(root / "model_registry.json", record, sort_keys=True)
    return model


def choose(weights: str, root: Path | None = None) -> WeightsChoice:
    """What the user means by `--weights`: `starter`, an id of the catalogue or the registry, a weight file or folder.

    Raises InputError or WeightsError.
    """
    from SpineMotionToolsLib.common.catalogue import catalogue
    from SpineMotionToolsLib.common.model_store import model_paths

    known = catalogue().get(weights)
    if weights == STARTER or (known and known.starter and known.system == "motion"):
        return WeightsChoice(STARTER_ID)
    path = Path(weights).expanduser()
    if path.exists():
        _weight_files(path)
        name = path.resolve().name if path.is_dir() else path.stem
        return WeightsChoice(model_folder_name(name), path.resolve())
    if known and known.system == "motion":
        model_paths(weights)
        return WeightsChoice(weights, known.folder)
    if path.suffix in _WEIGHT_SUFFIXES or len(path.parts) > 1:
        raise InputError(f"{weights} does not exist; give a folder of weights, a weight file or a registered id.")
    registry = read_registry(root or default_root())
    model = registry.find(weights)
    folder = registry.folder(model)
    _weight_files(folder)
    return WeightsChoice(model.model_id, folder.resolve(), model.version)


def version_text(choice: WeightsChoice, library_version: str) -> str:
    """The model as the tables name it: `<id>@<version>:DNN_0.pt+DNN_1.pt+...`."""
    if choice.path is None:
        return f"{STARTER_ID}@{library_version}"
    files = "+".join(path.name for path in _weight_files(choice.path))
    return f"{choice.model_id}@{choice.version or 'unversioned'}:{files}"


def _weight_files(source: Path) -> list[Path]:
    """The file itself, or a folder's members; raises WeightsError when there are none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise WeightsError(f"The folder {source} is gone; register the model again.")
    return member_files(source)


@contextmanager
def _weights_in(source: Path) -> Iterator[list[Path]]:
    """The weight files of a folder, a file, or an archive (unpacked into a temporary folder)."""
    if source.is_dir() or source.suffix.lower() in _WEIGHT_SUFFIXES:
        yield _weight_files(source)
        return
    with members_of(source, _LARGEST_ARCHIVE) as members, tempfile.TemporaryDirectory(prefix="spinemotion-") as folder:
        wanted = {PurePosixPath(name): copy for name, copy in members.items() if name.endswith(_WEIGHT_SUFFIXES)}
        folders = {path.parent for path in wanted}
        if len(folders) != 1:
            raise WeightsError(f"{source} holds {len(folders)} folders of weights; unpack it and give the right one.")
        for path, copy in wanted.items():
            copy(Path(folder) / path.name)
        yield _weight_files(Path(folder))


def _copy_into(files: list[Path], target: Path) -> None:
    """Put the files into a fresh folder and swap it with the old one, so that a model is whole or absent."""
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        for path in files:
            shutil.copyfile(path, fresh / path.name)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            target.rename(old / target.name)
            fresh.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            fresh.rename(target)
    except OSError as error:
        raise OutputError(f"The weights cannot be copied to {target} ({error.strerror}).") from error

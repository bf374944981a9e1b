"""Finding and loading an ensemble's members: torch, Keras and safetensors files, a folder of them, or the starter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.catalogue import catalogue
from SpineMotionToolsLib.common.errors import WeightsError
from SpineMotionToolsLib.common.weights import (
    TensorSpec,
    check_contract,
    load_contract,
    read_metadata,
    read_tensors,
    sha256_of,
    starter_path,
)

STARTER = "starter"
STARTER_ID = "motion-starter"
STARTER_FILE = "motion-starter.safetensors"
PUBLISHED_MEMBERS = 10
NETWORK = "a motion scoring member"
_CONTRACT = Path(__file__).parent / "contracts" / "motion-score-torch.json"
_MOST_MEMBERS = 100
_SUFFIXES = (".pt", ".safetensors", ".h5", ".keras")
_MEMBER = re.compile(r"(DNN_(\d+))\.(.+)")


@dataclass(frozen=True, eq=False)
class Member:
    """One network of an ensemble: its name and its weights by contract name, float32."""

    name: str
    tensors: Mapping[str, np.ndarray] = field(repr=False)
    path: Path | None = None


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The members that vote, and where they come from. `starter` marks phantom-trained weights."""

    id: str
    members: tuple[Member, ...]
    sha256: str = ""
    starter: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.members)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    @classmethod
    def of(cls, weights: Mapping[str, Mapping[str, np.ndarray]], id: str = "custom") -> Ensemble:
        """An ensemble from arrays: member name to tensors by contract name; WeightsError when they do not fit."""
        return cls(id, tuple(_member(name, tensors) for name, tensors in weights.items()))


@lru_cache(maxsize=1)
def contract() -> dict[str, TensorSpec]:
    return load_contract(_CONTRACT)


def load_ensemble(path_or_id: str | Path | Ensemble = STARTER) -> Ensemble:
    """The ensemble in a folder or file, of an id of the catalogue, or the starter.

    A folder holds `DNN_<number>` files (`.pt`, else `.safetensors`, `.h5` or `.keras`), or else any files of one kind;
    a file holds one member, or several with names like `DNN_0.conv1.weight`. Files are only read, never run.
    Raises WeightsError for a missing, foreign, damaged or incomplete ensemble.
    """
    if isinstance(path_or_id, Ensemble):
        return path_or_id
    if path_or_id in (STARTER, STARTER_ID):
        return _from_file(starter_path(STARTER_FILE), STARTER_ID, starter=True)
    path = Path(path_or_id).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        return _from_file(path, path.stem)
    known = catalogue().get(str(path_or_id))
    if known and known.system == "motion":
        from SpineMotionToolsLib.common.model_store import model_paths

        model_paths(known.id)  # says what to do when its files are not there
        return replace(_from_folder(known.folder), id=known.id)
    raise WeightsError(
        f"There is no ensemble {str(path_or_id)!r}. Give a folder with DNN_0.pt ... DNN_9.pt (or .h5), one weight "
        f"file, or {STARTER!r}."
    )


def member_files(folder: Path) -> list[Path]:
    """The weight files of a folder, sorted by name as text; WeightsError when there are none or one is missing."""
    for suffix in _SUFFIXES:
        found = sorted(p for p in folder.iterdir() if p.suffix.lower() == suffix and p.is_file())
        numbered = [p for p in found if re.fullmatch(r"DNN_\d+", p.stem)]
        if numbered:
            _check_gaps(folder, [int(p.stem[4:]) for p in numbered], suffix)
            return numbered
        if found:
            return found
    raise WeightsError(
        f"The folder {folder} holds no weights (.pt, .safetensors, .h5 or .keras). Choose the one with DNN_0.pt ... "
        "DNN_9.pt."
    )


def read_member(path: Path) -> dict[str, np.ndarray]:
    """The weights of one member's file by contract name, checked. Raises WeightsError."""
    if path.suffix.lower() in (".h5", ".hdf5", ".keras"):
        from SpineMotionToolsLib.motion.keras_files import read_keras

        tensors = read_keras(path)
    else:
        tensors = read_tensors(path)
    return _checked(tensors, path.name)


def _from_folder(folder: Path) -> Ensemble:
    paths = member_files(folder)
    if len(paths) == 1 and not re.fullmatch(r"DNN_\d+", paths[0].stem):
        return _from_file(paths[0], folder.name)
    members = tuple(Member(path.stem, read_member(path), path) for path in paths)
    return Ensemble(
        folder.resolve().name, members, ",".join(sha256_of(path) for path in paths), notes=_notes(len(members))
    )


def _from_file(path: Path, id: str, starter: bool = False) -> Ensemble:
    if path.suffix.lower() != ".safetensors":
        return Ensemble(id, (Member(path.stem, read_member(path), path),), sha256_of(path), notes=_notes(1))
    tensors = read_tensors(path)
    starter = starter or read_metadata(path).get("starter", "") == "true"
    split: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in tensors.items():
        match = _MEMBER.fullmatch(key)
        split.setdefault(match[1] if match else path.stem, {})[match[3] if match else key] = tensor
    if all(name.startswith("DNN_") for name in split):
        split = dict(sorted(split.items(), key=lambda item: int(item[0][4:])))
        _check_gaps(path, [int(name[4:]) for name in split], "")
    members = tuple(Member(name, _checked(values, f"{path.name}, {name}"), path) for name, values in split.items())
    return Ensemble(id, members, sha256_of(path), starter, _notes(len(members)))


def _notes(count: int) -> tuple[str, ...]:
    if count == PUBLISHED_MEMBERS:
        return ()
    return (f"The ensemble has {count} member{'s' * (count > 1)}; the published one has ten.",)


def _member(name: str, tensors: Mapping[str, np.ndarray]) -> Member:
    return Member(name, _checked(tensors, name))


def _checked(tensors: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    check_contract(tensors, contract(), f"{NETWORK} ({source})")
    return {name: np.asarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}


def _check_gaps(where: Path, numbers: list[int], suffix: str) -> None:
    present = set(numbers)
    missing = [number for number in range(min(max(numbers), _MOST_MEMBERS)) if number not in present]
    if missing:
        names = ", ".join(f"DNN_{number}{suffix}" for number in missing[:10])
        raise WeightsError(
            f"The ensemble in {where} is incomplete: {names} {'is' if len(missing) == 1 else 'are'} missing. Get the "
            "missing members, or put the ones you want into a folder under other names."
        )

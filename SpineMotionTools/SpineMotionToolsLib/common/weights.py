"""Weight files: read without running anything, checked against a contract, converted to safetensors once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.catalogue import ModelEntry, ModelFile, catalogue, models_folder, starter_path
from SpineMotionToolsLib.common.checkpoints import read_checkpoint
from SpineMotionToolsLib.common.errors import InputError, WeightsError
from SpineMotionToolsLib.common.files import atomic_path, safe_name, sha256_of_file

__all__ = [
    "ModelEntry",
    "ModelFile",
    "TensorSpec",
    "catalogue",
    "check_contract",
    "converted",
    "load_contract",
    "models_folder",
    "read_checkpoint",
    "read_metadata",
    "read_tensors",
    "sha256_of",
    "starter_path",
    "write_safetensors",
]

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model_weights", "model", "net")
"""Keys under which published files keep the tensors, tried in this order."""
LISTED = 20


@dataclass(frozen=True)
class TensorSpec:
    """What a contract says about one tensor: shape and NumPy dtype name."""

    shape: tuple[int, ...]
    dtype: str


def read_tensors(
    path: Path | str, wrappers: Sequence[str] = WRAPPERS, strip_prefixes: Sequence[str] = ("module.",)
) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors or PyTorch file by name, as NumPy arrays (bfloat16 becomes float32).

    A dict found under one of `wrappers` is unwrapped, repeatedly; a prefix of `strip_prefixes` is taken off when every
    name has it.
    Raises WeightsError when the file is foreign, damaged, refused, or holds no tensors.
    """
    path = Path(path)
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else read_checkpoint(path)
    while isinstance(content, Mapping) and (
        inner := next((w for w in wrappers if isinstance(content.get(w), Mapping)), None)
    ):
        content = content[inner]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path.name} holds no named tensors. Choose the file with the network's state dict.")
    tensors = {}
    for name, value in content.items():
        if not (isinstance(value, np.ndarray) or hasattr(value, "detach")):
            raise WeightsError(
                f"{path.name} holds {_some(content)} where named tensors were expected. "
                "Choose the file with the network's state dict."
            )
        tensors[str(name)] = _as_numpy(value)
    for prefix in strip_prefixes:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    return tensors


def write_safetensors(
    path: Path | str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays as safetensors, atomically; `metadata` is text by text. Raises OutputError."""
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file(
            # Not ascontiguousarray: that turns a scalar into a vector of one.
            {name: np.asarray(value, order="C") for name, value in tensors.items()},
            temporary,
            metadata={str(key): str(value) for key, value in (metadata or {}).items()},
        )


def read_metadata(path: Path | str) -> dict[str, str]:
    """The text-by-text metadata of a .safetensors file; raises WeightsError."""
    from safetensors import safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise _bad_safetensors(Path(path), error) from error


def load_contract(path: Path | str) -> dict[str, TensorSpec]:
    """The names, shapes and dtypes a network expects, from a contract file (JSON). Raises WeightsError."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {name: TensorSpec(tuple(spec["shape"]), spec["dtype"]) for name, spec in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"The weight contract {path} is missing or damaged. Install SpineMotionTools again."
        ) from error


def check_contract(tensors: Mapping[str, Any], contract: Mapping[str, TensorSpec], what: str) -> None:
    """Raise WeightsError unless `tensors` (NumPy or PyTorch) are what `contract` names; `what` says for whom.

    The message lists missing, extra, mis-shaped, mis-typed and non-finite tensors: the first 20, then a count.
    Counters of batch normalization (`num_batches_tracked`) may be absent: inference does not use them.
    """
    faults = [
        f"missing: {name} {list(spec.shape)}"
        for name, spec in contract.items()
        if name not in tensors and not name.endswith("num_batches_tracked")
    ]
    faults += [f"not expected: {name} {list(tensor.shape)}" for name, tensor in tensors.items() if name not in contract]
    for name, spec in contract.items():
        if (tensor := tensors.get(name)) is None:
            continue
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tuple(tensor.shape) != spec.shape:
            faults.append(f"shape of {name}: {list(tensor.shape)}, expected {list(spec.shape)}")
        elif ("float" in dtype) != ("float" in spec.dtype):
            faults.append(f"type of {name}: {dtype}, expected {spec.dtype}")
        elif "float" in dtype and not _finite(tensor):
            faults.append(f"not finite: {name}")
    if faults:
        more = f"\n  and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        raise WeightsError(
            f"These weights do not fit {what}: they are of another network, incomplete or damaged. "
            "Choose other weights.\n  " + "\n  ".join(faults[:LISTED]) + more
        )


def sha256_of(path: Path | str) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits; remembered while size and time of change stay the same."""
    path = Path(path)
    try:
        status = path.stat()
        return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(f"The weight file {path} cannot be read: {error.strerror}. Choose another file.") from error


def converted(
    path: Path | str, converter_name: str = "torch", convert: Callable[[Path], Mapping[str, np.ndarray]] = read_tensors
) -> Path:
    """The safetensors copy of a weight file, made by `convert` on first use and kept under `models_folder()/converted`.

    The copy's name holds the file's SHA-256 and `converter_name`, so a changed file or another conversion is made anew.
    A .safetensors file is its own copy. Raises WeightsError for a bad file, OutputError when the place is read-only.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors" and convert is read_tensors:
        return path
    if safe_name(converter_name) != converter_name:
        raise InputError(f"The converter name {converter_name!r} cannot be part of a file name.")
    digest = sha256_of(path)
    copy = models_folder() / "converted" / f"{digest}-{converter_name}.safetensors"
    if not copy.exists():
        write_safetensors(copy, convert(path), {"source_sha256": digest, "converter": converter_name})
    return copy


def copies_of(digest: str) -> list[Path]:
    """The copies that `converted` made of the file with this SHA-256."""
    folder = models_folder() / "converted"
    return list(folder.glob(f"{digest}-*.safetensors")) if re.fullmatch("[0-9a-f]{64}", digest) else []


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    if not path.is_file():
        raise WeightsError(f"The weight file {path} does not exist. Get it, or choose another file.")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except TypeError:  # NumPy has no bfloat16: PyTorch reads those files
        from safetensors.torch import load_file

        return load_file(os.fspath(path))
    except Exception as error:
        raise _bad_safetensors(path, error) from error


def _bad_safetensors(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path.name} is damaged or no safetensors file ({error}). Get it again, or choose another file."
    )


def _as_numpy(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    if str(value.dtype) == "torch.bfloat16":
        value = value.float()
    return value.detach().cpu().numpy()


def _finite(tensor: Any) -> bool:
    # A sum is finite unless a value is not, or it overflows: only then look at every value.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(float(tensor.sum()))) or all(np.isfinite(_as_numpy(tensor)).ravel())


def _some(names: Iterable[Any]) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_of_file(path)

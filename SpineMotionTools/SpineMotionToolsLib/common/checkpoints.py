"""PyTorch files read as data: tensors, numbers, text and containers of them; nothing stored in a file is ever run."""

from __future__ import annotations

import argparse
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.engine import import_torch
from SpineMotionToolsLib.common.errors import DependencyError, WeightsError

# Before 2.6, files in its oldest format could make PyTorch's restricted reader run code (CVE-2025-32434).
OLDEST_SAFE_TORCH = (2, 6)


def read_checkpoint(path: Path | str) -> Any:
    """The content of a PyTorch file (.pt, .pth, .ckpt; zip or old format): tensors, numbers and text in containers.

    Tensors come on the CPU; saved options (`argparse.Namespace`, Munch, Lightning's AttributeDict) as dicts, paths as
    text, NumPy scalars as Python numbers.
    Raises WeightsError, with nothing of the file run, for a file that is foreign, damaged or holds any other class.
    """
    path = Path(path)
    _check_kind(path)
    torch = import_torch()
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < OLDEST_SAFE_TORCH:
        raise DependencyError(
            f"PyTorch {torch.__version__} cannot read weight files safely. Install PyTorch 2.6 or later."
        )
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _plain(torch.load(path, map_location="cpu", weights_only=True))
    except MemoryError:
        raise
    except Exception as error:  # the reader fails in many ways on damaged files, all with the same next step
        raise _sentence(path, error) from error


def _check_kind(path: Path) -> None:
    """Raise WeightsError for what is plainly no PyTorch file, in words that help more than the reader's own."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except FileNotFoundError as error:
        raise WeightsError(f"The weight file {path} does not exist. Get it, or choose another file.") from error
    except OSError as error:
        raise WeightsError(f"The weight file {path} cannot be read: {error.strerror}. Choose another file.") from error
    if not start:
        raise WeightsError(f"{path.name} is empty: its download or copy was interrupted. Get it again.")
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(
            f"{path.name} is a web page, not weights: the download failed. "
            "Open its source in a browser, then get it again."
        )
    if text.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path.name} is a Git LFS pointer, not weights. "
            "Run git lfs pull where it came from, or download the file itself."
        )
    if start.startswith(b"\x89HDF"):
        raise WeightsError(
            f"{path.name} is an HDF5 (Keras) file, not a PyTorch file. Choose the system that uses Keras weights."
        )


def _allowed() -> list[tuple[Any, str]]:
    """What files may name besides PyTorch's own tensors: data classes without behavior, some mapped to inert ones."""
    allowed: list[tuple[Any, str]] = [
        (argparse.Namespace, "argparse.Namespace"),
        # The restricted reader fills an OrderedDict by items and ignores a saved state, as these dict classes need.
        (OrderedDict, "munch.Munch"),
        (OrderedDict, "pytorch_lightning.utilities.parsing.AttributeDict"),
        (OrderedDict, "lightning.pytorch.utilities.parsing.AttributeDict"),
        (OrderedDict, "lightning_fabric.utilities.data.AttributeDict"),
        (OrderedDict, "lightning.fabric.utilities.data.AttributeDict"),
        (np.dtype, "numpy.dtype"),
        (np.ndarray, "numpy.ndarray"),
    ]
    for core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
        allowed += [(_numpy_scalar, f"{core}.multiarray.scalar"), (_empty_array, f"{core}.multiarray._reconstruct")]
    # A data type is restored in two steps, and the reader checks the class of the result: one class per kind of number.
    for code in ("?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "U", "S"):
        kind = type(np.dtype(code))
        allowed.append((kind, f"numpy.dtypes.{kind.__name__}"))
    for module in ("pathlib", "pathlib._local"):
        for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
            allowed.append((_path_text, f"{module}.{kind}"))
    return allowed


def _numpy_scalar(dtype: np.dtype, data: bytes = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or len(data) < dtype.itemsize:
        raise TypeError("a NumPy scalar that is no plain number")
    return np.frombuffer(data, dtype=dtype, count=1)[0].item()


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    if kind is not np.ndarray:
        raise TypeError("an array of a class of its own")
    return np.empty(0)


def _path_text(*parts: str) -> str:
    return "/".join(str(part) for part in parts).replace("//", "/")


def _plain(value: Any) -> Any:
    if isinstance(value, argparse.Namespace):
        return _plain(vars(value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if type(value) is tuple:
        return tuple(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        raise WeightsError(
            "The weight file holds an array of objects, which is refused. Ask its author for a file with tensors only."
        )
    return value


def _sentence(path: Path, error: Exception) -> WeightsError:
    if isinstance(error, WeightsError):
        return error
    text = str(error)
    if named := re.search(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)", text):
        return WeightsError(
            f"{path.name} was refused and nothing in it was run: besides numbers it holds {named[1]}, "
            "which could run code. "
            "Ask its author for a file with tensors only (a state dict)."
        )
    if "TorchScript" in text:
        return WeightsError(
            f"{path.name} is a TorchScript program, not weights; nothing in it was run. "
            "Ask its author for the state dict."
        )
    if re.search(
        r"reduce for unrecognized|Can only (create|build|append|extend|SETITEM)|is blocked|Only persistent_load", text
    ):
        return WeightsError(
            f"{path.name} was refused and nothing in it was run: it holds more than numbers and text. "
            "Ask its author for a file with tensors only (a state dict)."
        )
    return WeightsError(f"{path.name} is damaged or no PyTorch file. Get it again, or choose another file.")

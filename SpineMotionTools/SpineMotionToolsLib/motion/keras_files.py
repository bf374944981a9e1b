"""Keras `.h5` and `.keras` weight files of one member, read with h5py alone and turned into the torch layout.

Four layouts occur: whole models of Keras 2 and Keras 3, Keras 2 weights, and `.weights.h5`, which a `.keras` archive
holds beside the model's description. Layer names carry running
numbers that differ from file to file, so layers are recognised by their order, kind and shapes only.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineMotionToolsLib.common.errors import DependencyError, WeightsError

if TYPE_CHECKING:
    import h5py

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2")
SHAPES = ((3, 3, 1, 16), *[(3, 3, 16, 16)] * 4, (16, 32), (32, 5))
NEGATIVE_SLOPE = 0.3
_ALPHA_NAMES = ("alpha", "negative_slope")
_LARGEST = 1 << 20  # no dataset of this network has more values; a forged one must not fill the memory
_LARGEST_PART = 1 << 24  # bytes of a file in a .keras archive; that of this network has 0.2 million


def read_keras(path: Path) -> dict[str, np.ndarray]:
    """The member's weights by their torch names (`conv1.weight` ...), float32.

    Raises WeightsError for a foreign or damaged file, another network, or a LeakyReLU slope other than 0.3.
    """
    with _open(path) as file:
        try:
            _check_slope(path, file)
            layers = list(_layers(path, file))
        except (KeyError, AttributeError, ValueError, TypeError, OSError, RuntimeError, RecursionError) as error:
            raise WeightsError(f"{path.name} is damaged or not a Keras weight file ({error}). {_NEXT}") from error
    shapes = [kernel.shape for kernel, _ in layers]
    if shapes != list(SHAPES) or any(bias.shape != kernel.shape[-1:] for kernel, bias in layers):
        listed = ", ".join("x".join(map(str, shape)) for shape in shapes) or "none"
        raise WeightsError(
            f"{path.name} holds another network: its layers with weights are {listed}; motion scoring has five 3x3 "
            f"convolutions with 16 channels and two dense layers (16 to 32 to 5). {_NEXT}"
        )
    tensors = {}
    for name, (kernel, bias) in zip(LAYERS, layers):
        order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        tensors[f"{name}.weight"] = np.ascontiguousarray(kernel.transpose(order), dtype=np.float32)
        tensors[f"{name}.bias"] = bias.astype(np.float32)
    return tensors


def model_config(path: Path) -> dict[str, Any]:
    """The model's description in a whole-model file, {} in a file of weights only. Raises WeightsError."""
    with _open(path) as file:
        try:
            return _config(file)
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{path.name} is damaged: its model description cannot be read. {_NEXT}") from error


_NEXT = "Choose a DNN_<number>.h5 file of the motion scoring ensemble."


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        import h5py
    except ImportError as error:
        raise DependencyError("Keras .h5 files need the package h5py. Install it: pip install h5py") from error
    if not path.is_file():
        raise WeightsError(f"{path} does not exist. {_NEXT}")
    archive = zipfile.is_zipfile(path)
    if not archive and not h5py.is_hdf5(path):
        raise WeightsError(f"{path.name} is not an HDF5 file, or is damaged. {_NEXT}")
    try:
        file = _from_archive(path) if archive else h5py.File(path, "r")
    except (OSError, KeyError, ValueError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path.name} is damaged or no Keras file: {error}. {_NEXT}") from error
    with file:
        yield file


def _from_archive(path: Path) -> h5py.File:
    """The weights of a .keras archive in memory, with the model's description where whole-model files have it."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        parts = [archive.getinfo(name) for name in ("model.weights.h5", "config.json")]
        if any(part.file_size > _LARGEST_PART for part in parts):
            raise ValueError("it is too large for this network")
        weights, description = (archive.read(part) for part in parts)
    file = h5py.File(io.BytesIO(weights), "r+")
    file.attrs["model_config"] = description.decode()
    return file


def _layers(path: Path, file: h5py.File) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(kernel, bias) of every layer with weights, in forward order."""
    for group in (file.get("model_weights"), file):
        if group is not None and "layer_names" in group.attrs:
            names = [_text(name) for name in group.attrs["layer_names"]]
            for name in _forward_order(file, names):
                if weights := [_values(group[name][_text(part)]) for part in group[name].attrs["weight_names"]]:
                    yield _kernel_and_bias(path, name, weights)
            return
    if "layers" in file:
        groups = {name: group["vars"] for name, group in file["layers"].items() if "vars" in group}
        for name in sorted(groups, key=_kind_and_number):
            if weights := [_values(groups[name][key]) for key in sorted(groups[name], key=int)]:
                yield _kernel_and_bias(path, name, weights)
        return
    raise WeightsError(f"{path.name} holds no Keras layers. {_NEXT}")


def _kernel_and_bias(path: Path, layer: str, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if len(weights) != 2 or weights[0].ndim not in (2, 4):
        raise WeightsError(f"{path.name} holds another network: its layer {layer!r} is no plain layer. {_NEXT}")
    return weights[0], weights[1]


def _values(dataset: Any) -> np.ndarray:
    if not hasattr(dataset, "shape") or dataset.size > _LARGEST or dataset.dtype.kind != "f":
        raise ValueError(f"{dataset.name} holds no layer weights")
    return dataset[()]


def _kind_and_number(name: str) -> tuple[bool, int]:
    """`.weights.h5` files list layers without order: convolutions first, each kind by its running number."""
    number = re.search(r"_(\d+)$", name)
    return "dense" in name, int(number[1]) if number else 0


def _config(file: h5py.File) -> dict[str, Any]:
    text = file.attrs.get("model_config")
    return json.loads(_text(text)) if text is not None else {}


def _forward_order(file: h5py.File, names: list[str]) -> list[str]:
    """The layer names along the data's way: a functional model may list them otherwise."""
    layers = _config(file).get("config", {})
    layers = layers.get("layers", []) if isinstance(layers, dict) else []
    sources = {layer.get("name") or layer["config"]["name"]: _inbound(layer.get("inbound_nodes")) for layer in layers}
    if not any(sources.values()):
        return names
    depths: dict[str, int] = {}
    for name in sources:
        # A chain: walk up to the input, with a guard against a forged loop.
        way = [name]
        while len(way) <= len(sources) and (above := sources.get(way[-1])):
            way.append(above[0])
        depths[name] = len(way)
    return sorted(names, key=lambda name: depths.get(name, 0))


def _inbound(nodes: Any) -> list[str]:
    """Names of the layers that feed a layer, in the notation of Keras 2 (nested lists) or 3 (dictionaries)."""
    if isinstance(nodes, dict):
        if "keras_history" in nodes:
            return [nodes["keras_history"][0]]
        nodes = list(nodes.values())
    if isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            return [nodes[0]]
        return [name for node in nodes for name in _inbound(node)]
    return []


def _check_slope(path: Path, file: h5py.File) -> None:
    for slope in _slopes(_config(file)):
        if not np.isclose(slope, NEGATIVE_SLOPE, atol=1e-6):
            raise WeightsError(f"{path.name} has LeakyReLU slope {slope:g}; motion scoring has 0.3. {_NEXT}")


def _slopes(node: Any) -> Iterator[float]:
    if isinstance(node, dict):
        if node.get("class_name") == "LeakyReLU":
            values = node.get("config", {})
            yield from (float(values[name]) for name in _ALPHA_NAMES if isinstance(values.get(name), (int, float)))
        for value in node.values():
            yield from _slopes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _slopes(value)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

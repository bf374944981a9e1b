"""The original Keras files run untouched by Keras itself, for comparison with the engine of this library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import DependencyError, WeightsError
from SpineMotionToolsLib.common.weights import sha256_of
from SpineMotionToolsLib.motion.keras_files import model_config, read_keras
from SpineMotionToolsLib.motion.members import Ensemble, Member, member_files

# Keras builds a model by the class names in the file; only these of the motion network may be built.
LAYER_CLASSES = {
    "Sequential",
    "Functional",
    "Model",
    "InputLayer",
    "Conv2D",
    "MaxPooling2D",
    "LeakyReLU",
    "ReLU",
    "Softmax",
    "Activation",
    "GlobalAveragePooling2D",
    "Dropout",
    "Dense",
}


class KerasScorer:
    """An ensemble of whole-model `.h5` files (one, or a folder of them) ready to score slices in Keras.

    Raises DependencyError without TensorFlow, WeightsError for files Keras cannot or must not build.
    """

    batch_size = 8

    def __init__(self, source: str | Path | Ensemble) -> None:
        paths = _paths(source)
        for path in paths:
            _check(path)
        keras = _keras()
        self._models = [_model(keras, path) for path in paths]
        # The weights are read as well: they check that each file holds the motion network.
        members = tuple(Member(path.stem, read_keras(path), path) for path in paths)
        name = paths[0].parent.name if len(paths) > 1 else paths[0].stem
        self.ensemble = Ensemble(name, members, ",".join(sha256_of(path) for path in paths))
        self.device = f"TensorFlow (Keras {keras.__version__})"

    def score(self, images: np.ndarray) -> np.ndarray:
        """(M, n, 5) float32 probabilities of slices (n, 512, 512) uint8."""
        x = (images.astype(np.float32) / np.float32(255))[..., None]
        return np.stack([np.asarray(model(x, training=False), dtype=np.float32) for model in self._models])

    def doubtful(self) -> np.ndarray:
        return np.zeros(0, dtype=np.int64)


def _paths(source: str | Path | Ensemble) -> list[Path]:
    if isinstance(source, Ensemble):
        paths = [member.path for member in source.members if member.path]
    else:
        path = Path(source).expanduser()
        paths = member_files(path) if path.is_dir() else [path]
    if not paths or any(path.suffix.lower() != ".h5" or not path.is_file() for path in paths):
        raise WeightsError(
            "The TensorFlow engine runs the published Keras files. Choose the folder with DNN_0.h5 ... DNN_9.h5, "
            "or use the default engine."
        )
    return paths


def _check(path: Path) -> None:
    config = model_config(path)
    if not config:
        raise WeightsError(
            f"{path.name} holds weights without a model, which Keras cannot load by itself. Use the default engine."
        )
    foreign = sorted(set(_layer_classes(config)) - LAYER_CLASSES)
    if foreign:
        raise WeightsError(
            f"{path.name} holds layers that the motion network has not ({', '.join(foreign[:5])}); it was not loaded."
        )


def _layer_classes(model: Any) -> Iterator[str]:
    yield str(model.get("class_name"))
    config = model.get("config", {})
    layers = config.get("layers", []) if isinstance(config, dict) else config
    for layer in layers:
        if "layers" in layer.get("config", {}):
            yield from _layer_classes(layer)
        else:
            yield str(layer.get("class_name"))
            activation = layer.get("config", {}).get("activation")
            if isinstance(activation, dict):
                yield str(activation.get("class_name"))


def _keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise DependencyError(
            "TensorFlow is not installed. Install it with: pip install spinemotiontools[tensorflow], or use the "
            "default engine, which reads the same files."
        ) from error
    return tf.keras


def _model(keras: Any, path: Path) -> Any:
    try:
        # Keras 3 does not find the layer in files of Keras 2, where it stands as an activation.
        custom = {"LeakyReLU": keras.layers.LeakyReLU}
        return keras.models.load_model(path, custom_objects=custom, compile=False)
    except Exception as error:  # Keras raises whatever its parts raise
        raise WeightsError(f"Keras cannot load {path.name} ({error}). Use the default engine.") from error

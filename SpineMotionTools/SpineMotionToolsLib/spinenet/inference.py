"""Runs the networks in batches: patches to maps, volumes to logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.engine import ResolvedEngine

from .grades import HEADS
from .labelling import CLASSES

if TYPE_CHECKING:
    from torch import nn

PATCHES_AT_ONCE, VOLUMES_AT_ONCE, DISCS_AT_ONCE = 4, 4, 1


def detect_maps(network: nn.Module, patches: np.ndarray, engine: ResolvedEngine) -> np.ndarray:
    """Patches float32 (n, 224, 224) -> raw maps float32 (n, 13, 224, 224)."""
    return _run(network, patches[:, None], engine, PATCHES_AT_ONCE)[0]


def appearance_logits(network: nn.Module, volumes: np.ndarray, engine: ResolvedEngine) -> np.ndarray:
    """Vertebra volumes float32 (n, 224, 224, 16) -> logits (n, 24); zeros for volumes that are all zero."""
    if not len(volumes):
        return np.zeros((0, CLASSES), dtype=np.float32)
    logits = _run(network, volumes[:, None], engine, VOLUMES_AT_ONCE)[0]
    logits[~volumes.any(axis=(1, 2, 3))] = 0
    return logits


def context_output(network: nn.Module, engine: ResolvedEngine) -> Callable[[np.ndarray], np.ndarray]:
    """The context network as a function of an image (1, 1, rows, 24)."""
    return lambda image: _run(network, image, engine, 1)[0]


def grade_logits(network: nn.Module, volumes: np.ndarray, engine: ResolvedEngine) -> list[np.ndarray]:
    """Disc volumes (n, 9, 112, 224) -> logits of each head (n, classes)."""
    if not len(volumes):
        return [np.zeros((0, head.classes), dtype=np.float32) for head in HEADS]
    return _run(network, volumes[:, None].astype(np.float32), engine, DISCS_AT_ONCE)


def _run(network: nn.Module, inputs: np.ndarray, engine: ResolvedEngine, at_once: int) -> list[np.ndarray]:
    """The network's outputs (a tensor or a tuple of them) over all inputs, as float32 arrays."""
    import torch

    network = network.to(engine.device)
    parts: list[list[np.ndarray]] = []
    with torch.inference_mode():
        for batch in _batches(inputs, engine.batch_size or at_once):
            outputs = network(torch.from_numpy(np.ascontiguousarray(batch)).to(engine.device))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            parts.append([y.float().cpu().numpy() for y in outputs])
    return [np.concatenate(each) for each in zip(*parts)]


def _batches(inputs: Sequence, size: int) -> Iterator:
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size]

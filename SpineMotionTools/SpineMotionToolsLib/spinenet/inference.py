"""Runs the networks in batches: patches to maps, volumes to logits.

On a CPU the published detector and grading network run in their fast form (`fast_networks.py`), the grading network in
bfloat16 where the engine allows it; decisions that rounding could tip are made again, in float32 and at last by the
plain network (`certainty.py`). On a GPU the plain networks run as they are, the grading network in bfloat16 under the
same guard.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from SpineMotionToolsLib.common.engine import ResolvedEngine

from .certainty import LOGIT_ROUNDING, grades_in_doubt, patches_in_doubt, peaks_in_doubt, rounding_to_expect
from .departures import Departures
from .grades import HEADS
from .grouping import SliceDetections, decode_slice
from .labelling import CLASSES
from .models import Models
from .patches import Window

if TYPE_CHECKING:
    from torch import nn

PATCHES_AT_ONCE, VOLUMES_AT_ONCE, DISCS_AT_ONCE = 12, 4, 1


class SliceDetector:
    """Finds vertebral outlines in the patches of a slice, for slices of one size.

    Outlines are those of the plain network while `certainty`'s bounds hold; of slices without a centroid, which have no
    outlines, corners may differ by rounding.
    """

    def __init__(
        self,
        models: Models,
        engine: ResolvedEngine,
        windows: list[Window],
        shape: tuple[int, int],
        corner_threshold: float,
        centroid_threshold: float,
        departures: Departures,
        pixel_spacing_mm: float,
    ) -> None:
        self.models, self.engine, self.departures = models, engine, departures
        self.windows = list(dict.fromkeys(windows))
        self.repeats = [windows.count(window) for window in self.windows]
        self.shape, self.pixel_spacing_mm = shape, pixel_spacing_mm
        self.thresholds = corner_threshold, centroid_threshold
        on_cpu = engine.device.type == "cpu"
        self.fast = models.fast_network("detection") if on_cpu else None
        self.decided_again = 0

    @property
    def slices_at_once(self) -> int:
        return max(1, (self.engine.batch_size or PATCHES_AT_ONCE) // len(self.windows))

    def detect(self, patches: np.ndarray) -> list[SliceDetections]:
        """Outlines of several slices from their patches, float32 (slices, windows, h, w)."""
        slices, count = patches.shape[:2]
        flat = patches.reshape(slices * count, *patches.shape[2:])
        maps = self._maps(flat, self.fast or self.models.network("detection"))
        return [self._decide(flat[i : i + count], maps[i : i + count]) for i in range(0, len(flat), count)]

    def _decide(self, patches: np.ndarray, maps: np.ndarray) -> SliceDetections:
        if self.fast is None:
            return self._decode(maps)
        found = self._decode(maps)
        if peaks_in_doubt(found.centroid_map, self.thresholds[1]):
            doubt = np.ones(len(maps), dtype=bool)
        elif len(found.centroids):
            doubt = patches_in_doubt(maps, self.thresholds[0], not self.departures.fractional_vectors)
        else:
            return found  # corners alone make no outline
        if doubt.any():
            maps[doubt] = self._again(patches[doubt])
            found = self._decode(maps)
        return found

    def _decode(self, maps: np.ndarray) -> SliceDetections:
        return decode_slice(
            maps, self.windows, self.shape, *self.thresholds, self.departures, self.pixel_spacing_mm, self.repeats
        )

    def _again(self, patches: np.ndarray) -> np.ndarray:
        self.decided_again += len(patches)
        return self._maps(patches, self.models.network("detection"), at_once=1)

    def _maps(self, patches: np.ndarray, network: nn.Module, at_once: int = PATCHES_AT_ONCE) -> np.ndarray:
        return _run(network, patches[:, None], self.engine, at_once)[0]


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


def grade_logits(models: Models, volumes: np.ndarray, engine: ResolvedEngine) -> list[np.ndarray]:
    """Disc volumes (n, 9, 112, 224) -> logits of each head (n, classes)."""
    if not len(volumes):
        return [np.zeros((0, head.classes), dtype=np.float32) for head in HEADS]
    discs = volumes[:, None].astype(np.float32)
    fastest, *others = _ways_to_grade(models, engine)
    logits, precision = _grade(fastest, discs, engine), fastest.precision
    for way in others:
        _decide_again(logits, discs, LOGIT_ROUNDING[precision], way, engine)
        precision = way.precision
    return logits


def _decide_again(
    logits: list[np.ndarray], discs: np.ndarray, rounding: float, way: Way, engine: ResolvedEngine
) -> None:
    """Replace the logits of discs in doubt by those of a more exact way, which also tell how far rounding went."""
    left = np.ones(len(discs), dtype=bool)
    while (doubt := left & grades_in_doubt(logits, rounding)).any():
        again = _grade(way, discs[doubt], engine)
        rounding = max(rounding, rounding_to_expect([of_head[doubt] for of_head in logits], again))
        for of_head, exact in zip(logits, again):
            of_head[doubt] = exact
        left &= ~doubt


def _grade(way: Way, discs: np.ndarray, engine: ResolvedEngine) -> list[np.ndarray]:
    return _run(way.network(), discs, engine, DISCS_AT_ONCE, way.autocast)


class Way(NamedTuple):
    """One form of the grading network; `precision` tells how far its rounding may go."""

    network: Callable[[], nn.Module]
    precision: str = "float32"
    autocast: bool = False


def _ways_to_grade(models: Models, engine: ResolvedEngine) -> list[Way]:
    """The forms of the grading network from the fastest to the plain one, which has the last word."""
    plain = Way(lambda: models.network("grading"))
    if engine.device.type != "cpu":
        return [Way(plain.network, "bfloat16", autocast=True), plain] if engine.bf16 else [plain]
    if models.fast_network("grading", engine.bf16) is None:
        return [plain]
    ways = [Way(lambda: models.fast_network("grading")), plain]
    return [Way(lambda: models.fast_network("grading", True), "bfloat16"), *ways] if engine.bf16 else ways


def _run(
    network: nn.Module, inputs: np.ndarray, engine: ResolvedEngine, at_once: int, autocast: bool = False
) -> list[np.ndarray]:
    """The network's outputs (a tensor or a tuple of them) over all inputs, as float32 arrays."""
    from contextlib import nullcontext

    import torch

    network = network.to(engine.device)
    size = engine.batch_size or at_once
    parts: list[list[np.ndarray]] = []
    with torch.inference_mode(), _full_float32(), engine.autocast() if autocast else nullcontext():
        for start in range(0, len(inputs), size):
            batch = np.ascontiguousarray(inputs[start : start + size])
            outputs = network(torch.from_numpy(batch).to(engine.device))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            parts.append([y.float().cpu().numpy() for y in outputs])
    return [np.concatenate(each) for each in zip(*parts)]


@contextmanager
def _full_float32():
    """GPUs otherwise round float32 convolutions to 10 bits (TF32), which moves corners."""
    from torch.backends import cudnn

    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before

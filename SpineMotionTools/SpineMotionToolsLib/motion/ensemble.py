"""All members on one device, fast, with every vote as the published float32 computation casts it.

A vote is the largest of five numbers. A faster computation may cast it only when the lead of the largest over the
second exceeds what that computation can be wrong by; else the slice and member are computed again, more exactly:

1. bfloat16, on CPUs that multiply it in hardware;
2. float32 in the fast order of `FastMember`;
3. float32 in the published order: `MotionNet`, channels first, eight slices a batch. Its vote counts.
"""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from SpineMotionToolsLib.common.engine import ResolvedEngine
from SpineMotionToolsLib.motion.members import Ensemble
from SpineMotionToolsLib.motion.networks import CLASSES, FastMember, MotionNet, fold

# How wrong bfloat16 is depends on the weights and grows with the size of a slice's features, so it is measured on the
# scan itself, relative to that size: on the first slices, on one in sixteen later, on any slice whose features are
# larger or smaller than those measured before, and on every slice that is decided again.
AUDIT_FIRST = 4
AUDIT_EVERY = 16
UNLIKE = 1.25
SAFETY = 4.0
"""A bfloat16 vote stands when its lead exceeds four times the largest error seen of that member."""
BFLOAT16_STEP = 2.0**-8
"""The bound is never below one rounding step of the largest logit, however small the errors seen."""

GIVE_UP_AFTER, GIVE_UP_SHARE = 8, 0.2
"""Where more than a fifth of the votes after the first slices had to be computed twice, bfloat16 saves no time."""

FLOAT32_TOLERANCE = 1e-4
"""Lead, relative to the largest logit, below which the order of float32 sums could matter; the errors are near 2e-7."""

TINY = np.float32(1e-30)

REFERENCE_BATCH = 8
"""Slices a batch in the published order. Even the dense layers' last bits depend on it."""


class Scorer:
    """An ensemble ready to score the `count` slices of one scan on one device.

    `score` is called with the slices in order. At the end `doubtful` names slices whose bfloat16 votes the errors seen
    later no longer support; `score_exactly` decides those.
    """

    def __init__(self, ensemble: Ensemble, engine: ResolvedEngine, count: int) -> None:
        self.ensemble = ensemble
        self.engine = engine
        # Graphics cards are faster than the reading of scans, even in float32.
        self.coarse = engine.bf16 and engine.device.type == "cpu"
        self.batch_size = engine.batch_size or (min(engine.threads, 8) if engine.device.type == "cpu" else 32)
        weights = [member.tensors for member in ensemble.members]
        self._float32 = [FastMember(tensors, engine.device, torch.float32) for tensors in weights]
        self._bfloat16 = [FastMember(tensors, engine.device, torch.bfloat16) for tensors in weights if self.coarse]
        self._reference = [MotionNet.from_tensors(tensors) for tensors in weights]
        self.largest_error = np.zeros(len(ensemble))
        """(M,) largest error of a difference of two logits seen in bfloat16, per size of features."""
        self._sizes = np.tile([np.inf, 0.0], (len(ensemble), 1))
        """(M, 2) smallest and largest size of features measured."""
        self._count = count
        self._leads: list[np.ndarray] = []
        """(M,) a slice: the bfloat16 lead per size of features, infinite where float32 decided."""
        self.decided_again = 0
        self._twice = 0

    @property
    def precision(self) -> str:
        return "bfloat16, close votes in float32" if self.coarse else "float32"

    def score(self, images: np.ndarray) -> np.ndarray:
        """(M, n, 5) float32 probabilities of the next n slices, (n, 512, 512) uint8."""
        positions = len(self._leads) + np.arange(len(images))
        if not self.coarse or self._gave_up:
            self._leads.extend(np.full((len(images), len(self.ensemble)), np.inf))
            return self.score_exactly(images, positions)
        with self._computing():
            levels = torch.from_numpy(images)
            logits, sizes = self._logits(self._bfloat16, levels.bfloat16())
            leads = lead(logits)
            audited = (positions < AUDIT_FIRST) | (positions % AUDIT_EVERY == 0)
            low, high = self._sizes.T[:, :, None]
            audited = audited | (sizes < low / UNLIKE) | (sizes > high * UNLIKE)
            floor = BFLOAT16_STEP * np.abs(logits).max(axis=2)
            again = audited | ~(leads > np.maximum(SAFETY * self.largest_error[:, None] * sizes, floor))
            for member in np.flatnonzero(again.any(axis=1)):
                chosen = again[member]
                exact = self._logits(self._float32[member : member + 1], levels[chosen].float())[0][0]
                self._measure(member, logits[member, chosen] - exact, sizes[member, chosen])
                logits[member, chosen] = exact
            probabilities = self._settled(images, positions, logits, again)
        self.decided_again += int((again & ~audited).sum())
        self._twice += int(again[:, positions >= AUDIT_FIRST].sum())
        self._leads.extend(np.where(again, np.inf, leads / np.maximum(sizes, TINY)).T)
        return probabilities

    def score_exactly(self, images: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """(M, n, 5) float32 probabilities of the slices at these positions, with every vote decided in float32."""
        with self._computing():
            levels = torch.from_numpy(images).to(self.engine.device)
            logits, _ = self._logits(self._float32, levels.float())
            return self._settled(images, positions, logits, np.ones(logits.shape[:2], dtype=bool))

    def doubtful(self) -> np.ndarray:
        """Positions, in the order of scoring, of slices with a bfloat16 vote below the bound as it is known now."""
        if not self._leads:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero((np.array(self._leads) <= SAFETY * self.largest_error).any(axis=1))

    @property
    def _gave_up(self) -> bool:
        votes = (len(self._leads) - AUDIT_FIRST) * len(self.ensemble)
        return len(self._leads) >= GIVE_UP_AFTER and self._twice > GIVE_UP_SHARE * votes

    def _measure(self, member: int, errors: np.ndarray, sizes: np.ndarray) -> None:
        relative = np.ptp(errors, axis=1) / np.maximum(sizes, TINY)
        self.largest_error[member] = max(self.largest_error[member], relative.max())
        low, high = self._sizes[member]
        self._sizes[member] = min(low, sizes.min()), max(high, sizes.max())

    def _logits(self, members: list[FastMember], levels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        folded = fold(levels)
        logits, sizes = zip(*(member.logits(folded) for member in members))
        return np.stack([each.cpu().numpy() for each in logits]), np.stack([each.cpu().numpy() for each in sizes])

    def _settled(self, images: np.ndarray, positions: np.ndarray, logits: np.ndarray, exact: np.ndarray) -> np.ndarray:
        """Probabilities from logits; float32 leads within the order of summation go to the published order."""
        probabilities = softmax(logits)
        # Not `lead <= tolerance`: NaN must reach the published order as well, whose answer is then reported.
        clear = lead(logits) > FLOAT32_TOLERANCE * np.maximum(1, np.abs(logits).max(axis=2))
        for member, n in np.argwhere(exact & ~clear):
            # A batch of copies gives the very bits of the slice's own batch, the last of which may be short.
            start = positions[n] // REFERENCE_BATCH * REFERENCE_BATCH
            copies = np.repeat(images[n : n + 1], min(REFERENCE_BATCH, self._count - start), axis=0)
            probabilities[member, n] = reference_probabilities(self._reference[member], copies)[0]
        return probabilities

    @contextlib.contextmanager
    def _computing(self):
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield


def reference_probabilities(net: MotionNet, images: np.ndarray) -> np.ndarray:
    """(n, 5) float32 probabilities of one member as published: float32 on the CPU, channels first, in small batches."""
    with torch.inference_mode():
        batches = [images[i : i + REFERENCE_BATCH] for i in range(0, len(images), REFERENCE_BATCH)]
        return np.concatenate([net(to_input(batch)).numpy() for batch in batches])


def to_input(images: np.ndarray) -> torch.Tensor:
    """Network input (n, 1, 512, 512) float32 in 0..1 from 8-bit slices."""
    return torch.from_numpy(images.astype(np.float32) / np.float32(255))[:, None]


def lead(logits: np.ndarray) -> np.ndarray:
    """How far the largest of the five lies above the second, (M, n)."""
    top = np.partition(logits, CLASSES - 2, axis=-1)
    return top[..., -1] - top[..., -2]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)

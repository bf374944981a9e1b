"""Training of the starter appearance and context networks; run through `starter_training.py`.

The appearance network learns T11-S1 from real scans, the other levels (and these) from made ones. The context network
learns from made sequences of appearance probabilities of all 24 levels: how they fall from vertebra to vertebra, and
that a sure sacrum decides the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from SpineMotionToolsLib.common.engine import has_fast_bf16
from SpineMotionToolsLib.spinenet.labelling import CLASSES, LEVELS, TAPER_LOGIT, context_image, softmax
from SpineMotionToolsLib.spinenet.models import load_network
from SpineMotionToolsLib.spinenet.small_networks import (
    CONTEXT_SHARPNESS,
    HALF_EDGE,
    SmallAppearance,
    SmallContext,
    save_small,
)
from SpineMotionToolsLib.spinenet.training_contrast import Contrast
from SpineMotionToolsLib.spinenet.training_detector import split
from SpineMotionToolsLib.spinenet.training_patches import MADE, SHIFTED_SHARE
from SpineMotionToolsLib.spinenet.training_scans import MADE_COUNT, VALID, Subject, made_subjects
from SpineMotionToolsLib.spinenet.vertebra_volumes import SLICES, UPPER_PERCENTILE, straightened, straightening

C2 = CLASSES - 1
TEMPERATURE = 10.0
GRAY_STEPS = 80  # levels of stored volumes between 0 and 1; the few voxels above 3.2 are cut
BATCH = 16
MADE_SHARE = 0.35
BELOW_S1 = (0.5, 0.25, 0.17, 0.08)  # share of the scans in which so many bodies below S1 are found
LOWER_SACRUM_MM = (28, 24, 21)


class VolumeSampler:
    """Draws the volumes of all labelled bodies of a scan at clinical slice spacing; the same seed gives the same."""

    def __init__(self, subjects: Sequence[Subject], seed: int):
        self._subjects = subjects
        self._rng = np.random.default_rng(seed)
        self._contrast = Contrast(self._rng)

    def scan(self) -> tuple[np.ndarray, np.ndarray]:
        """Volumes (n, 112, 112, 8) of one scan, its classes (n,) and the subject's number."""
        rng = self._rng
        number = int(rng.integers(len(self._subjects)))
        subject = self._subjects[number]
        if subject.slice_mm == 1:
            spacing, start = int(rng.integers(3, 6)), int(rng.integers(0, 5))
            edges = np.arange(start, subject.volume.shape[2] - spacing + 1, spacing)
            slices = np.stack([subject.volume[:, :, z : z + spacing].mean(axis=2) for z in edges], axis=2)
        else:
            slices = subject.volume[:, :, int(rng.integers(0, 3)) :]
        slices = subject.without_air(slices, rng.random() if rng.random() < SHIFTED_SHARE else 1.0)
        if rng.random() < 0.5:
            slices = slices[:, :, ::-1]
        valid = subject.state == VALID
        whole = np.array([subject.corners[valid[:, b], b].mean(axis=0) for b in range(len(subject.labels))])
        volumes = [self._cut(slices, outline.astype(np.float64), whole) for outline in whole]
        return np.stack(volumes), np.array([LEVELS.index(label) for label in subject.labels]), number

    def _cut(self, slices, outline, bodies):
        """The published crop of one vertebra, as a detector's imperfect outline would place it."""
        rng = self._rng
        size = np.ptp(outline, axis=0).max()
        angle, center = np.deg2rad(rng.normal(0, 5)), outline.mean(axis=0)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * np.exp(rng.normal(0, 0.08))
        seen = (outline - center) @ turn.T + center + rng.normal(0, 0.03 * size, 2) + rng.normal(0, 0.8, (4, 2))
        matrix = straightening(seen)
        box = straightened(seen, matrix)
        edge = float(np.ptp(box, axis=0).max())
        x0, y0 = box[3, 0] - edge, box[3, 1] - edge
        at = (np.arange(HALF_EDGE) + 0.5) * 3 * edge / HALF_EDGE - 0.5
        columns, rows = np.meshgrid(x0 + at, y0 + at)
        inverse = np.linalg.inv(matrix[:, :2])
        back = (np.stack([columns, rows], axis=-1) - matrix[:, 2]) @ inverse.T
        grid = [back[..., 1], back[..., 0]]
        crop = np.stack([ndimage.map_coordinates(s, grid, order=1) for s in np.moveaxis(slices, 2, 0)], axis=2)
        there = straightened(bodies.reshape(-1, 2), matrix)
        there = ((there - (x0, y0) + 0.5) * HALF_EDGE / (3 * edge) - 0.5).reshape(-1, 4, 2)
        crop = self._contrast.change(crop, there)
        if rng.random() < 0.25:  # the scan's edge cuts the crop
            edge = int(HALF_EDGE * rng.uniform(0.05, 0.35))
            side = int(rng.integers(3))
            crop[(np.s_[-edge:], np.s_[:edge], np.s_[:, -edge:])[side]] = 0
        return to_sixteen(crop)[..., 1::2]


def to_sixteen(crop: np.ndarray) -> np.ndarray:
    """Slices (rows, columns, S) as the 16 normalized slices of a vertebra volume, as published."""
    count = crop.shape[2]
    z = np.arange(SLICES) * count / SLICES
    low, high = np.minimum(np.floor(z).astype(int), count - 1), np.minimum(np.ceil(z).astype(int), count - 1)
    part = np.where(high == low, 0.0, z - low)
    volume = crop[..., low] * (1 - part) + crop[..., high] * part
    return ((volume - volume.min()) / (np.percentile(volume, UPPER_PERCENTILE) + 1e-6)).astype(np.float32)


@dataclass(frozen=True)
class VolumeStore:
    """Vertebra volumes (n, 112, 112, 8) uint8, their classes and their subjects' numbers, -1 if made (n,)."""

    volumes: np.ndarray
    classes: np.ndarray
    subjects: np.ndarray

    def batch(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Volumes (n, 1, 112, 112, 8), each shifted and changed a little, and their classes (n,)."""
        batch = []
        for volume in self.volumes[chosen].astype(np.float32) / GRAY_STEPS:
            moved = np.roll(volume, tuple(rng.integers(-4, 5, 2)), (0, 1))
            moved = moved ** np.float32(np.exp(rng.uniform(-0.25, 0.25)))
            batch.append(moved + np.float32(0.05 * rng.random() ** 2) * rng.standard_normal(moved.shape, np.float32))
        return np.stack(batch)[:, None], self.classes[chosen]


def stored_volumes(
    subjects: list[Subject],
    folder: Path,
    scans: int = 140,
    made_scans: int = 36,
    made: int = MADE_COUNT,
    seed: int = 11,
    log: Callable[[str], None] = print,
) -> VolumeStore:
    """The volumes of `scans` changed scans of all subjects, and of some of the `made` drawn spines; from the folder if
    they lie there already."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "volumes.npz"
    if not path.exists():
        real, drawn, parts = VolumeSampler(subjects, seed), VolumeSampler(made_subjects(made), seed), []
        for number in range(scans + made_scans):
            volumes, classes, subject = (real if number < scans else drawn).scan()
            gray = np.clip(np.rint(volumes * GRAY_STEPS), 0, 255).astype(np.uint8)
            parts.append((gray, classes, np.full(len(classes), subject if number < scans else MADE)))
            if number % 50 == 49:
                log(f"volumes: {number + 1} of {scans + made_scans} scans")
        partial = path.with_suffix(".part.npz")
        np.savez(partial, **dict(zip(VolumeStore.__dataclass_fields__, map(np.concatenate, zip(*parts)))))
        partial.replace(path)
    with np.load(path) as stored:
        return VolumeStore(**{name: stored[name] for name in VolumeStore.__dataclass_fields__})


def train_appearance(
    subjects: list[Subject],
    store: VolumeStore,
    fold: int | None,
    folder: Path,
    steps: int = 600,
    seed: int = 11,
    log: Callable[[str], None] = print,
    start: Path | None = None,
    rate: float = 3e-3,
) -> Path:
    """Train one appearance network on all subjects but the fold's and write its weights; returns their path.

    `start`: weights of the same subjects to go on from.
    """
    path = folder / ("appearance.safetensors" if fold is None else f"appearance-fold{fold}.safetensors")
    if path.exists():
        return path
    training, tested = split(subjects, fold)
    forbidden = [number for number, subject in enumerate(subjects) if subject in tested]
    usable = np.flatnonzero(~np.isin(store.subjects, forbidden))
    of_made = store.subjects[usable] == MADE
    shares = np.where(of_made, MADE_SHARE / max(of_made.sum(), 1), (1 - MADE_SHARE) / max((~of_made).sum(), 1))
    shares /= shares.sum()
    held_out = np.flatnonzero(np.isin(store.subjects, forbidden))
    torch.manual_seed(seed)
    network = SmallAppearance() if start is None else load_network(start, "appearance").train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    rng = np.random.default_rng([seed, 99 if fold is None else fold])
    for step in range(steps):
        volumes, classes = map(torch.from_numpy, store.batch(rng.choice(usable, BATCH, p=shares), rng))
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16()):
            logits = network(volumes)
        loss = F.cross_entropy(logits.float(), classes, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            log(f"{path.stem}: step {step + 1} of {steps}, loss {float(loss.detach()):.3f}")
    if len(held_out):
        log(f"{path.stem}: exactly right in {_accuracy(network.eval(), store, held_out[:400]):.3f} of unseen volumes")
    save_small(path, network, ", ".join(subject.name for subject in training), steps=str(steps))
    return path


def _accuracy(network: SmallAppearance, store: VolumeStore, chosen: np.ndarray) -> float:
    volumes = torch.from_numpy(store.volumes[chosen].astype(np.float32) / GRAY_STEPS)[:, None]
    with torch.inference_mode():
        predicted = torch.cat([network(part).argmax(dim=1) for part in volumes.split(40)])
    return float((predicted.numpy() == store.classes[chosen]).mean())


class SequenceSampler:
    """Makes spines as the context network sees them: bodies of usual heights with uncertain appearance.

    Both ends are surer than what lies between: the sacrum, and C2 with its dens.
    """

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)

    def spine(self, rows: int = 512) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (rows, 24), the bodies' center rows and their classes, top to bottom.

        Some bodies are missed, many scans show sacral bodies below S1 (class of the first), some a false body.
        """
        rng = self._rng
        view = rng.random()
        bottom = 0 if view < 0.65 else int(rng.integers(1, 12) if view < 0.83 else rng.integers(8, 20))
        top = min(C2, bottom + int(rng.integers(3, 10) if rng.random() < 0.6 else rng.integers(3, 24)))
        if view > 0.83 and rng.random() < 0.8:  # a neck
            top = C2
        classes = np.arange(top, bottom - 1, -1)
        below = int(rng.choice(len(BELOW_S1), p=BELOW_S1)) if bottom == 0 else 0
        classes = np.append(classes, np.zeros(below, int))
        usual = _pitch_mm(classes)
        usual[len(classes) - below :] = LOWER_SACRUM_MM[:below]
        pitch = usual * np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.05, len(classes)))
        centers = rng.uniform(5, 60) + np.cumsum(pitch) - pitch / 2
        kept = (centers < rows - 10) & (rng.random(len(classes)) > rng.choice([0.0, 0.02, 0.12]))
        classes, centers, pitch = classes[kept], centers[kept], pitch[kept]
        probabilities = softmax(self._sacral(self._logits(classes), classes), TEMPERATURE)
        outlines = [np.array([[0, c - p / 2], [0, c + p / 2]] * 2) for c, p in zip(centers, 0.75 * pitch)]
        if rng.random() < 0.06:
            row = rng.uniform(10, rows - 20)
            outlines.append(np.array([[0, row - 10], [0, row + 10]] * 2))
            probabilities = np.vstack([probabilities, softmax(rng.normal(0, 2, (1, CLASSES)), TEMPERATURE)])
        return context_image(outlines, probabilities, rows, 1.0)[:rows], centers.astype(int), classes

    def _sacral(self, logits, classes):
        """S1 is surest, by its shape; bodies below it look like S1 or like nothing that was taught."""
        rng = self._rng
        sacral = np.flatnonzero(classes == 0)
        for place, body in enumerate(sacral):
            if place and rng.random() < 0.4:
                logits[body] = rng.normal(0, rng.uniform(0.5, 2.5), CLASSES)
            if rng.random() < (0.65, 0.5, 0.3, 0.3)[min(place, 3)]:
                logits[body, 0] += TAPER_LOGIT * rng.uniform(0.3, 1)
        for body in np.flatnonzero(classes > 0):
            if rng.random() < 0.02:
                logits[body, 0] += TAPER_LOGIT * rng.random()
        return logits

    def _logits(self, classes):
        """Logits as an appearance network gives them: broad, sometimes a level off, unsure away from both ends."""
        rng = self._rng
        if not len(classes):
            return np.zeros((0, CLASSES), dtype=np.float32)
        seen = classes.astype(float)
        if rng.random() < 0.3 and classes[-1] != 0:
            seen = seen + (classes < C2) * rng.integers(-2, 3)
        elif rng.random() < 0.2:
            seen = seen + ((classes > 0) & (classes < C2)) * rng.integers(-1, 2)
        seen = seen + (rng.random(len(classes)) < 0.08) * rng.integers(-2, 3, len(classes)) * (classes > 0)
        if rng.random() < 0.25:  # a network that is sure of T11-S1 only
            seen = np.minimum(seen, 7)
        seen = np.clip(seen, 0, CLASSES - 1)
        width = np.where((classes == 0) | (classes == C2), 0.7, 0.7 + rng.uniform(0, 2.5) * np.minimum(classes, 6) / 6)
        height = rng.uniform(3, 12) * np.exp(rng.normal(0, 0.2, len(classes)))
        distance = (np.arange(CLASSES) - seen[:, None]) / width[:, None]
        logits = height[:, None] * np.exp(-(distance**2) / 2) - rng.uniform(0, 4)
        return (logits + rng.normal(0, rng.uniform(0.1, 1.2), logits.shape)).astype(np.float32)


def _pitch_mm(classes: np.ndarray) -> np.ndarray:
    """Usual distance between centers: sacrum 32 mm, lumbar 36, thoracic 32 at T12 falling to 20 at T1, cervical 17."""
    return np.interp(classes, [0, 1, 5, 6, 17, 18, 23], [32, 36, 35, 32, 20, 17, 16])


def train_context(folder: Path, steps: int = 800, batch: int = 10, seed: int = 13, log=print) -> Path:
    """Train the context network on made sequences and write its weights; returns their path."""
    path = folder / "context.safetensors"
    if path.exists():
        return path
    torch.manual_seed(seed)
    network = SmallContext()
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
    sampler = SequenceSampler(seed)
    right = total = 0
    for step in range(steps):
        spines = [sampler.spine(768 if step % 4 == 3 else 512) for _ in range(batch)]
        images = torch.from_numpy(np.stack([image for image, _, _ in spines])[:, None].astype(np.float32))
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16()):
            output = network(images)[:, 0].float() / CONTEXT_SHARPNESS
        rows = torch.cat([output[n, torch.from_numpy(at)] for n, (_, at, _) in enumerate(spines)])
        classes = torch.from_numpy(np.concatenate([label for _, _, label in spines]))
        loss = F.cross_entropy(rows, classes)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        right, total = right + int((rows.argmax(1) == classes).sum()), total + len(classes)
        if (step + 1) % 100 == 0:
            log(f"context: step {step + 1} of {steps}, loss {float(loss.detach()):.3f}, right {right / total:.3f}")
            right = total = 0
    save_small(path, network, "made sequences")
    return path

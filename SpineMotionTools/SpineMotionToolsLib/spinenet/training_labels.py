"""Training of the starter appearance and context networks; run through `starter_training.py`.

The appearance network learns T11-S1 from real scans. The context network learns from made sequences of appearance
probabilities of all 24 levels: how they fall from vertebra to vertebra, and that a sure sacrum decides the rest.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from SpineMotionToolsLib.spinenet.labelling import CLASSES, LEVELS, context_image, softmax
from SpineMotionToolsLib.spinenet.small_networks import HALF_EDGE, SmallAppearance, SmallContext
from SpineMotionToolsLib.spinenet.training_contrast import Contrast
from SpineMotionToolsLib.spinenet.training_detector import split
from SpineMotionToolsLib.spinenet.training_scans import LABELS, VALID, Subject
from SpineMotionToolsLib.spinenet.vertebra_volumes import SLICES, UPPER_PERCENTILE, straightened, straightening

CLASS_OF_BODY = np.array([LEVELS.index(label) for label in LABELS])
TEMPERATURE = 10.0


class VolumeSampler:
    """Draws the volumes of all labelled bodies of a scan at clinical slice spacing; the same seed gives the same."""

    def __init__(self, subjects: list[Subject], seed: int):
        self._subjects = subjects
        self._rng = np.random.default_rng(seed)
        self._contrast = Contrast(self._rng)

    def scan(self) -> tuple[np.ndarray, np.ndarray]:
        """Volumes (n, 1, 112, 112, 16) of one scan and their classes (n,)."""
        rng = self._rng
        subject = self._subjects[int(rng.integers(len(self._subjects)))]
        spacing, start = int(rng.integers(3, 6)), int(rng.integers(0, 5))
        edges = np.arange(start, subject.volume.shape[2] - spacing + 1, spacing)
        slices = np.stack([subject.volume[:, :, z : z + spacing].mean(axis=2) for z in edges], axis=2)
        if rng.random() < 0.5:
            slices = slices[:, :, ::-1]
        volumes, classes = [], []
        for body in range(len(LABELS)):
            valid = subject.state[:, body] == VALID
            outline = subject.corners[valid, body].mean(axis=0).astype(np.float64)
            volumes.append(self._cut(slices, outline, subject, body))
            classes.append(CLASS_OF_BODY[body])
        return np.stack(volumes)[:, None], np.array(classes)

    def _cut(self, slices, outline, subject, body):
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
        bodies = np.array([subject.corners[subject.state[:, b] == VALID, b].mean(axis=0) for b in range(len(LABELS))])
        there = straightened(bodies.reshape(-1, 2), matrix)
        there = ((there - (x0, y0) + 0.5) * HALF_EDGE / (3 * edge) - 0.5).reshape(-1, 4, 2)
        crop = self._contrast.change(crop, there)
        if rng.random() < 0.15:  # the scan's edge cuts the crop
            crop[int(HALF_EDGE * rng.uniform(0.6, 0.95)) :] = 0
        return to_sixteen(crop)


def to_sixteen(crop: np.ndarray) -> np.ndarray:
    """Slices (rows, columns, S) as the 16 normalized slices of a vertebra volume, as published."""
    count = crop.shape[2]
    z = np.arange(SLICES) * count / SLICES
    low, high = np.minimum(np.floor(z).astype(int), count - 1), np.minimum(np.ceil(z).astype(int), count - 1)
    part = np.where(high == low, 0.0, z - low)
    volume = crop[..., low] * (1 - part) + crop[..., high] * part
    return ((volume - volume.min()) / (np.percentile(volume, UPPER_PERCENTILE) + 1e-6)).astype(np.float32)


def train_appearance(
    subjects: list[Subject], fold: int | None, folder: Path, steps: int = 500, seed: int = 11, log=print
) -> Path:
    """Train one appearance network (two scans a step) and write its weights; returns their path."""
    from SpineMotionToolsLib.common.weights import write_safetensors

    path = folder / ("appearance.safetensors" if fold is None else f"appearance-fold{fold}.safetensors")
    if path.exists():
        return path
    training, _ = split(subjects, fold)
    torch.manual_seed(seed)
    network = SmallAppearance()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.15)
    sampler = VolumeSampler(training, seed * 1000 + (99 if fold is None else fold))
    for step in range(steps):
        parts = [sampler.scan() for _ in range(2)]
        volumes = torch.from_numpy(np.concatenate([volume for volume, _ in parts]))
        classes = torch.from_numpy(np.concatenate([label for _, label in parts]))
        loss = F.cross_entropy(network(volumes), classes, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            log(f"{path.stem}: step {step + 1} of {steps}, loss {float(loss):.3f}")
    _write(write_safetensors, path, network, "SmallAppearance", training)
    return path


class SequenceSampler:
    """Makes spines as the context network sees them: bodies of usual heights with uncertain appearance."""

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)

    def spine(self, rows: int = 512) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (rows, 24), the bodies' center rows and their classes, top to bottom."""
        rng = self._rng
        bottom = 0 if rng.random() < 0.75 else int(rng.integers(1, 12))
        top = min(CLASSES - 1, bottom + int(rng.integers(3, 24)))
        classes = np.arange(top, bottom - 1, -1)
        pitch = _pitch_mm(classes) * np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, len(classes)))
        centers = rng.uniform(5, 40) + np.cumsum(pitch) - pitch / 2
        kept = (centers < rows - 10) & (rng.random(len(classes)) > 0.03)
        classes, centers, pitch = classes[kept], centers[kept], pitch[kept]
        probabilities = softmax(self._logits(classes), TEMPERATURE)
        outlines = [np.array([[0, c - p / 2], [0, c + p / 2]] * 2) for c, p in zip(centers, 0.75 * pitch)]
        return context_image(outlines, probabilities, rows, 1.0)[:rows], centers.astype(int), classes

    def _logits(self, classes):
        """Logits as an appearance network gives them: broad, sometimes a level off, unsure away from the sacrum."""
        rng = self._rng
        seen = classes.astype(float)
        if rng.random() < 0.3 and classes[-1] != 0:
            seen = seen + rng.integers(-2, 3)
        elif rng.random() < 0.2:
            seen = seen + (classes > 0) * rng.integers(-1, 2)
        seen = seen + (rng.random(len(classes)) < 0.08) * rng.integers(-2, 3, len(classes)) * (classes > 0)
        if rng.random() < 0.6:  # a network that knows T11-S1 only
            seen = np.minimum(seen, 7)
        seen = np.clip(seen, 0, CLASSES - 1)
        width = np.where(classes == 0, 0.7, 0.7 + rng.uniform(0, 2.5) * np.minimum(classes, 6) / 6)
        height = rng.uniform(3, 12) * np.exp(rng.normal(0, 0.2, len(classes)))
        distance = (np.arange(CLASSES) - seen[:, None]) / width[:, None]
        logits = height[:, None] * np.exp(-(distance**2) / 2) - rng.uniform(0, 4)
        return (logits + rng.normal(0, rng.uniform(0.1, 1.2), logits.shape)).astype(np.float32)


def _pitch_mm(classes: np.ndarray) -> np.ndarray:
    """Usual distance between centers: sacrum 32 mm, lumbar 36, thoracic 32 at T12 falling to 20 at T1, cervical 17."""
    return np.interp(classes, [0, 1, 5, 6, 17, 18, 23], [32, 36, 35, 32, 20, 17, 16])


def train_context(folder: Path, steps: int = 1200, batch: int = 12, seed: int = 13, log=print) -> Path:
    """Train the context network on made sequences and write its weights; returns their path."""
    from SpineMotionToolsLib.common.weights import write_safetensors

    path = folder / "context.safetensors"
    if path.exists():
        return path
    torch.manual_seed(seed)
    network = SmallContext()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    sampler = SequenceSampler(seed)
    right = total = 0
    for step in range(steps):
        spines = [sampler.spine() for _ in range(batch)]
        images = torch.from_numpy(np.stack([image for image, _, _ in spines])[:, None].astype(np.float32))
        output = network(images)[:, 0]
        rows = torch.cat([output[n, torch.from_numpy(at)] for n, (_, at, _) in enumerate(spines)])
        classes = torch.from_numpy(np.concatenate([label for _, _, label in spines]))
        loss = F.cross_entropy(rows, classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        right, total = right + int((rows.argmax(1) == classes).sum()), total + len(classes)
        if (step + 1) % 100 == 0:
            log(f"context: step {step + 1} of {steps}, loss {float(loss.detach()):.3f}, right {right / total:.3f}")
            right = total = 0
    _write(write_safetensors, path, network, "SmallContext", None)
    return path


def _write(write_safetensors, path, network, name, subjects):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().numpy() for key, value in network.state_dict().items()}
    trained_on = ", ".join(subject.name for subject in subjects) if subjects else "made sequences"
    architecture = {"class": name, "widths": list(network.widths)}
    write_safetensors(path, tensors, {"architecture": json.dumps(architecture), "trained_on": trained_on})

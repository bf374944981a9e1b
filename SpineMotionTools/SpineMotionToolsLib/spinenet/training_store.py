"""Training samples on disk: made once, in parts that survive a stop, and shared by all folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.spinenet.detection_targets import PATCH_SIZE, make_targets, vector_mask
from SpineMotionToolsLib.spinenet.training_patches import PatchSampler
from SpineMotionToolsLib.spinenet.training_scans import MADE_COUNT, Subject, made_subjects

PART = 200
GRAY_STEPS = 150  # levels between 0 and 1; the few pixels above 1.7 are cut


@dataclass(frozen=True)
class PatchStore:
    """Patches `images` (n, 224, 224) uint8, `corners` of all levels (n, 24, 4, 2) NaN where unknown, `ignored` packed
    bits (n, ...), and the number of the subject each comes from (n,), -1 for a made one."""

    images: np.ndarray
    corners: np.ndarray
    ignored: np.ndarray
    subjects: np.ndarray

    def batch(self, chosen: np.ndarray, rng: np.random.Generator, columns: int = PATCH_SIZE) -> tuple[np.ndarray, ...]:
        """Images (n, 1, 224, columns) with gray values slightly changed, targets (n, 13, ...), weights (n, ...) that
        are 0 where nobody labelled, and the mask of vectors (n, 4, ...).

        With fewer columns than the patch has, a strip that shows the spine.
        """
        samples = [self._sample(int(number), rng, columns) for number in chosen]
        images, targets, weights, vectors = (np.stack(parts) for parts in zip(*samples))
        return images[:, None], targets, weights, vectors

    def _sample(self, number: int, rng: np.random.Generator, columns: int):
        known = self.corners[number][np.isfinite(self.corners[number][:, 0, 0])]
        middle = known[..., 0].mean() if len(known) else rng.uniform(0, PATCH_SIZE)
        left = middle - columns / 2 + rng.uniform(-0.3, 0.3) * columns
        left = int(np.clip(left, 0, PATCH_SIZE - columns))
        image = self.images[number, :, left : left + columns].astype(np.float32) / GRAY_STEPS
        noise = 0.04 * rng.random() ** 2
        image = image ** np.float32(np.exp(rng.uniform(-0.2, 0.2)))
        image += np.float32(noise) * rng.standard_normal(image.shape, dtype=np.float32)
        corners = known - (left, 0)
        ignored = np.unpackbits(self.ignored[number]).reshape(PATCH_SIZE, PATCH_SIZE)[:, left : left + columns] > 0
        vectors = vector_mask(corners, image.shape) & ~ignored
        return image, make_targets(corners, shape=image.shape), (~ignored).astype(np.float32), vectors


def stored_patches(
    subjects: list[Subject],
    folder: Path,
    count: int,
    made: int = MADE_COUNT,
    seed: int = 7,
    log: Callable[[str], None] = print,
) -> PatchStore:
    """`count` patches of all subjects and of `made` drawn spines, from the folder as far as they lie there already."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number in range(-(-count // PART)):
        path = folder / f"patches-{number:03d}.npz"
        if not path.exists():
            _make_part(subjects, made_subjects(made), seed * 1000 + number, path)
            log(f"patches: {(number + 1) * PART} of {count}")
        with np.load(path) as stored:
            parts.append({name: stored[name] for name in PatchStore.__dataclass_fields__})
    return PatchStore(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _make_part(subjects: Sequence[Subject], made: Sequence[Subject], seed: int, path: Path) -> None:
    sampler = PatchSampler(subjects, seed, made)
    images, corners, ignored, numbers = (np.stack(parts) for parts in zip(*(sampler.sample() for _ in range(PART))))
    partial = path.with_suffix(".part.npz")
    np.savez(
        partial,
        images=np.clip(np.rint(images * GRAY_STEPS), 0, 255).astype(np.uint8),
        corners=corners,
        ignored=np.packbits(ignored.reshape(PART, -1), axis=1),
        subjects=numbers,
    )
    partial.replace(path)

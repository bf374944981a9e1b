"""Slices to train and test the starter ensemble on: random bones, motions, beams, framings and units.

What is not motion varies on purpose (noise, rings, hardening, sharpness, voxel size, bone density, crop, padding), so
that the grade a network learns follows the motion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.files import atomic_path
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.motion.calibration import Calibration
from SpineMotionToolsLib.motion.slices import CENTER, SIDE, prepare
from SpineMotionToolsLib.phantoms import hrpqct
from SpineMotionToolsLib.phantoms.hrpqct_anatomy import SITES, make_limb
from SpineMotionToolsLib.phantoms.tomography import view_angles

SPLITS = ("train", "validation", "test")
VOXELS_MM = {"radius": ([0.0607, 0.082], [0.7, 0.3]), "tibia": ([0.0607, 0.082], [0.2, 0.8])}
CALIBRATION = Calibration(hrpqct.MU_SCALING, hrpqct.MU_WATER, hrpqct.DENSITY_SLOPE, hrpqct.DENSITY_INTERCEPT)
NOISE_AFTER_SMOOTHING = float(np.sqrt(CENTER**2 + 2 * SIDE**2))
"""Share of the noise that the pre-processing's smoothing across slices leaves; anatomy hardly changes from one slice to
the next, so a single slice with this share of the noise is the same network input for a third of the work."""


@dataclass(frozen=True)
class Examples:
    """Network inputs and their truth."""

    images: np.ndarray  # (n, 512, 512) uint8
    grades: np.ndarray  # (n,) 1..5
    bones: np.ndarray  # (n,) number of the bone each slice comes from
    sites: np.ndarray  # (n,) index into SITES
    motion_mm: np.ndarray  # (n,) motion size

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.grades)


def bone_examples(split: str, bone: int, grades: Sequence[int], neighbors: int = 1) -> Examples:
    """One random bone, the same for the same split and number, scanned once for every grade asked for.

    With 3 `neighbors` a slice is smoothed with the real slices beside it; with 1, see `NOISE_AFTER_SMOOTHING`.
    """
    random = np.random.default_rng(np.random.SeedSequence([166, 116607, SPLITS.index(split), bone]))
    site = SITES[bone % len(SITES)]
    pixel_mm = float(random.choice(VOXELS_MM[site][0], p=VOXELS_MM[site][1]))
    if random.random() < 0.3:
        pixel_mm *= random.uniform(0.9, 1.6)
    limb = make_limb(random, site, neighbors, pixel_mm)
    outline_px = limb.main_bone.outline_mm / pixel_mm
    low, high = outline_px.min(0), outline_px.max(0)
    frames = [_random_frame(random, low, high) for _ in grades]
    first = np.min([frame[0] for frame in frames], axis=0)
    last = np.max([frame[1] for frame in frames], axis=0)
    columns, rows = last - first
    start = np.pi / 2 + (random.normal(0, 0.15) if random.random() < 0.6 else random.uniform(0, np.pi))
    angles = view_angles(int(np.clip(max(high - low) * random.uniform(1.1, 1.5), 360, 720)), start)

    trajectories = [hrpqct.graded_trajectory(random, int(grade), limb, angles) for grade in grades]
    noise_share = 1.0 if neighbors == 3 else NOISE_AFTER_SMOOTHING
    everything = slice(0, neighbors)
    sweeps = [hrpqct.Sweep(everything, trajectory, _random_quality(random, noise_share)) for trajectory in trajectories]
    middle_mm = tuple((first + last - 1) / 2 * pixel_mm)
    volume = hrpqct.scan_limb(limb, sweeps, angles, random, (int(rows), int(columns)), middle_mm)

    images = []
    for number, (begin, end) in enumerate(frames):
        (x0, y0), (x1, y1) = begin - first, end - first
        part = volume[number * neighbors : (number + 1) * neighbors, y0:y1, x0:x1]
        images.append(_prepared(part, random))
    sizes = [trajectory.size_mm(limb.main_bone.outline_mm, angles) for trajectory in trajectories]
    many = len(grades)
    return Examples(
        np.stack(images), np.array(grades), np.full(many, bone), np.full(many, SITES.index(site)), np.array(sizes)
    )


def _random_frame(random, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last pixel (x, y) of a crop round the bone: tight, roomy, wide, or cutting into it."""
    extent = high - low
    kind = random.choice(["tight", "roomy", "wide", "cut"], p=[0.35, 0.35, 0.2, 0.1])
    reach = {"tight": (0.01, 0.06), "roomy": (0.05, 0.22), "wide": (0.15, 0.4), "cut": (-0.12, 0.1)}[kind]
    begin = low - random.uniform(*reach, 2) * extent
    end = high + random.uniform(*reach, 2) * extent
    if random.random() < 0.3:  # a square field
        middle, half = (begin + end) / 2, (end - begin).max() / 2
        begin, end = middle - half, middle + half
    return np.floor(begin).astype(int), np.ceil(end).astype(int)


def _random_quality(random, noise_share: float) -> hrpqct.Quality:
    noise = float(np.exp(random.uniform(np.log(18), np.log(140))))
    ring = random.uniform(1, 10) if random.random() < 0.3 else 0.0
    return hrpqct.Quality(noise * noise_share, ring, random.uniform(0, 0.02) if random.random() < 0.3 else 0.0)


def _prepared(volume: np.ndarray, random) -> np.ndarray:
    """The network's input of the middle slice, in native or density units, of a sharper or softer scanner."""
    from scipy.ndimage import gaussian_filter

    scan = volume.transpose(2, 1, 0)
    if random.random() < 0.4:
        scan = gaussian_filter(scan.astype(np.float32), (*[random.uniform(0.3, 0.8)] * 2, 0)).round().astype(np.int16)
    if random.random() < 0.25:
        scan = CALIBRATION.from_native(scan, "density")
    return prepare(scan)[scan.shape[2] // 2]


def every_grade_twice(bone: int) -> tuple[int, ...]:
    """Grades to scan a bone with: ten scans."""
    return (1, 2, 3, 4, 5) * 2


def two_grades(bone: int) -> tuple[int, ...]:
    """Two grades, so that ten bones show every grade twice at each of the two sites."""
    turn = bone // len(SITES)
    return 1 + turn % 5, 1 + (turn + 2) % 5


def stored_examples(
    folder: Path,
    split: str,
    bones: int,
    grades: Callable[[int], Sequence[int]] = every_grade_twice,
    neighbors: int = 1,
    progress: Progress = no_progress,
) -> Examples:
    """The examples of the first bones of a split, made where `folder` does not hold them yet (a file a bone)."""
    parts = []
    for bone in range(bones):
        path = Path(folder) / f"{split}_{bone:04d}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            made = bone_examples(split, bone, grades(bone), neighbors)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **vars(made))
        with np.load(path) as stored:
            parts.append(Examples(**stored))
        progress(bone + 1, bones, f"{split} bones")
    return Examples.joined(parts)

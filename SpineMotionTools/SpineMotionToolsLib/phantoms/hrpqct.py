"""HR-pQCT phantoms: a random limb is scanned while it moves, and comes out as a native int16 volume or an AIM file.

The limb has a pose of its own in every view; noise, rings and beam hardening enter the projections; streaks, double
contours and blur come from the reconstruction. The grade is that of the manufacturer's visual scale:

1. no motion: sharp cortex and trabeculae;
2. slight streaks, from a motion of about half a voxel of 60.7 um;
3. some streaks, trabeculae blurred, cortex intact;
4. marked streaks along the first views and at tangents of the cortex, cortical discontinuities;
5. severe streaks, disrupted cortex, double contours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import atomic_path
from SpineMotionToolsLib.phantoms.hrpqct_anatomy import SITES, Limb, make_limb
from SpineMotionToolsLib.phantoms.tomography import Spectrum, back_project, filter_projections, view_angles

MOTION_BANDS_MM = {1: (0.0, 0.006), 2: (0.028, 0.045), 3: (0.075, 0.115), 4: (0.20, 0.30), 5: (0.50, 0.95)}
"""Motion size of each grade; sizes between the bands would be graded either way. What a reader sees depends on the size
against trabeculae (0.15 mm) and cortex (1 mm), whatever the voxels."""

MU_SCALING, DENSITY_SLOPE, DENSITY_INTERCEPT, MU_WATER = 8192, 1603.51904, -391.209015, 0.2409
VOXEL_SIZES_MM = (0.0607, 0.082)
"""XtremeCT II and XtremeCT."""
BONE_WIDTH_MM = {"radius": 29.0, "tibia": 42.0}
SITE_CODES = {("radius", "left"): 20, ("radius", "right"): 21, ("tibia", "left"): 38, ("tibia", "right"): 29}


@dataclass(frozen=True)
class MotionTrajectory:
    """Pose of the limb in each view: shift in mm along x and y, rotation in degrees about the scanner's axis."""

    x_mm: np.ndarray
    y_mm: np.ndarray
    rotation_deg: np.ndarray

    @property
    def views(self) -> int:
        return len(self.x_mm)

    def scaled(self, factor: float) -> MotionTrajectory:
        return MotionTrajectory(self.x_mm * factor, self.y_mm * factor, self.rotation_deg * factor)

    def size_mm(self, outline_mm: np.ndarray, angles: np.ndarray) -> float:
        """Root mean square of what the detector sees the outline move, beyond what one constant pose explains.

        outline_mm (points, 2), angles (views,) in radians. A pose held through the whole scan moves the image but
        makes no artifact, so the best constant pose is taken off first.
        """
        away = np.radians(self.rotation_deg)[:, None, None] * np.stack([-outline_mm[:, 1], outline_mm[:, 0]], 1)
        away = away + np.stack([self.x_mm, self.y_mm], 1)[:, None]
        axis = np.stack([np.cos(angles), np.sin(angles)], 1)
        seen = np.einsum("vpc,vc->vp", away, axis)
        pose = np.stack(
            [
                np.broadcast_to(axis[:, :1], seen.shape),
                np.broadcast_to(axis[:, 1:], seen.shape),
                axis[:, 1:] * outline_mm[:, 0] - axis[:, :1] * outline_mm[:, 1],
            ],
            -1,
        ).reshape(-1, 3)
        constant, *_ = np.linalg.lstsq(pose, seen.ravel(), rcond=None)
        return float(np.sqrt(np.mean((seen.ravel() - pose @ constant) ** 2)))


@dataclass(frozen=True)
class Quality:
    """What else degrades a scan, and hides or mimics motion: noise in mg HA/ccm, ring and hardening strengths."""

    noise_mg: float = 35.0
    ring_mg: float = 0.0
    hardening: float = 0.0


@dataclass(frozen=True)
class Sweep:
    """One turn of the gantry: the slices it covers, how the limb moved meanwhile, and the quality of the beam."""

    slices: slice
    trajectory: MotionTrajectory
    quality: Quality = Quality()


@dataclass(frozen=True)
class Phantom:
    """A made scan and its truth."""

    volume: np.ndarray  # int16 native units (slices, rows, columns)
    pixel_mm: float
    site: str
    grades: tuple[int, ...]  # one a stack
    stack_heights: tuple[int, ...]
    motion_sizes_mm: tuple[float, ...]
    trajectories: tuple[MotionTrajectory, ...]

    @property
    def slice_grades(self) -> np.ndarray:
        return np.repeat(self.grades, self.stack_heights)

    @property
    def density(self) -> np.ndarray:
        """mg HA/ccm, float32."""
        return self.volume * np.float32(DENSITY_SLOPE / MU_SCALING) + np.float32(DENSITY_INTERCEPT)


def random_trajectory(random: np.random.Generator, views: int) -> MotionTrajectory:
    """A patient's motion of arbitrary size: drift, jerks, a twitch and back, oscillation, tremor, or two of them."""
    time = (np.arange(views) + 0.5) / views
    kinds = random.choice(len(_COURSES), size=random.choice([1, 2], p=[0.7, 0.3]), replace=False)
    pose = np.zeros((3, views))
    for kind in kinds:
        course = _COURSES[kind](random, time)
        course /= max(np.ptp(course), 1e-9)
        direction = random.normal(size=3) * [1, 1, random.choice([0, 2, 5])]  # degrees; 1 degree is 0.25 mm at 15 mm
        pose += direction[:, None] / np.linalg.norm(direction[:2]) * course * random.uniform(0.5, 1)
    return MotionTrajectory(*pose)


def _drift(random, time):
    waves = sum(random.normal() / k**2 * np.cos(np.pi * k * time + random.uniform(0, 6.3)) for k in (1, 2, 3))
    return waves + random.normal() * time


def _jerks(random, time):
    course = np.zeros_like(time)
    for _ in range(random.integers(1, 4)):
        at, width = random.uniform(0.15, 0.85), random.uniform(0.002, 0.03)
        course += random.choice([-1, 1]) * random.uniform(0.5, 1) / (1 + np.exp(-np.clip((time - at) / width, -50, 50)))
    return course


def _twitch(random, time):
    start, length, width = random.uniform(0.1, 0.65), random.uniform(0.15, 0.4), random.uniform(0.003, 0.02)
    rise = np.clip((time - start) / width, -50, 50)
    fall = np.clip((time - start - length) / width, -50, 50)
    return 1 / (1 + np.exp(-rise)) - 1 / (1 + np.exp(-fall))


def _oscillation(random, time):
    start, length = random.choice([(0.0, 1.0), (random.uniform(0, 0.5), random.uniform(0.3, 0.5))])
    envelope = np.exp(-(((time - start - length / 2) / (0.6 * length)) ** 4))
    return envelope * np.sin(2 * np.pi * random.uniform(1.5, 14) * time + random.uniform(0, 6.3))


def _tremor(random, time):
    cycles = random.uniform(15, 60, 12)
    course = sum(random.normal() * np.cos(2 * np.pi * k * time + random.uniform(0, 6.3)) for k in cycles)
    return course * (1 + 0.6 * np.sin(np.pi * random.uniform(0.5, 3) * time + random.uniform(0, 6.3)))


_COURSES = (_drift, _jerks, _twitch, _oscillation, _tremor)


def graded_trajectory(random: np.random.Generator, grade: int, limb: Limb, angles: np.ndarray) -> MotionTrajectory:
    """A random trajectory whose size on this limb lies in the grade's band."""
    if grade not in MOTION_BANDS_MM:
        raise InputError(f"There is no motion grade {grade}. Use 1 (no motion) to 5 (severe).")
    outline = limb.main_bone.outline_mm
    while True:
        trajectory = random_trajectory(random, len(angles))
        size_mm = trajectory.size_mm(outline, angles)
        largest = np.ptp(np.stack([trajectory.x_mm, trajectory.y_mm]), axis=1).max()
        if size_mm > 0.12 * largest:  # else nearly a constant pose: it would have to be huge
            return trajectory.scaled(random.uniform(*MOTION_BANDS_MM[grade]) / size_mm)


def scan_limb(
    limb: Limb,
    sweeps: Sequence[Sweep],
    angles: np.ndarray,
    random: np.random.Generator,
    size: tuple[int, int],
    middle_mm: tuple[float, float],
) -> np.ndarray:
    """Reconstruct the sweeps one after the other: int16 native units (sum of their slices, rows, columns).

    `size` is the raster's rows and columns, `middle_mm` where its middle lies from the rotation axis (x, y).
    """
    rows, columns = size
    middle = (middle_mm[0] / limb.pixel_mm, middle_mm[1] / limb.pixel_mm)
    keep = int(np.ceil(2 * np.hypot(abs(middle[0]) + columns / 2, abs(middle[1]) + rows / 2))) + 4
    reach = max(ellipse.half_width for ellipse in limb.soft_tissue + limb.cast)
    detectors = 2 * int(np.ceil(max(1.1 * reach + 40, keep / 2 + 8)))
    scanned, transformed, spectra = [], None, []
    for sweep in sweeps:
        if sweep.slices != transformed:  # a bone scanned in several motions is transformed once
            transformed, spectra = sweep.slices, [Spectrum(bone.values[sweep.slices]) for bone in limb.bones]
        lines = _projections(limb, spectra, sweep.trajectory, angles, detectors)
        scanned.append(_degrade(lines, limb.pixel_mm, sweep.quality, random))
    filtered = filter_projections(np.concatenate(scanned), keep)
    density = back_project(filtered, angles, rows, columns, middle)
    return np.clip(np.rint(density * (MU_SCALING / DENSITY_SLOPE)), -32768, 32767).astype(np.int16)


def _projections(limb, spectra, trajectory, angles, detectors) -> np.ndarray:
    """Line integrals (slices, views, detectors) of the moving limb: density above air, in mg HA/ccm times pixels."""
    seen = angles - np.radians(trajectory.rotation_deg)
    pushes = (trajectory.x_mm * np.cos(angles) + trajectory.y_mm * np.sin(angles)) / limb.pixel_mm
    lines = sum(ellipse.project(seen, pushes, detectors) for ellipse in limb.soft_tissue)
    lines = lines + sum(ellipse.project(angles, np.zeros_like(angles), detectors) for ellipse in limb.cast)
    for bone, spectrum in zip(limb.bones, spectra):
        place = (bone.x_mm * np.cos(seen) + bone.y_mm * np.sin(seen)) / limb.pixel_mm
        lines = lines + spectrum.project(seen, pushes + place, detectors)
    return lines


def _degrade(lines: np.ndarray, pixel_mm: float, quality: Quality, random: np.random.Generator) -> np.ndarray:
    """Beam hardening, quantum noise that grows with attenuation, and detector gains that make rings."""
    views, detectors = lines.shape[1:]
    to_attenuation = pixel_mm / 10 / DENSITY_SLOPE
    attenuation = lines * np.float32(to_attenuation)
    lines = lines - quality.hardening * attenuation**2 / to_attenuation
    # Noise of the reconstruction: the ramp filter with its roll-off passes 0.0093 of a projection's variance.
    level = quality.noise_mg * np.sqrt(views / 0.0093) / np.pi
    relative = np.exp((attenuation - attenuation[..., detectors // 2].mean()) / 2)
    lines += level * relative * random.standard_normal(lines.shape, dtype=np.float32)
    lines += quality.ring_mg * np.float32(2.5) * random.standard_normal(detectors, dtype=np.float32)
    return lines


def make_phantom(
    seed: int,
    site: str = "radius",
    grade: int | Sequence[int] = 1,
    motion: MotionTrajectory | Sequence[MotionTrajectory] | None = None,
    size: int | tuple[int, int] | None = None,
    slices: int = 24,
    quality: Quality | None = None,
    views: int | None = None,
) -> Phantom:
    """A scan of a random limb, the same for the same arguments.

    `grade` (or `motion`, which takes its place) holds one value a stack; `slices` are shared out evenly among the
    stacks. `size` is rows and columns; without it the bone is scanned at 60.7 um and framed closely, with it the voxel
    is as large as is needed for the bone to fit. `volume` comes back as int16 (slices, rows, columns) in native units.
    Raises InputError for an unknown site or grade.
    """
    trajectories = [motion] if isinstance(motion, MotionTrajectory) else motion
    grades = (grade,) if isinstance(grade, (int, np.integer)) else tuple(grade)
    stacks = len(grades if trajectories is None else trajectories)
    if site not in SITES:
        raise InputError(f"There is no phantom of the site {site!r}. Use one of: {', '.join(SITES)}.")
    if slices < stacks:
        raise InputError(f"{stacks} stacks need at least {stacks} slices, not {slices}. Ask for more slices.")
    random = np.random.default_rng(np.random.SeedSequence([2024, SITES.index(site), seed]))
    pixel_mm = VOXEL_SIZES_MM[0]
    if size is not None:
        size = (size, size) if isinstance(size, int) else tuple(size)
        needed = 1.12 * BONE_WIDTH_MM[site] / min(size)
        pixel_mm = next((voxel for voxel in VOXEL_SIZES_MM if voxel >= needed), needed)
    limb = make_limb(random, site, slices, pixel_mm)
    outline = limb.main_bone.outline_mm
    low, high = outline.min(0), outline.max(0)
    if size is None:
        size = tuple(int(np.ceil(extent / pixel_mm)) + 24 for extent in (high - low)[::-1])
    if views is None:
        views = len(trajectories[0].x_mm) if trajectories else int(np.clip(1.4 * max(size), 180, 900))
    angles = view_angles(views, start=np.pi / 2 + random.normal(0, 0.1))

    if trajectories is None:
        trajectories = [graded_trajectory(random, int(one), limb, angles) for one in grades]
    sizes = tuple(one.size_mm(outline, angles) for one in trajectories)
    if motion is not None:
        grades = tuple(grade_of_size(one) for one in sizes)
    borders = np.linspace(0, slices, len(trajectories) + 1).round().astype(int)
    quality = quality or Quality(noise_mg=random.uniform(45, 75))
    sweeps = [Sweep(slice(*part), one, quality) for part, one in zip(zip(borders, borders[1:]), trajectories)]
    volume = scan_limb(limb, sweeps, angles, random, size, tuple((low + high) / 2))
    heights = tuple(int(height) for height in np.diff(borders))
    return Phantom(volume, pixel_mm, site, grades, heights, sizes, tuple(trajectories))


def grade_of_size(size_mm: float) -> int:
    """Grade of a motion size; between two bands their geometric middle decides."""
    borders = [np.sqrt(MOTION_BANDS_MM[grade][1] * MOTION_BANDS_MM[grade + 1][0]) for grade in range(1, 5)]
    return 1 + int(np.searchsorted(borders, size_mm))


def processing_log(phantom: Phantom, side: str = "left") -> dict[str, object]:
    """The entries of an AIM processing log that readers of scans ask for; there is no patient."""
    return {
        "Original file": f"phantom_{phantom.site}.isq",
        "Site": SITE_CODES[phantom.site, side],
        "Scanner ID": 0,
        "Energy [V]": 68000,
        "Intensity [uA]": 1470,
        "Mu_Scaling": MU_SCALING,
        "HU: mu water": MU_WATER,
        "Density: unit": "mg HA/ccm",
        "Density: slope": DENSITY_SLOPE,
        "Density: intercept": DENSITY_INTERCEPT,
    }


def write_aim(path: str | Path, phantom: Phantom, side: str = "left") -> Path:
    """Write a phantom as an AIM file (version 030, int16 native units, calibration in its log)."""
    import py_aimio

    path = Path(path)
    meta = {
        "processing_log": processing_log(phantom, side),
        "element_size": (phantom.pixel_mm,) * 3,
        "position": (0, 0, 0),
        "dimensions": phantom.volume.shape[::-1],
    }
    with atomic_path(path) as temporary:
        py_aimio.write_aim(str(temporary), phantom.volume, meta)
    return path


def write_phantom_aim(
    path: str | Path,
    seed: int = 1,
    site: str = "radius",
    grades: Sequence[int] = (1, 3, 5),
    slices: int = 42,
    size: int | None = 400,
    side: str = "left",
) -> Phantom:
    """Make a scan of one stack a grade and write it as an AIM file; the phantom comes back with its truth."""
    phantom = make_phantom(seed, site, grades, size=size, slices=slices)
    write_aim(path, phantom, side)
    return phantom

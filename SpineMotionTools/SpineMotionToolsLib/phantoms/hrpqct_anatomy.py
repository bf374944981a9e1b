"""Random but anatomical limbs for HR-pQCT phantoms: distal radius with ulna, distal tibia with fibula.

Density is in mg HA/ccm, lengths in mm; x runs to the right and y down in the image, dorsal (radius) or anterior (tibia)
is up. Shapes and values follow the ranges of the HR-pQCT literature (e.g. Boutroy et al. 2005; Whittier et al. 2020):
cortex 800-1000 mg HA/ccm with pores, trabecular region 100-300 in the mean, made of a connected network of rods and
plates about 0.2 mm thick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from scipy.special import erfcinv

from SpineMotionToolsLib.phantoms.tomography import Ellipse

AIR, FAT, MARROW, MUSCLE, TENDON, SKIN = -391.2, -70.0, -30.0, 40.0, 75.0, 60.0
MATRIX = 750.0
"""Density of bone inside a trabecula."""

# Outlines as (degrees counter-clockwise from the side of the second bone, distance from the bone's middle in mm).
OUTLINES = {
    "radius": [(0, 12.6), (25, 13.3), (48, 11.9), (70, 10.0), (86, 10.3), (97, 10.8), (109, 10.2), (135, 11.2),
               (160, 13.6), (180, 14.9), (197, 13.8), (217, 10.7), (240, 8.6), (270, 7.6), (300, 8.9),
               (322, 11.6), (340, 13.2)],
    "ulna": [(0, 7.0), (60, 7.4), (120, 6.6), (180, 6.8), (240, 7.2), (300, 6.4)],
    "tibia": [(0, 17.3), (20, 18.3), (42, 20.6), (65, 20.2), (90, 18.8), (135, 19.6), (180, 20.4), (225, 19.8),
              (270, 18.2), (300, 19.6), (320, 20.9), (340, 18.4)],
    "fibula": [(0, 6.2), (70, 8.0), (140, 6.6), (200, 6.4), (260, 8.2), (320, 6.6)],
}  # fmt: skip
CORTEX_MM = {"radius": (0.75, 1.25), "ulna": (0.8, 1.5), "tibia": (1.0, 1.9), "fibula": (1.2, 2.4)}
SECOND_BONE = {"radius": "ulna", "tibia": "fibula"}
SITES = tuple(SECOND_BONE)


@dataclass(frozen=True)
class BoneSlab:
    """One bone on a square raster: density above the muscle around it, and where the raster's middle lies."""

    values: np.ndarray  # (slices, n, n) float32, mg HA/ccm above MUSCLE; zero outside the bone
    x_mm: float
    y_mm: float
    outline_mm: np.ndarray  # (angles, 2) periosteal outline of the middle slice, from the rotation axis


@dataclass(frozen=True)
class Limb:
    """Everything in the beam: bones, soft tissue that moves with them, and the cast that stays."""

    site: str
    pixel_mm: float
    bones: tuple[BoneSlab, ...]
    soft_tissue: tuple[Ellipse, ...]  # pixels; values in mg HA/ccm above what they lie in
    cast: tuple[Ellipse, ...]

    @property
    def main_bone(self) -> BoneSlab:
        return self.bones[0]


def make_limb(
    random: np.random.Generator, site: str, slices: int, pixel_mm: float, width_mm: float | None = None
) -> Limb:
    """A random limb; `width_mm` fixes the main bone's largest width."""
    mirror = random.choice([-1.0, 1.0])
    scale = random.uniform(0.88, 1.1) * random.normal(1, 0.02)
    if width_mm is not None:
        points = np.array(OUTLINES[site])
        scale = width_mm / np.ptp(points[:, 1] * np.cos(np.radians(points[:, 0])))
    turn = np.radians(random.normal(0, 10))
    density = random.uniform(0.0, 1.0)  # 0 osteoporotic, 1 dense: drives cortex and trabeculae together
    main = _Bone(random, site, scale, turn, mirror, density)
    bones = [main]
    second = _Bone(random, SECOND_BONE[site], scale * random.uniform(0.9, 1.1), random.uniform(0, 6.3), mirror, density)
    towards = turn + np.radians(random.normal(0 if site == "radius" else -18, 8))
    gap = random.uniform(1.5, 4.5)
    distance = main.radius_mm(towards) + second.radius_mm(towards + np.pi) + gap
    bones.append(second)
    centres = [np.zeros(2), distance * np.array([mirror * np.cos(towards), -np.sin(towards)])]

    outlines = [bone.outline() + centre for bone, centre in zip(bones, centres)]
    limb_middle, half_axes = _around(np.concatenate(outlines), random, site)
    centres = [centre - limb_middle for centre in centres]
    outlines = [outline - limb_middle for outline in outlines]
    slabs = tuple(
        BoneSlab(bone.density_slab(random, slices, pixel_mm), *centre, outline)
        for bone, centre, outline in zip(bones, centres, outlines)
    )
    soft = _soft_tissue(random, half_axes, outlines, pixel_mm)
    return Limb(site, pixel_mm, slabs, soft, _cast(random, half_axes, pixel_mm))


class _Bone:
    """Parameters of one bone, from which its density can be painted at any pixel size."""

    def __init__(self, random, name, scale, turn, mirror, density):
        angles, radii = np.array(OUTLINES[name]).T
        waves = sum(
            random.normal(0, 0.022 / order) * np.cos(order * np.radians(angles) + random.uniform(0, 6.3))
            for order in range(2, 6)
        )
        radii = radii * scale * (1 + waves)
        self._radius = CubicSpline(np.radians(np.append(angles, 360)), np.append(radii, radii[0]), bc_type="periodic")
        self.turn, self.mirror, self.density = turn, mirror, density
        self.taper = random.normal(0, 0.006)  # relative change of size per mm along the bone
        low, high = CORTEX_MM[name]
        self.cortex_mm = (low + (high - low) * np.clip(density + random.normal(0, 0.2), 0, 1)) * scale
        self.cortex_waves = [
            (order, random.uniform(0.08, 0.3) / order, random.uniform(0, 6.3)) for order in (1, 2, 3, 5)
        ]
        self.cortex_density = random.uniform(860, 960) + 70 * density
        self.porosity = random.uniform(0.005, 0.05) + 0.04 * (1 - density)
        self.spacing_mm = random.uniform(0.85, 1.15) * (1.25 - 0.4 * density)
        self.thickness_mm = random.uniform(0.13, 0.17) + 0.05 * density
        self.connected = 0.55 + 0.4 * density

    def radius_mm(self, angle):
        return self._radius(np.mod(angle - self.turn, 2 * np.pi))

    def outline(self, points: int = 72) -> np.ndarray:
        angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
        radius = self.radius_mm(angle)
        return np.stack([self.mirror * radius * np.cos(angle), -radius * np.sin(angle)], 1)

    def density_slab(self, random, slices: int, pixel_mm: float) -> np.ndarray:
        """Density above MUSCLE, (slices, n, n) float32."""
        half = int(np.ceil(1.08 * np.abs(self.outline(360)).max() / pixel_mm)) + 4
        n = 2 * half
        axis = (np.arange(n) - (n - 1) / 2) * pixel_mm
        x, y = np.meshgrid(self.mirror * axis, -axis)
        distance = np.hypot(x, y)
        angle = np.mod(np.arctan2(y, x) - self.turn, 2 * np.pi)
        radius, slope = self._radius(angle), self._radius(angle, 1)
        steepness = 1 / np.sqrt(1 + (slope / radius) ** 2)
        cortex = self.cortex_mm * (1 + sum(a * np.cos(k * angle + phase) for k, a, phase in self.cortex_waves))
        cortex = np.maximum(cortex, 0.4)

        network = _Network(random, n, pixel_mm, self.spacing_mm)
        pores = _Field(random, n, max(0.36 / pixel_mm, 3), 0.9 / pixel_mm, narrow=0.9)
        rough = _Field(random, n, 1.6 / pixel_mm, 3 / pixel_mm)
        patchy = _Field(random, n, 9 / pixel_mm, 12 / pixel_mm)
        pore_level = -np.sqrt(2) * float(erfcinv(2 * self.porosity))
        slab = np.zeros((slices, n, n), np.float32)
        for k in range(slices):
            z = k - (slices - 1) / 2
            depth = (radius * (1 + self.taper * z * pixel_mm) - distance) * steepness
            uneven = patchy.at(z)
            inner = depth - cortex - 0.14 * rough.at(z)  # beyond the endosteal surface, mm
            # Trabeculae are thicker and better connected near the cortex and in some parts of the section.
            near = np.exp(-np.maximum(inner, 0) / 2.5)
            thickness = self.thickness_mm * (1 + 0.3 * near + 0.18 * uneven)
            connected = self.connected + 0.25 * near + 0.22 * uneven
            rods = network.at(z, thickness, connected)
            porous = np.clip((pores.at(z) + pore_level + 0.5 * np.exp(-np.abs(inner) / 0.3)) * 1.6, 0, 1)
            compact = self.cortex_density * (1 - 0.8 * porous)
            marrow = MARROW + (MATRIX - MARROW) * rods
            share = np.clip(0.5 - inner / (1.6 * pixel_mm), 0, 1)
            inside = np.clip(depth / pixel_mm + 0.5, 0, 1)
            bone = inside * (share * compact + (1 - share) * marrow - MUSCLE)
            slab[k] = gaussian_filter(bone, 0.055 / pixel_mm)  # focal spot and detector pixel
        return slab


class _Field:
    """Smooth Gaussian random field of unit variance, a wavelength wide in the plane, that changes slowly along z."""

    def __init__(self, random, n: int, wavelength_px: float, z_length_px: float, modes: int = 3, narrow: float = 0.35):
        fast = scipy.fft.next_fast_len(n + n % 2, real=True)
        frequency = np.hypot(np.fft.fftfreq(fast)[:, None], np.fft.rfftfreq(fast)) * wavelength_px
        shape = np.exp(-(((frequency - 1) / narrow) ** 2) / 2).astype(np.float32)
        shape[0, 0] = 0
        white = random.standard_normal((2, 2 * modes, *shape.shape), dtype=np.float32)
        self._fields = scipy.fft.irfft2((white[0] + 1j * white[1]) * shape, overwrite_x=True)[:, :n, :n]
        self._fields /= np.sqrt((self._fields**2).mean((1, 2), keepdims=True) * modes)
        self._rates = random.normal(0, 1 / z_length_px, modes)

    def at(self, z: float) -> np.ndarray:
        turns = np.concatenate([np.cos(self._rates * z), np.sin(self._rates * z)]).astype(np.float32)
        return np.tensordot(turns, self._fields, 1)


class _Network:
    """Trabeculae: where either of two random fields changes sign, opened by a third field."""

    def __init__(self, random, n: int, pixel_mm: float, spacing_mm: float):
        wavelength = max(2 * spacing_mm / pixel_mm, 6)  # coarse voxels: a coarser network, still resolved
        self._sheets = [_Field(random, n, wavelength * random.uniform(0.85, 1.15), 0.8 / pixel_mm) for _ in range(2)]
        self._holes = _Field(random, n, wavelength * 0.7, 0.8 / pixel_mm)
        self._pixel_mm = pixel_mm

    def at(self, z: float, thickness_mm: np.ndarray, connected: np.ndarray) -> np.ndarray:
        """Share of bone in each pixel, 0..1."""
        rods = np.zeros_like(thickness_mm)
        for sheet in self._sheets:
            field = sheet.at(z)
            rise = np.hypot(*np.gradient(field)) / self._pixel_mm
            away = np.abs(field) / np.maximum(rise, 0.3 * rise.mean())
            rods = np.maximum(rods, np.clip((thickness_mm / 2 - away) / self._pixel_mm + 0.5, 0, 1))
        return rods * np.clip((self._holes.at(z) + 2.2 * (connected - 0.5)) * 2 + 0.5, 0.0, 1)


def _around(outlines: np.ndarray, random, site: str) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half axes (mm) of the skin around the bones' outlines."""
    low, high = outlines.min(0), outlines.max(0)
    front, back = (
        (random.uniform(3, 6), random.uniform(9, 15))
        if site == "radius"
        else (random.uniform(4, 8), random.uniform(9, 16))
    )
    low, high = low - [random.uniform(4, 8), front], high + [random.uniform(4, 8), back]
    middle = (low + high) / 2
    half = (high - low) / 2
    reach = np.sqrt((((outlines - middle) / half) ** 2).sum(1)).max()
    return middle, half * max(1, reach * 1.06)


def _soft_tissue(random, half_axes, outlines, pixel_mm) -> tuple[Ellipse, ...]:
    """Skin, fat under it, muscle, and tendons, vessels and fat lobules away from the bones."""
    turn = np.radians(random.normal(0, 4))
    fat_mm = random.uniform(1.2, 4.5)
    skin_mm = random.uniform(1.0, 1.8)
    layers = [(0.0, SKIN - AIR), (skin_mm, FAT - SKIN), (skin_mm + fat_mm, MUSCLE - FAT)]
    inner = half_axes - skin_mm - fat_mm
    reach = np.sqrt(((np.concatenate(outlines) / inner) ** 2).sum(1)).max()
    if reach > 0.97:  # a bone near the skin: the layer of fat thins out
        layers[1:] = [(skin_mm * 0.6, FAT - SKIN), (skin_mm * 0.6 + 0.5, MUSCLE - FAT)]
    ellipses = [Ellipse(0, 0, *((half_axes - inset) / pixel_mm), turn, value) for inset, value in layers]
    bones = np.concatenate(outlines)
    for _ in range(random.integers(14, 34)):
        radius = random.uniform(0.7, 3.6)
        angle, along = random.uniform(0, 2 * np.pi), np.sqrt(random.uniform(0.1, 0.9))
        place = along * (half_axes - 6) * [np.cos(angle), np.sin(angle)]
        if any(_contains(outline, place) for outline in outlines) or np.hypot(*(bones - place).T).min() < radius + 0.4:
            continue
        value = random.choice([TENDON - MUSCLE, FAT - MUSCLE, FAT - MUSCLE, 25.0])
        axes = radius * np.array([1, random.uniform(0.5, 1)])
        ellipses.append(Ellipse(*(place / pixel_mm), *(axes / pixel_mm), random.uniform(0, np.pi), value))
    return tuple(ellipses)


def _contains(outline: np.ndarray, place: np.ndarray) -> bool:
    """Whether a star-shaped outline holds a place."""
    middle = outline.mean(0)
    angle = np.arctan2(*(outline - middle).T[::-1])
    order = np.argsort(angle)
    radius = np.hypot(*(outline - middle).T)[order]
    seen = np.interp(np.arctan2(*(place - middle)[::-1]), angle[order], radius, period=2 * np.pi)
    return bool(np.hypot(*(place - middle)) < seen)


def _cast(random, half_axes, pixel_mm) -> tuple[Ellipse, ...]:
    """The carbon shell and cushion that hold the limb: faint, and not moving with it."""
    shell = half_axes.max() + random.uniform(3, 9)
    wall = random.uniform(1.2, 2.0)
    faint = random.uniform(60, 260)
    middle = random.normal(0, 1.5, 2) / pixel_mm
    rings = [Ellipse(*middle, *(np.array([shell, shell]) / pixel_mm), 0, faint)]
    rings.append(Ellipse(*middle, *(np.array([shell - wall, shell - wall]) / pixel_mm), 0, -faint))
    if random.random() < 0.5:  # a foam cushion fills the shell: it shows in the air round the limb only
        foam = random.uniform(8, 30)
        rings.append(Ellipse(*middle, *(np.array([shell - wall, shell - wall]) / pixel_mm), 0, foam))
    return tuple(rings)

"""Phantom frontal spine radiographs with known corners, for training, tests and sample data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from SpineMotionToolsLib.phantoms import radiograph_anatomy as anatomy
from SpineMotionToolsLib.phantoms import radiograph_hardships as hardships
from SpineMotionToolsLib.phantoms.radiograph_exposure import expose
from SpineMotionToolsLib.phantoms.spine_shape import SpineShape

# The part of the body between the picture's top and bottom edge, in the AASCE radiographs about C6 to S2.
PICTURE_HEIGHT_MM = (430.0, 560.0)
METAL_SHARE = 0.15
# How hard the pictures are, and in what share of them. "plain": every vertebra shows. "faint": thick patients, poor
# exposure, bowel gas, motion. "hidden": stretches, often an end, that only continuity and counting tell.
DEGREES = {"plain": 0.35, "faint": 0.3, "hidden": 0.35}


@dataclass(frozen=True)
class RadiographPhantom:
    """A made radiograph and its truth.

    `image` (rows, columns) uint8, bone bright. `corners_px` (68, 2): (row, column) of every corner, whole numbers at
    pixel centers.
    `pixel_spacing_mm`: (row, column); the two differ when the picture was made on a grid that does not keep its
    aspect.
    """

    image: np.ndarray
    corners_px: np.ndarray
    pixel_spacing_mm: tuple[float, float]


def degree_of(seed: int) -> str:
    """The degree of hardness that a phantom of this seed has among others."""
    return str(np.random.default_rng([seed, 23]).choice(list(DEGREES), p=list(DEGREES.values())))


def radiograph_phantom(
    shape: SpineShape,
    seed: int,
    size: tuple[int, int] = (512, 256),
    implants: bool | None = None,
    degree: str = "plain",
) -> RadiographPhantom:
    """A radiograph of `shape` on a grid of `size` (rows, columns); everything but the corners follows from `seed`.

    A grid whose aspect is not the shape's squeezes the picture, as the networks' input does. `implants`: with screws
    and rods (None: in 15 % of the seeds). `degree`: one of `DEGREES`.
    """
    rng, hard = np.random.default_rng([seed, 17]), np.random.default_rng([seed, 19])
    height_mm = rng.uniform(*PICTURE_HEIGHT_MM)
    spacing_mm = (height_mm / size[0], height_mm * shape.aspect / size[1])
    canvas = anatomy.Canvas.empty(size, spacing_mm)
    spine = _spine(shape, height_mm, rng)
    bone = rng.uniform(0.5, 1.5)  # osteopenic to dense, thick to thin patient
    hardness = {"plain": 0.0, "faint": hard.uniform(0.2, 1), "hidden": hard.uniform(0.05, 0.7)}[degree]
    look = anatomy.PLAIN
    if hardness:
        spine = replace(spine, rotation=np.clip(spine.rotation * hard.uniform(0.8, 1.6), -0.9, 0.9))
        look = anatomy.Look(*hard.uniform(0.4, 1.5, 5))

    anatomy.add_trunk(canvas, spine, rng)
    bones = anatomy.Canvas(np.zeros_like(canvas.attenuation), canvas.y, canvas.x)
    anatomy.add_shoulders(bones, spine, rng)
    anatomy.add_ribs(bones, spine, rng)
    anatomy.add_neighbours(bones, spine, bone, rng, look)
    visible = _visibility(rng)
    for level in range(17):
        strength = bone * visible[level] * rng.uniform(0.85, 1.15)
        anatomy.add_vertebra(bones, spine, spine.corners[level], spine.rotation[level], level, strength, rng, look)
    if degree == "hidden":
        for part in hardships.draw_hidden(hard):
            veil = hardships.veil(canvas, spine, part, hard)
            bones.attenuation *= 1 - veil
            canvas.attenuation += part.density * veil
    canvas.attenuation += bones.attenuation * (1 - 0.4 * hardness * hard.random())
    if hardness:
        hardships.add_clutter(canvas, spine, hardness, hard)
    if rng.random() < METAL_SHARE if implants is None else implants:
        anatomy.add_implants(canvas, spine, rng)
    cover = (lambda gray: hardships.cover_ends(gray, spine, canvas, hard)) if degree == "hidden" else None
    return RadiographPhantom(expose(canvas, rng, hardness, hard, cover), shape.corners_px(size), spacing_mm)


def _spine(shape: SpineShape, height_mm: float, rng: np.random.Generator) -> anatomy.Spine:
    """The shape in mm, with vertebrae turned towards the convex side, most where the spine is farthest from the
    midline.
    """
    corners = shape.corners.reshape(17, 4, 2) * height_mm
    centers = corners.mean(1)
    line = np.interp(centers[:, 0], centers[[0, -1], 0], centers[[0, -1], 1])
    bulge = ndimage.gaussian_filter1d(centers[:, 1] - line, 1.0)
    rotation = bulge / 60.0 * rng.uniform(0.3, 0.9) + rng.normal(0, 0.04, 17)
    return anatomy.Spine(corners, np.clip(rotation, -0.7, 0.7))


def _visibility(rng: np.random.Generator) -> np.ndarray:
    """(17,) how clearly each vertebra shows; in half of the pictures a stretch of the spine is hard to see."""
    visible = np.ones(17)
    if rng.random() < 0.5:
        middle, width = rng.choice([rng.uniform(-1, 4), rng.uniform(0, 17), rng.uniform(12, 17)]), rng.uniform(1.0, 3.0)
        visible -= rng.uniform(0.3, 0.75) * np.exp(-0.5 * ((np.arange(17) - middle) / width) ** 2)
    return visible

"""Training of the starter on phantom radiographs, on one CPU core, from the repository alone.

    spinemotion keypoints train starter --work FOLDER

The locator and the refiner are trained one after the other on the same phantoms; then the spines' shapes and the
refiner's errors on fresh phantoms are measured, and everything is written to one file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from SpineMotionToolsLib.common.weights import write_safetensors
from SpineMotionToolsLib.keypoints.anatomy import MIRRORED
from SpineMotionToolsLib.keypoints.preprocessing import GRID
from SpineMotionToolsLib.keypoints.starter_facts import learn_errors, learn_shape
from SpineMotionToolsLib.keypoints.starter_locator_training import train_locator
from SpineMotionToolsLib.keypoints.starter_network import StarterNetwork
from SpineMotionToolsLib.keypoints.starter_refiner_training import train_refiner
from SpineMotionToolsLib.keypoints.weights import STARTER, STARTER_FILE

ERROR_SEED = 2  # of the phantoms on which the refiner's errors are measured


def train(
    work: Path,
    steps: int = 1500,
    refiner_steps: int = 450,
    batch: int = 8,
    count: int = 5000,
    error_count: int = 300,
    seed: int = 0,
) -> Path:
    """Train in the folder `work` and return the weight file; a stopped run goes on from its last checkpoint."""
    images, corners = make_phantoms(work / "phantoms", count, seed)

    def batches(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        pick = np.sort(rng.choice(len(images), batch, replace=False))
        picture = torch.from_numpy(images[pick].copy()).float()[:, None] / 255
        return augment(picture, torch.from_numpy(corners[pick]), rng)

    network = StarterNetwork()
    network.locator.load_state_dict(train_locator(batches, work, steps, seed=seed).state_dict())
    network.refiner.load_state_dict(train_refiner(batches, work, refiner_steps, seed=seed).state_dict())
    learn_shape(network, corners)
    learn_errors(network.eval(), *make_phantoms(work / "phantoms", error_count, seed + ERROR_SEED))
    path = work / STARTER_FILE
    facts = {"steps": steps, "refiner_steps": refiner_steps, "batch": batch, "phantoms": count}
    write_starter(network, path, {name: str(value) for name, value in facts.items()})
    return path


def make_phantoms(folder: Path, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(images (n, 512, 256) uint8 memory-mapped, corners (n, 68, 2) float32), made on the first call and kept in
    `folder`.
    """
    from SpineMotionToolsLib.phantoms.radiograph import degree_of, radiograph_phantom
    from SpineMotionToolsLib.phantoms.spine_shape import load_model, random_view

    image_file, corner_file = folder / f"images-{seed}.npy", folder / f"corners-{seed}.npy"
    if not corner_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        model, rng = load_model(), np.random.default_rng(seed)
        images = np.lib.format.open_memmap(image_file, "w+", np.uint8, (count, *GRID))
        corners = np.empty((count, 68, 2), np.float32)
        for index in range(count):
            number = seed * 1_000_000 + index
            phantom = radiograph_phantom(random_view(model.sample(rng), rng), number, degree=degree_of(number))
            images[index], corners[index] = phantom.image, phantom.corners_px
            if index % 500 == 499:
                print(f"{index + 1} of {count} phantoms", flush=True)
        images.flush()
        np.save(corner_file, corners)
    return np.load(image_file, mmap_mode="r"), np.load(corner_file)


def augment(images: Tensor, corners: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random flip (with the labels exchanged), rotation, scale, shift, brightness, contrast and gamma of a batch.

    images (B, 1, H, W) in 0..1, corners (B, 68, 2) in pixels; both returned changed, the images in -1..1.
    """
    batch, _, rows, columns = images.shape
    flip = rng.random(batch) < 0.5
    angle = np.radians(rng.uniform(-8, 8, batch)) * (rng.random(batch) < 0.6)
    scale = rng.uniform(0.9, 1.12, (batch, 2)) * rng.uniform(0.97, 1.03, (batch, 1))
    shift = rng.uniform(-0.04, 0.04, (batch, 2)) * (rows, columns)
    # forward map of (row, column) about the center; the grid's pixels are about 0.74 times as wide as high
    aspect = 0.74
    cos, sin = np.cos(angle), np.sin(angle)
    forward = np.empty((batch, 2, 2))
    forward[:, 0, 0], forward[:, 0, 1] = cos * scale[:, 0], -sin * scale[:, 0] * aspect
    forward[:, 1, 0], forward[:, 1, 1] = sin * scale[:, 1] / aspect, cos * scale[:, 1]
    forward[flip, :, 1] *= -1
    center = np.array([(rows - 1) / 2, (columns - 1) / 2])
    matrix = torch.from_numpy(forward).float()
    moved = (corners - torch.tensor(center).float()) @ matrix.transpose(1, 2) + torch.tensor(center + shift).float()[
        :, None
    ]
    moved[flip] = moved[flip][:, torch.from_numpy(MIRRORED)]

    inverse = np.linalg.inv(forward)
    half = np.array([rows / 2, columns / 2])
    # grid_sample wants (x, y) in units of half the size
    theta = np.empty((batch, 2, 3))
    unit = inverse * (half[None, None, :] / half[None, :, None])
    offset = -(inverse @ shift[:, :, None])[:, :, 0] / half
    theta[:, 0, 0], theta[:, 0, 1], theta[:, 0, 2] = unit[:, 1, 1], unit[:, 1, 0], offset[:, 1]
    theta[:, 1, 0], theta[:, 1, 1], theta[:, 1, 2] = unit[:, 0, 1], unit[:, 0, 0], offset[:, 0]
    grid = functional.affine_grid(torch.from_numpy(theta).float(), list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)

    def each(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (batch, 1, 1, 1))).float()

    images = images.clamp(1e-3, 1) ** torch.exp(each(-0.4, 0.4))
    images = (images - 0.5) * each(0.75, 1.25) + 0.5 + each(-0.1, 0.1)
    return images.clamp(0, 1) * 2 - 1, moved


def write_starter(network: nn.Module, path: Path, facts: dict[str, str]) -> None:
    """The network's weights as safetensors, with what they are and `facts` about their training as metadata."""
    tensors = {
        name: _small(name, value)
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    about = {"model": STARTER, "trained_on": "phantom radiographs only; not validated on patients"}
    write_safetensors(path, tensors, {**about, **facts})


def _small(name: str, value: Tensor) -> np.ndarray:
    """Weights in half precision; what is measured, in single."""
    value = value.detach()
    return (value.half() if value.ndim > 1 and name.split(".")[0] in ("locator", "refiner") else value).numpy()

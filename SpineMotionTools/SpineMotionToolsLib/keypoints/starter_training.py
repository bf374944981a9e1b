"""Training of the starter network on phantom radiographs, on one CPU core, from the repository alone.

    spinemotion keypoints train starter --work FOLDER

The interaction follows the published "v2" recipe: random corners are given before the first prediction, then up to two
rounds predict, feed the maps back and give the worst corner, then one step is learned. Three things differ. Left-right
flips exchange the labels. A channel is learned as a probability over places (softmax), not as 8192 yes-or-no
questions, which needs far fewer steps. And one step in five learns the first prediction, without any hint, instead of
one in fifteen.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from SpineMotionToolsLib.common.weights import write_safetensors
from SpineMotionToolsLib.keypoints.anatomy import MIRRORED
from SpineMotionToolsLib.keypoints.hint_sampling import PROJECT_HINT_PROBABILITIES
from SpineMotionToolsLib.keypoints.starter_network import (
    GRID,
    HINT_STD,
    MAP,
    STRIDE,
    TARGET_STD,
    StarterNetwork,
    decode_points,
    feedback,
    windowed_mean,
)
from SpineMotionToolsLib.keypoints.weights import STARTER, STARTER_FILE

# The published shares of 1 to 10 hints, with more pictures without any; and of 0, 1 or 2 rounds before the learning
# step.
HINT_PROBABILITIES = np.append(0.4, 0.6 * PROJECT_HINT_PROBABILITIES[1:] / PROJECT_HINT_PROBABILITIES[1:].sum())
ROUND_PROBABILITIES = (0.5, 0.25, 0.25)


def make_phantoms(folder: Path, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(images (n, 512, 256) uint8 memory-mapped, corners (n, 68, 2) float32), made on the first call and kept in
    `folder`.
    """
    from SpineMotionToolsLib.phantoms.radiograph import radiograph_phantom
    from SpineMotionToolsLib.phantoms.spine_shape import load_model, random_view

    image_file, corner_file = folder / f"images-{seed}.npy", folder / f"corners-{seed}.npy"
    if not corner_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        model, rng = load_model(), np.random.default_rng(seed)
        images = np.lib.format.open_memmap(image_file, "w+", np.uint8, (count, *GRID))
        corners = np.empty((count, 68, 2), np.float32)
        for index in range(count):
            phantom = radiograph_phantom(random_view(model.sample(rng), rng), seed=seed * 1_000_000 + index)
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


def gaussians(points: Tensor, std: float) -> Tensor:
    """Unit-height Gaussians (B, K, *MAP) at points (B, K, 2) given in pixels of the grid."""
    profiles = []
    for axis in (0, 1):
        places = torch.arange(MAP[axis], dtype=points.dtype)
        profiles.append(torch.exp(-0.5 * ((places - points[..., axis, None] / STRIDE) / std) ** 2))
    return profiles[0][..., :, None] * profiles[1][..., None, :]


def location_loss(logits: Tensor, points: Tensor, std: float) -> Tensor:
    """Cross-entropy between the softmax over places and a Gaussian at the truth; corners outside the picture do not
    count.
    """
    rows, columns = logits.shape[2:]
    cell = GRID[0] / rows
    profiles = []
    for axis, n in ((0, rows), (1, columns)):
        profile = torch.exp(-0.5 * ((torch.arange(n, dtype=torch.float32) - points[..., axis, None] / cell) / std) ** 2)
        profiles.append(profile / profile.sum(-1, keepdim=True).clamp(min=1e-6))
    inside = ((points > 0) & (points < torch.tensor(GRID))).all(-1).float()
    logits = logits.float()
    agreement = ((logits @ profiles[1][..., None])[..., 0] * profiles[0]).sum(-1)
    return ((torch.logsumexp(logits.flatten(2), -1) - agreement) * inside).sum() / inside.sum()


def offset_loss(logits: Tensor, points: Tensor) -> Tensor:
    """Mean distance (cells) between the truth and the mean of the softmax within a soft window around the truth."""
    flat = logits.flatten(2).float()
    weight = torch.exp(flat - flat.detach().amax(-1, keepdim=True)).view(logits.shape)
    truth = points / STRIDE
    mean, _ = windowed_mean(weight, truth)
    inside = ((points > 0) & (points < torch.tensor(GRID))).all(-1).float()
    return ((mean - truth).abs().sum(-1) * inside).sum() / inside.sum()


class Simulation:
    """Hints of one batch: which corners were given, and the maps the network sees."""

    def __init__(self, corners: Tensor, rng: np.random.Generator):
        self.corners, self.rng = corners, rng
        self.given = torch.zeros(corners.shape[:2], dtype=torch.bool)
        self.maps = torch.zeros(*corners.shape[:2], *MAP)

    def give(self, sample: int, keypoint: int) -> None:
        place = self.corners[sample, keypoint] + torch.from_numpy(self.rng.normal(0, 0.4, 2)).float()
        self.given[sample, keypoint] = True
        self.maps[sample, keypoint] = gaussians(place[None, None], HINT_STD)[0, 0]

    def give_random(self, counts: np.ndarray) -> None:
        for sample, count in enumerate(counts):
            for keypoint in self.rng.choice(68, int(count), replace=False):
                self.give(sample, int(keypoint))

    def give_worst(self, points: Tensor) -> None:
        """One hint a sample at the corner whose prediction is farthest off and that was not given yet."""
        error = (points - self.corners).norm(dim=-1).masked_fill(self.given, -1)
        for sample, keypoint in enumerate(error.argmax(1).tolist()):
            self.give(sample, keypoint)


def train(
    work: Path, steps: int = 3000, batch: int = 8, count: int = 5000, peak_rate: float = 2.5e-3, seed: int = 0
) -> Path:
    """Train in the folder `work` and return the weight file; a stopped run goes on from its last checkpoint."""
    torch.manual_seed(seed)
    images, corners = make_phantoms(work / "phantoms", count, seed)
    network = StarterNetwork().to(memory_format=torch.channels_last)
    learn_shape(network, corners)
    coarse_head = nn.Conv2d(96, 68, 1)  # guides the coarse map during training only
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    parameters = [*network.parameters(), *coarse_head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=peak_rate, weight_decay=1e-4)
    checkpoint, start = work / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        coarse_head.load_state_dict(state["coarse_head"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    began, history = time.monotonic(), []
    for step in range(start, steps):
        rng = np.random.default_rng([seed, 1, step])
        rate = peak_rate * min(1, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-5
        for group in optimizer.param_groups:
            group["lr"] = rate
        pick = np.sort(rng.choice(len(images), batch, replace=False))
        picture = torch.from_numpy(images[pick].copy()).float()[:, None] / 255
        picture, truth = augment(picture, torch.from_numpy(corners[pick]), rng)
        with torch.autocast("cpu", torch.bfloat16):
            network.train()
            features = network.encode(picture.to(memory_format=torch.channels_last))
            hints = Simulation(truth, rng)
            hints.give_random(rng.choice(11, batch, p=HINT_PROBABILITIES))
            previous = torch.zeros_like(hints.maps)
            network.eval()
            with torch.no_grad():
                still = tuple(part.detach() for part in features)
                for _ in range(rng.choice(3, p=ROUND_PROBABILITIES)):
                    logits = network.decode(still, hints.maps, previous)[0].float()
                    previous = feedback(logits)
                    hints.give_worst(decode_points(logits))
            network.train()
            logits, coarse = network.decode(features, hints.maps, previous)
            guide = coarse_head(coarse)
        main, local, aux = (
            location_loss(logits, truth, TARGET_STD),
            offset_loss(logits, truth),
            location_loss(guide, truth, 0.8),
        )
        loss = main + local + 0.3 * aux
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        averaged.update_parameters(network)
        history.append([float(main.detach()), float(local.detach()), float(aux.detach())])
        if step % 50 == 49:
            mean = np.mean(history[-50:], 0).round(3)
            print(f"step {step + 1} {time.monotonic() - began:.0f} s loss: place, offset, coarse {mean}", flush=True)
        if step % 200 == 199 or step == steps - 1:
            state = {
                "network": network.state_dict(), "coarse_head": coarse_head.state_dict(),
                "averaged": averaged.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1,
            }  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
        if step % 1000 == 999 or step == steps - 1:
            print(json.dumps({"step": step + 1, "validation": validate(averaged.module, work)}), flush=True)
    path = work / STARTER_FILE
    write_starter(averaged.module, path, {"steps": str(steps), "batch": str(batch), "phantoms": str(count)})
    return path


def learn_shape(network: StarterNetwork, corners: np.ndarray) -> None:
    """Keep the mean and covariance of the training corners (n, 68, 2), and of their mirror images, in the network."""
    mirrored = corners[:, MIRRORED].copy()
    mirrored[..., 1] = GRID[1] - 1 - mirrored[..., 1]
    points = np.concatenate((corners, mirrored)).reshape(-1, 136).astype(np.float64)
    network.shape_mean.copy_(torch.from_numpy(points.mean(0)))
    network.shape_covariance.copy_(torch.from_numpy(np.cov(points.T)))


def write_starter(network: nn.Module, path: Path, facts: dict[str, str]) -> None:
    """The network's weights as safetensors, with what they are and `facts` about their training as metadata."""
    tensors = {
        name: value.detach().numpy()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    about = {"model": STARTER, "trained_on": "phantom radiographs only; not validated on patients"}
    write_safetensors(path, tensors, {**about, **facts})


def validate(network: nn.Module, work: Path, count: int = 48, hints: int = 5) -> list[float]:
    """Mean error (pixels of the grid) of the corners not given, after 0..hints worst-corner hints, on new phantoms."""
    images, corners = make_phantoms(work / "phantoms", count, seed=1)
    network.eval()
    totals = []
    with torch.inference_mode():
        for start in range(0, count, 8):
            picture = torch.from_numpy(images[start : start + 8].copy()).float()[:, None] / 127.5 - 1
            truth = torch.from_numpy(corners[start : start + 8])
            features = network.encode(picture.to(memory_format=torch.channels_last))
            simulation = Simulation(truth, np.random.default_rng(start))
            previous, row = torch.zeros_like(simulation.maps), []
            for _ in range(hints + 1):
                logits = network.decode(features, simulation.maps, previous)[0]
                points, previous = decode_points(logits), feedback(logits)
                error = (points - truth).norm(dim=-1)
                row.append(((error * ~simulation.given).sum(1) / (~simulation.given).sum(1)).numpy())
                simulation.give_worst(points)
            totals.append(row)
    return [round(float(value), 3) for value in np.concatenate(totals, 1).mean(1)]

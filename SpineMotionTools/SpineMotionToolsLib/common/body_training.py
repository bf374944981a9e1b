"""Training of small body-point networks on pictures with known joints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from SpineMotionToolsLib.common.body_network import BodyNetwork
from SpineMotionToolsLib.common.body_points import FIELDS, LIMBS, NETWORK_HEIGHT_PX, STRIDE, find_bodies, prepare
from SpineMotionToolsLib.common.engine import has_fast_bf16
from SpineMotionToolsLib.common.weights import write_safetensors

PEAK_SIGMA_CELLS = 0.9
LIMB_HALF_WIDTH_CELLS = 0.9
BODY_WEIGHT = 4.0
OUTPUT_LAYERS = ("conv5_5", "Mconv7")

Sample = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Number of the sample -> BGR uint8 picture (H,W,3) and joints (18,2) in its pixels."""


def targets(joints: np.ndarray, height_px: int, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Limb fields (38,h,w) and joint maps (19,h,w) of one person with joints (18,2) in a picture of this height."""
    cells = ((joints + 0.5) * NETWORK_HEIGHT_PX / height_px) / STRIDE - 0.5
    ys, xs = np.mgrid[: grid[0], : grid[1]]
    distance = (xs - cells[:, 0, None, None]) ** 2 + (ys - cells[:, 1, None, None]) ** 2
    maps = np.exp(-distance / (2 * PEAK_SIGMA_CELLS**2))
    fields = np.zeros((38, *grid))
    for (a, b), channels in zip(LIMBS, FIELDS):
        along = cells[b] - cells[a]
        length = np.hypot(*along)
        if length < 1e-6:
            continue
        along = along / length
        dx, dy = xs - cells[a, 0], ys - cells[a, 1]
        forward, aside = dx * along[0] + dy * along[1], np.abs(dx * along[1] - dy * along[0])
        inside = (forward >= -0.5) & (forward <= length + 0.5) & (aside <= LIMB_HALF_WIDTH_CELLS)
        fields[list(channels)] = inside * along[:, None, None]
    return fields.astype(np.float32), np.concatenate([maps, 1 - maps.max(axis=0)[None]]).astype(np.float32)


def train(
    sample: Sample,
    stages: int = 2,
    width: int = 20,
    steps: int = 1500,
    batch: int = 4,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> BodyNetwork:
    """A network trained on samples 0, 1, 2, ... (each seen once); one line every 50 steps.

    Narrower pictures of a batch are padded at the right. While the network trains, every hidden layer is
    batch-normalized, which is folded into the convolutions at the end: the layers stay the published ones and learn
    much faster. In bfloat16 where the processor is fast at it.
    """
    torch.manual_seed(seed)
    network = BodyNetwork(stages, width)
    _add_normalization(network)
    network.to(memory_format=torch.channels_last)
    half = has_fast_bf16()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    total = 0.0
    for step in range(steps):
        seen = [sample(number) for number in range(step * batch, (step + 1) * batch)]
        pictures = [prepare(picture)[0] for picture, _ in seen]
        widest = max(picture.shape[2] for picture in pictures)
        pictures = [np.pad(picture, ((0, 0), (0, 0), (0, widest - picture.shape[2]))) for picture in pictures]
        grid = (pictures[0].shape[1] // STRIDE, widest // STRIDE)
        aims = [targets(joints, picture.shape[0], grid) for picture, joints in seen]
        wanted = [torch.from_numpy(np.stack(part)) for part in zip(*aims)]
        loss = torch.zeros(())
        pixels = torch.from_numpy(np.stack(pictures)).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            stages = network.all_stages(pixels)[1]
        for outputs in stages:
            for got, want in zip(outputs, wanted):
                weight = 1 + BODY_WEIGHT * (want.abs() > 0.05)  # most of a map is empty, which is soon learned
                loss = loss + (weight * (got.float() - want) ** 2).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if step % 50 == 49:
            say(f"step {step + 1}: loss {total / 50:.4f}")
            total = 0.0
    network.eval()
    _fold_normalization(network)
    return network.to(memory_format=torch.contiguous_format)


def _add_normalization(network: BodyNetwork) -> None:
    """Put a batch normalization behind every convolution but the ones that give the maps."""
    for name, layer in list(network.named_children()):
        if not name.startswith(OUTPUT_LAYERS):
            setattr(network, name, torch.nn.Sequential(layer, torch.nn.BatchNorm2d(layer.out_channels)))


def _fold_normalization(network: BodyNetwork) -> None:
    for name, layer in list(network.named_children()):
        if isinstance(layer, torch.nn.Sequential):
            setattr(network, name, torch.nn.utils.fusion.fuse_conv_bn_eval(*layer))


def save(path: Path | str, network: BodyNetwork, trained_on: str) -> None:
    tensors = {name: value.numpy() for name, value in network.state_dict().items()}
    write_safetensors(path, tensors, {"starter": "true", "trained_on": trained_on})


def evaluate(network: BodyNetwork, sample: Sample, numbers: range) -> dict[str, float]:
    """Share of pictures with one person found, share of joints found, and their median error / picture height."""

    def run(tensor):
        with torch.inference_mode():
            fields, maps = network(torch.from_numpy(tensor))
        return fields[0].numpy(), maps[0].numpy()

    single, found, errors = 0, [], []
    for number in numbers:
        picture, joints = sample(number)
        bodies = find_bodies(picture, run)
        single += len(bodies.persons) == 1
        if len(bodies.persons):
            got = bodies.joints(int(np.argmax(bodies.persons[:, 19])))
            found.append(np.isfinite(got[:, 0]).mean())
            errors.append(np.linalg.norm(got[:, :2] - joints, axis=1) / picture.shape[0])
        else:
            found.append(0.0)
    error = np.concatenate(errors) if errors else np.array([np.nan])
    return {
        "one person found": round(single / len(numbers), 4),
        "joints found": round(float(np.mean(found)), 4),
        "median error / height": round(float(np.nanmedian(error)), 4),
    }

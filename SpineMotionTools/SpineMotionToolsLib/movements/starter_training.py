"""Makes the starter networks of the general-movements system from drawn infants.

Three commands, each about 20 minutes on one CPU core:

    python -m SpineMotionToolsLib.movements.starter_training background --out movements-background.safetensors
    python -m SpineMotionToolsLib.movements.starter_training points --out movements-body-points.safetensors
    python -m SpineMotionToolsLib.movements.starter_training classifier --out movements-classifier.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.files import write_json
from SpineMotionToolsLib.movements import adjusting, background, chunks, scores, torso
from SpineMotionToolsLib.movements.networks import Variant
from SpineMotionToolsLib.phantoms.infant import PATTERNS, infant_video

TRAINED_ON = "drawn infants (phantoms.infant)"
VARIANT = Variant(18, 18, "conv1x1", width=8)
TRAINING_SEEDS, VALIDATION_SEEDS, HELD_OUT_SEEDS = range(1000, 1120), range(2000, 2010), range(9000, 9010)


def sample_frame(number: int, size_px: tuple[int, int] = (320, 240)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BGR picture, joints (18,2) and mask (H,W) of one frame of a drawn infant of its own."""
    random = np.random.default_rng([number, 3])
    turn = random.uniform(-75, 75)
    phantom = infant_video(100_000 + number, PATTERNS[number % 3], seconds=2, size_px=size_px, turn_deg=turn)
    frame = int(random.integers(len(phantom.video)))
    picture = np.ascontiguousarray(phantom.video.picture(frame)[..., ::-1])
    return picture, phantom.joints(frame), phantom.mask(frame)


def sample_points(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and joints for the body-point network: with the background removed more often than not, in narrow and
    wide pictures, and in half of them turned upright on an enlarged canvas, as the second look at a video sees them.
    """
    random = np.random.default_rng([number, 7])
    size = (320, 240) if random.random() < 0.5 else (426, 240)
    picture, joints, mask = sample_frame(number, size)
    if number % 5 >= 2:
        picture = background.apply_mask(picture, _soft(mask, number))
    if random.random() < 0.5:
        degree = torso.trunk_of(torso.with_midpoints(joints[list(torso.TORSO_JOINTS)])).degree + random.normal(0, 8)
        picture = np.ascontiguousarray(adjusting.turn(picture, degree, enlarge=True))
        joints = adjusting.turned_points(joints, degree, size)
    return picture, joints


def _soft(mask: np.ndarray, number: int) -> np.ndarray:
    """A mask as a network would give it: edges blurred, a little too large or too small."""
    from scipy.ndimage import gaussian_filter

    shift = np.random.default_rng([number, 5]).uniform(-0.25, 0.25)
    return np.clip((gaussian_filter(mask.astype(np.float32), 1.5) - 0.5) * 2 + 0.5 + shift, 0, 1)


def train_background(steps: int, width: int, say):
    """A narrow U2-Net trained on frames and their masks, each seen once."""
    import torch
    from PIL import Image

    from SpineMotionToolsLib.movements.background_network import U2Net

    torch.manual_seed(0)
    network = U2Net(width)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    side = background.NETWORK_SIDE_PX
    total = 0.0
    for step in range(steps):
        pictures, masks = [], []
        for number in (2 * step, 2 * step + 1):
            picture, _, mask = sample_frame(number)
            pictures.append(background.network_input(picture)[0])
            masks.append(np.asarray(Image.fromarray(mask).convert("L").resize((side, side)), np.float32) / 255)
        wanted = torch.from_numpy(np.stack(masks)[:, None])
        loss = torch.zeros(())
        for logits in network.logits(torch.from_numpy(np.stack(pictures))):
            loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if step % 50 == 49:
            say(f"step {step + 1}: loss {total / 50:.4f}")
            total = 0.0
    return network.eval()


def overlap(network, numbers: range) -> float:
    """Mean Dice coefficient of the masks of held-out frames."""
    import torch

    values = []
    for number in numbers:
        picture, _, mask = sample_frame(number)
        with torch.inference_mode():
            fused = network(torch.from_numpy(background.network_input(picture)))[0][0, 0].numpy()
        found = background.mask_of(fused, mask.shape) > 0.5
        values.append(2 * np.count_nonzero(found & mask) / max(found.sum() + mask.sum(), 1))
    return float(np.mean(values))


def phantom_chunks(seeds: range, per_infant: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures (n,3,224,224), flows (n,12,224,224) as float16, labels (n,) and infants (n,) of drawn infants."""
    pictures, flows, labels, owners = [], [], [], []
    for owner, (seed, label) in enumerate((s, c) for s in seeds for c in range(len(PATTERNS))):
        phantom = infant_video(seed, PATTERNS[label])
        random = np.random.default_rng([seed, label, 11])
        samples = [
            torso.with_midpoints(phantom.torso(frame) + random.normal(0, 1.0, (4, 2)))
            for frame in range(0, len(phantom.video), torso.SAMPLE_STEP)
        ]
        rough = torso.rough_degree(samples)
        size = (phantom.video.width_px, phantom.video.height_px)
        turned = [torso.with_midpoints(adjusting.turned_points(points[:4], rough, size)) for points in samples]
        adjustment = torso.Adjustment(rough, torso.average_trunk(turned))
        for start in random.choice(chunks.starts(len(phantom.video)), per_infant, replace=False):
            chunk = chunks.chunk_at(int(start))
            adjusted = {}
            for frame in phantom.video.frames(chunk.frames):
                mask = _soft(phantom.mask(frame.number), frame.number + 10_000 * seed)
                masked = background.apply_mask(np.ascontiguousarray(frame.picture[..., ::-1]), mask)
                adjusted[frame.number] = adjusting.adjust(masked, adjustment)
            picture, flow = chunks.chunk_tensors(chunk, adjusted)
            pictures.append(picture.astype(np.float16))
            flows.append(flow.astype(np.float16))
            labels.append(label)
            owners.append(owner)
    return np.stack(pictures), np.stack(flows), np.array(labels), np.array(owners)


def train_classifier(epochs: int, work: Path, say):
    """The narrow two-stream network, and its figures on held-out infants."""
    import torch

    from SpineMotionToolsLib.movements.networks import TwoStream
    from SpineMotionToolsLib.movements.training import Chunks, Recipe, fit, predict

    training, validation = phantom_chunks(TRAINING_SEEDS, 3), phantom_chunks(VALIDATION_SEEDS, 3)
    say(f"{len(training[2])} training chunks, {len(validation[2])} validation chunks")
    recipe = Recipe(epochs=epochs, batch_size=16, learning_rate=1e-3, patience=4)
    torch.manual_seed(recipe.seed)
    network = fit(TwoStream(VARIANT), Chunks(*training[:3], mirrored=True), recipe, work, Chunks(*validation[:3]), say)
    *held_out, labels, owners = phantom_chunks(HELD_OUT_SEEDS, 12)
    logits = predict(network, Chunks(*held_out, labels))
    predicted, truth = scores.subject_classes(owners, labels, logits)
    chunk_figures, figures = scores.figures(labels, logits.argmax(axis=1)), scores.figures(truth, predicted)
    return network, {
        "held-out infants": len(truth),
        "chunk macro F1": round(chunk_figures["macro F1"], 4),
        "infant macro F1": round(figures["macro F1"], 4),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("background", "points", "classifier"))
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--work", type=Path, default=Path("runs/movements"), help="folder for checkpoints")
    parser.add_argument("--steps", type=int, help="training steps (background, points) or epochs (classifier)")
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, flush=True)

    if options.network == "background":
        network = train_background(options.steps or 300, 8, say)
        figures = {"held-out Dice": round(overlap(network, range(900_000, 900_060)), 4)}
    elif options.network == "points":
        from SpineMotionToolsLib.common.body_training import evaluate, train

        network = train(sample_points, steps=options.steps or 1500, say=say)
        figures = evaluate(network, sample_points, range(900_000, 900_060))
    else:
        network, figures = train_classifier(options.steps or 5, options.work, say)
    from SpineMotionToolsLib.movements.models import save_network

    save_network(options.out, network, TRAINED_ON)
    say(str(figures))
    write_json(options.out.with_suffix(".figures.json"), figures)


if __name__ == "__main__":
    main()

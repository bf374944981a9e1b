"""Makes the starter networks of the gait system from drawn walkers.

Two commands, about 15 and 10 minutes on one CPU core:

    python -m SpineMotionToolsLib.gait.starter_training classifier --out gait-classifier.safetensors
    python -m SpineMotionToolsLib.gait.starter_training points --out gait-body-points.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common import classification
from SpineMotionToolsLib.common.files import write_json
from SpineMotionToolsLib.gait import scores
from SpineMotionToolsLib.gait.clips import network_input, pick_frames
from SpineMotionToolsLib.gait.models import ClipSettings, save_model
from SpineMotionToolsLib.gait.patients import person_window, square_picture

SETTINGS = ClipSettings(frames=8, clip_s=1.0, size_px=112)
TRAINING_SEEDS, VALIDATION_SEEDS, HELD_OUT_SEEDS = range(1000, 1150), range(2000, 2025), range(9000, 9040)
SECONDS = 3
TRAINED_ON = "drawn walkers (phantoms.walker)"


def architecture():
    """The slow network of the paper, narrower and with one block a stage."""
    from SpineMotionToolsLib.gait.networks import Architecture

    return Architecture(
        "resnet",
        blocks=(1, 1, 1, 1),
        inner=(12, 24, 40, 64),
        outer=(32, 64, 96, 192),
        stem_width=16,
        first_kernels=((1,), (1,), (3,), (3,)),
        head_kernel=(8, 4, 4),
        dropout=0.3,
    )


def phantom_clips(seeds: range, settings: ClipSettings = SETTINGS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips (n,3,T,S,S) float32, labels (n,) and video numbers (n,) of walkers with these seeds, both classes each.

    Boxes are blurred by up to 4 % of the height, as a detector's would be.
    """
    from SpineMotionToolsLib.phantoms.walker import walker_video

    clips, labels, owners = [], [], []
    for owner, (seed, label) in enumerate((s, c) for s in seeds for c in (scores.ASD, scores.NON_ASD)):
        random = np.random.default_rng([seed, 7])
        phantom = walker_video(
            seed,
            stooped=label == scores.ASD,
            seconds=SECONDS,
            frame_rate_hz=random.choice([25.0, 30.0]),
            shake_px=random.choice([0.0, 0.0, 2.0]),
        )
        for second in range(SECONDS):
            numbers = phantom.video.frames_between(second, second + 1)
            numbers = numbers[pick_frames(len(numbers), settings.frames)]
            height = np.ptp(phantom.boxes[numbers][:, [1, 3]], axis=1)[:, None]
            boxes = phantom.boxes[numbers] + random.uniform(-0.04, 0.04, (1, 4)) * height
            frames = [frame.picture for frame in phantom.video.frames(numbers)]
            squares = [
                square_picture(person_window(f, b), settings.square_px) for f, b in zip(frames, boxes, strict=True)
            ]
            clips.append(network_input(np.stack(squares).transpose(3, 0, 1, 2), settings.size_px))
            labels.append(label)
            owners.append(owner)
    return np.stack(clips), np.array(labels), np.array(owners)


def sample_points(number: int) -> tuple[np.ndarray, np.ndarray]:
    """BGR square around a drawn walker of its own, cut as `pipeline.person_joints` cuts it, and its joints (18,2)."""
    from SpineMotionToolsLib.gait.pipeline import person_square
    from SpineMotionToolsLib.phantoms.walker import walker_video

    random = np.random.default_rng([number, 3])
    phantom = walker_video(100_000 + number, stooped=bool(number % 2), seconds=0.5)
    frame = int(random.integers(len(phantom.video)))
    box = phantom.boxes[frame]
    box = box + random.uniform(-0.04, 0.04, 4) * (box[3] - box[1])
    square, corner = person_square(phantom.video.picture(frame), box)
    return square, phantom.joints[frame] - corner


def lean_errors(network, seeds: range) -> list[float]:
    """Errors (degrees) of the measured trunk inclination of held-out walkers, boxes by motion."""
    from SpineMotionToolsLib.common.body_models import BodyModel
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.gait.models import load_model
    from SpineMotionToolsLib.gait.pipeline import score_video
    from SpineMotionToolsLib.phantoms.walker import walker_video

    engine = Engine("cpu").resolve()
    points, model = BodyModel(network, "", True, engine), load_model()
    errors = []
    for seed in seeds:
        phantom = walker_video(seed, stooped=bool(seed % 2), seconds=2.1)
        measures = score_video(phantom.video, model, points=points, ignore_quality=True).measures
        lean = measures.trunk_inclination_deg if measures else None
        errors.append(np.nan if lean is None else lean - phantom.walk.trunk_deg)
    return errors


def train_points(steps: int, say) -> tuple[Any, dict[str, float]]:
    """The narrow body-point network, and its figures on held-out walkers."""
    from SpineMotionToolsLib.common.body_training import evaluate, train

    network = train(sample_points, steps=steps, say=say)
    errors = np.array(lean_errors(network, range(9000, 9016)))
    return network, evaluate(network, sample_points, range(900_000, 900_060)) | {
        "walkers with a lean": round(float(np.isfinite(errors).mean()), 4),
        "median error of the lean (deg)": round(float(np.nanmedian(np.abs(errors))), 2),
    }


def train_classifier(epochs: int, work: Path, say) -> tuple[Any, dict[str, float]]:
    """The narrow slow network, and its figures on held-out walkers."""
    import torch
    from torch.utils.data import TensorDataset

    from SpineMotionToolsLib.gait.networks import VideoNet
    from SpineMotionToolsLib.gait.training import Recipe, fit, predict, with_weights

    random = np.random.default_rng(0)

    class Varied(TensorDataset):
        """Clips mirrored every other time, a little brighter or darker."""

        def __getitem__(self, index):
            clip, label = super().__getitem__(index)
            clip = clip * random.uniform(0.9, 1.1) + random.uniform(-0.2, 0.2)
            return (clip.flip(-1) if random.integers(2) else clip), label

    def dataset(kind, seeds):
        clips, labels, _ = phantom_clips(seeds)
        return kind(torch.from_numpy(clips), torch.from_numpy(labels))

    training, validation = dataset(Varied, TRAINING_SEEDS), dataset(TensorDataset, VALIDATION_SEEDS)
    say(f"{len(training)} training clips, {len(validation)} validation clips")
    recipe = Recipe(epochs=epochs, batch_size=16, learning_rate=2e-3, patience=6, rate_patience=2)
    torch.manual_seed(recipe.seed)
    network = VideoNet(architecture())
    best = fit(network, training, validation, SETTINGS, recipe, work, say)
    network = with_weights(network, best)

    clips, labels, owners = phantom_clips(HELD_OUT_SEEDS)
    logits = predict(network, TensorDataset(torch.from_numpy(clips), torch.from_numpy(labels)), 16)
    figures = scores.figures(logits, labels)
    of_video = np.array([logits[owners == owner].mean() for owner in np.unique(owners)])
    video_labels = np.array([labels[owners == owner][0] for owner in np.unique(owners)])
    return network, {
        "held-out phantoms": len(of_video),
        "clip AUROC": round(figures.auroc, 4),
        "clip accuracy": round(figures.accuracy, 4),
        "video AUROC": round(classification.auroc(video_labels == scores.NON_ASD, of_video), 4),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("classifier", "points"))
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--work", type=Path, default=Path("runs/gait"), help="folder for checkpoints")
    parser.add_argument("--steps", type=int, help="epochs (classifier) or training steps (points)")
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, flush=True)

    if options.network == "points":
        from SpineMotionToolsLib.common.body_training import save

        network, figures = train_points(options.steps or 900, say)
        save(options.out, network, TRAINED_ON)
    else:
        network, figures = train_classifier(options.steps or 12, options.work, say)
        save_model(options.out, network, SETTINGS, starter=True, trained_on=TRAINED_ON)
    say(str(figures))
    write_json(options.out.with_suffix(".figures.json"), figures)


if __name__ == "__main__":
    main()

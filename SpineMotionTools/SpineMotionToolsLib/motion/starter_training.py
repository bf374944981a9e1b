"""Training of the starter ensemble on simulated phantoms, from the repository alone, on one CPU core.

    python -m SpineMotionToolsLib.motion.starter_training --out FOLDER [--resume]
    python -m SpineMotionToolsLib.motion.starter_training --evaluate [--out FOLDER]

A base network learns from crops, then from whole slices. Ten members start from its convolutions with new dense layers
and go on with bones drawn anew (with replacement), seeds, orders and augmentation of their own. The second command
scans 100 bones that no training has seen and prints how the shipped ensemble grades them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import SpineMotionToolsLib
from SpineMotionToolsLib.common.console import say as say_line
from SpineMotionToolsLib.common.engine import has_fast_bf16
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.weights import read_tensors, write_safetensors
from SpineMotionToolsLib.motion.agreement import agreement, confusion
from SpineMotionToolsLib.motion.members import STARTER_FILE, Ensemble, load_ensemble
from SpineMotionToolsLib.motion.networks import CLASSES, INPUT_PX
from SpineMotionToolsLib.motion.starter_network import NormalizedNet, PoolFirstNet
from SpineMotionToolsLib.motion.starter_slices import Examples, stored_examples, two_grades
from SpineMotionToolsLib.motion.votes import RULES, count_votes, slice_decisions
from SpineMotionToolsLib.phantoms.hrpqct_anatomy import SITES

TRAIN_BONES, VALIDATION_BONES, TEST_BONES = 200, 24, 100
MEMBERS = 10
TRAINED_ON = "simulated HR-pQCT phantoms"
CROP_PX = 256
NEIGHBOR_SHARE = 0.05
"""Share of the target given to each neighboring grade: the scale is ordered."""


@dataclass(frozen=True)
class Phase:
    """Part of the training: pixels of the (cropped) input, passes over the slices, batch size, largest rate."""

    name: str
    pixels: int
    epochs: int
    batch: int
    rate: float


BASE_PHASES = (Phase("crops", CROP_PX, 24, 16, 5e-3), Phase("slices", INPUT_PX, 12, 8, 3e-3))
MEMBER_PHASE = Phase("member", INPUT_PX, 2, 8, 2e-3)


def train_ensemble(folder: Path, say: Callable[[str], None] = say_line) -> Path:
    """Make the slices, train base and members (each kept in `folder`, so that a stopped run goes on), join them."""
    folder.mkdir(parents=True, exist_ok=True)

    validation = stored_examples(folder, "validation", VALIDATION_BONES, progress=_say_tens)
    training = stored_examples(folder, "train", TRAIN_BONES, progress=_say_tens)
    base = folder / "base.safetensors"
    if not base.exists():
        net = _seeded(NormalizedNet, 0)
        for phase in BASE_PHASES:
            learn(net, phase, training, validation, seed=1000 + phase.pixels, say=say)
        write_safetensors(base, _state(net), {"title": "Shared base of the starter members, normalized"})
    members = {}
    for number in range(MEMBERS):
        path = folder / f"DNN_{number}.safetensors"
        if not path.exists():
            net = _seeded(NormalizedNet, number + 1)
            fresh = {name: tensor for name, tensor in _state(net).items() if name.startswith("fc")}
            shared = read_tensors(base) | fresh
            net.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in shared.items()})
            drawn = bootstrap(training, np.random.default_rng([number, 77]))
            learn(net, MEMBER_PHASE, drawn, validation, seed=number, say=lambda line, n=number: say(f"DNN_{n} {line}"))
            write_safetensors(path, net.folded(), {})
        members |= {f"DNN_{number}.{name}": tensor for name, tensor in read_tensors(path).items()}
    metadata = {
        "title": "Motion score starter ensemble",
        "trained_on": TRAINED_ON,
        "version": "1",
        "starter": "true",
        "library_version": SpineMotionToolsLib.__version__,
    }
    write_safetensors(folder / STARTER_FILE, members, metadata)
    return folder / STARTER_FILE


def _state(net: NormalizedNet) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}


def _seeded(kind: type, seed: int) -> PoolFirstNet:
    torch.manual_seed(seed)
    return kind().to(memory_format=torch.channels_last)


def bootstrap(examples: Examples, random: np.random.Generator) -> Examples:
    """As many bones, drawn with replacement, with all slices of each."""
    bones = np.unique(examples.bones)
    drawn = random.choice(bones, len(bones))
    chosen = np.concatenate([np.flatnonzero(examples.bones == bone) for bone in drawn])
    return Examples(*(getattr(examples, name)[chosen] for name in examples.__dataclass_fields__))


def learn(
    net: PoolFirstNet,
    phase: Phase,
    training: Examples,
    validation: Examples,
    seed: int,
    say: Callable[[str], None] = say_line,
) -> None:
    """Run one phase: AdamW with a one-cycle rate, cross-entropy against targets shared with the neighboring grades."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(net.parameters(), phase.rate, weight_decay=1e-4)
    steps = phase.epochs * (len(training) // phase.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, phase.rate, total_steps=steps + 1, pct_start=0.15)
    for epoch in range(phase.epochs):
        net.train()
        losses = []
        for images, targets in batches(training, phase, random):
            with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16()):
                logits = net.logits(images)
            loss = F.cross_entropy(logits.float(), targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        line = f"{phase.name} epoch {epoch + 1} of {phase.epochs}: loss {np.mean(losses):.3f}"
        if phase.pixels == INPUT_PX:
            grades = predict(net, validation.images)
            figures = agreement(list(zip(validation.grades.tolist(), grades.tolist())))
            line += f", validation kappa {figures.kappa_weighted_quadratic:.3f}, exact {figures.agreement_exact:.3f}"
        say(line)
    net.eval()


def batches(examples: Examples, phase: Phase, random: np.random.Generator) -> Iterator[tuple[torch.Tensor, ...]]:
    """Shuffled batches of images (n, 1, pixels, pixels) and soft targets (n, 5).

    A crop lies near the middle, where the bone is; flips and turns give the eight symmetries; contrast varies as
    with a hot voxel, which darkens a slice that is stretched to its extremes.
    """
    order = random.permutation(len(examples))
    for first in range(0, len(order) - phase.batch + 1, phase.batch):
        chosen = order[first : first + phase.batch]
        images = np.empty((phase.batch, phase.pixels, phase.pixels), np.uint8)
        room = INPUT_PX - phase.pixels
        for image, index in zip(images, chosen):
            top, left = np.clip(random.normal(room / 2, 60, 2), 0, room).astype(int)
            part = examples.images[index, top : top + phase.pixels, left : left + phase.pixels]
            image[:] = np.rot90(part[::-1] if random.random() < 0.5 else part, random.integers(4))
        gain = torch.from_numpy(random.uniform(0.75, 1.05, (phase.batch, 1, 1, 1)).astype(np.float32))
        levels = torch.from_numpy(images)[:, None].float().contiguous(memory_format=torch.channels_last) / 255
        yield (levels - 0.3) * gain + 0.3, soft_targets(examples.grades[chosen])


def soft_targets(grades: np.ndarray) -> torch.Tensor:
    """(n, 5) probabilities: most for the grade, a share for each neighbor."""
    away = np.abs(np.arange(1, CLASSES + 1) - grades[:, None])
    targets = np.where(away == 1, NEIGHBOR_SHARE, 0.0)
    targets[away == 0] = 1 - targets.sum(axis=1)
    return torch.from_numpy(targets.astype(np.float32))


@torch.no_grad()
def predict(net: PoolFirstNet, images: np.ndarray, precise: bool = False) -> np.ndarray:
    """Grades 1..5 of slices (n, 512, 512) uint8, in float32 when `precise`."""
    net.eval()
    grades = []
    for part in np.array_split(images, max(1, len(images) // 8)):
        levels = torch.from_numpy(part)[:, None].float().contiguous(memory_format=torch.channels_last) / 255
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16() and not precise):
            grades.append(net.logits(levels).argmax(dim=1).numpy() + 1)
    return np.concatenate(grades)


# ----- held-out figures


@dataclass(frozen=True)
class HeldOut:
    """How an ensemble grades slices of bones no training has seen."""

    truth: np.ndarray
    grades: np.ndarray
    sites: np.ndarray
    agreed: np.ndarray  # share of members that voted for the grade

    def text(self) -> str:
        """The figures, a line each, and the confusion matrix."""
        lines = []
        for name, chosen in {"both sites": slice(None), **{s: self.sites == i for i, s in enumerate(SITES)}}.items():
            truth, grades = self.truth[chosen].tolist(), self.grades[chosen].tolist()
            figures = agreement(list(zip(truth, grades)))
            away = np.abs(np.subtract(truth, grades))
            lines.append(
                f"{name}: {len(truth)} slices, quadratic weighted kappa {figures.kappa_weighted_quadratic:.3f}, "
                f"exact {figures.agreement_exact:.3f}, within one grade {np.mean(away <= 1):.3f}, "
                f"largest difference {away.max()}"
            )
        lines.append(f"mean member agreement {self.agreed.mean():.3f}")
        lines.append("truth (rows) by grade (columns), 1 to 5:")
        lines += ["  " + " ".join(f"{count:4d}" for count in row) for row in confusion(self._pairs())]
        return "\n".join(lines)

    def _pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.truth.tolist(), self.grades.tolist()))


def held_out(ensemble: Ensemble, folder: Path, progress: Progress = no_progress) -> HeldOut:
    """Grade 200 slices of 100 unseen bones by the votes of the members, in float32.

    Every grade comes 40 times, both sites alike; each slice is smoothed with its real neighbors. Slices are kept in
    `folder`.
    """
    examples = stored_examples(folder, "test", TEST_BONES, two_grades, neighbors=3, progress=progress)
    nets = [
        PoolFirstNet.from_tensors(member.tensors).to(memory_format=torch.channels_last) for member in ensemble.members
    ]
    classes = np.stack([predict(net, examples.images, precise=True) for net in nets]) - 1
    grades, agreed = slice_decisions(count_votes(classes, RULES["newer"]))
    return HeldOut(examples.grades, grades, examples.sites, agreed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m SpineMotionToolsLib.motion.starter_training", description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for slices and weights")
    parser.add_argument("--resume", action="store_true", help="go on with what the folder holds")
    parser.add_argument("--evaluate", action="store_true", help="print the held-out figures only")
    parser.add_argument("--weights", default="starter", help="ensemble to evaluate (default: the shipped one)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not options.evaluate:
        if options.out is None:
            parser.error("--out is needed: the folder the training works in")
        if options.out.is_dir() and any(options.out.iterdir()) and not options.resume:
            parser.error(f"{options.out} is not empty: give --resume to go on with it, or another folder")
        options.weights = train_ensemble(options.out)
        print(f"Weights: {options.weights}")
    with tempfile.TemporaryDirectory() as temporary:
        print(held_out(load_ensemble(options.weights), options.out or Path(temporary), _say_tens).text())
    return 0


def _say_tens(done: float, of: float, text: str = "") -> None:
    if done % 10 == 0 or done == of:
        say_line(f"{text}: {done:.0f} of {of:.0f}")


if __name__ == "__main__":
    sys.exit(main())

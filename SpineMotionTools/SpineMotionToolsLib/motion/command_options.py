"""What the motion commands share: how to grade, what is said about a run, and its exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from SpineMotionToolsLib.motion.batch import Choices, Outcome

CITATION = "Please cite: Walle M, et al. Bone 166 (2023) 116607, doi 10.1016/j.bone.2022.116607."
SOME_SKIPPED = 3
UNITS = ("auto", "native", "mu", "hu", "density", "density-from-hu", "bmd", "none")


def command(subparsers: argparse._SubParsersAction, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    """A command's parser with its help and the function that runs it."""
    parser = subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CITATION)
    parser.set_defaults(run=run)
    return parser


def add_choices(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to grade")
    group.add_argument(
        "--weights",
        "--model-dir",
        default="starter",
        metavar="WHICH",
        help="starter, folder or file of weights (.pt, .h5, .keras, .safetensors), or a model's id (default: starter, "
        "which is trained on simulated phantoms and not validated on patients)",
    )
    group.add_argument("--model-root", type=Path, metavar="DIR", help="folder of registered models")
    group.add_argument("--rules", choices=("newer", "legacy"), default="newer", help="published rules (default: newer)")
    group.add_argument(
        "--stack-height", "--stackheight", type=int, default=168, metavar="N", help="slices in a stack (default: 168)"
    )
    group.add_argument(
        "--incomplete",
        "--on-incomplete-stack",
        choices=("keep_last", "drop_last", "error"),
        default="keep_last",
        help="what happens to a short last stack (default: keep_last)",
    )
    group.add_argument("--slice-step", type=int, default=1, metavar="N", help="score every N-th slice (default: 1)")
    group.add_argument(
        "--unit",
        "--scaling",
        choices=UNITS,
        default="auto",
        help="voxel unit to score (default: auto, the stored numbers; for Scanco files under the legacy rules "
        "density-from-hu)",
    )
    group.add_argument("--crop", choices=("auto", "limb", "none"), default="auto", help="part to score (default: auto)")
    group.add_argument("--replace-nan", action="store_true", help="replace voxels that are not numbers")
    group.add_argument(
        "--engine", choices=("torch", "tensorflow"), default="torch", help="tensorflow runs .h5 as is (default: torch)"
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="auto: float32")
    group.add_argument("--threads", type=int, metavar="N", help="default: one per physical core")
    group.add_argument("--batch-size", "--slice-batch-size", type=int, metavar="N", help="slices at a time")


def add_review_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--confidence-threshold",
        "--threshold",
        type=int,
        metavar="PERCENT",
        help="scans with less member agreement go to review (default: as the study was reviewed so far, else 75)",
    )
    parser.add_argument(
        "--training-mode",
        "--blind",
        action=argparse.BooleanOptionalAction,
        help="hide the grades until a person graded (default: as the study was reviewed so far)",
    )


def choices_of(options: argparse.Namespace) -> Choices:
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.motion.batch import Choices
    from SpineMotionToolsLib.motion.registry import choose

    engine: Engine | str = Engine(options.device, options.precision, options.threads, options.batch_size)
    if options.engine == "tensorflow":
        engine = "tensorflow"
    return Choices(
        weights=choose(options.weights, options.model_root),
        rules=options.rules,
        stack_height=options.stack_height,
        incomplete=options.incomplete,
        slice_step=options.slice_step,
        unit=None if options.unit == "auto" else options.unit,
        crop=options.crop,
        replace_nan=options.replace_nan,
        engine=engine,
    )


def say_model(choices: Choices) -> None:
    if choices.weights.path is None:
        note = "Starter model: trained on simulated phantoms, not validated on patients."
    else:
        note = f"Model {choices.weights.model_id}. (The published weights are CC BY-NC-ND 4.0: no commercial use.)"
    print(f"{note} {CITATION}", file=sys.stderr)


def say_not_graded(outcome: Outcome) -> None:
    name = "" if outcome.reason.startswith(outcome.path.name) else f"{outcome.path.name}: "
    print(f"{outcome.status}: {name}{outcome.reason}", file=sys.stderr)


def status_of(outcomes: Sequence[Outcome]) -> int:
    """0, or 3 when scans were skipped; says how many."""
    skipped = sum(outcome.status == "skipped" for outcome in outcomes)
    if skipped:
        print(f"{skipped} of {len(outcomes)} files were skipped; the reasons stand above.", file=sys.stderr)
    return SOME_SKIPPED if skipped else 0

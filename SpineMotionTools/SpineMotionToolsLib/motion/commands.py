"""`spinemotion motion ...`: grading files and data sets, confirming grades, and the models at hand."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from SpineMotionToolsLib.common.console import progress_bar, say
from SpineMotionToolsLib.common.errors import Cancelled
from SpineMotionToolsLib.motion.command_options import (
    SOME_SKIPPED,
    add_choices,
    choices_of,
    command,
    say_model,
    say_not_graded,
    status_of,
)
from SpineMotionToolsLib.motion.dataset_commands import add_dataset_commands
from SpineMotionToolsLib.motion.review_commands import add_review_commands
from SpineMotionToolsLib.motion.training_commands import add_training_commands

if TYPE_CHECKING:
    from SpineMotionToolsLib.motion.batch import Outcome


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add grade, confirm, discover, predict, explain, the review, training and model commands."""
    _add_grade(subparsers)
    _add_confirm(subparsers)
    add_dataset_commands(subparsers)
    add_review_commands(subparsers)
    add_training_commands(subparsers)
    _add_models(subparsers)


# ----- grade


def _add_grade(subparsers: argparse._SubParsersAction) -> None:
    parser = command(subparsers, "grade", _grade, "grade scans and write pictures, tables and reports into one folder")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="AIM, ISQ or volume file, or a folder")
    parser.add_argument("--input", nargs="+", type=Path, default=[], metavar="FILE", help="the same, as published")
    parser.add_argument("--out", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--force", action="store_true", help="grade again what is already graded")
    parser.add_argument("--no-report", action="store_true", help="write no HTML reports")
    parser.add_argument("--dicom", action="store_true", help="also write DICOM reports (the scans must be DICOM)")
    add_choices(parser)


def _grade(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.batch import SUMMARY_NAME, grade_files

    choices = choices_of(options)
    say_model(choices)
    with progress_bar("grading") as progress:
        outcomes = grade_files(
            [*options.files, *options.input],
            options.out,
            choices,
            force=options.force,
            report=not options.no_report,
            progress=progress,
            on_outcome=_say_graded,
            dicom=options.dicom,
        )
    say(f"Summary: {options.out / SUMMARY_NAME}")
    if all(outcome.status == "left out" for outcome in outcomes):
        print("Nothing was graded. To grade a file left out for its name, rename it.", file=sys.stderr)
        return SOME_SKIPPED
    return status_of(outcomes)


def _say_graded(outcome: Outcome) -> None:
    """One line a scan, as the published command prints it, with what it lacks."""
    result = outcome.result
    if result is None:
        say_not_graded(outcome)
        return
    before = " (graded before)" if outcome.status == "kept" else ""
    stacks = ", ".join(f"{grade:.0f}" for grade in result.stack_grades)
    starter = ", starter model" if result.starter else ""
    say(
        f"Motion Score {outcome.name}: {result.grade} (member agreement {result.confidence_percent} %, stacks {stacks}"
        f"{starter}){before}"
    )
    for warning in result.warnings:
        print(f"  note: {warning}", file=sys.stderr)


# ----- confirm


def _add_confirm(subparsers: argparse._SubParsersAction) -> None:
    parser = command(subparsers, "confirm", _confirm, "look at uncertain grades, one picture at a time, and type yours")
    parser.add_argument("pictures", nargs="*", metavar="PNG", help="<scan>_<grade>_<percent>_motion.png, or a folder")
    parser.add_argument("--input", nargs="+", default=[], metavar="PNG", help="the same, as published")
    parser.add_argument("--out", "--output", type=Path, required=True, metavar="CSV", help="table of confirmed grades")
    parser.add_argument("--threshold", type=int, default=75, help="percent below which you are asked (default: 75)")
    parser.add_argument("--no-show", action="store_true", help="do not open the pictures")
    parser.add_argument("--strict", action="store_true", help="stop at the first bad name or answer, as published")


def _confirm(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.confirm import confirm

    pictures: list[str] = []
    for name in [*options.pictures, *options.input]:
        folder = Path(name)
        pictures += sorted(map(str, folder.glob("*_motion.png"))) if folder.is_dir() else [name]

    def ask(prompt: str) -> str:
        try:
            return input(prompt)
        except EOFError as error:
            raise Cancelled(f"stopped; your grades are in {options.out}. Run the same command to go on.") from error

    def show(picture: str) -> None:
        if not options.no_show:
            webbrowser.open(Path(picture).resolve().as_uri())

    confirm(pictures, options.out, ask, show, say, options.threshold, options.strict)
    return 0


# ----- models


def _add_models(subparsers: argparse._SubParsersAction) -> None:
    listing = command(subparsers, "model-list", _model_list, "list the registered ensembles")
    register = command(subparsers, "model-register", _model_register, "copy an ensemble into the models folder")
    register.add_argument("source", type=Path, help="folder, weight file, .zip or .tar archive")
    register.add_argument("--model-id", required=True, metavar="ID")
    for name in ("display-name", "domain", "version", "description", "source-model-id"):
        register.add_argument(f"--{name}", default="")
    register.add_argument("--make-default", action="store_true")
    for parser in (listing, register):
        parser.add_argument("--model-root", type=Path, metavar="DIR", help="folder of registered models")


def _model_list(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.registry import default_root, read_registry

    registry = read_registry(options.model_root or default_root())
    say("motion-starter: ships with SpineMotionTools, trained on simulated phantoms, not validated on patients")
    for model in registry.models:
        default = " (default)" if model.model_id == registry.default_id else ""
        version = f", version {model.version}" if model.version else ""
        say(f"{model.model_id}: {model.display_name}{version}, {model.checkpoint_count} networks{default}")
    return 0


def _model_register(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.registry import default_root, register

    names = ("display_name", "domain", "version", "description", "source_model_id")
    details = {name: getattr(options, name) for name in names}
    root = options.model_root or default_root()
    model = register(options.source, root, options.model_id, details, options.make_default)
    say(f"Registered {model.model_id} with {model.checkpoint_count} networks in {root / model.relative_dir}")
    return 0

"""`spinemotion motion discover | predict | explain`: data sets and their derivatives folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from SpineMotionToolsLib.common.console import progress_bar, say
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion.command_options import (
    SOME_SKIPPED,
    add_choices,
    add_review_mode,
    choices_of,
    command,
    say_model,
    say_not_graded,
    status_of,
)

if TYPE_CHECKING:
    from SpineMotionToolsLib.motion.batch import Choices, Outcome
    from SpineMotionToolsLib.motion.discovery import Discovery

FORMATS = ("aim", "isq", "volumes")


def add_dataset_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add discover, predict and explain."""
    _add_discover(subparsers)
    _add_predict(subparsers)
    _add_explain(subparsers)


def _add_discovery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--formats",
        default="auto",
        metavar="LIST",
        help=f"of {', '.join(FORMATS)}, with commas (default: auto, the first of these that is there)",
    )
    parser.add_argument(
        "--header-first",
        "--force-header-discovery",
        action="store_true",
        help="trust subject and site of the AIM header more than the file name",
    )


def _discovered(options: argparse.Namespace) -> Discovery:
    from SpineMotionToolsLib.motion.derivatives import results_root
    from SpineMotionToolsLib.motion.discovery import discover, discover_first_format

    formats = [name.strip().lower() for name in options.formats.split(",")]
    if unknown := [name for name in formats if name not in (*FORMATS, "auto")]:
        raise InputError(f"The format {unknown[0]!r} is not known; use auto or some of {', '.join(FORMATS)}.")
    exclude = results_root(options.root, getattr(options, "output_root", None)).absolute()
    if "auto" in formats:
        found = discover_first_format(options.root, options.header_first, exclude)
    else:
        found = discover(options.root, formats, header_first=options.header_first, exclude=exclude)
    if not found.scans and not found.conflicts:
        raise InputError(f"No scans ({', '.join(formats)}) are in {options.root}. Check the folder and --formats.")
    return found


def _add_discover(subparsers: argparse._SubParsersAction) -> None:
    parser = command(
        subparsers, "discover", _discover, "show which subject, site, session and stack each scan is taken for, as CSV"
    )
    parser.add_argument("root", type=Path, metavar="ROOT")
    parser.add_argument("--out", type=Path, metavar="CSV", help="write the table here, to edit and give to predict")
    _add_discovery(parser)


def _discover(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.files import write_text

    found = _discovered(options)
    if options.out:
        write_text(options.out, found.to_csv())
        say(f"{len(found.scans)} scans in {options.out}.")
        say(f"Correct it, then: spinemotion motion predict {options.root} --table {options.out}")
    else:
        sys.stdout.write(found.to_csv())
    for item in found.conflicts[:1]:
        print(f"note: {item.reason}", file=sys.stderr)
    return SOME_SKIPPED if found.conflicts else 0


def _add_predict(subparsers: argparse._SubParsersAction) -> None:
    text = "grade a data set into its derivatives folder; a stopped run goes on where it was"
    parser = command(subparsers, "predict", _predict, text)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder of the data set")
    parser.add_argument("--output-root", type=Path, metavar="DIR", help="results below this folder instead")
    _add_discovery(parser)
    parser.add_argument("--table", type=Path, metavar="CSV", help="an edited table of `discover`")
    parser.add_argument("--scan-id", action="append", default=[], metavar="ID", help="only this scan (may be repeated)")
    add_review_mode(parser)
    parser.add_argument("--manual-only", action="store_true", help="no networks: enter the scans for grading by people")
    parser.add_argument("--force", action="store_true", help="grade again what is already graded")
    parser.add_argument("--preview-panels", type=int, default=3, metavar="N", help="slices in the preview, 1 to 9")
    parser.add_argument("--preview-png", action=argparse.BooleanOptionalAction, default=True, help="write pictures")
    add_choices(parser)


def _predict(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.dataset import SUMMARY_NAME, PredictOptions, predict
    from SpineMotionToolsLib.motion.derivatives import results_root
    from SpineMotionToolsLib.motion.discovery import read_scan_table

    if not 0 <= (options.confidence_threshold or 0) <= 100:
        raise InputError(f"The threshold {options.confidence_threshold} is not a percentage; give 0 to 100.")
    found = read_scan_table(options.table, options.root) if options.table else _discovered(options)
    choices = choices_of(options)
    if not options.manual_only:
        say_model(choices)
    folder = options.root if options.root.is_dir() else options.root.parent
    root = results_root(folder, options.output_root)
    predict_options = PredictOptions(
        choices,
        options.confidence_threshold,
        options.training_mode,
        options.manual_only,
        options.force,
        options.preview_panels,
        options.preview_png,
    )
    with progress_bar("predicting") as progress:
        outcomes = predict(found, root, predict_options, options.scan_id, progress, _say_predicted)
    say(f"Results: {root} (what became of each file: {SUMMARY_NAME})")
    return status_of(outcomes)


def _say_predicted(outcome: Outcome) -> None:
    """One line a scan, without its grade: the person at the terminal may be the blind reviewer."""
    if outcome.status in ("graded", "kept", "explained"):
        say(f"{outcome.name}: {outcome.status}")
    elif outcome.status == "skipped":
        say_not_graded(outcome)


# ----- explain


def _add_explain(subparsers: argparse._SubParsersAction) -> None:
    parser = command(subparsers, "explain", _explain, "write where the networks looked (Grad-CAM), as .mha volumes")
    parser.add_argument("root", type=Path, metavar="ROOT", help="a predicted data set, or one scan file")
    parser.add_argument("--output-root", type=Path, metavar="DIR", help="where the data set's results are")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the map of one scan file")
    parser.add_argument("--scan-id", action="append", default=[], metavar="ID", help="only this scan (may be repeated)")
    text = (
        "which grade is explained: the scan's, as published (default), or each slice's own, comparable within the scan"
    )
    parser.add_argument("--mode", choices=("published", "per-slice"), default="published", help=text)
    parser.add_argument("--target-grade", type=int, choices=range(1, 6), metavar="1-5", help="explain this grade")
    add_choices(parser)


def _explain(options: argparse.Namespace) -> int:
    choices = choices_of(options)
    say_model(choices)
    if options.root.is_file():
        return _explain_file(options, choices)
    from SpineMotionToolsLib.motion.dataset import explain_dataset
    from SpineMotionToolsLib.motion.derivatives import find_results, results_root

    root = results_root(options.root, options.output_root) if options.output_root else find_results(options.root)
    with progress_bar("explaining") as progress:
        outcomes = explain_dataset(
            root, choices, options.mode, options.target_grade, options.scan_id, progress, _say_predicted
        )
    return status_of(outcomes)


def _explain_file(options: argparse.Namespace, choices: Choices) -> int:
    from SpineMotionToolsLib.motion import legacy
    from SpineMotionToolsLib.motion.dataset import save_attention
    from SpineMotionToolsLib.motion.pipeline import explain, open_scan

    if options.out is None:
        raise InputError("Say where the map goes: add --out FOLDER.")
    scan = open_scan(options.root, choices.unit, legacy=choices.rules == "legacy", crop=choices.crop)
    with progress_bar("explaining") as progress:
        attention = explain(
            scan,
            choices.weights.weights,
            None,
            options.mode,
            options.target_grade,
            choices.engine,
            progress,
            replace_nan=choices.replace_nan,
        )
    path = options.out / f"{legacy.scan_name(options.root)}_gradcam.mha"
    save_attention(path, attention, scan)
    say(f"Wrote {path}")
    return 0

"""`spinemotion motion train-prepare` and `train`: fine-tune an ensemble on a reviewed study (extra `[train]`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineMotionToolsLib.common.console import progress_bar, say
from SpineMotionToolsLib.motion.command_options import command


def add_training_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add train-prepare and train."""
    parser = command(subparsers, "train-prepare", _prepare, "choose slices of a reviewed study and keep their pixels")
    parser.add_argument("root", type=Path, metavar="ROOT", help="the data set or its results folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the table and the slices")
    parser.add_argument("--model-id", default="", metavar="ID", help="whose results and reviews count")
    parser.add_argument("--slice-count", type=int, default=8, metavar="N", help="slices a scan (0: every step-th)")
    parser.add_argument("--slice-step", type=int, default=1, metavar="N", help="step when the slice count is 0")
    parser.add_argument("--include-auto", action="store_true", help="also learn from sure automatic grades")
    parser.add_argument("--cv-folds", type=int, default=10, metavar="N", help="folds the subjects are dealt into")
    parser.add_argument("--seed", type=int, default=13)

    parser = command(subparsers, "train", _train, "fine-tune every member of an ensemble on prepared slices")
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="manifest.tsv that train-prepare wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for networks, figures and plots")
    parser.add_argument("--weights", default="starter", metavar="NAME", help="ensemble to start from")
    parser.add_argument("--classifier-epochs", type=int, default=20, metavar="N", help="most epochs of the last layers")
    parser.add_argument("--full-epochs", type=int, default=50, metavar="N", help="most epochs of the whole network")
    parser.add_argument(
        "--patience", type=int, default=10, metavar="N", help="epochs without improvement before it ends"
    )
    parser.add_argument("--rotate", action="store_true", help="also turn slices by 90, 180 and 270 degrees")
    parser.add_argument("--crop", action="store_true", help="also crop slices at random")
    parser.add_argument("--seed", type=int, default=13)


def _prepare(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.derivatives import find_results
    from SpineMotionToolsLib.motion.training import Sampling, train_prepare

    sampling = Sampling(
        slice_count=options.slice_count,
        slice_step=options.slice_step,
        include_automatic=options.include_auto,
        folds=options.cv_folds,
        seed=options.seed,
    )
    with progress_bar("preparing") as progress:
        prepared = train_prepare(find_results(options.root), options.out, sampling, options.model_id, progress)
    for scan, reason in prepared.skipped:
        say(f"Skipped {scan}: {reason}")
    say(f"{prepared.slices} slices of {prepared.scans} scans: {prepared.manifest}")
    return 3 if prepared.skipped else 0


def _train(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.training import METRICS_NAME, Recipe, train

    recipe = Recipe(
        classifier_epochs=options.classifier_epochs,
        full_epochs=options.full_epochs,
        patience=options.patience,
        rotate=options.rotate,
        crop=options.crop,
        seed=options.seed,
    )
    with progress_bar("training") as progress:
        train(options.manifest, options.out, options.weights, recipe, progress=progress, say=say)
    say(f"Networks and figures: {options.out / METRICS_NAME}")
    return 0

"""`spinemotion spine ...`: read spine MRI, fine-tune the grading heads."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineMotionToolsLib.common.console import progress_bar, say
from SpineMotionToolsLib.common.errors import InputError

CITATION = (
    "Please cite: Windsor R, Jamaludin A, Kadir T, Zisserman A. SpineNetV2, arXiv 2205.01683. Not a medical "
    "device; for "
    "research use only."
)
SOME_FAILED = 3


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add read and tune."""
    _add_read(subparsers)
    _add_tune(subparsers)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "--model", default="", metavar="WHICH", help="starter (default), published, or a folder of published weights"
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    group.add_argument("--threads", type=int, metavar="N", help="default: one per physical core")


def _add_read(subparsers: argparse._SubParsersAction) -> None:
    text = "find, label, grade and measure the vertebrae and discs in sagittal spine MRI"
    parser = subparsers.add_parser("read", help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CITATION)
    parser.set_defaults(run=_read)
    parser.add_argument("input", type=Path, metavar="INPUT", help="image file, DICOM folder, or a folder of cases")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--series", default="", metavar="WHICH", help="DICOM series: UID, number or part of its name")
    parser.add_argument("--again", action="store_true", help="read cases again that were finished before")
    parser.add_argument("--keep-single", action="store_true", help="keep bodies that only one slice shows")
    parser.add_argument(
        "--dicom", action="store_true", help="also write a DICOM segmentation and report (the scans must be DICOM)"
    )
    parser.add_argument("--free-skips", action="store_true", help="do not penalize levels left out in the count")
    group = parser.add_argument_group("numbering, where you know better than the networks; holds for all cases")
    group.add_argument("--lowest", default="", metavar="LEVEL", help="the lowest body in view, e.g. S1: count from it")
    group.add_argument("--highest", default="", metavar="LEVEL", help="the highest body in view, e.g. C2")
    group.add_argument("--lumbar", type=int, default=5, metavar="N", help="lumbar bodies: 4, 5 (default) or 6")
    group.add_argument("--thoracic", type=int, default=12, metavar="N", help="thoracic bodies: 11, 12 (default) or 13")
    _add_engine(parser)


def _read(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.engine import Engine

    from .batch import FAILED, KEPT, SUMMARY_NAME, find_cases, read_cases
    from .models import choose_models
    from .numbering import Numbering
    from .pipeline import Options

    if options.lowest and options.highest:
        raise InputError("Give --lowest or --highest, not both.")
    models = choose_models(options.model)
    engine = Engine(options.device, options.precision, options.threads)
    numbering = Numbering(options.thoracic, options.lumbar)
    for level in (options.lowest, options.highest):
        if level and level not in numbering.levels:
            raise InputError(f"There is no level {level!r}. Choose one of {', '.join(numbering.levels)}.")
    how = Options(
        penalise_skips=not options.free_skips,
        remove_single_slice_detections=not options.keep_single,
        numbering=numbering,
        lowest=options.lowest,
        highest=options.highest,
    )
    cases = find_cases(options.input, options.out)
    with progress_bar("Reading spines") as progress:
        rows = read_cases(
            cases, options.out, models, engine, how, options.series, options.again, progress, options.dicom
        )
    for row in rows:
        if row["status"] == FAILED:
            say(f"{row['case']}: {row['remarks']}")
            continue
        kept = ", kept from an earlier run" if row["status"] == KEPT else ""
        say(f"{row['case']}: {row['vertebrae']} vertebrae {row['levels']}".rstrip() + kept)
        if row["remarks"]:
            say(f"  note: {row['remarks']}")
    say(f"Results in {options.out}, overview in {options.out / SUMMARY_NAME}")
    for notice in models.notices:
        say(notice)
    failed = [row for row in rows if row["status"] == FAILED]
    if len(failed) == len(rows) == 1:
        raise InputError(failed[0]["remarks"])
    return SOME_FAILED if failed else 0


def _add_tune(subparsers: argparse._SubParsersAction) -> None:
    text = "fine-tune the grading heads on your own graded discs"
    parser = subparsers.add_parser("tune", help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CITATION)
    parser.set_defaults(run=_tune)
    parser.add_argument("input", type=Path, metavar="INPUT", help="folder of cases")
    parser.add_argument("truth", type=Path, metavar="CSV", help="columns case, level and grades as in grades.csv")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the new grading weights (.safetensors)"
    )
    parser.add_argument(
        "--held-out", type=float, default=0.25, metavar="PART", help="part of the cases for testing (default: 0.25)"
    )
    parser.add_argument("--epochs", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--seed", type=int, default=0)
    _add_engine(parser)


def _tune(options: argparse.Namespace) -> int:
    import numpy as np

    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.common.tables import shown

    from . import pipeline, training
    from .batch import find_cases
    from .inputs import read_scan
    from .models import choose_models

    models = choose_models(options.model)
    models.keep_loaded = True
    engine = Engine(options.device, options.precision, options.threads)
    truth = training.read_truth(options.truth)
    wanted = {case for case, _ in truth}
    cases = [(name, path) for name, path in find_cases(options.input) if name in wanted]
    if len(cases) < 2:
        raise InputError("Fine-tuning needs at least two graded cases whose names are in the table's column case.")
    order = np.random.default_rng(options.seed).permutation(len(cases))
    test = {cases[i][0] for i in order[: max(1, round(options.held_out * len(cases)))]}
    groups: dict[bool, list] = {True: [], False: []}
    with progress_bar("Finding discs") as progress:
        for number, (name, path) in enumerate(cases):
            progress(number, len(cases), name)
            scan = read_scan(path)
            groups[name in test].append((name, scan, pipeline.detect(scan, models, engine)))
    held_out = training.graded_discs(groups[True], truth, models, engine)
    discs = training.graded_discs(groups[False], truth, models, engine)
    network = models.network("grading").cpu()
    before = training.evaluate_heads(network, held_out)
    training.train_heads(network, discs, options.epochs, options.seed)
    after = training.evaluate_heads(network, held_out)
    note = f"{len(discs.features)} discs of {len(groups[False])} cases, {options.epochs} epochs"
    training.save_network(options.out, network, models.sources.get("grading"), note)
    say(f"Balanced accuracy on {len(held_out.features)} discs of {len(test)} held-out cases, before and after:")
    for column, value in after.items():
        say(f"  {column}: {shown(before[column], 2)} {shown(value, 2)}")
    say(f"Trained on {note}. Weights: {options.out}")
    for notice in models.notices:
        say(notice)
    return 0

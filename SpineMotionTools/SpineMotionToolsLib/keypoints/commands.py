"""`spinemotion keypoints ...`: find vertebrae in radiographs, evaluate networks, train them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from SpineMotionToolsLib.common.console import progress_bar, say
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.tables import Table, shown

CITATION = (
    "Please cite: Kim J, et al. Morphology-aware interactive keypoint estimation. MICCAI 2022, doi "
    "10.1007/978-3-031-16437-8_27. Not a medical device; for research use only."
)
SOME_FAILED = 3


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add detect, evaluate and train."""
    _add_detect(subparsers)
    _add_evaluate(subparsers)
    _add_train(subparsers)


def _command(subparsers: argparse._SubParsersAction, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CITATION)
    parser.set_defaults(run=run)
    return parser


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--weights", metavar="WHICH", help="weight file or catalogue id (default: the starter)")
    group.add_argument(
        "--decoding",
        choices=("expectation", "patch", "windowed", "hard", "shape"),
        help="default: as published for the network",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="float32")
    group.add_argument("--threads", type=int, metavar="N", help="default: one per physical core")


# ----- detect


def _add_detect(subparsers: argparse._SubParsersAction) -> None:
    parser = _command(subparsers, "detect", _detect, "find 68 vertebral corners and the Cobb angles in radiographs")
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="DICOM, PNG, JPEG, TIFF or NRRD, or a folder"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for pictures, tables and reports"
    )
    parser.add_argument(
        "--region", choices=("auto", "given"), default="auto",
        help="auto: look for the spine in wide, long and full-body pictures first (default)",
    )  # fmt: skip
    parser.add_argument("--dicom", action="store_true", help="also write DICOM reports (the pictures must be DICOM)")
    parser.add_argument("--mirrored", action="store_true", help="mirror the pictures left to right first")
    parser.add_argument("--upside-down", action="store_true", help="turn the pictures by 180 degrees first")
    parser.add_argument("--inverted", action="store_true", help="bone is dark: invert the gray levels first")
    _add_network_options(parser)


def _detect(options: argparse.Namespace) -> int:
    import csv

    from SpineMotionToolsLib.keypoints.batch import SUMMARY_NAME, detect_files
    from SpineMotionToolsLib.keypoints.inputs import HEAD_DOWN, LATERAL_FILE
    from SpineMotionToolsLib.keypoints.placement import LATERAL_NOTE

    names = ("weights", "decoding", "device", "precision", "threads", "region", "mirrored", "upside_down", "inverted")
    parameters = {name: getattr(options, name) for name in names}
    with progress_bar("Reading radiographs") as progress:
        written = detect_files(
            {**parameters, "images": options.images, "out": options.out, "dicom": options.dicom}, progress
        )
    failed = 0
    with (options.out / SUMMARY_NAME).open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if angle := row["largest Cobb angle"]:
                ends = f"{row['upper end vertebra']}-{row['lower end vertebra']}"
                say(f"{row['file']}: largest Cobb angle {float(angle):.0f}°, {ends}, check {row['check first']} first")
                if "unsure about this picture" in row["remarks"]:
                    say("  note: the network is unsure about this picture. Check that it is a frontal spine, head up.")
                for note in (LATERAL_FILE, LATERAL_NOTE, HEAD_DOWN):
                    if note in row["remarks"]:
                        say(f"  note: {note}")
            else:
                failed += 1
                say(f"{row['file']}: {row['remarks']}")
    say(f"{len(written)} files in {options.out}")
    if options.weights is None:
        say("Starter model: trained on phantoms only, not validated on patients.")
    return SOME_FAILED if failed else 0


# ----- evaluate


def _add_evaluate(subparsers: argparse._SubParsersAction) -> None:
    parser = _command(subparsers, "evaluate", _evaluate, "print errors, clicks and angles on labeled pictures")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--landmarks", type=Path, metavar="CSV",
        help="table of real landmark sets: phantoms get the spines that were kept out of the shape model",
    )  # fmt: skip
    source.add_argument("--aasce", type=Path, metavar="DIR", help="the AASCE data set; its test pictures are used")
    parser.add_argument("--count", type=int, metavar="N", help="use the first N pictures (phantoms: 100)")
    parser.add_argument(
        "--clicks", type=int, metavar="N", help="simulated corrections a picture (phantoms: 5, AASCE: 10)"
    )
    parser.add_argument(
        "--protocol", choices=("fair", "project", "miccai"), default="fair",
        help="how the next click is chosen: by true distance (fair), or as in a published program (default: fair)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write the tables as CSV there")
    _add_network_options(parser)


def _evaluate(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.keypoints import evaluation
    from SpineMotionToolsLib.keypoints.pipeline import load_predictor

    if options.count is not None and options.count < 1:
        raise InputError("There is nothing to evaluate. Give --count 1 or more.")
    engine = Engine(options.device, options.precision, options.threads)
    predictor = load_predictor(options.weights, engine, options.decoding)
    if options.aasce is not None:
        from SpineMotionToolsLib.keypoints import aasce

        images = [image for image in aasce.read_dataset(options.aasce) if image.set == "test"][: options.count]
        samples, total, clicks = aasce.samples(images, truncate=options.protocol == "project"), len(images), 10
    else:
        total, clicks = options.count or 100, 5
        samples = evaluation.phantom_samples(options.landmarks, total)
    clicks = clicks if options.clicks is None else options.clicks
    with progress_bar("Evaluating") as progress:
        found = evaluation.evaluate(predictor, samples, clicks, options.protocol, progress, total)
    say(f"Network {predictor.loaded.name}, decoding {predictor.decoding}")
    if options.aasce is None:
        kept = "real landmark sets kept out of the shape model" if options.landmarks else "drawn from the shape model"
        say(f"Phantom radiographs of 512 x 256 pixels, spines {kept}")
    tables = [found.course_table(), found.clicks_table()]
    for table in tables:
        say()
        print_table(table)
    if found.clicks > 1:
        say(f"\nRelative correction by the second prediction: {found.first_correction_percent():.1f} %")
    if options.out is not None:
        for table, name in zip(tables, ("course", "clicks")):
            table.to_csv(options.out / f"keypoints-{name}.csv")
    return 0


def print_table(table: Table) -> None:
    """The table as aligned text."""
    cells = [[column.title for column in table.columns]]
    cells += [[shown(value, column.digits) for value, column in zip(row, table.columns)] for row in table.rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(table.columns))]
    say(table.name)
    for row in cells:
        say("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


# ----- train


def _add_train(subparsers: argparse._SubParsersAction) -> None:
    parser = _command(subparsers, "train", _train, "train the starter on phantoms, or a published network on AASCE")
    parser.add_argument(
        "recipe", choices=("starter", "project-v1", "project-v2", "miccai"),
        help="starter needs nothing but this program; the others need the AASCE data set and the extra [train]",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder for checkpoints and weights")
    parser.add_argument("--aasce", type=Path, metavar="DIR", help="the AASCE data set")
    parser.add_argument("--network", default="unet", help="hrnet-ocr, unet, ... (default: unet)")
    parser.add_argument(
        "--imagenet", type=Path, metavar="FILE", help="HRNetV2-W32 classification weights to start from"
    )
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--steps", type=int, metavar="N", help="of the starter's training")


def _train(options: argparse.Namespace) -> int:
    if any(count is not None and count < 1 for count in (options.epochs, options.steps)):
        raise InputError("There is nothing to train. Give --epochs and --steps 1 or more.")
    if options.recipe == "starter":
        from SpineMotionToolsLib.keypoints import starter_training

        steps = {"steps": options.steps} if options.steps else {}
        path = starter_training.train(options.work, **steps)
    else:
        if options.aasce is None:
            raise InputError("This recipe needs the AASCE data set. Give its folder with --aasce.")
        from SpineMotionToolsLib.keypoints import aasce, training

        count = aasce.MICCAI_VALIDATION if options.recipe == "miccai" else aasce.PROJECT_VALIDATION
        images = aasce.with_validation(aasce.read_dataset(options.aasce), count)
        path = training.train(
            options.network, options.recipe, images, options.work, options.imagenet, options.epochs
        )  # fmt: skip
    say(f"Weights: {path}")
    return 0

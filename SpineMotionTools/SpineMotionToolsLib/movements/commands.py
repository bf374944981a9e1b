"""`spinemotion movements ...`: scoring videos of infants' general movements."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from SpineMotionToolsLib.common.console import progress_bar, quiet_training, say

if TYPE_CHECKING:
    from SpineMotionToolsLib.movements.results import MovementResult

CITATION = "Please cite: two-stream general movements assessment, MICCAI 2022, arXiv 2207.03344."
SOME_FAILED = 3


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add score, prepare and train."""
    _add_score(subparsers)
    _add_prepare(subparsers)
    _add_train(subparsers)


def _add_score(subparsers) -> None:
    text = "score videos of infants: writhing movements, fidgety movements or poor repertoire"
    parser = _command(subparsers, "score", _score, text)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for tables and reports")
    group = parser.add_argument_group("classifier")
    group.add_argument("--weights", type=Path, metavar="FILE", help="such as best_weights.pth (default: the starter)")
    _add_infant(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--explain", action="store_true", help="activation maps in the report")
    group.add_argument("--overlay", action="store_true", help="a video with scores and activation")
    group.add_argument("--show-faces", action="store_true", help="do not blur the face in the overlay video")
    group.add_argument("--no-report", action="store_true", help="write no HTML reports")
    group.add_argument("--ignore-quality", action="store_true", help="score below the quality gate too")
    _add_computer(parser)


def _command(subparsers, name: str, run, text: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CITATION)
    parser.set_defaults(run=run)
    return parser


def _add_infant(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("infant")
    group.add_argument("--background-weights", metavar="FILE", help="u2net.pth (default: the starter)")
    group.add_argument("--points-weights", metavar="FILE", help="body_pose_model.pth (default: the starter)")
    group.add_argument("--age-weeks", type=float, metavar="W", help="age after term, corrected for prematurity")
    group.add_argument("--keep-background", action="store_true", help="do not remove the background")
    group.add_argument("--torso", type=Path, metavar="CSV", help="torso points by hand: frame, point, x, y")
    group.add_argument("--rgb", action="store_true", help="feed U2-Net colors in the order it was trained on")
    group.add_argument("--clean", action="store_true", help="keep only the largest part of the mask")


def _add_computer(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("computer")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    group.add_argument("--threads", type=int, metavar="N", help="default: one per physical core")


def _score(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.video_folders import score_all
    from SpineMotionToolsLib.movements import report

    failed = score_all(options.videos, options.out, partial(_score_each, options), report.write_summary)
    return SOME_FAILED if failed else 0


def _score_each(options: argparse.Namespace, paths: list[Path], results: list[MovementResult]) -> int:
    """Score the videos one after the other, append to `results`, and return how many failed."""
    from SpineMotionToolsLib.common.errors import CONCERNS_ALL, reason_of
    from SpineMotionToolsLib.common.video_folders import below_given, result_names
    from SpineMotionToolsLib.movements.results import MovementResult
    from SpineMotionToolsLib.movements.tasks import score

    infant, below, failed = _infant(options), below_given(paths, options.videos), 0
    # The study keeps every infant's video as <infant>/video.mp4.
    wanted = [b.with_stem(p.absolute().parent.name) if b.stem.lower() == "video" else b for b, p in zip(below, paths)]
    with progress_bar("scoring") as progress:
        for number, (path, place, name) in enumerate(zip(paths, below, result_names(wanted))):

            def part(done: float, of: float, text: str = "", number: int = number, place: Path = place) -> None:
                progress(number + done / max(of, 1e-9), len(paths), f"{place} {text}")

            own = {"infant": infant, "folder": str(options.out / name.parent), "name": name.name}
            try:
                done = score(_parameters(options, path) | own, part)
            except CONCERNS_ALL:
                raise
            except Exception as error:  # one video's fault must not cost the others their turn
                failed += 1
                print(f"{place}: {reason_of(error, path)}", file=sys.stderr)
                continue
            result = replace(MovementResult.from_json(done["result"]), video=place.as_posix())
            results.append(result)
            _say(result)
            for sentence in done["problems"]:
                failed += 1
                print(f"{place}: {sentence}", file=sys.stderr)
    return failed


def _say(result: MovementResult) -> None:
    starter = " (starter models, not validated on patients)" if result.provenance.starter else ""
    if result.chunks:
        share = result.mean_probabilities[result.predicted]
        say(f"{result.video}: {result.answer}, probability {share:.3f} over {len(result.chunks)} seconds{starter}")
    else:
        say(f"{result.video}: not scored. {result.why_not}")
    for sentence in result.warnings:
        print(f"  note: {sentence}", file=sys.stderr)


def _parameters(options: argparse.Namespace, path: Path) -> dict:
    return {
        "video": str(path),
        "model": str(options.weights) if options.weights else None,
        "ignore_quality": options.ignore_quality,
        "explain": options.explain,
        "overlay": options.overlay,
        "face_hidden": not options.show_faces,
        "report": not options.no_report,
        "device": options.device,
        "precision": options.precision,
        "threads": options.threads,
    }


def _infant(options: argparse.Namespace) -> dict:
    from SpineMotionToolsLib.movements.inputs import read_torso

    torso = {k: v.tolist() for k, v in read_torso(options.torso).items()} if options.torso else {}
    return {
        "background": "keep" if options.keep_background else "network",
        "background_file": options.background_weights,
        "points": "manual" if torso else "network",
        "points_file": options.points_weights,
        "torso": torso,
        "rgb": options.rgb,
        "clean": options.clean,
        "age_weeks": options.age_weeks,
    }


def _add_prepare(subparsers) -> None:
    text = "prepare labeled videos for training: adjusted pictures, flow and fold tables in the study's folders"
    parser = _command(subparsers, "prepare", _prepare, text)
    parser.add_argument(
        "root", type=Path, metavar="DIR", help="folder with WMs, FMs and PR, one folder per infant in each"
    )
    _add_infant(parser)
    _add_computer(parser)


def _prepare(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.common.errors import CONCERNS_ALL, reason_of
    from SpineMotionToolsLib.movements.dataset import (
        forget_chunks,
        labeled_infants,
        write_chunk_files,
        write_fold_tables,
    )
    from SpineMotionToolsLib.movements.pipeline import Models, prepared_chunks
    from SpineMotionToolsLib.movements.tasks import infant_of

    infants, failed = labeled_infants(options.root), 0
    infant = infant_of(_infant(options))
    models = Models(None, infant, Engine(options.device, options.precision, options.threads).resolve())
    with progress_bar("preparing") as progress:
        for number, labeled in enumerate(infants):
            progress(number, len(infants), labeled.folder.name)
            forget_chunks(labeled.folder)
            try:
                for chunk, pictures in prepared_chunks(labeled.video, models, infant):
                    write_chunk_files(labeled.folder, chunk, pictures)
            except CONCERNS_ALL:
                raise
            except Exception as error:
                failed += 1
                print(f"{labeled.folder.name}: {reason_of(error, labeled.folder)}", file=sys.stderr)
    write_fold_tables(options.root, infants)
    say(f"Folds: {options.root / 'fold'}")
    return SOME_FAILED if failed else 0


def _add_train(subparsers) -> None:
    parser = _command(subparsers, "train", _train, "cross-validate a network on prepared infants")
    parser.add_argument("root", type=Path, metavar="DIR", help="folder prepared with `spinemotion movements prepare`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for weights and tables")
    parser.add_argument(
        "--spatial",
        type=int,
        default=50,
        metavar="DEPTH",
        help="of its ResNet (default: 50); 0: none, with --fusion sum",
    )
    parser.add_argument(
        "--temporal",
        type=int,
        default=50,
        metavar="DEPTH",
        help="of its ResNet (default: 50); 0: none, with --fusion sum",
    )
    parser.add_argument(
        "--fusion", choices=("conv1x1", "sum"), default="conv1x1", help="of the streams (default: conv1x1)"
    )
    parser.add_argument("--epochs", type=int, default=499, metavar="N", help="default: 499")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="default: 64")
    parser.add_argument("--learning-rate", type=float, default=1e-5, metavar="RATE", help="default: 1e-5")


def _train(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.report import Report
    from SpineMotionToolsLib.movements.dataset import labeled_infants, read_prepared, remarks
    from SpineMotionToolsLib.movements.networks import TwoStream, Variant

    infants = labeled_infants(options.root)
    from SpineMotionToolsLib.movements.training import Chunks, Recipe, cross_validate  # takes seconds: Lightning

    streams = options.spatial or None, options.temporal or None
    variant = Variant(*streams, options.fusion if all(streams) else "sum")
    recipe = Recipe(options.epochs, options.batch_size, options.learning_rate)
    *chunks, owners = read_prepared(infants)
    names = [infants[owner].folder.relative_to(options.root).as_posix() for owner in owners]
    with quiet_training():
        found = cross_validate(lambda: TwoStream(variant), Chunks(*chunks), names, recipe, options.out, say)
    report = Report("General movements: cross-validation")
    for sentence in remarks(infants):
        print(sentence, file=sys.stderr)
        report.warning(sentence)
    tables = {
        "result": found.table(),
        "confusion": found.confusion(),
        "subject_result": found.subject_table(),
        "chunk_result": found.chunk_table(),
    }
    for name, table in tables.items():
        table.to_csv(options.out / f"{name}.csv")
        if name in ("result", "confusion"):
            report.table(table)
    report.write(options.out / "result.html")
    say(f"Report: {options.out / 'result.html'}")
    return 0

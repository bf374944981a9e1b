"""`spinemotion gait ...`: scoring videos of walks, and cross-validation on labeled ones."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from SpineMotionToolsLib.common.console import progress_bar, quiet_training, say

if TYPE_CHECKING:
    from SpineMotionToolsLib.gait.results import GaitResult

CITATION = "Please cite: Chen K, et al. Front Neurosci 17 (2023) 1278584, doi 10.3389/fnins.2023.1278584."
SOME_FAILED = 3


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add score, prepare and train."""
    _add_score(subparsers)
    _add_prepare(subparsers)
    _add_train(subparsers)


def _command(subparsers, name: str, run, text: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CITATION)
    parser.set_defaults(run=run)
    return parser


def _add_score(subparsers) -> None:
    parser = _command(subparsers, "score", _score, "score videos of walks: probability of adult spinal deformity")
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for tables and reports")
    group = parser.add_argument_group("network")
    group.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint (default: the starter network)")
    group.add_argument("--network", metavar="NAME", help="architecture, if the file does not tell (e.g. slow_r50)")
    group.add_argument("--frames", type=int, help="frames per clip (default: from the file)")
    group.add_argument("--clip-s", type=float, help="seconds per clip (default: from the file)")
    group.add_argument("--size-px", type=int, help="side of the network's input (default: from the file)")
    group.add_argument("--mirror", action="store_true", help="average with the mirrored clip")
    group.add_argument("--points", metavar="FILE", help="body-point model for the trunk's lean, or 'starter'")
    _add_patient(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--explain", action="store_true", help="activation maps in the report")
    group.add_argument("--overlay", action="store_true", help="a video with boxes, scores and activation")
    group.add_argument("--show-faces", action="store_true", help="do not blur faces in the overlay video")
    group.add_argument("--no-report", action="store_true", help="write no HTML reports")
    group.add_argument("--ignore-quality", action="store_true", help="score below the quality gate too")
    group = parser.add_argument_group("computer")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    group.add_argument("--threads", type=int, metavar="N", help="default: one per physical core")


def _add_patient(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("patient")
    group.add_argument(
        "--person",
        choices=("motion", "region", "boxes", "network"),
        default="motion",
        help="how the patient is found: motion before a still background (default), a drawn region, boxes of a file, "
        "or a torchvision detector",
    )
    group.add_argument("--person-file", metavar="FILE", help="boxes (CSV, JSON) or the detector's weights")
    group.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="FRAME:X1,Y1,X2,Y2",
        help="a drawn region; once to follow it, more often to correct it",
    )
    group.add_argument("--click", metavar="SECOND,X,Y", help="a point on the patient, among several people")
    group.add_argument("--published", action="store_true", help="the published choice of the patient and timing")


def _score(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.video_folders import score_all
    from SpineMotionToolsLib.gait import report

    failed = score_all(options.videos, options.out, partial(_score_each, options), report.write_summary)
    return SOME_FAILED if failed else 0


def _score_each(options: argparse.Namespace, paths: list[Path], results: list[GaitResult]) -> int:
    """Score the videos one after the other, append to `results`, and return how many failed."""
    from SpineMotionToolsLib.common.errors import CONCERNS_ALL, reason_of
    from SpineMotionToolsLib.common.video_folders import below_given, result_names
    from SpineMotionToolsLib.gait.inputs import patient_of
    from SpineMotionToolsLib.gait.results import GaitResult
    from SpineMotionToolsLib.gait.tasks import score

    below, failed = below_given(paths, options.videos), 0
    with progress_bar("scoring") as progress:
        for number, (path, place, name) in enumerate(zip(paths, below, result_names(below))):

            def part(done: float, of: float, text: str = "", number: int = number, place: Path = place) -> None:
                progress(number + done / max(of, 1e-9), len(paths), f"{place} {text}")

            own = {"patient": patient_of(place, Path()), "folder": str(options.out / name.parent), "name": name.name}
            try:
                done = score(_parameters(options, path) | own, part)
            except CONCERNS_ALL:
                raise
            except Exception as error:  # one video's fault must not cost the others their turn
                failed += 1
                print(f"{place}: {reason_of(error, path)}", file=sys.stderr)
                continue
            result = replace(GaitResult.from_json(done["result"]), video=place.as_posix())
            results.append(result)
            _say(result)
            for sentence in done["problems"]:
                failed += 1
                print(f"{place}: {sentence}", file=sys.stderr)
    return failed


def _say(result: GaitResult) -> None:
    starter = " (starter model, not validated on patients)" if result.provenance.starter else ""
    if result.clips:
        say(f"{result.video}: {result.answer}, P(ASD) {result.p_asd:.3f} over {len(result.clips)} clips{starter}")
    else:
        say(f"{result.video}: not scored. {result.why_not}")
    for sentence in result.warnings:
        print(f"  note: {sentence}", file=sys.stderr)


def _parameters(options: argparse.Namespace, path: Path) -> dict:
    settings = {"frames": options.frames, "clip_s": options.clip_s, "size_px": options.size_px}
    return {
        "video": str(path),
        "model": str(options.weights) if options.weights else None,
        "network": options.network,
        "model_settings": {name: value for name, value in settings.items() if value is not None},
        "person": _person(options),
        "timing": "published" if options.published else "real",
        "mirror": options.mirror,
        "points": options.points,
        "ignore_quality": options.ignore_quality,
        "explain": options.explain,
        "overlay": options.overlay,
        "faces_hidden": not options.show_faces,
        "report": not options.no_report,
        "device": options.device,
        "precision": options.precision,
        "threads": options.threads,
    }


def _person(options: argparse.Namespace) -> dict:
    regions = dict(_region(text) for text in options.region)
    return {
        "way": "region" if regions else options.person,
        "file": options.person_file,
        "regions": regions,
        "click": _numbers(options.click, 3, "--click SECOND,X,Y") if options.click else None,
        "published": options.published,
    }


def _region(text: str) -> tuple[int, list[float]]:
    frame, _, box = text.partition(":")
    return int(_numbers(frame, 1, "--region FRAME:X1,Y1,X2,Y2")[0]), _numbers(box, 4, "--region FRAME:X1,Y1,X2,Y2")


def _numbers(text: str, count: int, form: str) -> list[float]:
    from SpineMotionToolsLib.common.errors import InputError

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(f"{text!r} is not understood. Write {form}.")
    return values


def _add_prepare(subparsers) -> None:
    text = "crop the patient out of labeled videos, as a training set"
    parser = _command(subparsers, "prepare", _prepare, text)
    parser.add_argument("videos", type=Path, metavar="DIR", help="folder with the folders ASD and ASD_not")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the same folders with cropped videos")
    _add_patient(parser)


def _prepare(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.errors import CONCERNS_ALL, InputError, reason_of
    from SpineMotionToolsLib.common.video_folders import result_names
    from SpineMotionToolsLib.gait.dataset import labeled_videos
    from SpineMotionToolsLib.gait.preparing import write_cropped
    from SpineMotionToolsLib.gait.tasks import person_of

    if options.out.resolve() == options.videos.resolve():
        raise InputError("The cropped videos would replace the videos themselves. Choose another folder for --out.")
    videos, failed = labeled_videos(options.videos), 0
    names = result_names([labeled.path.relative_to(options.videos) for labeled in videos])
    with progress_bar("preparing") as progress:
        for number, (labeled, name) in enumerate(zip(videos, names)):

            def part(done: float, of: float, text: str = "", number: int = number) -> None:
                progress(number + done / max(of, 1e-9), len(videos), text)

            target = options.out / name.parent / f"{name.name}.mp4"
            try:
                kept, of = write_cropped(target, labeled.path, person_of(_person(options)), progress=part)
            except CONCERNS_ALL:
                raise
            except Exception as error:
                failed += 1
                print(f"{labeled.path.name}: {reason_of(error, labeled.path)}", file=sys.stderr)
                continue
            if kept < of:
                print(f"{labeled.path.name}: the patient was not seen in {of - kept} of {of} frames", file=sys.stderr)
    say(f"Cropped videos: {options.out}")
    return SOME_FAILED if failed else 0


def _add_train(subparsers) -> None:
    parser = _command(subparsers, "train", _train, "cross-validate a network on labeled videos of cropped patients")
    parser.add_argument("videos", type=Path, metavar="DIR", help="folder with the folders ASD and ASD_not")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and tables")
    parser.add_argument("--network", default="slow_r50", help="architecture (default: slow_r50)")
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="Kinetics-400 weights of the same trunk")
    parser.add_argument(
        "--transfer",
        choices=("all", "head", "stem_head", "stage_head"),
        default="all",
        help="which parts learn (default: all)",
    )
    parser.add_argument("--epochs", type=int, default=50, metavar="N", help="default: 50")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="frames per clip (default: 8)")
    parser.add_argument("--clip-s", type=float, default=1.0, metavar="S", help="seconds per clip (default: 1)")
    parser.add_argument(
        "--size-px", type=int, default=224, metavar="N", help="side of the network's input (default: 224)"
    )


def _train(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.report import Report
    from SpineMotionToolsLib.gait.dataset import in_several_folds, labeled_folds, labeled_videos
    from SpineMotionToolsLib.gait.models import ClipSettings, check_settings, new_network

    videos, parts = labeled_folds(options.videos) or (labeled_videos(options.videos), None)
    from SpineMotionToolsLib.gait.training import Recipe, cross_validate  # takes seconds: it imports Lightning

    settings = ClipSettings(options.frames, options.clip_s, options.size_px)
    recipe = Recipe(epochs=options.epochs, transfer=options.transfer)

    def network():
        made = new_network(options.network, options.frames, options.start_from)
        check_settings(options.network, made, settings, options.frames)
        return made

    with quiet_training():
        found = cross_validate(network, videos, settings, recipe, options.out, options.folds, say, parts)
    report = Report("Gait: cross-validation", options.network)
    if parts and (twice := in_several_folds(videos, parts)):
        warning = f"In several folds, so that the figures are too good: {', '.join(twice)}."
        print(warning, file=sys.stderr)
        report.warning(warning)
    tables = {
        "cross_validation": found.table(),
        "confusion": found.confusion(),
        "patients": found.patients_table(),
        "clips": found.clip_table(),
    }
    for name, table in tables.items():
        table.to_csv(options.out / f"{name}.csv")
        if name != "clips":
            report.table(table)
    report.write(options.out / "cross_validation.html")
    say(f"Report: {options.out / 'cross_validation.html'}")
    return 0

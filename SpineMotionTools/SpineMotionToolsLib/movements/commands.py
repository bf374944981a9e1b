"""`spinemotion movements ...`: scoring videos of infants' general movements."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from SpineMotionToolsLib.common.console import progress_bar, say

if TYPE_CHECKING:
    from SpineMotionToolsLib.movements.results import MovementResult

CITATION = "Please cite: two-stream general movements assessment, MICCAI 2022, arXiv 2207.03344."
SOME_FAILED = 3


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add score."""
    _add_score(subparsers)


def _add_score(subparsers) -> None:
    text = "score videos of infants: writhing movements, fidgety movements or poor repertoire"
    parser = subparsers.add_parser("score", help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=CITATION)
    parser.set_defaults(run=_score)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for tables and reports")
    group = parser.add_argument_group("networks (default: the starter networks)")
    group.add_argument("--weights", type=Path, metavar="FILE", help="classifier, such as best_weights.pth")
    group.add_argument("--background-weights", metavar="FILE", help="u2net.pth")
    group.add_argument("--points-weights", metavar="FILE", help="body_pose_model.pth")
    group = parser.add_argument_group("infant")
    group.add_argument("--age-weeks", type=float, metavar="W", help="age after term, corrected for prematurity")
    group.add_argument("--keep-background", action="store_true", help="do not remove the background")
    group.add_argument("--torso", type=Path, metavar="CSV", help="torso points by hand: frame, point, x, y")
    group.add_argument("--rgb", action="store_true", help="feed U2-Net colors in the order it was trained on")
    group.add_argument("--clean", action="store_true", help="keep only the largest part of the mask")
    group = parser.add_argument_group("output")
    group.add_argument("--explain", action="store_true", help="activation maps in the report")
    group.add_argument("--overlay", action="store_true", help="a video with scores and activation")
    group.add_argument("--show-faces", action="store_true", help="do not blur the face in the overlay video")
    group.add_argument("--no-report", action="store_true", help="write no HTML reports")
    group.add_argument("--ignore-quality", action="store_true", help="score below the quality gate too")
    group = parser.add_argument_group("computer")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    group.add_argument("--threads", type=int, metavar="N")


def _score(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.errors import Cancelled, SpineMotionError
    from SpineMotionToolsLib.common.video import videos_in
    from SpineMotionToolsLib.movements import report
    from SpineMotionToolsLib.movements.results import MovementResult
    from SpineMotionToolsLib.movements.tasks import score

    paths = videos_in(options.videos)
    results, failed = [], 0
    with progress_bar("scoring") as progress:
        for number, path in enumerate(paths):

            def part(done: float, of: float, text: str = "", number: int = number, name: str = path.name) -> None:
                progress(number + done / max(of, 1e-9), len(paths), f"{name} {text}")

            try:
                result = MovementResult.from_json(score(_parameters(options, path), part)["result"])
            except Cancelled:
                raise
            except SpineMotionError as error:
                failed += 1
                print(f"{path.name}: {error}", file=sys.stderr)
                continue
            results.append(result)
            _say(result)
    if results:
        say(f"Summary: {report.write_summary(options.out, results)['summary']}")
    return SOME_FAILED if failed else 0


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
    from SpineMotionToolsLib.movements.inputs import read_torso

    torso = {k: v.tolist() for k, v in read_torso(options.torso).items()} if options.torso else {}
    # The study keeps every infant's video as <infant>/video.mp4.
    name = path.parent.name if path.stem.lower() == "video" else path.stem
    return {
        "video": str(path),
        "model": str(options.weights) if options.weights else None,
        "infant": {
            "background": "keep" if options.keep_background else "network",
            "background_file": options.background_weights,
            "points": "manual" if torso else "network",
            "points_file": options.points_weights,
            "torso": torso,
            "rgb": options.rgb,
            "clean": options.clean,
            "age_weeks": options.age_weeks,
        },
        "name": name,
        "ignore_quality": options.ignore_quality,
        "folder": str(options.out),
        "explain": options.explain,
        "overlay": options.overlay,
        "face_hidden": not options.show_faces,
        "report": not options.no_report,
        "device": options.device,
        "precision": options.precision,
        "threads": options.threads,
    }

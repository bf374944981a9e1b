"""`python -m benchmarks.video`: speed and memory of the video systems, beside the published way of computing.

Reference and ours run in turns, so that both meet the same load; ratios are of one run, results are compared. Networks
have reproducible random weights unless starter ones are named: speed does not depend on their values. Times are
processor seconds unless told. One table a part; with `--write` they go into Docs/performance.md.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "Docs" / "performance.md"
MARKERS = ("<!-- video {}: begin -->", "<!-- video {}: end -->")
LOOP_S = 11  # not a divisor of ten minutes: frames sampled evenly must not all show the same moment

Rows = list[tuple[str, str]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.video", description=__doc__)
    parser.add_argument("--only", choices=list(PARTS), action="append", help="only this part (may be repeated)")
    parser.add_argument("--clips", type=int, default=6, help="clips in the comparison of networks (default 6)")
    parser.add_argument("--seconds", type=float, default=60, help="least length of the infant video (default 60)")
    parser.add_argument("--minutes", type=float, default=10, help="length of the long videos (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the networks (default 1)")
    parser.add_argument("--write", action="store_true", help=f"write the tables to {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    for part in options.only or PARTS:
        text = _table(PARTS[part](options), part)
        print(text, flush=True)
        if options.write:
            _write(text, part)
    return 0


def in_turns(ways: dict[str, Callable[[], np.ndarray]], rounds: int) -> tuple[dict[str, float], dict[str, list]]:
    """Median seconds of each way, run in turns after one unmeasured round, and what each gave."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    given: dict[str, list] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            result = way()
            if turn:
                times[name].append(time.process_time() - start)
                given[name].append(result)
    return {name: statistics.median(values) for name, values in times.items()}, given


# ----- gait


def gait_network(options: argparse.Namespace) -> Rows:
    """The published slow_r50: eager float32 against ours, clip by clip."""
    import torch
    from SpineMotionToolsLib.common.engine import Engine, has_fast_bf16
    from SpineMotionToolsLib.gait.inference import faster
    from SpineMotionToolsLib.gait.networks import build

    from Testing.golden.seeded_weights import fill_torch, seeded_image

    clips, threads = options.clips, options.threads
    network = fill_torch(build("slow_r50"), 0.8, lambda key: f"model.{key}").eval()
    kinds = {"float32": "float32"} | ({"bfloat16": "bfloat16"} if has_fast_bf16() else {})
    ours = {name: faster(network, Engine("cpu", precision, threads).resolve()) for name, precision in kinds.items()}
    torch.set_num_threads(threads)
    seconds: dict[str, list[float]] = {name: [] for name in ("reference", *ours)}
    chances: dict[str, list[float]] = {name: [] for name in seconds}
    with torch.inference_mode():
        for number in range(clips + 1):
            small = seeded_image(f"bench-{number}", (1, 3, 8, 14, 14), -2, 2)
            clip = torch.from_numpy(small.repeat(16, axis=-2).repeat(16, axis=-1))
            for name, net in {"reference": network, **ours}.items():
                start = time.process_time()
                chance = torch.sigmoid(net(clip)).item()
                if number:  # the first clip warms up
                    seconds[name].append(time.process_time() - start)
                    chances[name].append(chance)
    reference = statistics.median(seconds["reference"])
    rows = [("slow_r50, one clip of 8 x 224 x 224: reference, eager float32", f"{1000 * reference:.0f} ms")]
    for name in ours:
        ratio = reference / statistics.median(seconds[name])
        gap = max(abs(a - b) for a, b in zip(chances[name], chances["reference"]))
        same = all((a > 0.5) == (b > 0.5) for a, b in zip(chances[name], chances["reference"]))
        rows.append(
            (f"... ours, {name}", f"{1000 * statistics.median(seconds[name]):.0f} ms, **{ratio:.1f} times faster**")
        )
        rows.append((f"... classes, {name}", "identical" if same else "DIFFERENT"))
        rows.append((f"... largest difference of a probability, {name}", f"{gap:.1g}"))
    return rows


def long_video(options: argparse.Namespace, system: str, size: str, drawn: Callable[[], Any]) -> Rows:
    """A long 1080p video from file to result in a process of its own: seconds and peak resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = _looped(Path(folder), drawn(), options.minutes)
        code = (
            "import sys, time, resource\n"
            "from SpineMotionToolsLib.common.engine import Engine\n"
            f"from SpineMotionToolsLib.{system}.pipeline import score_video\n"
            "start = time.perf_counter()\n"
            f"result = score_video(sys.argv[1], engine=Engine('cpu', threads={options.threads}))\n"
            "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20\n"
            f"print(len(result.{size}), time.process_time(), time.perf_counter() - start, peak)\n"
        )
        run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        scored, busy, seconds, peak = run.stdout.split()[-4:]
        megabytes = path.stat().st_size / 2**20
    return [
        (
            f"{options.minutes:g}-minute 1080p video, {system} ({megabytes:.0f} MB), starter networks",
            f"{scored} {size}",
        ),
        ("... time, of this processor time", f"{float(seconds):.0f} s, {float(busy):.0f} s"),
        ("... peak resident memory", f"**{float(peak):.2f} GB**"),
    ]


def long_walk(options: argparse.Namespace) -> Rows:
    """Found by motion, every frame looked at."""
    from SpineMotionToolsLib.phantoms.walker import walker_video

    def drawn():
        return walker_video(9003, True, seconds=LOOP_S, size_px=(1920, 1080)).video

    return long_video(options, "gait", "clips", drawn)


def long_infant(options: argparse.Namespace) -> Rows:
    """The trunk looked for in every second; as published, chunks of the first minute are scored."""
    from SpineMotionToolsLib.phantoms.infant import infant_video

    def drawn():
        return infant_video(9002, "fidgety", seconds=LOOP_S, size_px=(1920, 1080)).video

    return long_video(options, "movements", "chunks", drawn)


def _looped(folder: Path, video, minutes: float) -> Path:
    """A file of a drawn video whose compressed frames are repeated, so that making it is quick."""
    import av
    from SpineMotionToolsLib.common.video_writing import write_video

    once, path = folder / "once.mp4", folder / "long.mp4"
    write_video(once, (frame.picture for frame in video.frames()), 30)
    with av.open(str(once)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        packets = [p for p in source.demux(stream) if p.size]
        out = target.add_stream_from_template(stream)
        length = int(Fraction(LOOP_S) / stream.time_base)
        times = [(p.pts, p.dts) for p in packets]
        for turn in range(math.ceil(60 * minutes / LOOP_S)):
            for packet, (shown, decoded) in zip(packets, times):
                packet.stream = out
                packet.pts, packet.dts = shown + turn * length, decoded + turn * length
                packet.time_base = stream.time_base
                target.mux(packet)
    return path


# ----- general movements


def infant_frames(options: argparse.Namespace) -> Rows:
    """A video with the starter networks: masking only the needed frames against masking all, same result."""
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.movements import pipeline
    from SpineMotionToolsLib.movements.inputs import Infant
    from SpineMotionToolsLib.phantoms.infant import infant_video

    infant = Infant(age_weeks=4)
    models = pipeline.load_models(None, infant, Engine("cpu", threads=options.threads))
    models.background = counted = _Counted(models.background)
    with tempfile.TemporaryDirectory() as folder:
        path = _looped(Path(folder), infant_video(9001, "writhing", seconds=LOOP_S).video, options.seconds / 60)
        runs, seconds, scores = {}, {}, {}
        for name, every in (("needed", False), ("every", True)):
            start, before = time.process_time(), counted.runs
            result = pipeline.score_video(path, models, infant, every_frame=every)
            seconds[name], runs[name] = time.process_time() - start, counted.runs - before
            scores[name] = [chunk.logits for chunk in result.chunks]
    same = "identical" if scores["needed"] == scores["every"] else "DIFFERENT"
    length = LOOP_S * math.ceil(options.seconds / LOOP_S)
    share, ratio = runs["every"] / runs["needed"], seconds["every"] / seconds["needed"]
    return [
        (f"{length} s infant video: runs of the background network, every frame", str(runs["every"])),
        ("... ours, needed frames only", f"{runs['needed']}, **{share:.1f} times fewer**"),
        (
            "... processor time with the starter networks, every frame",
            f"{seconds['every']:.0f} s, ours {seconds['needed']:.0f} s: **{ratio:.1f} times less**",
        ),
        (f"... logits of all {len(scores['needed'])} chunks", same),
    ]


class _Counted:
    """A background network that counts its runs."""

    def __init__(self, model):
        self._model, self.runs = model, 0
        self.sha256, self.starter = model.sha256, model.starter

    def __call__(self, tensor):
        self.runs += len(tensor)
        return self._model(tensor)


def body_points(_: argparse.Namespace) -> Rows:
    """Joints out of the maps of one 1080p frame: the whole picture as published, and only where joints can be."""
    from scipy.ndimage import gaussian_filter
    from SpineMotionToolsLib.common import body_points as points
    from SpineMotionToolsLib.common.resampling import resize_cubic

    size = (1080, 1920)
    rows, columns = 23, 41
    random = np.random.default_rng(0)
    ys, xs = np.mgrid[:rows, :columns]
    maps = np.stack(
        [0.9 * np.exp(-((ys - random.uniform(3, 20)) ** 2 + (xs - random.uniform(3, 38)) ** 2) / 2) for _ in range(18)]
    ).astype(np.float32)

    def published() -> np.ndarray:
        found = []
        for grid in maps:
            large = resize_cubic(grid, factor=8)[:184, :327]
            full = resize_cubic(large, (size[1], size[0]))
            smooth = gaussian_filter(full.astype(np.float64), 3)
            around = np.pad(smooth, 1)
            peak = smooth > points.PEAK_THRESHOLD
            for other in (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]):
                peak &= smooth >= other
            found += [(x, y) for y, x in zip(*np.nonzero(peak))]
        return np.array(found)

    def ours() -> np.ndarray:
        enlarged = points.Enlarged(size)
        return np.concatenate([enlarged.peaks(grid)[:, :2] for grid in maps])

    seconds, given = in_turns({"reference": published, "ours": ours}, 2)
    same = "identical" if np.array_equal(given["reference"][0], given["ours"][0]) else "DIFFERENT"
    ratio = seconds["reference"] / seconds["ours"]
    return [
        ("18 joint maps of a 1080p frame to joints: whole picture", f"{1000 * seconds['reference']:.0f} ms"),
        ("... ours, only where joints can be", f"{1000 * seconds['ours']:.0f} ms, **{ratio:.1f} times faster**"),
        ("... joints", same),
    ]


# ----- table

PARTS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "gait": gait_network,
    "infants": infant_frames,
    "joints": body_points,
    "long-gait": long_walk,
    "long-infants": long_infant,
}


def _table(rows: Rows, part: str) -> str:
    import torch

    body = "\n".join(f"| {name} | {value} |" for name, value in rows)
    command = f"`python -m benchmarks.video --only {part}`, {_processor()}, PyTorch {torch.__version__}"
    return f"| {command} | |\n| --- | --- |\n{body}\n"


def _processor() -> str:
    import os

    from SpineMotionToolsLib.common.engine import has_fast_bf16

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        name = found[0] if found else name
    return f"{name}{' with fast bf16' if has_fast_bf16() else ''}, {os.cpu_count()} logical cores"


def _write(text: str, part: str) -> None:
    """Put the table of a part between its markers in Docs/performance.md, made at the end when missing."""
    begin, end = (marker.format(part) for marker in MARKERS)
    page = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else "# Performance\n"
    section = f"{begin}\n{text}{end}"
    if begin in page and end in page:
        page = page[: page.index(begin)] + section + page[page.index(end) + len(end) :]
    else:
        heading = "" if "\n## Videos\n" in page else "## Videos\n\n"
        page = f"{page.rstrip()}\n\n{heading}{section}\n"
    DOCUMENT.write_text(page, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())

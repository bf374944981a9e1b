"""`python -m benchmarks.keypoints`: one correction of an interactive session, beside the published way to compute it.

Reference ("plain"): all 68 hint maps rebuilt at full size, joined with 68 previous maps, the whole network in eager
float32, nothing kept between corrections, points decoded from the full maps. Ours: `keypoints.replay`, what the
service behind the Slicer module runs, from the new hint to the new points. Both run in turns so that they meet the
same load, a few corrections a turn, of which the first finds the processor's cache and memory as the other way left
them and is not counted; times are medians, ratios are of the same turn. Networks of published size carry random
weights, which cost the same time. With `--write` the table goes into Docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "Docs" / "performance.md"
MARKERS = ("<!-- keypoints: begin -->", "<!-- keypoints: end -->")
A_TURN = 4
TARGETS_S = {"unet": 0.3, "hrnet-ocr": 0.7, "starter": 0.1}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keypoints", description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(TARGETS_S), choices=list(TARGETS_S))
    parser.add_argument("--turns", type=int, default=4, help=f"of {A_TURN} corrections each (default 4)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--write", action="store_true", help=f"write the table to {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    rows = [measure(name, options.turns, options.threads) for name in options.networks]
    text = table(rows, options)
    print(text)
    if options.write:
        write(text)
    return 0


def measure(name: str, turns: int, threads: int) -> tuple[str, float, float, float, float, float]:
    """(network, seconds plain, seconds ours, ratio, largest difference in px, milliseconds for measuring the
    angles).
    """
    import torch
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.keypoints import prediction, weights
    from SpineMotionToolsLib.keypoints.evaluation import phantom_samples
    from SpineMotionToolsLib.keypoints.preprocessing import network_image
    from SpineMotionToolsLib.keypoints.radiograph import Radiograph
    from SpineMotionToolsLib.keypoints.replay import Replay
    from SpineMotionToolsLib.keypoints.session import Session

    loaded = weights.load_network() if name == "starter" else _random_network(name)
    sample = next(phantom_samples(count=1))
    image = network_image(sample.image)
    predictor = prediction.make_predictor(loaded, Engine(device="cpu", precision="float32", threads=threads))
    torch.set_num_threads(threads)
    replay = Replay(predictor)
    radiograph = Radiograph(sample.image)
    replay.set_image(radiograph.grid_image, radiograph.digest)
    session = Session(radiograph, replay)
    session.detect()
    plain = _plain_starter(loaded) if name == "starter" else partial(_plain, loaded.network)
    hints: dict[int, tuple[float, float]] = {}
    previous = plain(image, {}, None)[1]
    order = np.random.default_rng(0).permutation(68)[: turns * A_TURN].reshape(turns, A_TURN)
    seconds: dict[str, list[list[float]]] = {"plain": [], "ours": [], "angles": []}
    gap = 0.0
    for turn in order.tolist():
        for times in seconds.values():
            times.append([])
        answers = []
        for keypoint in turn:
            request = session.request_correct({keypoint: tuple(float(v) for v in sample.corners[keypoint])})
            began = time.perf_counter()
            answers.append(replay(request))
            seconds["ours"][-1].append(time.perf_counter() - began)
            began = time.perf_counter()
            _ = session.apply(request, answers[-1]).curves
            seconds["angles"][-1].append(time.perf_counter() - began)
        for keypoint, answer in zip(turn, answers):
            hints[keypoint] = tuple(float(v) for v in sample.corners[keypoint])
            began = time.perf_counter()
            points, previous = plain(image, hints, previous)
            seconds["plain"][-1].append(time.perf_counter() - began)
            gap = max(gap, float(np.abs(points - answer.points).max()))
    of_turns = {way: [statistics.median(times[1:]) for times in turns] for way, turns in seconds.items()}
    middle = {way: statistics.median(times) for way, times in of_turns.items()}
    ratio = statistics.median(p / o for p, o in zip(of_turns["plain"], of_turns["ours"]))
    return name, middle["plain"], middle["ours"], ratio, gap, 1e3 * middle["angles"]


def _random_network(name: str):
    import torch
    from SpineMotionToolsLib.keypoints import weights
    from SpineMotionToolsLib.keypoints.networks import ARCHITECTURES

    torch.manual_seed(0)
    return weights.LoadedNetwork(ARCHITECTURES[name].build().eval(), name, "random", "", False)


def _dense_hints(hints: dict[int, tuple[float, float]], size: tuple[int, int], std: float):
    """68 full hint maps by the formula, every pixel of every channel."""
    import torch

    r = torch.arange(size[0], dtype=torch.float32)[:, None]
    c = torch.arange(size[1], dtype=torch.float32)[None, :]
    maps = []
    for keypoint in range(68):
        place = hints.get(keypoint, (-1e4, -1e4))
        maps.append(torch.exp(-0.5 * ((r - place[0]) ** 2 / std**2 + (c - place[1]) ** 2 / std**2)))
    return torch.stack(maps)[None]


def _plain(network, image: np.ndarray, hints, previous):
    import torch
    from SpineMotionToolsLib.keypoints.heatmaps import STD

    size = image.shape[-2:]
    with torch.inference_mode():
        hint = _dense_hints(hints, size, STD)
        previous = torch.zeros_like(hint) if previous is None else previous
        logits, _ = network(hint, previous, torch.from_numpy(image)[None].repeat(1, 3, 1, 1))
        probability = torch.sigmoid(logits)
        r, c = torch.arange(size[0]).float()[:, None], torch.arange(size[1]).float()[None, :]
        total = probability.sum((2, 3))
        points = torch.stack(((probability * r).sum((2, 3)) / total, (probability * c).sum((2, 3)) / total), -1)
    return points[0].numpy(), probability


def _plain_starter(loaded):
    """The starter with nothing kept from one correction to the next but what a round hands to the next one."""
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.keypoints.prediction import make_predictor

    predictor = make_predictor(loaded, Engine(device="cpu"))

    def step(image: np.ndarray, hints, previous):
        predictor.set_image(image)
        found = predictor.predict(hints, previous)
        return found.points, found

    return step


def table(rows, options: argparse.Namespace) -> str:
    import torch

    lines = [
        "One correction at 512 x 256 pixels:",
        "",
        "| Network | Plain | Ours | Faster | Target | Largest difference | Angles measured |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, plain, ours, ratio, gap, angles_ms in rows:
        times = f"{1e3 * plain:.0f} ms | {1e3 * ours:.0f} ms | **{ratio:.1f} x** | {1e3 * TARGETS_S[name]:.0f} ms"
        lines.append(f"| {name} | {times} | {gap:.4f} px | {angles_ms:.1f} ms |")
    lines += [
        "",
        f"{options.threads} threads of {_processor()}, PyTorch {torch.__version__}; medians of {options.turns} "
        f"turns of {A_TURN} corrections. Plain: all 68 hint maps rebuilt, nothing kept, eager float32. Ours: from the "
        "new hint to the new points; the last column is what the session adds for curves and end vertebrae.",
    ]
    return "\n".join(lines)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(text: str) -> None:
    """Put the text between the markers of the document, which are added at its end when missing."""
    document = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else "# Performance\n"
    begin, end = MARKERS
    if begin not in document:
        document = f"{document.rstrip()}\n\n## Interactive keypoints\n\n{begin}\n{end}\n"
    head, _, rest = document.partition(begin)
    DOCUMENT.write_text(f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m benchmarks.motion`: speed and memory of motion scoring, as one table, beside the published computation.

Reference: each of ten members in turn, eager float32, channels first, eight slices a batch. Ours: the same slices, in
turns with the reference so that both meet the same load. Ratios are of one run; decisions are compared on every slice.
With `--write` the table goes into Docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "Docs" / "performance.md"
MARKERS = ("<!-- motion: begin -->", "<!-- motion: end -->")
CHUNK = 8
LARGE = (2304, 2304, 168)

Rows = list[tuple[str, str]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.motion", description=__doc__)
    parser.add_argument("--slices", type=int, default=56, help="slices in the comparison (default 56)")
    parser.add_argument("--threads", type=int, default=None, help="default: all physical cores")
    parser.add_argument("--weights", default="", help="ensemble; default: the starter, else seeded weights")
    parser.add_argument("--no-large", action="store_true", help="leave out the 1.8 GB scan")
    parser.add_argument("--write", action="store_true", help=f"write the table to {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args(arguments)

    ensemble, source = _ensemble(options.weights)
    images = _slices(options.slices)
    rows, network_s = compare(ensemble, images, options.threads)
    rows += preparation(network_s)
    if not options.no_large:
        rows += large_scan(options.weights, options.threads)
    rows += imports()
    text = _table(rows, source, options)
    print(text)
    if options.write:
        _write(text)
    return 0


# ----- networks


def compare(ensemble, images: np.ndarray, threads: int | None) -> tuple[Rows, float]:
    """Reference against ours, chunk by chunk in turns; also processor seconds a slice of our default."""
    import torch
    from SpineMotionToolsLib.common.engine import Engine, has_fast_bf16
    from SpineMotionToolsLib.motion.ensemble import Scorer, reference_probabilities
    from SpineMotionToolsLib.motion.networks import MotionNet
    from SpineMotionToolsLib.motion.votes import RULES, count_votes, member_classes, slice_decisions

    nets = [MotionNet.from_tensors(member.tensors) for member in ensemble.members]
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "reference": lambda chunk: np.stack([reference_probabilities(net, chunk) for net in nets])
    }
    scorers = {}
    for precision in ("float32", *(["bfloat16"] if has_fast_bf16() else [])):
        engine = Engine(device="cpu", precision=precision, threads=threads).resolve()
        scorer = scorers[precision] = Scorer(ensemble, engine, len(images))
        size = scorer.batch_size
        ways[precision] = lambda chunk, scorer=scorer, size=size: np.concatenate(
            [scorer.score(chunk[i : i + size]) for i in range(0, len(chunk), size)], axis=1
        )
    for way in ("reference", *scorers):  # first calls pay for themselves
        if way == "reference":
            ways[way](images[:CHUNK])
        else:
            scorers[way].score_exactly(images[:2], np.arange(2))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    processor = dict.fromkeys(ways, 0.0)
    found: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    for start in range(0, len(images), CHUNK):
        for way, run in ways.items():
            started, busy = time.perf_counter(), time.process_time()
            found[way].append(run(images[start : start + CHUNK]))
            seconds[way].append(time.perf_counter() - started)
            processor[way] += time.process_time() - busy
    probabilities = {way: np.concatenate(parts, axis=1) for way, parts in found.items()}
    for way, scorer in scorers.items():
        started, busy = time.perf_counter(), time.process_time()
        for z in scorer.doubtful():
            probabilities[way][:, z] = scorer.score_exactly(images[z : z + 1], np.array([z]))[:, 0]
        seconds[way].append(time.perf_counter() - started)
        processor[way] += time.process_time() - busy
    want = slice_decisions(count_votes(member_classes(probabilities["reference"]), RULES["newer"]))
    rows: Rows = [("Slices x members, threads", f"{images.shape[0]} x {len(ensemble)}, {torch.get_num_threads()}")]
    per_slice = {way: sum(times) / len(images) for way, times in seconds.items()}
    rows.append(("Reference: float32, channels first, batches of 8", f"{1e3 * per_slice['reference']:.0f} ms a slice"))
    for way, scorer in scorers.items():
        votes = member_classes(probabilities[way]) != member_classes(probabilities["reference"])
        got = slice_decisions(count_votes(member_classes(probabilities[way]), RULES["newer"]))
        same = not votes.any() and all(np.array_equal(a, b) for a, b in zip(got, want))
        # Whole run, and the median of the chunks, which a busy machine disturbs less.
        chunks = [r / t for r, t in zip(seconds["reference"], seconds[way])]
        ratio = per_slice["reference"] / per_slice[way]
        rows.append(
            (
                f"Ours, {way}",
                f"{1e3 * per_slice[way]:.0f} ms a slice, **{ratio:.1f} times faster** (median of chunks "
                f"{statistics.median(chunks):.1f})",
            )
        )
        rows.append((f"Votes, grades, confidences, {way}", "identical on every slice" if same else "**DIFFERENT**"))
        rows.append((f"Largest difference of a probability, {way}", f"{_gap(probabilities, way):.1g}"))
        if way == "bfloat16":
            share = scorer.decided_again / (images.shape[0] * len(ensemble))
            rows.append(("Close bfloat16 votes decided again in float32", f"{share:.1%} of all votes"))
    return rows, processor["float32"] / len(images)


def _gap(probabilities: dict[str, np.ndarray], way: str) -> float:
    return float(np.abs(probabilities[way] - probabilities["reference"]).max())


# ----- preparation, memory, imports


def preparation(network_s: float) -> Rows:
    """Processor time to prepare a slice, as a share of our networks' processor time for it."""
    from SpineMotionToolsLib.motion.fast_slices import SlicePreparer
    from SpineMotionToolsLib.motion.slices import prepare

    rows: Rows = [("Processor time of the networks, float32", f"{1e3 * network_s:.0f} ms a slice")]
    for size in (512, 800, 1200):
        volume = np.stack([_limb(size, size, seed) for seed in range(6)])
        preparer = SlicePreparer(lambda z, volume=volume: volume[z], len(volume))
        times = []
        for z in range(len(volume)):
            started = time.process_time()
            preparer.image(z)
            times.append(time.process_time() - started)
        ours = statistics.median(times[1:])
        text = f"{1e3 * ours:.1f} ms, {ours / network_s:.0%} of the networks' time"
        if size == 800:
            started = time.process_time()
            prepare(volume[:3].transpose(2, 1, 0))
            text += f"; by definition (NumPy, float64) {1e3 * (time.process_time() - started) / 3:.0f} ms, same bytes"
        rows.append((f"Preparing a slice of {size} x {size}", text))
    return rows


LARGE_RUN = """
import json, resource, sys, time
import numpy as np
from SpineMotionToolsLib.motion import pipeline
from SpineMotionToolsLib.motion import fast_slices
spent = [0.0]
def timed(work):
    def run(*arguments):
        started = time.thread_time()
        result = work(*arguments)
        spent[0] += time.thread_time() - started
        return result
    return run
fast_slices._image = timed(fast_slices._image)
fast_slices.SlicePreparer._neighbourhood = timed(fast_slices.SlicePreparer._neighbourhood)
started = time.perf_counter()
engine = pipeline.Engine(device="cpu", threads=int(sys.argv[3]) or None)
if sys.argv[2] == "seeded":
    from Testing.motion_scans import seeded_ensemble
    ensemble = seeded_ensemble(range(10))
else:
    ensemble = sys.argv[2]
result = pipeline.grade(sys.argv[1], ensemble, engine=engine)
wall = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([wall, spent[0], peak, result.scan.shape_xyz, result.grade]))
"""


def large_scan(weights: str, threads: int | None) -> Rows:
    """An uncropped scan of 2304 x 2304 x 168 int16 graded from its file, in a process of its own."""
    import json

    from Testing.motion_scans import isq_header

    chosen = weights or ("starter" if _has_starter() else "seeded")
    with tempfile.TemporaryDirectory(prefix="motion-benchmark-") as folder:
        path = Path(folder) / "scan.isq"
        planes = [_limb(LARGE[0], 1400, seed).astype("<i2").tobytes() for seed in range(4)]
        with open(path, "wb") as file:
            file.write(isq_header(LARGE))
            for z in range(LARGE[2]):
                file.write(planes[z % len(planes)])
        command = [sys.executable, "-c", LARGE_RUN, str(path), chosen, str(threads or 0)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "SpineMotionTools")])}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(done.stderr)
        wall, prepared, peak_kib, shape, _ = json.loads(done.stdout.splitlines()[-1])
    scored = " x ".join(map(str, shape))
    return [
        ("Scan of 2304 x 2304 x 168 int16 (1.8 GB) from its ISQ file", f"{wall:.0f} s; scored box {scored}"),
        ("... reading and preparing its slices, beside the networks", f"{prepared:.1f} s of processor time"),
        ("... peak resident memory", f"{peak_kib / 2**20:.2f} GB"),
    ]


def imports() -> Rows:
    """Time to import the public face of motion scoring, NumPy already there."""
    code = (
        "import time, numpy, sys; t = time.perf_counter(); import SpineMotionToolsLib.motion.pipeline; "
        "print(time.perf_counter() - t, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "SpineMotionTools")}
    times = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        seconds, torch_loaded = done.stdout.split()
        times.append(float(seconds))
    return [("Importing `motion.pipeline`", f"{1e3 * min(times):.0f} ms, PyTorch loaded: {torch_loaded}")]


# ----- material


def _has_starter() -> bool:
    from SpineMotionToolsLib.common.errors import WeightsError
    from SpineMotionToolsLib.motion.members import load_ensemble

    try:
        load_ensemble()
    except WeightsError:
        return False
    return True


def _ensemble(weights: str):
    from SpineMotionToolsLib.motion.members import load_ensemble

    from Testing.motion_scans import seeded_ensemble

    if weights or _has_starter():
        return load_ensemble(weights or "starter"), weights or "starter ensemble"
    return seeded_ensemble(range(10)), "seeded weights, many of whose votes are close"


def _limb(field: int, size: int, seed: int) -> np.ndarray:
    """A slice (y, x) int16, native units: soft tissue, cortex, trabeculae, noise, and streaks that differ by seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:field, 0:field].astype(np.float32) - np.float32((field - 1) / 2)
    radius = np.hypot(x, y * 1.15) / size
    bone = np.hypot(x - 0.05 * size, y) / size
    texture = np.sin(x / 4) * np.sin(y / 5 + seed) + np.sin((x + y) / 7)
    image = 200 + 2600 * (radius < 0.45) + 1500 * (bone < 0.22) * texture + 7000 * ((bone > 0.22) & (bone < 0.25))
    image += seed % 5 * 120 * np.sin((x * np.cos(seed) + y * np.sin(seed)) / 3)
    return np.clip(image + random.normal(0, 350, image.shape).astype(np.float32), -3000, 32000).astype(np.int16)


def _slices(count: int) -> np.ndarray:
    from SpineMotionToolsLib.motion.slices import prepare

    return np.concatenate([prepare(_limb(512, 512, seed)[:, :, None]) for seed in range(count)])


# ----- the table


def machine() -> str:
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
        flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
        extra = [
            label
            for flag, label in (("avx512f", "AVX-512"), ("avx512_bf16", "bf16"), ("amx_bf16", "AMX"))
            if flag in flags
        ]
        name += f" with {' '.join(extra)}" if extra else ""
    return f"{name}, {os.cpu_count()} logical cores"


def _table(rows: Rows, source: str, options: argparse.Namespace) -> str:
    import torch

    head = f"Machine: {machine()}; PyTorch {torch.__version__}; weights: {source}."
    body = "\n".join(f"| {label} | {value} |" for label, value in rows)
    command = " ".join(
        ["python -m benchmarks.motion", *([f"--slices {options.slices}"] if options.slices != 56 else [])]
    )
    return f"{head}\n\n| `{command}` | |\n| --- | --- |\n{body}\n"


def _write(table: str) -> None:
    begin, end = MARKERS
    section = f"{begin}\n{table}{end}"
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else "# Performance\n"
    if begin in text and end in text:
        text = text[: text.index(begin)] + section + text[text.index(end) + len(end) :]
    else:
        text = f"{text.rstrip()}\n\n## Motion scoring\n\n{section}\n"
    DOCUMENT.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())

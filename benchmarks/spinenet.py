"""`python -m benchmarks.spinenet`: a lumbar MRI end to end, beside the published way to compute it.

Reference: one patch and one disc at a time through the plain networks, eager float32, channels first, every window of
the splitter, repeated ones too. Ours: what `pipeline` runs (`inference.SliceDetector`, `inference.grade_logits`).
Networks are of published size with seeded weights; a made scan of 15 slices of 512 x 512; 7 discs. Some patches and
discs are timed in turns, so that both meet the same load, from pixels to outlines and from volumes to classes, and
times are scaled to the whole scan; all other steps are timed as they are. Times are processor seconds.
With `--write` the table goes into Docs/performance.md.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "Docs" / "performance.md"
MARKERS = ("<!-- spinenet: begin -->", "<!-- spinenet: end -->")
SIZE, SLICES, DISCS = 512, 15, 7


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spinenet", description=__doc__)
    parser.add_argument("--spacing", type=float, nargs="+", default=[0.5, 0.68], help="pixel spacing in mm")
    parser.add_argument("--turns", type=int, default=5, help="batches of patches timed; 5 are the whole scan")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"write the table to {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(options.threads)
    rows = measure(options)
    text = "\n".join(["| `python -m benchmarks.spinenet` | |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)])
    print(text)
    if options.write:
        write(text)
    return 0


def measure(options: argparse.Namespace) -> list[tuple[str, str]]:
    from SpineMotionToolsLib.spinenet.patches import split

    rows = [("Scan, discs, threads", f"{SLICES} x {SIZE} x {SIZE}, {DISCS}, {options.threads}")]
    patch, fast_patch, repeated = time_patches(options)
    disc = time_discs(options)
    rows += [
        ("One patch: reference", f"{1000 * patch:.0f} ms"),
        ("One patch: ours, float32", f"{1000 * fast_patch:.0f} ms, {patch / fast_patch:.1f} times faster"),
        ("Patches in doubt, decided again by the plain network", repeated),
        ("One disc: reference", f"{1000 * disc['reference']:.0f} ms"),
    ]
    for precision in ("float32", "bfloat16"):
        ratio = disc["reference"] / disc[precision]
        rows.append((f"One disc: ours, {precision}", f"{1000 * disc[precision]:.0f} ms, {ratio:.1f} times faster"))
    rows.append(("Classes of all heads, both precisions", disc["classes"]))
    appearance = time_appearance(options)
    for spacing in options.spacing:
        windows = split((SIZE, SIZE, SLICES), spacing)
        unique = len(set(windows))
        others, count = time_steps(spacing)
        others += appearance
        before = SLICES * len(windows) * patch + DISCS * disc["reference"] + others
        for precision in ("float32", "bfloat16"):
            after = SLICES * unique * fast_patch + DISCS * disc[precision] + others
            rows.append(
                (
                    f"End to end at {spacing:g} mm ({len(windows)} windows a slice, {unique} different), {precision}",
                    f"{before:.0f} s, ours {after:.0f} s: **{before / after:.1f} times faster**",
                )
            )
        rows.append(
            (
                f"... of this, cutting, grouping, volumes and appearance of {count} bodies, in both ways",
                f"{others:.1f} s",
            )
        )
    rows.append(("Post-processing of 25 slices and 24 vertebrae", f"{time_post_processing():.2f} s"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows.append(("Peak resident memory of this benchmark, both ways loaded", f"{peak:.1f} GB"))
    return rows


def processor_time(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def seeded(network, gain: float):
    from Testing.golden.seeded_weights import fill_torch

    return fill_torch(network, gain).eval().requires_grad_(False)


def time_patches(options: argparse.Namespace) -> tuple[float, float, str]:
    """Processor seconds a patch from pixels to outlines, reference and ours with its guard; how many were in doubt."""
    import torch
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.spinenet.certainty import patches_in_doubt
    from SpineMotionToolsLib.spinenet.departures import FAITHFUL
    from SpineMotionToolsLib.spinenet.grouping import SliceDetections
    from SpineMotionToolsLib.spinenet.inference import SliceDetector
    from SpineMotionToolsLib.spinenet.models import Models
    from SpineMotionToolsLib.spinenet.networks import DetectionNetwork
    from SpineMotionToolsLib.spinenet.patches import cut_patches, split

    from Testing.golden.seeded_weights import seeded_image

    plain = seeded(DetectionNetwork(), 0.9)
    models = Models({"detection": plain})
    engine = Engine("cpu", "float32", options.threads).resolve()
    windows = split((SIZE, SIZE, 1), 0.5)
    detector = SliceDetector(models, engine, windows, (SIZE, SIZE), 0.6, 0.6, FAITHFUL, 0.5)
    image = 900 * seeded_image("benchmark", (SIZE, SIZE, SLICES))
    scan = np.stack([cut_patches(np.ascontiguousarray(image[..., s]), windows) for s in range(SLICES)])
    at_once = detector.slices_at_once
    batches = [scan[first : first + at_once] for first in range(0, min(SLICES, options.turns * at_once), at_once)]

    def reference(of_slice: np.ndarray) -> SliceDetections:
        return detector._decode(torch.cat([plain(torch.from_numpy(patch)[None, None]) for patch in of_slice]).numpy())

    before, after = [], []
    ours: list[SliceDetections] = []
    theirs: list[SliceDetections] = []
    with torch.inference_mode():
        plain(torch.zeros(1, 1, 224, 224))
        detector.detect(batches[0])
        detector.decided_again = 0
        for first, *others in batches:
            batch = np.stack([first, *others])
            before.append(processor_time(lambda s=first: theirs.append(reference(s))) / len(windows))
            after.append(processor_time(lambda b=batch: ours.extend(detector.detect(b))) / (len(batch) * len(windows)))
            theirs.extend(reference(of_slice) for of_slice in others)
    same = 0
    for of_slice, found, plainly in zip(scan, ours, theirs):
        results = [(found.polygons, plainly.polygons), (found.centroids, plainly.centroids)]
        corners = [
            pair
            for a, b in zip(found.corners, plainly.corners)
            for pair in ((a.points, b.points), (a.vectors, b.vectors))
        ]
        same += sum(len(a.points) for a, b in zip(found.corners, plainly.corners) if np.array_equal(a.points, b.points))
        # Without a centroid, corners in doubt are left as they are: they make no outline.
        left = not len(found.centroids) and patches_in_doubt(detector._maps(of_slice, detector.fast), 0.6, True).any()
        if any(not np.array_equal(a, b) for a, b in (results if left else [*results, *corners])):
            raise SystemExit("The fast detector's corners or outlines differ from the plain one's.")
    count = sum(len(corners.points) for plainly in theirs for corners in plainly.corners)
    share = detector.decided_again / (len(ours) * len(windows))
    text = (
        f"{100 * share:.0f} % of {len(ours) * len(windows)}; {same} of {count} corners and all "
        f"outlines ({sum(len(d.polygons) for d in ours)}) identical"
    )
    return statistics.median(before), statistics.mean(after), text


def time_discs(options: argparse.Namespace) -> dict[str, float | str]:
    """Processor seconds a disc: reference and ours in both precisions, with what is decided again."""
    import torch
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.spinenet.inference import grade_logits
    from SpineMotionToolsLib.spinenet.models import Models
    from SpineMotionToolsLib.spinenet.networks import GradingNetwork

    from Testing.golden.seeded_weights import seeded_image

    plain = seeded(GradingNetwork(), 0.7)
    models = Models({"grading": plain})
    discs = np.stack([(0.5 + 0.1 * i) * seeded_image(f"disc-{i}", (9, 112, 224)) for i in range(DISCS)])
    engines = {p: Engine("cpu", p, options.threads).resolve() for p in ("float32", "bfloat16")}
    times: dict[str, list[float]] = {"reference": [], "float32": [], "bfloat16": []}
    wanted: list[list[int]] = []

    def reference(disc: np.ndarray) -> None:
        with torch.inference_mode():
            wanted.append([int(y.argmax()) for y in plain(torch.from_numpy(disc)[None, None])])

    for engine in engines.values():
        grade_logits(models, discs[:1], engine)
    same = True
    for disc in discs:  # every disc once: how many are decided again belongs to the time
        times["reference"].append(processor_time(lambda d=disc: reference(d)))
        for precision, engine in engines.items():
            got = []
            times[precision].append(
                processor_time(lambda d=disc, e=engine, g=got: g.extend(grade_logits(models, d[None], e)))
            )
            same &= [int(y[0].argmax()) for y in got] == wanted[-1]
    if not same:
        raise SystemExit("The fast grading network's classes differ from the plain one's.")
    return {**{name: statistics.mean(values) for name, values in times.items()}, "classes": "identical on every disc"}


def time_appearance(options: argparse.Namespace) -> float:
    """Processor seconds of the appearance network for all bodies, which both ways run as it is."""
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.spinenet.inference import appearance_logits
    from SpineMotionToolsLib.spinenet.models import build

    network, engine = seeded(build("appearance"), 0.7), Engine("cpu", "float32", options.threads).resolve()
    volumes = np.random.default_rng(0).random((DISCS + 1, 224, 224, 16), dtype=np.float32)
    appearance_logits(network, volumes[:1], engine)
    return processor_time(lambda: appearance_logits(network, volumes, engine))


def made_bodies(count: int, slices: int, rows: int) -> list[np.ndarray]:
    """Outlines (count, 4, 2) of every slice: a gently curved row of bodies."""
    pitch = (rows - 40) / count
    centres = np.stack([200 + 20 * np.sin(np.arange(count) / 4), 20 + pitch * (np.arange(count) + 0.5)], axis=1)
    width, height = 1.2 * pitch, 0.7 * pitch
    box = np.array([[width, -height], [width, height], [-width, height], [-width, -height]]) / 2
    return [centres[:, None] + box + 0.3 * s for s in range(slices)]


def time_steps(spacing: float) -> tuple[float, int]:
    """Processor seconds of cutting, grouping and volumes for a whole scan with eight bodies, which both ways share."""
    from SpineMotionToolsLib.spinenet import discs, grouping, vertebra_volumes
    from SpineMotionToolsLib.spinenet.patches import cut_patches, split

    image = np.random.default_rng(0).random((SIZE, SIZE, SLICES)).astype(np.float32) + 1
    windows = list(dict.fromkeys(split(image.shape, spacing)))
    outlines = made_bodies(DISCS + 1, SLICES, SIZE)

    def steps() -> None:
        for s in range(SLICES):
            cut_patches(np.ascontiguousarray(image[..., s]), windows)
        vertebrae = grouping.group_slices(outlines)
        for vertebra in vertebrae:
            vertebra_volumes.extract(image, vertebra.average)
        labels = ["T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1"]
        discs.disc_volumes(image, discs.stack_outlines(vertebrae, labels, SLICES))

    return processor_time(steps), DISCS + 1


def decode(corners: np.ndarray, windows: list, shape: tuple[int, int], maps: np.ndarray | None = None) -> np.ndarray:
    from SpineMotionToolsLib.spinenet.grouping import decode_slice

    return decode_slice(ideal_maps(corners, windows, shape) if maps is None else maps, windows, shape).polygons


def ideal_maps(corners: np.ndarray, windows: list, shape: tuple[int, int]) -> np.ndarray:
    from SpineMotionToolsLib.spinenet.detection_targets import make_targets, scan_to_patch

    return np.stack(
        [make_targets(scan_to_patch(corners.reshape(-1, 2), w.bounds(*shape)).reshape(-1, 4, 2)) for w in windows]
    )


def time_post_processing() -> float:
    """Processor seconds from maps to labeled vertebrae: decoding 25 slices, grouping, label search for 24 bodies."""
    from SpineMotionToolsLib.spinenet import grouping, labelling
    from SpineMotionToolsLib.spinenet.patches import split

    shape, spacing = (900, 400), 0.8
    windows = list(dict.fromkeys(split((*shape, 1), spacing)))
    outlines = made_bodies(24, 25, shape[0])
    maps = [ideal_maps(corners, windows, shape) for corners in outlines]
    logits = np.eye(24, dtype=np.float32)[::-1] * 30

    def steps() -> None:
        found = [decode(corners, windows, shape, m) for corners, m in zip(outlines, maps)]
        vertebrae = grouping.group_slices(found)
        polygons = [v.average for v in vertebrae]
        labelling.label_vertebrae(polygons, logits[: len(polygons)], lambda image: 80 * image, shape[0], spacing)

    steps()
    return processor_time(steps)


def write(table: str) -> None:
    """Replace our section of the performance page, or add it."""
    begin, end = MARKERS
    import torch

    machine = f"Machine: {platform.machine()}, PyTorch {torch.__version__}; times are processor seconds."
    section = f"{begin}\n{machine}\n\n{table}\n{end}"
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else "# Performance\n"
    if begin in text:
        text = text[: text.index(begin)] + section + text[text.index(end) + len(end) :]
    else:
        text = f"{text.rstrip()}\n\n## Spine MRI\n\n{section}\n"
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())

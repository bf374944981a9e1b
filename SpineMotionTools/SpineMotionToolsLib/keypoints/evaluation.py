"""How good a network is: the published papers' tables on labeled pictures, and the starter's targets on phantoms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.keypoints import cobb, curves, protocols
from SpineMotionToolsLib.keypoints.metrics import correction_percent, number_of_clicks
from SpineMotionToolsLib.keypoints.prediction import Predictor, PublishedPredictor
from SpineMotionToolsLib.keypoints.preprocessing import network_image

TARGETS_PX = (20, 30, 40, 50)
TARGETS_MM = (1, 2, 3, 5)  # for phantoms
SDR_PERCENT = (0.5, 1.0, 2.0, 4.0)
PHANTOM_SEED = 5_000_000


@dataclass(frozen=True)
class Sample:
    """A gray picture with its labeled corners (68, 2) in pixels; `scale`: length of a row and a column in `unit`."""

    image: np.ndarray
    corners: np.ndarray
    scale: tuple[float, float] = (1.0, 1.0)
    name: str = ""
    unit: str = "px"

    @property
    def height(self) -> float:
        return self.image.shape[0] * self.scale[0]


@dataclass(frozen=True)
class Evaluation:
    """Courses of all samples with 0..n clicks (`protocols.Simulated`)."""

    samples: list[Sample]
    runs: list[protocols.Simulated]
    protocol: str

    @property
    def clicks(self) -> int:
        return len(self.runs[0].model) - 1

    def mean(self, name: str) -> np.ndarray:
        """(clicks + 1,) mean over images of "model", "manual", "others" or "others_at_start"."""
        return np.mean([getattr(run, name) for run in self.runs], 0)

    @property
    def mre_percent(self) -> np.ndarray:
        """(clicks + 1,) MRE in percent of the picture's height."""
        return np.mean([100 * run.model / sample.height for run, sample in zip(self.runs, self.samples)], 0)

    @property
    def others_reduction_percent(self) -> np.ndarray:
        """(clicks + 1,) by how much the mean error of the keypoints that were not given is below what it was at
        first.
        """
        return 100 * (1 - self.mean("others") / self.mean("others_at_start"))

    def cobb_errors(self, click: int, rule: str = "clinical") -> np.ndarray:
        """(images,) absolute error of the largest Cobb angle after so many clicks, in degrees."""
        return np.array(
            [
                abs(_largest_angle(run.shown[click], sample, rule) - _largest_angle(sample.corners, sample, rule))
                for run, sample in zip(self.runs, self.samples)
            ]
        )

    def smape(self, click: int) -> float:
        """SMAPE in percent of the three AASCE angles after so many clicks."""
        pairs = [(_aasce(run.shown[click], s), _aasce(s.corners, s)) for run, s in zip(self.runs, self.samples)]
        return cobb.smape(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))

    def course_table(self) -> Table:
        """A row per number of clicks: errors, what the clicks did to the other keypoints, angles."""
        columns = [
            Column("hints"),
            Column("MRE", self.samples[0].unit, "mean radial error", 2),
            Column("MRE", "% of height", "", 2),
            Column("manual", self.samples[0].unit, "the same clicks without the network", 2),
            Column(
                "others better by", "%", "mean error of keypoints not given, against the same ones before any hint", 1
            ),
            Column("Cobb error", "°", "mean absolute error of the largest angle, clinical rule", 2),
            Column("AASCE error", "°", "mean absolute error of the main angle", 2),
            Column("SMAPE", "%", "of the three AASCE angles", 2),
        ]
        model, manual, percent, others = (
            self.mean("model"), self.mean("manual"), self.mre_percent, self.others_reduction_percent,
        )  # fmt: skip
        rows = [
            [
                k, float(model[k]), float(percent[k]), float(manual[k]), float(others[k]),
                float(self.cobb_errors(k).mean()), float(self.cobb_errors(k, "aasce").mean()), self.smape(k),
            ]
            for k in range(self.clicks + 1)
        ]  # fmt: skip
        return Table(f"{len(self.runs)} pictures, {self.protocol} protocol", columns, rows)

    def clicks_table(self, targets: Sequence[float] | None = None) -> Table:
        """Failure rate and number of clicks for targets in the samples' unit, as the papers print them."""
        n = self.clicks
        targets = targets or (TARGETS_MM if self.samples[0].unit == "mm" else TARGETS_PX)
        columns = [
            Column("target", self.samples[0].unit),
            Column(f"FR{n}", "%", "pictures that never reach the target", 2),
            Column(f"NoC{n}", "clicks", "a failure counts as the largest number of clicks", 2),
            Column(f"NoC{n}, reached only", "clicks", "failures left out, as some tables print it", 2),
            *(Column(f"within after {k}") for k in range(n + 1)),
        ]
        rows = []
        for target in targets:
            counts = np.sum([protocols.reached(run.model, [target])[0] for run in self.runs], 0)
            clicks = number_of_clicks(counts, len(self.runs))
            rows.append(
                [
                    target,
                    clicks.failure_rate_percent,
                    clicks.noc_failures_as_max,
                    clicks.noc_reached_only,
                    *map(int, counts),
                ]
            )
        return Table("Clicks to reach a mean radial error", columns, rows)

    def first_correction_percent(self) -> float:
        """Relative correction of the MRE by the second prediction, as the Project prints it."""
        model = self.mean("model")
        return correction_percent(float(model[1]), float(model[2])) if self.clicks > 1 else float("nan")


def evaluate(
    predictor: Predictor,
    samples: Iterable[Sample],
    clicks: int = 10,
    protocol: str = "fair",
    progress: Progress = no_progress,
    total: int = 0,
) -> Evaluation:
    """Simulated users on every sample. `protocol`: "fair", "project" or "miccai" (see `protocols`).

    Raises InputError for an unknown protocol, "miccai" with the starter, which has no heatmaps of that kind, without
    samples, and when every point would be given.
    """
    if not 0 <= clicks < 68:
        raise InputError(f"{clicks} clicks on 68 points leave nothing to measure. Choose 0 to 67.")
    kept, runs = [], []
    for number, sample in enumerate(samples):
        progress(number, total or number + 1, sample.name)
        predictor.set_image(network_image(sample.image))
        if protocol == "fair":
            run = protocols.simulate(predictor, sample.corners, sample.image.shape, clicks, sample.scale)
        elif protocol == "project":
            run = protocols.simulate_project(predictor, sample.corners, sample.image.shape, clicks)
        elif protocol == "miccai" and isinstance(predictor, PublishedPredictor):
            run = protocols.simulate_miccai(predictor, sample.corners, sample.image.shape, clicks)
        else:
            raise InputError(
                f"The protocol {protocol!r} cannot be run with this network. Choose fair, project or miccai."
            )
        kept.append(sample)
        runs.append(run)
    if not runs:
        raise InputError("There is nothing to evaluate. Give at least one labeled picture.")
    return Evaluation(kept, runs, protocol)


def phantom_samples(landmarks: Path | str | None = None, count: int = 100) -> Iterator[Sample]:
    """Phantoms of 512 x 256 pixels whose spines are the real landmark sets kept out of the shape model.

    Without a landmark table, spines are drawn from the shape model instead: the same pictures in kind, but not held
    out.
    """
    from SpineMotionToolsLib.phantoms.radiograph import degree_of, radiograph_phantom
    from SpineMotionToolsLib.phantoms.spine_shape import load_model, random_view, read_landmarks, split

    if landmarks is None:
        rng = np.random.default_rng(PHANTOM_SEED)
        shapes = [load_model().sample(rng, 1.0) for _ in range(count)]
    else:
        shapes = split(read_landmarks(Path(landmarks)))[1][:count]
    for number, shape in enumerate(shapes):
        view = random_view(shape, np.random.default_rng([PHANTOM_SEED, number]))
        seed = PHANTOM_SEED + number
        phantom = radiograph_phantom(view, seed, degree=degree_of(seed))
        yield Sample(phantom.image, phantom.corners_px, phantom.pixel_spacing_mm, f"phantom {number + 1}", "mm")


def _true(points: np.ndarray, sample: Sample) -> np.ndarray:
    return np.asarray(points, float) * sample.scale


def _aasce(points: np.ndarray, sample: Sample) -> np.ndarray:
    return cobb.aasce_angles(_true(points, sample), sample.height).angles


def _largest_angle(points: np.ndarray, sample: Sample, rule: str) -> float:
    if rule == "aasce":
        return float(_aasce(points, sample)[0])
    return curves.main_curve(_true(points, sample)).cobb_deg

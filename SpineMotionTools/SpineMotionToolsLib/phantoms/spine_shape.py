"""A statistical shape model of scoliotic spines in frontal radiographs: 68 vertebral corners, T1 to L5.

The model is a mean, the principal modes and their ranges, derived from landmark sets of the AASCE data set's training
part (H. Wu et al., "Automatic landmark estimation for adolescent idiopathic scoliosis assessment using BoostNet",
MICCAI 2017; SpineWeb data set 16). The sets themselves are not part of this package. To rebuild the model from your
copy:

    python -m SpineMotionToolsLib.phantoms.spine_shape LANDMARKS.csv
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

MODEL_FILE = Path(__file__).with_name("spine_shape.npz")
POINTS = 68
MODES = 40
# Images of one patient stand next to each other in the data set, so whole blocks are kept out, not single rows.
BLOCK = 20
HELD_OUT_BLOCK_OF = (4, 2)  # every 4th block, counted from block 2
HELD_OUT_SETS = 100
# log(width / height) enters the modes with this weight, so that it counts about as much as one coordinate.
ASPECT_WEIGHT = 0.3


@dataclass(frozen=True)
class SpineShape:
    """One spine in its picture.

    `corners` (68, 2): (row, column) of every corner, both divided by the picture's HEIGHT, so that lengths and angles
    are true. `aspect`: the picture's width divided by its height.
    """

    corners: np.ndarray
    aspect: float

    def corners_px(self, size: tuple[int, int]) -> np.ndarray:
        """(68, 2) corners in pixels of a picture of `size` (rows, columns), whatever its aspect."""
        rows, columns = size
        return self.corners * (rows, columns / self.aspect)

    def framed(self, top: float, left: float, height: float, width: float) -> SpineShape:
        """The same spine in a picture with other edges, all in units of this picture's height."""
        return SpineShape((self.corners - (top, left)) / height, width / height)

    def mirrored(self) -> SpineShape:
        """The same spine seen from the other side, with left and right corners exchanged."""
        corners = self.corners.reshape(17, 2, 2, 2)[:, :, ::-1].reshape(POINTS, 2).copy()
        corners[:, 1] = self.aspect - corners[:, 1]
        return SpineShape(corners, self.aspect)


@dataclass(frozen=True)
class SpineShapeModel:
    """Mean (137,), modes (M, 137), their standard deviations and ranges (M,), and what they leave unexplained (137,).

    A vector holds 68 (row, column) pairs divided by the picture's height, then the weighted logarithm of its aspect.
    """

    mean: np.ndarray
    modes: np.ndarray
    deviation: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    residual: np.ndarray

    def sample(self, rng: np.random.Generator, spread: float | None = None) -> SpineShape:
        """A random spine; `spread` scales the modes (None: 0.1 to 1.35, so that straight and severe curves both
        occur).
        """
        scale = rng.uniform(0.1, 1.35) if spread is None else spread
        while True:
            weights = np.clip(rng.standard_normal(len(self.modes)) * scale, 1.2 * self.lowest, 1.2 * self.highest)
            vector = self.mean + (weights * self.deviation) @ self.modes
            vector = vector + self.residual * rng.standard_normal(len(vector)) * min(scale, 1.0)
            shape = _from_vector(vector)
            if is_plausible(shape) and _inside(shape):
                return shape


@lru_cache(maxsize=1)
def load_model(path: Path = MODEL_FILE) -> SpineShapeModel:
    """The model that ships with the package."""
    with np.load(path, allow_pickle=False) as stored:
        names = ("mean", "modes", "deviation", "lowest", "highest", "residual")
        return SpineShapeModel(*(stored[name].astype(float) for name in names))


def read_landmarks(path: Path) -> list[SpineShape]:
    """Landmark sets from a table with the columns height_px, width_px, y0, x0, ... y67, x67 (normalized by height,
    width).

    Raises InputError when a column is missing or a value is no number.
    """
    shapes = []
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist or is no file. Give the table of landmark sets.")
    with open(path, newline="", encoding="utf-8-sig") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            try:
                aspect = float(row["width_px"]) / float(row["height_px"])
                corners = [(float(row[f"y{k}"]), float(row[f"x{k}"]) * aspect) for k in range(POINTS)]
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                raise InputError(
                    f"Line {number} of {Path(path).name} is not a landmark set ({error}). Give a table with the "
                    "columns height_px, width_px, y0, x0 to y67, x67, coordinates divided by the picture's size."
                ) from error
            shapes.append(SpineShape(np.array(corners), aspect))
    if not shapes:
        raise InputError(f"{Path(path).name} holds no landmark sets. Give a table with one spine a row.")
    return shapes


def is_plausible(shape: SpineShape) -> bool:
    """Whether the labels can be a spine: no vertebra lies on, or two steps from, its neighbour, none turned over.

    About 6 % of the real sets fail: most carry the last vertebra at another vertebra's place.
    """
    corners = shape.corners.reshape(17, 4, 2)
    steps = np.linalg.norm(np.diff(corners.mean(1), axis=0), axis=1)
    trend = np.polyval(np.polyfit(np.arange(16), steps, 2), np.arange(16))
    midline = (corners[:, 1] + corners[:, 3] - corners[:, 0] - corners[:, 2]) / 2
    tilt = np.degrees(np.arctan2(midline[:, 0], midline[:, 1]))
    upper, lower = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 2]
    wedge = np.degrees(np.arctan2(lower[:, 0], lower[:, 1]) - np.arctan2(upper[:, 0], upper[:, 1]))
    even = np.all(trend > 0) and np.all(steps > 0.5 * trend) and np.all(steps < 1.7 * trend)
    return bool(even and np.abs(np.diff(tilt)).max() < 40 and np.abs(wedge).max() < 40)


def random_view(shape: SpineShape, rng: np.random.Generator) -> SpineShape:
    """The spine as another technologist or reader would frame it: more or less of the neck, the pelvis and the sides.

    Half of the pictures keep their frame. Where T1 lies in the picture then no longer tells which vertebra it is.
    """
    if rng.random() < 0.5:
        return shape
    first, last = shape.corners.min(0), shape.corners.max(0)
    top = min(first[0] - 0.01, rng.uniform(-0.11, 0.03))
    bottom = max(last[0] + 0.01, rng.uniform(0.95, 1.13))
    left = min(first[1] - 0.02, rng.uniform(-0.08, 0.05))
    right = max(last[1] + 0.02, shape.aspect + rng.uniform(-0.05, 0.08))
    return shape.framed(top, left, bottom - top, right - left)


def _inside(shape: SpineShape) -> bool:
    return bool(np.all(shape.corners > 0) and np.all(shape.corners < (1.0, shape.aspect)))


def split(shapes: list[SpineShape]) -> tuple[list[SpineShape], list[SpineShape]]:
    """(sets for the model, 100 sets held out for testing), implausible ones left out of both."""
    every, first = HELD_OUT_BLOCK_OF
    parts: tuple[list[SpineShape], list[SpineShape]] = ([], [])
    for index, shape in enumerate(shapes):
        if is_plausible(shape):
            parts[index // BLOCK % every == first].append(shape)
    return parts[0], parts[1][:HELD_OUT_SETS]


def fit(shapes: list[SpineShape], modes: int = MODES) -> SpineShapeModel:
    """The principal modes of the sets (at least `modes` + 1 of them)."""
    if len(shapes) <= modes:
        raise InputError(
            f"{modes} modes need more than {modes} landmark sets; {len(shapes)} were given. Give more sets."
        )
    vectors = np.array([np.append(shape.corners.ravel(), ASPECT_WEIGHT * np.log(shape.aspect)) for shape in shapes])
    mean = vectors.mean(0)
    _, singular, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    axes, deviation = axes[:modes], singular[:modes] / np.sqrt(len(shapes) - 1)
    weights = (vectors - mean) @ axes.T
    residual = (vectors - mean - weights @ axes).std(0)
    weights /= deviation
    return SpineShapeModel(mean, axes, deviation, weights.min(0), weights.max(0), residual)


def _from_vector(vector: np.ndarray) -> SpineShape:
    return SpineShape(vector[:-1].reshape(POINTS, 2), float(np.exp(vector[-1] / ASPECT_WEIGHT)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Rebuild the spine shape model from landmark sets.")
    parser.add_argument("landmarks", type=Path)
    parser.add_argument("--out", type=Path, default=MODEL_FILE)
    options = parser.parse_args(arguments)
    for_model, held_out = split(read_landmarks(options.landmarks))
    model = fit(for_model)
    np.savez_compressed(
        options.out,
        **{name: value.astype(np.float32) for name, value in vars(model).items()},
        source=np.array("Derived from AASCE training landmarks, H. Wu et al., MICCAI 2017, SpineWeb data set 16"),
    )
    print(f"{len(for_model)} sets in the model, {len(held_out)} held out; {options.out.stat().st_size / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The AASCE radiographs (SpineWeb data set 16) and the label files of both published systems.

The data set's folder holds `data/<training|test>/*.jpg` and `labels/<training|test>/` with `filenames.csv`,
`landmarks.csv` (68 x, then 68 y, normalized) and one `<image>.mat` each (`p2`: 68 x 2 pixels, x before y).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import write_json
from SpineMotionToolsLib.keypoints.preprocessing import to_network

SETS = ("train", "val", "test")
FARTHEST = 1.0  # from the middle, in picture sizes; the data set has one label a little outside its picture
PROJECT_VALIDATION, MICCAI_VALIDATION = 64, 128


@dataclass(frozen=True)
class LabeledImage:
    """One radiograph: `path`, `corners` (68, 2) = (row, column) as shares of the picture's size, `set` of SETS.

    Raises InputError for corners that are missing or far outside the picture.
    """

    path: Path
    corners: np.ndarray
    size: tuple[int, int]
    set: str = "train"

    def __post_init__(self) -> None:
        if not (np.abs(self.corners - 0.5) < FARTHEST).all():  # false for what is not a number, too
            raise InputError(
                f"The label of {self.path.name} has corners that are missing or far outside the picture. They must be "
                "shares of its size, 0 to 1. Correct the label, or take the picture out of the data set."
            )

    @property
    def pixels(self) -> np.ndarray:
        """(68, 2) corners in pixels."""
        return self.corners * self.size

    def read(self) -> np.ndarray:
        """The picture (rows, columns) uint8; raises InputError."""
        return read_gray(self.path)


def read_gray(path: Path) -> np.ndarray:
    """A picture file, or an .npy file of the MICCAI preparation, as (rows, columns) uint8."""
    from PIL import Image

    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            return np.ascontiguousarray(array[..., 0] if array.ndim == 3 else array).astype(np.uint8)
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or no picture ({error}). Check the data set's folder.") from error


def read_dataset(folder: Path | str, source: str = "csv") -> list[LabeledImage]:
    """All images of the data set's folder, `set` "train" or "test"; `source` of the labels: "csv" or "mat".

    Raises InputError when a label or picture is missing.
    """
    from PIL import Image

    folder = Path(folder)
    found: list[LabeledImage] = []
    for split, name in (("training", "train"), ("test", "test")):
        pictures, labels = folder / "data" / split, folder / "labels" / split
        if not (pictures.is_dir() and labels.is_dir()):
            raise InputError(
                f"{folder} does not hold data/{split} and labels/{split}. "
                "Give the folder boostnet_labeldata of the AASCE set."
            )
        rows = _csv_labels(labels) if source == "csv" else None
        names = list(rows) if rows is not None else sorted(p.name for p in pictures.glob("*.jpg"))
        for picture in names:
            path = pictures / picture
            if not path.is_file():
                raise InputError(f"The picture {path} named in the labels is missing. Get the data set again.")
            try:
                with Image.open(path) as opened:
                    size = (opened.height, opened.width)
            except OSError as error:
                raise InputError(f"The picture {path} is damaged. Get the data set again.") from error
            corners = rows[picture] if rows is not None else _mat_label(labels / f"{picture}.mat") / size
            found.append(LabeledImage(path, corners, size, name))
    return found


def _csv_labels(folder: Path) -> dict[str, np.ndarray]:
    try:
        with (folder / "filenames.csv").open(newline="", encoding="utf-8-sig") as stream:
            names = [row[0] for row in csv.reader(stream) if row]
        values = np.loadtxt(folder / "landmarks.csv", delimiter=",", ndmin=2)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"The labels in {folder} cannot be read ({error}). Get the data set again.") from error
    if values.shape != (len(names), 136):
        raise InputError(
            f"landmarks.csv in {folder} has shape {values.shape} for {len(names)} pictures and 136 numbers each."
        )
    return {name: np.stack((row[68:], row[:68]), 1) for name, row in zip(names, values)}


def _mat_label(path: Path) -> np.ndarray:
    """(68, 2) = (row, column) in pixels; the file stores x before y."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        points = np.asarray(loadmat(path, variable_names=["p2"])["p2"], float)
    except (OSError, KeyError, TypeError, ValueError, NotImplementedError, MatReadError) as error:
        raise InputError(f"The label {path} is missing or damaged ({error}). Get the data set again.") from error
    if points.shape != (68, 2):
        raise InputError(f"The label {path} holds an array of shape {points.shape} instead of 68 points.")
    return points[:, ::-1].copy()


def with_validation(images: list[LabeledImage], count: int = PROJECT_VALIDATION, seed: int = 42) -> list[LabeledImage]:
    """The same images with `count` training images moved to the set "val", drawn once by `seed`."""
    training = [n for n, image in enumerate(images) if image.set == "train"]
    if count >= len(training):
        raise InputError(
            f"{count} validation images cannot be drawn from {len(training)} training images. "
            "Give a data set with more labeled radiographs."
        )
    drawn = set(np.random.default_rng(seed).choice(training, count, replace=False).tolist())
    return [replace(image, set="val") if n in drawn else image for n, image in enumerate(images)]


def write_project_labels(images: list[LabeledImage], folder: Path, path: Path) -> None:
    """The Project's label file: paths below `folder`, corners and vertebra centers as [y, x] shares, the sets."""
    entries = [
        {
            "image_path": image.path.relative_to(folder).as_posix(),
            "corners": image.corners.tolist(),
            "centers": image.corners.reshape(17, 4, 2).mean(1).round(5).tolist(),
            "y_x_size": list(image.size),
            "set": image.set,
        }
        for image in images
    ]
    write_json(path, entries)


def read_project_labels(path: Path | str, folder: Path | str) -> list[LabeledImage]:
    """The images of a Project label file; `folder` is the data's root. Raises InputError for a damaged file."""
    try:
        return [
            LabeledImage(
                Path(folder) / entry["image_path"], _points(entry["corners"]), tuple(entry["y_x_size"]), entry["set"]
            )
            for entry in _entries(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{Path(path).name} is no Project label file ({error}).") from error


def write_miccai_labels(images: list[LabeledImage], folder: Path) -> list[Path]:
    """The MICCAI 2022 preparation below `folder`: pictures as .npy and one label file per set. Returns the label
    files.

    Images with a corner outside the picture are left out, as that program does.
    """
    written = []
    for name in SETS:
        entries = []
        for image in images:
            inside = np.all((image.corners >= 0) & (image.corners <= 1))
            if image.set != name or not inside:
                continue
            stored = folder / "images" / name / f"{image.path.stem}.npy"  # sets may share file names
            stored.parent.mkdir(parents=True, exist_ok=True)
            np.save(stored, image.read())
            entries.append(
                {
                    "image": stored.relative_to(folder).as_posix(),
                    "label": image.pixels[:, ::-1].tolist(),
                    "raw_size_row_col": list(image.size),
                    "pixelSpacing": [1, 1],
                    "points_512": to_network(image.pixels, image.size)[:, ::-1].tolist(),
                }
            )
        write_json(folder / f"{name}.json", entries)
        written.append(folder / f"{name}.json")
    return written


def read_miccai_labels(path: Path | str, set_name: str = "train") -> list[LabeledImage]:
    """The images of a MICCAI 2022 label file; raises InputError for a damaged one."""
    path = Path(path)
    try:
        return [
            LabeledImage(
                path.parent / entry["image"], _points(entry["label"])[:, ::-1] / entry["raw_size_row_col"],
                tuple(entry["raw_size_row_col"]), set_name,
            )
            for entry in _entries(path)
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.name} is no MICCAI 2022 label file ({error}).") from error


def samples(images: list[LabeledImage], truncate: bool = False) -> Iterator[Any]:
    """The images as `evaluation.Sample`s; `truncate`: whole-pixel labels, as the Project's evaluation reads them."""
    from SpineMotionToolsLib.keypoints.evaluation import Sample
    from SpineMotionToolsLib.keypoints.preprocessing import truncated_labels

    for image in images:
        corners = truncated_labels(image.corners, image.size) if truncate else image.pixels
        yield Sample(image.read(), corners.astype(float), name=image.path.name)


def normalized_labels(images: list[LabeledImage]) -> np.ndarray:
    """(N, 68, 2) corners as shares of the picture's size, for `losses.steadiest_pairs`."""
    return np.array([image.corners for image in images])


def _entries(path: Path | str) -> list[dict[str, Any]]:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or no label file ({error}).") from error


def _points(values: Any) -> np.ndarray:
    points = np.asarray(values, float)
    if points.shape != (68, 2):
        raise ValueError(f"{points.shape} instead of 68 points")
    return points

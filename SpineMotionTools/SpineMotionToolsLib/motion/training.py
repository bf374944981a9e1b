"""Fine-tuning an ensemble on a reviewed data set, by the published recipe: slices and folds first, then the networks.

`train_prepare` turns the grades of a results folder into a table of slices with their pixels; `train` fits every member
of an ensemble to them, each with a test fold of its own, and writes the networks, the figures and the plots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import atomic_path, make_folder, output_error, write_json
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.motion.agreement import agreement
from SpineMotionToolsLib.motion.batch import file_stamp, read_record
from SpineMotionToolsLib.motion.derivatives import Row, numbers, read_index, read_rows, utc_now, write_rows
from SpineMotionToolsLib.motion.members import load_ensemble, read_member
from SpineMotionToolsLib.motion.review_store import as_grade
from SpineMotionToolsLib.motion.training_data import (
    MANIFEST_COLUMNS,
    SliceLabel,
    cache_name,
    place_subjects,
    sample_slices,
    slice_labels,
)

if TYPE_CHECKING:
    from SpineMotionToolsLib.motion.members import Ensemble

MANIFEST_NAME = "manifest.tsv"
SLICE_FOLDER = "slice_db"
METRICS_NAME = "training_metrics.json"
LEAST_WEIGHT = 0.01


@dataclass(frozen=True)
class Sampling:
    """Which slices are learned from.

    `slice_count` random slices a scan (0: every `slice_step`-th); scans nobody graded give slices most members agreed
    on when `include_automatic`; subjects are dealt into `folds` by `seed`.
    """

    slice_count: int = 8
    slice_step: int = 1
    include_automatic: bool = False
    folds: int = 10
    seed: int = 13


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted; the defaults are the published ones. Rates are Adam's, epochs at most."""

    batch_size: int = 24
    classifier_epochs: int = 20
    classifier_rate: float = 1e-3
    full_epochs: int = 50
    full_rate: float = 1e-4
    patience: int = 10
    least_improvement: float = 1e-4
    flip_horizontal: bool = True
    flip_vertical: bool = True
    rotate: bool = False
    crop: bool = False
    seed: int = 13


@dataclass(frozen=True)
class Prepared:
    """What `train_prepare` made: the table of slices, and the scans that could not be read, each with the reason."""

    manifest: Path
    scans: int
    slices: int
    skipped: tuple[tuple[str, str], ...]


def train_prepare(
    root: Path,
    folder: Path,
    sampling: Sampling = Sampling(),
    model_id: str = "",
    progress: Progress = no_progress,
) -> Prepared:
    """Choose the slices of a graded data set and keep their network inputs: `folder`/manifest.tsv and slice_db/.

    `root` is the results folder of `predict`; `model_id` names whose results and reviews count when it holds several.
    Slices come in the unit and crop the scan was graded in. Raises InputError when nothing can be learned from.
    """
    scans = [(row, *_grades(root, row)) for row in _index_rows(root, model_id)]
    wanted = [scan for scan in scans if scan[1] is not None or sampling.include_automatic]
    if not wanted:
        raise InputError(f"No scan in {root} was graded by a person. Review some, or include the automatic grades.")
    places = place_subjects([row["subject_id"] for row, *_ in wanted], sampling.seed, sampling.folds)
    rows: list[dict[str, Any]] = []
    skipped = []
    for number, (row, grade, prediction) in enumerate(wanted):
        progress(number, len(wanted), row["scan_id"])
        try:
            labels = _store_slices(root, folder, row, grade, prediction, sampling)
        except (InputError, OSError) as error:
            skipped.append((row["scan_id"], str(error)))
            continue
        place = places[row["subject_id"]]
        confidences = numbers(prediction.get("slice_confidences", ""))
        for cached, label in enumerate(labels):
            rows.append(
                {name: row[name] for name in ("scan_id", "subject_id", "raw_image_path")}
                | {name: row[name] for name in ("automatic_grade", "automatic_confidence")}
                | {
                    "slice_index": label.slice_index,
                    "label": label.label,
                    "label_source": label.source,
                    "sample_weight": f"{label.weight:.3f}",
                    "split": place.split,
                    "fold_id": place.fold,
                    "is_manual": grade is not None,
                    "manual_grade": grade,
                    "auto_slice_confidence": confidences[label.slice_index] if confidences else None,
                    "cache_npy_path": f"{SLICE_FOLDER}/{cache_name(row['raw_image_path'])}",
                    "cache_index": cached,
                }
            )
    if not rows:
        reasons = "; ".join(f"{scan}: {reason}" for scan, reason in skipped[:3]) or "no slice was certain enough"
        raise InputError(f"There is nothing to learn from in {root} ({reasons}). Review more scans.")
    write_rows(folder / MANIFEST_NAME, MANIFEST_COLUMNS, rows)
    progress(len(wanted), len(wanted), "slices kept")
    return Prepared(folder / MANIFEST_NAME, len({row["scan_id"] for row in rows}), len(rows), tuple(skipped))


def _index_rows(root: Path, model_id: str) -> list[Row]:
    rows = read_index(root)
    models = sorted({row["model_id"] for row in rows})
    if not model_id and len(models) > 1:
        raise InputError(f"{root} holds results of several models ({', '.join(models)}). Say which reviews to use.")
    chosen = [row for row in rows if not model_id or row["model_id"] == model_id]
    if not chosen:
        raise InputError(f"{root} holds no results{f' of {model_id!r}' if model_id else ''}. Run predict first.")
    return chosen


def _grades(root: Path, row: Row) -> tuple[int | None, Row]:
    """The reviewer's grade, if there is one, and the row of predictions."""

    def of_scan(table: str) -> Row:
        found = (entry for entry in read_rows(root / row[table]) if entry["scan_id"] == row["scan_id"])
        return next(found, {})

    return as_grade(of_scan("review_tsv").get("manual_grade")), of_scan("predictions_tsv")


def _store_slices(
    root: Path, folder: Path, row: Row, grade: int | None, prediction: Row, sampling: Sampling
) -> list[SliceLabel]:
    """Label a scan's sampled slices and keep their network inputs, (n, 512, 512) uint8, unless they are there."""
    from SpineMotionToolsLib.motion.derivatives import result_name
    from SpineMotionToolsLib.motion.fast_slices import SlicePreparer
    from SpineMotionToolsLib.motion.inputs import open_scan
    from SpineMotionToolsLib.motion.results import MotionResult

    source = Path(row["raw_image_path"])
    if not source.exists():
        raise InputError(f"{source} is not there any more.")
    record = read_record((root / row["predictions_tsv"]).with_name(result_name(row["scan_id"])))
    graded = MotionResult.from_json(record).scan if "scan" in record else None
    scan = open_scan(source, like=graded)
    sampled = sample_slices(scan.depth, row["scan_id"], sampling.slice_count, sampling.slice_step, sampling.seed)
    labels = slice_labels(
        sampled.tolist(),
        grade,
        [int(value) for value in numbers(prediction.get("slice_grades", ""))] or [0] * scan.depth,
        numbers(prediction.get("slice_confidences", "")) or [-1.0] * scan.depth,
        sampling.include_automatic,
    )
    slices = [label.slice_index for label in labels]
    path = folder / SLICE_FOLDER / cache_name(row["raw_image_path"])
    made_from = {"source": file_stamp(source), "unit": scan.info.unit, "crop": scan.info.crop_box, "slices": slices}
    made_from["crop"] = list(made_from["crop"]) if made_from["crop"] else None
    if labels and not (path.exists() and read_record(path.with_suffix(".json")) == made_from):
        preparer = SlicePreparer(scan.read_slice, scan.depth)
        images = preparer.images(slices)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.save(file, images)
        except OSError as error:
            raise output_error(path, error) from error
        write_json(path.with_suffix(".json"), made_from)
    return labels


@dataclass(frozen=True)
class Slices:
    """Rows of a manifest with their pixels still on disk."""

    rows: tuple[Row, ...]
    folder: Path

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def targets(self) -> np.ndarray:
        """Class indices 0..4, int64."""
        return np.clip([int(row["label"]) for row in self.rows], 1, 5).astype(np.int64) - 1

    @property
    def weights(self) -> np.ndarray:
        return np.maximum([float(row["sample_weight"]) for row in self.rows], LEAST_WEIGHT).astype(np.float32)

    def image(self, index: int) -> np.ndarray:
        """Network input (512, 512) uint8."""
        row = self.rows[index]
        return np.load(self.folder / row["cache_npy_path"], mmap_mode="r")[int(row["cache_index"])]

    def of_folds(self, folds: Sequence[int]) -> Slices:
        return Slices(tuple(row for row in self.rows if int(row["fold_id"]) in folds), self.folder)


def read_manifest(manifest: Path) -> Slices:
    """The slices of a manifest; raises InputError when it is missing, damaged or its pixels are gone."""
    rows = read_rows(manifest)
    if not rows:
        raise InputError(f"There is no table of slices at {manifest}. Run train-prepare first.")
    if missing := [name for name in MANIFEST_COLUMNS if name not in rows[0]]:
        raise InputError(f"{manifest} lacks the columns {', '.join(missing)}. Run train-prepare again.")
    lost = next((row for row in rows if not (manifest.parent / row["cache_npy_path"]).is_file()), None)
    if lost:
        raise InputError(f"The slices of {lost['scan_id']} are gone from {SLICE_FOLDER}. Run train-prepare again.")
    return Slices(tuple(rows), manifest.parent)


def train(
    manifest: Path,
    folder: Path,
    base: str | Path | Ensemble = "starter",
    recipe: Recipe = Recipe(),
    engine: Engine | None = None,
    progress: Progress = no_progress,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Fine-tune every member of an ensemble and return the figures, also written to `folder`/training_metrics.json.

    Member i is tested on fold i modulo the number of folds, validated on the next and trained on the others. The
    networks are written as DNN_<i>.pt, plots beside them; a run that was stopped goes on with the first member that is
    not there. Raises InputError for fewer than three folds, DependencyError without Lightning.
    """
    from SpineMotionToolsLib.motion import training_plots
    from SpineMotionToolsLib.motion.training_member import fit, predict_grades, save_member

    engine = engine or Engine()
    slices = read_manifest(manifest)
    ensemble = load_ensemble(base)
    folds = 1 + max(int(row["fold_id"]) for row in slices.rows)
    if folds < 3:
        raise InputError("Training needs slices of three subjects or more: to learn from, to validate on, to test on.")
    config = {
        "recipe": asdict(recipe),
        "base": ensemble.id,
        "base_sha256": ensemble.sha256,
        "manifest": file_stamp(manifest),
        "folds": folds,
    }
    earlier = read_record(folder / METRICS_NAME)
    models = earlier.get("models", []) if earlier.get("config") == config else []
    models = [model for model in models if (folder / f"{model['model']}.pt").is_file()]
    done = {model["model"] for model in models}
    make_folder(folder)
    for number, member in enumerate(ensemble.members):
        name = f"DNN_{number}"
        if name in done:
            continue
        test_fold, validation_fold = number % folds, (number + 1) % folds
        test, validation = slices.of_folds([test_fold]), slices.of_folds([validation_fold])
        training = slices.of_folds([fold for fold in range(folds) if fold not in (test_fold, validation_fold)])

        def on_epoch(history: list[dict[str, Any]], name: str = name, number: int = number) -> None:
            last = history[-1]
            say(
                f"[train-epoch] model={name} stage={last['stage']} epoch={last['epoch']} "
                f"train_loss={last['train_loss']:.4f} val_loss={last['val_loss']:.4f} lr={last['lr']:g}"
            )
            training_plots.member_plot(folder / "training_plot_live.png", name, history)
            whole = recipe.classifier_epochs + recipe.full_epochs
            progress(number + len(history) / whole, len(ensemble), f"{name}, {last['stage']}")

        fitted = fit(member.tensors, training, validation, recipe, number, engine, on_epoch)
        meta = {
            "trained_at": utc_now(),
            "init_checkpoint": member.name,
            "best_val_weighted_kappa": fitted.kappa,
            "best_epoch": fitted.epoch,
        }
        save_member(folder / f"{name}.pt", fitted.tensors, meta)
        figures = {
            part: _figures(predict_grades(tensors, test, recipe.batch_size, engine), test)
            for part, tensors in (("base", member.tensors), ("retrained", read_member(folder / f"{name}.pt")))
        }
        gain = {f"{key}_improvement": figures["retrained"][key] - figures["base"][key] for key in figures["base"]}
        counts = {"train": len(training), "validation": len(validation), "test": len(test)}
        models.append(
            {"model": name, "slices": counts, "test_fold": test_fold, "validation_fold": validation_fold}
            | meta
            | {f"{part}_test_{key}": value for part, values in figures.items() for key, value in values.items()}
            | gain
            | {"history": fitted.history}
        )
        training_plots.member_plot(folder / f"training_plot_{name.replace('DNN', 'model')}.png", name, fitted.history)
        write_json(folder / METRICS_NAME, {"config": config, "models": models})
    metrics = {"config": config, "models": models, "summary": _summary(models)}
    training_plots.overview_plot(folder / "training_plot.png", models)
    write_json(folder / METRICS_NAME, metrics)
    progress(len(ensemble), len(ensemble), "ensemble trained")
    return metrics


def _figures(grades: np.ndarray, test: Slices) -> dict[str, float]:
    """Share of equal grades and quadratic weighted kappa on a test fold."""
    measured = agreement(list(zip((test.targets + 1).tolist(), grades.tolist())))
    return {"accuracy": measured.agreement_exact, "weighted_kappa": measured.kappa_weighted_quadratic}


def _summary(models: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over the members, each on its own test fold."""
    names = [f"{part}_test_{key}" for part in ("base", "retrained") for key in ("accuracy", "weighted_kappa")]
    return {f"mean_{name}": float(np.mean([model[name] for model in models])) for name in names}

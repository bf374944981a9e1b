"""Where the results of a data set lie: folders, tables, their columns, and how rows are read, merged and written.

The layout, the columns and the byte format (tab separated, CRLF line ends) are those of the published MotionScore
pipeline, so that its users keep their folders and scripts.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.tables import read_sheet

INDEX_COLUMNS = (
    "scan_id", "subject_id", "raw_image_path", "predictions_tsv", "review_tsv", "review_json", "review_audit",
    "preview_png_path", "slice_profile_png_path", "attention_map_path", "automatic_grade", "automatic_confidence",
    "manual_mode", "model_id", "model_version", "predicted_at",
)  # fmt: skip
PREDICTION_COLUMNS = (
    "scan_id", "subject_id", "raw_image_path", "preview_png_path", "slice_profile_png_path", "automatic_grade",
    "automatic_confidence", "manual_mode", "model_id", "mean_confidence", "stack_ranges", "stack_grades",
    "stack_confidences", "slice_grades", "slice_confidences", "model_version", "predicted_at",
)  # fmt: skip

NEEDED_COLUMNS = {
    "index.tsv": ("scan_id", "subject_id", "raw_image_path", "review_tsv", "model_id"),
    "predictions.tsv": (
        "scan_id", "automatic_grade", "automatic_confidence", "manual_mode", "model_id", "predicted_at",
    ),
    "review.tsv": (
        "scan_id", "automatic_grade", "automatic_confidence", "manual_mode", "confidence_threshold", "manual_grade",
        "final_grade", "review_status", "training_mode", "prediction_revealed_at", "reviewer",
    ),
    "review_audit.tsv": ("scan_id", "timestamp", "event", "manual_grade", "reviewer", "notes"),
    "review_stacks.tsv": ("scan_id", "stack", "grade", "reviewer"),
}  # fmt: skip
"""What the tables must have to be used; a decision in a column of another name would be lost without a word."""

Row = dict[str, str]


def utc_now() -> str:
    """The time as the tables write it: UTC, whole seconds, `+00:00`."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def results_root(dataset: Path, output_root: Path | None = None) -> Path:
    """`<dataset>/derivatives/MotionScore`, or `<output_root>/MotionScore` (once, when it already ends so)."""
    if output_root is None:
        return dataset / "derivatives" / "MotionScore"
    return output_root if output_root.name == "MotionScore" else output_root / "MotionScore"


def find_results(folder: Path) -> Path:
    """The results folder a user means: `folder` itself, or the one of the data set in `folder`.

    Raises InputError when neither has an index.
    """
    folder = Path(folder).expanduser()
    for root in (folder, results_root(folder), folder / "MotionScore"):
        if index_path(root).is_file():
            return root
    raise InputError(f"No results are in {folder}; run `spinemotion motion predict` on it first.")


def model_folder_name(model_id: str) -> str:
    """The folder a model's tables lie in: its id with everything unusual turned into `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model_id).strip("-.") or "default"


def result_name(scan: str) -> str:
    """File name of a scan's full result."""
    return f"{scan}_motion.json"


@dataclass(frozen=True)
class ScanFiles:
    """The files of one scan and one model below the results folder `root`."""

    root: Path
    folder: str
    model_id: str
    scan_id: str

    def _in(self, *parts: str) -> Path:
        return self.root.joinpath(self.folder, *parts)

    @property
    def _model(self) -> str:
        return model_folder_name(self.model_id)

    @property
    def predictions(self) -> Path:
        return self._in("predictions", "models", self._model, "predictions.tsv")

    @property
    def result_json(self) -> Path:
        """Everything the result holds (votes and probabilities too); ours, beside the published table."""
        return self.predictions.with_name(result_name(self.scan_id))

    @property
    def review_folder(self) -> Path:
        return self._in("review", "models", self._model)

    @property
    def preview(self) -> Path:
        return self._in("preview", "models", self._model, f"{self.scan_id}_preview.png")

    @property
    def profile(self) -> Path:
        return self._in("preview", "models", self._model, f"{self.scan_id}_slice_profile.png")

    @property
    def attention(self) -> Path:
        return self._in("explain", f"{self.scan_id}_gradcam.mha")

    @property
    def further_attention(self) -> Path:
        """For the map of a model when `attention`, the published place, holds another model's."""
        return self._in("explain", "models", self._model, self.attention.name)

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def cell(value: object) -> str:
    """A table cell: None is empty, lists are compact JSON, truth is 1 or 0."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def read_rows(path: Path) -> list[Row]:
    """The rows of a table of the results folder, also as a spreadsheet saved it; an absent file has none.

    Raises InputError when the file is not such a table in UTF-8.
    """
    try:
        names, rows = read_sheet(path)
    except FileNotFoundError:
        return []
    if missing := [name for name in NEEDED_COLUMNS.get(path.name, ()) if rows and name not in names]:
        raise InputError(f"{path} has no column {missing[0]}; restore it from a backup.")
    return rows


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t")
    writer.writerow(columns)
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Replace the table in one step (a reader or a kill never sees half of it)."""
    from SpineMotionToolsLib.common.files import write_text

    write_text(path, table_text(columns, rows), newline="\r\n")


def merge_row(rows: list[Row], new: Mapping[str, object], keys: Sequence[str]) -> list[Row]:
    """The rows with `new` in place of the row of the same keys, sorted by the keys.

    New cells overwrite old ones, but an attention map once made stays named until another is made.
    """
    fresh = {name: cell(value) for name, value in new.items()}
    identity = [fresh.get(name, "") for name in keys]
    merged, others = fresh, []
    for row in rows:
        if [row.get(name, "") for name in keys] == identity:
            kept = row.get("attention_map_path", "")
            merged = {**row, **fresh}
            merged["attention_map_path"] = merged.get("attention_map_path") or kept
        else:
            others.append(row)
    return sorted([*others, merged], key=lambda row: [row.get(name, "") for name in keys])


def index_path(root: Path) -> Path:
    return root / "index.tsv"


def inside(root: Path, name: str) -> Path:
    """The file a table names relative to the results folder; InputError when the name leads out of it."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"A table in {root} names a file outside it ({name}); correct index.tsv.")
    return root / path


def read_index(root: Path) -> list[Row]:
    """The rows of `index.tsv`, one per scan and model."""
    return read_rows(index_path(root))


def update_index(root: Path, row: Mapping[str, object]) -> None:
    """Merge one row into `index.tsv`; rows are told apart by scan and model, so no model hides another's results."""
    from SpineMotionToolsLib.common.files import folder_lock

    with folder_lock(root):
        rows = merge_row(read_index(root), row, keys=("scan_id", "model_id"))
        write_rows(index_path(root), INDEX_COLUMNS, rows)


def update_predictions(path: Path, row: Mapping[str, object]) -> None:
    """Merge one scan's row into its `predictions.tsv`."""
    from SpineMotionToolsLib.common.files import folder_lock

    with folder_lock(path.parent):
        write_rows(path, PREDICTION_COLUMNS, merge_row(read_rows(path), row, keys=("scan_id",)))


def write_dataset_description(root: Path, version: str) -> None:
    """`dataset_description.json` after BIDS derivatives, with the paper to cite."""
    from SpineMotionToolsLib.common.files import write_json

    path = root / "dataset_description.json"
    if path.exists():
        return
    description = {
        "Name": "MotionScore",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "SpineMotionTools", "Version": version}],
        "HowToAcknowledge": "Walle M, Eggemann D, Atkins PR, Kendall JJ, Stock K, Müller R, Collins CJ. "
        "Bone 166 (2023) 116607. doi:10.1016/j.bone.2022.116607",
    }
    write_json(path, description, sort_keys=True)


def numbers(text: str) -> list[float]:
    """The list in a cell (`[1,2,2]`); an empty cell is an empty list."""
    return json.loads(text) if text else []

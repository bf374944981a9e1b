"""A golden case on disk, and the comparison of what we compute with what it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# The published program a case was made with tells which system's handlers run it, whatever the folder is called.
SYSTEM_OF_UPSTREAM = {
    "wallematthias/MotionScoreCNN": "motion",
    "wallematthias/MotionScoreHRpQCT": "motion",
    "rwindsor1/SpineNet": "spinenet",
    "seharanul17/interactive_keypoint_estimation": "keypoints",
    "EEGuizhi/Project": "keypoints",
    "ChenKaiXuSan/Walk_Video_PyTorch": "gait",
    "hashyuki/two-stream-gma": "movements",
}
SYSTEM_OF_FOLDER = {
    "motion-score": "motion",
    "spinenet": "spinenet",
    "keypoints": "keypoints",
    "gait": "gait",
    "gma": "movements",
}


@dataclass(frozen=True)
class Case:
    """One case: the recipe (`spec`, the JSON as read) and the published system's outputs (`want`)."""

    name: str
    kind: str
    system: str
    spec: Mapping[str, Any]
    want: Mapping[str, np.ndarray]
    folder: Path = field(repr=False)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """`inputs.parameters` of the recipe (empty when the recipe has none)."""
        inputs = self.spec.get("inputs", {})
        return inputs.get("parameters", inputs) if isinstance(inputs, Mapping) else {}

    @property
    def gain(self) -> float:
        return float(self.spec.get("gain") or 1.0)


Handler = Callable[[Case], Mapping[str, Any]]
"""Computes the case's outputs with our code: a mapping from output name to array, number or text."""


def load(json_path: Path) -> Case:
    spec = json.loads(json_path.read_text(encoding="utf-8"))
    with np.load(json_path.with_suffix(".npz"), allow_pickle=False) as arrays:
        want = {name: arrays[name] for name in arrays.files}
    return Case(spec["case"], spec["kind"], _system_of(spec, json_path), spec, want, json_path.parent)


def _system_of(spec: Mapping[str, Any], path: Path) -> str:
    upstream = str(spec.get("upstream", ""))
    for prefix, system in SYSTEM_OF_UPSTREAM.items():
        if prefix in upstream:
            return system
    return SYSTEM_OF_FOLDER.get(path.parent.name, "unknown")


def find(folders: list[Path]) -> Iterator[Path]:
    """The JSON files of all cases below the folders, in name order."""
    for folder in folders:
        for path in sorted(folder.rglob("*.json")):
            if path.with_suffix(".npz").exists():
                yield path


def as_array(value: Any) -> np.ndarray:
    """Text becomes its UTF-8 bytes, as the cases store it; everything else an array."""
    if isinstance(value, str):
        return np.frombuffer(value.encode(), dtype=np.uint8)
    return np.asarray(value)


def tolerance_of(case: Case, output: str) -> tuple[float, float]:
    """(rtol, atol) of one output.

    The `note` of a case may give one output its own ("masked: atol 1"), or all 8-bit ones ("8-bit images: atol 1").
    Integers, booleans and text without such a note must be equal, unless the case allows whole numbers to differ
    (`atol` of 1 or more, as cases of resampled pictures do).
    """
    tolerance = case.spec.get("tolerance", {})
    dtype = case.want[output].dtype
    if own := re.match(r"(.+): atol ([\d.]+)", str(tolerance.get("note", ""))):
        if own[1] == output or (own[1] == "8-bit images" and dtype == np.uint8):
            return 0.0, float(own[2])
    rtol, atol = float(tolerance.get("rtol", 0.0)), float(tolerance.get("atol", 0.0))
    if dtype.kind in "biuUS" and atol < 1:
        return 0.0, 0.0
    return rtol, atol


def difference(got: Any, want: np.ndarray, rtol: float, atol: float) -> tuple[float, str]:
    """The largest absolute difference, and why the output fails ("" when it passes).

    Passes when |got - want| <= atol + rtol * |want| everywhere and NaN stand in the same places. Empty arrays are
    equal: their shape tells how they were collected, nothing of the result.
    """
    got = as_array(got)
    if got.size == want.size == 0:
        return 0.0, ""
    if got.shape != want.shape:
        return float("inf"), f"shape {got.shape}, expected {want.shape}"
    if want.dtype.kind in "US":
        return 0.0, "" if np.array_equal(got, want) else "text differs"
    got64, want64 = got.astype(np.float64), want.astype(np.float64)
    if not np.array_equal(np.isnan(got64), np.isnan(want64)):
        return float("inf"), "NaN in different places"
    same = (got64 == want64) | np.isnan(want64)  # equal infinities included
    gap = np.where(same, 0.0, np.abs(got64 - want64))
    allowed = atol + rtol * np.abs(want64)
    wrong = int(np.count_nonzero(~same & ~(gap <= allowed)))
    return float(gap.max()), f"{wrong} of {want.size} values outside rtol {rtol:g}, atol {atol:g}" if wrong else ""

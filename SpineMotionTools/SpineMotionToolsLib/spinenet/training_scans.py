"""Scans with known corners for the starter networks: real lumbar ones, and made whole spines for other levels.

The scans are the twelve T2-weighted volumes of "Annotated T2-weighted MR images of the Lower Spine" (C. Chu, D. Belavy
et al., doi 10.5281/zenodo.22304, CC BY 4.0) at 1 mm with masks of T11-L5; S1 corners are annotated in
`annotations/s1-corners.json`. Levels above T11 are made (`phantoms/spine_mri.py`). Bodies that nobody labelled are kept
out of the loss, never taught as background.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.phantoms.spine_mri import draw_spine
from SpineMotionToolsLib.spinenet.detection_targets import centroids_of

LABELS = ("T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1")  # body index 0..7, top to bottom
S1 = 7
MASK_VALUE = {label: 7 - index for index, label in enumerate(LABELS[:7])}  # 7 = T11 ... 1 = L5
ABSENT, UNSURE, VALID = 0, 1, 2
MADE_COUNT, MADE_WIDTH_MM = 24, 76
MIN_AREA_SHARE = 0.6  # a cut through less of a body than this is too near its side to have corners


@dataclass(frozen=True)
class Subject:
    """One scan: `volume` (rows, columns, slices) float32 0-255, 1 mm pixels; per slice and body the four corners.

    `corners` (slices, bodies, 4, 2) as (column, row) in the order rt, rb, lb, lt; `state` (slices, bodies) ABSENT,
    UNSURE (left out of the loss) or VALID; `slice_mm` the distance of slices; `labels` the bodies, top to bottom; `air`
    the gray value outside the patient.
    """

    name: str
    volume: np.ndarray
    corners: np.ndarray
    state: np.ndarray
    slice_mm: int = 1
    labels: tuple[str, ...] = LABELS
    air: float = 0.0

    def without_air(self, array: np.ndarray, share: float = 1.0) -> np.ndarray:
        """Gray values of this scan less those of air, as most scanners store them: the stored scans were shifted."""
        return np.maximum(array - share * self.air, 0)


def load_subject(folder: Path, name: str) -> Subject:
    """Read one scan and its masks, and derive the corners of every body in every sagittal slice."""
    import SimpleITK as sitk

    # Both files are stored slice by slice: array (slices, rows, columns), row 0 at the head, column 0 anterior.
    volume = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}_T2w.nii.gz"))).astype(np.float32)
    masks = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}_vertebrae.nii.gz")))
    corners = np.zeros((len(volume), len(LABELS), 4, 2), dtype=np.float32)
    state = np.zeros((len(volume), len(LABELS)), dtype=np.uint8)
    axes = _axes(masks)
    for index, label in enumerate(LABELS[:7]):
        mask = masks == MASK_VALUE[label]
        area = mask.sum(axis=(1, 2))
        largest = np.percentile(area[area > 0], 80)
        for z in np.flatnonzero(area):
            if area[z] < MIN_AREA_SHARE * largest:
                state[z, index] = UNSURE
            else:
                state[z, index] = VALID
            corners[z, index] = mask_corners(mask[z], axes[index])
        corners[:, index] = _smooth_along_slices(corners[:, index], state[:, index] == VALID)
    _add_s1(name, corners, state)
    return Subject(name, np.moveaxis(volume, 0, -1), corners, state, air=float(np.percentile(volume, 10)))


def load_subjects(folder: Path) -> list[Subject]:
    """All scans that `index.json` lists."""
    names = json.loads((folder / "index.json").read_text(encoding="utf-8"))["subjects"]
    return [load_subject(folder, name) for name in names]


@cache
def made_subjects(count: int = MADE_COUNT, seed: int = 5) -> tuple[Subject, ...]:
    """Whole spines, C2-S1, drawn anew, at clinical slice spacing; C1 and the sacrum below S1 stay unlabelled."""
    made = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        slice_mm = int(rng.integers(3, 6))
        spine = draw_spine(rng, MADE_WIDTH_MM // slice_mm, slice_mm)
        state = np.select([spine.aside < 0.75, spine.aside < 1.1], [VALID, UNSURE], ABSENT).astype(np.uint8)
        corners = spine.corners.astype(np.float32)
        made.append(Subject(f"made-{number}", spine.volume, corners, state, slice_mm, spine.labels))
    return tuple(made)


def _axes(masks: np.ndarray) -> np.ndarray:
    """In-plane unit vector (column, row) along the spine, head to foot, at each of the seven bodies: (7, 2)."""
    centers = np.array([np.argwhere(masks == MASK_VALUE[label]).mean(axis=0)[[2, 1]] for label in LABELS[:7]])
    tangents = np.gradient(centers, axis=0)
    return tangents / np.linalg.norm(tangents, axis=1, keepdims=True)


def mask_corners(mask: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The four corners (rt, rb, lb, lt) of a body's cut, (4, 2) as (column, row).

    Each corner is where the outline lies furthest along a diagonal of the body, after scaling both axes to the body's
    own width and height, so that flat bodies keep their corners.
    """
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    center = points.mean(axis=0)
    across = np.array([along[1], -along[0]])  # toward larger columns: posterior
    u, v = (points - center) @ across, (points - center) @ along
    u, v = u / max(np.ptp(u), 1), v / max(np.ptp(v), 1)
    corners = []
    for side, end in ((1, -1), (1, 1), (-1, 1), (-1, -1)):
        furthest = np.argsort(side * u + end * v)[-3:]
        corners.append(points[furthest].mean(axis=0) + 0.25 * (side * across + end * along))
    return np.array(corners)


def _smooth_along_slices(corners: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Median over three neighboring slices: voxel outlines jitter, bodies do not."""
    smooth = corners.copy()
    for z in np.flatnonzero(valid[1:-1]) + 1:
        if valid[z - 1] and valid[z + 1]:
            smooth[z] = np.median(corners[z - 1 : z + 2], axis=0)
    return smooth


def _add_s1(name: str, corners: np.ndarray, state: np.ndarray) -> None:
    path = Path(__file__).with_name("annotations") / "s1-corners.json"
    annotated = json.loads(path.read_text(encoding="utf-8"))["subjects"][name]
    slices = np.array(sorted(int(z) for z in annotated))
    points = np.array([annotated[str(z)] for z in slices], dtype=np.float64).reshape(len(slices), 8)
    everywhere = np.arange(len(corners))
    for value in range(8):
        corners.reshape(len(corners), len(LABELS), 8)[:, S1, value] = np.interp(everywhere, slices, points[:, value])
    state[:, S1] = UNSURE
    state[slices[0] : slices[-1] + 1, S1] = VALID


def unlabelled_region(corners: np.ndarray, state: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels to leave out of the loss: bool (rows, columns).

    Above the first and below the last known body (T11 and S1, bodies nobody labelled), and around bodies cut too near
    their side. `corners` (n, 4, 2) and `state` (n,) belong to one slice, in the picture's own pixels.
    """
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    ignored = np.zeros(shape, dtype=bool)
    centers = centroids_of(corners)
    known = np.flatnonzero(state != ABSENT)
    if not len(known):
        return np.ones(shape, dtype=bool)
    for body, ends, clearance, opening in ((known[0], (0, 3), 0.25, 0.3), (known[-1], (1, 2), 0.35, 0.8)):
        # A cone beyond the outer end plate; it opens widely below S1, because the sacrum curves backward.
        middle = corners[body, list(ends)].mean(axis=0)
        outward = middle - centers[body]
        length = np.linalg.norm(outward) + 1e-6
        outward /= length
        beyond = (columns - middle[0]) * outward[0] + (rows - middle[1]) * outward[1]
        aside = np.abs((columns - middle[0]) * outward[1] - (rows - middle[1]) * outward[0])
        ignored |= (beyond > clearance * length) & (aside < 2 * length + opening * beyond)
    for body in np.flatnonzero(state == UNSURE):
        reach = 0.75 * np.linalg.norm(corners[body, 0] - corners[body, 2])
        ignored |= (columns - centers[body, 0]) ** 2 + (rows - centers[body, 1]) ** 2 < reach**2
    return ignored

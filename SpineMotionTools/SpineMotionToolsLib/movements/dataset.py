"""The study's folders: infants by class, their prepared pictures and flow as PNG files, and the tables of the folds.

`<root>/{WMs,FMs,PR}/<infant>/video.mp4`; beside it `224x224/%06d.png` and `224x224_flow/{X,Y}/%06d.png`, numbered from
0 at 30 frames/s (a flow by its later frame); `<root>/fold/{train,test}/fold{1..5}.csv` with label, sub_path,
start_frame.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import atomic_path, write_text
from SpineMotionToolsLib.common.flow import flow_between, gray_of_bgr
from SpineMotionToolsLib.common.video import read_picture
from SpineMotionToolsLib.common.video_folders import is_video
from SpineMotionToolsLib.movements.chunks import (
    Chunk,
    chunk_at,
    encode_flow,
    flow_tensor,
    picture_tensor,
    starts,
)
from SpineMotionToolsLib.movements.folds import FOLDS, stratified_folds
from SpineMotionToolsLib.movements.scores import CLASS_NAMES

PICTURES, FLOWS = "224x224", "224x224_flow"


@dataclass(frozen=True)
class LabeledInfant:
    """One infant: its folder and its class (0 WMs, 1 FMs, 2 PR)."""

    folder: Path
    label: int

    @property
    def video(self) -> Path:
        """The infant's video; raises InputError when there is none."""
        found = sorted(p for p in self.folder.iterdir() if is_video(p))
        if not found:
            raise InputError(f"The folder {self.folder} holds no video. Put the infant's video there.")
        return found[0]


def labeled_infants(root: Path | str) -> list[LabeledInfant]:
    """The infants below `root`, by class and name; raises InputError when there are none."""
    infants = [
        LabeledInfant(folder, label)
        for label, name in enumerate(CLASS_NAMES)
        if (Path(root) / name).is_dir()
        for folder in sorted((Path(root) / name).iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    if not infants:
        raise InputError(
            f"{root} holds no infants. Put one folder per infant into the folders {', '.join(CLASS_NAMES)}."
        )
    return infants


def write_chunk_files(folder: Path | str, chunk: Chunk, pictures: dict[int, np.ndarray]) -> None:
    """Write the adjusted picture and the encoded flow of one chunk into an infant's folder, in the study's layout."""
    folder = Path(folder)
    _write_png(folder / PICTURES / f"{chunk.picture:06d}.png", pictures[chunk.picture][..., ::-1])
    grays = {number: gray_of_bgr(pictures[number]) for number in chunk.frames}
    for late in chunk.flows:
        encoded = encode_flow(flow_between(grays[late - chunk.step], grays[late]))
        for axis, field in zip("XY", (encoded[..., 0], encoded[..., 1])):
            _write_png(folder / FLOWS / axis / f"{late:06d}.png", np.repeat(field[..., None], 3, axis=2))


def _write_png(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(picture)).save(temporary, format="PNG", compress_level=3)


def read_chunk_files(folder: Path | str, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture (3,H,W) and flow (12,H,W) tensors of the chunk at frame `start`; raises InputError for missing files."""
    folder, chunk = Path(folder), chunk_at(start)
    picture = picture_tensor(read_picture(folder / PICTURES / f"{chunk.picture:06d}.png")[..., ::-1])
    return picture, flow_tensor(chunk, lambda axis, f: read_picture(folder / FLOWS / axis / f"{f:06d}.png")[..., 0])


def prepared_starts(folder: Path | str) -> list[int]:
    """First frames of the chunks whose files are all there."""
    folder = Path(folder)
    return [
        start
        for start in starts()
        if (folder / PICTURES / f"{chunk_at(start).picture:06d}.png").exists()
        and all((folder / FLOWS / "Y" / f"{late:06d}.png").exists() for late in chunk_at(start).flows)
    ]


def forget_chunks(folder: Path | str) -> None:
    """Remove what makes the chunks of an earlier preparation whole: the video, or the choices, may be others now."""
    for start in prepared_starts(folder):
        (Path(folder) / PICTURES / f"{chunk_at(start).picture:06d}.png").unlink()


def remarks(infants: Sequence[LabeledInfant]) -> list[str]:
    """What weakens a training on these infants: some are not prepared, in several classes, or too few for the folds."""
    missing = [infant.folder.name for infant in infants if not prepared_starts(infant.folder)]
    names = [infant.folder.name for infant in infants]
    twice = sorted({name for name in names if names.count(name) > 1})
    said = [f"Left out, since nothing is prepared: {', '.join(missing)}."] if missing else []
    if twice:
        said.append(f"In several classes: {', '.join(twice)}. If they are the same infants, the figures are too good.")
    classes = [infant.label for infant in infants if prepared_starts(infant.folder)]
    if few := [name for label, name in enumerate(CLASS_NAMES) if classes.count(label) < FOLDS]:
        said.append(f"Fewer than {FOLDS} infants, so that some folds test without them: {', '.join(few)}.")
    return said


def write_fold_tables(root: Path | str, infants: Sequence[LabeledInfant]) -> None:
    """Write the published five folds as `fold/train` and `fold/test` tables; only prepared chunks are listed."""
    root = Path(root)
    for k, held_out in enumerate(stratified_folds([infant.label for infant in infants]), start=1):
        chosen = set(held_out.tolist())
        for part in ("train", "test"):
            rows = [
                [infant.label, infant.folder.relative_to(root).as_posix(), start]
                for number, infant in enumerate(infants)
                if (number in chosen) == (part == "test")
                for start in prepared_starts(infant.folder)
            ]
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([["label", "sub_path", "start_frame"], *rows])
            write_text(root / "fold" / part / f"fold{k}.csv", text.getvalue())


def read_prepared(infants: Sequence[LabeledInfant]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures (n,3,H,W), flows (n,12,H,W) in float16, labels (n,) and infants (n,) of all prepared chunks.

    Raises InputError when nothing is prepared.
    """
    pictures, flows, labels, owners = [], [], [], []
    for number, infant in enumerate(infants):
        for start in prepared_starts(infant.folder):
            picture, flow = read_chunk_files(infant.folder, start)
            pictures.append(picture.astype(np.float16))
            flows.append(flow.astype(np.float16))
            labels.append(infant.label)
            owners.append(number)
    if not pictures:
        raise InputError("No prepared chunks were found. Run `spinemotion movements prepare` first.")
    return np.stack(pictures), np.stack(flows), np.array(labels), np.array(owners)

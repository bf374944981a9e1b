"""Which videos of the given files and folders a run works on, and what the files of each are called."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.console import say
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import make_folder, unique_names
from SpineMotionToolsLib.common.video import PICTURE_SUFFIXES, VIDEO_SUFFIXES

OVERLAY = "_overlay"


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name; what macOS leaves beside one (._walk.mp4) is none."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def videos_in(paths: Sequence[Path]) -> list[Path]:
    """The video files among paths and below folders, sorted, each once; a folder of pictures counts as one video.

    Videos that an earlier run wrote beside its results are left out. Raises InputError when there are none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = [p for p in path.rglob("*") if is_video(p) and not _is_overlay(p)]
        if not below and any(p.suffix.lower() in PICTURE_SUFFIXES for p in path.iterdir()):
            below = [path]
        found += sorted(below)
    if not found:
        raise InputError(f"There are no videos in {', '.join(str(p) for p in paths)}. Choose another folder.")
    return list({os.path.abspath(path): path for path in found}.values())


def _is_overlay(path: Path) -> bool:
    return path.stem.endswith(OVERLAY) and path.with_name(path.stem.removesuffix(OVERLAY) + ".json").exists()


def below_given(paths: Sequence[Path], given: Sequence[Path]) -> list[Path]:
    """The videos' paths below the folder that holds all that was given: they tell videos and patients apart."""
    videos = [Path(os.path.abspath(path)) for path in paths]
    others = [Path(os.path.abspath(path)) for path in given]
    try:
        root = os.path.commonpath([path.parent if path in videos else path for path in others])
    except ValueError:  # on several drives of Windows
        return [Path(*path.parts[1:]) for path in videos]
    return [path.relative_to(root) for path in videos]


def result_names(wanted: Sequence[Path]) -> list[Path]:
    """The same paths without their endings, as names of results that differ within each folder (walk.mp4, walk.avi)."""
    names: dict[Path, Path] = {}
    for folder in {path.parent for path in wanted}:
        cases = [(path.stem, path) for path in wanted if path.parent == folder]
        names |= {path: folder / name for name, path in unique_names(cases)}
    return [names[path] for path in wanted]


def score_all(
    given: Sequence[Path],
    out: Path,
    score_each: Callable[[list[Path], list[Any]], int],
    write_summary: Callable[[Path, list[Any]], Mapping[str, str]],
) -> int:
    """Score the videos of the files and folders given, write the tables over all into `out`, also of a stopped run, and
    return how many failed. `score_each(paths, results)` appends to `results`.
    """
    paths = videos_in(given)
    make_folder(out)
    results: list[Any] = []
    try:
        return score_each(paths, results)
    finally:  # a stopped run keeps what it has
        if results:
            say(f"Summary: {write_summary(out, results)['summary']}")

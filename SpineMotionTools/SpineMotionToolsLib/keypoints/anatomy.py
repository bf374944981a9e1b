"""The 68 keypoints: 17 vertebrae from T1 down to L5, four corners each, left and right as seen in the picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

LEVELS = (*(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))
CORNERS = ("upper left", "upper right", "lower left", "lower right")
KEYPOINTS = 4 * len(LEVELS)
MIRRORED = np.arange(KEYPOINTS).reshape(-1, 2)[:, ::-1].ravel().copy()
"""The keypoint that each one becomes when the picture is mirrored left to right."""
_CRANIAL_TO_CAUDAL = (
    *(f"C{n}" for n in range(1, 8)),
    *(f"T{n}" for n in range(1, 14)),
    *(f"L{n}" for n in range(1, 7)),
)


def level_of(index: int) -> int:
    """The vertebra 0..16 a keypoint belongs to; raises InputError outside 0..67."""
    return check_index(index) // 4


def keypoint_name(index: int, levels: Sequence[str] = LEVELS) -> str:
    """For people, e.g. "T5 upper left"."""
    return f"{levels[level_of(index)]} {CORNERS[index % 4]}"


def check_index(index: int) -> int:
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 0 <= index < KEYPOINTS:
        raise InputError(
            f"There is no keypoint {index!r}. Keypoints are numbered 0 to {KEYPOINTS - 1}, four a vertebra."
        )
    return int(index)


def check_level(level: int | str, levels: Sequence[str] = LEVELS) -> int:
    """A vertebra given by number 0..16 or name as 0..16; raises InputError for others."""
    if isinstance(level, str) and level in levels:
        return list(levels).index(level)
    if isinstance(level, (int, np.integer)) and not isinstance(level, bool) and 0 <= level < len(levels):
        return int(level)
    raise InputError(f"There is no vertebra {level!r}. Choose one of {', '.join(levels)}.")


@cache
def names_from(first: str, lumbar: int = 5, thoracic: int = 12) -> tuple[str, ...]:
    """17 level names downwards from `first` for a spine with 11 to 13 thoracic and 4 to 6 lumbar vertebrae.

    Names below the last lumbar vertebra are S1, S2. Raises InputError when the spine cannot start there.
    """
    if not (11 <= thoracic <= 13 and 4 <= lumbar <= 6):
        raise InputError("Give 11 to 13 thoracic and 4 to 6 lumbar vertebrae.")
    names = [f"C{n}" for n in range(1, 8)] + [f"T{n}" for n in range(1, thoracic + 1)]
    names += [f"L{n}" for n in range(1, lumbar + 1)] + [f"S{n}" for n in range(1, 6)]
    if first not in names or len(names) - names.index(first) < len(LEVELS):
        raise InputError(f"17 vertebrae cannot start at {first!r}. Give the name of the topmost one, e.g. T1.")
    return tuple(names[names.index(first) :][: len(LEVELS)])


def check_name(name: str) -> str:
    """A vertebra's name such as T13 or L6; raises InputError for others."""
    if not re.fullmatch(r"C[1-7]|T([1-9]|1[0-3])|L[1-6]|S[1-5]", str(name)):
        raise InputError(f"{name!r} is no vertebra. Use a letter and a number, e.g. T12 or L1.")
    return str(name)

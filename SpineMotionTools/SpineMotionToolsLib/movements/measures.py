"""Movement energy: how fast each part of the body moves in each scored second, from the optical flow.

Speeds are in trunk lengths a second, so that infants of different size and distance compare. Parts are fixed areas of
the adjusted picture, in which the infant lies upright with its right side at the viewer's left.
"""

from __future__ import annotations

import numpy as np

from SpineMotionToolsLib.common.flow import flow_between, gray_of_bgr
from SpineMotionToolsLib.movements.adjusting import SIDE_PX
from SpineMotionToolsLib.movements.chunks import FLOW_RATE_HZ, Chunk

TRUNK_PX = SIDE_PX / 3.75
PARTS = ("right arm", "left arm", "right leg", "left leg", "head", "trunk")
DARK_LEVEL = 8  # removed background is black


def part_areas() -> dict[str, np.ndarray]:
    """Boolean areas (224,224) of `PARTS`."""
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX] - (SIDE_PX - 1) / 2
    along, aside = rows / TRUNK_PX, columns / TRUNK_PX
    trunk = (np.abs(along) <= 0.55) & (np.abs(aside) <= 0.32)
    head = (along < -0.55) & (np.abs(aside) <= 0.48)
    upper = (along <= 0.1) & ~trunk & ~head
    lower = (along > 0.1) & ~trunk
    right = aside < 0
    return {
        "right arm": upper & right,
        "left arm": upper & ~right,
        "right leg": lower & right,
        "left leg": lower & ~right,
        "head": head,
        "trunk": trunk,
    }


def chunk_energy(chunk: Chunk, pictures: dict[int, np.ndarray]) -> dict[str, float]:
    """Root mean square speed (trunk lengths/s) of each part in one chunk, over the pixels that are not background."""
    areas = part_areas()
    squares = {part: 0.0 for part in PARTS}
    counts = {part: 0 for part in PARTS}
    grays = {number: gray_of_bgr(pictures[number]) for number in chunk.frames}
    for late in chunk.flows:
        early = late - chunk.step
        speed = flow_between(grays[early], grays[late]) * (FLOW_RATE_HZ / TRUNK_PX)
        square = (speed.astype(np.float64) ** 2).sum(axis=2)
        body = (grays[early] > DARK_LEVEL) | (grays[late] > DARK_LEVEL)
        for part, area in areas.items():
            inside = area & body
            squares[part] += float(square[inside].sum())
            counts[part] += int(np.count_nonzero(inside))
    return {part: float(np.sqrt(squares[part] / counts[part])) if counts[part] else 0.0 for part in PARTS}

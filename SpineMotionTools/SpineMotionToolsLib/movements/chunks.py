"""Chunks: the seconds of a video that are scored, the frames they need, and the two tensors of each.

Frames are numbered from 0 at 30 frames a second. Times of the published study: a chunk of 1 s starts every 5 s at frame
1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.common.flow import flow_between, gray_of_bgr

FRAME_RATE_HZ = 30
FLOW_RATE_HZ = 6
CHUNK_FRAMES = 30
CHUNK_SPACING = 150
LAST_START = 1800
FLOW_LIMIT_PX = 20.0


@dataclass(frozen=True)
class Chunk:
    """One scored second: `picture` is its frame for the spatial stream, `flows` the later frames of its flow pairs."""

    start: int
    picture: int
    flows: tuple[int, ...]
    step: int

    @property
    def frames(self) -> tuple[int, ...]:
        """All frames the chunk needs, rising."""
        earlier = [number - self.step for number in self.flows]
        return tuple(sorted({self.picture, *self.flows, *earlier}))


def chunk_at(start: int, length: int = CHUNK_FRAMES, flow_rate_hz: int = FLOW_RATE_HZ) -> Chunk:
    """The chunk that begins at frame `start`."""
    step = FRAME_RATE_HZ // flow_rate_hz
    flows = tuple(range(start + step - 1, start + length, step))
    return Chunk(start, start + length // 2, flows, step)


def starts(frames: int | None = None, spacing: int = CHUNK_SPACING) -> list[int]:
    """First frames of the chunks of a video: 1, 151, ... up to 1800; with `frames`, only chunks that lie inside the
    video.
    """
    all_starts = range(1, LAST_START + 1, spacing)
    return [start for start in all_starts if frames is None or chunk_at(start).frames[-1] < frames]


def encode_flow(flow: np.ndarray) -> np.ndarray:
    """Flow components in pixels -> 8 bit: -20 to 20 pixels over 0 to 255, truncated; 0 becomes 127."""
    clipped = np.clip(np.asarray(flow, np.float32), -FLOW_LIMIT_PX, FLOW_LIMIT_PX)
    return ((clipped / np.float32(2 * FLOW_LIMIT_PX) + np.float32(0.5)) * np.float32(255)).astype(np.uint8)


def decode_flow(encoded: np.ndarray) -> np.ndarray:
    """8-bit flow -> values at the network's input (float64): 127 becomes 0."""
    return np.asarray(encoded, np.float64) / 127.5 - 1 + 1 / 255


def picture_tensor(picture: np.ndarray) -> np.ndarray:
    """(3,H,W) float32 of a BGR uint8 picture, divided by its own maximum; a black picture stays black."""
    brightest = max(int(picture.max()), 1)
    return np.ascontiguousarray((picture.astype(np.float64) / brightest).transpose(2, 0, 1), dtype=np.float32)


def flow_tensor(chunk: Chunk, encoded: Callable[[str, int], np.ndarray]) -> np.ndarray:
    """(2F,H,W) float32 in the order X, Y of each pair; `encoded("X" or "Y", frame)` gives an 8-bit field (H,W)."""
    fields = [decode_flow(encoded(axis, frame)) for frame in chunk.flows for axis in ("X", "Y")]
    return np.stack(fields).astype(np.float32)


def chunk_tensors(chunk: Chunk, pictures: Mapping[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Picture (3,H,W) and flow (2F,H,W) tensors of a chunk from the adjusted BGR pictures of its frames."""
    grays = {number: gray_of_bgr(pictures[number]) for number in chunk.frames}
    fields = {late: encode_flow(flow_between(grays[late - chunk.step], grays[late])) for late in chunk.flows}
    flow = flow_tensor(chunk, lambda axis, frame: fields[frame][..., "XY".index(axis)])
    return picture_tensor(pictures[chunk.picture]), flow


def mirror(picture: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both tensors left-right, with the sign of the x components changed (training only)."""
    mirrored = flow[..., ::-1].copy()
    mirrored[0::2] *= -1
    return np.ascontiguousarray(picture[..., ::-1]), mirrored

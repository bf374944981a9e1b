"""Clips: which seconds of a video, which frames of a clip, and their values and size at the network's input."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from SpineMotionToolsLib.common.crops import resize_half_pixel

MEAN, SPREAD = 0.45, 0.225  # Kinetics-400 normalization, the same for red, green and blue


def clip_times(duration_s: Fraction, clip_s: Fraction = Fraction(1)) -> list[tuple[Fraction, Fraction]]:
    """[start, end) in seconds of the clips that a video is scored on.

    The last incomplete piece is left out; a video shorter than one clip gives one clip with the frames there are.
    """
    duration_s, clip_s = Fraction(duration_s), Fraction(clip_s)
    count = max(int(duration_s / clip_s), 1)
    return [(k * clip_s, (k + 1) * clip_s) for k in range(count)]


def pick_frames(available: int, wanted: int) -> np.ndarray:
    """Indices (wanted,) of evenly spread frames out of `available`, repeating frames where there are too few.

    The positions are evaluated in float32 from both ends, as the published program does; float64 would pick other
    frames. Each is rounded once, as torch.linspace does on all but old processors, whatever this computer has.
    """
    last, steps = available - 1, max(wanted - 1, 1)
    step = float(np.float32(last) / np.float32(steps))
    k = np.arange(wanted)
    positions = np.where(k < max(wanted // 2, 1), k * step, last - step * (steps - k)).astype(np.float32)
    return np.clip(positions, 0, last).astype(np.int64)


def network_input(
    frames: np.ndarray, size: int = 224, short_side: int | None = None, mirror: bool = False
) -> np.ndarray:
    """A clip (3,T,H,W) with values 0-255 -> (3,T,size,size) float32 at the network's scale.

    `short_side`: first scale the short side to this many pixels (videos that did not go through person cropping).
    """
    clip = (np.asarray(frames, dtype=np.float32) / np.float32(255.0) - np.float32(MEAN)) / np.float32(SPREAD)
    if short_side is not None:
        height, width = clip.shape[-2:]
        long_side = int(max(height, width) / min(height, width) * short_side)
        clip = resize_half_pixel(clip, (short_side, long_side) if height <= width else (long_side, short_side))
    clip = resize_half_pixel(clip, (size, size))
    return np.ascontiguousarray(clip[..., ::-1]) if mirror else clip

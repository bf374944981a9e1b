"""Rectangles cut out of video frames, with black where the rectangle leaves the picture."""

from __future__ import annotations

import numpy as np


def crop(picture: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The (height,width,C) window of a (H,W,C) picture as a copy; parts outside the picture are 0."""
    window = np.zeros((max(height, 0), max(width, 0), *picture.shape[2:]), picture.dtype)
    y0, y1 = max(top, 0), min(top + height, picture.shape[0])
    x0, x1 = max(left, 0), min(left + width, picture.shape[1])
    if y0 < y1 and x0 < x1:
        window[y0 - top : y1 - top, x0 - left : x1 - left] = picture[y0:y1, x0:x1]
    return window


def pad_columns(picture: np.ndarray, columns: int) -> np.ndarray:
    """Add `columns` black columns left and right; a negative number removes columns."""
    height, width = picture.shape[:2]
    return crop(picture, 0, -columns, height, width + 2 * columns)


def resize_half_pixel(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (...,H,W) float32 to `size` (height, width): bilinear, half-pixel centers, edges repeated, no
    antialiasing.
    """
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(pictures, dtype=np.float32))
    flat = tensor.reshape(1, -1, *tensor.shape[-2:])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with more threads torch rounds differently, and results would depend on the computer
    try:
        resized = torch.nn.functional.interpolate(
            flat, size=size, mode="bilinear", align_corners=False, antialias=False
        )
    finally:
        torch.set_num_threads(threads)
    return resized.reshape(*tensor.shape[:-2], *size).numpy()


def resize_picture(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H,W,C) uint8 to `size` (height, width) as `resize_half_pixel`, rounding half to even back to uint8."""
    resized = resize_half_pixel(picture.transpose(2, 0, 1), size)
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8).transpose(1, 2, 0)

"""Background removal, frame by frame: input of U2-Net, its mask, and the frame multiplied by the mask.

Pictures are BGR uint8 (H,W,3), as the published program reads and feeds them, although U2-Net was trained on RGB.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from SpineMotionToolsLib.common.resampling import resize_linear

NETWORK_SIDE_PX = 320
CHANNEL_MEAN = (0.485, 0.456, 0.406)  # ImageNet's, applied to B, G, R in this order
CHANNEL_SPREAD = (0.229, 0.224, 0.225)


def network_input(picture: np.ndarray, side: int = NETWORK_SIDE_PX) -> np.ndarray:
    """(1,3,side,side) float32 from a uint8 picture (H,W,3): reduced with antialiasing, divided by its maximum,
    normalized.

    A black picture stays black (the published program divides by zero).
    """
    scaled = resize_antialiased(picture / 255.0, (side, side))
    brightest = scaled.max()
    if brightest > 0:
        scaled = scaled / brightest
    normalized = (scaled - CHANNEL_MEAN) / CHANNEL_SPREAD
    return np.ascontiguousarray(normalized.transpose(2, 0, 1)[None], dtype=np.float32)


def resize_antialiased(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H,W,C) float64 -> (size[0],size[1],C): Gaussian blur where an axis shrinks, then linear interpolation, zero
    outside.

    Equals scikit-image's resize with mode "constant": blur and interpolation are linear and separable, so that one
    sparse matrix per axis does both.
    """
    height, width, channels = picture.shape
    rows, columns = _reduction(height, size[0]), _reduction(width, size[1])
    reduced = rows @ picture.reshape(height, width * channels)
    reduced = reduced.reshape(size[0], width, channels).transpose(1, 0, 2).reshape(width, size[0] * channels)
    reduced = (columns @ reduced).reshape(size[1], size[0], channels).transpose(1, 0, 2)
    return np.clip(reduced, picture.min(), picture.max())


@lru_cache(maxsize=16)
def _reduction(n_in: int, n_out: int):
    """Sparse (n_out,n_in) matrix of the blur and the interpolation along one axis."""
    from scipy.sparse import csr_array

    factor = n_in / n_out
    position = (np.arange(n_out) + 0.5) * factor - 0.5
    low = np.floor(position).astype(int)
    part = position - low
    kernel = np.ones(1)
    if factor > 1:
        sigma = (factor - 1) / 2
        radius = int(4 * sigma + 0.5)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        kernel /= kernel.sum()
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    weights = np.concatenate([(1 - part)[:, None] * kernel, part[:, None] * kernel], axis=1)
    # An interpolation position outside the blurred picture counts zero, whatever the blur would put there.
    ends = np.stack([low, low + 1], axis=1)
    weights *= np.repeat((ends >= 0) & (ends < n_in), len(kernel), axis=1)
    columns = np.concatenate([low[:, None] + offsets, low[:, None] + 1 + offsets], axis=1)
    rows = np.broadcast_to(np.arange(n_out)[:, None], columns.shape)
    inside = (columns >= 0) & (columns < n_in)
    return csr_array((weights[inside], (rows[inside], columns[inside])), shape=(n_out, n_in))


def mask_of(prediction: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Soft mask (H,W) float32 of `size` (height, width): the fused map (h,w) stretched to 0-1 and resized.

    A constant map gives an empty mask (the published program divides by zero).
    """
    prediction = np.asarray(prediction, dtype=np.float32)
    low, high = prediction.min(), prediction.max()
    stretched = (prediction - low) / (high - low) if high > low else np.zeros_like(prediction)
    return resize_linear(stretched, (size[1], size[0]))


def apply_mask(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture times the soft mask, truncated to uint8."""
    return (picture * mask[..., None]).astype(np.uint8)


def clean_mask(mask: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The largest connected part of a soft mask above the threshold, as a mask of 0 and 1 (not in the published
    program).
    """
    from scipy.ndimage import label

    parts, count = label(mask > threshold)
    if count == 0:
        return np.zeros_like(mask)
    largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1
    return (parts == largest).astype(mask.dtype)

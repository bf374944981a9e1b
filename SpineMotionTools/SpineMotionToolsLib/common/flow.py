"""Dense optical flow between two pictures (Farnebäck 2003, by OpenCV)."""

from __future__ import annotations

import numpy as np

from SpineMotionToolsLib.common.errors import DependencyError


def import_cv2():
    """The cv2 module; raises DependencyError with the next step."""
    try:
        import cv2
    except ImportError as error:
        raise DependencyError(
            "Optical flow needs OpenCV. Install it with: pip install opencv-python-headless"
        ) from error
    return cv2


def gray_of_bgr(picture_bgr: np.ndarray) -> np.ndarray:
    """OpenCV's 8-bit gray (H,W) of a BGR picture: 15-bit fixed-point weights 0.114, 0.587, 0.299, rounded."""
    blue, green, red = (picture_bgr[..., channel].astype(np.int32) for channel in range(3))
    return ((blue * 3735 + green * 19235 + red * 9798 + (1 << 14)) >> 15).astype(np.uint8)


def flow_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Flow (H,W,2) float32 in pixels, x right and y down, from gray picture `first` to `second` (H,W) uint8.

    Settings of the published infant study: 3 levels of half size, window 5, 3 iterations, neighborhood 7, sigma 1.5.
    """
    return import_cv2().calcOpticalFlowFarneback(
        first, second, None, pyr_scale=0.5, levels=3, winsize=5, iterations=3, poly_n=7, poly_sigma=1.5, flags=0
    )

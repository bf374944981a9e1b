"""Parallel-beam tomography of a moving object: projections by the Fourier slice theorem, filtered back-projection.

Lengths are in pixels of the reconstruction, angles in radians. The detector's axis at view angle `a` is
(x, y) = (cos a, sin a); its bins lie at `arange(detectors) - (detectors - 1) / 2`. Images are (channels, rows, columns)
with the rotation axis at the middle of the raster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    import torch

GRIDDING_TAPS = 5
DETECTOR_OVERSAMPLING = 4
"""Filtered projections are refined this much, so that back-projection may take the nearest sample."""


@dataclass(frozen=True)
class Ellipse:
    """A homogeneous ellipse: center and half axes in pixels, turn in radians, value added inside."""

    x: float
    y: float
    half_width: float
    half_height: float
    turn: float
    value: float

    def project(self, angles: np.ndarray, offsets: np.ndarray, detectors: int) -> np.ndarray:
        """Line integrals (views, detectors) with the object seen at `angles` and pushed along the detector."""
        bins = np.arange(detectors) - (detectors - 1) / 2
        center = self.x * np.cos(angles) + self.y * np.sin(angles) + offsets
        seen = angles - self.turn
        width_sq = (self.half_width * np.cos(seen)) ** 2 + (self.half_height * np.sin(seen)) ** 2
        inside = np.maximum(width_sq[:, None] - (bins[None] - center[:, None]) ** 2, 0)
        scale = 2 * self.half_width * self.half_height * self.value / width_sq
        return (scale[:, None] * np.sqrt(inside)).astype(np.float32)


def view_angles(views: int, start: float = 0.0, arc: float = np.pi) -> np.ndarray:
    """Angles of the views of a scan that starts at `start` and covers `arc` (a half turn by default)."""
    return start + np.arange(views) * (arc / views)


class Spectrum:
    """The Fourier transform of square images, ready to be read along lines at any angle.

    Built from images (channels, n, n). Twofold zero-padded and pre-compensated for the Kaiser-Bessel kernel the lines
    are read with (Beatty et al., IEEE Trans Med Imaging 2005).
    """

    def __init__(self, images: np.ndarray):
        import torch

        self.channels, size, _ = images.shape
        self._grid = grid = 2 * size
        beta = np.pi * np.sqrt((GRIDDING_TAPS / 2) ** 2 * 1.5**2 - 0.8)
        self._kernel = torch.special.i0(beta * torch.sqrt(1 - torch.linspace(0, 1, 1 << 14) ** 2))
        x = np.arange(size) - (size - 1) / 2
        root = np.sqrt(beta**2 - (np.pi * GRIDDING_TAPS * x / grid) ** 2)
        compensation = (root / (GRIDDING_TAPS * np.sinh(root))).astype(np.float32)
        flat = torch.from_numpy(images * (compensation[:, None] * compensation))
        flat = torch.nn.functional.pad(flat, (0, size, 0, size))
        transform = torch.fft.fft2(torch.roll(flat, (-(size // 2),) * 2, (1, 2)))
        # The raster's middle lies half a pixel off the transform's origin when n is even.
        self._off_origin = (size - 1) / 2 - size // 2
        self._table = torch.view_as_real(transform.permute(1, 2, 0).contiguous()).reshape(grid * grid, -1)

    def project(self, angles: np.ndarray, offsets: np.ndarray, detectors: int) -> np.ndarray:
        """Line integrals, each view with an angle and an offset along the detector of its own.

        angles and offsets (views,); returns float32 (channels, views, detectors). By the Fourier slice theorem a view's
        spectrum is a line through the image's spectrum, and an offset is a phase on it.
        """
        import torch

        cycles = torch.fft.rfftfreq(detectors)
        lines = torch.empty(len(angles), len(cycles), self.channels, dtype=torch.complex64)
        for first in range(0, len(angles), 64):
            part = slice(first, first + 64)
            cos = torch.from_numpy(np.cos(angles[part])).float()[:, None]
            sin = torch.from_numpy(np.sin(angles[part])).float()[:, None]
            columns, column_weights = self._neighbours(cycles * cos)
            rows, row_weights = self._neighbours(cycles * sin)
            taps = (rows[..., :, None] * self._grid + columns[..., None, :]).view(-1, GRIDDING_TAPS**2)
            weights = (row_weights[..., :, None] * column_weights[..., None, :]).view(-1, GRIDDING_TAPS**2)
            read = torch.nn.functional.embedding_bag(taps, self._table, mode="sum", per_sample_weights=weights)
            pushed = torch.from_numpy(offsets[part] + (detectors - 1) / 2)[:, None] - self._off_origin * (cos + sin)
            turns = torch.remainder(-cycles * pushed, 1).float() * (2 * torch.pi)
            phase = torch.polar(torch.ones_like(turns), turns)
            lines[part] = torch.view_as_complex(read.view(*phase.shape, self.channels, 2)) * phase[..., None]
        return torch.fft.irfft(lines.permute(2, 0, 1), n=detectors).numpy()

    def _neighbours(self, cycles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nearest points of the periodic grid (int32) and their Kaiser-Bessel weights, along one more axis."""
        import torch

        positions = (cycles * self._grid)[..., None]
        nearest = torch.floor(positions - GRIDDING_TAPS / 2) + torch.arange(1, GRIDDING_TAPS + 1)
        away = (positions - nearest) * (2 / GRIDDING_TAPS)
        weights = self._kernel[(away.abs() * (len(self._kernel) - 1)).round().int()]
        return torch.remainder(nearest, self._grid).int(), weights


def filter_projections(projections: np.ndarray, keep: int) -> torch.Tensor:
    """Ramp-filtered projections, refined along the detector and cut to its `keep` middle bins.

    projections (channels, views, detectors); returns a float32 tensor (views, keep * DETECTOR_OVERSAMPLING, channels).
    The ramp is that of Ramachandran and Lakshminarayanan, rolled off by a raised cosine, as scanners do.
    """
    import torch

    channels, views, detectors = projections.shape
    length = scipy.fft.next_fast_len(detectors + keep, real=True)
    length += length % 2
    taps = np.zeros(length)
    odd = np.arange(1, length // 2, 2)
    taps[0], taps[odd], taps[-odd] = 0.25, -1 / (np.pi * odd) ** 2, -1 / (np.pi * odd) ** 2
    cycles = np.fft.rfftfreq(length)
    response = np.fft.rfft(taps).real * (0.54 + 0.46 * np.cos(2 * np.pi * cycles)) * DETECTOR_OVERSAMPLING
    # Bin 0 of the kept part goes to sample 0, so that the refined samples can be cut without interpolation.
    phase = np.exp(2j * np.pi * cycles * ((detectors - keep) / 2))
    gain = torch.from_numpy((response * phase).astype(np.complex64))
    filtered = torch.empty(views, keep * DETECTOR_OVERSAMPLING, channels)
    for channel in range(channels):
        spectrum = torch.fft.rfft(torch.from_numpy(projections[channel]), n=length) * gain
        refined = torch.fft.irfft(spectrum, n=length * DETECTOR_OVERSAMPLING)
        filtered[:, :, channel] = refined[:, : filtered.shape[1]]
    return filtered


def back_project(
    filtered: torch.Tensor, angles: np.ndarray, rows: int, columns: int, middle: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Sum of filtered projections over the views at every pixel: float32 (channels, rows, columns).

    `filtered` as from `filter_projections`; `middle` is where the raster's middle lies from the rotation axis (x, y).
    Its farthest corner must lie within the kept detector bins.
    """
    import torch

    views, samples, channels = filtered.shape
    image = torch.zeros(rows * columns, channels)
    x = torch.arange(columns) - (columns - 1) / 2 + middle[0]
    y = torch.arange(rows) - (rows - 1) / 2 + middle[1]
    axis = samples / DETECTOR_OVERSAMPLING / 2 - 0.5
    # Sample numbers are added in fixed point, 12 bits behind the point: 32 views of up to 16384 samples fit an int32.
    fine, block = 1 << 12, 32
    for first in range(0, views, block):
        part = torch.from_numpy(angles[first : first + block])
        along_x = (x[:, None] * torch.cos(part) * DETECTOR_OVERSAMPLING * fine).round().int()
        along_y = ((y[:, None] * torch.sin(part) + axis) * DETECTOR_OVERSAMPLING + 0.5) + torch.arange(
            len(part)
        ) * samples
        nearest = ((along_y * fine).round().int()[:, None] + along_x).bitwise_right_shift_(12)
        table = filtered[first : first + block].reshape(-1, channels)
        image += torch.nn.functional.embedding_bag(nearest.view(-1, len(part)), table, mode="sum")
    return (image.T * (np.pi / views)).reshape(channels, rows, columns).numpy()

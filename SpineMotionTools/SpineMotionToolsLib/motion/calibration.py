"""Voxel units of Scanco scans: native integers, linear attenuation, Hounsfield units and bone mineral density.

With native value n, scaling s (`Mu_Scaling`), attenuation of water w (`HU: mu water`, 1/cm), density slope a and
intercept b: mu = n/s, HU = 1000 n/(s w) - 1000, density = n a/s + b.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from SpineMotionToolsLib.common.errors import InputError

UNKNOWN = "unknown"
UNIT_LABELS = {
    "native": "native",
    "mu": "1/cm",
    "hu": "HU",
    "density": "mg HA/ccm",
    "density-from-hu": "mg HA/ccm, from HU truncated to integers",
    UNKNOWN: "unit not known, as stored",
}
"""The units a scan can be scored in, and how they are written. `density-from-hu` is what the published Keras
ensemble saw: its reader truncated HU to integers before it computed the density. `unknown` is never converted."""

_SYNONYMS = {"none": "native", "bmd": "density", "mg ha/ccm": "density", "1/cm": "mu"}

_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)"
_LOG_FIELDS = {
    "mu_scaling": ("Mu_Scaling", r"Mu_Scaling\s+(\d+)"),
    "mu_water": ("HU: mu water", r"HU: mu water\s+(\d+\.\d+)"),
    "density_slope": ("Density: slope", r"Density: slope\s+" + _NUMBER),
    "density_intercept": ("Density: intercept", r"Density: intercept\s+" + _NUMBER),
}


def unit_name(unit: str) -> str:
    """The canonical name of a unit (`bmd` is `density`, `none` is `native`); InputError for an unknown one."""
    name = unit.strip().lower()
    name = _SYNONYMS.get(name, name)
    if name not in UNIT_LABELS:
        raise InputError(f"The unit {unit!r} is not known. Choose one of: {', '.join(UNIT_LABELS)}.")
    return name


@dataclass(frozen=True)
class Calibration:
    """The scanner's calibration: `mu_scaling` (native per 1/cm), `mu_water` (1/cm), density slope and intercept."""

    mu_scaling: float
    mu_water: float
    density_slope: float
    density_intercept: float

    def __post_init__(self) -> None:
        values = (self.mu_scaling, self.mu_water, self.density_slope, self.density_intercept)
        if not np.isfinite(values).all() or self.mu_scaling <= 0 or self.mu_water <= 0 or self.density_slope == 0:
            raise InputError(
                f"The calibration is not usable (Mu_Scaling {self.mu_scaling:g}, mu water {self.mu_water:g}, density "
                f"slope {self.density_slope:g}, intercept {self.density_intercept:g}). Correct it, or choose the unit "
                "'native', which needs no calibration."
            )

    @classmethod
    def from_log(cls, log: str) -> Calibration:
        """Read the four constants from an AIM processing log; InputError names the ones that are missing.

        `HU: mu water` must be written with a decimal point, as every scanner does; otherwise it counts as missing.
        """
        found = {name: re.search(pattern, log) for name, (_, pattern) in _LOG_FIELDS.items()}
        missing = [_LOG_FIELDS[name][0] for name, match in found.items() if match is None]
        if missing:
            raise InputError(
                f"The scan's header has no calibration ({', '.join(missing)} missing). "
                "Choose the unit 'native' to score the stored numbers as they are."
            )
        return cls(**{name: float(match[1]) for name, match in found.items()})

    def from_native(self, values: np.ndarray, unit: str) -> np.ndarray:
        """Convert native values; `native` returns them unchanged, the others float32 (`density-from-hu` float64)."""
        unit = unit_name(unit)
        if unit == "native":
            return values
        if unit == "density-from-hu":
            scale, shift = self._line("hu")
            hu = np.trunc(np.asarray(values, dtype=np.float64) * scale + shift)
            return hu * (self.density_slope * self.mu_water / 1000) + (
                self.density_intercept + self.density_slope * self.mu_water
            )
        native = np.asarray(values, dtype=np.float32)
        scale, shift = self._line(unit)
        return native * np.float32(scale) + np.float32(shift)

    def to_native(self, values: np.ndarray, unit: str) -> np.ndarray:
        """Convert values in `mu`, `hu` or `density` back to (fractional) native values, float32."""
        unit = unit_name(unit)
        if unit == "native":
            return values
        scale, shift = self._line(unit)
        return ((np.asarray(values, dtype=np.float64) - shift) / scale).astype(np.float32)

    def _line(self, unit: str) -> tuple[float, float]:
        if unit == "mu":
            return 1 / self.mu_scaling, 0.0
        if unit == "hu":
            return 1000 / (self.mu_scaling * self.mu_water), -1000.0
        return self.density_slope / self.mu_scaling, self.density_intercept

    def __str__(self) -> str:
        return (
            f"Mu_Scaling {self.mu_scaling:g}, mu water {self.mu_water:g} 1/cm, "
            f"density slope {self.density_slope:.10g}, intercept {self.density_intercept:.10g} mg HA/ccm"
        )

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, float]) -> Calibration:
        return cls(**{name: float(record[name]) for name in _LOG_FIELDS})

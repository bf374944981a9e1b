"""AIM and ISQ files byte by byte, and small ensembles with seeded weights, for tests of motion scoring."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from SpineMotionToolsLib.motion.members import Ensemble

from Testing.golden.kinds.motion_scoring import seeded_member, volume_of

LOG = """! Processing Log
!
Created by                    ISQ_TO_AIM (IPL)
Original file                 dk0:[xtremect2.data.00000042]d0000042.isq;1
Patient Name                  DOE JANE
Mu_Scaling                                       8192
Density: unit                 mg HA/ccm
Density: slope                         1.60351904e+03
Density: intercept                    -3.91209015e+02
HU: mu water                                  0.24090
"""

INT16, INT8, UINT8 = 0x00020002, 0x00010001, 0x00160001
DECISIVE, UNDECIDED = (0, 2, 3, 5, 6), (19, 23, 33, 64, 78)
"""Seeded members whose votes are clear on phantoms, and some with close votes."""


def seeded_ensemble(numbers=(19, 23), gain: float = 1.2) -> Ensemble:
    return Ensemble.of({f"VAR_{number}": seeded_member(f"VAR_{number}.", gain) for number in numbers})


def phantom(shape=(48, 40, 6), dtype: str = "native16", name: str = "motion-vol-a") -> np.ndarray:
    """A volume (x, y, z) like those of the golden cases."""
    return volume_of({"type": "phantom", "name": name, "shape": shape, "dtype": dtype})


def vax_float(value: float) -> bytes:
    high, low = struct.unpack("<2H", struct.pack("<f", value * 4))[::-1]
    return struct.pack("<2H", high, low)


def vax_double(value: float) -> bytes:
    return struct.pack("<4H", *struct.unpack("<4H", struct.pack("<d", value * 4))[::-1])


def aim_bytes(
    array_zyx: np.ndarray,
    version: int = 30,
    log: str = LOG,
    code: int = INT16,
    spacing: float = 0.0607,
    position=(10, 20, 30),
    offset=(0, 0, 0),
    data: bytes | None = None,
) -> bytes:
    """An AIM file; `data` replaces the plain voxels for packed masks."""
    data = array_zyx.tobytes() if data is None else data
    log_bytes = log.encode("latin-1") + b"\0"
    shape = array_zyx.shape[::-1]
    vectors = [position, shape, offset, (0,) * 3, (0,) * 3, (0,) * 3, (0,) * 3]
    if version == 20:
        head = struct.pack("<5i", 20, 140, len(log_bytes), len(data), 0)
        body = struct.pack("<6i", 16, 0, 0, 0, 0, code) + b"".join(struct.pack("<3i", *v) for v in vectors)
        body += vax_float(spacing) * 3 + struct.pack("<5i", 0, 0, 0, 0, 0)
        return head + body + log_bytes + data
    head = b"AIMDATA_V030   \0" + struct.pack("<5q", 40, 224, len(log_bytes), len(data), 0)
    body = struct.pack("<4i", 24, 0, 0, code) + b"".join(struct.pack("<3q", *v) for v in vectors)
    body += struct.pack("<3q", *[round(spacing * 1e6)] * 3) + struct.pack("<4i", 0, 0, 0, 0)
    return head + body.ljust(224, b"\0") + log_bytes + data


def isq_header(
    shape_xyz, spacing_um: float = 60.7, calibrated: bool = True, multi: bool = False, mu_scaling: int = 8192
) -> bytes:
    """The blocks before an ISQ file's voxels, with or without a calibration."""
    head = bytearray(512)
    head[:16] = b"CTDATA-HEADER_V1"
    struct.pack_into("<i", head, 16, 3)
    struct.pack_into("<3i", head, 44, *shape_xyz)
    struct.pack_into("<3i", head, 56, *(round(n * spacing_um) for n in shape_xyz))
    struct.pack_into("<2i", head, 68, round(spacing_um), round(spacing_um))
    struct.pack_into("<i", head, 88, mu_scaling)
    head[128:168] = b"DOE JANE".ljust(40)
    blocks = [head]
    if calibrated:
        directory = bytearray(512)
        directory[8:24] = b"Calibration     "
        struct.pack_into("<i", directory, 24, 3)
        calibration = bytearray(3 * 512)
        for at, value in ((664, 1603.51904), (672, -391.209015), (688, 0.2409)):
            calibration[at : at + 8] = vax_double(value)
        if multi:
            title = bytearray(512)
            title[8:24] = b"MultiHeader     "
            blocks.append(title)
        blocks += [directory, calibration]
    data = b"".join(bytes(block) for block in blocks)
    data = data.ljust(4 * 512, b"\0")
    size = len(data) + 2 * int(np.prod(shape_xyz, dtype=np.int64))
    sizes = struct.pack("<2i", size if size < 1 << 31 else 0, size // 512)
    return data[:20] + sizes + data[28:508] + struct.pack("<i", len(data) // 512 - 1) + data[512:]


def isq_bytes(array_zyx: np.ndarray, **options) -> bytes:
    return isq_header(array_zyx.shape[::-1], **options) + array_zyx.astype("<i2").tobytes()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def write_sparse_isq(path: Path, shape_xyz, slices: dict[int, np.ndarray]) -> Path:
    """A large ISQ file of which only the given slices (y, x) take place on the disk."""
    header = isq_header(shape_xyz)
    width, height, depth = shape_xyz
    with open(path, "wb") as file:
        file.write(header)
        for z, values in slices.items():
            file.seek(len(header) + z * width * height * 2)
            file.write(values.astype("<i2").tobytes())
        file.truncate(len(header) + width * height * depth * 2)
    return path

"""Scanco files: headers of AIM (V020, V030) and ISQ images, and their slices, read piece by piece.

Every number in a header is checked against the file's size and against what a scanner can have written, before
anything is allocated or read by it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion.calibration import Calibration

_AIM_030 = b"AIMDATA_V030   \0"
_AIM_020 = struct.pack("<2i", 20, 140)
_ISQ = b"CTDATA-HEADER_V1"

_LARGEST_LOG = 1 << 24
_LARGEST_AXIS = 1 << 16
_LARGEST_POSITION = 1 << 31
_LARGEST_VOXEL_MM = 10.0


@dataclass(frozen=True)
class VoxelType:
    """How voxels are stored: NumPy type, whether they are VAX floats, and for masks the encoding that packs them."""

    dtype: str
    encoding: str = "plain"
    mask: bool = False
    vax: bool = False


_AIM_TYPES = {
    0x00010001: VoxelType("<i1", mask=True),
    0x00020002: VoxelType("<i2"),
    0x00030004: VoxelType("<i4"),
    0x001A0004: VoxelType("<f4"),
    0x00040004: VoxelType("<f4", vax=True),
    0x00160001: VoxelType("<u1", mask=True),
    0x000D0001: VoxelType("<u1", mask=True),
    0x00170002: VoxelType("<u2"),
    0x00150001: VoxelType("<i1", "run-length bits", mask=True),
    0x00080002: VoxelType("<i1", "run-length bytes", mask=True),
    0x00060001: VoxelType("<i1", "packed bits", mask=True),
}


@dataclass(frozen=True)
class ScancoHeader:
    """What a Scanco file says about its image; `origin_lps_mm` is the centre of the first voxel.

    `log` is the processing log of an AIM file ("" for ISQ); it may hold the patient's name.
    """

    path: Path
    format: str
    voxels: VoxelType
    shape_xyz: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_lps_mm: tuple[float, float, float]
    data_offset: int
    log: str = ""
    calibration: Calibration | None = None
    calibration_fault: str = ""
    """Why there is no calibration."""
    border_xyz: tuple[int, int, int] = (0, 0, 0)
    """Voxels at each end that run-length masks leave out; they are zero."""

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """4x4, mm. Scanco's axes are taken as LPS, as ITK does."""
        matrix = np.diag([*self.spacing_mm, 1.0])
        matrix[:3, 3] = self.origin_lps_mm
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def looks_like_scanco(path: Path | str) -> bool:
    """Whether the first bytes are those of an AIM or ISQ file; the name does not matter."""
    try:
        with open(path, "rb") as file:
            return _format_of(file.read(16)) is not None
    except OSError:
        return False


def read_header(path: Path | str) -> ScancoHeader:
    """The checked header of an AIM or ISQ file.

    Raises InputError for a file that is missing, empty, foreign, truncated, or whose header makes no sense.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(512)
            name = _format_of(start)
            if name is None:
                what = "is empty" if not size else "is not an AIM or ISQ file"
                raise InputError(f"{path.name} {what}. Export the scan again from the Scanco workstation.")
            if len(start) < 160:
                raise _truncated(path)
            try:
                header = _isq_header if name == "ISQ" else _aim_header
                return header(path, name, start, file, size)
            except struct.error as error:
                raise _truncated(path) from error
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be read: {error.strerror}. Check the name and the permissions."
        ) from error


def read_slices(header: ScancoHeader, first: int, end: int) -> np.ndarray:
    """Stored values of the slices first..end-1, (z, y, x); only these are read. Masks must be read whole."""
    if header.voxels.encoding != "plain":
        raise InputError(f"{header.path.name} is a packed mask, not a grey-value scan. Choose the scan itself.")
    x, y, _ = header.shape_xyz
    dtype = np.dtype(header.voxels.dtype)
    count = (end - first) * y * x
    with open(header.path, "rb") as file:
        file.seek(header.data_offset + first * y * x * dtype.itemsize)
        values = np.fromfile(file, dtype=dtype, count=count)
    if values.size != count:
        raise _truncated(header.path)
    if header.voxels.vax:
        values = _vax_floats(values)
    return values.reshape(end - first, y, x)


def read_array(header: ScancoHeader) -> np.ndarray:
    """The whole image (z, y, x) as stored; packed and run-length masks are unpacked."""
    if header.voxels.encoding == "plain":
        return read_slices(header, 0, header.shape_xyz[2])
    with open(header.path, "rb") as file:
        file.seek(header.data_offset)
        packed = np.frombuffer(file.read(), dtype=np.uint8)
    return _unpack(header, packed)


# ----- AIM


def _aim_header(path: Path, name: str, start: bytes, file, size: int) -> ScancoHeader:
    if name == "AIM V030":
        base, preheader, structure, integer = 16, 40, 224, "q"
    else:
        base, preheader, structure, integer = 0, 20, 140, "i"
    lengths = struct.unpack_from(f"<5{integer}", start, base)
    log_length = lengths[2]
    if lengths[:2] != (preheader, structure) or not 0 <= log_length <= _LARGEST_LOG:
        raise _nonsense(path, "the lengths of its header parts")
    structure_at = base + preheader
    log_at = structure_at + structure
    data_offset = log_at + log_length
    if data_offset > size:
        raise _truncated(path)
    file.seek(structure_at)
    block = file.read(structure)
    log = file.read(log_length).split(b"\0")[0].decode("latin-1")

    # Version, pointers, id and reference before the type: five numbers in V020, three in V030.
    if name == "AIM V030":
        type_at, vectors_at, stride = 12, 16, 8
    else:
        type_at, vectors_at, stride = 20, 24, 4
    (code,) = struct.unpack_from("<i", block, type_at)
    if code not in _AIM_TYPES:
        raise InputError(f"{path.name} has the voxel type 0x{code & 0xFFFFFFFF:08x}, which is not supported.")
    position, dimension, offset = (
        struct.unpack_from(f"<3{integer}", block, vectors_at + number * 3 * stride) for number in range(3)
    )
    size_at = vectors_at + 7 * 3 * stride
    if name == "AIM V030":
        element = np.array(struct.unpack_from("<3q", block, size_at), dtype=np.float64) * 1e-6
    else:
        element = np.array([_vax_float(block[size_at + 4 * i : size_at + 4 * i + 4]) for i in range(3)])
    # The published reader holds spacing in float32.
    spacing = element.astype(np.float32).astype(np.float64)
    if (spacing == 0).all():
        spacing[:] = 1.0  # files written without a voxel size
    voxels = _AIM_TYPES[code]
    _check_image(path, dimension, spacing, position + offset, voxels, size - data_offset)
    origin = (np.array(position, dtype=np.float64) + np.array(offset, dtype=np.float64)) * spacing
    calibration, fault = _log_calibration(log)
    return ScancoHeader(
        path,
        name,
        voxels,
        dimension,
        tuple(spacing.tolist()),
        tuple(origin.tolist()),
        data_offset,
        log,
        calibration,
        fault,
        offset,
    )


def _log_calibration(log: str) -> tuple[Calibration | None, str]:
    try:
        return Calibration.from_log(log), ""
    except InputError as error:
        return None, str(error)


# ----- ISQ


def _isq_header(path: Path, name: str, start: bytes, file, size: int) -> ScancoHeader:
    if len(start) < 512:
        raise _truncated(path)
    (data_type,) = struct.unpack_from("<i", start, 16)
    dimension = struct.unpack_from("<3i", start, 44)
    length_um = struct.unpack_from("<3i", start, 56)
    (mu_scaling,) = struct.unpack_from("<i", start, 88)
    (blocks,) = struct.unpack_from("<i", start, 508)
    data_offset = (blocks + 1) * 512
    if data_type == 9 or length_um[2] == 0:
        raise InputError(
            f"{path.name} is a scout view or radiograph, not a stack of slices. Choose the scan's ISQ file."
        )
    if not 512 <= data_offset <= _LARGEST_LOG:
        raise _nonsense(path, "the place of its image data")
    if data_offset > size:
        raise _truncated(path)
    if min(dimension) < 1:
        raise _nonsense(path, f"its size {dimension}")
    spacing = np.array(length_um) * 1e-3 / np.array(dimension)
    voxels = VoxelType("<i2")
    _check_image(path, dimension, spacing, (), voxels, size - data_offset)
    file.seek(0)
    calibration, fault = _isq_calibration(file.read(data_offset), mu_scaling)
    origin = (0.0, 0.0, 0.0)  # the scanner's field of view has none; ITK and aimio-py say the same
    return ScancoHeader(
        path, name, voxels, dimension, tuple(spacing.tolist()), origin, data_offset, "", calibration, fault
    )


def _isq_calibration(header: bytes, mu_scaling: int) -> tuple[Calibration | None, str]:
    """The constants in the "Calibration" block of the extended header, found through its directory."""
    directory, blocks = 512, 1
    if header[directory + 8 : directory + 24] == b"MultiHeader     ":
        directory, blocks = 1024, 2
    for entry in range(directory, directory + 4 * 128, 128):
        if entry + 28 > len(header):
            break
        (length,) = struct.unpack_from("<i", header, entry + 24)
        start = (1 + blocks) * 512
        if length < 0 or start + length * 512 > len(header):
            break
        if header[entry + 8 : entry + 24] == b"Calibration     " and length >= 2:
            slope, intercept, water = (_vax_double(header[start + at : start + at + 8]) for at in (664, 672, 688))
            try:
                return Calibration(float(mu_scaling), water, slope, intercept), ""
            except InputError as error:
                return None, str(error)
        blocks += length
    return None, (
        "The scan's header has no calibration block. Choose the unit 'native' to score the stored numbers as they are."
    )


# ----- shared


def _format_of(start: bytes) -> str | None:
    if start[:16] == _AIM_030:
        return "AIM V030"
    if start[:8] == _AIM_020:
        return "AIM V020"
    return "ISQ" if start[:16] == _ISQ else None


def _check_image(
    path: Path, dimension: tuple, spacing: np.ndarray, position: tuple, voxels: VoxelType, available: int
) -> None:
    if not all(1 <= length <= _LARGEST_AXIS for length in dimension):
        raise _nonsense(path, f"its size {dimension}")
    if not (np.isfinite(spacing).all() and (spacing > 0).all() and (spacing <= _LARGEST_VOXEL_MM).all()):
        raise _nonsense(path, "its voxel size")
    if any(abs(value) > _LARGEST_POSITION for value in position):
        raise _nonsense(path, "its position")
    needed = int(np.prod(dimension, dtype=object)) * np.dtype(voxels.dtype).itemsize
    if voxels.encoding == "plain" and needed > available:
        raise _truncated(path)


def _vax_float(data: bytes) -> float:
    return float(_vax_floats(np.frombuffer(data, "<f4"))[0])


def _vax_floats(values: np.ndarray) -> np.ndarray:
    """VAX F-floats: IEEE float32 with swapped halves and an exponent that is 2 too large."""
    return values.view("<u2").reshape(-1, 2)[:, ::-1].copy().view("<f4")[:, 0] / np.float32(4)


def _vax_double(data: bytes) -> float:
    """VAX G-float, as ISQ headers hold it: four 16-bit parts, highest first."""
    return struct.unpack("<d", struct.pack("<4H", *struct.unpack("<4H", data)[::-1]))[0] / 4


def _unpack(header: ScancoHeader, packed: np.ndarray) -> np.ndarray:
    x, y, z = header.shape_xyz
    if header.voxels.encoding == "packed bits":
        # One byte holds a block of 2 x 2 x 2 voxels, x in its lowest bit; the last byte is the mask's value.
        blocks = (-(-z // 2), -(-y // 2), -(-x // 2))
        needed = int(np.prod(blocks, dtype=object))
        if packed.size < needed + 1:
            raise _truncated(header.path)
        bits = np.unpackbits(packed[:needed].reshape(*blocks, 1), axis=3, bitorder="little")
        bits = bits.reshape(*blocks, 2, 2, 2).transpose(0, 3, 1, 4, 2, 5).reshape(*(2 * n for n in blocks))
        return (bits[:z, :y, :x] * (packed[needed] or 127)).astype(np.int8)
    inner = [n - 2 * border for n, border in zip((z, y, x), header.border_xyz[::-1])]
    if min(inner) < 1 or min(header.border_xyz) < 0:
        raise _nonsense(header.path, f"its border {header.border_xyz}")
    count = int(np.prod(inner, dtype=object))
    # Eight bytes (V030) or four (V020) of length stand before the runs.
    packed = packed[8 if header.format == "AIM V030" else 4 :]
    if header.voxels.encoding == "run-length bytes":
        pairs = packed[: packed.size // 2 * 2].reshape(-1, 2)
        values, lengths = pairs[:, 0], pairs[:, 1].astype(np.int64)
    else:
        # Two values alternate; a run of 255 means 254 without a change.
        runs = packed[2:].astype(np.int64)
        values = packed[(np.cumsum(runs != 255) - (runs != 255)) % 2] if packed.size > 2 else packed[:0]
        lengths = np.minimum(runs, 254)
    last = int(np.searchsorted(np.cumsum(lengths), count))
    flat = np.repeat(values[: last + 1], lengths[: last + 1])
    if flat.size < count:
        raise _truncated(header.path)
    borders = [(border, border) for border in header.border_xyz[::-1]]
    return np.pad(flat[:count].astype(np.int8).reshape(inner), borders)


def _truncated(path: Path) -> InputError:
    return InputError(f"{path.name} is truncated: it is shorter than its header says. Copy or export the scan again.")


def _nonsense(path: Path, what: str) -> InputError:
    return InputError(f"{path.name} is damaged: {what} in the header makes no sense. Copy or export the scan again.")

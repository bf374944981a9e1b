"""Scans in: Scanco files, other volumes, units, cropping, and the preparation of slices bit for bit."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy.ndimage import gaussian_filter
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.volumes import Volume, write_volume
from SpineMotionToolsLib.motion import inputs, slices
from SpineMotionToolsLib.motion.calibration import UNIT_LABELS, Calibration, unit_name
from SpineMotionToolsLib.motion.fast_slices import SlicePreparer
from SpineMotionToolsLib.motion.inputs import open_scan, read_scan
from SpineMotionToolsLib.motion.scanco import looks_like_scanco, read_array, read_header, read_slices

from Testing import motion_scans
from Testing.motion_scans import LOG, aim_bytes, isq_bytes, phantom, write, write_sparse_isq

CALIBRATION = Calibration(8192, 0.2409, 1603.51904, -391.209015)


@pytest.fixture(scope="module")
def voxels() -> np.ndarray:
    """(z, y, x) int16."""
    return np.ascontiguousarray(phantom((48, 40, 6)).transpose(2, 1, 0))


# ----- Scanco files


@pytest.mark.parametrize("version", [20, 30])
def test_aim_agrees_with_aimio(tmp_path, voxels, version):
    py_aimio = pytest.importorskip("py_aimio")
    path = write(tmp_path / "Ünï scan.AIM;1", aim_bytes(voxels, version, offset=(1, 2, 3)))
    want, meta = py_aimio.read_aim(str(path))
    header = read_header(path)
    np.testing.assert_array_equal(read_array(header), want)
    assert header.spacing_mm == meta["spacing"]
    assert header.origin_lps_mm == meta["origin"]
    for unit, option in (("density", {"density": True}), ("hu", {"hu": True})):
        converted = py_aimio.read_aim(str(path), **option)[0]
        np.testing.assert_allclose(read_scan(path, unit).array, converted, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("multi", [False, True])
def test_isq_agrees_with_aimio(tmp_path, voxels, multi):
    py_aimio = pytest.importorskip("py_aimio")
    path = write(tmp_path / "scan.isq", isq_bytes(voxels, multi=multi))
    want, meta = py_aimio.read_isq(str(path))
    header = read_header(path)
    np.testing.assert_array_equal(read_array(header), want)
    np.testing.assert_allclose(header.spacing_mm, np.array(meta["spacing"]) / 1000, rtol=1e-6)
    assert header.calibration == Calibration(meta["mu_scaling"], meta["mu_water"], 1603.51904, -391.209015)
    np.testing.assert_allclose(
        read_scan(path, "hu").array, py_aimio.read_isq(str(path), unit="hu")[0], rtol=1e-6, atol=1e-3
    )
    # The slope belongs to linear attenuation, as in AIM files, not to native numbers.
    np.testing.assert_allclose(
        read_scan(path, "density").array, voxels * (1603.51904 / 8192) - 391.209015, rtol=1e-5, atol=1e-3
    )


def test_a_slice_is_read_without_its_file(tmp_path, voxels):
    """A 40 GB scan that is nearly all hole: only the slices asked for are read."""
    slice_ = np.arange(2304 * 2304, dtype=np.int64).reshape(2304, 2304).astype(np.int16)
    path = write_sparse_isq(tmp_path / "huge.isq", (2304, 2304, 4000), {3999: slice_})
    header = read_header(path)
    np.testing.assert_array_equal(read_slices(header, 3999, 4000)[0], slice_)
    assert not read_slices(header, 5, 6).any()


def test_scanco_coordinates_are_lps(tmp_path, voxels):
    scan = read_scan(write(tmp_path / "a.aim", aim_bytes(voxels, position=(100, 200, 300), spacing=0.05)))
    np.testing.assert_allclose(np.diag(scan.ijk_to_ras), [-0.05, -0.05, 0.05, 1])
    np.testing.assert_allclose(scan.ijk_to_ras[:3, 3], [-5, -10, 15])


def run_length_bytes(mask: np.ndarray) -> bytes:
    runs, flat = bytearray(), mask.ravel()
    for part in np.split(flat, np.flatnonzero(np.diff(flat)) + 1):
        for start in range(0, part.size, 255):
            runs += bytes([part[0], min(255, part.size - start)])
    return bytes(8) + bytes(runs)


def run_length_bits(mask: np.ndarray) -> bytes:
    flat = mask.ravel()
    runs = bytearray([flat[0], 127 - flat[0]])
    for part in np.split(flat, np.flatnonzero(np.diff(flat)) + 1):
        runs += bytes([255] * ((part.size - 1) // 254) + [(part.size - 1) % 254 + 1])
    return bytes(8) + bytes(runs)


def packed_bits(mask: np.ndarray) -> bytes:
    padded = np.pad(mask, [(0, n % 2) for n in mask.shape]) > 0
    z, y, x = (n // 2 for n in padded.shape)
    blocks = padded.reshape(z, 2, y, 2, x, 2).transpose(0, 2, 4, 1, 3, 5).reshape(z, y, x, 8)
    return np.packbits(blocks, axis=3, bitorder="little").tobytes() + bytes([127])


@pytest.mark.parametrize(
    ("code", "pack"), [(0x00080002, run_length_bytes), (0x00150001, run_length_bits), (0x00060001, packed_bits)]
)
def test_packed_masks(tmp_path, code, pack):
    mask = np.zeros((5, 41, 43), dtype=np.int8)
    mask[1:, 3:30, 5:] = 127
    mask[np.random.default_rng(0).random(mask.shape) < 0.05] = 127
    path = write(tmp_path / "mask.aim", aim_bytes(mask, code=code, data=pack(mask)))
    np.testing.assert_array_equal(read_array(read_header(path)), mask)
    path = write(tmp_path / "short.aim", aim_bytes(mask, code=code, data=pack(mask)[:40]))
    with pytest.raises(InputError, match="truncated"):
        read_array(read_header(path))


@pytest.mark.parametrize(("code", "pack"), [(0x00080002, run_length_bytes), (0x00150001, run_length_bits)])
def test_run_length_masks_leave_their_border_out(tmp_path, code, pack):
    """`value, length` pairs of the inside only: what the published reader makes of such a file."""
    py_aimio = pytest.importorskip("py_aimio")
    inside = np.where(np.random.default_rng(1).random((3, 4, 5)) < 0.5, 127, 0).astype(np.int8)
    border = (2, 1, 3)
    mask = np.pad(inside, [(n, n) for n in border[::-1]])
    runs = pack(inside)
    runs = struct.pack("<q", len(runs)) + runs[8:]
    path = write(tmp_path / "mask.aim", aim_bytes(mask, code=code, offset=border, data=runs))
    np.testing.assert_array_equal(read_array(read_header(path)), mask)
    np.testing.assert_array_equal(py_aimio.read_aim(str(path))[0], mask)
    path = write(tmp_path / "wide.aim", aim_bytes(mask, code=code, offset=(9, 9, 9), data=runs))
    with pytest.raises(InputError, match="border"):
        read_array(read_header(path))


def test_real_numbers_are_vax_floats(tmp_path):
    """Voxels of the type 0x00040004, as the published package writes and reads them."""
    py_aimio = pytest.importorskip("py_aimio")
    voxels = np.random.default_rng(2).normal(scale=900, size=(4, 3, 5)).astype(np.float32)
    voxels[0, 0, 0] = 0
    path = tmp_path / "float.aim"
    py_aimio.write_aim(str(path), voxels, {"element_size": (0.06, 0.06, 0.06), "processing_log": LOG})
    header = read_header(path)
    np.testing.assert_array_equal(read_array(header), voxels)
    np.testing.assert_array_equal(read_slices(header, 2, 3)[0], voxels[2])
    np.testing.assert_array_equal(py_aimio.read_aim(str(path))[0], voxels)


def test_scanco_files_are_known_by_their_bytes(tmp_path, voxels):
    assert looks_like_scanco(write(tmp_path / "no-suffix", aim_bytes(voxels, 20)))
    assert not looks_like_scanco(write(tmp_path / "other.aim", b"not a scan" * 100))
    assert not looks_like_scanco(tmp_path / "missing.aim")


# ----- units


def test_units_follow_their_definitions():
    native = np.array([-500, 0, 1973, 32767], dtype=np.int16)
    mu = CALIBRATION.from_native(native, "mu")
    np.testing.assert_allclose(mu, native / 8192, rtol=1e-6)
    np.testing.assert_allclose(CALIBRATION.from_native(native, "hu"), 1000 * (mu / 0.2409 - 1), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(CALIBRATION.from_native(native, "bmd"), mu * 1603.51904 - 391.209015, rtol=1e-5)
    legacy = CALIBRATION.from_native(native, "density-from-hu")
    exact = CALIBRATION.from_native(native, "density").astype(float)
    assert legacy.dtype == np.float64
    step = 1603.51904 * 0.2409 / 1000  # density of one HU, which truncation loses at most
    assert (np.abs(legacy - exact) < step).all()
    assert (np.abs(legacy - exact) > 1e-3).any()


@given(hnp.arrays(np.int16, 20), st.sampled_from(["mu", "hu", "density"]))
def test_conversion_and_back(native, unit):
    back = CALIBRATION.to_native(CALIBRATION.from_native(native, unit), unit)
    np.testing.assert_allclose(back, native, atol=0.05)


def test_unit_names():
    assert [unit_name(name) for name in ("BMD", " HU ", "none")] == ["density", "hu", "native"]
    with pytest.raises(InputError, match="Choose one of"):
        unit_name("gray")
    assert all(unit_name(name) == name for name in UNIT_LABELS)


def test_units_of_a_scan_in_the_scene(voxels):
    """A volume in HU with its calibration can be scored in native units again, and gives nearly the same numbers."""
    hu = Volume(CALIBRATION.from_native(voxels, "hu"), name="scan", unit="HU")
    scan = open_scan(hu, "native", calibration=CALIBRATION)
    assert (scan.info.stored_unit, scan.info.unit) == ("hu", "native")
    np.testing.assert_allclose(scan.read_slice(2), voxels[2], atol=0.05)
    assert open_scan(Volume(voxels), "native").info.unit == "native"
    assert open_scan(Volume(voxels)).info.unit == "unknown"
    with pytest.raises(InputError, match="unit of scan is not known"):
        open_scan(Volume(voxels), "hu")


# ----- other volumes


def test_every_way_in_gives_the_same_slices(tmp_path, voxels, monkeypatch):
    volume = Volume(voxels, np.diag([-0.06, -0.06, 0.06, 1.0]), "scan")
    ways = [write(tmp_path / "scan.aim", aim_bytes(voxels)), volume, voxels.transpose(2, 1, 0)]
    for suffix in (".nrrd", ".mha", ".nii.gz"):
        write_volume(tmp_path / f"scan{suffix}", volume)
        ways.append(tmp_path / f"scan{suffix}")
    scans = [open_scan(way) for way in ways]
    monkeypatch.setattr(inputs, "WHOLE_BYTES", 1)  # in blocks of four slices
    scans += [open_scan(way) for way in ways[3:]]
    for scan in scans:
        assert scan.info.shape_xyz == (48, 40, 6)
        np.testing.assert_array_equal(
            np.stack([scan.read_slice(z) for z in (0, 5, 2, 3, 4, 1)]), voxels[[0, 5, 2, 3, 4, 1]]
        )
        np.testing.assert_array_equal(scan.slice_xy(3), voxels[3].T)
    np.testing.assert_allclose(scans[-1].info.ijk_to_ras, volume.ijk_to_ras, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 1 << 28])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_that_is_cut_off_is_refused(tmp_path, voxels, monkeypatch, suffix, at_once):
    monkeypatch.setattr(inputs, "WHOLE_BYTES", at_once)
    path = tmp_path / f"scan{suffix}"
    write_volume(path, Volume(voxels, np.diag([-0.06, -0.06, 0.06, 1.0]), "scan"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match="cut off"):
        open_scan(path)


# ----- cropping


def limb_scan(depth: int = 5) -> np.ndarray:
    """A limb off the centre of an empty field of view, with noise and the thin wall of a cast."""
    random = np.random.default_rng(0)
    z, y, x = np.mgrid[0:depth, 0:400, 0:500]
    radius = np.hypot(x - 300 - 2 * z, y - 180)
    scan = random.normal(0, 60, radius.shape) + 1200 * (radius < 90) + 6000 * ((radius > 30) & (radius < 36))
    return (scan + 900 * (np.abs(radius - 150) < 1.5)).astype(np.int16)


def test_limb_crop_of_an_uncropped_isq(tmp_path):
    scan = open_scan(write(tmp_path / "limb.isq", isq_bytes(limb_scan())))
    x0, x1, y0, y1 = scan.info.crop_box
    assert 195 <= x0 <= 210
    assert 398 <= x1 <= 415
    assert 75 <= y0 <= 90
    assert 270 <= y1 <= 285
    assert scan.info.shape_xyz == (x1 - x0, y1 - y0, 5)
    np.testing.assert_array_equal(scan.read_slice(2), limb_scan()[2, y0:y1, x0:x1])
    corner = scan.whole.ijk_to_ras @ [x0, y0, 0, 1]
    np.testing.assert_allclose(scan.info.ijk_to_ras @ [0, 0, 0, 1], corner)
    assert any("framing" in warning for warning in scan.warnings)


def test_crop_options(tmp_path):
    path = write(tmp_path / "limb.isq", isq_bytes(limb_scan(3)))
    assert open_scan(path, crop="none").info.crop_box is None
    assert open_scan(path, crop=(10, 60, 20, 90)).info.shape_xyz == (50, 70, 3)
    assert open_scan(limb_scan(3).transpose(2, 1, 0), crop="limb").info.crop_box is not None
    assert open_scan(np.zeros((50, 60, 3), np.int16), crop="limb").info.crop_box is None
    with pytest.raises(InputError, match="does not lie within"):
        open_scan(path, crop=(10, 60, 20, 401))
    with pytest.raises(InputError, match="not known"):
        open_scan(path, crop="tight")
    earlier = open_scan(path, "density").info
    again = open_scan(path, like=earlier)
    assert (again.info.crop_box, again.info.unit) == (earlier.crop_box, "density")


# ----- preparation of slices


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, np.uint8, np.uint16, np.int32])
def test_smoothing_is_scipys(dtype):
    values = (np.random.default_rng(0).normal(size=(13, 9, 5)) * 30).astype(dtype)
    want = gaussian_filter(slices.as_real(values), 0.8, mode="nearest", truncate=1.25)
    np.testing.assert_array_equal(slices.smooth(values), want)
    assert slices.smooth(values).dtype == (np.float32 if dtype == np.float32 else np.float64)


volumes = st.sampled_from([np.int16, np.uint8, np.float32, np.float64, np.int32, np.int64, np.uint64]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        st.tuples(st.integers(1, 24), st.integers(1, 24), st.integers(1, 3)),
        elements=(
            hnp.from_dtype(np.dtype(dtype), min_value=-30000, max_value=30000, allow_nan=False, allow_subnormal=False)
            if np.dtype(dtype).kind == "f"
            else None
        ),
        fill=st.nothing() if np.dtype(dtype).kind == "f" else None,
    )
)


@settings(max_examples=150, deadline=None)
@given(volumes)
def test_fast_preparation_gives_the_same_bytes(volume):
    smoothed = slices.smooth(volume)
    preparer = SlicePreparer(lambda z: np.ascontiguousarray(volume[:, :, z].T), volume.shape[2])
    for z in range(volume.shape[2]):
        np.testing.assert_array_equal(preparer.gray8(z), slices.to_gray8(smoothed[:, :, z]))


@pytest.mark.parametrize("kind", ["noise", "few values", "narrow range", "density", "constant background"])
def test_fast_preparation_of_large_slices(kind):
    random = np.random.default_rng(3)
    volume = {
        "noise": lambda: random.integers(-32768, 32768, (601, 530, 3)).astype(np.int16),
        "few values": lambda: random.choice([-400.0, 7.0, 1000.0], (601, 530, 3)),
        "narrow range": lambda: random.normal(30000, 3, (601, 530, 3)),
        "density": lambda: CALIBRATION.from_native(random.integers(-500, 9000, (601, 530, 3)), "density"),
        "constant background": lambda: phantom((600, 600, 3)),
    }[kind]()
    preparer = SlicePreparer(lambda z: np.ascontiguousarray(volume[:, :, z].T), 3)
    smoothed = slices.smooth(volume)
    for z in (1, 0, 2):
        np.testing.assert_array_equal(preparer.gray8(z), slices.to_gray8(smoothed[:, :, z]))


def test_resize_is_pillows_bicubic():
    image = np.random.default_rng(0).integers(0, 256, (700, 700)).astype(np.uint8)
    want = np.asarray(Image.fromarray(image).resize((512, 512)))
    np.testing.assert_array_equal(slices.resize(image), want)
    same = image[:512, :512]
    np.testing.assert_array_equal(slices.resize(same), same)


def test_padding_is_brighter_than_air_in_density_units():
    """Zero padding: in native units it is air, in density it is not. The published weights saw both."""
    native = phantom((40, 60, 1))
    density = CALIBRATION.from_native(native, "density")
    level = [slices.prepare(volume)[0][0, 256] for volume in (native, density)]
    assert level[0] < 20
    assert level[1] > 40


# ----- import cost


def test_importing_the_room_loads_nothing_heavy():
    code = (
        "import sys; import SpineMotionToolsLib.motion.pipeline, SpineMotionToolsLib.motion.tasks, "
        "SpineMotionToolsLib.motion.keras_files, SpineMotionToolsLib.motion.scanco; "
        "print(sorted({'torch', 'h5py', 'SimpleITK', 'scipy', 'PIL', 'tensorflow', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_seeded_helpers_match_the_contract():
    assert len(motion_scans.seeded_ensemble((1, 2, 3))) == 3

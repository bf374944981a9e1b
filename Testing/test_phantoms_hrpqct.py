"""HR-pQCT phantoms: tomography against brute force, anatomy and motion in their ranges, AIM files, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, rotate, shift
from SpineMotionToolsLib.common.errors import InputError, OutputError
from SpineMotionToolsLib.phantoms import hrpqct
from SpineMotionToolsLib.phantoms.hrpqct_anatomy import MUSCLE, SITES, make_limb
from SpineMotionToolsLib.phantoms.tomography import (
    Ellipse,
    Spectrum,
    back_project,
    filter_projections,
    view_angles,
)

SIZE = 96


@pytest.fixture(scope="module")
def blobs() -> np.ndarray:
    """A smooth picture without symmetry, empty at its borders."""
    picture = np.zeros((SIZE, SIZE), np.float32)
    picture[30:62, 36:50] = 1
    picture[24:34, 44:70] += 2
    picture[60:70, 26:30] += 3
    return gaussian_filter(picture, 1.8)


def reconstructed(images, angles, offsets=None, seen=None):
    detectors = 2 * SIZE
    seen = angles if seen is None else seen
    lines = Spectrum(images).project(seen, np.zeros_like(angles) if offsets is None else offsets, detectors)
    return back_project(filter_projections(lines, 140), angles, SIZE, SIZE)


# ----- tomography


@pytest.mark.parametrize("degrees", [0, 30, 90, 141])
def test_projections_are_the_sums_along_the_rays(blobs, degrees):
    angle = np.radians([float(degrees)])
    lines = Spectrum(blobs[None]).project(angle, np.zeros(1), SIZE)[0, 0]
    brute = rotate(blobs, degrees, reshape=False, order=3).sum(axis=0)
    assert np.abs(lines - brute).max() < 0.01 * brute.max()


def test_an_ellipse_projects_like_its_picture():
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    ellipse = Ellipse(6.0, -9.0, 22.0, 12.0, 0.5, 2.0)
    along = (x - 6) * np.cos(0.5) + (y + 9) * np.sin(0.5)
    across = -(x - 6) * np.sin(0.5) + (y + 9) * np.cos(0.5)
    picture = 2.0 * ((along / 22) ** 2 + (across / 12) ** 2 < 1)
    angles, offsets = view_angles(9), np.linspace(-4, 4, 9)
    exact = ellipse.project(angles, offsets, SIZE)
    sampled = Spectrum(picture[None].astype(np.float32)).project(angles, offsets, SIZE)[0]
    assert np.abs(gaussian_filter(exact - sampled, (0, 1.5))).max() < 0.04 * exact.max()


def test_a_still_object_is_reconstructed(blobs):
    image = reconstructed(blobs[None], view_angles(180))[0]
    assert np.abs(image - blobs).max() < 0.06 * blobs.max()
    assert np.sqrt(np.mean((image - blobs) ** 2)) < 0.015


def test_a_pose_held_through_the_scan_moves_the_image_and_makes_no_artifact(blobs):
    angles = view_angles(180)
    turn, move = np.radians(12.0), (5.0, -3.0)
    offsets = move[0] * np.cos(angles) + move[1] * np.sin(angles)
    image = reconstructed(blobs[None], angles, offsets, angles - turn)[0]
    expected = shift(rotate(blobs, -12, reshape=False, order=3), move[::-1], order=3)
    assert np.sqrt(np.mean((image - expected) ** 2)) < 0.015


def test_a_jerk_makes_streaks_that_grow_with_it(blobs):
    angles = view_angles(180)
    errors = []
    for jerk in (0.0, 0.5, 2.0, 6.0):
        offsets = np.where(np.arange(180) < 90, 0.0, jerk * np.cos(angles))
        image = reconstructed(blobs[None], angles, offsets)[0]
        errors.append(np.sqrt(np.mean((image - blobs) ** 2)))
    assert errors == sorted(errors)
    assert errors[-1] > 10 * errors[0]


def test_a_field_beside_the_axis_is_the_part_of_the_whole(blobs):
    angles = view_angles(120)
    lines = Spectrum(blobs[None]).project(angles, np.zeros(120), 2 * SIZE)
    filtered = filter_projections(lines, 160)
    whole = back_project(filtered, angles, SIZE, SIZE)[0]
    part = back_project(filtered, angles, 40, 30, middle=(12.0, -7.0))[0]
    rows, columns = SIZE // 2 - 7, SIZE // 2 + 12
    np.testing.assert_allclose(part, whole[rows - 20 : rows + 20, columns - 15 : columns + 15], atol=1e-4)


# ----- anatomy


@pytest.mark.parametrize("site", SITES)
def test_density_is_that_of_bone(site):
    shells, cores = [], []
    for seed in range(4):
        bone = make_limb(np.random.default_rng(seed), site, 1, 0.14).main_bone
        density = bone.values[0] + MUSCLE
        n = len(density)
        distance = np.hypot(*(np.mgrid[:n, :n] - (n - 1) / 2))
        shells.append(np.percentile(density[bone.values[0] > 500], 90))
        cores.append(density[distance < 0.18 * n].mean())
    assert all(780 < shell < 1050 for shell in shells)
    assert 60 < min(cores)
    assert max(cores) < 350


def test_neighboring_slices_resemble_each_other():
    values = make_limb(np.random.default_rng(3), "radius", 12, 0.12).main_bone.values
    inner = values[:, 60:-60, 60:-60].reshape(12, -1)
    near, far = np.corrcoef(inner[0], inner[1])[0, 1], np.corrcoef(inner[0], inner[11])[0, 1]
    assert near > 0.95
    assert far < near - 0.1


# ----- motion


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 3, 4, 5]))
@settings(max_examples=20, deadline=None)
def test_a_graded_trajectory_has_its_grade(limb, seed, grade):
    angles = view_angles(150)
    trajectory = hrpqct.graded_trajectory(np.random.default_rng(seed), grade, limb, angles)
    size_mm = trajectory.size_mm(limb.main_bone.outline_mm, angles)
    low, high = hrpqct.MOTION_BANDS_MM[grade]
    assert low - 1e-9 <= size_mm <= high + 1e-9
    assert hrpqct.grade_of_size(size_mm) == grade


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 2))
@settings(max_examples=20, deadline=None)
def test_a_constant_pose_is_no_motion(limb, x, y, turn):
    pose = hrpqct.MotionTrajectory(np.full(90, x), np.full(90, y), np.full(90, turn))
    assert pose.size_mm(limb.main_bone.outline_mm, view_angles(90)) < 1e-6


@pytest.fixture(scope="module")
def limb():
    return make_limb(np.random.default_rng(0), "radius", 1, 0.25)


# ----- phantoms


def test_phantoms_repeat_and_differ():
    first, again = (hrpqct.make_phantom(5, "tibia", 3, size=64, slices=2) for _ in range(2))
    np.testing.assert_array_equal(first.volume, again.volume)
    assert (first.volume != hrpqct.make_phantom(6, "tibia", 3, size=64, slices=2).volume).any()


def test_error_grows_with_the_grade():
    quiet = hrpqct.Quality(noise_mg=0)
    pictures = [hrpqct.make_phantom(2, "radius", grade, size=128, slices=1, quality=quiet) for grade in range(1, 6)]
    still = pictures[0].density
    errors = [np.std(one.density - still) for one in pictures[1:]]
    assert errors == sorted(errors)
    assert [one.slice_grades.tolist() for one in pictures] == [[1], [2], [3], [4], [5]]


def test_noise_is_what_was_asked_for():
    clean, noisy = (
        hrpqct.make_phantom(4, "radius", 1, size=120, slices=2, quality=hrpqct.Quality(noise_mg=noise))
        for noise in (0, 60)
    )
    measured = np.std((noisy.density - clean.density)[:, 40:80, 40:80])
    assert 45 < measured < 75


def test_stacks_move_on_their_own():
    phantom = hrpqct.make_phantom(7, "radius", (1, 5), size=96, slices=5)
    assert phantom.volume.shape == (5, 96, 96)
    assert phantom.stack_heights == (2, 3)
    assert phantom.slice_grades.tolist() == [1, 1, 5, 5, 5]
    assert phantom.motion_sizes_mm[0] < 0.007 < 0.49 < phantom.motion_sizes_mm[1]


def test_a_given_motion_is_graded_by_its_size():
    views = 180
    still = hrpqct.MotionTrajectory(*np.zeros((3, views)))
    jerk = hrpqct.MotionTrajectory(np.where(np.arange(views) < 60, 0, 3.0), np.zeros(views), np.zeros(views))
    phantom = hrpqct.make_phantom(1, "radius", motion=[still, jerk], size=96, slices=2, views=views)
    assert phantom.grades[0] == 1
    assert phantom.grades[1] >= 3


def test_air_is_about_zero_in_native_units_and_the_calibration_is_the_scanners():
    phantom = hrpqct.make_phantom(8, "radius", 1, size=(96, 160), slices=1, quality=hrpqct.Quality(noise_mg=10))
    assert phantom.volume.dtype == np.int16
    assert phantom.volume.shape == (1, 96, 160)
    assert abs(phantom.density.min() + 391) < 90
    assert 700 < phantom.density.max() < 1300


@pytest.mark.parametrize(("site", "side", "code"), [("radius", "left", 20), ("tibia", "right", 29)])
def test_an_aim_file_holds_the_phantom(tmp_path, site, side, code):
    import py_aimio

    path = tmp_path / "größe 1.AIM"
    phantom = hrpqct.write_phantom_aim(path, seed=3, site=site, grades=(1, 4), slices=4, size=64, side=side)
    array, meta = py_aimio.read_aim(str(path))
    np.testing.assert_array_equal(array, phantom.volume)
    assert np.allclose(meta["element_size"], phantom.pixel_mm)
    log = meta["processing_log"]
    assert int(log["Mu_Scaling"]) == 8192
    assert int(log["Site"]) == code
    assert not any("atient" in key for key in log)
    density, _ = py_aimio.read_aim(str(path), density=True)
    np.testing.assert_allclose(density, phantom.density, atol=0.05)


def test_bad_wishes_are_refused(tmp_path):
    with pytest.raises(InputError, match="radius, tibia"):
        hrpqct.make_phantom(0, "skull")
    with pytest.raises(InputError, match="no motion grade 6"):
        hrpqct.make_phantom(0, "radius", 6, size=48, slices=1)
    with pytest.raises(InputError, match="slice"):
        hrpqct.make_phantom(0, "radius", (1, 2, 3), size=48, slices=2)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        hrpqct.write_phantom_aim(tmp_path / "file" / "x.AIM", size=48, slices=3)

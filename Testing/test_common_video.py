"""Videos in and out: time stamps, rotation, odd files; resampling, crops, overlays, body points, figures of merit."""

from __future__ import annotations

import errno
import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common import body_points, classification, crops, flow, overlay, resampling, video_quality
from SpineMotionToolsLib.common.errors import InputError, OutputError
from SpineMotionToolsLib.common.time_chart import Series, time_chart
from SpineMotionToolsLib.common.video import FrameVideo, array_video, open_video
from SpineMotionToolsLib.common.video_folders import below_given, result_names, videos_in
from SpineMotionToolsLib.common.video_writing import write_video

av = pytest.importorskip("av")


def levels(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """Flat gray pictures whose level tells their number."""
    return [np.full((*size, 3), (number * 4) % 256, np.uint8) for number in range(count)]


def number_of(picture: np.ndarray) -> int:
    return int(round(picture.mean() / 4))


def encode(path: Path, container: str, codec: str, pictures, times=None, rate: int = 25, sound: bool = False) -> Path:
    """A file of any container and codec; `times` are frame numbers for uneven time."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def movie(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "movie.mp4"
    write_video(path, levels(60), 25)
    return path


# ----- reading


def test_frames_come_in_order_with_exact_times(movie):
    video = open_video(movie)
    frames = [(frame.number, frame.time_s, number_of(frame.picture)) for frame in video.frames()]
    assert [f[0] for f in frames] == list(range(60))
    assert np.allclose([f[1] for f in frames], np.arange(60) / 25)
    assert max(abs(f[0] - f[2]) for f in frames) <= 1
    assert video.frame_rate_hz == pytest.approx(25)
    assert float(video.duration_s) == pytest.approx(2.4)
    assert (video.width_px, video.height_px) == (64, 48)


@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska"])
@pytest.mark.parametrize("start", [0, 250, 90000])
def test_the_duration_does_not_depend_on_when_the_clock_starts(tmp_path, container, start):
    times = list(range(start, start + 50))
    video = open_video(encode(tmp_path / "movie", container, "mpeg4", levels(50), times))
    assert float(video.duration_s) == pytest.approx(2.0, abs=0.002)
    assert video.frames_between(0, 1).tolist() == list(range(25))


@pytest.mark.parametrize("container", ["avi", "mpegts", "matroska", "mp4"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_stored_out_of_order_come_in_order(tmp_path, container, codec):
    path = tmp_path / "movie"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 12
        stream.codec_context.max_b_frames = 2
        for level in range(2, 242, 4):
            picture = np.full((48, 64, 3), level, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    video = open_video(path)
    assert video.frames_between(0, 1).tolist() == list(range(30))
    for numbers in (range(60), [5, 30, 31, 59], [59]):
        seen = [(frame.number, frame.picture.mean() / 4) for frame in video.frames(numbers)]
        assert [number for number, _ in seen] == list(numbers)
        assert max(abs(number + 0.5 - level) for number, level in seen) < 1.5


def test_damage_and_pixels_that_are_not_square_are_told(movie):
    video = open_video(movie)
    assert video_quality.file_checks(video) == []
    video.notes, video.pixel_aspect = (
        ("movie.mp4 is damaged after 20 frames; the rest was left out.",),
        Fraction(16, 11),
    )
    said = [check.sentence for check in video_quality.warnings(video_quality.file_checks(video))]
    assert "damaged after 20 frames" in said[0]
    assert "1.45 times as wide as tall" in said[1]


@pytest.mark.parametrize(
    ("container", "codec"),
    [("avi", "mpeg4"), ("avi", "mjpeg"), ("matroska", "mpeg4"), ("mpegts", "mpeg4"), ("mov", "mpeg4")],
)
def test_chosen_frames_are_the_same_by_jumping_and_by_decoding_all(tmp_path, container, codec):
    video = open_video(encode(tmp_path / f"movie.{container}", container, codec, levels(60)))
    everything = {frame.number: frame.picture for frame in video.frames()}
    assert len(everything) == 60
    for wanted in ([0], [59], [3, 30, 31, 58], [17]):
        for frame in video.frames(wanted):
            assert np.array_equal(frame.picture, everything[frame.number])
            wanted = [number for number in wanted if number != frame.number]
        assert wanted == []


def test_only_asked_frames_are_converted(movie, monkeypatch):
    video = open_video(movie)
    converted = []
    original = type(video)._picture
    monkeypatch.setattr(
        type(video), "_picture", lambda self, frame, side: converted.append(1) or original(self, frame, side)
    )
    for frame in video.frames():
        if frame.number in (5, 6):
            assert frame.picture.shape == (48, 64, 3)
    assert len(converted) == 2


def test_uneven_time_keeps_its_stamps(tmp_path):
    times = [0, 1, 2, 5, 6, 12, 13]
    video = open_video(encode(tmp_path / "uneven.mp4", "mp4", "mpeg4", levels(7), times))
    assert np.allclose(video.times_s, np.array(times) / 25, atol=1e-3)
    assert video.largest_gap_s == pytest.approx(6 / 25, abs=1e-3)
    assert video.nearest_frames(np.array([0.0, 0.11, 0.3, 9.0])).tolist() == [0, 2, 4, 6]
    assert video.frames_between(Fraction(1, 25), Fraction(6, 25)).tolist() == [1, 2, 3]


@pytest.mark.parametrize(("rotation", "corner"), [(90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1)), (0, (0, 0))])
def test_rotation_metadata_turns_the_picture_upright(tmp_path, rotation, corner):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:12, :12] = 255
    write_video(tmp_path / "turned.mp4", [picture] * 3, 25, rotation_deg=rotation)
    video = open_video(tmp_path / "turned.mp4")
    shown = video.picture(1)
    assert (video.width_px, video.height_px) == ((48, 64) if abs(rotation) == 90 else (64, 48))
    assert shown.shape[:2] == (video.height_px, video.width_px)
    assert shown[corner].mean() > 200
    assert shown.mean() < 40


def test_folder_of_pictures_in_natural_order_and_gray_or_alpha_become_rgb(tmp_path):
    from PIL import Image

    for number, mode in ((1, "L"), (2, "RGBA"), (10, "RGB")):
        Image.new(mode, (20, 10), number * 10 if mode == "L" else (number * 10,) * len(mode)).save(
            tmp_path / f"f{number}.png"
        )
    video = open_video(tmp_path, 10)
    assert [int(frame.picture[0, 0, 0]) for frame in video.frames()] == [10, 20, 100]
    assert {frame.picture.shape for frame in video.frames()} == {(10, 20, 3)}
    assert video.frame_rate_hz == pytest.approx(10)


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_arrays_of_any_channels_are_read_as_rgb(channels):
    shape = (4, 6, 8) if channels is None else (4, 6, 8, channels)
    video = array_video(np.full(shape, 77, np.uint8))
    assert video.picture(3).shape == (6, 8, 3)
    assert (video.picture(3) == 77).all()


def test_reduced_pictures_keep_the_aspect_and_are_never_enlarged(movie):
    frame = next(open_video(movie).frames([4]))
    assert frame.reduced(32).shape == (24, 32, 3)
    frame = next(array_video(np.zeros((1, 20, 30, 3), np.uint8)).frames())
    assert frame.reduced(15).shape == (10, 15, 3)
    assert frame.reduced(99).shape == (20, 30, 3)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 59), max_size=12), st.integers(1, 6))
def test_nearest_frames_are_nearest(numbers, factor):
    times = np.cumsum(np.random.default_rng(factor).uniform(0.01, 0.1, 60))
    video = FrameVideo(lambda n: np.zeros((2, 2, 3), np.uint8), times)
    asked = np.array([times[n] - times[0] + 0.003 * factor for n in numbers])
    if len(asked):
        found = video.nearest_frames(asked)
        best = np.abs(video.times_s[None] - asked[:, None]).min(axis=1)
        assert np.allclose(np.abs(video.times_s[found] - asked), best)


# ----- files that are not right


def test_not_a_video(tmp_path):
    (tmp_path / "letter.txt").write_text("hello " * 100, encoding="utf-8")
    with pytest.raises(InputError, match="is not a video file"):
        open_video(tmp_path / "letter.txt")


def test_videos_of_equal_names_keep_their_own_results(tmp_path):
    names = ["p1/walk.mp4", "p2/walk.avi", "p2/walk.mp4", "p2/._walk.mp4", "p2/walk_overlay.mp4", "p2/walk.json"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    given = [tmp_path / "p1", tmp_path / "p2" / "walk.avi", tmp_path / "p2"]
    found = videos_in(given)
    assert found == [tmp_path / name for name in names[:3]]
    below = below_given(found, given)
    assert below == [Path(name) for name in names[:3]]
    assert result_names(below) == [Path("p1/walk"), Path("p2/walk"), Path("p2/p2_walk")]
    assert below_given([tmp_path / "p1"], [tmp_path / "p1"]) == [Path("p1")]  # a folder of pictures


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        open_video(tmp_path / "nothing.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match="is empty"):
        open_video(tmp_path / "empty.mp4")
    with pytest.raises(InputError, match="holds no pictures"):
        open_video(tmp_path)
    (tmp_path / "below").mkdir()
    with pytest.raises(InputError, match="no videos in"):
        videos_in([tmp_path / "below"])


def test_file_cut_off_before_its_index(movie, tmp_path):
    data = movie.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cut off or damaged"):
        open_video(tmp_path / "cut.mp4")


def test_stream_cut_off_keeps_the_frames_before(tmp_path):
    data = encode(tmp_path / "whole.ts", "mpegts", "mpeg4", levels(60)).read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: int(len(data) * 0.6)])
    video = open_video(tmp_path / "cut.ts")
    frames = [number_of(frame.picture) for frame in video.frames()]
    assert 20 < len(frames) < 60
    assert np.abs(np.array(frames) - np.arange(len(frames)))[:-2].max() <= 1


def test_sound_without_picture(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with pytest.raises(InputError, match="sound but no picture"):
        open_video(tmp_path / "sound.mp4")


def test_no_frames_and_frames_beyond_the_end(movie):
    with pytest.raises(InputError, match="holds no frames"):
        FrameVideo(lambda n: None, [])
    with pytest.raises(InputError, match="60 frames"):
        open_video(movie).picture(60)


def test_damaged_picture_in_a_folder(tmp_path):
    from PIL import Image

    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"b\.png cannot be read"):
        list(frame.picture for frame in open_video(tmp_path).frames())


# ----- writing


def test_full_disk_while_writing_leaves_nothing(tmp_path, monkeypatch):
    target = tmp_path / "out.mp4"

    def pictures():
        yield from levels(3)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="could not be written"):
        write_video(target, pictures(), 25)
    assert list(tmp_path.iterdir()) == []


def test_odd_sizes_lose_their_last_row_and_no_frames_are_told(tmp_path):
    write_video(tmp_path / "odd.mp4", [np.zeros((31, 33, 3), np.uint8)] * 2, 25)
    video = open_video(tmp_path / "odd.mp4")
    assert (video.width_px, video.height_px) == (32, 30)
    with pytest.raises(InputError, match="no frames to write"):
        write_video(tmp_path / "none.mp4", [], 25)


# ----- resampling, crops, flow


def test_what_is_no_video_and_frame_rates_that_are_none_are_told():
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    for source in (None, 5, frames):
        with pytest.raises(InputError, match=r"is no video.*array_video"):
            open_video(source)
    for rate in (0, -5, float("nan"), float("inf")):
        with pytest.raises(InputError, match="frames a second"):
            array_video(frames, rate)


def test_cubic_and_linear_resampling_reproduce_known_values():
    ramp = np.arange(8, dtype=np.float32)[None].repeat(3, axis=0)
    assert np.allclose(resampling.resize_linear(ramp, (4, 3))[1], [0.5, 2.5, 4.5, 6.5])
    doubled = resampling.resize_cubic(ramp, factor=2)
    assert doubled.shape == (6, 16)
    # Keys' kernel with a = -0.75 at distances 1.25, 0.25, 0.75, 1.75; a = -0.5 would keep the ramp straight.
    weights = np.array([-0.10546875, 0.87890625, 0.26171875, -0.03515625])
    assert doubled[2, 7] == pytest.approx(float(weights @ ramp[0, 2:6]), abs=1e-5)
    assert doubled[2, 8] == pytest.approx(float(weights[::-1] @ ramp[0, 2:6]), abs=1e-5)
    constant = np.full((7, 9, 3), 131, np.uint8)
    assert (resampling.resize_cubic(constant, (20, 15)) == 131).all()
    assert (resampling.resize_linear(constant, (5, 30)) == 131).all()


@settings(deadline=None, max_examples=40)
@given(*(st.integers(1, 90) for _ in range(4)), st.integers(0, 2**31))
def test_linear_resampling_of_bytes_equals_opencv_to_the_last_bit(rows, columns, new_rows, new_columns, seed):
    cv2 = pytest.importorskip("cv2")
    picture = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    wanted = cv2.resize(picture, (new_columns, new_rows), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resampling.resize_linear(picture, (new_columns, new_rows)), wanted)


@settings(deadline=None, max_examples=30)
@given(st.floats(-12, 12), st.floats(-12, 12))
def test_shift_moves_whole_pixels_exactly_and_keeps_the_mean_of_parts(dx, dy):
    picture = np.random.default_rng(1).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    whole = resampling.translate_linear(picture, round(dx), round(dy))
    expected = crops.crop(picture, -round(dy), -round(dx), 20, 24)
    assert np.array_equal(whole, expected)
    moved = resampling.translate_linear(picture, dx, dy).astype(int)
    low = crops.crop(picture, int(np.floor(-dy)), int(np.floor(-dx)), 21, 25).astype(int)
    corners = np.stack([low[:-1, :-1], low[1:, :-1], low[:-1, 1:], low[1:, 1:]])
    # 1/32 pixel steps can reach the next pixel at the very border of a step.
    inside = (moved >= corners.min(axis=0) - 9) & (moved <= corners.max(axis=0) + 9)
    assert inside.mean() > 0.98


@settings(deadline=None, max_examples=40)
@given(st.integers(-9, 20), st.integers(-9, 20), st.integers(0, 15), st.integers(0, 15))
def test_crop_equals_cutting_a_padded_picture(top, left, height, width):
    picture = np.random.default_rng(0).integers(1, 256, (11, 13, 3)).astype(np.uint8)
    padded = np.pad(picture, ((40, 40), (40, 40), (0, 0)))
    assert np.array_equal(
        crops.crop(picture, top, left, height, width), padded[40 + top :, 40 + left :][:height, :width]
    )


def test_flow_finds_a_shift_and_gray_weights_are_known():
    random = np.random.default_rng(0)
    picture = np.kron(random.integers(0, 256, (16, 16, 1)), np.ones((5, 5, 3))).astype(np.uint8)
    gray = flow.gray_of_bgr(picture)
    field = flow.flow_between(gray, np.roll(gray, 2, axis=1))
    assert np.median(field[20:60, 20:60, 0]) == pytest.approx(2, abs=0.3)
    assert flow.gray_of_bgr(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)).tolist() == [[29, 150, 76]]


# ----- quality and pictures


def test_camera_motion_is_seen_and_a_moving_person_is_not():
    random = np.random.default_rng(0)
    background = np.kron(random.uniform(40, 200, (15, 20)), np.ones((8, 8)))
    person = background.copy()
    person[30:100, 40:70] = 10
    later = background.copy()
    later[30:100, 55:85] = 10
    assert not video_quality.camera_moved(person, later)
    assert video_quality.camera_moved(background, np.roll(background, 4, axis=1))


def test_black_and_slow_videos_fail_their_checks():
    black = array_video(np.zeros((30, 120, 160, 3), np.uint8), 3.0)
    checks = {c.name: c for c in video_quality.frame_checks(black, 12, 1, 120)}
    assert not checks["Frame rate"].passed
    assert "3 frames/s" in checks["Frame rate"].sentence
    looks = {c.name: c for c in video_quality.look_at(black).checks()}
    assert not looks["Black frames"].passed
    assert video_quality.stopping([*checks.values(), *looks.values()])


def test_blur_removes_detail_inside_and_outside():
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (120, 160, 3)).astype(np.uint8)
    hidden = overlay.blur_region(picture, (40, 30, 100, 90))
    assert np.array_equal(hidden[:, :40], picture[:, :40])
    assert hidden[35:85, 45:95].std() < 0.25 * picture.std()
    assert np.array_equal(overlay.blur_region(picture, (500, 500, 600, 600)), picture)
    outside = overlay.blur_outside(picture, (40, 30, 100, 90))
    assert np.array_equal(outside[30:90, 40:100], picture[30:90, 40:100])
    assert outside[:25].std() < 0.25 * picture.std()


def test_heat_covers_only_where_values_are():
    picture = np.full((10, 10, 3), 100, np.uint8)
    values = np.zeros((10, 10))
    values[5, 5] = 1
    laid = overlay.blend_heat(picture, values)
    assert (laid[0, 0] == 100).all()
    assert laid[5, 5, 0] > 150
    assert overlay.draw_lines(picture, ["text"]).shape == picture.shape


def test_time_chart_is_safe_svg_with_every_span():
    from xml.etree import ElementTree

    svg = time_chart([Series("<a>", "#d62f2f", [(0, 1, 0.2), (1, 2, 0.9)])], 2.0, 1.0, "P & Q", (0.4, 0.6))
    root = ElementTree.parse(io.StringIO(svg)).getroot()
    bars = [e for e in root.iter() if e.get("fill") == "#d62f2f"]
    assert len(bars) == 2
    assert float(bars[1].get("y")) < float(bars[0].get("y"))


def test_equal_values_of_a_time_chart_stay_visible():
    from xml.etree import ElementTree

    series = [Series(color, color, [(0, 1, 0.5)]) for color in ("#111111", "#222222", "#333333")]
    root = ElementTree.parse(io.StringIO(time_chart(series, 1.0, 1.0, "P"))).getroot()
    bars = [e for e in root.iter() if e.get("fill") in ("#111111", "#222222", "#333333") and len(e)]
    heights = [float(bar.get("height")) for bar in bars]
    assert heights == sorted(heights, reverse=True)
    assert min(np.diff(heights[::-1])) >= 2
    assert len({float(bar.get("y")) + height / 2 for bar, height in zip(bars, heights)}) == 1


# ----- body points


def whole_picture_peaks(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The published way: enlarge the whole map twice, smooth, compare every pixel with its neighbors."""
    from scipy.ndimage import gaussian_filter

    scaled = tuple(int(np.rint(side * (body_points.NETWORK_HEIGHT_PX / size[0]))) for side in size)
    large = resampling.resize_cubic(grid.astype(np.float32), factor=8)[: scaled[0], : scaled[1]]
    full = resampling.resize_cubic(large, (size[1], size[0]))
    smooth = gaussian_filter(full.astype(np.float64), 3)
    around = np.pad(smooth, 1)
    peak = smooth > 0.1
    for other in (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]):
        peak &= smooth >= other
    ys, xs = np.nonzero(peak)
    return np.array([(x, y, full[y, x]) for y, x in zip(ys, xs)]).reshape(-1, 3)


@settings(deadline=None, max_examples=15)
@given(st.integers(100, 420), st.integers(100, 420), st.integers(0, 10_000))
def test_peaks_of_windows_equal_those_of_the_whole_picture(height, width, seed):
    random = np.random.default_rng(seed)
    rows, columns = (-(-int(np.rint(side * (184 / height))) // 8) for side in (height, width))
    ys, xs = np.mgrid[:rows, :columns]
    grid = np.zeros((rows, columns), np.float32)
    for _ in range(random.integers(0, 4)):
        y, x = (
            random.integers(0, 2 * rows) / 2,
            random.integers(0, 2 * columns) / 2,
        )  # symmetric peaks: ties are decided alike
        grid = np.maximum(grid, random.uniform(0.05, 1) * np.exp(-((ys - y) ** 2 + (xs - x) ** 2) / 2)).astype(
            np.float32
        )
    found = body_points.Enlarged((height, width)).peaks(grid)
    assert np.array_equal(found, whole_picture_peaks(grid, (height, width)))


def test_field_values_at_points_equal_the_enlarged_map():
    grid = np.random.default_rng(0).standard_normal((2, 23, 31)).astype(np.float32)
    enlarged = body_points.Enlarged((240, 320))
    points = np.array([[0, 0], [319, 239], [100, 50], [7, 200]])
    whole = [enlarged.window(g, 0, 240, 0, 320) for g in grid]
    expected = np.array([[w[y, x] for w in whole] for x, y in points])
    assert np.allclose(enlarged.at(grid, points), expected, atol=1e-4)


def test_no_maps_give_nobody():
    nobody = body_points.decode(np.zeros((38, 23, 31)), np.zeros((19, 23, 31)), (240, 320))
    assert len(nobody.candidates) == 0
    assert nobody.persons.shape == (0, 20)


# ----- figures of merit


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_auroc_equals_counting_pairs(samples):
    truth, score = np.array([s[0] for s in samples]), np.array([s[1] for s in samples], float)
    pairs = [(p > n) + 0.5 * (p == n) for p in score[truth] for n in score[~truth]]
    found = classification.auroc(truth, score)
    assert np.isnan(found) if not pairs else found == pytest.approx(np.mean(pairs))


def test_figures_of_a_known_table():
    matrix = np.array([[5, 1, 0], [2, 3, 1], [0, 0, 4]])
    assert classification.accuracy(matrix) == pytest.approx(12 / 16)
    assert classification.precision(matrix) == pytest.approx([5 / 7, 3 / 4, 4 / 5])
    assert classification.recall(matrix) == pytest.approx([5 / 6, 1 / 2, 1])
    assert classification.cohen_kappa(matrix) == pytest.approx((12 / 16 - 86 / 256) / (1 - 86 / 256))
    assert classification.matthews(np.array([[4, 0], [0, 3]])) == pytest.approx(1)
    assert classification.matthews(np.array([[4, 0], [3, 0]])) == 0


def test_bootstrap_draws_whole_groups():
    values = np.repeat([0.0, 1.0], 50)
    groups = np.repeat(["a", "b"], 50)
    interval = classification.bootstrap(lambda i: float(values[i].mean()), groups, repeats=200)
    assert interval.value == pytest.approx(0.5)
    assert interval.low == 0  # a resample of one group twice
    assert interval.high == 1
    assert classification.youden_threshold(values == 1, values) == 1


def test_body_networks_learn_and_keep_their_published_layers():
    torch = pytest.importorskip("torch")
    from SpineMotionToolsLib.common import body_training
    from SpineMotionToolsLib.common.body_network import BodyNetwork

    def sample(number):
        random = np.random.default_rng(number % 4)
        joints = random.uniform(20, 140, (18, 2))
        picture = np.full((160, 160, 3), 60, np.uint8)
        for x, y in joints.astype(int):
            picture[y - 3 : y + 4, x - 3 : x + 4] = 250
        return picture, joints

    lines = []
    network = body_training.train(sample, stages=2, width=8, steps=50, batch=2, say=lines.append)
    assert list(network.state_dict()) == list(BodyNetwork(2, 8).state_dict())
    assert len(lines) == 1
    picture, joints = sample(0)
    with torch.inference_mode():
        _, maps = network(torch.from_numpy(body_points.prepare(picture)))
    wanted = body_training.targets(joints, 160, tuple(maps.shape[-2:]))[1]
    away = np.mean((maps[0].numpy() - wanted) ** 2)
    assert away < np.mean(wanted**2)

"""Videos read lazily: files through PyAV with exact time stamps, folders of pictures, and frames from anywhere else.

A video is a list of frames known by number; only the frames asked for are decoded to pictures, in order, one at a time,
so memory does not grow with the length. Pictures are upright RGB, uint8 (H,W,3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import DependencyError, InputError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm", ".wmv"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".3gp"),
)

TEXT_FORMATS = ("tty", "bin", "xbin", "adf", "idf", "ilbc", "subviewer", "srt", "webvtt", "rawvideo", "data")
"""FFmpeg draws some text files as pictures of a terminal."""


class Frame:
    """One frame of a video: its number, its time from the first frame, and its picture, made when asked for."""

    def __init__(self, number: int, time_s: float, convert: Callable[[int | None], np.ndarray]):
        self.number, self.time_s, self._convert = number, time_s, convert

    @cached_property
    def picture(self) -> np.ndarray:
        """RGB uint8 (H,W,3), upright."""
        return self._convert(None)

    def reduced(self, longest_side_px: int) -> np.ndarray:
        """The picture scaled down to this longest side; never enlarged."""
        return self._convert(longest_side_px)


class Video:
    """What every kind of video offers. `times_s` (n,) float64 rises from 0."""

    name: str
    width_px: int
    height_px: int
    times_s: np.ndarray
    duration_s: Fraction
    pixel_aspect: Fraction = Fraction(1)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second on average (0 for a single frame)."""
        if len(self) < 2:
            return 0.0
        return float((len(self) - 1) / (self.times_s[-1] - self.times_s[0]))

    @property
    def largest_gap_s(self) -> float:
        """The longest time between two frames: well above 1/frame rate in videos of variable frame rate or with dropped
        frames.
        """
        return float(np.diff(self.times_s).max()) if len(self) > 1 else 0.0

    def frames(self, numbers: Iterable[int] | None = None) -> Iterator[Frame]:
        """The frames of these numbers (all by default) in rising order, each once."""
        raise NotImplementedError

    def picture(self, number: int) -> np.ndarray:
        """One frame's picture; raises InputError when it cannot be decoded."""
        for frame in self.frames([number]):
            return frame.picture
        raise InputError(f"Frame {number} of {self.name} cannot be decoded. Copy or export the video again.")

    def frames_between(self, start_s: Fraction | float, end_s: Fraction | float) -> np.ndarray:
        """Numbers of the frames with start <= time < end."""
        low, high = np.searchsorted(self.times_s, [float(start_s) - 1e-9, float(end_s) - 1e-9])
        return np.arange(low, high)

    def nearest_frames(self, times_s: np.ndarray) -> np.ndarray:
        """Numbers of the frames shown nearest to the given times (seconds from the first frame)."""
        times_s = np.asarray(times_s, np.float64)
        after = np.clip(np.searchsorted(self.times_s, times_s), 1, max(len(self) - 1, 1))
        before = after - 1
        after = np.minimum(after, len(self) - 1)
        return np.where(times_s - self.times_s[before] <= self.times_s[after] - times_s, before, after)

    @property
    def size_shown(self) -> str:
        size, rate = f"{self.width_px} x {self.height_px} pixels", f"{self.frame_rate_hz:.4g} frames/s"
        return f"{size}, {rate}, {float(self.duration_s):.1f} s"


def open_video(source: Path | str | Video, frame_rate_hz: float | None = None) -> Video:
    """A video file, or a folder of pictures in name order at `frame_rate_hz` (30 unless told).

    Raises InputError when there is nothing to show, DependencyError when PyAV is missing.
    """
    if isinstance(source, Video):
        return source
    if not isinstance(source, str | Path):
        raise InputError(
            f"A {type(source).__name__} is no video. Give a file, a folder of pictures, or array_video(frames)."
        )
    path = Path(source)
    if path.is_dir():
        return picture_folder(path, frame_rate_hz or 30.0)
    if not path.exists():
        raise InputError(f"The video {path} does not exist. Choose another file.")
    return VideoFile(path)


class FrameVideo(Video):
    """A video whose pictures come from a function of the frame number: arrays, folders, sequences, phantoms."""

    def __init__(
        self,
        picture: Callable[[int], np.ndarray],
        times_s: Sequence[float],
        name: str = "frames",
        size_px: tuple[int, int] | None = None,
    ):
        self._picture = picture
        self.times_s = np.asarray(times_s, np.float64)
        if len(self.times_s) == 0:
            raise InputError(f"{name} holds no frames. Choose another video.")
        if np.any(np.diff(self.times_s) <= 0):
            raise InputError(f"The times of {name} do not rise from frame to frame. Give each frame its own time.")
        self.times_s = self.times_s - self.times_s[0]
        self.name = name
        self.height_px, self.width_px = size_px[::-1] if size_px else as_rgb(picture(0)).shape[:2]
        step = self.times_s[-1] / (len(self) - 1) if len(self) > 1 else 1 / 30
        self.duration_s = Fraction(self.times_s[-1] + step).limit_denominator(90000)

    def frames(self, numbers: Iterable[int] | None = None) -> Iterator[Frame]:
        for number in _wanted(numbers, len(self)).tolist():
            yield Frame(number, float(self.times_s[number]), partial(self._converted, number))

    def _converted(self, number: int, longest_side_px: int | None) -> np.ndarray:
        picture = as_rgb(self._picture(number))
        return _shrink(picture, longest_side_px) if longest_side_px else picture


def array_video(pictures: np.ndarray, frame_rate_hz: float = 30.0, name: str = "array") -> FrameVideo:
    """A video of an array (T,H,W), (T,H,W,1), (T,H,W,3) or (T,H,W,4) of uint8: gray is repeated, alpha dropped."""
    pictures = np.asarray(pictures)
    if pictures.ndim not in (3, 4) or len(pictures) == 0:
        raise InputError(f"The frames of {name} have the shape {pictures.shape}. Give an array (T,H,W,3) of uint8.")
    if not 0 < frame_rate_hz < 1e6:
        raise InputError(f"{name} cannot have {frame_rate_hz:g} frames a second. Give its frame rate, such as 30.")
    return FrameVideo(lambda number: pictures[number], np.arange(len(pictures)) / frame_rate_hz, name)


def picture_folder(folder: Path, frame_rate_hz: float = 30.0) -> FrameVideo:
    """The pictures of a folder in natural order of their names (2 before 10)."""
    paths = sorted((p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES), key=_natural)
    if not paths:
        raise InputError(
            f"The folder {folder} holds no pictures ({', '.join(PICTURE_SUFFIXES)}). Choose another folder."
        )
    return FrameVideo(lambda number: read_picture(paths[number]), np.arange(len(paths)) / frame_rate_hz, folder.name)


def read_picture(path: Path) -> np.ndarray:
    """An image file as upright RGB uint8 (H,W,3); raises InputError."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError) as error:
        raise InputError(f"The picture {path.name} cannot be read ({error}). Remove it or export it again.") from error


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB (H,W,3) of a gray, gray-alpha, RGB or RGBA picture of uint8, or of another type scaled by its own
    range.
    """
    picture = np.asarray(picture)
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[2] not in (1, 2, 3, 4):
        raise InputError(f"A frame has the shape {picture.shape}. Give gray or RGB pictures (H,W,3).")
    if picture.dtype != np.uint8:
        top = np.iinfo(picture.dtype).max if picture.dtype.kind in "ui" else 1.0
        picture = np.clip(np.rint(picture / top * 255.0), 0, 255).astype(np.uint8)
    return np.repeat(picture[..., :1], 3, axis=2) if picture.shape[2] < 3 else picture[..., :3]


class VideoFile(Video):
    """A video file. Opening reads the time stamps of all frames without decoding them; `frames` decodes."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.name = self.path.name
        with _opened(self.path) as (container, stream):
            self._time_base: Fraction = stream.time_base
            self._scan(container, stream)
            length = stream.duration
            self.pixel_aspect = Fraction(stream.sample_aspect_ratio or 1)
        self._first = first = int(self._stamps[0])
        if not length or first:  # the published program takes the start off the duration, and more than all of it
            length = self._stamps[-1] - first + np.median(np.diff(self._stamps) if len(self._stamps) > 1 else 0)
        self.duration_s = int(length) * self._time_base
        self.times_s = (self._stamps - self._stamps[0]) * float(self._time_base)
        self._number_of = {int(stamp): number for number, stamp in enumerate(self._stamps)}
        _, frame = next(self._decode(0, len(self)), (0, None))
        if frame is None:
            raise InputError(f"{self.name} holds no frame that can be decoded. Copy or export the video again.")
        self.rotation_deg = int(getattr(frame, "rotation", 0) or 0)
        self.height_px, self.width_px = upright(np.empty((frame.height, frame.width, 0)), self.rotation_deg).shape[:2]

    def _scan(self, container, stream) -> None:
        """Time stamps of all frames in the order of showing, and which of them can be jumped to."""
        import av

        shown, decoded, keys = [], [], []
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    shown.append(packet.pts)
                    decoded.append(packet.dts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        except av.FFmpegError:
            self.notes = (f"{self.name} is damaged after {len(shown)} frames; the rest was left out.",)
        if not shown:
            raise InputError(f"{self.name} holds no video frames. Choose another file.")
        # AVI stores no time of showing, and what FFmpeg makes up is wrong where frames are stored out of order: frames
        # are then counted as they are decoded, and not jumped to.
        reordered = container.format.name == "avi" and getattr(stream.codec_context, "has_b_frames", True)
        self._counted = bool(reordered) or None in shown or len(set(shown)) < len(shown)
        if self._counted:
            if None in decoded or len(set(decoded)) < len(decoded):
                tick = 1 / (Fraction(stream.average_rate or 30) * self._time_base)
                decoded = [round(number * tick) for number in range(len(decoded))]
            shown, keys = decoded, sorted(decoded)[:1]
        self._stamps = np.array(sorted(shown), np.int64)
        self._keys = np.array(sorted(keys) or self._stamps[:1], np.int64)

    def frames_between(self, start_s: Fraction | float, end_s: Fraction | float) -> np.ndarray:
        """Numbers of the frames with stamps from P(start) up to below P(end); P(s) = ceil(s / time base) + first."""
        low, high = (
            -(-Fraction(second) // self._time_base) + self._first for second in (Fraction(start_s), Fraction(end_s))
        )
        return np.arange(*np.searchsorted(self._stamps, [int(low), int(high)]))

    def frames(self, numbers: Iterable[int] | None = None) -> Iterator[Frame]:
        wanted = _wanted(numbers, len(self))
        if len(wanted) == 0:
            return
        remaining = set(wanted.tolist())
        for start, stop in self._runs(wanted):
            for number, frame in self._decode(start, stop):
                if number in remaining:
                    remaining.discard(number)
                    yield Frame(number, float(self.times_s[number]), partial(self._picture, frame))

    def _runs(self, wanted: np.ndarray) -> list[tuple[int, int]]:
        """Stretches [start, stop) of frames to decode: a new one where jumping to a key frame saves decoding."""
        runs: list[list[int]] = []
        for number in wanted.tolist():
            if runs and self._key_before(number) <= runs[-1][1]:
                runs[-1][1] = number + 1
            else:
                runs.append([number, number + 1])
        return [(start, stop) for start, stop in runs]

    def _key_before(self, number: int, back: int = 0) -> int:
        """Number of the last frame up to this one that decoding can start at, or of one that many key frames before."""
        key = np.searchsorted(self._keys, self._stamps[number], side="right") - 1 - back
        return int(np.searchsorted(self._stamps, self._keys[max(key, 0)]))

    def _decode(self, start: int, stop: int, back: int = 0) -> Iterator[tuple[int, object]]:
        """Decoded frames start..stop-1 with their numbers; ends early where the file is damaged."""
        import av

        key = 0 if self._counted else self._key_before(start, back)
        with _opened(self.path) as (container, stream):
            stream.thread_type = "AUTO"
            if key > 0:
                container.seek(int(self._stamps[key]), stream=stream, backward=True)
            first = True
            try:
                for count, frame in enumerate(container.decode(stream)):
                    number = count if self._counted else self._number_of.get(frame.pts, -1)
                    if first and number > start and key > 0:
                        break
                    first = first and number < 0
                    if number >= stop:
                        return
                    if number >= start:
                        yield number, frame
                # The jump went too far, maybe to the end: transport streams and bad indexes do that.
                if first and key > 0:
                    yield from self._decode(start, stop, 4 * back + 1)
            except av.FFmpegError as error:
                note = f"{self.name} cannot be decoded to its end ({error.strerror or error}); the rest was left out."
                if note not in self.notes:
                    self.notes = (*self.notes, note)

    def _picture(self, frame, longest_side_px: int | None) -> np.ndarray:
        width, height = frame.width, frame.height
        if longest_side_px and max(width, height) > longest_side_px:
            scale = longest_side_px / max(width, height)
            width, height = (max(2, round(side * scale)) for side in (width, height))
            picture = frame.to_ndarray(format="rgb24", width=width, height=height)
        else:
            picture = frame.to_ndarray(format="rgb24")
        return upright(picture, self.rotation_deg)


class _opened:
    """Context of an opened container and its first video stream; raises InputError in words."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        try:
            import av
        except ImportError as error:
            raise DependencyError("Reading videos needs PyAV. Install it with: pip install av") from error
        try:
            self.container = av.open(str(self.path), mode="r", metadata_errors="ignore")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(self._not_a_video(error)) from error
        if self.container.format.name in TEXT_FORMATS:
            self.container.close()
            raise InputError(f"{self.path.name} is not a video file (it is text). Choose a video.")
        if not self.container.streams.video:
            sound = bool(self.container.streams.audio)
            self.container.close()
            what = "holds sound but no picture" if sound else "holds no video"
            raise InputError(f"{self.path.name} {what}. Choose a file with a video.")
        return self.container, self.container.streams.video[0]

    def __exit__(self, *_):
        self.container.close()

    def _not_a_video(self, error: Exception) -> str:
        if self.path.stat().st_size == 0:
            return f"{self.path.name} is empty: its copy was interrupted. Copy it again."
        if self.path.suffix.lower() in VIDEO_SUFFIXES:
            return f"{self.path.name} is cut off or damaged and cannot be opened. Copy or export it again."
        return f"{self.path.name} is not a video file ({getattr(error, 'strerror', None) or error}). Choose a video."


def upright(picture: np.ndarray, rotation_deg: float) -> np.ndarray:
    """Turn a picture by the multiple of 90 degrees (counterclockwise) that its file asks for."""
    quarter_turns = round(rotation_deg / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture


def _wanted(numbers: Iterable[int] | None, count: int) -> np.ndarray:
    wanted = np.arange(count) if numbers is None else np.unique(np.fromiter(numbers, np.int64))
    if len(wanted) and (wanted[0] < 0 or wanted[-1] >= count):
        raise InputError(f"Frame {wanted[-1]} was asked of a video of {count} frames. Ask for frames 0 to {count - 1}.")
    return wanted


def _natural(path: Path) -> list:
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", path.name)]


def _shrink(picture: np.ndarray, longest_side_px: int) -> np.ndarray:
    from PIL import Image

    scale = longest_side_px / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = tuple(max(2, round(side * scale)) for side in picture.shape[1::-1])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))

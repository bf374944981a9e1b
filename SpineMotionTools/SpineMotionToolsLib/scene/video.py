"""Videos in the scene: a sequence of reduced frames to look at, and a reference to the file that is scored.

Frames lie in the plane S = 0 with x to the patient's left and y to posterior, so that the axial view shows them upright
and not mirrored. One pixel of the original is 1 mm: pixel (x, y) of the original lies at R = -x, A = -y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.scene import nodes

if TYPE_CHECKING:
    from SpineMotionToolsLib.common.video import FrameVideo, Video

VIDEO_ATTRIBUTE = nodes.ATTRIBUTE_PREFIX + "Video"
BUDGET_BYTES = 128 * 2**20  # of all reduced frames of one video
SIDES_PX = (480, 400, 320)  # longest side of a reduced frame; smaller for long videos
FASTEST_HZ, SLOWEST_HZ = 15.0, 5.0  # reduced frames a second; fewer than 5 only in very long videos


@dataclass(frozen=True)
class SceneVideo:
    """A video in the scene. `frames` are the original's numbers of the shown frames, `size_px` its width and height."""

    sequence: Any
    browser: Any
    volume: Any
    frames: tuple[int, ...]
    size_px: tuple[int, int]

    @property
    def item(self) -> int:
        """The item the slider is at."""
        return min(max(self.browser.GetSelectedItemNumber(), 0), len(self.frames) - 1)

    @property
    def frame(self) -> int:
        """The original's number of the frame that is shown."""
        return self.frames[self.item]

    @property
    def time_s(self) -> float:
        """The time that is shown."""
        return self.time_of(self.item)

    @property
    def duration_s(self) -> float:
        return float(nodes.attribute(self.sequence, "Video", {}).get("duration_s") or self.time_of(-1))

    def time_of(self, item: int) -> float:
        """Seconds from the first frame of an item; -1 is the last."""
        return index_value(self.sequence, range(len(self.frames))[item])

    def times_s(self) -> np.ndarray:
        return np.array([self.time_of(item) for item in range(len(self.frames))])

    def item_at(self, time_s: float) -> int:
        """The first item shown at or after a time."""
        return int(min(np.searchsorted(self.times_s(), time_s - 1e-3), len(self.frames) - 1))

    def to_ras(self, points_px: np.ndarray) -> np.ndarray:
        """(n,3) world points in mm of (n,2) pixels of the original."""
        points = np.asarray(points_px, np.float64).reshape(-1, 2)
        shown = (points + 0.5) / self._scale() - 0.5
        homogeneous = np.column_stack([shown, np.zeros(len(points)), np.ones(len(points))])
        return nodes.to_world(self.volume, (homogeneous @ nodes.ijk_to_ras(self.volume).T)[:, :3])

    def to_pixels(self, points_ras: np.ndarray) -> np.ndarray:
        """(n,2) pixels of the original of (n,3) world points in mm; depth is left out."""
        points = np.asarray(points_ras, np.float64).reshape(-1, 3)
        homogeneous = np.column_stack([points, np.ones(len(points))])
        shown = (homogeneous @ np.linalg.inv(nodes.ijk_to_ras(self.volume)).T)[:, :2]
        return (shown + 0.5) * self._scale() - 0.5

    def _scale(self) -> np.ndarray:
        """Pixels of the original in one shown pixel, across and down."""
        return np.array(self.size_px) / self.volume.GetImageData().GetDimensions()[:2]


def add_video(scene, video: Video, path: Path | str, name: str, progress: Progress = no_progress) -> SceneVideo:
    """Put a video into the scene as a sequence with a browser, reduced for display; returns its nodes.

    Raises InputError when no frame can be decoded. When `progress` raises, the scene stays as it was.
    """
    from SpineMotionToolsLib.common.errors import InputError

    step, side = display_plan(len(video), video.frame_rate_hz, (video.width_px, video.height_px))
    name = scene.GenerateUniqueName(name)
    sequence = _new_sequence(scene, name, _record(video, path, []))
    volume = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", f"{name} frame")
    frames = []
    try:
        numbers = range(0, len(video), step)
        for frame in video.frames(numbers):
            picture = frame.reduced(side)
            scale = np.array([video.width_px / picture.shape[1], video.height_px / picture.shape[0]])
            set_picture(volume, picture, scale)
            sequence.SetDataNodeAtValue(volume, f"{frame.time_s:.3f}")
            frames.append(frame.number)
            progress(len(frames), len(numbers), f"{frame.time_s:.0f} s")
        if not frames:
            raise InputError(f"{video.name} holds no frame that can be decoded. Copy or export the video again.")
    except BaseException:
        scene.RemoveNode(volume)
        scene.RemoveNode(sequence)
        raise
    nodes.set_attribute(sequence, "Video", _record(video, path, frames))
    browser = _browse(scene, sequence, volume, video.frame_rate_hz / step)
    nodes.put_in_case_folder(scene, sequence, (browser, volume))
    return SceneVideo(sequence, browser, volume, tuple(frames), (video.width_px, video.height_px))


def _new_sequence(scene, name: str, record: dict[str, Any]):
    """A sequence over time. It knows its video before it enters the scene, as node selectors look only then."""
    sequence = scene.CreateNodeByClass("vtkMRMLSequenceNode")
    sequence.UnRegister(None)  # owned by the Python variable
    sequence.SetName(name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    nodes.set_attribute(sequence, "Video", record)
    return scene.AddNode(sequence)


def _record(video: Video, path: Path | str, frames: list[int]) -> dict[str, Any]:
    """What the sequence keeps of the original: where and what it is, and nothing that its file says about people."""
    return {
        "path": str(Path(path).absolute()),
        "width_px": video.width_px,
        "height_px": video.height_px,
        "frame_count": len(video),
        "frame_rate_hz": video.frame_rate_hz,
        "duration_s": float(video.duration_s),
        "notes": list(video.notes),
        "shown_frames": frames,
    }


def display_plan(count: int, frame_rate_hz: float, size_px: tuple[int, int]) -> tuple[int, int]:
    """(step, longest side) of the shown frames: every step-th frame, so that all of them stay within the budget."""
    step = max(1, round(frame_rate_hz / FASTEST_HZ))
    largest_step = max(1.0, frame_rate_hz / SLOWEST_HZ)
    for side in SIDES_PX:
        scale = min(1.0, side / max(size_px))
        frame_bytes = 3 * (size_px[0] * scale) * (size_px[1] * scale)
        needed = math.ceil(count * frame_bytes / BUDGET_BYTES)
        if needed <= largest_step:
            break
    return max(step, needed), side


def _browse(scene, sequence, volume, rate_hz: float):
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{sequence.GetName()} browser")
    add_to_browser(browser, sequence, volume)
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)  # else the brightness would change from frame to frame
    volume.GetDisplayNode().SetWindowLevelMinMax(0.0, 255.0)
    browser.SetPlaybackRateFps(min(max(rate_hz, 1.0), 60.0))
    browser.SetSelectedItemNumber(0)
    return browser


def add_to_browser(browser, sequence, shown_node) -> None:
    """Let a browser show a sequence by this node, rather than by one that it makes."""
    was_modifying = browser.StartModify()
    browser.AddSynchronizedSequenceNode(sequence)
    browser.AddProxyNode(shown_node, sequence, False)
    browser.EndModify(was_modifying)


def set_picture(volume, picture: np.ndarray, spacing_mm=(1.0, 1.0)) -> None:
    """Give a vector volume (RGB uint8 picture) or a scalar volume (gray picture, (H,W)) one frame."""
    image = vtk.vtkImageData()
    image.SetDimensions(picture.shape[1], picture.shape[0], 1)
    values = np.ascontiguousarray(picture).reshape(picture.shape[0] * picture.shape[1], -1)
    image.GetPointData().SetScalars(numpy_to_vtk(values if values.shape[1] > 1 else values.ravel(), deep=True))
    across, down = (float(value) for value in spacing_mm)
    matrix = np.diag([-across, -down, 1.0, 1.0])
    matrix[:2, 3] = 0.5 - across / 2, 0.5 - down / 2
    volume.SetIJKToRASMatrix(nodes.vtk_matrix_of(matrix))
    volume.SetAndObserveImageData(image)


def picture_of(volume) -> np.ndarray:
    """The frame (H,W,C) of a volume node; raises InputError for an empty or three-dimensional volume."""
    from SpineMotionToolsLib.common.errors import InputError

    image = volume.GetImageData() if volume is not None else None
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError("A frame of the sequence is empty. Load the video again.")
    columns, rows, slices = image.GetDimensions()
    if slices != 1:
        raise InputError("The sequence holds volumes with several slices, not video frames. Choose a video.")
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)


def scene_video(scene, sequence) -> SceneVideo | None:
    """The video of a sequence node with its browser and shown frame; None when it is not (or no longer) complete."""
    if sequence is None or sequence.GetNumberOfDataNodes() == 0:
        return None
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(index, "vtkMRMLSequenceBrowserNode")
        if browser.IsSynchronizedSequenceNode(sequence, True) and browser.GetProxyNode(sequence) is not None:
            volume = browser.GetProxyNode(sequence)
            if volume.GetImageData() is None:
                continue
            record = nodes.attribute(sequence, "Video", {})
            frames = record.get("shown_frames") or range(sequence.GetNumberOfDataNodes())
            size = (record.get("width_px"), record.get("height_px"))
            if None in size:
                size = volume.GetImageData().GetDimensions()[:2]
            return SceneVideo(sequence, browser, volume, tuple(frames), size)
    return None


def original_path(sequence) -> Path | None:
    """Where the original of a video is said to be; None for a sequence that did not come from a file of ours."""
    path = nodes.attribute(sequence, "Video", {}).get("path")
    return Path(path) if path else None


def set_original_path(sequence, path: Path | str) -> None:
    """Tell where the original is now; raises InputError when it is another video (other size or number of frames)."""
    from SpineMotionToolsLib.common.errors import InputError
    from SpineMotionToolsLib.common.video import open_video

    record, video = nodes.attribute(sequence, "Video", {}), open_video(path)
    found = (video.width_px, video.height_px, len(video))
    if found != (record.get("width_px"), record.get("height_px"), record.get("frame_count")):
        raise InputError(
            f"{Path(path).name} is another video than the one in the scene. Choose the same file, or load it."
        )
    nodes.set_attribute(sequence, "Video", {**record, "path": str(Path(path).absolute())})


def index_value(sequence, item: int) -> float:
    """The time (s) of an item; items of a sequence without numeric index count 30 a second."""
    try:
        return float(sequence.GetNthIndexValue(item))
    except ValueError:
        return item / 30.0


def frames_in_scene(sequence) -> FrameVideo:
    """A video whose frames are the scene's own, for a sequence without a file. Raises InputError."""
    from SpineMotionToolsLib.common.video import FrameVideo, as_rgb

    times = [index_value(sequence, item) for item in range(sequence.GetNumberOfDataNodes())]
    return FrameVideo(lambda item: as_rgb(picture_of(sequence.GetNthDataNode(item))), times, sequence.GetName())

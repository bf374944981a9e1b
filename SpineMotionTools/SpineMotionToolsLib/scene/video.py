"""Videos in the scene: a sequence of reduced frames to look at, and a reference to the file that is scored.

Frames lie in the plane S = 0 with x to the patient's left and y to posterior, so that the axial view shows them upright
and not mirrored. One pixel of the original is 1 mm: pixel (x, y) of the original lies at R = -x, A = -y.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.video_preview import ReducedFrame, read_preview, record_of, reduced_frames
from SpineMotionToolsLib.scene import nodes

if TYPE_CHECKING:
    from SpineMotionToolsLib.common.video import FrameVideo, Video

VIDEO_ATTRIBUTE = nodes.ATTRIBUTE_PREFIX + "Video"


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
        points = nodes.from_world(self.volume, points_ras)
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
    return _add(scene, name, reduced_frames(video, progress), lambda shown: record_of(video, path, shown))


def add_preview(scene, made: Mapping[str, Any], name: str) -> SceneVideo:
    """As `add_video`, from the frames that a child process decoded (`common.tasks.preview_video`)."""
    return _add(scene, name, read_preview(made), lambda shown: {**made["record"], "shown_frames": shown})


def _add(scene, name: str, frames: Iterable[ReducedFrame], record_of_shown) -> SceneVideo:
    name = scene.GenerateUniqueName(name)
    record = record_of_shown([])
    size = np.array([record["width_px"], record["height_px"]])
    sequence = _new_sequence(scene, name, record)
    volume = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", f"{name} frame")
    shown: list[int] = []
    try:
        for frame in frames:
            set_picture(volume, frame.picture, size / frame.picture.shape[1::-1])
            sequence.SetDataNodeAtValue(volume, f"{frame.time_s:.3f}")
            shown.append(frame.number)
    except BaseException:
        scene.RemoveNode(volume)
        scene.RemoveNode(sequence)
        raise
    nodes.set_attribute(sequence, "Video", record_of_shown(shown))
    browser = _browse(scene, sequence, volume)
    return SceneVideo(sequence, browser, volume, tuple(shown), tuple(int(side) for side in size))


def _new_sequence(scene, name: str, record: dict[str, Any]):
    """A sequence over time. It knows its video before it enters the scene, as node selectors look only then."""
    sequence = scene.CreateNodeByClass("vtkMRMLSequenceNode")
    sequence.UnRegister(None)  # owned by the Python variable
    sequence.SetName(name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    nodes.set_attribute(sequence, "Video", record)
    return scene.AddNode(sequence)


def _browse(scene, sequence, volume):
    """A new browser that shows a sequence by this volume, at its own speed."""
    record = nodes.attribute(sequence, "Video", {})
    first, second = (*record.get("shown_frames", ()), 0, 1)[:2]
    rate_hz = record.get("frame_rate_hz", 30.0) / max(second - first, 1)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{sequence.GetName()} browser")
    add_to_browser(browser, sequence, volume)
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)  # else the brightness would change from frame to frame
    volume.GetDisplayNode().SetWindowLevelMinMax(0.0, 255.0)
    browser.SetPlaybackRateFps(min(max(rate_hz, 1.0), 60.0))
    browser.SetSelectedItemNumber(0)
    nodes.put_in_case_folder(scene, sequence, (browser, volume))
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


def ensure_video(scene, sequence) -> SceneVideo | None:
    """As `scene_video`, but frames whose browser or shown frame was deleted get new ones. Raises InputError."""
    shown = scene_video(scene, sequence)
    if shown is not None or sequence is None or sequence.GetNumberOfDataNodes() == 0:
        return shown
    first, record = sequence.GetNthDataNode(0), nodes.attribute(sequence, "Video", {})
    picture = picture_of(first)
    columns, rows = picture.shape[1::-1]
    spacing = record.get("width_px", columns) / columns, record.get("height_px", rows) / rows
    name = scene.GenerateUniqueName(f"{sequence.GetName()} frame")
    volume = scene.AddNewNodeByClass(first.GetClassName(), name)
    set_picture(volume, picture, spacing)
    _browse(scene, sequence, volume)
    return scene_video(scene, sequence)


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

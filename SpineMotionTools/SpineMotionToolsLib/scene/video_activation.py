"""Where a network looked, as a second sequence on a video's browser that is laid over the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.scene import nodes, video

if TYPE_CHECKING:
    from SpineMotionToolsLib.gait.explain import ActivationMaps as GaitMaps
    from SpineMotionToolsLib.gait.results import GaitResult
    from SpineMotionToolsLib.movements.explain import ActivationMaps as MovementMaps
    from SpineMotionToolsLib.movements.results import MovementResult

ACTIVATION_COLORS = "vtkMRMLPETProceduralColorNodePET-Heat"  # built in: needs no color file
ACTIVATION_FLOOR = 0.15  # weaker activation stays transparent, so that the frame under it can be seen
SIDE_PX = 160  # longest side of a map: the networks' own maps are 7 to 14 pixels wide


def show_activation(scene, shown: video.SceneVideo, result, maps, opacity: float | None):
    """Lay activation maps over a video, in step with its frames; returns the maps' sequence node.

    With an `opacity` the slice views show both.
    """
    system = result.provenance.system
    remove_activation(scene, shown, system)
    name = scene.GenerateUniqueName(f"{shown.sequence.GetName()} {system} activation")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName(shown.sequence.GetIndexName())
    sequence.SetIndexUnit(shown.sequence.GetIndexUnit())
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{name} overlay")
    factor = min(1.0, SIDE_PX / max(shown.size_px))
    size = tuple(max(2, round(side * factor)) for side in shown.size_px)
    spacing = np.array(shown.size_px) / size
    heats = gait_heats if system == "gait" else movement_heats
    for item, heat in enumerate(heats(shown, result, maps, size)):
        video.set_picture(volume, np.rint(255 * np.clip(heat, 0, 1)).astype(np.uint8), spacing)
        sequence.SetDataNodeAtValue(volume, shown.sequence.GetNthIndexValue(item))
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(ACTIVATION_COLORS)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, 255.0)
    display.SetThreshold(255 * ACTIVATION_FLOOR, 255.0)
    display.SetApplyThreshold(True)
    video.add_to_browser(shown.browser, sequence, volume)
    nodes.set_provenance(sequence, result.provenance)
    nodes.mark_result(sequence, shown.sequence, f"{system} activation")  # the volume takes each frame's attributes
    nodes.put_in_case_folder(scene, shown.sequence, (sequence, volume))
    if opacity is not None:
        nodes.show_in_slice_views(scene, background=shown.volume, foreground=volume, opacity=opacity)
    return sequence


def overlay_of(shown: video.SceneVideo, sequence):
    """The volume node that shows a sequence of activation maps; None without one."""
    return shown.browser.GetProxyNode(sequence) if sequence is not None else None


def remove_activation(scene, shown: video.SceneVideo, system: str) -> None:
    """Take the overlay of a system away: it belongs to an earlier score."""
    sequence = nodes.results_of(scene, shown.sequence).get(f"{system} activation")
    if sequence is None:
        return
    volume = overlay_of(shown, sequence)
    shown.browser.RemoveSynchronizedSequenceNode(sequence.GetID())
    scene.RemoveNode(sequence)
    if volume is not None and scene.IsNodePresent(volume):
        scene.RemoveNode(volume)


def gait_heats(shown: video.SceneVideo, result: GaitResult, maps: GaitMaps, size: tuple[int, int]):
    """(h,w) values 0 to 1 of every shown frame, of a size (width, height): what speaks for ASD."""
    from SpineMotionToolsLib.gait.explain import square_of

    boxes = {int(row[0]): row[1:] for row in result.boxes}
    scale = np.array(size) / shown.size_px
    for number in shown.frames:
        heat = maps.of_frame(number) if number in boxes else None
        values = np.zeros(size[::-1], np.float32)
        if heat is not None:
            left, top, side = square_of(boxes[number])
            _paste(values, heat, (left * scale[0], top * scale[1]), (side * scale[0], side * scale[1]))
        yield values


def _paste(values: np.ndarray, heat: np.ndarray, corner, extent) -> None:
    """Draw a map, enlarged to `extent`, into an array at a corner that may lie outside."""
    from PIL import Image

    width, height = (max(1, round(side)) for side in extent)
    left, top = round(corner[0]), round(corner[1])
    large = np.asarray(Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, values.shape[1]), min(top + height, values.shape[0])
    if x0 < x1 and y0 < y1:
        values[y0:y1, x0:x1] = large[y0 - top : y1 - top, x0 - left : x1 - left]


def movement_heats(shown: video.SceneVideo, result: MovementResult, maps: MovementMaps, size: tuple[int, int]):
    """(h,w) values 0 to 1 of every shown frame, of a size (width, height): what speaks for the found class."""
    from SpineMotionToolsLib.movements.explain import adjustment_of

    nothing = np.zeros(size[::-1], np.float32)
    placed = [_unadjusted(heat, adjustment_of(result), shown.size_px, size) for heat in maps.maps]
    for item in range(len(shown.frames)):
        time_s = shown.time_of(item)
        inside = [n for n, c in enumerate(result.chunks) if c.start_s <= time_s + 1e-3 < c.end_s]
        yield placed[inside[0]] if inside else nothing


def _unadjusted(heat: np.ndarray, adjustment, size_px: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A map (h,w) of the adjusted square, laid back over the whole frame reduced to `size`."""
    from PIL import Image

    from SpineMotionToolsLib.movements.adjusting import SIDE_PX as ADJUSTED_PX
    from SpineMotionToolsLib.movements.adjusting import to_adjusted

    scale = np.array(size_px) / size
    corners = np.array([[0.0, 0.0], [scale[0], 0.0], [0.0, scale[1]]])
    origin, right, down = to_adjusted(corners, adjustment, size_px)
    matrix = np.column_stack([right - origin, down - origin, origin])
    large = Image.fromarray(heat.astype(np.float32)).resize((ADJUSTED_PX, ADJUSTED_PX), Image.Resampling.BILINEAR)
    placed = large.transform(
        size, Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR, fillcolor=0
    )
    return np.clip(np.asarray(placed), 0, 1)

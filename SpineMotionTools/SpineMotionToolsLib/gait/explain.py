"""Where a network looks: activation maps of each clip that speak for ASD, and the video with them laid over.

LayerCAM (Jiang et al. 2021) of the last stage. The published logit is for non-ASD, so the negated logit is explained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.overlay import blend_heat, blur_outside, blur_region, draw_box, draw_lines
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.video import Video, open_video
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.gait.clip_making import clip_of
from SpineMotionToolsLib.gait.models import GaitModel
from SpineMotionToolsLib.gait.results import GaitResult

HEAD_SHARE = 0.24  # of the person's height, from the top


@dataclass(frozen=True)
class ActivationMaps:
    """Maps of all clips: `maps` (n,T,h,w) from 0 to 1 over the patient's square, `frames` (n,T) frame numbers."""

    maps: np.ndarray
    frames: np.ndarray

    def save(self, path: Path | str) -> None:
        """Write as .npz, atomically."""
        from SpineMotionToolsLib.common.files import atomic_path

        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, maps=self.maps.astype(np.float16), frames=self.frames)

    @classmethod
    def load(cls, path: Path | str) -> ActivationMaps:
        with np.load(path, allow_pickle=False) as saved:
            return cls(saved["maps"].astype(np.float32), saved["frames"])

    def of_frame(self, number: int) -> np.ndarray | None:
        """The map (h,w) of the picked frame nearest to a frame of the same clip, or None between clips."""
        for maps, frames in zip(self.maps, self.frames):
            if frames.min() <= number <= frames.max():
                return maps[int(np.argmin(np.abs(frames - number)))]
        return None


def activation(model: GaitModel, clip: np.ndarray) -> np.ndarray:
    """(T,h,w) float32, not negative: how strongly each place and time of a clip (3,T,S,S) speaks for ASD."""
    import torch

    from SpineMotionToolsLib.gait.networks import VideoNet

    network = model.network
    if not isinstance(network, VideoNet):
        raise InputError(f"Activation maps need a three-dimensional network, not {model.name}. Choose another model.")
    with torch.no_grad():
        features = network.features(torch.from_numpy(clip)[None])
    features.requires_grad_(True)
    with torch.enable_grad():
        speaks_for_asd = -network.head(features).sum()
        (gradient,) = torch.autograd.grad(speaks_for_asd, features)
    maps = torch.relu((torch.relu(gradient) * features.detach()).sum(dim=1))[None]
    size = (clip.shape[1], *maps.shape[-2:])
    return torch.nn.functional.interpolate(maps, size=size, mode="trilinear", align_corners=False)[0, 0].numpy()


def explain(
    source: Path | str | Video, result: GaitResult, model: GaitModel, progress: Progress = no_progress
) -> ActivationMaps:
    """Maps of all scored clips of a video, on one common scale. Raises InputError when nothing was scored."""
    if not result.clips:
        raise InputError(f"{result.video} was not scored, so there is nothing to explain. {result.why_not}")
    video = open_video(source)
    boxes = {int(row[0]): row[1:] for row in result.boxes}
    maps = []
    for number, clip in enumerate(result.clips):
        progress(number, len(result.clips), f"{clip.start_s:.0f} s")
        maps.append(activation(model, clip_of(video, clip.frames, boxes, model.settings)))
    stacked = np.stack(maps)
    return ActivationMaps(stacked / max(float(stacked.max()), 1e-12), np.array([clip.frames for clip in result.clips]))


def square_of(box: np.ndarray) -> tuple[int, int, int]:
    """Left, top and side in pixels of the square picture of a person (`patients.square_picture`) in the frame."""
    x1, y1, x2, y2 = (int(v) for v in np.trunc(box))
    return x1 - int((y2 - y1 - (x2 - x1)) / 2), y1, y2 - y1


def lay_over(picture: np.ndarray, box: np.ndarray, heat: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """A frame (H,W,3) with a map (h,w) of the patient's square laid over it."""
    from PIL import Image

    left, top, side = square_of(box)
    if side < 2:
        return picture
    large = Image.fromarray(heat.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    values = np.zeros(picture.shape[:2], np.float32)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + side, picture.shape[0]), min(left + side, picture.shape[1])
    if y0 < y1 and x0 < x1:
        values[y0:y1, x0:x1] = np.asarray(large)[y0 - top : y1 - top, x0 - left : x1 - left]
    return blend_heat(picture, values, strength)


def hide_faces(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A frame in which the head of the person in a box, and everything away from the box, cannot be recognized."""
    x1, y1, x2, y2 = (float(v) for v in box)
    width, height = x2 - x1, y2 - y1
    wide = (x1 - 0.15 * width, y1 - 0.08 * height, x2 + 0.15 * width, y2 + 0.05 * height)
    head = (x1 - 0.12 * width, y1 - 0.07 * height, x2 + 0.12 * width, y1 + HEAD_SHARE * height)
    return blur_region(blur_outside(picture, wide), head)


def overlay_pictures(
    video: Video, result: GaitResult, maps: ActivationMaps | None, faces_hidden: bool, progress: Progress = no_progress
) -> Iterator[np.ndarray]:
    """Every frame with the patient's box, the clip's P(ASD) and the activation; all blurred where there is none."""
    boxes = {int(row[0]): row[1:] for row in result.boxes}
    nowhere = np.zeros(4)
    for frame in video.frames():
        progress(frame.number, len(video), f"{frame.time_s:.0f} s")
        box = boxes.get(frame.number)
        picture = frame.picture
        if faces_hidden:
            picture = hide_faces(picture, nowhere if box is None else box)
        if box is not None:
            heat = maps.of_frame(frame.number) if maps else None
            if heat is not None:
                picture = lay_over(picture, box, heat)
            picture = draw_box(picture, box, width=max(2, picture.shape[0] // 300))
        clip = next((c for c in result.clips if c.start_s <= frame.time_s < c.end_s), None)
        words = f"P(ASD) {clip.p_asd:.2f}" if clip else "not scored"
        model = "starter model, not validated on patients" if result.provenance.starter else "research use only"
        yield draw_lines(picture, [f"{frame.time_s:6.2f} s   {words}", model])


def write_overlay(
    path: Path | str,
    source: Path | str | Video,
    result: GaitResult,
    maps: ActivationMaps | None = None,
    faces_hidden: bool = True,
    progress: Progress = no_progress,
) -> None:
    """Write the video with boxes, scores and activation as MP4; faces are hidden unless told. Raises OutputError."""
    video = open_video(source)
    write_video(path, overlay_pictures(video, result, maps, faces_hidden, progress), video.frame_rate_hz or 30)

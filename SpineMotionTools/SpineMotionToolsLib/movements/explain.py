"""Where the two-stream network looks: an activation map per chunk, and the video with the maps laid over.

Class activation maps (Zhou et al. 2016) of the fused features, or LayerCAM of a stream's last layer where the streams
are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.overlay import blend_heat, blur_outside, blur_region, draw_lines
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.video import Video, open_video
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.movements.adjusting import SIDE_PX, to_adjusted
from SpineMotionToolsLib.movements.chunks import FRAME_RATE_HZ, chunk_at, chunk_tensors
from SpineMotionToolsLib.movements.inputs import EvenFrames, Infant
from SpineMotionToolsLib.movements.models import Classifier
from SpineMotionToolsLib.movements.pipeline import Models
from SpineMotionToolsLib.movements.preparing import Masking, adjusted_pictures
from SpineMotionToolsLib.movements.results import MovementResult
from SpineMotionToolsLib.movements.scores import CLASS_NAMES
from SpineMotionToolsLib.movements.torso import Adjustment, Trunk


@dataclass(frozen=True)
class ActivationMaps:
    """Maps of all chunks: `maps` (n,h,w) from 0 to 1 over the adjusted picture, for the class of index `explained`.

    `pictures` (n,224,224,3) RGB are the adjusted pictures the maps belong to.
    """

    maps: np.ndarray
    explained: int
    pictures: np.ndarray

    def save(self, path: Path | str) -> None:
        """Write as .npz, atomically."""
        from SpineMotionToolsLib.common.files import atomic_path

        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary, maps=self.maps.astype(np.float16), explained=self.explained, pictures=self.pictures
            )

    @classmethod
    def load(cls, path: Path | str) -> ActivationMaps:
        with np.load(path, allow_pickle=False) as saved:
            return cls(saved["maps"].astype(np.float32), int(saved["explained"]), saved["pictures"])


def activation(classifier: Classifier, picture: np.ndarray, flow: np.ndarray, explained: int) -> np.ndarray:
    """(h,w) float32, not negative: how strongly each place of a chunk speaks for class `explained`."""
    import torch

    network = classifier.network
    device = next(network.parameters()).device
    tensors = [torch.from_numpy(part[None]).to(device) for part in (picture, flow)]
    if network.variant.fusion == "conv1x1":
        with torch.no_grad():
            fused = network.fused_features(*tensors)
            weights = network.classifier[1].weight[explained]
            return torch.relu(torch.einsum("c,chw->hw", weights, fused[0])).cpu().numpy()
    total = None
    for stream, tensor in (("spatial", tensors[0]), ("temporal", tensors[1])):
        if not hasattr(network, stream):
            continue
        part = getattr(network, stream)
        with torch.no_grad():
            features = part.trunk(tensor)
        features.requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(part.fc(features.mean(dim=(2, 3)))[0, explained], features)
        found = torch.relu((torch.relu(gradient) * features.detach()).sum(dim=1))[0].cpu().numpy()
        total = found if total is None else total + found
    return total


def explain(
    source: Path | str | Video,
    result: MovementResult,
    models: Models,
    infant: Infant,
    explained: int | None = None,
    progress: Progress = no_progress,
) -> ActivationMaps:
    """Maps of all scored chunks on one scale, for the found class unless told. Raises InputError when nothing was
    scored.
    """
    if not result.chunks:
        raise InputError(f"{result.video} was not scored, so there is nothing to explain. {result.why_not}")
    explained = result.predicted if explained is None else explained
    frames = EvenFrames(open_video(source))
    masking = Masking(infant, frames.size, models.background)
    adjustment = adjustment_of(result)
    maps, shown = [], []
    for number, score in enumerate(result.chunks):
        progress(number, len(result.chunks), f"{score.start_s:.0f} s")
        chunk = chunk_at(round(score.start_s * FRAME_RATE_HZ))
        pictures = dict(adjusted_pictures(frames, chunk.frames, masking, adjustment))
        maps.append(activation(models.classifier, *chunk_tensors(chunk, pictures), explained))
        shown.append(pictures[chunk.picture][..., ::-1])
    stacked = np.stack(maps)
    return ActivationMaps(stacked / max(float(stacked.max()), 1e-12), explained, np.stack(shown))


def adjustment_of(result: MovementResult) -> Adjustment:
    """The adjustment a result was made with."""
    a = result.adjustment
    trunk = Trunk((a["center_x_px"], a["center_y_px"]), a["length_px"], a["degree"])
    return Adjustment(a["rough_degree"], trunk)


def head_area(torso: np.ndarray) -> tuple[float, float, float, float]:
    """Box around the head of an infant with these torso points (4,2) in a frame."""
    neck, crotch = torso[:2].mean(axis=0), torso[2:4].mean(axis=0)
    length = float(np.hypot(*(crotch - neck)))
    center = neck + (neck - crotch) * 0.50
    reach = 0.62 * length
    return (center[0] - reach, center[1] - reach, center[0] + reach, center[1] + reach)


def infant_area(adjustment: Adjustment, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Box in the frame around the adjusted square."""
    to_square = _affine(adjustment, size)
    corners = np.array([[0, 0], [SIDE_PX, 0], [0, SIDE_PX], [SIDE_PX, SIDE_PX]], float) - to_square[:, 2]
    inside = corners @ np.linalg.inv(to_square[:, :2]).T
    return (*inside.min(axis=0), *inside.max(axis=0))


def _affine(adjustment: Adjustment, size: tuple[int, int]) -> np.ndarray:
    """(2,3) matrix from frame pixels to adjusted pixels."""
    images = to_adjusted(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), adjustment, size)
    return np.column_stack([images[1] - images[0], images[2] - images[0], images[0]])


def lay_over(picture: np.ndarray, heat: np.ndarray, adjustment: Adjustment, strength: float = 0.6) -> np.ndarray:
    """A frame (H,W,3) with a map (h,w) of the adjusted picture laid back over the infant."""
    from PIL import Image

    height, width = picture.shape[:2]
    matrix = _affine(adjustment, (width, height))
    large = Image.fromarray(heat.astype(np.float32)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    placed = large.transform(
        (width, height), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR, fillcolor=0
    )
    return blend_heat(picture, np.clip(np.asarray(placed), 0, 1), strength)


def hide_face(picture: np.ndarray, torso: np.ndarray, adjustment: Adjustment) -> np.ndarray:
    """A frame in which the infant's head, and everything away from the infant, cannot be recognized."""
    height, width = picture.shape[:2]
    return blur_region(blur_outside(picture, infant_area(adjustment, (width, height))), head_area(torso))


def overlay_pictures(
    video: Video,
    result: MovementResult,
    maps: ActivationMaps | None,
    face_hidden: bool,
    progress: Progress = no_progress,
) -> Iterator[np.ndarray]:
    """Every frame with the scores, and the activation during the scored seconds."""
    adjustment = adjustment_of(result)
    known = sorted(result.torso)
    starter = result.provenance.starter
    model = "starter model, not validated on patients" if starter else "research use only"
    for frame in video.frames():
        progress(frame.number, len(video), f"{frame.time_s:.0f} s")
        picture = frame.picture
        if face_hidden:
            nearest = min(known, key=lambda k: abs(k - frame.number))
            picture = hide_face(picture, np.asarray(result.torso[nearest], float), adjustment)
        words = "between scored seconds"
        for number, chunk in enumerate(result.chunks):
            if chunk.start_s <= frame.time_s < chunk.end_s:
                shares = ", ".join(f"{n} {p:.2f}" for n, p in zip(CLASS_NAMES, chunk.probabilities))
                words = f"P: {shares}"
                if maps is not None:
                    picture = lay_over(picture, maps.maps[number], adjustment)
        yield draw_lines(picture, [f"{frame.time_s:6.2f} s   {words}", model])


def write_overlay(
    path: Path | str,
    source: Path | str | Video,
    result: MovementResult,
    maps: ActivationMaps | None = None,
    face_hidden: bool = True,
    progress: Progress = no_progress,
) -> None:
    """Write the video with scores and activation as MP4; the face is hidden unless told. Raises InputError,
    OutputError.
    """
    if not result.torso:
        raise InputError(f"{result.video} was not scored, so there is nothing to lay over. {result.why_not}")
    video = open_video(source)
    write_video(path, overlay_pictures(video, result, maps, face_hidden, progress), video.frame_rate_hz or 30)

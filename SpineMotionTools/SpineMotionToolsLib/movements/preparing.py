"""From frames to the adjusted 224 x 224 pictures: background removed, trunk found, every frame placed alike.

Only the frames that the scored seconds and the trunk need are decoded to pictures and masked; the result is the same as
with all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from SpineMotionToolsLib.common.body_points import BodyPoints, find_bodies
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.movements import adjusting, background, torso
from SpineMotionToolsLib.movements.inputs import EvenFrames, Infant

PointsModel = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
BackgroundModel = Callable[[np.ndarray], np.ndarray]
REMEMBERED_MAPS = 128  # more than the looked-at frames of a minute; the memory of longer videos stays bounded


class Masking:
    """Removes the background of frames; remembers the network's maps of the first frames it has seen."""

    def __init__(self, infant: Infant, size: tuple[int, int], network: BackgroundModel | None):
        self._infant, self._network = infant, network
        self._maps: dict[int, np.ndarray] = {}
        self.coverage: list[float] = []
        self.network_runs = 0
        self._outline = _filled(infant.outline, size) if infant.background == "outline" else None

    def __call__(self, number: int, picture: np.ndarray) -> np.ndarray:
        """The BGR picture of frame `number` without its background."""
        if self._outline is not None:
            return background.apply_mask(picture, self._outline)
        if self._network is None:
            return picture
        mask = background.mask_of(self._map(number, picture), picture.shape[:2])
        if self._infant.clean:
            mask = background.clean_mask(mask)
        self.coverage.append(float(np.mean(mask > 0.5)))
        return background.apply_mask(picture, mask)

    def _map(self, number: int, picture: np.ndarray) -> np.ndarray:
        if number in self._maps:
            return self._maps[number]
        colors = picture[..., ::-1] if self._infant.rgb else picture
        found = self._network(background.network_input(colors))[0]
        self.network_runs += 1
        if len(self._maps) < REMEMBERED_MAPS:
            self._maps[number] = found
        return found


def _filled(outline, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image, ImageDraw

    image = Image.new("L", size)
    ImageDraw.Draw(image).polygon([tuple(map(float, point)) for point in outline], fill=255)
    return (np.asarray(image) > 0).astype(np.float32)


@dataclass(frozen=True)
class TrunkSearch:
    """Where the trunk was found.

    `torso`: frame of the video -> torso points (4,2) in its pixels; `looked` how many frames were looked at;
    `several` in how many of them more than one person was found.
    """

    adjustment: torso.Adjustment | None
    torso: dict[int, np.ndarray] = field(default_factory=dict)
    looked: int = 0
    several: int = 0

    @property
    def found(self) -> float:
        return len(self.torso) / max(self.looked, 1)


def find_trunk(
    frames: EvenFrames, masking: Masking, network: PointsModel, progress: Progress = no_progress
) -> TrunkSearch:
    """The trunk from body points on one masked frame a second: a rough turn first, then its place once turned."""
    samples = list(range(0, len(frames), torso.SAMPLE_STEP))
    several = looked = 0
    rough = None
    for number, picture in frames.pictures(samples):
        progress(looked, 2 * len(samples), "looking for the infant")
        looked += 1
        bodies = find_bodies(masking(number, picture), network)
        points = torso.torso_points(bodies)
        if len(points):
            rough = torso.trunk_of(points).degree
            break
    if rough is None:
        return TrunkSearch(None, looked=looked)
    found: dict[int, np.ndarray] = {}
    turned_points = []
    looked = 0
    for number, picture in frames.pictures(samples):
        progress(len(samples) + looked, 2 * len(samples), "measuring the trunk")
        looked += 1
        bodies = find_bodies(adjusting.turn(masking(number, picture), rough, enlarge=True), network)
        several += _people(bodies) > 1
        points = torso.torso_points(bodies)
        if len(points):
            turned_points.append(points)
            found[frames.frame_of(number)] = adjusting.unturned_points(points[:4], rough, frames.size)
    if not turned_points:
        return TrunkSearch(None, looked=looked, several=several)
    return TrunkSearch(torso.Adjustment(rough, torso.average_trunk(turned_points)), found, looked, several)


def _people(bodies: BodyPoints) -> int:
    return int(np.count_nonzero(bodies.persons[:, 19] >= 8))  # a few stray parts are no second person


def trunk_by_hand(frames: EvenFrames, infant: Infant) -> TrunkSearch:
    """The trunk from torso points placed by hand; raises InputError for points that do not fit."""
    placed = {}
    for frame, corners in sorted(infant.torso.items()):
        if not 0 <= int(frame) < len(frames.video):
            raise InputError(f"Torso points were placed on frame {frame}, which the video has not. Place them again.")
        corners = np.asarray(corners, float)
        away = np.abs(corners - np.divide(frames.size, 2)) / frames.size
        if (away > 1).any():  # half a picture beyond its border; further out is a mistake that would cost all memory
            raise InputError(
                f"A torso point on frame {frame} lies far outside the picture of {frames.size[0]} x {frames.size[1]} "
                "pixels. Place it again."
            )
        placed[int(frame)] = corners
    samples = [torso.with_midpoints(corners) for corners in placed.values()]
    if min(torso.trunk_of(points).length_px for points in samples) < 4:
        raise InputError("The torso points lie on top of one another. Place both shoulders and both hips.")
    rough = torso.rough_degree(samples)
    turned = [torso.with_midpoints(adjusting.turned_points(c, rough, frames.size)) for c in placed.values()]
    return TrunkSearch(torso.Adjustment(rough, torso.average_trunk(turned)), placed, len(placed))


def adjusted_pictures(
    frames: EvenFrames,
    numbers: Iterable[int],
    masking: Masking,
    adjustment: torso.Adjustment,
    progress: Progress = no_progress,
) -> Iterator[tuple[int, np.ndarray]]:
    """(number, 224 x 224 BGR picture) of the given frames, in rising order."""
    numbers = sorted(set(numbers))
    for done, (number, picture) in enumerate(frames.pictures(numbers)):
        progress(done, len(numbers), "removing the background")
        yield number, adjusting.adjust(masking(number, picture), adjustment)

"""The starter on one picture: locate the vertebrae, look at each closely, join everything to the most probable spine.

What the picture shows without any hint is found once. A correction runs the locator again, which is small, and looks
again only at vertebrae where neither the first look nor the last round's was; the others' measurements are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints import heatmaps, starter_refiner
from SpineMotionToolsLib.keypoints import starter_locator as locator
from SpineMotionToolsLib.keypoints.prediction import Hints, Prediction, Predictor, spread_of
from SpineMotionToolsLib.keypoints.preprocessing import GRID
from SpineMotionToolsLib.keypoints.shape_decoding import (
    ShapePrior,
    Spine,
    decode_shape,
    error_covariance,
    share_near,
)
from SpineMotionToolsLib.keypoints.starter_levels import LevelJudge, Levels
from SpineMotionToolsLib.keypoints.weights import LoadedNetwork

LOOKS = 4  # rounds at most in which vertebrae that have moved are looked at again
MOVED_PX = 1.5  # a corner this far from where its vertebra was looked at
RELOCATED_PX = 5.0  # a corner that the locator, knowing the hints, sees this far from where it saw it at first


@dataclass
class Looks:
    """What the refiner saw of every vertebra: corners (17, 4, 2) `at` which it looked, the corners it found there, with
    local standard deviations, and the axes (17, 2, 2) these are local to.
    """

    at: np.ndarray
    found: np.ndarray
    deviation: np.ndarray
    axes: np.ndarray

    @classmethod
    def none(cls) -> Looks:
        return cls(np.full((17, 4, 2), np.inf), np.zeros((17, 4, 2)), np.ones((17, 4, 2)), np.zeros((17, 2, 2)))

    def standardized_errors(self, vertebrae: np.ndarray) -> np.ndarray:
        """(17, 4, 2) local errors against the true `vertebrae`, divided by the deviations that were stated."""
        local = np.einsum("lij,lcj->lci", np.linalg.inv(self.axes), self.found - vertebrae)
        return local / self.deviation

    def most_probable(self, prior: ShapePrior, error_moments: np.ndarray) -> Spine:
        errors = error_covariance(self.axes, self.deviation, error_moments)
        return prior.most_probable(Spine(self.found.reshape(68, 2), errors))

    def copy(self) -> Looks:
        return Looks(*(value.copy() for value in vars(self).values()))

    def take(self, other: Looks, levels: np.ndarray) -> None:
        """What `other` saw of the vertebrae `levels`."""
        for value, seen in zip(vars(self).values(), vars(other).values()):
            value[levels] = seen[levels]


@dataclass(frozen=True)
class First:
    """What is found without hints: the locator's points (68, 2), what was seen of every vertebra, the most probable
    spine, and how likely it is against others.
    """

    located: np.ndarray
    looks: Looks
    spine: Spine
    levels: Levels


class StarterPredictor(Predictor):
    """The starter network. `decoding`: "shape", the most probable spine given all that was seen, or "windowed", the
    locator's maps alone.
    """

    def __init__(self, loaded: LoadedNetwork, engine: Engine | None = None, decoding: str | None = None):
        if decoding not in (None, "shape", "windowed"):
            raise InputError(f"The starter has no decoding {decoding!r}. Choose shape or windowed.")
        super().__init__(loaded, engine, decoding)
        facts = (loaded.network.shape_mean, loaded.network.shape_covariance, loaded.network.error_moments)
        mean, covariance, self.error_moments = (value.double().numpy() for value in facts)
        self.prior = ShapePrior(mean, covariance)
        self.judge = LevelJudge(self.prior)
        self.spread_scale = float(loaded.network.spread_scale)
        self.network.to(memory_format=torch.channels_last)  # its convolutions are then a third faster
        self._first: First | None = None

    @property
    def default_decoding(self) -> str:
        return "shape"

    def predict(self, hints: Hints | None = None, previous: Prediction | None = None) -> Prediction:
        hints = dict(sorted((hints or {}).items()))
        maps, probability = self._locate(hints, None if previous is None else previous.maps)
        if self.decoding == "windowed":
            points = locator.decode_points(maps)[0].double().cpu().numpy()
            spread = spread_of(probability, GRID, locator.TARGET_STD * locator.STRIDE).cpu().numpy()
            certain = locator.feedback(maps)[0].amax((1, 2)).cpu().numpy()
            return Prediction(points, certain, spread, maps[0].cpu().numpy())
        probability = probability.cpu().numpy()
        if hints or previous is not None:
            last = self.first.looks if previous is None or previous.looks is None else previous.looks
            looks, spine, levels = self._closely(probability, hints, last)
        else:
            looks, spine, levels = self.first.looks, self.first.spine, self.first.levels
        spread = np.sqrt((self.spread_scale * spine.spread) ** 2 + levels.variance)
        sharp = (locator.TARGET_STD * locator.STRIDE) ** 2
        peak = np.prod(sharp / (sharp + spread**2), 1) ** 0.5  # what the spread leaves of a certain map's peak
        confidence = peak * share_near(probability, spine.points)
        return Prediction(spine.points, confidence, spread, maps[0].cpu().numpy(), looks)

    def warm_up(self) -> None:
        """Look at every number of vertebrae once: oneDNN makes its code anew for each, 4 ms a number."""
        patches = torch.zeros(starter_refiner.LEVELS, 1, *starter_refiner.PATCH, device=self.device)
        levels = torch.arange(starter_refiner.LEVELS, device=self.device)
        for count in range(1, starter_refiner.LEVELS + 1):
            self._refined(patches[:count], levels[:count])

    def _take(self, image: np.ndarray) -> None:
        with torch.inference_mode(), self.engine.autocast():
            self._image = torch.from_numpy(image).to(self.device)[None]
            image = self._image.contiguous(memory_format=torch.channels_last)
            self._features = self.network.locator.encode(image)
        self._first = None

    def _locate(self, hints: Hints, previous: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The locator's logits (1, 68, 64, 32) and probabilities (68, 64, 32)."""
        with torch.inference_mode():
            hint_maps = torch.zeros(1, 68, *locator.MAP, device=self.device)
            if hints:
                places = np.array(list(hints.values())) / locator.STRIDE
                hint_maps[0, list(hints)] = heatmaps.gaussian(places, locator.MAP, locator.HINT_STD).to(self.device)
            last = torch.zeros_like(hint_maps)
            if previous is not None:
                last = locator.feedback(torch.from_numpy(previous).to(self.device)[None])
            with self.engine.autocast():
                maps = self.network.locator.decode(self._features, hint_maps, last)[0]
            maps = maps.float()
            return maps, torch.softmax(maps[0].flatten(1), -1).view(maps[0].shape)

    def _closely(self, probability: np.ndarray, hints: Hints, last: Looks) -> tuple[Looks, Spine, Levels]:
        """The most probable spine given the locator's maps and hints, after looking again where these move it.

        `last`: what the last round saw, which saves looks.
        """
        located = decode_shape(probability, self.prior, hints).points.reshape(17, 4, 2)
        relocated = _distance(located, self.first.located.reshape(17, 4, 2)) > RELOCATED_PX
        at = np.where(relocated[:, None, None], located, self.first.looks.at)
        at = self.judge.weigh(probability, at, hints).best
        looks = self.first.looks.copy()
        return looks, *self._settle(probability, looks, last, at, hints)

    @property
    def first(self) -> First:
        """What is found without hints, once a picture."""
        if self._first is None:
            probability = self._locate({}, None)[1].cpu().numpy()
            located, looks = decode_shape(probability, self.prior, {}).points, Looks.none()
            spine, levels = self._settle(probability, looks, looks, located, {})
            self._first = First(located, looks, spine, levels)
        return self._first

    def _settle(
        self, probability: np.ndarray, looks: Looks, last: Looks, points: np.ndarray, hints: Hints
    ) -> tuple[Spine, Levels]:
        """Look from `points`, and once more from where levels are likelier if they are; `looks` is changed."""
        spine = self._look(looks, last, points, hints)
        levels = self.judge.weigh(probability, spine.points, hints)
        if levels.changed:
            spine = self._look(looks, last, levels.best, hints)
            levels = self.judge.weigh(probability, spine.points, hints)
        return spine, levels

    def _look(self, looks: Looks, last: Looks, points: np.ndarray, hints: Hints) -> Spine:
        """Look from `points` at vertebrae that were not looked at there, as long as they move; `looks` is changed."""
        for _ in range(LOOKS):
            moved = _distance(points, looks.at) > MOVED_PX
            seen = moved & (_distance(points, last.at) <= MOVED_PX)
            looks.take(last, seen)
            if (unseen := np.flatnonzero(moved & ~seen)).size:
                self._refine(looks, points.reshape(17, 4, 2)[unseen], unseen)
            spine = looks.most_probable(self.prior, self.error_moments).with_given(hints)
            points = spine.points
        return spine

    def _refine(self, looks: Looks, vertebrae: np.ndarray, levels: np.ndarray) -> None:
        """Look at `vertebrae` (n, 4, 2) with the numbers `levels`."""
        with torch.inference_mode():
            at = torch.from_numpy(vertebrae).float().to(self.device)
            centers, axes = starter_refiner.frames(at)
            patches = starter_refiner.cut(self._image, centers[None], axes[None])
            local, doubt = self._refined(patches, torch.from_numpy(levels).to(self.device))
            found = starter_refiner.to_grid(local, centers, axes)
        looks.at[levels] = vertebrae
        for kept, value in ((looks.found, found), (looks.deviation, doubt.exp()), (looks.axes, axes)):
            kept[levels] = value.double().cpu().numpy()

    def _refined(self, patches: torch.Tensor, levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The refiner's local corners (n, 4, 2) and logarithms of their deviations."""
        with torch.inference_mode(), self.engine.autocast():
            return self.network.refiner(patches.contiguous(memory_format=torch.channels_last), levels)[:2]


def _distance(points: np.ndarray, vertebrae: np.ndarray) -> np.ndarray:
    """(17,) largest distance of a vertebra's corners between two sets."""
    return np.abs(points.reshape(17, 4, 2) - vertebrae).max((1, 2))

"""Are these vertebrae the ones they are taken for? A spine against the same spine with a run of levels moved by one.

Vertebrae look alike, so the commonest large mistake is a run of them, often down to an end of the spine, that is taken
for its neighbors. Every such run, one level up or down, is weighed against the spine as it was found: what the
locator's maps say at the places it would take, whether the result still is a spine, and the corners the user gave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineMotionToolsLib.keypoints.shape_decoding import Given, ShapePrior, share_near

WINDOW = 0.7  # standard deviation in cells of the soft window that tells a vertebra's place from its neighbors'
LEAST_SHARE = 0.01  # of a map that no place falls short of
SOFT_PX = 5.0  # how far off the corners of a moved run may be
GIVEN_PX = 6.0  # how far a given corner may be from where its vertebra is looked for
# What the maps and the shape count for. Maps of neighbors err together, and spines are not quite normally distributed:
# with these weights the chances are about as often right as they say (300 phantoms that the networks had not seen).
MAPS_WEIGHT, SHAPE_WEIGHT = 0.5, 0.2

AS_FOUND, FROM_ABOVE, FROM_BELOW, UPWARDS, DOWNWARDS = range(5)  # where a vertebra goes


def _choices() -> np.ndarray:
    """(273, 17) where every vertebra goes, the spine as found first, then every run of two or more moved by one.

    A vertebra goes where its neighbor in the run is; the last one goes on by its own distance from the one before.
    """
    choices = [np.full(17, AS_FOUND)]
    for first in range(17):
        for last in range(first + 1, 17):
            up, down = np.full(17, AS_FOUND), np.full(17, AS_FOUND)
            up[first : last + 1], up[first] = FROM_ABOVE, UPWARDS
            down[first : last + 1], down[last] = FROM_BELOW, DOWNWARDS
            choices += [up, down]
    return np.array(choices)


CHOICES = _choices()


@dataclass(frozen=True)
class Levels:
    """Spines (n, 17, 4, 2) that differ in their levels, the one as found first, and the chance (n,) of each."""

    spines: np.ndarray
    chances: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """(68, 2) corners of the likeliest spine."""
        return self.spines[self.chances.argmax()].reshape(68, 2)

    @property
    def changed(self) -> bool:
        """Whether another spine is likelier than the one found."""
        return bool(self.chances.argmax())

    @property
    def variance(self) -> np.ndarray:
        """(68, 2) mean square distance of the corners as found from where they might be."""
        return np.einsum("n,nlcd->lcd", self.chances, (self.spines - self.spines[0]) ** 2).reshape(68, 2)

    @property
    def doubt(self) -> np.ndarray:
        """(17,) chance that a vertebra is one of its neighbors."""
        return self.chances @ (CHOICES != AS_FOUND)


class LevelJudge:
    """Weighs spines in pixels of the grid by the shape of the training spines."""

    def __init__(self, prior: ShapePrior):
        self.mean = prior.mean
        self.precision = np.linalg.inv(prior.covariance + SOFT_PX**2 * np.eye(len(prior.mean)))

    def weigh(self, probability: np.ndarray, points: np.ndarray, given: Given) -> Levels:
        """The spine `points` (68, 2) and its moved runs, by the locator's maps (68, 64, 32) and given corners."""
        found = points.reshape(17, 4, 2)
        above, below = np.concatenate((found[:1], found[:-1])), np.concatenate((found[1:], found[-1:]))
        places = np.stack((found, above, below, 2 * found - below, 2 * found - above))
        shares = share_near(probability, places.reshape(-1, 68, 2), WINDOW).reshape(-1, 17, 4)
        seen = np.log(shares + LEAST_SHARE).mean(2)
        levels = np.arange(17)
        spines = places[CHOICES, levels]
        off = spines.reshape(len(spines), -1) - self.mean
        unlike = 0.5 * ((off @ self.precision) * off).sum(1)
        score = MAPS_WEIGHT * seen[CHOICES, levels].sum(1) - SHAPE_WEIGHT * unlike
        if given:
            away = spines.reshape(len(spines), 68, 2)[:, list(given)] - np.array(list(given.values()), float)
            score -= 0.5 * ((away / GIVEN_PX) ** 2).sum((1, 2))
        weight = np.exp(score - score.max())
        return Levels(spines, weight / weight.sum())

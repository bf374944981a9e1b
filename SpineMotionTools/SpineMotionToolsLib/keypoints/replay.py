"""Runs of a session from its chain of hints: known runs are remembered, forgotten ones made again.

A request holds the hints of every run that led to the wanted one, so that nothing depends on what the process
computed before: undo, another order, a session loaded from a file and a restarted process all give the same points.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.keypoints.history import Answer, Chain, Request

if TYPE_CHECKING:
    from SpineMotionToolsLib.keypoints.prediction import Prediction, Predictor

REMEMBERED = 48  # runs whose maps (2 MB each) are kept


class Replay:
    """A predictor with one picture and a memory; call it with a request to get its answer."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self._runs: OrderedDict[Chain, Prediction] = OrderedDict()
        self._digest = ""

    def set_image(self, grid_image: np.ndarray, digest: str) -> None:
        """Take a 512 x 256 uint8 picture; nothing happens when it is the one taken before."""
        from SpineMotionToolsLib.keypoints.preprocessing import network_image

        if digest != self._digest:
            self.predictor.set_image(network_image(grid_image))
            self._runs.clear()
            self._digest = digest

    def __call__(self, request: Request) -> Answer:
        return self.answer(request.chain)

    def answer(self, chain: Chain, progress: Progress = no_progress) -> Answer:
        """The last run of the chain."""
        began = time.perf_counter()
        known = next((n for n in range(len(chain), 0, -1) if chain[:n] in self._runs), 0)
        prediction = self._runs[chain[:known]] if known else None
        for n in range(known, len(chain)):
            progress(n - known, len(chain) - known, "Finding the keypoints")
            prediction = self.predictor.predict(dict(chain[n]), prediction)
            self._runs[chain[: n + 1]] = prediction
            while len(self._runs) > REMEMBERED:
                self._runs.popitem(last=False)
        self._runs.move_to_end(chain)
        return Answer(prediction.points, prediction.confidence, prediction.spread, time.perf_counter() - began)

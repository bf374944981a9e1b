"""The course of a training: steps, learning rate, checkpoints, a line now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

SAVED_EVERY, TOLD_EVERY = 200, 50
LAST_RATE = 1e-5


def run(
    name: str,
    network: nn.Module,
    losses: Callable[[np.random.Generator], tuple[Tensor, list[Tensor]]],
    work: Path,
    steps: int,
    peak_rate: float,
    warm_up: int,
    seed: tuple[int, int],
) -> nn.Module:
    """Train `network` in the folder `work` and return it.

    `losses` takes a step's random numbers and gives the loss, and its parts to be told. The learning rate rises for
    `warm_up` steps and comes down along a cosine. A stopped run goes on from its last checkpoint, a finished one is
    only loaded.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak_rate, weight_decay=1e-4)
    learners = {"network": network, "optimizer": optimizer}
    checkpoint, start = work / f"{name}.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        start = state["step"]
        for key, learner in learners.items():
            learner.load_state_dict(state[key])
    began, history = time.monotonic(), []
    for step in range(start, steps):
        rate = peak_rate * min(1, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + LAST_RATE
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, parts = losses(np.random.default_rng([*seed, step]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        history.append([float(part.detach()) for part in parts])
        if step % TOLD_EVERY == TOLD_EVERY - 1:
            mean = " ".join(f"{value:.3f}" for value in np.mean(history[-TOLD_EVERY:], 0))
            print(f"{name} {step + 1} of {steps}, {time.monotonic() - began:.0f} s, losses {mean}", flush=True)
        if step % SAVED_EVERY == SAVED_EVERY - 1 or step == steps - 1:
            state = {key: learner.state_dict() for key, learner in learners.items()}
            torch.save({**state, "step": step + 1}, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    return network.eval()

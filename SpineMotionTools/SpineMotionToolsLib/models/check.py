"""Does a set of weights fit: files against the published ones, tensors against the network's contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from SpineMotionToolsLib.common.catalogue import ModelEntry, find_model
from SpineMotionToolsLib.common.errors import WeightsError
from SpineMotionToolsLib.common.progress import Progress, no_progress

MEGABYTE = 1e6


@dataclass(frozen=True)
class Finding:
    """One line of a check: whether it is good, and a sentence about it."""

    good: bool
    text: str


def check_model(model_id: str, progress: Progress = no_progress) -> list[Finding]:
    """Compare every file of a set with the catalogue, and every network with its contract.

    Raises InputError for an unknown id, DependencyError when PyTorch is missing.
    """
    entry = find_model(model_id)
    steps = [*(lambda file=file: _file(entry, file) for file in entry.files), lambda: _networks(entry)]
    findings: list[Finding] = []
    for number, step in enumerate(steps):
        name = entry.files[number].name if number < len(entry.files) else "networks"
        progress(number, len(steps), f"Checking {name}")
        findings += step()
    progress(len(steps), len(steps), "")
    return findings


def _file(entry: ModelEntry, file) -> list[Finding]:
    """Size and SHA-256 of one file."""
    from SpineMotionToolsLib.common.model_store import file_problem
    from SpineMotionToolsLib.common.weights import sha256_of

    if problem := file_problem(entry, file, thorough=True):
        return [Finding(False, f"{problem}.")]
    path = entry.folder / file.name
    size = f"{path.stat().st_size / MEGABYTE:.1f} MB"
    known = (
        ("as shipped" if entry.starter else "as published")
        if file.sha256
        else "as it was added (the publisher states no checksum)"
    )
    return [Finding(True, f"{file.name}: {size}, SHA-256 {sha256_of(path)[:12]}..., {known}.")]


def _networks(entry: ModelEntry) -> list[Finding]:
    """Every network of the set, loaded as the system does it."""
    found = []
    for title, load in _LOADERS[entry.system](entry):
        try:
            found.append(Finding(True, f"{title}: {load()}"))
        except WeightsError as error:
            found.append(Finding(False, f"{title}: {error}"))
    return found


Loader = tuple[str, Callable[[], str]]


def _motion(entry: ModelEntry) -> Iterator[Loader]:
    def load() -> str:
        from SpineMotionToolsLib.motion.members import STARTER, load_ensemble

        members = len(load_ensemble(STARTER if entry.starter else entry.folder).members)
        return f"{members} networks, every tensor has the expected name and shape."

    yield "Ensemble", load


def _spinenet(entry: ModelEntry) -> Iterator[Loader]:
    from SpineMotionToolsLib.spinenet.models import PARTS, load_network, published_models, starter_models

    def load(part: str) -> str:
        models = starter_models() if entry.starter else published_models(entry.folder)
        return _said(load_network(models.sources[part], part))

    for part in PARTS:
        yield f"{part.capitalize()} network", lambda part=part: load(part)


def _keypoints(entry: ModelEntry) -> Iterator[Loader]:
    def load() -> str:
        from SpineMotionToolsLib.keypoints.weights import load_network

        found = load_network(entry.id)
        return f"{found.name}, {_said(found.network)}"

    yield "Keypoint network", load


def _gait(entry: ModelEntry) -> Iterator[Loader]:
    def load() -> str:
        from SpineMotionToolsLib.gait.models import load_model

        found = load_model(None if entry.starter else entry.paths[0])
        return f"{found.name}, {_said(found.network)}"

    yield "Classifier", load


def _movements(entry: ModelEntry) -> Iterator[Loader]:
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.movements import models

    engine = Engine("cpu").resolve()
    path = None if entry.starter else entry.paths[0]
    loaders = {
        "Classifier": models.load_classifier,
        "Background removal": models.load_background_model,
        "Body points": models.load_points_model,
    }
    only = {"movements-u2net": "Background removal", "movements-openpose": "Body points"}.get(entry.id)
    for title, load in loaders.items():
        if title == only or (only is None and (entry.starter or title == "Classifier")):
            yield title, lambda load=load: _said(load(path, engine).network)


_LOADERS = {"motion": _motion, "spinenet": _spinenet, "keypoints": _keypoints, "gait": _gait, "movements": _movements}


def _said(network) -> str:
    tensors = network.state_dict()
    count = sum(tensor.numel() for tensor in tensors.values())
    return f"{len(tensors)} tensors of {count / 1e6:.2f} million numbers, all as expected."


def text_of(entry: ModelEntry, findings: list[Finding]) -> str:
    """The check as lines to read and copy."""
    verdict = "fit" if all(finding.good for finding in findings) else "do NOT fit"
    lines = [f"{entry.title} ({entry.id}): the files {verdict}.", f"Folder: {Path(entry.folder)}"]
    return "\n".join(lines + [("ok    " if finding.good else "WRONG ") + finding.text for finding in findings])

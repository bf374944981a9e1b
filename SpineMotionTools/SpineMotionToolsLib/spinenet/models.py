"""Where the four networks come from: starter files that ship, published files of the user, or networks in memory.

A network is read when it is first needed and may be released after use, so that the published detector (532 MiB) and
grading network (242 MiB) need not be in memory together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineMotionToolsLib.common.errors import WeightsError
from SpineMotionToolsLib.common.weights import (
    check_contract,
    converted,
    load_contract,
    read_metadata,
    read_tensors,
    sha256_of,
    starter_path,
)

from .departures import FAITHFUL, RECOMMENDED, Departures
from .heatmaps import CENTROID_THRESHOLD, CORNER_THRESHOLD
from .published_weights import FOLDERS, LICENSE_NOTICE, PUBLISHED_ID, installed_folder

if TYPE_CHECKING:
    from torch import nn

PARTS = ("detection", "appearance", "context", "grading")
SMALL = dict(zip(PARTS, ("SmallDetector", "SmallAppearance", "SmallContext", "SmallGrading")))
STARTER_ID = "spinenet-starter"
STARTER_NOTICE = (
    "Starter models: small networks trained on twelve lumbar T2 scans and on made images, not validated on patients."
)
DEMONSTRATION_NOTICE = (
    "Grades of the starter models are a demonstration without clinical meaning. Measurements do not depend on them."
)
CONTRACTS = Path(__file__).with_name("contracts")


@dataclass
class Models:
    """A set of networks and how results made with it are to be read.

    `sources` holds a weight file or a network for each of `PARTS`; a set without "grading" cannot grade, and so on.
    `keep_loaded` keeps large networks in memory between scans, which needs 4 GB for the published set.
    """

    sources: dict[str, Path | nn.Module]
    id: str = "custom"
    starter: bool = False
    notices: tuple[str, ...] = ()
    departures: Departures = FAITHFUL
    corner_threshold: float = CORNER_THRESHOLD
    centroid_threshold: float = CENTROID_THRESHOLD
    keep_loaded: bool = False
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)
    _fast: dict[tuple[str, bool], Any] = field(default_factory=dict, repr=False)

    def network(self, part: str) -> nn.Module:
        """The network of a part in evaluation mode; raises WeightsError when there is none or its file is unfit."""
        if part not in self._loaded:
            source = self.sources.get(part)
            if source is None:
                raise WeightsError(f"This set of models has no {part} network. Choose the starter or a complete set.")
            network = load_network(source, part) if isinstance(source, (str, Path)) else source
            self._loaded[part] = network.eval().requires_grad_(False)
        return self._loaded[part]

    def release(self, part: str) -> None:
        """Forget a large network that was read from a file, unless `keep_loaded`; it is read again when needed."""
        if self.keep_loaded or self.starter or not isinstance(self.sources.get(part), (str, Path)):
            return
        self._loaded.pop(part, None)
        for name in [name for name in self._fast if name[0] == part]:
            del self._fast[name]

    def fast_network(self, part: str, bf16: bool = False) -> nn.Module | None:
        """The CPU's fast form of a published network, which differs by rounding; None for other networks."""
        from .fast_networks import accelerated

        if (part, bf16) not in self._fast:
            self._fast[part, bf16] = accelerated(self.network(part), bf16)
        return self._fast[part, bf16]

    @property
    def sha256(self) -> str:
        """Digests of the weight files in the order of `PARTS`, joined by commas."""
        paths = [self.sources[part] for part in PARTS if isinstance(self.sources.get(part), (str, Path))]
        return ",".join(sha256_of(path) for path in paths)

    @property
    def grades_are_demonstration(self) -> bool:
        return self.starter


def choose_models(model: str | Path | Models = "") -> Models:
    """Models by name ("", "starter", "published"), by the folder of published files, or as they are."""
    if isinstance(model, Models):
        return model
    if str(model) in ("", "starter", STARTER_ID):
        return starter_models()
    if str(model) in ("published", PUBLISHED_ID):
        return published_models(installed_folder())
    return published_models(Path(model))


def starter_models() -> Models:
    """The small networks that ship with the package; raises WeightsError when a file is missing."""
    sources = {part: starter_path(f"spinenet-{part}.safetensors") for part in PARTS}
    thresholds = json.loads(read_metadata(sources["detection"]).get("thresholds", "{}"))
    return Models(
        sources,
        STARTER_ID,
        starter=True,
        notices=(STARTER_NOTICE, DEMONSTRATION_NOTICE),
        departures=RECOMMENDED,
        corner_threshold=float(thresholds.get("corner", CORNER_THRESHOLD)),
        centroid_threshold=float(thresholds.get("centroid", CENTROID_THRESHOLD)),
    )


def published_models(folder: Path | str) -> Models:
    """The published files in a folder with the sub-folders detect-vfr, appearance, context and grading.

    As published, of several .pt files in a sub-folder the one put there last is taken (.safetensors too). Raises
    WeightsError when one of the four is missing.
    """
    folder = Path(folder)
    sources: dict[str, Path | nn.Module] = {part: _newest(folder, name) for part, name in FOLDERS.items()}
    return Models(sources, PUBLISHED_ID, notices=(LICENSE_NOTICE,))


def _newest(folder: Path, name: str) -> Path:
    fit = lambda p: p.suffix in (".pt", ".safetensors") and not p.name.startswith(".") and "encrypted" not in p.name
    files = [p for p in (folder / name).glob("*") if fit(p)]
    if not files:
        raise WeightsError(
            f"{folder} has no weight file in its sub-folder {name}. Choose the folder that holds "
            f"{', '.join(FOLDERS.values())}, or get the published weights first."
        )
    return max(files, key=lambda p: p.stat().st_ctime)


def load_network(path: Path | str, part: str) -> nn.Module:
    """A network from a published file (checked against its contract) or from a file that describes its architecture.

    Raises WeightsError for a file that does not fit.
    """
    import torch

    path = converted(Path(path))
    architecture = json.loads(read_metadata(path).get("architecture", "{}"))
    tensors = read_tensors(path)
    network = build(part, architecture)
    if not architecture:
        check_contract(tensors, load_contract(CONTRACTS / f"spinenet-{part}.json"), f"the {part} network")
    state = {name: torch.from_numpy(value) for name, value in tensors.items()}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, value)
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"{path.name} does not fit the {part} network it describes: {error}") from error
    return network


def build(part: str, architecture: Mapping[str, Any] | None = None) -> nn.Module:
    """An untrained network: the published one, or the class of `small_networks` that `architecture` names.

    `architecture`: {"class": "SmallDetector", ...its arguments}. Raises WeightsError for an unknown class, that of
    another part, or unknown arguments.
    """
    from . import networks, small_networks

    if not architecture:
        published = (
            networks.DetectionNetwork,
            networks.AppearanceNetwork,
            networks.ContextNetwork,
            networks.GradingNetwork,
        )
        return published[PARTS.index(part)]()
    options = dict(architecture)
    name = str(options.pop("class", ""))
    if name not in SMALL.values():
        raise WeightsError(f"The weight file describes an unknown network ({name!r}). Update SpineMotionTools.")
    if name != SMALL[part]:
        raise WeightsError(
            f"The weight file holds another network than the {part} network. Choose the file made for it."
        )
    known = getattr(small_networks, name)
    try:
        return known(**options)
    except TypeError as error:
        raise WeightsError(f"The weight file describes the network {name} wrongly: {error}") from error

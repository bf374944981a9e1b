"""Weight files of every published wrapping -> a network with exactly those weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.errors import WeightsError
from SpineMotionToolsLib.common.weights import (
    TensorSpec,
    catalogue,
    check_contract,
    converted,
    load_contract,
    read_metadata,
    read_tensors,
    sha256_of,
    starter_path,
)

if TYPE_CHECKING:
    from torch import nn

CONTRACTS = Path(__file__).with_name("contracts")
STARTER = "keypoints-starter"
STARTER_FILE = f"{STARTER}.safetensors"
_MICCAI_FIRST = "hint_fusion_layer.hintmap_encoder.0.weight"


@dataclass(frozen=True)
class LoadedNetwork:
    """A network in evaluation mode with its name, source file and digest; `starter`: trained on phantoms only."""

    network: nn.Module
    name: str
    file_name: str
    sha256: str
    starter: bool


def load_network(path: Path | str | None = None) -> LoadedNetwork:
    """The network of a weight file or catalogue id, told by its tensors; None: the starter that ships with the
    package.

    Reads .safetensors and PyTorch files of both published systems (`model`, `module.`, optimizer state beside it)
    without running anything in them. Raises WeightsError when the file is damaged or of no known network.
    """
    path = _path_of(path)
    tensors = read_tensors(converted(path))
    name = identify(tensors, path.name)
    network = build(name, tensors)
    return LoadedNetwork(network, name, path.name, sha256_of(path), name == STARTER)


def _path_of(which: Path | str | None) -> Path:
    if which is None or str(which) in ("starter", STARTER):
        return starter_path(STARTER_FILE)
    entry = catalogue().get(str(which))
    if entry is None:
        return Path(which)
    if not entry.paths[0].is_file():
        raise WeightsError(f"{entry.title} is not on this computer. Get {entry.paths[0].name} from {entry.source}.")
    return entry.paths[0]


def identify(tensors: Mapping[str, np.ndarray], file_name: str) -> str:
    """The network's name by the tensors that only it has; raises WeightsError when there is none."""
    if any(name.startswith("ritm_hrnet.") for name in tensors):
        return "ritm-se-hrnet32"
    if "locator.corner.weight" in tensors:
        return STARTER
    ungated = "" if any(name.startswith("iggnet.") for name in tensors) else "-noigg"
    if "cls_head.weight" in tensors:
        return f"hrnet-ocr{ungated}" if "hint_fusion_layer.scale" in tensors else "hrnet-ocr-plain"
    if "outc.conv.weight" in tensors:
        return f"unet{ungated}-old"
    if "outc.aux_head.3.weight" in tensors:
        return f"unet{ungated}"
    raise WeightsError(
        f"{file_name} holds no network this system knows (HRNet-OCR, UNet, the MICCAI 2022 network or the starter). "
        "Choose a keypoint network's file."
    )


def build(name: str, tensors: Mapping[str, np.ndarray]) -> nn.Module:
    """The named network in evaluation mode with these tensors, checked strictly; raises WeightsError."""
    import torch

    if name == STARTER:
        from SpineMotionToolsLib.keypoints.starter_network import StarterNetwork

        network: nn.Module = StarterNetwork()
        tensors = {key: _widened(value) for key, value in tensors.items()}
    else:
        from SpineMotionToolsLib.keypoints.networks import ARCHITECTURES

        network = ARCHITECTURES[name].build()
    if name == "ritm-se-hrnet32":
        check_contract(tensors, _contract("keypoints-ritm-se-hrnet32"), "the MICCAI 2022 network (ritm-se-hrnet32)")
        tensors = from_miccai(tensors)
    state = network.state_dict()
    wanted = {
        key: TensorSpec(tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()
    }
    check_contract(tensors, wanted, f"the keypoint network {name}")
    with torch.no_grad():
        for key, value in state.items():
            if key in tensors:  # batch counters may be absent
                value.copy_(torch.from_numpy(np.array(tensors[key])))
    return network.eval()


def from_miccai(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The MICCAI 2022 network's tensors under the names of `hrnet-ocr`, which computes the same.

    Its first hint convolution takes the previous maps before the hints; the halves are exchanged.
    """
    renamed = {}
    for key, value in tensors.items():
        renamed[miccai_key(key)] = np.roll(value, 68, axis=1) if miccai_key(key) == _MICCAI_FIRST else value
    return renamed


def miccai_key(key: str) -> str:
    """The `hrnet-ocr` name of a MICCAI 2022 tensor."""
    if key.startswith("hintmap_encoder.3."):
        return "hint_fusion_layer.scale"
    if key.startswith("hintmap_encoder."):
        return f"hint_fusion_layer.{key}"
    key = key.removeprefix("ritm_hrnet.")
    key = key.replace("HintEncSENet.SENet.", "iggnet.").replace("HintEncSENet.", "iggnet.")
    first, _, rest = key.partition(".")
    layer = {"conv1": "image_encoder.0", "bn1": "image_encoder.1", "conv2": "last_encoder.0", "bn2": "last_encoder.1"}
    if first in layer:
        return f"hint_fusion_layer.{layer[first]}.{rest}"
    trunk = first == "layer1" or first.startswith(("transition", "stage"))
    return f"hrnet.{key}" if trunk else key


@lru_cache(maxsize=8)
def _contract(name: str) -> dict[str, TensorSpec]:
    return load_contract(CONTRACTS / f"{name}.json")


def _widened(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float16 else value


def describe(path: Path | str) -> dict[str, str]:
    """The metadata of a .safetensors file (what it was trained on); {} for other files."""
    return read_metadata(path) if Path(path).suffix.lower() == ".safetensors" else {}

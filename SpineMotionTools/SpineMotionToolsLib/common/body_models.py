"""Body-point weight files: the published OpenPose file, or a small network of the same layers, ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineMotionToolsLib.common.errors import WeightsError
from SpineMotionToolsLib.common.weights import TensorSpec, check_contract, read_metadata, read_tensors, sha256_of

if TYPE_CHECKING:
    from SpineMotionToolsLib.common.body_network import BodyNetwork
    from SpineMotionToolsLib.common.engine import ResolvedEngine


@dataclass(frozen=True)
class BodyModel:
    """A body-point network and what it was trained on; call it with (1,3,h,w) to get limb fields and joint maps."""

    network: BodyNetwork
    sha256: str
    starter: bool
    engine: ResolvedEngine = field(repr=False)

    def __call__(self, tensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        with torch.inference_mode(), self.engine.autocast():
            fields, maps = self.network(torch.from_numpy(tensor).to(self.engine.device))
        return fields[0].float().cpu().numpy(), maps[0].float().cpu().numpy()


def load_body_model(path: Path | str, engine: ResolvedEngine) -> BodyModel:
    """The network of a weight file; the number of stages and the width come from its tensors. Raises WeightsError."""
    from SpineMotionToolsLib.common.body_network import BodyNetwork

    path = Path(path)
    tensors = read_tensors(path)
    stages, width = shape_of(tensors)
    if not stages:
        raise WeightsError(
            f"{path.name} fits no body-point network. Choose body_pose_model.pth of OpenPose, or place points by hand."
        )
    network = BodyNetwork(stages, width)
    fill(network, tensors, f"the body-point network ({path.name})")
    starter = path.suffix.lower() == ".safetensors" and read_metadata(path).get("starter") == "true"
    return BodyModel(network.to(engine.device), sha256_of(path), starter, engine)


def shape_of(tensors: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """(stages, width) of the network these tensors belong to, or (0, 0) for another network."""
    first = tensors.get("conv5_1_CPM_L1.weight")
    if first is None:
        return 0, 0
    stages = 1 + sum(1 for name in tensors if name.startswith("Mconv1_stage") and name.endswith("_L1.weight"))
    return stages, int(first.shape[0])


def fill(network, tensors: Mapping[str, np.ndarray], what: str) -> None:
    """Put tensors into a network in evaluation mode after checking names, shapes and types. Raises WeightsError."""
    import torch

    state = network.state_dict()
    contract = {k: TensorSpec(tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()}
    check_contract(tensors, contract, what)
    network.load_state_dict({k: torch.as_tensor(v) for k, v in tensors.items()}, strict=False)
    network.eval()

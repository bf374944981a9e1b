"""Weight files of the gait networks: which network a file belongs to, and how its clips are to be made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineMotionToolsLib.common.errors import InputError, WeightsError
from SpineMotionToolsLib.common.weights import (
    TensorSpec,
    check_contract,
    read_checkpoint,
    read_metadata,
    read_tensors,
    sha256_of,
    starter_path,
)

if TYPE_CHECKING:
    from torch import nn

STARTER_FILE = "gait-classifier.safetensors"
STARTER_NOTE = "Starter model, trained on drawn walkers, not validated on patients."
KINETICS_CLASSES = 400


@dataclass(frozen=True)
class ClipSettings:
    """How clips are made for a network: frames per clip, seconds per clip, side of the input, side of the person's
    square.

    `cropped` False: the network was trained on whole frames, without choosing and cropping the patient. Raises
    InputError for numbers out of bounds.
    """

    frames: int = 8
    clip_s: float = 1.0
    size_px: int = 224
    square_px: int = 512
    cropped: bool = True

    def __post_init__(self) -> None:
        for what, value, least, most in (
            ("frames of a clip", self.frames, 1, 1024),
            ("seconds of a clip", self.clip_s, 0.1, 3600),
            ("pixels of the network's input", self.size_px, 32, 2048),
            ("pixels of the patient's square", self.square_px, 32, 4096),
        ):
            if not least <= value <= most:
                raise InputError(f"The {what} cannot be {value:g}. Choose {least:g} to {most:g}.")


@dataclass(frozen=True)
class GaitModel:
    """A network with its weights and what is needed to use it; `name` is the published architecture or "starter"."""

    name: str
    network: nn.Module
    settings: ClipSettings
    sha256: str
    starter: bool
    notes: tuple[str, ...] = ()


def load_model(path: Path | str | None = None, name: str | None = None, **settings) -> GaitModel:
    """The network of a checkpoint (Lightning file, state dict or safetensors), or the starter network without `path`.

    The architecture and the clip settings come from the file; `name` (`networks.PRESETS`) and keywords of
    `ClipSettings` override them. Raises WeightsError for files that fit no network, before anything in them could run.
    """
    starter = path is None
    path = starter_path(STARTER_FILE) if starter else Path(path)
    metadata = read_metadata(path) if path.suffix.lower() == ".safetensors" else {}
    if "architecture" in metadata:
        model = _own_model(path, metadata)
    else:
        model = _published_model(path, name)
    chosen = replace(model.settings, **{key: value for key, value in settings.items() if value is not None})
    check_settings(model.name, model.network, chosen, model.settings.frames)
    return replace(model, settings=chosen, starter=model.starter or starter)


def save_model(path: Path | str, network, settings: ClipSettings, starter: bool, **notes: str) -> None:
    """Write a three-dimensional network as safetensors that `load_model` reads; `notes` are kept as metadata."""
    from SpineMotionToolsLib.common.weights import write_safetensors

    metadata = {
        "architecture": json.dumps(network.architecture.to_dict()),
        "settings": json.dumps(asdict(settings)),
        "starter": "true" if starter else "false",
        **notes,
    }
    tensors = {key: value.detach().cpu().numpy() for key, value in network.state_dict().items()}
    write_safetensors(path, tensors, metadata)


def _own_model(path: Path, metadata: Mapping[str, str]) -> GaitModel:
    from SpineMotionToolsLib.gait.networks import Architecture, VideoNet

    try:
        network = VideoNet(Architecture.from_dict(json.loads(metadata["architecture"])))
        settings = ClipSettings(**json.loads(metadata["settings"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"The description in {path.name} is damaged. Get the file again.") from error
    starter = metadata.get("starter") == "true"
    _fill(network, read_tensors(path, strip_prefixes=("module.", "model.")), path.name)
    return GaitModel("starter" if starter else "own", network, settings, sha256_of(path), starter)


def _published_model(path: Path, name: str | None) -> GaitModel:
    from SpineMotionToolsLib.gait import networks

    options: dict[str, Any] = {}
    if path.suffix.lower() != ".safetensors":
        content = read_checkpoint(path)
        options = _options(content)
    tensors = read_tensors(path, strip_prefixes=("module.", "model."))
    rows = next((t.shape[0] for key, t in tensors.items() if key.endswith("proj.weight")), None)
    if rows == KINETICS_CLASSES:
        raise WeightsError(
            f"{path.name} holds Kinetics-400 weights, which know 400 actions but nothing of gait. "
            "Fine-tune them first (gait.training), or choose a gait checkpoint."
        )
    frames = int(options.get("uniform_temporal_subsample_num") or 0)
    found, stacked = name or recognize(tensors, options), 0
    if found is None:
        raise WeightsError(f"{path.name} fits no gait network. Choose a checkpoint of the gait system.")
    if found == "early_fusion":
        stacked = frames = tensors["resnet_model.conv1.weight"].shape[1] // 3
    network = _built(found, stacked)
    _fill(network, tensors, path.name)
    least = networks.least_frames(found, stacked)
    settings = ClipSettings(
        frames=frames or max(8, least),
        clip_s=float(options.get("clip_duration") or 1.0),
        size_px=int(options.get("img_size") or 224),
        cropped=bool(options.get("pre_process_flag", True)),
    )
    return GaitModel(found, network, settings, sha256_of(path), False)


def _options(content: Any) -> dict[str, Any]:
    """The training options a Lightning file carries (paths of the training computer are not used or shown)."""
    saved = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    saved = saved.get("hparams", saved) if isinstance(saved, Mapping) else None
    return dict(saved) if isinstance(saved, Mapping) else {}


def recognize(tensors: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str | None:
    """The published name of the network these tensors belong to, or None.

    Networks with equal tensors (CSN-101 from the hub or from scratch) are told apart by the training options.
    """
    if "resnet_model.conv1.weight" in tensors:
        if "last_layer.weight" in tensors:
            return "late_fusion"
        return "single_frame" if tensors["resnet_model.conv1.weight"].shape[1] == 3 else "early_fusion"
    block = "blocks.1.res_blocks.0.branch2.conv_b."
    if f"{block}conv_t.weight" in tensors:
        return "r2plus1d_r50"
    if "blocks.0.conv.conv_t.weight" in tensors:
        return "x3d_m"
    if "blocks.0.conv.weight" not in tensors or f"{block}weight" not in tensors:
        return None
    time_kernel = tensors["blocks.0.conv.weight"].shape[2]
    if "blocks.6.proj.weight" in tensors:
        return {1: "c2d_r50", 5: "i3d_r50"}.get(time_kernel)
    depth = {6: 50, 23: 101, 36: 152}.get(len({k.split(".")[3] for k in tensors if k.startswith("blocks.3.res_")}))
    if tensors[f"{block}weight"].shape[1] == 1:
        scratch = depth == 50 or (options or {}).get("transfor_learning") is False
        return {50: "csn_r50_scratch", 101: "csn_r101_scratch" if scratch else "csn_r101"}.get(depth)
    return (
        "slow_r50"
        if time_kernel == 1
        else {50: "resnet50_scratch", 101: "resnet101_scratch"}.get(depth, "resnet152_scratch")
    )


def _fill(network: nn.Module, tensors: Mapping[str, Any], what: str) -> None:
    import torch

    state = network.state_dict()
    contract = {k: TensorSpec(tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in state.items()}
    check_contract(tensors, contract, f"the gait network ({what})")
    # Strict names were checked above; counters of batch normalization may be missing.
    network.load_state_dict({k: torch.as_tensor(v) for k, v in tensors.items()}, strict=False)
    network.eval()


def _built(name: str, frames: int) -> nn.Module:
    from SpineMotionToolsLib.gait import networks

    try:
        return networks.build(name, frames)
    except KeyError as error:
        known = ", ".join([*networks.PRESETS, "single_frame", "early_fusion", "late_fusion"])
        raise WeightsError(f"The network {name!r} is unknown. Choose one of {known}.") from error


def check_settings(name: str, network: nn.Module, settings: ClipSettings, stacked: int) -> None:
    """Raise WeightsError for clips too short or too small for a network; `stacked`: the frames of "early_fusion"."""
    from SpineMotionToolsLib.gait import networks

    if isinstance(network, networks.VideoNet):
        least, side = network.architecture.least_frames, network.architecture.least_side_px
    else:
        least, side = networks.least_frames(name, stacked), 32
    if settings.size_px < side:
        raise WeightsError(
            f"The network {name} needs pictures of at least {side} pixels, and {settings.size_px} were asked for."
            f" Set the side of the input to {side} or more."
        )
    if settings.frames < least or (name == "early_fusion" and settings.frames != least):
        raise WeightsError(
            f"The network {name} needs {least} frames a clip, and {settings.frames} were asked for. "
            f"Set the frames per clip to {least} or more."
        )


def new_network(name: str, frames: int = 8, start_from: Path | str | None = None) -> nn.Module:
    """A network to be trained: from scratch, or with the trunk of a Kinetics-400 file and a new head.

    Raises WeightsError when the file's trunk does not fit.
    """
    import torch

    from SpineMotionToolsLib.gait import networks

    network = _built(name, frames)
    if start_from is None:
        if isinstance(network, networks.VideoNet):
            networks.initialise_from_scratch(network)
        return network
    tensors = read_tensors(start_from, strip_prefixes=("module.", "model."))
    state = network.state_dict()
    trunk = {k: v for k, v in tensors.items() if "proj." not in k and not k.endswith(("fc.weight", "fc.bias"))}
    wanted = {k for k in state if "proj." not in k and not k.endswith(("fc.weight", "fc.bias", "num_batches_tracked"))}
    bad = [k for k in sorted(wanted) if k not in trunk or tuple(trunk[k].shape) != tuple(state[k].shape)]
    if bad:
        raise WeightsError(
            f"{Path(start_from).name} does not fit the trunk of {name} ({len(bad)} tensors, first {bad[0]}). "
            "Choose the Kinetics-400 file of this network."
        )
    network.load_state_dict({k: torch.as_tensor(trunk[k]) for k in trunk if k in state}, strict=False)
    return network

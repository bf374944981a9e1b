"""The gait networks against their contracts, checkpoints read as data, and faster inference with equal results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError, WeightsError
from SpineMotionToolsLib.gait import models, networks
from SpineMotionToolsLib.gait.inference import faster
from SpineMotionToolsLib.gait.models import ClipSettings, load_model, new_network, recognize, save_model
from SpineMotionToolsLib.gait.starter_training import architecture

CONTRACTS = sorted((Path(networks.__file__).parent / "contracts").glob("gait-*.json"))


def published_name(path: Path) -> tuple[str, int]:
    name = path.stem.removeprefix("gait-")
    return ("early_fusion", 16) if name == "early_fusion_t16" else (name, 8)


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda p: p.stem)
def test_state_dict_equals_the_contract_and_is_recognized(path):
    contract = json.loads(path.read_text(encoding="utf-8"))
    with torch.device("meta"):
        state = networks.build(*published_name(path)).state_dict()
    assert {f"model.{k}": list(v.shape) for k, v in state.items()} == {k: v["shape"] for k, v in contract.items()}
    assert recognize(state) == published_name(path)[0]


def small_network() -> networks.VideoNet:
    torch.manual_seed(0)
    return networks.VideoNet(architecture()).eval()


@pytest.mark.parametrize("family", ["resnet", "csn", "r2plus1d", "x3d"])
def test_folded_and_half_precision_networks_give_the_same_scores(family):
    from dataclasses import replace

    torch.manual_seed(1)
    small = replace(architecture(), family=family, head_kernel=(2, 2, 2), head_width=32 if family == "x3d" else 0)
    network = networks.VideoNet(small)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    network.eval()
    clip = torch.randn(2, 3, 8, 80, 80)
    with torch.inference_mode():
        plain = network(clip)
        folded = faster(network, Engine("cpu", "float32").resolve())(clip)
        half = faster(network, Engine("cpu", "bfloat16").resolve())(clip)
    assert torch.allclose(plain, folded, atol=1e-4)
    assert (torch.sigmoid(plain) - torch.sigmoid(half)).abs().max() < 0.01


def test_larger_pictures_are_averaged_and_too_few_frames_are_told(tmp_path):
    network = small_network()
    assert network(torch.zeros(1, 3, 10, 144, 128)).shape == (1, 1)
    path = tmp_path / "own.safetensors"
    save_model(path, network, ClipSettings(frames=8, size_px=112), starter=False)
    with pytest.raises(WeightsError, match="needs 8 frames"):
        load_model(path, frames=4)
    with pytest.raises(WeightsError, match="at least [0-9]+ pixels"):
        load_model(path, size_px=32)


@pytest.mark.parametrize(
    "settings",
    [{"clip_s": 0}, {"clip_s": -1}, {"clip_s": float("nan")}, {"clip_s": 1e-9}, {"frames": 0}, {"size_px": 0}],
)
def test_clip_settings_out_of_bounds_are_told(settings):
    with pytest.raises(InputError, match="cannot be"):
        load_model(**settings)


def test_least_frames_and_sides_are_those_the_heads_accept():
    frames = {name: preset.least_frames for name, preset in networks.PRESETS.items()}
    published = {"slow_r50": 8, "resnet50_scratch": 4, "csn_r101": 25, "csn_r50_scratch": 1, "r2plus1d_r50": 13}
    assert frames | published | {"x3d_m": 16, "c2d_r50": 8, "i3d_r50": 8} == frames
    assert networks.PRESETS["slow_r50"].least_side_px == 193
    network = small_network()
    time, side = network.architecture.least_frames, network.architecture.least_side_px
    assert network(torch.zeros(1, 3, time, side, side)).shape == (1, 1)
    for shape in ((time - 1, side, side), (time, side - 1, side)):
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 3, *shape))


def test_own_file_keeps_architecture_settings_and_scores(tmp_path):
    network, settings = small_network(), ClipSettings(frames=12, clip_s=1.5, size_px=112)
    save_model(tmp_path / "own.safetensors", network, settings, starter=True)
    model = load_model(tmp_path / "own.safetensors")
    clip = torch.randn(1, 3, 12, 112, 112)
    assert model.settings == settings
    assert model.starter
    assert torch.equal(model.network(clip), network(clip))


def lightning_file(path: Path, state: dict, **options) -> Path:
    """A checkpoint as Lightning 1.x writes it, with the training options in a Namespace."""
    hparams = argparse.Namespace(uniform_temporal_subsample_num=16, clip_duration=2, img_size=224, **options)
    content = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "1.9.5",
        "state_dict": {f"model.{k}": v for k, v in state.items()},
        "hparams_name": "kwargs",
        "hyper_parameters": {"hparams": hparams},
    }
    torch.save(content, path)
    return path


def test_lightning_checkpoint_tells_network_and_clips(tmp_path):
    state = networks.build("x3d_m").state_dict()
    path = lightning_file(tmp_path / "epoch=3-val_acc=0.7.ckpt", state, data_path="/home/somebody/secret")
    model = load_model(path)
    assert model.name == "x3d_m"
    assert (model.settings.frames, model.settings.clip_s) == (16, 2.0)
    assert "somebody" not in repr(model.settings)
    assert load_model(path, frames=32).settings.frames == 32


def test_bare_state_dicts_are_read(tmp_path):
    state = networks.build("x3d_m").state_dict()
    for name, prefix in (("bare.pth", ""), ("prefixed.pth", "model."), ("parallel.pth", "module.")):
        torch.save({f"{prefix}{k}": v for k, v in state.items()}, tmp_path / name)
        assert load_model(tmp_path / name).name == "x3d_m"


def test_wrong_and_incomplete_checkpoints_are_told(tmp_path):
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="fits no gait network"):
        load_model(tmp_path / "other.pth")
    state = networks.build("x3d_m").state_dict()
    state.pop("blocks.5.proj.weight")
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match="missing"):
        load_model(tmp_path / "part.pth")
    state = networks.build("x3d_m").state_dict()
    state["blocks.5.proj.weight"], state["blocks.5.proj.bias"] = torch.zeros(400, 2048), torch.zeros(400)
    torch.save({"model_state": state}, tmp_path / "kinetics.pyth")
    with pytest.raises(WeightsError, match="Kinetics-400"):
        load_model(tmp_path / "kinetics.pyth")
    with pytest.raises(WeightsError, match="does not exist"):
        load_model(tmp_path / "nothing.ckpt")


def test_kinetics_file_starts_a_network(tmp_path):
    state = networks.build("x3d_m").state_dict()
    state["blocks.5.proj.weight"], state["blocks.5.proj.bias"] = torch.zeros(400, 2048), torch.zeros(400)
    torch.save({"model_state": state}, tmp_path / "kinetics.pyth")
    network = new_network("x3d_m", start_from=tmp_path / "kinetics.pyth")
    assert torch.equal(
        network.blocks[1].res_blocks[0].branch1_conv.weight, state["blocks.1.res_blocks.0.branch1_conv.weight"]
    )
    assert network.blocks[5].proj.weight.shape == (1, 2048)
    with pytest.raises(WeightsError, match="does not fit the trunk"):
        new_network("slow_r50", start_from=tmp_path / "kinetics.pyth")


class Malice:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_code_in_a_checkpoint_is_refused_unrun(tmp_path):
    marker = tmp_path / "it ran"
    torch.save({"state_dict": {"model.x": torch.zeros(1)}, "callbacks": Malice(marker)}, tmp_path / "bad.ckpt")
    with pytest.raises(WeightsError, match="nothing in it was run"):
        load_model(tmp_path / "bad.ckpt")
    assert not marker.exists()


def test_starter_file_is_small_and_marked():
    path = models.starter_path(models.STARTER_FILE)
    assert path.stat().st_size <= 3_000_000
    model = load_model()
    assert model.starter
    assert np.isfinite(sum(p.abs().sum().item() for p in model.network.parameters()))

"""Networks: contracts, wrappings, recognition, and fast predictions equal to the plain ones."""

from __future__ import annotations

import pickle
from types import ModuleType

import numpy as np
import pytest
import torch
from SpineMotionToolsLib.common import packed as packed_module
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError, WeightsError
from SpineMotionToolsLib.common.fast_layers import FastBasicBlock, Maker
from SpineMotionToolsLib.common.weights import load_contract, write_safetensors
from SpineMotionToolsLib.keypoints import heatmaps, prediction, weights
from SpineMotionToolsLib.keypoints.fast_networks import accelerated
from SpineMotionToolsLib.keypoints.hrnet import BasicBlock, resize
from SpineMotionToolsLib.keypoints.networks import ARCHITECTURES, Gating, HintFusion
from SpineMotionToolsLib.keypoints.replay import Replay
from SpineMotionToolsLib.keypoints.starter_network import StarterNetwork

from Testing.keypoint_samples import picture

CPU = Engine(device="cpu", precision="float32", threads=1)


def random_network(name: str, seed: int = 3) -> torch.nn.Module:
    torch.manual_seed(seed)
    network = ARCHITECTURES[name].build()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def unet():
    """A small stand-in would not do: predictions are compared on the published network with random weights."""
    return random_network("unet")


def as_loaded(network, name: str) -> weights.LoadedNetwork:
    return weights.LoadedNetwork(network, name, "made.pth", "0" * 64, False)


@pytest.mark.parametrize("name", [name for name, one in ARCHITECTURES.items() if one.contract])
def test_parameter_names_and_shapes_are_those_of_the_contract(name):
    with torch.device("meta"):
        state = ARCHITECTURES[name].build().state_dict()
    contract = load_contract(weights.CONTRACTS / f"{ARCHITECTURES[name].contract}.json")
    renamed = {weights.miccai_key(key): spec for key, spec in contract.items()} if "ritm" in name else contract
    assert {key: tuple(value.shape) for key, value in state.items()} == {k: s.shape for k, s in renamed.items()}


@pytest.mark.parametrize(("name", "count"), [("unet-old", 32_543_973), ("unet-noigg-old", 31_053_461)])
def test_old_heads_have_the_documented_size(name, count):
    with torch.device("meta"):
        network = ARCHITECTURES[name].build()
    assert sum(value.numel() for value in network.parameters()) == count
    assert any(isinstance(module, torch.nn.ReLU) for module in network.down1.modules())


def test_networks_are_told_by_their_tensors():
    with torch.device("meta"):
        for name, architecture in ARCHITECTURES.items():
            if name == "ritm-se-hrnet32":
                continue
            assert weights.identify(architecture.build().state_dict(), "a.pth") == name
        assert weights.identify(StarterNetwork().state_dict(), "a") == weights.STARTER
    assert weights.identify({"ritm_hrnet.conv1.weight": 0}, "a") == "ritm-se-hrnet32"
    with pytest.raises(WeightsError, match="no network this system knows"):
        weights.identify({"fc.weight": 0}, "a.pth")


def test_the_miccai_order_of_previous_and_hint_is_exchanged():
    value = np.arange(136.0)[None, :, None, None]
    moved = weights.from_miccai({"hintmap_encoder.0.weight": value})["hint_fusion_layer.hintmap_encoder.0.weight"]
    assert np.array_equal(moved[0, :68], value[0, 68:])
    assert np.array_equal(moved[0, 68:], value[0, :68])


def test_published_wrappings_load(tmp_path, monkeypatch, unet):
    """`module.` before every name, NumPy scalars and a Munch beside the weights, without running anything."""
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "models"))
    module = ModuleType("munch")
    exec("class Munch(dict): pass", module.__dict__)
    monkeypatch.setitem(__import__("sys").modules, "munch", module)
    module.Munch.__module__ = "munch"
    state = {f"module.{key}": value for key, value in unet.state_dict().items() if "num_batches" not in key}
    content = {"model": state, "epoch": 7, "metric": module.Munch(best=1.5), "lowest_MRE": np.float64(59.5)}
    torch.save(content, tmp_path / "model.pth")
    loaded = weights.load_network(tmp_path / "model.pth")
    assert loaded.name == "unet"
    assert not loaded.starter
    for key, value in loaded.network.state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(value, unet.state_dict()[key]), key
    again = weights.load_network(next((tmp_path / "models" / "converted").glob("*.safetensors")))
    assert again.name == "unet"


def test_wrong_and_dangerous_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "models"))

    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Evil()}))
    torch.save({"model": {"fc.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello", encoding="utf-8")
    for name in ("evil.pth", "other.pth", "text.pth", "missing.pth"):
        with pytest.raises(WeightsError):
            weights.load_network(tmp_path / name)


def test_weights_that_miss_a_tensor_are_refused(tmp_path):
    tensors = {key: value.numpy() for key, value in StarterNetwork().state_dict().items()}
    tensors.pop("locator.stem.1.0.weight")
    write_safetensors(tmp_path / "a.safetensors", tensors)
    with pytest.raises(WeightsError, match="locator.stem.1.0.weight"):
        weights.load_network(tmp_path / "a.safetensors")


def plain(network, image, hints, previous, size):
    """The published loop's step: all heatmaps dense, the whole network, nothing kept."""
    hint = torch.zeros(1, 68, *size)
    for keypoint, point in hints.items():
        hint[0, keypoint] = heatmaps.gaussian(np.array(point), size)
    with torch.inference_mode():
        logits, _ = network(hint, previous, torch.from_numpy(image)[None].repeat(1, 3, 1, 1))
    probability = torch.sigmoid(logits)
    return heatmaps.expectation(probability)[0].numpy(), probability


@pytest.mark.parametrize(("name", "size"), [("unet", (128, 64)), ("hrnet-ocr", (96, 64))])
def test_predictions_equal_the_plain_path(name, size, unet):
    network = unet if name == "unet" else random_network(name)
    image = (picture(size).astype(np.float32) / 127.5 - 1)[None]
    predictor = prediction.PublishedPredictor(as_loaded(network, name), CPU)
    predictor.set_image(image)
    hints, last, previous = {}, None, torch.zeros(1, 68, *size)
    for step in ({}, {5: (40.2, 20.5)}, {60: (100.0, 33.0), 5: (41.0, 20.0)}, {0: (-3.0, 70.0)}):
        hints |= step
        found = predictor.predict(hints, last)
        wanted, previous = plain(network, image, hints, previous, size)
        last = found
        assert np.abs(found.points - wanted).max() < 0.01
        assert np.allclose(torch.sigmoid(torch.from_numpy(predictor.full_logits(found))), previous[0], atol=1e-4)
        assert np.allclose(predictor.probability(found.maps), previous[0], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("unet", (132, 100)),
        ("unet-noigg", (64, 128)),
        ("unet-old", (76, 92)),
        ("hrnet-ocr", (132, 100)),
        ("hrnet-ocr-noigg", (64, 96)),
        ("hrnet-ocr-plain", (100, 36)),
    ],
)
def test_the_fast_form_equals_the_network_whose_logits_are_wide_apart(name, size):
    """At sizes that neither halve evenly nor fill whole tiles; the last layer's weights are enlarged to logits of
    the size that trained networks have.
    """
    network = random_network(name, seed=size[0])
    last = {"unet-old": "outc.conv", "unet": "outc.aux_head.3"}.get(name.removesuffix("-noigg"), "cls_head")
    network.get_submodule(last).weight.data *= 50
    image, given = torch.rand(1, 3, *size) * 2 - 1, [3, 40, 67]
    hint, previous = torch.zeros(1, 68, *size), torch.rand(1, 68, *size)
    hint[0, given] = heatmaps.gaussian(np.random.default_rng(size[1]).uniform(0, size, (3, 2)), size)
    with torch.inference_mode():
        want = torch.sigmoid(network(hint, previous, image)[0])
        fast = accelerated(network)
        for keypoints in (given, None):  # hints of some channels, or of all
            mixed = None
            if ARCHITECTURES[name].interactive:
                mixed = network.hint_fusion_layer.hintmap_encoder[0](torch.cat((hint, previous), 1))
            fused = fast.fuse(mixed, fast.encode_image(image))
            small = resize(hint if keypoints is None else hint[:, keypoints], fused.shape[-2:])
            got = torch.sigmoid(resize(fast.maps(fused, small, keypoints)[0], size))
            assert want.std() > 0.1
            assert torch.allclose(got, want, atol=2e-4)
            assert (heatmaps.expectation(got) - heatmaps.expectation(want)).abs().max() < 0.01


def test_without_packed_operations_the_results_are_the_same(monkeypatch):
    """As with a PyTorch that has no oneDNN."""
    network, x = random_network("unet"), torch.rand(1, 64, 32, 32)
    with torch.inference_mode():
        packed = accelerated(network).maps(x, torch.zeros(1, 0, 32, 32), [])[0]
        monkeypatch.setattr(packed_module, "can_pack", lambda: False)
        assert torch.allclose(accelerated(network).maps(x, torch.zeros(1, 0, 32, 32), [])[0], packed, atol=1e-5)


def test_a_residual_block_is_the_same_packed_or_not(monkeypatch):
    torch.manual_seed(0)
    block, x = BasicBlock(32).eval(), torch.randn(1, 32, 9, 7)
    with torch.inference_mode():
        want = block(x).movedim(1, -1)
        for can_pack in (packed_module.can_pack, lambda: False):
            monkeypatch.setattr(packed_module, "can_pack", can_pack)
            fast = FastBasicBlock(block, Maker())
            for _ in range(2):  # the first call packs
                assert torch.allclose(fast(x.movedim(1, -1).clone()), want, atol=1e-5)
            assert torch.allclose(fast(x.movedim(1, -1).contiguous()), want, atol=1e-5)


def test_predictions_repeat_and_do_not_depend_on_what_came_before(unet):
    size = (64, 64)
    images = [(picture(size, seed).astype(np.float32) / 127.5 - 1)[None] for seed in (0, 1)]
    predictor = prediction.PublishedPredictor(as_loaded(unet, "unet"), CPU)
    predictor.set_image(images[0])
    first = predictor.predict({3: (20.0, 30.0)})
    predictor.predict({9: (1.0, 2.0)}, first)
    predictor.set_image(images[1])
    predictor.predict()
    predictor.set_image(images[0])
    again = predictor.predict({3: (20.0, 30.0)})
    assert np.array_equal(first.points, again.points)
    assert np.array_equal(first.maps, again.maps)


def test_a_replayed_chain_gives_the_same_points():
    torch.manual_seed(0)
    loaded = weights.LoadedNetwork(StarterNetwork().eval(), weights.STARTER, "a", "", True)
    gray = picture((512, 256))
    chain = tuple(tuple((k, (10.0 * k + 5, 3.0 * k + 9)) for k in range(n)) for n in range(5))
    step_by_step = Replay(prediction.make_predictor(loaded, CPU))
    step_by_step.set_image(gray, "a")
    for n in range(1, 6):
        answer = step_by_step.answer(chain[:n])
    at_once = Replay(prediction.make_predictor(loaded, CPU))
    at_once.set_image(gray, "a")
    assert np.array_equal(at_once.answer(chain).points, answer.points)
    assert len(step_by_step._runs) == 5
    back = step_by_step.answer(chain[:2])
    assert np.array_equal(at_once.answer(chain[:2]).points, back.points)


def test_the_gate_with_left_out_channels_equals_the_full_one():
    torch.manual_seed(0)
    gate = Gating(64, 64).eval()
    features, hint = torch.randn(1, 64, 32, 16), torch.zeros(1, 68, 32, 16)
    hint[0, [4, 50]] = torch.rand(2, 32, 16)
    with torch.inference_mode():
        assert torch.allclose(gate(features, hint), gate(features, hint[:, [4, 50]], [4, 50]), atol=1e-6)
        none = torch.zeros(1, 0, 32, 16)
        assert torch.allclose(gate(features, torch.zeros_like(hint)), gate(features, none, []), atol=1e-6)


def test_folding_batch_norms_changes_nothing():
    torch.manual_seed(0)
    network = HintFusion().eval()
    network.image_encoder[1].running_mean.normal_()
    inputs = (torch.rand(1, 68, 32, 32), torch.rand(1, 68, 32, 32), torch.rand(1, 3, 32, 32))
    with torch.inference_mode():
        before = network(*inputs)
        assert torch.allclose(prediction.fold_batch_norm(network)(*inputs), before, atol=1e-5)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_too_small_inputs_and_resizing():
    x = torch.rand(1, 2, 8, 8)
    assert resize(x, (8, 8)) is x
    with torch.device("meta"), pytest.raises(InputError, match="at least 64"):
        ARCHITECTURES["unet"].build()(None, None, torch.zeros(1, 3, 32, 32))


def test_bfloat16_is_given_up_when_it_moves_points():
    """A network with random weights has flat maps, whose peaks jump with any rounding."""
    torch.manual_seed(0)
    loaded = weights.LoadedNetwork(StarterNetwork().eval(), weights.STARTER, "a", "", True)
    image = (picture((512, 256)).astype(np.float32) / 127.5 - 1)[None]
    rounded = prediction.make_predictor(loaded, Engine(device="cpu", precision="bfloat16", threads=1))
    rounded.set_image(image)
    exact = prediction.make_predictor(loaded, CPU)
    exact.set_image(image)
    assert np.abs(rounded.predict().points - exact.predict().points).max() <= prediction.LARGEST_ROUNDING_PX
    if not rounded.engine.bf16:
        assert any("float32 was used" in note for note in rounded.engine.notes)
    assert prediction.make_predictor(loaded, Engine(device="cpu")).engine.precision == "float32"

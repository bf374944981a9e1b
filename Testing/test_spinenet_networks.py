"""Networks: names as in the contracts, the fast forms equal the plain ones, published files load, heads train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from SpineMotionToolsLib.common import packed, winograd
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError, WeightsError
from SpineMotionToolsLib.common.fast_layers import Maker
from SpineMotionToolsLib.common.weights import load_contract, write_safetensors
from SpineMotionToolsLib.common.winograd import WinogradConv
from SpineMotionToolsLib.spinenet import grouping, inference, models, networks, patches, training
from SpineMotionToolsLib.spinenet.departures import FAITHFUL
from SpineMotionToolsLib.spinenet.detection_targets import make_targets
from SpineMotionToolsLib.spinenet.fast_networks import FastGrading, FastUpBlock, accelerated
from SpineMotionToolsLib.spinenet.grades import HEADS
from torch import nn

from Testing.golden.seeded_weights import fill_torch


@pytest.mark.parametrize("part", models.PARTS)
def test_state_dict_equals_the_contract(part):
    with torch.device("meta"):
        state = models.build(part).state_dict()
    contract = load_contract(models.CONTRACTS / f"spinenet-{part}.json")
    assert {name: tuple(value.shape) for name, value in state.items()} == {n: s.shape for n, s in contract.items()}


@pytest.fixture(params=["packed", "plain"])
def products(request, monkeypatch):
    """Convolutions by oneDNN's packed operations, and as with a PyTorch that has none."""
    if request.param == "plain":
        monkeypatch.setattr(packed, "can_pack", lambda: False)


@pytest.mark.parametrize("fewest_tiles", [1, 1000], ids=["in parts", "at once"])
@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("shape", [(3, 7, 7), (1, 12, 9), (2, 30, 17)])
def test_winograd_equals_direct_convolution(tile, shape, fewest_tiles, products, monkeypatch):
    monkeypatch.setattr(winograd, "FEWEST_TILES", fewest_tiles)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 0)
    n, h, w = shape
    conv = nn.Conv2d(20, 12, 3, padding=1)
    x = torch.randn(n, 20, h, w)
    with torch.no_grad():
        want = conv(x).relu()
        fast = WinogradConv(conv.weight, conv.bias, tile=tile)
        parts = x.movedim(1, -1).split([15, 5], dim=-1)
        for _ in range(2):  # the second call finds the working memory of the first
            got = fast(*parts).movedim(-1, 1)
            assert torch.allclose(got, want, atol=2e-5)


def test_winograd_keeps_the_order_of_its_filters_when_the_batch_changes(products, monkeypatch):
    monkeypatch.setattr(winograd, "FEWEST_TILES", 8)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 0)
    conv = nn.Conv2d(20, 12, 3, padding=1)
    counts = []
    with torch.no_grad():
        fast = WinogradConv(conv.weight, conv.bias)
        plainly = fast.products.add_to_
        fast.products.add_to_ = lambda total, x, **how: counts.append(x.shape) or plainly(total, x, **how)
        for shape in ((3, 20, 8, 8), (1, 20, 8, 8), (7, 20, 8, 8), (2, 20, 7, 11), (2, 20, 15, 13), (1, 20, 3, 70)):
            x = torch.randn(shape)
            assert torch.allclose(fast(x.movedim(1, -1)).movedim(-1, 1), conv(x).relu(), atol=2e-5)
    assert len(set(counts[:-1])) == 1  # a row of 18 tiles is more than the first call's 8
    assert counts[-1][1] == 18


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 2e-5), (True, 0.1)])
@pytest.mark.parametrize("fewest_tiles", [1, 1000], ids=["in parts", "at once"])
def test_winograd_in_depth_and_after_another_size(fewest_tiles, bf16, tolerance, products, monkeypatch):
    monkeypatch.setattr(winograd, "FEWEST_TILES", fewest_tiles)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 0)
    torch.manual_seed(0)
    conv = nn.Conv3d(8, 6, 3, padding=1)
    with torch.no_grad():
        fast = WinogradConv(conv.weight, conv.bias, slope=None, bf16=bf16)
        for shape in ((2, 8, 5, 9, 13), (1, 8, 1, 12, 10), (2, 8, 5, 9, 13), (2, 8, 5, 10, 14)):
            x = torch.randn(shape)
            assert torch.allclose(fast(x.movedim(1, -1)).movedim(-1, 1), conv(x), atol=tolerance)


def test_fast_up_block_equals_the_plain_one():
    block = fill_torch(networks.UpBlock(128, 96, 32), 0.7).eval()
    x, skip = torch.rand(2, 128, 6, 6), torch.rand(2, 32, 12, 12)
    with torch.no_grad():
        got = FastUpBlock(block, Maker())(x.movedim(1, -1), skip.movedim(1, -1)).movedim(-1, 1)
        assert torch.allclose(got, block(x, skip), atol=1e-4)


@pytest.mark.slow
def test_fast_grading_equals_the_plain_one_and_bf16_is_near():
    network = fill_torch(networks.GradingNetwork(), 0.7).eval()
    x = torch.rand(1, 1, 5, 48, 64)
    with torch.no_grad():
        want = torch.cat(network(x), 1)
        assert torch.allclose(torch.cat(FastGrading(network)(x), 1), want, atol=1e-4)
        assert torch.allclose(torch.cat(FastGrading(network, bf16=True)(x), 1), want, atol=0.05)


def test_a_disc_that_rounds_badly_has_others_decided_again(monkeypatch):
    exact = [np.array([[0.0, 10.0], [0.0, 10.0], [0.0, 10.0]]), np.array([[0.0, -0.1], [-0.5, 0.0], [5.0, 0.0]])]
    fast = [exact[0], exact[1] + [[0.0, 0.11], [0.6, 0.0], [0.0, 0.0]]]  # the first two classes turned round
    answers = {"fast": fast, "exact": exact}
    asked = []

    def grade(way, discs, _engine):
        asked.append((way, discs.tolist()))
        return [of_head[discs] for of_head in answers[way]]

    monkeypatch.setattr(
        inference, "_ways_to_grade", lambda *_: [inference.Way("fast", "bfloat16"), inference.Way("exact")]
    )
    monkeypatch.setattr(
        inference, "_grade", lambda way, discs, engine: grade(way.network, discs[:, 0].astype(int), engine)
    )
    logits = inference.grade_logits(None, np.arange(3.0), None)
    assert [way for way, _ in asked] == ["fast", "exact", "exact"]
    assert [of_head.argmax(axis=1).tolist() for of_head in logits] == [h.argmax(axis=1).tolist() for h in exact]
    assert asked[1][1] == [0]
    assert asked[2][1] == [1]  # its lead of 0.1 is more than bfloat16's usual rounding, less than that of the first


class Maps(nn.Module):
    """A detector that knows its answer."""

    def __init__(self, maps: np.ndarray) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.maps[: len(x)])


@pytest.mark.parametrize(
    ("centroid", "gap", "again", "outlines"),
    [(1.0, 1e-6, 1, 1), (1.0, 0.1, 0, 1), (0.0, 1e-6, 0, 0), (0.6000001, 0.1, 1, 1)],
    ids=["a corner in doubt", "nothing in doubt", "no centroid", "the centroid in doubt"],
)
def test_patches_are_decided_again_where_rounding_could_change_an_outline(centroid, gap, again, outlines):
    windows = [patches.Window(0, 224, 0, 224)]
    exact = make_targets(np.array([[[150.2, 100.3], [150.2, 121.3], [109.2, 121.3], [109.2, 100.3]]]))[None]
    exact[0, 4] *= centroid / exact[0, 4].max()
    row, column = np.unravel_index(exact[0, 0].argmax(), exact.shape[2:])
    exact[0, 0, row, column + 1] = exact[0, 0, row, column] - np.float32(gap)
    fast = exact.copy()
    fast[0, 0, row, column + 1] += np.float32(2e-6)  # rounding that turns a lead of 1e-6 round
    set_ = models.Models({})
    set_.fast_network, set_.network = lambda *_: Maps(fast), lambda *_: Maps(exact)
    engine = Engine("cpu", "float32").resolve()
    detector = inference.SliceDetector(set_, engine, windows, (225, 225), 0.6, 0.6, FAITHFUL, 1.0)
    found = detector.detect(np.zeros((1, 1, 224, 224), dtype=np.float32))[0]
    assert (detector.decided_again, len(found.polygons)) == (again, outlines)
    assert np.array_equal(found.polygons, grouping.decode_slice(exact, windows, (225, 225)).polygons)


@pytest.mark.slow
def test_fast_detection_equals_the_plain_one():
    network = fill_torch(networks.DetectionNetwork(), 0.9).eval()
    x = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        want = network(x)
        got = accelerated(network)(x)
    assert (got - want).abs().max() < 1e-5 * want.abs().max()


class Near(nn.Module):
    """A grading network whose first head is undecided for dark discs."""

    def forward(self, x):
        bright = x.mean(dim=(1, 2, 3, 4))
        first = torch.stack([bright * 0 + 1.0, 1.0 + bright - 0.1], dim=1)
        first = torch.cat([first, torch.full((len(x), 3), -4.0)], dim=1)
        rest = [torch.arange(h.classes).float().expand(len(x), -1) for h in HEADS[1:]]
        return (first, *rest)


def test_discs_in_doubt_are_graded_again_ever_more_exactly(monkeypatch):
    """Of three discs bfloat16 is sure of one, the fast float32 form of another; the third needs the plain network."""
    asked = {"bfloat16": [], "float32": [], "plain": []}

    class Rounded(Near):
        def __init__(self, name, by):
            super().__init__()
            self.name, self.by = name, by

        def forward(self, x):
            asked[self.name].append(len(x))
            logits = super().forward(x)
            return (logits[0] + self.by * torch.tensor([1.0, -1.0, 0, 0, 0]), *logits[1:])

    set_ = models.Models({"grading": Rounded("plain", 0.0)})
    fast = {True: Rounded("bfloat16", 0.004), False: Rounded("float32", 2e-5)}
    monkeypatch.setattr(set_, "fast_network", lambda part, bf16=False: fast[bf16])
    volumes = np.stack([np.full((9, 112, 224), v) for v in (0.10001, 0.101, 0.5)]).astype(np.float32)
    logits = inference.grade_logits(set_, volumes, Engine("cpu", "bfloat16").resolve())
    assert logits[0].argmax(axis=1).tolist() == [1, 1, 1]
    assert {name: sum(counts) for name, counts in asked.items()} == {"bfloat16": 3, "float32": 2, "plain": 1}


# ----- files


def published_folder(folder: Path, part: str, wrapper: str) -> Path:
    """A folder with one published-layout file of a small network and marks for the rest."""
    network = fill_torch(models.build(part))
    for name in models.FOLDERS.values():
        (folder / name).mkdir(parents=True)
        torch.save({"net": {}}, folder / name / "ckpt1.pt")
    torch.save({wrapper: network.state_dict(), "epoch": 5, "loss": 0.1}, folder / models.FOLDERS[part] / "ckpt9.pt")
    return folder


@pytest.mark.parametrize(("part", "wrapper"), [("appearance", "net"), ("context", "net")])
def test_published_files_load_in_their_wrapping(tmp_path, monkeypatch, part, wrapper):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "models"))
    set_ = models.published_models(published_folder(tmp_path / "in", part, wrapper))
    assert not set_.starter
    assert "non-commercial" in set_.notices[0]
    want = fill_torch(models.build(part)).state_dict()
    got = set_.network(part).state_dict()
    assert all(torch.equal(got[name], value) for name, value in want.items())
    set_.release(part)
    assert part not in set_._loaded


def test_missing_or_foreign_files_say_so(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "models"))
    with pytest.raises(WeightsError, match="no weight file in its sub-folder"):
        models.choose_models(tmp_path)
    torch.save({"net": {"a": torch.zeros(3)}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="do not fit the context network"):
        models.load_network(tmp_path / "x.pt", "context")
    write_safetensors(tmp_path / "y.safetensors", {"a": np.zeros(3)}, {"architecture": '{"class": "os.system"}'})
    with pytest.raises(WeightsError, match="unknown network"):
        models.load_network(tmp_path / "y.safetensors", "detection")


# ----- fine-tuning


def test_truth_tables_are_checked(tmp_path):
    table = tmp_path / "truth.csv"
    table.write_text("case,level,Pfirrmann,Herniation\na,L4-L5,3,\na,L5-S1,5,1\n", encoding="utf-8")
    truth = training.read_truth(table)
    assert truth["a", "L4-L5"][0] == 2
    assert truth["a", "L4-L5"][-1] == training.IGNORED
    for bad in ("case,level,Pfirrmann\na,L4-L5,6\n", "case,level,Pfirrmann\na,L4-L5,x\n", "level\nL4-L5\n"):
        table.write_text(bad, encoding="utf-8")
        with pytest.raises(InputError):
            training.read_truth(table)


@pytest.mark.slow
def test_heads_learn_and_nothing_else_changes():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Linear(8, 8)
            for head in HEADS:
                setattr(self, head.key, nn.Linear(8, head.classes))

    network = Small().requires_grad_(False)
    trunk = network.trunk.weight.clone()
    rng = np.random.default_rng(0)
    classes = np.stack([rng.integers(0, head.classes, 200) for head in HEADS], axis=1)
    features = rng.normal(size=(200, 8)).astype(np.float32) * 0.1
    features[:, :5] += 4 * np.eye(5)[classes[:, 0]]
    classes[:, 3] = training.IGNORED
    classes[:20, 0] = training.IGNORED
    data = training.GradedDiscs(features, classes)
    training.train_heads(network, data, epochs=60)
    scores = training.evaluate_heads(network, data)
    assert scores["Pfirrmann"] > 0.95
    assert np.isnan(scores["Spondylolisthesis"])
    assert torch.equal(network.trunk.weight, trunk)
    assert not any(p.requires_grad for p in network.parameters())

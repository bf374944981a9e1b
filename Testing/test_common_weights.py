"""Weight files: everything harmless is read, nothing is ever run, and every bad file is a sentence."""

from __future__ import annotations

import argparse
import builtins
import contextlib
import json
import os
import pathlib
import pickle
import sys
import types
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common import checkpoints, weights
from SpineMotionToolsLib.common.errors import DependencyError, InputError, WeightsError

FORMATS = [pytest.param(True, id="zip"), pytest.param(False, id="legacy")]


@pytest.fixture(autouse=True)
def own_models_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "models"))


@pytest.fixture
def state():
    rng = np.random.default_rng(0)
    return {
        "conv.weight": torch.from_numpy(rng.standard_normal((4, 1, 3, 3)).astype(np.float32)),
        "conv.bias": torch.zeros(4),
        "bn.num_batches_tracked": torch.tensor(7),
    }


@pytest.fixture
def contract(tmp_path):
    content = {
        "conv.weight": {"shape": [4, 1, 3, 3], "dtype": "float32"},
        "conv.bias": {"shape": [4], "dtype": "float32"},
        "bn.num_batches_tracked": {"shape": [], "dtype": "int64"},
    }
    (tmp_path / "contract.json").write_text(json.dumps(content), encoding="utf-8")
    return weights.load_contract(tmp_path / "contract.json")


def save(content, path, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


class Munch(dict):
    """As the class of the `munch` package pickles itself: items, and the same again as its state."""

    def __getstate__(self):
        return dict(self)

    def __setstate__(self, state):
        self.clear()
        self.update(state)


@pytest.fixture
def as_munch(monkeypatch):
    """Save what holds a Munch as if the `munch` package were installed, then take it away."""

    def save_with_munch(content, path, zipped):
        module = types.ModuleType("munch")
        module.Munch = Munch
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "munch", module)
            patch.setattr(Munch, "__module__", "munch")
            save(content, path, zipped)
        assert b"munch" in path.read_bytes()
        return path

    return save_with_munch


@pytest.mark.parametrize("zipped", FORMATS)
def test_published_wrappings_are_read(tmp_path, state, zipped, as_munch):
    content = {
        "model": OrderedDict((f"module.{name}", tensor) for name, tensor in state.items()),
        "epoch": 3,
        "lowest_MRE": np.float64(12.5),
        "half": np.float32(0.5),
        "count": np.int64(4),
        "history": np.arange(4.0),
        "flags": np.array([True, False]),
        "metric": Munch(a=1, b=Munch(c=[1, 2])),
        "hyper_parameters": {
            "hparams": argparse.Namespace(model="resnet", lr=1e-4, path=pathlib.PurePosixPath("/data/x"))
        },
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999)}]},
        "nothing": None,
        "shape": torch.Size([1, 2]),
    }
    path = as_munch(content, tmp_path / "Größe 1.pth", zipped)
    read = weights.read_checkpoint(path)
    assert read["lowest_MRE"] == 12.5
    assert type(read["lowest_MRE"]) is float
    assert (read["half"], read["count"]) == (0.5, 4)
    assert read["history"].tolist() == [0, 1, 2, 3]
    assert read["flags"].tolist() == [True, False]
    assert read["metric"] == {"a": 1, "b": {"c": [1, 2]}}
    assert read["hyper_parameters"]["hparams"] == {"model": "resnet", "lr": 1e-4, "path": "/data/x"}
    assert read["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    tensors = weights.read_tensors(path)
    assert list(tensors) == list(state)
    assert all(np.array_equal(tensors[name], state[name].numpy()) for name in state)


def test_numpy_1_names_are_read(tmp_path, state):
    path = save({**state, "best": np.float64(0.25)}, tmp_path / "a.pt")
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert weights.read_checkpoint(path)["best"] == 0.25


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 1},
        lambda state: {"model_weights": state, "epoch_no": 2},
        lambda state: {"net": state, "loss": 0.1},
        lambda state: {"model_state": state},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {name: torch.nn.Parameter(t) if t.is_floating_point() else t for name, t in state.items()},
    ],
)
def test_wrappers_and_prefixes(tmp_path, state, wrap):
    tensors = weights.read_tensors(save(wrap(state), tmp_path / "a.pt"))
    assert {name: value.shape for name, value in tensors.items()} == {n: tuple(t.shape) for n, t in state.items()}


def test_own_wrapper_and_prefix(tmp_path, state):
    path = save({"ema": {f"student.{name}": tensor for name, tensor in state.items()}}, tmp_path / "a.pt")
    tensors = weights.read_tensors(path, wrappers=["ema"], strip_prefixes=["student."])
    assert list(tensors) == list(state)
    with pytest.raises(WeightsError, match="holds ema where named tensors were expected"):
        weights.read_tensors(path)


class Payload:
    """Pickles itself as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", FORMATS)
@pytest.mark.parametrize("where", ["alone", "beside", "as key", "nested"])
def test_code_in_a_file_is_refused_unrun(tmp_path, state, zipped, where):
    trap = tmp_path / "trap"
    payload = Payload(builtins.open, str(trap), "w")
    content = {
        "alone": payload,
        "beside": {**state, "extra": payload},
        "as key": {(payload, 1): 2},
        "nested": {"a": [{"b": (payload,)}]},
    }[where]
    path = save(content, tmp_path / "bad.pt", zipped)
    with pytest.raises(WeightsError, match=r"bad.pt was refused and nothing in it was run.*\b(io|_io)\.open\b"):
        weights.read_checkpoint(path)
    assert not trap.exists()
    torch.load(path, weights_only=False)  # the trap does work
    assert trap.exists()


@pytest.mark.parametrize("zipped", FORMATS)
@pytest.mark.parametrize(
    "payload",
    [
        Payload(os.system, "echo > trap"),
        Payload(eval, "open('trap', 'w')"),
        Payload(exec, "open('trap', 'w')"),
        Payload(getattr, pathlib.PurePosixPath("x"), "parent"),
        Payload(os.mkdir, "trap"),
    ],
    ids=lambda payload: payload.call[0].__name__,
)
def test_calls_of_every_kind_are_refused_unrun(tmp_path, monkeypatch, zipped, payload):
    monkeypatch.chdir(tmp_path)
    path = save({"a": payload}, tmp_path / "bad.pt", zipped)
    with pytest.raises(WeightsError, match="nothing in it was run"):
        weights.read_checkpoint(path)
    assert not (tmp_path / "trap").exists()


class Strange:
    pass


def test_a_foreign_class_is_named(tmp_path, state):
    with pytest.raises(WeightsError, match=r"holds \S*test_common_weights.Strange.*state dict"):
        weights.read_checkpoint(save({"net": state, "config": Strange()}, tmp_path / "a.pt"))


def test_a_whole_network_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"torch.nn.modules.\S+.*state dict"):
        weights.read_checkpoint(save(torch.nn.Linear(2, 2), tmp_path / "a.pt"))


def test_objects_in_arrays_are_refused(tmp_path):
    with pytest.raises(WeightsError):
        weights.read_checkpoint(save({"a": np.array([Strange()], dtype=object)}, tmp_path / "a.pt"))
    with pytest.raises(WeightsError):
        weights.read_checkpoint(save({"a": np.array([{}], dtype=object)}, tmp_path / "b.pt"))


def test_a_container_that_holds_itself(tmp_path):
    loop = []
    loop.append(loop)
    with pytest.raises(WeightsError, match="damaged or no PyTorch file"):
        weights.read_checkpoint(save({"a": loop}, tmp_path / "a.pt"))


def test_the_allow_list_is_taken_back(tmp_path, state):
    before = set(map(str, torch.serialization.get_safe_globals()))
    weights.read_checkpoint(save(state, tmp_path / "a.pt"))
    assert set(map(str, torch.serialization.get_safe_globals())) == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.pt", b"", "is empty"),
        ("page.pt", b"\n <!DOCTYPE html><html><body>404</body></html>", "is a web page, not weights"),
        ("page.pth", b"<html><head></head></html>", "is a web page"),
        ("pointer.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer"),
        ("keras.pt", b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5 .Keras. file"),
        ("text.pt", b"just some words", "damaged or no PyTorch file"),
        ("numbers.pt", pickle.dumps({"a": 1}, protocol=4), "damaged or no PyTorch file"),
        ("zeros.pt", bytes(1000), "damaged or no PyTorch file"),
        ("empty.safetensors", b"", "damaged or no safetensors file"),
        ("text.safetensors", b"just some words and more", "damaged or no safetensors file"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        weights.read_tensors(tmp_path / name)


def test_files_that_are_not_there(tmp_path):
    for name in ("a.pt", "a.safetensors"):
        with pytest.raises(WeightsError, match="does not exist"):
            weights.read_tensors(tmp_path / name)
    with pytest.raises(WeightsError):
        weights.read_tensors(tmp_path)
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.sha256_of(tmp_path / "a.pt")


def test_a_program_is_no_weights(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "a.pt"))
    with pytest.raises(WeightsError, match="TorchScript program"):
        weights.read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", FORMATS)
@given(cut=st.floats(0, 1), flip=st.integers(0, 255), at=st.floats(0, 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_sentences(tmp_path, zipped, cut, flip, at):
    whole = save({"a": torch.arange(50.0), "b": {"c": [1, 2.5, "text"], "d": np.float64(1)}}, tmp_path / "a.pt", zipped)
    data = bytearray(whole.read_bytes())
    data[int(at * (len(data) - 1))] ^= flip
    (tmp_path / "b.pt").write_bytes(data[: int(cut * len(data))])
    with contextlib.suppress(WeightsError):  # nothing else may come out
        weights.read_checkpoint(tmp_path / "b.pt")


def test_old_pytorch_is_not_trusted(tmp_path, state, monkeypatch):
    path = save(state, tmp_path / "a.pt")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(DependencyError, match="PyTorch 2.6 or later"):
        weights.read_checkpoint(path)


def test_safetensors_round_trip(tmp_path, state):
    tensors = {name: tensor.numpy() for name, tensor in state.items()}
    tensors["turned"] = np.arange(6, dtype=np.float32).reshape(2, 3).T
    weights.write_safetensors(tmp_path / "a.safetensors", tensors, {"epoch": 3})
    read = weights.read_tensors(tmp_path / "a.safetensors")
    assert {name: (value.shape, str(value.dtype)) for name, value in read.items()} == {
        name: (value.shape, str(value.dtype)) for name, value in tensors.items()
    }
    assert all(np.array_equal(read[name], tensors[name]) for name in tensors)
    assert weights.read_metadata(tmp_path / "a.safetensors") == {"epoch": "3"}
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-5])
    with pytest.raises(WeightsError, match="damaged"):
        weights.read_tensors(tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="damaged"):
        weights.read_metadata(tmp_path / "b.safetensors")


def test_bfloat16_becomes_float32(tmp_path):
    from safetensors.torch import save_file

    values = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    save({"a": values}, tmp_path / "a.pt")
    save_file({"a": values}, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        read = weights.read_tensors(tmp_path / name)["a"]
        assert read.dtype == np.float32
        assert read.tolist() == [1.5, -2.0]


def test_weights_that_fit(state, contract):
    weights.check_contract(state, contract, "the network")
    tensors = {name: tensor.numpy() for name, tensor in state.items()}
    del tensors["bn.num_batches_tracked"]  # inference does not use it
    weights.check_contract(tensors, contract, "the network")


def test_every_misfit_is_named(state, contract):
    state["conv.weight"] = state["conv.weight"].reshape(1, 4, 3, 3)
    del state["conv.bias"]
    state["head.bias"] = torch.zeros(2)
    with pytest.raises(WeightsError) as caught:
        weights.check_contract(state, contract, "the motion network")
    text = str(caught.value)
    assert "do not fit the motion network" in text
    assert "missing: conv.bias [4]" in text
    assert "not expected: head.bias [2]" in text
    assert "shape of conv.weight: [1, 4, 3, 3], expected [4, 1, 3, 3]" in text


def test_wrong_kind_and_not_finite(state, contract):
    state["conv.bias"] = torch.zeros(4, dtype=torch.int64)
    state["conv.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"not finite: conv.weight\n  type of conv.bias: int64, expected float32"):
        weights.check_contract(state, contract, "the network")


def test_large_finite_weights_are_finite():
    contract = {"a": weights.TensorSpec((2,), "float32")}
    weights.check_contract({"a": np.full(2, 3e38, np.float32)}, contract, "the network")
    with pytest.raises(WeightsError, match="not finite"):
        weights.check_contract({"a": np.array([np.inf, 0], np.float32)}, contract, "the network")


def test_many_misfits_are_counted(contract):
    foreign = {f"layer{number}": np.zeros(1) for number in range(100)}
    with pytest.raises(WeightsError, match="and 82 more") as caught:
        weights.check_contract(foreign, contract, "the network")
    assert str(caught.value).count("\n") == weights.LISTED + 1


def test_damaged_contract(tmp_path):
    (tmp_path / "a.json").write_text("[1]", encoding="utf-8")
    for name in ("a.json", "not there.json"):
        with pytest.raises(WeightsError, match="contract"):
            weights.load_contract(tmp_path / name)


def test_converted_once(tmp_path, state):
    path = save({"model": state}, tmp_path / "Größe.pth")
    copy = weights.converted(path)
    assert copy.parent == tmp_path / "models" / "converted"
    assert copy.name == f"{weights.sha256_of(path)}-torch.safetensors"
    assert list(weights.read_tensors(copy)) == sorted(state)
    assert weights.read_metadata(copy)["source_sha256"] == weights.sha256_of(path)
    when = copy.stat().st_mtime_ns
    assert weights.converted(path) == copy
    assert copy.stat().st_mtime_ns == when
    assert weights.converted(copy) == copy
    other = weights.converted(path, "doubled", lambda path: {"a": np.zeros(2)})
    assert list(weights.read_tensors(other)) == ["a"]
    assert len(list(copy.parent.iterdir())) == 2
    with pytest.raises(InputError, match="converter name"):
        weights.converted(path, "../x")


def test_a_refused_file_leaves_no_copy(tmp_path):
    path = save(Payload(os.system, "true"), tmp_path / "a.pt")
    with pytest.raises(WeightsError):
        weights.converted(path)
    assert not (tmp_path / "models").exists()


def test_sha256_follows_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert weights.sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abcd")
    assert weights.sha256_of(path) != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_allow_list_is_short_and_inert():
    """A class or function added to the list must be judged: this test names them all."""
    named = {name for _, name in checkpoints._allowed()}
    assert {name for name in named if not name.startswith(("numpy.dtypes.", "pathlib."))} == {
        "argparse.Namespace",
        "munch.Munch",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
    }

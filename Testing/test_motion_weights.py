"""Ensembles in: every published layout, folders, and refusal of everything else without running it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import multiprocessing
import pickle
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import DependencyError, WeightsError
from SpineMotionToolsLib.common.weights import write_safetensors
from SpineMotionToolsLib.motion.keras_files import LAYERS, read_keras
from SpineMotionToolsLib.motion.members import contract, load_ensemble

from Testing.golden import case as golden_case
from Testing.golden.kinds.motion_scoring import input_images, seeded_member

CASES = Path(__file__).parent / "golden" / "cases" / "motion-score"


def tensors(number: int = 0) -> dict[str, np.ndarray]:
    return seeded_member(f"VAR_{number}.", 1.2)


def as_torch(weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}


def assert_same(weights, number: int = 0) -> None:
    want = tensors(number)
    assert set(weights) == set(want)
    for name, value in want.items():
        np.testing.assert_array_equal(weights[name], value)


# ----- torch and safetensors


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "source_h5": "DNN_0.h5"},
        lambda state: {
            "state_dict": state,
            "meta": {"trained_at": "2026-01-01", "best_val_weighted_kappa": 0.9, "best_epoch": 3},
        },
    ],
    ids=["plain", "converted", "retrained"],
)
def test_torch_layouts(tmp_path, wrap):
    path = tmp_path / "DNN_0.pt"
    torch.save(wrap(as_torch(tensors())), path)
    ensemble = load_ensemble(path)
    assert ensemble.names == ("DNN_0",)
    assert_same(ensemble.members[0].tensors)
    assert not ensemble.starter


def test_safetensors_with_ten_members(tmp_path):
    path = tmp_path / "starter.safetensors"
    content = {f"DNN_{n}.{name}": value for n in range(10) for name, value in tensors(n).items()}
    write_safetensors(path, content, {"starter": "true"})
    ensemble = load_ensemble(path)
    assert ensemble.names == tuple(f"DNN_{n}" for n in range(10))
    assert ensemble.starter
    for number, member in enumerate(ensemble.members):
        assert_same(member.tensors, number)
    write_safetensors(path, tensors(7))
    assert_same(load_ensemble(path).members[0].tensors, 7)


def test_folders(tmp_path):
    """`DNN_<n>` files win over others, torch over Keras; sorted as text, as the published program does."""
    for number in range(11):
        torch.save(as_torch(tensors(number)), tmp_path / f"DNN_{number}.pt")
    torch.save({"other": 1}, tmp_path / "notes.pt")
    (tmp_path / "DNN_0.h5").write_bytes(b"not read")
    ensemble = load_ensemble(tmp_path)
    assert ensemble.names[:3] == ("DNN_0", "DNN_1", "DNN_10")
    assert_same(ensemble.members[2].tensors, 10)
    assert len(ensemble.sha256.split(",")) == 11
    assert any("ten" in note for note in ensemble.notes)


def test_folder_of_other_names(tmp_path):
    for number, name in enumerate(("b", "a")):
        torch.save(as_torch(tensors(number)), tmp_path / f"{name}.pt")
    ensemble = load_ensemble(tmp_path)
    assert ensemble.names == ("a", "b")
    assert_same(ensemble.members[1].tensors, 0)


# ----- Keras


def golden(name: str) -> golden_case.Case:
    return golden_case.load(CASES / f"{name}.json")


def write_h5(case: golden_case.Case, path: Path) -> Path:
    path.write_bytes(case.want["h5_bytes"].tobytes())
    return path


def keras_weights(path: Path, first: int = 0) -> Path:
    """A `.weights.h5` file whose layers are numbered from `first` on."""
    want = tensors()
    with h5py.File(path, "w") as file:
        for position, layer in reversed(list(enumerate(LAYERS))):
            kind, number = ("conv2d", position) if position < 5 else ("dense", position - 5)
            number += first
            group = file.create_group(f"layers/{kind}_{number}/vars" if number else f"layers/{kind}/vars")
            weight = want[f"{layer}.weight"]
            group["0"] = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
            group["1"] = want[f"{layer}.bias"]
        file.create_group("layers/max_pooling2d/vars")
    return path


@pytest.mark.parametrize("first", [0, 8])  # conv2d_10 follows conv2d_9
def test_keras_weights_file(tmp_path, first):
    """`.weights.h5` has no order of its own: convolutions before dense, each by its running number."""
    assert_same(read_keras(keras_weights(tmp_path / "DNN_0.weights.h5", first)))


def keras_archive(path: Path, slope: float = 0.3) -> Path:
    """What Keras 3 saves as `.keras`."""
    activation = {"class_name": "LeakyReLU", "config": {"negative_slope": slope}}
    layer = {"class_name": "Conv2D", "config": {"name": "conv2d", "activation": activation}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}))
        archive.write(keras_weights(path.with_suffix(".weights.h5")), "model.weights.h5")
    path.with_suffix(".weights.h5").unlink()
    return path


def test_keras_archives(tmp_path):
    for number in range(2):
        keras_archive(tmp_path / f"DNN_{number}.keras")
    ensemble = load_ensemble(tmp_path)
    assert ensemble.names == ("DNN_0", "DNN_1")
    assert_same(ensemble.members[1].tensors)
    with pytest.raises(WeightsError, match="slope 0.01"):
        read_keras(keras_archive(tmp_path / "other.keras", slope=0.01))
    whole = (tmp_path / "DNN_0.keras").read_bytes()
    for end in (len(whole) // 2, len(whole) - 30):
        (tmp_path / "short.keras").write_bytes(whole[:end])
        with pytest.raises(WeightsError, match="short.keras"):
            read_keras(tmp_path / "short.keras")
    for position in range(40, len(whole), 997):
        changed = bytearray(whole)
        changed[position] ^= 255
        (tmp_path / "changed.keras").write_bytes(changed)
        with contextlib.suppress(WeightsError):
            read_keras(tmp_path / "changed.keras")
    with zipfile.ZipFile(tmp_path / "foreign.keras", "w") as archive:
        archive.writestr("notes.txt", "no network")
    with pytest.raises(WeightsError, match="no Keras file"):
        read_keras(tmp_path / "foreign.keras")


def keras_model(path: Path, slope: float = 0.3, order: list[int] | None = None, functional: bool = False) -> Path:
    """A whole-model file; `order` is how the layers are listed, the functional config tells how they follow."""
    want, order = tensors(), order or list(range(7))
    names = [f"conv2d_{n}" if n < 5 else f"dense_{n}" for n in range(7)]
    layers = []
    for number in order:
        entry = {"class_name": "Conv2D" if number < 5 else "Dense", "config": {"name": names[number]}}
        if number < 5:
            entry["config"]["activation"] = {"class_name": "LeakyReLU", "config": {"alpha": slope}}
        if functional:
            source = names[number - 1] if number else "input_1"
            entry |= {"name": names[number], "inbound_nodes": [[[source, 0, 0, {}]]]}
        layers.append(entry)
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([names[n].encode() for n in order])
        for number in order:
            group = root.create_group(names[number])
            parts = [f"{names[number]}/{part}:0" for part in ("kernel", "bias")]
            group.attrs["weight_names"] = np.array([part.encode() for part in parts])
            weight = want[f"{LAYERS[number]}.weight"]
            group[parts[0]] = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
            group[parts[1]] = want[f"{LAYERS[number]}.bias"]
    return path


def test_functional_models_follow_their_connections(tmp_path):
    path = keras_model(tmp_path / "a.h5", order=[4, 1, 0, 6, 3, 2, 5], functional=True)
    assert_same(read_keras(path))


def test_another_slope_is_refused(tmp_path):
    assert_same(read_keras(keras_model(tmp_path / "a.h5", slope=0.30000001192092896)))
    with pytest.raises(WeightsError, match="slope 0.01"):
        read_keras(keras_model(tmp_path / "b.h5", slope=0.01))


def test_damaged_keras_files(tmp_path):
    case = golden("keras-h5-tf24-full")
    data = case.want["h5_bytes"].tobytes()
    (tmp_path / "text.h5").write_text("not HDF5", encoding="utf-8")
    (tmp_path / "short.h5").write_bytes(data[: len(data) // 2])
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    other = keras_model(tmp_path / "other.h5")
    with h5py.File(other, "a") as file:
        del file["model_weights"]["dense_6"]["dense_6"]["kernel:0"]
        file["model_weights"]["dense_6"]["dense_6"]["kernel:0"] = np.zeros((32, 3), np.float32)
    loop = keras_model(tmp_path / "loop.h5", functional=True)
    with h5py.File(loop, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["inbound_nodes"] = [[["dense_6", 0, 0, {}]]]
        file.attrs["model_config"] = json.dumps(config)
    load_ensemble(loop)  # nothing hangs
    for name in ("text", "short", "empty", "other"):
        with pytest.raises(WeightsError, match=r"Choose"):
            load_ensemble(tmp_path / f"{name}.h5")


def test_mutated_keras_files_are_refused_or_read(tmp_path):
    """Bytes changed at random end in weights or in a WeightsError, never in another exception."""
    data = bytearray(golden("keras-h5-weights-only").want["h5_bytes"].tobytes())
    random = np.random.default_rng(0)
    for number in range(60):
        mutated = bytearray(data)
        for at in random.integers(0, 4000, 6):
            mutated[at] = random.integers(0, 256)
        path = tmp_path / f"{number}.h5"
        path.write_bytes(bytes(mutated))
        try:
            load_ensemble(path)
        except WeightsError:
            pass


# ----- refusals


def test_a_missing_member_is_named(tmp_path):
    for number in (0, 1, 3, 4, 6):
        torch.save(as_torch(tensors(number)), tmp_path / f"DNN_{number}.pt")
    with pytest.raises(WeightsError, match=r"DNN_2\.pt, DNN_5\.pt are missing"):
        load_ensemble(tmp_path)


def test_weights_of_another_system_are_listed_key_by_key(tmp_path):
    state = as_torch(tensors())
    del state["fc2.bias"]
    state["conv3.weight"] = torch.zeros(16, 16, 5, 5)
    state["layer1.0.conv1.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "DNN_0.pt")
    with pytest.raises(WeightsError) as caught:
        load_ensemble(tmp_path)
    message = str(caught.value)
    for part in ("fc2.bias", "conv3.weight", "layer1.0.conv1.weight", "DNN_0.pt"):
        assert part in message


def test_weights_that_are_not_numbers(tmp_path):
    state = as_torch(tensors())
    state["conv1.bias"][3] = float("nan")
    torch.save(state, tmp_path / "DNN_0.pt")
    with pytest.raises(WeightsError, match=r"conv1\.bias"):
        load_ensemble(tmp_path / "DNN_0.pt")


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "run"))


def test_code_in_a_pickle_is_refused_unrun(tmp_path):
    mark = tmp_path / "mark"
    torch.save({"state_dict": as_torch(tensors()), "meta": Payload(mark)}, tmp_path / "DNN_0.pt")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "DNN_0.pt").write_bytes(pickle.dumps(Payload(mark)))
    for path in (tmp_path / "DNN_0.pt", tmp_path / "old"):
        with pytest.raises(WeightsError):
            load_ensemble(path)
    assert not mark.exists()


def test_published_ensembles_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path))
    with pytest.raises(WeightsError, match="not on this computer"):
        load_ensemble("motion-cnn")
    (tmp_path / "motion-cnn").mkdir()
    for number in range(10):
        keras_model(tmp_path / "motion-cnn" / f"DNN_{number}.h5")
    ensemble = load_ensemble("motion-cnn")
    assert (ensemble.id, len(ensemble), ensemble.notes) == ("motion-cnn", 10, ())


def test_nothing_there(tmp_path):
    with pytest.raises(WeightsError, match="holds no weights"):
        load_ensemble(tmp_path)
    with pytest.raises(WeightsError, match="There is no ensemble"):
        load_ensemble(tmp_path / "missing")


def test_the_keras_contract_is_the_torch_contract():
    keras = json.loads(
        (Path(read_keras.__code__.co_filename).parent / "contracts/motion-score-keras.json").read_text(encoding="utf-8")
    )
    sizes = sorted(int(np.prod(spec["shape"])) for spec in keras.values())
    assert sizes == sorted(int(np.prod(spec.shape)) for spec in contract().values())


# ----- the original files in Keras itself


def test_tensorflow_engine_needs_tensorflow(tmp_path, monkeypatch):
    import sys

    from SpineMotionToolsLib.motion.tensorflow_engine import KerasScorer

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    path = write_h5(golden("keras-h5-keras3-full"), tmp_path / "DNN_0.h5")
    with pytest.raises(DependencyError, match=r"pip install spinemotiontools\[tensorflow\]"):
        KerasScorer(path)


def test_tensorflow_engine_refuses_what_it_must_not_run(tmp_path):
    from SpineMotionToolsLib.motion.tensorflow_engine import KerasScorer

    with pytest.raises(WeightsError, match="weights without a model"):
        KerasScorer(write_h5(golden("keras-h5-weights-only"), tmp_path / "DNN_0.h5"))
    torch.save(as_torch(tensors()), tmp_path / "DNN_0.pt")
    with pytest.raises(WeightsError, match=r"DNN_0\.h5"):
        KerasScorer(tmp_path / "DNN_0.pt")
    path = keras_model(tmp_path / "code.h5")
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"].append({"class_name": "Lambda", "config": {"name": "x", "function": "..."}})
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(WeightsError, match="Lambda"):
        KerasScorer(path)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs the extra [tensorflow]")
def test_both_engines_agree(tmp_path):
    """In a process of its own: TensorFlow's library crashes when it is imported beside all of slicer-core."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(check_that_engines_agree, tmp_path).result()


def check_that_engines_agree(tmp_path):
    from SpineMotionToolsLib.motion.networks import MotionNet
    from SpineMotionToolsLib.motion.pipeline import grade
    from SpineMotionToolsLib.motion.tensorflow_engine import KerasScorer

    from Testing.motion_scans import phantom

    for number, name in enumerate(("keras-h5-tf24-full", "keras-h5-keras3-full")):
        case = golden(name)
        path = write_h5(case, tmp_path / f"DNN_{number}.h5")
        images = np.rint(255 * input_images(case.parameters["images"])).astype(np.uint8)
        ours = MotionNet.from_tensors(read_keras(path))
        with torch.inference_mode():
            want = ours(torch.from_numpy(images / np.float32(255))[:, None]).numpy()
        np.testing.assert_allclose(KerasScorer(path).score(images)[0], want, rtol=1e-4, atol=1e-5)
    volume, float32 = phantom((64, 60, 5)), Engine(device="cpu", precision="float32")
    keras, torch_ = (grade(volume, tmp_path, "legacy", engine=engine) for engine in ("tensorflow", float32))
    np.testing.assert_array_equal(keras.votes, torch_.votes)
    assert (keras.grade, keras.mean_confidence) == (torch_.grade, torch_.mean_confidence)
    np.testing.assert_allclose(keras.probabilities, torch_.probabilities, atol=1e-5)

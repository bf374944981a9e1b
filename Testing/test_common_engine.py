"""Devices, precision, threads, and the CPU when a GPU's memory runs out; and imports that stay cheap."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from SpineMotionToolsLib.common import engine
from SpineMotionToolsLib.common.engine import Engine, ResolvedEngine, run_with_fallback
from SpineMotionToolsLib.common.errors import DependencyError, InputError

COMMON = Path(engine.__file__).parent


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def gpu(monkeypatch):
    """A computer with two CUDA cards, the second without bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0) if device.index == 0 else (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Test card")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_automatic_choice(no_gpu, monkeypatch):
    monkeypatch.setattr(engine, "has_fast_bf16", lambda: False)
    resolved = Engine(threads=1, batch_size=4).resolve()
    assert resolved == ResolvedEngine(torch.device("cpu"), False, 1, 4)
    assert torch.get_num_threads() == 1
    assert resolved.device_name == "cpu (1 threads)"
    assert resolved.precision == "float32"


def test_automatic_choice_prefers_cuda_then_mps(gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    resolved = Engine().resolve()
    assert (resolved.device, resolved.bf16) == (torch.device("cuda", 0), True)
    assert resolved.device_name == "cuda:0 (Test card)"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Engine().resolve().device == torch.device("mps")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cuda", "no CUDA device is available"),
        ("cuda:3", "no CUDA device is available"),
        ("mps", "no Apple GPU"),
        ("tpu", "is unknown"),
        ("", "is unknown"),
        ("meta", "not supported"),
    ],
)
def test_a_device_that_is_not_here_is_never_replaced(no_gpu, device, words):
    with pytest.raises(InputError, match=words):
        Engine(device=device).resolve()


def test_a_card_that_is_not_here(gpu):
    assert Engine(device="cuda").resolve().device == torch.device("cuda", 0)
    with pytest.raises(InputError, match=r"only 2 CUDA device\(s\)"):
        Engine(device="cuda:2").resolve()


def test_precision(no_gpu, monkeypatch):
    monkeypatch.setattr(engine, "has_fast_bf16", lambda: True)
    assert Engine().resolve().bf16
    assert Engine(precision="float32").resolve().bf16 is False
    monkeypatch.setattr(engine, "has_fast_bf16", lambda: False)
    assert not Engine().resolve().bf16
    emulated = Engine(precision="bfloat16").resolve()
    assert emulated.bf16
    assert "slower" in emulated.notes[0]
    with pytest.raises(InputError, match="precision 'half' is unknown"):
        Engine(precision="half").resolve()


def test_precision_on_an_old_card(gpu):
    assert Engine(device="cuda:1").resolve().bf16 is False
    with pytest.raises(InputError, match="no bfloat16. Choose the precision float32"):
        Engine(device="cuda:1", precision="bfloat16").resolve()


def test_autocast():
    ones = torch.ones(2, 2)
    for bf16, dtype in [(True, torch.bfloat16), (False, torch.float32)]:
        with ResolvedEngine(torch.device("cpu"), bf16, 1).autocast():
            assert (ones @ ones).dtype == dtype


@pytest.mark.parametrize("values", [{"threads": 0}, {"threads": -1}, {"batch_size": 0}])
def test_numbers_that_make_no_sense(values):
    with pytest.raises(InputError, match="Choose 1 or more"):
        Engine(**values).resolve()


def test_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert engine.default_threads() == 3
    for unset in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", unset)
        assert 1 <= engine.default_threads() <= os.cpu_count()
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(engine, "_physical_cores", lambda: 8)
    monkeypatch.setattr(engine, "_allowed_processors", lambda: 3)
    assert engine.default_threads() == 3


def test_fast_bf16_is_read_from_the_processor(monkeypatch):
    def flags(text):
        engine.has_fast_bf16.cache_clear()
        monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
        return engine.has_fast_bf16()

    assert flags("flags : fpu avx512f avx512_bf16")
    assert flags("flags : fpu amx_bf16")
    assert flags("Features : fp asimd bf16")
    assert not flags("flags : fpu avx2 avx512f avx512_vnni")
    engine.has_fast_bf16.cache_clear()


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("MPS backend out of memory")],
)
def test_memory_of_the_gpu_runs_out(gpu, error):
    devices = []

    def work(resolved):
        devices.append(resolved.device.type)
        if resolved.device.type != "cpu":
            raise error
        return "done"

    result, used = run_with_fallback(work, Engine())
    assert (result, devices, used.device.type) == ("done", ["cuda", "cpu"], "cpu")
    assert used.notes[-1] == "The memory of cuda:0 (Test card) ran out, so this ran on the CPU."


def test_other_errors_are_not_hidden(gpu, no_gpu):
    def fail(error):
        raise error

    with pytest.raises(RuntimeError, match="shape"):
        run_with_fallback(lambda _: fail(RuntimeError("shape mismatch")), Engine())
    with pytest.raises(RuntimeError, match="out of memory"):  # on the CPU there is nowhere to go
        run_with_fallback(lambda _: fail(RuntimeError("out of memory")), Engine(device="cpu"))


def test_no_pytorch(monkeypatch):
    real = builtins.__import__

    def without_torch(name, *arguments):
        if name == "torch":
            raise OSError("a library could not be loaded")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(DependencyError, match="install the PyTorch extension"):
        Engine().resolve()


def test_device_names():
    assert ResolvedEngine(SimpleNamespace(type="mps", __str__=None), False, 1).precision == "float32"


MODULES = [
    path.stem
    for path in sorted(COMMON.glob("*.py"))
    if path.stem
    in set(
        "archives catalogue checkpoints downloads engine errors files geometry jobs model_store processes progress "
        "provenance report report_style tables tasks volumes weights worker".split()
    )
]


def test_importing_the_floor_imports_nothing_heavy():
    heavy = ["torch", "SimpleITK", "PIL", "scipy", "h5py", "psutil", "safetensors", "pydicom"]
    script = (
        "import importlib, sys\n"
        f"for name in {MODULES!r}: importlib.import_module('SpineMotionToolsLib.common.' + name)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"
    assert len(MODULES) >= 18

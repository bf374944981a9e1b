"""Where and how networks run: device, precision, threads, batch size, and the CPU when a GPU's memory runs out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from SpineMotionToolsLib.common.errors import DependencyError, InputError

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Engine:
    """What the user chose: device "auto", "cpu", "cuda", "cuda:1", "mps"; precision "auto", "float32", "bfloat16".

    `threads` None means one per physical core that this process may use; `batch_size` None leaves it to the system.
    """

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    batch_size: int | None = None

    def resolve(self) -> ResolvedEngine:
        """The engine as this computer can run it; sets PyTorch's thread count.

        Raises InputError for a device or precision this computer has not, DependencyError without PyTorch.
        """
        torch = import_torch()
        if self.precision not in PRECISIONS:
            raise InputError(f"The precision {self.precision!r} is unknown. Choose one of {', '.join(PRECISIONS)}.")
        for name, value in (("threads", self.threads), ("batch size", self.batch_size)):
            if value is not None and value < 1:
                raise InputError(f"The number given for {name} is {value}. Choose 1 or more.")
        device = _device(torch, self.device)
        threads = self.threads or default_threads()
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
        bf16, notes = _bf16(torch, device, self.precision)
        return ResolvedEngine(device, bf16, threads, self.batch_size, notes)


@dataclass(frozen=True)
class ResolvedEngine:
    """An engine on this computer; `notes` are sentences for the provenance."""

    device: torch.device
    bf16: bool
    threads: int
    batch_size: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def precision(self) -> str:
        return "bfloat16" if self.bf16 else "float32"

    @property
    def device_name(self) -> str:
        """For people and provenance, e.g. "cuda:0 (NVIDIA H200)" or "cpu (8 threads)"."""
        if self.device.type == "cuda":
            import torch

            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        return f"cpu ({self.threads} threads)" if self.device.type == "cpu" else str(self.device)

    def autocast(self) -> AbstractContextManager:
        """The context in which networks run: bfloat16 autocast, or nothing in float32."""
        import torch

        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


def run_with_fallback(function: Callable[[ResolvedEngine], Result], engine: Engine) -> tuple[Result, ResolvedEngine]:
    """`function(resolved)` on the engine's device, and once more on the CPU when the GPU's memory runs out.

    Returns the result and the engine that made it; after a fallback its `notes` say so.
    """
    resolved = engine.resolve()
    try:
        return function(resolved), resolved
    except RuntimeError as error:
        if resolved.device.type == "cpu" or not is_out_of_memory(error):
            raise
    # Outside the except block, where the traceback no longer keeps the GPU's tensors alive.
    free_memory(resolved.device)
    note = f"The memory of {resolved.device_name} ran out, so this ran on the CPU."
    on_cpu = replace(engine, device="cpu").resolve()
    on_cpu = replace(on_cpu, notes=(*on_cpu.notes, note))
    return function(on_cpu), on_cpu


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an accelerator's memory ran out (CUDA and MPS word it differently)."""
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error).lower()


def free_memory(device: torch.device) -> None:
    """Give cached accelerator memory back."""
    import gc

    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@lru_cache(maxsize=1)
def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16, AMX or Arm BF16); others only emulate it."""
    with suppress(OSError):
        flags = set(Path("/proc/cpuinfo").read_text(errors="replace", encoding="utf-8").split())
        return bool(flags & {"avx512_bf16", "amx_bf16"}) or ("bf16" in flags and "asimd" in flags)
    with suppress(ImportError, AttributeError, RuntimeError):
        import torch

        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def default_threads() -> int:
    """OMP_NUM_THREADS when set, else the physical cores that affinity and container limits leave to this process."""
    with suppress(ValueError):
        if (wanted := int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])) > 0:
            return wanted
    return max(1, min(_physical_cores(), _allowed_processors()))


def import_torch():
    """The torch module; raises DependencyError with the next step when PyTorch is missing or broken."""
    try:
        import torch
    except (ImportError, OSError) as error:  # a half-installed PyTorch fails with OSError on Windows
        raise DependencyError(
            "PyTorch is not installed or cannot be loaded. In 3D Slicer install the PyTorch extension and let it "
            f"install PyTorch; elsewhere run: pip install torch. ({error})"
        ) from error
    return torch


def _device(torch, wanted: str) -> torch.device:
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"The device {wanted!r} is unknown. Choose auto, cpu, cuda, cuda:N or mps.") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"The device {wanted!r} is not supported. Choose auto, cpu, cuda, cuda:N or mps.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        found = f"only {count} CUDA device(s) are present" if count else "no CUDA device is available to PyTorch"
        raise InputError(f"The device {wanted!r} cannot be used: {found}. Choose auto or cpu, or install a CUDA build.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("The device 'mps' cannot be used: this computer has no Apple GPU. Choose auto or cpu.")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return device


def _bf16(torch, device: torch.device, precision: str) -> tuple[bool, tuple[str, ...]]:
    if precision == "float32":
        return False, ()
    if device.type == "cuda":
        # Cards before Ampere (compute capability 8) emulate bfloat16.
        supported = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        supported = device.type == "cpu" and has_fast_bf16()
    if precision == "auto" or supported:
        return supported, ()
    if device.type == "cpu":
        return True, ("This CPU emulates bfloat16, which is slower than float32.",)
    raise InputError(f"The device {device} has no bfloat16. Choose the precision float32 or auto.")


def _physical_cores() -> int:
    try:
        import psutil

        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    except ImportError:
        return os.cpu_count() or 1


def _allowed_processors() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if sys.platform == "linux":
        with suppress(OSError, ValueError):  # "max 100000" where there is no limit
            quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
            allowed = min(allowed, max(1, round(int(quota) / int(period))))
    return allowed

"""Tasks that every system can use: check this computer, download a model, add the user's own files of one.

They run in a child process, where a broken PyTorch does no harm and a slow connection blocks nothing.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.progress import Progress, no_progress

PACKAGES = ("numpy", "scipy", "SimpleITK", "PIL", "safetensors", "h5py", "pydicom", "highdicom", "psutil", "av", "cv2")


def torch_check(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """What this computer offers to the networks: versions, devices, memory, and one product computed on each device.

    Takes no parameters. Raises DependencyError when PyTorch is missing or broken.
    """
    from SpineMotionToolsLib.common import engine

    progress(0, 3, "Loading PyTorch")
    torch = engine.import_torch()
    names = [
        "cpu",
        *(f"cuda:{n}" for n in range(torch.cuda.device_count())),
        *["mps"] * torch.backends.mps.is_available(),
    ]
    progress(1, 3, "Trying the devices")
    devices = [_try_device(torch, name) for name in names]
    progress(2, 3, "Reading versions")
    return {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "torch": torch.__version__,
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": devices,
        "threads": engine.default_threads(),
        "fast_bf16_cpu": engine.has_fast_bf16(),
        **_memory(),
        "temporary_folder_writable": _writable(Path(tempfile.gettempdir())),
    }


def download_model(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Fetch a set of weights (`model_store.download`).

    Parameters: "model_id", "accept_license" (true: the user accepted it just now). Result: "paths".
    """
    from SpineMotionToolsLib.common import model_store

    return {"paths": model_store.download(parameters["model_id"], parameters["accept_license"], progress)}


def add_model_files(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Copy a set of weights from the user's own files (`model_store.add_files`).

    Parameters: "model_id", "source" (file, folder or archive), "accept_license". Result: "paths".
    """
    from SpineMotionToolsLib.common import model_store

    model_id, source = parameters["model_id"], parameters["source"]
    return {"paths": model_store.add_files(model_id, source, parameters["accept_license"], progress)}


def _try_device(torch: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"device": name, "name": platform.processor() or "CPU", "works": False, "error": ""}
    try:
        if name.startswith("cuda"):
            properties = torch.cuda.get_device_properties(name)
            found |= {"name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
        product = torch.ones(8, 8, device=name) @ torch.ones(8, 8, device=name)
        found["works"] = bool((product == 8).all())
    except RuntimeError as error:  # a card that this PyTorch build does not know
        found["error"] = str(error).splitlines()[0]
    return found


def _version(name: str) -> str | None:
    """The version of an installed package by its import name, without importing it; None when it is missing."""
    from importlib import metadata

    distribution = {"PIL": "pillow", "cv2": "opencv-python-headless"}.get(name, name)
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> dict[str, float]:
    import psutil

    memory = psutil.virtual_memory()
    return {"memory_gib": round(memory.total / 2**30, 1), "memory_free_gib": round(memory.available / 2**30, 1)}


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False

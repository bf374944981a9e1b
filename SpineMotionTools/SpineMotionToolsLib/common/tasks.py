"""Tasks that every system can use: check this computer, download a model, add the user's own files of one, reduce a
video for display.

They run in a child process, where a broken PyTorch does no harm and a slow connection blocks nothing.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import DependencyError
from SpineMotionToolsLib.common.progress import Progress, no_progress

PACKAGES = ("numpy", "scipy", "SimpleITK", "PIL", "safetensors", "h5py", "pydicom", "highdicom", "psutil", "av", "cv2")


def torch_check(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """What this computer offers to the networks: versions, devices, memory, and one product computed on each device.

    Takes no parameters. A missing or broken PyTorch is a finding too: "torch" is then empty and "torch_error" says why.
    """
    from SpineMotionToolsLib.common import engine
    from SpineMotionToolsLib.common.catalogue import models_folder

    progress(0, 3, "Loading PyTorch")
    version, error, devices = "", "", []
    try:
        torch = engine.import_torch()
        version = torch.__version__
        names = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
        names += ["mps"] * torch.backends.mps.is_available()
        progress(1, 3, "Trying the devices")
        devices = [_try_device(torch, name) for name in names]
    except DependencyError as problem:
        error = str(problem)
    progress(2, 3, "Reading versions")
    temporary = Path(tempfile.gettempdir())
    return {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "torch": version,
        "torch_error": error,
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": devices,
        "threads": engine.default_threads(),
        "fast_bf16_cpu": engine.has_fast_bf16(),
        **_memory(),
        "temporary_folder_writable": _writable(temporary),
        "models_folder_writable": _writable(_existing(models_folder())),
        "disk_free_gib": round(shutil.disk_usage(_existing(models_folder())).free / 2**30, 1),
    }


def model_size(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """What a download of a set of weights would fetch (`model_store.remote_size`).

    Parameters: "model_id". Returns {"bytes": number, or None when the server does not say}.
    """
    from SpineMotionToolsLib.common.model_store import remote_size

    return {"bytes": remote_size(parameters["model_id"])}


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


def preview_video(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Decode the frames of a video that are shown (`video_preview.write_preview`).

    Parameters: "video" (path of a file, or of a folder of pictures). The frames lie in the job's temporary folder.
    """
    from SpineMotionToolsLib.common.video import open_video
    from SpineMotionToolsLib.common.video_preview import write_preview

    path = parameters["video"]
    file = Path(tempfile.mkdtemp(prefix="preview-")) / "frames.npy"
    return write_preview(open_video(path), path, file, progress)


def _try_device(torch: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"device": name, "name": platform.processor() or "CPU", "works": False, "error": ""}
    try:
        if name.startswith("cuda"):
            properties = torch.cuda.get_device_properties(name)
            free, total = torch.cuda.mem_get_info(name)
            found |= {"name": properties.name, "memory_gib": round(total / 2**30, 1)}
            found |= {"memory_free_gib": round(free / 2**30, 1)}
        product = torch.ones(8, 8, device=name) @ torch.ones(8, 8, device=name)
        found["works"] = bool((product == 8).all())
    except RuntimeError as error:  # a card that this PyTorch build does not know
        found["error"] = str(error).splitlines()[0]
    return found


def _version(name: str) -> str | None:
    """The version of an installed package by its import name, without importing it; None when it is missing."""
    from importlib import metadata

    variants = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
    for distribution in {"PIL": ("pillow",), "cv2": variants}.get(name, (name,)):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return None


def _memory() -> dict[str, float | str]:
    try:
        import psutil
    except ImportError:  # a fresh Slicer: that it is missing stands among the packages
        return {"memory_gib": "?", "memory_free_gib": "?"}
    memory = psutil.virtual_memory()
    return {"memory_gib": round(memory.total / 2**30, 1), "memory_free_gib": round(memory.available / 2**30, 1)}


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: where it would be made."""
    return folder if folder.is_dir() or folder.parent == folder else _existing(folder.parent)


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False

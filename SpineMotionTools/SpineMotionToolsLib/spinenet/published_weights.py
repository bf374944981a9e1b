"""The published SpineNet weights: their files, their license, and their download on request."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from SpineMotionToolsLib.common.errors import WeightsError
from SpineMotionToolsLib.common.files import atomic_path
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.weights import models_folder, read_checkpoint

SOURCE = "https://www.robots.ox.ac.uk/~vgg/research/spinenet/weights/"
FILES = {
    "detection": "detect-vfr/ckpt435.pt",
    "appearance": "appearance/ckpt187.pt",
    "context": "context/ckpt16.pt",
    "grading": "grading/ckpt1.pt",
}
FOLDERS = {part: name.split("/")[0] for part, name in FILES.items()}
SMALLEST_BYTES = {"detection": 500_000_000, "appearance": 7_000_000, "context": 1_800_000, "grading": 230_000_000}

LICENSE_NOTICE = (
    "Made with the SpineNet weights of the University of Oxford: non-commercial research use only. The license covers "
    "these results too. Not a medical device."
)
LICENSE_TEXT = """\
SpineNet's weights are the property of the University of Oxford (Visual Geometry Group) and come under its own terms:

* Non-commercial research only. This covers the weights and the results made with them.
* Not a medical device: results must not guide the care of a patient.
* Users have duties of notification, and derived work must carry the license.

Read the full license at https://github.com/rwindsor1/SpineNet before you accept. Please cite Windsor, Jamaludin, Kadir
and Zisserman, "SpineNetV2: Automated Detection, Labelling and Radiological Grading Of Clinical MR Scans",
arXiv:2205.01683.

The download is about 783 MiB in four files.
"""
BLOCK = 1 << 20
TIMEOUT_S = 60


def installed_folder() -> Path:
    """Where downloaded published weights are kept."""
    return models_folder() / "spinenet-v2"


def missing_files(folder: Path | None = None) -> list[str]:
    """Names of the published files that are not in the folder yet."""
    folder = folder or installed_folder()
    return [name for name in FILES.values() if not (folder / name).is_file()]


def download(
    folder: Path | None = None, accept_license: bool = False, progress: Progress = no_progress, source: str = SOURCE
) -> Path:
    """Fetch the published files that are missing; returns their folder.

    `accept_license` must be given after the user has read and accepted `LICENSE_TEXT`. A file counts only when it has
    arrived whole and reads as weights. Raises WeightsError.
    """
    if not accept_license:
        raise WeightsError("The published weights come under a license that has to be read and accepted first.")
    folder = folder or installed_folder()
    for part, name in FILES.items():
        if not (folder / name).is_file():
            _fetch(source + name, folder / name, SMALLEST_BYTES[part], progress)
    return folder


def _fetch(url: str, path: Path, smallest: int, progress: Progress) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, atomic_path(path) as temporary:
            size = int(answer.headers.get("Content-Length") or 0)
            with temporary.open("wb") as file:
                while block := answer.read(BLOCK):
                    file.write(block)
                    progress(file.tell(), size or smallest, f"Getting {path.parent.name}/{path.name}")
                got = file.tell()
            if got < smallest or (size and got != size):
                raise WeightsError(f"{url} ended after {got} bytes. Check the network connection, then try again.")
            read_checkpoint(temporary)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise WeightsError(
            f"{url} could not be fetched: {getattr(error, 'reason', error)}. Check the network connection, then try "
            f"again, or download it by hand into {path.parent}."
        ) from error

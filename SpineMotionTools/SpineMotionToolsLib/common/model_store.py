"""The user's weights on disk: accept a license, download or add the files, check them, delete them.

Nothing here reaches the network but `download` and `remote_size`, which run after a click or a flag.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.archives import members_of
from SpineMotionToolsLib.common.catalogue import ModelEntry, ModelFile, find_model, models_folder
from SpineMotionToolsLib.common.downloads import fetch, remote_length
from SpineMotionToolsLib.common.errors import WeightsError
from SpineMotionToolsLib.common.files import atomic_path, folder_lock, output_error, write_json
from SpineMotionToolsLib.common.progress import Progress, no_progress
from SpineMotionToolsLib.common.weights import copies_of, sha256_of

ACKNOWLEDGED = "acknowledged.json"
RECEIPT = "receipt.json"
MAX_BYTES = 4 * 2**30
"""No file of any set is nearly as large: what claims to be is refused."""
OTHER_DOWNLOAD_S = 2.0


@dataclass(frozen=True)
class ModelState:
    """Whether a set is here: "present", "absent" or "mismatch" (files missing, of another size or changed), and why."""

    state: str
    problems: tuple[str, ...] = ()


def model_state(model_id: str, thorough: bool = False) -> ModelState:
    """What is on disk of a set; `thorough` also computes every file's SHA-256.

    Files are compared with the catalogue, or with what was recorded when they were added where it knows no sizes.
    """
    entry = find_model(model_id)
    if not any(path.is_file() for path in entry.paths):
        return ModelState("absent")
    problems = tuple(filter(None, (file_problem(entry, file, thorough) for file in entry.files)))
    return ModelState("mismatch" if problems else "present", problems)


def model_paths(model_id: str) -> list[Path]:
    """The files of a set, ready to load; raises WeightsError with the next step when they are not whole."""
    entry, found = find_model(model_id), model_state(model_id)
    if found.state == "present":
        return entry.paths
    if entry.starter:
        raise WeightsError(f"The starter set {entry.title} is not whole. Install SpineMotionTools again.")
    how = "Download it on the page SpineMotionTools" if entry.downloadable else f"Get it at {entry.source} and add it"
    why = "is not on this computer" if found.state == "absent" else f"is not whole ({'; '.join(found.problems)})"
    raise WeightsError(f"The model {entry.title} {why}. {how}, or choose another model.")


def acknowledge(model_id: str) -> None:
    """Remember that the user accepted the license of a set: its id, the license and the time. Raises OutputError."""
    entry = find_model(model_id)
    with folder_lock(models_folder()):
        path = models_folder() / ACKNOWLEDGED
        note = {"license": entry.license, "license_url": entry.license_url, "time_utc": _now()}
        write_json(path, {**_read_json(path), model_id: note})


def is_acknowledged(model_id: str) -> bool:
    """Whether the user accepted the license of a set, as it reads now; starter sets need no acceptance."""
    entry = find_model(model_id)
    return entry.starter or _read_json(models_folder() / ACKNOWLEDGED).get(model_id, {}).get("license") == entry.license


def remote_size(model_id: str) -> int | None:
    """The bytes that a download would fetch, as the server says now; None when it does not say. Raises WeightsError."""
    entry = find_model(model_id)
    sizes = [file.size or remote_length(file.url) for file in _remote_files(entry)]
    return None if None in sizes else sum(sizes)


def download(model_id: str, accept_license: bool, progress: Progress = no_progress) -> list[Path]:
    """Fetch the files of a set that are not here yet; returns their paths.

    `accept_license` says that the user accepted the license just now. An interrupted download goes on where it stopped;
    files are checked before they get their name. `progress` counts bytes and may raise Cancelled. Raises WeightsError
    for a license not accepted, a set without a download, or a failed one; OutputError for a full or read-only disk.
    """
    entry = find_model(model_id)
    _need_license(entry, accept_license)
    files = _remote_files(entry)
    with folder_lock(entry.folder, OTHER_DOWNLOAD_S):  # two would write into one part
        for number, file in enumerate(files, start=1):
            path = entry.folder / file.name
            if file is not entry.archive and file_problem(entry, file, thorough=True) is None:
                continue
            what = f"{file.name} ({number} of {len(files)})"
            fetch(file.url, path, what, size=file.size, sha256=file.sha256, max_bytes=MAX_BYTES, progress=progress)
            if file is entry.archive:
                add_files(model_id, path, accept_license=True)
                path.unlink()
        _write_receipt(entry)
    return entry.paths


def add_files(model_id: str, source: Path | str, accept_license: bool, progress: Progress = no_progress) -> list[Path]:
    """Copy a set's files from the user's own file, folder or archive (.zip, .tar, .tar.gz); returns their paths.

    Files are found by their catalogue names, at any depth; nothing else is read. Raises WeightsError when one is
    missing or has another checksum, or the archive is damaged or dangerous; OutputError for a full or read-only disk.
    """
    entry = find_model(model_id)
    _need_license(entry, accept_license)
    with members_of(Path(source), MAX_BYTES) as members:
        chosen = {file.name: _member_named(file.name, members) for file in entry.files}
        if missing := [name for name, member in chosen.items() if member is None]:
            raise WeightsError(
                f"{Path(source).name} does not hold {', '.join(missing)}, which {entry.title} needs. "
                "Choose the file, folder or archive that does."
            )
        for number, (file, path) in enumerate(zip(entry.files, entry.paths)):
            progress(number, len(entry.files), f"Copying {file.name}")
            with atomic_path(path) as temporary:
                members[chosen[file.name]](temporary)
                if not _fits(temporary, file):
                    raise WeightsError(
                        f"{file.name} is not the published file (another size or SHA-256). Get it again."
                    )
    _write_receipt(entry)
    progress(len(entry.files), len(entry.files), "")
    return entry.paths


def delete_model(model_id: str) -> None:
    """Remove a set's files and their converted copies from this computer; starter sets stay. Raises OutputError."""
    entry = find_model(model_id)
    if entry.starter or not entry.folder.exists():
        return
    known = _read_json(entry.folder / RECEIPT).get("files", {}).values()
    try:
        for copy in (copy for file in known for copy in copies_of(file.get("sha256", ""))):
            copy.unlink()
        shutil.rmtree(entry.folder)
    except OSError as error:
        raise output_error(entry.folder, error) from error


def _remote_files(entry: ModelEntry) -> tuple[ModelFile, ...]:
    if not entry.downloadable:
        raise WeightsError(f"{entry.title} cannot be downloaded from here. Get it at {entry.source} and add its files.")
    return (entry.archive,) if entry.archive else entry.files


def _need_license(entry: ModelEntry, accept_license: bool) -> None:
    if entry.starter:
        raise WeightsError(f"{entry.title} ships with SpineMotionTools: there is nothing to fetch.")
    if accept_license:
        acknowledge(entry.id)
    elif not is_acknowledged(entry.id):
        raise WeightsError(f"Accept the license of {entry.title} first: {entry.license} ({entry.license_url}).")


def file_problem(entry: ModelEntry, file: ModelFile, thorough: bool) -> str | None:
    """What is wrong with one file of a set on disk, None when nothing is."""
    path = entry.folder / file.name
    known = _read_json(entry.folder / RECEIPT).get("files", {}).get(file.name, {})
    size, digest = file.size or known.get("size"), file.sha256 or known.get("sha256")
    if not path.is_file():
        return f"{file.name} is missing"
    if size is not None and path.stat().st_size != size:
        return f"{file.name} has {path.stat().st_size} bytes instead of {size}"
    if thorough and digest is not None and sha256_of(path) != digest:
        return f"{file.name} has changed (another SHA-256)"
    return None


def _fits(path: Path, file: ModelFile) -> bool:
    if file.size is not None and path.stat().st_size != file.size:
        return False
    return file.sha256 is None or sha256_of(path) == file.sha256


def _member_named(name: str, members: dict[str, Any]) -> str | None:
    """The member with this path, or whose path ends in it or in its last part; the shortest where several do."""
    for ending in (name, name.rpartition("/")[2]):
        if found := [member for member in members if member == ending or member.endswith(f"/{ending}")]:
            return min(found, key=len)
    return None


def _write_receipt(entry: ModelEntry) -> None:
    """Record what was added, so that a later change is noticed also where the catalogue knows no checksum."""
    files = {
        file.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for file, path in zip(entry.files, entry.paths)
    }
    write_json(entry.folder / RECEIPT, {"model": entry.id, "source": entry.source, "added_utc": _now(), "files": files})


def _read_json(path: Path) -> dict[str, Any]:
    """The content of a file of ours; nothing when it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

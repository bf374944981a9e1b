"""Files written whole or not at all, names that every system accepts, and one writer at a time in a folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import socket
import sys
import tempfile
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import OutputError

LOCK_NAME = ".spinemotion.lock"
_pending: set[Path] = set()
_announce: list[Callable[[Path], None]] = []

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_RESERVED_ON_WINDOWS = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` that is renamed onto it on success and removed on failure.

    Readers see the old file or the whole new one, never a part. The temporary name keeps the extension, because writers
    choose the format by it. Missing parent folders are made. Raises OutputError for a read-only, full or missing place.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{_extension(path)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    _pending.add(temporary)
    for announce in _announce:
        announce(temporary)
    try:
        yield temporary
        _replace(temporary, path)
    except OSError as error:
        if error.errno in _FULL or error.filename in (str(temporary), temporary):
            raise output_error(path, error) from error
        raise  # an input that could not be read inside the block is not an output problem
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _pending.discard(temporary)


def make_folder(path: Path | str) -> Path:
    """The folder for results, made if it is not there: to be asked for before the work that fills it; raises
    OutputError, also when nothing can be written there.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise output_error(path, error) from error
    return path


def write_text(path: Path | str, text: str, newline: str = "\n") -> None:
    """Write UTF-8 text atomically, every line end as `newline`; raises OutputError.

    Bytes of file names that are no characters (those of old archives) become question marks.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.replace("\r\n", "\n").replace("\n", newline).encode("utf-8", errors="replace"))


def write_json(path: Path | str, obj: Any, sort_keys: bool = False) -> None:
    """Write `obj` as indented UTF-8 JSON atomically (values made plain by `plain`); raises OutputError."""
    text = json.dumps(obj, indent=2, sort_keys=sort_keys, ensure_ascii=False, default=plain)
    if not text.isascii() and re.search("[\ud800-\udfff]", text):  # paths must come back as they were
        text = json.dumps(obj, indent=2, sort_keys=sort_keys, default=plain)
    write_text(path, text + "\n")


def plain(value: Any) -> Any:
    """The `default` of `json.dumps`: NumPy numbers and arrays, paths, sets and objects with `to_json()` made plain."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


@contextmanager
def folder_lock(folder: Path | str, timeout_s: float = 30.0) -> Iterator[None]:
    """Hold the folder for one short read-modify-write section; other processes and threads wait their turn.

    The lock is the operating system's, on a small file in the folder, so it is free again the moment its holder ends,
    however it ends. Not re-entrant. Raises OutputError when the folder cannot be written or stays held for `timeout_s`.
    """
    folder = Path(folder)
    path = folder / LOCK_NAME
    deadline = time.monotonic() + timeout_s
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while (lock := _try_lock(path, patient=time.monotonic() < deadline - timeout_s + 1)) is None:
            if time.monotonic() > deadline:
                raise OutputError(
                    f"The folder {folder} is in use by another run ({_holder(path)}). "
                    "Wait until it ends, then try again."
                )
            time.sleep(0.01)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield
    finally:
        _unlock(path, lock)


def safe_name(text: str, room: int = 0) -> str:
    """`text` as a file name that Windows, macOS and Linux accept: never empty, at most 120 characters and 200 bytes.

    `room`: how many of these stay free for an ending.
    """
    name = unicodedata.normalize("NFC", str(text))
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]', "_", name)[: 120 - room]
    name = name.encode("utf-8")[: 200 - room].decode("utf-8", errors="ignore").strip().rstrip(". ")
    if name.split(".")[0].strip().upper() in _RESERVED_ON_WINDOWS:
        name = f"_{name}"
    return name or "unnamed"


def unique_names(cases: Sequence[tuple[str, Path]], taken: Iterable[str] = ()) -> list[tuple[str, Path]]:
    """The cases with safe names that differ also where upper and lower case do not matter, and from those `taken`.

    A second one of a name gets its folder's name before it, and a number where that is not enough.
    """
    used = {name.lower() for name in taken}
    named = []
    for wanted, path in cases:
        name, number = safe_name(wanted), 1
        if name.lower() in used:
            name = safe_name(f"{path.parent.name}_{wanted}")
        base = name
        while name.lower() in used:
            number += 1
            ending = f"_{number}"
            name = safe_name(base, len(ending)) + ending
        used.add(name.lower())
        named.append((name, path))
    return named


def source_stamp(path: Path, leave_out: Sequence[Path] = ()) -> dict[str, Any]:
    """What tells that a file, or the files of a folder, are still the same: name, bytes, newest time of change.

    Files and folders of `leave_out`, such as results that lie in the folder, do not count. Raises OSError.
    """
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    states = [file.stat() for file in files if not any(file.is_relative_to(other) for other in leave_out)]
    return {
        "name": path.name,
        "bytes": sum(state.st_size for state in states),
        "modified_ns": max((state.st_mtime_ns for state in states), default=0),
    }


def announce_temporaries(announce: Callable[[Path], None]) -> None:
    """Call `announce(path)` for every temporary file from now on, so that others can remove it after a crash."""
    _announce.append(announce)


def sha256_of_file(path: Path | str) -> str:
    """The SHA-256 of a file as 64 hexadecimal digits; raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_pending() -> None:
    """Remove the temporary files of unfinished `atomic_path` blocks; for a process about to end without unwinding."""
    for temporary in list(_pending):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def output_error(path: Path, error: OSError) -> OutputError:
    """The sentence for a file or folder that could not be written."""
    if error.errno in _FULL:
        return OutputError(f"{path} could not be written: the disk is full. Free some space, then try again.")
    if error.errno in _FORBIDDEN:
        return OutputError(
            f"{path} could not be written: the folder is read-only or the file is open in another program. "
            "Close it there or choose another folder, then try again."
        )
    return OutputError(
        f"{path} could not be written: {error.strerror or error}. Choose another folder, then try again."
    )


def _extension(path: Path) -> str:
    return "".join(path.suffixes[-2:]) if path.suffix.lower() in (".gz", ".zip") else path.suffix


def _replace(temporary: Path, path: Path) -> None:
    # On Windows a virus scanner or indexer may hold a fresh file for a moment.
    for wait_s in (0.05, 0.2, 0.5) if sys.platform == "win32" else ():
        try:
            return os.replace(temporary, path)
        except PermissionError:
            time.sleep(wait_s)
    os.replace(temporary, path)


def _try_lock(path: Path, patient: bool) -> int | None:
    """A descriptor that holds the lock on `path`, or None when another holder has it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if sys.platform == "win32" and patient:  # its last holder is just removing it
            return None
        raise
    try:
        if not _lock_descriptor(descriptor):
            os.close(descriptor)
            return None
        # The previous holder removes the file before it lets go: a lock on a removed file excludes nobody.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps(note).encode())
                return descriptor
        os.close(descriptor)
        return None
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def _unlock(path: Path, descriptor: int) -> None:
    if sys.platform == "win32":  # an open file cannot be removed there
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()
    else:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock_descriptor(descriptor: int) -> bool:
        # A byte far beyond the note, because a locked byte cannot be read by others there.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock_descriptor(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return True  # some network drives have no locks: to refuse them would be worse than two runs at once


def _holder(path: Path) -> str:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']}, since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its name could not be read"

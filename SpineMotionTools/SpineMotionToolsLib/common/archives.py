"""Files inside a folder, a zip or a tar archive, read without ever following a path the archive chose."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from SpineMotionToolsLib.common.errors import InputError, WeightsError

Copy = Callable[[Path], None]
MAX_MEMBERS = 10_000

_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, lzma.LZMAError,
    EOFError, NotImplementedError, RuntimeError,
)  # fmt: skip


@contextmanager
def members_of(source: Path, max_bytes: int) -> Iterator[dict[str, Copy]]:
    """Yield what `source` (a file, folder, .zip, .tar or .tar.gz) holds: path -> function that copies it to a file.

    Raises InputError when it does not exist, WeightsError for a damaged archive, one with more than 10 000 members, one
    that unpacks to more than `max_bytes`, or one that holds links or paths leading out of it.
    """
    if source.is_dir():
        paths = (path for path in sorted(source.rglob("*")) if path.is_file())
        yield {path.relative_to(source).as_posix(): _copy_of_file(path) for path in paths}
    elif not source.exists():
        raise InputError(f"{source} does not exist. Check the name.")
    elif zipfile.is_zipfile(source) and source.suffix.lower() == ".zip":  # .pt files are zip files too
        with _damage_as_sentence(source), zipfile.ZipFile(source) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            links = any((info.external_attr >> 16) & 0o170000 == 0o120000 for info in infos)
            _check(source, [info.filename for info in infos], sum(info.file_size for info in infos), max_bytes, links)
            yield {_clean(info.filename): _copy_of_stream(lambda info=info: archive.open(info)) for info in infos}
    elif source.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        with _damage_as_sentence(source), tarfile.open(source) as archive:
            infos = [info for info in archive if not info.isdir()]
            links = not all(info.isfile() for info in infos)
            _check(source, [info.name for info in infos], sum(info.size for info in infos), max_bytes, links)
            yield {_clean(info.name): _copy_of_stream(lambda info=info: archive.extractfile(info)) for info in infos}
    else:
        yield {source.name: _copy_of_file(source)}


def _check(source: Path, names: list[str], total_bytes: int, max_bytes: int, links: bool) -> None:
    if links or any(_escapes(name) for name in names):
        raise WeightsError(
            f"{source.name} was refused: it holds links, or paths that lead out of it. Get it at its source."
        )
    if total_bytes > max_bytes or len(names) > MAX_MEMBERS:
        raise WeightsError(
            f"{source.name} was refused: it unpacks to far more than weights need. Get it at its source."
        )


def _escapes(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or ":" in name


def _clean(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def _copy_of_file(path: Path) -> Copy:
    return lambda target: None if shutil.copyfile(path, target) else None


def _copy_of_stream(open_member: Callable[[], IO[bytes]]) -> Copy:
    def copy(target: Path) -> None:
        # Both readers stop at the size that the archive declared, which was checked.
        with open_member() as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)

    return copy


@contextmanager
def _damage_as_sentence(source: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise WeightsError(f"{source.name} is a damaged or encrypted archive. Get it again.") from error

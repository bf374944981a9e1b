"""One file from the web: resumed where it stopped, checked, and named only when it is whole."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import SpineMotionToolsLib
from SpineMotionToolsLib.common.errors import OutputError, WeightsError
from SpineMotionToolsLib.common.files import output_error, sha256_of_file
from SpineMotionToolsLib.common.progress import Progress, no_progress

TIMEOUT_S = 60
SIZE_TIMEOUT_S = 15  # somebody waits for the question
BLOCK_BYTES = 256 * 1024


def remote_length(url: str) -> int | None:
    """The size in bytes that the server states for a URL, None when it states none. Raises WeightsError."""
    with _failure_as_sentence(url), _open(url, {}, "HEAD", SIZE_TIMEOUT_S) as response:
        return _length(response)


def fetch(
    url: str,
    path: Path,
    what: str,
    *,
    size: int | None = None,
    sha256: str | None = None,
    max_bytes: int,
    progress: Progress = no_progress,
) -> None:
    """Fetch `url` into `path`; `what` names it in progress texts, `size` and `sha256` are checked where given.

    What arrived before an interruption lies in `<name>.part` and is used next time, if the server still has that file.
    Raises WeightsError (connection, web page instead of a file, wrong size or checksum), OutputError, Cancelled.
    """
    part, tag = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.tag")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _failure_as_sentence(url):
            _continue(url, part, tag, what, size, max_bytes, progress)
        if size is not None and part.stat().st_size != size:
            raise _refused(part, tag, f"{what} has another size than the published file. Try again later.")
        if sha256 is not None and sha256_of_file(part) != sha256:
            raise _refused(part, tag, f"{what} differs from the published file (SHA-256). Try again later.")
        tag.unlink(missing_ok=True)
        os.replace(part, path)
    except OSError as error:
        raise output_error(path, error) from error


def _continue(url: str, part: Path, tag: Path, what: str, size: int | None, max_bytes: int, progress: Progress) -> None:
    done = part.stat().st_size if part.is_file() and tag.is_file() else 0
    # If-Range: the server sends the whole file when it is not the one the part came from.
    headers = {"Range": f"bytes={done}-", "If-Range": tag.read_text("utf-8")} if done else {}
    try:
        response = _open(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the part already is the whole file, or longer
            raise
        response = _open(url, {})
    with response:
        if response.headers.get_content_type() == "text/html":
            raise WeightsError(f"{what}: the server sent a web page instead of the file. Open {url} in a browser.")
        done = done if response.status == 206 else 0
        length = _length(response)
        total = size or (None if length is None else done + length)
        if (total or 0) > max_bytes:
            raise WeightsError(f"{what} is {total} bytes, far more than weights need; it was not fetched.")
        if length is not None and length > shutil.disk_usage(part.parent).free:
            raise OutputError(
                f"{part.parent} has no room for {length / 2**20:.0f} MB. Free some space, then try again."
            )
        if not done:
            _remember(tag, response)
        with part.open("ab" if done else "wb") as file:
            while block := response.read(BLOCK_BYTES):
                done += len(block)
                if done > max_bytes:
                    raise WeightsError(f"{what} is larger than weights need; it was not fetched.")
                file.write(block)
                progress(done, total or 0, f"Downloading {what}, {done / 2**20:.0f} of {_megabytes(total)} MB")
        if total is not None and done < total:
            raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _open(url: str, headers: dict[str, str], method: str = "GET", timeout_s: float = TIMEOUT_S) -> Any:
    _check_url(url)
    agent = f"SpineMotionTools/{SpineMotionToolsLib.__version__}"
    request = urllib.request.Request(url, headers={"User-Agent": agent, **headers}, method=method)
    response = urllib.request.urlopen(request, timeout=timeout_s)
    _check_url(response.geturl())  # after redirects
    return response


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        raise WeightsError(f"{url} is not a secure address (https); nothing was fetched.")


def _length(response: Any) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _remember(tag: Path, response: Any) -> None:
    """Keep what identifies the server's file; without it, the next try starts over."""
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    tag.unlink(missing_ok=True)
    if validator and not validator.startswith("W/"):
        tag.write_text(validator, "utf-8")


def _refused(part: Path, tag: Path, text: str) -> WeightsError:
    part.unlink(missing_ok=True)
    tag.unlink(missing_ok=True)
    return WeightsError(text)


@contextmanager
def _failure_as_sentence(url: str) -> Iterator[None]:
    host = urllib.parse.urlsplit(url).hostname
    try:
        yield
    except urllib.error.HTTPError as error:
        raise WeightsError(
            f"{host} answered {error.code} ({error.reason}) for {url}. Open it in a browser, or try again later."
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise WeightsError(
            f"The download from {host} failed: {getattr(error, 'reason', error)}. Check the connection and the proxy "
            "(environment variable HTTPS_PROXY), then try again; it goes on where it stopped."
        ) from error


def _megabytes(total: int | None) -> str:
    return "?" if total is None else f"{total / 2**20:.0f}"

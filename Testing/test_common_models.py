"""The catalogue of weights, licenses, downloads from a server of our own, and files the user adds."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import socket
import sys
import tarfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
from SpineMotionToolsLib.common import catalogue, downloads, model_store
from SpineMotionToolsLib.common.errors import Cancelled, InputError, OutputError, WeightsError
from SpineMotionToolsLib.common.files import folder_lock

CONTENT = bytes(range(256)) * 3000  # 768 kB: several blocks


@pytest.fixture(autouse=True)
def own_models_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "Modelle 骨"))
    return tmp_path / "Modelle 骨"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files`; what it was asked for is in `requests`, and it can break off, change or refuse ranges."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes] = {}
    requests: list[tuple[str, str, str | None]] = []
    break_after: int | None = None
    etag: str | None = '"one"'
    content_type = "application/octet-stream"

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        self.requests.append((self.command, self.path, self.headers.get("Range")))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/x")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if (wanted := self.headers.get("Range")) and self.headers.get("If-Range") == self.etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", self.content_type)
        self.send_header("Content-Length", str(len(content) - start))
        if self.etag:
            self.send_header("ETag", self.etag)
        self.end_headers()
        if body:
            if self.break_after is None:
                self.wfile.write(content[start:])
            else:
                self.wfile.write(content[start : start + self.break_after])
                self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A running server; its address is in `url`."""
    for name, value in {"files": {"/a.pt": CONTENT}, "requests": [], "break_after": None, "etag": '"one"'}.items():
        monkeypatch.setattr(Server, name, value)
    monkeypatch.setattr(Server, "content_type", "application/octet-stream")
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    Server.url = f"http://127.0.0.1:{running.server_port}"
    yield Server
    running.shutdown()
    running.server_close()


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Use a catalogue with one set of the given files."""

    def install(files, **fields):
        model = {
            "id": "test-set",
            "title": "Test set",
            "system": "motion",
            "purpose": "p",
            "license": "CC BY-NC-ND 4.0",
            "license_url": "https://example.org/license",
            "commercial_use": False,
            "citation": "c",
            "doi": "",
            "source": "https://example.org",
            "files": files,
            "starter": False,
            "note": "",
            **fields,
        }
        path = tmp_path / f"models-{len(list(tmp_path.iterdir()))}.json"
        path.write_text(json.dumps({"models": [model]}), encoding="utf-8")
        monkeypatch.setattr(catalogue, "CATALOGUE_PATH", path)
        return catalogue.find_model("test-set")

    return install


def described(name, content=CONTENT, url=""):
    return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "url": url}


def unknown(name, url=""):
    return {"name": name, "size": None, "sha256": None, "url": url}


# The catalogue


def test_the_catalogue_follows_its_schema():
    content = json.loads(catalogue.CATALOGUE_PATH.read_text(encoding="utf-8"))
    schema = json.loads(catalogue.SCHEMA_PATH.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(content)
    entries = catalogue.catalogue()
    assert list(entries) == [model["id"] for model in content["models"]]
    assert {entry.system for entry in entries.values() if entry.starter} == {
        "motion",
        "spinenet",
        "keypoints",
        "gait",
        "movements",
    }
    for entry in entries.values():
        assert len({path for path in entry.paths}) == len(entry.files)
        assert not entry.starter or entry.commercial_use


def test_the_catalogue_agrees_with_the_starter_files(capsys):
    assert catalogue.main([]) == 0, "run python -m SpineMotionToolsLib.common.catalogue --update"


def test_update_measures_starter_files(tmp_path, monkeypatch):
    (tmp_path / "motion-starter.safetensors").write_bytes(b"abc")
    (tmp_path / "motion-large.safetensors").write_bytes(b"abcd")
    models = [
        {
            "id": "motion-starter",
            "system": "motion",
            "starter": True,
            "files": [unknown("motion-starter.safetensors"), unknown("gone")],
        },
        {"id": "other", "system": "motion", "starter": False, "files": [unknown("x")]},
    ]
    first, second = catalogue.updated({"models": models}, tmp_path)["models"]
    assert [file["name"] for file in first["files"]] == [
        "gone",
        "motion-large.safetensors",
        "motion-starter.safetensors",
    ]
    assert [file["size"] for file in first["files"]] == [None, 4, 3]
    assert first["files"][2]["sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert second == models[1]
    monkeypatch.setattr(catalogue, "CATALOGUE_PATH", tmp_path / "models.json")
    (tmp_path / "models.json").write_text(json.dumps({"models": models}), encoding="utf-8")
    monkeypatch.setattr(catalogue.updated, "__defaults__", (tmp_path,))
    assert catalogue.main([]) == 1
    assert catalogue.main(["--update"]) == 0
    assert catalogue.main([]) == 0


def test_damaged_catalogue_and_unknown_model(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="is unknown. Choose one of: motion-starter"):
        catalogue.find_model("nothing")
    with pytest.raises(WeightsError, match="missing from this installation"):
        catalogue.starter_path("nothing.safetensors")
    (tmp_path / "models.json").write_text("{", encoding="utf-8")
    monkeypatch.setattr(catalogue, "CATALOGUE_PATH", tmp_path / "models.json")
    with pytest.raises(WeightsError, match="catalogue of models"):
        catalogue.catalogue()


# Licenses and states


def test_nothing_is_fetched_before_the_license(use, server):
    use([described("a.pt", url=f"{server.url}/a.pt")])
    with pytest.raises(WeightsError, match=r"Accept the license of Test set first: CC BY-NC-ND 4.0 \(https://example"):
        model_store.download("test-set", accept_license=False)
    assert server.requests == []
    model_store.acknowledge("test-set")
    assert model_store.is_acknowledged("test-set")
    note = json.loads((catalogue.models_folder() / "acknowledged.json").read_text(encoding="utf-8"))["test-set"]
    assert note["license"] == "CC BY-NC-ND 4.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note["time_utc"])
    model_store.download("test-set", accept_license=False)
    use([described("a.pt")], license="Another license")
    assert not model_store.is_acknowledged("test-set")


def test_states(use, own_models_folder):
    entry = use([described("b/a.pt"), unknown("c.pt")])
    assert model_store.model_state("test-set").state == "absent"
    with pytest.raises(WeightsError, match="is not on this computer. Get it at https://example.org and add it"):
        model_store.model_paths("test-set")
    source = own_models_folder.parent / "mine"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.pt").write_bytes(CONTENT)
    (source / "c.pt").write_bytes(b"c")
    assert model_store.add_files("test-set", source, accept_license=True) == entry.paths
    assert model_store.model_state("test-set", thorough=True).state == "present"
    assert model_store.model_paths("test-set") == [own_models_folder / "test-set" / "b" / "a.pt", entry.folder / "c.pt"]
    entry.paths[1].write_bytes(b"d")  # the catalogue does not know it, the receipt does
    assert model_store.model_state("test-set").state == "present"
    assert model_store.model_state("test-set", thorough=True).problems == ("c.pt has changed (another SHA-256)",)
    entry.paths[0].write_bytes(CONTENT[:10])
    entry.paths[1].unlink()
    found = model_store.model_state("test-set")
    assert found.state == "mismatch"
    assert found.problems == (f"b/a.pt has 10 bytes instead of {len(CONTENT)}", "c.pt is missing")
    with pytest.raises(WeightsError, match="is not whole .b/a.pt has 10 bytes"):
        model_store.model_paths("test-set")
    model_store.delete_model("test-set")
    assert model_store.model_state("test-set").state == "absent"
    model_store.delete_model("test-set")


def test_starter_sets_are_neither_fetched_nor_deleted():
    before = sorted(catalogue.STARTER_FOLDER.rglob("*"))
    for act in (model_store.download, lambda name, _: model_store.add_files(name, ".", True)):
        with pytest.raises(WeightsError, match="nothing to fetch"):
            act("motion-starter", True)
    model_store.delete_model("motion-starter")
    assert sorted(catalogue.STARTER_FOLDER.rglob("*")) == before
    assert model_store.is_acknowledged("motion-starter")


# Downloads


def test_download_checks_and_tells(use, server):
    entry = use([described("a/a.pt", url=f"{server.url}/a.pt"), unknown("b.pt", f"{server.url}/b.pt")])
    server.files["/b.pt"] = b"bbb"
    assert model_store.remote_size("test-set") == len(CONTENT) + 3
    seen = []
    assert model_store.download("test-set", True, lambda *report: seen.append(report)) == entry.paths
    assert [path.read_bytes() for path in entry.paths] == [CONTENT, b"bbb"]
    first = [report for report in seen if "a/a.pt (1 of 2)" in report[2]]
    assert [done for done, *_ in first] == sorted(done for done, *_ in first)
    assert first[-1][:2] == (len(CONTENT), len(CONTENT))
    assert model_store.model_state("test-set", thorough=True).state == "present"
    assert sorted(path.name for path in entry.folder.rglob("*") if path.is_file()) == ["a.pt", "b.pt", "receipt.json"]
    count = len(server.requests)
    model_store.download("test-set", True)  # everything is here
    assert len(server.requests) == count


def test_a_broken_download_goes_on_where_it_stopped(use, server):
    entry = use([unknown("a.pt", f"{server.url}/a.pt")])
    server.break_after = 300_000
    with pytest.raises(WeightsError, match="goes on where it stopped"):
        model_store.download("test-set", True)
    assert not entry.paths[0].exists()
    assert model_store.model_state("test-set").state == "absent"
    server.break_after = None
    model_store.download("test-set", True)
    assert server.requests[-1] == ("GET", "/a.pt", "bytes=300000-")
    assert entry.paths[0].read_bytes() == CONTENT
    assert not list(entry.folder.glob("*.part*"))


@pytest.mark.parametrize("etag", ['"two"', None, 'W/"weak"'])
def test_a_file_that_changed_meanwhile_is_fetched_whole(use, server, etag):
    entry = use([unknown("a.pt", f"{server.url}/a.pt")])
    server.break_after = 300_000
    server.etag = etag if etag != '"two"' else '"one"'
    with pytest.raises(WeightsError):
        model_store.download("test-set", True)
    server.break_after, server.etag = None, etag
    server.files["/a.pt"] = CONTENT[::-1]
    model_store.download("test-set", True)
    assert entry.paths[0].read_bytes() == CONTENT[::-1]


def test_a_part_that_is_already_whole(use, server):
    entry = use([unknown("a.pt", f"{server.url}/a.pt")])
    entry.folder.mkdir(parents=True)
    (entry.folder / "a.pt.part").write_bytes(CONTENT)
    (entry.folder / "a.pt.part.tag").write_text(server.etag, encoding="utf-8")
    model_store.download("test-set", True)
    assert entry.paths[0].read_bytes() == CONTENT


def test_cancel_keeps_what_arrived(use, server):
    entry = use([unknown("a.pt", f"{server.url}/a.pt")])

    def stop(done, of, text):
        raise Cancelled

    with pytest.raises(Cancelled):
        model_store.download("test-set", True, stop)
    assert 0 < (entry.folder / "a.pt.part").stat().st_size < len(CONTENT)
    assert not entry.paths[0].exists()


def test_wrong_content_is_refused(use, server):
    entry = use([described("a.pt", CONTENT[::-1], f"{server.url}/a.pt")])
    with pytest.raises(WeightsError, match="differs from the published file .SHA-256."):
        model_store.download("test-set", True)
    entry = use([described("a.pt", CONTENT[:-1], f"{server.url}/a.pt")])
    with pytest.raises(WeightsError, match="another size"):
        model_store.download("test-set", True)
    assert [path.name for path in entry.folder.iterdir()] == []


def test_a_web_page_is_no_file(use, server):
    entry = use([unknown("a.pt", f"{server.url}/a.pt")])
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(WeightsError, match="web page instead of the file"):
        model_store.download("test-set", True)
    assert not entry.paths[0].exists()


def test_servers_that_do_not_serve(use, server):
    use([unknown("a.pt", f"{server.url}/gone.pt")])
    for act in (lambda: model_store.download("test-set", True), lambda: model_store.remote_size("test-set")):
        with pytest.raises(WeightsError, match="answered 404"):
            act()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        use([unknown("a.pt", f"http://127.0.0.1:{unused.getsockname()[1]}/a.pt")])
        with pytest.raises(WeightsError, match="Check the connection and the proxy"):
            model_store.download("test-set", True)


@pytest.mark.parametrize("url", ["http://example.org/a.pt", "ftp://example.org/a", "file:///etc/passwd"])
def test_only_secure_addresses(use, url):
    use([unknown("a.pt", url)])
    with pytest.raises(WeightsError, match="not a secure address"):
        model_store.download("test-set", True)


def test_a_redirect_elsewhere(use, server):
    use([unknown("a.pt", f"{server.url}/moved")])
    with pytest.raises(WeightsError):
        model_store.download("test-set", True)


def test_too_large(use, server, monkeypatch):
    entry = use([unknown("a.pt", f"{server.url}/a.pt")])
    monkeypatch.setattr(model_store, "MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="far more than weights need"):
        model_store.download("test-set", True)
    assert not list(entry.folder.iterdir())


def test_no_room(use, server, monkeypatch):
    entry = use([unknown("a.pt", f"{server.url}/a.pt")])
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OutputError, match="has no room"):
        model_store.download("test-set", True)
    assert not list(entry.folder.iterdir())


def test_sets_without_a_download(use):
    use([unknown("a.pt")])
    with pytest.raises(WeightsError, match="Get it at https://example.org and add its files"):
        model_store.download("test-set", True)


def test_a_set_that_comes_as_an_archive(use, server):
    archive = packed_zip({"v1/DNN_0.pt": b"0", "v1/DNN_1.pt": b"1", "v1/readme.txt": b""})
    server.files["/set.zip"] = archive
    entry = use(
        [unknown("DNN_0.pt"), unknown("DNN_1.pt")], archive=described("set.zip", archive, f"{server.url}/set.zip")
    )
    assert model_store.remote_size("test-set") == len(archive)
    model_store.download("test-set", True)
    assert [path.read_bytes() for path in entry.paths] == [b"0", b"1"]
    assert not (entry.folder / "set.zip").exists()


# Files the user adds


def packed_zip(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def packed_tar(members, mode="w:gz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


PACKERS = {"a.zip": packed_zip, "a.tar.gz": packed_tar, "a.tgz": packed_tar, "a.tar": lambda m: packed_tar(m, "w")}


@pytest.mark.parametrize("name", PACKERS)
def test_archives_are_taken_as_they_are(use, tmp_path, name):
    entry = use([described("sub/a.pt"), unknown("b.pt")])
    members = {"top/other/b.pt.bak": b"x", "top/b.pt": b"bbb", "top/x/a.pt": CONTENT}
    (tmp_path / name).write_bytes(PACKERS[name](members))
    model_store.add_files("test-set", tmp_path / name, True)
    assert [path.read_bytes() for path in entry.paths] == [CONTENT, b"bbb"]


def test_a_single_file(use, tmp_path):
    entry = use([described("a.pt")])
    (tmp_path / "a.pt").write_bytes(CONTENT)
    model_store.add_files("test-set", tmp_path / "a.pt", True)
    assert entry.paths[0].read_bytes() == CONTENT


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_with_link():
    info = zipfile.ZipInfo("a.pt")
    info.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", lambda: packed_zip({"a.pt": b"a", "../evil": b"x"})),
        ("a.zip", lambda: packed_zip({"/etc/a.pt": b"a"})),
        ("a.zip", lambda: packed_zip({"..\\..\\a.pt": b"a"})),
        ("a.zip", lambda: packed_zip({"C:\\a.pt": b"a"})),
        ("a.zip", zip_with_link),
        ("a.tar.gz", lambda: packed_tar({"x/../../a.pt": b"a"})),
        ("a.tar.gz", lambda: packed_tar({"/tmp/a.pt": b"a"})),
        ("a.tar.gz", lambda: packed_tar({"a.pt": link("a.pt", "/etc/passwd")})),
        ("a.tar.gz", lambda: packed_tar({"a.pt": b"a", "b": link("b", "a.pt", tarfile.LNKTYPE)})),
        ("a.tar", lambda: packed_tar({"a.pt": b"a", "b": link("b", "", tarfile.FIFOTYPE)}, "w")),
    ],
)
def test_dangerous_archives(use, tmp_path, name, content):
    entry = use([unknown("a.pt")])
    (tmp_path / name).write_bytes(content())
    with pytest.raises(WeightsError, match="lead out of it"):
        model_store.add_files("test-set", tmp_path / name, True)
    assert not entry.folder.exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_archives_that_would_fill_the_disk(use, tmp_path, name, monkeypatch):
    use([unknown("a.pt")])
    monkeypatch.setattr(model_store, "MAX_BYTES", 100_000)
    (tmp_path / name).write_bytes(PACKERS[name]({"a.pt": bytes(100_001)}))
    with pytest.raises(WeightsError, match="unpacks to far more"):
        model_store.add_files("test-set", tmp_path / name, True)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar"])
def test_damaged_archives(use, tmp_path, name):
    entry = use([described("a.pt")])
    whole = PACKERS[name]({"a.pt": CONTENT})
    for damaged in (whole[: len(whole) // 2], whole[:100], b"", whole[:100] + bytes(50) + whole[150:]):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(WeightsError):
            model_store.add_files("test-set", tmp_path / name, True)
    assert not [path for path in entry.folder.rglob("*") if path.is_file()] if entry.folder.exists() else True


def test_files_that_are_not_the_published_ones(use, tmp_path):
    entry = use([described("a.pt"), unknown("b.pt")])
    with pytest.raises(InputError, match="does not exist"):
        model_store.add_files("test-set", tmp_path / "nowhere", True)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.pt").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match="mine does not hold b.pt, which Test set needs"):
        model_store.add_files("test-set", folder, True)
    (folder / "b.pt").write_bytes(b"b")
    with pytest.raises(WeightsError, match="a.pt is not the published file"):
        model_store.add_files("test-set", folder, True)
    assert not entry.paths[0].exists()
    use([unknown("a.pt")], license="new")
    with pytest.raises(WeightsError, match="Accept the license"):
        model_store.add_files("test-set", folder, False)


@pytest.mark.skipif(sys.platform == "win32", reason="folders are protected otherwise there")
def test_models_folder_that_cannot_be_written(use, tmp_path, monkeypatch):
    use([unknown("a.pt")])
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "a.pt").write_bytes(b"a")
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(OutputError, match="could not be written"):
        model_store.add_files("test-set", tmp_path / "a.pt", True)


def test_models_folder_default(monkeypatch):
    monkeypatch.delenv("SPINEMOTION_MODELS")
    assert catalogue.models_folder() == Path.home() / ".SpineMotionTools" / "models"


@pytest.mark.parametrize(
    ("chosen", "expected"), [("~/weights", Path.home() / "weights"), ("here", Path.cwd() / "here")]
)
def test_models_folder_as_settings_files_write_it(monkeypatch, chosen, expected):
    """No shell has expanded it there, and jobs work in folders of their own."""
    monkeypatch.setenv("SPINEMOTION_MODELS", chosen)
    assert catalogue.models_folder() == expected


def test_two_downloads_of_a_set_do_not_mix(use, server, monkeypatch):
    entry = use([described("a.pt", url=f"{server.url}/a.pt")])
    monkeypatch.setattr(model_store, "OTHER_DOWNLOAD_S", 0.05)
    with folder_lock(entry.folder), pytest.raises(OutputError, match="in use by another run"):
        model_store.download("test-set", True)
    assert model_store.download("test-set", True) == entry.paths

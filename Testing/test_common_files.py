"""Files written whole or not at all, folder locks between processes, and safe names."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from SpineMotionToolsLib.common import files
from SpineMotionToolsLib.common.errors import OutputError
from SpineMotionToolsLib.common.files import atomic_path, folder_lock, safe_name, write_json, write_text

REPOSITORY = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "SpineMotionTools")}
as_root = hasattr(os, "geteuid") and os.geteuid() == 0


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_whole_and_parents_are_made(tmp_path):
    path = tmp_path / "new" / "å b" / "result.nii.gz"
    with atomic_path(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.endswith(".nii.gz")  # writers choose the format by it
        temporary.write_text("whole", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "whole"
    assert names(path.parent) == ["result.nii.gz"]


def write_half(path, error):
    """Fail with `error` while the file is half written."""
    with atomic_path(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise error


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        write_half(path, ZeroDivisionError())
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(tmp_path, code):
    with pytest.raises(OutputError, match="disk is full. Free some space"):
        write_half(tmp_path / "a.csv", OSError(code, os.strerror(code)))
    assert names(tmp_path) == []


def test_a_missing_input_inside_the_block_is_no_output_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.csv"):
        (tmp_path / "not there").read_text(encoding="utf-8")


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(OutputError, match="could not be written"):
        write_text(tmp_path / "a.csv", "text")
    assert names(tmp_path) == ["a.csv"]


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="could not be written"):
        write_text(tmp_path / "out" / "a.csv", "text")
    with pytest.raises(OutputError, match="could not be written"), folder_lock(tmp_path / "out"):
        pass


@pytest.mark.skipif(as_root or sys.platform == "win32", reason="the administrator may write everywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="read-only"):
            write_text(tmp_path / "a.csv", "text")
        with pytest.raises(OutputError, match="read-only"), folder_lock(tmp_path):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_a_file_open_in_another_program(tmp_path, monkeypatch):
    def refuse(temporary, path):  # as Windows does for a table that is open in a spreadsheet
        raise PermissionError(errno.EACCES, "Permission denied", temporary, None, path)

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OutputError, match="read-only or the file is open in another program. Close it"):
        write_text(tmp_path / "a.csv", "text")
    assert names(tmp_path) == []


@given(text=st.text(st.characters(exclude_categories=["Cs"]).filter(lambda c: c != "\r")))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_text_round_trip(tmp_path, text):
    write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes().decode("utf-8") == text
    write_text(tmp_path / "a.txt", text, newline="\r\n")
    assert (tmp_path / "a.txt").read_bytes().decode("utf-8") == text.replace("\n", "\r\n")


def test_json_takes_numpy_and_paths(tmp_path):
    class WithJson:
        def to_json(self):
            return {"x": 1}

    content = {
        "number": np.float32(0.5),
        "array": np.arange(3),
        "path": tmp_path,
        "set": {2, 1},
        "own": WithJson(),
        "text": "Größe",
    }
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Größe" in text
    assert json.loads(text) == {
        "number": 0.5,
        "array": [0, 1, 2],
        "path": str(tmp_path),
        "set": [1, 2],
        "own": {"x": 1},
        "text": "Größe",
    }
    with pytest.raises(TypeError, match="object"):
        write_json(tmp_path / "a.json", {"x": object()})
    assert "Größe" in (tmp_path / "a.json").read_text(encoding="utf-8")


COUNT = """
import json, sys
from pathlib import Path
from SpineMotionToolsLib.common.files import folder_lock, write_json
folder = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with folder_lock(folder):
        counts = json.loads((folder / "counts.json").read_text())
        counts[sys.argv[3]] += 1
        counts["all"] += 1
        write_json(folder / "counts.json", counts)
"""


def test_two_processes_lose_no_update(tmp_path):
    write_json(tmp_path / "counts.json", {"a": 0, "b": 0, "all": 0})
    command = [sys.executable, "-c", COUNT, str(tmp_path), "150"]
    runs = [subprocess.Popen([*command, name], env=ENVIRONMENT) for name in ("a", "b")]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert json.loads((tmp_path / "counts.json").read_text(encoding="utf-8")) == {"a": 150, "b": 150, "all": 300}
    assert names(tmp_path) == ["counts.json"]


def test_threads_exclude_each_other(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with folder_lock(tmp_path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80
    assert names(tmp_path) == []


def test_lock_of_a_killed_process_is_free(tmp_path):
    script = (
        "import os, sys; from SpineMotionToolsLib.common.files import folder_lock\n"
        "with folder_lock(sys.argv[1]): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=ENVIRONMENT, check=False).returncode == 9
    assert names(tmp_path) == [files.LOCK_NAME]
    with folder_lock(tmp_path, timeout_s=5):
        pass
    assert names(tmp_path) == []


def test_a_held_lock_names_its_holder(tmp_path):
    with folder_lock(tmp_path):
        with pytest.raises(OutputError, match=f"in use by another run .process {os.getpid()} on .*Wait until it ends"):
            with folder_lock(tmp_path, timeout_s=0.1):
                pass


@pytest.mark.skipif(sys.platform == "win32", reason="locks are others there")
@pytest.mark.parametrize(("code", "works"), [(errno.ENOLCK, True), (errno.EOPNOTSUPP, True), (errno.EIO, False)])
def test_drives_without_locks_are_written(tmp_path, monkeypatch, code, works):
    import fcntl

    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with nullcontext() if works else pytest.raises(OutputError), folder_lock(tmp_path, timeout_s=0.1):
        pass
    assert (names(tmp_path) == []) == works


def test_a_damaged_lock_file_does_no_harm(tmp_path):
    (tmp_path / files.LOCK_NAME).write_bytes(b"\xff not json")
    with folder_lock(tmp_path, timeout_s=5):
        pass


RESERVED = ["CON", "con", "nul.txt", "COM1", "lpt9.nii.gz", "aux ", "PRN.", "con .txt"]


@given(st.one_of(st.text(), st.sampled_from(RESERVED), st.text("./\\ \t", max_size=5), st.text("骨ü", min_size=90)))
def test_safe_names_are_safe_everywhere(text):
    name = safe_name(text)
    assert name
    assert name == safe_name(name)
    assert len(name) <= 121
    assert len(name.encode("utf-8")) <= 201
    assert not set(name) & set('<>:"/\\|?*\0\n\t')
    assert name not in (".", "..")
    assert not name.endswith((".", " "))
    assert name.split(".")[0].strip().upper() not in files._RESERVED_ON_WINDOWS


def test_safe_name_keeps_what_it_can():
    assert safe_name("Größe 骨 1.5 mm (left)") == "Größe 骨 1.5 mm (left)"
    assert safe_name("C0001234.AIM;1") == "C0001234.AIM;1"
    assert safe_name("a/b") == "a_b"
    assert safe_name("...") == "unnamed"


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_safe_names_can_be_written(tmp_path, text):
    path = tmp_path / safe_name(text)
    path.write_text("x", encoding="utf-8")
    assert names(tmp_path) == [path.name] or sys.platform == "darwin"
    path.unlink()


def test_names_of_old_archives_do_not_stop_writing(tmp_path):
    """Bytes that are no UTF-8 come from the file system as lone surrogates; in JSON they come back as they were."""
    name = "sc\udce4n.AIM"
    write_json(tmp_path / "a.json", {"path": name, "unit": "µm"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": name, "unit": "µm"}
    write_text(tmp_path / "a.txt", f"{name} µm")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "sc?n.AIM µm"


def test_a_read_only_folder_is_told_before_the_work(tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", refused)
    with pytest.raises(OutputError, match="folder is read-only .* choose another folder"):
        files.make_folder(tmp_path)

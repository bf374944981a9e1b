"""The check of weight sets: files against the catalogue, networks against their contracts."""

from __future__ import annotations

import numpy as np
import pytest
from SpineMotionToolsLib.cli import main
from SpineMotionToolsLib.common.catalogue import catalogue, find_model
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.model_store import add_files
from SpineMotionToolsLib.common.weights import write_safetensors
from SpineMotionToolsLib.models.check import check_model, text_of

pytest.importorskip("torch")
PRESENT = [entry.id for entry in catalogue().values() if entry.starter and all(p.is_file() for p in entry.paths)]


@pytest.fixture(autouse=True)
def models_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINEMOTION_MODELS", str(tmp_path / "models"))


@pytest.mark.parametrize("model_id", PRESENT)
def test_the_starter_sets_fit(model_id):
    steps = []
    findings = check_model(model_id, lambda done, of, text="": steps.append((done, of)))
    assert [finding.text for finding in findings if not finding.good] == []
    assert len(findings) > len(find_model(model_id).files)
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("model_id", ["keypoints-miccai2022", "movements-u2net", "movements-openpose"])
def test_tensors_of_another_network_are_told(model_id, tmp_path):
    name = find_model(model_id).files[0].name
    write_safetensors(tmp_path / name, {"other.weight": np.zeros((2, 3), np.float32)}, {})
    add_files(model_id, tmp_path / name, accept_license=True)
    findings = check_model(model_id)
    assert [finding.good for finding in findings] == [True, False]
    assert "do NOT fit" in text_of(find_model(model_id), findings)


def test_every_set_has_a_check():
    from SpineMotionToolsLib.models.check import _LOADERS

    for entry in catalogue().values():
        assert list(_LOADERS[entry.system](entry)), entry.id


def test_a_changed_file_is_told(tmp_path):
    (tmp_path / "u2net.pth").write_bytes(b"weights")
    (path,) = add_files("movements-u2net", tmp_path / "u2net.pth", accept_license=True)
    path.write_bytes(b"changed")
    assert "has changed" in check_model("movements-u2net")[0].text


def test_missing_files_are_told_and_unknown_sets_refused(capsys):
    assert main(["models", "check", "movements-u2net"]) == 2
    assert "u2net.pth is missing" in capsys.readouterr().out
    with pytest.raises(InputError, match="unknown"):
        check_model("nothing")


def test_removing_says_what_became_of_the_files(tmp_path, capsys):
    (tmp_path / "u2net.pth").write_bytes(b"weights")
    (path,) = add_files("movements-u2net", tmp_path / "u2net.pth", accept_license=True)
    for model, words in (("movements-u2net", "removed"), ("movements-u2net", "absent"), ("motion-starter", "kept")):
        assert main(["models", "remove", model]) == 0
        assert capsys.readouterr().out.startswith(words)
    assert not path.exists()


def test_removing_a_set_removes_the_copies_converted_from_it(tmp_path):
    from SpineMotionToolsLib.common.catalogue import models_folder
    from SpineMotionToolsLib.common.weights import sha256_of

    (tmp_path / "u2net.pth").write_bytes(b"weights")
    (path,) = add_files("movements-u2net", tmp_path / "u2net.pth", accept_license=True)
    folder = models_folder() / "converted"
    folder.mkdir()
    (folder / f"{sha256_of(path)}-torch.safetensors").touch()
    (folder / f"{'0' * 64}-torch.safetensors").touch()
    assert main(["models", "remove", "movements-u2net"]) == 0
    assert [copy.name[:2] for copy in folder.iterdir()] == ["00"]


def test_systems_are_listed_by_their_name_at_the_terminal(capsys):
    assert main(["models", "list", "--system", "spine"]) == 0
    assert "spinenet-v2" in capsys.readouterr().out
    assert main(["models", "list", "--system", "nothing"]) == 2
    assert "invalid choice" in capsys.readouterr().err

"""Videos and weights that are not right, given to both video systems: a clear sentence each, partial results kept."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from SpineMotionToolsLib.common.errors import InputError, WeightsError
from SpineMotionToolsLib.common.video import open_video
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.gait import tasks as gait
from SpineMotionToolsLib.movements import tasks as movements
from SpineMotionToolsLib.phantoms.infant import infant_video
from SpineMotionToolsLib.phantoms.walker import walker_video

av = pytest.importorskip("av")
SIZE = (240, 180)


@pytest.fixture(scope="module")
def walk() -> list[np.ndarray]:
    return [frame.picture for frame in walker_video(9003, True, seconds=2.2, size_px=SIZE).video.frames()]


@pytest.fixture(scope="module")
def infant():
    """An infant, its pictures, and choices that need no background and body-point networks."""
    made = infant_video(9000, "writhing", seconds=6.4, size_px=SIZE)
    choices = {"background": "keep", "points": "manual", "torso": {0: made.torso(0).tolist()}, "age_weeks": 4}
    return [frame.picture for frame in made.video.frames()], choices


def encode(path: Path, container: str, codec: str, pixels: str, pictures, form: str = "rgb24") -> Path:
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=30)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=form)
            frame.pts, frame.time_base = number, Fraction(1, 30)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def sound(path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())


def no_frames(path: Path) -> None:
    """The header of a stream that ends before its first frame."""
    whole = encode(path.with_suffix(".mkv"), "matroska", "mpeg4", "yuv420p", [np.zeros((32, 32, 3), np.uint8)])
    data = whole.read_bytes()
    whole.unlink()
    path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75")])  # the mark of the first cluster of frames


def index_missing(path: Path) -> None:
    write_video(path, [np.zeros((32, 32, 3), np.uint8)] * 5, 30)
    path.write_bytes(path.read_bytes()[:400])


UNREADABLE = {
    "letter": (lambda path: path.write_text("Dear doctor, " * 50, encoding="utf-8"), "video"),
    "empty": (lambda path: path.touch(), "is empty"),
    "index missing": (index_missing, "cut off or damaged"),
    "sound": (sound, "sound but no picture"),
    "no frames": (no_frames, "no video frames|no frame that can be decoded|holds no video|cut off or damaged"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_files_are_told_by_both_systems(tmp_path, infant, kind):
    make, sentence = UNREADABLE[kind]
    make(tmp_path / "video.mp4")
    with pytest.raises(InputError, match=sentence):
        gait.score({"video": str(tmp_path / "video.mp4")})
    with pytest.raises(InputError, match=sentence):
        movements.score({"video": str(tmp_path / "video.mp4"), "infant": infant[1]})


def test_truncated_stream_keeps_the_scores_of_what_is_there(tmp_path, walk, infant):
    for name, pictures in (("walk", walk), ("infant", infant[0])):
        data = encode(tmp_path / f"{name}.ts", "mpegts", "mpeg4", "yuv420p", pictures).read_bytes()
        (tmp_path / f"{name}.ts").write_bytes(data[: int(len(data) * 0.7)])
    found = gait.score({"video": str(tmp_path / "walk.ts")})["result"]
    assert len(found["clips"]) == 1
    found = movements.score({"video": str(tmp_path / "infant.ts"), "infant": infant[1]})["result"]
    assert len(found["chunks"]) == 1


def test_portrait_rotation_is_scored_upright(tmp_path, walk):
    turned = [np.rot90(picture) for picture in walk]  # as a phone on its side stores it
    write_video(tmp_path / "turned.mp4", turned, 30, rotation_deg=-90)
    write_video(tmp_path / "plain.mp4", walk, 30)
    found = [gait.score({"video": str(tmp_path / name)})["result"]["p_asd"] for name in ("turned.mp4", "plain.mp4")]
    assert found[0] == pytest.approx(found[1], abs=0.1)


@pytest.mark.parametrize(("pixels", "form"), [("gray", "gray"), ("bgra", "rgba")])
def test_gray_and_alpha_frames_are_scored(tmp_path, walk, pixels, form):
    if form == "gray":
        pictures = [picture.mean(axis=2).astype(np.uint8) for picture in walk]
    else:
        pictures = [np.dstack([picture, np.full(picture.shape[:2], 90, np.uint8)]) for picture in walk]
    path = encode(tmp_path / "video.mkv", "matroska", "ffv1", pixels, pictures, form)
    assert open_video(path).picture(3).shape == (SIZE[1], SIZE[0], 3)
    assert len(gait.score({"video": str(path)})["result"]["clips"]) == 2


@pytest.mark.parametrize(("rate", "level", "reason"), [(3, 120, "Frame rate: 3 frames/s"), (30, 0, "Black frames")])
def test_slow_and_black_files_are_not_scored(tmp_path, infant, rate, level, reason):
    write_video(tmp_path / "video.mp4", [np.full((180, 240, 3), level, np.uint8)] * (7 * rate), rate)
    for done in (
        gait.score({"video": str(tmp_path / "video.mp4")}),
        movements.score({"video": str(tmp_path / "video.mp4"), "infant": infant[1]}),
    ):
        assert done["result"]["answer"] == "not scored"
        assert reason in done["result"]["why_not"]


class Malice:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_wrong_weights_and_weights_with_code_are_refused_unrun(tmp_path, walk, infant):
    write_video(tmp_path / "walk.mp4", walk[:5], 30)
    torch.save({"other.weight": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save({"state_dict": Malice(tmp_path / "ran")}, tmp_path / "code.pth")
    for name, sentence in (("other.pth", "fits no"), ("code.pth", "nothing in it was run")):
        parameters = {"video": str(tmp_path / "walk.mp4"), "model": str(tmp_path / name)}
        with pytest.raises(WeightsError, match=sentence):
            gait.score(parameters)
        with pytest.raises(WeightsError, match=sentence):
            movements.score(parameters | {"infant": infant[1]})
    assert not (tmp_path / "ran").exists()


def test_full_disk_during_the_overlay_keeps_scores_and_tables(tmp_path, walk, infant, monkeypatch):
    import os

    write_video(tmp_path / "walk.mp4", walk, 30)
    write_video(tmp_path / "infant.mp4", infant[0], 30)
    replace = os.replace

    def full(source, target, **options):
        if str(target).endswith(".mp4"):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return replace(source, target, **options)

    monkeypatch.setattr(os, "replace", full)
    options = {"folder": str(tmp_path / "out"), "overlay": True, "report": False}
    for done in (
        gait.score({"video": str(tmp_path / "walk.mp4"), **options}),
        movements.score({"video": str(tmp_path / "infant.mp4"), "infant": infant[1], **options}),
    ):
        assert done["result"]["answer"] != "not scored"
        assert any("full" in sentence for sentence in done["problems"])
        assert Path(done["files"]["json"]).exists()
        assert "overlay" not in done["files"]
    assert not list((tmp_path / "out").glob("*.mp4"))


def test_videos_of_equal_names_keep_apart(tmp_path, walk, capsys):
    import argparse

    from SpineMotionToolsLib.gait.commands import add_commands

    for patient in ("p1", "p2"):
        (tmp_path / "study" / patient).mkdir(parents=True)
        write_video(tmp_path / "study" / patient / "walk.mp4", walk[:35], 30)
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    options = parser.parse_args(["score", str(tmp_path / "study"), "--out", str(tmp_path / "out"), "--no-report"])
    assert options.run(options) == 0
    assert (tmp_path / "out" / "p1" / "walk.json").exists()
    assert (tmp_path / "out" / "p2" / "walk.json").exists()
    assert len((tmp_path / "out" / "patients.csv").read_text(encoding="utf-8").splitlines()) == 3

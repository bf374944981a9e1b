"""From radiograph files to pictures, tables, reports and markups; the service; the terminal."""

from __future__ import annotations

import argparse
import csv
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from SpineMotionToolsLib.common.errors import Cancelled, InputError, OutputError
from SpineMotionToolsLib.common.jobs import start_service
from SpineMotionToolsLib.keypoints import batch, commands, evaluation, exports, pictures, pipeline, report, tasks
from SpineMotionToolsLib.keypoints.history import Answer
from SpineMotionToolsLib.keypoints.inputs import from_array, turned
from SpineMotionToolsLib.keypoints.radiograph import Scale
from SpineMotionToolsLib.keypoints.session import Session

from Testing.keypoint_samples import Follower, picture, session, spine


@pytest.fixture(scope="module")
def phantom() -> evaluation.Sample:
    return next(evaluation.phantom_samples(count=1))


@pytest.fixture
def files(tmp_path, phantom):
    """A folder with a phantom as PNG and a file that is no picture."""
    folder = tmp_path / "in"
    folder.mkdir()
    rows, columns = phantom.image.shape
    true = Image.fromarray(phantom.image).resize((round(rows * 0.4), rows))
    true.save(folder / "scan one.png")
    (folder / "broken.png").write_text("nothing", encoding="utf-8")
    return folder


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    commands.add_commands(parser.add_subparsers(required=True))
    options = parser.parse_args([str(argument) for argument in arguments])
    return options.run(options)


def test_every_file_of_a_reading_is_written(tmp_path):
    made = session(scale=Scale(0.4, 0.4, "mm"))
    made.correct(21, tuple(made.reading.points_px[21] + 3))
    made.set_absent("L5")
    reading = made.reading
    paths = exports.write_reading(reading, made.radiograph.image, tmp_path, made.to_json())
    assert all(path.is_file() for path in paths)
    assert len(paths) == 8
    with (tmp_path / "made-keypoints.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 68
    assert float(rows[21]["row"]) == pytest.approx(reading.points_px[21, 0])
    assert rows[21]["placed by hand"] == "True"
    with (tmp_path / "made-vertebrae.csv").open(encoding="utf-8") as stream:
        assert {row["length unit"] for row in csv.DictReader(stream)} == {"mm"}
    stored = json.loads((tmp_path / "made.json").read_text(encoding="utf-8"))
    assert stored["radiograph"]["unit"] == "mm"
    assert len(stored["keypoints"]) == 68
    assert stored["absent"] == ["L5"]
    assert stored["curves"][0]["cobb_deg"] == pytest.approx(reading.curves[0].cobb_deg)
    again = Session.from_json(json.loads((tmp_path / "made-session.json").read_text(encoding="utf-8")), made.radiograph)
    assert np.array_equal(again.reading.points_px, reading.points_px)


def test_markups_lie_where_slicer_shows_the_file():
    made = session(scale=Scale(0.4, 0.3, "mm"))
    made.set_absent("T1")
    points = exports.markups(made.reading)["markups"][0]["controlPoints"]
    row, column = made.reading.points_px[30]
    assert points[30]["position"] == pytest.approx([column * 0.3, row * 0.4, 0.0])
    assert points[30]["label"] == "T8 lower left"
    assert points[0]["positionStatus"] == "missing"


def test_markups_of_a_mirrored_picture_lie_on_the_file():
    radiograph = turned(from_array(picture(), name="a"), mirrored=True)
    made = Session(radiograph, Follower(radiograph, spine()))
    points = exports.markups(made.detect())["markups"][0]["controlPoints"]
    row, column = made.reading.points_px[5]
    assert points[5]["position"] == pytest.approx([499 - column, row, 0.0])


def test_the_picture_has_the_true_aspect_and_shows_the_points():
    made = session(scale=Scale(0.2, 0.4, "mm"))
    reading = made.correct(40, tuple(made.reading.points_px[40] + 2))
    drawn = pictures.overlay(reading, made.radiograph.image, 600, heading=False)
    assert drawn.height == 600
    margin = (drawn.width - round(600 * 500 * 0.4 / (1200 * 0.2))) // 2
    plain = np.asarray(drawn)
    row, column = (reading.points_px[40] + 0.5) * (600 / 1200, (drawn.width - 2 * margin) / 500) + (0, margin)
    assert tuple(plain[round(row), round(column)]) == pictures.GIVEN
    framed = pictures.overlay(reading, made.radiograph.image, 600)
    assert framed.height > drawn.height


def test_the_report_names_the_curve_and_is_safe():
    made = session()
    object.__setattr__(made.radiograph, "name", "<script>alert(1)</script>")
    text = report.make_report(made.reading, made.radiograph.image).to_html()
    assert "<script>" not in text
    main = made.reading.main_curve
    assert f"between {main.upper_name} and {main.lower_name}" in text
    assert "not known" in text  # the side of the patient
    ElementTree.fromstring(report.tilt_chart(made.reading))


def test_the_summary_says_what_failed():
    made = session()
    table = exports.summary_table([("a.png", made.reading, ""), ("b.png", None, "It is damaged.")])
    assert table.rows[0][1] == pytest.approx(made.reading.main_curve.cobb_deg)
    assert table.rows[1][-1] == "It is damaged."


def test_detect_in_the_terminal(files, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (800, 320), dtype=np.uint8)
    Image.fromarray(noise).save(files / "noise.png")
    code = run("detect", files, "--out", tmp_path / "out", "--threads", 1, "--region", "given")
    assert code == commands.SOME_FAILED
    said = capsys.readouterr().out
    assert said.count("unsure about this picture") == 1
    assert "unsure" in said.split("noise.png")[1].split("scan one.png")[0]
    assert "scan one.png: largest Cobb angle" in said
    assert "Starter model" in said
    assert "broken.png is damaged" in said
    assert (tmp_path / "out" / "scan one.html").is_file()
    assert "Starter model" in (tmp_path / "out" / "scan one.html").read_text(encoding="utf-8")


def test_files_of_one_name_do_not_overwrite_each_other(files, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (files / "scan one.png").rename(other / "a.png")
    third = tmp_path / "third"
    third.mkdir()
    Image.open(other / "a.png").save(third / "a.png")
    written = batch.detect_files({"images": [other, third], "out": tmp_path / "out", "threads": 1})
    assert len(set(written)) == len(written) == 17


def test_names_with_dots_stay_whole_and_dicom_needs_no_ending(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("1.2.840.1.png", "1.2.840.2.PNG", "._hidden.png"):
        (folder / name).write_bytes(b"x")
    for name in ("IM0001", "1.2.840.3", "DICOMDIR"):
        (folder / name).write_bytes(bytes(128) + b"DICM")
    (folder / "notes").write_text("nothing", encoding="utf-8")
    found = batch.expand([folder])
    assert [path.name for path in found] == ["1.2.840.1.png", "1.2.840.2.PNG", "1.2.840.3", "IM0001"]
    assert [batch.case_name(path) for path in found] == ["1.2.840.1", "1.2.840.2", "1.2.840.3", "IM0001"]


def test_what_was_read_before_a_stop_is_in_the_summary(files, tmp_path):
    def stop(done, of, text=""):
        if done == 1:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        batch.detect_files(
            {"images": [files / "scan one.png", files / "broken.png"], "out": tmp_path / "out", "threads": 1}, stop
        )
    with (tmp_path / "out" / batch.SUMMARY_NAME).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["file"], row["results"]) for row in rows] == [("scan one.png", "scan one")]


def test_cancel_stops_between_files(files, tmp_path):
    def stop(done, of, text=""):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        batch.detect_files({"images": [files], "out": tmp_path / "out", "threads": 1}, stop)


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(InputError, match="No radiographs"):
        batch.expand([tmp_path])
    (tmp_path / "a.png").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        batch.detect_files({"images": [tmp_path / "a.png"], "out": tmp_path / "out", "threads": 1})


def test_a_folder_that_cannot_be_made_is_told_before_any_work(files, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    monkeypatch.setattr(batch, "load_predictor", lambda *_: pytest.fail("the network was loaded first"))
    for out in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(OutputError, match="taken"):
            batch.detect_files({"images": [files], "out": out})


def test_a_wide_picture_gets_a_region_and_says_so(phantom, tmp_path):
    rows = phantom.image.shape[0]
    true = np.asarray(Image.fromarray(phantom.image).resize((round(rows * 0.4), rows)))
    wide = np.full((rows, 3 * true.shape[1]), int(np.median(true)), np.uint8)
    wide[:, 2 * true.shape[1] :] = true
    made = pipeline.start_session(from_array(wide), region="auto")
    _, column, _, columns = made.radiograph.region
    assert column + columns / 2 > 2 * true.shape[1]
    assert any("chosen automatically" in note for note in made.detect().warnings)
    np.save(tmp_path / "wide.npy", made.radiograph.image)
    found = tasks.serve({"threads": 1})({"search": str(tmp_path / "wide.npy"), "scale": [1.0, 1.0]})
    assert found["region"] == list(made.radiograph.region)


@pytest.mark.parametrize("kind", ["noise", "flat blobs", "sideways"])
def test_pictures_without_a_frontal_spine_are_doubted(kind, phantom):
    rng = np.random.default_rng(0)
    if kind == "noise":
        image = rng.integers(0, 255, (800, 320), dtype=np.uint8)
    elif kind == "flat blobs":
        image = picture((800, 320))
    else:
        image = np.ascontiguousarray(np.rot90(phantom.image.repeat(2, 1)))[:, :512]
    reading = pipeline.detect(from_array(image))
    assert any("unsure about this picture" in text for text in reading.warnings)


def test_the_service_answers_like_the_session(phantom, tmp_path):
    made = pipeline.start_session(phantom.image)
    made.detect()
    request = made.request_correct({20: tuple(map(float, phantom.corners[20]))})
    np.save(tmp_path / "grid.npy", made.radiograph.grid_image)
    call = {"image": str(tmp_path / "grid.npy"), "image_sha256": made.radiograph.digest}
    answer = tasks.serve({"threads": 1})
    assert answer(call)["provenance"]["starter"] is True
    got = Answer.from_json(
        json.loads(json.dumps({**answer({**call, "chain": request.to_json()})}, default=np.ndarray.tolist))
    )
    wanted = made._predict(request)
    assert np.allclose(got.points, wanted.points, atol=1e-3)


@pytest.mark.slow
def test_a_newer_request_supersedes_an_unfinished_one(phantom, tmp_path):
    np.save(tmp_path / "grid.npy", phantom.image)
    call = {"image": str(tmp_path / "grid.npy"), "image_sha256": "a"}
    service = start_service("keypoints.tasks:serve", {"threads": 1})
    try:
        seen = []
        service.call({**call, "chain": [[]]}, lambda result: seen.append("old"))
        service.call({**call, "chain": [[], [[3, 40.0, 120.0]]]}, lambda result: seen.append("new"))
        while not service.poll():
            pass
        assert seen == ["new"]
        with pytest.raises(InputError):
            service.request({**call, "image": str(tmp_path / "missing.npy"), "image_sha256": "b", "chain": [[]]}, 60)
    finally:
        service.close()


def test_evaluate_in_the_terminal(capsys, tmp_path):
    assert run("evaluate", "--count", 2, "--clicks", 2, "--threads", 1, "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "drawn from the shape model" in said
    assert "MRE (% of height)" in said
    assert "FR2 (%)" in said
    assert (tmp_path / "keypoints-course.csv").is_file()


@pytest.mark.parametrize("wrong", [("--count", 0), ("--count", -2), ("--clicks", -1), ("--clicks", 68)])
def test_an_evaluation_of_nothing_is_told(wrong, capsys):
    with pytest.raises(InputError, match=r"nothing to (evaluate|measure)"):
        run("evaluate", *wrong, "--threads", 1)


def test_training_of_nothing_is_told(tmp_path):
    for count in (["--steps", "0"], ["--epochs", "-1"]):
        with pytest.raises(InputError, match="nothing to train"):
            run("train", "starter", "--work", tmp_path, *count)


def test_training_a_published_network_needs_the_data_set(tmp_path):
    with pytest.raises(InputError, match="--aasce"):
        run("train", "project-v2", "--work", tmp_path)

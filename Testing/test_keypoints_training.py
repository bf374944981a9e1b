"""Training: the published recipes take steps, AASCE data and label files are read and written, the starter learns."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.keypoints import aasce, starter_locator_training, starter_training
from SpineMotionToolsLib.keypoints.anatomy import MIRRORED
from SpineMotionToolsLib.keypoints.starter_locator import STRIDE, TARGET_STD, Locator, decode_points, feedback

from Testing.keypoint_samples import picture, spine


@pytest.fixture
def dataset(tmp_path):
    """The AASCE folder with three training pictures and one test picture."""
    from scipy.io import savemat

    root = tmp_path / "boostnet_labeldata"
    for split, count in (("training", 3), ("test", 1)):
        pictures, labels = root / "data" / split, root / "labels" / split
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True)
        rows = []
        for number in range(count):
            size = (300 + 10 * number, 140)
            corners = spine(size)
            name = f"sunhl-{number} A.jpg"
            Image.fromarray(picture(size, number)).save(pictures / name)
            savemat(labels / f"{name}.mat", {"p2": corners[:, ::-1]})
            shares = corners / size
            rows.append((name, [*shares[:, 1], *shares[:, 0]]))
        with (labels / "filenames.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([[name] for name, _ in rows])
        with (labels / "landmarks.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(values for _, values in rows)
    return root


def test_both_kinds_of_labels_agree(dataset):
    by_table, by_matrix = aasce.read_dataset(dataset), aasce.read_dataset(dataset, "mat")
    assert [image.set for image in by_table] == ["train", "train", "train", "test"]
    for a, b in zip(by_table, by_matrix):
        assert np.allclose(a.pixels, spine(a.size))
        assert np.allclose(a.corners, b.corners)


def test_label_files_of_both_systems_return(dataset, tmp_path):
    images = aasce.with_validation(aasce.read_dataset(dataset), 1)
    assert sorted(image.set for image in images) == ["test", "train", "train", "val"]
    aasce.write_project_labels(images, dataset, tmp_path / "project.json")
    for a, b in zip(images, aasce.read_project_labels(tmp_path / "project.json", dataset)):
        assert a.path == b.path
        assert a.set == b.set
        assert np.allclose(a.corners, b.corners)
    entry = json.loads((tmp_path / "project.json").read_text(encoding="utf-8"))[0]
    assert entry["image_path"].startswith("data/training/")
    assert np.allclose(entry["centers"][0], np.mean(entry["corners"][:4], 0), atol=1e-5)
    files = aasce.write_miccai_labels(images, tmp_path / "miccai")
    back = aasce.read_miccai_labels(files[0])
    training = [image for image in images if image.set == "train"]
    assert np.allclose(back[0].corners, training[0].corners)
    assert np.array_equal(back[0].read(), training[0].read())
    stored = json.loads(files[0].read_text(encoding="utf-8"))[0]
    assert np.allclose(np.array(stored["points_512"])[:, 1], training[0].corners[:, 0] * 512)


def test_pictures_of_one_name_in_two_sets_stay_two(dataset, tmp_path):
    training, *_, test = aasce.read_dataset(dataset)
    namesake = test.path.with_name(training.path.name)
    test.path.rename(namesake)
    images = [training, replace(test, path=namesake)]
    files = aasce.write_miccai_labels(images, tmp_path / "miccai")
    stored = [aasce.read_miccai_labels(file)[0] for file in (files[0], files[2])]
    assert stored[0].path != stored[1].path
    assert all(np.array_equal(a.read(), b.read()) for a, b in zip(images, stored))


@pytest.mark.parametrize(("change", "value"), [(np.multiply, 1000.0), (np.multiply, np.nan)])
def test_labels_in_pixels_and_missing_ones_are_refused(dataset, change, value):
    """Training would end with useless weights, and an evaluation with absurd errors."""
    table = dataset / "labels" / "test" / "landmarks.csv"
    labels = np.loadtxt(table, delimiter=",", ndmin=2)
    labels[0] = change(labels[0], value)
    np.savetxt(table, labels, delimiter=",")
    with pytest.raises(InputError, match="shares of its size"):
        aasce.read_dataset(dataset)


def test_damaged_files_of_a_data_set_are_sentences(dataset):
    label = next((dataset / "labels" / "training").glob("*.mat"))
    label.write_bytes(b"")
    with pytest.raises(InputError, match="missing or damaged"):
        aasce.read_dataset(dataset, "mat")
    next((dataset / "data" / "test").glob("*.jpg")).write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"is damaged\. Get the data set again"):
        aasce.read_dataset(dataset)


def test_damaged_data_sets_are_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="boostnet_labeldata"):
        aasce.read_dataset(tmp_path)
    with pytest.raises(InputError, match="cannot be drawn"):
        aasce.with_validation(aasce.read_dataset(dataset), 3)
    (tmp_path / "a.json").write_text("[{}]", encoding="utf-8")
    for read in (lambda: aasce.read_project_labels(tmp_path / "a.json", tmp_path), lambda: aasce.read_miccai_labels(tmp_path / "a.json")):  # fmt: skip  # noqa: E501
        with pytest.raises(InputError, match="label file"):
            read()
    next((dataset / "data" / "training").glob("*.jpg")).unlink()
    with pytest.raises(InputError, match="missing"):
        aasce.read_dataset(dataset)


class Small(torch.nn.Module):
    """Takes what the published networks take; learns in milliseconds."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(68 + 68 + 3, 68, 1)

    def forward(self, hint, previous, image):
        logits = self.layer(torch.cat((hint, previous, image), 1))
        return logits, logits


@pytest.mark.parametrize("name", ["project-v1", "project-v2", "miccai"])
def test_a_recipe_takes_a_step(dataset, name):
    training = pytest.importorskip("SpineMotionToolsLib.keypoints.training")
    images = [image for image in aasce.read_dataset(dataset) if image.set == "train"]
    recipe = training.RECIPES[name]
    module = training.InteractiveTraining(Small(), recipe, [(0, 1)], [(2, 63, 4)])
    seen = []
    module.log = lambda key, value, **_: seen.append((key, float(value.detach())))
    module.__dict__["_trainer"] = None
    type(module).current_epoch = property(lambda self: 30)
    full = torch.utils.data.default_collate([training.Radiographs(images, recipe.augmentation)[k] for k in range(2)])
    batch = (full[0][..., ::8, ::8], full[1] / 8, *full[2:])
    loss = module.training_step(batch, 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert module.network.layer.weight.grad.abs().sum() > 0
    with torch.no_grad():
        module.validation_step(batch, 0)
    module.on_validation_epoch_end()
    assert seen[-1][0] == "val_mre_px"
    assert seen[-1][1] > 0


def test_hints_of_a_batch_follow_the_recipe(dataset):
    training = pytest.importorskip("SpineMotionToolsLib.keypoints.training")
    corners = torch.from_numpy(spine((64, 32))).float()[None].repeat(4, 1, 1)
    module = training.InteractiveTraining(Small(), training.RECIPES["project-v2"])
    type(module).current_epoch = property(lambda self: 0)
    counts = set()
    for _ in range(12):
        hints = training.Hints(corners, (64, 32))
        with torch.no_grad():
            module.simulate(hints, torch.zeros(4, 3, 64, 32))
        counts.add(int(hints.given.sum(1).max()))
        assert torch.equal(hints.given, hints.maps.amax((2, 3)) > 0.5)
    assert counts <= {0, 1, 2}  # no hints before the rounds in the first 20 epochs


@pytest.mark.slow
def test_lightning_trains_validates_and_writes_weights(dataset, tmp_path, monkeypatch):
    training = pytest.importorskip("SpineMotionToolsLib.keypoints.training")
    small = training.ARCHITECTURES["unet"]
    monkeypatch.setitem(
        training.ARCHITECTURES, "unet", type("A", (), {"build": lambda self: Small(), "name": small.name})()
    )
    images = aasce.with_validation(aasce.read_dataset(dataset), 1)
    path = training.train("unet", "project-v2", images, tmp_path / "run", epochs=1, accelerator="cpu")
    from SpineMotionToolsLib.common.weights import read_metadata, read_tensors

    assert set(read_tensors(path)) == {"layer.weight", "layer.bias"}
    assert float(read_metadata(path)["val_mre_px"]) > 0
    with pytest.raises(InputError, match="train and val"):
        training.train("unet", "project-v2", images[:1], tmp_path)
    with pytest.raises(InputError, match="Choose a network"):
        training.train("resnet", "project-v2", images, tmp_path)


def test_the_starter_learns_one_picture(tmp_path):
    """A few steps on one phantom lower the loss: gradients reach everything that matters."""
    torch.manual_seed(0)
    images, corners = starter_training.make_phantoms(tmp_path, 1, seed=3)
    network = Locator().train()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    picture_ = torch.from_numpy(images[:1].copy()).float()[:, None] / 127.5 - 1
    truth = torch.from_numpy(corners[:1])
    none = torch.zeros(1, 68, 64, 32)
    first = None
    for _ in range(12):
        logits = network(none, none, picture_)
        parts = (
            starter_locator_training.location_loss(logits, truth, TARGET_STD),
            starter_locator_training.offset_loss(logits, truth),
        )
        loss = sum(parts)
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first - 0.3
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0
        for n, p in network.named_parameters()
        if "place" not in n and "hint_encoder.0" not in n
    )


def test_starter_maps_decode_to_their_points():
    points = torch.rand(1, 68, 2) * torch.tensor([450.0, 200.0]) + 30
    logits = torch.log(starter_locator_training.gaussians(points, TARGET_STD) + 1e-9)
    assert (decode_points(logits) - points).abs().max() < 0.1 * STRIDE
    assert feedback(logits).amax((2, 3)).min() > 0.5  # half a cell away from its peak


def test_starter_augmentation_moves_corners_with_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(6):
        corners = torch.from_numpy(spine((512, 256))).float()[None]
        spot = 21
        image = torch.zeros(1, 1, 512, 256)
        r, c = corners[0, spot].round().long().tolist()
        image[0, 0, r - 4 : r + 5, c - 4 : c + 5] = 1.0
        changed, moved = starter_training.augment(image, corners, rng)
        bright = (changed[0, 0] > changed.max() - 0.3).nonzero().float().mean(0)
        near = {spot, int(MIRRORED[spot])}
        assert min(float((bright - moved[0, k]).norm()) for k in near) < 2.5
        quads = moved[0].view(17, 4, 2)
        assert (quads[:, 0, 1] < quads[:, 1, 1]).all()

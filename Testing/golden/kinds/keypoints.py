"""Golden cases of the interactive keypoints: what each kind asks for, computed by `SpineMotionToolsLib.keypoints`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.weights import load_contract
from SpineMotionToolsLib.keypoints import (
    cobb,
    heatmaps,
    hint_sampling,
    losses,
    metrics,
    preprocessing,
    protocols,
    weights,
)
from SpineMotionToolsLib.keypoints.prediction import PublishedPredictor

from Testing.golden.case import Case
from Testing.golden.seeded_weights import seeded_array, seeded_image


def landmarks(recipe: Mapping[str, Any]) -> np.ndarray:
    """The made spine of the cases' README: (68, 2) = (row, column) float64."""
    rows, columns = recipe["size"]
    amp, freq, phase, drift = (float(recipe.get(name, 0.0)) for name in ("amp", "freq", "phase", "drift"))
    top, span = float(recipe.get("top", 0.05)), float(recipe.get("span", 0.85))
    points = []
    for v in range(17):
        t = (v + 0.5) / 17
        turn = 2 * np.pi * freq * t + phase
        cy, cx = rows * (top + span * t), columns * (0.5 + amp * np.sin(turn) + drift * t)
        dy, dx = rows * span, columns * (amp * 2 * np.pi * freq * np.cos(turn) + drift)
        th = np.arctan2(dx, dy)
        hw, hh = 0.08 * columns * (1 + 0.5 * t), 0.38 * rows * span / 17
        for a, b in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
            points.append(
                (cy - a * hw * np.sin(th) + b * hh * np.cos(th), cx + a * hw * np.cos(th) + b * hh * np.sin(th))
            )
    points = np.array(points)
    if jitter := recipe.get("jitter"):
        points = points + jitter[1] * seeded_array(f"{jitter[0]}.jit", (68, 1, 2), 1.0)[:, 0]
    return points


def gray_image(recipe: Mapping[str, Any]) -> np.ndarray:
    low, high = recipe.get("low", 0.0), recipe.get("high", 1.0)
    return np.rint(seeded_image(recipe["name"], tuple(recipe["size"]), low, high)).astype(np.uint8)


def seeded_network(case: Case) -> weights.LoadedNetwork:
    contract = load_contract(weights.CONTRACTS / case.spec["contract"])
    tensors = {name: seeded_array(name, spec.shape, case.gain).astype(spec.dtype) for name, spec in contract.items()}
    name = case.spec["network"]
    return weights.LoadedNetwork(weights.build(name, tensors), name, case.spec["contract"], "", False)


def predictor_for(case: Case) -> PublishedPredictor:
    return PublishedPredictor(seeded_network(case), Engine(device="cpu", precision="float32"))


def _maps(recipe: Mapping[str, Any], batch: int, size: tuple[int, int]):
    import torch

    if "seeded_image" in recipe:
        name, low, high = recipe["seeded_image"]
        return torch.from_numpy(seeded_image(name, (batch, 68, *size), low, high))
    maps = torch.zeros(batch, 68, *size)
    for entry in recipe.get("gaussians", ()):
        maps[entry["batch"], entry["index"]] = heatmaps.gaussian(np.array(entry["yx"]), size, recipe["std"])
    return maps


def net(case: Case) -> dict[str, Any]:
    import torch

    inputs, size, stride = case.spec["inputs"], tuple(case.spec["image_size"]), case.spec["stride"]
    batch = inputs["image"]["batch"]
    image = torch.from_numpy(seeded_image(inputs["image"]["name"], (batch, 1, *size), -1, 1)).repeat(1, 3, 1, 1)
    hint, previous = (_maps(inputs[name], batch, size) for name in ("hint", "prev"))
    network = seeded_network(case).network
    seen: dict[str, Any] = {}
    parts = {"gate": "iggnet", "fusion": "hint_fusion_layer", "features": "hrnet", "ocr_pixels": "conv3x3_ocr"}
    for name, attribute in parts.items():
        if (module := getattr(network, attribute, None)) is not None:
            module.register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output}))
    with torch.inference_mode():
        logits, auxiliary = network(hint, previous, image)
    probability = torch.sigmoid(logits)
    got = {
        "logits": logits[..., ::stride, ::stride],
        "logits_mean": logits.mean((2, 3)),
        "logits_std": logits.std((2, 3)),
        "coords_expectation": heatmaps.expectation(probability),
        "coords_subpixel": heatmaps.patch_expectation(probability),
    }
    if auxiliary is not None:
        got["aux"] = auxiliary[..., ::stride, ::stride]
    if "gate" in seen:
        got["gate"] = seen["gate"][:, :, 0, 0]
    if "fusion" in seen:
        got["fusion"] = seen["fusion"][:, ::4, ::4, ::4]
    if "features" in seen:
        got["features"] = seen["features"][1][:, ::16, ::4, ::4]
        got["ocr_pixels"] = seen["ocr_pixels"][:, ::16, ::4, ::4]
    return {name: value.numpy() for name, value in got.items()}


def session(case: Case) -> dict[str, Any]:
    inputs = case.spec["inputs"]
    image = gray_image(inputs["image"])
    predictor = predictor_for(case)
    predictor.set_image(preprocessing.network_image(image))
    hints = [(hint["index"], tuple(hint["yx"])) for hint in inputs["hints"]]
    course = protocols.interact(predictor, image.shape, hints)
    return {
        "network_coords": np.array([prediction.points for prediction, _ in course]),
        "shown_coords": np.array([shown for _, shown in course]),
        "last_logits": predictor.full_logits(course[-1][0])[:, ::32, ::32],
    }


def sim(case: Case) -> dict[str, Any]:
    inputs = case.spec["inputs"]
    predictor = predictor_for(case)
    if case.spec["op"] == "simulate":
        image = gray_image(inputs["image"])
        predictor.set_image(preprocessing.network_image(image))
        label = np.trunc(landmarks(inputs["labels"])).astype(np.int32)
        run = protocols.simulate_project(predictor, label, image.shape, inputs["hint_times"])
        return {
            "model_mre": run.model,
            "manual_mre": run.manual,
            "hint_index": run.hints,
            "manual_index": run.manual_hints,
            "reached": protocols.reached(run.model, inputs["targets"]),
            "labels_network": preprocessing.to_network(label, image.shape),
        }
    runs = []
    for recipe, label in zip(inputs["images"], inputs["labels"]):
        image = gray_image(recipe)
        predictor.set_image(preprocessing.network_image(image))
        clicks = len(case.want["model_sargmax"]) - 1
        runs.append(protocols.simulate_miccai(predictor, landmarks(label), image.shape, clicks))
    return {
        "model_sargmax": np.mean([run.model for run in runs], 0),
        "model_hargmax": np.mean([run.model_hard for run in runs], 0),
        "manual_sargmax": np.mean([run.manual for run in runs], 0),
        "hint_index": np.stack([run.hints for run in runs], 1),
        "manual_index": np.stack([run.manual_hints for run in runs], 1),
    }


def heatmap(case: Case) -> dict[str, Any]:
    stride = case.spec["stride"]
    maps = heatmaps.gaussian(
        np.array(case.spec["inputs"]["coords_yx"]), tuple(case.spec["image_size"]), case.spec["std"]
    )
    return {
        "heatmap": maps[:, ::stride, ::stride].numpy(),
        "peak": maps.amax((1, 2)).numpy(),
        "sum": maps.double().sum((1, 2)).numpy(),
    }


def decode(case: Case) -> dict[str, Any]:
    import torch

    size = tuple(case.spec["image_size"])
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    channels = []
    for recipe in case.spec["inputs"]["channels"]:
        channel = np.full(size, float(recipe.get("floor", 0.0)))
        for amp, y, x, s in recipe.get("blobs", ()):
            channel += amp * np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / s**2)
        if noise := recipe.get("noise"):
            channel += noise[1] * seeded_image(noise[0], size)
        channels.append(np.clip(channel, 0, 1).astype(np.float32))
    maps = torch.from_numpy(np.array(channels))
    return {
        "expectation": heatmaps.expectation(maps).numpy(),
        "hard_argmax": heatmaps.hard_argmax(maps).numpy(),
        "subpixel": heatmaps.patch_expectation(maps, case.spec.get("patch", heatmaps.PATCH)).numpy(),
    }


def preprocess(case: Case) -> dict[str, Any]:
    image = gray_image(case.spec["inputs"]["image"])
    tensor = preprocessing.network_image(image)[0]
    got = {"tensor": tensor[::8, ::8], "row_means": tensor.mean(1), "col_means": tensor.mean(0)}
    if corners := case.spec["inputs"].get("corners_normalised"):
        pixels = preprocessing.truncated_labels(np.array(corners), image.shape)
        network = preprocessing.to_network(pixels, image.shape)
        got |= {
            "label_pixels": pixels,
            "label_network": network,
            "shown_pixels": np.rint(preprocessing.to_picture(network, image.shape)),
        }
    return got


def _labels_and_prediction(inputs: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    labels = landmarks(inputs["labels"])
    name, amount = inputs["noise"]
    predicted = labels + amount * seeded_array(f"{name}.n", (68, 1, 2), 1.0)[:, 0]
    return labels, predicted


def measures(case: Case) -> dict[str, Any]:
    spec = case.spec
    label, predicted = (points.astype(np.float32) for points in _labels_and_prediction(spec["inputs"]))
    grid, raw = tuple(spec["image_size"]), np.array(spec["raw_size"])
    scale = raw / np.array(grid) * np.array(spec["spacing"])
    hard = heatmaps.hard_argmax(heatmaps.gaussian(predicted, grid, spec.get("std", heatmaps.STD))).numpy()
    got: dict[str, Any] = {
        "mre": metrics.mean_radial_error(predicted, label),
        "worst": metrics.worst(predicted, label),
        "worst10": metrics.worst(predicted, label, 10),
        "batch_mre": metrics.mean_radial_error(np.stack((predicted, label + 1)), np.stack((label, label))),
        "pred": predicted,
        "pred_mm": predicted * scale,
    }
    for decoding, points in (("hargmax", hard), ("sargmax", predicted)):
        for unit, factor in (("pixel", np.ones(2)), ("mm", scale)):
            found = metrics.errors(points * factor, label * factor, spec["sdr_thresholds"])
            prefix = f"{decoding}_{unit}"
            got |= {f"{prefix}_MAE": found.mae, f"{prefix}_RMSE": found.rmse, f"{prefix}_MRE": found.mre}
            got |= {f"{prefix}_SR[{threshold}]": share for threshold, share in found.sdr.items()}
    return got


def noc(case: Case) -> dict[str, Any]:
    inputs = case.spec["inputs"]
    clicks = [metrics.number_of_clicks(counts, inputs["images"]) for counts in inputs["reached_counts"]]
    return {
        "noc_reached_only": [c.noc_reached_only for c in clicks],
        "failure_rate_percent": [c.failure_rate_percent for c in clicks],
        "noc_failures_as_max": [c.noc_failures_as_max for c in clicks],
    }


def loss(case: Case) -> dict[str, Any]:
    import torch

    spec, inputs = case.spec, case.spec["inputs"]
    grid = tuple(spec["image_size"])
    label, predicted = (
        torch.from_numpy((points * spec["scale"]).astype(np.float32))[None] for points in _labels_and_prediction(inputs)
    )
    target = heatmaps.gaussian(label, grid, spec["std"])
    logits = torch.from_numpy(seeded_image(inputs["logits"], (1, 68, *grid), -6, 4))
    pairs, triples = inputs["dist_pairs"], inputs["angle_triples"]
    normalized = label / torch.tensor(grid)
    bce = losses.heatmap_loss(logits, target)
    combined = losses.project_loss(logits, target, predicted, label, pairs, triples, coordinates=True)
    return {
        "bce": bce,
        "project_bce_only": losses.project_loss(logits, target),
        "project_morph": losses.MORPHOLOGY_WEIGHT * losses.morphology(predicted, label, pairs, triples, "first"),
        "project_bce_morph_coord": combined,
        "micc_morph": losses.miccai_morphology(predicted, label, grid, pairs, triples),
        "micc_morph_masked": losses.miccai_morphology(
            predicted, label, grid, pairs, triples, torch.zeros(1, dtype=torch.bool)
        ),
        "micc_label_dist": losses.distances(normalized, pairs)[0],
        "micc_label_angle": losses.angles(normalized, triples, "middle")[0],
    }


def cobb_angles(case: Case) -> dict[str, Any]:
    inputs = case.spec["inputs"]
    sets = [landmarks(recipe) for recipe in inputs["sets"]]
    heights = [size[0] for size in inputs["sizes"]]
    found = [cobb.aasce_angles(points, height) for points, height in zip(sets, heights)]
    angles = np.array([one.angles for one in found])
    endplates = [cobb.endplate_cobb(points) for points in sets]
    return {
        "angles": angles,
        "end_vertebrae": [one.end_vertebrae for one in found],
        "flags_S_upper": [(one.s_shaped, one.upper_half) for one in found],
        "angles_python_port": [cobb.aasce_angles_port(points, height) for points, height in zip(sets, heights)],
        "endplate_cobb": [[angle] for angle, _, _ in endplates],
        "endplate_vertebrae": [(i, j) for _, i, j in endplates],
        "smape_successive": cobb.smape(angles[:-1], angles[1:]),
    }


def hint_distribution(case: Case) -> dict[str, Any]:
    return {
        "project": hint_sampling.PROJECT_HINT_PROBABILITIES,
        "micc": hint_sampling.MICCAI_HINT_PROBABILITIES,
    }


KINDS = {
    "net": net,
    "session": session,
    "sim": sim,
    "heatmap": heatmap,
    "decode": decode,
    "preprocess": preprocess,
    "metrics": measures,
    "noc": noc,
    "loss": loss,
    "cobb": cobb_angles,
    "hint": hint_distribution,
}

"""Handlers of the motion-score kinds about numbers: networks, weights, slices, votes, chains, files, Grad-CAM."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from SpineMotionToolsLib.motion.calibration import Calibration
from SpineMotionToolsLib.motion.fast_slices import SlicePreparer
from SpineMotionToolsLib.motion.members import Ensemble, contract
from SpineMotionToolsLib.motion.slices import prepare, resize, smooth, square_pads
from SpineMotionToolsLib.motion.stacks import stack_ranges
from SpineMotionToolsLib.motion.votes import RULES, count_votes, mean_decision, member_classes, percent, slice_decisions

from Testing.golden.case import Case
from Testing.golden.seeded_weights import seeded_array, seeded_image

VALUE_ERROR = "ValueError"


# ----- what the recipes are made of


def seeded_member(prefix: str, gain: float) -> dict[str, np.ndarray]:
    return {key: seeded_array(prefix + key, spec.shape, gain) for key, spec in contract().items()}


def seeded_ensemble(parameters: Mapping[str, Any], gain: float) -> Ensemble:
    prefix, gain = parameters.get("prefix", "DNN_"), parameters.get("gain", gain)
    members = parameters["members"]
    numbers = range(members) if isinstance(members, int) else members
    return Ensemble.of({f"DNN_{n}": seeded_member(f"{prefix}{number}.", gain) for n, number in enumerate(numbers)})


def volume_of(recipe: Mapping[str, Any]) -> np.ndarray:
    shape = tuple(recipe["shape"])
    if recipe["type"] == "constant":
        return np.full(shape, recipe["value"], dtype=recipe.get("dtype", "float64"))
    if recipe["type"] == "seeded":
        image = seeded_image(recipe["name"], shape, recipe["low"], recipe["high"])
        dtype = np.dtype(recipe.get("dtype", "float32"))
        return (np.rint(image) if dtype.kind in "iu" else image).astype(dtype)
    if recipe["type"] != "phantom":
        raise NotImplementedError(f"volume type {recipe['type']!r}")
    width, height, depth = shape
    i, j, k = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    x, y, t = (i - (width - 1) / 2) / width, (j - (height - 1) / 2) / height, k / max(1, depth - 1)
    r = np.sqrt(x**2 + y**2)
    noise = seeded_image(recipe["name"], shape, -1, 1).astype(np.float64)
    volume = -400 + 1200.0 * ((r >= 0.30) & (r < 0.38)) + (r < 0.30) * (300 + 600 * (0.2 + 0.8 * t) * noise)
    volume = volume + 250 * t * np.sin(16 * np.pi * y + 0.7 * k)
    if recipe.get("dtype") == "density32":
        return volume.astype(np.float32)
    if recipe.get("dtype") == "native16":
        return np.rint((volume + 391.209015) * 8192 / 1603.51904).astype(np.int16)
    return volume


def input_images(names: list[str]) -> np.ndarray:
    return np.stack([seeded_image(name, (512, 512)) for name in names])


def file_of(case: Case, output: str, suffix: str, folder: str) -> Path:
    path = Path(folder) / f"file{suffix}"
    path.write_bytes(case.want[output].tobytes())
    return path


# ----- network and weights


def network(case: Case) -> Mapping[str, Any]:
    import torch
    from SpineMotionToolsLib.motion.networks import MotionNet

    p = case.parameters
    net = MotionNet.from_tensors(seeded_member(f"{p.get('prefix', 'DNN_')}0.", p.get("gain", case.gain)))
    with torch.inference_mode():
        x = torch.from_numpy(input_images(p["images"]))[:, None]
        features = net.features(x)
        return {
            "probs": net(x).numpy(),
            "features_first": features[0].numpy(),
            "features_mean": features.mean(dim=(2, 3)).numpy(),
        }


def keras_h5(case: Case) -> Mapping[str, Any]:
    import torch
    from SpineMotionToolsLib.motion.members import read_member
    from SpineMotionToolsLib.motion.networks import MotionNet

    with tempfile.TemporaryDirectory() as folder:
        net = MotionNet.from_tensors(read_member(file_of(case, "h5_bytes", ".h5", folder)))
    with torch.inference_mode():
        probabilities = net(torch.from_numpy(input_images(case.parameters["images"]))[:, None]).numpy()
    return {"h5_bytes": case.want["h5_bytes"], "probs": probabilities}


# ----- pre-processing


def preprocess(case: Case) -> Mapping[str, Any]:
    volume, stride = volume_of(case.parameters["volume"]), case.parameters["stride"]
    width, height, depth = volume.shape
    smoothed = smooth(volume)
    preparer = SlicePreparer(lambda z: np.ascontiguousarray(volume[:, :, z].T), depth)
    squares = [np.ascontiguousarray(preparer.gray8(z)) for z in range(depth)]
    images = [resize(square) for square in squares]
    size, *pads = square_pads(width, height)
    return {
        "filtered_corner": smoothed[:6, :6],
        "filtered_dtype": smoothed.dtype.name,
        "crc32_normalised_and_resized": np.array(
            [[zlib.crc32(square.tobytes()), zlib.crc32(image.tobytes())] for square, image in zip(squares, images)]
        ),
        "resized_strided": np.stack([image[::stride, ::stride] for image in images]),
        "pads": np.array([[width, height, size, *pads]] * depth),
        "min_max_mean": np.array([[image.min(), image.max(), image.mean()] for image in images]),
    }


# ----- votes, stacks, rounding


def vote(case: Case) -> Mapping[str, Any]:
    p = case.parameters
    x = seeded_image(p["name"], (p["models"], p["slices"], 5))
    if p.get("levels"):
        x = (np.floor(x * p["levels"]) / p["levels"] + 0.01).astype(np.float32)
    classes = member_classes(x)
    outputs = {}
    for prefix, rules in (("", RULES["newer"]), ("legacy_", RULES["legacy"])):
        votes = count_votes(classes, rules)
        grades, confidences = slice_decisions(votes)
        outputs |= {f"{prefix}votes": votes, f"{prefix}slice_grades": grades, f"{prefix}slice_conf": confidences}
    return outputs


def ranges(case: Case) -> Mapping[str, Any]:
    def one(depth: int, height: int, policy: str) -> Any:
        try:
            return stack_ranges(depth, height, policy)
        except ValueError:
            return VALUE_ERROR

    return {f"r{number}": one(*arguments) for number, arguments in enumerate(case.parameters["cases"])}


def rounding(case: Case) -> Mapping[str, Any]:
    outputs: dict[str, list] = {}
    for entry in case.parameters["cases"]:
        for prefix, rules in (("legacy", RULES["legacy"]), ("new", RULES["newer"])):
            shares = np.array(entry["tenths"], dtype=rules.dtype) / rules.dtype(10)
            grade, confidence = mean_decision(np.array(entry["grades"]), shares, rules)
            for name, value in (("grade", grade), ("conf", confidence), ("percent", percent(confidence, rules))):
                outputs.setdefault(f"{prefix}_{name}", []).append(value)
    return outputs


# ----- whole chains


def predict_scan(case: Case) -> Mapping[str, Any]:
    from SpineMotionToolsLib.motion.pipeline import Engine, grade

    p = case.parameters
    ensemble, volume = seeded_ensemble(p, case.gain), volume_of(p["volume"])
    try:
        result = grade(
            volume,
            ensemble,
            "newer",
            stack_height=p.get("stackheight", 168),
            incomplete=p.get("policy", "keep_last"),
            slice_step=p.get("step", 1),
            engine=Engine(batch_size=p.get("batch")),
        )
    except ValueError:
        return {"error": VALUE_ERROR}
    return {
        "error": "",
        "smallest_top2_margin": smallest_margin(ensemble, volume, np.flatnonzero(result.scored)),
        "automatic_grade": result.grade,
        "automatic_confidence": result.confidence_percent,
        "mean_confidence": result.mean_confidence,
        "slice_grades": result.slice_grades,
        "slice_confidences": result.slice_confidences,
        "stack_grades": result.stack_grades,
        "stack_confidences": result.stack_confidences,
        "stack_ranges": result.stack_ranges,
        "votes": result.votes,
    }


def smallest_margin(ensemble: Ensemble, volume: np.ndarray, indices: np.ndarray) -> float:
    """Smallest lead of the largest probability over all members and slices, in float32."""
    from SpineMotionToolsLib.motion.ensemble import lead, reference_probabilities
    from SpineMotionToolsLib.motion.networks import MotionNet

    images = prepare(volume)[indices]
    nets = [MotionNet.from_tensors(member.tensors) for member in ensemble.members]
    return min(float(lead(reference_probabilities(net, images)).min()) for net in nets)


def legacy_score(case: Case) -> Mapping[str, Any]:
    from SpineMotionToolsLib.motion import legacy
    from SpineMotionToolsLib.motion.pictures import legacy_picture
    from SpineMotionToolsLib.motion.pipeline import grade

    p = case.parameters
    volume = volume_of(p["volume"])
    try:
        # The published program crashed on an incomplete stack; ours refuses it on request.
        result = grade(
            volume,
            seeded_ensemble(p, case.gain),
            "legacy",
            stack_height=p.get("stackheight", 168),
            incomplete="error",
        )
    except ValueError:
        nothing = np.zeros(0, dtype=np.int64)
        return {
            "scores": np.zeros(1),
            "confidences": np.zeros(1),
            "png_names": "",
            "png_size": np.zeros(2),
            "panel_slices": nothing,
            "panel_grades": nothing,
            "error": VALUE_ERROR,
        }
    scores, confidences = legacy.scores(result)
    slices, grades = legacy.panel_slices(result.slice_grades, result.slice_confidences)
    return {
        "scores": scores,
        "confidences": confidences,
        "png_names": legacy.picture_name(legacy.scan_name(p["scan"]), result),
        "png_size": np.array(legacy_picture(volume, result).size),
        "panel_slices": slices,
        "panel_grades": grades,
        "error": "",
    }


def legacy_indices(case: Case) -> Mapping[str, Any]:
    from SpineMotionToolsLib.motion.legacy import panel_slices

    outputs = {}
    for number, entry in enumerate(case.parameters["cases"]):
        outputs[f"indices{number}"], outputs[f"scores{number}"] = panel_slices(entry["grades"], entry["conf"])
    return outputs


def gradcam(case: Case) -> Mapping[str, Any]:
    import torch
    from SpineMotionToolsLib.motion.attention import grad_cam, scaled, upsampled
    from SpineMotionToolsLib.motion.networks import FastMember, fold
    from SpineMotionToolsLib.motion.pipeline import explain, grade

    p = case.parameters
    ensemble, volume = seeded_ensemble(p, case.gain), volume_of(p["volume"])
    result = grade(
        volume,
        ensemble,
        stack_height=p.get("stackheight", 168),
        incomplete=p.get("policy", "keep_last"),
        slice_step=p.get("step", 1),
    )
    target = p.get("target_class")
    target = result.grade - 1 if target is None else min(max(target, 0), 4)
    member = FastMember(ensemble.members[0].tensors, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        first = scaled(upsampled(grad_cam(member, fold(torch.from_numpy(prepare(volume)[:1]).float()), target)))
    return {
        "attention": explain(volume, ensemble, result, mode="published", target_grade=target + 1),
        "automatic_grade": result.grade,
        "first_cam_strided": first[0, 0].numpy()[::16, ::16],
    }


# ----- files and units


def calibration(case: Case) -> Mapping[str, Any]:
    outputs: dict[str, Any] = {}
    for number, entry in enumerate(case.parameters["cases"]):
        try:
            found = Calibration.from_log(entry["log"])
        except ValueError:
            outputs[f"constants{number}"] = VALUE_ERROR
            continue
        native = np.array(entry["native"], dtype=entry["dtype"])
        outputs[f"constants{number}"] = np.array(
            [found.mu_scaling, found.mu_water, 0, found.density_slope, found.density_intercept]
        )
        for unit in ("native", "mu", "hu", "bmd"):
            outputs[f"{unit}{number}"] = found.from_native(native, unit)
    return outputs


def aim_file(case: Case) -> Mapping[str, Any]:
    from SpineMotionToolsLib.motion.inputs import read_scan
    from SpineMotionToolsLib.motion.scanco import read_array, read_header

    outputs: dict[str, Any] = {"file_bytes": case.want["file_bytes"]}
    with tempfile.TemporaryDirectory() as folder:
        path = file_of(case, "file_bytes", ".aim", folder)
        for unit in case.parameters.get("scalings", ["native"]):
            try:
                outputs[f"data_{unit}"] = np.transpose(read_scan(path, unit).array, (2, 1, 0))
            except ValueError:
                outputs[f"data_{unit}"] = VALUE_ERROR
        header = read_header(path)
        outputs |= {"spacing": np.array(header.spacing_mm), "origin": np.array(header.origin_lps_mm)}
        if "itk_hu_int16_min_max" in case.want:
            hu = read_array(header)
            if header.calibration:
                hu = np.trunc(header.calibration.from_native(hu, "hu").astype(np.float64))
            outputs["itk_hu_int16_min_max"] = np.array([hu.min(), hu.max()]).astype(np.int16)
    return outputs


KINDS = {
    "network": network,
    "keras-h5": keras_h5,
    "preprocess": preprocess,
    "vote": vote,
    "stack-ranges": ranges,
    "rounding": rounding,
    "predict-scan": predict_scan,
    "legacy-score": legacy_score,
    "legacy-indices": legacy_indices,
    "gradcam": gradcam,
    "calibration": calibration,
    "aim-file": aim_file,
}

"""Golden cases of the SpineNet system: every number, size and option comes from the recipe."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from SpineMotionToolsLib.spinenet import (
    discs,
    grades,
    grouping,
    heatmaps,
    labelling,
    patches,
    polygons,
    published_dicom,
    resampling,
    tables,
    vertebra_volumes,
)

from Testing.golden import seeded_weights
from Testing.golden.case import Case
from Testing.golden.seeded_weights import seeded_image

CORNERS = ("rt", "rb", "lb", "lt")
NUMBER = r"-?\d*\.?\d+(?:e[-+]?\d+)?"


def helper_of(case: Case) -> ModuleType:
    """The helper module that lies beside the case; it imports `seeded_weights` by its bare name."""
    sys.modules.setdefault("seeded_weights", seeded_weights)
    name = case.spec.get("helper", "synthetic_spine.py")
    spec = importlib.util.spec_from_file_location(Path(name).stem, case.folder / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_kind(values: np.ndarray, text: str) -> np.ndarray:
    """Float64 values as the dtype that the recipe's words name; integers round half to even."""
    named = re.findall(r"uint8|uint16|int16|float32|float64", text)
    dtype = np.dtype(named[-1] if named else "float64")
    return np.rint(values).astype(dtype) if dtype.kind in "ui" else values.astype(dtype)


def image_from(text: str) -> np.ndarray:
    """The seeded image a recipe spells out, e.g. "seeded_image('x', (40, 30), -3, 9)", as float64."""
    name, shape, rest = re.search(r"seeded_image\('([^']+)', \(([^)]*)\)([^)]*)\)", text).groups()
    numbers = [float(v) for v in re.findall(NUMBER, rest)]
    size = tuple(int(v) for v in shape.split(",") if v.strip())
    return seeded_image(name, size, *numbers).astype(np.float64)


# --------------------------------------------------------------------------------------------- primitives


def patch(case: Case) -> dict:
    recipe = case.spec["inputs"]
    times = re.search(rf"times ({NUMBER})", recipe["scan"])
    factor = float(times[1]) if times else 1.0
    less = re.search(rf"minus ({NUMBER})", recipe["scan"])
    values = image_from(recipe["scan"]) * factor - (float(less[1]) if less else 0)
    scan = as_kind(values, recipe["scan"].split("then")[-1])
    options = dict(recipe.get("options", {}))
    size = tuple(options.pop("patch_size", patches.PATCH_SIZE))
    windows = patches.split(scan.shape, recipe["pixel_spacing"], **options)
    cut = np.stack([patches.cut_patches(scan[..., s], windows, size) for s in range(scan.shape[2])])
    place = [[w.x1, w.x2, w.y1, w.y2] for w in windows]
    return {
        "transforms": np.broadcast_to(np.array(place), (scan.shape[2], len(windows), 4)),
        "sub": cut[:, :, 5::16, 3::16],
        "first_row": cut[0, 0, 0],
        "last_col": cut[-1, -1, :, -1],
        **{name: getattr(cut, name)(axis=(2, 3)) for name in ("mean", "std", "min", "max")},
    }


def normalize(case: Case) -> dict:
    made: dict[str, np.ndarray] = {}
    got = {}
    for each in case.spec["inputs"]["cases"]:
        made[each["name"]] = _normalize_input(each["input"], made)
        got[each["name"]] = patches.normalise_patch(made[each["name"]], **each["options"])
    return got


def _normalize_input(text: str, made: dict[str, np.ndarray]) -> np.ndarray:
    if "seeded_image" in text:
        return as_kind(image_from(text), text)
    if text == "the same":
        return list(made.values())[-1]
    if text.startswith("constant"):
        value, *shape = (float(v) for v in re.findall(r"[\d.]+", text))
        return np.full([int(v) for v in shape], value)
    if outlier := re.match(r"\((\d+), (\d+)\) of ([\d.]+) with \[(\d+), (\d+)\] = ([\d.]+)", text):
        rows, columns, value, row, column, high = (float(v) for v in outlier.groups())
        image = np.full((int(rows), int(columns)), value)
        image[int(row), int(column)] = high
        return image
    scale, sign, offset = re.search(rf"round\(({NUMBER}) \* plain input ([+-]) ({NUMBER})\)", text).groups()
    return as_kind(float(scale) * made["plain"] + float(sign + offset), text)


def resize(case: Case) -> dict:
    got = {}
    low, high = re.search(rf"shape, ({NUMBER}), ({NUMBER})\)", case.spec["inputs"]["call"]).groups()
    for name, shape in case.spec["inputs"]["cases"]:
        volume = seeded_image(f"resize-{name}", tuple(shape), float(low), float(high)).astype(np.float64)
        out = vertebra_volumes.to_network_size(volume)
        got[name] = out[3::20, 5::20]
        got[f"{name}_stats"] = np.array([out.mean(), out.std(), out.min(), out.max()])
    return got


def points(case: Case) -> dict:
    got, image = {}, None
    for each in case.spec["inputs"]["cases"]:
        text = each["image"]
        if text.startswith("zeros"):
            rows, columns = (int(v) for v in re.match(r"zeros \((\d+), (\d+)\)", text).groups())
            image = np.zeros((rows, columns))
            for row, column, value in re.findall(rf"\[(\d+), ?(\d+)\] ?= ?({NUMBER})", text):
                image[int(row), int(column)] = float(value)
        elif "seeded_image" in text:
            image = plain = as_kind(image_from(text), text)
        elif shift := re.match(rf"the same minus ({NUMBER})", text):
            image = plain - np.float32(shift[1])
        got[each["name"]] = heatmaps.peaks(image, each["threshold"])
    return got


def arrow(case: Case) -> dict:
    flags = [[grouping.corner_is_lost(d, v) for d, v in four] for four in case.spec["inputs"]["cases"]]
    return {"missing": np.array(flags, dtype=np.int64)}


def angles(case: Case) -> dict:
    name, n, h, w, size = re.search(
        rf"quads\('([^']+)', (\d+), (\d+), (\d+)(?:, (?:size=)?({NUMBER}))?\)", case.spec["inputs"]["call"]
    ).groups()
    quads = helper_of(case).quads(name, int(n), int(h), int(w), **({"size": float(size)} if size else {}))
    return {"angles": polygons.internal_angles(quads)}


def shared(case: Case) -> dict:
    return {name: grouping.drop_shared_corners(v) for name, v in case.spec["inputs"]["polygons"].items()}


def poly(case: Case) -> dict:
    return {"iou": np.array([polygons.overlap(np.array(a), np.array(b)) for a, b in case.spec["inputs"]["pairs"]])}


# --------------------------------------------------------------------------------------------- detection


def detected_slices(case: Case, helper: ModuleType) -> list[grouping.SliceDetections]:
    """Per-slice detections of the stand-in network that answers with the helper's formula maps."""
    recipe = case.spec["inputs"]
    model = recipe["model"]
    rows, columns, slices = model["shape"]
    windows = patches.split(model["shape"], recipe["pixel_spacing"])
    found = []
    for s in range(slices):
        maps = np.stack([helper.maps(model, s, vars(window)) for window in windows])
        found.append(grouping.decode_slice(maps, windows, (rows, columns), **recipe.get("thresholds", {})))
    return found


def vertebra_outputs(vertebrae: Sequence[grouping.VertebraOutline], prefix: str = "vert") -> dict:
    outlines = [p for v in vertebrae for p in v.polygons]
    return {
        f"{prefix}_polys": np.array(outlines).reshape(-1, 4, 2),
        f"{prefix}_index": np.array([i for i, v in enumerate(vertebrae) for _ in v.polygons], dtype=np.int64),
        f"{prefix}_slice_nos": np.array([s for v in vertebrae for s in v.slices], dtype=np.int64),
        f"{prefix}_average": np.array([v.average for v in vertebrae]).reshape(-1, 4, 2),
    }


def detect(case: Case) -> dict:
    slices = detected_slices(case, helper_of(case))
    heat = np.stack([s.centroid_map for s in slices])
    got = {"heat_sub": heat[:, 2::16, 3::16], "heat_sum": heat.sum(axis=(1, 2))}
    for k, found in enumerate(slices):
        got[f"s{k}_centroids"] = found.centroids
        got[f"s{k}_polys"] = found.polygons
        for name, corners in zip(CORNERS, found.corners):
            got[f"s{k}_points_{name}"], got[f"s{k}_arrows_{name}"] = corners.points, corners.vectors
    outlines = [s.polygons for s in slices]
    got.update(vertebra_outputs(grouping.group_slices(outlines)))
    got.update(vertebra_outputs(grouping.group_slices(outlines, remove_single_slice_detections=False), "vertkeep"))
    return got


def group(case: Case) -> dict:
    got = {}
    for name, slices in case.spec["inputs"]["slices"].items():
        outlines = [np.array(s, dtype=float).reshape(-1, 4, 2) for s in slices]
        for way, remove in (("rm", True), ("keep", False)):
            for percent in (20, 10):
                vertebrae = grouping.group_slices(outlines, percent / 100, remove)
                got.update(vertebra_outputs(vertebrae, f"{name}_{way}_{percent}"))
    return got


def model_vertebrae(helper: ModuleType, model: dict) -> list[grouping.VertebraOutline]:
    """Vertebrae straight from the formula: their corners in every slice that shows them."""
    vertebrae = []
    for v in range(model["n"]):
        seen = [(s, helper.vertebra(model, v, s)) for s in range(model["shape"][2])]
        shown = [(s, got[1]) for s, got in seen if got is not None]
        vertebrae.append(grouping.VertebraOutline([p for _, p in shown], [s for s, _ in shown]))
    return vertebrae


# --------------------------------------------------------------------------------------------- labels


def extract(case: Case) -> dict:
    recipe = case.spec["inputs"]
    scan = as_kind(image_from(recipe["scan"]), recipe["scan"])
    outlines = [np.array(p) for p in recipe["average_polygons"]]
    volumes = np.stack([vertebra_volumes.extract(scan, p) for p in outlines])
    turns = [vertebra_volumes.straightening(p) for p in outlines]
    whole = [
        resampling.warp_cubic(scan[..., :1], m, (0, scan.shape[1]), (0, scan.shape[0])).astype(np.float32)
        for m in turns
    ]
    return {
        "volume_sub": volumes[:, 6::24, 4::24, ::3],
        "volume_mean": volumes.mean(axis=(1, 2, 3)),
        "volume_std": volumes.std(axis=(1, 2, 3)),
        "volume_max": volumes.max(axis=(1, 2, 3)),
        "volume_slice_mean": volumes.mean(axis=(1, 2)),
        "is_zero": ~volumes.any(axis=(1, 2, 3)),
        "new_box": np.stack([vertebra_volumes.straightened(p, m) for p, m in zip(outlines, turns)]),
        "rotated_sub": np.stack([w[5::16, 7::16, 0] for w in whole]),
    }


def stand_in_labelling(helper: ModuleType, recipe: dict, vertebrae, **options) -> labelling.Labelling:
    logits = np.array([helper.appearance_logits(target, i) for i, target in enumerate(recipe["targets"])])
    if recipe.get("volumes", "").startswith("zeros"):  # as `inference.appearance_logits` answers these
        logits[:] = 0
    return labelling.label_vertebrae(
        [v.average for v in vertebrae],
        logits[: len(vertebrae)],
        lambda image: np.float32(helper.CONTEXT_GAIN) * image,
        recipe["model"]["shape"][0],
        recipe["pixel_spacing"],
        **options,
    )


def label(case: Case) -> dict:
    recipe, helper = case.spec["inputs"], helper_of(case)
    vertebrae = model_vertebrae(helper, recipe["model"])
    got = stand_in_labelling(helper, recipe, vertebrae, penalise_skips=recipe["penalise_skips"])
    painted = np.flatnonzero(got.context_image.any(axis=1))
    return {
        "label": np.array(got.labels),
        "appearance_guess": np.array([labelling.LEVELS[c] for c in got.appearance_classes]),
        "context_guess": np.array([labelling.LEVELS[c] for c in got.context_classes]),
        "context_image_rows": painted,
        "context_image": got.context_image[painted[::3]],
        "context_image_height": len(got.context_image),
        "probs": got.probabilities,
        "best": got.classes,
        "best_score": got.score,
    }


def beam(case: Case) -> dict:
    recipe, helper = case.spec["inputs"], helper_of(case)
    if "targets" not in recipe:
        return beam_edges(case, helper)
    shape = {name: float(v) for name, v in re.findall(rf"(peak|spread|noise)=({NUMBER})", recipe["call"])}
    width = int(re.search(r"width (\d+)", recipe["call"])[1])
    got = {}
    for name, targets in recipe["targets"].items():
        rows = helper.probabilities(f"beam-{name}", targets, **shape)
        got[f"{name}_p"] = rows
        for order in ("desc", "asce"):
            for skips in ("pen", "free"):
                sequences, scores = labelling.beam_search(rows, width, skips == "pen", order == "desc")
                key = f"{name}_{order}_{skips}"
                first = len(case.want.get(f"{key}_seq", sequences))
                got[f"{key}_seq"], got[f"{key}_score"] = sequences[:first], scores[:first]
                got[f"{key}_count"] = len(sequences)
    return got


def beam_edges(case: Case, helper: ModuleType) -> dict:
    """Searches described in words, such as "zero: probabilities('beam-zero', [5, 4, 3]) with columns 10.. set to 0"."""
    text, got = case.spec["inputs"]["call"], {}
    rows_of = {"empty": np.zeros((0, labelling.CLASSES))}
    for name, seed, targets, cut in re.findall(
        r"([\w/]+): probabilities\('([^']+)', \[([\d, ]*)\]\)(?: with columns (\d+)\.\.)?", text
    ):
        rows = helper.probabilities(seed, [int(v) for v in targets.split(",")])
        rows[:, int(cut or labelling.CLASSES) :] = 0
        rows_of[re.sub(r"\d.*", "", name)] = got[f"{name}_p"] = rows
    if "uniform_seq" in case.want:
        rows_of["uniform"] = np.full((case.want["uniform_seq"].shape[1], labelling.CLASSES), 1 / labelling.CLASSES)
    for key in {key.rsplit("_", 1)[0] for key in case.want if key.endswith(("_seq", "_score"))} - {"zero_last"}:
        name, width = re.fullmatch(r"(\D+)(\d*)", key).groups()
        if name in rows_of:
            sequences, scores = labelling.beam_search(rows_of[name], int(width or labelling.BEAM_WIDTH))
            shown = len(case.want.get(f"{key}_seq", sequences))
            got[f"{key}_seq"], got[f"{key}_score"] = sequences[:shown], scores[:shown]
            got[f"{key}_last_score_finite"] = int(np.isfinite(scores).sum())
    got["empty_score"] = labelling.beam_search(rows_of["empty"])[1][0]
    return got


# --------------------------------------------------------------------------------------------- discs, grades


def ivd(case: Case) -> dict:
    recipe, helper = case.spec["inputs"], helper_of(case)
    scan = model_scan(helper, recipe)
    stacked = discs.stack_outlines(model_vertebrae(helper, recipe["model"]), recipe["labels"], scan.shape[2])
    bodies = [discs.body_intensities(scan, stacked, i) for i in range(len(stacked.names))]
    found = discs.disc_volumes(scan, stacked)
    volumes = disc_arrays_of(found)
    return {
        "ivd_sub": volumes[:, :, 4::12, 6::16],
        "ivd_mean": volumes.mean(axis=(1, 2, 3)),
        "ivd_std": volumes.std(axis=(1, 2, 3)),
        "ivd_max": volumes.max(axis=(1, 2, 3)),
        "ivd_slice_mean": volumes.mean(axis=(2, 3)),
        "level_names": np.array([d.level for d in found]),
        "vb_names": np.array(stacked.names),
        "mid": stacked.middle,
        "present": stacked.present,
        "x": stacked.x[..., ::2],
        "y": stacked.y[..., ::2],
        "voxels": np.array([b.size for b in bodies]),
        "median": np.array([np.median(b) for b in bodies]),
    }


def disc_arrays_of(found: Sequence[discs.DiscVolume]) -> np.ndarray:
    return np.array([d.volume for d in found]).reshape(-1, 9, 112, 224)


def model_scan(helper: ModuleType, recipe: dict) -> np.ndarray:
    name, kind, noise = re.search(
        rf"scan\(model, '([^']+)'(?:, '(\w+)')?(?:, (?:noise=)?({NUMBER}))?\)", recipe["scan"]
    ).groups()
    return helper.scan(recipe["model"], name, kind or "float64", **({"noise": float(noise)} if noise else {}))


def format_table(case: Case) -> dict:
    recipe = case.spec["inputs"]
    index, columns, values = grades.grade_table(recipe["gradings"], recipe["level_names"])
    text = grades.grade_csv(index, columns, values)
    return {"index": np.array(index), "columns": np.array(columns), "values": values, "csv": np.array(text)}


def csv(case: Case) -> dict:
    return {"text": np.array(tables.published_vertebra_csv(case.spec["inputs"]["vert_dicts"]))}


def network_of(case: Case):
    from SpineMotionToolsLib.spinenet import networks

    kinds = {
        "detection": networks.DetectionNetwork,
        "appearance": networks.AppearanceNetwork,
        "context": networks.ContextNetwork,
        "grading": networks.GradingNetwork,
    }
    return seeded_weights.fill_torch(kinds[case.spec["network"]](), case.gain).eval().requires_grad_(False)


def net(case: Case) -> dict:
    import torch

    network = network_of(case)
    x = torch.from_numpy(net_input(case.spec["inputs"]))
    if case.spec["network"] == "grading":
        return {head.key.removeprefix("fc_"): y.numpy() for head, y in zip(grades.HEADS, network(x))}
    if case.spec["network"] == "appearance":
        return {"logits": network(x).numpy(), "features": network.features(x).numpy()}
    if "output" in case.want:
        return {"output": network(x).numpy()}
    features = network.features(x)
    y = network.out(features).numpy()
    return {
        "output_sub": y[:, :, 3::8, 5::8],
        "features_sub": features.numpy()[:, :, 7::32, 9::32],
        **{f"channel_{name}": getattr(y, name)(axis=(2, 3)) for name in ("mean", "std", "min", "max")},
    }


def net_input(text: str) -> np.ndarray:
    if "seeded_image" in text:
        return image_from(text).astype(np.float32)
    fill, shape = re.search(r"(zeros|ones)\(([\d, ]+)\)", text).groups()
    x = np.full([int(v) for v in shape.split(",")], float(fill == "ones"), dtype=np.float32)
    bands = re.search(rf"for i in 0\.\.(\d+) rows (\d+)\+(\d+)i \.\. (\d+)\+.*\(j-\((\d+)-i\)\)\^2\)/({NUMBER})", text)
    if bands:
        last, start, pitch, stop, first = (int(v) for v in bands.groups()[:5])
        j = np.arange(x.shape[-1])
        for i in range(last + 1):
            band = np.exp(-0.5 * (j - (first - i)) ** 2) / float(bands[6])
            x[0, 0, start + pitch * i : stop + pitch * i + 1] = band
    return x


def dicom(case: Case) -> dict:
    recipe, helper = case.spec["inputs"], helper_of(case)
    got = {}
    for name, files in recipe["files"].items():
        with tempfile.TemporaryDirectory() as folder:
            helper.write_dicoms(files, folder)
            Path(folder, "notes.txt").write_text("not an image", encoding="utf-8")
            try:
                series = published_dicom.load_published(folder, **recipe["options"][name])
            except (ValueError, AssertionError, NotImplementedError):
                outcome = "refused"
            else:
                outcome = "ok"
                got[f"{name}_volume"] = series.volume
                got[f"{name}_spacing"] = np.array([series.pixel_spacing, series.slice_thickness])
            wanted = case.spec.get("result", {}).get(name, outcome)
            if (outcome == "ok") != (wanted == "ok"):
                raise AssertionError(f"{name}: {outcome}, but the recipe says {wanted}")
    return got


def end_to_end(case: Case) -> dict:
    import torch

    recipe, helper = case.spec["inputs"], helper_of(case)
    scan = model_scan(helper, recipe)
    options = dict(recipe.get("options", {}))
    remove = options.pop("remove_single_slice_detections", True)
    outlines = [s.polygons for s in detected_slices(case, helper)]
    vertebrae = grouping.group_slices(outlines, remove_single_slice_detections=remove)
    named = stand_in_labelling(helper, recipe, vertebrae, **options)
    volumes = np.array([vertebra_volumes.extract(scan, v.average) for v in vertebrae]).reshape(-1, 224, 224, 16)
    found = discs.disc_volumes(scan, discs.stack_outlines(vertebrae, named.labels, scan.shape[2]))
    levels = [d.level for d in found]
    disc_arrays = disc_arrays_of(found)
    network = network_of(case)
    logits = [[y[0].numpy() for y in network(torch.from_numpy(v.astype(np.float32))[None, None])] for v in disc_arrays]
    index, columns, table = grades.grade_table(arg_max(logits), levels)
    stand_in = [
        [np.sin(5.0 * i + 3.0 * h + 2.0 * np.arange(head.classes)) for h, head in enumerate(grades.HEADS)]
        for i in range(len(found))
    ]
    return {
        **vertebra_outputs(vertebrae),
        "label": np.array(named.labels),
        "ivd_names": np.array(levels),
        "ivd_sub": disc_arrays[:, ::2, 4::12, 6::16],
        "ivd_mean": disc_arrays.mean(axis=(1, 2, 3)),
        "ivd_std": disc_arrays.std(axis=(1, 2, 3)),
        "vertebra_volume_sub": volumes[:, 6::24, 4::24, ::3],
        "vertebra_volume_mean": volumes.mean(axis=(1, 2, 3)),
        "vertebra_volume_std": volumes.std(axis=(1, 2, 3)),
        "grading_logits": np.array([np.concatenate(heads) for heads in logits]),
        "table": table,
        "table_standin": grades.grade_table(arg_max(stand_in), levels)[2],
        "table_index": np.array(index),
        "table_columns": np.array(columns),
    }


def arg_max(logits: Sequence[Sequence[np.ndarray]]) -> dict[str, list[int]]:
    return {head.column: [int(np.argmax(of_disc[h])) for of_disc in logits] for h, head in enumerate(grades.HEADS)}


KINDS = {
    "patch": patch,
    "normalize": normalize,
    "resize": resize,
    "get": points,
    "arrow": arrow,
    "internal": angles,
    "shared": shared,
    "poly": poly,
    "detect": detect,
    "group": group,
    "extract": extract,
    "label": label,
    "beam": beam,
    "ivd": ivd,
    "format": format_table,
    "csv": csv,
    "net": net,
    "dicom": dicom,
    "end": end_to_end,
}

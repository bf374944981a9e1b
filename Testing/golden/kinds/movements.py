"""Golden cases of the general-movements system: background, body points, pose adjusting, flow, chunks, networks,
scores.

Where the published program divides by zero and goes on with NaN (a constant mask, a black picture, torso points in
fewer than four frames), the library has a usable value; the handlers answer NaN there, as the cases hold it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from SpineMotionToolsLib.common import body_points, flow
from SpineMotionToolsLib.movements import adjusting, background, chunks, folds, scores, torso

from Testing.golden.case import Case
from Testing.golden.seeded_weights import fill_torch, seeded_array, seeded_image

CONTRACTS = Path(chunks.__file__).parent / "contracts"


def arguments(case: Case) -> dict:
    return case.spec["inputs"]["args"]


def picture(name: str, shape, repeat: int = 1) -> np.ndarray:
    """The 8-bit picture that the recipes make of a seeded image, pixels repeated along both axes."""
    levels = np.floor(seeded_image(name, tuple(shape), 0, 255.999)).astype(np.uint8)
    return levels.repeat(repeat, axis=0).repeat(repeat, axis=1)


def filled(net, contract_name: str, gain: float):
    """The network with every tensor filled by the contract's names, in evaluation mode."""
    import torch

    contract = json.loads((CONTRACTS / f"{contract_name}.json").read_text(encoding="utf-8"))
    state = {
        key: torch.from_numpy(np.asarray(seeded_array(key, tuple(spec["shape"]), gain)))
        for key, spec in contract.items()
    }
    net.load_state_dict(state)
    return net.eval()


def watched(modules: dict) -> dict:
    """The outputs of the named modules, filled in when the network runs."""
    seen = {}
    for part, module in modules.items():
        module.register_forward_hook(lambda _, __, output, part=part: seen.update({part: output}))
    return seen


def summaries(seen: dict, values: int) -> dict:
    """Samples, mean and standard deviation of every watched output."""
    out = {}
    for part, output in seen.items():
        flat = output.numpy().ravel()
        out[f"{part}_samples"] = flat[:: max(1, flat.size // values)]
        out[f"{part}_meanstd"] = np.array([flat.mean(dtype=np.float64), flat.std(dtype=np.float64)])
    return out


def u2_prepare(case: Case) -> dict:
    a = arguments(case)
    tensor = background.network_input(picture(a["name"], a["shape"], a.get("repeat", 1)))
    step = a.get("step", 5)
    return {"shape": np.array(tensor.shape), "sample": tensor[0, :, ::step, ::step]}


def u2net(case: Case) -> dict:
    import torch
    from SpineMotionToolsLib.movements.background_network import U2Net

    a = arguments(case)
    net = filled(U2Net(), case.spec["network"], float(a.get("gain", case.gain)))
    names = [*(f"stage{i}" for i in range(1, 7)), *(f"stage{i}d" for i in range(1, 6))]
    seen = watched({name: getattr(net, name) for name in names})
    with torch.inference_mode():
        maps = net(torch.from_numpy(seeded_image(a["name"], tuple(a["shape"]), a["low"], a["high"])))
    return summaries(seen, 300) | {f"d{i}": m.numpy() for i, m in enumerate(maps)}


def mask(case: Case) -> dict:
    a = arguments(case)
    frame = picture(a["frame"], a["fshape"])
    prediction = seeded_image(a["pred"], tuple(a["pshape"]), a["low"], a["high"])[0, 0]
    repeat = a.get("repeat", 1)
    soft = background.mask_of(prediction.repeat(repeat, axis=0).repeat(repeat, axis=1), frame.shape[:2])
    masked = background.apply_mask(frame, soft)
    return {"mask": soft if np.ptp(prediction) else np.full_like(soft, np.nan), "masked": masked}


def openpose_prepare(case: Case) -> dict:
    a = arguments(case)
    tensor = body_points.prepare(picture(a["name"], a["shape"], a.get("repeat", 1)))
    return {
        "shape": np.array(tensor.shape),
        "sample": tensor[0, :, ::4, ::4],
        "right": tensor[0, :, ::16, -9:],
        "bottom": tensor[0, :, -9:, ::16],
    }


def openpose_net(case: Case) -> dict:
    import torch
    from SpineMotionToolsLib.common.body_network import BodyNetwork

    a = arguments(case)
    net = filled(BodyNetwork(), case.spec["network"], float(a.get("gain", case.gain)))
    with torch.inference_mode():
        features, stages = net.all_stages(
            torch.from_numpy(seeded_image(a["name"], tuple(a["shape"]), a["low"], a["high"]))
        )
    seen = {"model0": features}
    for stage, pair in enumerate(stages, start=1):
        seen |= {f"model{stage}_1": pair[0], f"model{stage}_2": pair[1]}
    return summaries(seen, 300) | {"paf": stages[-1][0].numpy(), "heat": stages[-1][1].numpy()}


def openpose_decode(case: Case) -> dict:
    a = arguments(case)
    fields, maps = case.want["input_paf"], case.want["input_heat"]
    bodies = body_points.decode(fields, maps, (a["height"], a["width"]))
    return {
        "input_paf": fields,
        "input_heat": maps,
        "candidate": bodies.candidates,
        "subset": bodies.persons,
        "torso": torso.torso_points(bodies),
    }


def bodies_of(result: dict) -> body_points.BodyPoints:
    """Body points as the recipes store them."""
    candidates = np.array(result["candidate"], np.float64).reshape(-1, 4)
    return body_points.BodyPoints(candidates, np.array(result["subset"], np.float64).reshape(-1, 20))


def torso_list(case: Case) -> dict:
    return {f"torso_{i}": torso.torso_points(bodies_of(c)) for i, c in enumerate(arguments(case)["cases"])}


def adjust_params(case: Case) -> dict:
    a = arguments(case)
    looked_at = range(0, a.get("n_frames", len(a["calls"])), a.get("stride", 1))
    samples = [torso.torso_points(bodies_of(call)) for _, call in zip(looked_at, a["calls"])]
    trunk = torso.average_trunk(samples)
    found = 1.0 if sum(len(points) > 0 for points in samples) >= 4 else np.nan
    return {
        "rough_degree": torso.rough_degree(samples),
        "center": np.array(trunk.center_px) * found,
        "length": trunk.length_px * found,
        "degree": trunk.degree * found,
    }


def adjust_frame(case: Case) -> dict:
    a = arguments(case)
    turned = adjusting.turn(picture(a["name"], a["shape"], a.get("repeat", 1)), a["rough"], enlarge=True)
    trunk = torso.Trunk(tuple(a["center"]), a["length"], a["degree"])
    shifted, straight = adjusting.place_trunk(turned, trunk)
    cropped = adjusting.crop_trunk(straight, a["length"], a["ratio"], tuple(a["size"]))
    return {"rotated": turned, "translated": shifted, "rotated2": straight, "cropped": cropped}


def flow_pictures(case: Case) -> dict:
    a = arguments(case)
    base = box_blur(picture(a["name"], a["shape"], a.get("repeat", 1)))
    step = chunks.FRAME_RATE_HZ // a["fps"]
    shifts = np.array(a["shifts"])
    grays = [
        flow.gray_of_bgr(np.roll(base, [int(round(s)) for s in shifts * number], axis=(0, 1)))
        for number in range(0, a["n"], step)
    ]
    out = {"first_frame": base}
    for k in range(1, len(grays)):
        field = flow.flow_between(grays[k - 1], grays[k])
        if k == 1:
            out["raw_first"] = field
        encoded = chunks.encode_flow(field)
        out[f"X_{k * step:06d}"], out[f"Y_{k * step:06d}"] = encoded[..., 0], encoded[..., 1]
    return out


def box_blur(levels: np.ndarray) -> np.ndarray:
    """Mean over 5 x 5 pixels, mirrored at the border without repeating it, rounded."""
    padded = np.pad(levels.astype(np.int64), ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    return np.rint(windows.sum(axis=(-2, -1)) / 25).astype(np.uint8)


def flow_encode(case: Case) -> dict:
    encoded = chunks.encode_flow(np.array(arguments(case)["values"], np.float32))
    return {"encoded": encoded, "decoded": chunks.decode_flow(encoded)}


def dataset(case: Case) -> dict:
    a = arguments(case)
    chunk = chunks.chunk_at(a["start"], a["num_stack"], a["fps"])
    levels = np.floor(picture(f"{a['name']}-img", a["shape"]).astype(np.float64) * a.get("image_scale", 1.0))
    image = chunks.picture_tensor(levels.astype(np.uint8))
    image = image if levels.any() else np.full_like(image, np.nan)
    fields = chunks.flow_tensor(
        chunk, lambda axis, frame: picture(f"{a['name']}-{axis}-{frame:06d}", tuple(a["shape"][:2]))
    )
    if a.get("flip"):
        image, fields = chunks.mirror(image, fields)
    return {"label": 1, "image": image, "flow": fields}


def split(case: Case) -> dict:
    a = arguments(case)
    labels = np.repeat(np.arange(len(a["counts"])), a["counts"])
    starts = chunks.starts(spacing=a["num_stack"])
    out = {}
    for k, test in enumerate(folds.stratified_folds(labels), start=1):
        out |= {
            f"test_{k}": test,
            f"labels_{k}": labels[test],
            f"starts_{k}": np.array(starts),
            f"train_rows_{k}": (len(labels) - len(test)) * len(starts),
        }
    return out


def early_stop(case: Case) -> dict:
    a = arguments(case)
    saved, stop = folds.replay(a["losses"], a["patience"])
    return {"saved": np.array(saved, np.int64), "stop": stop}


def two_stream(case: Case) -> dict:
    import torch
    from SpineMotionToolsLib.movements.networks import TwoStream, Variant

    a = arguments(case)
    pictures, flows = (torch.from_numpy(_batch(a[name])) for name in ("imgs", "flows"))
    kind, depth, original = re.fullmatch(r"gma-(two_stream|[a-z]+_only)_resnet(\d+)(_original)?", a["network"]).groups()
    variant = Variant(
        spatial_depth=None if kind == "temporal_only" else int(depth),
        temporal_depth=None if kind == "spatial_only" else int(depth),
        fusion="conv1x1" if kind == "two_stream" and not original else "sum",
        flow_channels=flows.shape[1],
    )
    net = fill_torch(TwoStream(variant), float(a.get("gain", case.gain))).eval()
    parts = {}
    for stream in ("spatial", "temporal"):
        for layer in ("maxpool", "layer1", "layer2", "layer3", "layer4"):
            if hasattr(net, stream):
                parts[f"{stream}_{layer}"] = getattr(getattr(net, stream), layer)
    parts |= {name: getattr(net, name) for name in ("conv1x1", "avgpool") if hasattr(net, name)}
    seen = watched(parts)
    with torch.inference_mode():
        logits = net(pictures, flows)
    return summaries(seen, 1000) | {"logits": logits.numpy()}


def _batch(entries) -> np.ndarray:
    stacked = []
    for entry in entries:
        values = seeded_image(entry["name"], tuple(entry["shape"]), entry["low"], entry["high"])
        repeat = entry.get("repeat", 1)
        stacked.append(values.repeat(repeat, axis=-2).repeat(repeat, axis=-1))
    return np.stack(stacked)


def subject_scores(case: Case) -> dict:
    rows = arguments(case)["rows"]
    predicted, truth = scores.subject_classes(
        [row[1] for row in rows], [row[0] for row in rows], np.array([row[3:] for row in rows])
    )
    return {"pred": predicted, "label": truth, "metrics": list(scores.figures(truth, predicted).values())}


KINDS = {
    "u2_prepare": u2_prepare,
    "u2net": u2net,
    "mask": mask,
    "openpose_prepare": openpose_prepare,
    "openpose_net": openpose_net,
    "openpose_decode": openpose_decode,
    "torso": torso_list,
    "adjust_params": adjust_params,
    "adjust_frame": adjust_frame,
    "flow": flow_pictures,
    "flow_encode": flow_encode,
    "dataset": dataset,
    "split": split,
    "early_stop": early_stop,
    "two_stream": two_stream,
    "subject_scores": subject_scores,
}

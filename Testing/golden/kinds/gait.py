"""Golden cases of the gait system (kinds crop, select, decode, clips, subsample, transform, network, post, folds,
three).
"""

from __future__ import annotations

import re
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from SpineMotionToolsLib.common.video import VideoFile
from SpineMotionToolsLib.common.video_writing import write_video
from SpineMotionToolsLib.gait import clips, folds, patients, scores

from Testing.golden.case import Case
from Testing.golden.seeded_weights import fill_torch, seeded_image


def arguments(case: Case) -> dict:
    return case.spec["inputs"]["args"]


def levels(name: str, shape) -> np.ndarray:
    """The grey levels 0-255 that the recipes make of a seeded image."""
    return np.floor(seeded_image(name, tuple(shape), 0, 255.999))


def crop(case: Case) -> dict:
    a = arguments(case)
    video = levels(a["name"], a["shape"]).astype(np.uint8)
    background = a["flag"] == "nopad"
    squares = []
    for frame, box in zip(video, a["boxes"]):
        window = patients.person_window(frame, np.array(box, np.float32), background)
        squares.append(patients.square_picture(window, a["img_size"], background))
    return {"clip": np.stack(squares).transpose(3, 0, 1, 2)}


def select(case: Case) -> dict:
    rows = [np.array(frame, np.float32).reshape(-1, 6) for frame in arguments(case)["frames"]]
    selection = patients.select_published(rows)
    return {"kept": selection.kept, "boxes": selection.boxes, "center": selection.center}


def decode(case: Case) -> dict:
    a = arguments(case)
    grey = [(4 * number + 2) % 256 for number in range(a["n_frames"])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, (np.full((32, 32, 3), level, np.uint8) for level in grey), a["fps"], codec="mpeg4")
        video = VideoFile(path)
        out = {"duration_sec": float(video.duration_s)}
        for k, (start, end) in enumerate(a["clips"]):
            numbers = video.frames_between(Fraction(start), Fraction(end))
            seen = [frame.picture.mean() for frame in video.frames(numbers)]
            out[f"frames_{k}"] = np.array([np.argmin(np.abs(np.array(grey) - level)) for level in seen], np.int64)
    return out


def clip_list(case: Case) -> dict:
    a = arguments(case)
    out = {}
    for numerator, denominator in a["durations"]:
        times = clips.clip_times(Fraction(numerator, denominator), Fraction(a["clip"]))
        out[f"clips_{numerator}_{denominator}"] = np.array([[float(s), float(e)] for s, e in times])
    return out


def subsample(case: Case) -> dict:
    return {f"idx_{t}_{n}": clips.pick_frames(t, n) for t, n in arguments(case)["pairs"]}


def transform(case: Case) -> dict:
    a = arguments(case)
    clip = levels(a["name"], a["shape"]).astype(np.float32)
    picked = clip[:, clips.pick_frames(clip.shape[1], a["n"])]
    return {"clip": clips.network_input(picked, a["size"], a.get("raw_short_side"), bool(a.get("flip", False)))}


def network(case: Case) -> dict:
    import torch
    from SpineMotionToolsLib.gait import networks

    a = arguments(case)
    name = a["network"].removeprefix("gait-")
    batch = torch.from_numpy(_batch(a["batch"]))
    early = re.fullmatch(r"early_fusion_t(\d+)", name)
    net = networks.build("early_fusion" if early else name, frames=batch.shape[2])
    fill_torch(net, float(a.get("gain", case.gain)), lambda key: f"model.{key}")
    net.eval()
    seen = {}
    for part, module in _parts(net, name).items():
        module.register_forward_hook(lambda _, __, output, part=part: seen.update({part: output}))
    with torch.inference_mode():
        logits = net(batch)
    if name == "late_fusion" and len(logits) == 1:  # the published network loses the batch axis of a single clip
        logits = logits[0]
    out = {"logits": logits.numpy(), "probability": torch.sigmoid(logits).numpy()}
    for part, output in seen.items():
        flat = output.numpy().ravel()
        out[f"{part}_samples"] = flat[:: max(1, flat.size // 1000)]
        out[f"{part}_meanstd"] = np.array([flat.mean(dtype=np.float64), flat.std(dtype=np.float64)])
    return out


def _batch(entries) -> np.ndarray:
    clips_ = []
    for entry in entries:
        clip = seeded_image(entry["name"], tuple(entry["shape"]), entry["low"], entry["high"])
        repeat = entry.get("repeat", 1)
        clips_.append(clip.repeat(repeat, axis=-2).repeat(repeat, axis=-1))
    return np.stack(clips_)


def _parts(net, name: str) -> dict:
    if name == "late_fusion":
        return {"first_feat": net.first_model, "last_feat": net.last_model}
    if hasattr(net, "resnet_model"):
        return {f"layer{i}": getattr(net.resnet_model, f"layer{i}") for i in (1, 2, 3, 4)}
    return {f"block{i}": block for i, block in enumerate(net.blocks)}


def post(case: Case) -> dict:
    a = arguments(case)
    figures = scores.figures(np.array(a["logits"]), np.array(a["labels"]))
    names = ("loss", "accuracy", "precision", "recall", "f1", "auroc", "confusion")
    got = {"prob": scores.probability_non_asd(a["logits"])} | {name: getattr(figures, name) for name in names}
    return got | {"auroc": np.nan_to_num(figures.auroc)}  # with one class only, the published program's library gives 0


def fold_lists(case: Case) -> dict:
    videos = arguments(case)["videos"]
    labels = [label for label, _ in videos]
    keys = [folds.patient_key(name) for _, name in videos]
    return {f"val_{i}": fold for i, fold in enumerate(folds.stratified_group_folds(labels, keys))}


def three(case: Case) -> dict:
    return {f"n_{count}": np.array(folds.three_parts(count), np.int64) for count in arguments(case)["counts"]}


KINDS = {
    "crop": crop,
    "select": select,
    "decode": decode,
    "clips": clip_list,
    "subsample": subsample,
    "transform": transform,
    "network": network,
    "post": post,
    "folds": fold_lists,
    "three": three,
}

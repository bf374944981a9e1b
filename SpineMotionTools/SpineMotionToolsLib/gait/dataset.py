"""Labeled gait videos in the study's folders (`ASD`, `ASD_not`), and the clips a network is trained on.

`<root>/{ASD,ASD_not}/*.mp4`, `<root>/{train,val}/{ASD,ASD_not}/*.mp4`, or `<root>/fold{0..4}/{train,val}/...`.
A folder below the class is a patient; without one the first 15 characters of the file name are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.video import Video, open_video
from SpineMotionToolsLib.common.video_folders import is_video
from SpineMotionToolsLib.gait.clips import network_input, pick_frames
from SpineMotionToolsLib.gait.folds import patient_key
from SpineMotionToolsLib.gait.models import ClipSettings

FOLDERS = ("ASD", "ASD_not")  # alphabetical: label 0 is ASD, label 1 is non-ASD


@dataclass(frozen=True)
class LabeledVideo:
    """One recording: its file, label (0 ASD, 1 non-ASD) and patient key."""

    path: Path
    label: int
    patient: str


def labeled_videos(root: Path | str) -> list[LabeledVideo]:
    """The videos below `root`/ASD and `root`/ASD_not (or these folders in `root`/train and `root`/val), by name.

    Raises InputError when either class has none.
    """
    videos = [video for part in ("", "train", "val") for video in _videos_of(Path(root) / part)]
    for label, name in enumerate(FOLDERS):
        if not any(video.label == label for video in videos):
            raise InputError(
                f"{Path(root) / name} holds no videos. Put the videos of each class into the folder of its name: "
                f"{' or '.join(FOLDERS)}."
            )
    return sorted(videos, key=lambda video: video.path.name)


def labeled_folds(root: Path | str) -> tuple[list[LabeledVideo], list[np.ndarray]] | None:
    """Videos and the validation indices of each fold, where `root` has the study's folders fold0/val, fold1/val, ...;
    else None.
    """
    parts = [_videos_of(folder / "val") for folder in sorted(Path(root).glob("fold[0-9]"))]
    if not any(parts):
        return None
    ends = np.cumsum([0, *(len(part) for part in parts)])
    return [video for part in parts for video in part], [np.arange(a, b) for a, b in zip(ends, ends[1:])]


def _videos_of(folder: Path) -> list[LabeledVideo]:
    return [
        LabeledVideo(path, label, _patient_of(path.relative_to(folder / name)))
        for label, name in enumerate(FOLDERS)
        for path in sorted((folder / name).rglob("*"))
        if is_video(path)
    ]


def _patient_of(path: Path) -> str:
    """The first folder on the way to a video: all that is below one folder stays in one fold."""
    return path.parts[0] if len(path.parts) > 1 else patient_key(path.name)


def in_several_folds(videos: Sequence[LabeledVideo], parts: Sequence[np.ndarray]) -> list[str]:
    """Patients with videos in more than one of the given folds: known from training when they are tested."""
    folds = [{videos[i].patient for i in part} for part in parts]
    return sorted({patient for fold in folds for patient in fold if sum(patient in other for other in folds) > 1})


def read_clip(video: Video, start_s: float, settings: ClipSettings, mirror: bool = False) -> np.ndarray:
    """The network input (3,T,S,S) of the clip that begins at `start_s`, from a video of the already cropped patient."""
    numbers = video.frames_between(start_s, start_s + settings.clip_s)
    if len(numbers) == 0:
        raise InputError(f"{video.name} has no frames at {start_s:.2f} s. Copy or export the video again.")
    picked = numbers[pick_frames(len(numbers), settings.frames)]
    pictures = {frame.number: frame.picture for frame in video.frames(picked)}
    if missing := set(picked.tolist()) - set(pictures):
        raise InputError(f"Frame {min(missing)} of {video.name} cannot be decoded. Export it again, or leave it out.")
    clip = np.stack([pictures[number] for number in picked]).transpose(3, 0, 1, 2)
    return network_input(clip, settings.size_px, mirror=mirror)


class RandomClips(Dataset):
    """One clip at a random place per video and epoch, mirrored every other time (the published training)."""

    def __init__(self, videos: Sequence[LabeledVideo], settings: ClipSettings, seed: int = 42):
        self.videos, self.settings = list(videos), settings
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        labeled = self.videos[index]
        video = open_video(labeled.path)
        latest = max(float(video.duration_s) - self.settings.clip_s, 0.0)
        clip = read_clip(video, self._random.uniform(0, latest), self.settings, bool(self._random.integers(2)))
        return torch.from_numpy(clip), labeled.label


class AllClips(Dataset):
    """Every evaluation clip of every video, unmirrored; `owners` (n,) tells the video each clip belongs to."""

    def __init__(self, videos: Sequence[LabeledVideo], settings: ClipSettings):
        from fractions import Fraction

        from SpineMotionToolsLib.gait.clips import clip_times

        self.videos, self.settings = list(videos), settings
        self._clips = [
            (number, float(start))
            for number, labeled in enumerate(self.videos)
            for start, _ in clip_times(open_video(labeled.path).duration_s, Fraction(str(settings.clip_s)))
        ]
        self.owners = np.array([number for number, _ in self._clips])

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        number, start = self._clips[index]
        labeled = self.videos[number]
        return torch.from_numpy(read_clip(open_video(labeled.path), start, self.settings)), labeled.label

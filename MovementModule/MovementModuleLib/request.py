"""The user's choices as the parameters of a task: no Qt and no scene, for the panel and the console alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TASKS = ("gait", "movements")


@dataclass
class Request:
    """What is asked of one video. Regions, torso points and outline are in pixels of the original, by frame number.

    Models are catalogue ids or paths.
    """

    task: str = "gait"
    model: str = ""
    patientBy: str = "motion"
    patientFile: str = ""
    regions: Mapping[int, Any] = field(default_factory=dict)
    click: tuple[float, float, float] | None = None  # time (s), x, y of a point on the patient among several persons
    follow: bool = True
    ageWeeks: float | None = None
    background: str = "network"
    backgroundModel: str = ""
    outline: list | None = None
    torsoBy: str = "network"
    torso: Mapping[int, Any] = field(default_factory=dict)
    pointsModel: str = ""
    measureLean: bool = False
    timing: str = "real"
    mirror: bool = False
    ignoreQuality: bool = False
    device: str = "auto"
    threads: int | None = None

    def parameters(self, videoPath: str, **extra: Any) -> dict[str, Any]:
        """Parameters of `gait.tasks:score` or `movements.tasks:score`; raises InputError for an unknown task."""
        from SpineMotionToolsLib.common.errors import InputError

        if self.task not in TASKS:
            raise InputError(f"The task {self.task!r} is unknown. Choose one of: {', '.join(TASKS)}.")
        common = {
            "video": videoPath,
            "model": modelPath(self.model),
            "ignore_quality": self.ignoreQuality,
            "device": self.device,
            "threads": self.threads,
        }
        own = self._gait() if self.task == "gait" else self._movements()
        return {**common, **own, **extra}

    def _gait(self) -> dict[str, Any]:
        person = {
            "way": self.patientBy,
            "file": self.patientFile or None,
            "regions": dict(self.regions),
            "click": self.click if self.patientBy != "region" else None,
            "follow": self.follow,
        }
        points = (modelPath(self.pointsModel) or "starter") if self.measureLean else None
        return {"person": person, "timing": self.timing, "mirror": self.mirror, "points": points}

    def _movements(self) -> dict[str, Any]:
        return {
            "infant": {
                "background": self.background,
                "background_file": modelPath(self.backgroundModel),
                "outline": self.outline,
                "points": self.torsoBy,
                "points_file": modelPath(self.pointsModel),
                "torso": dict(self.torso),
                "age_weeks": self.ageWeeks,
            }
        }


def modelPath(model: str) -> str | None:
    """The weight file of a catalogue id or path; None for starter sets, which tasks find themselves."""
    from SpineMotionToolsLib.common.catalogue import catalogue

    entry = catalogue().get(model)
    if entry is None:
        return model or None
    return None if entry.starter else str(entry.paths[0])

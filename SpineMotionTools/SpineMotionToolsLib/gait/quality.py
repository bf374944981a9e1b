"""The gate of the gait system: what a video must have before it is scored, and what is only told."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from SpineMotionToolsLib.common.video import Video
from SpineMotionToolsLib.common.video_quality import Check, frame_checks, look_at
from SpineMotionToolsLib.gait.models import ClipSettings
from SpineMotionToolsLib.gait.tracking import Sighting

LEAST_RATE_HZ = 12.0
LEAST_SIDE_PX = 120
LEAST_PATIENT_PX = 60
LEAST_FOUND = 0.5
MOST_CROSSED = 0.2


def before(video: Video, settings: ClipSettings) -> list[Check]:
    """Checks that need no search for the patient."""
    checks = frame_checks(video, LEAST_RATE_HZ, settings.clip_s, LEAST_SIDE_PX)
    if all(check.passed or not check.stops for check in checks):
        checks += look_at(video).checks()
    return checks


@dataclass
class Watch:
    """What was seen of the patient over a video."""

    times_s: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    frames: int = 0
    bridged: int = 0
    several: int = 0
    several_at_start: bool = False

    def note(self, sighting: Sighting) -> None:
        self.frames += 1
        self.several += sighting.persons > 1
        self.bridged += sighting.bridged
        if sighting.box is not None:
            self.numbers.append(sighting.frame.number)
            self.times_s.append(sighting.frame.time_s)
            self.boxes.append(np.asarray(sighting.box, float))

    @property
    def found(self) -> float:
        return len(self.boxes) / max(self.frames, 1)

    def box_rows(self) -> np.ndarray:
        """(n,5): frame number and box."""
        if not self.boxes:
            return np.zeros((0, 5))
        return np.column_stack([self.numbers, np.array(self.boxes)])

    def checks(self) -> list[Check]:
        """Checks of what was found."""
        height = float(np.median([box[3] - box[1] for box in self.boxes])) if self.boxes else 0.0
        several = self.several / max(self.frames, 1)
        checks = [
            Check(
                "Patient found",
                f"in {100 * self.found:.0f} % of the frames",
                f"at least {100 * LEAST_FOUND:.0f} %",
                self.found >= LEAST_FOUND,
                advice="Draw the region around the patient by hand, or cut the video to the walk.",
            )
        ]
        if self.boxes:
            checks.append(
                Check(
                    "Patient's height",
                    f"{height:.0f} pixels",
                    f"at least {LEAST_PATIENT_PX}",
                    height >= LEAST_PATIENT_PX,
                    advice="Film from nearer, or use the original video.",
                )
            )
        checks.append(
            Check(
                "Several people",
                f"in {100 * several:.0f} % of the frames",
                f"at most {100 * MOST_CROSSED:.0f} %",
                several <= MOST_CROSSED and not self.several_at_start,
                stops=False,
                advice="The shorter of two was taken as the patient; click on the patient if that is wrong.",
            )
        )
        return checks

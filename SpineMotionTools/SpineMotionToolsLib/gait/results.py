"""What scoring a walk yields: clips, videos, patients; frozen, with tables and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.provenance import DEMONSTRATION, Provenance
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.common.video_quality import Check, stopping, warnings
from SpineMotionToolsLib.gait.measures import GaitMeasures

NOT_SCORED = "not scored"
UNDECIDED = "undecided"
UNDECIDED_BAND = (0.4, 0.6)
PUBLISHED_SCORE = (
    "The network's published output is the probability of NON-ASD (no adult spinal deformity); "
    "P(ASD) shown here is 1 minus that output."
)


@dataclass(frozen=True)
class ClipScore:
    """Score of one clip. Times are seconds of the video; `in_view` the share of its frames with the patient found."""

    start_s: float
    end_s: float
    logit: float
    in_view: float
    frames: tuple[int, ...] = ()

    @property
    def p_non_asd(self) -> float:
        return float(1 / (1 + np.exp(-self.logit)))

    @property
    def p_asd(self) -> float:
        return float(1 / (1 + np.exp(self.logit)))


@dataclass(frozen=True)
class GaitResult:
    """One video's score.

    `boxes` (n,5): frame number and x1, y1, x2, y2 of the patient. `skipped` are clips left out, with the reason.
    """

    video: str
    patient: str
    clips: tuple[ClipScore, ...]
    checks: tuple[Check, ...]
    provenance: Provenance
    measures: GaitMeasures | None = None
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 5)), repr=False)
    skipped: tuple[tuple[float, float, str], ...] = ()

    @property
    def scored(self) -> bool:
        return bool(self.clips)

    @property
    def p_asd(self) -> float | None:
        """Mean P(ASD) over the clips; None when nothing was scored."""
        return float(np.mean([clip.p_asd for clip in self.clips])) if self.clips else None

    @property
    def p_non_asd(self) -> float | None:
        return 1 - self.p_asd if self.clips else None

    @property
    def mean_logit(self) -> float | None:
        return float(np.mean([clip.logit for clip in self.clips])) if self.clips else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of P(ASD) over the clips; None for fewer than two."""
        return float(np.std([clip.p_asd for clip in self.clips], ddof=1)) if len(self.clips) > 1 else None

    @property
    def answer(self) -> str:
        """ "ASD", "non-ASD", "undecided" (mean P(ASD) from 0.4 to 0.6) or "not scored"."""
        return answer_of(self.p_asd)

    @property
    def why_not(self) -> str:
        """Why nothing was scored, or ""."""
        return " ".join(check.sentence for check in stopping(self.checks)) if not self.clips else ""

    @property
    def caveat(self) -> str:
        """What every row of numbers of a starter network says, or ""."""
        return DEMONSTRATION if self.provenance.starter else ""

    @property
    def warnings(self) -> list[str]:
        return [check.sentence for check in warnings(self.checks)]

    def to_table(self) -> Table:
        """One row per clip."""
        columns = [
            Column("start", "s"),
            Column("end", "s"),
            Column("logit", "", "published output of the network, before the sigmoid", 3),
            Column("P(non-ASD)", "", "published score: sigmoid of the logit", 3),
            Column("P(ASD)", "", "1 - P(non-ASD)", 3),
            Column("in view", "", "share of the clip's frames in which the patient was found", 2),
        ]
        rows = [[c.start_s, c.end_s, c.logit, c.p_non_asd, c.p_asd, c.in_view] for c in self.clips]
        return Table("Clips", columns, rows)

    def box_table(self) -> Table:
        """The patient's box in every frame; the file it is saved to can be corrected and given as boxes."""
        frame = Column("frame", "", "of the video, from 0")
        columns = [frame, *(Column(name, "px", "", 1) for name in ("x1", "y1", "x2", "y2"))]
        return Table("Patient boxes", columns, [[int(row[0]), *(float(v) for v in row[1:])] for row in self.boxes])

    def to_json(self) -> dict[str, Any]:
        return {
            "video": self.video,
            "patient": self.patient,
            "answer": self.answer,
            "p_asd": self.p_asd,
            "p_non_asd": self.p_non_asd,
            "mean_logit": self.mean_logit,
            "spread": self.spread,
            "why_not": self.why_not,
            "note": PUBLISHED_SCORE,
            "clips": [
                {
                    "start_s": c.start_s,
                    "end_s": c.end_s,
                    "logit": c.logit,
                    "p_non_asd": c.p_non_asd,
                    "p_asd": c.p_asd,
                    "in_view": c.in_view,
                    "frames": list(c.frames),
                }
                for c in self.clips
            ],
            "skipped": [list(entry) for entry in self.skipped],
            "checks": [check.to_json() for check in self.checks],
            "measures": self.measures.to_json() if self.measures else None,
            "boxes": np.asarray(self.boxes, float).round(2).tolist(),
            "provenance": self.provenance.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GaitResult:
        """The result that `to_json` gave."""
        names = ("start_s", "end_s", "logit", "in_view")
        return cls(
            video=values["video"],
            patient=values["patient"],
            clips=tuple(ClipScore(*(c[n] for n in names), tuple(c["frames"])) for c in values["clips"]),
            checks=tuple(Check(**check) for check in values["checks"]),
            provenance=Provenance.from_json(values["provenance"]),
            measures=GaitMeasures(**values["measures"]) if values["measures"] else None,
            boxes=np.array(values["boxes"], float).reshape(-1, 5),
            skipped=tuple(tuple(entry) for entry in values["skipped"]),
        )


def answer_of(p_asd: float | None) -> str:
    """The answer in words of a mean probability."""
    if p_asd is None:
        return NOT_SCORED
    low, high = UNDECIDED_BAND
    return "non-ASD" if p_asd < low else "ASD" if p_asd > high else UNDECIDED


@dataclass(frozen=True)
class PatientResult:
    """Several videos of one patient: every clip counts once."""

    patient: str
    videos: tuple[GaitResult, ...]

    @property
    def clips(self) -> tuple[ClipScore, ...]:
        return tuple(clip for video in self.videos for clip in video.clips)

    @property
    def p_asd(self) -> float | None:
        return float(np.mean([clip.p_asd for clip in self.clips])) if self.clips else None

    @property
    def answer(self) -> str:
        return answer_of(self.p_asd)


def by_patient(results: Iterable[GaitResult]) -> list[PatientResult]:
    """Results grouped by their patient key, in the order of first appearance."""
    groups: dict[str, list[GaitResult]] = {}
    for result in results:
        groups.setdefault(result.patient, []).append(result)
    return [PatientResult(patient, tuple(videos)) for patient, videos in groups.items()]


def video_table(results: Sequence[GaitResult]) -> Table:
    """One row per video."""
    columns = [
        Column("video"),
        Column("patient"),
        Column("answer", "", "ASD, non-ASD, undecided (mean P(ASD) from 0.4 to 0.6) or not scored"),
        Column("P(ASD)", "", "mean over clips of 1 - published score", 3),
        Column("P(non-ASD)", "", "mean over clips of the published score", 3),
        Column("SD", "", "standard deviation of P(ASD) over clips", 3),
        Column("mean logit", "", "", 3),
        Column("clips"),
        Column("cadence", "steps/min", "", 0),
        Column("trunk inclination", "deg", "forward lean of the trunk against the vertical", 1),
        Column("note"),
    ]
    rows = []
    for r in results:
        cadence = r.measures.cadence_per_min if r.measures else None
        lean = r.measures.trunk_inclination_deg if r.measures else None
        note = "; ".join(filter(None, [r.caveat, r.why_not or " ".join(r.warnings)]))
        rows.append(
            [
                r.video,
                r.patient,
                r.answer,
                r.p_asd,
                r.p_non_asd,
                r.spread,
                r.mean_logit,
                len(r.clips),
                cadence,
                lean,
                note,
            ]
        )
    return Table("Videos", columns, rows)


def patient_table(patients: Sequence[PatientResult]) -> Table:
    """One row per patient."""
    columns = [
        Column("patient"),
        Column("answer"),
        Column("P(ASD)", "", "mean over all clips of all videos", 3),
        Column("videos"),
        Column("clips"),
        Column("note"),
    ]
    rows = [[p.patient, p.answer, p.p_asd, len(p.videos), len(p.clips), p.videos[0].caveat] for p in patients]
    return Table("Patients", columns, rows)

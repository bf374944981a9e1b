"""What scoring an infant's movements yields: chunks and the infant; frozen, with tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from SpineMotionToolsLib.common.provenance import DEMONSTRATION, Provenance
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.common.video_quality import Check, stopping, warnings
from SpineMotionToolsLib.movements.measures import PARTS
from SpineMotionToolsLib.movements.scores import CLASS_NAMES, CLASS_TITLES, mean_logits, probabilities

NOT_SCORED = "not scored"
UNDECIDED = "undecided"
LEAST_PROBABILITY = 0.5
SCOPE = (
    "The network knows three patterns only: writhing movements, fidgety movements and poor repertoire. It cannot see "
    "cramped-synchronized, chaotic or absent fidgety movements; crying or sleeping confuse it. Age is not an input. "
    "In the published study a single still frame did almost as well as the movement itself, so looks that go with age "
    "probably drive much of the result."
)


@dataclass(frozen=True)
class ChunkScore:
    """One scored second: logits of writhing movements, fidgety movements and poor repertoire, and each part's speed."""

    start_s: float
    end_s: float
    logits: tuple[float, float, float]
    energy: Mapping[str, float] = field(default_factory=dict)

    @property
    def probabilities(self) -> np.ndarray:
        return probabilities(np.array(self.logits))

    @property
    def predicted(self) -> int:
        return int(np.argmax(self.logits))


@dataclass(frozen=True)
class MovementResult:
    """One video's score. `torso`: frame of the video -> torso points (4,2) in pixels."""

    video: str
    infant: str
    chunks: tuple[ChunkScore, ...]
    checks: tuple[Check, ...]
    provenance: Provenance
    age_weeks: float | None = None
    torso: Mapping[int, np.ndarray] = field(default_factory=dict, repr=False)
    adjustment: Mapping[str, float] = field(default_factory=dict, repr=False)

    @property
    def mean_logits(self) -> np.ndarray | None:
        """Mean logit per class: what the published program calls the posterior probability. None when not scored."""
        return mean_logits(np.array([c.logits for c in self.chunks])) if self.chunks else None

    @property
    def mean_probabilities(self) -> np.ndarray | None:
        """Mean softmax per class over the chunks; None when not scored."""
        return np.mean([c.probabilities for c in self.chunks], axis=0) if self.chunks else None

    @property
    def predicted(self) -> int | None:
        """The published class: that of the largest mean logit; None when not scored."""
        return int(np.argmax(self.mean_logits)) if self.chunks else None

    @property
    def answer(self) -> str:
        """The class in words, "undecided" (no class has a mean probability of 0.5) or "not scored"."""
        if not self.chunks:
            return NOT_SCORED
        if self.mean_probabilities[self.predicted] < LEAST_PROBABILITY:
            return UNDECIDED
        return CLASS_TITLES[self.predicted]

    @property
    def why_not(self) -> str:
        return " ".join(check.sentence for check in stopping(self.checks)) if not self.chunks else ""

    @property
    def caveat(self) -> str:
        """What every row of numbers of a starter network says, or ""."""
        return DEMONSTRATION if self.provenance.starter else ""

    @property
    def warnings(self) -> list[str]:
        return [check.sentence for check in warnings(self.checks)]

    def to_table(self) -> Table:
        """One row per chunk."""
        columns = [
            Column("start", "s"),
            Column("end", "s"),
            *(Column(name, "", f"logit of {title}", 3) for name, title in zip(CLASS_NAMES, CLASS_TITLES)),
            *(Column(f"P({name})", "", "softmax of the three logits", 3) for name in CLASS_NAMES),
            Column("pred"),
        ]
        rows = [
            [c.start_s, c.end_s, *c.logits, *(float(p) for p in c.probabilities), CLASS_NAMES[c.predicted]]
            for c in self.chunks
        ]
        return Table("Chunks", columns, rows)

    def energy_table(self) -> Table:
        """Speed of each part of the body in each chunk."""
        columns = [Column("start", "s"), *(Column(part, "trunk lengths/s", "", 3) for part in PARTS)]
        rows = [[c.start_s, *(c.energy.get(part) for part in PARTS)] for c in self.chunks]
        return Table("Movement energy (root mean square speed)", columns, rows)

    def torso_table(self) -> Table:
        """Torso points; the file it is saved to can be corrected and given as torso points."""
        from SpineMotionToolsLib.movements.torso import POINT_NAMES

        rows = [
            [int(frame), name, float(x), float(y)]
            for frame, points in sorted(self.torso.items())
            for name, (x, y) in zip(POINT_NAMES, points)
        ]
        frame = Column("frame", "", "of the video, from 0")
        columns = [frame, Column("point"), Column("x", "px", "", 1), Column("y", "px", "", 1)]
        return Table("Torso points", columns, rows)

    def to_json(self) -> dict[str, Any]:
        def floats(values) -> list[float] | None:
            return None if values is None else [float(v) for v in values]

        return {
            "video": self.video,
            "infant": self.infant,
            "answer": self.answer,
            "class": None if self.predicted is None else CLASS_NAMES[self.predicted],
            "classes": list(CLASS_NAMES),
            "mean_logits": floats(self.mean_logits),
            "mean_probabilities": floats(self.mean_probabilities),
            "why_not": self.why_not,
            "scope": SCOPE,
            "age_weeks": self.age_weeks,
            "chunks": [
                {"start_s": c.start_s, "end_s": c.end_s, "logits": floats(c.logits), "energy": dict(c.energy)}
                for c in self.chunks
            ],
            "checks": [check.to_json() for check in self.checks],
            "torso": {str(k): np.asarray(v, float).round(2).tolist() for k, v in self.torso.items()},
            "adjustment": dict(self.adjustment),
            "provenance": self.provenance.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MovementResult:
        """The result that `to_json` gave."""
        return cls(
            video=values["video"],
            infant=values["infant"],
            chunks=tuple(
                ChunkScore(c["start_s"], c["end_s"], tuple(c["logits"]), c["energy"]) for c in values["chunks"]
            ),
            checks=tuple(Check(**check) for check in values["checks"]),
            provenance=Provenance.from_json(values["provenance"]),
            age_weeks=values["age_weeks"],
            torso={int(k): np.array(v) for k, v in values["torso"].items()},
            adjustment=values["adjustment"],
        )


def infant_table(results: Sequence[MovementResult]) -> Table:
    """One row per video."""
    columns = [
        Column("video"),
        Column("infant"),
        Column("age", "weeks after term"),
        Column("answer"),
        Column("class", "", "class of the largest mean logit, as published"),
        *(Column(f"mean P({name})", "", "mean softmax over chunks", 3) for name in CLASS_NAMES),
        *(Column(f"mean {name}", "", "mean logit over chunks, as published", 3) for name in CLASS_NAMES),
        Column("chunks"),
        Column("note"),
    ]
    rows = []
    for r in results:
        shares, logits = (
            [None] * 3 if v is None else [float(x) for x in v] for v in (r.mean_probabilities, r.mean_logits)
        )
        name = None if r.predicted is None else CLASS_NAMES[r.predicted]
        note = "; ".join(filter(None, [r.caveat, r.why_not or " ".join(r.warnings)]))
        rows.append([r.video, r.infant, r.age_weeks, r.answer, name, *shares, *logits, len(r.chunks), note])
    return Table("Infants", columns, rows)

"""The order of vertebral levels, and help with the count where anatomy or field of view make it ambiguous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from SpineMotionToolsLib.common.errors import InputError

THORACIC_COUNTS, LUMBAR_COUNTS = (11, 12, 13), (4, 5, 6)


@dataclass(frozen=True)
class Numbering:
    """How many thoracic and lumbar bodies a spine has; 12 and 5 unless a person says otherwise.

    Raises InputError for counts that do not occur (thoracic 11 to 13, lumbar 4 to 6).
    """

    thoracic: int = 12
    lumbar: int = 5

    def __post_init__(self) -> None:
        if self.thoracic not in THORACIC_COUNTS or self.lumbar not in LUMBAR_COUNTS:
            raise InputError("A spine has 11 to 13 thoracic and 4 to 6 lumbar vertebrae. Choose numbers in that range.")

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """All level names from C2 to S2."""
        cervical = [f"C{i}" for i in range(2, 8)]
        thoracic = [f"T{i}" for i in range(1, self.thoracic + 1)]
        return (*cervical, *thoracic, *(f"L{i}" for i in range(1, self.lumbar + 1)), "S1", "S2")

    def are_neighbours(self, upper: str, lower: str) -> bool:
        """Whether `lower` follows `upper` directly."""
        levels = self.levels
        return upper in levels and lower in levels and levels.index(lower) == levels.index(upper) + 1

    def count_from(self, labels: Sequence[str], index: int, label: str) -> list[str]:
        """All labels, counted up and down from the body at `index`, which is `label`; top to bottom.

        Raises InputError for an unknown level, or when the spine ends before the labels do.
        """
        if label not in self.levels:
            raise InputError(f"There is no level {label!r}. Choose one of {', '.join(self.levels)}.")
        if not 0 <= index < len(labels):
            raise InputError(f"There is no vertebra number {index}; there are {len(labels)}.")
        first = self.levels.index(label) - index
        if first < 0 or first + len(labels) > len(self.levels):
            raise InputError(
                f"With {label} at this place the count would leave the spine ({self.levels[0]} to {self.levels[-1]}). "
                "Choose another level, or delete what is no vertebra."
            )
        return list(self.levels[first : first + len(labels)])


def all_levels() -> tuple[str, ...]:
    """Every level name that any numbering knows, top to bottom."""
    return Numbering(13, 6).levels


def vertebra_count_note(labels: Sequence[str], numbering: Numbering) -> str:
    """A sentence when C2 and S1 are both in view but the number of bodies between them is unusual, else ""."""
    if "C2" not in labels or "S1" not in labels:
        return ""
    between = labels.index("S1") - labels.index("C2")
    usual = numbering.levels.index("S1")
    if between == usual:
        return ""
    return (
        f"{between} bodies were found from C2 to the sacrum, {usual} are usual: one may be missed or counted "
        f"twice, or the "
        "anatomy is transitional (for instance four or six lumbar bodies). Name a level you are sure of."
    )

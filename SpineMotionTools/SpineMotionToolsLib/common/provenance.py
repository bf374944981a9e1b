"""What made a result: system, model, version, device, parameters, time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import SpineMotionToolsLib

DEMONSTRATION = "demonstration, no clinical meaning"
"""What results of starter models carry wherever they are shown."""


@dataclass(frozen=True)
class Provenance:
    """Everything needed to make the same result again.

    `system` is the room's name, `model_sha256` the digest of the weight file (several joined by commas), `starter` is
    true for weights trained on simulated data only, `notes` are sentences for the reader ("This ran on the CPU ...").
    """

    system: str
    model_id: str = ""
    model_sha256: str = ""
    library_version: str = ""
    device: str = "cpu"
    precision: str = "float32"
    parameters: dict[str, Any] = field(default_factory=dict)
    created_utc: str = ""
    starter: bool = False
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain values, ready for `json.dumps`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Provenance:
        """The provenance that `to_json` gave; unknown keys of later versions are ignored."""
        return cls(**{name: value for name, value in values.items() if name in cls.__dataclass_fields__})


def current(
    system: str,
    model_id: str = "",
    model_sha256: str = "",
    *,
    device: object = "cpu",
    precision: str = "float32",
    parameters: Mapping[str, Any] | None = None,
    starter: bool = False,
    notes: Iterable[str] = (),
) -> Provenance:
    """The provenance of a result made now by this version of the library; `device` may be a name or a torch device."""
    return Provenance(
        system=system,
        model_id=model_id,
        model_sha256=model_sha256,
        library_version=SpineMotionToolsLib.__version__,
        device=str(device),
        precision=precision,
        parameters=dict(parameters or {}),
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        starter=starter,
        notes=list(notes),
    )

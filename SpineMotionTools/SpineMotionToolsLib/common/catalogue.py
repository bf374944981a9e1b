"""The catalogue of weights: what each set is for, its license, where the user gets it, and whether it is here."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import WeightsError

CATALOGUE_PATH = Path(__file__).with_name("models.json")
SCHEMA_PATH = Path(__file__).with_name("models.schema.json")
STARTER_FOLDER = Path(__file__).parents[1] / "starter"


@dataclass(frozen=True)
class ModelFile:
    """One file of a set: name (may hold a folder), bytes and SHA-256 where known, download URL where allowed."""

    name: str
    size: int | None = None
    sha256: str | None = None
    url: str = ""


@dataclass(frozen=True)
class ModelEntry:
    """One set of weights in the catalogue; the fields are described in models.schema.json."""

    id: str
    title: str
    system: str
    purpose: str
    license: str
    license_url: str
    commercial_use: bool
    citation: str
    doi: str
    source: str
    files: tuple[ModelFile, ...]
    starter: bool
    note: str = ""

    @property
    def folder(self) -> Path:
        """Where the set's files lie: in the package for starter sets, else `models_folder()/<id>`."""
        return STARTER_FOLDER if self.starter else models_folder() / self.id

    @property
    def paths(self) -> list[Path]:
        """The files' full paths, in catalogue order, whether they are there or not."""
        return [self.folder / file.name for file in self.files]


def catalogue() -> dict[str, ModelEntry]:
    """All known sets of weights by id; raises WeightsError when the installed catalogue is damaged."""
    return dict(_catalogue())


def starter_path(name: str) -> Path:
    """The full path of a starter file that ships with the package; raises WeightsError when it is not there."""
    path = STARTER_FOLDER / name
    if not path.is_file():
        raise WeightsError(
            f"The starter file {name} is missing from this installation. Install SpineMotionTools again."
        )
    return path


def models_folder() -> Path:
    """Where the user's weights are kept: the folder in SPINEMOTION_MODELS, else `~/.SpineMotionTools/models`."""
    return Path(os.environ.get("SPINEMOTION_MODELS") or Path.home() / ".SpineMotionTools" / "models")


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, ModelEntry]:
    try:
        content = json.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
        return {model["id"]: _entry(model) for model in content["models"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError("The catalogue of models is missing or damaged. Install SpineMotionTools again.") from error


def _entry(model: dict[str, Any]) -> ModelEntry:
    return ModelEntry(**{**model, "files": tuple(ModelFile(**file) for file in model["files"])})

"""The catalogue of weights: what each set is for, its license, where the user gets it, and where its files lie.

`python -m SpineMotionToolsLib.common.catalogue --update` fills in size and SHA-256 of the starter files from disk.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import InputError, WeightsError
from SpineMotionToolsLib.common.files import sha256_of_file, write_json

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
    archive: ModelFile | None = None

    @property
    def folder(self) -> Path:
        """Where the set's files lie: in the package for starter sets, else `models_folder()/<id>`."""
        return STARTER_FOLDER if self.starter else models_folder() / self.id

    @property
    def paths(self) -> list[Path]:
        """The files' full paths, in catalogue order, whether they are there or not."""
        return [self.folder / file.name for file in self.files]

    @property
    def downloadable(self) -> bool:
        """Whether the files can be fetched from here; otherwise the user gets them at `source` and adds them."""
        return bool(self.archive or all(file.url for file in self.files))


def catalogue() -> dict[str, ModelEntry]:
    """All known sets of weights by id; raises WeightsError when the installed catalogue is damaged."""
    return dict(_catalogue(CATALOGUE_PATH))


def find_model(model_id: str) -> ModelEntry:
    """One entry of the catalogue; raises InputError for an unknown id."""
    entries = catalogue()
    if model_id not in entries:
        raise InputError(f"The model {model_id!r} is unknown. Choose one of: {', '.join(entries)}.")
    return entries[model_id]


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
    chosen = os.environ.get("SPINEMOTION_MODELS")
    return Path(chosen).expanduser().absolute() if chosen else Path.home() / ".SpineMotionTools" / "models"


def updated(content: dict[str, Any], folder: Path = STARTER_FOLDER) -> dict[str, Any]:
    """The catalogue's JSON with size and SHA-256 of the starter files in `folder`.

    A starter set's files are all `<system>-*.safetensors`, and those it lists; one that is not there yet keeps null.
    """
    models = []
    for model in content["models"]:
        if model["starter"]:
            names = {file["name"] for file in model["files"]}
            names |= {path.name for path in folder.glob(f"{model['system']}-*.safetensors")}
            model = {**model, "files": [_measured(folder, name) for name in sorted(names)]}
        models.append(model)
    return {**content, "models": models}


@lru_cache(maxsize=2)
def _catalogue(path: Path) -> dict[str, ModelEntry]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {model["id"]: _entry(model) for model in content["models"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError("The catalogue of models is missing or damaged. Install SpineMotionTools again.") from error


def _entry(model: dict[str, Any]) -> ModelEntry:
    archive = {"archive": ModelFile(**model["archive"])} if "archive" in model else {}
    return ModelEntry(**{**model, **archive, "files": tuple(ModelFile(**file) for file in model["files"])})


def _measured(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        return {"name": name, "size": None, "sha256": None}
    return {"name": name, "size": path.stat().st_size, "sha256": sha256_of_file(path)}


def main(arguments: list[str] | None = None) -> int:
    """Compare the catalogue with the starter files on disk, or bring it up to date."""
    parser = argparse.ArgumentParser(prog="python -m SpineMotionToolsLib.common.catalogue", description=main.__doc__)
    parser.add_argument("--update", action="store_true", help="write what was found into models.json")
    options = parser.parse_args(arguments)
    before = json.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
    after = updated(before)
    if after == before:
        print("The catalogue agrees with the starter files.")
        return 0
    if options.update:
        write_json(CATALOGUE_PATH, after)
        print(f"{CATALOGUE_PATH} was updated.")
        return 0
    print("The catalogue does not agree with the starter files. Run again with --update.")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())

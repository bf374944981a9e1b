"""`spinemotion models ...`: which weights there are, their licenses, and how they get onto this computer."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineMotionToolsLib.common import model_store
from SpineMotionToolsLib.common.catalogue import ModelEntry, catalogue, find_model
from SpineMotionToolsLib.common.console import progress_bar, say

MEGABYTE = 1e6
NOT_POSSIBLE = 2
SYSTEMS = {name: name for name in ("motion", "spine", "keypoints", "gait", "movements")} | {"spine": "spinenet"}
"""Names of the systems at the terminal and in the catalogue."""


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add list, show, check, add, download and remove."""
    text = "all sets of weights and whether they are on this computer"
    listing = subparsers.add_parser("list", help=text, description=f"{text[0].upper()}{text[1:]}.")
    listing.add_argument("--system", choices=SYSTEMS, help="only the sets of one system")
    listing.set_defaults(run=_list)
    for name, run, text in (
        ("show", _show, "license, citation, source and files of one set"),
        ("check", _check, "check a set's files, and whether its networks fit their contracts"),
        ("add", _add, "copy a set's files from a folder, file or archive"),
        ("download", _download, "fetch a set, where its authors allow it"),
        ("remove", _remove, "delete a set's files from this computer"),
    ):
        command = subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.add_argument("id", help="id of the set, as listed")
        if name == "add":
            command.add_argument("source", type=Path, help="folder, file, .zip or .tar archive")
        if name in ("add", "download"):
            command.add_argument(
                "--accept-license", action="store_true", help="I accept the license that `show` prints"
            )
        command.set_defaults(run=run)


def _list(options: argparse.Namespace) -> int:
    for entry in catalogue().values():
        if options.system is None or SYSTEMS[options.system] == entry.system:
            state = model_store.model_state(entry.id).state
            say(f"{entry.id:28} {entry.system:10} {state:9} {entry.title}")
    return 0


def _show(options: argparse.Namespace) -> int:
    entry = find_model(options.id)
    found = model_store.model_state(entry.id, thorough=True)
    _say_license(entry)
    say(f"state      {found.state}{': ' + '; '.join(found.problems) if found.problems else ''}")
    say(f"folder     {entry.folder}")
    for file in entry.files:
        size = f"{file.size / MEGABYTE:.2f} MB" if file.size else "size unknown"
        say(f"file       {file.name}, {size}{', SHA-256 ' + file.sha256 if file.sha256 else ''}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.common.jobs import run_job

    with progress_bar("checking") as progress:
        found = run_job("models.tasks:check", {"model_id": find_model(options.id).id}, progress)
    say(found["text"])
    return 0 if found["good"] else NOT_POSSIBLE


def _say_license(entry: ModelEntry) -> None:
    use = "commercial use allowed" if entry.commercial_use else "no commercial use"
    say(f"{entry.title}")
    for name, text in (
        ("purpose", entry.purpose),
        ("license", f"{entry.license}; {use}; {entry.license_url}"),
        ("cite", f"{entry.citation} {entry.doi}".strip()),
        ("source", entry.source),
        ("note", entry.note),
    ):
        if text:
            say(f"{name:10} {text}")


def _add(options: argparse.Namespace) -> int:
    _say_license(find_model(options.id))
    with progress_bar("copying") as progress:
        paths = model_store.add_files(options.id, options.source, options.accept_license, progress)
    say(f"added      {len(paths)} files in {paths[0].parent}")
    return 0


def _download(options: argparse.Namespace) -> int:
    _say_license(find_model(options.id))
    with progress_bar("downloading") as progress:
        paths = model_store.download(options.id, options.accept_license, progress)
    say(f"added      {len(paths)} files in {paths[0].parent}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    entry = find_model(options.id)
    if entry.starter:
        say(f"kept       {entry.id}: it ships with SpineMotionTools")
    elif not entry.folder.exists():
        say(f"absent     {entry.id}: it is not on this computer")
    else:
        model_store.delete_model(entry.id)
        say(f"removed    {entry.id}")
    return 0

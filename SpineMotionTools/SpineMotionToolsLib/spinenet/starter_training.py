"""Training of the SpineNet starter weights: all four networks, from twelve real scans and made ones, on one CPU core.

    python -m SpineMotionToolsLib.spinenet.starter_training --data FOLDER --out FOLDER
    python -m SpineMotionToolsLib.spinenet.starter_training --data FOLDER --out FOLDER --cross-validate
    python -m SpineMotionToolsLib.spinenet.starter_training --data FOLDER --test [--out FOLDER]

The first command trains detector, appearance, context and grading networks; the second one detector and appearance
network for each of four folds of patients, reads the fold's scans with them through the whole pipeline, and prints the
figures, with those of a made whole spine each; the third reads all scans with the shipped weights (or those in
`--out`), which have seen them. A stopped run goes on where it was. `--data` holds the twelve scans with masks and
`index.json` (doi 10.5281/zenodo.22304 at 1 mm).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from SpineMotionToolsLib.common.console import say as say_line
from SpineMotionToolsLib.common.weights import read_metadata, starter_path
from SpineMotionToolsLib.spinenet.departures import RECOMMENDED
from SpineMotionToolsLib.spinenet.models import PARTS, Models
from SpineMotionToolsLib.spinenet.training_detector import FOLDS, split, train_detector
from SpineMotionToolsLib.spinenet.training_evaluation import LOOKS, MADE, Outcome, evaluate
from SpineMotionToolsLib.spinenet.training_grades import train_grading
from SpineMotionToolsLib.spinenet.training_labels import stored_volumes, train_appearance, train_context
from SpineMotionToolsLib.spinenet.training_scans import Subject, load_subjects, made_subjects
from SpineMotionToolsLib.spinenet.training_store import stored_patches

Say = Callable[[str], None]
PATCHES, VOLUME_SCANS = 6400, 140
UNSEEN_SEED = 1_000_003  # of made spines that training never shows


def train_all(subjects: list[Subject], folder: Path, say: Say = say_line) -> list[Path]:
    """Train the four shipped networks on all subjects; returns their files, named as the starter's."""
    made = [
        train_detector(subjects, stored_patches(subjects, folder / "patches", PATCHES, log=say), None, folder, log=say),
        train_appearance(subjects, stored_volumes(subjects, folder, VOLUME_SCANS, log=say), None, folder, log=say),
        train_context(folder, log=say),
        train_grading(folder, log=say),
    ]
    named = []
    for part, path in zip(PARTS, made):
        named.append(folder / f"spinenet-{part}.safetensors")
        named[-1].write_bytes(path.read_bytes())
    return named


def cross_validate(subjects: list[Subject], folder: Path, say: Say = say_line) -> dict[str, Outcome]:
    """Read every subject with networks that never saw that patient; the outcome of each look of the scans."""
    patches = stored_patches(subjects, folder / "patches", PATCHES, log=say)
    volumes = stored_volumes(subjects, folder, VOLUME_SCANS, log=say)
    context = train_context(folder, log=say)
    outcomes: dict[str, list[Outcome]] = {look: [] for look in (*LOOKS, MADE)}
    unseen = made_subjects(FOLDS, UNSEEN_SEED)
    for fold in range(FOLDS):
        detection = train_detector(subjects, patches, fold, folder, log=say)
        appearance = train_appearance(subjects, volumes, fold, folder, log=say)
        models = starter_like({"detection": detection, "appearance": appearance, "context": context})
        for look in outcomes:
            tested, shown = ([unseen[fold]], LOOKS[0]) if look == MADE else (split(subjects, fold)[1], look)
            outcomes[look].append(evaluate(tested, models, shown))
            say(f"fold {fold}, {look}: {outcomes[look][-1].lines()[0]}")
    joined = {look: Outcome.joined(parts) for look, parts in outcomes.items()}
    _print(joined, say)
    return joined


def starter_like(files: dict[str, Path]) -> Models:
    """Networks read in the way of the starter: its departures, and thresholds from the detector's file."""
    thresholds = json.loads(read_metadata(files["detection"])["thresholds"])
    return Models(
        dict(files),
        starter=True,
        departures=RECOMMENDED,
        corner_threshold=thresholds["corner"],
        centroid_threshold=thresholds["centroid"],
    )


def _print(outcomes: dict[str, Outcome], say: Say) -> None:
    for look, outcome in outcomes.items():
        say(f"\n{look}")
        for line in outcome.lines():
            say(f"  {line}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the scans, masks and index.json")
    parser.add_argument("--out", type=Path, help="folder for samples, checkpoints and weights")
    parser.add_argument("--cross-validate", action="store_true", help="train and test by patient in four folds")
    parser.add_argument("--test", action="store_true", help="read all scans with finished weights")
    options = parser.parse_args(arguments)
    if options.out is None and not options.test:
        parser.error("Give the folder for the results: --out FOLDER")
    subjects = load_subjects(options.data)
    if options.cross_validate:
        cross_validate(subjects, options.out)
    elif options.test:
        place = (lambda name: options.out / name) if options.out else starter_path
        models = starter_like({part: place(f"spinenet-{part}.safetensors") for part in PARTS})
        outcomes = {look: evaluate(subjects, models, look) for look in LOOKS}
        _print(outcomes | {MADE: evaluate(made_subjects(FOLDS, UNSEEN_SEED), models)}, say_line)
    else:
        for path in train_all(subjects, options.out):
            say_line(str(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Reports of scored general movements, and the files a run leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.files import safe_name, write_json
from SpineMotionToolsLib.common.overlay import blend_heat, blur_region
from SpineMotionToolsLib.common.report import Report
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.common.time_chart import Series, time_chart
from SpineMotionToolsLib.common.video_quality import check_table
from SpineMotionToolsLib.movements.adjusting import SIDE_PX
from SpineMotionToolsLib.movements.explain import ActivationMaps
from SpineMotionToolsLib.movements.measures import PARTS
from SpineMotionToolsLib.movements.results import SCOPE, MovementResult, infant_table
from SpineMotionToolsLib.movements.scores import CLASS_COLORS, CLASS_NAMES, CLASS_TITLES

PART_COLORS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7")  # Okabe and Ito
PICTURES = 4
HEAD_BOX = (62, 6, 162, 86)  # in the adjusted picture, where the head always is


def report_of(result: MovementResult, maps: ActivationMaps | None = None) -> Report:
    """A report of one video; with `maps` it shows the adjusted pictures, with hidden face."""
    report = Report("General movements", result.video).provenance(result.provenance)
    for sentence in result.warnings:
        report.warning(sentence)
    report.heading("Answer").text(answer_in_words(result), SCOPE)
    if result.chunks:
        report.table(_classes(result))
    add_pictures(report, result, maps)
    if result.chunks and result.chunks[0].energy:
        report.heading("Movement energy")
        add_energy_chart(report, result)
        report.table(result.energy_table())
    if result.chunks:
        report.heading("Chunks").table(result.to_table())
    return report.heading("Quality").table(check_table(result.checks))


def add_pictures(report: Report, result: MovementResult, maps: ActivationMaps | None) -> None:
    """Add the chart of the classes over time and, with `maps`, adjusted pictures with hidden face."""
    if result.chunks:
        end = max(chunk.end_s for chunk in result.chunks)
        series = [
            Series(name, color, [(c.start_s, c.end_s, float(c.probabilities[k])) for c in result.chunks])
            for k, (name, color) in enumerate(zip(CLASS_NAMES, CLASS_COLORS))
        ]
        report.svg(
            time_chart(series, end, 1.0, "softmax of each scored second"),
            "Only the first second of every five is scored, as published.",
        )
    if maps is not None:
        report.image(
            _pictures(without_face(maps)),
            f"Adjusted pictures of scored seconds, face hidden. Color: what speaks for "
            f"{CLASS_TITLES[maps.explained]}, on one scale for the whole video.",
        )


def add_energy_chart(report: Report, result: MovementResult) -> None:
    """Add the chart of the speed of each part of the body over time."""
    top = max(max(c.energy.values()) for c in result.chunks)
    series = [
        Series(part, color, [(c.start_s, c.end_s, c.energy[part]) for c in result.chunks])
        for part, color in zip(PARTS, PART_COLORS)
    ]
    report.svg(
        time_chart(series, max(c.end_s for c in result.chunks), _round_up(top), "trunk lengths/s"),
        "Root mean square speed of each part of the body. The infant's right side is at the viewer's left.",
    )


def answer_in_words(result: MovementResult) -> str:
    """The answer as a sentence."""
    if not result.chunks:
        return f"Not scored. {result.why_not}"
    age = f", at {result.age_weeks:g} weeks after term" if result.age_weeks is not None else ""
    share = result.mean_probabilities[result.predicted]
    if result.answer == "undecided":
        return f"Undecided: no pattern reaches a mean probability of 0.5 over {len(result.chunks)} scored seconds{age}."
    return (
        f"{result.answer.capitalize()}: mean probability {share:.2f} over {len(result.chunks)} scored seconds{age}. "
        "The published class is the one with the largest mean logit."
    )


def _classes(result: MovementResult) -> Table:
    rows = [
        [name, title, float(logit), float(share), sum(c.predicted == k for c in result.chunks)]
        for k, (name, title, logit, share) in enumerate(
            zip(CLASS_NAMES, CLASS_TITLES, result.mean_logits, result.mean_probabilities)
        )
    ]
    columns = [
        Column("class"),
        Column("pattern"),
        Column("mean logit", "", "the published score", 3),
        Column("mean probability", "", "mean softmax", 3),
        Column("scored seconds"),
    ]
    return Table("", columns, rows)


def without_face(maps: ActivationMaps) -> ActivationMaps:
    """The same maps over pictures in which the face cannot be recognized, as they leave the computer's memory."""
    pictures = [blur_region(np.ascontiguousarray(picture), HEAD_BOX) for picture in maps.pictures]
    return replace(maps, pictures=np.stack(pictures))


def _pictures(maps: ActivationMaps) -> np.ndarray:
    from PIL import Image

    row = []
    for index in sorted(set(np.linspace(0, len(maps.maps) - 1, PICTURES).astype(int))):
        heat = Image.fromarray(maps.maps[index].astype(np.float32)).resize(
            (SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR
        )
        row += [blend_heat(maps.pictures[index], np.asarray(heat)), np.full((SIDE_PX, 6, 3), 255, np.uint8)]
    return np.hstack(row[:-1])


def _round_up(value: float) -> float:
    """A round top of an axis."""
    for top in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0):
        if value <= top:
            return top
    return float(np.ceil(value))


def write_files(
    folder: Path | str, result: MovementResult, maps: ActivationMaps | None = None, html: bool = True
) -> dict[str, str]:
    """Write one video's result: JSON, tables, maps and report; returns the paths by kind."""
    folder = Path(folder)
    stem = safe_name(result.infant)
    paths = {
        "json": folder / f"{stem}.json",
        "chunks": folder / f"{stem}_chunk_result.csv",
        "energy": folder / f"{stem}_energy.csv",
        "torso": folder / f"{stem}_torso.csv",
    }
    write_json(paths["json"], result.to_json())
    result.to_table().with_note(result.caveat).to_csv(paths["chunks"])
    result.energy_table().to_csv(paths["energy"])
    result.torso_table().to_csv(paths["torso"])
    if maps is not None:
        paths["maps"] = folder / f"{stem}_activation.npz"
        without_face(maps).save(paths["maps"])
    if html:
        paths["report"] = folder / f"{stem}_report.html"
        report_of(result, maps).write(paths["report"])
    return {kind: str(path) for kind, path in paths.items()}


def write_summary(folder: Path | str, results: Sequence[MovementResult]) -> dict[str, str]:
    """Write the table of all infants of a run; returns the paths."""
    folder = Path(folder)
    table = infant_table(results)
    paths = {"infants": folder / "infants.csv", "summary": folder / "summary.html"}
    table.to_csv(paths["infants"])
    report = Report("General movements", f"{len(results)} videos").text(SCOPE)
    if results:
        report.provenance(results[0].provenance)
    report.heading("Infants").table(table).write(paths["summary"])
    return {kind: str(path) for kind, path in paths.items()}

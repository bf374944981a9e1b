"""Reports of scored walks, and the files a run leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.files import safe_name, write_json
from SpineMotionToolsLib.common.report import Report
from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.common.time_chart import Series, time_chart
from SpineMotionToolsLib.common.video import Video, open_video
from SpineMotionToolsLib.common.video_quality import check_table
from SpineMotionToolsLib.gait.explain import ActivationMaps, hide_faces, lay_over
from SpineMotionToolsLib.gait.results import (
    PUBLISHED_SCORE,
    UNDECIDED_BAND,
    GaitResult,
    by_patient,
    patient_table,
    video_table,
)

PICTURES = 4
PICTURE_HEIGHT_PX = 260
STUDY = (
    "In the published study (81 patients, five-fold cross-validation, clips of 1 s) the slow_r50 network reached an "
    "AUROC of 0.786 and an accuracy of 0.755, from 0.67 to 0.91 between folds. The data set was small: read scores as "
    "research output only."
)
NO_STUDY = "The starter network is not the published one: the figures of the published study do not apply to it."


def report_of(
    result: GaitResult, source: Path | str | Video | None = None, maps: ActivationMaps | None = None
) -> Report:
    """A report of one video; with `source` it shows pictures of the patient, with hidden face."""
    report = Report("Gait video: adult spinal deformity", result.video).provenance(result.provenance)
    for sentence in result.warnings:
        report.warning(sentence)
    study = NO_STUDY if result.provenance.starter else STUDY
    report.heading("Answer").text(answer_in_words(result), PUBLISHED_SCORE, study)
    add_pictures(report, result, source, maps)
    if result.measures:
        report.heading("Measures").table(measure_table(result))
        report.text(
            "Measured in the picture's plane, without turns; a camera that is not level adds its tilt to the lean."
        )
    if result.clips:
        report.heading("Clips").table(result.to_table())
    if result.skipped:
        rows = [list(entry) for entry in result.skipped]
        report.table(Table("Clips left out", [Column("start", "s"), Column("end", "s"), Column("reason")], rows))
    return report.heading("Quality").table(check_table(result.checks))


def add_pictures(
    report: Report, result: GaitResult, source: Path | str | Video | None, maps: ActivationMaps | None
) -> None:
    """Add the chart of P(ASD) over time and, with `source`, pictures of the patient with hidden face."""
    if result.clips:
        spans = [(clip.start_s, clip.end_s, clip.p_asd) for clip in result.clips]
        chart = time_chart(
            [Series("P(ASD)", "#d62f2f", spans)], spans[-1][1], 1.0, "P(ASD) of each clip", UNDECIDED_BAND
        )
        report.svg(chart, "Gray: from 0.4 to 0.6 nothing is decided. Gaps: clips without the patient.")
    if source is not None and len(result.boxes):
        picture = _pictures(result, open_video(source), maps)
        explained = " Color: what speaks for ASD, on one scale for the whole video." if maps else ""
        report.image(picture, f"The patient over the video, face hidden.{explained}")


def answer_in_words(result: GaitResult) -> str:
    """The answer as a sentence."""
    if not result.clips:
        return f"Not scored. {result.why_not}"
    spread = f", standard deviation {result.spread:.2f}" if result.spread is not None else ""
    words = {"ASD": "speaks for adult spinal deformity", "non-ASD": "speaks against adult spinal deformity"}
    said = words.get(result.answer, "does not decide (0.4 to 0.6)")
    return f"Mean P(ASD) {result.p_asd:.2f} over {len(result.clips)} clips{spread}: the network {said}."


def measure_table(result: GaitResult) -> Table:
    """Cadence and trunk inclination, with what they were read from."""
    m = result.measures
    lean = "" if m.trunk_inclination_deg is None else f"{m.trunk_inclination_deg:.1f}"
    spread = "" if m.trunk_inclination_sd_deg is None else f"SD {m.trunk_inclination_sd_deg:.1f}, {m.frames} frames"
    cadence = "" if m.cadence_per_min is None else f"{m.cadence_per_min:.0f}"
    rows = [
        ["Cadence", cadence, "steps/min", f"from the {m.cadence_from}"],
        ["Trunk inclination, forward positive", lean, "deg", spread or "needs body points"],
    ]
    return Table("", [Column("Measure"), Column("Value"), Column("Unit"), Column("Basis")], rows)


def _pictures(result: GaitResult, video: Video, maps: ActivationMaps | None) -> np.ndarray:
    """A row of pictures of the patient, evenly over the scored clips (or the whole track)."""
    from PIL import Image

    boxes = {int(row[0]): row[1:] for row in result.boxes}
    numbers = [n for clip in result.clips for n in clip.frames if n in boxes] or list(boxes)
    chosen = sorted({numbers[i] for i in np.linspace(0, len(numbers) - 1, PICTURES).astype(int)})
    height = float(np.median([box[3] - box[1] for box in boxes.values()]))
    row = []
    for frame in video.frames(chosen):
        box = boxes[frame.number]
        picture = hide_faces(frame.picture, box)
        heat = maps.of_frame(frame.number) if maps else None
        if heat is not None:
            picture = lay_over(picture, box, heat)
        middle = (box[0] + box[2]) / 2
        area = (middle - 0.6 * height, box[3] - 1.12 * height, middle + 0.6 * height, box[3] + 0.08 * height)
        size = (int(PICTURE_HEIGHT_PX * 1.0), PICTURE_HEIGHT_PX)
        part = Image.fromarray(picture).crop([int(v) for v in area])
        row.append(np.asarray(part.resize(size, Image.Resampling.BICUBIC)))
        row.append(np.full((PICTURE_HEIGHT_PX, 6, 3), 255, np.uint8))
    return np.hstack(row[:-1])


def write_files(
    folder: Path | str,
    result: GaitResult,
    source: Path | str | Video | None = None,
    maps: ActivationMaps | None = None,
    html: bool = True,
    name: str | None = None,
) -> dict[str, str]:
    """Write one video's result: JSON, tables of clips and boxes, maps and report; returns the paths by kind.

    The files are called after `name`, or the video without it.
    """
    folder = Path(folder)
    stem = safe_name(name or Path(result.video).stem)
    paths = {
        "json": folder / f"{stem}.json",
        "clips": folder / f"{stem}_clips.csv",
        "boxes": folder / f"{stem}_boxes.csv",
    }
    write_json(paths["json"], result.to_json())
    result.to_table().with_note(result.caveat).to_csv(paths["clips"])
    result.box_table().to_csv(paths["boxes"])
    if maps is not None:
        paths["maps"] = folder / f"{stem}_activation.npz"
        maps.save(paths["maps"])
    if html:
        paths["report"] = folder / f"{stem}_report.html"
        report_of(result, source, maps).write(paths["report"])
    return {kind: str(path) for kind, path in paths.items()}


def write_summary(folder: Path | str, results: Sequence[GaitResult]) -> dict[str, str]:
    """Write the tables of all videos and patients of a run; returns the paths."""
    folder = Path(folder)
    videos, patients = video_table(results), patient_table(by_patient(results))
    paths = {"videos": folder / "videos.csv", "patients": folder / "patients.csv", "summary": folder / "summary.html"}
    videos.to_csv(paths["videos"])
    patients.to_csv(paths["patients"])
    report = Report("Gait videos", f"{len(results)} videos").text(PUBLISHED_SCORE)
    if results:
        report.provenance(results[0].provenance)
    report.heading("Patients").table(patients).heading("Videos").table(videos).write(paths["summary"])
    return {kind: str(path) for kind, path in paths.items()}

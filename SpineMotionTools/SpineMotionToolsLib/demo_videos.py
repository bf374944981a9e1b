"""The demo of the video systems: drawn walkers and infants, written as MP4 files, scored from the files, explained."""

from __future__ import annotations

from pathlib import Path

from SpineMotionToolsLib.common.report import Report
from SpineMotionToolsLib.common.tables import Column, Table

WALKS = {"stooped": (9003, True), "upright": (9003, False)}
WALK_S, INFANT_S = 3.2, 6.4
INFANT_SEED = 9001
AGES_WEEKS = {"writhing": 3, "fidgety": 13, "poor repertoire": 1}


def gait(folder: Path, report: Report) -> None:
    """A stooped and an upright drawn walker: probability of deformity, cadence, lean, activation, overlay video."""
    from SpineMotionToolsLib.common.body_models import load_body_model
    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.common.video_writing import write_video
    from SpineMotionToolsLib.common.weights import starter_path
    from SpineMotionToolsLib.gait import report as gait_report
    from SpineMotionToolsLib.gait.explain import explain, write_overlay
    from SpineMotionToolsLib.gait.models import load_model
    from SpineMotionToolsLib.gait.pipeline import score_video
    from SpineMotionToolsLib.gait.results import PUBLISHED_SCORE
    from SpineMotionToolsLib.gait.tasks import STARTER_POINTS_FILE
    from SpineMotionToolsLib.phantoms.walker import walker_video

    model = load_model()
    points = load_body_model(starter_path(STARTER_POINTS_FILE), Engine().resolve())
    report.heading("Gait videos").text(
        "Two drawn walkers, written as MP4 files and scored from them: found by their motion, cropped, cut into clips "
        "of 1 s, each clip through the starter network.",
        PUBLISHED_SCORE,
    )
    results = []
    for name, (seed, stooped) in WALKS.items():
        path, phantom = folder / f"{name}.mp4", walker_video(seed, stooped, seconds=WALK_S)
        write_video(path, (frame.picture for frame in phantom.video.frames()), 30)
        result = score_video(path, model, points=points)
        maps = explain(path, result, model)
        gait_report.write_files(folder, result, path, maps)
        write_overlay(folder / f"{name}_overlay.mp4", path, result, maps)
        gait_report.add_pictures(report, result, path, maps)
        results.append(result)
        truth = f"drawn with a cadence of {phantom.walk.cadence_per_min:.0f} and a lean of {phantom.walk.trunk_deg:.0f}"
        report.text(f"{path.name}, {truth} deg. {gait_report.answer_in_words(result)}")
        report.table(gait_report.measure_table(result))
    gait_report.write_summary(folder, results)
    report.text(_files(folder))


def movements(folder: Path, report: Report) -> None:
    """A drawn infant with each of the three patterns: background, trunk, flow, class per second, energy per limb."""
    from SpineMotionToolsLib.common.video_writing import write_video
    from SpineMotionToolsLib.movements import report as movements_report
    from SpineMotionToolsLib.movements.explain import explain, write_overlay
    from SpineMotionToolsLib.movements.inputs import Infant
    from SpineMotionToolsLib.movements.pipeline import load_models, score_video
    from SpineMotionToolsLib.movements.results import SCOPE
    from SpineMotionToolsLib.phantoms.infant import infant_video

    models = load_models()
    report.heading("Infants' general movements").text(
        f"One drawn infant for each pattern, {INFANT_S:g} s each, written as MP4 files and scored from them.", SCOPE
    )
    rows, results = [], []
    for pattern, age in AGES_WEEKS.items():
        name = pattern.replace(" ", "_")
        path, phantom = folder / f"{name}.mp4", infant_video(INFANT_SEED, pattern, seconds=INFANT_S)
        write_video(path, (frame.picture for frame in phantom.video.frames()), 30)
        infant = Infant(age_weeks=age)
        result = score_video(path, models, infant)
        maps = explain(path, result, models, infant) if result.chunks else None
        movements_report.write_files(folder, result, maps)
        rows.append([pattern, age, result.answer, len(result.chunks), result.why_not])
        results.append(result)
        if pattern == "writhing" and maps is not None:
            movements_report.add_pictures(report, result, maps)
            movements_report.add_energy_chart(report, result)
            write_overlay(folder / f"{name}_overlay.mp4", path, result, maps)
    movements_report.write_summary(folder, results)
    columns = [Column("drawn pattern"), Column("age", "weeks after term"), Column("answer"), Column("scored seconds")]
    report.table(Table("Drawn infants", [*columns, Column("note")], rows)).text(_files(folder))


def _files(folder: Path) -> str:
    return f"Files: {', '.join(sorted(path.name for path in folder.iterdir()))}."

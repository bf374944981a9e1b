"""The demo of the spine systems: a real lumbar MRI read from its file; a made radiograph, corrected as a user would."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.report import Report
from SpineMotionToolsLib.common.tables import Column, Table

LUMBAR_MRI = Path(__file__).parents[2] / "SpineNetModule" / "Resources" / "Data" / "LumbarMRI.nrrd"
LUMBAR_SOURCE = "One subject of Chu et al., doi 10.5281/zenodo.22304, CC BY 4.0; which side is left is not known."
RADIOGRAPH_SEED, RADIOGRAPH_ROWS, CORRECTIONS = 8, 1200, 3


def spinenet(folder: Path, report: Report) -> None:
    """The sample MRI: vertebrae found, named and measured, discs graded; one name corrected; a Slicer scene."""
    from SpineMotionToolsLib.spinenet import editing, pipeline
    from SpineMotionToolsLib.spinenet.batch import write_case
    from SpineMotionToolsLib.spinenet.inputs import read_scan
    from SpineMotionToolsLib.spinenet.pictures import key_picture

    scan = read_scan(LUMBAR_MRI)
    spine = write_case(folder, pipeline.read(scan), scan)
    saved = _spine_scene(folder / "spine.mrb", spine)

    report.heading("Lumbar MRI").text(
        f"{LUMBAR_MRI.name}, {scan.array.shape[2]} sagittal slices. {LUMBAR_SOURCE} Found: {', '.join(spine.labels)}."
    )
    for text in (*spine.notices, *spine.warnings):
        report.warning(text)
    report.image(key_picture(scan, spine), "Middle sagittal slice; the front of the patient is at the left")
    report.table(spine.measurements.angle_table()).table(spine.measurements.disc_table())
    report.table(spine.measurements.vertebra_table()).table(spine.grade_table())
    if spine.vertebrae:
        counted = editing.shift_labels(spine, -1)
        report.text(
            f"Corrected by one step, as a reader may: {counted.vertebrae[-1].label} instead of {spine.labels[-1]} at "
            f"the bottom. The provenance then says: {'; '.join(editing.edits_of(counted))}."
        )
    report.text(_files(folder))
    if not saved:
        report.warning("No Slicer scene was written: the package slicer-core is not installed.")


def keypoints(folder: Path, report: Report) -> None:
    """A made scoliosis radiograph with known corners: found, then the worst corners corrected; angles each time."""
    from PIL import Image

    from SpineMotionToolsLib.keypoints.curves import main_curve
    from SpineMotionToolsLib.keypoints.exports import write_reading
    from SpineMotionToolsLib.keypoints.pictures import overlay
    from SpineMotionToolsLib.keypoints.pipeline import start_session
    from SpineMotionToolsLib.phantoms.radiograph import radiograph_phantom
    from SpineMotionToolsLib.phantoms.spine_shape import load_model

    shape = load_model().sample(np.random.default_rng(RADIOGRAPH_SEED))
    size = (RADIOGRAPH_ROWS, round(RADIOGRAPH_ROWS * shape.aspect))
    phantom = radiograph_phantom(shape, RADIOGRAPH_SEED, size, implants=False)
    path = folder / "radiograph.png"
    Image.fromarray(phantom.image).save(path)
    session = start_session(path)
    readings = [session.detect()]
    for _ in range(CORRECTIONS):
        error = np.linalg.norm(readings[-1].points_px - phantom.corners_px, axis=1)
        error[list(readings[-1].given)] = 0
        worst = int(np.argmax(error))
        readings.append(session.correct(worst, tuple(map(float, phantom.corners_px[worst]))))
    write_reading(readings[-1], session.radiograph.image, folder, session.to_json())

    true = main_curve(phantom.corners_px)
    report.heading("Spine radiograph").text(
        f"{path.name}: a made radiograph with known corners, largest Cobb angle {true.cobb_deg:.1f} deg "
        f"({true.upper_name} to {true.lower_name}). Found, then the worst corner put right {CORRECTIONS} times; "
        "the network moves the others after each."
    )
    rows = [
        [
            number,
            float(np.linalg.norm(reading.points_px - phantom.corners_px, axis=1).mean() / RADIOGRAPH_ROWS * 100),
            reading.main_curve.cobb_deg,
            f"{reading.main_curve.upper_name} to {reading.main_curve.lower_name}",
        ]
        for number, reading in enumerate(readings)
    ]
    columns = [Column("Corrections"), Column("Mean error", "% of the height", digits=2)]
    columns += [Column("Largest Cobb angle", "deg", digits=1), Column("End vertebrae")]
    report.table(Table("Corrections of the radiograph", columns, rows))
    report.table(readings[-1].curve_table())
    report.image(overlay(readings[-1], session.radiograph.image), "After the corrections; white: placed by hand")
    report.text(_files(folder))


def _spine_scene(path: Path, spine) -> bool:
    """Save the scan and everything found in it as a Slicer scene; False without slicer-core."""
    from SpineMotionToolsLib.common.volumes import read_volume

    try:
        from SpineMotionToolsLib.scene.files import new_scene, save_scene
    except ImportError:
        return False
    from SpineMotionToolsLib.scene import spinenet as scene_spinenet

    with new_scene() as scene:
        scene_spinenet.show_spine(scene, scene_spinenet.add_scan(scene, read_volume(LUMBAR_MRI)), spine)
        save_scene(scene, path)
    return True


def _files(folder: Path) -> str:
    return f"Files: {', '.join(sorted(path.name for path in folder.iterdir()))}."

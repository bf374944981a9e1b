"""`python -m SpineMotionToolsLib.demo --out DIR`: every system on real file formats, with the models that ship.

Each system writes its files into a folder of its own; `report.html` shows them all.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.console import use_utf8
from SpineMotionToolsLib.common.errors import SpineMotionError
from SpineMotionToolsLib.common.report import Report
from SpineMotionToolsLib.demo_spine import keypoints, spinenet
from SpineMotionToolsLib.demo_videos import gait, movements

DEMO_STACK_HEIGHT = 14  # write_phantom_aim makes stacks of 14 slices


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m SpineMotionToolsLib.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results (default: demo)")
    parser.add_argument("--only", choices=sorted(DEMOS), action="append", help="only this system (may be repeated)")
    options = parser.parse_args(arguments)
    use_utf8()
    report = Report("SpineMotionTools demo", "Every system on made or public data, with the models that ship.")
    report.warning("Starter models: trained on simulated or few data, not validated on patients.")
    failed = False
    for name, demo in DEMOS.items():
        if options.only and name not in options.only:
            continue
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        try:
            demo(folder, report)
        except SpineMotionError as error:
            failed = True
            report.heading(name).warning(str(error))
            print(f"{name}: {error}", file=sys.stderr)
            continue
        print(f"{name}: done in {time.monotonic() - started:.0f} s, see {folder}")
    report.write(options.out / "report.html")
    print(f"Open {options.out / 'report.html'}")
    return int(failed)


def motion(folder: Path, report: Report) -> None:
    """Write a phantom AIM of three stacks, grade it from the file, explain the grades, save everything."""
    from PIL import Image

    from SpineMotionToolsLib.common.files import write_json
    from SpineMotionToolsLib.common.volumes import Volume, write_volume
    from SpineMotionToolsLib.motion.inputs import read_scan
    from SpineMotionToolsLib.motion.pictures import legacy_picture, preview_picture, slice_profile_picture
    from SpineMotionToolsLib.motion.pipeline import explain, grade
    from SpineMotionToolsLib.motion.report import scan_report
    from SpineMotionToolsLib.phantoms.hrpqct import write_phantom_aim

    aim = folder / "PHANTOM_DR_T1.AIM"
    write_phantom_aim(aim, site="radius")
    result = grade(aim, stack_height=DEMO_STACK_HEIGHT)
    attention = explain(aim, result=result)
    scan = read_scan(aim)
    volume_xyz = np.transpose(scan.array, (2, 1, 0))

    write_json(folder / "motion.json", result.to_json())
    result.to_table().to_csv(folder / "slices.csv")
    result.stack_table().to_csv(folder / "stacks.csv")
    result.summary_table().to_csv(folder / "scan.csv")
    pictures = {
        "preview.png": preview_picture(volume_xyz, result),
        "slice_profile.png": slice_profile_picture(result),
        "legacy.png": legacy_picture(volume_xyz, result),
    }
    for name, picture in pictures.items():
        Image.fromarray(np.asarray(picture)).save(folder / name)
    write_volume(folder / "attention.nrrd", Volume(np.transpose(attention, (2, 1, 0)), scan.ijk_to_ras, "attention"))
    scan_report(result, volume_xyz).write(folder / "report.html")
    saved = _motion_scene(folder / "motion.mrb", scan, result, attention)

    report.heading("HR-pQCT motion score")
    report.text(
        f"{aim.name}: a simulated radius scan of {len(result.stack_grades)} stacks, written as a Scanco AIM file and "
        f"graded from it. Grade {result.grade}, member agreement {result.confidence_percent} %."
    )
    report.table(result.stack_table())
    report.image(pictures["preview.png"], "First, middle and last slice with grade and member agreement")
    report.image(pictures["slice_profile.png"], "Votes per slice")
    report.text(f"Files: {', '.join(sorted(path.name for path in folder.iterdir()))}.")
    if not saved:
        report.warning("No Slicer scene was written: the package slicer-core is not installed.")


def _motion_scene(path: Path, scan, result, attention) -> bool:
    """Save scan, grades, plot, stack boxes and attention as a Slicer scene; False without slicer-core."""
    try:
        from SpineMotionToolsLib.scene.files import new_scene, save_scene
    except ImportError:
        return False
    from SpineMotionToolsLib.scene import motion as scene_motion

    with new_scene() as scene:
        volume = scene_motion.add_scan(
            scene, scan.array, scan.ijk_to_ras, result.scan.name, scan.unit, scan.calibration
        )
        scene_motion.show_result(scene, volume, result)
        scene_motion.show_stack_boxes(scene, volume, result)
        scene_motion.show_attention(scene, volume, attention, opacity=0.5)
        save_scene(scene, path)
    return True


DEMOS = {"motion": motion, "spinenet": spinenet, "keypoints": keypoints, "gait": gait, "movements": movements}

if __name__ == "__main__":
    sys.exit(main())

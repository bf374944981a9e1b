"""Files written of a scored video: tables, report, video."""

import os
import shutil

from slicer.i18n import tr as _


def exportCsv(name, result, folder):
    """Write scores, measures, and what was found as CSV; returns the file names. `name` is the video's."""
    from SpineMotionToolsLib.common.files import safe_name
    from SpineMotionToolsLib.scene.video_results import overall_table

    stem, system = safe_name(name), result.provenance.system
    tables = {"overall": overall_table(result), "clips": result.to_table()}
    if system == "gait":
        tables["boxes"] = result.box_table()
    else:
        tables |= {"energy": result.energy_table(), "torso": result.torso_table()}
    names = []
    for what, table in tables.items():
        names.append(f"{stem}_{system}_{what}.csv")
        note = result.caveat if what in ("overall", "clips") else ""
        table.with_note(note).to_csv(os.path.join(folder, names[-1]))
    return names


def exportReport(result, original, maps, path):
    """Write one HTML file with the answer, the plot, pictures with hidden face, and how they were made.

    `original` is the video's file or None, `maps` the activation maps or None.
    """
    if result.provenance.system == "gait":
        from SpineMotionToolsLib.gait.report import report_of

        readable = original is not None and original.exists()
        report_of(result, original if readable else None, maps).write(path)
    else:
        from SpineMotionToolsLib.movements.report import report_of

        report_of(result, maps).write(path)


def exportVideo(jobResult, path):
    """Keep the overlay video of a finished job under the user's name; raises OutputError if there is none."""
    from SpineMotionToolsLib.common.errors import OutputError
    from SpineMotionToolsLib.common.files import atomic_path

    made = jobResult["files"].get("overlay")
    if made is None:
        reasons = jobResult.get("problems") or [_("The video was not scored, so there is nothing to lay over it.")]
        raise OutputError(" ".join(reasons))
    with atomic_path(path) as temporary:
        shutil.copyfile(made, temporary)

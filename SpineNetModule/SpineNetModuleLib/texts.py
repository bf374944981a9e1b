"""What the panel says about a scan and its spine, as rich text. The library's own sentences are escaped."""

import html

import numpy as np
from slicer.i18n import tr as _


def scanText(volumeNode):
    """Size of the sagittal slices of a volume, so that a wrong series is seen before it is read."""
    from SpineMotionToolsLib.scene import nodes

    if volumeNode is None or volumeNode.GetImageData() is None:
        return ""
    matrix = nodes.ijk_to_ras(volumeNode)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    across = int(np.argmax(np.abs(matrix[0] / spacing)))  # the axis that runs from left to right
    pixels = [f"{spacing[axis]:.2f}" for axis in range(3) if axis != across]
    text = _("{count} sagittal slices, {gap:.1f} mm apart; pixels of {pixels} mm. Left and right follow the image.")
    return text.format(
        count=volumeNode.GetImageData().GetDimensions()[across],
        gap=spacing[across],
        pixels=pixels[0] if pixels[0] == pixels[1] else " x ".join(pixels),
    )


def sideWarning():
    return _("Which side is the patient's left is not known for this scan: do not read a side from it.")


def summaryText(spine, parameterNode):
    """Which vertebrae were found, lordosis, and what exceeds the usual limits of slip and height loss."""
    from SpineMotionToolsLib.scene import nodes

    if spine is None:
        if parameterNode and nodes.has_text_of(parameterNode.result, parameterNode.inputVolume):
            return _("The result was made by a newer version or is damaged. Press Apply to read the scan again.")
        return _("Not read yet.")
    if not spine.vertebrae:
        return "<b>" + _("No vertebra found.") + "</b>"
    range_ = _("{first} to {last}").format(first=spine.labels[0], last=spine.labels[-1])
    count = len(spine.vertebrae)
    title = _("{n} vertebrae: {range}").format(n=count, range=range_) if count > 1 else spine.labels[0]
    lines = [f"<span style='font-size:large'><b>{html.escape(title)}</b></span>"]
    if spine.measurements is not None:
        for angle in spine.measurements.angles:
            lines.append(f"{html.escape(angle.name)}: {round(angle.angle_deg)}°")
        found = findings(spine.measurements)
        if not found:
            found = [_("No slip of 3 mm or more, no height loss of 20 % or more.")]
        elif spine.grades_are_demonstration:
            found.append(_("Starter networks miss corners by 1 to 2 mm: check them before you trust a small slip."))
        lines += [html.escape(text) for text in found]
    return "<br>".join(lines)


def findings(measurements):
    """Sentences on slips from 3 mm and height losses from 20 %, if there are any."""
    found = []
    for disc in measurements.discs:
        if disc.meyerding_grade:
            text = _("{level}: {direction} of {mm:.1f} mm ({percent:.0f} %, Meyerding {grade})")
            found.append(
                text.format(
                    level=disc.level,
                    direction=disc.slip_direction,
                    mm=abs(disc.slip_mm),
                    percent=abs(disc.slip_percent),
                    grade=disc.meyerding_grade,
                )
            )
    for body in measurements.vertebrae:
        if body.genant_grade:
            text = _("{level}: height loss {percent:.0f} % ({kind}, Genant {grade})")
            found.append(
                text.format(
                    level=body.label, percent=body.height_loss_percent, kind=body.genant_type, grade=body.genant_grade
                )
            )
    return found


def warningsText(spine):
    """Notices of the models, then what to know about this scan; what concerns grades stands with the grades."""
    if spine is None:
        return ""
    from SpineMotionToolsLib.spinenet.models import DEMONSTRATION_NOTICE

    notices = [notice for notice in spine.notices if notice != DEMONSTRATION_NOTICE]
    return "<br>".join("\u26a0 " + html.escape(text) for text in dict.fromkeys([*notices, *spine.warnings]))


def gradesNote(spine):
    """What must stand wherever grades are shown; "" for grades that mean something."""
    return (
        "\u26a0 <b>" + _("Grades: demonstration, no clinical meaning.") + "</b>"
        if spine.grades_are_demonstration
        else ""
    )


def correctionsText(spine):
    """The corrections made so far, newest last."""
    from SpineMotionToolsLib.spinenet.editing import edits_of

    edits = edits_of(spine) if spine is not None else []
    return _("Corrections: {list}.").format(list=html.escape("; ".join(edits))) if edits else ""


def pendingText(spine):
    """What an update would still do after corrections."""
    if spine is None:
        return ""
    levels = [disc.level for disc in spine.discs if disc.grades is None]
    return _("To be graded again: {levels}.").format(levels=", ".join(levels)) if levels else ""

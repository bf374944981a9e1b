"""What the panel says about a picture and its corners, as rich text."""

import html

import numpy as np
from slicer.i18n import tr as _

OTHER_SIDE = {"left": "right", "right": "left"}


def pictureText(picture):
    """Size, pixel size and sides of a picture, as rich text."""
    rows, columns = picture.size
    if picture.spacing_mm is None:
        size = _("pixel size not known: lengths are in pixels")
    else:
        size = _("{row:.3g} x {column:.3g} mm a pixel").format(row=picture.spacing_mm[0], column=picture.spacing_mm[1])
    return _("{columns} x {rows} pixels, {size}. {side}").format(
        columns=columns, rows=rows, size=size, side=sideText(picture)
    )


def sideText(picture):
    """Which side of the patient lies on the picture's left."""
    side = picture.patient_right_on
    if picture.mirrored != picture.upside_down:
        side = OTHER_SIDE.get(side)
    return {
        "left": _("The patient's right is on the picture's left."),
        "right": _("The patient's right is on the picture's right."),
    }.get(side, _("Which side of the patient is on the picture's left is not known."))


def curveText(reading):
    """The largest curve in large letters and what else to know of it, as rich text."""
    if reading is None:
        return _("No corners yet.")
    main = reading.main_curve
    if main is None:
        return _("Fewer than three vertebrae: no Cobb angle.")
    doubt = "" if main.uncertainty_deg is None else f" ± {main.uncertainty_deg:.0f}°"
    angle = f"{main.cobb_deg:.0f}°{doubt}"
    side = reading.patient_side(main.convex_to)
    patient = _("the patient's {side}").format(side=side) if side != "unknown" else _("patient's side not known")
    lines = [
        _("Largest Cobb angle"),
        f"<span style='font-size:xx-large'><b>{html.escape(angle)}</b></span>",
        html.escape(
            _("{upper} to {lower}, apex {apex}, convex to the picture's {side} ({patient}), {region}").format(
                upper=main.upper_name,
                lower=main.lower_name,
                apex=main.apex,
                side=main.convex_to,
                patient=patient,
                region=main.region,
            )
        ),
    ]
    if not reading.curves:
        lines.append(_("No curve of 10° or more."))
    lines.append(_("± is one standard deviation from the uncertainty of the corners alone."))
    return "<br>".join(lines)


def warningsText(reading):
    """What to know before trusting the result, as rich text."""
    return "<br>".join("\u26a0 " + html.escape(warning) for warning in reading.warnings) if reading else ""


def progressText(reading):
    """How far the check is: corrected corners, locked and absent vertebrae, the least certain vertebra."""
    parts = [_("{n} of 68 corners placed by hand").format(n=len(reading.given))]
    if reading.locked:
        parts.append(_("locked: {names}").format(names=", ".join(reading.levels[level] for level in reading.locked)))
    if reading.absent:
        parts.append(_("absent: {names}").format(names=", ".join(reading.levels[level] for level in reading.absent)))
    text = "; ".join(parts) + "."
    if reading.accepted:
        return text + " " + _("Accepted.")
    if reading.to_check:
        text += " " + _("Least certain: {name}.").format(name=reading.levels[reading.to_check[0]])
    return text


def checkText(reading, level):
    """Why a vertebra should be checked."""
    corners = slice(4 * level, 4 * level + 4)
    return _("Check {name}: confidence {confidence:.2f}, corners ± {spread:.1f} {unit}.").format(
        name=reading.levels[level],
        confidence=float(reading.confidence[corners].min()),
        spread=float(np.hypot(*reading.spread[corners].T).max()),
        unit=reading.scale.unit,
    )

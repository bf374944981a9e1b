"""Draws the extension's and the modules' icons: python Docs/tools/draw_icons.py [folder for a contact sheet].

All icons share one manner: a rounded tile with a soft vertical gradient and one bright subject, drawn eight times
larger than shown and then reduced.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE, SCALE = 128, 8
BIG = SIZE * SCALE
BONE, BONE_SHADE, BONE_LINE = (246, 238, 219), (222, 205, 170), (150, 124, 82)
DISC_COLORS = [(92, 200, 140), (150, 208, 92), (240, 205, 70), (245, 150, 60), (232, 84, 78)]  # grade, good to bad
ACCENT = (255, 196, 61)


def tile(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Image.Image:
    """A rounded tile with a vertical gradient and transparent corners."""
    ramp = Image.linear_gradient("L").resize((BIG, BIG))
    face = Image.composite(Image.new("RGB", (BIG, BIG), bottom), Image.new("RGB", (BIG, BIG), top), ramp)
    mask = Image.new("L", (BIG, BIG), 0)
    ImageDraw.Draw(mask).rounded_rectangle((2 * SCALE, 2 * SCALE, BIG - 2 * SCALE, BIG - 2 * SCALE), 24 * SCALE, 255)
    face.putalpha(mask)
    return face


def at(x: float, y: float) -> tuple[float, float]:
    """Icon units (0-128) to drawing pixels."""
    return x * SCALE, y * SCALE


def smooth(points: list[tuple[float, float]], steps: int = 24, closed: bool = False) -> list[tuple[float, float]]:
    """A Catmull-Rom curve through points given in icon units, in drawing pixels."""
    if closed:
        knots = [points[-1], *points, points[0], points[1]]
    else:
        knots = [points[0], *points, points[-1]]
    curve = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:]):
        for step in range(steps):
            t = step / steps
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
            curve.append(at(*(sum(w * p[k] for w, p in zip(weights, (a, b, c, d))) / 2 for k in (0, 1))))
    return curve if closed else [*curve, at(*points[-1])]


def layer() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    made = Image.new("RGBA", (BIG, BIG), (0, 0, 0, 0))
    return made, ImageDraw.Draw(made)


def add(base: Image.Image, top: Image.Image, shadow: float = 0.35) -> None:
    """Lay a drawing on the tile, with a soft shadow below it; nothing leaves the tile."""
    inside = base.getchannel("A")
    if shadow:
        dark = top.getchannel("A").filter(ImageFilter.GaussianBlur(2.5 * SCALE)).point(lambda a: int(a * shadow))
        dark = ImageChops.offset(dark, 0, 2 * SCALE)
        base.paste((0, 0, 0), (0, 0), ImageChops.multiply(dark, inside))
    base.paste(top.convert("RGB"), (0, 0), ImageChops.multiply(top.getchannel("A"), inside))
    base.putalpha(inside)


def ribbon(draw, points, width: float, color) -> None:
    """A line with round ends and joints; `points` in drawing pixels, `width` in icon units."""
    draw.line(points, fill=color, width=round(width * SCALE), joint="curve")
    radius = width * SCALE / 2
    for x, y in (points[0], points[-1]):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def turned_box(center, width: float, height: float, angle_deg: float, waist: float = 0.0) -> list:
    """Outline of a vertebral body in icon units: a box with hollowed sides, turned about its center."""
    w, h = width / 2, height / 2
    flat = [
        (-w, -h),
        (0, -h + waist * 0.4),
        (w, -h),
        (w - waist, 0),
        (w, h),
        (0, h - waist * 0.4),
        (-w, h),
        (-w + waist, 0),
    ]
    angle = math.radians(angle_deg)
    cosine, sine = math.cos(angle), math.sin(angle)
    return [(center[0] + x * cosine - y * sine, center[1] + x * sine + y * cosine) for x, y in flat]


def body(draw, outline, fill=BONE, line=BONE_LINE, width: float = 2.0) -> None:
    """A vertebral body with rounded corners from an outline in icon units."""
    points = [at(*point) for point in outline]
    radius = 2.6 * SCALE
    for x, y in points[::2]:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=line)
    draw.line([*points, points[0], points[1]], fill=line, width=round(2 * radius), joint="curve")
    inner = radius - width * SCALE
    for x, y in points[::2]:
        draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=fill)
    draw.line([*points, points[0], points[1]], fill=fill, width=max(round(2 * inner), 1), joint="curve")
    draw.polygon(points, fill=fill)


def column(count: int, top: float, bottom: float, center, tilt):
    """Centers, tilts and heights of a row of vertebrae and of the discs between them."""
    pitch = (bottom - top) / count
    levels = [top + pitch * (index + 0.5) for index in range(count)]
    return [((center(y), y), tilt(y)) for y in levels], pitch


# ---- the icons -----------------------------------------------------------------------------------------------------
def spine_motion_tools() -> Image.Image:
    """The whole column in its S-curve, with lines of motion beside it."""
    icon = tile((38, 84, 140), (14, 38, 78))
    swing, length = 7, 100
    curve = lambda y: 54 + swing * math.sin((y - 10) / length * 2 * math.pi)
    slope = lambda y: -math.degrees(math.atan(swing * 2 * math.pi / length * math.cos((y - 10) / length * 2 * math.pi)))
    path, draw = layer()
    for offset, alpha in ((29, 255), (39, 150), (49, 80)):
        ribbon(draw, [at(curve(y) + offset, y) for y in range(20, 108)], 3.6, (*ACCENT, alpha))
    add(icon, path, shadow=0)
    bones, draw = layer()
    rows, _ = column(7, 11, 119, curve, slope)
    for index, (center, angle) in enumerate(rows):
        body(draw, turned_box(center, 21 + 2.4 * index, 5.6 + 0.35 * index, angle, 1.2))
    add(icon, bones)
    return icon


def motion_score() -> Image.Image:
    """A tibia in cross-section whose cortex repeats outward in ripples: motion."""
    icon = tile((60, 66, 76), (22, 26, 34))
    shape = [(64, 26), (90, 36), (101, 62), (91, 90), (62, 101), (36, 90), (27, 64), (38, 36)]
    around = lambda factor, shift=0.0: [(64 + (x - 64) * factor + shift, 63 + (y - 63) * factor) for x, y in shape]
    for factor, shift, alpha in ((1.16, 5, 120), (1.08, 2.5, 190)):
        ripple, draw = layer()
        points = smooth(around(factor, shift), closed=True)
        draw.line([*points, points[0], points[1]], fill=(*ACCENT, alpha), width=round(2.6 * SCALE), joint="curve")
        add(icon, ripple, shadow=0)
    bone, draw = layer()
    draw.polygon(smooth(around(0.98), closed=True), fill=BONE)
    draw.polygon(smooth(around(0.76), closed=True), fill=(96, 92, 90))
    mesh, mesh_draw = layer()
    for index in range(-5, 9):
        for slant in (0.55, -0.62):
            start = (20 + index * 11, 12)
            line = [
                at(start[0] + slant * step + 3 * math.sin(step / 9 + index), start[1] + step) for step in range(104)
            ]
            mesh_draw.line(line, fill=(214, 202, 178, 210), width=round(2.3 * SCALE), joint="curve")
    inside = Image.new("L", (BIG, BIG), 0)
    ImageDraw.Draw(inside).polygon(smooth(around(0.76), closed=True), fill=255)
    bone.paste(mesh.convert("RGB"), (0, 0), ImageChops.multiply(mesh.getchannel("A"), inside))
    draw = ImageDraw.Draw(bone)
    draw.polygon(smooth([(64 + (x - 64) * 0.3, 63 + (y - 63) * 0.3) for x, y in shape], closed=True), fill=(70, 68, 70))
    add(icon, bone)
    return icon


def spine_net() -> Image.Image:
    """Lumbar vertebrae from the side, discs in the colors of their grades."""
    icon = tile((30, 100, 110), (10, 46, 60))
    curve = lambda y: 66 - 11 * math.sin((y - 10) / 108 * math.pi)
    slope = lambda y: math.degrees(math.atan(11 * math.pi / 108 * math.cos((y - 10) / 108 * math.pi)))
    stack, draw = layer()
    rows, pitch = column(5, 8, 120, curve, slope)
    for index, (first, second) in enumerate(zip(rows, rows[1:])):
        middle = tuple((a + b) / 2 for a, b in zip(first[0], second[0]))
        angle = (first[1] + second[1]) / 2
        shape = turned_box(middle, 40 - index, pitch * (0.3 - 0.035 * index), angle, -1.5)
        body(
            draw, shape, DISC_COLORS[index + (index > 1)], tuple(c // 2 for c in DISC_COLORS[index + (index > 1)]), 0.8
        )
    for center, angle in rows:
        body(draw, turned_box(center, 40, pitch * 0.47, angle, 2.5))
        spinous = [(24, 1), (38, 5), (42, 11)]
        turn = math.radians(angle)
        tail = [
            (center[0] + x * math.cos(turn) - y * math.sin(turn), center[1] + x * math.sin(turn) + y * math.cos(turn))
            for x, y in spinous
        ]
        ribbon(draw, smooth(tail), 5.5, BONE_LINE)
        ribbon(draw, smooth(tail), 3.2, BONE_SHADE)
    add(icon, stack)
    return icon


def keypoints() -> Image.Image:
    """One vertebra of a radiograph with its four corners marked."""
    icon = tile((52, 58, 66), (16, 18, 22))
    ghosts, draw = layer()
    for y, angle in ((8, -7), (120, 7)):
        body(draw, turned_box((64, y), 62, 34, angle, 5), (150, 156, 164), (96, 102, 110))
    add(icon, ghosts, shadow=0)
    bone, draw = layer()
    outline = turned_box((64, 64), 66, 38, -6, 6)
    body(draw, outline, (226, 230, 234), (150, 156, 164))
    for x in (50, 78):
        draw.ellipse((*at(x - 5, 57), *at(x + 5, 69)), outline=(160, 166, 174), width=round(2 * SCALE))
    add(icon, bone)
    marks, draw = layer()
    corners = [outline[index] for index in (0, 2, 4, 6)]
    frame = [at(*corner) for corner in corners]
    draw.line([*frame, frame[0]], fill=(*ACCENT, 255), width=round(2.4 * SCALE), joint="curve")
    for index, (x, y) in enumerate(corners):
        color = (255, 90, 84) if index == 1 else (72, 196, 255)
        radius = 8.5 if index == 1 else 7
        draw.ellipse((*at(x - radius, y - radius), *at(x + radius, y + radius)), fill="white")
        draw.ellipse((*at(x - radius + 2.4, y - radius + 2.4), *at(x + radius - 2.4, y + radius - 2.4)), fill=color)
    add(icon, marks, shadow=0.5)
    return icon


def movement() -> Image.Image:
    """A walking figure and the path its hand has taken."""
    icon = tile((112, 70, 150), (52, 28, 84))
    trail, draw = layer()
    path = smooth([(8, 66), (22, 44), (40, 40), (60, 58), (80, 70), (96, 58), (110, 36)])
    for start in range(0, len(path) - 8, 13):
        alpha = 90 + round(165 * start / len(path))
        ribbon(draw, path[start : start + 8], 4, (*ACCENT, alpha))
    add(icon, trail, shadow=0)
    person, draw = layer()
    white, far = (250, 250, 252), (204, 190, 224)
    limbs_far = ([(63, 74), (74, 88), (90, 106)], [(64, 42), (50, 52), (44, 66)])
    limbs_near = ([(63, 74), (55, 92), (36, 108)], [(64, 42), (78, 54), (94, 57)])
    for limb in limbs_far:
        ribbon(draw, [at(*point) for point in limb], 8, far)
    ribbon(draw, [at(64, 42), at(63, 74)], 12, white)
    for limb in limbs_near:
        ribbon(draw, [at(*point) for point in limb], 8, white)
    draw.ellipse((*at(56, 11), *at(78, 33)), fill=white)
    add(icon, person)
    joints, draw = layer()
    for x, y in ((64, 42), (63, 74), (55, 92), (74, 88), (78, 54), (94, 57)):
        draw.ellipse((*at(x - 3.2, y - 3.2), *at(x + 3.2, y + 3.2)), fill=ACCENT)
    add(icon, joints, shadow=0)
    return icon


ICONS = {
    "SpineMotionTools.png": spine_motion_tools,
    "SpineMotionTools/Resources/Icons/SpineMotionTools.png": spine_motion_tools,
    "MotionScore/Resources/Icons/MotionScore.png": motion_score,
    "SpineNetModule/Resources/Icons/SpineNetModule.png": spine_net,
    "KeypointModule/Resources/Icons/KeypointModule.png": keypoints,
    "MovementModule/Resources/Icons/MovementModule.png": movement,
}


def main() -> None:
    sheet = Image.new("RGB", (5 * 144, 200), (236, 236, 236))
    for index, draw in enumerate(list(ICONS.values())[1:]):
        icon = draw().resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        sheet.paste(icon, (8 + 144 * index, 8), icon)
        for size, x in ((32, 8), (16, 60)):
            small = icon.resize((size, size), Image.Resampling.LANCZOS)
            sheet.paste(small, (x + 144 * index, 150), small)
    for name, draw in ICONS.items():
        path = REPOSITORY / name
        if path.parent.parent.parent.is_dir():  # only modules that exist
            path.parent.mkdir(parents=True, exist_ok=True)
            draw().resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(path, optimize=True)
    if len(sys.argv) > 1:
        sheet.save(Path(sys.argv[1]) / "icons.png")


if __name__ == "__main__":
    main()

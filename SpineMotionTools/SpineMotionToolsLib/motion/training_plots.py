"""Pictures of a training run, drawn with Pillow: losses and kappa of one member, and all members before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from SpineMotionToolsLib.motion.drawing import dashed_line, save_png, text

SIZE = (960, 430)
FRAME = (70, 60, 760, 370)  # left, top, right, bottom of the axes
COLORS = {"train_loss": "#4B97E0", "val_loss": "#B73A31", "val_weighted_kappa": "#2E7D4F"}
NAMES = {"train_loss": "training loss", "val_loss": "validation loss", "val_weighted_kappa": "validation kappa"}


def member_plot(path: Path, name: str, history: Sequence[dict[str, Any]]) -> None:
    """Losses (left axis) and validation kappa (right axis, 0 to 1) over the epochs of both stages."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = FRAME
    highest = 1.1 * max(max(step["train_loss"], step["val_loss"]) for step in history) or 1.0
    text(draw, (left, 10), f"{name}: loss and quadratic weighted kappa", 17)
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - share * (bottom - top)
        draw.line([(left, y), (right, y)], fill="#dddddd")
        text(draw, (left - 8, y), f"{share * highest:.2f}", 13, anchor="rm")
        text(draw, (right + 8, y), f"{share:.2f}", 13, COLORS["val_weighted_kappa"], "lm")

    def x(epoch: int) -> float:
        return left + (right - left) * (epoch + 0.5) / len(history)

    changes = [i for i in range(1, len(history)) if history[i]["stage"] != history[i - 1]["stage"]]
    for change in changes:
        dashed_line(draw, (x(change - 0.5), top), (x(change - 0.5), bottom), "#888888")
    for start, end in zip([0, *changes], [*changes, len(history)]):
        middle = (x(start - 0.5) + x(end - 0.5)) / 2
        text(draw, (middle, top - 4), history[start]["stage"], 13, "#666666", "mb")
    for row, (key, color) in enumerate(COLORS.items()):
        scale = 1.0 if key == "val_weighted_kappa" else highest
        shares = [min(max(step[key] / scale, 0), 1) for step in history]
        points = [(x(epoch), bottom - share * (bottom - top)) for epoch, share in enumerate(shares)]
        draw.line(points, fill=color, width=2)
        for px, py in points:
            draw.ellipse((px - 2.5, py - 2.5, px + 2.5, py + 2.5), fill=color)
        text(draw, (right + 50, top + 24 * row), NAMES[key], 13, color)
    step = max(1, len(history) // 10)
    for epoch in range(0, len(history), step):
        text(draw, (x(epoch), bottom + 8), str(epoch + 1), 13, anchor="ma")
    draw.rectangle(FRAME, outline="black")
    text(draw, ((left + right) / 2, bottom + 30), "epoch", 14, anchor="ma")
    save_png(path, image)


def overview_plot(path: Path, models: Sequence[dict[str, Any]]) -> None:
    """Test accuracy and kappa of every member before (gray) and after (blue) fine-tuning."""
    image = Image.new("RGB", (SIZE[0], 2 * SIZE[1]), "white")
    draw = ImageDraw.Draw(image)
    left, _, right, _ = FRAME
    panels = (("accuracy", "exact agreement with the grade"), ("weighted_kappa", "quadratic weighted kappa"))
    for panel, (key, title) in enumerate(panels):
        top, bottom = FRAME[1] + panel * SIZE[1], FRAME[3] + panel * SIZE[1]
        text(draw, (left, top - 46), f"Test fold of each member: {title}", 17)
        for share in (0, 0.25, 0.5, 0.75, 1):
            y = bottom - share * (bottom - top)
            draw.line([(left, y), (right, y)], fill="#dddddd")
            text(draw, (left - 8, y), f"{share:.2f}", 13, anchor="rm")
        room = (right - left) / len(models)
        for number, model in enumerate(models):
            for side, (part, color) in enumerate((("base", "#9a9a9a"), ("retrained", "#125FAF"))):
                value = min(max(model[f"{part}_test_{key}"], 0), 1)
                start = left + room * (number + 0.18 + 0.32 * side)
                height = bottom - value * (bottom - top)
                draw.rectangle((start, height, start + room * 0.3, bottom), fill=color)
                label = f"{model[f'{part}_test_{key}']:.2f}"  # a kappa below zero has no bar but its number
                text(draw, (start + room * 0.15, height - 3), label, 11, color, "mb")
            text(draw, (left + room * (number + 0.5), bottom + 8), model["model"], 12, anchor="ma")
        draw.line([(left, bottom), (right, bottom)], fill="black")
        text(draw, (right + 20, top), "before", 13, "#9a9a9a")
        text(draw, (right + 20, top + 22), "after", 13, "#125FAF")
    save_png(path, image)

"""Draws the sample videos of the Movement Videos module and their thumbnails: python Docs/tools/make_sample_videos.py.

The walker is stooped, the infant's movements are fidgety: drawings, made by the same formulas as the tests' phantoms.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
RESOURCES = REPOSITORY / "MovementModule" / "Resources"
THUMBNAIL_PX = (260, 280)
WALK_S, INFANT_S = 6.0, 16.2  # six clips; four scored seconds


def main() -> None:
    from SpineMotionToolsLib.common.video_writing import write_video
    from SpineMotionToolsLib.phantoms.infant import infant_video
    from SpineMotionToolsLib.phantoms.walker import walker_video

    walk = walker_video(2, stooped=True, seconds=WALK_S)
    infant = infant_video(3, "fidgety", seconds=INFANT_S)
    middles = (walk.boxes[:, 0] + walk.boxes[:, 2]) / 2
    in_the_middle = int(np.argmin(np.abs(middles - walk.video.width_px / 2)))
    for name, video, shown in (("WalkPhantom", walk.video, in_the_middle), ("InfantPhantom", infant.video, 0)):
        path = RESOURCES / "Data" / f"{name}.mp4"
        count = write_video(path, (frame.picture for frame in video.frames()), video.frame_rate_hz)
        thumbnail(video.picture(shown)).save(RESOURCES / "Icons" / f"{name}.png", optimize=True)
        print(f"{path.name}: {count} frames, {path.stat().st_size / 1e6:.2f} MB")


def thumbnail(picture: np.ndarray) -> Image.Image:
    """The middle of a picture in the shape of Sample Data's buttons."""
    image = Image.fromarray(picture)
    width = round(image.height * THUMBNAIL_PX[0] / THUMBNAIL_PX[1])
    left = (image.width - width) // 2
    return image.crop((left, 0, left + width, image.height)).resize(THUMBNAIL_PX, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    sys.exit(main())

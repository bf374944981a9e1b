"""Videos written: H.264 in MP4 where the installed FFmpeg can, else MPEG-4; atomic, so that no half file is left."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from SpineMotionToolsLib.common.errors import DependencyError, InputError, OutputError
from SpineMotionToolsLib.common.files import atomic_path

CODECS = ("libx264", "libopenh264", "mpeg4")


def write_video(
    path: Path | str,
    pictures: Iterable[np.ndarray],
    frame_rate_hz: float | Fraction = 30,
    codec: str | None = None,
    rotation_deg: int = 0,
) -> int:
    """Write RGB uint8 pictures (H,W,3) of equal size as an MP4 file and return their number.

    Odd sizes lose their last row or column (the chroma of MP4 needs even sizes). `rotation_deg` is stored for players
    to apply. Raises OutputError when the file cannot be written, InputError without pictures.
    """
    av = _av()
    path = Path(path)
    count = 0
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4") as container:
                stream = None
                for picture in pictures:
                    height, width = (side // 2 * 2 for side in picture.shape[:2])
                    if stream is None:
                        stream = _stream(container, codec, frame_rate_hz, width, height)
                        if rotation_deg:
                            stream.set_display_rotation(rotation_deg)
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
                    container.mux(stream.encode(frame))
                    count += 1
                if stream is None:
                    raise InputError(f"There are no frames to write to {path.name}. Choose a video with frames.")
                container.mux(stream.encode())
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"{path.name} could not be written ({getattr(error, 'strerror', None) or error}). "
                "Free space on the disk or choose another folder."
            ) from error
    return count


def _av():
    try:
        import av
    except ImportError as error:
        raise DependencyError("Writing videos needs PyAV. Install it with: pip install av") from error
    return av


def _stream(container, codec: str | None, frame_rate_hz: float | Fraction, width: int, height: int):
    import av

    rate = Fraction(frame_rate_hz).limit_denominator(60000)
    for name in [codec] if codec else CODECS:
        with suppress(av.codec.codec.UnknownCodecError):
            stream = container.add_stream(name, rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if name == "mpeg4":
                stream.options = {"qmin": "1", "qmax": "4"}  # without a bound the first frames are blurred
                stream.bit_rate = 20 * width * height
            return stream
    raise DependencyError("This PyAV has no MP4 encoder. Install PyAV from pip: pip install --force-reinstall av")

"""`python motion_header_fuzz.py FOLDER SEED FILE...`: read 600 damaged copies of Scanco files; run in a child process.

Prints how many were read and how many refused. Anything but a result or an InputError ends it with a traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion.inputs import open_scan, read_scan
from SpineMotionToolsLib.motion.scanco import read_header

TURNS, HEADER_BYTES = 600, 2200
NUMBERS = [-1, 2**31 - 1, 2**62, -(2**40), 70000, 0]


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    data = bytearray(data)
    for _ in range(random.integers(1, 6)):
        at = int(random.integers(min(len(data), HEADER_BYTES)))
        kind = random.integers(4)
        if kind == 0:
            data[at] = random.integers(256)
        elif kind == 1:
            data[at : at + 4] = random.choice([0, 1, 2, 127, 128, 255], 4).astype(np.uint8).tobytes()
        elif kind == 2:
            data[at : at + 8] = int(random.choice(NUMBERS)).to_bytes(8, "little", signed=True)
        else:
            del data[at : at + int(random.integers(1, 40))]
    return bytes(data)


def attempt(path: Path) -> bool:
    try:
        read_header(path)
        scan = open_scan(path, "native")
        scan.read_slice(scan.depth - 1)
        read_scan(path)
    except InputError:
        return False
    return True


def main(folder: str, seed: str, *files: str) -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    random, path = np.random.default_rng(int(seed)), Path(folder) / "scan.aim"
    originals = [Path(file).read_bytes() for file in files]
    read = 0
    for turn in range(TURNS):
        path.write_bytes(damaged(originals[turn % len(originals)], random))
        read += attempt(path)
    print(read, TURNS - read)


if __name__ == "__main__":
    main(*sys.argv[1:])

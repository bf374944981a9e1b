"""`python -m benchmarks`: every system's timings in turn; `--write` puts the tables into Docs/performance.md."""

from __future__ import annotations

import argparse

from benchmarks import keypoints, motion, spinenet, video


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the tables")
    arguments = ["--write"] if parser.parse_args().write else []
    return max(system.main(arguments) for system in (motion, spinenet, keypoints, video))


if __name__ == "__main__":
    raise SystemExit(main())

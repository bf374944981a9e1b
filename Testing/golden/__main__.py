"""`python -m Testing.golden FOLDER...`: run every golden case below the folders.

Prints a line a case (name, kind, largest difference, ok or FAIL), then `N passed, N failed`; exits 1 if any failed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from Testing.golden.case import Case, Handler, difference, find, load, tolerance_of

HANDLER_MODULES = {
    "motion": ("motion_scoring", "motion_workflow"),
    "spinenet": ("spinenet",),
    "keypoints": ("keypoints",),
    "gait": ("gait",),
    "movements": ("movements",),
}


def handler_of(case: Case) -> Handler | None:
    """The function that computes the case's outputs: `KINDS[kind]` of the system's handler files."""
    for name in HANDLER_MODULES.get(case.system, ()):
        kinds = importlib.import_module(f"Testing.golden.kinds.{name}").KINDS
        if case.kind in kinds:
            return kinds[case.kind]
    return None


def run(case: Case) -> tuple[float, list[str]]:
    """The largest difference over all outputs and the list of what failed (empty: the case passes)."""
    handler = handler_of(case)
    if handler is None:
        return float("nan"), [f"no handler for kind {case.kind!r} of system {case.system!r}"]
    got = handler(case)
    largest, failures = 0.0, []
    for output, want in case.want.items():
        if output not in got:
            failures.append(f"{output}: not computed")
            continue
        gap, why = difference(got[output], want, *tolerance_of(case, output))
        largest = max(largest, gap)
        if why:
            failures.append(f"{output}: {why}")
    return largest, failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.golden", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--match", default="", help="run only cases whose name contains this text")
    parser.add_argument("--traceback", action="store_true", help="print the traceback of a case that raises")
    options = parser.parse_args(arguments)
    passed = failed = 0
    for path in find(options.folders):
        if options.match not in path.stem:
            continue
        case = load(path)
        try:
            largest, failures = run(case)
        except Exception as error:  # a case that raises is a failed case; the others still run
            largest, failures = float("nan"), [f"{type(error).__name__}: {error}"]
            if options.traceback:
                traceback.print_exc()
        passed, failed = passed + (not failures), failed + bool(failures)
        print(f"{case.name:40} {case.kind:18} {largest:10.3g}  {'FAIL' if failures else 'ok'}", flush=True)
        for failure in failures:
            print(f"    {failure}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

"""`spinemotion`: every system from the terminal.

    spinemotion motion grade SCAN.AIM --out results
    spinemotion --help

A system's commands are imported only when they are asked for, so a missing package of one system stops no other.

Exit status: 0 done; 1 a fault of the program; 2 not possible as asked (one line says why); 3 finished, but some inputs
were skipped and listed; 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import SpineMotionToolsLib
from SpineMotionToolsLib.common.console import use_utf8
from SpineMotionToolsLib.common.errors import Cancelled, SpineMotionError
from SpineMotionToolsLib.common.processes import ONE_BLAS_THREAD

DONE, FAULT, NOT_POSSIBLE, SOME_SKIPPED, STOPPED = 0, 1, 2, 3, 130

ROOMS = {
    "motion": ("motion.commands", "motion grades 1-5 of HR-pQCT scans"),
    "spine": ("spinenet.commands", "vertebrae and disc grades in spine MRI"),
    "keypoints": ("keypoints.commands", "vertebral corners and Cobb angles in spine radiographs"),
    "gait": ("gait.commands", "adult spinal deformity from a video of a walk"),
    "movements": ("movements.commands", "infants' general movements from a video"),
    "batch": ("batch.commands", "any system's task over a folder of cases, with Slicer scenes"),
    "models": ("common.model_commands", "model weights: list, add, download, remove"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    use_utf8()
    for name, value in ONE_BLAS_THREAD.items():  # NumPy, imported later, reads it
        os.environ.setdefault(name, value)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = bool(os.environ.get("SPINEMOTION_DEBUG"))
    try:
        options = parser_for(arguments).parse_args(arguments)
        return options.run(options) or DONE
    except SystemExit as stop:  # argparse has printed help or what is wrong with the arguments
        return int(stop.code or 0)
    except (KeyboardInterrupt, Cancelled) as error:
        return _fail(str(error) or "stopped", STOPPED)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        return DONE
    except (SpineMotionError, OSError) as error:
        if debug:
            traceback.print_exc()
        return _fail(str(error), NOT_POSSIBLE)
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = "" if debug else " Set SPINEMOTION_DEBUG=1 and run again for details to report."
        return _fail(f"a fault in SpineMotionTools: {type(error).__name__}: {error}.{hint}", FAULT)


def parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser with the commands of the system that the arguments name; the other systems are only listed."""
    parser = argparse.ArgumentParser(
        prog="spinemotion",
        description="Musculoskeletal and movement imaging. For research use only; not a medical device.",
        epilog="Exit status: 0 done, 2 not possible as asked, 3 some inputs were skipped, 130 stopped.",
    )
    parser.add_argument("--version", action="version", version=f"SpineMotionTools {SpineMotionToolsLib.__version__}")
    rooms = parser.add_subparsers(metavar="SYSTEM", required=True)
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module, title) in ROOMS.items():
        room = rooms.add_parser(name, help=title, description=f"{title[0].upper()}{title[1:]}.")
        if name == wanted:
            commands = room.add_subparsers(metavar="COMMAND", required=True)
            _commands_of(module).add_commands(commands)
    check = rooms.add_parser("check", help="what this computer offers: versions, devices, memory")
    check.set_defaults(run=run_check)
    return parser


def _commands_of(module: str):
    name = f"{SpineMotionToolsLib.__name__}.{module}"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = error.name or str(error)
        raise SpineMotionError(
            f"this system cannot be used: the module {missing} is missing or broken. "
            "Install the package it belongs to, or SpineMotionTools again."
        ) from error


def run_check(options: argparse.Namespace) -> int:
    """Try PyTorch and its devices in a child process and print what was found."""
    from SpineMotionToolsLib.common.jobs import run_job

    found = run_job("common.tasks:torch_check", {})
    print(f"SpineMotionTools {SpineMotionToolsLib.__version__}, Python {found['python']}, {found['system']}")
    print(f"PyTorch {found['torch'] or 'cannot be used: ' + found['torch_error']}")
    print(f"{found['threads']} threads by default, fast bfloat16: {_yes(found['fast_bf16_cpu'])}")
    print(f"memory {found['memory_gib']} GiB, {found['memory_free_gib']} GiB free")
    for device in found["devices"]:
        print(f"device {device['device']}: {device['name']}, {'works' if device['works'] else device['error']}")
    for package, version in found["packages"].items():
        print(f"{package} {version or 'is not installed'}")
    print(f"temporary folder writable: {_yes(found['temporary_folder_writable'])}")
    print(f"models folder writable: {_yes(found['models_folder_writable'])}, {found['disk_free_gib']} GiB free there")
    return DONE


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

"""`spinemotion batch TASK FOLDER --out DIR`: any system's task over a folder, with scenes, resumable."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineMotionToolsLib.common.console import progress_bar, say

SOME_FAILED = 3


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add one command a system."""
    from SpineMotionToolsLib.batch.dicom import SYSTEMS
    from SpineMotionToolsLib.batch.systems import TASKS

    for name, task in TASKS.items():
        text = f"{task.title[0].lower()}{task.title[1:]}: a folder, a scene and a table row a case"
        parser = subparsers.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        parser.set_defaults(run=_run, task=name)
        parser.add_argument("source", type=Path, metavar="FOLDER", help="folder of cases, or one file")
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
        parser.add_argument("--model", default="", metavar="WHICH", help="catalogue id, file or folder of weights")
        parser.add_argument("--again", action="store_true", help="do cases again that are done")
        parser.add_argument("--no-scenes", action="store_true", help="save no Slicer scenes (.mrb)")
        if name in SYSTEMS:
            parser.add_argument(
                "--dicom", action="store_true", help="also DICOM segmentations and reports; cases must be DICOM"
            )
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
        parser.add_argument("--threads", type=int, metavar="N", help="default: one per physical core")
        if name == "motion":
            text = "slices in a stack (default: 168)"
            parser.add_argument("--stack-height", type=int, default=168, metavar="N", help=text)


def _run(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.batch.job import BatchJob
    from SpineMotionToolsLib.batch.journal import FAILED, TABLE_NAME, read_journal, rows_of, summary
    from SpineMotionToolsLib.batch.run import NO_DICOM, NO_SCENE
    from SpineMotionToolsLib.common.errors import Cancelled

    names = ("model", "device", "threads", "stack_height")
    chosen = {name: getattr(options, name) for name in names if getattr(options, name, None) not in (None, "")}
    parameters = {"task": options.task, "source": str(options.source.resolve()), "out": str(options.out.resolve())}
    dicom = getattr(options, "dicom", False)
    parameters |= {"options": chosen, "again": options.again, "scenes": not options.no_scenes, "dicom": dicom}
    with progress_bar("batch") as progress:
        job = BatchJob(parameters, progress)
        try:
            job.wait()
        except (KeyboardInterrupt, Cancelled):
            done = sum(row.status != FAILED for row in rows_of(read_journal(options.out)))
            raise Cancelled(
                f"stopped. Cases done and kept: {done}. The same command without --again goes on with the rest."
            ) from None
        finally:
            job.close()
    rows = rows_of(read_journal(options.out))
    for row in rows:
        say(f"{row.case}: {row.error if row.status == FAILED else row.result}")
        for warning in row.warnings:
            if warning.startswith((NO_SCENE, NO_DICOM)):
                say(f"{row.case}: {warning}")
    say(f"{summary(rows)} Table: {options.out / TABLE_NAME}")
    if any(row.made_from.get("starter") for row in rows):
        say("Starter models: not validated on patients.")
    return SOME_FAILED if any(row.status == FAILED or (dicom and not row.dicom) for row in rows) else 0

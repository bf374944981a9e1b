"""`spinemotion motion review-... export agreement`: reviewing a graded data set from the terminal."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from SpineMotionToolsLib.common.console import say
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion.command_options import add_review_mode


def add_review_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add review-init, review-apply, review-undo, review-clear, review-import, export and agreement."""
    start = _command(subparsers, "review-init", _init, "set threshold and blind mode for scans nobody has graded yet")
    add_review_mode(start)

    apply = _command(subparsers, "review-apply", _apply, "record a person's grade of one scan, or of one of its stacks")
    apply.add_argument("--scan-id", required=True, metavar="ID")
    apply.add_argument("--grade", "--manual-grade", type=int, required=True, metavar="1-5")
    apply.add_argument("--reviewer", required=True, metavar="WHO")
    apply.add_argument("--stack", type=int, metavar="N", help="only this stack, numbered from 1")
    apply.add_argument("--note", default="")

    undo = _command(subparsers, "review-undo", _undo, "take back a reviewer's last grade of a scan")
    undo.add_argument("--scan-id", required=True, metavar="ID")
    undo.add_argument("--reviewer", required=True, metavar="WHO")

    clear = _command(subparsers, "review-clear", _clear, "take grades back; the audit tables keep them")
    clear.add_argument("--reviewer", default="", metavar="WHO", help="only this reviewer's grades")
    clear.add_argument("--scan-id", default="", metavar="ID", help="only this scan")
    clear.add_argument("--yes", action="store_true", help="clear every reviewer's grades of every scan")

    text = "fill in grades of a table for scans that have none"
    bring = _command(subparsers, "review-import", _import, text, aliases=["import-final-grades"])
    bring.add_argument("table", type=Path, help="CSV or TSV with scan_id and final_grade or manual_grade")

    export = _command(subparsers, "export", _export, "write motion_grades.tsv and .csv, and a report")
    export.add_argument("--out", type=Path, metavar="DIR", help="folder for them (default: the results folder)")
    export.add_argument("--unblind", action="store_true", help="show automatic grades that wait for a blind grade")
    export.add_argument("--reviewer", default="", metavar="WHO", help="whose agreement the report states")
    export.add_argument("--no-report", action="store_true", help="write no review_report.html")

    agree = _command(subparsers, "agreement", _agreement, "how well reviewers and networks agree, with intervals")
    agree.add_argument("--reviewer", default="", metavar="WHO", help="only this reviewer")
    agree.add_argument("--json", action="store_true", help="print JSON")


def _command(subparsers, name: str, run: Callable, text: str, aliases: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, aliases=aliases, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("root", type=Path, metavar="ROOT", help="the data set or its results folder")
    parser.add_argument("--model-id", metavar="ID", help="results of this model (default: the latest)")
    parser.set_defaults(run=run)
    return parser


def _session(options: argparse.Namespace, **more):
    from SpineMotionToolsLib.motion.review import ReviewSession

    return ReviewSession(options.root, model_id=options.model_id, **more)


def _init(options: argparse.Namespace) -> int:
    session = _session(options, threshold=options.confidence_threshold, blind=options.training_mode)
    say(f"{len(session.items())} scans, {len(session.items('pending'))} wait for a grade.")
    return 0


def _apply(options: argparse.Namespace) -> int:
    session = _session(options, reviewer=options.reviewer)
    item = session.grade(options.grade, options.note, options.scan_id, options.stack)
    automatic = f"; automatic grade {item.automatic_grade}" if item.automatic_grade is not None else ""
    say(f"{item.scan_id}: grade {options.grade} saved ({item.status_text}{automatic})")
    return 0


def _undo(options: argparse.Namespace) -> int:
    item = _session(options, reviewer=options.reviewer).undo(options.scan_id)
    say(f"{item.scan_id}: {item.status_text}")
    return 0


def _clear(options: argparse.Namespace) -> int:
    if not (options.reviewer or options.scan_id or options.yes):
        raise InputError("This would clear every grade; name --reviewer or --scan-id, or add --yes.")
    say(f"{_session(options).clear(options.reviewer, options.scan_id)} grades cleared; the audit tables keep them.")
    return 0


def _import(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.derivatives import find_results
    from SpineMotionToolsLib.motion.grade_exports import import_final_grades

    counts = import_final_grades(find_results(options.root), options.table, options.model_id)
    say(
        f"{counts.imported} imported, {counts.skipped_existing} kept their grade, {counts.missing_scan} not in this "
        f"data set, {len(counts.invalid)} without a valid grade."
    )
    for line in counts.invalid:
        say(f"  {line}")
    return 3 if counts.invalid else 0


def _export(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.derivatives import find_results
    from SpineMotionToolsLib.motion.grade_exports import export_grades, show_all, waits_for_blind_grade

    root = find_results(options.root)
    hidden = show_all if options.unblind else waits_for_blind_grade
    for path in export_grades(root, options.model_id, hidden, options.out):
        say(f"Wrote {path}")
    if not options.no_report:
        from SpineMotionToolsLib.motion.report import review_report

        path = (options.out or root) / "review_report.html"
        review_report(_session(options, reviewer=options.reviewer)).write(path)
        say(f"Wrote {path}")
    return 0


def _agreement(options: argparse.Namespace) -> int:
    from SpineMotionToolsLib.motion.derivatives import find_results
    from SpineMotionToolsLib.motion.grade_exports import agreement_by_reviewer

    found = agreement_by_reviewer(find_results(options.root), options.model_id)
    if options.reviewer:
        found = {name: comparison for name, comparison in found.items() if name == options.reviewer}
    if not found:
        raise InputError("No scan has both an automatic grade and a reviewer's; grade some scans first.")
    if options.json:
        say(json.dumps({name: comparison.to_json() for name, comparison in found.items()}, indent=2))
    else:
        for name, comparison in found.items():
            say(f"{name}: {comparison.text()}")
    return 0

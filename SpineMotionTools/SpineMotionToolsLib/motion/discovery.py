"""Find the scans of a data set and say which subject, site, session and stack each one is.

Names are read as the published pipeline reads them, its surprises included, so the result is a table to look at and
edit before anything is scored (`Discovery.to_csv`, `read_scan_table`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import safe_name
from SpineMotionToolsLib.common.tables import read_sheet
from SpineMotionToolsLib.motion.scan_headers import is_derived, parse_log
from SpineMotionToolsLib.motion.scan_names import (
    NameParts,
    aim_version,
    excluded_word,
    is_aim,
    parse_grammar,
    parse_split,
    parse_stem,
    scan_stem,
)

FORMATS = {
    "aim": (".aim",),
    "isq": (".isq",),
    "volumes": (".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz"),
}
TABLE_COLUMNS = ("use", "subject", "site", "session", "stack", "raw_image_path", "folder", "found_by", "note")


def scan_id(subject: str, site: str, session: str, path: str) -> str:
    """A scan's id: its names and ten hex digits that follow from them and the absolute path.

    Moving the data therefore changes the id, as in the published pipeline.
    """
    text = f"{subject}|{site}|{session}|{path}".encode(errors="surrogateescape")  # names need not be UTF-8
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return f"sub-{subject}_site-{site}_ses-{session}_{digest[:10]}"


@dataclass(frozen=True)
class Scan:
    """One scan to score; `folder` is where its results go, relative to the results root."""

    path: Path
    folder: str
    parts: NameParts

    @property
    def scan_id(self) -> str:
        return scan_id(self.parts.subject, self.parts.site, self.parts.session, str(self.path))

    @property
    def group(self) -> tuple[str, str, str, int]:
        """What makes two files the same scan."""
        stack = -1 if self.parts.stack is None else self.parts.stack
        return self.parts.subject, self.parts.site, self.parts.session, stack


@dataclass(frozen=True)
class LeftOut:
    """A file that is not scored, and why; `conflict` when a person has to decide."""

    scan: Scan
    reason: str
    conflict: bool = False


@dataclass(frozen=True)
class Discovery:
    """The scans below `root` in order of subject, site, session and stack, and the files left out."""

    root: Path
    scans: tuple[Scan, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def conflicts(self) -> tuple[LeftOut, ...]:
        return tuple(item for item in self.left_out if item.conflict)

    def to_csv(self) -> str:
        """The table as CSV text; edit it and read it back with `read_scan_table`."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(TABLE_COLUMNS)
        for scan in self.scans:
            writer.writerow(self._row("yes", scan, ""))
        for item in self.left_out:
            writer.writerow(self._row("no", item.scan, item.reason))
        return text.getvalue()

    def _row(self, use: str, scan: Scan, note: str) -> list[str]:
        parts = scan.parts
        stack = "" if parts.stack is None else str(parts.stack)
        path = _below(scan.path, self.root)
        return [use, parts.subject, parts.site, parts.session, stack, path, scan.folder, parts.found_by, note]


def discover(
    source: Path,
    formats: Iterable[str] = ("aim",),
    strict: bool = False,
    header_first: bool = False,
    exclude: Path | None = None,
) -> Discovery:
    """Find the scans in a folder (searched to the bottom) or take one file.

    `formats` are keys of `FORMATS`. `header_first` trusts the file's header more than its name. Files that claim to be
    the same scan are left out and reported, or an InputError when `strict`. `exclude` is a results folder to stay out
    of; `derivatives/MotionScore` is always left alone. Raises InputError when nothing is there.
    """
    source = Path(source).expanduser()
    if not source.exists():
        raise InputError(f"{source} does not exist; give a folder of scans or one scan file.")
    source = source.resolve()
    root = source if source.is_dir() else source.parent
    formats = list(formats)
    suffixes = tuple(suffix for name in formats for suffix in FORMATS[name])
    files = _files_below(root, exclude) if source.is_dir() else [source]
    candidates, left_out = [], []
    for path in (path for path in files if _has_suffix(path.name, suffixes)):
        scan, reason = _read_scan(path, root, header_first)
        if not _is_text(path):
            reason = "the path holds bytes that are no characters; rename the file or its folder"
            left_out.append(LeftOut(scan, reason, conflict=True))
        elif reason:
            left_out.append(LeftOut(scan, reason))
        else:
            candidates.append(scan)
    scans, doubles = _one_file_per_scan(candidates, root)
    if strict and any(item.conflict for item in doubles):
        raise InputError(next(item.reason for item in doubles if item.conflict))
    return Discovery(root, tuple(scans), (*left_out, *doubles))


def discover_first_format(source: Path, header_first: bool = False, exclude: Path | None = None) -> Discovery:
    """The AIM files; where there are none, the ISQ files; where there are none either, other volumes.

    Scans of the other formats are left out and listed, as a subject may have nothing else.
    """
    for number, name in enumerate(FORMATS, start=1):
        found = discover(source, [name], header_first=header_first, exclude=exclude)
        if found.scans or found.conflicts:
            others = discover(source, list(FORMATS)[number:], header_first=header_first, exclude=exclude)
            reason = f"the folder was read for its {name} files; to grade this too, add --formats {','.join(FORMATS)}"
            scans = [*others.scans, *(item.scan for item in others.conflicts)]
            return replace(found, left_out=(*found.left_out, *(LeftOut(scan, reason) for scan in scans)))
    return found


def scan_files(source: Path) -> list[Path]:
    """Every scan file of any format in a folder, in the order of their names, whatever those say about subjects."""
    found = discover(source, FORMATS)
    return sorted([scan.path for scan in found.scans] + [item.scan.path for item in found.conflicts])


def _files_below(root: Path, exclude: Path | None) -> list[Path]:
    found = []
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if here / name != exclude and not _is_results(here / name))
        found += [here / name for name in sorted(names)]
    return found


def _is_text(path: Path) -> bool:
    """Whether a table in UTF-8 can hold the path."""
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


def _is_results(folder: Path) -> bool:
    return folder.name == "MotionScore" and folder.parent.name == "derivatives"


def _has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    return (is_aim(name) and ".aim" in suffixes) or name.lower().endswith(suffixes)


def _read_scan(path: Path, root: Path, header_first: bool) -> tuple[Scan, str]:
    """The scan a file is taken for, and why it is left out ("" when it is not)."""
    stem = scan_stem(path.name)
    if word := excluded_word(path.name):
        parts = parse_grammar(stem) or parse_split(stem) or parse_stem(stem)
        return Scan(
            path, _folder(path, root), parts
        ), f"the name contains '{word}': taken for a mask or another product"
    log = ""
    if is_aim(path.name):
        try:
            log = _read_aim_log(path)
        except InputError:
            log = ""  # an unreadable header is reported when the scan is graded
    by_name, by_header = parse_grammar(stem) or parse_split(stem), parse_log(log)
    parts = (by_header or by_name if header_first else by_name or by_header) or parse_stem(stem)
    derived = is_derived(log)
    if derived is None:
        derived = parts.derived
    scan = Scan(path, _folder(path, root), parts)
    return scan, "a mask or another product of a scan, by its name or header" if derived else ""


def _read_aim_log(path: Path) -> str:
    from SpineMotionToolsLib.motion.scanco import read_header

    return read_header(path).log


def _folder(path: Path, root: Path) -> str:
    return scan_stem(path.name) if path.parent == root else path.parent.relative_to(root).as_posix()


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _one_file_per_scan(candidates: list[Scan], root: Path) -> tuple[list[Scan], list[LeftOut]]:
    """One file for each scan: the unversioned name or else the highest version; anything else is a conflict."""
    by_name: dict[tuple[Path, str], list[Scan]] = {}
    for scan in candidates:
        by_name.setdefault((scan.path.parent, scan_stem(scan.path.name)), []).append(scan)
    left_out, groups = [], {}
    for versions in by_name.values():
        aims = [scan for scan in versions if is_aim(scan.path.name)]
        best = max(aims or versions, key=_preference)
        left_out += [LeftOut(scan, f"{best.path.name} is used instead") for scan in versions if scan is not best]
        groups.setdefault(best.group, []).append(best)
    scans = []
    for group in sorted(groups):
        members = groups[group]
        if len(members) == 1:
            scans.append(members[0])
            continue
        subject, site, session, stack = group
        names = ", ".join(_below(scan.path, root) for scan in members)
        what = f"subject {subject}, site {site}, session {session}" + (f", stack {stack}" if stack >= 0 else "")
        reason = f"{len(members)} files claim to be {what}: {names}. Rename them, or edit the table of scans."
        left_out += [LeftOut(scan, reason, conflict=True) for scan in members]
    return scans, left_out


def _preference(scan: Scan) -> tuple[bool, int]:
    version = aim_version(scan.path.name)
    return version is None, version or 0


def read_scan_table(table: Path, root: Path) -> Discovery:
    """The scans of an edited table of scans: rows whose `use` is yes, with the names the user has put in.

    Raises InputError naming the line of a missing file, an empty subject, or two rows for the same scan.
    """
    root = Path(root).expanduser().resolve()
    root = root if root.is_dir() else root.parent
    scans, left_out, lines = [], [], {}
    for line, row in enumerate(_table_rows(table), start=2):
        path = (root / row["raw_image_path"]).resolve()
        stack = row["stack"].strip()
        if not row["subject"].strip() or not row["raw_image_path"].strip() or (stack and not stack.isdecimal()):
            raise InputError(f"Line {line} of {table} needs a subject, a path and a stack that is a number or empty.")
        names = row["subject"] + row["site"] + row["session"]
        if safe_name(names) != names.strip():
            raise InputError(
                f"Line {line} of {table}: subject, site and session become file names; use no / \\ : * ? < > |."
            )
        parts = NameParts(
            subject=row["subject"].strip(),
            site=row["site"].strip() or NameParts.site,
            session=row["session"].strip() or NameParts.session,
            stack=int(stack) if stack else None,
            found_by="table",
        )
        scan = Scan(path, row["folder"].strip() or "", parts)
        if not scan.folder or _escapes(scan.folder):
            scan = replace(scan, folder=_folder(path, root) if path.is_relative_to(root) else scan_stem(path.name))
        if row["use"].strip().lower() not in ("yes", "y", "1", "true"):
            left_out.append(LeftOut(scan, row["note"]))
            continue
        if not path.is_file():
            raise InputError(f"Line {line} of {table}: {path} is not there. Correct the path or set use to no.")
        if scan.group in lines:
            raise InputError(
                f"Lines {lines[scan.group]} and {line} of {table} are the same subject, site, session and stack; "
                "change one or set its use to no."
            )
        lines[scan.group] = line
        scans.append(scan)
    return Discovery(root, tuple(sorted(scans, key=lambda scan: scan.group)), tuple(left_out))


def _table_rows(table: Path) -> list[dict[str, str]]:
    try:
        names, rows = read_sheet(Path(table))
    except FileNotFoundError as error:
        raise InputError(f"{table} does not exist. Check the name.") from error
    missing = [name for name in ("use", "subject", "raw_image_path") if name not in names]
    if missing:
        raise InputError(f"{table} has no column {', '.join(missing)}; start from `spinemotion motion discover`.")
    return [{name: row.get(name, "") for name in TABLE_COLUMNS} for row in rows]


def _escapes(folder: str) -> bool:
    """True for a result folder outside the results root."""
    path = Path(folder)
    return path.is_absolute() or ".." in path.parts

"""What a scan's file name says: subject, site, session, stack, and whether it is an image or something derived."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The grammar: the shortest subject that lets the rest fit, then optionally a site, then optionally a stack, then a
# session (a letter, then letters and digits), then anything. "SUBJ_A_DT_T1" is therefore subject SUBJ, session A.
_GRAMMAR = re.compile(
    r"(?P<subject>.+?)(?:_(?P<site>DR|DT|KN|RL|RR|TL|TR|KL|KR|RADIUS|TIBIA|KNEE))?(?:_STACK(?P<stack>\d+))?"
    r"_(?P<session>[A-Z][A-Z0-9]*)(?:_(?P<rest>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_AIM = re.compile(r"\.aim(?:;(?P<version>\d+))?$", re.IGNORECASE)

_SITES = {
    **dict.fromkeys(("DR", "RAD", "RADIUS"), "radius"),
    **dict.fromkeys(("DT", "TIB", "TIBIA"), "tibia"),
    **dict.fromkeys(("KN", "KNEE"), "knee"),
    **{"RL": "radius_left", "RR": "radius_right", "TL": "tibia_left", "TR": "tibia_right"},
    **{"KL": "knee_left", "KR": "knee_right"},
}
DEFAULT_SITE, DEFAULT_SESSION = "tibia", "T1"

_BASELINE = re.compile(r"(?:BL|BASELINE)1?", re.IGNORECASE)
_FOLLOW_UP = re.compile(r"(?:FL|FU|FOLLOWUP)(\d*)", re.IGNORECASE)

EXCLUDED_WORDS = ("mask", "trab", "cort", "full", "regmask", "seg", "roi")
"""A file whose name contains one of these is a mask or a product, never a scan."""
_DERIVED_TOKEN = re.compile(r"TRAB|CORT|FULL|REGMASK|REG|SEG|ROI.*|MASK.*", re.IGNORECASE)


@dataclass(frozen=True)
class NameParts:
    """What a name was taken to say; `derived` marks masks and other products of a scan."""

    subject: str
    site: str = DEFAULT_SITE
    session: str = DEFAULT_SESSION
    stack: int | None = None
    derived: bool = False
    found_by: str = "name"


def is_aim(name: str) -> bool:
    """True for `.aim` in any case, with or without a version suffix (`;1`)."""
    return _AIM.search(name) is not None


def aim_version(name: str) -> int | None:
    """The number behind `;`, None when there is none."""
    match = _AIM.search(name)
    return int(match["version"]) if match and match["version"] else None


def scan_stem(name: str) -> str:
    """The file name without its image suffix and version."""
    stem = _AIM.sub("", name)
    if stem == name:
        stem = re.sub(r"(?:\.nii\.gz|\.[^.]+)$", "", name, flags=re.IGNORECASE)
    return stem or name


def excluded_word(name: str) -> str:
    """The word that keeps a file out of scoring, empty when there is none."""
    return next((word for word in EXCLUDED_WORDS if word in name.lower()), "")


def site_name(code: str | None) -> str:
    """The site a code stands for; an unknown code in lower case, tibia without one."""
    return _SITES.get(code.upper(), code.lower()) if code else DEFAULT_SITE


def session_name(code: str) -> str:
    """Baselines are T1, follow-up n is T(n+1); everything else stays as it is."""
    if _BASELINE.fullmatch(code):
        return "T1"
    if follow_up := _FOLLOW_UP.fullmatch(code):
        return f"T{int(follow_up[1] or 1) + 1}"
    return code


def parse_grammar(stem: str) -> NameParts | None:
    """The name read by the grammar subject[_site][_STACKn]_session[_rest]."""
    match = _GRAMMAR.fullmatch(stem)
    if match is None:
        return None
    return NameParts(
        subject=match["subject"],
        site=site_name(match["site"]),
        session=session_name(match["session"]),
        stack=int(match["stack"]) if match["stack"] else None,
        derived=_is_derived(match["rest"] or ""),
    )


def parse_split(stem: str) -> NameParts | None:
    """The name read from its end: ..._site_session, stack and mask parts left out; None with fewer than three parts."""
    parts, stack, derived = [], None, False
    for part in stem.split("_"):
        if number := re.fullmatch(r"STACK(\d+)", part, re.IGNORECASE):
            stack = int(number[1])
        elif _DERIVED_TOKEN.fullmatch(part):
            derived = True
        else:
            parts.append(part)
    if len(parts) < 3:
        return None
    subject = "_".join(parts[:-2])
    return NameParts(subject, site_name(parts[-2]), session_name(parts[-1]), stack, derived, found_by="split")


def parse_stem(stem: str) -> NameParts:
    """The whole name as subject, at the default site and session."""
    return NameParts(stem, derived=_is_derived(stem), found_by="stem")


def _is_derived(text: str) -> bool:
    """True when a part of the name is a mask's or another product's."""
    return any(_DERIVED_TOKEN.fullmatch(part) for part in text.split("_"))

"""SNOMED CT codes and colors of vertebrae and intervertebral discs, by level ("L4", "L4-L5").

Vertebrae: DICOM PS3.16 CID 7603; discs: CID 7604; planes at the level of a disc, for what lies beside it: CID 1003.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept: value, meaning for people, and the scheme that defines the value ("SCT" is SNOMED CT)."""

    value: str
    meaning: str
    scheme: str = "SCT"


VERTEBRA = Code("51282000", "Vertebra")
DISC = Code("360499006", "Intervertebral disc")
SPINE = Code("421060004", "Spine")

VERTEBRA_VALUES = {
    "C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002", "C5": "36978003", "C6": "36054005",
    "C7": "87391001", "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006",
    "T6": "45296009", "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004",
    "T12": "23215003", "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
    "S1": "65985001",
}  # fmt: skip
DISC_VALUES = {
    "C2-C3": "1078209008", "C3-C4": "58820006", "C4-C5": "49400002", "C5-C6": "73959003", "C6-C7": "75095006",
    "C7-T1": "37414007", "T1-T2": "40908007", "T2-T3": "6004007", "T3-T4": "2620004", "T4-T5": "82965004",
    "T5-T6": "72692000", "T6-T7": "74401007", "T7-T8": "28693002", "T8-T9": "9188009", "T9-T10": "113209001",
    "T10-T11": "34959001", "T11-T12": "1537001", "T12-L1": "76206002", "L1-L2": "80064006", "L2-L3": "67459009",
    "L3-L4": "62551000", "L4-L5": "84020006", "L5-S1": "715056000",
}  # fmt: skip
DISC_PLANE_VALUES = {
    "C2-C3": "243902007", "C3-C4": "243903002", "C4-C5": "243904008", "C5-C6": "243905009", "C6-C7": "243906005",
    "C7-T1": "243925008", "T1-T2": "243908006", "T2-T3": "243909003", "T3-T4": "243910008", "T4-T5": "243911007",
    "T5-T6": "243912000", "T6-T7": "243913005", "T7-T8": "243914004", "T8-T9": "243915003", "T9-T10": "243916002",
    "T10-T11": "243917006", "T11-T12": "243918001", "T12-L1": "243926009", "L1-L2": "243920003",
    "L2-L3": "243921004", "L3-L4": "243922006", "L4-L5": "243923001", "L5-S1": "243927000",
}  # fmt: skip

VERTEBRA_COLORS = {"C": (255, 255, 207), "T": (226, 202, 134), "L": (212, 188, 102), "S": (212, 208, 122)}
"""Recommended RGB of cervical, thoracic, lumbar and sacral vertebrae: those of TotalSegmentator's list."""
DISC_COLOR = (111, 184, 210)


def vertebra_code(level: str) -> Code:
    """The code of a vertebra; a level that SNOMED CT has no code for (T13, L6, S2) is a vertebra."""
    return Code(VERTEBRA_VALUES[level], f"{level} vertebra") if level in VERTEBRA_VALUES else VERTEBRA


def disc_code(level: str) -> Code:
    """The code of a disc such as "L4-L5"; a level without a code of its own is an intervertebral disc."""
    return Code(DISC_VALUES[level], f"{level.replace('-', '/')} disc") if level in DISC_VALUES else DISC


def disc_plane_code(level: str) -> Code:
    """The code of the plane at the level of a disc, for foramina and slips; without one, the disc's code."""
    if level not in DISC_PLANE_VALUES:
        return disc_code(level)
    return Code(DISC_PLANE_VALUES[level], f"Level of {level.replace('-', '/')} intervertebral disc")


def vertebra_color(level: str) -> tuple[int, int, int]:
    """RGB of a vertebra."""
    return VERTEBRA_COLORS.get(level[:1], VERTEBRA_COLORS["L"])

"""What an AIM processing log says about a scan: subject, site, measurement, and whether the file is an image."""

from __future__ import annotations

import re

from SpineMotionToolsLib.motion.scan_names import DEFAULT_SITE, NameParts

# Scanco's codes for the measured site.
_SITE_CODES = {20: "radius_left", 21: "radius_right", 38: "tibia_left", 29: "tibia_right"}


def log_fields(log: str) -> dict[str, str]:
    """Keys and values of a processing log: lines of key, two or more blanks, value; `!` starts a comment."""
    fields: dict[str, str] = {}
    for line in log.splitlines():
        if line.lstrip().startswith("!"):
            continue
        parts = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        if len(parts) == 2 and parts[0] not in fields:
            fields[parts[0]] = parts[1].strip()
    return fields


def parse_log(log: str) -> NameParts | None:
    """Subject (`Index Patient`), site (`Site`) and session (`M` and `Index Measurement`); None without a patient index.

    The patient's name, which stands in the same log, is never read.
    """
    fields = log_fields(log)
    patient = re.match(r"\d+", fields.get("Index Patient", ""))
    if not patient:
        return None
    site = re.match(r"\d+", fields.get("Site", ""))
    measurement = re.match(r"\d+", fields.get("Index Measurement", ""))
    return NameParts(
        subject=patient[0],
        site=_SITE_CODES.get(int(site[0]), f"site{site[0]}") if site else DEFAULT_SITE,
        session=f"M{measurement[0]}" if measurement else "T1",
        derived=is_derived(log) or False,
        found_by="header",
    )


def is_derived(log: str) -> bool | None:
    """False for a scan as acquired, True for a product such as a mask, None when the log does not tell."""
    upper = log.upper()
    original = log_fields(log).get("Original file", "").upper()
    if "ORIG-ISQ" in upper or re.search(r"\.ISQ(;\d+)?$", original) or "ISQ_TO_AIM" in upper:
        return False
    if "AIMPEEL" in upper or ("CREATEAIM" in upper and "MASK" in upper) or ("SEG" in upper and "CREATED BY" in upper):
        return True
    return None

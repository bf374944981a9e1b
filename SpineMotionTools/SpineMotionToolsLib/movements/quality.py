"""The gate of the general-movements system: what a video must have before it is scored, and what is only told."""

from __future__ import annotations

import numpy as np

from SpineMotionToolsLib.common.video import Video
from SpineMotionToolsLib.common.video_quality import Check, frame_checks, look_at
from SpineMotionToolsLib.movements.chunks import CHUNK_SPACING, FRAME_RATE_HZ, chunk_at
from SpineMotionToolsLib.movements.preparing import Masking, TrunkSearch

LEAST_RATE_HZ = 12.0
LEAST_SIDE_PX = 160
USUAL_S = 60.0
LEAST_FOUND = 0.25
LEAST_TRUNK_PX = 20
AGES_WEEKS = (-12.0, 20.0)  # preterm writhing age to the end of the fidgety age
WRITHING_UNTIL_WEEKS, FIDGETY_FROM_WEEKS = 9.0, 6.0
COVERAGE = (0.02, 0.7)


def before(video: Video, age_weeks: float | None) -> list[Check]:
    """Checks that need no search for the infant."""
    least_s = (chunk_at(1).frames[-1] + 1) / FRAME_RATE_HZ
    checks = [*frame_checks(video, LEAST_RATE_HZ, round(least_s, 2), LEAST_SIDE_PX), _age(age_weeks)]
    duration = float(video.duration_s)
    longer = duration > USUAL_S + CHUNK_SPACING / FRAME_RATE_HZ
    checks.append(
        Check(
            "Usual length",
            f"{duration:.0f} s",
            f"{USUAL_S:g} s, which give 12 scored seconds",
            duration >= USUAL_S - 1 and not longer,
            stops=False,
            advice="Only the first minute is scored, as published: cut the video to the minute that counts."
            if longer
            else "Fewer seconds are scored, so the answer is less certain.",
        )
    )
    if all(check.passed or not check.stops for check in checks):
        checks += look_at(video).checks()
    return checks


def _age(age_weeks: float | None) -> Check:
    low, high = AGES_WEEKS
    asked = f"{low:g} to {high:g} weeks after term"
    if age_weeks is None:
        return Check(
            "Age", "not entered", asked, False, stops=False,
            advice="Enter the age after term: the patterns mean something at writhing and fidgety ages only.",
        )  # fmt: skip
    return Check(
        "Age",
        f"{age_weeks:g} weeks after term",
        asked,
        low <= age_weeks <= high,
        advice="General movements are assessed up to about 20 weeks after term.",
    )


def after(search: TrunkSearch, masking: Masking, by_hand: bool) -> list[Check]:
    """Checks of what was found."""
    checks = []
    if not by_hand:
        found = 100 * search.found
        checks.append(
            Check(
                "Infant found",
                f"in {found:.0f} % of the frames looked at",
                f"at least {100 * LEAST_FOUND:.0f} %",
                search.adjustment is not None and search.found >= LEAST_FOUND,
                advice="Place the four torso points by hand, or choose another body-point model.",
            )
        )
        several = 100 * search.several / max(search.looked, 1)
        checks.append(
            Check(
                "Several people",
                f"in {several:.0f} % of the frames looked at",
                "at most 20 %",
                several <= 20,
                stops=False,
                advice="Only the infant should be in view; frames with others are not used.",
            )
        )
    if search.adjustment is not None:
        length = search.adjustment.trunk.length_px
        checks.append(
            Check(
                "Trunk length",
                f"{length:.0f} pixels",
                f"at least {LEAST_TRUNK_PX}",
                length >= LEAST_TRUNK_PX,
                advice="Film from nearer, or use the original video.",
            )
        )
    if masking.coverage:
        share = float(np.median(masking.coverage))
        checks.append(
            Check(
                "Infant stands out",
                f"{100 * share:.0f} % of the picture",
                f"{100 * COVERAGE[0]:.0f} to {100 * COVERAGE[1]:.0f} %",
                COVERAGE[0] <= share <= COVERAGE[1],
                advice="The infant looks like the background: draw an outline, or film on a sheet of another color.",
            )
        )
    return checks


def fits_age(age_weeks: float | None, predicted: int | None) -> Check | None:
    """A warning when the found class does not belong to the age: fidgety too early, writhing too late."""
    if age_weeks is None or predicted is None:
        return None
    early = predicted == 1 and age_weeks < FIDGETY_FROM_WEEKS
    late = predicted == 0 and age_weeks > WRITHING_UNTIL_WEEKS
    if not (early or late):
        return None
    usual = (
        f"fidgety movements begin at about {FIDGETY_FROM_WEEKS:g} weeks"
        if early
        else f"writhing movements end by about {WRITHING_UNTIL_WEEKS:g} weeks"
    )
    return Check(
        "Class and age", f"{age_weeks:g} weeks after term", usual, False, stops=False,
        advice="The class does not belong to this age: look at the video yourself.",
    )  # fmt: skip

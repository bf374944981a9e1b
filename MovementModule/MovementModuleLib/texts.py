"""What the panel says about a video and its scores, as rich text."""

import html

from slicer.i18n import tr as _


def videoText(sequenceNode, problem):
    """The original: size, rate, length and file name, and what is wrong with it."""
    from SpineMotionToolsLib.scene.nodes import attribute

    record = attribute(sequenceNode, "Video", {})
    if not record:
        return _("Frames without a file: they are scored as they are in the scene.")
    text = _("{width} x {height} pixels, {rate:.4g} frames/s, {seconds:.1f} s; 1 frame in {step} is shown.").format(
        width=record["width_px"],
        height=record["height_px"],
        rate=record["frame_rate_hz"],
        seconds=record["duration_s"],
        step=(record["shown_frames"][1] - record["shown_frames"][0]) if len(record["shown_frames"]) > 1 else 1,
    )
    lines = [text, *map(html.escape, record["notes"])]
    if problem:
        lines.append("<b>" + html.escape(problem) + "</b>")
    return "<br>".join(lines)


def warningsText(result, problems=()):
    """What to know before trusting the result: what went wrong, that the model is a starter, what was poor."""
    from SpineMotionToolsLib.scene.video_results import is_scored

    if result is None:
        return _warned(problems)
    lines, scored = [*problems], is_scored(result)
    if result.provenance.starter:
        lines.append(_("Starter model, phantom-trained: it knows drawn figures only and is not validated on patients."))
    lines += [] if scored else [_("Not scored.") + " " + result.why_not]
    if scored and any(check.stops and not check.passed for check in result.checks):
        lines.append(_("Scored in spite of poor quality."))
        lines += [check.sentence for check in result.checks if check.stops and not check.passed]
    lines += result.warnings
    return _warned(lines)


def _warned(lines):
    return "<br>".join("\u26a0 " + html.escape(line) for line in dict.fromkeys(lines))


def qualityText(result):
    """What was found by the checks of the video; of those that failed, what is asked too."""
    if result is None or not result.checks:
        return ""
    passed = [f"\u2713 {check.name}: {check.value}" for check in result.checks if check.passed]
    failed = [
        _("\u26a0 {name}: {value} (asked: {asked})").format(name=check.name, value=check.value, asked=check.asked)
        for check in result.checks
        if not check.passed
    ]
    lines = [_("Quality of the video:"), *failed, " \u00b7 ".join(passed)]
    return "<br>".join(html.escape(line) for line in lines if line)


def askedText(result):
    """What is asked of the video by each check, for a tooltip."""
    checks = result.checks if result is not None else ()
    lines = [_("{name}: {asked}").format(name=check.name, asked=check.asked) for check in checks]
    return "<br>".join(html.escape(line) for line in [_("What is asked of a video:"), *lines])


def answerText(result, parameterNode):
    """The answer in large letters, its numbers, and what they mean."""
    from SpineMotionToolsLib.scene.nodes import has_text_of
    from SpineMotionToolsLib.scene.video_results import is_scored

    if result is None:
        if parameterNode and has_text_of(parameterNode.result, parameterNode.inputVideo):
            return _("The scores were made by a newer version or are damaged. Press Apply to make them again.")
        return _("Not scored yet.")
    if not is_scored(result):
        return _large(_("Not scored")) + "<br>" + html.escape(result.why_not)
    return gaitText(result) if result.provenance.system == "gait" else movementsText(result)


def gaitText(result):
    """P(ASD) and P(non-ASD) of a walk."""
    meaning = {
        "ASD": _("The network speaks for adult spinal deformity (ASD)."),
        "non-ASD": _("The network speaks against adult spinal deformity (ASD)."),
    }.get(result.answer, _("Undecided: P(ASD) from 0.4 to 0.6 is no answer."))
    spread = "" if result.spread is None else _(", SD {sd:.2f}").format(sd=result.spread)
    return "<br>".join(
        [
            _large(_("P(ASD) {p:.2f}").format(p=result.p_asd)),
            _("P(non-ASD) {p:.2f}, the network's own output").format(p=result.p_non_asd),
            meaning,
            _("Mean of {n} clips{spread}.").format(n=len(result.clips), spread=spread),
        ]
    )


def movementsText(result):
    """The pattern of an infant's movements with the probability of each."""
    from SpineMotionToolsLib.movements.scores import CLASS_NAMES, CLASS_TITLES

    shares = [
        _("P({name}, {title}) {p:.2f}").format(name=name, title=title, p=float(share))
        for name, title, share in zip(CLASS_NAMES, CLASS_TITLES, result.mean_probabilities)
    ]
    counted = _("Mean of {n} scored seconds, one in five.").format(n=len(result.chunks))
    scope = _("Only these three patterns are known: no cramped-synchronized, chaotic or absent fidgety movements.")
    return "<br>".join([_large(result.answer.capitalize()), *shares, counted, scope])


def _large(text):
    return "<span style='font-size:xx-large'><b>" + html.escape(text) + "</b></span>"


def timeText(video, result):
    """The frame that is shown, and the score of its clip."""
    from SpineMotionToolsLib.scene.video_results import clip_at, curves, is_scored

    text = _("{time:.2f} s, frame {frame}").format(time=video.time_s, frame=video.frame)
    if not is_scored(result):
        return text
    number = clip_at(result, video.time_s)
    if number is None:
        return text + ": " + _("between scored clips")
    return text + ": " + ", ".join(f"{name} {values[number]:.2f}" for name, _color, values in curves(result))


def marksText(kind, placed, times, way, isShown):
    """What was placed by hand, and the next step."""
    if placed:
        shown = ", ".join(f"{time:.1f}" for time in times)
        what = _("Region drawn at {times} s.") if kind == "region" else _("Torso points placed at {times} s.")
        used = way in ("region", "manual")
        unused = (
            _("It only points at the patient among several persons.")
            if kind == "region"
            else _("Not used: choose 'placed by hand'.")
        )
        return what.format(times=shown) + ("" if used else " " + unused)
    if way == "region":
        return _("Go to a frame with the patient, press 'Draw here', and drag the box around the whole patient.")
    if way == "manual":
        return _("Press 'Place here', and drag the four points to shoulders and hips. Right is the infant's right.")
    if isShown:
        return _("Blue: found. Drag it where it is wrong, and press Apply again.")
    return ""

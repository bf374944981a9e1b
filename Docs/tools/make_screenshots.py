"""Draw the guide's screenshots from the real panels in the headless application: `make screenshots`.

Each module has a function here that does what its tutorial says; so the pictures stay true.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURES = REPOSITORY / "Docs" / "pictures"
sys.path.insert(0, str(REPOSITORY))


def home(headless):
    host = headless.open_module("SpineMotionTools")
    host.ui.modelsTable.selectRow(0)
    host.grab(PICTURES / "home.png", width=420)
    host.grab(PICTURES / "home-narrow-dark.png", width=325, style="dark")


def motion_score(headless):
    host = headless.open_module("MotionScore")
    host.click("sampleButton")
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.ui.gradeTableView.selectRow(20)
    host.process(0.2)
    host.screenshot_with_views(PICTURES / "motion-score.png", views=("Red", "Plot", "Green"), size=(1280, 1040))
    host.click("attentionButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.screenshot_with_views(
        PICTURES / "motion-score-attention.png", views=("Red", "Plot", "Green"), size=(1280, 1040)
    )
    host.grab(PICTURES / "motion-score-narrow-dark.png", width=325, style="dark")


def keypoints(headless):
    from Testing.headless import start

    host = headless.open_module("KeypointModule")
    host.click("sampleButton")
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.screenshot_with_views(PICTURES / "keypoints.png", views=("Red",), size=(1280, 1330))
    session, view = host.widget.session(), start().layoutManager().sliceWidget("Red").sliceView()
    host.click("nextButton")
    x, y = view.xy(session.nodes.node("corners").GetNthControlPointPositionWorld(session.reading.next_keypoint))
    view.drag((x, y), (x + 12, y + 6))
    host.wait(lambda: not session.busy, timeout=60)
    host.screenshot_with_views(PICTURES / "keypoints-corrected.png", views=("Red",), size=(1280, 1330))
    host.grab(PICTURES / "keypoints-narrow-dark.png", width=325, style="dark")


SCREENSHOTS = {"home": home, "motion": motion_score, "keypoints": keypoints}


def main(names: list[str]) -> None:
    from Testing import headless

    headless.start()
    for module in ("MotionScore", "SpineNetModule", "KeypointModule", "MovementModule"):
        if (REPOSITORY / module / f"{module}.py").exists():
            headless.open_module(module)  # so that the start page shows its button
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in names or SCREENSHOTS:
        headless.start().mrmlScene().Clear(0)
        SCREENSHOTS[name](headless)
        print(f"{name}: done")


if __name__ == "__main__":
    main(sys.argv[1:])

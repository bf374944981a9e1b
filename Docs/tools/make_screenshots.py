"""Draw the guide's screenshots from the real panels in the headless application: `make screenshots`.

Each module has a function here that does what its tutorial says; so the pictures stay true.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURES = REPOSITORY / "Docs" / "pictures"
sys.path.insert(0, str(REPOSITORY))


def home(headless):
    host = headless.open_module("SpineMotionTools")
    host.ui.batchCollapsibleButton.collapsed = True
    host.ui.modelsTable.selectRow(0)
    host.grab(PICTURES / "home.png", width=420)


def batch(headless):
    """Three made scans and a damaged file, in folders with short names."""
    from SpineMotionToolsLib.phantoms.hrpqct import write_phantom_aim

    with tempfile.TemporaryDirectory() as folder:
        scans, results = Path(folder, "scans"), Path(folder, "results")
        scans.mkdir()
        for number, grades in enumerate(((1, 1, 2), (2, 4, 3), (5, 4, 5)), start=1):
            write_phantom_aim(scans / f"C000{number}.AIM", seed=number, grades=grades, slices=12, size=200)
        (scans / "C0004.AIM").write_bytes((scans / "C0003.AIM").read_bytes()[:5000])
        host = headless.open_module("SpineMotionTools")
        node = host.widget._parameterNode
        node.inputFolder, node.outputFolder, node.stackHeight = scans, results, 4
        others = [getattr(host.ui, f"{name}CollapsibleButton") for name in ("modules", "models", "check")]
        host.ui.batchCollapsibleButton.collapsed = False
        for section in others:
            section.collapsed = True
        host.click("batchButton")
        host.wait(lambda: not host.widget.batch.jobs.running, timeout=900)
        host.ui.batchTable.selectRow(1)
        host.grab(PICTURES / "batch.png", width=420)
        for section in others:
            section.collapsed = False


def motion_score(headless):
    host = headless.open_module("MotionScore")
    host.click("sampleButton")
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.ui.gradeTableView.selectRow(20)
    host.process(0.2)
    host.screenshot_with_views(PICTURES / "motion-score.png", views=("Red", "Plot", "Green"), size=(1280, 1130))
    host.click("attentionButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.screenshot_with_views(
        PICTURES / "motion-score-attention.png", views=("Red", "Plot", "Green"), size=(1280, 1130)
    )


def spinenet(headless):
    host = headless.open_module("SpineNetModule")
    host.click("sampleButton")
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=1200)
    host.screenshot_with_views(PICTURES / "spinenet.png", views=("Yellow",), size=(1280, 1340))


def keypoints(headless):
    from Testing.headless import start

    host = headless.open_module("KeypointModule")
    host.click("sampleButton")
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.screenshot_with_views(PICTURES / "keypoints.png", views=("Green",), size=(1280, 1330))
    session, view = host.widget.session(), start().layoutManager().sliceWidget("Green").sliceView()
    host.click("nextButton")
    x, y = view.xy(session.nodes.node("corners").GetNthControlPointPositionWorld(session.reading.next_keypoint))
    view.drag((x, y), (x + 12, y + 6))
    host.wait(lambda: not session.busy, timeout=60)
    host.screenshot_with_views(PICTURES / "keypoints-corrected.png", views=("Green",), size=(1280, 1330))


SAMPLE_TORSO_PX = [[121, 111], [153, 100], [143, 156], [163, 149]]  # shoulders and hips on the first frame


def movement(headless):
    from Testing.headless import start

    host = headless.open_module("MovementModule")
    host.click("sampleWalkButton")
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.widget.videos.seekWidget.setSelectedItemNumber(40)
    host.screenshot_with_views(PICTURES / "movement-walk.png", size=(1280, 1300))
    host.click("sampleInfantButton")
    host.ui.ageSpinBox.value = 12.0
    host.click("placeButton")
    view, video = start().layoutManager().sliceWidget("Red").sliceView(), host.widget.video()
    view.image()
    for index, place in enumerate(video.to_ras(SAMPLE_TORSO_PX)):
        view.drag(view.xy(host.widget.marks.node().GetNthControlPointPositionWorld(index)), view.xy(place))
    host.process(0.4)
    host.click("applyButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.click("activationButton")
    host.wait(lambda: not host.widget.jobs.running, timeout=600)
    host.ui.clipTableView.selectRow(2)
    host.process(0.2)
    host.screenshot_with_views(PICTURES / "movement-infant.png", size=(1280, 1400))
    host.grab(PICTURES / "movement-narrow-dark.png", width=325, style="dark")


SCREENSHOTS = {
    "home": home,
    "batch": batch,
    "motion": motion_score,
    "spinenet": spinenet,
    "keypoints": keypoints,
    "movement": movement,
}


def main(names: list[str]) -> None:
    """Each picture in a process of its own: views keep nothing of the module before."""
    if len(names) != 1:
        for name in names or SCREENSHOTS:
            subprocess.run([sys.executable, __file__, name], check=True)
        return
    from Testing import headless

    headless.start()
    for module in ("MotionScore", "SpineNetModule", "KeypointModule", "MovementModule"):
        headless.open_module(module)  # so that the start page shows its button
    PICTURES.mkdir(parents=True, exist_ok=True)
    headless.start().mrmlScene().Clear(0)
    SCREENSHOTS[names[0]](headless)
    print(f"{names[0]}: done")


if __name__ == "__main__":
    main(sys.argv[1:])

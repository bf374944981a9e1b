"""Loading videos: short ones at once, long ones in a child process that decodes the frames to show."""

import os
import time

import slicer
from slicer.i18n import tr as _

AT_ONCE_BYTES = 2**20  # up to this file size, decoding takes less time than starting a process
POLL_S = 0.02


def startLoading(path, onProgress=None):
    """Start decoding the frames to show of a video in a child process; returns the job."""
    from SpineMotionToolsLib.common.jobs import start_job

    from MovementModuleLib.packages import ensureVideoPackages

    ensureVideoPackages()
    return start_job("common.tasks:preview_video", {"video": str(path)}, onProgress)


def finishLoading(path, jobResult, name=None):
    """Put the decoded frames into the scene; returns the `scene.video.SceneVideo`."""
    from SpineMotionToolsLib.scene import video

    with slicer.util.RenderBlocker():
        return video.add_preview(slicer.mrmlScene, jobResult, name or nameOf(path))


def load(path, name=None):
    """Load a video and wait; a long one with a dialog that can cancel it. Returns the `scene.video.SceneVideo`.

    Raises InputError, DependencyError or Cancelled with a sentence.
    """
    from SpineMotionToolsLib.common.video import open_video
    from SpineMotionToolsLib.scene import video

    from MovementModuleLib.packages import ensureVideoPackages

    if _size(path) <= AT_ONCE_BYTES:
        ensureVideoPackages()
        with slicer.util.RenderBlocker():
            return video.add_video(slicer.mrmlScene, open_video(path), path, name or nameOf(path))
    job = startLoading(path)
    try:
        return finishLoading(path, _wait(job, _("Loading the video")), name)
    finally:
        job.close()


def ensured(sequenceNode):
    """The `scene.video.SceneVideo` of a sequence, or None; with a new browser when the user deleted its own."""
    from SpineMotionToolsLib.scene import video

    return video.ensure_video(slicer.mrmlScene, sequenceNode)


def writtenFrames(sequenceNode, folder):
    """The path of a video file with the frames of a sequence that came from no file."""
    from SpineMotionToolsLib.common.video_writing import write_video
    from SpineMotionToolsLib.scene.video import frames_in_scene

    from MovementModuleLib.packages import ensureVideoPackages

    ensureVideoPackages()
    frames = frames_in_scene(sequenceNode)
    path = os.path.join(folder, "frames.mp4")
    write_video(path, (frame.picture for frame in frames.frames()), frames.frame_rate_hz or 30.0)
    return path


def nameOf(path):
    """The name of a video's nodes: its file's name."""
    return os.path.splitext(os.path.basename(os.path.normpath(path)))[0]


def _size(path):
    if not os.path.isdir(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())


def _wait(job, title):
    """The job's result; until it is there, a dialog shows how far it is and cancels it."""
    if slicer.util.mainWindow() is None:
        return job.wait()
    dialog = slicer.util.createProgressDialog(labelText=title, windowTitle=title, maximum=1000, modal=True)
    try:
        while not job.poll():
            done, of, _text = job.progress
            dialog.setValue(int(1000 * done / of) if of else 0)
            slicer.app.processEvents()
            if dialog.wasCanceled:
                job.cancel()
            time.sleep(POLL_S)
        return job.wait()
    finally:
        dialog.close()

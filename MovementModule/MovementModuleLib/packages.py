"""Packages that only videos need: PyAV to read and write them, OpenCV for the optical flow of infants."""

import importlib.util
import os
import subprocess

from slicer.i18n import tr as _

REQUIREMENTS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "Resources", "requirements-video.txt")
PACKAGES = {"av": "av", "cv2": "opencv-python-headless"}  # what is imported -> what is installed


def ensureVideoPackages(flow: bool = False) -> None:
    """Install PyAV, and with `flow` OpenCV too, after asking once; raises DependencyError when declined."""
    wanted = [name for name in PACKAGES if (flow or name == "av") and importlib.util.find_spec(name) is None]
    if not wanted:
        return
    import slicer.packaging
    from SpineMotionToolsGui.dependencies import arrowCursor
    from SpineMotionToolsLib.common.errors import DependencyError

    names = [PACKAGES[name] for name in wanted]
    requirements = [each for each in slicer.packaging.load_requirements(REQUIREMENTS) if each.name in names]
    sentence = _("Videos need the Python package {names}. Try again and accept its installation.")
    try:
        with arrowCursor():
            slicer.packaging.pip_ensure(requirements, requester="SpineMotionTools")
    except RuntimeError as error:  # declined
        raise DependencyError(sentence.format(names=", ".join(names))) from error
    except subprocess.CalledProcessError as error:  # the log was shown
        raise DependencyError(
            _("{names} could not be installed. Check the connection and the proxy, restart Slicer, try again.").format(
                names=", ".join(names)
            )
        ) from error
    importlib.invalidate_caches()
    if any(importlib.util.find_spec(name) is None for name in wanted):  # nothing is installed in Slicer's test mode
        raise DependencyError(sentence.format(names=", ".join(names)))

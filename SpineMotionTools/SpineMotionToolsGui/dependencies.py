"""Third-party packages, installed only when needed and only with the user's consent."""

import importlib.util
import os
import subprocess
from contextlib import contextmanager

import qt
from slicer.i18n import tr as _

REQUIREMENTS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "Resources", "requirements.txt")


@contextmanager
def arrowCursor():
    """For questions that are asked while the application shows the wait cursor."""
    qt.QApplication.setOverrideCursor(qt.QCursor(qt.Qt.ArrowCursor))
    try:
        yield
    finally:
        qt.QApplication.restoreOverrideCursor()


def ensureInferencePackages() -> None:
    """Make sure that a job can run networks: torch through the PyTorch extension, the rest with pip.

    Torch is only looked for, never imported here: a library loaded by the application could not be replaced, and its
    memory would stay taken. Raises DependencyError with the next step when the user declines or something is missing.
    """
    ensureSmallPackages()
    if importlib.util.find_spec("torch") is None:
        _installTorch()


def ensureSmallPackages() -> None:
    """Install what `Resources/requirements.txt` lists and Slicer does not bring, after asking once."""
    import slicer.packaging
    from SpineMotionToolsLib.common.errors import DependencyError

    requirements = slicer.packaging.load_requirements(REQUIREMENTS)
    try:
        with arrowCursor():
            slicer.packaging.pip_ensure(requirements, requester="SpineMotionTools")
    except RuntimeError as error:  # declined
        raise DependencyError(
            _("Networks cannot run without these packages. Press Apply again and accept the installation.")
        ) from error
    except subprocess.CalledProcessError as error:  # the log was shown
        raise DependencyError(
            _("Small packages could not be installed. Check the connection and the proxy, restart Slicer, try again.")
        ) from error
    importlib.invalidate_caches()


def _installTorch() -> None:
    from SpineMotionToolsLib.common.errors import DependencyError

    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise DependencyError(
            _("PyTorch is missing. Install the extension 'PyTorch' in the Extensions Manager, restart, and try again.")
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    with arrowCursor():
        torch = logic.installTorch(askConfirmation=True, torchVersionRequirement=">=2.6")
    if torch is None:
        raise DependencyError(
            _("PyTorch was not installed. Press Apply again, or open the module 'PyTorch Util' and install it there.")
        )
    importlib.invalidate_caches()

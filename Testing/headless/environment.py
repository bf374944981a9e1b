"""Settings that VTK and Qt read once, when they are imported: draw without a screen."""

import os


def prepare() -> None:
    """Ask VTK for off-screen EGL windows and Qt for its off-screen platform; call before importing either."""
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

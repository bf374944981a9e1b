"""Settings that VTK and Qt read once, when they are imported: draw without a screen, with a font of our own."""

import os
from pathlib import Path

FONTS = Path(__file__).parent / "fonts"  # DejaVu Sans reduced to Latin, Greek, arrows and signs; see LICENSE.txt there


def prepare() -> None:
    """Ask VTK for off-screen EGL windows and Qt for its off-screen platform; call before importing either."""
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def use_own_font(qt) -> None:
    """Draw all text with the font carried here, so that pictures are readable and alike on every machine."""
    for file in sorted(FONTS.glob("*.ttf")):
        qt.QFontDatabase.addApplicationFont(str(file))
    application = qt.QApplication.instance()
    application.setFont(qt.QFont("DejaVu Sans", 9))
    application.setStyle("Fusion")

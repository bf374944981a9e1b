"""Pictures of panels and of whole windows, and checks of a panel's layout."""

from __future__ import annotations

import contextlib
import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from PySide6 import QtCore, QtGui, QtWidgets

from Testing.headless.views import COLORS

BAR = 22  # pixels; the controller bar above each view
GAP = 3
DARK = {
    "Window": "#323232",
    "WindowText": "#e6e6e6",
    "Base": "#2a2a2a",
    "AlternateBase": "#363636",
    "Text": "#e6e6e6",
    "Button": "#404040",
    "ButtonText": "#e6e6e6",
    "ToolTipBase": "#404040",
    "ToolTipText": "#e6e6e6",
    "PlaceholderText": "#9a9a9a",
    "Highlight": "#2a82da",
    "HighlightedText": "#ffffff",
    "Link": "#6ab0ff",
}
LIGHT = {
    "Window": "#efefef",
    "WindowText": "#000000",
    "Base": "#ffffff",
    "AlternateBase": "#f7f7f7",
    "Text": "#000000",
    "Button": "#efefef",
    "ButtonText": "#000000",
    "Highlight": "#308cc6",
    "HighlightedText": "#ffffff",
    "Link": "#0000ff",
}
DISABLED = {"light": "#a0a0a0", "dark": "#7f7f7f"}


def palette(style: str) -> QtGui.QPalette:
    colors = {"light": LIGHT, "dark": DARK}[style]
    made = QtGui.QPalette(QtGui.QColor(colors["Button"]), QtGui.QColor(colors["Window"]))
    for role, color in colors.items():
        made.setColor(getattr(QtGui.QPalette.ColorRole, role), QtGui.QColor(color))
    for role in ("WindowText", "Text", "ButtonText"):
        disabled = QtGui.QPalette.ColorGroup.Disabled
        made.setColor(disabled, getattr(QtGui.QPalette.ColorRole, role), QtGui.QColor(DISABLED[style]))
    return made


def from_qt(pixmap) -> Image.Image:
    """A QPixmap as a PIL image."""
    data = QtCore.QByteArray()
    buffer = QtCore.QBuffer(data)
    buffer.open(QtCore.QIODevice.OpenModeFlag.WriteOnly)
    pixmap.save(buffer, "PNG")
    return Image.open(io.BytesIO(data.data())).convert("RGB")


def save(picture: Image.Image, path) -> Image.Image:
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return picture


@contextlib.contextmanager
def styled(host, style: str):
    """All widgets in Slicer's light or dark colors."""
    application = QtWidgets.QApplication.instance()
    application.setPalette(palette(style))
    try:
        host.process()
        yield
    finally:
        application.setPalette(palette("light"))
        host.process()


def panel(host, width: int, style: str, height: int | None) -> Image.Image:
    """The panel at a width; as high as its contents if `height` is None, else its top, as in Slicer's scroll area."""
    with styled(host, style):
        host.panel.resize(width, height or 100)
        host.process()
        layout = host.panel.layout()
        needed = max(layout.totalHeightForWidth(width), layout.totalSizeHint().height())
        host.panel.resize(width, max(needed, height or 0))
        host.process()
        picture = from_qt(host.panel.grab())
        return picture if height is None else picture.crop((0, 0, width, height))


INPUTS = ("QPushButton", "QToolButton", "QCheckBox", "QRadioButton", "QComboBox", "QSpinBox", "QDoubleSpinBox")
INPUTS += ("QLineEdit", "QSlider", "qMRMLNodeComboBox", "ctkSliderWidget", "ctkRangeWidget", "ctkPathLineEdit")
INPUTS += ("ctkDirectoryButton", "ctkDoubleSpinBox", "ctkComboBox", "ctkCheckableComboBox", "ctkMenuButton")


def _text_width(widget) -> int:
    """Pixels that the text of a label or button needs."""
    if isinstance(widget, (QtWidgets.QPushButton, QtWidgets.QToolButton)):
        lines = widget.text.replace("&", "").splitlines()
        icon = 0 if widget.icon.isNull() else widget.iconSize.width() + 4
        return max(widget.fontMetrics().horizontalAdvance(line) for line in lines) + icon + 6
    return widget.property("minimumSizeHint").width()


def violations(host, width: int) -> list[str]:
    """Texts cut off, widgets wider than the panel and inputs without a tooltip, at a panel width in pixels."""
    host.panel.resize(width, 2000)
    host.process()
    found = []
    needed = host.panel.property("minimumSizeHint").width()
    if needed > width:
        found.append(f"the panel needs {needed} pixels, {width} are there")
    for widget in QtCore.QObject.findChildren(host.panel, QtWidgets.QWidget):
        if not widget.isVisible() or not widget.objectName or widget.objectName.startswith("qt_"):
            continue
        name = f"{widget.className()} {widget.objectName}"
        beyond = widget.mapTo(host.panel, QtCore.QPoint(widget.width, 0)).x() - width
        if beyond > 0:
            found.append(f"{name} ends {beyond} pixels beyond the edge")
        shows_text = isinstance(widget, (QtWidgets.QLabel, QtWidgets.QAbstractButton)) and widget.text
        wraps = isinstance(widget, QtWidgets.QLabel) and (widget.wordWrap or "<" in widget.text)
        if shows_text and not wraps and widget.width < _text_width(widget) - 1:
            found.append(f"{name}: the text '{widget.text}' is cut off")
        if isinstance(widget, QtWidgets.QComboBox) and not widget.editable:
            if widget.width < widget.fontMetrics().horizontalAdvance(widget.currentText) + 28:
                found.append(f"{name}: the choice '{widget.currentText}' is cut off")
        if type(widget).__name__ in INPUTS and not widget.toolTip:
            found.append(f"{name} has no tooltip")
    return found


# ---- the window --------------------------------------------------------------------------------------------------
def _grid(views: Sequence[str]) -> ElementTree.Element:
    """Views in rows of two, the odd one on top in full width."""
    rows = [[views[0]]] if len(views) % 2 else []
    rest = list(views[len(rows) :])
    rows += [rest[index : index + 2] for index in range(0, len(rest), 2)]
    top = ElementTree.Element("layout", type="vertical")
    for row in rows:
        line = ElementTree.SubElement(ElementTree.SubElement(top, "item"), "layout", type="horizontal")
        for name in row:
            node_class = {"Plot": "vtkMRMLPlotViewNode", "Table": "vtkMRMLTableViewNode"}.get(name, "vtkMRMLSliceNode")
            tag = {"Plot": "PlotView1", "Table": "TableView1"}.get(name, name)
            ElementTree.SubElement(
                ElementTree.SubElement(line, "item"), "view", {"class": node_class, "singletontag": tag}
            )
    return top


def _views_in(element) -> list:
    """The drawable parts of a layout element: `(child, share)`; 3-D views are left out."""
    parts = []
    for item in element.findall("item"):
        child = next(iter(item))
        drawable = child.tag == "view" and child.get("class") != "vtkMRMLViewNode"
        if drawable or (child.tag == "layout" and _views_in(child)):
            parts.append((child, float(item.get("splitSize") or 500)))
    return parts


def _draw(host, canvas: Image.Image, element, box) -> None:
    left, top, width, height = box
    if element.tag == "view":
        canvas.paste(_view(host, element, (width, height)), (left, top))
        return
    parts = _views_in(element)
    if element.get("type") == "tab":
        parts = parts[:1]
    total, done = sum(share for _, share in parts), 0.0
    across = element.get("type") == "horizontal"
    for child, share in parts:
        start, end = done / total, (done + share) / total
        done += share
        if across:
            inner = (left + round(start * width), top, round(end * width) - round(start * width) - GAP, height)
        else:
            inner = (left, top + round(start * height), width, round(end * height) - round(start * height) - GAP)
        _draw(host, canvas, child, inner)


def _bar(width: int, color: str, text: str) -> Image.Image:
    pixmap = QtGui.QPixmap(width, BAR)
    pixmap.fill(QtGui.QColor(color))
    painter = QtGui.QPainter(pixmap)
    painter.setPen(QtGui.QColor("#202020"))
    painter.drawText(QtCore.QRect(8, 0, width - 16, BAR), QtCore.Qt.AlignmentFlag.AlignVCenter, text)
    painter.end()
    return from_qt(pixmap)


def _view(host, element, size: tuple[int, int]) -> Image.Image:
    width, height = size
    picture = Image.new("RGB", size, "white")
    if element.get("class") == "vtkMRMLSliceNode":
        name = element.get("singletontag")
        view = host.app.layoutManager().sliceWidget(name).sliceView()
        view.resize(width, height - BAR)
        text = f"{name[0]}   {view.node.GetOrientation()}   {view.logic.GetSliceOffset():.2f} mm"
        picture.paste(Image.fromarray(view.image()), (0, BAR))
        picture.paste(_bar(width, COLORS.get(name, "#b0b0b0"), text), (0, 0))
        return picture
    widget = host.app.layoutManager().qt_view(element)
    if widget is not None:
        widget.resize(width, height - BAR)
        widget.show()
        host.process()
        picture.paste(from_qt(widget.grab()), (0, BAR))
        widget.hide()
    title = {"vtkMRMLPlotViewNode": "Plot", "vtkMRMLTableViewNode": "Table"}.get(element.get("class"), "")
    picture.paste(_bar(width, "#e1ba3c", title), (0, 0))
    return picture


def window(host, views, size, panel_width: int, style: str) -> Image.Image:
    """Panel and views side by side."""
    width, height = size
    canvas = Image.new("RGB", size, palette(style).color(QtGui.QPalette.ColorRole.Window).name())
    canvas.paste(panel(host, panel_width, style, height), (0, 0))
    element = host.app.layoutManager().description() if views is None else _grid(views)
    with styled(host, style):
        _draw(host, canvas, element, (panel_width + GAP, 0, width - panel_width - GAP, height))
    return canvas

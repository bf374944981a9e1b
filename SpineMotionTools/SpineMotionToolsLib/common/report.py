"""Reports: one self-contained HTML file, readable in any browser, on paper and by day and night."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.files import write_text
from SpineMotionToolsLib.common.provenance import Provenance
from SpineMotionToolsLib.common.report_style import STYLE
from SpineMotionToolsLib.common.tables import Table, shown

if TYPE_CHECKING:
    from PIL import Image

NOT_A_MEDICAL_DEVICE = "Not a medical device. For research use only."
STARTER_WARNING = "Starter model: trained on simulated data only, not validated on patients."

_SVG = "http://www.w3.org/2000/svg"
_SVG_ELEMENTS = set(
    "svg g defs title desc style path line polyline polygon rect circle ellipse text tspan image use "
    "linearGradient radialGradient stop clipPath marker pattern".split()
)


class Report:
    """A report built from top to bottom; every method returns the report, so that calls can be chained.

    Warnings are gathered in one block under the title, provenance in the footer. Everything given as text is escaped.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._warnings: list[str] = []
        self._body: list[str] = []
        self._provenance: list[Provenance] = []

    def heading(self, text: str) -> Report:
        """Start a section."""
        self._body.append(f"<h2>{html.escape(text)}</h2>")
        return self

    def text(self, *paragraphs: str) -> Report:
        """Add paragraphs."""
        self._body += [f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs]
        return self

    def warning(self, text: str) -> Report:
        """Add a sentence to the block of warnings at the top; one given twice is shown once."""
        if text not in self._warnings:
            self._warnings.append(text)
        return self

    def table(self, table: Table) -> Report:
        """Add a table; on paper, where tooltips do not show, the columns' descriptions follow it."""
        legend = " ".join(f"{column.name}: {column.description}." for column in table.columns if column.description)
        self._body.append(f'<div class="wide">{table.to_html()}</div>')
        if legend:
            self._body.append(f'<p class="legend">{html.escape(legend.replace("..", "."))}</p>')
        return self

    def image(self, image: Image.Image | np.ndarray, caption: str = "") -> Report:
        """Add a picture: a Pillow image, or uint8 or bool pixels (rows, columns[, 3 or 4]).

        Raises InputError for other arrays: windowing gray values is the caller's choice.
        """
        self._body.append(_figure(f'<img alt="{html.escape(caption, quote=True)}" src="{_png(image)}">', caption))
        return self

    def svg(self, text: str, caption: str = "") -> Report:
        """Add a drawing or chart; use `currentColor` for lines and text so that it shows by day and night.

        Raises InputError for text that is no SVG, or holds scripts, links to other files, or elements that do not draw.
        """
        self._body.append(_figure(_checked_svg(text), caption))
        return self

    def provenance(self, provenance: Provenance) -> Report:
        """Say in the footer what made the results; a starter model is also a warning, unless one says more already."""
        self._provenance.append(provenance)
        if provenance.starter and not any(text.startswith("Starter model") for text in self._warnings):
            self.warning(STARTER_WARNING)
        return self

    def to_html(self) -> str:
        """The whole document."""
        warnings = "".join(f"<li>{html.escape(text)}</li>" for text in self._warnings)
        subtitle = f'<p class="subtitle">{html.escape(self.subtitle)}</p>' if self.subtitle else ""
        return "\n".join(
            [
                "<!DOCTYPE html>",
                '<html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                # The browser itself then refuses scripts and everything from elsewhere.
                '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
                "style-src 'unsafe-inline'\">",
                f"<title>{html.escape(self.title)}</title>",
                f"<style>\n{STYLE}</style></head><body>",
                f"<header><h1>{html.escape(self.title)}</h1>{subtitle}</header>",
                f'<section class="warnings" role="note"><ul>{warnings}</ul></section>' if warnings else "",
                f"<main>{chr(10).join(self._body)}</main>",
                f"<footer>{self._footer()}<p><strong>{NOT_A_MEDICAL_DEVICE}</strong></p></footer>",
                "</body></html>\n",
            ]
        )

    def write(self, path: Path | str) -> None:
        """Write the report as one UTF-8 HTML file, atomically; raises OutputError."""
        write_text(path, self.to_html())

    def _footer(self) -> str:
        return "".join(f"<dl>{_provenance_items(each)}</dl>" for each in self._provenance)


def _provenance_items(provenance: Provenance) -> str:
    parameters = ", ".join(f"{name} {shown(value)}" for name, value in provenance.parameters.items())
    model = provenance.model_id + (" (starter model)" if provenance.starter else "")
    items = {
        "System": provenance.system,
        "Model": model,
        "Model SHA-256": provenance.model_sha256,
        "SpineMotionTools": provenance.library_version,
        "Computed on": f"{provenance.device}, {provenance.precision}",
        "Parameters": parameters,
        "Notes": " ".join(provenance.notes),
        "Made (UTC)": provenance.created_utc.replace("T", " ").removesuffix("+00:00"),
    }
    return "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in items.items() if text)


def _figure(content: str, caption: str) -> str:
    under = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{content}{under}</figure>"


def _png(image: Image.Image | np.ndarray) -> str:
    from PIL import Image

    if isinstance(image, np.ndarray):
        pixels = image.astype(np.uint8) * 255 if image.dtype == bool else image
        if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
            raise InputError(
                f"A report shows pictures of uint8 gray, RGB or RGBA pixels, not {image.dtype} of shape {image.shape}. "
                "Scale the values to 0..255 first."
            )
        image = Image.fromarray(np.ascontiguousarray(pixels))
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image = image.convert("RGB")
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _checked_svg(text: str) -> str:
    """The drawing, written anew from its parsed elements, with nothing in it that runs or loads."""
    if "<!" in text.replace("<!--", ""):
        raise InputError("A drawing in a report must be plain SVG without declarations.")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"A drawing in a report must be well-formed SVG ({error}).") from error
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        if element.tag not in _SVG_ELEMENTS:
            raise InputError(f"A drawing in a report must not hold the element {element.tag!r}.")
        # HTML knows no namespaces: xlink:href becomes href.
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        for name, value in element.attrib.items():
            _check_attribute(name, value)
        if element.tag == "style":
            _check_attribute("style", "".join(element.itertext()))
    if root.tag != "svg":
        raise InputError("A drawing in a report must be an <svg> element.")
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _check_attribute(name: str, value: str) -> None:
    bare = re.sub(r"[\s\\]", "", value).lower()
    link = name.lower() in ("href", "src") and not bare.startswith(("#", "data:image/png;base64,"))
    outside = "@import" in bare or any(target != "#" for target in re.findall(r"url\(['\"]?(.)", bare))
    if name.lower().startswith("on") or link or outside or "javascript:" in bare:
        raise InputError(f"A drawing in a report must not load or run anything ({name}={value[:80]!r}).")

"""Tables as CSV and HTML, provenance, and self-contained reports."""

from __future__ import annotations

import csv
import html
import json
from html.parser import HTMLParser

import numpy as np
import pytest
import SpineMotionToolsLib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from SpineMotionToolsLib.common import provenance
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.report import NOT_A_MEDICAL_DEVICE, STARTER_WARNING, Report
from SpineMotionToolsLib.common.tables import Column, Table, as_number, read_sheet, shown

TABLE = Table(
    "Grades",
    [Column("scan"), Column("height", "mm", "Posterior height", digits=1), Column("grade"), Column("review")],
    [["a", 12.345, 2, True], ["b", None, np.int64(5), False], ["c", float("nan"), None, None]],
)


class Reader(HTMLParser):
    """The elements, attributes and text that a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text.append(data)


def test_csv_is_for_programs(tmp_path):
    TABLE.to_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == (
        "scan,height,grade,review\na,12.345,2,True\nb,,5,False\nc,nan,,\n"
    )


cell = st.one_of(
    st.none(), st.integers(), st.floats(allow_nan=False), st.text(st.characters(exclude_categories=["Cs"]))
)


@given(st.lists(st.tuples(cell, cell), max_size=5))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_reads_back(tmp_path, rows):
    rows = [[value.replace("\r", "") if isinstance(value, str) else value for value in row] for row in rows]
    Table("t", [Column("one"), Column("two")], rows).to_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.reader(file))[1:]
    assert len(read) == len(rows)
    for got, want in zip(read, rows):
        for text, value in zip(got, want):
            if isinstance(value, float):
                assert float(text) == value
            else:
                assert text.removeprefix("'") == ("" if value is None else str(value).removeprefix("'"))
            assert not (isinstance(value, str) and text.startswith(("=", "+", "@")))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_are_read_as_spreadsheets_save_them(tmp_path, separator):
    path = tmp_path / "table.csv"
    path.write_text(separator.join(["case ", "value"]) + "\r\na" + separator + '"1,5"\r\nb\r\n', encoding="utf-8-sig")
    names, rows = read_sheet(path)
    assert names == ["case", "value"]
    assert rows == [{"case": "a", "value": "1,5"}, {"case": "b", "value": ""}]
    assert as_number(rows[0]["value"]) == 1.5


@pytest.mark.parametrize("content", [b"case,value\nM\xfcller,1\n", b"case\n" + 200_000 * b"a" + b"\n"])
def test_what_is_no_table_is_a_sentence(tmp_path, content):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_sheet(tmp_path / "table.csv")
    with pytest.raises(FileNotFoundError):
        read_sheet(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("value", "text"),
    [("=1+1", "'=1+1"), ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"), ("-", "-"), (-1.5, "-1.5"), ("-2", "-2")],
)
def test_csv_cells_are_no_formulas(tmp_path, value, text):
    Table("t", [Column("a"), Column("b")], [[value, 0]]).to_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1][0] == text


def test_html_is_for_people():
    text = TABLE.to_html()
    assert ">Height (mm)</th>" in text
    assert 'title="Posterior height"' in text
    assert '<td class="number">12.3</td>' in text
    assert '<td class="number">–</td>' in text
    assert "<td>yes</td>" in text
    assert "nan" not in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (np.float32(71.5), "71.5"), (12345.678, "12346"), (-0.5, "-0.5"), (1e-7, "1e-07"), (3, "3")],
)
def test_numbers_as_shown(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([98.31, 71.5, 100.0, None], ["98.3", "71.5", "100.0", "–"]),
        ([0.5, 0.25], ["0.50", "0.25"]),
        ([3.0, 4.0, 12], ["3", "4", "12"]),
        ([1234.5, 0.001], ["1234", "0.001"]),  # a small value is never shown as 0
        ([1e-9, 2e-9], ["1e-09", "2e-09"]),
        ([float("inf"), 1.5], ["inf", "1.5"]),
        ([1, 20], ["1", "20"]),
        ([0.0, float("nan")], ["0", "–"]),
    ],
)
def test_a_column_has_the_same_decimals_in_every_row(values, texts):
    page = Reader(Table("", [Column("")], [[value] for value in values]).to_html())
    assert [text for text in page.text if text.strip()] == texts


@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-(10**9), 10**9), st.text("ab")), max_size=6))
def test_every_value_can_be_shown(values):
    for digits in (None, 0, 2):
        page = Reader(Table("", [Column("", digits=digits)], [[value] for value in values]).to_html())
        assert page.elements.count("td") == len(values)


def test_ragged_rows():
    with pytest.raises(InputError, match="Row 1 of the table 't' has 1 values for 2 columns"):
        Table("t", [Column("a"), Column("b")], [[1, 2], [3]])


@given(st.text(), st.text(), st.text())
def test_nothing_given_as_text_becomes_markup(one, two, three):
    table = Table(one, [Column(two, three, one)], [[three]])
    plain = Reader(
        Report("a", "b")
        .heading("c")
        .text("d")
        .warning("e")
        .table(Table("f", [Column("g", "h", "i")], [["j"]]))
        .to_html()
    )
    report = Report(one, two).heading(three).text(one).warning(two).table(table)
    attack = "<img src=x onerror=alert(1)>\"'></style></title><script>"
    attacked = Report(attack, attack).heading(attack).text(attack).warning(attack)
    attacked.table(Table(attack, [Column(attack, attack, attack)], [[attack]]))
    attacked.provenance(
        provenance.current(attack, attack, attack, device=attack, parameters={attack: attack}, notes=[attack])
    )
    assert set(Reader(attacked.to_html()).elements) <= {*plain.elements, "dl", "dt", "dd"}
    assert not any(name.startswith("on") for name, _ in Reader(attacked.to_html()).attributes)
    if one and two and three:
        assert set(Reader(report.to_html()).elements) == set(plain.elements)


def test_warnings_come_first_and_once(tmp_path):
    report = Report("Title", "Sub").text("Body.").warning("Careful.").warning("Careful.")
    report.provenance(provenance.current("motion", "motion-starter", "00ff", starter=True, notes=["Ran on the CPU."]))
    report.write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("Careful.") == 1
    assert text.index("Careful.") < text.index("Body.")
    assert text.index(STARTER_WARNING) < text.index("Body.")
    assert text.index("Body.") < text.index("Ran on the CPU.") < text.index(NOT_A_MEDICAL_DEVICE)
    assert "00ff" in text
    assert SpineMotionToolsLib.__version__ in text


def test_descriptions_reach_the_paper():
    text = Report("t").table(TABLE).to_html()
    assert '<p class="legend">height: Posterior height.</p>' in text
    assert "legend" not in Report("t").table(Table("", [Column("a")], [])).to_html().partition("</style>")[2]


def test_report_is_self_contained(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    report = Report("t").image(pixels, "a & b").image(Image.fromarray(pixels).convert("RGBA")).image(pixels > 5)
    report.svg('<svg xmlns="http://www.w3.org/2000/svg"><text x="1">5 &lt; 6</text></svg>', "chart")
    text = report.to_html()
    page = Reader(text)
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "script" not in page.elements
    assert "link" not in page.elements
    assert "http" not in text.replace("http-equiv", "")
    assert "a &amp; b" in text
    assert "5 < 6" in page.text


def test_pictures_survive_unchanged():
    import base64
    import io

    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    source = dict(Reader(Report("t").image(pixels).to_html()).attributes)["src"]
    read = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert np.array_equal(np.asarray(read), pixels)


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), np.zeros((3, 3, 2), np.uint8), np.zeros(3, np.uint8)])
def test_pictures_that_would_mislead(bad):
    with pytest.raises(InputError, match="Scale the values to 0..255"):
        Report("t").image(bad)


SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<rect onload="alert(1)"/>',
        '<image href="https://example.org/x.png"/>',
        '<image xlink:href="file:///etc/passwd"/>',
        '<use xlink:href="other.svg#a"/>',
        "<foreignObject><b/></foreignObject>",
        '<a href="javascript:alert(1)"><text/></a>',
        "<style>@import 'https://example.org/a.css'</style>",
        '<rect style="fill: u\\72l(https://example.org)"/>'.replace("\\72", "r"),
        '<rect fill="url( &#34;https://example.org/x&#34;)"/>',
        "<style>rect { fill: url(//example.org) }</style>",
    ],
)
def test_drawings_that_run_or_load(inside):
    with pytest.raises(InputError, match="must not"):
        Report("t").svg(SVG.format(inside))


@pytest.mark.parametrize(
    "text",
    ["", "no svg", "<svg><g></svg>", "<g/>", '<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>', "<html><svg/></html>"],
)
def test_drawings_that_are_none(text):
    with pytest.raises(InputError, match="drawing"):
        Report("t").svg(text)


def test_drawings_keep_what_they_draw():
    inside = (
        '<style>.a > .b { stroke: currentColor }</style><defs><linearGradient id="g"/></defs>'
        '<rect class="a" width="3" fill="url(#g)"/><use xlink:href="#g"/><text>ä&amp;b</text>'
    )
    text = Report("t").svg(SVG.format(inside)).to_html()
    page = Reader(text[text.index("<svg") :])
    assert page.elements[:6] == ["svg", "style", "defs", "lineargradient", "rect", "use"]
    assert ("href", "#g") in page.attributes
    assert ("fill", "url(#g)") in page.attributes
    assert html.escape("ä&b") in text


def test_provenance_round_trip():
    made = provenance.current("motion", "m", "ab", device="cpu", parameters={"a": [1, 2]}, starter=True, notes=("x",))
    read = provenance.Provenance.from_json({**json.loads(json.dumps(made.to_json())), "of a later version": 1})
    assert read == made
    assert made.created_utc.endswith("+00:00")

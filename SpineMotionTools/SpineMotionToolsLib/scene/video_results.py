"""Scores of videos in the scene: the result itself, tables, and a plot over time whose cursor follows the slider."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import vtk

from SpineMotionToolsLib.common.tables import Column, Table, shown
from SpineMotionToolsLib.scene import nodes
from SpineMotionToolsLib.scene.video import SceneVideo

if TYPE_CHECKING:
    from SpineMotionToolsLib.gait.results import GaitResult
    from SpineMotionToolsLib.movements.results import MovementResult

    Result = GaitResult | MovementResult

GAIT, MOVEMENTS = "gait", "movements"
GAIT_COLOR = (0.84, 0.18, 0.18)  # as in the reports
MARKERS = ("MarkerStyleCircle", "MarkerStyleSquare", "MarkerStyleDiamond")  # of the curves, in their order
MOST_MARKERS = 60  # clips; more would hide the line
POINTS_A_CLIP = 3  # start, end, and a gap


ROLES = ("result", "overall", "clips", "energy", "chart", "activation")


@dataclass
class ResultNodes:
    """The nodes of one scored video (any may be missing)."""

    result: Any = None
    overall: Any = None
    clips: Any = None
    energy: Any = None
    chart: Any = None
    activation: Any = None


def find_result(scene, sequence, system: str) -> ResultNodes:
    """The nodes of a video's score by one system ("gait" or "movements"), also of a scene that was loaded."""
    found = nodes.results_of(scene, sequence)
    return ResultNodes(**{role: found.get(f"{system} {role}") for role in ROLES})


def show_result(scene, video: SceneVideo, result: Result) -> ResultNodes:
    """Write a result into the scene beside its video; the nodes of an earlier score by the same system are reused."""
    system, name = result.provenance.system, video.sequence.GetName() or "video"
    found = find_result(scene, video.sequence, system)

    def ensure(node_class: str, role: str):
        return nodes.ensure(scene, node_class, f"{name} {system} {role}", getattr(found, role))

    made = ResultNodes(
        result=ensure("vtkMRMLTextNode", "result"),
        overall=ensure("vtkMRMLTableNode", "overall"),
        clips=ensure("vtkMRMLTableNode", "clips"),
        energy=ensure("vtkMRMLTableNode", "energy") if system == MOVEMENTS else None,
        chart=ensure("vtkMRMLPlotChartNode", "chart"),
    )
    made.result.SetText(json.dumps(result.to_json()))
    _fill_table(made.overall, with_units(overall_table(result)))
    _fill_table(made.clips, for_reading(result.to_table()))
    if made.energy is not None:
        _fill_table(made.energy, for_reading(result.energy_table()))
    fill_chart(scene, made.chart, result, video.duration_s, name)
    written = [(role, getattr(made, role)) for role in ROLES if getattr(made, role) is not None]
    for role, node in written:
        nodes.set_provenance(node, result.provenance)
        nodes.mark_result(node, video.sequence, f"{system} {role}")
    nodes.put_in_case_folder(scene, video.sequence, [*(node for _, node in written), *_tables(made.chart)])
    return made


def _fill_table(node, table: Table) -> None:
    nodes.fill_table(node, table)
    for column in table.columns:
        node.SetColumnTitle(column.name, column.heading)


FIRST_COLUMNS = ("start", "end", "P(ASD)", "P(non-ASD)", "pred")


def for_reading(table: Table) -> Table:
    """A table as the scene shows it: what matters most first, rounded."""
    order = sorted(range(len(table.columns)), key=lambda k: _place(table.columns[k].name))
    columns = [table.columns[k] for k in order]
    rows = [[_rounded(row[k], table.columns[k].digits) for k in order] for row in table.rows]
    return Table(table.name, columns, rows)


def _place(name: str) -> int:
    if name in FIRST_COLUMNS:
        return FIRST_COLUMNS.index(name)
    return len(FIRST_COLUMNS) + (not name.startswith("P("))


def _rounded(value: Any, digits: int | None) -> Any:
    return round(value, 2 if digits is None else digits) if isinstance(value, float) else value


def result_of(text_node) -> Result | None:
    """The result kept in a text node; None when the node is empty or holds something else."""
    from SpineMotionToolsLib.gait.results import GaitResult
    from SpineMotionToolsLib.movements.results import MovementResult

    kinds = {GAIT: GaitResult, MOVEMENTS: MovementResult}
    return nodes.kept_in(text_node, lambda values: kinds[values["provenance"]["system"]].from_json(values))


def overall_table(result: Result) -> Table:
    """What the whole video comes to, one quantity a row."""
    rows = _gait_rows(result) if result.provenance.system == GAIT else _movement_rows(result)
    columns = [Column("quantity"), Column("value"), Column("unit")]
    return Table("Overall", columns, [[name, shown(value, digits), unit] for name, value, digits, unit in rows])


def with_units(table: Table) -> Table:
    """The overall table as the scene shows it: values with their units, in two columns that fit a narrow panel."""
    rows = [
        [quantity, value if value == shown(None) else f"{value} {unit}".strip()] for quantity, value, unit in table.rows
    ]
    return Table(table.name, list(table.columns[:2]), rows)


def _gait_rows(result: GaitResult) -> list[tuple]:
    measures = result.measures
    cadence = measures.cadence_per_min if measures else None
    lean = measures.trunk_inclination_deg if measures else None
    return [
        ("answer", result.answer, None, ""),
        ("P(ASD)", result.p_asd, 3, ""),
        ("P(non-ASD)", result.p_non_asd, 3, ""),
        ("SD of P(ASD)", result.spread, 3, ""),
        ("mean logit (non-ASD)", result.mean_logit, 3, ""),
        ("clips scored", len(result.clips), None, ""),
        ("clips left out", len(result.skipped), None, ""),
        ("cadence", cadence, 0, "steps/min"),
        (
            "trunk inclination, forward +",
            "needs body points" if lean is None else lean,
            1,
            "" if lean is None else "deg",
        ),
    ]


def _movement_rows(result: MovementResult) -> list[tuple]:
    from SpineMotionToolsLib.movements.scores import CLASS_NAMES, CLASS_TITLES

    shares = [None] * 3 if result.mean_probabilities is None else result.mean_probabilities
    logits = [None] * 3 if result.mean_logits is None else result.mean_logits
    rows: list[tuple] = [("answer", result.answer, None, "")]
    for name, title, share in zip(CLASS_NAMES, CLASS_TITLES, shares):
        rows.append((f"P({name}), {title}", share, 3, ""))
    rows += [(f"mean logit {name}", logit, 3, "") for name, logit in zip(CLASS_NAMES, logits)]
    rows.append(("seconds scored", len(result.chunks), None, "s"))
    rows.append(("age after term", result.age_weeks, None, "weeks"))
    return rows


def spans(result: Result) -> list[tuple[float, float]]:
    """(start s, end s) of every scored clip."""
    parts = result.clips if result.provenance.system == GAIT else result.chunks
    return [(part.start_s, part.end_s) for part in parts]


def is_scored(result: Result | None) -> bool:
    """Whether there is a result with at least one scored clip."""
    return result is not None and bool(spans(result))


def curves(result: Result) -> list[tuple[str, tuple[float, float, float], list[float]]]:
    """(name, color, probability of every clip) of each curve of the plot."""
    if result.provenance.system == GAIT:
        return [("P(ASD)", GAIT_COLOR, [clip.p_asd for clip in result.clips])]
    from SpineMotionToolsLib.movements.scores import CLASS_COLORS, CLASS_NAMES

    colors = [tuple(channel / 255 for channel in bytes.fromhex(color[1:])) for color in CLASS_COLORS]
    probabilities = [chunk.probabilities for chunk in result.chunks]
    return [(f"P({name})", colors[k], [float(p[k]) for p in probabilities]) for k, name in enumerate(CLASS_NAMES)]


def fill_chart(scene, chart, result: Result, duration_s: float, name: str) -> None:
    """Probability of each clip over time, the band where nothing is decided, and the cursor as the last series."""
    from SpineMotionToolsLib.gait.results import UNDECIDED_BAND

    data, cursor = _tables(chart) or (None, None)
    data = nodes.ensure(scene, "vtkMRMLTableNode", f"{name} plot data", data)
    cursor = nodes.ensure(scene, "vtkMRMLTableNode", f"{name} plot cursor", cursor)
    clips, lines = spans(result), curves(result)
    columns = {"time": [t for start, end in clips for t in (start, end, end)]}
    for title, _color, values in lines:
        columns[title] = [y for value in values for y in (value, value, float("nan"))]
    gray, dashed = (0.55, 0.55, 0.55), True
    wanted = [(title, data, "time", title, color, False) for title, color, _values in lines]
    if result.provenance.system == GAIT:
        for label, level in zip(("undecided from", "to"), UNDECIDED_BAND):
            columns[f"{label} time"], columns[label] = [0.0, duration_s], [level, level]
            wanted.append((f"{label} {level:g}", data, f"{label} time", label, gray, dashed))
    _set_columns(data, columns)
    _set_columns(cursor, {"now": [0.0, 0.0], "level": [0.0, 1.0]})
    wanted.append(("shown frame", cursor, "now", "level", (0.15, 0.15, 0.15), False))
    was_modifying = chart.StartModify()
    _fit_series_count(scene, chart, len(wanted), name)
    for index, (title, table, x, y, color, is_dashed) in enumerate(wanted):
        series = chart.GetNthPlotSeriesNode(index)
        series.SetName(title)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(x)
        series.SetYColumnName(y)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetColor(*color)
        series.SetLineStyle(series.LineStyleDash if is_dashed else series.LineStyleSolid)
        width = 3 + 2 * (len(lines) - 1 - index) if index < len(lines) else 1  # equal curves are drawn over wider ones
        series.SetLineWidth(width)
        marked = index < len(lines) and len(clips) <= MOST_MARKERS
        series.SetMarkerStyle(getattr(series, MARKERS[index]) if marked else series.MarkerStyleNone)
        series.SetMarkerSize(width + 3)
    chart.SetTitle(_title(result))
    chart.SetXAxisTitle("Time (s)")
    chart.SetYAxisTitle("P(ASD)" if result.provenance.system == GAIT else "Probability")
    chart.SetLegendVisibility(len(lines) > 1)
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0.0, max(duration_s, 0.1))
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    chart.EndModify(was_modifying)


def _title(result: Result) -> str:
    starter = " (starter, phantom-trained)" if result.provenance.starter else ""
    if not spans(result):
        return "Not scored"
    if result.provenance.system == GAIT:
        return f"Mean P(ASD) {result.p_asd:.2f}, P(non-ASD) {result.p_non_asd:.2f}{starter}"
    return f"General movements: {result.answer}{starter}"


def _fit_series_count(scene, chart, count: int, name: str) -> None:
    while chart.GetNumberOfPlotSeriesNodes() < count:
        chart.AddAndObservePlotSeriesNodeID(scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", f"{name} series").GetID())
    while chart.GetNumberOfPlotSeriesNodes() > count:
        series = chart.GetNthPlotSeriesNode(chart.GetNumberOfPlotSeriesNodes() - 1)
        chart.RemovePlotSeriesNodeID(series.GetID())
        scene.RemoveNode(series)


def _tables(chart) -> tuple | None:
    """(data, cursor) tables of a filled chart."""
    count = chart.GetNumberOfPlotSeriesNodes() if chart is not None else 0
    if count < 2:
        return None
    return chart.GetNthPlotSeriesNode(0).GetTableNode(), chart.GetNthPlotSeriesNode(count - 1).GetTableNode()


def _set_columns(table, columns: dict[str, list[float]]) -> None:
    """Columns of different lengths in one table; short ones are filled up with NaN, which plots leave out."""
    length = max(len(values) for values in columns.values())
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    for name, values in columns.items():
        array = vtk.vtkDoubleArray()
        array.SetName(name)
        for value in [*values, *[float("nan")] * (length - len(values))]:
            array.InsertNextValue(float(value))
        table.AddColumn(array)
    table.EndModify(was_modifying)


def move_cursor(chart, time_s: float) -> None:
    """Put the plot's vertical line at a time."""
    tables = _tables(chart)
    column = tables[1].GetTable().GetColumnByName("now") if tables and tables[1] is not None else None
    if column is None or column.GetValue(0) == time_s:
        return
    for row in range(2):
        column.SetValue(row, time_s)
    column.Modified()
    tables[1].GetTable().Modified()
    tables[1].Modified()


def clip_at(result: Result, time_s: float) -> int | None:
    """The number of the clip that holds a time, or None between clips."""
    found = [n for n, (start, end) in enumerate(spans(result)) if start <= time_s + 1e-3 < end]
    return found[0] if found else None


def time_of_plot_point(chart, result: Result, series_id: str, point_index: int) -> float | None:
    """The start of the clip whose point was clicked; None for the cursor and the undecided band."""
    for index in range(len(curves(result))):
        if chart.GetNthPlotSeriesNodeID(index) == series_id:
            number = point_index // POINTS_A_CLIP
            return spans(result)[number][0] if number < len(spans(result)) else None
    return None


def found_marks(video: SceneVideo, result: Result | None) -> dict[int, Any]:
    """What a result found, by frame of the original: the patient's boxes, or the infant's torso points."""
    if result is None:
        return {}
    if result.provenance.system == GAIT:
        shown_frames = set(video.frames)
        return {int(row[0]): [float(v) for v in row[1:]] for row in result.boxes if int(row[0]) in shown_frames}
    return {frame: np.asarray(points).tolist() for frame, points in result.torso.items()}

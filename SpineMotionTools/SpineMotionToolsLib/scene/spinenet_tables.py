"""A spine's numbers as table nodes: grades with their probabilities, and measurements with their units."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from SpineMotionToolsLib.common.tables import Column, Table
from SpineMotionToolsLib.scene import nodes

if TYPE_CHECKING:
    from SpineMotionToolsLib.spinenet.results import Spine

PROBABILITY = "p "  # columns of probabilities; shown as "p" beside their grade


def grades_with_probabilities(spine: Spine) -> Table:
    """One row a disc, top to bottom: every grade and beside it the probability of the class that was chosen."""
    from SpineMotionToolsLib.common.provenance import DEMONSTRATION
    from SpineMotionToolsLib.spinenet.grades import HEADS

    columns = [Column("Level")]
    for head in HEADS:
        meanings = ", ".join(f"{head.value(n)} = {text}" for n, text in enumerate(head.meanings))
        columns.append(Column(head.column, description=f"{head.title}: {meanings}"))
        columns.append(
            Column(PROBABILITY + head.column, description=f"Probability of that class ({head.title})", digits=2)
        )
    rows = []
    for disc in spine.discs:
        grades = [disc.grade(head.column) for head in HEADS]
        pairs = [(None, None) if grade is None else (grade.value, grade.probability) for grade in grades]
        rows.append([disc.level, *(value for pair in pairs for value in pair)])
    return Table(f"Grades ({DEMONSTRATION})" if spine.grades_are_demonstration else "Grades", columns, rows)


def tables_of(spine: Spine) -> dict[str, Table]:
    """The tables of the panel by name: "grades", "discs", "bodies", "angles"; measurements only where there are any."""
    tables = {"grades": grades_with_probabilities(spine)}
    if spine.measurements is not None:
        tables["discs"] = spine.measurements.disc_table()
        tables["bodies"] = spine.measurements.vertebra_table()
        tables["angles"] = spine.measurements.angle_table()
    return tables


def fill(table_node, table: Table) -> None:
    """Write a table into a node with as many decimals as its columns say; the result itself keeps all of them."""
    from SpineMotionToolsLib.spinenet.grades import HEAD_OF_COLUMN

    digits = [column.digits for column in table.columns]
    rows = [[_rounded(value, count) for value, count in zip(row, digits)] for row in table.rows]
    nodes.fill_table(table_node, replace(table, rows=rows))
    for column in table.columns:
        title = PROBABILITY.strip() if column.name.startswith(PROBABILITY) else column.title
        head = HEAD_OF_COLUMN.get(column.name)
        table_node.SetColumnTitle(column.name, head.title if head else title)


def _rounded(value: Any, digits: int | None) -> Any:
    if digits is None or not isinstance(value, float):
        return value
    return None if value != value else round(value, digits)

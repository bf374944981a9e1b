"""Tables of results in a panel."""

MOST_ROWS = 9
NARROWEST_COLUMN_PX = 30  # Slicer's tables keep 60, which a narrow panel has no room for


def showTable(view, tableNode):
    """Show a table node, or None, in a `qMRMLTableView`: compact, and as high as its rows need up to a limit."""
    if view.mrmlTableNode() is not tableNode:  # setting it again would take the selection away
        view.selectionModel().clear()  # the view would keep the number of the row that was selected in the other table
        view.setMRMLTableNode(tableNode)
    rows, columns = view.verticalHeader(), view.horizontalHeader()
    rows.setVisible(False)
    rows.setDefaultSectionSize(rows.minimumSectionSize)
    columns.minimumSectionSize = NARROWEST_COLUMN_PX
    view.resizeColumnsToContents()
    height = columns.sizeHint.height() + min(view.model().rowCount(), MOST_ROWS) * rows.defaultSectionSize
    view.setFixedHeight(height + view.horizontalScrollBar().sizeHint.height() + 2 * view.frameWidth)

"""Clicks on the points of plots."""

SELECTED = "dataSelected(vtkStringArray*, vtkCollection*)"


class PlotClicks:
    """Hears of clicked points of one plot view at a time: `onSelection(seriesIDs, selections)`.

    Views outlive the panel when it is reloaded: the panel calls `watch(None)` in its cleanup.
    """

    def __init__(self, onSelection):
        self.view, self._onSelection = None, onSelection

    def watch(self, plotView):
        """Hear of this view, or of none, and of no other."""
        if plotView is self.view:
            return
        if self.view is not None:
            self.view.disconnect(SELECTED, self._onSelection)
        if plotView is not None:
            plotView.connect(SELECTED, self._onSelection)
        self.view = plotView

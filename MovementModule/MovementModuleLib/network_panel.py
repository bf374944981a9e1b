"""The panel's model choosers: each task has its own kinds of networks."""

from SpineMotionToolsGui.models import ModelChooser

CLASSIFIERS = ("movements-starter",)
BACKGROUNDS = ("movements-starter", "movements-u2net")
INFANT_POINTS = ("movements-starter", "movements-openpose")
WALKER_POINTS = ("gait-starter", "movements-openpose")


class PartChooser(ModelChooser):
    """Offers only those sets of the catalogue that hold the wanted kind of network, or a file."""

    def __init__(self, comboBox, label, system, onChosen, only=None):
        self._only = only
        super().__init__(comboBox, label, system, onChosen, pickFile=True)

    def refresh(self) -> None:
        from SpineMotionToolsLib.common.catalogue import catalogue

        super().refresh()
        if self._only is not None:
            wanted = [catalogue()[name] for name in self._only]
            self._entries = {entry.id: entry for entry in wanted if all(path.is_file() for path in entry.paths)}
            self._fill()


class NetworkPanel:
    """Owns the choosers of both tasks and shows those of the chosen one."""

    def __init__(self, moduleWidget):
        self._module = moduleWidget
        ui = self._ui = moduleWidget.ui
        kinds = (
            ("gaitModel", ui.gaitModelComboBox, ui.gaitModelNoteLabel, "gait", None),
            ("movementsModel", ui.movementsModelComboBox, ui.movementsModelNoteLabel, "movements", CLASSIFIERS),
            ("backgroundModel", ui.backgroundModelComboBox, ui.backgroundModelNoteLabel, "movements", BACKGROUNDS),
            ("pointsModel", ui.pointsComboBox, ui.pointsNoteLabel, "movements", INFANT_POINTS),
            ("leanModel", ui.leanPointsComboBox, ui.leanPointsNoteLabel, "gait", WALKER_POINTS),
        )
        self._choosers = {
            name: PartChooser(box, label, system, lambda model, name=name: self._onChosen(name, model), only)
            for name, box, label, system, only in kinds
        }

    def setCurrent(self, parameterNode) -> None:
        for name, chooser in self._choosers.items():
            chooser.setCurrent(getattr(parameterNode, name))

    def update(self, parameterNode) -> None:
        """Show the choices of the chosen task."""
        gait = parameterNode is None or parameterNode.task.value == "gait"
        ui = self._ui
        ui.gaitModelWidget.visible = ui.lesserGaitWidget.visible = gait
        ui.movementsModelWidget.visible = ui.lesserInfantWidget.visible = not gait

    def _onChosen(self, name, model) -> None:
        if self._module._parameterNode:
            setattr(self._module._parameterNode, name, model)

"""The panel's model choosers: each task has its own kinds of networks."""

from slicer.i18n import tr as _
from SpineMotionToolsGui.models import ModelChooser

CLASSIFIERS = ("movements-starter",)
BACKGROUNDS = ("movements-starter", "movements-u2net")
BODY_POINTS = ("movements-starter", "movements-openpose")


class PartChooser(ModelChooser):
    """Offers only those of a system's sets that hold the wanted kind of network, or a file."""

    def __init__(self, comboBox, label, system, onChosen, only=None):
        self._only = only
        super().__init__(comboBox, label, system, onChosen, pickFile=True)

    def refresh(self) -> None:
        super().refresh()
        if self._only is not None:
            self._entries = {key: entry for key, entry in self._entries.items() if key in self._only}
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
            ("pointsModel", ui.pointsComboBox, ui.pointsNoteLabel, "movements", BODY_POINTS),
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
        ui.pointsComboBox.toolTip = (
            _("Network that finds the joints of the walking patient, for the trunk's lean.")
            if gait
            else _("Network that finds shoulders and hips of the infant.")
        )

    def _onChosen(self, name, model) -> None:
        if self._module._parameterNode:
            setattr(self._module._parameterNode, name, model)

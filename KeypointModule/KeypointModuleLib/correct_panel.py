"""The section "Corrections": history, what to check next, locked and absent vertebrae, names, placed corners."""

import slicer
from slicer.i18n import tr as _

from KeypointModuleLib import texts

NAMINGS = (  # topmost vertebra, thoracic and lumbar vertebrae of the spine
    ("T1", 12, 5),
    ("C7", 12, 5),
    ("T2", 12, 5),
    ("T1", 11, 5),
    ("T1", 13, 5),
    ("T1", 12, 4),
    ("T2", 12, 6),
)


class CorrectPanel:
    """Buttons that change the session of the chosen radiograph; dragging itself is `session.InteractiveSession`'s."""

    def __init__(self, moduleWidget):
        self._module = moduleWidget
        self._ui = moduleWidget.ui
        self._visited = []  # vertebrae that "Next to check" has shown since the last change
        self._visitedAt = None
        ui = self._ui
        ui.undoButton.connect("clicked(bool)", lambda checked: self._do(lambda session: session.undo()))
        ui.redoButton.connect("clicked(bool)", lambda checked: self._do(lambda session: session.redo()))
        ui.acceptButton.connect("clicked(bool)", lambda checked: self._do(lambda session: session.accept()))
        ui.lockButton.connect("clicked(bool)", self.onLock)
        ui.absentButton.connect("clicked(bool)", self.onAbsent)
        ui.nextButton.connect("clicked(bool)", self.onNext)
        ui.goButton.connect("clicked(bool)", lambda checked: self.goTo(ui.vertebraComboBox.currentIndex))
        ui.releaseButton.connect("clicked(bool)", self.onRelease)
        ui.restartButton.connect("clicked(bool)", self.onRestart)
        ui.vertebraComboBox.connect("activated(int)", lambda index: self.update())
        ui.namesComboBox.connect("activated(int)", self.onNames)
        for naming in NAMINGS:
            ui.namesComboBox.addItem(self._namingText(*naming))

    # -- what is shown --------------------------------------------------------------------------------------------

    def update(self):
        """Show the history's state, the chosen vertebra and what can be pressed."""
        ui, session = self._ui, self._module.session()
        reading = session.reading if session is not None else None
        ui.progressLabel.text = texts.progressText(reading) if reading else _("Press Apply first.")
        ui.undoButton.enabled = session is not None and session.canUndo
        ui.redoButton.enabled = session is not None and session.canRedo
        ui.nextButton.enabled = reading is not None and bool(reading.to_check)
        ui.acceptButton.enabled = reading is not None and not reading.accepted
        ui.acceptButton.text = _("Accepted") if reading is not None and reading.accepted else _("Accept")
        self._fillVertebrae(reading)
        level = ui.vertebraComboBox.currentIndex
        ui.lockButton.checked = reading is not None and level in reading.locked
        ui.absentButton.checked = reading is not None and level in reading.absent
        ui.lockButton.enabled = ui.goButton.enabled = reading is not None and level not in reading.absent
        for widget in (ui.absentButton, ui.vertebraComboBox, ui.namesComboBox):
            widget.enabled = reading is not None
        self._fillPlaced(reading)
        ui.releaseButton.enabled = ui.restartButton.enabled = reading is not None and bool(reading.given)
        if reading is not None:
            ui.namesComboBox.setCurrentIndex(self._namingOf(reading.levels))

    def _fillVertebrae(self, reading):
        combo = self._ui.vertebraComboBox
        self._fill(combo, [] if reading is None else [self._vertebraText(reading, level) for level in range(17)])

    def _fillPlaced(self, reading):
        from SpineMotionToolsLib.keypoints.anatomy import keypoint_name

        names = [] if reading is None else [keypoint_name(index, reading.levels) for index in reading.given]
        self._fill(self._ui.placedComboBox, names)
        self._ui.placedComboBox.enabled = bool(names)

    @staticmethod
    def _fill(combo, texts):
        """Show these texts; the choice stays at its place."""
        if [combo.itemText(index) for index in range(combo.count)] == texts:
            return
        index = combo.currentIndex
        combo.clear()
        combo.addItems(texts)
        combo.setCurrentIndex(min(max(0, index), len(texts) - 1))

    @staticmethod
    def _vertebraText(reading, level):
        if level in reading.absent:
            return _("{name} (absent)").format(name=reading.levels[level])
        if level in reading.locked:
            return _("{name} (locked)").format(name=reading.levels[level])
        return reading.levels[level]

    @staticmethod
    def _namingText(first, thoracic, lumbar):
        from SpineMotionToolsLib.keypoints.anatomy import names_from

        names = names_from(first, lumbar, thoracic)
        return _("{first} to {last} ({thoracic} T, {lumbar} L)").format(
            first=names[0], last=names[-1], thoracic=thoracic, lumbar=lumbar
        )

    @staticmethod
    def _namingOf(levels):
        from SpineMotionToolsLib.keypoints.anatomy import names_from

        names = [names_from(first, lumbar, thoracic) for first, thoracic, lumbar in NAMINGS]
        return names.index(tuple(levels)) if tuple(levels) in names else -1

    # -- actions --------------------------------------------------------------------------------------------------

    def _do(self, change):
        """Change the session; what it refuses is shown."""
        with slicer.util.tryWithErrorDisplay(_("Nothing was changed."), waitCursor=False):
            change(self._module.session())

    def goTo(self, level):
        """Show a vertebra and choose it for the buttons."""
        session = self._module.session()
        if session is not None and level >= 0:
            self._ui.vertebraComboBox.setCurrentIndex(level)
            self._module.logic.jumpToVertebra(session, level)
            self.update()

    def onNext(self):
        """Go to the least certain vertebra; pressed again without a change in between, to the next one."""
        session = self._module.session()
        reading = session.reading
        changedAt = (session.nodes.text.GetID(), len(reading.given), reading.locked, reading.absent)
        if changedAt != self._visitedAt:
            self._visited, self._visitedAt = [], changedAt
        left = [level for level in reading.to_check if level not in self._visited]
        if not left:
            self._visited, left = [], reading.to_check
        self._visited.append(left[0])
        self.goTo(left[0])
        self._module.showMessage(texts.checkText(reading, left[0]))

    def onLock(self, checked):
        level = self._ui.vertebraComboBox.currentIndex
        self._do(lambda session: session.lock(level, checked))

    def onAbsent(self, checked):
        level = self._ui.vertebraComboBox.currentIndex
        self._do(lambda session: session.setAbsent(level, checked))

    def onNames(self, index):
        from SpineMotionToolsLib.keypoints.anatomy import names_from

        first, thoracic, lumbar = NAMINGS[index]
        self._do(lambda session: session.nameLevels(names_from(first, lumbar, thoracic)))

    def onRelease(self):
        name = self._ui.placedComboBox.currentText
        self._do(lambda session: session.release(name, wait=False))

    def onRestart(self):
        self._do(lambda session: session.restart(wait=False))

"""The model chooser of a panel: the weight sets that are on this computer, and a note about the chosen one."""

import html
import os

import qt
from slicer.i18n import tr as _

BROWSE = "browse"


class ModelChooser:
    """Fills a combo box with the catalogue's weight sets of one system and a way to choose a folder or file.

    `onChosen(model)` is called with a catalogue id or a path when the user chose; `label` shows what the set is,
    its licence, and that starter sets are not validated on patients.
    """

    def __init__(self, comboBox, label, system, onChosen, pickFile=False):
        self._comboBox = comboBox
        self._label = label
        self._system = system
        self._onChosen = onChosen
        self._pickFile = pickFile
        self._filling = False
        self._current = ""
        comboBox.connect("activated(int)", self._onActivated)
        self.refresh()

    def refresh(self) -> None:
        """Read the catalogue again (after a download, say)."""
        from SpineMotionToolsLib.common.catalogue import catalogue

        self._entries = {
            entry.id: entry
            for entry in catalogue().values()
            if entry.system == self._system and all(path.is_file() for path in entry.paths)
        }
        self._fill()

    def setSystem(self, system: str, pickFile: bool = False) -> None:
        """Show the weight sets of another system."""
        if system != self._system:
            self._system, self._pickFile = system, pickFile
            self.refresh()

    def setCurrent(self, model: str) -> None:
        self._current = model
        self._fill()

    @property
    def current(self) -> str:
        return self._current

    def _fill(self):
        self._filling = True
        self._comboBox.clear()
        for identifier, entry in self._entries.items():
            self._comboBox.addItem(entry.title, identifier)
        if self._current and self._current not in self._entries:
            self._comboBox.addItem(os.path.basename(self._current.rstrip("/\\")) or self._current, self._current)
        self._comboBox.addItem(_("Choose a file...") if self._pickFile else _("Choose a folder..."), BROWSE)
        self._comboBox.setCurrentIndex(max(0, self._comboBox.findData(self._current)))
        self._filling = False
        self._describe()

    def _onActivated(self, index):
        if self._filling:
            return
        choice = self._comboBox.itemData(index)
        if choice == BROWSE:
            choice = self._browse()
            if not choice:
                self.setCurrent(self._current)
                return
        self.setCurrent(choice)
        self._onChosen(choice)

    def _browse(self):
        parent = self._comboBox.window()
        if self._pickFile:
            return qt.QFileDialog.getOpenFileName(
                parent, _("Network weights"), "", _("Weights") + " (*.pt *.pth *.ckpt *.safetensors *.h5)"
            )
        return qt.QFileDialog.getExistingDirectory(parent, _("Folder with network weights"))

    def _describe(self):
        entry = self._entries.get(self._current)
        if entry is None:
            self._label.text = html.escape(self._current)
            self._label.toolTip = self._current
            return
        note = html.escape(entry.purpose)
        if entry.starter:
            note += "<br><b>" + _("Starter model: small, for trying things out; not validated on patients.") + "</b>"
        if not entry.commercial_use:
            note += "<br>" + _("Non-commercial use only.")
        self._label.text = note
        self._label.toolTip = _("License: {license}. Cite: {citation}").format(
            license=entry.license, citation=entry.citation
        )

"""The start page's section "Models": what weights there are, their licenses, and how they get here, are checked, go."""

import html
import os

import qt
import slicer
from slicer.i18n import tr as _


class ModelManager:
    """The table of all weight sets and its buttons; downloads, copies and checks run in `jobs` of the page."""

    def __init__(self, moduleWidget, jobs):
        self._module, self._ui, self._jobs = moduleWidget, moduleWidget.ui, jobs
        self._checked = {}  # model id -> report of its last check
        ui, table = self._ui, self._ui.modelsTable
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("State"), _("Size"), _("Model")])
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setVisible(False)
        table.connect("itemSelectionChanged()", self.showSelected)
        ui.downloadButton.connect("clicked(bool)", self.onDownload)
        ui.addFileButton.connect("clicked(bool)", self.onAddFile)
        ui.addFolderButton.connect("clicked(bool)", self.onAddFolder)
        ui.deleteButton.connect("clicked(bool)", self.onDelete)
        ui.checkModelButton.connect("clicked(bool)", self.onCheckModel)
        ui.openFolderButton.connect("clicked(bool)", self.onOpenFolder)
        self.fill()

    def fill(self):
        from SpineMotionToolsLib.common.catalogue import catalogue

        table, entries = self._ui.modelsTable, list(catalogue().values())
        selected = self._selected()
        table.setRowCount(len(entries))
        for row, entry in enumerate(entries):
            texts = (self._module.logic.stateText(entry.id), self._module.logic.sizeText(entry), entry.title)
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setData(qt.Qt.UserRole, entry.id)
                item.setToolTip(entry.purpose)
                table.setItem(row, column, item)
            if entry.id == selected:
                table.selectRow(row)
        table.resizeColumnsToContents()
        self.showSelected()

    def _selected(self):
        item = self._ui.modelsTable.item(self._ui.modelsTable.currentRow(), 0)
        return item.data(qt.Qt.UserRole) if item is not None else None

    def showSelected(self):
        if self._jobs.running:
            return
        from SpineMotionToolsLib.common.catalogue import find_model

        ui, identifier = self._ui, self._selected()
        entry = find_model(identifier) if identifier else None
        ui.modelLabel.text = self._module.logic.modelText(entry) if entry else _("Select a model to see its license.")
        if identifier in self._checked:
            ui.modelLabel.text += "<br><br>" + html.escape(self._checked[identifier]).replace("\n", "<br>")
        ui.checkModelButton.enabled = entry is not None and any(path.is_file() for path in entry.paths)
        own = entry is not None and not entry.starter
        ui.downloadButton.enabled = own and entry.downloadable
        ui.addFileButton.enabled = ui.addFolderButton.enabled = own
        ui.deleteButton.enabled = own and entry.folder.is_dir()

    def _agreed(self, entry, question):
        """Show size, license and citation, and ask; True when the user accepts."""
        text = _("{title}\n\nLicense: {license}\n{url}\nCite: {citation}\n\n{question}").format(
            title=entry.title,
            license=entry.license,
            url=entry.license_url,
            citation=entry.citation,
            question=question,
        )
        return slicer.util.confirmOkCancelDisplay(text, windowTitle=_("License"))

    def onDownload(self):
        """Ask the server for the size in the background, then the user for consent, then fetch."""
        if self._jobs.running:
            self._jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The model was not added."), waitCursor=False):
            from SpineMotionToolsLib.common.catalogue import find_model
            from SpineMotionToolsLib.common.jobs import start_job

            entry = find_model(self._selected())
            self._jobs.run(
                self._ui.downloadButton,
                _("Asking how large {title} is").format(title=entry.title),
                lambda onProgress: start_job("common.tasks:model_size", {"model_id": entry.id}, onProgress),
                lambda result: self._onSize(entry, result["bytes"]),
            )

    def _onSize(self, entry, size):
        question = _("Download {size} from {source} under this license?").format(
            size=self._module.logic.downloadSizeText(size), source=entry.source
        )
        self._get(entry, self._ui.downloadButton, "common.tasks:download_model", question, {})

    def onAddFile(self):
        self._add(
            self._ui.addFileButton,
            lambda: qt.QFileDialog.getOpenFileName(self._module.parent, _("Weight file or archive")),
        )

    def onAddFolder(self):
        self._add(
            self._ui.addFolderButton,
            lambda: qt.QFileDialog.getExistingDirectory(self._module.parent, _("Weight folder")),
        )

    def _add(self, button, choose):
        if self._jobs.running:
            self._jobs.cancel()
            return
        source = choose()
        if source:
            from SpineMotionToolsLib.common.catalogue import find_model

            question = _("Use your copy under this license?")
            entry = find_model(self._selected())
            self._get(entry, button, "common.tasks:add_model_files", question, {"source": str(source)})

    def _get(self, entry, button, task, question, parameters):
        """Start the job that brings a set's files, if the user agrees."""
        with slicer.util.tryWithErrorDisplay(_("The model was not added."), waitCursor=False):
            from SpineMotionToolsLib.common.jobs import start_job

            if not self._agreed(entry, question):
                return
            parameters = {"model_id": entry.id, "accept_license": True, **parameters}
            self._jobs.run(
                button,
                _("Fetching {title}").format(title=entry.title),
                lambda onProgress: start_job(task, parameters, onProgress),
                lambda result: self._onAdded(),
            )

    def _onAdded(self):
        """Weights that have just come are checked at once: a wrong file is found here, not at the first scan."""
        self.fill()
        self.onCheckModel()

    def onCheckModel(self):
        if self._jobs.running:
            self._jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The files were not checked."), waitCursor=True):
            from SpineMotionToolsLib.common.catalogue import find_model
            from SpineMotionToolsLib.common.jobs import start_job

            entry = find_model(self._selected())
            self._jobs.run(
                self._ui.checkModelButton,
                _("Checking {title}").format(title=entry.title),
                lambda onProgress: start_job("models.tasks:check", {"model_id": entry.id}, onProgress),
                lambda result: self._onModelChecked(entry.id, result),
            )

    def _onModelChecked(self, modelID, result):
        self._checked[modelID] = result["text"]
        (self._module.log.info if result["good"] else self._module.log.error)(result["text"])
        self.fill()

    def onDelete(self):
        from SpineMotionToolsLib.common.catalogue import find_model
        from SpineMotionToolsLib.common.model_store import delete_model

        entry = find_model(self._selected())
        if slicer.util.confirmOkCancelDisplay(_("Delete {title} from this computer?").format(title=entry.title)):
            with slicer.util.tryWithErrorDisplay(_("The model was not deleted."), waitCursor=True):
                delete_model(entry.id)
                self._checked.pop(entry.id, None)
            self.fill()

    def onOpenFolder(self):
        from SpineMotionToolsLib.common.catalogue import find_model, models_folder

        identifier = self._selected()
        folder = find_model(identifier).folder if identifier else models_folder()
        if not folder.is_dir():
            folder = models_folder()
            os.makedirs(folder, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

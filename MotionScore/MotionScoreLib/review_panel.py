"""The panel's sections "Study folder" and "Review": grade a folder, then confirm its grades by keyboard."""

import html
import os

import qt
import slicer
from slicer.i18n import tr as _
from SpineMotionToolsGui.binding import TextField
from SpineMotionToolsGui.folders import FolderField, folderOf

COLUMNS = ("scan", "status", "grade", "agreement", "mine")
THRESHOLD_REST_MS = 400


class ReviewPanel:
    """Owns the review session of the chosen folder; the session keeps all grades on disk as they are given."""

    def __init__(self, moduleWidget):
        self._module = moduleWidget
        self._ui = moduleWidget.ui
        self._session = None
        self._sessionKey = None
        self._loadedScanID = ""
        self._loadedVolumeID = ""
        self._shortcuts = []
        self._filling = False
        self._thresholdTimer = qt.QTimer()
        self._thresholdTimer.setSingleShot(True)
        self._thresholdTimer.setInterval(THRESHOLD_REST_MS)
        self._thresholdTimer.connect("timeout()", self._applyThreshold)
        ui = self._ui
        self._folder = FolderField(ui.datasetFolderEdit, lambda: self._parameters, "datasetFolder")
        self._reviewer = TextField(ui.reviewerLineEdit, lambda: self._parameters, "reviewer")
        ui.predictButton.connect("clicked(bool)", self.onPredict)
        for grade in range(1, 6):
            getattr(ui, f"grade{grade}Button").connect("clicked(bool)", lambda checked, g=grade: self.onGrade(g))
        ui.undoButton.connect("clicked(bool)", self.onUndo)
        ui.previousButton.connect("clicked(bool)", self.onPrevious)
        ui.nextButton.connect("clicked(bool)", self.onNext)
        ui.exportGradesButton.connect("clicked(bool)", self.onExport)
        ui.importGradesButton.connect("clicked(bool)", self.onImport)
        ui.clearGradesButton.connect("clicked(bool)", self.onClear)
        ui.queueTable.connect("cellActivated(int,int)", lambda row, column: self.openRow(row))
        ui.queueTable.setColumnCount(len(COLUMNS))
        ui.queueTable.setHorizontalHeaderLabels([_("Scan"), _("Status"), _("Grade"), _("Agreement %"), _("My grade")])
        ui.queueTable.horizontalHeader().setStretchLastSection(True)
        ui.queueTable.verticalHeader().setVisible(False)

    # -- life cycle -----------------------------------------------------------------------------------------------

    @property
    def _parameters(self):
        return self._module._parameterNode

    def close(self):
        self.removeShortcuts()
        self._thresholdTimer.stop()
        self._session = None

    def installShortcuts(self):
        """Alt+1 ... Alt+5 grade the open scan while the module is shown; Slicer has its own use for Ctrl+2 and on."""
        mainWindow = slicer.util.mainWindow()
        if self._shortcuts or mainWindow is None:
            return
        for grade in range(1, 6):
            shortcut = qt.QShortcut(mainWindow)
            shortcut.setKey(qt.QKeySequence(f"Alt+{grade}"))
            shortcut.connect("activated()", lambda g=grade: self.onGrade(g))
            self._shortcuts.append(shortcut)

    def removeShortcuts(self):
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
        self._shortcuts = []

    # -- study folder ---------------------------------------------------------------------------------------------

    def folderChosen(self):
        return self._parameters is not None and os.path.isdir(folderOf(self._parameters.datasetFolder))

    def onPredict(self):
        module = self._module
        if module.jobs.running:
            module.jobs.cancel()
            return
        with slicer.util.tryWithErrorDisplay(_("The folder was not graded."), waitCursor=True):
            from SpineMotionToolsGui.dependencies import ensureInferencePackages
            from SpineMotionToolsLib.common.jobs import start_job

            ensureInferencePackages()
            node = self._parameters
            parameters = {
                "root": str(node.datasetFolder),
                "model": node.model,
                "unit": node.gradingUnit.value,
                "stack_height": node.stackHeight,
                "incomplete": node.incompleteStack.value,
                "rules": node.rules.value,
                "slice_step": node.sliceStep,
                "device": node.device.value,
                "threshold": node.confidenceThreshold,
                "blind": node.blindMode,
                "force": node.reprocess,
            }
            module.jobs.run(
                self._ui.predictButton,
                _("Grading the folder"),
                lambda onProgress: start_job("motion.tasks:predict", parameters, onProgress),
                self._onPredicted,
            )

    def _onPredicted(self, result):
        for line in result["skipped"]:
            self._module.log.info(_("Skipped {scan}: {reason}").format(scan=line["scan"], reason=line["reason"]))
        message = _("{graded} scans graded, {kept} were graded before, {skipped} skipped (see the log).")
        self._ui.statusLabel.text = message.format(
            graded=result["graded"], kept=result["kept"], skipped=len(result["skipped"])
        )
        self._readAnew()
        self.update()

    # -- the session ----------------------------------------------------------------------------------------------

    def _refreshSession(self):
        """Open the session of the chosen folder when folder, reviewer or blind mode changed.

        A folder just chosen keeps its threshold and its blind mode: opening it reveals nothing.
        """
        node = self._parameters
        if not self.folderChosen():
            self._session, self._sessionKey = None, None
            return
        key = (str(node.datasetFolder), node.reviewer.strip(), node.blindMode)
        if key == self._sessionKey:
            self._followThreshold()
            return
        from SpineMotionToolsLib.common.errors import SpineMotionError
        from SpineMotionToolsLib.motion.review import ReviewSession

        current = self._session.current.scan_id if self._session and self._session.current else ""
        just = self._sessionKey is None or self._sessionKey[0] != key[0]
        self._sessionKey = key
        try:
            self._session = ReviewSession(
                node.datasetFolder,
                reviewer=key[1],
                blind=node.blindMode or (None if just or self._session is None else False),
                threshold=None if just else int(node.confidenceThreshold),
            )
            known = {item.scan_id for item in self._session.items()}
            if self._loadedScanID not in known:  # it is of another folder
                self._loadedScanID = self._loadedVolumeID = ""
            if current in known:
                self._session.select(current)
            self._sessionKey = (*key[:2], self._session.blind)
            with slicer.util.NodeModify(node):
                node.blindMode = self._session.blind
                node.confidenceThreshold = self._session.threshold
        except SpineMotionError as error:  # nothing graded there yet
            self._session = None
            self._ui.currentScanLabel.text = html.escape(str(error))

    def _readAnew(self):
        """Read the folder's tables at the next update; threshold and blind mode stay as the panel shows them."""
        if self._sessionKey is not None:
            self._sessionKey = (self._sessionKey[0], None, None)

    def _followThreshold(self):
        """A moved slider counts at once; statuses on disk follow when it rests, because they may be thousands."""
        if self._session and int(self._parameters.confidenceThreshold) != self._session.threshold:
            self._thresholdTimer.start()

    def _applyThreshold(self):
        if self._session is not None and self._parameters is not None:
            self._session.configure(threshold=int(self._parameters.confidenceThreshold))
            self._fillQueue()

    def hidesResult(self):
        """True while blind mode must hide the automatic grade of the scan that is shown."""
        node = self._parameters
        if node is None or not node.blindMode:
            return False
        volume = node.inputVolume
        if self._session is None or volume is None or volume.GetID() != self._loadedVolumeID:
            return True
        return self._session.item(self._loadedScanID).hidden

    def update(self):
        """Show queue, open scan, agreement and what can be pressed."""
        if self._parameters is None:
            return
        self._folder.show()
        self._reviewer.show()
        self._refreshSession()
        ui, session = self._ui, self._session
        self._fillQueue()
        current = session.current if session else None
        ready = current is not None and bool(session.reviewer)
        for grade in range(1, 6):
            button = getattr(ui, f"grade{grade}Button")
            button.enabled = ready
            suggested = current is not None and not current.hidden and current.automatic_grade == grade
            button.text = f"[{grade}]" if suggested else str(grade)
        for button in (ui.previousButton, ui.nextButton, ui.exportGradesButton, ui.importGradesButton):
            button.enabled = session is not None
        ui.undoButton.enabled = ready
        ui.clearGradesButton.enabled = session is not None and bool(session.reviewer)
        if session is None:
            ui.thresholdCountLabel.text = ""
            ui.agreementLabel.text = ""
            return
        total = len(session.items("all"))
        ui.thresholdCountLabel.text = _("{n} of {total} scans go to review.").format(
            n=session.count_for_review(int(self._parameters.confidenceThreshold)), total=total
        )
        ui.resultsFolderLabel.text = _("Results: {folder}").format(folder=html.escape(str(session.root)))
        ui.currentScanLabel.text = self._describe(current)
        ui.agreementLabel.text = self._agreementText()

    def _describe(self, item):
        if item is None:
            return _("Double-click a scan of the list to open it.")
        text = "<b>" + html.escape(item.scan_id) + "</b>: " + html.escape(item.status_text)
        if not self._session.reviewer:
            text += "<br>" + _("Enter your reviewer name to grade.")
        return text

    def _agreementText(self):
        comparison = self._session.agreement() if self._session.reviewer else None
        return html.escape(comparison.text()) if comparison else ""

    def _fillQueue(self):
        table, node = self._ui.queueTable, self._parameters
        items = self._session.items(node.reviewScope.value) if self._session else []
        rows = [self._cells(item) for item in items]
        if rows == getattr(self, "_shownRows", None):
            return
        self._filling = True
        table.setSortingEnabled(False)
        table.setRowCount(len(items))
        for row, (item, cells) in enumerate(zip(items, rows)):
            for column, text in enumerate(cells):
                cell = qt.QTableWidgetItem(text)
                cell.setToolTip(item.tooltip)
                cell.setData(qt.Qt.UserRole, item.scan_id)
                table.setItem(row, column, cell)
        table.setSortingEnabled(True)
        self._shownRows = rows
        self._filling = False

    def _cells(self, item):
        texts = (item.scan_id, item.status_text, item.automatic_grade, item.agreement_percent, item.my_grade)
        return ["" if text is None else str(text) for text in texts]

    # -- opening scans --------------------------------------------------------------------------------------------

    def openRow(self, row):
        cell = self._ui.queueTable.item(row, 0)
        if cell is not None and self._session is not None:
            self._open(self._session.select(cell.data(qt.Qt.UserRole)))

    def onNext(self):
        self._open(self._session.next(self._parameters.reviewScope.value))

    def onPrevious(self):
        self._open(self._session.previous("all"))

    def _open(self, item):
        """Load the scan into the slice views, with its result when it may be seen; the previous scan stays."""
        if item is None:
            self._ui.reviewMessageLabel.text = _("No scan of this list is left.")
            self.update()
            return
        with slicer.util.tryWithErrorDisplay(_("The scan could not be opened."), waitCursor=True):
            volume = slicer.mrmlScene.GetNodeByID(self._loadedVolumeID) if self._loadedVolumeID else None
            if self._loadedScanID != item.scan_id or volume is None:
                volume = self._module.logic.loadScan(str(item.image_path), name=item.scan_id)
            self._loadedScanID, self._loadedVolumeID = item.scan_id, volume.GetID()
            self._parameters.inputVolume = volume
            slicer.util.setSliceViewerLayers(background=volume, fit=True)
            self._fillStacks(item)
            self._showSavedResult(item, volume)
        self._module._updateControls()

    def _showSavedResult(self, item, volume):
        result = self._session.result(item.scan_id)
        if result is not None:
            self._module.logic._show(self._parameters, volume, result)

    def _fillStacks(self, item):
        combo = self._ui.stackComboBox
        combo.clear()
        combo.addItem(_("Whole scan"), 0)
        for number in range(1, len(item.stack_ranges) + 1):
            combo.addItem(_("Stack {n}").format(n=number), number)

    # -- grading --------------------------------------------------------------------------------------------------

    def onGrade(self, grade):
        session, ui = self._session, self._ui
        if session is None or session.current is None:
            return
        with slicer.util.tryWithErrorDisplay(_("The grade was not saved."), waitCursor=False):
            stack = ui.stackComboBox.itemData(ui.stackComboBox.currentIndex) or None
            item = session.grade(grade, note=ui.notesLineEdit.text, stack=stack)
            ui.notesLineEdit.text = ""
            what = _("stack {n} of {scan}").format(n=stack, scan=item.scan_id) if stack else item.scan_id
            message = _("Saved grade {grade} for {what}.").format(grade=grade, what=what)
            if item.automatic_grade is not None and stack is None:
                message += " " + _("Automatic grade: {grade}.").format(grade=item.automatic_grade)
            ui.reviewMessageLabel.text = html.escape(message)
            if stack is None:
                self._goOn(item)
            else:
                self._module._updateControls()

    def _goOn(self, graded):
        """After a grade: in blind mode stay, so that the reveal can be seen; else open the next scan."""
        if self._session.blind:
            self._showSavedResult(graded, self._parameters.inputVolume)
            self._module._updateControls()
        else:
            self.onNext()

    def onUndo(self):
        with slicer.util.tryWithErrorDisplay(_("Nothing was taken back."), waitCursor=False):
            item = self._session.undo()
            self._ui.reviewMessageLabel.text = html.escape(
                _("Took back the grade of {scan}.").format(scan=item.scan_id)
            )
            self._open(item)

    def onClear(self):
        question = _("Take back all grades of {reviewer}? The audit file keeps them.")
        if slicer.util.confirmYesNoDisplay(question.format(reviewer=self._session.reviewer)):
            count = self._session.clear(self._session.reviewer)
            self._ui.reviewMessageLabel.text = _("Took back {n} grades.").format(n=count)
            self._module._updateControls()

    def onExport(self):
        folder = qt.QFileDialog.getExistingDirectory(self._module.parent, _("Folder for the grades"))
        if folder:
            with slicer.util.tryWithErrorDisplay(_("The grades were not exported."), waitCursor=True):
                from pathlib import Path

                paths = self._session.export(Path(folder))
                self._module.log.info(_("Wrote {files}.").format(files=", ".join(path.name for path in paths)))

    def onImport(self):
        """Fill in final grades of a table; scans that have a grade keep it."""
        path = qt.QFileDialog.getOpenFileName(
            self._module.parent, _("Table of final grades"), "", _("Tables") + " (*.csv *.tsv)"
        )
        if not path:
            return
        with slicer.util.tryWithErrorDisplay(_("The grades were not imported."), waitCursor=True):
            from pathlib import Path

            from SpineMotionToolsLib.motion.grade_exports import import_final_grades

            counts = import_final_grades(self._session.root, Path(path), self._session.model_id)
            text = _(
                "{imported} grades imported; {existing} scans kept theirs; {missing} are not in this study; "
                "{invalid} without a valid grade."
            ).format(
                imported=counts.imported,
                existing=counts.skipped_existing,
                missing=counts.missing_scan,
                invalid=len(counts.invalid),
            )
            self._module.log.info(" ".join((text, *counts.invalid)))
            self._readAnew()
            self._module._updateControls()
            self._ui.reviewMessageLabel.text = html.escape(text)

"""Folders that the user chooses: fields of the parameter node shown in a `ctkPathLineEdit`, empty while none is chosen.

Slicer's own binding would show an unset path as ".", which reads as a folder.
"""

import pathlib


def folderOf(path):
    """The text of a chosen folder; "" while none is chosen."""
    return "" if path is None or str(path) in ("", ".") else str(path)


class FolderField:
    """Binds a path line edit to a field of type `pathlib.Path`; the panel calls `show()` when parameters change.

    `parameters()` returns the panel's parameter node, or None while there is none.
    """

    def __init__(self, pathLineEdit, parameters, field):
        self._edit, self._parameters, self._field = pathLineEdit, parameters, field
        self._showing = False
        pathLineEdit.connect("currentPathChanged(QString)", self._onChanged)
        pathLineEdit.connect("validInputChanged(bool)", self._onValid)

    def show(self):
        text = folderOf(getattr(self._parameters(), self._field))
        if folderOf(pathlib.Path(self._edit.currentPath)) != text:  # on Windows they differ in their slashes
            self._showing = True
            self._edit.currentPath = text
            self._showing = False

    def _onValid(self, valid):
        if not valid:  # emptied, of which the other signal does not tell
            self._onChanged("")

    def _onChanged(self, path):
        if self._parameters() is not None and not self._showing:
            setattr(self._parameters(), self._field, pathlib.Path(path))

"""The collapsible log at the end of each panel."""

import datetime
import logging


class Log:
    """Appends time-stamped lines to a read-only text box, and to the application's log.

    Lines never hold patient names: callers write node names only when the user chose them.
    """

    def __init__(self, textEdit):
        self._textEdit = textEdit

    def info(self, text: str) -> None:
        logging.info(text)
        self._append(text)

    def error(self, text: str) -> None:
        logging.error(text)
        self._append(text)

    def _append(self, text: str) -> None:
        self._textEdit.appendPlainText(f"{datetime.datetime.now():%H:%M:%S}  {text}")

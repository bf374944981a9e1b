"""Message boxes, questions and file dialogs: recorded, and answered by script; nothing waits for a person.

app.dialogs.answer(False)                  # the next question is declined
app.dialogs.answer("/data/scan.aim")       # the next file dialog returns this
app.dialogs.answer(lambda dialog: dialog.reject())      # a QDialog's exec_()
[shown.text for shown in app.dialogs.shown if shown.kind == "error"]
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

KINDS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}


@dataclass(frozen=True)
class Shown:
    """One dialog: `kind` is "error", "warning", "info", "confirm", "message", "delay" or the name of a Qt function."""

    kind: str
    text: str
    arguments: tuple[Any, ...] = ()


class Dialogs:
    """Every dialog shown so far and the answers still to be given."""

    def __init__(self):
        self.shown: list[Shown] = []
        self.displayed_errors: list[BaseException] = []  # exceptions the user has been told about
        self._answers: deque[Any] = deque()

    def answer(self, *answers) -> None:
        """Queue answers for the next questions: a value, or a function of the question's arguments."""
        self._answers.extend(answers)

    def texts(self, kind: str | None = None) -> list[str]:
        """The texts shown, all or of one kind."""
        return [shown.text for shown in self.shown if kind in (None, shown.kind)]

    def clear(self) -> None:
        self.shown.clear()
        self.displayed_errors.clear()
        self._answers.clear()

    def ask(self, kind: str, *arguments):
        """Record a dialog that needs an answer and return the scripted one; AssertionError if there is none."""
        self.shown.append(Shown(kind, " ".join(str(part) for part in arguments if isinstance(part, str)), arguments))
        if not self._answers:
            raise AssertionError(f"{kind}{arguments} would wait for a person; queue an answer: app.dialogs.answer(...)")
        answer = self._answers.popleft()
        return answer(*arguments) if callable(answer) else answer

    def confirm(self, text: str, default: bool = True) -> bool:
        """Record a question; the scripted answer, or the default, which is what Slicer answers in testing mode."""
        self.shown.append(Shown("confirm", text))
        answer = self._answers.popleft() if self._answers else default
        return bool(answer(text) if callable(answer) else answer)

    def tell(self, kind: str, text: str) -> None:
        """Record a message that only has an OK button."""
        self.shown.append(Shown(kind, text))
        if error := sys.exc_info()[1]:
            self.displayed_errors.append(error)

    def install(self, util) -> None:
        """Put this object behind the dialog functions of `slicer.util`."""
        util._messageDisplay, util.messageBox, util.delayDisplay = self._message, self._box, self._delay

    def _message(self, log_level, text, testing_answer, mainWindowNeeded=False, parent=None, **options):
        import qt

        logging.log(log_level, text)
        box, buttons = qt.QMessageBox, options.get("standardButtons")
        for accept, decline in ((box.Ok, box.Cancel), (box.Yes, box.No), (box.Retry, box.Close)):
            if buttons == accept | decline:
                return accept if self.confirm(text, default=bool(testing_answer)) else decline
        self.tell(KINDS.get(log_level, "message"), text)
        return None

    def _box(self, text, parent=None, **options):
        import qt

        logging.info(text)
        buttons = options.get("standardButtons")
        if buttons is None or buttons == qt.QMessageBox.Ok:
            self.tell("message", text)
            return qt.QMessageBox.Ok
        return self.ask("messageBox", text, options)

    def _delay(self, message, autoCloseMsec=1000, parent=None, **_):
        import slicer

        logging.info(message)
        self.tell("delay", message)
        slicer.app.processEvents()

"""A panel's job controls: the pressed button turns into Cancel, a progress bar and a status line tell how far it is."""

import qt
from slicer.i18n import tr as _

POLL_INTERVAL_MS = 100


class JobControls:
    """Runs one job at a time for a panel.

    `buttons`: all buttons that start jobs; while one runs it reads "Cancel" and the others are disabled.
    `onIdle`: called after every job, so that the panel can enable its buttons again by its own rules.
    """

    def __init__(self, buttons, progressBar, statusLabel, log, onIdle):
        self._buttons = list(buttons)
        self._progressBar = progressBar
        self._statusLabel = statusLabel
        self._log = log
        self._onIdle = onIdle
        self._job = None
        self._button = None
        self._buttonText = ""
        self._onResult = None
        self._about = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_INTERVAL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def running(self) -> bool:
        return self._job is not None

    def run(self, button, title, startJob, onResult) -> None:
        """Start a job, or cancel the running one when its own button was pressed again.

        `startJob(onProgress)` returns the job; `onResult(result)` is called on the main thread when it succeeded.
        """
        if self.running:
            self.cancel()
            return
        self._title = title
        self._job = startJob(self._onProgress)
        self._button, self._buttonText, self._onResult = button, button.text, onResult
        for other in self._buttons:
            other.enabled = other is button
        button.text = _("Cancel")
        self._progressBar.setRange(0, 0)
        self._progressBar.visible = True
        self._statusLabel.text = title
        self._log.info(title)
        self._timer.start()

    def showAbout(self, node) -> None:
        """Tell what is chosen: when another node is, a sentence about the one before leaves the status line."""
        identifier = node.GetID() if node is not None else None
        if identifier is not None and identifier != self._about:
            if self._about is not None and not self.running:
                self._statusLabel.text = ""
            self._about = identifier

    def cancel(self) -> None:
        """Stop the running job and its whole process tree; the scene stays as it was."""
        if self.running:
            self._job.cancel()
            self._finish(_("Cancelled."))

    def _onProgress(self, done, of, text=""):
        if of > 0:
            self._progressBar.setRange(0, 1000)
            self._progressBar.value = int(1000 * min(done / of, 1.0))
        remaining = self._job.remaining_s if self.running else None
        parts = [text or self._title]
        if remaining is not None and remaining >= 1:
            parts.append(_("about {time} left").format(time=durationText(remaining)))
        self._statusLabel.text = ", ".join(parts)

    def _poll(self):
        if not self.running or not self._job.poll():
            return
        job, onResult = self._job, self._onResult
        if job.error is not None:
            self._finish(str(job.error), failed=True)
            return
        self._finish("")
        try:
            onResult(job.result)
        except Exception as error:  # whatever it is, the panel must not stay silent
            self._statusLabel.text = str(error)
            self._log.error(str(error))
            raise
        finally:
            job.close()  # the job's folder holds result files until they are read

    def _finish(self, message, failed=False):
        self._timer.stop()
        self._job = None
        self._button.text = self._buttonText
        self._progressBar.visible = False
        self._statusLabel.text = message
        if message:
            (self._log.error if failed else self._log.info)(message)
        for button in self._buttons:
            button.enabled = True
        self._onIdle()


def durationText(seconds: float) -> str:
    """'40 s', '3 min', '1 h 10 min'."""
    seconds = int(round(seconds))
    if seconds < 90:
        return _("{n} s").format(n=seconds)
    minutes = int(round(seconds / 60))
    if minutes < 90:
        return _("{n} min").format(n=minutes)
    return _("{h} h {m} min").format(h=minutes // 60, m=minutes % 60)

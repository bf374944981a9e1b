"""The network in a process of its own: loaded once, asked after every correction; only the newest question counts."""

import os
import tempfile

import numpy as np
import qt
from slicer.i18n import tr as _

POLL_INTERVAL_MS = 5


class Network:
    """Answers `session.Request`s with one weight file on one device; the process starts with the first question.

    `model`: an id of the catalogue or a file's path. Answers come on the main thread, from a timer, or at once from
    `wait`. `provenance` is known after the first answer.
    """

    def __init__(self, model, device="auto"):
        self.model = model
        self.device = device
        self.provenance = None
        self._service = None
        self._folder = None
        self._onAnswer = None  # of the newest question
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_INTERVAL_MS)
        self._timer.connect("timeout()", self.poll)

    @property
    def busy(self):
        """Whether a question waits for its answer."""
        return self._service is not None and self._service.busy

    def ask(self, radiograph, chain, onAnswer, onError):
        """Ask for the keypoints after a chain of hints (`Request.to_json()`); None only loads network and picture.

        A newer question takes the place of an unanswered one, whose callbacks are then never called. Raises
        WeightsError for a model that is not on this computer.
        """
        call = {"image": self._file(radiograph.digest, radiograph.grid_image), "image_sha256": radiograph.digest}
        if chain is not None:
            call["chain"] = chain
        self._call(call, onAnswer, onError)

    def search(self, radiograph, onAnswer, onError):
        """Ask which part of the picture shows the spine: the answer's "region" (row, column, rows, columns)."""
        call = {"search": self._file(f"{radiograph.digest}-whole", radiograph.image)}
        self._call({**call, "scale": radiograph.scale.factors.tolist()}, onAnswer, onError)

    def isNewest(self, onAnswer):
        """Whether the question with this callback is the one that is or was answered last."""
        return self._onAnswer == onAnswer

    def _call(self, call, onAnswer, onError):
        def answered(answer):
            from SpineMotionToolsLib.common.provenance import Provenance

            self.provenance = Provenance.from_json(answer["provenance"])
            onAnswer(answer)

        self._running().call(call, answered, onError)
        self._onAnswer = onAnswer
        self._timer.start()

    def wait(self):
        """Wait until the question is answered; its callbacks run meanwhile."""
        import time

        while not self.poll():
            time.sleep(POLL_INTERVAL_MS / 1000)

    def poll(self):
        """Deliver an answer that has arrived; True when no question waits."""
        if not self.busy:
            self._timer.stop()
            return True
        self._service.poll()
        return not self.busy

    def close(self):
        """End the process; the next question starts another. A waiting question is forgotten."""
        self._timer.stop()
        if self._service is not None:
            self._service.close()
        self._service, self._folder, self._onAnswer = None, None, None

    def _running(self):
        from SpineMotionToolsLib.common.errors import SpineMotionError
        from SpineMotionToolsLib.common.jobs import start_service

        if self._service is not None and not self._service.busy:
            try:
                self._service.poll()
            except SpineMotionError:  # it ended while nobody asked; another one starts below
                pass
        if self._service is None or self._service.error is not None:
            parameters = {"weights": self._weightFile(), "device": self.device}
            self._service = start_service("keypoints.tasks:serve", parameters)
        return self._service

    def _weightFile(self):
        from SpineMotionToolsLib.common.catalogue import catalogue
        from SpineMotionToolsLib.common.model_store import model_paths

        return str(model_paths(self.model)[0]) if self.model in catalogue() else self.model

    def _file(self, name, pixels):
        """A picture where the process can read it; written once."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="SpineMotionTools-")
        path = os.path.join(self._folder.name, f"{name}.npy")
        if not os.path.isfile(path):
            np.save(path, pixels, allow_pickle=False)
        return path


class Question:
    """A question to the network that `JobControls` can run: it has a result or an error, and can be cancelled.

    With a `chain` it asks for the keypoints, without one for the part of the picture that shows the spine.
    """

    remaining_s = None

    def __init__(self, network, radiograph, chain=None):
        self.result = None
        self.error = None
        self._network = network
        if chain is None:
            network.search(radiograph, self._onAnswer, self._onError)
        else:
            network.ask(radiograph, chain, self._onAnswer, self._onError)

    def poll(self):
        from SpineMotionToolsLib.common.errors import Cancelled

        self._network.poll()
        if self.result is None and self.error is None and not self._network.isNewest(self._onAnswer):
            self.error = Cancelled(_("The network was asked something else meanwhile. Press Apply again."))
        return self.result is not None or self.error is not None

    def wait(self):
        """The answer; raises what went wrong."""
        self._network.wait()
        if self.error is not None:
            raise self.error
        return self.result

    def cancel(self):
        """Forget the question and free the processor at once."""
        if self._network.busy:
            self._network.close()

    def close(self):
        """Nothing to release: the network stays loaded for the corrections."""

    def _onAnswer(self, answer):
        self.result = answer

    def _onError(self, error):
        self.error = error

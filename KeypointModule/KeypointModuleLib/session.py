"""One radiograph's corners in the scene: what the user drags goes to the network, its answer moves the others."""

from dataclasses import replace

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from KeypointModuleLib.network import Question

STORE_DELAY_MS = 200  # the history is written after the points are drawn
WAITING_MS = 120  # only a slower answer is announced: drawing meanwhile would take processor time from the network
MOVED_PX = 1e-3  # less is rounding


class InteractiveSession(VTKObservationMixin):
    """A session of the library tied to its nodes, to the mouse and to the network.

    From the Python console, each call waits for its answer and returns the new `Reading`:

    >>> session.correct("T6 upper right", (810.0, 402.5))   # row, column of the picture; the others follow
    >>> session.undo(), session.lock("L1"), session.setAbsent("T1")
    >>> session.reading.main_curve.cobb_deg

    Only the end of a drag asks the network. A drag that ends before the last one is answered takes its place: both
    corrections go into the newer question. `onChanged()` is called after every change, `onMoving(reading)` while a
    corner is dragged, `onMessage(text, failed)` with a sentence for the user.
    """

    def __init__(self, nodes, picture, network, onChanged, onMoving, onMessage):
        VTKObservationMixin.__init__(self)
        self.nodes = nodes
        self.picture = picture
        self.network = network
        self.radiograph = picture.radiograph(nodes.volume)
        self.session = None
        self.closed = False
        self.showUncertainty = True
        self._onChanged, self._onMoving, self._onMessage = onChanged, onMoving, onMessage
        self._pending = {}  # corrections the network has not answered yet: keypoint -> (row, column)
        self._makeRequest = None  # how to make the request that waits for its answer
        self._dragged = None
        self._volume = self._corners = None
        self._writing = False
        self._storeTimer = self._timer(STORE_DELAY_MS, self.store)
        self._waitingTimer = self._timer(WAITING_MS, self._onWaiting)

    @staticmethod
    def _timer(delayMs, call):
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(delayMs)
        timer.connect("timeout()", call)
        return timer

    # -- begin and end --------------------------------------------------------------------------------------------

    def begin(self, answer):
        """Start with what the network found (`Question.result`) and show it."""
        from SpineMotionToolsLib.keypoints.session import Answer, Session

        self.session = Session(self.radiograph, self._answerNow, self.network.provenance)
        self.session.apply(self.session.request_detect(), Answer.from_json(answer))
        self._observe()
        self._changed()
        self.store()

    def resume(self, history):
        """Go on with a saved history (`Session.to_json()`); raises InputError when it belongs to another picture."""
        from SpineMotionToolsLib.keypoints.session import Session

        self.session = Session.from_json(history, self.radiograph, self._answerNow)
        self._observe()
        self._show()

    def close(self):
        """Stop following the mouse and forget an unanswered question; nodes and history stay."""
        if self._storeTimer.isActive() and self.nodes.volume is not None:
            self.store()
        self.closed = True
        self._storeTimer.stop()
        self._dragged = None
        self._forgetQuestion()
        self.removeObservers()

    def store(self):
        """Write the history into its text node, from where it is saved with the scene."""
        self._storeTimer.stop()
        self.nodes.store(self.picture, self.session.to_json())

    def _observe(self):
        self._volume = self.nodes.volume
        transformable = slicer.vtkMRMLTransformableNode
        self.addObserver(self.nodes.scene, slicer.vtkMRMLScene.NodeRemovedEvent, self._onNodeRemoved)
        self.addObserver(self._volume, transformable.TransformModifiedEvent, self._onTransform)

    def _observeCorners(self):
        corners, markups = self.nodes.node("corners"), slicer.vtkMRMLMarkupsNode
        if corners is not self._corners:
            self._corners = corners
            self.addObserver(corners, markups.PointStartInteractionEvent, self._onDragStart)
            self.addObserver(corners, markups.PointModifiedEvent, self._onDragMove)
            self.addObserver(corners, markups.PointEndInteractionEvent, self._onDragEnd)

    # -- state ----------------------------------------------------------------------------------------------------

    @property
    def reading(self):
        """The keypoints with everything measured from them; corrections that are not answered yet are in it."""
        return self._with(self._pending)

    @property
    def busy(self):
        """Whether the network works on this session."""
        return self._makeRequest is not None

    @property
    def canUndo(self):
        return bool(self._pending) or self.session.can_undo

    @property
    def canRedo(self):
        return not self._pending and self.session.can_redo

    def _with(self, moved, everyPoint=None):
        """The session's reading with some corners, or all, elsewhere."""
        reading = self.session.reading
        if not moved and everyPoint is None:
            return reading
        points = reading.points_px.copy() if everyPoint is None else everyPoint
        for keypoint, point in moved.items():
            points[keypoint] = point
        given = tuple(sorted({*reading.given, *moved}))
        return replace(reading, points_px=points, given=given)

    # -- what the user does; the network is not asked ---------------------------------------------------------------

    def undo(self):
        """Take the last step back; what is not answered yet is dropped."""
        waiting = self.busy
        self._forgetQuestion()
        return self._step(lambda: None if waiting else self.session.undo())

    def redo(self):
        """Do the last undone step again."""
        self._forgetQuestion()
        return self._step(self.session.redo)

    def lock(self, level, locked=True):
        """Keep a vertebra (name, or 0 to 16) where it is shown, or let it follow again."""
        return self._step(lambda: (self.session.lock if locked else self.session.unlock)(level))

    def setAbsent(self, level, absent=True):
        """Say that a vertebra is not there, so that it leaves all measurements; or that it is."""
        return self._step(lambda: self.session.set_absent(level, absent))

    def nameLevels(self, levels):
        """Give the 17 vertebrae other names, from the top."""
        return self._step(lambda: self.session.name_levels(levels))

    def accept(self):
        """Mark the corners as checked by a reader."""
        return self._step(self.session.accept)

    def _step(self, change):
        change()
        self._changed()
        if self.busy:  # the session has moved on: ask again from here
            self._ask(self._makeRequest)
        return self.reading

    def _forgetQuestion(self):
        self._waitingTimer.stop()
        self._pending, self._makeRequest = {}, None

    # -- what the user does; the network answers ----------------------------------------------------------------------

    def correct(self, keypoint, point):
        """Put a corner (0 to 67, or a name such as "T6 upper right") at (row, column); waits, the others follow."""
        return self.correctMany({keypoint: point})

    def correctMany(self, points):
        """Put several corners in one pass; waits for the answer."""
        moved = {self._index(keypoint): point for keypoint, point in points.items()}
        return self._now(lambda: self.session.correct_many(moved))

    def release(self, keypoint, wait=True):
        """Take a correction back: the network says again where the corner is."""
        index = self._index(keypoint)
        if wait:
            return self._now(lambda: self.session.release(index))
        return self._ask(lambda: self.session.request_release(index))

    def restart(self, wait=True):
        """Find all corners again from the placed ones alone."""
        if wait:
            return self._now(self.session.restart)
        return self._ask(self.session.request_restart)

    def _index(self, keypoint):
        if not isinstance(keypoint, str):
            return keypoint
        from SpineMotionToolsLib.common.errors import InputError
        from SpineMotionToolsLib.keypoints.anatomy import KEYPOINTS, keypoint_name

        names = [keypoint_name(index, self.session.state.levels) for index in range(KEYPOINTS)]
        if keypoint not in names:
            raise InputError(f"There is no corner {keypoint!r}. Names are such as {names[0]!r}.")
        return names.index(keypoint)

    def _now(self, change):
        """Do it and wait; a question that waits for an answer is dropped."""
        self._forgetQuestion()
        if not self._sameNetwork():
            Question(self.network, self.radiograph, None).wait()
            self._sameNetwork()
        try:
            return change()
        finally:
            self._changed()
            self.store()

    def _answerNow(self, request):
        """The library's way to ask: blocks until the answer is there."""
        from SpineMotionToolsLib.keypoints.session import Answer

        return Answer.from_json(Question(self.network, self.radiograph, request.to_json()).wait())

    def _ask(self, makeRequest):
        """Ask and return; `_onAnswer` is called later. What was asked before is superseded."""
        self._makeRequest = makeRequest
        if self._sameNetwork():
            request = makeRequest()
            chain, onAnswer = request.to_json(), lambda answer: self._onAnswer(makeRequest, request, answer)
        else:  # the network is new here: its name comes first, because another network's history cannot be gone on
            chain, onAnswer = None, lambda answer: self._onIntroduced(makeRequest)
        self.network.ask(self.radiograph, chain, onAnswer, lambda error: self._onError(makeRequest, error))
        self._waitingTimer.start()

    def _onWaiting(self):
        """Show what waits for its answer."""
        if self.busy and not self.closed:
            self._onMessage(_("The others follow..."), False)
            self._show()
            self._onChanged()

    def _sameNetwork(self):
        """Whether the network is known and is the one the session goes on with; another known one is taken over."""
        from SpineMotionToolsLib.keypoints.session import Session

        found = self.network.provenance
        if found is None:
            return False
        if found.model_sha256 != self.session.provenance.model_sha256:
            self.session = Session.from_json(self.session.to_json(), self.radiograph, self._answerNow, found)
        return True

    def _onIntroduced(self, makeRequest):
        if makeRequest is self._makeRequest and not self.closed:
            self._ask(makeRequest)

    def _onAnswer(self, makeRequest, request, answer):
        from SpineMotionToolsLib.common.errors import InputError
        from SpineMotionToolsLib.keypoints.session import Answer

        if makeRequest is not self._makeRequest or self.closed:  # undone or closed meanwhile
            return
        self._forgetQuestion()
        try:
            self.session.apply(request, Answer.from_json(answer))
        except InputError as error:
            self._onMessage(str(error), True)
        else:
            seconds = self.session.state.seconds
            self._onMessage(_("The others followed in {ms} ms.").format(ms=round(1000 * seconds)), False)
        self._changed()

    def _onError(self, makeRequest, error):
        if makeRequest is not self._makeRequest or self.closed:
            return
        self._forgetQuestion()
        self._onMessage(str(error), True)
        self._changed()

    # -- the mouse --------------------------------------------------------------------------------------------------

    def _onDragStart(self, caller, event, index=None):
        self._dragged = caller.GetDisplayNode().GetActiveControlPoint()

    def _onDragMove(self, caller, event, index=None):
        """Draw outlines and angles where the mouse has the corner; the corners themselves are never written here."""
        if self._writing or self._dragged is None:
            return
        moved = self._moved()
        if moved:
            live = self._with({**self._pending, **moved})
            self.nodes.draw(live, self.picture, self.showUncertainty)
            self._onMoving(live)

    def _onDragEnd(self, caller, event, index=None):
        from SpineMotionToolsLib.common.errors import InputError

        self._dragged = None
        moved = self._moved()
        if self._writing or not moved:
            return
        if self._isClick(moved):
            self._show()
            return
        corrections = {**self._pending, **moved}
        try:
            self.session.checked(corrections)
            self._pending = corrections
            self._ask(lambda: self.session.request_correct(corrections))
        except InputError as error:
            self._refuse(error)

    def _isClick(self, moved):
        """Whether nothing moved farther than a display pixel, to whose middle a mere click takes a corner."""
        from SpineMotionToolsLib.scene.keypoints import display_pixel_mm

        keypoints = list(moved)
        ways = self.picture.to_ras(self._volume, list(moved.values()))
        ways = ways - self.picture.to_ras(self._volume, self.reading.points_px[keypoints])
        pixel = display_pixel_mm(self.nodes.scene, self.picture, self._volume)
        return bool(np.linalg.norm(ways, axis=1).max() < pixel)

    def _refuse(self, error):
        """Put the corners back where they were, and say why."""
        self._onMessage(str(error), True)
        self._show()
        self._onChanged()

    def _moved(self):
        """Corners that lie elsewhere than they were shown: keypoint -> (row, column)."""
        reading = self.reading
        lies = self.nodes.corners_px(self.picture)
        far = ~(np.abs(lies - reading.points_px).max(axis=1) <= MOVED_PX)  # true for a place that is not a number
        return {int(k): tuple(map(float, lies[k])) for k in np.flatnonzero(far & np.repeat(reading.present, 4))}

    # -- showing ------------------------------------------------------------------------------------------------------

    def _changed(self):
        self._show()
        self._storeTimer.start()
        self._onChanged()

    def _show(self):
        """Write the session into its nodes; the corner under the mouse is left to the user."""
        self._writing = True
        try:
            self.nodes.show(self.reading, self.picture, self.showUncertainty, {self._dragged} - {None})
        finally:
            self._writing = False
        self._observeCorners()

    def redraw(self):
        """Show everything again, also what was removed from the scene."""
        self._show()

    def restate(self, picture):
        """Take over what is now known about the picture (pixel size, side); False when its pixels are others."""
        if picture.region is None:  # no box is chosen now: the corners stay those of the part they were found in
            picture = replace(picture, region=self.picture.region)
        known = ("spacing_mm", "patient_right_on", "notes")
        if replace(self.picture, **{name: getattr(picture, name) for name in known}) != picture:
            return False
        if picture != self.picture:
            self.picture = picture
            self.radiograph = self.session.radiograph = picture.radiograph(self._volume)
            self._changed()
        return True

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node):
        if self.closed or self.nodes.scene.IsClosing():
            return
        if node is self._volume:
            self.close()
            said = _("The radiograph was removed from the scene; its session ended.")
        elif node is self.nodes.text:
            self.close()
            said = _("The session was removed from the scene. Press Apply to find the corners again.")
        elif node is self._corners:
            self._dragged = None
            self._forgetQuestion()
            said = _("The corners were removed. Press Show to bring them back.")
        else:
            return
        self.nodes.remove_drawing()
        self._onMessage(said, False)
        self._onChanged()

    def _onTransform(self, caller, event):
        if self.nodes.volume is not None:
            self.nodes.follow_transform()

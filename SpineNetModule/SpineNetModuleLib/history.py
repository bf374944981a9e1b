"""Undo and redo: the spines before and after the present one."""


class History:
    """Whole spines, since they are small and never change; kept in memory, not in the scene.

    `text` is the result node's text that the history belongs to. When the node holds another text (another scan, a
    loaded scene, a new reading) the history starts anew.
    """

    def __init__(self):
        self._past, self._future, self._text = [], [], None

    def follow(self, text) -> None:
        """Forget everything unless the history belongs to this text."""
        if text != self._text:
            self._past, self._future, self._text = [], [], text

    def did(self, before) -> None:
        """A correction was made to the spine `before`."""
        self._past.append(before)
        self._future = []

    def undo(self, present):
        """The spine before the last correction; `present` can be had back by `redo`."""
        self._future.append(present)
        return self._past.pop()

    def redo(self, present):
        self._past.append(present)
        return self._future.pop()

    def wrote(self, text) -> None:
        """The present spine was written into the result node as this text."""
        self._text = text

    @property
    def canUndo(self) -> bool:
        return bool(self._past)

    @property
    def canRedo(self) -> bool:
        return bool(self._future)

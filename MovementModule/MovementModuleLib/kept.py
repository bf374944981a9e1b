"""What was computed in this session, so that a picture or a video of it does not compute it again."""

import json
import os


class KeptScores:
    """The last score of every video and task, with the choices that it was made with."""

    def __init__(self):
        self._scores = {}  # (sequence id, system) -> (choices, result)
        self._maps = {}  # (sequence id, system) -> ActivationMaps of that result

    def clear(self):
        self._scores, self._maps = {}, {}

    def keep(self, sequenceID, result, maps, choices):
        """Keep a new result; the maps of the one before are forgotten unless they are given again."""
        key = (sequenceID, result.provenance.system)
        self._scores[key] = (choices, result)
        self._maps.pop(key, None)
        if maps is not None:
            self._maps[key] = maps

    def maps(self, sequenceID, system):
        """The activation maps of the last score, or None."""
        return self._maps.get((sequenceID, system))

    def files(self, sequenceID, system, choices, folder):
        """Parameters of a task that make it use the last score and its maps; {} when the choices are others."""
        from SpineMotionToolsLib.common.files import write_json

        kept, result = self._scores.get((sequenceID, system), (None, None))
        if kept is None or kept != choices:
            return {}
        found = {"scored": os.path.join(folder, "scored.json")}
        write_json(found["scored"], result.to_json())
        maps = self.maps(sequenceID, system)
        if maps is not None:
            found["maps"] = os.path.join(folder, "scored-maps.npz")
            maps.save(found["maps"])
        return found


def choicesOf(parameters):
    """What a task's result depends on: its parameters, and the state of the files they name."""
    files = [value for value in _texts(parameters) if os.path.isabs(value) and os.path.isfile(value)]
    states = [(path, os.path.getsize(path), os.path.getmtime(path)) for path in files]
    return json.dumps([parameters, states], sort_keys=True, default=str)


def _texts(value):
    """Every text in nested parameters."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)

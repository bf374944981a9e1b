"""What child processes run: one reading of a file, and the service behind interactive sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.common.progress import Progress, no_progress


def serve(parameters: dict[str, Any], progress: Progress = no_progress) -> Callable[[dict, Progress], dict]:
    """A service that keeps its network loaded (start it with `common.jobs.start_service("keypoints.tasks:serve",
    ...)`).

    Parameters: `weights` (file, or None for the starter), `device`, `precision`, `threads`, `decoding`, all optional.

    Each call answers one `history.Request`: `image` (an .npy file with the 512 x 256 uint8 picture,
    `Radiograph.grid_image`), `image_sha256` (its digest) and `chain` (`Request.to_json()`). The answer
    (`history.Answer.from_json`) holds `points`, `confidence`, `spread`, `seconds`, and `provenance`. A call with
    `image` alone prepares that picture. A call with `search` (an .npy file with a whole picture, uint8) and `scale`
    (length of a row and of a column step) answers with the `region` (row, column, rows, columns) that shows the spine.
    """
    import numpy as np

    from SpineMotionToolsLib.common.engine import Engine
    from SpineMotionToolsLib.keypoints.pipeline import find_region, load_predictor, provenance_of
    from SpineMotionToolsLib.keypoints.radiograph import Radiograph, Scale
    from SpineMotionToolsLib.keypoints.replay import Replay

    options = {name: parameters[name] for name in ("device", "precision", "threads") if parameters.get(name)}
    engine = Engine(**options)
    predictor = load_predictor(parameters.get("weights"), engine, parameters.get("decoding"))
    predictor.warm_up()
    replay, origin = Replay(predictor), provenance_of(predictor).to_json()

    def answer(call: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
        try:
            picture = np.load(call.get("search") or call["image"], allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError("The prepared picture is missing or damaged. Start the session again.") from error
        if "search" in call:
            found = find_region(Radiograph(picture, Scale(*call["scale"])), engine, progress)
            return {"region": list(found.region), "provenance": origin}
        replay.set_image(picture, call["image_sha256"])
        if "chain" not in call:
            return {"provenance": origin}
        chain = tuple(tuple((int(k), (float(r), float(c))) for k, r, c in run) for run in call["chain"])
        found = replay.answer(chain, progress)
        return {**asdict(found), "provenance": origin}

    return answer


def detect(parameters: dict[str, Any], progress: Progress = no_progress) -> dict[str, Any]:
    """Read the radiographs `images` and write their results below `out`; see `commands.detect_files` for the other
    keys.
    """
    from SpineMotionToolsLib.keypoints.batch import detect_files

    return {"written": [str(path) for path in detect_files(parameters, progress)], "out": str(Path(parameters["out"]))}

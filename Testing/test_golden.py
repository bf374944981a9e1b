"""Every golden case: our outputs against those of the published systems, within the case's own tolerance."""

from pathlib import Path

import pytest

from Testing.golden import case as golden_case
from Testing.golden.__main__ import run

CASES = Path(__file__).parent / "golden" / "cases"

# Cases we believe to be wrong, with the reason; they stay in the list above and fail visibly until settled.
KNOWN_WRONG: dict[str, str] = {}


@pytest.mark.parametrize("path", list(golden_case.find([CASES])), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden_case(path):
    largest, failures = run(golden_case.load(path))
    assert not failures, f"largest difference {largest:.3g}: " + "; ".join(failures)


def test_a_wrong_output_fails():
    """The comparison notices a wrong number, a wrong shape, a missing NaN and a wrong integer."""
    import numpy as np

    want = np.array([1.0, np.nan, 3.0])
    assert golden_case.difference(want, want, 0, 0)[1] == ""
    assert golden_case.difference([1.0, np.nan, 3.1], want, 0, 0.01)[1]
    assert golden_case.difference([1.0, 2.0, 3.0], want, 0, 0.01)[1]
    assert golden_case.difference([1.0, np.nan], want, 0, 0.01)[1]
    assert golden_case.difference(np.array([1, 2]), np.array([1, 3]), 0, 0)[1]
    assert golden_case.difference("abc", np.frombuffer(b"abd", np.uint8), 0, 0)[1]


def _case(kind, arguments, tolerance=None, **outputs):
    import numpy as np

    spec = {"inputs": {"args": arguments}, "tolerance": tolerance or {}}
    want = {name: np.asarray(value) for name, value in outputs.items()}
    return golden_case.Case("made", kind, "movements", spec, want, CASES)


def test_whole_numbers_are_equal_unless_the_case_allows_more():
    import numpy as np

    picture = np.zeros(3, np.uint8)
    assert golden_case.tolerance_of(_case("flow", {}, {"rtol": 0.1, "atol": 0.02}, first=picture), "first") == (0, 0)
    assert golden_case.tolerance_of(_case("crop", {}, {"rtol": 0, "atol": 1}, clip=picture), "clip") == (0, 1)
    assert golden_case.difference(np.zeros((0, 4)), np.zeros(0), 0, 0) == (0.0, "")
    assert golden_case.difference(np.zeros((0, 4)), np.zeros(4), 0, 0)[1]


def test_cases_in_which_the_published_program_divides_by_zero():
    import numpy as np

    from Testing.golden.kinds import movements

    flat = {"frame": "f", "fshape": [5, 6, 3], "pred": "p", "pshape": [1, 1, 4, 4], "low": 0.5, "high": 0.5}
    got = movements.mask(_case("mask", flat))
    assert np.isnan(got["mask"]).all()
    assert not got["masked"].any()
    black = {"name": "d", "shape": [4, 5, 3], "start": 1, "num_stack": 30, "fps": 6, "image_scale": 0.0}
    assert np.isnan(movements.dataset(_case("dataset", black))["image"]).all()
    corners = [[30, 31, 0.8, 0], [60, 30, 0.8, 1], [35, 92, 0.8, 2], [55, 90, 0.8, 3]]
    ids = [-1.0] * 18 + [3.0, 4.0]
    ids[2], ids[5], ids[8], ids[11] = 0.0, 1.0, 2.0, 3.0
    call = {"candidate": corners, "subset": [ids]}
    few = movements.adjust_params(_case("adjust_params", {"calls": [call] * 3}))
    assert np.isnan([*few["center"], few["length"], few["degree"]]).all()
    assert np.isfinite(few["rough_degree"])
    enough = movements.adjust_params(_case("adjust_params", {"calls": [call] * 4}))
    assert enough["length"] == pytest.approx(np.hypot(0, 61))
    assert list(enough["center"]) == [45, 60]

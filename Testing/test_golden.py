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

"""Side-by-side timings against the published way of computing: `python -m benchmarks.motion`."""

import os

from SpineMotionToolsLib.common.processes import ONE_BLAS_THREAD

os.environ.update(ONE_BLAS_THREAD)  # as in the program's own processes; before NumPy is imported

"""Side-by-side timings against the published way of computing: `python -m benchmarks.motion`."""

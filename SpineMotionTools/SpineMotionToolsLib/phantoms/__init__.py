"""Made scans, radiographs and videos with known truth, for tests, training, demo and sample data."""

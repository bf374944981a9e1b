"""What every system shares: errors, files, weights, engine, jobs, geometry, provenance."""

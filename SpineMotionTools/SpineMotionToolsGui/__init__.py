"""GUI pieces that all modules share: job controls, log, model chooser, packages with consent. Needs Slicer's qt."""

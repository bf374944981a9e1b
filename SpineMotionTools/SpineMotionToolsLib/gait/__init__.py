"""Adult spinal deformity from a video of a walk."""

"""One file a system: how to run each kind of golden case."""

"""Parts of the Movement Videos module."""

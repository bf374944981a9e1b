"""Checks of weight sets that need the systems' own networks: is every file whole, and does it fit its contract."""

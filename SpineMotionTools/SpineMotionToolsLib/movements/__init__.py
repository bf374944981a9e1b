"""Infants' general movements from a video."""

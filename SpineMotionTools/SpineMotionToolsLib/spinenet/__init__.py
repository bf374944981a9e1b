"""Vertebrae and discs in spine MRI: found, labelled, measured and graded (SpineNet)."""

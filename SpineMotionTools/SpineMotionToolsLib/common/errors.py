"""Errors whose message is written for the person who has to act on it.

Every message is one or two sentences: what is wrong, then the next step.
"""


class SpineMotionError(Exception):
    """Base of every error this library raises on purpose."""


class InputError(SpineMotionError, ValueError):
    """A file, array or parameter cannot be used as given."""


class WeightsError(SpineMotionError):
    """A weight file is missing, foreign, damaged, or does not match its contract."""


class OutputError(SpineMotionError):
    """A result could not be written."""


class DependencyError(SpineMotionError, ImportError):
    """An optional package is not installed."""


class JobError(SpineMotionError):
    """A job's child process ended without a result (crash, out of memory, killed)."""


class Cancelled(SpineMotionError):
    """The user asked to stop."""

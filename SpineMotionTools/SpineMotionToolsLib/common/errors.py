"""Errors whose message is written for the person who has to act on it.

Every message is one or two sentences: what is wrong, then the next step.
"""

from pathlib import Path


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


CONCERNS_ALL = (Cancelled, DependencyError, OutputError, WeightsError)
"""These end a run over many cases: the next case would end the same way. Others cost one case only."""


def missing_package(error: ModuleNotFoundError) -> DependencyError:
    """What to say when an import failed."""
    return DependencyError(f"The Python package {error.name} is not installed. Install it, then try again.")


def reason_of(error: Exception, path: Path) -> str:
    """Why the case read from `path` failed, for people."""
    if isinstance(error, SpineMotionError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this case. Close other programs, then try again."
    if isinstance(error, OSError):
        return f"{path.name} cannot be read: {error.strerror or error}. Check the file, then try again."
    return f"A fault in SpineMotionTools: {type(error).__name__}: {error}."

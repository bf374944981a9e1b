"""Developer mode: reload our packages before Slicer's Reload re-executes a module file."""

import importlib
import sys


def reloadPackages(*names: str) -> None:
    """Drop the packages and all their modules, so that the next import reads the files again."""
    for loaded in list(sys.modules):
        if any(loaded == name or loaded.startswith(name + ".") for name in names):
            del sys.modules[loaded]
    importlib.invalidate_caches()

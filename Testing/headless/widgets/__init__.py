"""`ctk`, `qMRML*` and `qSlicer*` widgets over the real MRML scene.

Each stand-in has the Qt properties, signals, slots and invokable methods of the C++ class that modules use, and no
others: what is missing here raises, and is either missing in PythonQt too or must be added from the class's header.
"""

from Testing.headless.widgets import (
    base,
    ctk_choices,
    ctk_containers,
    ctk_numbers,
    mrml_selectors,
    mrml_tables,
    mrml_views,
)

__all__ = ["base", "ctk_choices", "ctk_containers", "ctk_numbers", "mrml_selectors", "mrml_tables", "mrml_views"]


def finish(ctk) -> None:
    """Add the names that are not widgets to the `ctk` module and to `slicer`."""
    import slicer

    from Testing.headless.modules import ScriptedModule

    slicer.qSlicerScriptedLoadableModule = ScriptedModule
    ctk.ctkWidgetsUtils = ctk_containers.ctkWidgetsUtils

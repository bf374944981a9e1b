"""3D Slicer's application side rebuilt for tests: real MRML scene, real Qt widgets, no Slicer installation, no screen.

The `slicer-core` wheel brings the scene, the nodes, the logics, the VTK views and `slicer.util`. This package brings
what is missing from it, so that a module's own file, `.ui`, Widget, Logic, FileReader and Test run unmodified:

    environment.py    graphics and font settings, to be made before VTK and Qt are imported
    application.py    `slicer.app`: scene, logics, settings, modules, layout
    iomanager.py      `slicer.app.coreIOManager()`: what `slicer.util.loadNodeFromFile`, `saveNode`, `saveScene` use
    dialogs.py        message boxes and file dialogs: recorded, answered by script, never waiting for a person
    modules.py        `slicer.ScriptedLoadableModule` and the module manager
    parameternode/    `slicer.parameterNodeWrapper`, stored in the scene exactly as Slicer stores it
    pythonqt.py       `qt` as PythonQt presents it, over PySide6; strict about what PythonQt lacks
    widgets/          `ctk`, `qMRML*` and `qSlicer*` widgets
    views.py          slice views with mouse events, rendered without a screen
    layout.py         `slicer.app.layoutManager()`
    sampledata.py     `SampleData`
    namespace.py      puts all of this into `slicer`, `ctk` and `sys.modules`
    host.py           `open_module(name)`: loads a module the way Slicer does, and drives it
    pictures.py       pictures of panels and windows, checks of a panel's layout
    example/          a small module in the style of Slicer's template, for the tests of this package

Where this package and Slicer could differ, Slicer is right: use of anything that PythonQt or a ctk/qMRML class does not
have raises `AttributeError` here too.

A test needs two lines (fixtures in `Testing/conftest.py`):

    def test_grades_are_shown(open_module, scene):
        host = open_module("MotionScore")
        host.widget.ui.inputSelector.setCurrentNode(volume)
        host.click("applyButton")
        host.wait(lambda: host.ui.resultTable.mrmlTableNode() is not None, timeout=30)
        host.grab("panel.png", width=325, style="dark")

Without pytest:

    from Testing import headless
    app = headless.start()
    host = headless.open_module("MotionScore")
"""

from Testing.headless import environment

environment.prepare()


def start():
    """The one `HeadlessApplication` of this process, made and installed as `slicer.app` at the first call."""
    from Testing.headless.application import HeadlessApplication

    return HeadlessApplication.instance()


def open_module(name, **options):
    """Load a module as Slicer does, set up its panel and enter it; see `host.open_module`."""
    from Testing.headless import host

    return host.open_module(name, **options)

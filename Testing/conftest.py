"""Fixtures of all tests: the headless application, its scene, its modules; VTK errors and lost exceptions fail."""

from Testing.headless import environment

environment.prepare()  # before anything imports VTK or Qt

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def app():
    """`slicer.app`, made once per test process."""
    pytest.importorskip("slicer", reason="needs the slicer-core wheel")
    pytest.importorskip("PySide6", reason="needs PySide6")
    from Testing import headless

    return headless.start()


@pytest.fixture
def errors(app):
    """Fails the test for VTK errors and for exceptions that escaped from a slot or an observer.

    A test that provokes one takes it away: `assert "..." in app.vtk_errors.pop()`.
    """
    app.vtk_errors.clear()
    app.uncaught.clear()
    app.dialogs.clear()
    yield
    problems = [*app.vtk_errors, *app.uncaught]
    app.vtk_errors.clear()
    app.uncaught.clear()
    assert not problems, "\n".join(problems)


@pytest.fixture
def scene(app, errors):
    """The scene, empty but for its singletons; slice views look along the axes."""
    app.mrmlScene().Clear(0)
    app.layoutManager().turn_upright()
    yield app.mrmlScene()
    app.mrmlScene().Clear(0)


@pytest.fixture
def open_module(app, scene):
    """A function that opens a module by name; what it opened is closed after the test."""
    from Testing.headless import host

    opened = []

    def open_(name, **options):
        opened.append(host.open_module(name, **options))
        return opened[-1]

    yield open_
    for each in dict.fromkeys(opened):
        if app.moduleManager().host(each.name) is each:
            each.close()

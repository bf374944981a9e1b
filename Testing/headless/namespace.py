"""Puts what the `slicer-core` wheel lacks into the `slicer`, `ctk` and `SampleData` namespaces."""

from __future__ import annotations

import inspect

import slicer

from Testing.headless import pythonqt


def fill(app) -> None:
    """Called once, when `slicer.app` is made."""
    from Testing.headless import hierarchy, modules, parameternode, sampledata, widgets
    from Testing.headless.application import register_module

    ctk = register_module("ctk")
    for name, cls in pythonqt.STAND_INS.items():
        setattr(ctk if name.startswith("ctk") else slicer, name, cls)
    widgets.finish(ctk)
    register_module("slicer.i18n", tr=_text, translate=_translate, getContext=lambda path: "")
    register_module("slicer.packaging", **_packaging(app))
    base = {name: getattr(modules, name) for name in modules.BASE_CLASSES}
    register_module("slicer.ScriptedLoadableModule", __all__=list(base), **base)
    names = {name: getattr(parameternode, name) for name in parameternode.__all__}
    register_module("slicer.parameterNodeWrapper", __all__=list(names), **names)
    register_module("SampleData", SampleDataLogic=sampledata.SampleDataLogic, downloadSample=sampledata.download)
    scripted = {f"{name.lower()}": modules.LoadableModule(name, logic) for name, logic in app.logics.items()}
    register_module("slicer.modules", **scripted)
    slicer.selfTests = {}
    hierarchy.install()


def _text(text: str) -> str:
    """`_("...")`; the context is the caller's module, so only literal texts can be translated."""
    return text


def _translate(context: str, text: str) -> str:
    return text


def _packaging(app) -> dict:
    """`slicer.packaging`: everything is installed already; what would be asked for is recorded."""
    from packaging.requirements import Requirement

    def load_requirements(path):
        lines = (line.strip() for line in open(path, encoding="ascii"))  # Slicer's reads the system's encoding
        return [Requirement(line) for line in lines if line and line[0] not in "#-"]

    def pip_check(requirements) -> bool:
        return True

    def pip_ensure(requirements, requester=None, **options) -> None:
        app.dialogs.tell("pip_ensure", f"{requester}: {[str(each) for each in requirements]}")

    def pip_install(requirements, **options) -> None:
        raise AssertionError("Tests install nothing; call pip_ensure and answer for its effect.")

    functions = (load_requirements, pip_check, pip_ensure, pip_install)
    assert all(inspect.isfunction(function) for function in functions)
    return {function.__name__: function for function in functions}

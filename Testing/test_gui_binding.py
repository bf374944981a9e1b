"""Widgets and fields follow each other: on leaving and coming back, while typing, when a field is emptied."""

from __future__ import annotations

import enum

import pytest

from Testing.packaging_lists import module_folders, packaged_files

pytestmark = pytest.mark.panel

MODULES = ["SpineMotionTools", "MotionScore", "SpineNetModule", "KeypointModule", "MovementModule"]


def choices(node) -> dict:
    """The fields of a parameter node that hold one of several choices."""
    return {name: getattr(node, name) for name in node.allParameters if isinstance(getattr(node, name), enum.Enum)}


@pytest.mark.parametrize("name", MODULES)
def test_choices_stay_when_a_module_is_left_and_shown_again(open_module, name):
    host = open_module(name)
    node = host.widget._parameterNode
    for field, value in choices(node).items():
        setattr(node, field, list(type(value))[-1])
    chosen = choices(node)
    for _ in range(3):
        host.leave()
        host.enter()
    assert choices(host.widget._parameterNode) == chosen


@pytest.mark.parametrize("name", MODULES)
def test_widgets_of_a_module_that_is_not_shown_change_nothing(open_module, name):
    host = open_module(name)
    before = choices(host.widget._parameterNode)
    bound = [widget for widget in vars(host.ui).values() if widget.property("SlicerParameterName") in before]
    assert len(bound) == len(before)
    host.leave()
    for widget in bound:
        widget.currentIndex = (widget.currentIndex + 1) % widget.count
    host.enter()
    assert choices(host.widget._parameterNode) == before


def test_a_reviewer_types_in_the_middle_of_a_name(open_module):
    host = open_module("MotionScore")
    host.ui.reviewCollapsibleButton.collapsed = False
    node, edit = host.widget._parameterNode, host.ui.reviewerLineEdit
    node.reviewer = "AD"
    assert edit.text == "AD"
    edit.setCursorPosition(1)
    host.type(edit, "BC")
    assert (edit.text, node.reviewer) == ("ABCD", "ABCD")


@pytest.mark.parametrize(
    ("name", "edit", "field"),
    [
        ("MotionScore", "datasetFolderEdit", "datasetFolder"),
        ("SpineMotionTools", "batchInputEdit", "inputFolder"),
        ("MovementModule", "patientFileEdit", "patientFile"),
    ],
)
def test_a_chosen_path_can_be_taken_back(open_module, tmp_path, name, edit, field):
    host = open_module(name)
    node, widget = host.widget._parameterNode, getattr(host.ui, edit)
    widget.currentPath = str(tmp_path)
    assert str(getattr(node, field)) == str(tmp_path)
    widget.comboBox().setEditText("")
    assert str(getattr(node, field)) in ("", ".")
    node.Modified()
    assert widget.currentPath == ""


def test_no_two_modules_package_the_same_path():
    """Slicer installs the files of all modules of an extension into one folder."""
    owners: dict[str, str] = {}
    for folder in module_folders():
        for group in packaged_files(folder):
            for path in group:
                assert owners.setdefault(path, folder.name) == folder.name, path


@pytest.mark.parametrize("name", MODULES)
def test_values_of_another_version_become_the_defaults(open_module, app, name):
    """A scene may hold choices that this version does not know, or damaged ones; the others stay."""
    host = open_module(name)
    node = host.logic.getParameterNode()
    stored = node.parameterNode
    stored.SetParameter("model" if name != "MovementModule" else "gaitModel", "mine")
    host.leave()
    for parameter in ("device", "stackHeight", "sliceIndex", "ageWeeks"):
        if stored.GetParameter(parameter):
            stored.SetParameter(parameter, "unheard of")
    app.uncaught.clear()  # of the wrapper that the panel had until now
    host.enter()
    assert host.widget._parameterNode.device.value == "auto"
    assert "mine" in [stored.GetParameter(parameter) for parameter in stored.GetParameterNames()]

"""Typed parameter nodes: stored as Slicer stores them, checked before they are stored, bound to widgets both ways."""

import enum
import gc
import pathlib
from typing import Annotated, Optional, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.panel
slicer = pytest.importorskip("slicer")


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"

    def label(self):
        return self.name.title()


@pytest.fixture(scope="module")
def types(app):
    """The classes under test; the decorators exist once the application is there."""
    from slicer.parameterNodeWrapper import (
        Choice,
        Decimals,
        Default,
        Exclude,
        FloatRange,
        RangeBounds,
        SingleStep,
        WithinRange,
        parameterNodeWrapper,
        parameterPack,
    )

    @parameterPack
    class Point:
        x: float
        y: Annotated[int, WithinRange(0, 5)] = 2

    @parameterPack
    class Box:
        corner: Point
        name: str = "box"

    @parameterNodeWrapper
    class Everything:
        node: slicer.vtkMRMLModelNode
        either: Union[slicer.vtkMRMLModelNode, slicer.vtkMRMLTableNode, None]
        number: Annotated[int, WithinRange(0, 20)] = 5
        real: Annotated[float, WithinRange(0, 1), Decimals(3), SingleStep(0.25)] = 0.5
        on: bool = True
        color: Color = Color.BLUE
        choice: Annotated[str, Choice(["a", "b"])] = "b"
        word: Annotated[str, Exclude(["bad"])]
        path: pathlib.Path = pathlib.Path("here")
        maybe: Optional[int]
        generated: Annotated[float, Default(generator=lambda: 4.5)]
        numbers: list[int]
        nested: list[list[str]]
        pair: tuple[int, str] = (1, "one")
        table: dict[str, float]
        nodes: list[slicer.vtkMRMLModelNode]
        box: Box
        limits: Annotated[FloatRange, RangeBounds(0, 10)] = FloatRange(1, 2)

    return type("Types", (), {"Everything": Everything, "Point": Point, "Box": Box, "FloatRange": FloatRange})


@pytest.fixture
def node(scene):
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


@pytest.fixture
def wrapper(types, node):
    return types.Everything(node)


def stored(node):
    return {name: node.GetParameter(name) for name in node.GetParameterNames()}


def test_defaults_are_written_when_the_wrapper_is_made(wrapper, node):
    expected = {"number": "5", "real": "0.5", "on": "True", "color": "BLUE", "choice": "b", "path": "here"}
    expected |= {"maybe.1": "True", "generated": "4.5", "numbers.len": "0", "pair.0": "1", "pair.1": "one"}
    expected |= {"box.corner.x": "0", "box.corner.y": "2", "box.name": "box", "node": "", "table.len": "0"}
    assert expected.items() <= stored(node).items()


def test_values_are_stored_as_slicer_stores_them(wrapper, node, scene):
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "m")
    wrapper.node, wrapper.either, wrapper.nodes = model, model, [model]
    wrapper.on, wrapper.color, wrapper.maybe = False, Color.RED, 3
    wrapper.numbers, wrapper.table, wrapper.pair = [4, 5], {"k": 1.5}, (2, "two")
    wrapper.box.corner.y = 4
    values = stored(node)
    assert (values["on"], values["color"], values["maybe.0"]) == ("False", "RED", "3")
    assert "maybe.1" not in values
    assert (values["numbers.len"], values["numbers.0"], values["numbers.1"]) == ("2", "4", "5")
    assert (values["table.len"], values["table.0.0"], values["table.0.1"]) == ("1", "k", "1.5")
    assert (values["pair.1"], values["box.corner.y"], values["node"]) == ("two", "4", "")
    assert node.GetNodeReferenceID("node") == node.GetNodeReferenceID("nodes.0") == model.GetID()
    assert node.GetNodeReferenceID("either.0") == model.GetID()


def test_a_second_wrapper_reads_the_same(wrapper, types, node):
    wrapper.nested = [["a"], []]
    wrapper.nested[1].append("b")
    wrapper.nested.append(["c"])
    wrapper.nested[2].insert(0, "d")
    wrapper.table["x"] = 2.0
    wrapper.limits.setRange(3, 4)
    wrapper.setValue("box.corner.x", 7.5)
    again = types.Everything(node)
    assert again.nested == [["a"], ["b"], ["d", "c"]]
    assert again.table == {"x": 2.0}
    assert (again.limits.minimum, again.limits.maximum) == (3, 4)
    assert again.getValue("box.corner.x") == 7.5
    assert again.box.corner == types.Point(7.5, 2)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("number", 21, ValueError),
        ("number", None, ValueError),
        ("number", 2.5, TypeError),
        ("number", "3", TypeError),
        ("real", -0.1, ValueError),
        ("on", 1, TypeError),
        ("color", "RED", TypeError),
        ("choice", "c", ValueError),
        ("word", "bad", ValueError),
        ("path", "text", TypeError),
        ("maybe", "x", TypeError),
        ("numbers", [1, "x"], TypeError),
        ("pair", (1,), ValueError),
        ("node", 3, TypeError),
        ("box", 3, TypeError),
    ],
)
def test_a_refused_value_leaves_the_node_as_it_was(wrapper, node, name, value, error):
    before, kept = stored(node), wrapper.getValue(name)
    with pytest.raises(error):
        setattr(wrapper, name, value)
    assert stored(node) == before
    assert wrapper.getValue(name) == kept


def test_a_pack_checks_its_members(wrapper, types):
    with pytest.raises(ValueError):
        wrapper.box.corner.y = 9
    with pytest.raises(ValueError):
        types.Point(1.0, 9)
    assert wrapper.box.corner.y == 2


@pytest.mark.parametrize("name", ["absent", "box.absent", "number.x"])
def test_unknown_names_are_refused(wrapper, name):
    with pytest.raises(ValueError):
        wrapper.getValue(name)


def test_caching_follows_the_node(wrapper, node):
    assert wrapper.isCached("number")
    node.SetParameter("number", "9")
    assert wrapper.number == 9
    node.UnsetParameter("number")
    assert wrapper.number == 5


def test_lost_wrappers_leave_no_observers(types, node):
    import vtk

    types.Everything(node)
    gc.collect()
    assert not node.HasObserver(vtk.vtkCommand.ModifiedEvent)


def test_types_that_slicer_refuses_are_refused(types):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(TypeError):

        @parameterNodeWrapper
        class New:
            value: int | None

    with pytest.raises(ValueError, match="reserved"):

        @parameterNodeWrapper
        class Reserved:
            connectGui: int


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(-(10**9), 10**9), max_size=5),
    real=st.floats(0, 1),
    word=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12).filter(lambda text: text != "bad"),
    table=st.dictionaries(st.text("abc", max_size=3), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)
def test_every_value_comes_back_unchanged(types, app, numbers, real, word, table):
    node = app.mrmlScene().AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    try:
        wrapper = types.Everything(node)
        wrapper.numbers, wrapper.real, wrapper.word, wrapper.table = numbers, real, word, table
        again = types.Everything(node)
        assert (again.numbers, again.real, again.word, again.table) == (numbers, real, word, table)
    finally:
        app.mrmlScene().RemoveNode(node)


# ---- widgets -------------------------------------------------------------------------------------------------------
def bind(wrapper, **widgets):
    return wrapper.connectParametersToGui(widgets)


def test_widgets_and_fields_follow_each_other(wrapper, app):
    import ctk
    import qt

    spin, slider, check = qt.QSpinBox(), ctk.ctkSliderWidget(), qt.QCheckBox()
    box, line, path = qt.QComboBox(), qt.QLineEdit(), ctk.ctkPathLineEdit()
    tag = bind(wrapper, number=spin, real=slider, on=check, color=box, word=line, path=path)
    assert (spin.value, spin.maximum, slider.value, slider.decimals, slider.singleStep) == (5, 20, 0.5, 3, 0.25)
    assert (check.checked, box.currentText, box.count, path.currentPath) == (True, "Blue", 2, "here")
    spin.value, slider.value, check.checked, box.currentIndex = 7, 0.75, False, 0
    line.text, path.currentPath = "typed", "/there"
    assert (wrapper.number, wrapper.real, wrapper.on, wrapper.color) == (7, 0.75, False, Color.RED)
    assert (wrapper.word, wrapper.path) == ("typed", pathlib.Path("/there"))
    wrapper.number, wrapper.color = 3, Color.BLUE
    assert (spin.value, box.currentText) == (3, "Blue")
    wrapper.disconnectGui(tag)
    spin.value = 9
    assert wrapper.number == 3


def test_node_selector_follows_the_field(wrapper, scene):
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(scene)
    bind(wrapper, node=selector)
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "m")
    selector.setCurrentNode(model)
    assert wrapper.node is model
    wrapper.node = None
    assert selector.currentNode() is None


def test_packs_and_ranges_bind_by_dotted_name(wrapper):
    import ctk
    import qt

    spin, across = qt.QSpinBox(), ctk.ctkRangeWidget()
    bind(wrapper, **{"box.corner.y": spin, "limits": across})
    spin.value = 5
    across.setValues(4, 8)
    assert (wrapper.box.corner.y, wrapper.limits.minimum, wrapper.limits.maximum) == (5, 4, 8)


def test_pairs_that_slicer_cannot_bind_are_refused(wrapper):
    import ctk
    import qt

    for name, widget in {
        "number": ctk.ctkSliderWidget(),  # whole numbers need a QSpinBox or QSlider
        "generated": ctk.ctkSliderWidget(),  # no bounds
        "word": qt.QComboBox(),  # no choices
        "on": qt.QLineEdit(),
    }.items():
        with pytest.raises(RuntimeError):
            bind(wrapper, **{name: widget})


def test_binding_by_the_name_property(wrapper):
    import qt

    panel = qt.QWidget()
    spin = qt.QSpinBox(panel)
    spin.setProperty("SlicerParameterName", "number")
    wrapper.connectGui(panel)
    spin.value = 11
    assert wrapper.number == 11
    spin.setProperty("SlicerParameterName", "absent")
    with pytest.raises(ValueError, match="absent"):
        wrapper.connectGui(panel)

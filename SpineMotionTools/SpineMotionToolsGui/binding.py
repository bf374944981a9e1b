"""Widgets that show fields of a parameter node, where Slicer's own binding falls short."""

import logging

import slicer

PARAMETER_NAME = "SlicerParameterName"


def readable(wrapper, node):
    """The wrapper of a parameter node; values it cannot read, of another version's scene, become the defaults.

    Slicer's own wrapper raises for such a value, so that the panel would not even open.
    """
    names = node.GetParameterNames()
    if not _reads(wrapper, node, names) and _reads(wrapper, node, ()):
        with slicer.util.NodeModify(node):
            for name in names:
                if not _reads(wrapper, node, (name,)):
                    logging.warning(f"{name} is set to its default: {node.GetParameter(name)!r} is not known here.")
                    node.UnsetParameter(name)
    return wrapper(node)


def _reads(wrapper, node, names):
    """Whether these parameters can be read; tried on a copy, on which a wrapper that failed leaves its observers."""
    copy = slicer.vtkMRMLScriptedModuleNode()
    for name in names:
        copy.SetParameter(name, node.GetParameter(name))
    try:
        wrapper(copy)
    except Exception:  # whatever Slicer's wrapper raises
        return False
    return True


def connectWidgets(parameterNode, ui):
    """Bind the widgets of `ui` to the fields that their property SlicerParameterName names.

    Returns the tag for `disconnectGui`, which Slicer's `connectGui` does not (Slicer issue 7547): without it widgets
    stay bound, and the next binding, which fills choices anew, would set their fields to other values.
    """
    named = {widget.property(PARAMETER_NAME): widget for widget in vars(ui).values()}
    return parameterNode.connectParametersToGui({name: widget for name, widget in named.items() if name})


class TextField:
    """Binds a line edit to a text field; the panel calls `show()` when parameters change.

    Slicer's own binding sets the text anew at every key, which moves the cursor to the end. `parameters()` returns the
    panel's parameter node, or None while there is none.
    """

    def __init__(self, lineEdit, parameters, field):
        self._edit, self._parameters, self._field = lineEdit, parameters, field
        lineEdit.connect("textEdited(QString)", self._onEdited)

    def show(self):
        text = getattr(self._parameters(), self._field)
        if self._edit.text != text:
            self._edit.text = text

    def _onEdited(self, text):
        if self._parameters() is not None:
            setattr(self._parameters(), self._field, text)

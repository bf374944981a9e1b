"""How the value of each type is stored in a `vtkMRMLScriptedModuleNode`.

| type | parameters |
| --- | --- |
| int, float, str, path | `name` = str(value) |
| bool | `name` = "True" or "False" |
| Enum | `name` = the member's name |
| node | `name` = "" and a node reference of role `name` |
| list | `name.len` and one entry `name.0`, `name.1`, ... per element |
| tuple | `name.0`, `name.1`, ... |
| dict | as a list of (key, value) tuples |
| Union, Optional | `name.<index of the type in the union>` |
| parameter pack | `name.member` |
"""

from __future__ import annotations

import enum
import pathlib

import slicer
import slicer.util

from Testing.headless.parameternode import annotations as notes

PATHS = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)
_registered: list[type] = []


class Serializer:
    """Reads and writes values of one type; this base class stores one parameter as text."""

    caching = True

    @staticmethod
    def canSerialize(type_) -> bool:
        raise NotImplementedError

    @classmethod
    def create(cls, type_):
        """A (validated) serializer for the type."""
        raise NotImplementedError

    def default(self):
        raise NotImplementedError

    def isIn(self, node, name: str) -> bool:
        return node.HasParameter(name)

    def read(self, node, name: str):
        raise NotImplementedError

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, str(value))

    def remove(self, node, name: str) -> None:
        node.UnsetParameter(name)

    def supportsCaching(self) -> bool:
        return self.caching


class ValidatedSerializer(Serializer):
    """A serializer with the checks made before it writes."""

    def __init__(self, serializer, validators):
        inner = serializer if isinstance(serializer, ValidatedSerializer) else None
        self.serializer = inner.serializer if inner else serializer
        self.validators = [*(inner.validators if inner else []), *(validators or [])]
        for method in ("default", "isIn", "read", "remove", "supportsCaching"):
            setattr(self, method, getattr(self.serializer, method))

    def validate(self, value) -> None:
        for validator in self.validators:
            validator.validate(value)

    def write(self, node, name: str, value) -> None:
        self.validate(value)
        self.serializer.write(node, name, value)


def parameterNodeSerializer(cls=None):
    """Class decorator: register a serializer."""
    if cls is None:
        return parameterNodeSerializer
    _registered.append(cls)
    return cls


def create(annotated) -> tuple[ValidatedSerializer, list]:
    """The serializer of a possibly annotated type, and the annotations that are not validators."""
    bare, annotations = notes.split(annotated)
    serializer = next((factory.create(bare) for factory in _registered if factory.canSerialize(bare)), None)
    if serializer is None:
        raise TypeError(f"Unable to create serializer for type: {bare}")
    validators = [annotation for annotation in annotations if isinstance(annotation, notes.Validator)]
    rest = [annotation for annotation in annotations if not isinstance(annotation, notes.Validator)]
    return ValidatedSerializer(serializer, validators), rest


@parameterNodeSerializer
class NumberSerializer(Serializer):
    def __init__(self, type_):
        self.type = type_

    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ in (int, float)

    @classmethod
    def create(cls, type_):
        accepted = (int, float) if type_ is float else int
        return ValidatedSerializer(cls(type_), [notes.NotNone(), notes.IsInstance(accepted)])

    def default(self):
        return 0

    def read(self, node, name: str):
        return self.type(node.GetParameter(name))


@parameterNodeSerializer
class TextSerializer(NumberSerializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is str or type_ in PATHS

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(type_), [notes.NotNone(), notes.IsInstance(type_)])

    def default(self):
        return self.type()


@parameterNodeSerializer
class BoolSerializer(Serializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is bool

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(), [notes.NotNone(), notes.IsInstance(bool)])

    def default(self):
        return False

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, "True" if value else "False")

    def read(self, node, name: str):
        return node.GetParameter(name) == "True"


@parameterNodeSerializer
class EnumSerializer(Serializer):
    def __init__(self, type_):
        self.type = type_

    @staticmethod
    def canSerialize(type_) -> bool:
        return isinstance(type_, type) and issubclass(type_, enum.Enum)

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(type_), [notes.IsInstance(type_)])

    def default(self):
        return next(iter(self.type))

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, value.name)

    def read(self, node, name: str):
        key = node.GetParameter(name)
        if key not in self.type.__members__:
            raise ValueError(f"Found {key!r} in parameter node but it is not a name in {self.type!r}")
        return self.type[key]


@parameterNodeSerializer
class NodeSerializer(Serializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return isinstance(type_, type) and issubclass(type_, slicer.vtkMRMLNode)

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(), [notes.IsInstance(type_)])

    def default(self):
        return None

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, "")  # tells a stored None from nothing stored
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name: str):
        return node.GetNodeReference(name)

    def remove(self, node, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


@parameterNodeSerializer
class NoneSerializer(BoolSerializer):
    @staticmethod
    def canSerialize(type_) -> bool:
        return type_ is type(None)

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(), [notes.IsNone()])

    def default(self):
        return None

    def write(self, node, name: str, value) -> None:
        node.SetParameter(name, "True")

    def read(self, node, name: str):
        return None

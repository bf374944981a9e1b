"""Parameter packs: groups of fields, stored as `name.member`, usable as the type of a field or of a pack's member."""

from __future__ import annotations

import typing

import slicer.util

from Testing.headless.parameternode import annotations as notes
from Testing.headless.parameternode.serializers import Serializer, ValidatedSerializer, create, parameterNodeSerializer


class Member:
    """One field of a pack or wrapper: its name, declared type, serializer and default."""

    def __init__(self, owner: type, name: str, declared):
        self.name, self.unalteredType = name, declared
        self.serializer, rest = create(declared)
        default = notes.first(rest, notes.Default)
        if name in vars(owner):
            default = notes.Default(vars(owner)[name])
        self.default = default or notes.Default(self.serializer.default())


def members_of(cls: type) -> dict[str, Member]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: Member(cls, name, declared) for name, declared in hints.items()}


def split_name(name: str) -> tuple[str, str | None]:
    """`"a.b.c"` -> `("a", "b.c")`; `"a"` -> `("a", None)`."""
    top, _, rest = name.partition(".")
    return top, rest or None


def isParameterPack(thing) -> bool:
    return getattr(thing, "_is_parameterPack", False)


def nestedParameterNames(pack) -> list[str]:
    """Dotted names of all members that are not packs themselves."""
    names = []
    for name, member in notes.split(pack)[0].allParameters.items():
        bare = notes.split(member.unalteredType)[0]
        names += [f"{name}.{inner}" for inner in nestedParameterNames(bare)] if isParameterPack(bare) else [name]
    return names


def _member_property(name: str) -> property:
    def write(self, value):
        self.allParameters[name].serializer.validate(value)
        self.__dict__[f"_{name}"] = value
        self.__dict__.get("_changed", lambda: None)()

    return property(lambda self: self.__dict__[f"_{name}"], write)


def _get_value(self, name: str):
    top, rest = split_name(name)
    if top not in self.allParameters:
        raise ValueError(f"{self} has no member '{top}'")
    value = getattr(self, top)
    return value if rest is None else value.getValue(rest)


def _set_value(self, name: str, value) -> None:
    top, rest = split_name(name)
    if top not in self.allParameters:
        raise ValueError(f"{self} has no member '{top}'")
    setattr(self, top, value) if rest is None else getattr(self, top).setValue(rest, value)


def _data_type(cls):
    def dataType(name: str):
        """The declared type of a member, by its dotted name."""
        top, rest = split_name(name)
        if top not in cls.allParameters:
            raise ValueError(f"{cls} has no member '{top}'")
        declared = cls.allParameters[top].unalteredType
        return declared if rest is None else notes.split(declared)[0].dataType(rest)

    return staticmethod(dataType)


def parameterPack(cls=None):
    """Class decorator: make a pack of the annotated fields."""
    if cls is None:
        return parameterPack
    members = members_of(cls)
    if not members:
        raise ValueError("Unable to find any members in parameterPack")
    for name, member in members.items():
        member.serializer.validate(member.default.value)
        setattr(cls, name, _member_property(name))
    own_init = vars(cls).get("__init__")

    def set_defaults(self):
        for name, member in members.items():
            setattr(self, name, member.default.value)

    def init(self, *args, **kwargs):
        set_defaults(self)
        if own_init:
            own_init(self, *args, **kwargs)
            return
        for name, value in [*zip(members, args), *kwargs.items()]:
            if name not in members:
                raise TypeError(f"__init__() got an unexpected keyword argument '{name}'")
            setattr(self, name, value)

    def text(self):
        return f"{cls.__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in members)})"

    def equal(self, other):
        return isPackOf(other) and all(getattr(self, name) == getattr(other, name) for name in members)

    def isPackOf(other):
        return getattr(type(other), "allParameters", None) is members

    cls.__init__ = init
    for name, method in {"__eq__": equal, "__str__": text, "__repr__": text}.items():
        if name not in vars(cls):
            setattr(cls, name, method)
    cls.__hash__ = None
    for name in ("allParameters", "getValue", "setValue", "dataType"):
        if hasattr(cls, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterPack")
    cls.allParameters, cls._is_parameterPack = members, True
    cls.getValue, cls.setValue, cls.dataType = _get_value, _set_value, _data_type(cls)
    return cls


@parameterNodeSerializer
class ParameterPackSerializer(Serializer):
    def __init__(self, type_):
        self.type = type_

    @staticmethod
    def canSerialize(type_) -> bool:
        return isParameterPack(type_)

    @classmethod
    def create(cls, type_):
        return ValidatedSerializer(cls(type_), [notes.NotNone(), notes.IsInstance(type_)])

    def default(self):
        return self.type()

    def _members(self, name: str):
        return ((f"{name}.{key}", key, member.serializer) for key, member in self.type.allParameters.items())

    def isIn(self, node, name: str) -> bool:
        stored, _, serializer = next(self._members(name))
        return serializer.isIn(node, stored)

    def write(self, node, name: str, value) -> None:
        with slicer.util.NodeModify(node):
            for stored, key, serializer in self._members(name):
                serializer.write(node, stored, getattr(value, key))

    def read(self, node, name: str):
        """A pack that writes itself to the node when a member is set."""
        pack = self.type()
        for stored, key, serializer in self._members(name):
            pack.__dict__[f"_{key}"] = serializer.read(node, stored)
        pack.__dict__["_changed"] = lambda: self.write(node, name, pack)
        return pack

    def remove(self, node, name: str) -> None:
        with slicer.util.NodeModify(node):
            for stored, _, serializer in self._members(name):
                serializer.remove(node, stored)

    def supportsCaching(self) -> bool:
        return all(serializer.supportsCaching() for _, _, serializer in self._members(""))


@parameterPack
class FloatRange:
    """A pair of numbers, minimum <= maximum; what a ctkRangeWidget edits."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum=0.0, maximum=0.0):
        self.setRange(minimum, maximum)

    def setRange(self, minimum, maximum) -> None:
        if not minimum <= maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")
        self._minimum, self._maximum = minimum, maximum

    @property
    def minimum(self) -> float:
        return self._minimum

    @minimum.setter
    def minimum(self, value) -> None:
        self.setRange(value, self._maximum)

    @property
    def maximum(self) -> float:
        return self._maximum

    @maximum.setter
    def maximum(self, value) -> None:
        self.setRange(self._minimum, value)

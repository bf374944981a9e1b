"""Stored form of tuples, lists, dictionaries and unions; see the table in serializers.py."""

from __future__ import annotations

import collections.abc
import typing

import slicer.util

from Testing.headless.parameternode.serializers import (
    NoneSerializer,
    NumberSerializer,
    Serializer,
    ValidatedSerializer,
    create,
    parameterNodeSerializer,
)


@parameterNodeSerializer
class TupleSerializer(Serializer):
    def __init__(self, serializers):
        self.serializers = serializers

    @staticmethod
    def canSerialize(type_) -> bool:
        return typing.get_origin(type_) is tuple

    @classmethod
    def create(cls, type_):
        return cls([create(part)[0] for part in typing.get_args(type_)])

    def default(self):
        return tuple(serializer.default() for serializer in self.serializers)

    def isIn(self, node, name: str) -> bool:
        return self.serializers[0].isIn(node, f"{name}.0")

    def write(self, node, name: str, value) -> None:
        values = tuple(value)
        if len(values) != len(self.serializers):
            raise ValueError("Unexpected number of tuple values")
        with slicer.util.NodeModify(node):
            for index, (serializer, part) in enumerate(zip(self.serializers, values)):
                serializer.write(node, f"{name}.{index}", part)

    def read(self, node, name: str):
        return tuple(part.read(node, f"{name}.{index}") for index, part in enumerate(self.serializers))

    def remove(self, node, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index, serializer in enumerate(self.serializers):
                serializer.remove(node, f"{name}.{index}")

    def supportsCaching(self) -> bool:
        return all(serializer.supportsCaching() for serializer in self.serializers)


class ObservedList(collections.abc.MutableSequence):
    """A list that writes itself to the parameter node whenever it changes."""

    def __init__(self, node, serializer, name: str, values: list):
        self._where, self._list = (serializer, node, name), values

    def _save(self) -> None:
        serializer, node, name = self._where
        try:
            serializer.write(node, name, self._list)
        finally:  # also turns newly added inner lists into observed ones
            self._list = serializer.read(node, name)._list

    def __eq__(self, other) -> bool:
        return self._list == (other._list if isinstance(other, ObservedList) else other)

    def __repr__(self) -> str:
        return f"ObservedList({self._list})"

    def __len__(self) -> int:
        return len(self._list)

    def __getitem__(self, index):
        return self._list[index]

    def __setitem__(self, index, value) -> None:
        self._list[index] = value
        self._save()

    def __delitem__(self, index) -> None:
        del self._list[index]
        self._save()

    def insert(self, index, value) -> None:
        self._list.insert(index, value)
        self._save()

    def sort(self, **options) -> None:
        self._list.sort(**options)
        self._save()


@parameterNodeSerializer
class ListSerializer(Serializer):
    def __init__(self, element):
        self.element, self.length = element, NumberSerializer(int)

    @staticmethod
    def canSerialize(type_) -> bool:
        return typing.get_origin(type_) is list

    @classmethod
    def create(cls, type_):
        return cls(create(typing.get_args(type_)[0])[0])

    def default(self):
        return []

    def isIn(self, node, name: str) -> bool:
        return self.length.isIn(node, f"{name}.len")

    def _count(self, node, name: str) -> int:
        return self.length.read(node, f"{name}.len") if self.isIn(node, name) else 0

    def write(self, node, name: str, values) -> None:
        with slicer.util.NodeModify(node):
            before = list(self.read(node, name)) if self.isIn(node, name) else None
            count = self._count(node, name)
            try:
                for index, value in enumerate(values):
                    self.element.write(node, f"{name}.{index}", value)
            except Exception:
                for index in range(max(len(values), count)):
                    self.element.remove(node, f"{name}.{index}")
                if before is not None:
                    self.write(node, name, before)
                raise
            self.length.write(node, f"{name}.len", len(values))
            for index in range(len(values), count):
                self.element.remove(node, f"{name}.{index}")

    def read(self, node, name: str):
        values = [self.element.read(node, f"{name}.{index}") for index in range(self._count(node, name))]
        return ObservedList(node, self, name, values)

    def remove(self, node, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index in range(self._count(node, name)):
                self.element.remove(node, f"{name}.{index}")
            self.length.remove(node, f"{name}.len")

    def supportsCaching(self) -> bool:
        return self.element.supportsCaching()


class ObservedDict(collections.abc.MutableMapping):
    """A dictionary that writes itself to the parameter node whenever it changes."""

    def __init__(self, node, serializer, name: str, values: dict):
        self._where, self._dict = (serializer, node, name), values

    def _save(self) -> None:
        serializer, node, name = self._where
        try:
            serializer.write(node, name, self._dict)
        finally:
            self._dict = serializer.read(node, name)._dict

    def __eq__(self, other) -> bool:
        return self._dict == (other._dict if isinstance(other, ObservedDict) else other)

    def __repr__(self) -> str:
        return f"ObservedDict({self._dict})"

    def __len__(self) -> int:
        return len(self._dict)

    def __iter__(self):
        return iter(self._dict)

    def __getitem__(self, key):
        return self._dict[key]

    def __setitem__(self, key, value) -> None:
        self._dict[key] = value
        self._save()

    def __delitem__(self, key) -> None:
        del self._dict[key]
        self._save()


@parameterNodeSerializer
class DictSerializer(Serializer):
    def __init__(self, key, value):
        self.items = ListSerializer(TupleSerializer([key, value]))
        for method in ("isIn", "remove", "supportsCaching"):
            setattr(self, method, getattr(self.items, method))

    @staticmethod
    def canSerialize(type_) -> bool:
        return typing.get_origin(type_) is dict

    @classmethod
    def create(cls, type_):
        return cls(*(create(part)[0] for part in typing.get_args(type_)))

    def default(self):
        return {}

    def write(self, node, name: str, value) -> None:
        self.items.write(node, name, list(value.items()))

    def read(self, node, name: str):
        return ObservedDict(node, self, name, dict(self.items.read(node, name)))


@parameterNodeSerializer
class UnionSerializer(Serializer):
    def __init__(self, members):
        self.members = [ValidatedSerializer(member, []) for member in members]

    @staticmethod
    def canSerialize(type_) -> bool:
        return typing.get_origin(type_) is typing.Union  # not `A | None`: Slicer does not take it

    @classmethod
    def create(cls, type_):
        return cls([create(part)[0] for part in typing.get_args(type_)])

    def default(self):
        optional = len(self.members) == 2 and isinstance(self.members[1].serializer, NoneSerializer)
        return None if optional else self.members[0].default()

    def isIn(self, node, name: str) -> bool:
        return any(member.isIn(node, f"{name}.{index}") for index, member in enumerate(self.members))

    def _index_for(self, value) -> int:
        refusal = TypeError(f"Unable to write value '{value}' of type '{type(value)}'")
        for index, member in enumerate(self.members):
            if member.serializer.canSerialize(type(value)):
                try:
                    member.validate(value)
                    return index
                except (TypeError, ValueError) as error:
                    refusal = error
        raise refusal

    def write(self, node, name: str, value) -> None:
        index = self._index_for(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self.members[index].write(node, f"{name}.{index}", value)

    def read(self, node, name: str):
        for index, member in enumerate(self.members):
            if member.isIn(node, f"{name}.{index}"):
                return member.read(node, f"{name}.{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def remove(self, node, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index, member in enumerate(self.members):
                member.remove(node, f"{name}.{index}")

    def supportsCaching(self) -> bool:
        return all(member.supportsCaching() for member in self.members)

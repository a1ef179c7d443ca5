"""Records: frozen dataclasses that are read from JSON and written to it. An error names the field: ``limits.files: must be ...``.

    @record
    class Point(Record):
        x: int
        label: str | None = None

The annotations are the schema: ``str``, ``int``, ``float``, ``bool``, ``Literal``, ``X | None``, ``tuple[X, ...]``, ``dict[str, X]``,
another record, a union of records that differ in ``type``, a NamedTuple (a list in JSON), ``Annotated`` with one of the rules below, and
``Any``.
"""

import functools
import json
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar, Union, dataclass_transform, get_args, get_origin

from c2d.errors import InvalidField

JsonObject = dict[str, Any]
"""A JSON object of somebody else's making (a DDO, a consumer's parameters), which is passed on unread."""

R = TypeVar("R", bound="Record")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: type[R]) -> type[R]:
    """Make a subclass of Record a frozen dataclass with keyword arguments.

    ``dataclass(frozen=True)`` would generate seven methods for each class, which takes 0.7 ms: the contract's classes would take half of
    a stage's start-up. Record has these methods once for all.
    """
    return dataclass(init=False, repr=False, eq=False, kw_only=True)(cls)


class Record:
    """Base of all records."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init__(self, **values: Any) -> None:
        for each in fields(self):
            if each.name in values:
                self.__dict__[each.name] = values.pop(each.name)
            elif each.default is not MISSING:
                self.__dict__[each.name] = each.default
            elif each.default_factory is not MISSING:
                self.__dict__[each.name] = each.default_factory()
            else:
                raise TypeError(f"{type(self).__name__}: {each.name} is missing")
        if values:
            raise TypeError(f"{type(self).__name__}: has no field {next(iter(values))}")

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to {name}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        """The name only: many fields are secrets."""
        return f"{type(self).__name__}(...)"

    @classmethod
    def from_json(cls, value: object, name: str = "") -> Self:
        """The record in a decoded JSON value. Fields that the record does not have are ignored.

        :param name: how errors call the value; empty for a whole document.
        :raises InvalidField: naming the first field that is wrong.
        """
        if not isinstance(value, dict):
            raise InvalidField(name or "document", "must be an object")
        prefix = f"{name}." if name else ""
        values = {}
        for each in _plan(cls):
            item = value.get(each.name)
            values[each.name] = each.fallback() if item is None and each.fallback else each.read(item, prefix + each.name)
        return cls(**values)

    @classmethod
    def trusted(cls, value: JsonObject) -> Self:
        """The record in JSON that :meth:`to_json` made. It checks nothing, and takes a third of the time of :meth:`from_json`.

        Lists of records stay lists of JSON.
        """
        made = cls.__new__(cls)
        for each in _plan(cls):
            item = value.get(each.name)
            if item is None:
                made.__dict__[each.name] = each.fallback() if each.fallback else None
            else:
                made.__dict__[each.name] = each.nested.trusted(item) if each.nested else item
        return made

    def to_json(self) -> JsonObject:
        """The record as a JSON object. A field that is None is left out if None is its default, and is null otherwise."""
        return {
            each.name: _as_json(self.__dict__[each.name])
            for each in fields(self)
            if self.__dict__[each.name] is not None or each.default is not None
        }


class AtLeast(NamedTuple):
    """A rule for a whole number."""

    minimum: int


class Matches(NamedTuple):
    """A rule for a string: the regular expression that all of it matches, and the error for one that does not."""

    pattern: str
    problem: str


# -- from JSON -----------------------------------------------------------------------------------------------------------------

Read = Callable[[Any, str], Any]
"""``read(value, name)`` returns the value in Python's form, or raises InvalidField."""


class _Field(NamedTuple):
    """fallback: makes the value of a field that is null or absent; None if the field is required. nested: the record that the field is."""

    name: str
    read: Read
    fallback: Callable[[], Any] | None
    nested: type[Record] | None


_PLANS: dict[type[Record], list[_Field]] = {}


def _plan(kind: type[Record]) -> list[_Field]:
    """How a record is read; worked out once."""
    if kind in _PLANS:
        return _PLANS[kind]
    plan = []
    for each in fields(kind):
        fallback: Callable[[], Any] | None = None
        if get_origin(each.type) is Literal and len(get_args(each.type)) == 1:
            pass  # a constant such as `ok` or `version` must be there, even if its default saves the writer from naming it
        elif each.default is not MISSING:
            fallback = functools.partial(_same, each.default)
        elif each.default_factory is not MISSING:
            fallback = each.default_factory
        elif NoneType in get_args(each.type):
            fallback = NoneType
        elif get_origin(each.type) is tuple:
            fallback = tuple
        members = get_args(each.type) if get_origin(each.type) in (Union, UnionType) else (each.type,)
        records = [member for member in members if isinstance(member, type) and issubclass(member, Record)]
        plan.append(_Field(each.name, _reader(each.type), fallback, records[0] if len(records) == 1 else None))
    _PLANS[kind] = plan
    return plan


def _same(value: Any) -> Any:
    return value


def _reader(kind: Any) -> Read:
    """How a value of the annotation ``kind`` is read."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value, name: value
    if kind in _PLAIN:
        return functools.partial(_plain, *_PLAIN[kind])
    if origin is Annotated and isinstance(arguments[1], AtLeast):
        return functools.partial(_number, arguments[1].minimum)
    if origin is Annotated:
        return functools.partial(_string, re.compile(arguments[1].pattern, re.DOTALL).fullmatch, arguments[1].problem)
    if origin is Literal:
        return functools.partial(_literal, arguments)
    if origin is tuple:
        return functools.partial(_list, _reader(arguments[0]))
    if origin is dict:
        return functools.partial(_object, _reader(arguments[1]))
    if origin in (Union, UnionType):
        return _union([member for member in arguments if member is not NoneType])
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_json
    return functools.partial(_named_tuple, kind, [_reader(kind.__annotations__[name]) for name in kind._fields])


_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "must be a string"),
    int: ((int,), "must be a whole number"),
    float: ((int, float), "must be a number"),
    bool: ((bool,), "must be true or false"),
}


def _plain(kinds: tuple[type, ...], problem: str, value: Any, name: str) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise InvalidField(name, problem)
    return value


def _number(minimum: int, value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InvalidField(name, f"must be a whole number of at least {minimum}")
    return value


def _string(matches: Callable[[str], object], problem: str, value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidField(name, "must be a string")
    if not matches(value):
        raise InvalidField(name, problem)
    return value


def _literal(choices: tuple[Any, ...], value: Any, name: str) -> Any:
    if value not in choices or type(value) not in map(type, choices):  # the type too, for True == 1
        raise InvalidField(name, f"must be {' or '.join(json.dumps(choice) for choice in choices)}")
    return value


def _list(read: Read, value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InvalidField(name, "must be a list")
    return tuple(read(item, f"{name}[{number}]") for number, item in enumerate(value))


def _object(read: Read, value: Any, name: str) -> dict[str, Any]:
    """An object with names of its own. Errors count its members, for a name may be a secret too."""
    if not isinstance(value, dict):
        raise InvalidField(name, "must be an object")
    return {key: read(item, f"{name}[{number}]") for number, (key, item) in enumerate(value.items())}


def _union(members: list[Any]) -> Read:
    if len(members) == 1:
        return _reader(members[0])
    by_type: dict[Any, Read] = {member.type: member.from_json for member in members}
    return functools.partial(_tagged, by_type)


def _tagged(by_type: dict[Any, Read], value: Any, name: str) -> Any:
    """One of several records, by its ``type``; the first of them where there is no ``type``."""
    if not isinstance(value, dict):
        raise InvalidField(name, "must be an object")
    value = {"type": next(iter(by_type)), **value}
    return by_type[_literal(tuple(by_type), value["type"], f"{name}.type")](value, name)


def _named_tuple(kind: Any, readers: list[Read], value: Any, name: str) -> Any:
    if not isinstance(value, list) or len(value) != len(readers):
        raise InvalidField(name, f"must be the list [{', '.join(kind._fields)}]")
    return kind(*(read(item, f"{name}[{number}]") for number, (read, item) in enumerate(zip(readers, value, strict=True))))


# -- to JSON -------------------------------------------------------------------------------------------------------------------


def _as_json(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return value

"""Records: frozen dataclasses that are read from JSON, with errors that name the field."""

# Without `from __future__ import annotations`: a record's annotations are its schema.

import dataclasses
import json
from dataclasses import field
from typing import Annotated, Any, Literal, NamedTuple

import pytest

from c2d.errors import InvalidField
from c2d.shared.records import AtLeast, JsonObject, Matches, Record, record


class Pair(NamedTuple):
    number: int
    name: str


@record
class Circle(Record):
    type: Literal["circle"] = "circle"
    radius: float


@record
class Square(Record):
    type: Literal["square"] = "square"
    side: Annotated[int, AtLeast(1)]


@record
class Drawing(Record):
    version: Literal[1] = 1
    name: Annotated[str, Matches("[a-z]+", "must be lower-case letters")]
    shapes: tuple[Circle | Square, ...]
    background: Circle | None
    pairs: tuple[Pair, ...] = ()
    titles: dict[str, str] = field(default_factory=dict)
    mode: Literal["light", "dark"] = "light"
    shown: bool = True
    note: str | None = None
    anything: Any


VALUE: JsonObject = {
    "version": 1,
    "name": "a",
    "shapes": [{"type": "circle", "radius": 1.5}, {"type": "square", "side": 2}],
    "background": None,
    "pairs": [[1, "x"]],
    "titles": {"en": "A"},
    "mode": "dark",
    "shown": False,
    "anything": {"deep": [1]},
}
DRAWING = Drawing(
    name="a",
    shapes=(Circle(radius=1.5), Square(side=2)),
    background=None,
    pairs=(Pair(1, "x"),),
    titles={"en": "A"},
    mode="dark",
    shown=False,
    anything={"deep": [1]},
)


def test_a_record_is_read_and_written_without_change() -> None:
    assert Drawing.from_json(VALUE) == DRAWING
    assert json.dumps(DRAWING.to_json()) == json.dumps(VALUE)


def test_fields_with_defaults_may_be_absent_or_null_and_unknown_fields_are_ignored() -> None:
    small = {"version": 1, "name": "a", "mode": None, "unknown": 1}
    assert Drawing.from_json(small) == Drawing(name="a", shapes=(), background=None, anything=None)
    assert Drawing(name="a", shapes=(), background=None, anything=None).mode == "light"


def test_a_none_is_left_out_of_the_json_only_if_it_is_the_default() -> None:
    written = Drawing(name="a", shapes=(), background=None, anything=None).to_json()
    assert written["background"] is None and written["anything"] is None and "note" not in written


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": None}, "version: must be 1"),
        ({"version": True}, "version: must be 1"),
        ({"name": None}, "name: must be a string"),
        ({"name": "a\n"}, "name: must be lower-case letters"),
        ({"shapes": {}}, "shapes: must be a list"),
        ({"shapes": [[]]}, "shapes[0]: must be an object"),
        ({"shapes": [{"type": "line"}]}, 'shapes[0].type: must be "circle" or "square"'),
        ({"shapes": [{"type": []}]}, 'shapes[0].type: must be "circle" or "square"'),
        ({"shapes": [{"type": "circle", "radius": "1"}]}, "shapes[0].radius: must be a number"),
        ({"shapes": [{"radius": 1}, {"type": "square", "side": 0}]}, "shapes[1].side: must be a whole number of at least 1"),
        ({"shapes": [{"type": "square", "side": 1.0}]}, "shapes[0].side: must be a whole number of at least 1"),
        ({"shapes": [{"type": "square", "side": True}]}, "shapes[0].side: must be a whole number of at least 1"),
        ({"background": 5}, "background: must be an object"),
        ({"background": {"radius": 1}}, 'background.type: must be "circle"'),
        ({"pairs": [[1]]}, "pairs[0]: must be the list [number, name]"),
        ({"pairs": [["1", "x"]]}, "pairs[0][0]: must be a whole number"),
        ({"titles": {"SECRET": 5}}, "titles[0]: must be a string"),
        ({"titles": []}, "titles: must be an object"),
        ({"mode": "blue"}, 'mode: must be "light" or "dark"'),
        ({"shown": 1}, "shown: must be true or false"),
        ({"note": 1}, "note: must be a string"),
    ],
)
def test_an_error_names_the_field_and_not_the_value(change: JsonObject, error: str) -> None:
    with pytest.raises(InvalidField) as caught:
        Drawing.from_json({**VALUE, **change})
    assert str(caught.value) == error and caught.value.field == error.split(":")[0]


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_a_document_must_be_an_object(value: object) -> None:
    with pytest.raises(InvalidField, match="document: must be an object"):
        Drawing.from_json(value)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DRAWING.name = "b"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del DRAWING.name
    assert dataclasses.replace(DRAWING, name="b").name == "b" and DRAWING.name == "a"


def test_a_record_is_made_of_exactly_its_fields() -> None:
    with pytest.raises(TypeError, match="Square: side is missing"):
        Square()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Square: has no field colour"):
        Square(side=1, colour="red")  # type: ignore[call-arg]


def test_the_text_of_a_record_shows_no_value() -> None:
    assert repr(DRAWING) == "Drawing(...)"


def test_a_trusted_record_equals_one_that_was_checked() -> None:
    value = {**VALUE, "shapes": [], "pairs": [], "background": {"type": "circle", "radius": 1.0}}
    trusted = Drawing.trusted(value)
    assert (trusted.background, trusted.note, trusted.mode) == (Circle(radius=1.0), None, "dark")
    assert Circle.trusted({"type": "circle", "radius": 1.0}) == Circle.from_json({"type": "circle", "radius": 1.0})

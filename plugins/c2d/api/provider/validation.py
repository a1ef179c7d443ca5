"""Checks the fields of a request as Ocean's Provider does, with the same rules, order and sentences (those of flask-sieve)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SIGNATURE_FAULT = "Invalid signature provided. Please check the nonce or documentId."
MAX_SAFE_INTEGER = 2**53 - 1
"""The largest whole number that JavaScript holds exactly."""

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of a request while it is checked.

    :param path: its name, with dots between the names of nested objects.
    :param value: None if it is missing.
    :param is_signed: whether the request is signed correctly; called only when a rule needs it.
    """

    data: Data
    path: str
    value: Any
    is_signed: Callable[[], bool]

    @property
    def label(self) -> str:
        """The name in sentences."""
        return " ".join(word for word in self.path.split("_") if word)

    @property
    def is_empty(self) -> bool:
        """Whether the value is missing, or an empty text, list or object. False and 0 are values."""
        return self.value is None or (not self.value and self.value is not False and self.value != 0)


Rule = Callable[[Field], str | None]
"""A rule returns the sentence about the field's fault, or None."""


@dataclass(frozen=True)
class RequiredIf:
    """A rule: the field is required if a condition on other fields holds.

    :param sentence: how the condition reads in the sentence.
    """

    holds: Callable[[Data], bool]
    sentence: str

    def __call__(self, field: Field) -> str | None:
        fault = field.is_empty and self.holds(field.data)
        return f"The {field.label} field is required when {self.sentence}." if fault else None


@dataclass(frozen=True)
class FieldRules:
    """The rules for one field, in the order in which they are checked.

    :param bail: the whole check ends at the field's first fault.
    :param sometimes: a missing field is not checked.
    """

    rules: tuple[Rule, ...]
    bail: bool = False
    sometimes: bool = False

    def skips(self, field: Field) -> bool:
        """Whether the field is missing, and may be."""
        if field.value is not None:
            return False
        conditions = [rule for rule in self.rules if isinstance(rule, RequiredIf)]
        return self.sometimes or (bool(conditions) and not any(condition.holds(field.data) for condition in conditions))


Rules = dict[str, FieldRules]


def field(*rules: Rule, bail: bool = False, sometimes: bool = False) -> FieldRules:
    """The rules for one field."""
    return FieldRules(rules, bail, sometimes)


def faults(data: Data, fields: Rules, is_signed: Callable[[], bool]) -> dict[str, list[str]]:
    """The sentences about each field that is wrong; {} if none is.

    :param is_signed: whether the request is signed correctly; called when the turn comes to the ``signature`` rule.
    """
    sentences: dict[str, list[str]] = {}
    for path, field_rules in fields.items():
        checked = Field(data, path, value_at(data, path), is_signed)
        if field_rules.skips(checked):
            continue
        for rule in field_rules.rules:
            if sentence := rule(checked):
                sentences.setdefault(path, []).append(sentence)
                if field_rules.bail:
                    return sentences
    return sentences


def value_at(data: Any, path: str) -> Any:
    """The value at a path of names with dots between them; None if there is none."""
    for name in path.split("."):
        if not isinstance(data, dict) or name not in data:
            return None
        data = data[name]
    return data


def whole_number(value: Any) -> int | None:
    """The value, a whole number from 0 to MAX_SAFE_INTEGER, also if it is written as text. None: it is something else."""
    text = str(value)
    return int(text) if text.isdecimal() and len(text) <= 16 and int(text) <= MAX_SAFE_INTEGER else None


# -- the rules ---------------------------------------------------------------------------------------------------------


def required(field: Field) -> str | None:
    return f"The {field.label} field is required." if field.is_empty else None


def required_without(*paths: str) -> RequiredIf:
    """Required unless all the other fields are there."""
    return RequiredIf(lambda data: any(value_at(data, path) is None for path in paths), f"{', '.join(paths)} is not present")


def required_with(*paths: str) -> RequiredIf:
    """Required if any of the other fields is there."""
    return RequiredIf(lambda data: any(value_at(data, path) is not None for path in paths), f"{', '.join(paths)} is present")


def required_with_all(*paths: str) -> RequiredIf:
    """Required if all the other fields are there."""
    return RequiredIf(lambda data: all(value_at(data, path) is not None for path in paths), f"{', '.join(paths)} are present")


def required_if(path: str, value: str) -> RequiredIf:
    """Required if the other field has this value."""
    return RequiredIf(lambda data: str(value_at(data, path)) == value, f"{path} is {value}")


def numeric(field: Field) -> str | None:
    return f"The {field.label} must be a number." if _number(field.value) is None else None


def integer(field: Field) -> str | None:
    return None if str(field.value).isdecimal() else f"The {field.label} must be an integer."


def minimum(least: int) -> Rule:
    def rule(field: Field) -> str | None:
        return f"The {field.label} must be at least {least}." if (_number(field.value) or 0) < least else None

    return rule


def one_of(*values: str) -> Rule:
    def rule(field: Field) -> str | None:
        return None if field.value in values else f"The selected {field.label} is invalid."

    return rule


def matching(pattern: str) -> Rule:
    def rule(field: Field) -> str | None:
        matches = isinstance(field.value, str) and re.match(pattern, field.value)
        return None if matches else f"The {field.label} format is invalid."

    return rule


def signature(field: Field) -> str | None:
    return None if field.is_signed() else SIGNATURE_FAULT


def future_timestamp(field: Field) -> str | None:
    moment = whole_number(field.value)
    return None if moment is not None and time.time() < moment else "Invalid timestamp provided."


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None

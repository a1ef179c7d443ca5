"""Reading JSON with errors that name the field: `limits.files: must be a whole number of at least 1`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from c2d_stages.stage import StageError


@dataclass(frozen=True)
class Field:
    """A value of stage.json (or release.json) and its name there; the name is empty at the top."""

    name: str
    value: Any

    def wrong(self, what: str) -> StageError:
        return StageError(f"{self.name or 'stage.json'}: {what}", self.name or "stage.json")

    def get(self, key: str) -> "Field":
        """A member, with value None where it is absent."""
        if not isinstance(self.value, dict):
            raise self.wrong("must be an object")
        return Field(f"{self.name}.{key}" if self.name else key, self.value.get(key))

    def items(self) -> Iterator["Field"]:
        """The members of a list; absent is the empty list."""
        if self.value is not None and not isinstance(self.value, list):
            raise self.wrong("must be a list")
        for number, value in enumerate(self.value or ()):
            yield Field(f"{self.name}[{number}]", value)

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("must be a text")
        return self.value

    def choice(self, choices: tuple[str, ...], default: str | None = None) -> str:
        if self.value is None and default is not None:
            return default
        if self.value not in choices:
            raise self.wrong(f"must be one of: {', '.join(choices)}")
        return str(self.value)

    def integer(self, minimum: int = 1, default: int | None = None) -> int:
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, int) or isinstance(self.value, bool) or self.value < minimum:
            raise self.wrong(f"must be a whole number of at least {minimum}")
        return self.value

    def flag(self) -> bool:
        if self.value not in (None, True, False):
            raise self.wrong("must be true or false")
        return bool(self.value)

    def object(self) -> dict[str, Any] | None:
        if self.value is not None and not isinstance(self.value, dict):
            raise self.wrong("must be an object")
        return self.value

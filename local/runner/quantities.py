"""Kubernetes quantities such as 512Mi, 1.5G, 250m and 1e3.

`kubernetes.utils.parse_quantity` does the same, but importing it imports the whole Kubernetes client: more than a second at start and 55 MB
of memory for as long as the runner lives. The tests compare the two.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

_UNITS = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3)}
_UNITS |= {unit: Decimal(1000**power) for power, unit in enumerate("MGTPE", 2)}
_UNITS |= {f"{unit}i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", 1)}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]+)|([KMGTPE]i|[mkMGTPE])?)")


def quantity(text: str | int | float) -> int:
    """The number that a quantity stands for (bytes, for memory and storage), rounded up.

    :raises ValueError: `text` is not a quantity.
    """
    match = _QUANTITY.fullmatch(str(text))
    if not match:
        raise ValueError(f"quantities must match the regular expression {_QUANTITY.pattern}, {text!r} does not")
    value = Decimal(match[1]) * (Decimal(f"1{match[2]}") if match[2] else _UNITS[match[3] or ""])
    return math.ceil(value)


def limit_of(container: dict[str, Any], resource: str) -> int | None:
    """The container's limit of a resource, such as memory in bytes; None if it has none."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get(resource)
    return None if limit is None else quantity(limit)

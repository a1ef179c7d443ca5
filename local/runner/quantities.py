"""Kubernetes quantities: 512Mi, 1.5G, 250m, 1e3."""

from __future__ import annotations

import math
import re
from decimal import Decimal

_UNITS = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12)}
_UNITS |= {"P": Decimal(10**15), "E": Decimal(10**18)} | {f"{unit}i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", 1)}
_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]+)|([KMGTPE]i|[mkMGTPE])?)$")


def quantity(text: str | int | float) -> int:
    """The number (bytes, for memory and storage), rounded up. ValueError for what is not a quantity."""
    match = _QUANTITY.match(str(text))
    if not match:
        raise ValueError(f"quantities must match the regular expression {_QUANTITY.pattern}, {text!r} does not")
    value = Decimal(match[1]) * (Decimal(f"1{match[2]}") if match[2] else _UNITS[match[3] or ""])
    return math.ceil(value)

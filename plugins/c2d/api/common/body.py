"""JSON that strangers send, read without risk."""

from __future__ import annotations

import json
import re
from typing import Any

DEPTH = 64
_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def loads(body: bytes) -> Any:
    """The value in ``body``.

    Its depth is counted first: web3 (py_ecc) raises Python's recursion limit to 100,000 for the whole process, and then a body of 100,000
    brackets overruns the C stack and ends the server, where Python would have raised RecursionError.

    :raises ValueError: it is not JSON, not UTF-8, or deeper than DEPTH.
    """
    depth = 0
    for match in _TEXT_OR_BRACKET.finditer(body):
        first = match[0][:1]
        if first in b"[{":
            depth += 1
            if depth > DEPTH:
                raise ValueError(f"deeper than {DEPTH}")
        elif first in b"]}":
            depth -= 1
    return json.loads(body)

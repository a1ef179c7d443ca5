"""JSON from strangers, parsed with a limit on its depth."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(body: bytes) -> Any:
    """The value that ``body`` encodes.

    The depth is counted before the body is parsed. web3 (through py_ecc) raises Python's recursion limit to 100,000 for the whole process;
    a body of 100,000 brackets would then overflow the C stack and end the server, where Python would otherwise raise RecursionError.

    :raises ValueError: it is not JSON, not UTF-8, or deeper than MAX_DEPTH.
    """
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(body):
        first = match[0][:1]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"deeper than {MAX_DEPTH}")
        elif first in b"]}":
            depth -= 1
    return json.loads(body)

"""Files as they are stored where results are encrypted (docs/encryption.md): `encryption` of stage.json."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from c2d_stages.fields import Field

KEY = re.compile("[0-9a-f]{64}")
OF_THE_OWNER = ("output", "algorithmLog", "manifest")  # the others are the operator's, who can always read them


@dataclass(frozen=True)
class Encryption:
    """The keys of a job's results. sealedKey: of the results' key, for the consumer alone to open; None: the operator decrypts them."""

    results: bytes
    adminlogs: bytes
    sealedKey: str | None

    @classmethod
    def from_field(cls, field: Field) -> "Encryption | None":
        if field.value is None:
            return None
        for name in ("results", "adminlogs"):
            if not KEY.fullmatch(field.get(name).text()):
                raise field.get(name).wrong("must be 64 hex digits")
        sealed = field.get("sealedKey")
        return cls(
            bytes.fromhex(field.get("results").text()),
            bytes.fromhex(field.get("adminlogs").text()),
            None if sealed.value is None else sealed.text(),
        )

    def file(self, path: str, kind: str, read: Callable[[int, int], bytes], size: int, sha256: str) -> Any:
        """What to store for a file: an object with `size` and `read(offset, length)`, by which any part can be made again.

        path, kind: its `path` and `type` in the manifest; read, size, sha256: of its content (read gives exactly what is asked for).
        """
        from c2d import encryption  # here: it brings `cryptography`, which takes longer to load than a small job's whole stage

        key = self.results if kind in OF_THE_OWNER else self.adminlogs
        prefix = encryption.prefix_for(key, self.sealedKey, path) if self.sealedKey and key is self.results else b""
        return encryption.Encrypted(read, size, sha256, key, path, prefix)

    def mode(self, kind: str) -> str:
        """A file's `encrypted` in the manifest."""
        return "consumer" if self.sealedKey and kind in OF_THE_OWNER else "store"

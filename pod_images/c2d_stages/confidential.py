"""What is stored where results are encrypted (docs/encryption.md), by `encryption` of stage.json."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from c2d_stages.content import BytesContent, Content
from c2d_stages.fields import Field
from c2d_stages.stage import StageError
from c2d_stages.stores import MANIFEST, Item

KEY = re.compile("[0-9a-f]{64}")
OF_THE_OWNER = ("output", "algorithmLog")  # the others are the operator's, who can always read them


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
        results, adminlogs = (bytes.fromhex(field.get(name).text()) for name in ("results", "adminlogs"))
        return cls(results, adminlogs, None if sealed.value is None else sealed.text())

    def item(self, index: int, item: Item) -> Item:
        """The file as it is stored: under its index, for a name may tell as much as a content."""
        mine = item.type in OF_THE_OWNER
        content = self._content(item.content, item.name, mine)
        reader = "consumer" if mine and self.sealedKey else "store"
        return replace(item, path=f"data/{index}", contentType="application/octet-stream", content=content, encrypted=reader)

    def manifest(self, manifest: bytes) -> bytes:
        content = self._content(BytesContent(manifest), MANIFEST, True)
        return b"".join(bytes(piece) for piece in content.read(0, content.size))

    def opened(self, manifest: bytes) -> bytes:
        """The reverse. Raises ValueError where it is not one of these keys."""
        from c2d.crypto import result_files

        return result_files.decrypted(manifest, self.results, MANIFEST)

    def _content(self, content: Content, path: str, mine: bool) -> "EncryptedContent":
        from c2d.crypto import result_files  # here: it brings `cryptography`, which takes longer to load than a small job's whole stage

        key = self.results if mine else self.adminlogs
        return EncryptedContent(content, key, path, result_files.prefix_for(key, self.sealedKey, path) if mine and self.sealedKey else b"")


class EncryptedContent:
    """A Content of which the store sees the encrypted bytes only. sha256: of these, known once all were read."""

    def __init__(self, content: Content, key: bytes, path: str, prefix: bytes):
        from c2d.crypto import result_files

        self._content, self._key, self._path, self._prefix = content, key, path, prefix
        self.size = result_files.stored_size(content.size, prefix)
        self.sha256: str | None = None
        self.parts: list[str] | None = None
        self.cid: str | None = None

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        from c2d.crypto import result_files

        clear, stored = hashlib.sha256(), hashlib.sha256()

        def read(begin: int, count: int) -> bytes:
            content = b"".join(bytes(piece) for piece in self._content.read(begin, count))
            clear.update(content)
            return content

        file = result_files.Encrypted(read, self._content.size, str(self._content.sha256), self._key, self._path, self._prefix)
        at, end = offset, min(offset + length, self.size)
        while at < end:
            # Up to where a segment ends, so that none is made twice.
            piece = file.read(at, min(result_files.SEGMENT - (at - len(self._prefix)) % result_files.SEGMENT, end - at))
            stored.update(piece)
            at += len(piece)
            yield memoryview(piece)
        if length and offset == 0 and end == self.size:
            if clear.hexdigest() != self._content.sha256:
                raise self.changed()
            self.sha256 = stored.hexdigest()

    def changed(self) -> StageError:
        return self._content.changed()

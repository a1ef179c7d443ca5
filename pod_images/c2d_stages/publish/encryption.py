"""What is stored if results are encrypted (docs/reference/encryption.md)."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from c2d.contract import MANIFEST, EncryptionKeys, is_admin_log
from c2d_stages.common.stage import StageError
from c2d_stages.publish.content import BytesContent, Content
from c2d_stages.publish.store import Item

# The functions import `c2d.crypto`: it needs `cryptography`, which takes longer to load than a small job's whole stage.


class Encryption:
    """Encrypts a job's files with its keys."""

    def __init__(self, keys: EncryptionKeys):
        self._results, self._adminlogs = bytes.fromhex(keys.results), bytes.fromhex(keys.adminlogs)
        self._sealed_key = keys.sealedKey

    def item(self, index: int, item: Item) -> Item:
        """The file as it is stored: under its index, for a name may tell as much as a content."""
        admin = is_admin_log(item.type)
        content = self._content(item.content, item.name, self._adminlogs if admin else self._results, None if admin else self._sealed_key)
        return replace(
            item,
            path=f"data/{index}",
            contentType="application/octet-stream",
            content=content,
            encrypted="consumer" if self._sealed_key and not admin else "store",
        )

    def manifest(self, manifest: bytes) -> bytes:
        content = self._content(BytesContent(manifest), MANIFEST, self._results, self._sealed_key)
        return b"".join(bytes(piece) for piece in content.read(0, content.size))

    def opened(self, manifest: bytes) -> bytes:
        """The reverse of `manifest`. Raises ValueError if it was not encrypted with this job's key."""
        from c2d.crypto import result_files

        return result_files.decrypted(manifest, self._results, MANIFEST)

    def _content(self, content: Content, path: str, key: bytes, sealed_key: str | None) -> "EncryptedContent":
        from c2d.crypto import result_files

        return EncryptedContent(content, key, path, result_files.prefix_for(key, sealed_key, path) if sealed_key else b"")


class EncryptedContent:
    """A Content whose encrypted bytes are all that the store sees. sha256: of these, known after they were all read in order."""

    parts: Sequence[str] | None = None
    cid: str | None = None

    def __init__(self, content: Content, key: bytes, path: str, prefix: bytes):
        from c2d.crypto import result_files

        self._content, self._key, self._path, self._prefix = content, key, path, prefix
        self.size = result_files.stored_size(content.size, prefix)
        self.sha256: str | None = None

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        from c2d.crypto import result_files

        clear, stored = hashlib.sha256(), hashlib.sha256()

        def read_clear(begin: int, count: int) -> bytes:
            content = b"".join(bytes(piece) for piece in self._content.read(begin, count))
            clear.update(content)
            return content

        file = result_files.Encrypted(read_clear, self._content.size, str(self._content.sha256), self._key, self._path, self._prefix)
        at, end = offset, min(offset + length, self.size)
        while at < end:
            # Up to the end of a segment, so that no segment is encrypted twice.
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

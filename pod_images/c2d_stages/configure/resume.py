"""A file that is partly on the disk, and whether a server's answer continues it."""

import errno
import hashlib
import http.client
import os
import re
from dataclasses import dataclass

from c2d_stages.common.transfer import PermanentError, TransientError
from c2d_stages.configure.requests import check_status, content_length


def volume_error(error: OSError) -> str:
    """A failed write, in words for the job's owner."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "no space is left on the job's volume; the environment's disk is too small for this job"
    return f"the job's volume cannot be written ({error.strerror})"


@dataclass
class PartialFile:
    """The bytes of a file that are on the disk, and the version of the file that they belong to."""

    fd: int
    has_checksum: bool
    offset: int = 0
    total: int | None = None
    validator: tuple[str, str] | None = None  # the header that names the version, and its value
    digest: "hashlib._Hash | None" = None

    def restart(self) -> None:
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        self.offset, self.total, self.validator = 0, None, None
        self.digest = hashlib.sha256() if self.has_checksum else None

    def resumable(self) -> bool:
        """Whether to ask for the rest only. Two versions of a file must never be joined, unless a checksum would reveal it."""
        return self.offset > 0 and (self.validator is not None or self.has_checksum)

    def range_headers(self) -> dict[str, str]:
        """The headers that ask for the rest of the file."""
        if_range = {"If-Range": self.validator[1]} if self.validator else {}
        return {"Range": f"bytes={self.offset}-", **if_range}

    def append(self, data: memoryview) -> None:
        if self.digest is not None:
            self.digest.update(data)
        while data:
            try:
                written = os.write(self.fd, data)
            except OSError as error:
                raise PermanentError(volume_error(error)) from None
            self.offset += written
            data = data[written:]

    def accept(self, response: http.client.HTTPResponse, asked_for_rest: bool) -> bool:
        """Get ready for the body of `response`. False: there is none to read, for the file is already complete.

        Raises TransientError if another attempt is due, PermanentError if none would help.
        """
        if response.status == 206 and asked_for_rest:
            self._accept_rest(response)
            return True
        if response.status == 416 and asked_for_rest:
            return self._accept_nothing(response)
        check_status(response)
        # A server that does not know Range, or has another version by now, sends the whole file.
        self.restart()
        self.validator = validator(response.headers)
        self.total = content_length(response)
        return True

    def _accept_rest(self, response: http.client.HTTPResponse) -> None:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if match and int(match[1]) == self.offset and self._is_same_version(response.headers):
            total = self.total if match[3] == "*" else int(match[3])
            last = int(match[2])
            if self.total in (None, total) and (total is None or last == total - 1):
                self.total = last + 1
                return
        self.restart()
        raise TransientError("the server sent another part than was asked for")

    def _accept_nothing(self, response: http.client.HTTPResponse) -> bool:
        """False if 416 means that the file is complete."""
        match = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", "").strip())
        if match and int(match[1]) == self.offset and self.total in (None, self.offset):
            return False
        self.restart()
        raise TransientError("the server answered 416")

    def _is_same_version(self, headers: http.client.HTTPMessage) -> bool:
        return self.validator is None or headers.get(self.validator[0]) in (None, self.validator[1])


def validator(headers: http.client.HTTPMessage) -> tuple[str, str] | None:
    """The header that If-Range may use: a strong ETag, else Last-Modified (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag")
    if tag and tag.startswith('"'):
        return "ETag", tag
    date = headers.get("Last-Modified")
    return ("Last-Modified", date) if date else None

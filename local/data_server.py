"""The data owner of the examples: `python -m local.data_server ADDRESS PORT` serves examples/data over HTTP, read-only."""

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from local.home import PROJECT


class Handler(SimpleHTTPRequestHandler):
    def list_directory(self, path: str) -> None:  # type: ignore[override]
        self.send_error(404)


if __name__ == "__main__":
    handler = functools.partial(Handler, directory=str(PROJECT / "examples" / "data"))
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), handler).serve_forever()

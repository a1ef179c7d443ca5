"""The examples' data owner: `python -m local.data_server ADDRESS PORT` serves the files of examples/data over HTTP, read-only.

It also serves the examples' algorithms, as /algorithms/NAME.py, so that they can be published as assets.
"""

import functools
import os
import re
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from local.home import PROJECT

EXAMPLES = PROJECT / "examples"


class Handler(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        algorithm = re.fullmatch(r"/algorithms/([a-z-]+)\.py", path)
        return str(EXAMPLES / algorithm[1] / "algorithm.py") if algorithm else super().translate_path(path)

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        self.send_error(404)


if __name__ == "__main__":
    handler = functools.partial(Handler, directory=str(EXAMPLES / "data"))
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), handler).serve_forever()

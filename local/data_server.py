"""The data owner of the examples: `python -m local.data_server ADDRESS PORT` serves examples/data over HTTP, read-only.

The examples' algorithms are there too, as /algorithms/NAME.py, for those who publish them.
"""

import functools
import re
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from local.home import PROJECT

EXAMPLES = PROJECT / "examples"


class Handler(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        algorithm = re.fullmatch(r"/algorithms/([a-z-]+)\.py", path)
        return str(EXAMPLES / algorithm[1] / "algorithm.py") if algorithm else super().translate_path(path)

    def list_directory(self, path: str) -> None:  # type: ignore[override]
        self.send_error(404)


if __name__ == "__main__":
    handler = functools.partial(Handler, directory=str(EXAMPLES / "data"))
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), handler).serve_forever()

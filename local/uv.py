"""Run uv with pip's settings: ``python -m local.uv pip install ...``.

uv does not read pip.conf or the ``PIP_*`` variables, and on some machines only those name the package registry.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
# pip's option, and the variable with which uv takes the same setting.
VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_OFFLINE",
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
# The sections of pip's configuration that count for `pip install`; a later one overrides an earlier one.
SECTIONS = ("global", "install", ":env:")


def uv_variables(pip_config_list: str) -> dict[str, str]:
    """Translate the output of ``pip config list`` into environment variables for uv."""
    variables = {}
    settings = [line.partition("=") for line in pip_config_list.splitlines()]
    for section in SECTIONS:
        for name, _, value in settings:
            prefix, _, option = name.rpartition(".")
            if prefix == section and option in VARIABLES:
                separator = "," if option == "find-links" else " "
                variables[VARIABLES[option]] = separator.join(ast.literal_eval(value).split())
    return variables


def main() -> None:
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(pip, stdout=subprocess.PIPE, text=True, check=True).stdout
    # A variable that is set for uv itself overrides pip's settings.
    os.execve(UV, [str(UV), *sys.argv[1:]], {**uv_variables(listing), **os.environ})


if __name__ == "__main__":
    main()

"""Run uv with pip's settings: ``python -m local.uv pip install ...``.

uv installs packages several times faster than pip, but it does not read pip.conf or the ``PIP_*`` variables, and on some machines only
those name the package registry. If uv cannot install, pip tries: it accepts settings that uv does not have, and other certificates.

Packages go into the environment of ``UV_PYTHON``; the default is the one that this process runs in.
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
            if prefix != section or option not in VARIABLES:
                continue
            values = ast.literal_eval(value).split()
            if option == "find-links":
                # pip ignores a folder that does not exist; uv fails.
                variables[VARIABLES[option]] = ",".join(link for link in values if "://" in link or Path(link).exists())
            else:
                variables[VARIABLES[option]] = " ".join(values)
    return variables


def main() -> None:
    arguments = sys.argv[1:]
    pip = [sys.executable, "-m", "pip"]
    target = os.environ.get("UV_PYTHON", sys.executable)
    listing = subprocess.run([*pip, "config", "list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    # A variable that is set for uv itself overrides pip's settings.
    code = subprocess.run([UV, *arguments], env={**uv_variables(listing), "UV_PYTHON": target, **os.environ}).returncode
    if code and arguments[:2] == ["pip", "install"]:
        print("uv could not install the packages (reason above). Trying pip ...", file=sys.stderr, flush=True)
        code = subprocess.run([*pip, "--python", target, *arguments[1:]]).returncode
    sys.exit(code)


if __name__ == "__main__":
    main()

"""Makes the virtual environment that everything else runs in: `python3 local/venv.py .venv [dev]`.

Runs under the machine's own Python with nothing but the standard library. Packages are installed once and again only when a
requirements file changes. uv does the work because it is several times faster than pip; pip does it where uv cannot.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fail(sentence: str) -> None:
    say(sentence)
    raise SystemExit(1)


def fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def run(command: list[str], env: dict[str, str] | None = None) -> bool:
    """Run a command quietly; its output is shown only when it fails."""
    done = subprocess.run(command, cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        say("\n".join(done.stdout.strip().splitlines()[-15:]))
    return done.returncode == 0


def create(venv: Path) -> None:
    say(f"Creating {venv.name} with Python {sys.version.split()[0]} ...")
    if not run([sys.executable, "-m", "venv", "--clear", str(venv)]):
        version = ".".join(map(str, sys.version_info[:2]))
        fail(f"This Python cannot make a virtual environment; on Debian, apt install python{version}-venv")


def uv_environment(venv: Path) -> dict[str, str]:
    """The settings of pip (pip.conf, PIP_*) under uv's names: uv does not read them, and the registry may be reachable only by them."""
    listed = subprocess.run([str(venv / "bin/pip"), "config", "list"], capture_output=True, text=True).stdout
    pip: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        pip[name.rsplit(".", 1)[-1]] = value.strip("'\"").replace("\\n", " ")
    env = {**os.environ, "VIRTUAL_ENV": str(venv)}
    for option, variable in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("find-links", "UV_FIND_LINKS"),
        ("cert", "SSL_CERT_FILE"),
    ):
        if option in pip:
            env.setdefault(variable, pip[option].replace(" ", ",") if option == "find-links" else pip[option])
    env.setdefault("UV_HTTP_TIMEOUT", pip.get("default-timeout", "60"))
    if "trusted-host" in pip:
        env.setdefault("UV_INSECURE_HOST", pip["trusted-host"])
    return env


def install(venv: Path, arguments: list[str]) -> bool:
    """Install into a virtual environment with the uv of `.venv`, or with pip where uv is missing or fails."""
    tools = PROJECT / os.environ.get("VENV", ".venv")
    uv = tools / "bin/uv"
    if uv.exists() and run([str(uv), "pip", "install", "--quiet", *arguments], {**uv_environment(tools), "VIRTUAL_ENV": str(venv)}):
        return True
    pip = venv / "bin/pip"
    if not pip.exists():
        return False
    say("uv could not install the packages (above); trying pip ...")
    return run([str(pip), "install", "--quiet", *arguments])


def main() -> None:
    venv, dev = PROJECT / sys.argv[1], "dev" in sys.argv[2:]
    os.environ["VENV"] = sys.argv[1]
    files = [PROJECT / "requirements.txt", PROJECT / "local" / "requirements.txt", PROJECT / "pyproject.toml"]
    files = [file for file in files if file.exists()]
    arguments = ["-r", "requirements.txt", "-r", "local/requirements.txt"]
    if (PROJECT / "pyproject.toml").exists():
        arguments += ["-e", "."]  # the `c2d` command
    if dev and (PROJECT / "requirements-dev.txt").exists():
        files.append(PROJECT / "requirements-dev.txt")
        arguments += ["-r", "requirements-dev.txt"]
    stamp = venv / (".installed-dev" if dev else ".installed")
    wanted = fingerprint(files)
    if stamp.exists() and stamp.read_text() == wanted and (venv / "bin/python").exists():
        return
    try:
        if not (venv / "bin/python").exists() or not (venv / "bin/pip").exists():
            create(venv)
        if not (venv / "bin/uv").exists():
            run([str(venv / "bin/pip"), "install", "--quiet", "uv"])
        say("Installing packages ...")
        if not install(venv, arguments):
            fail("The packages could not be installed; is the package registry reachable (pip config list)? The reason is above.")
        stamp.write_text(wanted)
    except OSError as error:
        fail(f"Setting up {venv.name} failed: {error.strerror or error} ({error.filename or venv})")
    except KeyboardInterrupt:
        fail("Stopped.")


if __name__ == "__main__":
    main()

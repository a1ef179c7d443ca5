"""The ``c2d`` command of operators and consumers. Each group of commands has a module of its own."""

from __future__ import annotations

import argparse
import sys

from c2d.cli import installation, keys, results
from c2d.errors import C2DError


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 1 if it failed with an error that is explained on stderr."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except C2DError as e:
        print(f"c2d: {e}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line. Each command sets ``run``, the function that runs it."""
    c2d = argparse.ArgumentParser(prog="c2d", description="Compute-to-Data on Apache Airflow.")
    commands = c2d.add_subparsers(dest="command", required=True)
    for group in (installation, keys, results):
        group.add_commands(commands)
    return c2d

"""How a group of commands adds one to the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(commands: Commands, name: str, run: Callable[[argparse.Namespace], None], purpose: str) -> argparse.ArgumentParser:
    """Add a command.

    :param run: called with the parsed arguments. Errors are :class:`c2d.errors.C2DError`.
    :param purpose: what it does, for the help texts.
    :returns: its parser, for arguments.
    """
    parser = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
    parser.set_defaults(run=run)
    return parser

"""`python -m emo_core COMMAND`: animate, evaluate, train, data, info."""

from __future__ import annotations

import argparse
import logging
import sys

from .commands import animate, data, evaluate, info, train
from .errors import InputError

COMMANDS = (animate, evaluate, train, data, info)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m emo_core", description="A portrait and a voice become a talking film."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers).set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options.run(options)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

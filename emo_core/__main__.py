"""`python -m emo_core COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from .errors import InputError, is_out_of_memory

COMMANDS = {
    "animate": "a portrait and a voice become a film",
    "preflight": "what a film will cost and whether it fits, before it is made",
    "evaluate": "measure what a checkpoint does",
    "train": "train a checkpoint, step by step",
    "data": "draw and voice clips to train on",
    "convert": "a checkpoint of any family as one safetensors file",
    "info": "family, config, sizes and licence of a checkpoint",
}
"""A command's module in `commands/` is imported only when it is called: training and evaluation
need packages that animating does without."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m emo_core",
        description="A portrait and a voice become a talking film.",
        epilog="\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see COMMAND --help")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _run(chosen.command, chosen.arguments)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).partition("\n")[0] or type(error).__name__
        sys.stderr.write(
            f"error: {chosen.command}: memory ran out ({said}). Expected room for what was asked "
            "for; choose smaller pictures or numbers, or end other programs.\n"
        )
        return 2


def _run(name: str, arguments: list[str]) -> int:
    """Run a command that was asked for; one that returns nothing has done all it should."""
    try:
        command = importlib.import_module(f".commands.{name}", __package__)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name}: the package {error.name} is not installed. Install what the command needs: "
            "pip install -r requirements.txt -r requirements-train.txt"
        ) from error
    parser = argparse.ArgumentParser(prog=f"python -m emo_core {name}", description=COMMANDS[name])
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments)) or 0


if __name__ == "__main__":
    sys.exit(main())

"""The command ``st-rankloss``: inspect data, train, mine negatives, evaluate and search.

Exit codes: 0, done; 1, ``inspect`` found errors in the data; 2, the command, its data or its model are wrong, or
memory ran out, as the message says; 3, an unforeseen error, with its traceback; 130, interrupted.
"""

from __future__ import annotations

import argparse
import logging
import traceback
import warnings
from collections.abc import Sequence
from functools import partial

import datasets
import torch
import transformers
from rich.console import Console
from rich.logging import RichHandler

from st_rankloss.cli import evaluate, inspect, mine, search, train

COMMANDS = (inspect, train, mine, evaluate, search)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="st-rankloss", description="Train and evaluate embedding models on graded labels."
    )
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rsplit(".", 1)[1]
        summary = (command.__doc__ or "").splitlines()[0]
        own = commands.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_options(own)
        own.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: The arguments; None means those of this process.

    Returns:
        The exit code.
    """
    options = make_parser().parse_args(arguments)
    console_of = partial(Console, markup=False, emoji=False, highlight=False)  # names and texts are shown as they are
    console, errors = console_of(), console_of(stderr=True)
    if not options.debug:
        _quieten(errors)
    try:
        return int(options.run(options, console))
    except KeyboardInterrupt:
        errors.print("Interrupted.", style="yellow")
        return 130
    except (ValueError, TypeError, ImportError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        if options.debug:
            traceback.print_exc()
        errors.print(f"error: {_message(error)}", style="red")
        return 2
    except Exception:
        traceback.print_exc()
        return 3


def _message(error: Exception) -> str:
    """Return what an error says; of a file that cannot be opened or written, its name first."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "the memory is too small: pass a smaller --batch-size, or use less data or a smaller model."
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}: name another file or folder."
    return str(error)


def _quieten(console: Console) -> None:
    """Show warnings of this package in plain words, and none of the libraries below."""
    warnings.filterwarnings("ignore")
    logging.getLogger().setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    ours = logging.getLogger("st_rankloss")
    ours.setLevel(logging.WARNING)
    ours.handlers = [RichHandler(console=console, show_time=False, show_path=False, markup=False)]
    ours.propagate = False

"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from st_rankloss.data import COLUMNS, Part
from st_rankloss.data.part import notes_of

_OWN = {
    "source": "it is DATA",
    "task": "pass --task",
    "streaming": "pass --streaming to the command inspect",
    "download": "pass --download",
}
"""Arguments of `read` that the command line has elsewhere."""


def add_data(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the data, and how to read them."""
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?" if optional else None,
        help="a file (jsonl, csv, tsv, parquet), a folder (BEIR, TREC, train/dev/test files) or ir_datasets:ID",
    )
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of reading, also of a dataset that is downloaded."""
    parser.add_argument("--task", choices=list(COLUMNS), help="if the data could be read for several tasks")
    add_columns(parser)
    parser.add_argument("--download", action="store_true", help="allow downloading a dataset of the hub by its id")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the option that names columns."""
    parser.add_argument(
        "--read",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="columns by role, such as query=question, and other options of the reader, such as separator='|' or "
        "scale='{good: 1, bad: 0}'",
    )


def add_part(parser: argparse.ArgumentParser, usual: str) -> None:
    """Add the option that chooses a part, see `pick`."""
    parser.add_argument("--part", help=f"which part of the data to use (default: {usual}, or the only one there is)")


def add_embeddings(parser: argparse.ArgumentParser) -> None:
    """Add the option that keeps the embeddings of documents."""
    parser.add_argument("--embeddings", type=_folder, help="folder that keeps those of the documents for another time")


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must name a folder, got an empty name")
    return Path(text)


def reading(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of reading as arguments of `st_rankloss.data.read`, or raise ValueError."""
    found: dict[str, Any] = {"download": True} if getattr(options, "download", False) else {}
    for text in options.read:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise ValueError(f"--read takes NAME=VALUE, such as query=question, got {text!r}.")
        if name in _OWN:
            raise ValueError(f"--read must not hold {name}=: {_OWN[name]}.")
        found[name] = value if name == "delimiter" else _value(value)
    return found


_NOTHING = ("None", "null", "~")


def _value(text: str) -> Any:
    """Read numbers, true, false, [a, b], (a, b) and {a: 1}; anything else is a text."""
    text = f"[{text[1:-1]}]" if text.startswith("(") and text.endswith(")") and "," in text else text
    try:
        if text.startswith("{"):
            given = yaml.load(text, yaml.BaseLoader).items()
            return {_key(key): None if value in _NOTHING else _value(value) for key, value in given}
        value = yaml.safe_load(text)
    except (yaml.YAMLError, AttributeError, TypeError):
        return text
    return value if isinstance(value, int | float | list) else text


def _key(text: str) -> Any:
    """Read a number; anything else is a text, also yes and no, which YAML takes for true and false."""
    value = _value(text)
    return text if isinstance(value, bool) else value


def show_notes(parts: Iterable[Part], console: Console) -> None:
    """Print what the readers of parts have left out, converted or assumed."""
    for note in notes_of(parts):
        console.print(f"· {note}", style="dim")


def pick(parts: Mapping[str, Part], data: str, wanted: str | None, usual: str) -> str:
    """Choose the part that the user wants, else the usual one, else the only one there is.

    Args:
        parts: The parts by name.
        data: Their source, for the error.
        wanted: Name of the part; None if the user names none.
        usual: Name of the usual part.

    Returns:
        Its name.

    Raises:
        ValueError: If the part is missing.
    """
    name = usual if wanted is None else wanted
    if name in parts:
        return name
    if wanted is None and len(parts) == 1:
        return next(iter(parts))
    raise ValueError(f"{data} has no part {name!r}, only {', '.join(parts)}: pass --part {next(iter(parts))}.")

"""Show what is in data, what is wrong with them, and how to train on them.

st-rankloss inspect ratings.csv --read query=question document=answer
st-rankloss inspect beir-folder --model minilm --html inspection.html
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from st_rankloss.cli.options import add_data, reading, show_notes
from st_rankloss.data import read
from st_rankloss.encoders import make_encoder
from st_rankloss.inspection import inspect


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_data(parser)
    parser.add_argument("--model", help="an encoder, for the lengths of texts and the learning rate")
    parser.add_argument("--streaming", action="store_true", help="read the rows once, with bounded memory")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with plots")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")


def run(options: argparse.Namespace, console: Console) -> int:
    """Inspect the data; return 1 if there are errors in them."""
    parts = read(options.data, task=options.task, streaming=options.streaming, **reading(options))
    model = None
    if options.model is not None:
        model = make_encoder(options.model, (text for part in parts.values() for text in part.texts()))
    show_notes(parts.values(), console)
    found = inspect(parts, model=model)
    console.print(found)
    if options.html:
        found.to_html(options.html)
        console.print(f"Page: {options.html}")
    if options.json:
        options.json.write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
        console.print(f"JSON: {options.json}")
    return int(any(finding.severity == "error" for finding in found.findings))
